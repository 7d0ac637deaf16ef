//! Settings of one group, over the broker's defaults (KIP-848, KIP-932, KIP-1071).

use super::{MAX_INT, row};
use crate::config::definition::Importance::Medium;
use crate::config::definition::Type::{Boolean, Int, String};
use crate::config::definition::Update::ClusterWide;
use crate::config::definition::{Check, Def};

pub(super) const DEFS: &[Def] = &[
    row("consumer.assignment.interval.ms", Int, Some("1000"), Check::Range(0, MAX_INT), Medium, ClusterWide, ""),
    row("consumer.heartbeat.interval.ms", Int, Some("5000"), Check::Range(1, MAX_INT), Medium, ClusterWide, ""),
    row("consumer.session.timeout.ms", Int, Some("45000"), Check::Range(1, MAX_INT), Medium, ClusterWide, ""),
    row("share.assignment.interval.ms", Int, Some("1000"), Check::Range(0, MAX_INT), Medium, ClusterWide, ""),
    row("share.auto.offset.reset", String, Some("latest"), Check::ShareOffsetReset, Medium, ClusterWide, ""),
    row("share.delivery.count.limit", Int, Some("5"), Check::Range(2, MAX_INT), Medium, ClusterWide, ""),
    row("share.heartbeat.interval.ms", Int, Some("5000"), Check::Range(1, MAX_INT), Medium, ClusterWide, ""),
    row(
        "share.isolation.level",
        String,
        Some("read_uncommitted"),
        Check::OneOf(&["read_committed", "read_uncommitted"]),
        Medium,
        ClusterWide,
        "",
    ),
    row("share.partition.max.record.locks", Int, Some("2000"), Check::Range(100, MAX_INT), Medium, ClusterWide, ""),
    row("share.record.lock.duration.ms", Int, Some("30000"), Check::Range(1000, MAX_INT), Medium, ClusterWide, ""),
    row("share.renew.acknowledge.enable", Boolean, Some("true"), Check::Any, Medium, ClusterWide, ""),
    row("share.session.timeout.ms", Int, Some("45000"), Check::Range(1, MAX_INT), Medium, ClusterWide, ""),
    row("streams.assignment.interval.ms", Int, Some("1000"), Check::Range(0, MAX_INT), Medium, ClusterWide, ""),
    row("streams.heartbeat.interval.ms", Int, Some("5000"), Check::Range(1, MAX_INT), Medium, ClusterWide, ""),
    row("streams.initial.rebalance.delay.ms", Int, Some("3000"), Check::Range(0, MAX_INT), Medium, ClusterWide, ""),
    row("streams.num.standby.replicas", Int, Some("0"), Check::Range(0, MAX_INT), Medium, ClusterWide, ""),
    row("streams.session.timeout.ms", Int, Some("45000"), Check::Range(1, MAX_INT), Medium, ClusterWide, ""),
];
