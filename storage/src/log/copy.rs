//! Copy of a log: batches as they are, offsets included, segment by segment, while the source is appended to and read.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jackdaw_protocol::records::{Batch, HEADER_LEN};

use super::append::Staged;
use super::{Append, Log, Origin, Writer, transaction_marker};
use crate::config::LogConfig;
use crate::error::StorageError;
use crate::producers::{decode_snapshot, encode_snapshot};
use crate::segment::{End, Segment, file_name};

impl Log {
    /// Appends what `source` has beyond the end of this log: at most about `max_bytes`, or one batch, all of one segment.
    /// Returns how many bytes that were; none only if there was nothing more. Segments begin where the source's do.
    ///
    /// # Errors
    /// The source cannot be read, or a batch of it is damaged: this log ends before it then. Or this log cannot be
    /// written.
    pub(crate) fn copy_from(&self, source: &Log, max_bytes: usize) -> Result<usize, StorageError> {
        let mut writer = self.writer.lock();
        self.check_writable()?;
        loop {
            let segments = source.segments.load_full();
            let offset = writer.end.offset;
            let at = segments.partition_point(|s| s.end().offset <= offset).min(segments.len() - 1);
            let segment = &segments[at];
            let config = config_like(self, segment);
            if segment.base() > writer.active.base() {
                self.end_at(&mut writer, segment.base());
                let snapshot = snapshot_of(source, segment.base())?;
                let snapshot = snapshot.unwrap_or_else(|| encode_snapshot(&writer.producers));
                self.roll_with(&mut writer, &config, snapshot)?;
            }
            let offset = writer.end.offset;
            let end = segment.end();
            if offset >= end.offset {
                return Ok(0);
            }
            match segment.read(offset, max_bytes, true, end.offset) {
                Ok(Some(found)) => return self.append_copied(&mut writer, segment, found.bytes, &config),
                // What compaction left out ends the segment.
                Ok(None) => self.end_at(&mut writer, end.offset),
                Err(_) if source.is_deleted() => return Err(source.deleted_error()),
                Err(_) if segment.is_gone() => std::thread::yield_now(), // the new list is about to be published
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether `source` has at most `bytes` more: both are in their last segment, and those are alike up to there.
    pub(crate) fn is_close_to(&self, source: &Log, bytes: u64) -> bool {
        let (own, other) = (self.segments.load(), source.segments.load());
        let (Some(own), Some(other)) = (own.last(), other.last()) else { return false };
        own.base() == other.base() && u64::from(other.end().size.saturating_sub(own.end().size)) <= bytes
    }

    fn append_copied(
        &self,
        writer: &mut Writer,
        segment: &Segment,
        bytes: bytes::Bytes,
        config: &LogConfig,
    ) -> Result<usize, StorageError> {
        let copied = bytes.len();
        let batches: Result<Vec<Batch>, _> = Batch::split_all(bytes).collect();
        let batches = batches.map_err(|error| segment.corrupt(0, &error.to_string()))?;
        writer.scratch.clear();
        for (index, batch) in batches.iter().enumerate() {
            let header = batch.header();
            let (base_offset, last_offset) = (header.base_offset(), header.last_offset());
            if base_offset < writer.end.offset {
                self.undo_staged(writer);
                return Err(segment.corrupt(0, "offsets do not rise"));
            }
            if header.producer_id() >= 0 {
                let marker = if header.is_control() { transaction_marker(batch) } else { None };
                writer.scratch.undo.keep_producer(writer.producers.remember(header.producer_id()));
                let aborted = writer.producers.apply(&header, base_offset, header.max_timestamp(), marker);
                writer.scratch.aborted.extend(aborted);
            }
            if writer.epochs.latest() != Some(header.leader_epoch()) {
                writer.scratch.undo.keep_epochs(&writer.epochs, writer.epochs_dirty);
                writer.epochs_dirty |= writer.epochs.assign(header.leader_epoch(), base_offset);
            }
            if writer.end.size == 0 {
                writer.first_timestamp = Some(header.max_timestamp());
            }
            writer.end = End { offset: last_offset + 1, size: writer.end.size + batch.size_in_bytes() as u32 };
            let max_timestamp = header.max_timestamp();
            writer.scratch.staged.push(Staged {
                index,
                head: [0; HEADER_LEN],
                head_len: 0,
                last_offset,
                max_timestamp,
            });
        }
        let appends: Vec<_> =
            batches.iter().map(|batch| Append { batch, leader_epoch: -1, origin: Origin::Coordinator }).collect();
        self.write_staged(writer, config, &appends)?;
        Ok(copied)
    }

    /// Nothing is left of the offsets below `offset`.
    pub(super) fn end_at(&self, writer: &mut Writer, offset: i64) {
        if offset > writer.end.offset {
            writer.end.offset = offset;
            writer.active.publish(writer.end);
            self.end.store(offset, Ordering::Release);
        }
    }

    /// Producers before the first batch is copied, where the source's first segment has a snapshot of them.
    pub(crate) fn copy_first_snapshot(&self, source: &Log) -> Result<(), StorageError> {
        let mut writer = self.writer.lock();
        let base = writer.active.base();
        if let Some(bytes) = snapshot_of(source, base)?
            && let Ok(producers) = decode_snapshot(&bytes)
        {
            self.disk.write_file(&self.path.join(file_name(base, "snapshot")), &bytes)?;
            writer.producers = producers;
        }
        Ok(())
    }
}

/// The policy for a copy of `segment`, which may be larger than `segment.bytes` says today.
fn config_like(log: &Log, segment: &Arc<Segment>) -> LogConfig {
    let config = log.config();
    let segment_bytes = config.segment_bytes.max(segment.capacity()).max(segment.end().size);
    LogConfig { segment_bytes, ..LogConfig::clone(&config) }
}

/// The source's own account of its producers where a segment begins knows more than the batches that are left.
fn snapshot_of(source: &Log, base: i64) -> Result<Option<Vec<u8>>, StorageError> {
    let bytes = source.disk.read_file(&source.path.join(file_name(base, "snapshot")))?;
    Ok(bytes.filter(|bytes| decode_snapshot(bytes).is_ok()))
}
