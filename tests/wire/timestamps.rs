//! Timestamps: what a topic takes, what it stamps, and which record a time finds.

use jackdaw_protocol::records::{BatchBuilder, Codec};
use jackdaw_test_support::Client;
use jackdaw_test_support::batch::{self, Batch, at, now_ms};
use jackdaw_test_support::requests;

use crate::list_offsets::ask;
use crate::{client, unique};

const INVALID_TIMESTAMP: i16 = 32;
const HOUR: i64 = 3_600_000;

fn with_settings(settings: &[(&str, &str)]) -> (Client, String) {
    let (mut client, name) = (client(), unique("timestamps"));
    requests::create_topic_with(&mut client, &name, 1, settings);
    (client, name)
}

/// Error code, the records blamed, and the base offset of producing records of these times.
fn produce(client: &mut Client, name: &str, codec: Codec, times: &[i64]) -> (i16, Vec<i32>, i64) {
    let mut batch = BatchBuilder::new(codec);
    times.iter().for_each(|time| batch.push(*time, Some(b"k"), Some(b"v"), &[]));
    let answer = requests::produce_bytes(client, name, 0, batch.build());
    let blamed = answer.record_errors.iter().map(|error| error.batch_index).collect();
    (answer.error_code, blamed, answer.base_offset)
}

#[test]
fn a_time_finds_its_record_inside_of_a_batch_of_any_codec_in_any_order() {
    let (mut client, name) = with_settings(&[]);
    let base = now_ms() - HOUR;
    for (round, codec) in Codec::ALL.into_iter().enumerate() {
        let (start, offset) = (base + 1000 * round as i64, 4 * round as i64);
        produce(&mut client, &name, codec, &[start, start + 40, start + 20, start + 60]);
        for (time, place, found) in [(1, 1, 40), (20, 1, 40), (41, 3, 60), (60, 3, 60)] {
            let answer = ask(&mut client, 7, &name, 0, start + time);
            assert_eq!(answer, (0, offset + place, start + found), "{codec}, {time} ms in");
        }
        assert_eq!(ask(&mut client, 7, &name, 0, -3), (0, offset + 3, start + 60), "{codec}, the largest");
    }
    assert_eq!(ask(&mut client, 7, &name, 0, base + 1041), (0, 7, base + 1060), "not the last batch only");
}

#[test]
fn of_several_records_with_the_largest_timestamp_the_first_is_told() {
    let (mut client, name) = with_settings(&[]);
    let base = now_ms() - HOUR;
    produce(&mut client, &name, Codec::Lz4, &[base, base + 9, base + 9]);
    produce(&mut client, &name, Codec::None, &[base + 9, base + 3]);
    assert_eq!(ask(&mut client, 7, &name, 0, -3), (0, 1, base + 9));
}

#[test]
fn create_times_outside_of_the_topics_bounds_are_refused() {
    let (mut client, name) = with_settings(&[("message.timestamp.after.max.ms", "60000")]);
    let now = now_ms();
    for codec in [Codec::None, Codec::Zstd] {
        assert_eq!(produce(&mut client, &name, codec, &[now, now + HOUR]).0, INVALID_TIMESTAMP, "{codec}");
        assert_eq!(produce(&mut client, &name, codec, &[now, now + 30_000]).0, 0);
        assert_eq!(produce(&mut client, &name, codec, &[0, -1]).0, 0, "without a bound, as old as you like, or none");
    }
    let (mut client, name) = with_settings(&[("message.timestamp.before.max.ms", "60000")]);
    for codec in [Codec::None, Codec::Gzip] {
        let refused = produce(&mut client, &name, codec, &[now, now - HOUR, now, now - 2 * HOUR]);
        assert_eq!((refused.0, refused.1), (INVALID_TIMESTAMP, vec![1, 3]), "{codec}, though the head shows neither");
        assert_eq!(produce(&mut client, &name, codec, &[now, now - 30_000]).0, 0);
    }
    assert_eq!(requests::list_offset(&mut client, &name, 0, -1), 4);
}

#[test]
fn log_append_time_knows_no_bounds_and_counts_for_every_record() {
    let settings = [
        ("message.timestamp.type", "LogAppendTime"),
        ("message.timestamp.before.max.ms", "1000"),
        ("message.timestamp.after.max.ms", "1000"),
    ];
    let (mut client, name) = with_settings(&settings);
    let before = now_ms();
    assert_eq!(produce(&mut client, &name, Codec::Snappy, &[5, before + HOUR, -1]).0, 0);
    let (error, offset, stamped) = ask(&mut client, 7, &name, 0, before);
    assert_eq!((error, offset), (0, 0), "all of them were written now");
    assert!((before..=now_ms()).contains(&stamped));
    assert_eq!(ask(&mut client, 7, &name, 0, -3), (0, 0, stamped));
    assert_eq!(ask(&mut client, 7, &name, 0, stamped + 1), (0, -1, -1));
}

#[test]
fn only_the_broker_may_say_that_it_is_log_append_time() {
    let (mut client, name) = with_settings(&[("message.timestamp.type", "LogAppendTime")]);
    let mut bytes = Batch::of(["mine"]).bytes().to_vec();
    bytes[at::ATTRIBUTES + 1] |= 8;
    batch::seal(&mut bytes);
    assert_eq!(requests::produce_bytes(&mut client, &name, 0, bytes.into()).error_code, INVALID_TIMESTAMP);
}

#[test]
fn a_deleted_record_is_not_found_by_its_time() {
    let (mut client, name) = with_settings(&[]);
    let base = now_ms() - HOUR;
    produce(&mut client, &name, Codec::Gzip, &[base + 90, base + 50, base + 10]);
    requests::delete_records(&mut client, &name, 0, 1);
    assert_eq!(ask(&mut client, 7, &name, 0, base), (0, 1, base + 50));
    assert_eq!(ask(&mut client, 7, &name, 0, base + 51), (0, -1, -1));
}
