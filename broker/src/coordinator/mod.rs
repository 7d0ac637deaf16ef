//! The group coordinator: where the pure machine of [`group`](crate::group) meets the log and the clock.
//!
//! Reading order: [`runtime`] (shards, their locks, parked requests, the timer task), `load` (a shard from its partition),
//! `batches` (records to batches), `timers` (deadlines).

mod batches;
mod load;
mod runtime;
mod timers;

pub use runtime::{Groups, Outcome, partition_for};

/// The topic that holds the state of all groups.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
