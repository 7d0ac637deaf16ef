//! signatures; bodies follow
#![allow(unused_variables, clippy::needless_pass_by_value, missing_docs)]
use std::sync::Arc;

use bytes::Bytes;
use jackdaw_protocol::records::Batch;
use uuid::Uuid;

use crate::{AppendError, DeleteRecordsError, LogConfig, ReadError, StorageError};

/// Where a batch comes from, which says what is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A producer: sequences are checked, control batches refused.
    Client,
    /// A coordinator of this broker (group offsets, transaction markers): no sequences.
    Coordinator,
}

/// One batch to append.
#[derive(Clone)]
pub struct Append<'a> {
    pub batch: &'a Batch,
    pub leader_epoch: i32,
    pub origin: Origin,
}

/// What became of one appended batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: i64,
    pub last_offset: i64,
    /// -1 unless the topic uses LogAppendTime
    pub log_append_time: i64,
    pub log_start_offset: i64,
    /// The batch had been appended before; the offsets are those it got then.
    pub duplicate: bool,
}

/// A transaction that was aborted, as Fetch reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTxn {
    pub producer_id: i64,
    pub first_offset: i64,
    pub last_offset: i64,
    pub last_stable_offset: i64,
}

/// A found record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    pub offset: i64,
    pub timestamp: i64,
    /// -1 if unknown
    pub leader_epoch: i32,
}

/// DescribeProducers' view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerState {
    pub producer_id: i64,
    pub epoch: i16,
    pub last_sequence: i32,
    pub last_timestamp: i64,
    pub coordinator_epoch: i32,
    pub txn_start_offset: Option<i64>,
}

/// Whole batches of one segment, not copied.
#[derive(Clone, Default)]
pub struct Slice {
    pub bytes: Bytes,
    /// base offset of the first batch (may be below the offset asked for); the offset asked for if empty
    pub first_offset: i64,
}

impl Slice {
    /// Reads every page in (blocking); errors are harmless
    pub fn populate(&self) {}
}

pub struct Log(());

impl Log {
    pub fn topic(&self) -> &str {
        ""
    }
    pub fn topic_id(&self) -> Uuid {
        Uuid::nil()
    }
    pub fn partition(&self) -> i32 {
        0
    }
    pub fn append(&self, batches: &[Append<'_>], now_ms: i64, out: &mut Vec<Result<Appended, AppendError>>) {}
    pub fn read(&self, offset: i64, max_bytes: usize, at_least_one: bool, upper_bound: i64) -> Result<Slice, ReadError> {
        Ok(Slice::default())
    }
    /// true if reading there would probably wait for the disk: then read on a blocking thread
    pub fn probably_cold(&self, offset: i64, max_bytes: usize) -> bool {
        false
    }
    pub fn log_start_offset(&self) -> i64 {
        0
    }
    pub fn log_end_offset(&self) -> i64 {
        0
    }
    pub fn high_watermark(&self) -> i64 {
        0
    }
    /// Raises (never lowers) the high watermark, bounded by the log end offset; returns the value now in force.
    pub fn set_high_watermark(&self, offset: i64) -> i64 {
        0
    }
    pub fn last_stable_offset(&self) -> i64 {
        0
    }
    pub fn flushed_offset(&self) -> i64 {
        0
    }
    pub fn size_bytes(&self) -> u64 {
        0
    }
    pub fn aborted_transactions(&self, from: i64, to: i64) -> Result<Vec<AbortedTxn>, StorageError> {
        Ok(Vec::new())
    }
    pub fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<TimestampOffset>, StorageError> {
        Ok(None)
    }
    pub fn max_timestamp(&self) -> Result<Option<TimestampOffset>, StorageError> {
        Ok(None)
    }
    /// A new leader epoch begins at the log end offset (KIP-101), even if nothing is appended in it.
    pub fn begin_epoch(&self, epoch: i32) {}
    pub fn latest_epoch(&self) -> Option<i32> {
        None
    }
    /// (largest epoch <= requested, its end offset)
    pub fn epoch_end_offset(&self, requested_epoch: i32) -> Option<(i32, i64)> {
        None
    }
    /// leader epoch of the record at this offset
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        None
    }
    /// `offset` -1 means the high watermark
    pub fn delete_records_before(&self, offset: i64) -> Result<i64, DeleteRecordsError> {
        Ok(0)
    }
    pub fn truncate_to(&self, offset: i64) -> Result<(), StorageError> {
        Ok(())
    }
    pub fn producers(&self) -> Vec<ProducerState> {
        Vec::new()
    }
    /// Forgets producers idle for producer.id.expiration.ms
    pub fn expire_producers(&self, now_ms: i64) {}
    pub fn config(&self) -> Arc<LogConfig> {
        Arc::new(LogConfig::default())
    }
    pub fn update_config(&self, config: LogConfig) {}
    /// fdatasync; the offset below which all is on disk
    pub fn flush(&self) -> Result<i64, StorageError> {
        Ok(0)
    }
}
