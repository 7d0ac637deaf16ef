//! Rolling to the next segment, so that no append waits for it.
//!
//! Under the append lock, a roll renames a file that was made beforehand and swaps the list of segments: a few system
//! calls. What it leaves for later is done by [`Log::tend`], or by the next flush if that comes first: index files and
//! the snapshot of the segment that ended are written, and when a segment comes near its end, the next file is made
//! and gets its first blocks. Until its index files are written, a segment that ended keeps its indexes in memory and
//! is as readable as before; a crash then costs a scan, which recovery does above the recovery point anyway.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jackdaw_protocol::records::{HEADER_LEN, Header};

use super::append::base_offset;
use super::{Append, Log, Writer};
use crate::config::{LogConfig, TimestampType};
use crate::disk::{DataFile, Disk};
use crate::error::StorageError;
use crate::index::{OffsetIndex, TimeIndex};
use crate::producers::encode_snapshot;
use crate::segment::{End, Segment, file_name};

/// The file that becomes the next segment. A start removes it, by its end.
const NEXT: &str = "next-segment.tmp";
/// The next segment is made when so many bytes are left, or half of a segment.
const AHEAD_MAX: u32 = 64 << 20;
/// Segments smaller than this are for tests, and made when they are needed.
const PREPARED_MIN: u32 = 1 << 20;
/// Blocks that the next segment gets beforehand: this share of a segment, and no more than so many bytes.
const RESERVED_SHARE: u32 = 8;
const RESERVED_MAX: u32 = 16 << 20;

/// The file of the next segment, made beforehand.
pub(crate) struct Prepared {
    path: PathBuf,
    /// Blocks are reserved up to here.
    reserved: u64,
}

/// A segment that ended and is not synced yet.
pub(crate) struct SealedFiles {
    pub(super) segment: Arc<Segment>,
    /// Kept open since it was written, so that no write-back error can be missed. `None` for one that an earlier process
    /// has written: what that process was not told, nobody is.
    pub(super) file: Option<Arc<DataFile>>,
    pub(super) snapshot: PathBuf,
    /// Empty where a start has looked after it.
    snapshot_bytes: Vec<u8>,
}

impl SealedFiles {
    /// One that a start found above the recovery point; `next_base` is where the next one begins.
    pub(crate) fn recovered(segment: Arc<Segment>, dir: &Path, next_base: i64) -> SealedFiles {
        let snapshot = dir.join(file_name(next_base, "snapshot"));
        SealedFiles { segment, file: None, snapshot, snapshot_bytes: Vec::new() }
    }

    /// The same once the directory has another name, and the segment with it.
    pub(super) fn in_directory(&self, dir: &Path, segment: &Arc<Segment>) -> SealedFiles {
        SealedFiles {
            segment: Arc::clone(segment),
            file: self.file.clone(),
            snapshot: dir.join(file_name(segment.end().offset, "snapshot")),
            snapshot_bytes: self.snapshot_bytes.clone(),
        }
    }

    /// Writes its snapshot and its index files, if nobody has. The caller holds the log's flush lock, as does everybody
    /// who removes these files.
    pub(super) fn seal(&self, disk: &Disk) -> Result<(), StorageError> {
        if self.is_written() {
            return Ok(());
        }
        if !self.snapshot_bytes.is_empty() {
            disk.write_file(&self.snapshot, &self.snapshot_bytes)?;
        }
        self.segment.write_index_files()?;
        let file = self.file.as_ref().map_or_else(|| self.segment.data_file(), |file| Ok(Arc::clone(file)))?;
        file.set_len(disk, u64::from(self.segment.end().size))?;
        self.segment.mark_sealed(); // from here on, a compaction may put another segment in its place
        Ok(())
    }

    /// Whether [`SealedFiles::seal`] has nothing to do.
    pub(super) fn is_written(&self) -> bool {
        self.segment.is_sealed() || self.segment.is_gone()
    }
}

impl Log {
    /// Whether [`Log::tend`] has something to do. Free to ask after every append; `true` once for each reason.
    pub fn needs_tending(&self) -> bool {
        self.untended.load(Ordering::Relaxed) && self.untended.swap(false, Ordering::AcqRel)
    }

    /// Does in the background what appends would otherwise have to wait for: see the head of this file. Blocks for the
    /// disk, holds up no append. Nothing is lost if it is never called.
    pub fn tend(&self) -> Result<(), StorageError> {
        let _flushing = self.flush_lock.lock();
        let (ended, wants_next) = {
            let writer = self.writer.lock();
            self.check_writable()?;
            (writer.sealed.clone(), writer.next_asked && writer.prepared.is_none())
        };
        // First what producers would wait for.
        let prepared = if wants_next { self.prepare().map(Some) } else { Ok(None) };
        ended.iter().try_for_each(|ended| ended.seal(&self.disk))?;
        if let Some(prepared) = prepared? {
            self.writer.lock().prepared = Some(prepared);
        }
        Ok(())
    }

    fn prepare(&self) -> Result<Prepared, StorageError> {
        let config = self.config.load();
        let path = self.path.join(NEXT);
        self.disk.remove_file(&path)?;
        let file = self.disk.open_data(&path, true)?;
        let share = (config.segment_bytes / RESERVED_SHARE).min(RESERVED_MAX);
        let reserved = u64::from(if config.preallocate { config.segment_bytes } else { share });
        file.reserve(&self.disk, 0, reserved);
        Ok(Prepared { path, reserved })
    }

    /// Asks for the next segment when this one comes near its end: once.
    pub(super) fn ask_for_next(&self, writer: &mut Writer, config: &LogConfig) {
        let limit = config.segment_bytes.min(writer.active.capacity());
        if writer.next_asked || limit < PREPARED_MIN {
            return;
        }
        let is_near = limit.saturating_sub(writer.end.size) <= (limit / 2).min(AHEAD_MAX)
            || (writer.active.index_bytes() / 8 + 1) * 12 > config.segment_index_bytes as usize / 4 * 3;
        if is_near {
            writer.next_asked = true;
            self.untended.store(true, Ordering::Release);
        }
    }

    /// The data file of the next segment, with the blocks that are reserved for it.
    fn next_file(&self, writer: &mut Writer, next: &Segment) -> Result<(DataFile, u64), StorageError> {
        let path = next.path("log");
        if let Some(prepared) = writer.prepared.take()
            && !self.disk.exists(&path)
            && self.disk.set_name(&prepared.path, &path)?
        {
            let opened = self.disk.open_data(&path, false).inspect_err(|_| {
                // The next try makes a new one. If it cannot be removed, that fails, and no record is harmed.
                let _ = self.disk.remove_file(&path);
            });
            return Ok((opened?, prepared.reserved));
        }
        Ok((self.disk.open_data(&path, true)?, 0))
    }

    /// Gives up the file made for the next segment: the log is being closed.
    pub(super) fn forget_next(&self, writer: &mut Writer) -> Result<(), StorageError> {
        match writer.prepared.take() {
            Some(prepared) => self.disk.remove_file(&prepared.path),
            None => Ok(()),
        }
    }

    /// Starts the next segment at the log end. Nothing of the one that ended is written or synced here: it waits for
    /// [`Log::tend`] or the next flush, which syncs it before it moves the recovery point. On an error the active
    /// segment stays.
    pub(super) fn roll(&self, writer: &mut Writer, config: &LogConfig) -> Result<(), StorageError> {
        let snapshot = encode_snapshot(&writer.producers);
        self.roll_with(writer, config, snapshot)
    }

    /// The same, with what the snapshot of producers is to hold.
    pub(super) fn roll_with(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        snapshot_bytes: Vec<u8>,
    ) -> Result<(), StorageError> {
        let base = writer.end.offset;
        let next = Segment::active(
            Arc::clone(&self.disk),
            Arc::clone(&self.path),
            base,
            config.segment_bytes,
            End { offset: base, size: 0 },
            (OffsetIndex::default(), TimeIndex::default(), Vec::new()),
        );
        // What can fail without harm (too few descriptors, no space) comes first.
        let old = Arc::clone(&writer.active);
        let file = old.data_file()?;
        let (next_file, reserved) = self.next_file(writer, &next)?;
        next.adopt_file(next_file);
        old.close_file();
        writer.sealed.push(Arc::new(SealedFiles {
            segment: old,
            file: Some(file),
            snapshot: self.path.join(file_name(base, "snapshot")),
            snapshot_bytes,
        }));
        writer.names_dirty = true;
        let next = Arc::new(next);
        let mut segments = Vec::clone(&self.segments.load());
        segments.push(Arc::clone(&next));
        self.segments.store(Arc::new(segments));
        writer.active = next;
        writer.end = End { offset: base, size: 0 };
        writer.reserved = reserved;
        writer.since_index = 0;
        writer.first_timestamp = None;
        writer.first_append_ms = None;
        writer.next_asked = false;
        self.untended.store(true, Ordering::Release);
        self.queue_for_sketches();
        self.queue_for_compaction();
        Ok(())
    }

    /// Whether the next batch belongs into a new segment.
    pub(super) fn must_roll(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        append: &Append<'_>,
        now_ms: i64,
    ) -> Result<bool, StorageError> {
        let End { offset, size } = writer.end;
        if size == 0 {
            return Ok(false);
        }
        let header = append.batch.header();
        let limit = config.segment_bytes.min(writer.active.capacity());
        let last_offset = base_offset(append, offset) + i64::from(header.last_offset_delta());
        let last_relative = last_offset - writer.active.base();
        if u64::from(size) + header.size_in_bytes() as u64 > u64::from(limit) || last_relative > i64::from(i32::MAX) {
            return Ok(true);
        }
        if index_is_full(&writer.active, config.segment_index_bytes as usize)? {
            return Ok(true);
        }
        let timestamp = match config.timestamp_type {
            TimestampType::CreateTime => header.max_timestamp(),
            TimestampType::LogAppendTime => now_ms,
        };
        let first = match writer.first_timestamp {
            Some(first) => first,
            None => {
                let first = first_timestamp(&writer.active)?;
                writer.first_timestamp = Some(first);
                first
            }
        };
        let first_append = *writer.first_append_ms.get_or_insert(now_ms);
        let age = if first >= 0 { timestamp.saturating_sub(first) } else { now_ms.saturating_sub(first_append) };
        let segment_ms = config.max_segment_ms();
        Ok(age > segment_ms.saturating_sub(self.jitter(config, segment_ms, writer.active.base())))
    }

    /// A share of `segment.jitter.ms` that differs between partitions and segments, and is the same at every try.
    fn jitter(&self, config: &LogConfig, segment_ms: i64, base: i64) -> i64 {
        let most = config.segment_jitter_ms.min(segment_ms);
        if most <= 0 {
            return 0;
        }
        let mut hash = crc32fast::Hasher::new();
        hash.update(self.topic.as_bytes());
        hash.update(&self.partition.to_be_bytes());
        hash.update(&base.to_be_bytes());
        i64::from(hash.finalize()) % most
    }
}

/// Whether an index has no room for another entry. The last one of the time index is for the segment's end, as in Kafka.
fn index_is_full(active: &Segment, limit: usize) -> Result<bool, StorageError> {
    let entries = active.index_bytes() / 8;
    // There are never more entries of times than of offsets: only a full house is counted.
    Ok(entries >= limit / 8
        || (entries + 1 >= limit / 12 && active.with_times(|times| times.entries() + 1 >= limit / 12)?))
}

/// Max timestamp of the first batch of a segment that was there when the log was opened.
fn first_timestamp(segment: &Segment) -> Result<i64, StorageError> {
    let mut head = [0; HEADER_LEN];
    segment.data_file()?.read_at(&mut head, 0)?;
    let header = Header::parse(&head).map_err(|e| segment.corrupt(0, &e.to_string()))?;
    Ok(header.max_timestamp())
}
