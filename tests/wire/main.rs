//! Bytes in, bytes out: what one connection sees, API by API and version by version.
#![allow(clippy::unwrap_used, reason = "a test that meets a surprise should stop right there")]
#![allow(clippy::disallowed_methods, reason = "a test measures how long things take and looks at the files")]

mod api_versions;
mod compression;
mod config_bounds;
mod connection;
mod every_version;
mod fetch;
mod groups;
mod list_offsets;
mod log_dirs;
mod metadata;
mod produce;
mod timestamps;
mod topics;

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

/// A connection, and the name of a group whose coordinator answers.
fn with_group(what: &str) -> (Client, String) {
    let (mut client, group) = (client(), unique(what));
    requests::coordinator(&mut client, &group);
    (client, group)
}

/// A connection, and a new topic of one partition.
fn with_topic(what: &str) -> (Client, String) {
    let (mut client, name) = (client(), unique(what));
    requests::create_topic(&mut client, &name, 1);
    (client, name)
}
