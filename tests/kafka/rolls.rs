//! Where one segment ends and the next begins.

use bytes::Bytes;
use jackdaw_protocol::records::{BatchBuilder, Codec};

use crate::both::{Both, THEN, records};

const FOREVER: (&str, &str) = ("retention.ms", "-1");

fn batch(number: i64, timestamp: i64) -> Bytes {
    records(timestamp, &[(&format!("key {number:02}"), Some(&format!("{number:0200}")))])
}

#[test]
fn a_segment_ends_before_the_batch_that_would_make_it_too_large() {
    let size = batch(0, THEN).len();
    let mut both = Both::start("roll-by-size", &[FOREVER, ("internal.segment.bytes", &(size * 3).to_string())]);
    for number in 0..7 {
        both.produce(&batch(number, THEN));
    }
    both.same_with_segments();
    assert_eq!(both.kafka.segments(), [0, 3, 6]);
}

#[test]
fn a_segment_ends_by_the_timestamps_of_its_records() {
    let mut both = Both::start("roll-by-time", &[FOREVER, ("segment.ms", "10000")]);
    let times = [0, 9_999, 10_000, 10_001, 20_001, 20_002, 15_000, 30_003, 1_000, 40_004, 40_005];
    for (number, time) in (0..).zip(times) {
        both.produce(&batch(number, THEN + time));
    }
    both.same_with_segments();
    assert_eq!(both.kafka.segments(), [0, 3, 5, 7, 9]);
}

#[test]
fn a_batch_counts_by_its_largest_timestamp_when_a_segment_ends_by_time() {
    let mut both = Both::start("roll-by-largest-time", &[FOREVER, ("segment.ms", "10000")]);
    let spread = |times: &[i64]| {
        let mut builder = BatchBuilder::new(Codec::None);
        for time in times {
            builder.push(THEN + time, Some(b"key"), Some(b"value"), &[]);
        }
        builder.build()
    };
    for times in [&[0, 5_000][..], &[1, 2, 14_000], &[14_999, 15_000], &[15_001], &[15_002, 3, 30_000]] {
        both.produce(&spread(times));
    }
    both.same_with_segments();
}

#[test]
fn a_segment_of_a_compacted_topic_ends_by_the_lag_that_compaction_may_have() {
    let configs =
        [("cleanup.policy", "compact"), ("max.compaction.lag.ms", "5000"), ("min.cleanable.dirty.ratio", "1")];
    let mut both = Both::start("roll-by-lag", &configs);
    let now = jackdaw_test_support::batch::now_ms() + 1_800_000;
    for (number, time) in (0..).zip([0, 4_000, 5_000, 5_001, 5_002, 10_003, 10_004]) {
        both.produce(&batch(number, now + time));
    }
    both.same_with_segments();
    assert_eq!(both.kafka.segments(), [0, 3, 5]);
}

#[test]
fn a_segment_ends_when_an_index_is_full() {
    let configs = [FOREVER, ("segment.index.bytes", "80"), ("index.interval.bytes", "0")];
    let mut both = Both::start("roll-by-index", &configs);
    for number in 0..30 {
        both.produce(&batch(number, THEN + number));
    }
    both.same_with_segments();
    assert!(both.kafka.segments().len() > 2);
}
