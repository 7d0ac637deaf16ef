//! Groups of the newer kinds: consumer, share and streams. Known, for later: only classic groups are served so far.

use super::{MAX_INT, row};
use crate::config::definition::Importance::{Low, Medium};
use crate::config::definition::Type::{Int, List, String};
use crate::config::definition::Update::{ClusterWide, ReadOnly};
use crate::config::definition::{Check, Def};

pub(super) const DEFS: &[Def] = &[
    row(
        "group.consumer.assignment.interval.ms",
        Int,
        Some("1000"),
        Check::Range(0, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for the consumer group protocol (KIP-848), which the broker does not serve yet: how often a new \
         assignment may be computed.",
    ),
    row(
        "group.consumer.assignors",
        List,
        Some("uniform,range"),
        Check::Any,
        Medium,
        ReadOnly,
        "Known, for the consumer group protocol (KIP-848), which the broker does not serve yet: how partitions \
         are spread over members.",
    ),
    row(
        "group.consumer.heartbeat.interval.ms",
        Int,
        Some("5000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for the consumer group protocol (KIP-848), which the broker does not serve yet: how often \
         members heartbeat.",
    ),
    row(
        "group.consumer.max.assignment.interval.ms",
        Int,
        Some("15000"),
        Check::Range(0, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for the consumer group protocol (KIP-848), which the broker does not serve yet: upper bound of \
         what one group may choose: how often a new assignment may be computed.",
    ),
    row(
        "group.consumer.max.heartbeat.interval.ms",
        Int,
        Some("15000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for the consumer group protocol (KIP-848), which the broker does not serve yet: upper bound of \
         what one group may choose: how often members heartbeat.",
    ),
    row(
        "group.consumer.max.session.timeout.ms",
        Int,
        Some("60000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for the consumer group protocol (KIP-848), which the broker does not serve yet: upper bound of \
         what one group may choose: how long a silent member stays.",
    ),
    row(
        "group.consumer.max.size",
        Int,
        Some("2147483647"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for the consumer group protocol (KIP-848), which the broker does not serve yet: the most \
         members of a group.",
    ),
    row(
        "group.consumer.migration.policy",
        String,
        Some("bidirectional"),
        Check::OneOfIgnoringCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]),
        Medium,
        ReadOnly,
        "Known, for the consumer group protocol (KIP-848), which the broker does not serve yet: whether groups \
         may move between the classic and the new protocol.",
    ),
    row(
        "group.consumer.min.assignment.interval.ms",
        Int,
        Some("0"),
        Check::Range(0, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for the consumer group protocol (KIP-848), which the broker does not serve yet: lower bound of \
         what one group may choose: how often a new assignment may be computed.",
    ),
    row(
        "group.consumer.min.heartbeat.interval.ms",
        Int,
        Some("5000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for the consumer group protocol (KIP-848), which the broker does not serve yet: lower bound of \
         what one group may choose: how often members heartbeat.",
    ),
    row(
        "group.consumer.min.session.timeout.ms",
        Int,
        Some("45000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for the consumer group protocol (KIP-848), which the broker does not serve yet: lower bound of \
         what one group may choose: how long a silent member stays.",
    ),
    row(
        "group.consumer.regex.refresh.interval.ms",
        Int,
        Some("600000"),
        Check::Range(10000, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for the consumer group protocol (KIP-848), which the broker does not serve yet: how often \
         subscriptions by pattern are matched again.",
    )
    .internal(),
    row(
        "group.consumer.session.timeout.ms",
        Int,
        Some("45000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for the consumer group protocol (KIP-848), which the broker does not serve yet: how long a \
         silent member stays.",
    ),
    row(
        "group.share.assignment.interval.ms",
        Int,
        Some("1000"),
        Check::Range(0, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for share groups (KIP-932), which the broker does not serve yet: how often a new assignment may \
         be computed.",
    ),
    row(
        "group.share.assignors",
        List,
        Some("simple"),
        Check::Any,
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: how partitions are spread over \
         members.",
    ),
    row(
        "group.share.delivery.count.limit",
        Int,
        Some("5"),
        Check::Range(2, 10),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: how often a record is handed \
         out before it is given up.",
    ),
    row(
        "group.share.heartbeat.interval.ms",
        Int,
        Some("5000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: how often members heartbeat.",
    ),
    row(
        "group.share.initialize.retry.interval.ms",
        Int,
        Some("30000"),
        Check::Range(1, MAX_INT),
        Low,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: the wait before setting up a \
         partition is tried again.",
    )
    .internal(),
    row(
        "group.share.max.assignment.interval.ms",
        Int,
        Some("15000"),
        Check::Range(0, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: upper bound of what one group \
         may choose: how often a new assignment may be computed.",
    ),
    row(
        "group.share.max.delivery.count.limit",
        Int,
        Some("10"),
        Check::Range(5, 25),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: upper bound of what one group \
         may choose: how often a record is handed out before it is given up.",
    ),
    row(
        "group.share.max.heartbeat.interval.ms",
        Int,
        Some("15000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: upper bound of what one group \
         may choose: how often members heartbeat.",
    ),
    row(
        "group.share.max.partition.max.record.locks",
        Int,
        Some("4000"),
        Check::Range(2000, 10000),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: upper bound of what one group \
         may choose: the most records of a partition in hand at a time.",
    ),
    row(
        "group.share.max.record.lock.duration.ms",
        Int,
        Some("60000"),
        Check::Range(30000, 3600000),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: upper bound of what one group \
         may choose: how long a record stays in hand.",
    ),
    row(
        "group.share.max.session.timeout.ms",
        Int,
        Some("60000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: upper bound of what one group \
         may choose: how long a silent member stays.",
    ),
    row(
        "group.share.max.share.sessions",
        Int,
        Some("2000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: the most share sessions kept.",
    ),
    row(
        "group.share.max.size",
        Int,
        Some("200"),
        Check::Range(1, 1000),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: the most members of a group.",
    ),
    row(
        "group.share.min.assignment.interval.ms",
        Int,
        Some("0"),
        Check::Range(0, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: lower bound of what one group \
         may choose: how often a new assignment may be computed.",
    ),
    row(
        "group.share.min.delivery.count.limit",
        Int,
        Some("2"),
        Check::Range(2, 5),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: lower bound of what one group \
         may choose: how often a record is handed out before it is given up.",
    ),
    row(
        "group.share.min.heartbeat.interval.ms",
        Int,
        Some("5000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: lower bound of what one group \
         may choose: how often members heartbeat.",
    ),
    row(
        "group.share.min.partition.max.record.locks",
        Int,
        Some("100"),
        Check::Range(100, 2000),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: lower bound of what one group \
         may choose: the most records of a partition in hand at a time.",
    ),
    row(
        "group.share.min.record.lock.duration.ms",
        Int,
        Some("15000"),
        Check::Range(1000, 30000),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: lower bound of what one group \
         may choose: how long a record stays in hand.",
    ),
    row(
        "group.share.min.session.timeout.ms",
        Int,
        Some("45000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: lower bound of what one group \
         may choose: how long a silent member stays.",
    ),
    row(
        "group.share.partition.max.record.locks",
        Int,
        Some("2000"),
        Check::Range(100, 10000),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: the most records of a \
         partition in hand at a time.",
    ),
    row(
        "group.share.persister.class.name",
        String,
        Some("org.apache.kafka.server.share.persister.DefaultStatePersister"),
        Check::Any,
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: where the state of share \
         groups is kept.",
    )
    .internal(),
    row(
        "group.share.record.lock.duration.ms",
        Int,
        Some("30000"),
        Check::Range(1000, 3600000),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: how long a record stays in hand.",
    ),
    row(
        "group.share.session.timeout.ms",
        Int,
        Some("45000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for share groups (KIP-932), which the broker does not serve yet: how long a silent member stays.",
    ),
    row(
        "group.streams.assignment.interval.ms",
        Int,
        Some("1000"),
        Check::Range(0, MAX_INT),
        Medium,
        ClusterWide,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: how often a new assignment \
         may be computed.",
    ),
    row(
        "group.streams.heartbeat.interval.ms",
        Int,
        Some("5000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: how often members heartbeat.",
    ),
    row(
        "group.streams.initial.rebalance.delay.ms",
        Int,
        Some("3000"),
        Check::Range(0, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: how long the first \
         assignment waits for more members.",
    ),
    row(
        "group.streams.max.assignment.interval.ms",
        Int,
        Some("15000"),
        Check::Range(0, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: upper bound of what one \
         group may choose: how often a new assignment may be computed.",
    ),
    row(
        "group.streams.max.heartbeat.interval.ms",
        Int,
        Some("15000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: upper bound of what one \
         group may choose: how often members heartbeat.",
    ),
    row(
        "group.streams.max.session.timeout.ms",
        Int,
        Some("60000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: upper bound of what one \
         group may choose: how long a silent member stays.",
    ),
    row(
        "group.streams.max.size",
        Int,
        Some("2147483647"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: the most members of a group.",
    ),
    row(
        "group.streams.max.standby.replicas",
        Int,
        Some("2"),
        Check::Range(0, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: the most standby copies \
         that a group may ask for.",
    ),
    row(
        "group.streams.min.assignment.interval.ms",
        Int,
        Some("0"),
        Check::Range(0, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: lower bound of what one \
         group may choose: how often a new assignment may be computed.",
    ),
    row(
        "group.streams.min.heartbeat.interval.ms",
        Int,
        Some("5000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: lower bound of what one \
         group may choose: how often members heartbeat.",
    ),
    row(
        "group.streams.min.session.timeout.ms",
        Int,
        Some("45000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: lower bound of what one \
         group may choose: how long a silent member stays.",
    ),
    row(
        "group.streams.num.standby.replicas",
        Int,
        Some("0"),
        Check::Range(0, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: standby copies of each \
         state store.",
    ),
    row(
        "group.streams.session.timeout.ms",
        Int,
        Some("45000"),
        Check::Range(1, MAX_INT),
        Medium,
        ReadOnly,
        "Known, for streams groups (KIP-1071), which the broker does not serve yet: how long a silent member \
         stays.",
    ),
];
