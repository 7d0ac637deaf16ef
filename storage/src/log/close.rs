//! What a log leaves behind when its directory is closed in order.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::{Log, Writer};
use crate::checkpoint::encode_epochs;
use crate::closed::{BLOB_MAX, ClosedLog, ClosedSegment, ClosedWriter, SEALED_MAX, Stamp};
use crate::error::StorageError;
use crate::producers::encode_snapshot;
use crate::segment::file_name;

impl Log {
    /// Writes what a clean start wants to find: indexes of the active segment and the producers. Returns the names of
    /// the files that a flush does not sync; none if the log has not changed since it was opened, or is empty.
    pub(crate) fn write_for_close(&self) -> Result<Vec<PathBuf>, StorageError> {
        if self.is_deleted() || self.is_moved() || self.quarantine().is_some() {
            return Ok(Vec::new());
        }
        let mut writer = self.writer.lock();
        self.forget_next(&mut writer)?;
        let end = writer.end.offset;
        if writer.closed_at == Some(end) {
            return Ok(Vec::new());
        }
        writer.closed_at = Some(end);
        if end == 0 && writer.epochs.entries().is_empty() {
            return Ok(Vec::new()); // nothing was ever written: there is nothing to find
        }
        writer.active.write_indexes()?;
        let snapshot = self.path.join(file_name(end, "snapshot"));
        self.disk.write_file(&snapshot, &encode_snapshot(&writer.producers))?;
        writer.epochs_dirty = true;
        writer.names_dirty = true;
        Ok(vec![writer.active.path("index"), writer.active.path("timeindex"), writer.active.path("txnindex"), snapshot])
    }

    /// The active data file.
    pub(crate) fn active_path(&self) -> PathBuf {
        self.writer.lock().active.path("log")
    }

    /// Adds the log to what the next start reads, if it was closed in order and is simple enough: what it left out is
    /// loaded from its own files. To be called after everything was synced, with the stamps that its files have now.
    pub(crate) fn put_closed(&self, dir: Stamp, data: Stamp, to: &mut ClosedWriter) {
        let writer = self.writer.lock();
        let segments = self.segments.load();
        let sealed = &segments[..segments.len() - 1];
        let is_closed = !self.is_deleted()
            && !self.is_moved()
            && self.quarantine().is_none()
            && writer.closed_at == Some(writer.end.offset)
            && self.flushed_offset() == writer.end.offset
            && self.first_unstable.load(Ordering::Acquire) == i64::MAX
            && !writer.producers.has_unreplicated()
            && sealed.len() <= SEALED_MAX
            && sealed.iter().all(|s| s.is_sealed())
            && u64::from(writer.end.size) == data.len;
        let Some((index, times)) = writer.active.encoded_indexes().filter(|_| is_closed) else { return };
        let Some((epochs, producers)) = small_state(&writer) else { return };
        if index.len() > BLOB_MAX || times.len() > BLOB_MAX {
            return;
        }
        let closed = ClosedLog {
            partition: self.partition,
            dir,
            data,
            start: self.log_start_offset(),
            high_watermark: self.high_watermark(),
            sealed: sealed
                .iter()
                .map(|s| ClosedSegment { base: s.base(), size: s.end().size, has_txns: s.has_txns() })
                .collect(),
            base: writer.active.base(),
            end: writer.end,
            since_index: u32::try_from(writer.since_index).unwrap_or(u32::MAX),
            index: &index,
            times: &times,
            epochs: &epochs,
            producers: &producers,
        };
        to.push(&self.topic, self.topic_id, &closed);
    }
}

/// Epochs and producers as their files have them; `None` if they are too much.
fn small_state(writer: &Writer) -> Option<(Vec<u8>, Vec<u8>)> {
    let epochs = match writer.epochs.entries() {
        [] => Vec::new(),
        _ => encode_epochs(&writer.epochs),
    };
    let producers = if writer.producers.is_empty() { Vec::new() } else { encode_snapshot(&writer.producers) };
    (epochs.len() <= BLOB_MAX && producers.len() <= BLOB_MAX).then_some((epochs, producers))
}
