//! Flush: bring to the disk what was appended, without holding up appends meanwhile.
//!
//! Order: data and indexes of sealed segments, snapshots, the active segment, the epoch file, the names in the
//! directory; only then the recovery point moves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::{Log, SealedFiles, Writer};
use crate::checkpoint::{LEADER_EPOCHS, PARTITION_METADATA, encode_epochs};
use crate::disk::{DataFile, unless_full};
use crate::error::StorageError;
use crate::producers::{decode_snapshot, encode_snapshot};
use crate::recovery::load_producers;
use crate::segment::{Segment, file_name};

/// From so many sealed segments on, each of four or five files, syncing the file system is cheaper.
const SYNC_TOGETHER_MIN: usize = 4;

/// What one flush has to sync: taken under the append lock, done outside of it.
pub(crate) struct FlushJob<'a> {
    log: &'a Log,
    flushing: MutexGuard<'a, ()>,
    end: i64,
    active: Arc<Segment>,
    /// `None` if nothing was appended to the active segment since the last flush.
    file: Option<Arc<DataFile>>,
    sealed: Vec<Arc<SealedFiles>>,
    epochs: Option<Vec<u8>>,
    sync_names: bool,
    /// The directory is new: its own name and topic id are not synced yet.
    fresh: bool,
}

impl Log {
    /// Syncs what has been appended; returns the offset below which everything is on the disk. Blocks for the time the
    /// disk takes, but holds up no append and no read. Concurrent calls share their syncs.
    pub fn flush(&self) -> Result<i64, StorageError> {
        let target = self.log_end_offset();
        let flushing = self.flush_lock.lock();
        if self.flushed_offset() >= target && !self.needs_flush() {
            self.check_syncable()?;
            return Ok(self.flushed_offset()); // somebody's flush covered it while this one waited
        }
        self.flush_job(flushing)?.sync()
    }

    /// Whether anything waits to be synced.
    pub fn needs_flush(&self) -> bool {
        if self.is_moved() {
            return false;
        }
        if self.flushed_offset() < self.log_end_offset() {
            return true;
        }
        let writer = self.writer.lock();
        writer.fresh || writer.names_dirty || writer.epochs_dirty || !writer.sealed.is_empty()
    }

    /// A flush to be carried out together with others; `None` if one is going on right now.
    pub(crate) fn try_flush_job(&self) -> Option<Result<FlushJob<'_>, StorageError>> {
        Some(self.flush_job(self.flush_lock.try_lock()?))
    }

    fn flush_job<'a>(&'a self, flushing: MutexGuard<'a, ()>) -> Result<FlushJob<'a>, StorageError> {
        let mut writer = self.writer.lock();
        self.check_syncable()?;
        self.take_job(&mut writer, flushing)
    }

    /// To be called before the files of `gone`, just dropped from the front, go: until what follows them (records,
    /// producers, names) is on the disk, they are all that a crash would leave of the log. They are synced too: a crash
    /// may bring their names back, and to a start, a segment that never reached the disk is where the log ends. Gives the
    /// flush lock back.
    pub(super) fn flush_before_removal<'a>(
        &'a self,
        mut writer: MutexGuard<'_, Writer>,
        flushing: MutexGuard<'a, ()>,
        gone: &[Arc<Segment>],
    ) -> Result<MutexGuard<'a, ()>, StorageError> {
        let Some(last) = gone.last() else { return Ok(flushing) };
        let first = self.segments.load()[0].base();
        // A flush that came further has synced the next segment's name, and the snapshot where it begins.
        if last.end().offset < self.flushed_offset() && self.has_snapshot(first)? {
            return Ok(flushing);
        }
        let job = self.take_job(&mut writer, flushing)?;
        drop(writer);
        // The flush writes the snapshots of these segments too: a crash may bring back any of them. If the last one was
        // lost (in a crash, on a full disk), its producers are still in their batches.
        let sync = || {
            job.write_sealed()?;
            if !self.has_snapshot(first)? {
                let producers = load_producers(&self.disk, &self.path, gone, first)?;
                unless_full(self.disk.write_file(&self.snapshot_path(first), &encode_snapshot(&producers)))?;
                self.disk.sync_path(&self.snapshot_path(first))?;
            }
            job.sync_files()
        };
        match sync() {
            Ok(epochs) => Ok(job.finish_holding(epochs).1),
            Err(error) => Err(job.give_back(error)),
        }
    }

    fn snapshot_path(&self, offset: i64) -> PathBuf {
        self.path.join(file_name(offset, "snapshot"))
    }

    /// Whether the producers are told of as they were at `offset`.
    fn has_snapshot(&self, offset: i64) -> Result<bool, StorageError> {
        let bytes = self.disk.read_file(&self.snapshot_path(offset))?;
        Ok(bytes.is_some_and(|bytes| decode_snapshot(&bytes).is_ok()))
    }

    fn take_job<'a>(&'a self, writer: &mut Writer, flushing: MutexGuard<'a, ()>) -> Result<FlushJob<'a>, StorageError> {
        let end = writer.end.offset;
        let is_dirty = end > self.flushed_offset() && end > writer.active.base();
        let file = if is_dirty { Some(writer.active.data_file()?) } else { None };
        let epochs = std::mem::take(&mut writer.epochs_dirty).then(|| encode_epochs(&writer.epochs));
        Ok(FlushJob {
            log: self,
            flushing,
            end,
            active: Arc::clone(&writer.active),
            file,
            sealed: std::mem::take(&mut writer.sealed),
            sync_names: std::mem::take(&mut writer.names_dirty) || epochs.is_some(),
            epochs,
            fresh: std::mem::take(&mut writer.fresh),
        })
    }
}

impl<'a> FlushJob<'a> {
    /// Syncs file by file.
    pub(crate) fn sync(self) -> Result<i64, StorageError> {
        match self.sync_files() {
            Ok(epochs) => Ok(self.finish(epochs)),
            Err(error) => Err(self.give_back(error)),
        }
    }

    fn sync_files(&self) -> Result<EpochFile, StorageError> {
        let disk = &self.log.disk;
        self.write_sealed()?;
        if self.sealed.len() > SYNC_TOGETHER_MIN {
            disk.sync_file_system()?;
        } else {
            for sealed in &self.sealed {
                match &sealed.file {
                    Some(file) => file.sync(disk)?,
                    None => disk.sync_path(&sealed.segment.path("log"))?,
                }
                sealed.segment.sync_indexes()?;
                disk.sync_path(&sealed.snapshot)?;
            }
        }
        if let Some(file) = &self.file {
            file.sync(disk)?;
        }
        let epochs = self.write_epochs()?;
        if self.fresh {
            disk.sync_path(&self.log.path.join(PARTITION_METADATA))?;
            disk.sync_dir(disk.root())?;
        }
        if self.sync_names {
            disk.sync_dir(&self.log.path)?;
        }
        Ok(epochs)
    }

    /// What has to be written before it is synced: indexes and snapshots of segments that ended.
    fn write_sealed(&self) -> Result<(), StorageError> {
        for sealed in &self.sealed {
            // For want of space they are written later, and the recovery point waits for them: a start reads the segment.
            unless_full(sealed.seal(&self.log.disk))?;
        }
        Ok(())
    }

    /// For many logs at once: writes what the sync of the file system, which replaces all other syncs, is to find; the
    /// epochs aside, for [`FlushJob::commit_epochs`] afterwards.
    pub(crate) fn stage(&self) -> Result<EpochFile, StorageError> {
        self.write_sealed()?;
        let Some(bytes) = &self.epochs else { return Ok(EpochFile::Current) };
        let written = unless_full(self.log.disk.write_file(&aside(&self.log.path), bytes))?;
        Ok(if written { EpochFile::Current } else { EpochFile::Behind })
    }

    /// Puts what was written aside in its place; durable after the next sync of the file system. Whether there was any.
    pub(crate) fn commit_epochs(&self, staged: EpochFile) -> Result<bool, StorageError> {
        if self.epochs.is_none() || staged == EpochFile::Behind {
            return Ok(false);
        }
        self.log.disk.rename(&aside(&self.log.path), &epochs_path(&self.log.path))?;
        Ok(true)
    }

    fn write_epochs(&self) -> Result<EpochFile, StorageError> {
        let Some(bytes) = &self.epochs else { return Ok(EpochFile::Current) };
        let written = unless_full(self.log.disk.replace_file(&epochs_path(&self.log.path), bytes))?;
        Ok(if written { EpochFile::Current } else { EpochFile::Behind })
    }

    /// Everything is on the disk: moves the recovery point, and lets the descriptor go if nothing came meanwhile. If
    /// the disk was too full for the epochs or the indexes, the records are on it all the same, and what those would say
    /// is in them: then the recovery point waits, so that a start would read it there.
    pub(crate) fn finish(self, epochs: EpochFile) -> i64 {
        self.finish_holding(epochs).0
    }

    fn finish_holding(self, epochs: EpochFile) -> (i64, MutexGuard<'a, ()>) {
        let log = self.log;
        let unwritten: Vec<_> = self.sealed.into_iter().filter(|sealed| !sealed.is_written()).collect();
        let is_complete = epochs == EpochFile::Current && unwritten.is_empty();
        if is_complete && log.flushed.swap(self.end, Ordering::SeqCst) != self.end {
            log.checkpoint_is_due();
        }
        let mut writer = log.writer.lock();
        writer.sealed.extend(unwritten);
        if epochs == EpochFile::Behind {
            writer.epochs_dirty = true;
        } else if writer.end.offset == self.end {
            self.active.pin_file(false);
        }
        drop(writer);
        (self.end, self.flushing)
    }

    /// What was to be synced waits for the next flush. After a failed sync there is none.
    pub(crate) fn give_back(mut self, error: StorageError) -> StorageError {
        let mut writer = self.log.writer.lock();
        std::mem::swap(&mut self.sealed, &mut writer.sealed);
        let sealed_since = std::mem::take(&mut self.sealed);
        writer.sealed.extend(sealed_since);
        writer.epochs_dirty |= self.epochs.is_some();
        writer.names_dirty |= self.sync_names;
        writer.fresh |= self.fresh;
        error
    }
}

/// What a flush came to with the file of leader epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EpochFile {
    /// It holds all epochs.
    Current,
    /// The disk was too full to write it.
    Behind,
}

fn epochs_path(dir: &Path) -> PathBuf {
    dir.join(LEADER_EPOCHS)
}

fn aside(dir: &Path) -> PathBuf {
    dir.join(format!("{LEADER_EPOCHS}.tmp"))
}
