//! What stays of each key, and for how long.
//!
//! A history is produced whole before a cleaner may begin (`min.compaction.lag.ms` holds it back), so that both cleaners meet the
//! same log, however fast they are.

use bytes::Bytes;
use jackdaw_protocol::records::{BatchBuilder, Codec};
use jackdaw_test_support::batch::now_ms;
use jackdaw_test_support::requests;

use crate::both::{Both, THEN, encoded, keyless, records};
use crate::left::Left;

const HOUR: i64 = 3_600_000;
/// Longer than these timestamps are old.
const HELD: (&str, &str) = ("min.compaction.lag.ms", "4000000000000");
const FREE: &[(&str, &str)] = &[("min.compaction.lag.ms", "0")];
const COMPACT: (&str, &str) = ("cleanup.policy", "compact");
/// Whatever is not clean yet is cleaned.
const EAGER: (&str, &str) = ("min.cleanable.dirty.ratio", "0");
const SMALL: (&str, &str) = ("internal.segment.bytes", "1000");

fn one(key: &str, value: &str) -> Bytes {
    records(THEN, &[(key, Some(value))])
}

fn tombstone(key: &str) -> Bytes {
    records(THEN, &[(key, None)])
}

/// Fills a segment alone: whatever was there before is in sealed ones, and this is in the one that is never cleaned.
/// Returns its offset.
fn seal(both: &mut Both) -> i64 {
    both.produce(&one("the end", &"e".repeat(870)))
}

/// Without what fills segments.
fn told(left: &Left) -> Vec<String> {
    let mut texts = left.texts();
    texts.retain(|text| text.len() < 40);
    texts
}

/// Several records a batch, several batches a segment, several segments; keys come again in the same batch, in the same segment, later.
fn history(codec: Codec) -> Vec<Bytes> {
    let value = |label: &str| format!("{label} {}", label.repeat(40));
    let mut batches = Vec::new();
    for round in 0..6 {
        let (a, b, c) = (value(&format!("a{round}")), value(&format!("b{round}")), value(&format!("c{round}")));
        let once = format!("once {round}");
        let time = THEN + round * 1000;
        batches.push(encoded(codec, time, &[("a", Some(&a)), (&once, Some("o")), ("a", Some("again"))]));
        batches.push(encoded(codec, time - 10, &[("b", Some(&b)), ("c", Some(&c))]));
        if round % 2 == 0 {
            batches.push(encoded(codec, time + 5, &[("b", Some("newer")), ("d", Some("dies")), ("d", None)]));
        }
    }
    let mut builder = BatchBuilder::new(codec);
    builder.push(THEN + 9000, Some(b"headed"), Some(b"v"), &[("h", Some(b"1")), ("h", None), ("", Some(b""))]);
    builder.push(THEN + 8000, Some(b""), Some(b""), &[]);
    builder.push(THEN + 9001, Some(b"a"), Some(b"last"), &[("only", None)]);
    batches.push(builder.build());
    batches
}

fn compacted_alike(topic: &str, codecs: &[Codec]) {
    let mut both = Both::start(topic, &[COMPACT, HELD, EAGER, SMALL]);
    for codec in codecs {
        for batch in history(*codec) {
            both.produce(&batch);
        }
    }
    both.same_with_segments();
    let end = seal(&mut both);
    both.alter(FREE);
    both.wait_cleaned_to(end);
    let left = if codecs == [Codec::None] { both.same_with_segments() } else { both.same() };
    let mut texts = told(&left);
    let expected =
        ["once 0=o", "once 1=o", "once 2=o", "once 3=o", "d", "once 4=o", "once 5=o", "headed=v", "=", "a=last"];
    texts.sort();
    let mut expected = expected.map(str::to_owned);
    expected.sort();
    assert_eq!(texts, expected);
}

#[test]
fn of_each_key_the_last_record_stays_in_its_place() {
    compacted_alike("last-stays", &[Codec::None]);
}

#[test]
fn compressed_with_gzip_the_last_record_of_each_key_stays() {
    compacted_alike("last-stays-gzip", &[Codec::Gzip]);
}

#[test]
fn compressed_with_snappy_the_last_record_of_each_key_stays() {
    compacted_alike("last-stays-snappy", &[Codec::Snappy]);
}

#[test]
fn compressed_with_lz4_the_last_record_of_each_key_stays() {
    compacted_alike("last-stays-lz4", &[Codec::Lz4]);
}

#[test]
fn compressed_with_zstd_the_last_record_of_each_key_stays() {
    compacted_alike("last-stays-zstd", &[Codec::Zstd]);
}

#[test]
fn whatever_the_codecs_of_a_log_the_last_record_of_each_key_stays() {
    compacted_alike("last-stays-all", &[Codec::Zstd, Codec::None, Codec::Gzip, Codec::Lz4, Codec::Snappy, Codec::None]);
}

#[test]
fn a_second_compaction_takes_what_came_since_the_first() {
    let mut both = Both::start("twice", &[COMPACT, HELD, EAGER, SMALL]);
    for batch in history(Codec::None) {
        both.produce(&batch);
    }
    let end = seal(&mut both);
    both.alter(FREE);
    both.wait_cleaned_to(end);
    both.same_with_segments();
    both.alter(&[HELD]);
    for batch in history(Codec::Lz4).into_iter().skip(3) {
        both.produce(&batch);
    }
    let end = seal(&mut both);
    both.alter(FREE);
    both.wait_cleaned_to(end);
    both.same();
}

#[test]
fn a_tombstone_removes_its_key_and_stays_itself_until_its_time_has_come() {
    let day = (24 * HOUR).to_string();
    let mut both = Both::start("tombstones", &[COMPACT, HELD, EAGER, SMALL, ("delete.retention.ms", &day)]);
    let start = now_ms();
    both.produce(&records(THEN, &[("a", Some("1")), ("b", Some("2")), ("c", Some("3"))]));
    both.produce(&records(THEN + 1, &[("a", None), ("d", Some("4"))]));
    both.produce(&tombstone("never there"));
    both.produce(&tombstone("b"));
    both.produce(&one("b", "born again"));
    let end = seal(&mut both);
    both.alter(FREE);
    both.wait_cleaned_to(end);
    assert_eq!(told(&both.same_with_segments()), ["c=3", "a", "d=4", "never there", "b=born again"]);
    // What was clean meets another compaction: the time has not come, and does not begin anew.
    both.alter(&[HELD]);
    both.produce(&one("d", "5"));
    let end = seal(&mut both);
    both.alter(FREE);
    both.wait_cleaned_to(end);
    let [kafka, ours] = both.sides().map(|side| crate::left::look(&mut side.client, &side.topic).horizons);
    assert_eq!(told(&both.same()), ["c=3", "a", "never there", "b=born again", "d=5"]);
    for horizon in kafka.into_iter().chain(ours) {
        assert!((start + 24 * HOUR..=now_ms() + 24 * HOUR).contains(&horizon), "{horizon}");
    }
}

#[test]
fn a_tombstone_is_gone_with_the_first_compaction_after_its_time() {
    let mut both = Both::start("late-tombstones", &[COMPACT, HELD, EAGER, SMALL, ("delete.retention.ms", "0")]);
    both.produce(&records(THEN, &[("a", Some("1")), ("b", Some("2"))]));
    both.produce(&records(THEN + 1, &[("a", None), ("c", Some("3"))]));
    both.produce(&tombstone("b"));
    let end = seal(&mut both);
    both.alter(FREE);
    both.wait_cleaned_to(end);
    assert_eq!(told(&both.same_with_segments()), ["a", "c=3", "b"]);
    both.alter(&[HELD]);
    both.produce(&tombstone("c"));
    let end = seal(&mut both);
    both.alter(FREE);
    both.wait_cleaned_to(end);
    assert_eq!(told(&both.same_with_segments()), ["c"]);
}

#[test]
fn a_record_without_a_key_is_refused_by_a_compacted_topic_and_dropped_by_compaction() {
    let mut both = Both::start("no-key", &[SMALL, ("retention.ms", "-1"), EAGER]);
    both.produce(&keyless(THEN, "kept while nothing is compacted"));
    both.produce(&one("a", "1"));
    both.produce(&keyless(THEN, "this too"));
    let end = seal(&mut both);
    both.alter(&[COMPACT]);
    both.wait_cleaned_to(end);
    assert_eq!(told(&both.same_with_segments()), ["a=1"]);
    assert_eq!(both.try_produce(&keyless(THEN, "refused")).0, 87);
    both.same();
}

/// A batch of an idempotent producer.
fn of_producer(id: i64, sequence: i32, keys: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None).producer(id, 0, sequence);
    for key in keys {
        builder.push(THEN, Some(key.as_bytes()), Some(format!("of {sequence}").as_bytes()), &[]);
    }
    builder.build()
}

#[test]
fn the_last_batch_of_each_producer_stays_even_empty() {
    let mut both = Both::start("producers", &[COMPACT, HELD, EAGER, SMALL]);
    let ids = [(); 3].map(|()| requests::producer_id(&mut both.kafka.client).0);
    both.produce(&of_producer(ids[0], 0, &["a", "b"]));
    both.produce(&of_producer(ids[1], 0, &["a"]));
    both.produce(&of_producer(ids[0], 2, &["a", "b", "c"]));
    both.produce(&of_producer(ids[2], 0, &["own", "a", "b"]));
    both.produce(&of_producer(ids[2], 3, &["a"]));
    both.produce(&one("a", "anyone's"));
    both.produce(&one("b", "anyone's"));
    both.produce(&one("c", "anyone's"));
    let end = seal(&mut both);
    both.alter(FREE);
    both.wait_cleaned_to(end);
    let left = both.same_with_segments();
    assert_eq!(told(&left), ["own=of 0", "a=anyone's", "b=anyone's", "c=anyone's"]);
    let empty = left.lines.iter().filter(|line| line.contains(" count 0 ")).count();
    assert_eq!(empty, 3, "{:#?}", left.lines);
    // Each goes on where it was: what it sent last is a duplicate, what comes next is next.
    for (id, last, next) in [(ids[0], 2, 5), (ids[1], 0, 1), (ids[2], 3, 4)] {
        let again: &[&str] = if id == ids[0] { &["a", "b", "c"] } else { &["a"] };
        both.try_produce(&of_producer(id, last, again));
        both.produce(&of_producer(id, next, &["a"]));
        assert_eq!(both.try_produce(&of_producer(id, next + 9, &["a"])).0, 45);
    }
    // And again: the empty batches are not the last ones any more.
    both.alter(&[HELD]);
    both.produce(&one("a", "the last"));
    let end = seal(&mut both);
    both.alter(FREE);
    both.wait_cleaned_to(end);
    both.same_with_segments();
}

#[test]
fn the_last_batch_that_was_cleaned_stays_even_empty() {
    let mut both = Both::start("end-of-round", &[COMPACT, HELD, EAGER, SMALL]);
    both.produce(&one("b", "1"));
    both.produce(&one("a", "1"));
    // The active segment is not looked at: of what is cleaned, "a=1" is the last record of its key.
    let end = both.produce(&one("a", &"2".repeat(870)));
    both.alter(FREE);
    both.wait_cleaned_to(end);
    assert_eq!(told(&both.same_with_segments()), ["b=1", "a=1"]);
    both.alter(&[HELD]);
    let end = both.produce(&one("a", &"3".repeat(870)));
    both.alter(FREE);
    both.wait_cleaned_to(end);
    both.same_with_segments();
    both.alter(&[HELD]);
    let end = both.produce(&one("a", &"4".repeat(870)));
    both.alter(FREE);
    both.wait_cleaned_to(end);
    both.same_with_segments();
}

#[test]
fn with_log_append_time_what_stays_keeps_the_time_of_its_append() {
    let stamped = ("message.timestamp.type", "LogAppendTime");
    for (topic, codec) in [("append-time", Codec::None), ("append-time-gzip", Codec::Gzip)] {
        let mut both = Both::start(topic, &[COMPACT, HELD, EAGER, SMALL, stamped]);
        for batch in history(codec) {
            both.produce(&batch);
        }
        let end = seal(&mut both);
        both.alter(FREE);
        both.wait_cleaned_to(end);
        both.same();
    }
}

#[test]
fn what_is_younger_than_the_least_lag_is_left_alone() {
    let mut both = Both::start("least-lag", &[COMPACT, HELD, EAGER, SMALL]);
    let now = now_ms();
    for hours in [9, 8, 7, 1, 6, 0] {
        let time = now - hours * HOUR;
        let (value, filler) = (format!("{hours} hours old"), "f".repeat(700));
        both.produce(&records(time, &[("a", Some(&value)), ("b", None), ("filler", Some(&filler))]));
    }
    seal(&mut both);
    both.alter(&[("min.compaction.lag.ms", &(5 * HOUR).to_string())]);
    both.wait_cleaned_to(9);
    let left = both.same_with_segments();
    let values = left.texts().into_iter().filter(|text| text.starts_with("a=")).collect::<Vec<_>>();
    assert_eq!(values, ["a=7 hours old", "a=1 hours old", "a=6 hours old", "a=0 hours old"]);
}

#[test]
fn what_is_older_than_the_greatest_lag_is_compacted_whatever_the_dirty_ratio() {
    let mut both = Both::start("greatest-lag", &[COMPACT, ("min.cleanable.dirty.ratio", "1"), SMALL]);
    for batch in history(Codec::None) {
        both.produce(&batch);
    }
    let end = seal(&mut both);
    assert!(both.same_with_segments().records.len() > 20, "nothing pays at this ratio");
    both.alter(&[("max.compaction.lag.ms", &HOUR.to_string())]);
    both.wait_cleaned_to(end);
    both.same_with_segments();
}

#[test]
fn compact_and_delete_do_both() {
    let policy = ("cleanup.policy", "compact,delete");
    let mut both = Both::start("both-policies", &[policy, HELD, EAGER, SMALL, ("retention.ms", "-1")]);
    let now = now_ms();
    for hours in [90, 80, 70, 9, 8] {
        let time = now - hours * HOUR;
        let only = format!("only {hours}");
        both.produce(&records(time, &[("a", Some(&format!("{hours} hours old"))), (&only, Some("o"))]));
        both.produce(&records(time, &[("filler", Some(&"f".repeat(700)))]));
    }
    let end = both.produce(&records(now, &[("the end", Some(&"e".repeat(870)))]));
    both.alter(FREE);
    both.wait_cleaned_to(end);
    both.same_with_segments();
    both.alter(&[HELD]);
    both.alter(&[("retention.ms", &(50 * HOUR).to_string())]);
    let old = both.kafka.segments();
    both.each(|side| {
        side.until("old segments that go", |side| {
            let start = requests::list_offset(&mut side.client, &side.topic, 0, -2);
            if start > 0 { Ok(()) } else { Err(format!("{:?} of {old:?}", side.segments())) }
        });
    });
    both.same_with_segments();
}

#[test]
fn records_of_a_compacted_topic_cannot_be_deleted_by_request() {
    let mut both = Both::start("no-request", &[COMPACT, ("retention.ms", "-1")]);
    both.produce(&one("a", "1"));
    both.produce(&one("b", "1"));
    assert_eq!(both.delete_records(1).0, 44);
    both.alter(&[("cleanup.policy", "compact,delete")]);
    both.each(|side| {
        side.until("records that may be deleted", |side| {
            let answer = side.delete_records(1);
            if answer == (0, 1) { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    });
    both.same();
}
