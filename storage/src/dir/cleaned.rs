//! How far each log has been compacted: `cleaner-offset-checkpoint`, in Kafka's text format.
//!
//! Losing it costs one compaction of everything; an offset too high in it would leave duplicates of keys for ever. So a
//! log that is cut or deleted is corrected here at once, and a file that cannot be understood counts as none.

use std::sync::Arc;

use parking_lot::Mutex;

use super::shared::Shared;
use crate::checkpoint::{CLEANER_OFFSETS, Offsets, decode_offsets, encode_offsets};
use crate::disk::Disk;
use crate::error::StorageError;
use crate::log::Log;

/// What is known of the logs of one directory.
#[derive(Default)]
pub(super) struct Cleaned {
    offsets: Mutex<Offsets>,
    /// Held while the file is written, so that the newest state is written last.
    file: Mutex<()>,
}

/// The offsets in the file.
pub(super) fn read(disk: &Disk) -> Result<Offsets, StorageError> {
    let path = disk.root().join(CLEANER_OFFSETS);
    let Some(bytes) = disk.read_file(&path)? else { return Ok(Offsets::new()) };
    Ok(decode_offsets(&bytes).unwrap_or_else(|reason| {
        tracing::warn!(path = %path.display(), reason, "what has been compacted is not known: all of it is dirty");
        Offsets::new()
    }))
}

impl Shared {
    /// Reads the file once the logs are loaded.
    pub(super) fn read_cleaned(&self) -> Result<(), StorageError> {
        let mut offsets = read(&self.disk)?;
        let logs = self.logs.lock();
        offsets.retain(|(topic, partition), _| logs.contains_key(&(Arc::from(topic.as_str()), *partition)));
        drop(logs);
        *self.cleaned.offsets.lock() = offsets;
        Ok(())
    }

    /// Below it, the log has been compacted; `None` if it never was.
    pub(crate) fn cleaned_offset(&self, log: &Log) -> Option<i64> {
        let offsets = self.cleaned.offsets.lock();
        if offsets.is_empty() {
            return None;
        }
        offsets.get(&(log.topic().to_owned(), log.partition())).copied()
    }

    /// Remembers it, in the file too.
    pub(crate) fn set_cleaned_offset(&self, log: &Log, offset: i64) -> Result<(), StorageError> {
        let key = (log.topic().to_owned(), log.partition());
        let before = self.cleaned.offsets.lock().insert(key, offset);
        if before == Some(offset) { Ok(()) } else { self.write_cleaned() }
    }

    /// The log ends at `offset` now.
    pub(crate) fn lower_cleaned_offset(&self, log: &Log, offset: i64) -> Result<(), StorageError> {
        match self.cleaned_offset(log) {
            Some(cleaned) if cleaned > offset => self.set_cleaned_offset(log, offset),
            _ => Ok(()),
        }
    }

    /// The logs are gone, or belong elsewhere from now on.
    pub(super) fn forget_cleaned(&self, logs: &[Arc<Log>]) -> Result<(), StorageError> {
        let mut offsets = self.cleaned.offsets.lock();
        let before = offsets.len();
        for log in logs.iter().filter(|_| before > 0) {
            offsets.remove(&(log.topic().to_owned(), log.partition()));
        }
        let is_changed = offsets.len() != before;
        drop(offsets);
        if is_changed { self.write_cleaned() } else { Ok(()) }
    }

    fn write_cleaned(&self) -> Result<(), StorageError> {
        let _newest_last = self.cleaned.file.lock();
        let mut offsets: Vec<_> = self.cleaned.offsets.lock().clone().into_iter().collect();
        offsets.sort_unstable();
        let lines = offsets.iter().map(|((topic, partition), offset)| (topic.as_str(), *partition, *offset));
        let root = self.disk.root();
        self.disk.replace_file(&root.join(CLEANER_OFFSETS), &encode_offsets(lines))?;
        self.disk.sync_dir(root)
    }
}
