//! Rolling: what is made beforehand, what is left for later, and that neither is missed when it was not done.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files")]

mod support;

use std::path::Path;
use std::sync::Arc;

use jackdaw_protocol::records::Batch;
use jackdaw_storage::{Hold, Log, LogConfig, LogDir};
use support::*;

/// The smallest segments that are prepared.
fn config() -> LogConfig {
    LogConfig { segment_bytes: 1 << 20, ..LogConfig::default() }
}

/// Appends a batch of an idempotent producer, of 100 KB: eleven of them begin the next segment.
fn add(log: &Log, sequence: i32) {
    append(log, &numbered(sequence)).unwrap();
}

fn numbered(sequence: i32) -> Batch {
    let value = format!("{sequence:06}{}", "x".repeat(100_000));
    sequenced(7, 0, sequence, &[&value])
}

fn prepared(root: &Path) -> bool {
    partition_path(root).join("next-segment.tmp").exists()
}

fn index_files(root: &Path) -> usize {
    files_with(&partition_path(root), "index").len()
}

fn sequences(log: &Log) -> Vec<String> {
    values(log).into_iter().map(|value| value[..6].to_owned()).collect()
}

fn expected(count: i32) -> Vec<String> {
    (0..count).map(|i| format!("{i:06}")).collect()
}

fn start() -> (tempfile::TempDir, LogDir, Arc<Log>) {
    let temp = fast_temp();
    let dir = open(temp.path(), &config());
    let log = create(&dir, &config());
    (temp, dir, log)
}

#[test]
fn the_next_segment_is_made_when_half_of_one_is_left_and_its_index_files_after_the_roll() {
    let (temp, _dir, log) = start();
    for i in 0..5 {
        add(&log, i);
        assert!(!log.needs_tending());
    }
    add(&log, 5);
    assert!(log.needs_tending());
    assert!(!log.needs_tending(), "once is enough");
    log.tend().unwrap();
    assert!(prepared(temp.path()));
    (6..11).for_each(|i| add(&log, i));
    assert_eq!(log.segment_count(), 2);
    assert!(!prepared(temp.path()), "it is the active segment now");
    assert_eq!(index_files(temp.path()), 0);
    assert_eq!(sequences(&log), expected(11)); // the one that ended is read by the index in memory
    assert!(log.needs_tending());
    log.tend().unwrap();
    assert_eq!(index_files(temp.path()), 1);
    let first = &data_files(&partition_path(temp.path()))[0];
    assert_eq!(first.metadata().unwrap().len() + numbered(10).size_in_bytes() as u64, log.size_bytes());
    assert_eq!(sequences(&log), expected(11));
}

#[test]
fn a_flush_does_what_nobody_tended_before_the_recovery_point_moves() {
    let (temp, dir, log) = start();
    (0..25).for_each(|i| add(&log, i));
    assert_eq!((log.segment_count(), index_files(temp.path())), (3, 0));
    assert_eq!(log.flush().unwrap(), 25);
    assert_eq!(index_files(temp.path()), 2);
    dir.checkpoint().unwrap();
    drop((dir, log)); // a crash
    let dir = open(temp.path(), &config());
    let log = only_log(&dir);
    assert_eq!(sequences(&log), expected(25));
    add(&log, 25); // its producer is known
}

#[test]
fn a_crash_between_a_roll_and_what_follows_it_loses_nothing() {
    let (temp, dir, log) = start();
    (0..8).for_each(|i| add(&log, i));
    log.flush().unwrap();
    log.tend().unwrap();
    (8..17).for_each(|i| add(&log, i));
    log.tend().unwrap();
    assert!(prepared(temp.path()));
    (17..25).for_each(|i| add(&log, i));
    assert_eq!(log.segment_count(), 3);
    dir.checkpoint().unwrap();
    drop((dir, log)); // a crash
    let dir = open(temp.path(), &config());
    let log = only_log(&dir);
    assert!(log.quarantine().is_none() && !prepared(temp.path()));
    assert_eq!(sequences(&log), expected(25));
    (25..40).for_each(|i| add(&log, i));
    assert_eq!(sequences(&log), expected(40));
}

#[test]
fn a_clean_stop_leaves_no_prepared_segment_and_all_index_files() {
    let (temp, dir, log) = start();
    (0..18).for_each(|i| add(&log, i));
    log.tend().unwrap();
    assert!(prepared(temp.path()));
    (18..21).for_each(|i| add(&log, i));
    dir.close().unwrap();
    assert!(!prepared(temp.path()));
    assert_eq!(index_files(temp.path()), log.segment_count());
    drop((dir, log));
    assert_eq!(sequences(&only_log(&open(temp.path(), &config()))), expected(21));
}

#[test]
fn cuts_at_both_ends_meet_segments_that_are_not_written_yet() {
    for keep in [0, 5, 10, 11, 15, 24] {
        let (temp, dir, log) = start();
        (0..25).for_each(|i| add(&log, i));
        log.truncate_to(keep).unwrap();
        log.tend().unwrap();
        assert_eq!(sequences(&log), expected(keep as i32));
        (keep as i32..30).for_each(|i| add(&log, i));
        log.set_high_watermark(30);
        log.delete_records_before(12).unwrap();
        log.tend().unwrap();
        log.flush().unwrap();
        dir.checkpoint().unwrap();
        drop((dir, log)); // a crash
        let log = only_log(&open(temp.path(), &config()));
        assert_eq!(sequences(&log), expected(30)[12..], "keep {keep}");
    }
}

#[test]
fn a_prepared_segment_that_somebody_removed_is_made_again() {
    let (temp, _dir, log) = start();
    (0..8).for_each(|i| add(&log, i));
    log.tend().unwrap();
    std::fs::remove_file(partition_path(temp.path()).join("next-segment.tmp")).unwrap();
    (8..15).for_each(|i| add(&log, i));
    assert_eq!((log.segment_count(), sequences(&log)), (2, expected(15)));
}

#[test]
fn a_jitter_longer_than_the_roll_time_rolls_no_more_often_than_time_passes() {
    let temp = fast_temp();
    let config = LogConfig { segment_ms: 1000, segment_jitter_ms: 1_000_000, ..LogConfig::default() };
    let dir = open(temp.path(), &config);
    let log = create(&dir, &config);
    (0..100).for_each(|_| {
        append(&log, &batch(&["x"])).unwrap();
    });
    assert_eq!(log.segment_count(), 1);
}

#[test]
fn producers_are_known_after_a_crash_though_all_that_they_wrote_was_dropped() {
    for (flushed, tended) in [(false, false), (true, false), (false, true), (true, true)] {
        let (temp, dir, log) = start();
        (0..25).for_each(|i| add(&log, i));
        if flushed {
            log.flush().unwrap();
        }
        if tended {
            log.tend().unwrap();
        }
        log.set_high_watermark(25);
        let retained = log.retain(NOW + 365 * 24 * 3_600_000, Hold::NONE).unwrap();
        assert_eq!((retained.dropped.len(), log.log_start_offset()), (3, 25));
        drop((dir, log)); // a crash
        let log = only_log(&open(temp.path(), &config()));
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (25, 25));
        assert_eq!(log.producers().len(), 1, "{flushed} {tended}");
        assert!(append(&log, &numbered(24)).unwrap().duplicate, "{flushed} {tended}");
        add(&log, 25);
    }
}
