//! The group coordinator: where the pure machine of [`group`](crate::group) meets the log and the clock.
//!
//! Reading order: [`runtime`] (shards, their locks, parked requests, the timer task), `load` (a shard from its partition),
//! `batches` (records to batches), `timers` (deadlines), `topic` (how `__consumer_offsets` comes to be).

mod batches;
mod load;
mod runtime;
mod timers;
mod topic;

pub use runtime::{Groups, Outcome, partition_for};
