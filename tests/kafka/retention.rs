//! What goes by size, by time and by request.

use bytes::Bytes;
use jackdaw_test_support::batch::now_ms;

use crate::both::{Both, THEN, records};
use crate::left;

const HOUR: i64 = 3_600_000;
const FOREVER: (&str, &str) = ("retention.ms", "-1");
/// Of the batches made here.
const TWO_A_SEGMENT: (&str, &str) = ("internal.segment.bytes", "700");

/// One record.
fn batch(number: i64, timestamp: i64) -> Bytes {
    records(timestamp, &[(&format!("key {number:02}"), Some(&format!("{number:0200}")))])
}

/// One batch for each age, in hours before now.
fn aged(both: &mut Both, hours: &[i64]) {
    let now = now_ms();
    for (number, hours) in (0..).zip(hours) {
        both.produce(&batch(number, now - hours * HOUR));
    }
}

#[test]
fn by_size_the_oldest_segments_go_and_the_log_stays_as_large_as_was_asked() {
    let mut both = Both::start("by-size", &[TWO_A_SEGMENT, FOREVER]);
    for number in 0..11 {
        both.produce(&batch(number, THEN + number));
    }
    assert_eq!(both.same_with_segments().records.len(), 11);
    // What goes, goes in pairs.
    both.alter(&[("retention.bytes", "1500")]);
    both.wait_log_start(4);
    assert_eq!(both.same_with_segments().offsets(), [4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn by_size_a_segment_goes_when_exactly_what_was_asked_is_left() {
    let mut both = Both::start("by-exact-size", &[TWO_A_SEGMENT, FOREVER]);
    for number in 0..6 {
        both.produce(&batch(number, THEN));
    }
    let size = batch(0, THEN).len();
    both.alter(&[("retention.bytes", &(size * 2 + 1).to_string())]);
    both.wait_log_start(2);
    both.alter(&[("retention.bytes", &(size * 2).to_string())]);
    both.wait_log_start(4);
    assert_eq!(both.same_with_segments().offsets(), [4, 5]);
}

#[test]
fn by_size_nothing_is_left_of_a_log_that_may_hold_nothing() {
    let mut both = Both::start("by-no-size", &[TWO_A_SEGMENT, FOREVER]);
    for number in 0..5 {
        both.produce(&batch(number, THEN));
    }
    both.alter(&[("retention.bytes", "0")]);
    both.wait_log_start(5);
    assert_eq!(both.same_with_segments().end, 5);
    assert_eq!(both.produce(&batch(5, THEN)), 5);
    both.wait_log_start(6);
    both.same_with_segments();
}

#[test]
fn by_time_the_youngest_record_of_a_segment_counts_and_a_younger_segment_shields_what_is_behind_it() {
    let mut both = Both::start("by-time", &[TWO_A_SEGMENT, FOREVER]);
    aged(&mut both, &[50, 40, 50, 45, 1, 60, 70, 80, 90]);
    assert_eq!(both.same_with_segments().records.len(), 9);
    both.alter(&[("retention.ms", &(2 * HOUR).to_string())]);
    both.wait_log_start(4);
    assert_eq!(both.same_with_segments().offsets(), [4, 5, 6, 7, 8]);
}

#[test]
fn by_time_even_the_segment_that_is_written_to_goes_and_offsets_go_on() {
    let mut both = Both::start("by-time-all", &[TWO_A_SEGMENT, FOREVER]);
    aged(&mut both, &[50, 40, 30]);
    both.alter(&[("retention.ms", &(2 * HOUR).to_string())]);
    both.wait_log_start(3);
    assert_eq!(both.same_with_segments().end, 3);
    assert_eq!(both.produce(&batch(3, now_ms())), 3);
    assert_eq!(both.same_with_segments().offsets(), [3]);
}

#[test]
fn a_timestamp_in_the_future_keeps_its_segment_and_all_behind_it() {
    let far = (1000 * HOUR).to_string();
    let mut both = Both::start("by-future", &[TWO_A_SEGMENT, FOREVER, ("message.timestamp.after.max.ms", &far)]);
    aged(&mut both, &[50, 40, 50, -100, 60, 60, 60]);
    both.alter(&[("retention.ms", &(2 * HOUR).to_string())]);
    both.wait_log_start(2);
    assert_eq!(both.same_with_segments().offsets(), [2, 3, 4, 5, 6]);
}

#[test]
fn a_timestamp_too_far_in_the_future_or_the_past_is_refused() {
    let mut both = Both::start("by-bounds", &[FOREVER]);
    let now = now_ms();
    assert_eq!(both.try_produce(&batch(0, now + 2 * HOUR)).0, 32);
    assert_eq!(both.try_produce(&batch(0, now + HOUR / 2)).0, 0);
    both.alter(&[("message.timestamp.before.max.ms", &HOUR.to_string())]);
    both.each(|side| {
        side.until("an old timestamp that is refused", |side| {
            let bytes = batch(1, now - 2 * HOUR);
            let answer = jackdaw_test_support::requests::produce_bytes(&mut side.client, &side.topic, 0, bytes);
            if answer.error_code == 32 { Ok(()) } else { Err(format!("error {}", answer.error_code)) }
        });
    });
}

#[test]
fn with_log_append_time_only_the_time_of_the_append_counts() {
    let mut both =
        Both::start("by-append-time", &[TWO_A_SEGMENT, FOREVER, ("message.timestamp.type", "LogAppendTime")]);
    aged(&mut both, &[50, -50, 40, -40, 30, 20, 10]);
    assert_eq!(both.same_with_segments().records.len(), 7);
    // Size takes one segment, to show that a decision was made; time takes none.
    let five = batch(0, THEN).len() * 5;
    both.alter(&[("retention.bytes", &five.to_string()), ("retention.ms", &(2 * HOUR).to_string())]);
    both.wait_log_start(2);
    assert_eq!(both.same_with_segments().offsets(), [2, 3, 4, 5, 6]);
    both.alter(&[("retention.ms", "1")]);
    both.wait_log_start(7);
    both.same_with_segments();
}

#[test]
fn deleted_records_are_gone_at_once_and_their_segments_after_them() {
    let mut both = Both::start("by-request", &[TWO_A_SEGMENT, FOREVER]);
    for number in 0..3 {
        both.produce(&batch(number, THEN + number));
    }
    let three = [("a", Some("1")), ("b", Some("2")), ("c", Some("3"))];
    both.produce(&records(THEN + 3, &three));
    for number in 6..10 {
        both.produce(&batch(number, THEN + number));
    }
    assert_eq!(both.delete_records(11), (1, -1), "beyond the end");
    assert_eq!(both.delete_records(4), (0, 4), "into the middle of a batch");
    let left = both.same();
    assert_eq!((left.log_start, left.end), (4, 10));
    both.wait_segments(&[2, 7, 9]);
    both.same();
    assert_eq!(both.delete_records(3), (0, 4), "what is gone already");
    assert_eq!(both.delete_records(-1), (0, 10), "everything");
    assert_eq!(both.same().log_start, 10);
    both.wait_segments(&[9]);
    both.same();
}

#[test]
fn a_fetch_of_what_retention_took_is_answered_alike() {
    let mut both = Both::start("by-request-fetched", &[FOREVER]);
    for number in 0..4 {
        both.produce(&batch(number, THEN + number));
    }
    both.delete_records(2);
    for offset in [0, 1, 5, -1] {
        let [kafka, ours] = both.sides().map(|side| left::fetch_error(&mut side.client, &side.topic, offset));
        assert_eq!(kafka, ours, "a fetch from {offset}");
        assert_eq!(kafka.0, 1);
    }
}
