//! What the active controller decides: pure functions of the metadata. Their records go through
//! [`Topics::change`](crate::topics::Topics::change).
//!
//! - `election`: who leads a partition, and who may (ISR, ELR).

pub mod election;
