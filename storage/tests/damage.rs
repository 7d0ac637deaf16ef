//! What disks, copies and people do to files, one test each: the log is what it was, or it says which file is damaged.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files and damages them")]

mod support;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use jackdaw_protocol::records::{Batch, Codec};
use jackdaw_storage::{AppendError, FileSystem, Log, LogConfig, LogDir, LogDirOptions, Operation, StorageError};
use parking_lot::Mutex;
use rustix::io::Errno;
use support::*;
use uuid::Uuid;

/// Forty records of a producer in several segments, with two leader epochs, closed in order or not.
fn stopped(path: &Path, clean: bool) -> Vec<(i64, Vec<u8>)> {
    let dir = open(path, &tiny());
    let log = create(&dir, &tiny());
    for i in 0..20 {
        let batch = sequenced(3, 0, i * 2, &[&format!("value-{i}"), "x"]);
        append_all(&log, &[batch], i / 8, NOW + i64::from(i)).pop().unwrap().unwrap();
        if i == 15 {
            log.flush().unwrap();
            dir.checkpoint().unwrap();
        }
    }
    if clean {
        dir.close().unwrap();
    }
    read_all(&log)
}

/// Everything about a log that does not depend on how it was stopped.
fn facts(log: &Log) -> impl PartialEq + std::fmt::Debug + use<> {
    let epochs: Vec<_> = (0..4).map(|epoch| log.epoch_end_offset(epoch)).collect();
    let by_time = log.offset_for_timestamp(NOW).unwrap().map(|f| f.offset);
    (read_all(log), log.producers(), epochs, by_time, log.max_timestamp().unwrap().map(|f| f.offset))
}

fn files_ending(path: &Path, ending: &str) -> Vec<PathBuf> {
    let folders = [path.to_path_buf(), partition_path(path)];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut files: Vec<_> =
        entries.map(|e| e.unwrap().path()).filter(|p| p.to_str().unwrap().ends_with(ending)).collect();
    files.sort();
    files
}

/// Damages every file of a kind in every way, one after the other; each time the next start must find the same log.
fn is_healed(ending: &str, damages: impl Fn(&[u8]) -> Vec<Vec<u8>>) {
    for clean in [false, true] {
        let template = fast_temp();
        stopped(template.path(), clean);
        let expected = {
            let copy = copy_of(template.path());
            facts(&only_log(&open(copy.path(), &tiny())))
        };
        for file in files_ending(template.path(), ending) {
            let sound = std::fs::read(&file).unwrap();
            for bad in damages(&sound) {
                let copy = copy_of(template.path());
                let victim = copy.path().join(file.strip_prefix(template.path()).unwrap());
                std::fs::write(&victim, &bad).unwrap();
                let dir = open(copy.path(), &tiny());
                let log = only_log(&dir);
                assert!(log.quarantine().is_none());
                assert_eq!(facts(&log), expected, "{}: {bad:?} for {sound:?}, clean {clean}", file.display());
                append(&log, &sequenced(3, 0, 40, &["next"])).unwrap();
                dir.close().unwrap();
            }
        }
    }
}

fn copy_of(path: &Path) -> tempfile::TempDir {
    let copy = fast_temp();
    std::fs::create_dir(partition_path(copy.path())).unwrap();
    for file in files_ending(path, "").iter().filter(|f| f.is_file()) {
        std::fs::copy(file, copy.path().join(file.strip_prefix(path).unwrap())).unwrap();
    }
    copy
}

fn flipped(sound: &[u8]) -> Vec<Vec<u8>> {
    let flip = |at: usize| {
        let mut bad = sound.to_vec();
        bad[at] ^= 1 << (at % 8);
        bad
    };
    (0..sound.len()).step_by((sound.len() / 24).max(1)).map(flip).collect()
}

fn shortened(sound: &[u8]) -> Vec<Vec<u8>> {
    (0..sound.len()).step_by((sound.len() / 12).max(1)).map(|len| sound[..len].to_vec()).collect()
}

#[test]
fn a_flipped_bit_in_a_producer_snapshot_is_healed() {
    is_healed(".snapshot", flipped);
}

#[test]
fn a_shortened_producer_snapshot_is_healed() {
    is_healed(".snapshot", shortened);
}

#[test]
fn a_shortened_offset_index_is_healed() {
    is_healed("0.index", shortened);
}

#[test]
fn a_shortened_time_index_is_healed() {
    is_healed(".timeindex", shortened);
}

#[test]
fn a_flipped_bit_in_an_offset_index_is_healed() {
    is_healed("0.index", flipped);
}

#[test]
fn a_shortened_epoch_file_is_healed() {
    is_healed("leader-epoch-checkpoint", shortened);
}

#[test]
fn a_shortened_recovery_point_file_is_healed() {
    is_healed("recovery-point-offset-checkpoint", shortened);
}

#[test]
fn a_recovery_point_file_that_is_no_text_is_healed() {
    is_healed("recovery-point-offset-checkpoint", |sound| {
        vec![vec![0; sound.len()], vec![0xff; 3], b"0\n7\n".to_vec()]
    });
}

#[test]
fn a_shortened_high_watermark_file_is_healed() {
    is_healed("replication-offset-checkpoint", shortened);
}

#[test]
fn a_log_start_file_that_is_no_text_is_healed() {
    is_healed("log-start-offset-checkpoint", |_| vec![vec![0; 20], b"junk".to_vec(), Vec::new()]);
}

#[test]
fn a_cleaner_offset_file_that_is_no_text_is_healed() {
    let temp = fast_temp();
    stopped(temp.path(), true);
    std::fs::write(temp.path().join("cleaner-offset-checkpoint"), [0xff; 30]).unwrap();
    assert_eq!(values(&only_log(&open(temp.path(), &tiny()))).len(), 40);
}

#[test]
fn a_damaged_meta_properties_is_refused_with_its_name() {
    let temp = fast_temp();
    stopped(temp.path(), true);
    let meta = temp.path().join("meta.properties");
    for bad in [Vec::new(), vec![0xff; 20], b"version=1\n".to_vec()] {
        std::fs::write(&meta, bad).unwrap();
        let refused = LogDir::open(temp.path(), LogDirOptions::new(1), &|_| tiny(), &|_| {}).map(drop).unwrap_err();
        assert!(refused.to_string().contains("meta.properties"), "{refused}");
    }
}

#[test]
fn a_torn_sector_above_the_recovery_point_ends_the_log_before_it() {
    let config = LogConfig::default();
    for sector in [512, 4096] {
        let temp = fast_temp();
        let dir = open(temp.path(), &config);
        let log = create(&dir, &config);
        for i in 0..200 {
            append(&log, &batch(&[&format!("value-{i}")])).unwrap();
            if i == 99 {
                log.flush().unwrap();
                dir.checkpoint().unwrap();
            }
        }
        let all = read_all(&log);
        drop((dir, log));
        let file = data_files(&partition_path(temp.path())).pop().unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        let at = (bytes.len() / 2 / sector + 1) * sector;
        let torn = at..bytes.len().min(at + sector);
        bytes[torn].fill(0);
        std::fs::write(&file, bytes).unwrap();
        let log = only_log(&open(temp.path(), &config));
        assert!(log.quarantine().is_none());
        let found = read_all(&log);
        assert!(found.len() >= 100 && found.len() < 200, "{}", found.len());
        assert_eq!(found, all[..found.len()]);
    }
}

/// Opens a directory whose partition must be quarantined, and says why it is.
fn quarantined(path: &Path) -> (Arc<Log>, String) {
    let dir = open(path, &tiny());
    let log = only_log(&dir);
    let Some(StorageError::Corrupt { .. }) = log.quarantine() else { panic!("not noticed: {log:?}") };
    let reason = log.quarantine().unwrap().to_string();
    let refused = append(&log, &batch(&["x"]));
    assert!(matches!(refused, Err(AppendError::Storage(StorageError::Corrupt { .. }))));
    (log, reason)
}

#[test]
fn without_a_recovery_point_damage_before_other_segments_is_named_and_nothing_is_cut() {
    let temp = fast_temp();
    let all = stopped(temp.path(), false);
    std::fs::remove_file(temp.path().join("recovery-point-offset-checkpoint")).unwrap();
    std::fs::remove_file(temp.path().join("replication-offset-checkpoint")).unwrap();
    let files = data_files(&partition_path(temp.path()));
    assert!(files.len() > 1);
    let before: Vec<_> = files.iter().map(|f| bytes_of(f)).collect();
    let mut bad = before[0].to_vec();
    let middle = bad.len() / 2;
    bad[middle] ^= 4;
    std::fs::write(&files[0], &bad).unwrap();
    let (log, reason) = quarantined(temp.path());
    assert!(reason.contains(files[0].to_str().unwrap()), "{reason}");
    let sound = read_sound(&log);
    assert!(!sound.is_empty());
    assert_eq!(sound, all[..sound.len()]);
    assert_eq!(bytes_of(&files[0]), bad);
    assert!(files[1..].iter().zip(&before[1..]).all(|(file, bytes)| bytes_of(file) == bytes));
}

/// The records below the damage.
fn read_sound(log: &Log) -> Vec<(i64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut offset = log.log_start_offset();
    while let Ok(slice) = log.read(offset, 1, true, log.log_end_offset()) {
        if slice.bytes.is_empty() {
            break;
        }
        let batch = jackdaw_protocol::records::Batch::check(slice.bytes).unwrap();
        let decoded = jackdaw_protocol::records::records(&batch, 1 << 20).unwrap();
        let records = decoded.iter().map(Result::unwrap);
        found.extend(records.map(|r| (decoded.offset(&r), r.value.unwrap().to_vec())));
        offset = batch.header().last_offset() + 1;
    }
    found
}

/// No checksum covers it: see `segment/order.rs`.
#[test]
fn a_damaged_base_offset_is_served_to_nobody() {
    let temp = fast_temp();
    let all = stopped(temp.path(), true);
    let files = data_files(&partition_path(temp.path()));
    let (file, sound) = (&files[1], bytes_of(&files[1]));
    let mut starts = vec![0];
    while let Some(&start) = starts.last().filter(|start| **start < sound.len()) {
        starts.push(start + jackdaw_protocol::records::Header::parse(&sound[start..]).unwrap().size_in_bytes());
    }
    starts.pop();
    assert!(starts.len() > 2);
    assert!(starts.len() > 2);
    for (start, bit) in starts.iter().flat_map(|start| [0, 1, 2, 5, 20, 40].map(|bit| (start, bit))) {
        let mut bad = sound.to_vec();
        bad[start + 7 - bit / 8] ^= 1 << (bit % 8);
        std::fs::write(file, &bad).unwrap();
        let dir = open(temp.path(), &tiny());
        let log = only_log(&dir);
        for offset in log.log_start_offset()..log.log_end_offset() {
            let Ok(slice) = log.read(offset, 1, true, log.log_end_offset()) else { continue };
            let batch = Batch::check(slice.bytes).unwrap();
            let decoded = jackdaw_protocol::records::records(&batch, 1 << 20).unwrap();
            for record in decoded.iter().map(Result::unwrap) {
                let row = (decoded.offset(&record), record.value.unwrap().to_vec());
                assert!(all.contains(&row), "the batch at byte {start}, bit {bit}, from {offset}: {row:?}");
            }
        }
        dir.close().unwrap();
    }
}

#[test]
fn a_half_copied_segment_below_the_recovery_point_is_named() {
    let temp = fast_temp();
    stopped(temp.path(), false);
    let files = data_files(&partition_path(temp.path()));
    let last = files.last().unwrap();
    std::fs::write(temp.path().join("recovery-point-offset-checkpoint"), "0\n1\norders 0 40\n").unwrap();
    let sound = bytes_of(last);
    std::fs::write(last, &sound[..sound.len() / 2]).unwrap();
    let (_, reason) = quarantined(temp.path());
    assert!(reason.contains(last.to_str().unwrap()), "{reason}");
    assert_eq!(std::fs::metadata(last).unwrap().len() as usize, sound.len() / 2, "as it was found");
}

#[test]
fn a_foreign_segment_never_panics_and_nothing_of_it_is_read() {
    let junk: [&[u8]; 4] = [b"", b"this is no segment", &[0xff; 5000], &[0; 200]];
    for (i, bytes) in junk.iter().enumerate() {
        for base in [0, 7, 33, 40, 1_000_000, i64::MAX] {
            let temp = fast_temp();
            let all = stopped(temp.path(), false);
            let foreign = partition_path(temp.path()).join(format!("{base:020}.log"));
            if foreign.exists() {
                continue;
            }
            std::fs::write(&foreign, bytes).unwrap();
            let dir = open(temp.path(), &tiny());
            let log = only_log(&dir);
            match log.quarantine() {
                Some(error) => assert!(error.to_string().contains(".log"), "{error}"),
                None => {
                    let found = read_sound(&log);
                    assert!(found.iter().all(|record| all.contains(record)), "junk {i} at {base}");
                    // One whose name lies within another's range is in the way: reads end there, with its name in the error.
                    assert!(found.len() >= 32 || base == 7, "junk {i} at {base}: {}", found.len());
                }
            }
        }
    }
}

/// A disk whose syncs of one file wait until they are told to go on.
struct SlowSync {
    begun: Mutex<Sender<()>>,
    go_on: Mutex<Receiver<()>>,
    slow: &'static str,
}

impl FileSystem for SlowSync {
    fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        if path.to_str().unwrap().contains(self.slow) {
            self.begun.lock().send(()).unwrap();
            self.go_on.lock().recv().unwrap();
        }
        file.sync_data()
    }
}

#[test]
fn a_slow_sync_stalls_neither_appends_nor_reads_nor_other_partitions() {
    let temp = fast_temp();
    let ((begun, has_begun), (go_on, told)) = (channel(), channel());
    let disk =
        SlowSync { begun: Mutex::new(begun), go_on: Mutex::new(told), slow: "orders-0/00000000000000000000.log" };
    let dir = open_with(temp.path(), &tiny(), |o| o.faults = Some(Arc::new(disk)));
    let log = create(&dir, &tiny());
    let other = dir.create("orders", Uuid::from_u128(7), 1, tiny()).unwrap();
    append(&log, &batch(&["first"])).unwrap();
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| log.flush());
        has_begun.recv().unwrap();
        for i in 0..30 {
            append(&log, &batch(&[&format!("meanwhile-{i}")])).unwrap(); // and segments roll
            append(&other, &batch(&["other"])).unwrap();
        }
        assert!(log.segment_count() > 1);
        assert_eq!(values(&log).len(), 31);
        assert_eq!(other.flush().unwrap(), 30);
        assert_eq!(log.flushed_offset(), 0);
        go_on.send(()).unwrap();
        assert_eq!(flush.join().unwrap().unwrap(), 1);
        drop(go_on); // nobody waits any more: the next sync of that file would fail the test
    });
    assert_eq!(log.flushed_offset(), 1);
}

#[test]
fn a_checkpoint_is_not_done_while_another_still_writes_what_it_is_to_say() {
    let temp = fast_temp();
    let ((begun, has_begun), (go_on, told)) = (channel(), channel());
    let disk = SlowSync { begun: Mutex::new(begun), go_on: Mutex::new(told), slow: "log-start-offset-checkpoint" };
    go_on.send(()).unwrap(); // a new directory gets its files
    let dir = open_with(temp.path(), &tiny(), |o| o.faults = Some(Arc::new(disk)));
    has_begun.recv().unwrap();
    let log = create(&dir, &tiny());
    append(&log, &batch(&["gone", "gone", "stays"])).unwrap();
    log.set_high_watermark(3);
    log.delete_records_before(2).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| dir.checkpoint());
        has_begun.recv().unwrap();
        let second = scope.spawn(|| dir.checkpoint());
        let begun = std::time::Instant::now();
        while !second.is_finished() && begun.elapsed() < std::time::Duration::from_millis(50) {
            std::thread::yield_now();
        }
        let was_early = second.is_finished();
        go_on.send(()).unwrap();
        assert!(!was_early, "the new log start was not on the disk yet");
        first.join().unwrap().unwrap();
        second.join().unwrap().unwrap();
    });
}

#[test]
fn a_disk_that_fails_to_write_takes_its_directory_offline_and_the_batch_is_refused() {
    let temp = fast_temp();
    let written = std::sync::atomic::AtomicUsize::new(0);
    let faults = move |asked: Operation, path: &Path| {
        let is_data = path.extension().is_some_and(|e| e == "log");
        let count = if asked == Operation::Write && is_data {
            written.fetch_add(1, std::sync::atomic::Ordering::SeqCst)
        } else {
            0
        };
        if count >= 4 { Err(Errno::IO.into()) } else { Ok(()) }
    };
    let dir = open_with(temp.path(), &tiny(), |o| o.faults = Some(Arc::new(faults)));
    let log = create(&dir, &tiny());
    for i in 0..4 {
        append(&log, &sequenced(5, 0, i, &["a"])).unwrap();
    }
    let before = (values(&log), log.producers(), log.log_end_offset());
    assert!(append(&log, &sequenced(5, 0, 4, &["b"])).is_err());
    assert!(!dir.is_online());
    assert!(!dir.is_full());
    assert_eq!((values(&log), log.producers(), log.log_end_offset()), before);
    assert!(!dir.probe_space() || !dir.is_online(), "space does not heal it");
}

/// A disk that takes a few bytes of each write, and that fails to read on demand.
#[derive(Default)]
struct Stubborn {
    cannot_read: std::sync::atomic::AtomicBool,
}

impl FileSystem for Stubborn {
    fn write_at(&self, file: &File, _: &Path, parts: &[io::IoSlice<'_>], position: u64) -> io::Result<usize> {
        let first = parts.iter().find(|part| !part.is_empty()).map_or(&[][..], |part| &part[..part.len().min(7)]);
        std::os::unix::fs::FileExt::write_all_at(file, first, position)?;
        Ok(first.len())
    }

    fn read_at(&self, file: &File, _: &Path, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        if self.cannot_read.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(Errno::IO.into());
        }
        let len = buffer.len().min(5);
        std::os::unix::fs::FileExt::read_at(file, &mut buffer[..len], position)
    }
}

#[test]
fn writes_and_reads_that_take_less_than_asked_are_completed() {
    let (temp, disk) = (fast_temp(), Arc::new(Stubborn::default()));
    let all = {
        let dir = open_with(temp.path(), &tiny(), |o| o.faults = Some(disk.clone()));
        let log = create(&dir, &tiny());
        for i in 0..20 {
            append(&log, &sequenced(3, 0, i, &[&format!("value-{i}")])).unwrap();
        }
        log.flush().unwrap();
        read_all(&log)
    };
    let dir = open_with(temp.path(), &tiny(), |o| o.faults = Some(disk));
    assert_eq!((read_all(&only_log(&dir)), all.len()), (all, 20));
}

#[test]
fn a_sector_that_cannot_be_read_is_an_error_with_the_file_s_name_and_appends_go_on() {
    let (temp, disk) = (fast_temp(), Arc::new(Stubborn::default()));
    let dir = open_with(temp.path(), &tiny(), |o| o.faults = Some(disk.clone()));
    let log = create(&dir, &tiny());
    for i in 0..40 {
        append_all(&log, &[batch_of(Codec::None, &[(NOW + i, b"value")])], 0, NOW).pop().unwrap().unwrap();
    }
    disk.cannot_read.store(true, std::sync::atomic::Ordering::SeqCst);
    let error = log.offset_for_timestamp(NOW + 3).unwrap_err().to_string();
    assert!(error.contains(".log"), "{error}");
    assert!(dir.is_online(), "one sector is not the disk");
    append(&log, &batch(&["next"])).unwrap();
    log.flush().unwrap();
    disk.cannot_read.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(log.offset_for_timestamp(NOW + 3).unwrap().unwrap().offset, 3);
    disk.cannot_read.store(true, std::sync::atomic::Ordering::SeqCst);
    drop((log, dir));
    let mut options = LogDirOptions::new(1);
    options.faults = Some(disk);
    let refused = LogDir::open(temp.path(), options, &|_| tiny(), &|_| {}).map(drop).unwrap_err();
    assert!(refused.to_string().contains(".log"), "{refused}");
}
