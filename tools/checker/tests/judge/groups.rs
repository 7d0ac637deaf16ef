//! Groups: what they committed, and that each record was theirs once.

use jackdaw_checker::Kind;
use jackdaw_checker::entry::{EntryType, Function};
use serde_json::{Value, json};

use crate::script::Script;

fn commit(script: &mut Script, kind: EntryType, offset: i64) {
    script.op(1, Function::Poll, kind, json!([["commit", {"a": offset}]]));
}

fn committed(script: &mut Script, offset: Value) {
    script.observe(2, json!([["committed", {"a": offset}]]));
}

fn group() -> Script {
    let mut script = Script::new();
    script.group("g");
    script
}

#[test]
fn a_committed_offset_is_the_last_that_was_committed() {
    let mut script = group();
    committed(&mut script, Value::Null);
    for offset in [5, 9, 7] {
        commit(&mut script, EntryType::Ok, offset);
        committed(&mut script, json!(offset));
    }
    script.assert_clean();
}

#[test]
fn an_older_committed_offset_than_the_last_has_regressed() {
    for saw in [json!(5), Value::Null] {
        let mut script = group();
        commit(&mut script, EntryType::Ok, 5);
        commit(&mut script, EntryType::Ok, 9);
        committed(&mut script, saw);
        script.assert_finds(&[Kind::CommitRegressed]);
    }
}

#[test]
fn a_commit_that_a_lower_one_replaced_must_not_come_back() {
    let mut script = group();
    commit(&mut script, EntryType::Ok, 9);
    commit(&mut script, EntryType::Ok, 5);
    committed(&mut script, json!(9));
    script.assert_finds(&[Kind::CommitRegressed]);
}

#[test]
fn commits_at_the_same_time_may_win_either_way() {
    for winner in [5, 9] {
        let mut script = group();
        for (process, offset) in [(1, 5), (3, 9)] {
            script.begin(process, Function::Poll, json!([["commit", {"a": offset}]]));
        }
        for (process, offset) in [(1, 5), (3, 9)] {
            script.end(process, Function::Poll, EntryType::Ok, json!([["commit", {"a": offset}]]));
        }
        committed(&mut script, json!(winner));
        script.assert_clean();
    }
}

#[test]
fn a_commit_of_unknown_end_may_take_effect_late_and_stays_when_it_was_seen() {
    let mut script = group();
    commit(&mut script, EntryType::Info, 5);
    commit(&mut script, EntryType::Ok, 9);
    committed(&mut script, json!(9));
    committed(&mut script, json!(5));
    script.assert_clean();
    let mut script = group();
    commit(&mut script, EntryType::Ok, 5);
    commit(&mut script, EntryType::Info, 9);
    committed(&mut script, json!(5));
    committed(&mut script, json!(9));
    script.assert_clean();
    committed(&mut script, json!(5));
    script.assert_finds(&[Kind::CommitRegressed]);
}

#[test]
fn an_offset_that_nobody_committed_is_unknown() {
    let mut script = group();
    commit(&mut script, EntryType::Ok, 5);
    committed(&mut script, json!(6));
    script.assert_finds(&[Kind::CommitUnknown]);
    let mut script = group();
    commit(&mut script, EntryType::Fail, 6);
    committed(&mut script, json!(6));
    script.assert_finds(&[Kind::CommitUnknown]);
}

#[test]
fn groups_do_not_see_each_others_commits() {
    let mut script = group();
    commit(&mut script, EntryType::Ok, 5);
    script.group("h");
    committed(&mut script, Value::Null);
    commit(&mut script, EntryType::Ok, 2);
    committed(&mut script, json!(2));
    script.assert_clean();
}

/// Four records in `in`, read by a final consumer.
fn source() -> Script {
    let mut script = Script::new();
    for at in 0..4 {
        script.send(9, json!([["send", "in", [at, at]]]));
    }
    script.poll(8, json!({"in": [[0, 0], [1, 1], [2, 2], [3, 3]]}));
    script.group("g");
    script
}

/// A transaction that takes records of `in`, and sends one to `out` for each.
fn process(script: &mut Script, process: u32, kind: EntryType, records: &[i64], out: i64) {
    let polled: Vec<_> = records.iter().map(|&at| (at, at)).collect();
    let mut ops = vec![json!(["poll", {"in": polled}])];
    for (offset, &record) in (out..).zip(records) {
        ops.push(json!(["send", "out", [offset, 100 * i64::from(process) + record]]));
    }
    ops.push(json!(["commit", {"in": records.last().unwrap() + 1}]));
    script.op(process, Function::Txn, kind, Value::Array(ops));
}

fn read_out(script: &mut Script, records: &[(i64, i64)]) {
    script.group("readers").poll(7, json!({"out": records}));
}

#[test]
fn each_record_once_is_exactly_once() {
    let mut script = source();
    process(&mut script, 1, EntryType::Ok, &[0, 1], 0);
    process(&mut script, 2, EntryType::Fail, &[2, 3], 2);
    process(&mut script, 3, EntryType::Ok, &[2, 3], 5);
    read_out(&mut script, &[(0, 100), (1, 101), (5, 302), (6, 303)]);
    script.assert_clean();
}

#[test]
fn a_record_in_two_committed_transactions_is_a_duplicate_of_the_group() {
    let mut script = source();
    process(&mut script, 1, EntryType::Ok, &[0, 1], 0);
    process(&mut script, 2, EntryType::Ok, &[1, 2], 3);
    read_out(&mut script, &[(0, 100), (1, 101), (3, 201), (4, 202)]);
    script.assert_finds(&[Kind::GroupDuplicate]);
}

#[test]
fn a_transaction_of_unknown_end_counts_when_its_records_were_read() {
    let mut script = source();
    process(&mut script, 1, EntryType::Info, &[0, 1], 0);
    process(&mut script, 2, EntryType::Ok, &[0, 1], 3);
    script.group("readers").poll(7, json!({"out": [[3, 200], [4, 201]]}));
    script.assert_clean();
    script.assign(7, &["out"], true).poll(7, json!({"out": [[0, 100], [1, 101]]}));
    assert_eq!(script.kinds(), [(Kind::GroupDuplicate, 2)]);
}

#[test]
fn a_record_that_the_group_went_past_is_a_skip() {
    let mut script = source();
    process(&mut script, 1, EntryType::Ok, &[0], 0);
    process(&mut script, 2, EntryType::Fail, &[1], 2);
    process(&mut script, 3, EntryType::Ok, &[2, 3], 4);
    read_out(&mut script, &[(0, 100), (4, 302), (5, 303)]);
    script.assert_finds(&[Kind::GroupSkip]);
}

#[test]
fn a_record_of_a_transaction_of_unknown_end_is_no_skip() {
    let mut script = source();
    process(&mut script, 1, EntryType::Ok, &[0], 0);
    process(&mut script, 2, EntryType::Info, &[1], 2);
    process(&mut script, 3, EntryType::Ok, &[2, 3], 4);
    read_out(&mut script, &[(0, 100), (4, 302), (5, 303)]);
    script.assert_clean();
}

#[test]
fn a_group_that_commits_outside_of_transactions_may_see_a_record_twice_but_skip_none() {
    let step = |script: &mut Script, process: u32, records: &[i64]| {
        let polled: Vec<_> = records.iter().map(|&at| (at, at)).collect();
        let next = records.last().unwrap() + 1;
        let ops = json!([["poll", {"in": polled}], ["commit", {"in": next}]]);
        script.op(process, Function::Poll, EntryType::Ok, ops);
    };
    let mut script = source();
    step(&mut script, 1, &[0, 1]);
    step(&mut script, 2, &[1, 2, 3]);
    script.assert_clean();
    let mut script = source();
    step(&mut script, 1, &[0]);
    step(&mut script, 2, &[2, 3]);
    script.assert_finds(&[Kind::GroupSkip]);
}
