//! Compaction by its rules, one test for each; `random` holds them all against a plain model, `crash` at every step.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files and damages them")]

mod crash;
mod lookups;
mod random;
mod rules;
#[path = "../support/mod.rs"]
mod support;
mod transactions;

use jackdaw_protocol::records::{Batch, BatchBuilder, Codec, records};
use jackdaw_storage::{CleanerMemory, CompactError, Compacted, CompactionHooks, Log, LogConfig, Pace};
use support::*;

/// Nobody is throttled.
struct Free;

impl CompactionHooks for Free {
    fn throttle(&mut self, _: u64) -> Pace {
        Pace::Go
    }
}

/// Offset, key, value, timestamp.
type Row = (i64, Option<String>, Option<String>, i64);

fn compacted() -> LogConfig {
    LogConfig { compact: true, delete: false, min_cleanable_dirty_ratio: 0.0, ..tiny() }
}

/// A batch of keys and values; no value is a tombstone.
fn keyed(codec: Codec, rows: &[(&str, Option<&str>)]) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    for (key, value) in rows {
        builder.push(NOW, Some(key.as_bytes()), value.map(str::as_bytes), &[("h", Some(b"x"))]);
    }
    Batch::check(builder.build()).unwrap()
}

fn put(log: &Log, key: &str, value: &str) -> i64 {
    append(log, &keyed(Codec::None, &[(key, Some(value))])).unwrap().base_offset
}

/// Makes what has been appended so far cleanable: all of it is in sealed segments, and committed.
fn seal(log: &Log) {
    let before = log.segment_count();
    while log.segment_count() == before {
        put(log, "filler", &"x".repeat(300));
    }
    log.set_high_watermark(i64::MAX);
}

fn memory() -> CleanerMemory {
    CleanerMemory::new(1 << 20, 0.9, 4096)
}

/// One round, remembered.
fn compact_once(log: &Log, now_ms: i64) -> Result<Compacted, CompactError> {
    let dirty = log.compaction_candidate(now_ms).unwrap().unwrap();
    let done = log.compact(&dirty, &mut memory(), &mut Free, now_ms)?;
    log.set_cleaned_offset(done.clean_until)?;
    Ok(done)
}

/// A round of everything, clean or not: as if all had become dirty.
fn compact_again(log: &Log, now_ms: i64) -> Compacted {
    log.set_cleaned_offset(0).unwrap();
    compact_once(log, now_ms).unwrap()
}

fn batches(log: &Log) -> Vec<Batch> {
    read_batches(log, 1 << 20, log.log_end_offset())
}

fn rows_of(batch: &Batch) -> Vec<Row> {
    let decoded = records(batch, 1 << 24).unwrap();
    let text = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8(b.to_vec()).unwrap());
    decoded
        .iter()
        .map(|record| {
            let record = record.unwrap();
            (decoded.offset(&record), text(record.key), text(record.value), decoded.timestamp(&record))
        })
        .collect()
}

/// Every record of keys other than `filler`, control records left out.
fn rows(log: &Log) -> Vec<Row> {
    let data = batches(log).into_iter().filter(|batch| !batch.header().is_control());
    data.flat_map(|batch| rows_of(&batch)).filter(|row| row.1.as_deref() != Some("filler")).collect()
}

fn short(log: &Log) -> Vec<(i64, String, String)> {
    rows(log).into_iter().map(|(offset, key, value, _)| (offset, key.unwrap(), value.unwrap_or("-".into()))).collect()
}

fn expected(rows: &[(i64, &str, &str)]) -> Vec<(i64, String, String)> {
    rows.iter().map(|(offset, key, value)| (*offset, (*key).to_owned(), (*value).to_owned())).collect()
}
