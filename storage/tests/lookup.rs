//! Lookups by time, held to a plain list of offsets and timestamps: out of order, across segments and codecs, after
//! cuts at both ends and restarts.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files and damages them")]

mod support;

use jackdaw_protocol::records::{Batch, BatchBuilder, Codec};
use jackdaw_storage::{Log, LogConfig, TimestampType};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::*;

/// Later than any timestamp.
const END_OF_TIME: i64 = 130;

/// Offset and timestamp of each record.
type Model = Vec<(i64, i64)>;

fn check(log: &Log, model: &Model, when: &str) {
    let start = log.log_start_offset();
    let live = || model.iter().copied().filter(|(offset, _)| *offset >= start);
    for time in 0..=END_OF_TIME {
        let expected = live().find(|(_, timestamp)| *timestamp >= time);
        let found = log.offset_for_timestamp(time).unwrap().map(|found| (found.offset, found.timestamp));
        assert_eq!(found, expected, "{when}: time {time}, log from {start}");
    }
    let largest = live().map(|(_, timestamp)| timestamp).max().filter(|&timestamp| timestamp >= 0);
    let expected = largest.and_then(|largest| live().find(|(_, timestamp)| *timestamp == largest));
    let found = log.max_timestamp().unwrap().map(|found| (found.offset, found.timestamp));
    assert_eq!(found, expected, "{when}: largest, log from {start}");
}

/// Answers where the batches begin. Appends batches of 1 to 6 records of any codec, whose times wander and jump; some have none.
fn fill(log: &Log, model: &mut Model, random: &mut StdRng, batches: usize) -> Vec<i64> {
    let mut bases = Vec::new();
    let mut around = random.random_range(0..100);
    for _ in 0..batches {
        around = if random.random_bool(0.1) { random.random_range(0..100) } else { (around + 2) % 100 };
        let records: Vec<(i64, &[u8])> = (0..random.random_range(1..=6))
            .map(|_| if random.random_bool(0.15) { -1 } else { around + random.random_range(0..20) })
            .map(|timestamp| (timestamp, b"some value".as_slice()))
            .collect();
        let codec = Codec::ALL[random.random_range(0..5)];
        let base = append(log, &batch_of(codec, &records)).unwrap().base_offset;
        bases.push(base);
        model.extend(records.iter().zip(base..).map(|((timestamp, _), offset)| (offset, *timestamp)));
    }
    log.set_high_watermark(i64::MAX);
    bases
}

#[test]
fn every_time_finds_the_first_record_that_is_not_older_whatever_happened_to_the_log() {
    for seed in 0..12 {
        let mut random = StdRng::seed_from_u64(seed);
        let config = LogConfig {
            segment_bytes: random.random_range(400..3000),
            index_interval_bytes: random.random_range(0..600),
            ..LogConfig::default()
        };
        let temp = fast_temp();
        let mut dir = open(temp.path(), &config);
        let mut log = create(&dir, &config);
        let mut model = Model::new();
        let when = |what: &str| format!("seed {seed}, {what}");
        check(&log, &model, &when("empty"));
        for round in 0..4 {
            let bases = fill(&log, &mut model, &mut random, 25);
            check(&log, &model, &when("appended"));
            let before = random.random_range(log.log_start_offset()..=log.log_end_offset());
            if random.random_bool(0.5) {
                log.delete_records_before(before).unwrap();
                check(&log, &model, &when("deleted at the front"));
            }
            if round % 2 == 0 {
                if random.random_bool(0.5) {
                    dir.close().unwrap();
                }
                drop((log, dir));
                dir = open(temp.path(), &config);
                log = only_log(&dir);
                log.set_high_watermark(i64::MAX);
                check(&log, &model, &when("opened again"));
            } else {
                // A leader's epochs end between batches.
                let to = bases[random.random_range(0..bases.len())].max(log.log_start_offset());
                log.truncate_to(to).unwrap();
                let end = log.log_end_offset();
                model.retain(|(offset, _)| *offset < end);
                check(&log, &model, &when("truncated"));
            }
        }
    }
}

#[test]
fn with_log_append_time_the_brokers_clock_counts_for_every_record() {
    let temp = fast_temp();
    let config = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..tiny() };
    let dir = open(temp.path(), &config);
    let log = create(&dir, &config);
    let mut model = Model::new();
    for (round, codec) in Codec::ALL.into_iter().cycle().take(40).enumerate() {
        let now = 2 * round as i64;
        let batch = batch_of(codec, &[(99, b"a long way ahead"), (-1, b"without a time"), (3, b"late")]);
        let base = append_all(&log, &[batch], 0, now).pop().unwrap().unwrap().base_offset;
        model.extend((base..base + 3).map(|offset| (offset, now)));
    }
    assert!(log.segment_count() > 3);
    check(&log, &model, "as appended");
    log.set_high_watermark(i64::MAX);
    log.delete_records_before(61).unwrap();
    check(&log, &model, "from the middle of a batch on");
}

#[test]
fn a_deleted_record_in_the_middle_of_a_batch_is_never_found() {
    let temp = fast_temp();
    let dir = open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    for codec in Codec::ALL {
        let base = log.log_end_offset();
        append(&log, &batch_of(codec, &[(90, b"gone"), (50, b"stays"), (10, b"stays")])).unwrap();
        log.set_high_watermark(i64::MAX);
        log.delete_records_before(base + 1).unwrap();
        let model = vec![(base + 1, 50), (base + 2, 10)];
        check(&log, &model, codec.name());
    }
}

#[test]
fn a_batch_that_does_not_decode_is_answered_for_by_its_head() {
    let temp = fast_temp();
    let dir = open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    let mut builder = BatchBuilder::new(Codec::Gzip);
    builder.push(70, None, Some(b"value"), &[]);
    let mut bytes = builder.build().to_vec();
    let middle = bytes.len() - 8;
    bytes[middle..].fill(0xee);
    let crc = jackdaw_protocol::crc::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    append(&log, &Batch::check(bytes.into()).unwrap()).unwrap();
    assert_eq!(log.offset_for_timestamp(70).unwrap().map(|found| (found.offset, found.timestamp)), Some((0, 70)));
    assert_eq!(log.offset_for_timestamp(71).unwrap(), None);
}
