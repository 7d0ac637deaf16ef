//! What the whole-program tests share.
//!
//! - [`broker`]: the built `jackdaw` binary on a free port, with a data directory of its own, to be stopped, killed and started again.
//! - [`cluster`]: three or five of them that are one cluster.
//! - [`wire`]: a blocking client that sends and receives frames, valid or not.
//! - [`batch`]: record batches made and read byte by byte, independently of the codec under test.
//! - [`kafka`]: a real Apache Kafka, to compare with.
//! - [`Ledger`]: a producer that remembers what was acknowledged, and compares it with what is there later.
//! - [`log_dirs`]: where partitions are, and moving them.
//! - [`volume`]: a file system of a test's own, which can lose its power.
//! - [`requests`]: the few requests that nearly every test begins with.
//!
//! Everything here panics on surprise: it is called by tests only.
#![allow(clippy::unwrap_used, reason = "a test that meets a surprise should stop right there")]
#![allow(clippy::disallowed_methods, reason = "a test measures how long things take and looks at the files")]

pub mod batch;
pub mod broker;
pub mod cluster;
pub mod kafka;
mod ledger;
pub mod log_dirs;
pub mod requests;
pub mod volume;
pub mod wire;

pub use broker::{Broker, Options, PATIENCE};
pub use cluster::{Cluster, ClusterOptions};
pub use kafka_protocol::messages;
pub use ledger::{Ledger, Over};
pub use wire::Client;
