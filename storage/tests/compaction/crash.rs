//! A crash at every step of a compaction: what a start finds is the log before or after each replacement, never a mixture.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use jackdaw_storage::{LogDir, Operation};

use super::*;

/// The disk does so many operations; then nothing any more.
fn open_until(path: &Path, left: &Arc<AtomicI64>) -> LogDir {
    let left = Arc::clone(left);
    open_with(path, &compacted(), |options| {
        options.faults = Some(Arc::new(move |_: Operation, _: &Path| {
            if left.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(()) } else { Err(io::Error::other("power is off")) }
        }));
    })
}

/// Segments small enough to be merged, and some with an aborted transaction.
fn fill(log: &Log) {
    for i in 0..36 {
        put(log, &format!("k{}", i % 6), &format!("{i}{}", "v".repeat(60 + i % 40)));
        if i % 9 == 8 {
            super::transactions::transaction(log, 70 + i as i64, &[("k1", "never seen"), ("other", "neither")], false);
        }
    }
    seal(log);
    log.flush().unwrap();
}

fn committed(log: &Log) -> BTreeMap<String, (i64, String)> {
    let mut last = BTreeMap::new();
    for (offset, key, value, _) in super::transactions::committed_rows(log) {
        last.insert(key.unwrap(), (offset, value.unwrap_or_default()));
    }
    last
}

#[test]
fn a_crash_at_any_step_leaves_a_log_with_the_last_value_of_every_key() {
    let (mut steps, mut was_interrupted) = (0, 0);
    loop {
        let temp = fast_temp();
        let left = Arc::new(AtomicI64::new(i64::MAX));
        let dir = open_until(temp.path(), &left);
        let log = create(&dir, &compacted());
        fill(&log);
        let (before, end) = (committed(&log), log.log_end_offset());
        let original = rows(&log);
        left.store(steps, Ordering::SeqCst);
        let result = compact_once(&log, NOW);
        drop((log, dir));
        let dir = open(temp.path(), &compacted());
        let log = only_log(&dir);
        log.set_high_watermark(i64::MAX);
        assert_eq!(log.quarantine().map(ToString::to_string), None, "step {steps}");
        assert_eq!((log.log_end_offset(), committed(&log)), (end, before.clone()), "step {steps}");
        assert!(rows(&log).iter().all(|row| original.contains(row)), "step {steps}");
        let path = partition_path(temp.path());
        let leftovers = files_with(&path, "swap").len() + files_with(&path, "cleaned").len();
        assert_eq!(leftovers, 0, "step {steps}");
        compact_again(&log, NOW);
        assert_eq!(committed(&log), before, "step {steps}");
        assert_eq!(short(&log).len(), 6, "step {steps}");
        if result.is_ok() {
            break;
        }
        was_interrupted += 1;
        steps += 1;
    }
    assert!(was_interrupted > 40, "{was_interrupted}");
}

/// What a start finds that follows a kill: no record is missing, and the log ends where it ended.
fn assert_whole_after_kill(temp: &Path, before: &BTreeMap<String, (i64, String)>, end: i64) {
    let dir = open(temp, &compacted());
    let log = only_log(&dir);
    log.set_high_watermark(i64::MAX);
    assert_eq!(log.quarantine().map(ToString::to_string), None);
    assert_eq!((log.log_end_offset(), &committed(&log)), (end, before));
}

/// What a start recovers is not synced by the start itself, and above the recovery point of the file a gap would be cut.
#[test]
fn what_was_recovered_and_then_compacted_survives_the_next_kill() {
    let temp = fast_temp();
    let dir = open(temp.path(), &compacted());
    let log = create(&dir, &compacted());
    fill(&log);
    let (before, end) = (committed(&log), log.log_end_offset());
    drop((log, dir));
    let dir = open(temp.path(), &compacted());
    let log = only_log(&dir);
    log.set_high_watermark(i64::MAX);
    assert_eq!(log.flushed_offset(), 0, "nothing of it was known to be on the disk");
    let done = compact_once(&log, NOW).unwrap();
    assert!(done.records_out < done.records_in);
    drop((log, dir));
    assert_whole_after_kill(temp.path(), &before, end);
}

#[test]
fn nothing_above_the_recovery_point_is_compacted_while_that_cannot_follow() {
    let temp = fast_temp();
    let has_room = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&has_room);
    let dir = open_with(temp.path(), &compacted(), |options| {
        options.faults = Some(Arc::new(move |_: Operation, path: &Path| {
            let is_epochs = path.to_string_lossy().contains("leader-epoch");
            if is_epochs && !asked.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }));
    });
    let log = create(&dir, &compacted());
    fill(&log);
    let (before, end, all) = (committed(&log), log.log_end_offset(), rows(&log));
    assert_eq!(log.flushed_offset(), 0, "the records are on the disk, their epochs have found no room");
    assert!(matches!(compact_once(&log, NOW), Err(CompactError::Interrupted)));
    assert_eq!(rows(&log), all);
    has_room.store(true, Ordering::SeqCst);
    compact_once(&log, NOW).unwrap();
    assert!(rows(&log).len() < all.len());
    drop((log, dir));
    assert_whole_after_kill(temp.path(), &before, end);
}

/// Renames what a compaction wrote back to what Apache Kafka would have left between two of its renames.
#[test]
fn an_unfinished_swap_of_kafka_is_completed_or_undone() {
    let suffixes = ["log", "index", "timeindex"];
    for (is_whole, replaced) in [(true, 0), (true, 1), (true, 2), (false, 0)] {
        let temp = fast_temp();
        let dir = open(temp.path(), &compacted());
        let log = create(&dir, &compacted());
        fill(&log);
        let before = committed(&log);
        let path = partition_path(temp.path());
        let old: Vec<_> = files_with(&path, "log").into_iter().map(|file| (file.clone(), bytes_of(&file))).collect();
        compact_once(&log, NOW).unwrap();
        let first = only_first(&path);
        drop((log, dir));
        // Its log first, then the others: the reverse of ours.
        for (i, suffix) in suffixes.iter().enumerate() {
            let aside = if is_whole || i == 0 { "swap" } else { "cleaned" };
            let name = path.join(format!("{first:020}.{suffix}"));
            if i >= replaced {
                std::fs::rename(&name, path.join(format!("{first:020}.{suffix}.{aside}"))).unwrap();
            }
        }
        if replaced == 0 {
            // The old segments are there yet.
            for (file, bytes) in &old {
                if !file.exists() {
                    std::fs::write(file, bytes).unwrap();
                }
            }
        }
        let dir = open(temp.path(), &compacted());
        let log = only_log(&dir);
        log.set_high_watermark(i64::MAX);
        assert_eq!(committed(&log), before, "{is_whole} {replaced}");
        assert_eq!(files_with(&path, "swap").len() + files_with(&path, "cleaned").len(), 0);
    }
}

fn only_first(path: &Path) -> i64 {
    let first = data_files(path).remove(0);
    first.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}
