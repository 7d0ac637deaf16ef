#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use proptest::prelude::*;

use super::*;
use crate::controller::placement;
use crate::controller::testing::{Cluster, DEFAULTS};

impl Cluster {
    fn reassign(&mut self, topic: &str, target: Option<&[i32]>) -> Result<bool, ReassignError> {
        let target = target.map(<[i32]>::to_vec);
        let command = Reassign { topic: topic.to_owned(), partition: 0, target, other_factor: true };
        let record = reassign(self.image(), &placement::brokers(self.image()), &command, DEFAULTS)?;
        if let Some(record) = &record {
            self.apply(record);
        }
        Ok(record.is_some())
    }

    fn message(&mut self, topic: &str, target: Option<&[i32]>) -> String {
        self.reassign(topic, target).unwrap_err().to_string()
    }
}

#[test]
fn old_and_new_replicas_are_there_until_the_new_ones_are_in_sync() {
    let mut cluster = Cluster::of(5);
    cluster.topic("t", &[&[1, 2, 3]]);
    cluster.reassign("t", Some(&[4, 5, 1])).unwrap();
    let during = cluster.partition("t", 0);
    assert_eq!((&*during.replicas, during.leader), ([4, 5, 1, 2, 3].as_slice(), 1));
    assert_eq!((during.adding(), during.removing()), ([4, 5].as_slice(), [2, 3].as_slice()));
    let topic = cluster.image().topic("t").unwrap().clone();
    assert_eq!(in_progress(&topic).map(|(partition, _)| partition).collect::<Vec<_>>(), [0]);
    cluster.isr("t", 0, &[1, 2, 3, 4]);
    assert!(is_in_progress(&cluster.partition("t", 0)));
    cluster.isr("t", 0, &[1, 2, 3, 4, 5]);
    let after = cluster.partition("t", 0);
    assert_eq!((&*after.replicas, &*after.isr, after.leader), ([4, 5, 1].as_slice(), [1, 4, 5].as_slice(), 1));
    assert!(!is_in_progress(&after));
}

#[test]
fn another_order_of_the_same_replicas_is_done_at_once() {
    let mut cluster = Cluster::of(3);
    cluster.topic("t", &[&[1, 2, 3]]);
    assert!(cluster.reassign("t", Some(&[3, 1, 2])).unwrap());
    let after = cluster.partition("t", 0);
    assert_eq!((&*after.replicas, after.leader, is_in_progress(&after)), ([3, 1, 2].as_slice(), 1, false));
    assert!(!cluster.reassign("t", Some(&[3, 1, 2])).unwrap(), "nothing is different");
}

#[test]
fn a_replica_that_leaves_leads_no_more_and_is_refused_by_a_new_epoch() {
    let mut cluster = Cluster::of(3);
    cluster.topic("t", &[&[1, 2, 3]]);
    let before = cluster.partition("t", 0);
    cluster.reassign("t", Some(&[2, 3])).unwrap();
    let after = cluster.partition("t", 0);
    assert_eq!((&*after.replicas, after.leader), ([2, 3].as_slice(), 2));
    assert_eq!(after.leader_epoch, before.leader_epoch + 1);
}

#[test]
fn giving_up_brings_the_old_replicas_back() {
    let mut cluster = Cluster::of(5);
    cluster.topic("t", &[&[1, 2, 3]]);
    assert_eq!(cluster.message("t", None), "No partition reassignment is in progress.");
    cluster.reassign("t", Some(&[4, 5])).unwrap();
    cluster.isr("t", 0, &[1, 2, 3, 4]);
    cluster.reassign("t", None).unwrap();
    let after = cluster.partition("t", 0);
    assert_eq!((&*after.replicas, &*after.isr), ([1, 2, 3].as_slice(), [1, 2, 3].as_slice()));
    assert!(!is_in_progress(&after) && after.leader == 1);
}

#[test]
fn giving_up_does_not_lose_what_only_the_new_replicas_hold() {
    let mut cluster = Cluster::of(4);
    cluster.topic("t", &[&[1, 2]]);
    cluster.reassign("t", Some(&[3, 4])).unwrap();
    cluster.isr("t", 0, &[1, 2, 3]);
    for broker in [1, 2] {
        cluster.fence(broker);
    }
    assert_eq!(&*cluster.partition("t", 0).isr, [3]);
    assert_eq!(
        cluster.message("t", None),
        "Unable to revert partition assignment for t:0 because it would require an unclean leader election."
    );
    cluster.configure("t", "unclean.leader.election.enable", "true");
    cluster.unfence(1);
    cluster.reassign("t", None).unwrap();
    let after = cluster.partition("t", 0);
    assert_eq!((&*after.replicas, &*after.isr, after.leader), ([1, 2].as_slice(), [1].as_slice(), 1));
}

#[test]
fn a_second_reassignment_takes_the_place_of_the_first() {
    let mut cluster = Cluster::of(6);
    cluster.topic("t", &[&[1, 2]]);
    cluster.reassign("t", Some(&[3, 4])).unwrap();
    cluster.reassign("t", Some(&[4, 5])).unwrap();
    let during = cluster.partition("t", 0);
    assert_eq!((during.adding(), during.removing()), ([4, 5].as_slice(), [1, 2, 3].as_slice()));
    cluster.isr("t", 0, &[1, 2, 4, 5]);
    assert_eq!(&*cluster.partition("t", 0).replicas, [4, 5]);
}

#[test]
fn targets_that_cannot_be_are_refused() {
    let mut cluster = Cluster::of(3);
    cluster.topic("t", &[&[1, 2]]);
    assert_eq!(cluster.message("u", Some(&[1])), "Unable to find a topic named u.");
    assert_eq!(cluster.message("t", Some(&[])), "The manual partition assignment includes an empty replica list.");
    assert_eq!(
        cluster.message("t", Some(&[1, 9])),
        "The manual partition assignment includes broker 9, but no such broker is registered."
    );
    assert_eq!(
        cluster.message("t", Some(&[1, 1])),
        "The manual partition assignment includes the broker 1 more than once."
    );
    let brokers = placement::brokers(cluster.image());
    let ask = |partition: i32, target: &[i32]| {
        let command = Reassign { topic: "t".to_owned(), partition, target: Some(target.to_vec()), other_factor: false };
        reassign(cluster.image(), &brokers, &command, DEFAULTS).unwrap_err().to_string()
    };
    assert_eq!(ask(7, &[1, 2]), "Unable to find partition t:7.");
    assert_eq!(ask(0, &[1, 2, 3]), "The replication factor is changed from 2 to 3");
}

/// Whatever comes in between, what is acknowledged (the ISR holds it) is never handed to replicas that lack it.
#[derive(Clone, Debug)]
enum Step {
    Reassign(Vec<i32>),
    GiveUp,
    Join(i32),
    Fence(i32),
    Unfence(i32),
}

fn step() -> impl Strategy<Value = Step> {
    let broker = 1..6i32;
    let replicas = proptest::sample::subsequence(vec![1, 2, 3, 4, 5], 1..4).prop_shuffle();
    prop_oneof![
        replicas.prop_map(Step::Reassign),
        Just(Step::GiveUp),
        broker.clone().prop_map(Step::Join),
        broker.clone().prop_map(Step::Fence),
        broker.prop_map(Step::Unfence),
    ]
}

proptest! {
    #[test]
    fn no_history_of_reassignments_makes_a_leader_of_who_does_not_hold_everything(
        steps in proptest::collection::vec(step(), 1..40)
    ) {
        let mut cluster = Cluster::of(5);
        cluster.topic("t", &[&[1, 2, 3]]);
        // Who holds everything that was acknowledged: those in sync, and those who were when nothing more could be.
        let mut holds: Vec<i32> = vec![1, 2, 3];
        for step in steps {
            let before = cluster.partition("t", 0);
            match step {
                Step::Reassign(target) => drop(cluster.reassign("t", Some(&target))),
                Step::GiveUp => drop(cluster.reassign("t", None)),
                Step::Join(broker) => {
                    let may = before.leader > 0
                        && before.replicas.contains(&broker)
                        && !before.isr.contains(&broker)
                        && cluster.image().is_active(broker);
                    if may {
                        let isr: Vec<i32> = before.isr.iter().copied().chain([broker]).collect();
                        holds.push(broker);
                        cluster.isr("t", 0, &isr);
                    }
                }
                Step::Fence(broker) => cluster.fence(broker),
                Step::Unfence(broker) => cluster.unfence(broker),
            }
            let after = cluster.partition("t", 0);
            if after.leader > 0 {
                prop_assert!(holds.contains(&after.leader), "{:?} leads, {:?} hold everything", after, holds);
                prop_assert!(after.isr.contains(&after.leader) && after.replicas.contains(&after.leader));
                // It goes on with its ISR: who is not in it falls behind.
                holds.retain(|broker| after.isr.contains(broker) || after.elr().contains(broker));
            }
            prop_assert!(after.adding().iter().all(|replica| after.replicas.contains(replica)));
            prop_assert!(after.removing().iter().all(|replica| after.replicas.contains(replica)));
            prop_assert!(after.isr.iter().all(|replica| after.replicas.contains(replica)));
            prop_assert!(after.partition_epoch >= before.partition_epoch);
            prop_assert!(!is_in_progress(&after) || !after.adding().is_empty() || !after.removing().is_empty());
        }
    }
}
