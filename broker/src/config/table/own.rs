//! Settings of Jackdaw's own, which Kafka does not know.

use super::row;
use crate::config::definition::Importance::High;
use crate::config::definition::Type::Boolean;
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
     true: when it is in their page caches, as Kafka does it; a power cut of all replicas at once may then lose acknowledged records.",
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
