//! Transactions through retention and compaction. Kafka's coordinator makes them; the log is then taken over file by file, before
//! either broker has looked at it.

use bytes::Bytes;
use jackdaw_protocol::records::Codec;
use jackdaw_test_support::kafka::Kafka;
use jackdaw_test_support::{Client, requests};

use crate::both::{Both, Side, THEN, records};
use crate::files::assert_sealed_alike;
use crate::left::Left;
use crate::transactional::Transactional;

const HELD: (&str, &str) = ("min.compaction.lag.ms", "4000000000000");
const FREE: &[(&str, &str)] = &[("min.compaction.lag.ms", "0")];
const COMPACT: (&str, &str) = ("cleanup.policy", "compact");
const EAGER: (&str, &str) = ("min.cleanable.dirty.ratio", "0");
const SMALL: (&str, &str) = ("internal.segment.bytes", "1000");

/// Fills a segment alone.
fn filler() -> Bytes {
    records(THEN, &[("the end", Some(&"e".repeat(870)))])
}

fn seal(both: &mut Both) -> i64 {
    both.produce(&filler())
}

pub(crate) fn seal_in(side: &mut Side) -> i64 {
    let answer = requests::produce_bytes(&mut side.client, &side.topic, 0, filler());
    assert_eq!(answer.error_code, 0);
    answer.base_offset
}

fn told(left: &Left) -> Vec<String> {
    let mut texts = left.texts();
    texts.retain(|text| text.len() < 40);
    texts
}

fn shared_client() -> Client {
    Kafka::shared().client()
}

fn producers(connect: &dyn Fn() -> Client, side: &Side, names: &[&str]) -> Vec<Transactional> {
    names.iter().map(|name| Transactional::new(connect(), &format!("{}-{name}", side.topic))).collect()
}

/// Three producers, whose transactions overlap: what is aborted had newer values of keys that were committed before and after.
pub(crate) fn interwoven(side: &mut Side, codec: Codec) {
    interwoven_by(&shared_client, side, codec);
}

/// The same in any Kafka.
pub(crate) fn interwoven_by(connect: &dyn Fn() -> Client, side: &mut Side, codec: Codec) {
    let mut producers = producers(connect, side, &["one", "two", "three"]);
    let [one, two, three] = &mut producers[..] else { unreachable!("three were asked for") };
    let topic = side.topic.clone();
    one.produce(&topic, codec, THEN, &[("a", Some("committed 1")), ("b", Some("committed 1"))]);
    two.produce(&topic, codec, THEN + 1, &[("a", Some("aborted 2")), ("c", Some("aborted 2"))]);
    one.end(side, true);
    three.produce(&topic, codec, THEN + 2, &[("d", Some("committed 3"))]);
    two.produce(&topic, codec, THEN + 3, &[("b", None), ("only aborted", Some("2"))]);
    two.end(side, false);
    one.produce(&topic, codec, THEN + 4, &[("a", Some("aborted 1")), ("d", Some("aborted 1"))]);
    three.produce(&topic, codec, THEN + 5, &[("e", Some("committed 3")), ("c", None)]);
    one.end(side, false);
    three.end(side, true);
    one.produce(&topic, codec, THEN + 6, &[("a", Some("committed again"))]);
    one.end(side, true);
    two.produce(&topic, codec, THEN + 7, &[("e", None)]);
    two.end(side, false);
}

fn through_compaction(topic: &str, codec: Codec, retention: &str) -> Both {
    let configs = [COMPACT, HELD, EAGER, SMALL, ("delete.retention.ms", retention)];
    let mut both = Both::taken_over(topic, &configs, |kafka| {
        interwoven(kafka, codec);
        seal_in(kafka);
    });
    both.same_with_segments();
    let end = *both.kafka.segments().last().unwrap();
    both.alter(FREE);
    both.wait_cleaned_to(end);
    both
}

#[test]
fn a_log_with_transactions_is_taken_over_as_it_is() {
    let mut both = Both::taken_over("txn-as-is", &[SMALL, ("retention.ms", "-1")], |kafka| {
        interwoven(kafka, Codec::None);
        interwoven(kafka, Codec::Lz4);
        seal_in(kafka);
    });
    let left = both.same_with_segments();
    assert!(left.lines.iter().any(|line| line.starts_with("aborted transactions") && line.matches('(').count() > 4));
}

#[test]
fn compaction_takes_what_was_aborted_and_keeps_markers_for_their_time() {
    for (topic, codec) in [("txn-compacted", Codec::None), ("txn-compacted-zstd", Codec::Zstd)] {
        let mut both = through_compaction(topic, codec, "86400000");
        let left = both.same();
        assert_eq!(told(&left), ["b=committed 1", "d=committed 3", "e=committed 3", "c", "a=committed again"]);
        // Another round: markers have a horizon now, and it is not reached.
        both.alter(&[HELD]);
        both.produce(&records(THEN + 20, &[("d", Some("later"))]));
        let end = seal(&mut both);
        both.alter(FREE);
        both.wait_cleaned_to(end);
        both.same();
    }
}

#[test]
fn markers_go_when_their_time_has_come_but_the_last_of_each_producer() {
    let mut both = through_compaction("txn-markers", Codec::None, "0");
    both.same_with_segments();
    assert_sealed_alike(&both, &["index", "timeindex", "txnindex"]);
    for round in 0..2 {
        both.alter(&[HELD]);
        both.produce(&records(THEN + 20 + round, &[("d", Some("later"))]));
        let end = seal(&mut both);
        both.alter(FREE);
        both.wait_cleaned_to(end);
        both.same_with_segments();
        assert_sealed_alike(&both, &["index", "timeindex", "txnindex"]);
    }
}

#[test]
fn compaction_stops_before_an_open_transaction() {
    let mut open = None;
    let mut both = Both::taken_over("txn-open", &[COMPACT, HELD, EAGER, SMALL], |kafka| {
        interwoven(kafka, Codec::None);
        seal_in(kafka);
        let mut producer = producers(&shared_client, kafka, &["open"]).remove(0);
        let topic = kafka.topic.clone();
        producer.produce(&topic, Codec::None, THEN + 10, &[("a", Some("undecided")), ("z", Some("undecided"))]);
        open = Some(producer);
        seal_in(kafka);
        let again = requests::produce_bytes(
            &mut kafka.client,
            &topic,
            0,
            records(THEN + 11, &[("a", Some("after it")), ("b", Some("after it"))]),
        );
        assert_eq!(again.error_code, 0);
        seal_in(kafka);
    });
    let left = both.same_with_segments();
    let undecided = left.records.iter().find(|found| found.value.as_deref() == Some("undecided")).unwrap().offset;
    both.alter(FREE);
    both.wait_cleaned_to(undecided);
    both.same_with_segments();
    let kafka = &mut both.kafka;
    open.unwrap().end(kafka, false);
}

#[test]
fn retention_takes_transactions_and_what_is_known_of_the_aborted_ones() {
    let mut both = Both::taken_over("txn-retention", &[SMALL, ("retention.ms", "-1")], |kafka| {
        interwoven(kafka, Codec::None);
        seal_in(kafka);
        interwoven(kafka, Codec::None);
    });
    both.same_with_segments();
    let segments = both.kafka.segments();
    assert_eq!(both.delete_records(segments[1] + 1), (0, segments[1] + 1));
    both.wait_segments(&segments[1..]);
    both.same_with_segments();
}
