//! Damage below the recovery point: what is sound is served, the rest is told of, nothing is cut.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files and damages them")]

mod support;

use std::path::Path;

use jackdaw_storage::{AppendError, Log, LogConfig, ReadError, StorageError};
use support::*;

/// Ten batches of two records each, all below the recovery point on the disk. Then a crash. Their values, and the size
/// of one batch.
fn crashed(path: &Path, config: &LogConfig) -> (Vec<(i64, Vec<u8>)>, usize) {
    let dir = open(path, config);
    let log = create(&dir, config);
    for i in 0..10 {
        append(&log, &sequenced(3, 0, i * 2, &[&format!("value-{i}"), "x"])).unwrap();
    }
    log.flush().unwrap();
    dir.checkpoint().unwrap();
    (read_all(&log), sequenced(3, 0, 0, &["value-0", "x"]).size_in_bytes())
}

/// Everything that can be read from `offset` on until something refuses.
fn read_from(log: &Log, mut offset: i64, max_bytes: usize) -> (Vec<i64>, Option<StorageError>) {
    let mut bases = Vec::new();
    while offset < log.log_end_offset() {
        match log.read(offset, max_bytes, true, i64::MAX) {
            Ok(slice) => {
                for batch in jackdaw_protocol::records::Batch::split_all(slice.bytes) {
                    let batch = batch.unwrap();
                    bases.push(batch.header().base_offset());
                    offset = batch.header().last_offset() + 1;
                }
            }
            Err(ReadError::Storage(error)) => return (bases, Some(error)),
            Err(error) => panic!("{error}"),
        }
    }
    (bases, None)
}

#[test]
fn behind_damage_in_the_middle_of_a_segment_reading_goes_on() {
    for clean in [false, true] {
        for max_bytes in [1, 250, 1 << 20] {
            let temp = fast_temp();
            let (_, size) = crashed(temp.path(), &LogConfig::default());
            let file = data_files(&partition_path(temp.path())).pop().unwrap();
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[5 * size + 8] = 0x7f; // the length of the sixth batch
            bytes[8 * size..8 * size + 40].fill(0); // the ninth, from its head on
            std::fs::write(&file, &bytes).unwrap();
            if clean {
                std::fs::write(temp.path().join(".kafka_cleanshutdown"), "{}").unwrap();
            }
            for _ in 0..2 {
                let dir = open(temp.path(), &LogConfig::default());
                let log = only_log(&dir);
                assert_eq!((log.log_start_offset(), log.log_end_offset()), (0, 20));
                let (bases, error) = read_from(&log, 0, max_bytes);
                assert_eq!(bases, [0, 2, 4, 6, 8]);
                let Some(StorageError::Corrupt { path, position, .. }) = error else { panic!("{error:?}") };
                assert_eq!((&*path, position), (file.as_path(), 5 * size as u64));
                assert!(log.read(11, max_bytes, true, i64::MAX).is_err());
                let (bases, error) = read_from(&log, 12, max_bytes);
                assert_eq!(bases, [12, 14]);
                assert!(matches!(error, Some(StorageError::Corrupt { position, .. }) if position == 8 * size as u64));
                assert_eq!(read_from(&log, 18, max_bytes).0, [18]);
                assert!(read_from(&log, 18, max_bytes).1.is_none());
                let refused = append(&log, &batch(&["x"]));
                assert!(matches!(refused, Err(AppendError::Storage(StorageError::Corrupt { .. }))));
                dir.close().unwrap();
                assert_eq!(std::fs::read(&file).unwrap(), bytes, "nothing is cut");
            }
        }
    }
}

#[test]
fn segments_behind_a_damaged_one_are_served() {
    let temp = fast_temp();
    let config = tiny();
    let flushed = {
        let dir = open(temp.path(), &config);
        let log = create(&dir, &config);
        for i in 0..40 {
            append(&log, &sequenced(3, 0, i, &[&format!("value-{i}")])).unwrap();
            if log.segment_count() == 2 && log.flushed_offset() == 0 {
                append(&log, &sequenced(4, 0, 0, &["within the second segment"])).unwrap();
                log.flush().unwrap();
                dir.checkpoint().unwrap();
            }
        }
        log.flushed_offset()
    };
    assert!(flushed > 0);
    let files = data_files(&partition_path(temp.path()));
    assert!(files.len() >= 4);
    let mut bytes = std::fs::read(&files[1]).unwrap();
    bytes.fill(0);
    std::fs::write(&files[1], &bytes).unwrap();
    let log = only_log(&open(temp.path(), &config));
    let base_of = |file: &Path| file.file_stem().unwrap().to_str().unwrap().parse::<i64>().unwrap();
    let (second, third) = (base_of(&files[1]), base_of(&files[2]));
    let (bases, error) = read_from(&log, 0, 300);
    assert_eq!(bases, (0..second).collect::<Vec<_>>());
    assert!(matches!(error, Some(StorageError::Corrupt { path, position: 0, .. }) if *path == *files[1]));
    assert!(log.read(third - 1, 300, true, i64::MAX).is_err());
    let (bases, error) = read_from(&log, third, 300);
    assert_eq!(bases, (third..log.log_end_offset()).collect::<Vec<_>>());
    assert!(error.is_none());
    assert_eq!(log.log_end_offset(), 41);
}

#[test]
fn a_batch_inside_a_record_is_not_taken_for_one_of_the_log() {
    let temp = fast_temp();
    let inner = sequenced(9, 0, 0, &["a batch that somebody stored in a record"]);
    let sizes = {
        let dir = open(temp.path(), &LogConfig::default());
        let log = create(&dir, &LogConfig::default());
        let mut builder = jackdaw_protocol::records::BatchBuilder::new(jackdaw_protocol::records::Codec::None);
        builder.push(NOW, None, Some(inner.bytes()), &[]);
        let outer = jackdaw_protocol::records::Batch::check(builder.build()).unwrap();
        append(&log, &outer).unwrap();
        append(&log, &batch(&["sound"])).unwrap();
        append(&log, &batch(&["sound too"])).unwrap();
        log.flush().unwrap();
        dir.checkpoint().unwrap();
        outer.size_in_bytes()
    };
    let file = data_files(&partition_path(temp.path())).pop().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[8..12].fill(0x7f);
    std::fs::write(&file, &bytes).unwrap();
    let log = only_log(&open(temp.path(), &LogConfig::default()));
    assert!(sizes > inner.size_in_bytes());
    assert!(log.read(0, 100, true, i64::MAX).is_err());
    assert_eq!(read_from(&log, 1, 1 << 20).0, [1, 2]);
}
