//! Lookups by time, over every codec and across segments.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files and damages them")]

mod support;

use jackdaw_protocol::records::Codec;
use jackdaw_storage::LogConfig;
use support::*;

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

#[test]
fn the_first_record_that_is_not_older_is_found_exactly() {
    let config = LogConfig { timestamp_after_max_ms: i64::MAX, ..tiny() };
    let temp = tempfile::tempdir().unwrap();
    let dir = open(temp.path(), &config);
    let log = create(&dir, &config);
    let mut model: Vec<i64> = Vec::new();
    let mut state = 1u64;
    for i in 0..120 {
        let mut timestamps = Vec::new();
        for _ in 0..1 + i % 5 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Mostly rising, sometimes far back: batches and segments overlap in time.
            timestamps.push(i as i64 * 10 + (state >> 33) as i64 % 200 - 100);
        }
        let records: Vec<_> = timestamps.iter().map(|&t| (t.max(0), &b"value"[..])).collect();
        model.extend(records.iter().map(|r| r.0));
        let sent = batch_of(CODECS[i % 5], &records);
        append_all(&log, &[sent], (i / 40) as i32, NOW).pop().unwrap().unwrap();
    }
    assert!(log.segment_count() > 5);
    let check = |log: &jackdaw_storage::Log| {
        let start = log.log_start_offset();
        for target in 0..1400 {
            let expected = (start..model.len() as i64).find(|&o| model[o as usize] >= target);
            let found = log.offset_for_timestamp(target).unwrap();
            assert_eq!(found.map(|f| f.offset), expected, "timestamp {target}, start {start}");
            if let Some(found) = found {
                assert_eq!(found.timestamp, model[found.offset as usize]);
                assert_eq!(Some(found.leader_epoch), log.epoch_at(found.offset));
            }
        }
        let largest = (start..model.len() as i64).max_by_key(|&o| (model[o as usize], -o));
        assert_eq!(log.max_timestamp().unwrap().map(|f| f.offset), largest);
    };
    check(&log);
    log.set_high_watermark(log.log_end_offset());
    for start in [50, 137, 200] {
        log.delete_records_before(start).unwrap();
        check(&log);
    }
    dir.close().unwrap();
    drop((dir, log));
    check(&only_log(&open(temp.path(), &config)));
}

#[test]
fn an_empty_log_has_no_timestamps() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    assert_eq!(log.offset_for_timestamp(0).unwrap(), None);
    assert_eq!(log.max_timestamp().unwrap(), None);
    append(&log, &batch_of(Codec::None, &[(-1, b"no timestamp")])).unwrap();
    assert_eq!(log.max_timestamp().unwrap(), None);
}
