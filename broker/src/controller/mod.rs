//! What the active controller decides: pure functions of the metadata. Their records go through
//! [`Topics::change`](crate::topics::Topics::change).
//!
//! - `election`: who leads a partition, and who may (ISR, ELR).
//! - `placement`: where new partitions live.
//! - `reassign`: partitions move to other brokers, and back.
//! - `leaders`: elections that were asked for, and preferred leaders.

pub mod election;
pub mod leaders;
pub mod placement;
pub mod reassign;

#[cfg(test)]
pub(crate) mod testing;
