//! Retention on real files: what is dropped, what becomes of readers, files and the start after the next opening.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files")]

mod support;

use std::path::Path;
use std::sync::Arc;

use jackdaw_protocol::records::{Codec, Header};
use jackdaw_storage::{Hold, Log, LogConfig, LogDir, Reason};
use support::*;

const DELAY_MS: i64 = 60_000;

fn config() -> LogConfig {
    LogConfig { retention_ms: 1000, segment_bytes: 100, file_delete_delay_ms: DELAY_MS, ..LogConfig::default() }
}

/// A log of one record for each timestamp, each in a segment of its own.
fn log_of(temp: &Path, timestamps: &[i64]) -> (LogDir, Arc<Log>) {
    let dir = open(temp, &config());
    let log = create(&dir, &config());
    for timestamp in timestamps {
        append(&log, &batch_of(Codec::None, &[(*timestamp, b"a value of thirty bytes, or so")])).unwrap();
    }
    log.set_high_watermark(log.log_end_offset());
    (dir, log)
}

fn deleted(temp: &Path) -> Vec<std::path::PathBuf> {
    files_with(&partition_path(temp), "deleted")
}

#[test]
fn what_is_past_its_time_goes_and_its_files_after_their_delay() {
    let temp = fast_temp();
    let (dir, log) = log_of(temp.path(), &[NOW - 3000, NOW - 2000, NOW, NOW - 5000]);
    let held = log.read(1, 1000, true, 4).unwrap();
    let outlook = log.retention_outlook(NOW).unwrap();
    assert_eq!((outlook.is_due, outlook.near_until, outlook.goes_at_ms), (true, 2, Some(NOW - 2000)));
    let retained = log.retain(NOW, Hold::NONE).unwrap();
    let dropped: Vec<_> = retained.dropped.iter().map(|d| (d.base_offset, d.end_offset, d.reason)).collect();
    assert_eq!(dropped, [(0, 1, Reason::Time), (1, 2, Reason::Time)]);
    assert_eq!((log.log_start_offset(), log.segment_count()), (2, 2));
    assert_eq!(Header::parse(&held.bytes).unwrap().base_offset(), 1); // still readable
    assert!(log.read(1, 1, true, 4).is_err());
    assert!(log.retain(NOW, Hold::NONE).unwrap().dropped.is_empty());

    assert!(deleted(temp.path()).len() >= 2 && dir.has_deleted());
    assert_eq!(dir.purge(NOW), 0); // its time begins here
    assert_eq!(dir.purge(NOW + DELAY_MS - 1), 0);
    assert!(deleted(temp.path()).len() >= 2);
    assert_eq!(dir.purge(NOW + DELAY_MS), 2);
    assert!(deleted(temp.path()).is_empty() && !dir.has_deleted());

    dir.checkpoint().unwrap();
    drop((dir, log)); // a crash
    let log = only_log(&open(temp.path(), &config()));
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (2, 4));
}

#[test]
fn when_everything_is_due_a_new_segment_takes_its_place_at_the_same_offset() {
    let temp = fast_temp();
    let (dir, log) = log_of(temp.path(), &[NOW - 3000, NOW - 2000]);
    assert_eq!(log.retain(NOW, Hold::NONE).unwrap().dropped.len(), 2);
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.size_bytes()), (2, 2, 0));
    assert_eq!(log.segment_count(), 1);
    append(&log, &batch(&["next"])).unwrap();
    assert_eq!(values(&log), ["next"]);
    drop((dir, log)); // a crash, before any checkpoint
    let log = only_log(&open(temp.path(), &config()));
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (2, 3));
}

#[test]
fn a_deleted_partition_waits_for_its_delay_too() {
    let temp = fast_temp();
    let (dir, log) = log_of(temp.path(), &[NOW]);
    dir.delete(&log).unwrap();
    let waiting =
        || std::fs::read_dir(temp.path()).unwrap().flatten().any(|e| e.path().to_string_lossy().ends_with("-delete"));
    assert_eq!((dir.purge(NOW), waiting()), (0, true));
    assert_eq!((dir.purge(NOW + DELAY_MS), waiting()), (1, false));
    // A full disk does not wait, nor does a stop.
    let log = create(&dir, &config());
    dir.delete(&log).unwrap();
    assert_eq!((dir.purge_all(), waiting()), (1, false));
    let log = create(&dir, &config());
    dir.delete(&log).unwrap();
    dir.close().unwrap();
    assert!(!waiting());
}

#[test]
fn the_age_of_a_segment_is_known_after_a_start_and_by_its_file_where_records_have_no_time() {
    let temp = fast_temp();
    let (dir, log) = log_of(temp.path(), &[NOW - 3000, NOW - 500, -1, -1]);
    dir.close().unwrap();
    drop((dir, log));
    let dir = open(temp.path(), &config());
    let log = only_log(&dir);
    log.set_high_watermark(4);
    assert_eq!(log.retain(NOW, Hold::NONE).unwrap().dropped.len(), 1);
    // Written just now, long after the time that the others claim.
    let written_ms = i64::try_from(
        data_files(&partition_path(temp.path()))[1]
            .metadata()
            .unwrap()
            .modified()
            .unwrap()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis(),
    )
    .unwrap();
    assert_eq!(log.retain(written_ms, Hold::NONE).unwrap().dropped.len(), 1);
    assert_eq!(log.retain(written_ms + 60_000, Hold::NONE).unwrap().dropped.len(), 2);
}

#[test]
fn a_time_index_that_cannot_be_the_segments_own_does_not_make_records_go() {
    let temp = fast_temp();
    let (dir, log) = log_of(temp.path(), &[NOW - 500, NOW - 400, NOW]);
    dir.close().unwrap();
    drop((dir, log));
    let index = files_with(&partition_path(temp.path()), "timeindex").remove(0);
    std::fs::write(&index, [0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0]).unwrap();
    let dir = open(temp.path(), &config());
    let log = only_log(&dir);
    log.set_high_watermark(3);
    assert!(log.retain(NOW, Hold::NONE).unwrap().dropped.is_empty());
    assert_eq!(log.retain(NOW + 501, Hold::NONE).unwrap().dropped.len(), 1);
}

#[test]
fn a_hold_keeps_and_tells_how_much() {
    let temp = fast_temp();
    let (_dir, log) = log_of(temp.path(), &[NOW - 3000, NOW - 2000, NOW]);
    let hold = Hold { keep_from: 1, max_ms: i64::MAX, max_bytes: u64::MAX };
    let retained = log.retain(NOW, hold).unwrap();
    assert_eq!((retained.dropped.len(), log.log_start_offset()), (1, 1));
    assert_eq!(retained.held_bytes * 2, log.size_bytes());
}

/// The partitions in which something is due or near.
fn candidates(dir: &LogDir, now_ms: i64) -> Vec<i32> {
    let mut found: Vec<_> = dir.retention_candidates(now_ms).iter().map(|(log, _)| log.partition()).collect();
    found.sort_unstable();
    found
}

#[test]
fn a_log_comes_up_when_its_time_has_come_and_stays_until_nothing_is_near() {
    let temp = fast_temp();
    let (dir, log) = log_of(temp.path(), &[NOW, NOW + 10, NOW + 500]);
    assert!(candidates(&dir, NOW).is_empty());
    assert!(candidates(&dir, NOW + 799).is_empty());
    assert_eq!(candidates(&dir, NOW + 800), [0]);
    assert_eq!(candidates(&dir, NOW + 801), [0], "as long as it is near");
    assert_eq!(log.retain(NOW + 1200, Hold::NONE).unwrap().dropped.len(), 2);
    assert!(candidates(&dir, NOW + 1200).is_empty());
    assert!(candidates(&dir, NOW + 1299).is_empty());
    assert_eq!(candidates(&dir, NOW + 1300), [0]);
}

#[test]
fn whatever_brings_records_nearer_to_their_end_makes_retention_look() {
    let temp = fast_temp();
    let (dir, log) = log_of(temp.path(), &[NOW]);
    assert!(candidates(&dir, NOW).is_empty());
    // A record that is older: its segment waits behind the first one.
    append(&log, &batch_of(Codec::None, &[(NOW - 5000, b"a value of thirty bytes, or so")])).unwrap();
    log.set_high_watermark(2);
    assert!(candidates(&dir, NOW).is_empty());
    log.update_config(LogConfig { retention_bytes: 80, ..config() });
    assert_eq!(candidates(&dir, NOW), [0], "the policy changed");
    log.update_config(config());
    assert!(candidates(&dir, NOW).is_empty());
    log.set_high_watermark(log.log_end_offset());
    log.delete_records_before(1).unwrap();
    log.update_config(LogConfig { retention_ms: 2000, ..config() });
    assert_eq!(candidates(&dir, NOW), [0], "only the old one is left");
    log.truncate_to(1).unwrap();
    assert!(candidates(&dir, NOW).is_empty(), "nothing is left");
    // Unseen below the high watermark, and seen when that rises.
    append(&log, &batch_of(Codec::None, &[(NOW - 5000, b"a value of thirty bytes, or so")])).unwrap();
    assert!(candidates(&dir, NOW).is_empty());
    log.set_high_watermark(log.log_end_offset());
    assert_eq!(candidates(&dir, NOW), [0]);
}

#[test]
fn after_a_start_every_log_is_looked_at_once() {
    let temp = fast_temp();
    let (dir, log) = log_of(temp.path(), &[NOW - 3000, NOW]);
    dir.close().unwrap();
    drop((dir, log));
    let dir = open(temp.path(), &config());
    let log = only_log(&dir);
    log.set_high_watermark(2);
    assert_eq!(candidates(&dir, NOW), [0]);
    assert_eq!(log.retain(NOW, Hold::NONE).unwrap().dropped.len(), 1);
    assert!(candidates(&dir, NOW).is_empty());
}
