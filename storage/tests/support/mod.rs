//! What the tests of this crate share: batches, directories, reading a whole log back.
#![allow(dead_code, reason = "every test crate uses its own part")]

pub(crate) mod faulty;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use jackdaw_protocol::records::{Batch, BatchBuilder, Codec, records};
use jackdaw_storage::{Append, AppendError, Appended, Log, LogConfig, LogDir, LogDirOptions, Origin};
use uuid::Uuid;

pub(crate) const TOPIC: &str = "orders";
pub(crate) const NOW: i64 = 1_700_000_000_000;

/// Says when it goes out of scope, also by a failed assertion, that all is done: threads of the same scope that run until
/// then would be waited for without end.
pub(crate) struct Done<'a>(pub(crate) &'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A directory in memory where there is one: for tests that sync often, and kill no machine.
pub(crate) fn fast_temp() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Opens with defaults, every log with `config`.
pub(crate) fn open_with(path: &Path, config: &LogConfig, change: impl FnOnce(&mut LogDirOptions)) -> LogDir {
    let mut options = LogDirOptions::new(1);
    change(&mut options);
    LogDir::open(path, options, &|_| config.clone(), &|_| {}).unwrap()
}

pub(crate) fn open(path: &Path, config: &LogConfig) -> LogDir {
    open_with(path, config, |_| {})
}

pub(crate) fn create(dir: &LogDir, config: &LogConfig) -> Arc<Log> {
    dir.create(TOPIC, Uuid::from_u128(7), 0, config.clone()).unwrap()
}

pub(crate) fn only_log(dir: &LogDir) -> Arc<Log> {
    let logs = dir.logs();
    assert_eq!(logs.len(), 1);
    Arc::clone(&logs[0])
}

/// Small segments and dense indexes, so that a few batches cross every edge.
pub(crate) fn tiny() -> LogConfig {
    LogConfig { segment_bytes: 1000, index_interval_bytes: 100, ..LogConfig::default() }
}

/// A batch of the values given, each with its timestamp.
pub(crate) fn batch_of(codec: Codec, records: &[(i64, &[u8])]) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    for (timestamp, value) in records {
        builder.push(*timestamp, None, Some(value), &[]);
    }
    Batch::check(builder.build()).unwrap()
}

pub(crate) fn batch(values: &[&str]) -> Batch {
    let records: Vec<_> = values.iter().map(|v| (NOW, v.as_bytes())).collect();
    batch_of(Codec::None, &records)
}

/// A batch of an idempotent producer.
pub(crate) fn sequenced(id: i64, epoch: i16, sequence: i32, values: &[&str]) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None).producer(id, epoch, sequence);
    for value in values {
        builder.push(NOW, None, Some(value.as_bytes()), &[]);
    }
    Batch::check(builder.build()).unwrap()
}

/// A batch of a transaction.
pub(crate) fn transactional(id: i64, epoch: i16, sequence: i32, values: &[&str]) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None).producer(id, epoch, sequence).transactional(true);
    for value in values {
        builder.push(NOW, None, Some(value.as_bytes()), &[]);
    }
    Batch::check(builder.build()).unwrap()
}

/// The marker that ends a transaction.
pub(crate) fn marker(id: i64, epoch: i16, commit: bool) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None).producer(id, epoch, -1).transactional(true).control(true);
    builder.push(NOW, Some(&[0, 0, 0, u8::from(commit)]), Some(&[0, 0, 0, 0, 0, 3]), &[]);
    Batch::check(builder.build()).unwrap()
}

pub(crate) fn append_all(
    log: &Log,
    batches: &[Batch],
    leader_epoch: i32,
    now_ms: i64,
) -> Vec<Result<Appended, AppendError>> {
    let appends: Vec<_> = batches.iter().map(|batch| Append { batch, leader_epoch, origin: Origin::Client }).collect();
    let mut out = Vec::new();
    log.append(&appends, now_ms, &mut out);
    assert_eq!(out.len(), batches.len());
    out
}

pub(crate) fn append(log: &Log, batch: &Batch) -> Result<Appended, AppendError> {
    append_all(log, std::slice::from_ref(batch), 0, NOW).pop().unwrap()
}

/// Every batch from the log start to `upper_bound`, in reads of at most `max_bytes`.
pub(crate) fn read_batches(log: &Log, max_bytes: usize, upper_bound: i64) -> Vec<Batch> {
    let mut offset = log.log_start_offset();
    let mut batches = Vec::new();
    while offset < upper_bound {
        let slice = log.read(offset, max_bytes, true, upper_bound).unwrap();
        if slice.bytes.is_empty() {
            break;
        }
        for batch in Batch::split_all(slice.bytes) {
            let batch = batch.unwrap();
            offset = batch.header().last_offset() + 1;
            batches.push(batch);
        }
    }
    batches
}

/// Offset and value of every record that may be read.
pub(crate) fn read_all(log: &Log) -> Vec<(i64, Vec<u8>)> {
    let mut found = Vec::new();
    for batch in read_batches(log, 300, log.log_end_offset()) {
        let decoded = records(&batch, 1 << 20).unwrap();
        for record in &decoded {
            let record = record.unwrap();
            let offset = decoded.offset(&record);
            if offset >= log.log_start_offset() {
                found.push((offset, record.value.unwrap_or_default().to_vec()));
            }
        }
    }
    found
}

pub(crate) fn values(log: &Log) -> Vec<String> {
    read_all(log).into_iter().map(|(_, v)| String::from_utf8(v).unwrap()).collect()
}

/// What is in the files of a partition, without its log.
pub(crate) fn partition_path(dir: &Path) -> std::path::PathBuf {
    dir.join(format!("{TOPIC}-0"))
}

pub(crate) fn bytes_of(path: &Path) -> Bytes {
    Bytes::from(std::fs::read(path).unwrap())
}

/// The `.log` files, in order.
pub(crate) fn data_files(partition: &Path) -> Vec<std::path::PathBuf> {
    files_with(partition, "log")
}

pub(crate) fn files_with(partition: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(partition)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    files
}
