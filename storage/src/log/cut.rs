//! Cut a log at either end: delete-records moves its start, truncation moves its end back.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jackdaw_protocol::records::filler;

use super::lookup::as_storage;
use super::{Log, Writer};
use crate::disk::DataFile;
use crate::epochs::Epochs;
use crate::error::{DeleteRecordsError, StorageError};
use crate::recovery::{load_producers, remove_snapshots_above, scan_headers};
use crate::segment::{End, Segment};
use crate::walk::{Walker, Want};

/// Copied at once when a prefix is kept.
const COPY_CHUNK: usize = 1 << 20;

/// What a cut at the end of a log keeps, and what it removes.
struct Prefix {
    kept: Vec<Arc<Segment>>,
    /// The segment that is cut.
    old: Arc<Segment>,
    removed: Vec<Arc<Segment>>,
    end: End,
    /// A synced copy of what stays of `old`.
    copy: DataFile,
    aside: PathBuf,
}

/// What a cut at the end of a log leaves. Its file is there before anything changes, so that a full disk changes nothing.
enum Remains {
    Prefix(Prefix),
    /// One new segment, whose empty file this is.
    Nothing(PathBuf),
}

impl Log {
    /// Moves the log start to `offset` (-1: the high watermark), never back, and removes the segments that lie wholly
    /// below. Returns the start now in force. It survives a crash once the directory's checkpoint was written.
    /// Where whole segments go, it waits for the disk.
    pub fn delete_records_before(&self, offset: i64) -> Result<i64, DeleteRecordsError> {
        let flushing = self.flush_lock.lock();
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
        self.start.store(wanted, Ordering::SeqCst);
        self.checkpoint_is_due();
        if writer.epochs.truncate_start(wanted) {
            writer.epochs_dirty = true;
        }
        let keep_from = self.segments.load().partition_point(|s| s.end().offset <= wanted);
        let gone = self.drop_front(&mut writer, keep_from);
        let delay_ms = self.config.load().file_delete_delay_ms;
        let _flushing = self.flush_before_removal(writer, flushing, &gone)?;
        for segment in gone {
            segment.remove(delay_ms)?;
        }
        Ok(wanted)
    }

    /// Drops all records at and above `offset`. Readers that have slices of them keep them; the file they are mapped
    /// from is replaced, not cut. That takes room for a copy: on a full disk nothing changes.
    pub fn truncate_to(&self, offset: i64) -> Result<(), StorageError> {
        let _not_cleaning = self.pause_cleaning();
        let _flushing = self.flush_lock.lock();
        let mut writer = self.writer.lock();
        self.check_writable()?;
        if offset >= writer.end.offset {
            return Ok(());
        }
        let start_over = (offset <= self.log_start_offset()).then_some(offset);
        self.cut_end(&mut writer, offset, start_over)
    }

    /// Drops all records; the next one is that of `offset`, and may be read from `start` on, which may lie above: for a
    /// follower of a leader whose log begins beyond the end of this one, perhaps in the middle of a batch.
    pub fn restart_at(&self, offset: i64, start: i64) -> Result<(), StorageError> {
        let _not_cleaning = self.pause_cleaning();
        let _flushing = self.flush_lock.lock();
        let mut writer = self.writer.lock();
        self.check_writable()?;
        self.cut_end(&mut writer, offset, Some(start.max(offset)))
    }

    /// Lets the log end at `offset`; with `start_over`, nothing is kept, and the log starts there.
    pub(super) fn cut_end(
        &self,
        writer: &mut Writer,
        offset: i64,
        start_over: Option<i64>,
    ) -> Result<(), StorageError> {
        let remains = if start_over.is_some() {
            Remains::Nothing(self.prepare_empty(offset)?)
        } else {
            Remains::Prefix(self.prepare_prefix(offset)?)
        };
        self.lower_checkpoints(offset, start_over)?;
        self.cuts.fetch_add(1, Ordering::AcqRel);
        self.high_watermark.fetch_min(offset, Ordering::SeqCst);
        if start_over.is_some() {
            self.high_watermark.store(offset, Ordering::SeqCst);
        }
        self.checkpoint_is_due();
        self.end.store(offset, Ordering::Release);
        let cut = match remains {
            Remains::Nothing(empty) => self.start_over(offset, empty),
            Remains::Prefix(prefix) => self.keep_prefix(writer, prefix),
        };
        // Past the first removed segment there is no way back to what the log was.
        let segments = cut.inspect_err(|error| self.disk.take_offline(error))?;
        self.disk.sync_dir(&self.path)?;
        let active = Arc::clone(&segments[segments.len() - 1]);
        if start_over.is_some() {
            writer.epochs = Epochs::default();
        }
        writer.epochs.truncate_end(offset);
        writer.epochs_dirty = true;
        writer.sealed.retain(|sealed| segments.iter().any(|s| Arc::ptr_eq(s, &sealed.segment)));
        self.segments.store(Arc::new(segments.clone()));
        remove_snapshots_above(&self.disk, &self.path, offset)?;
        // What a start has left below the log start may be anything: see `recovery`.
        let kept = segments.partition_point(|s| s.end().offset <= self.log_start_offset());
        writer.producers = load_producers(&self.disk, &self.path, &segments[kept..], offset)?;
        writer.producers.on_high_watermark(self.high_watermark());
        self.publish_stability(&writer.producers);
        writer.end = active.end();
        writer.reserved = u64::from(writer.end.size);
        writer.since_index = 0;
        writer.first_timestamp = None;
        writer.first_append_ms = None;
        writer.names_dirty = true;
        writer.active = active;
        writer.closed_at = None;
        self.stir();
        self.queue_for_compaction();
        Ok(())
    }

    /// The recovery point on the disk must never lie above the end of the log: recovery would take it for damage. Nor
    /// may the log start. Where the disk is too full to say so, only our recovery point is lower than need be.
    fn lower_checkpoints(&self, offset: i64, start_over: Option<i64>) -> Result<(), StorageError> {
        let start = self.log_start_offset();
        if let Some(start) = start_over {
            self.start.store(start, Ordering::Release);
        }
        self.flushed.fetch_min(offset, Ordering::AcqRel);
        let Some(shared) = self.shared.upgrade() else { return Ok(()) };
        shared
            .lower_checkpoint(self, offset, start_over.is_some())
            .and_then(|()| shared.lower_cleaned_offset(self, offset))
            .inspect_err(|_| self.start.store(start, Ordering::Release))
    }

    /// Makes the file of a segment that begins at `offset`, under a name that a start does not look at.
    fn prepare_empty(&self, offset: i64) -> Result<PathBuf, StorageError> {
        let aside = self.empty_segment(offset).path("log.cleaned");
        self.disk.remove_file(&aside)?;
        self.disk.open_data(&aside, true)?;
        Ok(aside)
    }

    /// Nothing is kept: one new segment at `offset`.
    fn start_over(&self, offset: i64, empty: PathBuf) -> Result<Vec<Arc<Segment>>, StorageError> {
        for segment in self.segments.load().iter().rev() {
            segment.remove(self.config.load().file_delete_delay_ms)?;
        }
        remove_snapshots_above(&self.disk, &self.path, -1)?;
        let active = self.empty_segment(offset);
        self.disk.rename(&empty, &active.path("log"))?;
        Ok(vec![Arc::new(active)])
    }

    fn empty_segment(&self, offset: i64) -> Segment {
        let (disk, path) = (Arc::clone(&self.disk), Arc::clone(&self.path));
        let capacity = self.config.load().segment_bytes;
        Segment::active(disk, path, offset, capacity, End { offset, size: 0 }, Default::default())
    }

    /// Copies the part of the segment that holds `offset` which lies below; the log stays as it is.
    fn prepare_prefix(&self, offset: i64) -> Result<Prefix, StorageError> {
        let mut kept = Vec::clone(&self.segments.load());
        let removed = kept.split_off(kept.partition_point(|s| s.base() < offset).max(1));
        let Some(old) = kept.pop() else { return Err(self.deleted_error()) };
        let source = old.open_read()?;
        let below = below(&old, &source, offset)?;
        let mut end = End { offset, size: below.size };
        let aside = old.path("log.cleaned");
        self.disk.remove_file(&aside)?;
        let copied = self.disk.open_data(&aside, true).and_then(|copy| {
            self.copy_prefix(&source, &copy, below.size)?;
            if below.end < offset {
                // Compaction dropped what ended here, or a batch reaches beyond. The file has to tell where the log ends
                // all the same: to a start, a log that ends below its recovery point is a damaged one.
                let filler = filler(below.end, offset - 1, below.leader_epoch);
                copy.write_all_at(&self.disk, &mut [std::io::IoSlice::new(&filler)], u64::from(end.size))?;
                end.size += filler.len() as u32;
            }
            copy.sync(&self.disk)?;
            Ok(copy)
        });
        match copied {
            Ok(copy) => Ok(Prefix { kept, old, removed, end, copy, aside }),
            Err(error) => {
                if self.disk.check_online().is_ok() {
                    // What stays of it is removed at the next start.
                    let _ = self.disk.remove_file(&aside);
                }
                Err(error)
            }
        }
    }

    /// Removes the segments above, and replaces the one that is cut by its prefix.
    fn keep_prefix(&self, writer: &Writer, prefix: Prefix) -> Result<Vec<Arc<Segment>>, StorageError> {
        let Prefix { kept: mut segments, old, removed, end, copy, aside } = prefix;
        for segment in removed.iter().rev() {
            segment.remove(self.config.load().file_delete_delay_ms)?;
        }
        let mut txns = old.with_txns(|txns| txns.clone())?;
        txns.retain(|t| t.last_offset < end.offset);
        old.retire();
        for suffix in ["index", "timeindex", "txnindex", "keys"] {
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

/// The batches of a segment that lie wholly below an offset.
struct Below {
    size: u32,
    /// Offset after the last of them.
    end: i64,
    /// Leader epoch of the last of them; -1 if there is none.
    leader_epoch: i32,
}

fn below(segment: &Segment, file: &DataFile, offset: i64) -> Result<Below, StorageError> {
    let start = segment.walk_start(offset - 1)?;
    let mut walker = Walker::new(file, u64::from(start), u64::from(segment.end().size), segment.base());
    let mut below = Below { size: start, end: segment.base(), leader_epoch: -1 };
    while let Some(step) = walker.next(|_| Want::Header).map_err(|e| as_storage(segment, e))? {
        if step.header.last_offset() >= offset {
            break;
        }
        below = Below {
            size: step.position as u32 + step.header.size_in_bytes() as u32,
            end: step.header.last_offset() + 1,
            leader_epoch: step.header.leader_epoch(),
        };
    }
    Ok(below)
}
