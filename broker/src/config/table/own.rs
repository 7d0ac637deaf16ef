//! Settings of Jackdaw's own, which Kafka does not know.

use super::{MAX_LONG, row};
use crate::config::definition::Importance::{High, Medium};
use crate::config::definition::Type::{Boolean, List, Long, String};
use crate::config::definition::Update::{ClusterWide, ReadOnly};
use crate::config::definition::{Check, Def};

/// The topic setting that trades the durability of acks=all for speed.
pub const WRITE_CACHING: &str = "write.caching";

/// The topic setting that names the groups whose progress keeps segments.
pub const RETENTION_HOLD_GROUPS: &str = "retention.hold.groups";

/// The topic setting that bounds a hold in time.
pub const RETENTION_HOLD_MAX_MS: &str = "retention.hold.max.ms";

/// The topic setting that bounds a hold in size.
pub const RETENTION_HOLD_MAX_BYTES: &str = "retention.hold.max.bytes";

/// The address at which metrics are served.
pub const METRICS_LISTENER: &str = "metrics.listener";

pub(super) const TOPIC_DEFS: &[Def] = &[
    row(
        WRITE_CACHING,
        Boolean,
        Some("false"),
        Check::Any,
        High,
        ClusterWide,
        "Jackdaw's own. false: acks=all is answered when the data is on disk (fdatasync) on every in-sync replica. \
         true: when it is in their page caches, as Kafka does it; a power cut of all replicas at once may then lose \
         acknowledged records.",
    ),
    row(
        RETENTION_HOLD_GROUPS,
        List,
        Some(""),
        Check::Any,
        Medium,
        ClusterWide,
        "Jackdaw's own. Groups that must have consumed (committed past) a segment before retention drops it, within \
         retention.hold.max.ms and retention.hold.max.bytes. A group that never committed, or does not exist, holds \
         everything within these bounds. DeleteRecords is not held up.",
    ),
    row(
        RETENTION_HOLD_MAX_BYTES,
        Long,
        Some("10737418240"),
        Check::Range(0, MAX_LONG),
        Medium,
        ClusterWide,
        "Jackdaw's own. The most bytes past their retention that a partition keeps for retention.hold.groups; beyond it \
         the oldest segments go, read or not.",
    ),
    row(
        RETENTION_HOLD_MAX_MS,
        Long,
        Some("604800000"),
        Check::Range(0, MAX_LONG),
        Medium,
        ClusterWide,
        "Jackdaw's own. How long past retention.ms a segment is kept at most for retention.hold.groups. Where \
         retention.ms is -1, only retention.hold.max.bytes bounds the hold.",
    ),
];

pub(super) const BROKER_DEFS: &[Def] = &[
    row(
        "log.write.caching",
        Boolean,
        Some("false"),
        Check::Any,
        High,
        ClusterWide,
        "Jackdaw's own. The default of the topic setting write.caching.",
    ),
    row(
        METRICS_LISTENER,
        String,
        Some(""),
        Check::Any,
        Medium,
        ReadOnly,
        "Jackdaw's own. HOST:PORT at which GET /metrics answers in the text format of Prometheus; empty: nowhere. \
         There is no authentication: listen where only those reach it who may see names of topics and groups.",
    ),
];

/// Kafka's settings that exist at run time only: bounds that tools set while they move replicas.
pub(super) const RUN_TIME_DEFS: &[Def] = &[
    row(
        "follower.replication.throttled.rate",
        Long,
        Some("9223372036854775807"),
        Check::Range(0, MAX_LONG),
        Medium,
        ClusterWide,
        "Bytes per second that this broker may receive for the replicas named in \
         follower.replication.throttled.replicas.",
    )
    .internal(),
    row(
        "leader.replication.throttled.rate",
        Long,
        Some("9223372036854775807"),
        Check::Range(0, MAX_LONG),
        Medium,
        ClusterWide,
        "Bytes per second that this broker may send for the replicas named in \
         leader.replication.throttled.replicas that are not in sync.",
    )
    .internal(),
    row(
        "replica.alter.log.dirs.io.max.bytes.per.second",
        Long,
        Some("9223372036854775807"),
        Check::Range(0, MAX_LONG),
        Medium,
        ClusterWide,
        "Bytes per second that are copied into one log directory for replicas that are moved there.",
    )
    .internal(),
];
