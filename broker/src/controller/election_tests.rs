#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;

fn partition(isr: &[i32], leader: i32) -> PartitionImage {
    let mut partition = PartitionImage::new([1, 2, 3].as_slice().into());
    (partition.isr, partition.leader, partition.leader_epoch, partition.partition_epoch) = (isr.into(), leader, 5, 9);
    partition
}

fn goal<'a>(isr: &'a [i32], min_insync_replicas: i32) -> Goal<'a> {
    Goal { isr: Some(isr), ..Goal::elect(Election::Online, min_insync_replicas) }
}

fn alive(brokers: &'static [i32]) -> impl Fn(i32) -> bool {
    move |broker| brokers.contains(&broker)
}

#[test]
fn nothing_changes_without_a_reason() {
    let before = partition(&[1, 2, 3], 1);
    assert_eq!(settle(&before, &Goal::elect(Election::Online, 2), &alive(&[1, 2, 3])), None);
    assert_eq!(settle(&before, &Goal::elect(Election::Unclean, 2), &alive(&[1])), None);
}

#[test]
fn the_first_replica_in_sync_takes_over_in_a_new_epoch() {
    let after = settle(&partition(&[3, 2, 1], 1), &goal(&[3, 2], 2), &alive(&[2, 3])).unwrap();
    assert_eq!((after.leader, after.leader_epoch, after.partition_epoch), (2, 6, 10));
    assert_eq!((&*after.isr, after.elr()), ([3, 2].as_slice(), [].as_slice()));
}

#[test]
fn a_leader_that_stays_keeps_its_epoch_when_the_isr_shrinks() {
    let after = settle(&partition(&[1, 2, 3], 1), &goal(&[1, 2], 2), &alive(&[1, 2])).unwrap();
    assert_eq!((after.leader, after.leader_epoch, after.partition_epoch), (1, 5, 10));
}

#[test]
fn who_leaves_below_the_minimum_stays_eligible_and_leads_again_when_all_others_are_gone() {
    let one = settle(&partition(&[1, 2], 1), &goal(&[1], 2), &alive(&[1])).unwrap();
    assert_eq!((&*one.isr, one.elr()), ([1].as_slice(), [2].as_slice()));
    let none = settle(&one, &goal(&[], 2), &alive(&[])).unwrap();
    assert_eq!((none.leader, &*none.isr, none.elr()), (-1, [].as_slice(), [1, 2].as_slice()));
    assert_eq!(
        settle(&none, &Goal::elect(Election::Online, 2), &alive(&[3])),
        None,
        "3 may lack what was acknowledged"
    );
    let back = settle(&none, &Goal::elect(Election::Online, 2), &alive(&[2, 3])).unwrap();
    assert_eq!((back.leader, &*back.isr, back.elr()), (2, [2].as_slice(), [1].as_slice()));
    assert_eq!(back.leader_epoch, none.leader_epoch + 1);
    let whole = settle(&back, &goal(&[2, 3], 2), &alive(&[2, 3])).unwrap();
    assert!(whole.elr().is_empty() && whole.rare.is_none());
}

#[test]
fn a_minimum_above_the_replica_count_counts_as_all_of_them() {
    let after = settle(&partition(&[1, 2, 3], 1), &goal(&[1, 2], 7), &alive(&[1, 2])).unwrap();
    assert_eq!(after.elr(), [3]);
}

#[test]
fn what_a_replica_lost_makes_it_neither_in_sync_nor_eligible() {
    let lost = Goal { lost: &[1], ..goal(&[2], 3) };
    let after = settle(&partition(&[1, 2], 1), &lost, &alive(&[2])).unwrap();
    assert_eq!((after.leader, after.elr()), (2, [].as_slice()));
}

#[test]
fn only_an_unclean_election_takes_a_replica_that_may_lack_records_and_says_so() {
    let before = partition(&[1], 1);
    let clean = settle(&before, &goal(&[], 1), &alive(&[3])).unwrap();
    assert_eq!((clean.leader, clean.is_recovering()), (-1, false));
    let unclean = Goal { election: Election::Unclean, ..goal(&[], 1) };
    let after = settle(&before, &unclean, &alive(&[3])).unwrap();
    assert_eq!((after.leader, &*after.isr, after.is_recovering()), (3, [3].as_slice(), true));
}

#[test]
fn the_preferred_leader_returns_only_if_it_is_in_sync() {
    let preferred = Goal::elect(Election::Preferred, 1);
    let after = settle(&partition(&[1, 2], 2), &preferred, &alive(&[1, 2])).unwrap();
    assert_eq!((after.leader, after.leader_epoch), (1, 6));
    assert_eq!(settle(&partition(&[2, 3], 2), &preferred, &alive(&[1, 2, 3])), None);
}

#[test]
fn a_reassignment_ends_when_all_that_were_added_are_in_sync() {
    let mut before = partition(&[1, 2, 3], 1);
    before.replicas = [4, 5, 1, 2, 3].as_slice().into();
    before.rare =
        Some(Box::new(RarePartition { adding: vec![4, 5], removing: vec![1, 2, 3], ..RarePartition::default() }));
    let one = settle(&before, &goal(&[1, 2, 3, 4], 1), &alive(&[1, 2, 3, 4, 5])).unwrap();
    assert_eq!((one.leader, one.leader_epoch, one.adding()), (1, 5, [4, 5].as_slice()));
    let done = settle(&one, &goal(&[1, 2, 3, 4, 5], 1), &alive(&[1, 2, 3, 4, 5])).unwrap();
    assert_eq!((&*done.replicas, &*done.isr, done.leader), ([4, 5].as_slice(), [4, 5].as_slice(), 4));
    assert!(done.rare.is_none() && done.leader_epoch == 6);
}

#[test]
fn a_topics_own_settings_come_before_those_of_all_brokers_and_those_before_the_file() {
    let defaults = ElectionDefaults { min_insync_replicas: 1, unclean: false };
    let settings = |pairs: &[(&str, &str)]| -> Configs {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let mut topic =
        TopicImage { name: "t".into(), id: uuid::Uuid::from_u128(1), partitions: vec![], configs: settings(&[]) };
    assert_eq!(rules(&topic, &settings(&[]), defaults), defaults);
    let cluster = settings(&[("min.insync.replicas", "2"), ("unclean.leader.election.enable", "true")]);
    assert_eq!(rules(&topic, &cluster, defaults), ElectionDefaults { min_insync_replicas: 2, unclean: true });
    topic.configs = settings(&[("min.insync.replicas", "3"), ("unclean.leader.election.enable", "false")]);
    assert_eq!(rules(&topic, &cluster, defaults), ElectionDefaults { min_insync_replicas: 3, unclean: false });
}
