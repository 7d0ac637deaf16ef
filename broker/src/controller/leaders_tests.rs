#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;
use crate::controller::testing::{Cluster, DEFAULTS};

#[test]
fn the_preferred_leader_gets_its_partition_back_and_asking_again_is_not_needed() {
    let mut cluster = Cluster::of(3);
    cluster.topic("t", &[&[1, 2, 3]]);
    cluster.fence(1);
    assert_eq!(cluster.partition("t", 0).leader, 2);
    let elect = |cluster: &Cluster| elect(cluster.image(), "t", 0, Wanted::Preferred, DEFAULTS);
    assert_eq!(elect(&cluster), Err(ElectError::PreferredNotAvailable), "it is fenced");
    cluster.unfence(1);
    assert_eq!(elect(&cluster), Err(ElectError::PreferredNotAvailable), "it is not in sync");
    cluster.isr("t", 0, &[2, 3, 1]);
    let record = elect(&cluster).unwrap();
    cluster.apply(&record);
    let after = cluster.partition("t", 0);
    assert_eq!((after.leader, &*after.isr), (1, [2, 3, 1].as_slice()));
    assert_eq!(elect(&cluster), Err(ElectError::NotNeeded));
}

#[test]
fn an_unclean_election_is_for_partitions_without_leader_and_takes_who_is_there() {
    let mut cluster = Cluster::of(2);
    cluster.topic("t", &[&[1, 2]]);
    let elect = |cluster: &Cluster| elect(cluster.image(), "t", 0, Wanted::Unclean, DEFAULTS);
    assert_eq!(elect(&cluster), Err(ElectError::NotNeeded));
    cluster.fence(2);
    cluster.fence(1);
    assert_eq!(cluster.partition("t", 0).leader, PartitionImage::NO_LEADER);
    assert_eq!(elect(&cluster), Err(ElectError::NobodyEligible));
    cluster.unfence(2);
    assert_eq!(cluster.partition("t", 0).leader, PartitionImage::NO_LEADER, "2 may lack records");
    let record = elect(&cluster).unwrap();
    cluster.apply(&record);
    let after = cluster.partition("t", 0);
    assert_eq!((after.leader, &*after.isr, after.is_recovering()), (2, [2].as_slice(), true));
}

#[test]
fn what_does_not_exist_is_named() {
    let mut cluster = Cluster::of(1);
    cluster.topic("t", &[&[1]]);
    let error = |topic: &str, partition: i32| {
        elect(cluster.image(), topic, partition, Wanted::Preferred, DEFAULTS).unwrap_err().to_string()
    };
    assert_eq!(error("u", 0), "No such topic as u");
    assert_eq!(error("t", 1), "No such partition as t-1");
    assert_eq!(error("t", -1), "No such partition as t--1");
}

#[test]
fn balancing_moves_leadership_only_to_preferred_leaders_in_sync() {
    let mut cluster = Cluster::of(3);
    cluster.topic("t", &[&[1, 2], &[2, 3], &[3, 1], &[1, 3]]);
    assert!(balance(cluster.image(), DEFAULTS).is_empty());
    cluster.fence(1);
    cluster.unfence(1);
    assert!(balance(cluster.image(), DEFAULTS).is_empty(), "1 is not in sync yet");
    cluster.isr("t", 0, &[2, 1]);
    let records = balance(cluster.image(), DEFAULTS);
    assert_eq!(records.len(), 1);
    cluster.apply(&records[0]);
    assert_eq!((cluster.partition("t", 0).leader, cluster.partition("t", 3).leader), (1, 3));
}

#[test]
fn who_allows_unclean_elections_gets_a_leader_at_once_and_others_wait() {
    let mut cluster = Cluster::of(2);
    cluster.topic("t", &[&[1, 2], &[2, 1]]);
    cluster.topic("u", &[&[1, 2]]);
    for broker in [2, 1] {
        cluster.fence(broker);
    }
    cluster.unfence(2);
    // 1 went last: only it holds everything.
    assert!(elect_uncleanly(cluster.image(), DEFAULTS).is_empty());
    cluster.configure("t", "unclean.leader.election.enable", "true");
    let records = elect_uncleanly(cluster.image(), DEFAULTS);
    assert_eq!(records.len(), 2);
    for record in &records {
        cluster.apply(record);
    }
    assert_eq!((cluster.partition("t", 0).leader, cluster.partition("t", 1).leader), (2, 2));
    assert_eq!(cluster.partition("u", 0).leader, PartitionImage::NO_LEADER);
    assert!(elect_uncleanly(cluster.image(), DEFAULTS).is_empty());
}
