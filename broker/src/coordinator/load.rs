//! A shard from its partition: everything in the log, applied in order.

use jackdaw_protocol::records::{Batch, ControlRecord, ControlType, records};
use jackdaw_storage::Log;

use crate::group::Shard;
use crate::group::records::Record;

/// Bytes taken from the log at a time.
const READ_BYTES: usize = 1 << 20;
/// What one batch may decompress to; far above what any coordinator writes, far below what would hurt.
const DECOMPRESSED_CAP: usize = 128 << 20;

/// Why a partition cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] jackdaw_storage::ReadError),
    /// A batch is damaged.
    #[error("the batch at or behind offset {offset} is damaged: {reason}")]
    Batch {
        /// The first offset not applied.
        offset: i64,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads the whole log. Records of kinds or versions that this broker does not know are left out with a warning: the other
/// groups of the partition must not suffer for them.
pub(super) fn load(log: &Log) -> Result<Shard, LoadError> {
    let end = log.log_end_offset();
    let mut shard = Shard::written_up_to(end);
    let mut offset = log.log_start_offset();
    while offset < end {
        let slice = log.read(offset, READ_BYTES, true, end)?;
        let before = offset;
        for batch in Batch::split_all(slice.bytes) {
            let batch = batch.map_err(|error| LoadError::Batch { offset, reason: error.to_string() })?;
            apply_batch(&mut shard, &batch).map_err(|reason| LoadError::Batch { offset, reason })?;
            offset = batch.header().last_offset() + 1;
        }
        if offset == before {
            // Nothing but what compaction left out lies between here and the end.
            break;
        }
    }
    Ok(shard)
}

pub(super) fn apply_batch(shard: &mut Shard, batch: &Batch) -> Result<(), String> {
    let header = batch.header();
    if header.record_count() == 0 {
        return Ok(());
    }
    let decoded = records(batch, DECOMPRESSED_CAP).map_err(|error| error.to_string())?;
    for record in decoded.iter() {
        let record = record.map_err(|error| error.to_string())?;
        if header.is_control() {
            let control = ControlRecord::parse(&record).map_err(|error| error.to_string())?;
            match control.kind {
                Some(ControlType::Commit) => shard.end_transaction(header.producer_id(), true),
                Some(ControlType::Abort) => shard.end_transaction(header.producer_id(), false),
                _ => {}
            }
            continue;
        }
        match Record::decode(record.key.unwrap_or_default(), record.value) {
            Ok(Some(known)) if header.is_transactional() => shard.apply_transactional(header.producer_id(), known),
            Ok(Some(known)) => shard.apply(known),
            Ok(None) => {}
            Err(error) => {
                let offset = decoded.offset(&record);
                tracing::warn!(offset, %error, "a record of __consumer_offsets cannot be read and is left out");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
