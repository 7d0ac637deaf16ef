//! What users rely on, each test with the broker it needs.
#![allow(clippy::unwrap_used, reason = "a test that meets a surprise should stop right there")]
#![allow(clippy::disallowed_methods, reason = "a test measures how long things take and looks at the files")]

mod compaction;
mod configs;
mod damage;
mod idempotence;
mod log_dirs;
mod long_poll;
mod moves;
mod rebalance;
mod restart;
mod retention;
mod size_rule;
mod start;

use std::sync::atomic::{AtomicU32, Ordering};

use jackdaw_test_support::{Client, requests};

fn client() -> Client {
    Client::of_shared_broker()
}

/// A name that no other test has.
fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A connection to the shared broker, and a new topic of one partition.
fn with_topic(what: &str) -> (Client, String) {
    let (mut client, name) = (client(), unique(what));
    requests::create_topic(&mut client, &name, 1);
    (client, name)
}
