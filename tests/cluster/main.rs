//! Three processes that are one cluster: what it promises while one of them is killed, stopped, frozen or emptied.
//!
//! Random faults of all kinds are `jackdaw chaos run`'s; here stands what must be so each time.
#![allow(clippy::unwrap_used, reason = "a test that meets a surprise should stop right there")]
#![allow(clippy::disallowed_methods, reason = "a test measures how long things take and looks at the files")]

mod bad_input;
mod configs;
mod failover;
mod formation;
mod groups;
mod moves;
mod reading;
mod replication;
mod size_rule;
mod throttles;

use jackdaw_test_support::batch::{Batch, Record};
use jackdaw_test_support::{Cluster, requests};

/// So many records, each of its own text.
fn numbered(from: usize, count: usize) -> Batch {
    Batch::of((from..from + count).map(|number| format!("record {number}")))
}

/// A producer that may try again: what it sends twice is there once.
struct Producer(i64, i16);

impl Producer {
    fn new(cluster: &Cluster) -> Producer {
        Producer::new_at(cluster, 1)
    }

    /// With an id that this node gives.
    fn new_at(cluster: &Cluster, node: i32) -> Producer {
        let (id, epoch) = requests::producer_id(&mut cluster.client(node));
        Producer(id, epoch)
    }

    /// The records of these numbers, with sequence numbers that are the same.
    fn batch(&self, from: usize, count: usize) -> Batch {
        numbered(from, count).producer(self.0, self.1, i32::try_from(from).unwrap())
    }
}

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| record.text().to_owned()).collect()
}

fn expected(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("record {number}")).collect()
}

/// Any node but this one.
fn another(cluster: &Cluster, than: i32) -> i32 {
    cluster.ids().into_iter().find(|id| *id != than).unwrap()
}
