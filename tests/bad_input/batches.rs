//! Batches that are not what they say: refused with Kafka's error code, and the log stays as it was.

use bytes::{Bytes, BytesMut};
use jackdaw_test_support::batch::{Batch, at, seal};
use jackdaw_test_support::messages::ApiVersionsRequest;
use jackdaw_test_support::requests::{self, PRODUCE, produce_bytes};
use jackdaw_test_support::{Broker, Client};

use crate::serves;

const UNKNOWN_SERVER_ERROR: i16 = -1;
const CORRUPT: i16 = 2;
const UNSUPPORTED_CODEC: i16 = 76;
const INVALID_RECORD: i16 = 87;

/// A good batch of three records, changed.
fn changed(change: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut batch = BytesMut::from(&Batch::of(["one", "two", "three"]).bytes()[..]);
    change(&mut batch);
    batch.freeze()
}

/// The same, with a checksum that fits the change.
fn sealed(change: impl FnOnce(&mut BytesMut)) -> Bytes {
    changed(|batch| {
        change(batch);
        seal(batch);
    })
}

fn put<const N: usize>(batch: &mut BytesMut, at: usize, bytes: [u8; N]) {
    batch[at..at + N].copy_from_slice(&bytes);
}

/// Refused with one of these codes, and nothing of it in the log.
fn refused(client: &mut Client, topic: &str, what: &str, codes: &[i16], records: Bytes) {
    let answer = produce_bytes(client, topic, 0, records);
    assert!(codes.contains(&answer.error_code), "{what}: {} {:?}", answer.error_code, answer.error_message);
    assert_eq!(answer.base_offset, -1, "{what}");
    assert_eq!(requests::list_offset(client, topic, 0, -1), 1, "{what}: the log has changed");
}

#[test]
fn batches_that_are_not_what_they_say_are_refused_and_the_log_is_untouched() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic(&mut client, "batches", 1);
    requests::produce(&mut client, "batches", 0, &Batch::of(["the only one"]));
    let mut refused = |what, codes: &[i16], records| refused(&mut client, "batches", what, codes, records);

    refused("a bit flipped in a record", &[CORRUPT], changed(|batch| batch[70] ^= 1));
    refused("a wrong checksum", &[CORRUPT], changed(|batch| batch[at::CRC] ^= 1));
    refused(
        "a length beyond the end",
        &[CORRUPT, INVALID_RECORD],
        changed(|batch| put(batch, at::LENGTH, 10_000i32.to_be_bytes())),
    );
    refused(
        "a length too small for a header",
        &[CORRUPT, INVALID_RECORD],
        changed(|batch| put(batch, at::LENGTH, 10i32.to_be_bytes())),
    );
    refused(
        "a negative length",
        &[CORRUPT, INVALID_RECORD],
        changed(|batch| put(batch, at::LENGTH, (-1i32).to_be_bytes())),
    );
    refused("a cut batch", &[CORRUPT, INVALID_RECORD], changed(|batch| batch.truncate(65)));
    refused("a cut header", &[CORRUPT, INVALID_RECORD], changed(|batch| batch.truncate(20)));
    refused("magic 3", &[INVALID_RECORD, CORRUPT], sealed(|batch| batch[at::MAGIC] = 3));
    refused("a negative magic", &[INVALID_RECORD, CORRUPT], sealed(|batch| batch[at::MAGIC] = 0xff));
    refused("a count too large", &[INVALID_RECORD, CORRUPT], sealed(|batch| put(batch, at::COUNT, 4i32.to_be_bytes())));
    refused("a count too small", &[INVALID_RECORD, CORRUPT], sealed(|batch| put(batch, at::COUNT, 2i32.to_be_bytes())));
    refused("no records", &[INVALID_RECORD], sealed(|batch| put(batch, at::COUNT, 0i32.to_be_bytes())));
    refused(
        "a negative count",
        &[INVALID_RECORD, CORRUPT],
        sealed(|batch| put(batch, at::COUNT, i32::MIN.to_be_bytes())),
    );
    refused("a huge count", &[INVALID_RECORD, CORRUPT], sealed(|batch| put(batch, at::COUNT, i32::MAX.to_be_bytes())));
    refused(
        "offsets that do not fit the count",
        &[INVALID_RECORD, CORRUPT],
        sealed(|batch| put(batch, at::LAST_OFFSET_DELTA, 7i32.to_be_bytes())),
    );
    for codec in 5..8u8 {
        let records = sealed(|batch| batch[at::ATTRIBUTES + 1] = codec);
        refused("a codec that nobody knows", &[UNKNOWN_SERVER_ERROR], records); // as Apache Kafka answers
    }
    refused("a control batch", &[INVALID_RECORD], sealed(|batch| batch[at::ATTRIBUTES + 1] = 0b11_0000));
    let two = [Batch::of(["one"]).bytes(), Batch::of(["two"]).bytes()].concat();
    refused("two batches at once", &[INVALID_RECORD], two.into());
    refused("nothing", &[INVALID_RECORD], Bytes::new());
    refused("bytes behind the batch", &[CORRUPT, INVALID_RECORD], changed(|batch| batch.extend_from_slice(&[0; 5])));
    serves(&mut broker);
}

#[test]
fn a_record_count_that_the_bytes_do_not_hold_harms_no_reader() {
    // Whatever the broker makes of compressed nonsense, it must survive looking inside.
    let mut broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic(&mut client, "nonsense", 1);
    for codec in 1..5u8 {
        let records = sealed(|batch| batch[at::ATTRIBUTES + 1] = codec);
        let code = produce_bytes(&mut client, "nonsense", 0, records).error_code;
        assert!([0, CORRUPT, INVALID_RECORD, UNSUPPORTED_CODEC].contains(&code), "codec {codec}: {code}");
        for time in [0, -3, jackdaw_test_support::batch::now_ms()] {
            requests::try_list_offset(&mut client, "nonsense", 0, time);
        }
    }
    serves(&mut broker);
}

#[test]
fn records_that_are_null_are_refused() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic(&mut client, "null", 1);
    let mut request = requests::produce_request("null", 0, -1, Bytes::new());
    request.topic_data[0].partition_data[0].records = None;
    let response = client.call(PRODUCE, &request);
    assert_eq!(response.responses[0].partition_responses[0].error_code, INVALID_RECORD);
    serves(&mut broker);
}

#[test]
fn old_message_formats_are_refused_until_they_are_served() {
    // Magic 0 and 1: offset, size, then CRC-32, magic, attributes, key and value.
    let mut broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic(&mut client, "old", 1);
    for magic in 0..2u8 {
        let mut message = BytesMut::new();
        message.extend_from_slice(&[0; 8]);
        message.extend_from_slice(&40i32.to_be_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&[magic, 0]);
        message.extend_from_slice(&[0; 60]);
        let code = produce_bytes(&mut client, "old", 0, message.freeze()).error_code;
        assert!([CORRUPT, INVALID_RECORD, 43].contains(&code), "magic {magic}: {code}");
    }
    assert_eq!(requests::list_offset(&mut client, "old", 0, -1), 0);
    serves(&mut broker);
}

#[test]
fn a_bad_batch_in_one_partition_does_not_keep_another_out() {
    let broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic(&mut client, "neighbours", 2);
    let mut request = requests::produce_request("neighbours", 0, -1, changed(|batch| batch[70] ^= 1));
    let good = requests::produce_request("neighbours", 1, -1, Batch::of(["good"]).bytes());
    request.topic_data[0].partition_data.extend(good.topic_data[0].partition_data.clone());
    let response = client.call(PRODUCE, &request);
    let codes: Vec<i16> = response.responses[0].partition_responses.iter().map(|answer| answer.error_code).collect();
    assert_eq!(codes, [CORRUPT, 0]);
    assert_eq!(client.call(0, &ApiVersionsRequest::default()).error_code, 0);
}
