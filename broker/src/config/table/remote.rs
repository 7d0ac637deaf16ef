//! Tiered storage (KIP-405). Jackdaw has none yet: the names are known so that files that carry them load.

use super::{MAX_INT, MAX_LONG, row};
use crate::config::definition::Importance::{Low, Medium};
use crate::config::definition::Type::{Boolean, Double, Int, Long, String};
use crate::config::definition::Update::{ClusterWide, ReadOnly};
use crate::config::definition::{Check, Def};

pub(super) const DEFS: &[Def] = &[
    row("follower.fetch.last.tiered.offset.enable", Boolean, Some("false"), Check::Any, Medium, ClusterWide, ""),
    row("remote.fetch.max.wait.ms", Int, Some("500"), Check::Range(1, MAX_INT), Medium, ClusterWide, ""),
    row("remote.list.offsets.request.timeout.ms", Long, Some("30000"), Check::Range(1, MAX_LONG), Medium, ClusterWide, ""),
    row("remote.log.index.file.cache.total.size.bytes", Long, Some("1073741824"), Check::Range(1, MAX_LONG), Low, ClusterWide, ""),
    row("remote.log.index.file.cache.ttl.ms", Long, Some("900000"), Check::Range(-1, MAX_LONG), Low, ReadOnly, "").internal(),
    row("remote.log.manager.copier.thread.pool.size", Int, Some("10"), Check::Range(1, MAX_INT), Medium, ClusterWide, ""),
    row("remote.log.manager.copy.max.bytes.per.second", Long, Some("9223372036854775807"), Check::Range(1, MAX_LONG), Medium, ClusterWide, ""),
    row("remote.log.manager.copy.quota.window.num", Int, Some("11"), Check::Range(1, MAX_INT), Medium, ReadOnly, ""),
    row("remote.log.manager.copy.quota.window.size.seconds", Int, Some("1"), Check::Range(1, MAX_INT), Medium, ReadOnly, ""),
    row("remote.log.manager.expiration.thread.pool.size", Int, Some("10"), Check::Range(1, MAX_INT), Medium, ClusterWide, ""),
    row("remote.log.manager.fetch.max.bytes.per.second", Long, Some("9223372036854775807"), Check::Range(1, MAX_LONG), Medium, ClusterWide, ""),
    row("remote.log.manager.fetch.quota.window.num", Int, Some("11"), Check::Range(1, MAX_INT), Medium, ReadOnly, ""),
    row("remote.log.manager.fetch.quota.window.size.seconds", Int, Some("1"), Check::Range(1, MAX_INT), Medium, ReadOnly, ""),
    row("remote.log.manager.follower.thread.pool.size", Int, Some("2"), Check::Range(1, MAX_INT), Medium, ClusterWide, ""),
    row("remote.log.manager.task.interval.ms", Long, Some("30000"), Check::Range(1, MAX_LONG), Low, ReadOnly, ""),
    row("remote.log.manager.task.retry.backoff.max.ms", Long, Some("30000"), Check::Range(1, MAX_LONG), Low, ReadOnly, "").internal(),
    row("remote.log.manager.task.retry.backoff.ms", Long, Some("500"), Check::Range(1, MAX_LONG), Low, ReadOnly, "").internal(),
    row("remote.log.manager.task.retry.jitter", Double, Some("0.2"), Check::Fraction(0.0, 0.5), Low, ReadOnly, "").internal(),
    row("remote.log.manager.thread.pool.size", Int, Some("2"), Check::Range(1, MAX_INT), Medium, ReadOnly, ""),
    row("remote.log.metadata.custom.metadata.max.bytes", Int, Some("128"), Check::Range(0, MAX_INT), Low, ReadOnly, ""),
    row("remote.log.metadata.manager.class.name", String, Some("org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager"), Check::NotEmpty, Medium, ReadOnly, ""),
    row("remote.log.metadata.manager.class.path", String, None, Check::Any, Medium, ReadOnly, ""),
    row("remote.log.metadata.manager.impl.prefix", String, Some("rlmm.config."), Check::NotEmpty, Medium, ReadOnly, ""),
    row("remote.log.metadata.manager.listener.name", String, None, Check::NotEmpty, Medium, ReadOnly, ""),
    row("remote.log.reader.max.pending.tasks", Int, Some("100"), Check::Range(1, MAX_INT), Medium, ReadOnly, ""),
    row("remote.log.reader.threads", Int, Some("10"), Check::Range(1, MAX_INT), Medium, ClusterWide, ""),
    row("remote.log.storage.manager.class.name", String, None, Check::NotEmpty, Medium, ReadOnly, ""),
    row("remote.log.storage.manager.class.path", String, None, Check::Any, Medium, ReadOnly, ""),
    row("remote.log.storage.manager.impl.prefix", String, Some("rsm.config."), Check::NotEmpty, Medium, ReadOnly, ""),
    row("remote.log.storage.system.enable", Boolean, Some("false"), Check::Any, Medium, ReadOnly, ""),
];
