//! The group coordinator: where the pure machine of [`group`](crate::group) meets the log and the clock.
//!
//! Reading order: [`runtime`] (shards, their locks, parked requests, the timer task), `load` (a shard from its partition),
//! `batches` (records to batches), `timers` (deadlines), `topic` (how `__consumer_offsets` comes to be).

mod batches;
mod load;
mod outcome;
mod runtime;
mod timers;
mod topic;

pub use outcome::Outcome;
pub use runtime::{FetchedOffsets, Groups, Verdicts, partition_for};
