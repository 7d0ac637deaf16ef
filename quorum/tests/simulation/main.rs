//! openraft with our store, our journal and our node, on disks and a network in memory, in simulated time.
//!
//! `QUORUM_SEED=n` runs one seed of the storm, `QUORUM_SEEDS=n` that many. A seed gives the same faults at the same times;
//! openraft and tokio throw dice of their own, so that a failure may take several runs of its seed to come again.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::disallowed_methods, reason = "tests measure simulated time")]
#![allow(unreachable_pub, reason = "nobody else sees the modules of a test")]

mod disk;
mod faults;
mod members;
mod network;
mod oracle;
mod storm;
mod world;
