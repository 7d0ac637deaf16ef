//! The group coordinator: where the pure machine of [`group`](crate::group) meets the log and the clock.
//!
//! Reading order: [`runtime`] (shards, their locks, parked requests, the timer task), `load` (a shard from its partition),
//! `batches` (records to batches), `timers` (deadlines), `committed` (what groups have
//! consumed), `topic` (how `__consumer_offsets` comes to be),
//! `placement` (which of its partitions a group lives in).

mod batches;
mod committed;
mod load;
mod outcome;
mod placement;
mod runtime;
mod timers;
mod topic;

pub use committed::{CommittedOffset, CommittedOffsets, FetchedOffsets};
pub use outcome::Outcome;
pub use placement::partition_for;
pub use runtime::{Groups, Verdicts};
pub use topic::offsets_topic;
