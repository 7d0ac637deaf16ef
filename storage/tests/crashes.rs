//! What crashes left that a start once took for something else. The model test found each of these.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files and damages them")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jackdaw_protocol::records::{Batch, BatchBuilder, Codec};
use jackdaw_storage::{Append, CleanerMemory, CompactionHooks, Log, LogConfig, LogDir, Operation, Origin, Pace};
use parking_lot::Mutex;
use support::*;

struct Free;

impl CompactionHooks for Free {
    fn throttle(&mut self, _: u64) -> Pace {
        Pace::Go
    }
}

/// Batches of one producer, in several segments.
fn fill(log: &Log, batches: std::ops::Range<i32>) {
    for i in batches {
        append(log, &sequenced(3, 0, i * 2, &[&format!("value-{i}"), "x"])).unwrap();
    }
}

/// Every change and sync, in its order: what was asked, and of which file.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<(Operation, PathBuf)>>>);

impl Trace {
    fn open(&self, path: &Path, config: &LogConfig) -> LogDir {
        let trace = self.clone();
        open_with(path, config, |options| {
            options.faults = Some(Arc::new(move |operation: Operation, path: &Path| {
                trace.0.lock().push((operation, path.to_owned()));
                Ok(())
            }));
        })
    }

    /// The place of the first such operation.
    fn find(&self, operation: Operation, ending: &str) -> Option<usize> {
        self.0.lock().iter().position(|(done, path)| *done == operation && path.to_str().unwrap().ends_with(ending))
    }

    fn find_last(&self, operation: Operation, ending: &str) -> Option<usize> {
        self.0.lock().iter().rposition(|(done, path)| *done == operation && path.to_str().unwrap().ends_with(ending))
    }
}

#[test]
fn segments_that_never_reached_the_disk_are_synced_before_they_are_deleted() {
    let (temp, trace) = (fast_temp(), Trace::default());
    let dir = trace.open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    fill(&log, 0..40);
    log.set_high_watermark(80);
    trace.0.lock().clear();
    log.delete_records_before(60).unwrap();
    let first = format!("{:020}.log", 0);
    let (synced, removed) =
        (trace.find(Operation::Sync, &first).unwrap(), trace.find(Operation::Remove, &first).unwrap());
    assert!(synced < removed, "a crash that brings its name back must find its records");
}

#[test]
fn a_deleted_segment_whose_name_came_back_without_its_bytes_ends_no_log() {
    let temp = fast_temp();
    let dir = open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    fill(&log, 0..40);
    log.set_high_watermark(80);
    log.delete_records_before(60).unwrap();
    let first = data_files(&partition_path(temp.path()))[0].clone();
    let first: i64 = first.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let producers = log.producers();
    let start = log.log_start_offset();
    dir.checkpoint().unwrap();
    let all = read_all(&log);
    drop((log, dir));
    std::fs::write(temp.path().join("log-start-offset-checkpoint"), format!("0\n1\norders 0 {start}\n")).unwrap();
    std::fs::write(temp.path().join("recovery-point-offset-checkpoint"), format!("0\n1\norders 0 {first}\n")).unwrap();
    std::fs::write(partition_path(temp.path()).join(format!("{:020}.log", 0)), b"").unwrap();
    std::fs::write(partition_path(temp.path()).join(format!("{:020}.log", 14)), [7; 300]).unwrap();
    let log = only_log(&open(temp.path(), &tiny()));
    assert!(log.quarantine().is_none(), "{:?}", log.quarantine());
    assert_eq!((log.log_start_offset(), read_all(&log)), (start, all));
    assert_eq!(log.producers(), producers);
}

#[test]
fn an_empty_segment_that_a_roll_without_room_left_ends_no_log() {
    let temp = fast_temp();
    let dir = open(temp.path(), &LogConfig::default());
    let log = create(&dir, &LogConfig::default());
    fill(&log, 0..10);
    let all = read_all(&log);
    drop((log, dir));
    let stray = partition_path(temp.path()).join(format!("{:020}.log", 8));
    std::fs::write(&stray, b"").unwrap();
    let log = only_log(&open(temp.path(), &LogConfig::default()));
    assert_eq!((log.log_end_offset(), read_all(&log)), (20, all));
    assert!(!stray.exists());
    append(&log, &sequenced(3, 0, 20, &["next"])).unwrap();
}

#[test]
fn a_producer_snapshot_of_before_a_truncation_is_not_believed_when_its_name_comes_back() {
    let temp = fast_temp();
    let dir = open(temp.path(), &LogConfig::default());
    let log = create(&dir, &LogConfig::default());
    fill(&log, 0..7);
    dir.close().unwrap(); // leaves a snapshot at 14
    drop((log, dir));
    let snapshot = partition_path(temp.path()).join(format!("{:020}.snapshot", 14));
    let stale = std::fs::read(&snapshot).unwrap();
    let dir = open(temp.path(), &LogConfig::default());
    let log = only_log(&dir);
    log.truncate_to(4).unwrap();
    for i in 0..20 {
        append(&log, &sequenced(8, 0, i, &["another producer"])).unwrap();
    }
    drop((log, dir));
    std::fs::write(&snapshot, stale).unwrap();
    let log = only_log(&open(temp.path(), &LogConfig::default()));
    log.truncate_to(16).unwrap();
    let last = |id| log.producers().iter().find(|p| p.producer_id == id).map(|p| p.last_sequence);
    assert_eq!((last(3), last(8)), (Some(3), Some(11)));
}

#[test]
fn a_producer_snapshot_of_below_the_first_segment_is_not_believed() {
    let temp = fast_temp();
    let dir = open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    fill(&log, 0..40);
    log.flush().unwrap();
    let old = files_with(&partition_path(temp.path()), "snapshot")[0].clone();
    let stale = std::fs::read(&old).unwrap();
    log.set_high_watermark(80);
    log.delete_records_before(80).unwrap();
    let start = log.log_start_offset();
    log.flush().unwrap();
    dir.checkpoint().unwrap();
    drop((log, dir));
    for file in files_with(&partition_path(temp.path()), "snapshot") {
        std::fs::remove_file(file).unwrap();
    }
    for file in files_with(&partition_path(temp.path()), "log") {
        std::fs::remove_file(file).unwrap();
    }
    std::fs::write(&old, stale).unwrap();
    let log = only_log(&open(temp.path(), &tiny()));
    assert_eq!(log.log_start_offset(), start);
    drop(log);
    let log = only_log(&open(temp.path(), &tiny()));
    assert!(log.producers().is_empty(), "forgotten is better than confused: {:?}", log.producers());
    append(&log, &sequenced(3, 0, 80, &["goes on"])).unwrap();
}

#[test]
fn a_torn_tail_that_was_cut_does_not_come_back() {
    let (temp, trace) = (fast_temp(), Trace::default());
    let dir = open(temp.path(), &LogConfig::default());
    fill(&create(&dir, &LogConfig::default()), 0..10);
    drop(dir);
    let file = data_files(&partition_path(temp.path())).pop().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let dir = trace.open(temp.path(), &LogConfig::default());
    assert_eq!(only_log(&dir).log_end_offset(), 18);
    let cut = trace.find(Operation::Truncate, ".log").unwrap();
    let synced = trace.find_last(Operation::Sync, ".log");
    assert!(synced.is_some_and(|synced| synced > cut), "before anything is appended over it");
}

#[test]
fn segments_that_a_start_cut_do_not_come_back() {
    let (temp, trace) = (fast_temp(), Trace::default());
    let dir = open(temp.path(), &tiny());
    fill(&create(&dir, &tiny()), 0..40);
    drop(dir);
    let files = data_files(&partition_path(temp.path()));
    assert!(files.len() > 3);
    let bytes = std::fs::read(&files[1]).unwrap();
    std::fs::write(&files[1], &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(temp.path().join("recovery-point-offset-checkpoint"), "0\n1\norders 0 0\n").unwrap();
    let dir = trace.open(temp.path(), &tiny());
    assert!(only_log(&dir).quarantine().is_none());
    let name = files[3].file_name().unwrap().to_str().unwrap();
    let removed = trace.find_last(Operation::Remove, name).unwrap();
    let synced = trace.find_last(Operation::Sync, &format!("{TOPIC}-0"));
    assert!(synced.is_some_and(|synced| synced > removed));
}

#[test]
fn aborted_records_go_only_once_the_marker_far_above_them_is_on_the_disk() {
    let temp = fast_temp();
    let config = LogConfig { compact: true, delete: false, min_cleanable_dirty_ratio: 0.0, ..tiny() };
    let dir = open(temp.path(), &config);
    let log = create(&dir, &config);
    let put = |batch: Batch| {
        let append = Append { batch: &batch, leader_epoch: 0, origin: Origin::Coordinator };
        let mut out = Vec::new();
        log.append(&[append], NOW, &mut out);
        out.pop().unwrap().unwrap().base_offset
    };
    let keyed = |id: i64, sequence: i32, value: &str| {
        let mut builder = BatchBuilder::new(Codec::None).producer(id, 0, sequence).transactional(true);
        builder.push(NOW, Some(b"key"), Some(value.as_bytes()), &[]);
        Batch::check(builder.build()).unwrap()
    };
    put(keyed(11, 0, "aborted"));
    let segments = log.segment_count();
    let mut sequence = 0;
    while log.segment_count() == segments {
        put(keyed(12, sequence, &"x".repeat(200)));
        put(marker(12, 0, true));
        sequence += 1;
    }
    log.flush().unwrap();
    let flushed = log.flushed_offset();
    // Another transaction holds the last stable offset down, and the marker lies above it.
    put(keyed(13, 0, "open"));
    let marker_at = put(marker(11, 0, false));
    log.set_high_watermark(i64::MAX);
    if let Some(dirty) = log.compaction_candidate(NOW).unwrap().filter(|dirty| dirty.cleanable_bytes > 0) {
        log.compact(&dirty, &mut CleanerMemory::new(1 << 16, 0.9, 8192), &mut Free, NOW).unwrap();
    }
    assert!(flushed <= marker_at && log.flushed_offset() > marker_at);
}
