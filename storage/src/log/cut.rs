//! Cut a log at either end: delete-records moves its start, truncation moves its end back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::lookup::as_storage;
use super::{Log, Writer};
use crate::disk::DataFile;
use crate::error::{DeleteRecordsError, StorageError};
use crate::recovery::{load_producers, remove_snapshots_above, scan_headers};
use crate::segment::{End, Segment};
use crate::walk::{Walker, Want};

/// Copied at once when a prefix is kept.
const COPY_CHUNK: usize = 1 << 20;

impl Log {
    /// Moves the log start to `offset` (-1: the high watermark), never back, and removes the segments that lie wholly
    /// below. Returns the start now in force. It survives a crash once the directory's checkpoint was written.
    pub fn delete_records_before(&self, offset: i64) -> Result<i64, DeleteRecordsError> {
        let mut writer = self.writer.lock();
        self.check_writable()?;
        let high_watermark = self.high_watermark();
        let wanted = if offset == -1 { high_watermark } else { offset };
        if wanted < 0 || wanted > high_watermark {
            return Err(DeleteRecordsError::OutOfRange { offset, high_watermark });
        }
        if wanted <= self.log_start_offset() {
            return Ok(self.log_start_offset());
        }
        self.start.store(wanted, Ordering::Release);
        if writer.epochs.truncate_start(wanted) {
            writer.epochs_dirty = true;
        }
        let keep_from = self.segments.load().partition_point(|s| s.end().offset <= wanted);
        let gone = self.drop_front(&mut writer, keep_from);
        let delay_ms = self.config.load().file_delete_delay_ms;
        for segment in gone {
            segment.remove(delay_ms)?;
        }
        Ok(wanted)
    }

    /// Drops all records at and above `offset`. Readers that have slices of them keep them; the file they are mapped
    /// from is replaced, not cut.
    pub fn truncate_to(&self, offset: i64) -> Result<(), StorageError> {
        let _not_cleaning = self.pause_cleaning();
        let _flushing = self.flush_lock.lock();
        let mut writer = self.writer.lock();
        self.check_writable()?;
        if offset >= writer.end.offset {
            return Ok(());
        }
        let start_over = offset <= self.log_start_offset();
        if start_over {
            self.start.store(offset, Ordering::Release);
        }
        // The recovery point on the disk must never lie above the end of the log: recovery would take it for damage.
        // Nor may the log start.
        self.flushed.fetch_min(offset, Ordering::AcqRel);
        self.high_watermark.fetch_min(offset, Ordering::AcqRel);
        if let Some(shared) = self.shared.upgrade() {
            shared.lower_checkpoint(self, offset, start_over)?;
            shared.lower_cleaned_offset(self, offset)?;
        }
        self.end.store(offset, Ordering::Release);
        let segments = if start_over { self.start_over(offset)? } else { self.keep_prefix(&writer, offset)? };
        self.disk.sync_dir(&self.path)?;
        let active = Arc::clone(&segments[segments.len() - 1]);
        writer.epochs.truncate_end(offset);
        writer.epochs_dirty = true;
        writer.sealed.retain(|sealed| segments.iter().any(|s| Arc::ptr_eq(s, &sealed.segment)));
        self.segments.store(Arc::new(segments.clone()));
        remove_snapshots_above(&self.disk, &self.path, offset)?;
        writer.producers = load_producers(&self.disk, &self.path, &segments, offset)?;
        writer.producers.on_high_watermark(self.high_watermark());
        self.publish_stability(&writer.producers);
        writer.end = active.end();
        writer.reserved = u64::from(writer.end.size);
        writer.since_index = 0;
        writer.first_timestamp = None;
        writer.first_append_ms = None;
        writer.names_dirty = true;
        writer.active = active;
        Ok(())
    }

    /// Nothing is kept: one new segment at `offset`.
    fn start_over(&self, offset: i64) -> Result<Vec<Arc<Segment>>, StorageError> {
        for segment in self.segments.load().iter().rev() {
            segment.remove(self.config.load().file_delete_delay_ms)?;
        }
        remove_snapshots_above(&self.disk, &self.path, -1)?;
        let active = Segment::active(
            Arc::clone(&self.disk),
            Arc::clone(&self.path),
            offset,
            self.config.load().segment_bytes,
            End { offset, size: 0 },
            Default::default(),
        );
        active.adopt_file(self.disk.open_data(&active.path("log"), true)?);
        Ok(vec![Arc::new(active)])
    }

    /// Removes the segments above, and replaces the one that holds `offset` by its prefix.
    fn keep_prefix(&self, writer: &Writer, offset: i64) -> Result<Vec<Arc<Segment>>, StorageError> {
        let mut segments = Vec::clone(&self.segments.load());
        let keep = segments.partition_point(|s| s.base() < offset).max(1);
        for segment in segments.drain(keep..).rev() {
            segment.remove(self.config.load().file_delete_delay_ms)?;
        }
        let Some(old) = segments.pop() else { return Err(self.deleted_error()) };
        let source = old.open_read()?;
        let end = End { offset, size: prefix_size(&old, &source, offset)? };
        let aside = old.path("log.cleaned");
        self.disk.remove_file(&aside)?;
        let mut txns = old.with_txns(|txns| txns.clone())?;
        txns.retain(|t| t.last_offset < offset);
        let copy = self.disk.open_data(&aside, true)?;
        self.copy_prefix(&source, &copy, end.size)?;
        copy.sync(&self.disk)?;
        old.retire();
        for suffix in ["index", "timeindex", "txnindex"] {
            self.disk.remove_file(&old.path(suffix))?;
        }
        self.disk.rename(&aside, &old.path("log"))?;
        let config = self.config.load();
        let interval = u64::from(config.index_interval_bytes);
        let scan = scan_headers(&old, &copy, end.size, interval)?;
        let capacity = config.segment_bytes.max(writer.active.capacity());
        let indexes = (scan.index, scan.times, txns);
        let new = Segment::active(Arc::clone(&self.disk), Arc::clone(&self.path), old.base(), capacity, end, indexes);
        segments.push(Arc::new(new));
        Ok(segments)
    }

    fn copy_prefix(&self, from: &DataFile, to: &DataFile, len: u32) -> Result<(), StorageError> {
        let mut buffer = vec![0; COPY_CHUNK.min(len as usize)];
        let mut position = 0;
        while position < u64::from(len) {
            let wanted = buffer.len().min((u64::from(len) - position) as usize);
            let read = from.read_at(&mut buffer[..wanted], position)?;
            if read == 0 {
                return Err(StorageError::io("read", from.path(), std::io::ErrorKind::UnexpectedEof.into()));
            }
            to.write_all_at(&self.disk, &mut [std::io::IoSlice::new(&buffer[..read])], position)?;
            position += read as u64;
        }
        Ok(())
    }
}

/// How many bytes of the segment hold batches that lie wholly below `offset`.
fn prefix_size(segment: &Segment, file: &DataFile, offset: i64) -> Result<u32, StorageError> {
    let start = segment.walk_start(offset)?;
    let mut walker = Walker::new(file, u64::from(start), u64::from(segment.end().size), segment.base());
    while let Some(step) = walker.next(|_| Want::Header).map_err(|e| as_storage(segment, e))? {
        if step.header.last_offset() >= offset {
            return Ok(step.position as u32);
        }
    }
    Ok(segment.end().size)
}
