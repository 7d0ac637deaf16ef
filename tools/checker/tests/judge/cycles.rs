//! Cycles, each with the nearest history that has none.

use jackdaw_checker::Kind;
use jackdaw_checker::entry::{EntryType, Function};
use serde_json::json;

use crate::script::Script;

/// Two transactions at once, with what they did.
fn two_at_once(first: serde_json::Value, second: serde_json::Value) -> Script {
    let mut script = Script::new();
    script.begin(1, Function::Txn, first.clone()).begin(2, Function::Txn, second.clone());
    script.end(1, Function::Txn, EntryType::Ok, first).end(2, Function::Txn, EntryType::Ok, second);
    script
}

#[test]
fn two_transactions_that_read_what_the_other_wrote_are_a_g1c() {
    let script = two_at_once(
        json!([["send", "a", [0, 10]], ["poll", {"b": [[0, 20]]}]]),
        json!([["send", "b", [0, 20]], ["poll", {"a": [[0, 10]]}]]),
    );
    script.assert_finds(&[Kind::G1c]);
    let report = script.report();
    assert!(!report.valid);
    let shown = &report.findings[0].shown[0];
    assert_eq!(shown.shown_by.len(), 2);
    assert!(shown.what.contains("a cycle of 2 operations"), "{}", shown.what);
}

#[test]
fn one_transaction_that_read_what_the_other_wrote_is_no_cycle() {
    let mut script = two_at_once(
        json!([["send", "a", [0, 10]], ["poll", {}]]),
        json!([["send", "b", [0, 20]], ["poll", {"a": [[0, 10]]}]]),
    );
    script.poll(3, json!({"b": [[0, 20]]}));
    script.assert_clean();
}

#[test]
fn the_shortest_of_a_longer_cycle_is_shown() {
    let mut script = Script::new();
    let ops = [
        json!([["send", "a", [0, 1]], ["poll", {"c": [[0, 3]], "d": [[0, 4]]}]]),
        json!([["send", "b", [0, 2]], ["poll", {"a": [[0, 1]]}]]),
        json!([["send", "c", [0, 3]], ["poll", {"b": [[0, 2]]}]]),
        json!([["send", "d", [0, 4]], ["poll", {"a": [[0, 1]]}]]),
    ];
    (1..).zip(&ops).for_each(|(process, ops)| {
        script.begin(process, Function::Txn, ops.clone());
    });
    (1..).zip(&ops).for_each(|(process, ops)| {
        script.end(process, Function::Txn, EntryType::Ok, ops.clone());
    });
    script.assert_finds(&[Kind::G1c]);
    assert!(script.report().findings[0].shown[0].what.contains("a cycle of 2 operations"));
}

#[test]
fn transactions_that_write_each_before_the_other_are_a_g0_which_is_allowed() {
    let mut script = two_at_once(
        json!([["send", "a", [0, 10]], ["send", "b", [1, 11]]]),
        json!([["send", "a", [1, 20]], ["send", "b", [0, 21]]]),
    );
    script.poll(3, json!({"a": [[0, 10], [1, 20]], "b": [[0, 21], [1, 11]]}));
    script.assert_finds(&[Kind::G0]);
    assert!(script.report().valid);
    let mut script = two_at_once(
        json!([["send", "a", [0, 10]], ["send", "b", [0, 11]]]),
        json!([["send", "a", [1, 20]], ["send", "b", [1, 21]]]),
    );
    script.poll(3, json!({"a": [[0, 10], [1, 20]], "b": [[0, 11], [1, 21]]}));
    script.assert_clean();
}

#[test]
fn a_cycle_that_needs_the_order_of_offsets_is_allowed_and_told_apart() {
    let script = two_at_once(
        json!([["send", "a", [1, 11]], ["send", "b", [0, 20]]]),
        json!([["send", "a", [0, 10]], ["poll", {"b": [[0, 20]]}]]),
    );
    let mut script = script;
    script.poll(3, json!({"a": [[0, 10], [1, 11]]}));
    script.assert_finds(&[Kind::G1cWrites]);
    assert!(script.report().valid);
}

/// Process 1 writes a, another reads it and ends, and then a third writes what process 1 has read: from its future.
fn from_the_future(reader: u32, writer: u32) -> Script {
    let mut script = Script::new();
    let first = json!([["send", "a", [0, 1]], ["poll", {"b": [[0, 2]]}]]);
    script.begin(1, Function::Txn, first.clone());
    script.poll(reader, json!({"a": [[0, 1]]}));
    script.send(writer, json!([["send", "b", [0, 2]]]));
    script.end(1, Function::Txn, EntryType::Ok, first);
    script
}

#[test]
fn a_cycle_over_the_order_of_a_process_is_one() {
    from_the_future(2, 2).assert_finds(&[Kind::G1cProcess]);
}

#[test]
fn a_cycle_over_the_order_of_time_is_one() {
    let script = from_the_future(2, 3);
    script.assert_finds(&[Kind::G1cRealtime]);
    assert_eq!(script.report().findings[0].shown[0].shown_by.len(), 3);
    assert!(script.report().findings[0].shown[0].what.contains("ended before the beginning of"));
}

#[test]
fn a_reader_that_ends_later_makes_no_cycle_of_time() {
    let mut script = Script::new();
    let first = json!([["send", "a", [0, 1]], ["poll", {"b": [[0, 2]]}]]);
    script.begin(1, Function::Txn, first.clone()).begin(2, Function::Poll, json!([["poll"]]));
    script.send(3, json!([["send", "b", [0, 2]]]));
    script.end(1, Function::Txn, EntryType::Ok, first);
    script.end(2, Function::Poll, EntryType::Ok, json!([["poll", {"a": [[0, 1]]}]]));
    script.assert_clean();
}

#[test]
fn writes_against_the_order_of_time_over_two_keys_are_allowed() {
    let mut script = Script::new();
    let first = json!([["send", "a", [0, 1]], ["send", "b", [1, 2]]]);
    script.begin(1, Function::Txn, first.clone());
    script.send(2, json!([["send", "a", [1, 3]]])).send(3, json!([["send", "b", [0, 4]]]));
    script.end(1, Function::Txn, EntryType::Ok, first);
    script.poll(4, json!({"a": [[0, 1], [1, 3]], "b": [[0, 4], [1, 2]]}));
    script.assert_finds(&[Kind::G0Realtime]);
    assert!(script.report().valid);
}

#[test]
fn a_hundred_thousand_operations_in_a_row_are_no_trouble() {
    let mut script = Script::new();
    for at in 0..50_000 {
        script.send(1, json!([["send", "a", [at, at]]])).poll(2, json!({"a": [[at, at]]}));
    }
    script.assert_clean();
}
