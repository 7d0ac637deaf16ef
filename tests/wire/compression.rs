//! `compression.type` of a topic: what came in one codec is stored in another, and the records are the same.

use bytes::Bytes;
use jackdaw_protocol::records::{self, BatchBuilder, Codec};
use jackdaw_test_support::Client;
use jackdaw_test_support::batch::{self, now_ms};
use jackdaw_test_support::messages::produce_response::PartitionProduceResponse;
use jackdaw_test_support::requests::{self, FETCH};

use crate::{client, unique};

const NAMES: [&str; 5] = ["uncompressed", "gzip", "snappy", "lz4", "zstd"];

fn with_settings(settings: &[(&str, &str)]) -> (Client, String) {
    let (mut client, name) = (client(), unique("compression"));
    requests::create_topic_with(&mut client, &name, 1, settings);
    (client, name)
}

/// Records with and without keys and values, and a header key that comes three times.
fn builder(codec: Codec, base: i64) -> BatchBuilder {
    let mut builder = BatchBuilder::new(codec);
    let headers: &[(&str, Option<&[u8]>)] = &[("trace", Some(b"1")), ("trace", None), ("trace", Some(&[0xff, 0]))];
    for i in 0..50i64 {
        let value = format!("value {}", i % 9);
        builder.push(base + (i * 7) % 50, (i % 2 == 0).then_some(b"key"), Some(value.as_bytes()), headers);
    }
    builder.push(base, Some(b"gone"), None, &[]);
    builder
}

fn produce(client: &mut Client, name: &str, bytes: Bytes) -> PartitionProduceResponse {
    requests::produce_bytes(client, name, 0, bytes)
}

fn fetch_raw(client: &mut Client, name: &str, offset: i64) -> Bytes {
    requests::fetched(&client.call(FETCH, &requests::fetch_request(name, 0, offset, 0, 0)))
}

fn body(batch: &Bytes) -> Bytes {
    let batch = records::Batch::from_log(batch.clone()).unwrap();
    records::records(&batch, 1 << 20).unwrap().body().clone()
}

#[test]
fn every_codec_is_stored_in_the_topics_and_every_record_comes_back_as_it_was_sent() {
    let base = now_ms() - 1000;
    for (to, setting) in Codec::ALL.into_iter().zip(NAMES) {
        let (mut client, name) = with_settings(&[("compression.type", setting)]);
        let expected = batch::read(builder(Codec::None, base).build());
        for (round, from) in Codec::ALL.into_iter().enumerate() {
            let sent = builder(from, base).build();
            let offset = expected.len() as i64 * round as i64;
            let answer = produce(&mut client, &name, sent.clone());
            assert_eq!((answer.error_code, answer.base_offset), (0, offset), "{from} to {to}");
            let stored = fetch_raw(&mut client, &name, offset);
            assert_eq!(batch::codec(&stored), to as i16, "{from} is stored as {to}");
            let mut read = batch::read(stored.clone());
            read.iter_mut().for_each(|record| record.offset -= offset);
            assert_eq!(read, expected, "{from} to {to}");
            assert_eq!(body(&stored), body(&sent), "headers and all, {from} to {to}");
        }
    }
}

#[test]
fn producer_keeps_every_byte_behind_the_offset_and_the_epoch() {
    let (mut client, name) = with_settings(&[]);
    for from in Codec::ALL {
        let sent = builder(from, now_ms()).build();
        let offset = produce(&mut client, &name, sent.clone()).base_offset;
        assert_eq!(fetch_raw(&mut client, &name, offset)[16..], sent[16..], "{from}");
    }
}

#[test]
fn an_idempotent_producers_retry_is_still_known_after_the_batch_was_packed_again() {
    let (mut client, name) = with_settings(&[("compression.type", "zstd")]);
    let (id, epoch) = requests::producer_id(&mut client);
    let sent = |sequence| {
        let mut batch = BatchBuilder::new(Codec::Gzip).producer(id, epoch, sequence);
        batch.push(now_ms(), None, Some(b"once"), &[]);
        batch.build()
    };
    let first = sent(0);
    assert_eq!(produce(&mut client, &name, first.clone()).base_offset, 0);
    assert_eq!(produce(&mut client, &name, sent(1)).base_offset, 1);
    let again = produce(&mut client, &name, first);
    assert_eq!((again.error_code, again.base_offset), (0, 0), "the answer of the first time");
    assert_eq!(requests::list_offset(&mut client, &name, 0, -1), 2);
    let stored = fetch_raw(&mut client, &name, 0);
    let stored = records::Batch::split_all(stored).map(Result::unwrap).collect::<Vec<_>>();
    let told = |batch: &records::Batch| {
        let header = batch.header();
        (header.producer_id(), header.producer_epoch(), header.base_sequence())
    };
    assert_eq!(stored.iter().map(told).collect::<Vec<_>>(), [(id, epoch, 0), (id, epoch, 1)]);
}

#[test]
fn log_append_time_and_compression_go_together() {
    let settings = [("compression.type", "lz4"), ("message.timestamp.type", "LogAppendTime")];
    let (mut client, name) = with_settings(&settings);
    let answer = produce(&mut client, &name, builder(Codec::Zstd, 1000).build());
    assert_eq!(answer.error_code, 0);
    let stored = fetch_raw(&mut client, &name, 0);
    let stored = records::Batch::from_log(stored).unwrap();
    assert_eq!(stored.header().codec(), Ok(Codec::Lz4));
    assert!(stored.header().is_log_append_time());
    assert_eq!(stored.header().max_timestamp(), answer.log_append_time_ms);
}

#[test]
fn max_message_bytes_counts_before_and_after_the_broker_compresses() {
    let settings = [("compression.type", "uncompressed"), ("max.message.bytes", "2000")];
    let (mut client, name) = with_settings(&settings);
    let of = |codec, size: usize| {
        let mut batch = BatchBuilder::new(codec);
        batch.push(now_ms(), None, Some(&vec![7; size]), &[]);
        batch.build()
    };
    assert_eq!(produce(&mut client, &name, of(Codec::Gzip, 1900)).error_code, 0);
    let sent = of(Codec::Gzip, 2100);
    assert!(sent.len() < 200);
    assert_eq!(produce(&mut client, &name, sent).error_code, 10, "MESSAGE_TOO_LARGE once it is unpacked");
    let (mut client, name) = with_settings(&[("compression.type", "gzip"), ("max.message.bytes", "2000")]);
    assert_eq!(produce(&mut client, &name, of(Codec::None, 2100)).error_code, 10, "it is too large as it comes");
}

#[test]
fn records_that_do_not_unpack_are_refused_where_the_broker_must_unpack_them() {
    let (mut client, name) = with_settings(&[("compression.type", "zstd")]);
    let mut broken = builder(Codec::Gzip, now_ms()).build().to_vec();
    let middle = broken.len() / 2;
    broken[middle..].fill(0x55);
    batch::seal(&mut broken);
    let answer = produce(&mut client, &name, broken.into());
    // Apache Kafka has no better word than "unknown" for it.
    assert!(matches!(answer.error_code, 87 | -1), "INVALID_RECORD, not {}", answer.error_code);
    assert_eq!(requests::list_offset(&mut client, &name, 0, -1), 0);
}

#[test]
fn records_without_a_key_are_named_one_by_one_in_a_compacted_topic() {
    let (mut client, name) = with_settings(&[("cleanup.policy", "compact"), ("compression.type", "gzip")]);
    let mut mixed = BatchBuilder::new(Codec::Lz4);
    for key in [Some(&b"k"[..]), None, Some(b"k"), None] {
        mixed.push(now_ms(), key, Some(b"v"), &[]);
    }
    let answer = produce(&mut client, &name, mixed.build());
    assert_eq!(answer.error_code, 87, "INVALID_RECORD");
    let blamed: Vec<i32> = answer.record_errors.iter().map(|error| error.batch_index).collect();
    assert_eq!(blamed, [1, 3]);
    assert!(answer.record_errors[0].batch_index_error_message.is_some());
}

#[test]
fn a_changed_compression_type_holds_from_the_next_batch_on() {
    let (mut client, name) = with_settings(&[("compression.type", "gzip")]);
    produce(&mut client, &name, builder(Codec::None, now_ms()).build());
    requests::alter_topic(&mut client, &name, &[("compression.type", "snappy")]);
    produce(&mut client, &name, builder(Codec::None, now_ms()).build());
    let stored: Vec<_> = records::Batch::split_all(fetch_raw(&mut client, &name, 0)).map(Result::unwrap).collect();
    assert_eq!(stored.iter().map(|b| b.header().codec().unwrap()).collect::<Vec<_>>(), [Codec::Gzip, Codec::Snappy]);
}
