//! A log that takes the place of another, in another directory: everything that was true of the old one is of the new.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::{Log, LogParts, Writer};
use crate::dir::Shared;
use crate::error::StorageError;
use crate::producers::encode_snapshot;
use crate::segment::file_name;

/// Copied at once at the end.
const LAST_CHUNK: usize = 16 << 20;

impl Log {
    /// What it shares with the other logs of its directory.
    pub(crate) fn directory(&self) -> Result<Arc<Shared>, StorageError> {
        self.shared.upgrade().ok_or_else(|| self.deleted_error())
    }

    /// Where its first segment begins.
    pub(crate) fn first_base(&self) -> i64 {
        self.segments.load().first().map_or(0, |segment| segment.base())
    }

    /// Whether another log has taken its place.
    pub(crate) fn is_moved(&self) -> bool {
        self.moved.load(Ordering::Acquire)
    }

    /// Keeps syncs of this log waiting: what it has promised to be on the disk stays what it is. Appends go on.
    pub(crate) fn hold_flushes(&self) -> MutexGuard<'_, ()> {
        self.flush_lock.lock()
    }

    /// The same log, its directory having been renamed to `path`. Nobody but the caller may have used it so far.
    pub(crate) fn renamed(&self, path: &Arc<Path>) -> Result<Log, StorageError> {
        let mut writer = self.writer.lock();
        let mut segments = Vec::new();
        let old = self.segments.load_full();
        for segment in old.iter() {
            segments.push(Arc::new(segment.in_directory(Arc::clone(path))?));
        }
        let Some(active) = segments.last().cloned() else { return Err(self.deleted_error()) };
        let producers = std::mem::take(&mut writer.producers);
        let epochs = std::mem::take(&mut writer.epochs);
        let mut renamed = Writer::new(producers, epochs, active, writer.since_index);
        for sealed in writer.sealed.iter().filter(|sealed| !sealed.is_written()) {
            let segment = segments.iter().find(|s| s.base() == sealed.segment.base());
            renamed.sealed.extend(segment.map(|segment| Arc::new(sealed.in_directory(path, segment))));
        }
        old.iter().for_each(|segment| segment.retire());
        Ok(Log::new(LogParts {
            topic: Arc::clone(&self.topic),
            partition: self.partition,
            topic_id: self.topic_id,
            path: Arc::clone(path),
            disk: Arc::clone(&self.disk),
            shared: self.shared.clone(),
            config: self.config(),
            segments,
            start: self.log_start_offset(),
            high_watermark: 0,
            flushed: self.flushed_offset(),
            writer: renamed,
            damage: None,
        }))
    }

    /// Begins where `source` does.
    pub(crate) fn adopt_start(&self, source: &Log) {
        self.start.store(source.log_start_offset().min(self.log_end_offset()), Ordering::Release);
    }

    /// Copies what is left, less than a segment, and closes this log for appends; runs `taken` before anybody can find
    /// it closed. On an error nothing has changed for this log.
    pub(crate) fn hand_over(
        &self,
        to: &Arc<Log>,
        directory: &Shared,
        cuts: usize,
        taken: impl FnOnce(),
    ) -> Result<(), StorageError> {
        let writer = self.writer.lock();
        if self.cuts() != cuts {
            return Err(self.truncated_error());
        }
        // Its directory may be offline: as long as it can be read, a log can be saved from there.
        self.disk.check_open()?;
        self.check_here()?;
        while to.copy_from(self, LAST_CHUNK)? > 0 {}
        let active = to.segments.load().last().map_or(0, |segment| segment.base());
        if to.checkpointed.load(Ordering::Acquire) < active {
            // A segment has begun since, hardly ever: appends wait for the disk.
            to.flush()?;
            directory.checkpoint()?;
        }
        {
            let mut new = to.writer.lock();
            to.end_at(&mut new, writer.end.offset);
            new.producers = writer.producers.clone();
            new.epochs = writer.epochs.clone();
            new.epochs_dirty = true;
            new.names_dirty = true;
            new.fresh = true;
            new.fence = writer.fence;
            new.first_append_ms = writer.first_append_ms;
            let snapshot = to.path.join(file_name(new.end.offset, "snapshot"));
            to.disk.write_file(&snapshot, &encode_snapshot(&new.producers))?;
            to.start.store(self.log_start_offset(), Ordering::Release);
            to.high_watermark.store(self.high_watermark(), Ordering::Release);
            to.publish_stability(&new.producers);
        }
        to.stir();
        to.config.store(self.config.load_full());
        to.queue_for_compaction();
        taken();
        self.moved.store(true, Ordering::Release);
        Ok(())
    }
}
