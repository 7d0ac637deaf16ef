//! For each kind of anomaly about single records and consumers: a history without it, and the nearest one with it.

use jackdaw_checker::entry::{EntryType, Function};
use jackdaw_checker::{Kind, Limits};
use serde_json::json;

use crate::script::{Script, judge};

/// Two sends to `a`, at offsets 0 and 1.
fn two_sends() -> Script {
    let mut script = Script::new();
    script.send(1, json!([["send", "a", [0, 10]]])).send(1, json!([["send", "a", [1, 11]]]));
    script
}

#[test]
fn what_is_sent_and_read_in_order_is_clean() {
    let mut script = two_sends();
    script.poll(2, json!({"a": [[0, 10], [1, 11]]})).final_phase();
    script.assert_clean();
    let summary = script.report().summary;
    assert_eq!((summary.operations, summary.ok, summary.acknowledged_sends, summary.polled), (3, 3, 2, 2));
    assert!(summary.has_final_phase);
}

#[test]
fn one_offset_with_two_values_is_inconsistent() {
    let mut script = two_sends();
    script.poll(2, json!({"a": [[0, 10], [1, 11]]}));
    // Another consumer sees the second send's value at the offset of a third.
    script.send(3, json!([["send", "a", [2, 12]]])).poll(2, json!({"a": [[2, 12]]}));
    script.assert_clean();
    script.op(4, Function::Poll, EntryType::Ok, json!([["poll", {"a": [[0, 12]]}]]));
    assert_eq!(script.kinds(), [(Kind::InconsistentOffsets, 1), (Kind::Duplicate, 1)]);
}

#[test]
fn a_poll_of_a_failed_transaction_counts_for_offsets_too() {
    let mut script = two_sends();
    script.poll(2, json!({"a": [[0, 10], [1, 11]]}));
    script.send(1, json!([["send", "a", [2, 12]]])).poll(2, json!({"a": [[2, 12]]}));
    script.op(4, Function::Txn, EntryType::Fail, json!([["poll", {"a": [[1, 12]]}]]));
    assert_eq!(script.kinds(), [(Kind::InconsistentOffsets, 1), (Kind::Duplicate, 1)]);
}

#[test]
fn one_value_at_two_offsets_is_a_duplicate() {
    let mut script = two_sends();
    script.poll(2, json!({"a": [[0, 10], [1, 11], [2, 10]]}));
    script.assert_finds(&[Kind::Duplicate]);
}

#[test]
fn a_value_whose_writer_failed_must_not_be_read() {
    let mut script = two_sends();
    script.op(1, Function::Txn, EntryType::Fail, json!([["send", "a", [2, 12]]]));
    script.poll(2, json!({"a": [[0, 10], [1, 11]]}));
    script.assert_clean();
    script.poll(2, json!({"a": [[2, 12]]}));
    script.assert_finds(&[Kind::AbortedRead]);
}

#[test]
fn a_failed_poll_may_have_seen_anything() {
    let mut script = Script::new();
    script.op(1, Function::Txn, EntryType::Fail, json!([["send", "a", [0, 12]]]));
    script.op(2, Function::Txn, EntryType::Fail, json!([["poll", {"a": [[0, 12]]}]]));
    script.assert_clean();
}

#[test]
fn a_transaction_must_not_see_its_own_sends() {
    let mut script = two_sends();
    script.txn(3, json!([["poll", {"a": [[0, 10], [1, 11]]}], ["send", "a", [2, 12]], ["poll"]]));
    script.poll(3, json!({"a": [[2, 12]]}));
    script.assert_clean();
    let mut script = two_sends();
    script.txn(3, json!([["send", "a", [2, 12]], ["poll", {"a": [[0, 10], [1, 11], [2, 12]]}]]));
    script.assert_finds(&[Kind::PrecommittedRead]);
}

#[test]
fn a_send_outside_of_a_transaction_is_seen_at_once() {
    let mut script = Script::new();
    script.op(1, Function::Poll, EntryType::Ok, json!([["send", "a", [0, 12]], ["poll", {"a": [[0, 12]]}]]));
    script.assert_clean();
}

#[test]
fn a_value_that_nobody_sent_is_a_phantom() {
    let mut script = two_sends();
    script.poll(2, json!({"a": [[0, 10], [1, 11], [2, 99]]}));
    script.assert_finds(&[Kind::PhantomRead]);
}

#[test]
fn what_stands_before_a_record_that_was_read_must_be_read() {
    let mut script = two_sends();
    script.send(1, json!([["send", "a", [2, 12]]]));
    script.poll(2, json!({"a": [[0, 10]]})).poll(3, json!({"a": [[2, 12]]}));
    script.assert_finds(&[Kind::LostWrite]);
    // Somebody else has read it.
    script.poll(4, json!({"a": [[1, 11]]}));
    script.assert_clean();
}

#[test]
fn a_send_of_unknown_end_is_lost_only_if_it_took_effect() {
    let mut script = Script::new();
    script.op(1, Function::Send, EntryType::Info, json!([["send", "a", 10], ["send", "b", [0, 20]]]));
    script.send(2, json!([["send", "b", [1, 21]]])).poll(3, json!({"b": [[1, 21]]}));
    script.assert_clean();
    // The other of its sends was read: so it took effect, and offset 0 of b is lost.
    script.poll(3, json!({"a": [[0, 10]]}));
    script.assert_finds(&[Kind::LostWrite]);
}

#[test]
fn a_send_of_unknown_end_may_be_read_or_not() {
    let mut script = two_sends();
    script.begin(5, Function::Send, json!([["send", "a", 12]])).begin(6, Function::Send, json!([["send", "a", 13]]));
    script.poll(2, json!({"a": [[0, 10], [1, 11], [2, 13]]})).final_phase();
    script.assert_clean();
}

#[test]
fn an_acknowledged_tail_that_the_final_phase_did_not_read_is_unseen() {
    let mut script = two_sends();
    script.poll(2, json!({"a": [[0, 10]]}));
    script.assert_finds(&[Kind::UnseenYet]);
    assert!(script.report().valid, "without a final phase it may still come");
    script.final_phase();
    script.assert_finds(&[Kind::Unseen]);
    assert!(!script.report().valid);
    script.assign(2, &["a"], true).poll(2, json!({"a": [[0, 10], [1, 11]]}));
    script.assert_clean();
}

#[test]
fn an_acknowledged_send_without_an_offset_can_be_unseen_too() {
    let mut script = Script::new();
    script.send(1, json!([["send", "a", [null, 10]]])).final_phase();
    script.assert_finds(&[Kind::Unseen]);
}

fn four_read_by_another() -> Script {
    let mut script = Script::new();
    script.send(1, json!([["send", "a", [0, 10]], ["send", "a", [1, 11]]]));
    script.send(1, json!([["send", "a", [3, 12]], ["send", "a", [4, 13]]]));
    script.poll(9, json!({"a": [[0, 10], [1, 11], [3, 12], [4, 13]]}));
    script
}

#[test]
fn a_consumer_that_passes_over_a_record_between_polls_skips() {
    let mut script = four_read_by_another();
    // Offset 2 is nobody's record: a control record, say.
    script.assign(2, &["a"], true).poll(2, json!({"a": [[0, 10], [1, 11]]})).poll(2, json!({"a": [[3, 12]]}));
    script.assert_clean();
    let mut script = four_read_by_another();
    script.assign(2, &["a"], true).poll(2, json!({"a": [[0, 10]]})).poll(2, json!({"a": [[3, 12]]}));
    script.assert_finds(&[Kind::PollSkip]);
}

#[test]
fn a_consumer_may_go_anywhere_after_a_new_assignment_and_nowhere_after_the_same_one() {
    let mut script = four_read_by_another();
    script.assign(2, &["a"], false).poll(2, json!({"a": [[0, 10]]}));
    script.assign(2, &["b"], false).assign(2, &["a"], false).poll(2, json!({"a": [[4, 13]]}));
    script.assert_clean();
    let mut script = four_read_by_another();
    script.assign(2, &["a"], false).poll(2, json!({"a": [[0, 10]]}));
    script.assign(2, &["a", "b"], false).poll(2, json!({"a": [[4, 13]]}));
    script.assert_finds(&[Kind::PollSkip]);
}

#[test]
fn a_consumer_that_goes_back_between_polls_is_nonmonotonic() {
    let mut script = four_read_by_another();
    script.assign(2, &["a"], true).poll(2, json!({"a": [[0, 10], [1, 11]]})).poll(2, json!({"a": [[1, 11]]}));
    script.assert_finds(&[Kind::NonmonotonicPoll]);
    let mut script = four_read_by_another();
    script.poll(2, json!({"a": [[0, 10], [1, 11]]})).assign(2, &["a"], true).poll(2, json!({"a": [[0, 10]]}));
    script.assert_clean();
}

#[test]
fn a_consumer_goes_on_from_its_last_success_when_an_operation_failed() {
    let mut script = four_read_by_another();
    script.assign(2, &["a"], true).poll(2, json!({"a": [[0, 10]]}));
    script.op(2, Function::Txn, EntryType::Fail, json!([["poll", {"a": [[1, 11], [3, 12]]}]]));
    script.poll(2, json!({"a": [[1, 11]]}));
    script.assert_clean();
}

#[test]
fn a_subscribed_consumer_may_skip_and_go_back_and_it_is_told() {
    let mut script = four_read_by_another();
    script.subscribe(2, &["a"]).poll(2, json!({"a": [[0, 10]]})).poll(2, json!({"a": [[3, 12]]}));
    script.poll(2, json!({"a": [[1, 11]]}));
    script.assert_finds(&[Kind::SubscribedPollSkip, Kind::SubscribedNonmonotonicPoll]);
    assert!(script.report().valid);
}

#[test]
fn a_skip_within_an_operation_is_one_even_for_a_group_unless_it_was_rebalanced() {
    let mut script = four_read_by_another();
    script.subscribe(2, &["a"]).txn(2, json!([["poll", {"a": [[0, 10]]}], ["poll", {"a": [[3, 12]]}]]));
    script.assert_finds(&[Kind::InternalPollSkip]);
    script.entries.last_mut().unwrap().rebalanced = vec!["a".to_owned()];
    script.assert_clean();
}

#[test]
fn going_back_within_an_operation_is_nonmonotonic() {
    let mut script = four_read_by_another();
    script.txn(2, json!([["poll", {"a": [[0, 10], [1, 11]]}], ["poll", {"a": [[1, 11]]}]]));
    script.assert_finds(&[Kind::InternalNonmonotonicPoll]);
}

#[test]
fn a_later_send_of_a_process_stands_behind_its_earlier_one() {
    let mut script = Script::new();
    script.send(1, json!([["send", "a", [null, 10]]])).send(1, json!([["send", "a", [null, 11]]]));
    script.poll(2, json!({"a": [[0, 10], [1, 11]]}));
    script.assert_clean();
    script.entries.truncate(4);
    script.poll(2, json!({"a": [[0, 11], [1, 10]]}));
    script.assert_finds(&[Kind::NonmonotonicSend, Kind::G0Process]);
}

#[test]
fn a_send_after_an_acknowledged_one_of_somebody_else_stands_behind_it() {
    let mut script = Script::new();
    script.begin(1, Function::Send, json!([["send", "a", 10]]));
    script.send(2, json!([["send", "a", [1, 11]]]));
    script.end(1, Function::Send, EntryType::Ok, json!([["send", "a", [0, 10]]]));
    script.poll(3, json!({"a": [[0, 10], [1, 11]]}));
    script.assert_clean();
    // Nobody else was at it, yet it stands before: the log was cut.
    let mut script = Script::new();
    script.send(2, json!([["send", "a", [1, 11]]])).send(1, json!([["send", "a", [0, 10]]]));
    script.poll(3, json!({"a": [[0, 10], [1, 11]]}));
    script.assert_finds(&[Kind::RealtimeSend, Kind::G0Realtime]);
}

#[test]
fn sends_of_one_operation_stand_in_their_order_and_others_may_stand_between() {
    let mut script = Script::new();
    script.begin(1, Function::Txn, json!([["send", "a", 10], ["send", "a", 11]]));
    script.send(2, json!([["send", "a", [1, 20]]]));
    script.end(1, Function::Txn, EntryType::Ok, json!([["send", "a", [0, 10]], ["send", "a", [2, 11]]]));
    script.poll(3, json!({"a": [[0, 10], [1, 20], [2, 11]]}));
    script.assert_finds(&[Kind::InternalSendSkip, Kind::G0]);
    assert!(script.report().valid);
    let mut script = Script::new();
    script.txn(1, json!([["send", "a", [1, 10]], ["send", "a", [0, 11]]]));
    script.poll(3, json!({"a": [[0, 11], [1, 10]]}));
    script.assert_finds(&[Kind::InternalNonmonotonicSend]);
}

#[test]
fn a_record_polled_twice_by_a_member_of_a_group_is_told() {
    let mut script = two_sends();
    script.subscribe(2, &["a"]).txn(2, json!([["poll", {"a": [[0, 10], [1, 11]]}]]));
    script.assert_clean();
    script.subscribe(2, &["a"]).txn(2, json!([["poll", {"a": [[1, 11]]}]]));
    script.assert_finds(&[Kind::ConsumedTwice]);
    assert!(script.report().valid);
}

#[test]
fn a_poll_that_misses_what_was_acknowledged_long_ago_lags() {
    let limits = Limits { realtime_lag_max: Some(2_000_000_000), ..Limits::default() };
    let mut script = two_sends();
    script.assign(2, &["a"], true).poll(2, json!({"a": [[0, 10]]}));
    script.sleep(1).poll(2, json!({})).sleep(1).poll(2, json!({"a": [[1, 11]]}));
    let report = judge(&script.entries, &limits);
    assert!(report.valid, "{report:?}");
    // From the end of the second send to the poll that found nothing; the other looked later, and found it.
    assert_eq!(report.summary.worst_realtime_lag_ms, 1_005);

    let mut script = two_sends();
    script.assign(2, &["a"], true).poll(2, json!({"a": [[0, 10]]})).sleep(3).poll(2, json!({}));
    script.poll(2, json!({"a": [[1, 11]]}));
    let report = judge(&script.entries, &limits);
    assert_eq!(report.count(Kind::RealtimeLag), 1);
    assert!(!report.valid);
    script.assert_clean();
}

#[test]
fn a_consumer_from_the_beginning_that_never_gets_anything_lags() {
    let limits = Limits { realtime_lag_max: Some(2_000_000_000), ..Limits::default() };
    let mut script = two_sends();
    script.poll(3, json!({"a": [[0, 10], [1, 11]]}));
    script.assign(2, &["a"], true).sleep(3).poll(2, json!({}));
    assert_eq!(judge(&script.entries, &limits).count(Kind::RealtimeLag), 1);
    // Where a consumer stands that did not seek, nobody knows.
    let mut script = two_sends();
    script.poll(3, json!({"a": [[0, 10], [1, 11]]}));
    script.assign(2, &["a"], false).sleep(3).poll(2, json!({}));
    assert_eq!(judge(&script.entries, &limits).count(Kind::RealtimeLag), 0);
}

#[test]
fn a_last_stable_offset_that_stands_still_below_the_high_watermark_is_a_stall() {
    let mut script = two_sends();
    script.poll(9, json!({"a": [[0, 10], [1, 11]]}));
    script.observe(3, json!([["ends", {"a": {"lso": 1, "high": 2}}]])).sleep(60);
    script.observe(3, json!([["ends", {"a": {"lso": 1, "high": 2}}]])).sleep(60);
    script.observe(3, json!([["ends", {"a": {"lso": 2, "high": 3}}]]));
    script.assert_clean();
    assert_eq!(script.report().summary.longest_lso_wait_ms, 60_001);
    script.sleep(80).observe(3, json!([["ends", {"a": {"lso": 2, "high": 4}}]]));
    script.assert_finds(&[Kind::LsoStall]);
}

#[test]
fn an_end_at_the_high_watermark_may_stand_for_ever() {
    let mut script = Script::new();
    script.observe(3, json!([["ends", {"a": {"lso": 2, "high": 2}}]])).sleep(600);
    script.observe(3, json!([["ends", {"a": {"lso": 2, "high": 2}}]]));
    script.assert_clean();
}

#[test]
fn an_end_goes_back_only_with_another_epoch() {
    let mut script = Script::new();
    script.observe(3, json!([["ends", {"a": {"lso": 5, "high": 9, "epoch": 1}}]]));
    script.observe(3, json!([["ends", {"a": {"lso": 5, "high": 8, "epoch": 2}}]]));
    script.assert_clean();
    script.observe(3, json!([["ends", {"a": {"lso": 5, "high": 8, "epoch": 1}}]]));
    script.assert_finds(&[Kind::WatermarkRegressed]);
}

#[test]
fn answers_that_overlap_may_come_in_any_order() {
    let mut script = Script::new();
    script.begin(3, Function::Observe, json!([["ends"]])).begin(4, Function::Observe, json!([["ends"]]));
    script.end(4, Function::Observe, EntryType::Ok, json!([["ends", {"a": {"lso": 9, "high": 9, "epoch": 1}}]]));
    script.end(3, Function::Observe, EntryType::Ok, json!([["ends", {"a": {"lso": 8, "high": 8, "epoch": 1}}]]));
    script.assert_clean();
}

#[test]
fn no_more_are_shown_than_asked_for_and_all_are_counted() {
    let mut script = Script::new();
    script.poll(2, json!({"a": (0..100).map(|at| (at, at)).collect::<Vec<_>>()}));
    let report = judge(&script.entries, &Limits { shown_max: 3, ..Limits::default() });
    assert_eq!(report.count(Kind::PhantomRead), 100);
    assert_eq!(report.findings[0].shown.len(), 3);
    assert!(report.findings[0].shown[0].shown_by[0].contains("... (100 records) ..."));
}
