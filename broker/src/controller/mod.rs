//! What the active controller decides: pure functions of the metadata. Their records go through
//! [`Topics::change`](crate::topics::Topics::change).
//!
//! - `election`: who leads a partition, and who may (ISR, ELR).
//! - `isr`: changes of in-sync replicas that leaders ask for.
//! - `registration`: who may be a broker, what its heartbeats lead to, how it leaves.
//! - `liveness`: who is heard.
//! - `size_rule`: what any broker or topic accepts, every broker can fetch.
//! - `placement`: where new partitions live.
//! - `reassign`: partitions move to other brokers, and back.
//! - `leaders`: elections that were asked for, and preferred leaders.

pub mod election;
pub mod isr;
pub mod leaders;
pub mod liveness;
pub mod placement;
pub mod reassign;
pub mod registration;
pub mod size_rule;

use crate::config::Config;
use crate::topics::record::ElectionDefaults;

/// What holds for partitions whose topic says nothing, as this node is configured.
pub fn election_defaults(config: &Config) -> ElectionDefaults {
    let topics = &config.topic_defaults;
    ElectionDefaults { min_insync_replicas: topics.min_insync_replicas, unclean: topics.unclean_leader_election_enable }
}

#[cfg(test)]
pub(crate) mod testing;
