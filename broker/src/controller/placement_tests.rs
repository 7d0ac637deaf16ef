#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn broker(id: i32, rack: &'static str) -> Broker<'static> {
    Broker { id, rack: (!rack.is_empty()).then_some(rack), state: State::Active }
}

fn fenced(id: i32, rack: &'static str) -> Broker<'static> {
    Broker { state: State::Fenced, ..broker(id, rack) }
}

#[test]
fn without_racks_brokers_take_turns() {
    let brokers = [broker(1, ""), broker(2, ""), broker(3, "")];
    let placed = place(&brokers, 0, 6, 2).unwrap();
    assert_eq!(placed, [[1, 2], [2, 3], [3, 1], [1, 3], [2, 1], [3, 2]]);
    assert_eq!(place(&brokers, 1, 1, 3).unwrap(), [[2, 3, 1]], "the turn goes on behind what is there");
}

#[test]
fn each_replica_is_in_another_rack_while_there_are_racks() {
    let brokers = [broker(1, "a"), broker(2, "a"), broker(3, "b"), broker(4, "b"), broker(5, "c"), broker(6, "c")];
    for replicas in place(&brokers, 0, 60, 3).unwrap() {
        let racks: BTreeSet<i32> = replicas.iter().map(|id| (id - 1) / 2).collect();
        assert_eq!(racks.len(), 3, "{replicas:?}");
    }
}

#[test]
fn racks_go_before_even_load() {
    let brokers = [broker(1, "a"), broker(2, "a"), broker(3, "a"), broker(4, "b")];
    let placed = place(&brokers, 0, 12, 2).unwrap();
    assert!(placed.iter().all(|replicas| replicas.contains(&4)));
}

#[test]
fn fenced_brokers_get_only_what_nobody_else_can_take_and_never_lead() {
    let brokers = [broker(1, ""), fenced(2, ""), broker(3, "")];
    assert!(place(&brokers, 0, 9, 2).unwrap().iter().all(|replicas| !replicas.contains(&2)));
    let all = place(&brokers, 0, 9, 3).unwrap();
    assert!(all.iter().all(|replicas| replicas[0] != 2 && replicas.contains(&2)));
}

#[test]
fn a_broker_that_is_stopping_gets_nothing() {
    let stopping = Broker { state: State::Stopping, ..broker(2, "") };
    let brokers = [broker(1, ""), stopping];
    assert_eq!(place(&brokers, 0, 2, 1).unwrap(), [[1], [1]]);
    let error = place(&brokers, 0, 1, 2).unwrap_err();
    assert_eq!(error, PlacementError::TooFewBrokers { wanted: 2, brokers: 1 });
}

#[test]
fn nothing_is_placed_where_nobody_could_lead() {
    assert_eq!(place(&[fenced(1, "")], 0, 1, 1), Err(PlacementError::AllFenced));
    let error = place(&[broker(1, "")], 0, 1, 2).unwrap_err().to_string();
    assert_eq!(error, "The target replication factor of 2 cannot be reached because only 1 broker(s) are registered.");
}

#[test]
fn the_leaders_of_a_lost_broker_are_spread_over_the_others() {
    let brokers: Vec<_> = (1..=5).map(|id| broker(id, "")).collect();
    let placed = place(&brokers, 0, 100, 3).unwrap();
    let mut next: BTreeMap<i32, usize> = BTreeMap::new();
    for replicas in placed.iter().filter(|replicas| replicas[0] == 1) {
        *next.entry(replicas[1]).or_default() += 1;
    }
    assert!(next.len() == 4 && next.values().all(|count| (3..=7).contains(count)), "{next:?}");
}

proptest! {
    #[test]
    fn placement_is_even_and_never_repeats_a_broker(
        brokers in 1usize..12, racks in 1usize..5, start in 0usize..50, count in 0usize..80, factor in 1usize..6,
    ) {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        let brokers: Vec<_> = (0..brokers).map(|at| broker(at as i32, NAMES[at % racks.min(4)])).collect();
        let placed = place(&brokers, start, count, factor);
        if factor > brokers.len() {
            prop_assert!(placed.is_err());
            return Ok(());
        }
        let placed = placed.unwrap();
        prop_assert_eq!(placed.len(), count);
        let mut leaders: BTreeMap<i32, usize> = brokers.iter().map(|broker| (broker.id, 0)).collect();
        for replicas in &placed {
            let different: BTreeSet<_> = replicas.iter().collect();
            prop_assert_eq!((replicas.len(), different.len()), (factor, factor));
            let rack = |id: &i32| brokers[*id as usize].rack;
            let spread: BTreeSet<_> = replicas.iter().map(rack).collect();
            let there: BTreeSet<_> = brokers.iter().map(|broker| broker.rack).collect();
            prop_assert_eq!(spread.len(), factor.min(there.len()));
            *leaders.get_mut(&replicas[0]).unwrap() += 1;
        }
        let (least, most) = (leaders.values().min().unwrap(), leaders.values().max().unwrap());
        prop_assert!(most - least <= 1, "leaders {:?}", leaders);
    }
}
