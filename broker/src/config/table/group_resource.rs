//! Settings of one group, over the broker's defaults (KIP-848, KIP-932, KIP-1071).

use super::{MAX_INT, row};
use crate::config::definition::Importance::Medium;
use crate::config::definition::Type::{Boolean, Int, String};
use crate::config::definition::Update::ClusterWide;
use crate::config::definition::{Check, Def};

pub(super) const DEFS: &[Def] = &[
    row(
        "consumer.assignment.interval.ms",
        Int,
        Some("1000"),
        Check::Range(0, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for the consumer group protocol (KIP-848), which the broker does not serve yet: how often a new \
         assignment may be computed.",
    ),
    row(
        "consumer.heartbeat.interval.ms",
        Int,
        Some("5000"),
        Check::Range(1, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for the consumer group protocol (KIP-848), which the broker does not serve yet: how often \
         members heartbeat.",
    ),
    row(
        "consumer.session.timeout.ms",
        Int,
        Some("45000"),
        Check::Range(1, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for the consumer group protocol (KIP-848), which the broker does not serve yet: how long a \
         silent member stays.",
    ),
    row(
        "share.assignment.interval.ms",
        Int,
        Some("1000"),
        Check::Range(0, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for share groups (KIP-932), which the broker does not serve yet: how often a new assignment may \
         be computed.",
    ),
    row(
        "share.auto.offset.reset",
        String,
        Some("latest"),
        Check::ShareOffsetReset,
        Medium,
        ClusterWide,
        "Known, for share groups (KIP-932), which the broker does not serve yet: where a group starts to read: \
         latest, earliest or by_duration:PERIOD.",
    ),
    row(
        "share.delivery.count.limit",
        Int,
        Some("5"),
        Check::Range(2, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for share groups (KIP-932), which the broker does not serve yet: how often a record is handed \
         out before it is given up.",
    ),
    row(
        "share.heartbeat.interval.ms",
        Int,
        Some("5000"),
        Check::Range(1, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for share groups (KIP-932), which the broker does not serve yet: how often members heartbeat.",
    ),
    row(
        "share.isolation.level",
        String,
        Some("read_uncommitted"),
        Check::OneOf(&["read_committed", "read_uncommitted"]),
        Medium,
        ClusterWide,
        "Known, for share groups (KIP-932), which the broker does not serve yet: whether records of open and \
         aborted transactions are handed out.",
    ),
    row(
        "share.partition.max.record.locks",
        Int,
        Some("2000"),
        Check::Range(100, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for share groups (KIP-932), which the broker does not serve yet: the most records of a \
         partition in hand at a time.",
    ),
    row(
        "share.record.lock.duration.ms",
        Int,
        Some("30000"),
        Check::Range(1000, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for share groups (KIP-932), which the broker does not serve yet: how long a record stays in hand.",
    ),
    row(
        "share.renew.acknowledge.enable",
        Boolean,
        Some("true"),
        Check::Any,
        Medium,
        ClusterWide,
        "Known, for share groups (KIP-932), which the broker does not serve yet: whether a consumer may prolong \
         its hold on a record.",
    ),
    row(
        "share.session.timeout.ms",
        Int,
        Some("45000"),
        Check::Range(1, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for share groups (KIP-932), which the broker does not serve yet: how long a silent member stays.",
    ),
    row(
        "streams.assignment.interval.ms",
        Int,
        Some("1000"),
        Check::Range(0, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: how often a new assignment \
         may be computed.",
    ),
    row(
        "streams.heartbeat.interval.ms",
        Int,
        Some("5000"),
        Check::Range(1, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: how often members heartbeat.",
    ),
    row(
        "streams.initial.rebalance.delay.ms",
        Int,
        Some("3000"),
        Check::Range(0, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: how long the first \
         assignment waits for more members.",
    ),
    row(
        "streams.num.standby.replicas",
        Int,
        Some("0"),
        Check::Range(0, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: standby copies of each \
         state store.",
    ),
    row(
        "streams.session.timeout.ms",
        Int,
        Some("45000"),
        Check::Range(1, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: how long a silent member \
         stays.",
    ),
];
