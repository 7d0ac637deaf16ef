//! Replication between brokers.

use super::{MAX_INT, MAX_LONG, row};
use crate::config::definition::Importance::{High, Low, Medium};
use crate::config::definition::Type::{Boolean, Int, Long, String};
use crate::config::definition::Update::{ClusterWide, ReadOnly};
use crate::config::definition::{Check, Def};

pub(super) const DEFS: &[Def] = &[
    row("alter.log.dirs.replication.quota.window.num", Int, Some("11"), Check::Range(1, MAX_INT), Low, ReadOnly, ""),
    row(
        "alter.log.dirs.replication.quota.window.size.seconds",
        Int,
        Some("1"),
        Check::Range(1, MAX_INT),
        Low,
        ReadOnly,
        "",
    ),
    row("auto.leader.rebalance.enable", Boolean, Some("true"), Check::Any, High, ReadOnly, ""),
    row("default.replication.factor", Int, Some("1"), Check::Any, Medium, ReadOnly, ""),
    row("leader.imbalance.check.interval.seconds", Long, Some("300"), Check::Range(1, MAX_LONG), High, ReadOnly, ""),
    row("num.replica.alter.log.dirs.threads", Int, None, Check::Any, High, ReadOnly, ""),
    row("num.replica.fetchers", Int, Some("1"), Check::Range(1, MAX_INT), High, ClusterWide, ""),
    row("replica.fetch.backoff.ms", Int, Some("1000"), Check::Range(0, MAX_INT), Medium, ReadOnly, ""),
    row("replica.fetch.max.bytes", Int, Some("1048576"), Check::Range(0, MAX_INT), Medium, ReadOnly, ""),
    row("replica.fetch.min.bytes", Int, Some("1"), Check::Any, High, ReadOnly, ""),
    row("replica.fetch.response.max.bytes", Int, Some("10485760"), Check::Range(0, MAX_INT), Medium, ReadOnly, ""),
    row("replica.fetch.wait.max.ms", Int, Some("500"), Check::Any, High, ReadOnly, ""),
    row("replica.high.watermark.checkpoint.interval.ms", Long, Some("5000"), Check::Any, High, ReadOnly, ""),
    row("replica.lag.time.max.ms", Long, Some("30000"), Check::Any, High, ReadOnly, ""),
    row("replica.selector.class", String, None, Check::Any, Medium, ReadOnly, ""),
    row("replica.socket.receive.buffer.bytes", Int, Some("65536"), Check::Any, High, ReadOnly, ""),
    row("replica.socket.timeout.ms", Int, Some("30000"), Check::Any, High, ReadOnly, ""),
    row("replication.quota.window.num", Int, Some("11"), Check::Range(1, MAX_INT), Low, ReadOnly, ""),
    row("replication.quota.window.size.seconds", Int, Some("1"), Check::Range(1, MAX_INT), Low, ReadOnly, ""),
    row("unclean.leader.election.enable", Boolean, Some("false"), Check::Any, High, ClusterWide, ""),
    row("unclean.leader.election.interval.ms", Long, Some("300000"), Check::Range(1, MAX_LONG), Medium, ReadOnly, "")
        .internal(),
];
