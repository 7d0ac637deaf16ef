//! What a crash may leave of a log, and what becomes of it.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files and damages them")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jackdaw_storage::{AppendError, FileSystem, LogConfig, LogDir, LogDirOptions, Operation, ReadError, StorageError};
use support::*;

/// Ten batches, of which the first `flushed` are below the recovery point on the disk. Then a crash.
fn crashed(path: &Path, config: &LogConfig, flushed: i32) -> Vec<(i64, Vec<u8>)> {
    let dir = open(path, config);
    let log = create(&dir, config);
    for i in 0..10 {
        append(&log, &sequenced(3, 0, i * 2, &[&format!("value-{i}"), "x"])).unwrap();
        if i + 1 == flushed {
            log.flush().unwrap();
            dir.checkpoint().unwrap();
        }
    }
    read_all(&log)
}

#[test]
fn a_torn_tail_is_cut_at_the_last_whole_batch_wherever_it_was_torn() {
    let config = LogConfig::default();
    let size = sequenced(3, 0, 0, &["value-0", "x"]).size_in_bytes() as u64;
    let template = fast_temp();
    let all = crashed(template.path(), &config, 8);
    let file = data_files(&partition_path(template.path())).pop().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(bytes.len() as u64, 10 * size);
    for len in 8 * size..=10 * size {
        std::fs::write(&file, &bytes[..len as usize]).unwrap();
        let log = only_log(&open(template.path(), &config));
        let kept = (len / size) as usize * 2;
        assert_eq!(read_all(&log), all[..kept], "torn at {len}");
        assert_eq!(std::fs::metadata(&file).unwrap().len(), kept as u64 / 2 * size);
        let last = log.producers()[0].last_sequence;
        assert_eq!(last, kept as i32 - 1);
        append(&log, &sequenced(3, 0, kept as i32, &["next"])).unwrap();
        drop(log);
        // As it was at the crash, for the next length: the recovery point must not have moved either.
        std::fs::write(&file, &bytes).unwrap();
        std::fs::write(template.path().join("recovery-point-offset-checkpoint"), "0\n1\norders 0 16\n").unwrap();
    }
}

#[test]
fn a_flipped_bit_above_the_recovery_point_ends_the_log_before_its_batch() {
    let config = LogConfig::default();
    let size = sequenced(3, 0, 0, &["value-0", "x"]).size_in_bytes();
    let temp = fast_temp();
    let all = crashed(temp.path(), &config, 8);
    let file = data_files(&partition_path(temp.path())).pop().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    for bit in 0..size * 8 {
        let at = 9 * size + bit / 8;
        if (12..16).contains(&(bit / 8)) {
            continue; // the leader epoch is outside the CRC, and any is possible
        }
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (bit % 8);
        std::fs::write(&file, &bad).unwrap();
        std::fs::write(temp.path().join("recovery-point-offset-checkpoint"), "0\n1\norders 0 16\n").unwrap();
        let log = only_log(&open(temp.path(), &config));
        let end = log.log_end_offset();
        // A base offset is outside the CRC too: one that is too high leaves a gap, as compaction does.
        if bit / 8 < 8 && end != 18 {
            assert!(end > 20, "bit {bit}: {end}");
            continue;
        }
        assert_eq!(read_all(&log), all[..18], "bit {bit}");
    }
}

#[test]
fn damage_below_the_recovery_point_is_quarantined_and_nothing_is_cut() {
    let config = LogConfig::default();
    let size = sequenced(3, 0, 0, &["value-0", "x"]).size_in_bytes();
    let temp = fast_temp();
    let all = crashed(temp.path(), &config, 8);
    let file = data_files(&partition_path(temp.path())).pop().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    for (bad, kept) in [(bytes[..6 * size].to_vec(), 12), (bytes[..6 * size + 30].to_vec(), 12)] {
        std::fs::write(&file, &bad).unwrap();
        for _ in 0..2 {
            // Twice: a clean close of the directory must not make the damage good.
            let dir = open(temp.path(), &config);
            let log = only_log(&dir);
            let Some(StorageError::Corrupt { path, position, .. }) = log.quarantine() else { panic!("not noticed") };
            assert_eq!((&**path, *position), (file.as_path(), kept as u64 / 2 * size as u64));
            assert_eq!(read_all(&log), all[..kept]);
            let read = log.read(kept as i64, 100, true, 100);
            assert!(matches!(read, Err(ReadError::Storage(StorageError::Corrupt { .. }))));
            let refused = append(&log, &batch(&["x"]));
            assert!(matches!(refused, Err(AppendError::Storage(StorageError::Corrupt { .. }))));
            dir.close().unwrap();
            assert_eq!(std::fs::read(&file).unwrap(), bad);
        }
        std::fs::remove_file(temp.path().join(".kafka_cleanshutdown")).unwrap();
    }
}

#[test]
fn indexes_snapshots_and_epochs_that_are_missing_or_short_are_rebuilt() {
    for clean in [true, false] {
        for victim in ["index", "timeindex", "snapshot", "leader-epoch-checkpoint"] {
            for short in [true, false] {
                let temp = fast_temp();
                let before = {
                    let dir = open(temp.path(), &tiny());
                    let log = create(&dir, &tiny());
                    for i in 0..60 {
                        let batch = sequenced(5, 0, i, &[&format!("value-{i}")]);
                        append_all(&log, &[batch], i / 25, NOW).pop().unwrap().unwrap();
                    }
                    log.flush().unwrap();
                    dir.checkpoint().unwrap();
                    if clean {
                        dir.close().unwrap();
                    }
                    (read_all(&log), log.producers(), log.epoch_end_offset(0), log.epoch_end_offset(1))
                };
                let partition = partition_path(temp.path());
                let mut files = files_with(&partition, victim);
                files.extend(Some(partition.join(victim)).filter(|p| p.exists()));
                assert!(!files.is_empty());
                for file in files {
                    if short {
                        let bytes = std::fs::read(&file).unwrap();
                        std::fs::write(&file, &bytes[..bytes.len().saturating_sub(3)]).unwrap();
                    } else {
                        std::fs::remove_file(&file).unwrap();
                    }
                }
                let log = only_log(&open(temp.path(), &tiny()));
                let after = (read_all(&log), log.producers(), log.epoch_end_offset(0), log.epoch_end_offset(1));
                assert_eq!(after, before, "{victim}, short {short}, clean {clean}");
                assert_eq!(log.offset_for_timestamp(NOW).unwrap().unwrap().offset, 0);
                assert_eq!(log.max_timestamp().unwrap().unwrap().offset, 0);
            }
        }
    }
}

#[test]
fn the_clean_mark_is_gone_while_the_directory_is_open() {
    let temp = fast_temp();
    let mark = temp.path().join(".kafka_cleanshutdown");
    let dir = open(temp.path(), &tiny());
    create(&dir, &tiny());
    assert!(!mark.exists());
    dir.close().unwrap();
    dir.close().unwrap();
    drop(dir);
    assert!(mark.exists());
    let dir = open(temp.path(), &tiny());
    assert!(!mark.exists());
    drop(dir);
    assert!(!mark.exists());
}

#[test]
fn what_unfinished_operations_left_is_removed() {
    let temp = fast_temp();
    crashed(temp.path(), &tiny(), 4);
    let partition = partition_path(temp.path());
    let name = |suffix: &str| partition.join(format!("{:020}.{suffix}", 0));
    let leftovers = [name("log.cleaned"), name("log.deleted"), partition.join("leader-epoch-checkpoint.tmp")];
    leftovers.iter().for_each(|path| std::fs::write(path, "junk").unwrap());
    let orphan = partition.join(format!("{:020}.index", 777));
    std::fs::write(&orphan, [0; 8]).unwrap();
    let deleted = temp.path().join("orders-1.0123456789abcdef0123456789abcdef-delete");
    std::fs::create_dir(&deleted).unwrap();
    let dir = open(temp.path(), &tiny());
    assert_eq!(values(&only_log(&dir)).len(), 20);
    dir.purge(NOW); // directories of deleted partitions may be many: no start waits for them
    assert!(leftovers.iter().chain([&orphan, &deleted]).all(|path| !path.exists()));
}

/// The n-th operation of a kind fails, and everything after it.
fn failing(operation: Operation, countdown: usize) -> Arc<dyn FileSystem> {
    let left = AtomicUsize::new(countdown);
    Arc::new(move |asked: Operation, path: &Path| {
        let is_data = path.extension().is_some_and(|e| e == "log");
        if asked == operation
            && is_data
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err()
        {
            return Err(std::io::Error::from_raw_os_error(5));
        }
        Ok(())
    })
}

#[test]
fn the_first_failed_write_or_sync_takes_the_directory_offline_and_reads_go_on() {
    for operation in [Operation::Write, Operation::Sync] {
        let temp = fast_temp();
        let dir = open_with(temp.path(), &tiny(), |o| o.faults = Some(failing(operation, 3)));
        let log = create(&dir, &tiny());
        let mut acknowledged = Vec::new();
        for i in 0..6 {
            let value = format!("value-{i}");
            let appended = append(&log, &batch(&[&value]));
            if appended.is_ok() && log.flush().is_ok() {
                acknowledged.push(value);
            } else {
                assert!(!dir.is_online());
            }
        }
        assert_eq!(acknowledged.len(), 3);
        let first = dir.offline_reason().unwrap().to_string();
        let Err(AppendError::Storage(error)) = append(&log, &batch(&["late"])) else { panic!("still online") };
        assert_eq!(error.to_string(), first);
        assert_eq!(log.flush().unwrap_err().to_string(), first);
        assert_eq!(log.flushed_offset(), 3);
        assert_eq!(values(&log)[..3], acknowledged);
        assert!(dir.close().is_err());
        drop((dir, log));
        assert!(!temp.path().join(".kafka_cleanshutdown").exists());
        let log = only_log(&open(temp.path(), &tiny()));
        assert_eq!(values(&log)[..3], acknowledged);
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_with_what_to_do() {
    for (code, remedy) in [(28, "free some space"), (13, "change its owner"), (30, "mount it for writing")] {
        let temp = fast_temp();
        let mut options = LogDirOptions::new(1);
        options.faults = Some(Arc::new(move |asked: Operation, _: &Path| match asked {
            Operation::Write => Err(std::io::Error::from_raw_os_error(code)),
            _ => Ok(()),
        }));
        let refused = LogDir::open(temp.path(), options, &|_| tiny(), &|_| {}).map(drop).unwrap_err().to_string();
        assert!(refused.contains(remedy), "{refused}");
    }
}

#[test]
fn a_refused_preallocation_is_no_failure() {
    let temp = fast_temp();
    let dir = open_with(temp.path(), &tiny(), |o| o.faults = Some(failing(Operation::Allocate, 0)));
    let log = create(&dir, &tiny());
    append(&log, &batch(&["a"])).unwrap();
    assert!(dir.is_online());
}

#[test]
fn a_segment_that_lost_its_end_above_the_recovery_point_ends_the_log() {
    let config = tiny();
    let temp = fast_temp();
    let all = crashed(temp.path(), &LogConfig { segment_bytes: 300, ..config.clone() }, 2);
    let files = data_files(&partition_path(temp.path()));
    assert!(files.len() >= 4, "the log has too few segments for this test");
    // The power failed after the names of later segments had reached the disk, and before the last batch of this one had.
    let size = sequenced(3, 0, 0, &["value-0", "x"]).size_in_bytes();
    let bytes = std::fs::read(&files[2]).unwrap();
    std::fs::write(&files[2], &bytes[..bytes.len() - size]).unwrap();
    let dir = open(temp.path(), &config);
    let log = only_log(&dir);
    let end = log.log_end_offset();
    assert!(end < 20 && end > 4, "it ends at {end}");
    assert_eq!(read_all(&log), all[..end as usize]);
    append(&log, &sequenced(3, 0, end as i32, &["goes", "on"])).unwrap();
    assert_eq!(read_all(&log).len(), end as usize + 2);
}

#[test]
fn the_first_flush_after_a_crash_syncs_every_segment_above_the_recovery_point() {
    let config = LogConfig { segment_bytes: 300, ..tiny() };
    let temp = fast_temp();
    crashed(temp.path(), &config, 3);
    let above: Vec<_> = data_files(&partition_path(temp.path())).into_iter().skip(1).collect();
    assert!(above.len() >= 2, "the log has too few segments for this test");
    let synced = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let noted = Arc::clone(&synced);
    let dir = open_with(temp.path(), &config, |options| {
        options.faults = Some(Arc::new(move |asked: Operation, path: &Path| {
            if asked == Operation::Sync {
                noted.lock().push(path.to_owned());
            }
            Ok(())
        }));
    });
    let log = only_log(&dir);
    synced.lock().clear();
    assert!(log.flushed_offset() < log.log_end_offset(), "nothing has synced it yet");
    assert_eq!(log.flush().unwrap(), log.log_end_offset());
    let synced = synced.lock();
    let whole = synced.iter().any(|path| path == temp.path());
    assert!(whole || above.iter().all(|file| synced.contains(file)), "{synced:?}");
}
