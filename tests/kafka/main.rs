//! The same history in Apache Kafka and in the broker under test: what is left must be the same.
//!
//! Every test sends the same bytes to both, lets both do what their settings say, and compares everything that a client can see
//! afterwards: offsets, batches, records, answers about time, aborted transactions. Apache Kafka 4.3.1 is right by definition.
//!
//! Run by `tests/run kafka`; `cargo test -p jackdaw-tests --test kafka` does too. Java and Maven are needed.
#![allow(clippy::unwrap_used, reason = "a test that meets a surprise should stop right there")]
#![allow(clippy::disallowed_methods, reason = "a test measures how long things take and looks at the files")]

mod both;
mod compaction;
mod exchange;
mod files;
mod left;
mod retention;
mod rolls;
mod transactional;
mod transactions;
