//! Settings of Jackdaw's own, which Kafka does not know.

use super::{MAX_LONG, row};
use crate::config::definition::Importance::{High, Medium};
use crate::config::definition::Type::{Boolean, Long};
use crate::config::definition::Update::ClusterWide;
use crate::config::definition::{Check, Def};

/// The topic setting that trades the durability of acks=all for speed.
pub const WRITE_CACHING: &str = "write.caching";

pub(super) const TOPIC_DEFS: &[Def] = &[row(
    WRITE_CACHING,
    Boolean,
    Some("false"),
    Check::Any,
    High,
    ClusterWide,
    "Jackdaw's own. false: acks=all is answered when the data is on disk (fdatasync) on every in-sync replica. \
     true: when it is in their page caches, as Kafka does it; a power cut of all replicas at once may then lose \
     acknowledged records.",
)];

pub(super) const BROKER_DEFS: &[Def] = &[row(
    "log.write.caching",
    Boolean,
    Some("false"),
    Check::Any,
    High,
    ClusterWide,
    "Jackdaw's own. The default of the topic setting write.caching.",
)];

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
         follower.replication.throttled.replicas. Accepted so that tools work; a single node replicates nothing.",
    )
    .internal(),
    row(
        "leader.replication.throttled.rate",
        Long,
        Some("9223372036854775807"),
        Check::Range(0, MAX_LONG),
        Medium,
        ClusterWide,
        "Bytes per second that this broker may send for the replicas named in leader.replication.throttled.replicas. \
         Accepted so that tools work; a single node replicates nothing.",
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
