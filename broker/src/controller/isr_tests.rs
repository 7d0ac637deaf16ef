#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
use super::*;
use crate::controller::testing::{Cluster, DEFAULTS};

fn cluster() -> (Cluster, Uuid) {
    let mut cluster = Cluster::of(4);
    cluster.topic("t", &[&[1, 2, 3]]);
    let id = cluster.image().topic("t").unwrap().id;
    (cluster, id)
}

/// Brokers of the cluster are registered with their ids as epochs.
fn asked(topic: Uuid, isr: &[i32]) -> IsrChange {
    let isr = isr.iter().map(|&id| (id, i64::from(id))).collect();
    IsrChange { topic, partition: 0, leader_epoch: 0, partition_epoch: 0, isr, is_recovering: false }
}

fn refused(cluster: &Cluster, leader: i32, asked: &IsrChange) -> IsrError {
    change(cluster.image(), leader, asked, DEFAULTS).unwrap_err()
}

#[test]
fn a_leader_shrinks_and_expands_its_isr() {
    let (mut cluster, id) = cluster();
    let shrunk = change(cluster.image(), 1, &asked(id, &[1, 2]), DEFAULTS).unwrap();
    assert_eq!((&*shrunk.after.isr, shrunk.after.partition_epoch, shrunk.after.leader_epoch), (&[1, 2][..], 1, 0));
    cluster.apply(&shrunk.record.unwrap());
    let back = IsrChange { partition_epoch: 1, ..asked(id, &[1, 2, 3]) };
    let expanded = change(cluster.image(), 1, &back, DEFAULTS).unwrap();
    assert_eq!((&*expanded.after.isr, expanded.after.partition_epoch), (&[1, 2, 3][..], 2));
}

#[test]
fn stale_and_unknown_epochs_are_refused() {
    let (mut cluster, id) = cluster();
    let shrunk = change(cluster.image(), 1, &asked(id, &[1, 2]), DEFAULTS).unwrap();
    cluster.apply(&shrunk.record.unwrap());
    let again = refused(&cluster, 1, &asked(id, &[1]));
    assert_eq!(again, IsrError::InvalidVersion { asked: 0, current: 1 });
    let early = IsrChange { partition_epoch: 2, ..asked(id, &[1]) };
    assert_eq!(refused(&cluster, 1, &early), IsrError::FromTheFuture);
    let future = IsrChange { leader_epoch: 1, ..asked(id, &[1]) };
    assert_eq!(refused(&cluster, 1, &future), IsrError::FromTheFuture);
    cluster.fence(1);
    let zombie = IsrChange { partition_epoch: 1, ..asked(id, &[1]) };
    assert!(matches!(refused(&cluster, 1, &zombie), IsrError::FencedLeader { asked: 0, current: 1 }));
}

#[test]
fn only_the_leader_asks_and_only_for_replicas() {
    let (cluster, id) = cluster();
    assert_eq!(refused(&cluster, 2, &asked(id, &[1, 2])), IsrError::NotTheLeader { asked: 2, leader: 1 });
    for isr in [&[2, 3][..], &[1, 4], &[1, 2, 2], &[]] {
        assert!(matches!(refused(&cluster, 1, &asked(id, isr)), IsrError::Invalid(_)), "{isr:?}");
    }
    assert_eq!(refused(&cluster, 1, &asked(Uuid::from_u128(9), &[1])), IsrError::UnknownTopic);
    let beyond = IsrChange { partition: 1, ..asked(id, &[1]) };
    assert_eq!(refused(&cluster, 1, &beyond), IsrError::UnknownPartition);
}

#[test]
fn who_is_fenced_or_was_started_anew_does_not_get_into_the_isr() {
    let (mut cluster, id) = cluster();
    let reborn = IsrChange { isr: vec![(1, 1), (2, 1)], ..asked(id, &[]) };
    assert!(matches!(refused(&cluster, 1, &reborn), IsrError::Ineligible { broker: 2, .. }));
    let unknown = IsrChange { isr: vec![(1, 1), (2, -1), (3, 3)], ..asked(id, &[]) };
    assert!(change(cluster.image(), 1, &unknown, DEFAULTS).is_ok());
    cluster.fence(3);
    let partition_epoch = cluster.partition("t", 0).partition_epoch;
    let fenced = IsrChange { partition_epoch, ..asked(id, &[1, 2, 3]) };
    assert!(matches!(refused(&cluster, 1, &fenced), IsrError::Ineligible { broker: 3, .. }));
}

#[test]
fn who_leaves_below_min_isr_stays_eligible() {
    let (mut cluster, id) = cluster();
    cluster.configure("t", "min.insync.replicas", "2");
    let changed = change(cluster.image(), 1, &asked(id, &[1]), DEFAULTS).unwrap();
    assert_eq!(changed.after.elr(), [2, 3]);
}
