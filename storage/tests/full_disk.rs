//! A disk without room is no broken disk: what did not fit left no trace, reads go on, and so do appends once there is
//! room again.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files and damages them")]

mod support;

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jackdaw_protocol::records::Batch;
use jackdaw_storage::{Append, AppendError, FileSystem, Log, LogConfig, LogDir, OpenMode, Operation, Origin};
use rustix::io::Errno;
use support::*;
use uuid::Uuid;

/// A disk on which so many bytes fit. A write that reaches the end is cut short there; then nothing fits, not even a
/// new file.
struct Small {
    left: AtomicI64,
    asked: AtomicU64,
    errno: Errno,
}

impl Small {
    fn new(left: i64) -> Arc<Small> {
        Small::failing_with(left, Errno::NOSPC)
    }

    fn failing_with(left: i64, errno: Errno) -> Arc<Small> {
        Arc::new(Small { left: AtomicI64::new(left), asked: AtomicU64::new(0), errno })
    }

    fn make_room(&self, bytes: i64) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    fn check_room(&self) -> io::Result<()> {
        if self.left.load(Ordering::SeqCst) > 0 { Ok(()) } else { Err(self.errno.into()) }
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl FileSystem for Small {
    fn before(&self, _: Operation, _: &Path) -> io::Result<()> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        if mode != OpenMode::Existing {
            self.check_room()?;
        }
        System.open(path, mode)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.check_room()?;
        std::fs::create_dir(path)
    }

    fn reserve(&self, _: &File, _: &Path, _: u64, _: u64) -> io::Result<()> {
        Ok(()) // blocks are counted when they are written
    }

    fn write_at(&self, file: &File, _: &Path, parts: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let left = self.left.load(Ordering::SeqCst).max(0) as usize;
        if left == 0 {
            return Err(self.errno.into());
        }
        let fits = &bytes[..bytes.len().min(left)];
        std::os::unix::fs::FileExt::write_all_at(file, fits, position)?;
        self.left.fetch_sub(fits.len() as i64, Ordering::SeqCst);
        Ok(fits.len())
    }
}

/// The system as it is.
struct System;

impl FileSystem for System {}

const PLENTY: i64 = 1 << 40;

fn open_small(path: &Path, config: &LogConfig, disk: &Arc<Small>) -> LogDir {
    let disk: Arc<dyn FileSystem> = disk.clone();
    open_with(path, config, |o| o.faults = Some(disk))
}

/// What must not change when an append finds no room.
fn state(log: &Log, path: &Path) -> impl PartialEq + std::fmt::Debug + use<> {
    let files: Vec<_> = data_files(&partition_path(path)).iter().map(|f| (f.clone(), bytes_of(f))).collect();
    let bounds = (log.log_start_offset(), log.log_end_offset(), log.last_stable_offset(), log.segment_count());
    (read_all(log), bounds, log.producers(), log.latest_epoch(), files)
}

fn is_full(result: &Result<jackdaw_storage::Appended, AppendError>) -> bool {
    matches!(result, Err(AppendError::Storage(error)) if error.is_full_disk())
}

#[test]
fn an_append_that_does_not_fit_leaves_the_log_exactly_as_it_was_wherever_the_space_ends() {
    // Two producers, a new leader epoch, a roll in the middle.
    let batches: Vec<Batch> = (0..12)
        .map(|i| sequenced(3 + i64::from(i % 2), 0, i / 2, &[&format!("value-{i:02}-{}", "x".repeat(100))]))
        .collect();
    let total: usize = batches.iter().map(Batch::size_in_bytes).sum();
    for left in (1..total as i64 + 2000).step_by(37) {
        let temp = fast_temp();
        let disk = Small::new(PLENTY);
        let dir = open_small(temp.path(), &tiny(), &disk);
        let log = create(&dir, &tiny());
        append(&log, &sequenced(3, 0, 0, &["first"])).unwrap();
        append_all(&log, &[sequenced(4, 0, 0, &["first"])], 1, NOW).pop().unwrap().unwrap();
        let batches: Vec<_> = batches
            .iter()
            .map(|b| {
                let header = b.header();
                let value = read_value(b);
                sequenced(header.producer_id(), 0, header.base_sequence() + 1, &[&value])
            })
            .collect();
        let mut expected = values(&log);
        disk.make_room(left);
        let results = append_all(&log, &batches, 2, NOW);
        let fitted = results.iter().take_while(|r| r.is_ok()).count();
        assert!(results[fitted..].iter().all(is_full), "{left}: {results:?}");
        expected.extend(batches[..fitted].iter().map(read_value));
        assert_eq!(values(&log), expected, "{left} bytes left");
        assert!(dir.is_online());
        assert_eq!(dir.is_full(), fitted < batches.len());

        // Whatever was acknowledged is there after a crash; whatever was refused can be sent again, in its order.
        disk.make_room(PLENTY);
        let before = state(&log, temp.path());
        assert!(dir.probe_space());
        assert!(!dir.is_full());
        assert_eq!(state(&log, temp.path()), before);
        assert!(append_all(&log, &batches[fitted..], 2, NOW).iter().all(Result::is_ok));
        expected.extend(batches[fitted..].iter().map(read_value));
        assert_eq!(values(&log), expected);
        assert_eq!(log.latest_epoch(), Some(2));
        drop((dir, log));
        let log = only_log(&open(temp.path(), &tiny()));
        assert_eq!(values(&log), expected);
        assert!(log.producers().iter().all(|p| p.last_sequence == 6));
    }
}

fn read_value(batch: &Batch) -> String {
    let decoded = jackdaw_protocol::records::records(batch, 1 << 20).unwrap();
    let value = decoded.iter().next().unwrap().unwrap().value.unwrap().to_vec();
    String::from_utf8(value).unwrap()
}

#[test]
fn a_full_directory_refuses_appends_without_asking_the_disk_and_goes_on_by_itself() {
    for errno in [Errno::NOSPC, Errno::DQUOT] {
        let temp = fast_temp();
        let disk = Small::failing_with(PLENTY, errno);
        let dir = open_small(temp.path(), &tiny(), &disk);
        let log = create(&dir, &tiny());
        append(&log, &batch(&["a"])).unwrap();
        disk.make_room(0);
        assert!(is_full(&append(&log, &batch(&["b"]))));
        let before = state(&log, temp.path());
        let asked = disk.asked();
        for _ in 0..100 {
            assert!(is_full(&append(&log, &batch(&["b"]))));
        }
        assert_eq!(disk.asked(), asked);
        assert!(!dir.probe_space());
        assert_eq!(values(&log), ["a"]);
        assert_eq!(state(&log, temp.path()), before);
        disk.make_room(PLENTY);
        assert!(is_full(&append(&log, &batch(&["b"]))), "nobody probed yet");
        assert!(dir.probe_space());
        append(&log, &batch(&["b"])).unwrap();
        assert_eq!(values(&log), ["a", "b"]);
        assert!(!temp.path().join(".space-probe").exists());
    }
}

#[test]
fn an_append_without_room_takes_back_producers_transactions_and_epochs() {
    let temp = fast_temp();
    let disk = Small::new(PLENTY);
    let config = LogConfig::default();
    let dir = open_small(temp.path(), &config, &disk);
    let log = create(&dir, &config);
    let append_one = |batch: &Batch, origin, epoch| {
        let mut out = Vec::new();
        log.append(&[Append { batch, leader_epoch: epoch, origin }], NOW, &mut out);
        out.pop().unwrap()
    };
    append_one(&transactional(7, 0, 0, &["in transaction"]), Origin::Client, 1).unwrap();
    append_one(&sequenced(9, 0, 0, &["plain"]), Origin::Client, 1).unwrap();
    log.set_high_watermark(log.log_end_offset());
    let steps = [
        (marker(7, 0, false), Origin::Coordinator, 1),
        (marker(7, 0, true), Origin::Coordinator, 4),
        (transactional(7, 0, 1, &["more"]), Origin::Client, 1),
        (transactional(11, 0, 0, &["new producer"]), Origin::Client, 3),
        (sequenced(9, 1, 0, &["new epoch of the producer"]), Origin::Client, 2),
    ];
    for (batch, origin, epoch) in &steps {
        let before = state(&log, temp.path());
        disk.make_room(40);
        assert!(is_full(&append_one(batch, *origin, *epoch)));
        assert_eq!(state(&log, temp.path()), before);
        disk.make_room(PLENTY);
        assert!(dir.probe_space());
    }
    assert_eq!(log.last_stable_offset(), 0);
    append_one(&steps[0].0, Origin::Coordinator, 1).unwrap();
    log.set_high_watermark(log.log_end_offset());
    assert_eq!(log.last_stable_offset(), log.log_end_offset());
    assert_eq!(log.aborted_transactions(0, 10).unwrap().len(), 1);
}

#[test]
fn a_sync_without_room_for_the_epochs_makes_records_durable_and_leaves_the_recovery_point() {
    let temp = fast_temp();
    let disk = Small::new(PLENTY);
    let dir = open_small(temp.path(), &tiny(), &disk);
    let log = create(&dir, &tiny());
    append_all(&log, &[batch(&["a"])], 3, NOW).pop().unwrap().unwrap();
    disk.make_room(0);
    assert_eq!(log.flush().unwrap(), 1);
    assert_eq!(log.flushed_offset(), 0);
    assert!(log.needs_flush());
    log.set_high_watermark(1);
    assert!(dir.checkpoint().is_err());
    disk.make_room(PLENTY);
    assert_eq!(log.flush().unwrap(), 1);
    assert_eq!(log.flushed_offset(), 1);
    assert!(!log.needs_flush());
    dir.checkpoint().unwrap();
}

#[test]
fn a_sync_that_fails_for_want_of_space_is_a_failed_sync() {
    let temp = fast_temp();
    let faults = |asked: Operation, path: &Path| match asked {
        Operation::Sync if path.extension().is_some_and(|e| e == "log") => Err(Errno::NOSPC.into()),
        _ => Ok(()),
    };
    let dir = open_with(temp.path(), &tiny(), |o| o.faults = Some(Arc::new(faults)));
    let log = create(&dir, &tiny());
    append(&log, &batch(&["a"])).unwrap();
    assert!(log.flush().is_err());
    assert!(!dir.is_online());
}

#[test]
fn a_partition_that_finds_no_room_leaves_nothing_half_made() {
    for left in [0, 1, 20, 50] {
        let temp = fast_temp();
        let disk = Small::new(PLENTY);
        let dir = open_small(temp.path(), &tiny(), &disk);
        disk.make_room(left);
        let made = dir.create(TOPIC, Uuid::from_u128(7), 0, tiny());
        if let Ok(log) = made {
            assert_eq!(left, 50);
            assert!(partition_path(temp.path()).is_dir());
            assert_eq!(log.log_end_offset(), 0);
            continue;
        }
        assert!(made.unwrap_err().is_full_disk());
        assert!(!partition_path(temp.path()).exists());
        assert!(dir.logs().is_empty());
        assert!(dir.create("other", Uuid::nil(), 0, tiny()).is_err());
        disk.make_room(PLENTY);
        assert!(dir.probe_space());
        create(&dir, &tiny());
    }
}

#[test]
fn a_full_disk_is_closed_in_order_and_the_next_start_finds_everything() {
    let temp = fast_temp();
    let disk = Small::new(PLENTY);
    let dir = open_small(temp.path(), &tiny(), &disk);
    let log = create(&dir, &tiny());
    for i in 0..30 {
        append(&log, &sequenced(5, 0, i, &[&format!("value-{i}")])).unwrap();
    }
    disk.make_room(0);
    assert!(dir.close().unwrap_err().is_full_disk());
    assert!(!temp.path().join(".kafka_cleanshutdown").exists());
    drop((dir, log));
    // Still full: it starts, reads, and goes on when there is room.
    let dir = open_small(temp.path(), &tiny(), &disk);
    let log = only_log(&dir);
    assert_eq!(values(&log).len(), 30);
    assert_eq!(log.offset_for_timestamp(NOW).unwrap().unwrap().offset, 0);
    assert_eq!(log.producers()[0].last_sequence, 29);
    disk.make_room(PLENTY);
    assert!(dir.probe_space());
    append(&log, &sequenced(5, 0, 30, &["more"])).unwrap();
    dir.close().unwrap();
    drop((dir, log));
    let log = only_log(&open(temp.path(), &tiny()));
    assert_eq!(values(&log).len(), 31);
}

#[test]
fn a_truncation_without_room_for_its_copy_changes_nothing() {
    for left in [0, 10, 150] {
        let temp = fast_temp();
        let disk = Small::new(PLENTY);
        let dir = open_small(temp.path(), &tiny(), &disk);
        let log = create(&dir, &tiny());
        for i in 0..20 {
            append(&log, &sequenced(5, 0, i, &[&format!("value-{i}")])).unwrap();
        }
        log.flush().unwrap();
        dir.checkpoint().unwrap();
        let before = state(&log, temp.path());
        disk.make_room(left);
        assert!(log.truncate_to(17).unwrap_err().is_full_disk());
        assert_eq!(state(&log, temp.path()), before);
        assert!(dir.is_online());
        disk.make_room(PLENTY);
        log.truncate_to(17).unwrap();
        assert_eq!(values(&log).len(), 17);
        drop((dir, log));
        assert_eq!(values(&only_log(&open(temp.path(), &tiny()))).len(), 17);
    }
}

#[test]
fn a_truncation_of_everything_is_done_or_changes_nothing_however_little_room_there_is() {
    let mut refused = 0;
    for left in (0..400).step_by(2) {
        let temp = fast_temp();
        let disk = Small::new(PLENTY);
        let dir = open_small(temp.path(), &tiny(), &disk);
        let log = create(&dir, &tiny());
        for i in 0..4 {
            append(&log, &sequenced(5, 0, i, &[&format!("value-{i}")])).unwrap();
        }
        disk.make_room(left);
        let kept = match log.truncate_to(0) {
            Ok(()) => 0,
            Err(error) => {
                assert!(error.is_full_disk(), "{error}");
                refused += 1;
                4
            }
        };
        assert!(dir.is_online(), "{left} bytes");
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (0, kept), "{left} bytes");
        assert_eq!(values(&log).len() as i64, kept, "{left} bytes");
        disk.make_room(PLENTY);
        dir.probe_space();
        append(&log, &batch(&["anew"])).unwrap();
        assert_eq!(log.log_end_offset(), kept + 1);
    }
    assert!((1..200).contains(&refused), "{refused} of 200 refused: this proves nothing");
}

#[test]
fn an_open_mode_replaces_what_was_there() {
    let temp = fast_temp();
    let path = temp.path().join("file");
    System.open(&path, OpenMode::New).unwrap();
    assert!(System.open(&path, OpenMode::New).is_err());
    let file = System.open(&path, OpenMode::Existing).unwrap();
    assert_eq!(System.write_at(&file, &path, &[IoSlice::new(b"abc")], 0).unwrap(), 3);
    System.open(&path, OpenMode::Replace).unwrap();
    assert_eq!(System.read_file(&path).unwrap(), b"");
}
