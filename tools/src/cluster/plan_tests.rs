#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;

fn node(id: i32, rack: &str) -> Node {
    Node { id, rack: (!rack.is_empty()).then(|| rack.to_owned()), open: true }
}

fn nodes(count: i32) -> Vec<Node> {
    (1..=count).map(|id| node(id, "")).collect()
}

fn part(index: i32, replicas: &[i32], bytes: u64) -> Part {
    Part { topic: "t".into(), index, replicas: replicas.to_vec(), bytes }
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn spread(values: impl Iterator<Item = u64> + Clone) -> u64 {
    values.clone().max().unwrap_or(0) - values.min().unwrap_or(0)
}

#[test]
fn nothing_moves_where_load_is_even() {
    let parts = [part(0, &[1, 2], 100), part(1, &[2, 3], 100), part(2, &[3, 1], 100)];
    assert_eq!(even(&nodes(3), &parts), []);
    assert_eq!(even(&nodes(1), &[part(0, &[1], 9)]), []);
    assert_eq!(even(&[], &[]), []);
}

#[test]
fn a_new_broker_gets_its_share_and_no_byte_more_moves() {
    let parts: Vec<Part> = (0..12).map(|index| part(index, &[1 + index % 3], 100)).collect();
    let moves = even(&nodes(4), &parts);
    assert_eq!(moves.iter().map(|m| m.bytes).sum::<u64>(), 300, "a quarter of 1,200");
    let loads = loads(&after(&parts, &moves));
    assert!(loads.values().all(|load| *load == Load { replicas: 3, leaders: 3, bytes: 300 }), "{loads:?}");
}

#[test]
fn leadership_becomes_even_without_moving_a_byte() {
    let parts: Vec<Part> = (0..9).map(|index| part(index, &[1, 2, 3], 50)).collect();
    let moves = even(&nodes(3), &parts);
    assert_eq!(moves.iter().map(|m| m.bytes).sum::<u64>(), 0);
    let loads = loads(&after(&parts, &moves));
    assert!(loads.values().all(|load| load.leaders == 3), "{loads:?}");
}

#[test]
fn leadership_goes_along_a_chain_where_no_partition_joins_the_two() {
    // 1 leads too much and 3 too little, and only 2 shares partitions with both.
    let parts =
        [part(0, &[1, 2], 1), part(1, &[1, 2], 1), part(2, &[2, 3], 1), part(3, &[1, 2], 1), part(4, &[3, 1], 1)];
    let mut board = Board::new(&nodes(3), &parts);
    board.even_leaders();
    let moves = board.moves(&parts);
    let loads = loads(&after(&parts, &moves));
    assert!(loads.values().all(|load| (1..=2).contains(&load.leaders)), "{loads:?}");
}

#[test]
fn racks_are_not_given_up_for_even_load() {
    let nodes = [node(1, "a"), node(2, "b"), node(3, "a")];
    let parts: Vec<Part> = (0..8).map(|index| part(index, &[1, 2], 100)).collect();
    for m in even(&nodes, &parts) {
        assert!(m.to.contains(&2), "{m:?}");
    }
    let loads = loads(&after(&parts, &even(&nodes, &parts)));
    assert_eq!((loads[&1].replicas, loads[&2].replicas, loads[&3].replicas), (4, 8, 4));
}

#[test]
fn a_broker_that_is_away_gets_nothing_and_keeps_what_it_has() {
    let mut nodes = nodes(3);
    nodes[2].open = false;
    let parts = [part(0, &[1, 3], 100), part(1, &[1, 3], 100), part(2, &[1, 9], 100), part(3, &[1, 9], 100)];
    let after = after(&parts, &even(&nodes, &parts));
    for (before, after) in parts.iter().zip(&after) {
        assert!(after.replicas.contains(&before.replicas[1]));
    }
    assert_eq!((loads(&after)[&1].bytes, loads(&after)[&2].bytes), (200, 200));
}

#[test]
fn draining_leaves_nothing_spreads_it_evenly_and_keeps_racks() {
    let nodes = [node(1, "a"), node(2, "a"), node(3, "b"), node(4, "b")];
    let parts: Vec<Part> = (0..20).map(|index| part(index, &[1 + index % 2, 3 + index % 2], 100)).collect();
    let (moves, stuck) = drain(&nodes, &parts, 4);
    assert_eq!((stuck.len(), moves.len()), (0, 10));
    assert!(moves.iter().all(|m| m.from.contains(&4) && m.to.contains(&3) && m.bytes == 100));
    let (moves, stuck) = drain(&nodes[..3], &parts[..1], 9);
    assert!(moves.is_empty() && stuck.is_empty(), "a broker that nobody knows holds nothing");
}

#[test]
fn a_drain_without_enough_brokers_names_what_cannot_leave() {
    let (moves, stuck) = drain(&nodes(2), &[part(0, &[1, 2], 5), part(1, &[1], 5)], 1);
    assert_eq!(stuck, [("t".into(), 0)]);
    assert_eq!(moves.iter().map(|m| (m.index, m.to.clone())).collect::<Vec<_>>(), [(1, vec![2])]);
}

#[test]
fn a_topic_gets_more_replicas_in_new_racks_first_and_fewer_where_they_are_missed_least() {
    let nodes = [node(1, "a"), node(2, "a"), node(3, "b"), node(4, "c")];
    let parts = [part(0, &[1], 10), part(1, &[2, 1], 10), part(2, &[3, 1, 2], 10)];
    let to = |factor| resize(&nodes, &parts, "t", factor).map(|moves| after(&parts, &moves));
    let replicas = |parts: Vec<Part>| parts.into_iter().map(|part| part.replicas).collect::<Vec<_>>();
    assert_eq!(replicas(to(2).unwrap()), [vec![1, 4], vec![2, 1], vec![3, 2]]);
    assert!(to(4).is_some() && to(5).is_none());
    assert_eq!(resize(&nodes, &parts, "u", 3), Some(Vec::new()));
}

#[test]
fn plans_of_random_clusters_are_even_valid_and_move_no_more_than_the_surplus() {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for round in 0..200 {
        let count = 2 + dice.below(6) as i32;
        let factor = 1 + dice.below(3.min(count as u64)) as usize;
        // The last broker is new.
        let parts: Vec<Part> = (0..dice.below(120) as i32)
            .map(|index| {
                let first = dice.below(count as u64) as i32;
                let replicas: Vec<i32> = (0..factor as i32).map(|n| 1 + (first + n) % count).collect();
                part(index, &replicas, dice.below(1000))
            })
            .collect();
        let nodes = nodes(count);
        let moves = even(&nodes, &parts);
        let then = after(&parts, &moves);
        for part in &then {
            let different: BTreeSet<_> = part.replicas.iter().collect();
            assert_eq!((part.replicas.len(), different.len()), (factor, factor), "round {round}");
        }
        let (before, now) = (loads(&parts), loads(&then));
        let of = |loads: &BTreeMap<i32, Load>, id: i32| loads.get(&id).copied().unwrap_or_default();
        let bytes = |loads: &BTreeMap<i32, Load>| nodes.iter().map(|node| of(loads, node.id).bytes).collect::<Vec<_>>();
        assert!(spread(bytes(&now).into_iter()) <= spread(bytes(&before).into_iter()).max(2_000), "round {round}");
        let leaders = nodes.iter().map(|node| of(&now, node.id).leaders as u64);
        if factor > 1 && count as usize == factor {
            assert!(spread(leaders) <= 1, "round {round}");
        }
        assert!(even(&nodes, &then).iter().map(|m| m.bytes).sum::<u64>() <= moves.iter().map(|m| m.bytes).sum::<u64>());
    }
}

#[test]
fn a_hundred_thousand_partitions_are_planned_in_seconds() {
    let parts: Vec<Part> = (0..100_000)
        .map(|index| part(index, &[1 + index % 3, 1 + (index + 1) % 3, 1 + (index + 2) % 3], 1000 + index as u64 % 7))
        .collect();
    let moves = even(&nodes(4), &parts);
    let loads = loads(&after(&parts, &moves));
    let spread_of = |of: fn(&Load) -> u64| spread(loads.values().map(of).collect::<Vec<_>>().into_iter());
    assert!(spread_of(|load| load.replicas as u64) <= 7_600 && spread_of(|load| load.leaders as u64) <= 1, "{loads:?}");
}
