//! Settings of one topic.

use super::{MAX_INT, MAX_LONG, row};
use crate::config::definition::Importance::{Medium};
use crate::config::definition::Type::{Boolean, Double, Int, List, Long, String};
use crate::config::definition::Update::{ClusterWide};
use crate::config::definition::{Check, Def};

pub(super) const DEFS: &[Def] = &[
    row("cleanup.policy", List, Some("delete"), Check::ListOf { words: &["compact", "delete"], may_be_empty: true }, Medium, ClusterWide, ""),
    row("compression.gzip.level", Int, Some("-1"), Check::GzipLevel, Medium, ClusterWide, ""),
    row("compression.lz4.level", Int, Some("9"), Check::Range(1, 17), Medium, ClusterWide, ""),
    row("compression.type", String, Some("producer"), Check::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Medium, ClusterWide, ""),
    row("compression.zstd.level", Int, Some("3"), Check::Range(-131072, 22), Medium, ClusterWide, ""),
    row("delete.retention.ms", Long, Some("86400000"), Check::Range(0, MAX_LONG), Medium, ClusterWide, ""),
    row("file.delete.delay.ms", Long, Some("60000"), Check::Range(0, MAX_LONG), Medium, ClusterWide, ""),
    row("flush.messages", Long, Some("9223372036854775807"), Check::Range(1, MAX_LONG), Medium, ClusterWide, ""),
    row("flush.ms", Long, Some("9223372036854775807"), Check::Range(0, MAX_LONG), Medium, ClusterWide, ""),
    row("follower.replication.throttled.replicas", List, Some(""), Check::ThrottledReplicas, Medium, ClusterWide, ""),
    row("index.interval.bytes", Int, Some("4096"), Check::Range(0, MAX_INT), Medium, ClusterWide, ""),
    row("internal.segment.bytes", Int, None, Check::Range(256, MAX_INT), Medium, ClusterWide, "").internal(),
    row("leader.replication.throttled.replicas", List, Some(""), Check::ThrottledReplicas, Medium, ClusterWide, ""),
    row("local.retention.bytes", Long, Some("-2"), Check::Range(-2, MAX_LONG), Medium, ClusterWide, ""),
    row("local.retention.ms", Long, Some("-2"), Check::Range(-2, MAX_LONG), Medium, ClusterWide, ""),
    row("max.compaction.lag.ms", Long, Some("9223372036854775807"), Check::Range(1, MAX_LONG), Medium, ClusterWide, ""),
    row("max.message.bytes", Int, Some("1048588"), Check::Range(0, MAX_INT), Medium, ClusterWide, ""),
    row("message.timestamp.after.max.ms", Long, Some("3600000"), Check::Range(0, MAX_LONG), Medium, ClusterWide, ""),
    row("message.timestamp.before.max.ms", Long, Some("9223372036854775807"), Check::Range(0, MAX_LONG), Medium, ClusterWide, ""),
    row("message.timestamp.type", String, Some("CreateTime"), Check::OneOf(&["CreateTime", "LogAppendTime"]), Medium, ClusterWide, ""),
    row("min.cleanable.dirty.ratio", Double, Some("0.5"), Check::Fraction(0.0, 1.0), Medium, ClusterWide, ""),
    row("min.compaction.lag.ms", Long, Some("0"), Check::Range(0, MAX_LONG), Medium, ClusterWide, ""),
    row("min.insync.replicas", Int, Some("1"), Check::Range(1, MAX_INT), Medium, ClusterWide, ""),
    row("preallocate", Boolean, Some("false"), Check::Any, Medium, ClusterWide, ""),
    row("remote.log.copy.disable", Boolean, Some("false"), Check::Any, Medium, ClusterWide, ""),
    row("remote.log.delete.on.disable", Boolean, Some("false"), Check::Any, Medium, ClusterWide, ""),
    row("remote.storage.enable", Boolean, Some("false"), Check::Any, Medium, ClusterWide, ""),
    row("retention.bytes", Long, Some("-1"), Check::Any, Medium, ClusterWide, ""),
    row("retention.ms", Long, Some("604800000"), Check::Range(-1, MAX_LONG), Medium, ClusterWide, ""),
    row("segment.bytes", Int, Some("1073741824"), Check::Range(1048576, MAX_INT), Medium, ClusterWide, ""),
    row("segment.index.bytes", Int, Some("10485760"), Check::Range(4, MAX_INT), Medium, ClusterWide, ""),
    row("segment.jitter.ms", Long, Some("0"), Check::Range(0, MAX_LONG), Medium, ClusterWide, ""),
    row("segment.ms", Long, Some("604800000"), Check::Range(1, MAX_LONG), Medium, ClusterWide, ""),
    row("unclean.leader.election.enable", Boolean, Some("false"), Check::Any, Medium, ClusterWide, ""),
];
