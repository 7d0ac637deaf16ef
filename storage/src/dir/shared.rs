//! What the logs of a directory share: its disk, the map of them all, and the checkpoint files.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::agenda::Agenda;
use super::cleaned::Cleaned;
use super::damage::FoundDamage;
use crate::checkpoint::{
    HIGH_WATERMARK, LOG_START, OffsetLines, PARTITION_METADATA, RECOVERY_POINT, encode_partition_metadata,
};
use crate::config::LogConfig;
use crate::disk::Disk;
use crate::epochs::Epochs;
use crate::error::StorageError;
use crate::log::{Log, LogParts, Writer};
use crate::producers::Producers;
use crate::segment::{End, Segment};
use crate::trash::What;
/// Longest name of a file on Linux.
pub(super) const NAME_MAX: usize = 255;

/// By topic and partition.
pub(super) type Logs = BTreeMap<(Arc<str>, i32), Arc<Log>>;

/// What logs need of their directory.
pub(crate) struct Shared {
    pub(super) disk: Arc<Disk>,
    pub(super) logs: Mutex<Logs>,
    /// Held while the checkpoint files are written. Names that they mention and that no log bears any more.
    pub(super) checkpointing: Mutex<HashSet<(Arc<str>, i32)>>,
    /// Logs with sealed segments that may lack the sketch of their keys.
    pub(super) unsketched: Mutex<BTreeSet<(Arc<str>, i32)>>,
    /// Logs that a compaction may find something in, and some in which it will not.
    pub(super) to_compact: Mutex<BTreeSet<(Arc<str>, i32)>>,
    pub(super) cleaned: Cleaned,
    pub(crate) agenda: Agenda,
    pub(super) found_damage: FoundDamage,
}

impl Shared {
    pub(crate) fn queue_for_sketches(&self, log: &Log) {
        self.unsketched.lock().insert((Arc::clone(log.topic_arc()), log.partition()));
    }

    /// A log rolled, was loaded or cut, or its policy changed: a compaction may find something in it now.
    pub(crate) fn queue_for_compaction(&self, log: &Log) {
        self.to_compact.lock().insert((Arc::clone(log.topic_arc()), log.partition()));
    }

    /// The logs that a compaction may find something in. Of the others nobody hears before something happens to them, so
    /// that they cost nothing.
    pub(super) fn logs_to_compact(&self) -> Vec<Arc<Log>> {
        // Taken before they are looked at: what happens to one from here on puts it there again.
        let keys = std::mem::take(&mut *self.to_compact.lock());
        let (mut found, mut kept) = (Vec::new(), BTreeSet::new());
        for key in keys {
            let log = self.logs.lock().get(&key).cloned();
            if let Some(log) = log.filter(|log| log.has_dirty_segments()) {
                found.push(log);
                kept.insert(key);
            }
        }
        self.to_compact.lock().append(&mut kept);
        found
    }

    pub(super) fn create(
        self: &Arc<Shared>,
        topic: &str,
        topic_id: Uuid,
        partition: i32,
        config: Arc<LogConfig>,
    ) -> Result<Arc<Log>, StorageError> {
        let name = format!("{topic}-{partition}");
        let is_plain = topic.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if topic.is_empty() || !is_plain || partition < 0 || name.len() > NAME_MAX {
            return Err(StorageError::BadName { name });
        }
        let key = (Arc::<str>::from(topic), partition);
        let path: Arc<Path> = Arc::from(self.disk.root().join(&name));
        self.disk.check_open()?;
        self.disk.check_space()?;
        if self.checkpointing.lock().contains(&key) {
            // The recovery point of a deleted log of that name would make the new one look damaged.
            self.checkpoint()?;
        }
        let mut logs = self.logs.lock();
        if logs.contains_key(&key) || self.disk.exists(&path) {
            return Err(StorageError::Exists { path });
        }
        let log = self.fresh_log(&key, topic_id, path, 0, config)?;
        logs.insert(key, Arc::clone(&log));
        Ok(log)
    }

    /// A log without records in a directory of its own, which is made; its first record will be that of `base`.
    pub(super) fn fresh_log(
        self: &Arc<Shared>,
        (topic, partition): &(Arc<str>, i32),
        topic_id: Uuid,
        path: Arc<Path>,
        base: i64,
        config: Arc<LogConfig>,
    ) -> Result<Arc<Log>, StorageError> {
        self.disk.create_dir(&path)?;
        let created = self.create_files(&path, topic_id, base, config.segment_bytes).inspect_err(|_| {
            // Nothing half-made stays; if it cannot be removed, it is an empty partition of no topic at the next start.
            let _ = self.disk.remove_dir_all(&path);
        });
        let active = Arc::new(created?);
        let mut writer = Writer::new(Producers::default(), Epochs::default(), Arc::clone(&active), 0);
        writer.fresh = true;
        writer.names_dirty = true;
        Ok(Arc::new(Log::new(LogParts {
            topic: Arc::clone(topic),
            partition: *partition,
            topic_id,
            path,
            disk: Arc::clone(&self.disk),
            shared: Arc::downgrade(self),
            config,
            segments: vec![active],
            start: base,
            high_watermark: base,
            flushed: base,
            writer,
            damage: None,
        })))
    }

    fn create_files(
        &self,
        path: &Arc<Path>,
        topic_id: Uuid,
        base: i64,
        capacity: u32,
    ) -> Result<Segment, StorageError> {
        self.disk.write_file(&path.join(PARTITION_METADATA), &encode_partition_metadata(topic_id))?;
        let end = End { offset: base, size: 0 };
        let active = Segment::active(Arc::clone(&self.disk), Arc::clone(path), base, capacity, end, Default::default());
        // Not kept open: most partitions wait long for their first record, and many may be made at once.
        self.disk.open_data(&active.path("log"), true)?;
        Ok(active)
    }

    pub(super) fn detach(&self, deleted: &[Arc<Log>]) -> Result<(), StorageError> {
        deleted.iter().for_each(|log| log.stop_cleaning());
        let mut renamed = false;
        {
            let mut checkpointing = self.checkpointing.lock();
            let mut logs = self.logs.lock();
            for log in deleted {
                log.mark_deleted();
                let key = (Arc::clone(log.topic_arc()), log.partition());
                if !logs.get(&key).is_some_and(|present| Arc::ptr_eq(present, log)) {
                    continue; // somebody else was faster
                }
                let path = self.disk.root().join(set_aside_name(log.topic(), log.partition(), "delete"));
                self.disk.rename(log.path(), &path)?;
                logs.remove(&key);
                forget(&mut checkpointing, log);
                self.disk.trash.add(What::Directory(path), log.config().file_delete_delay_ms);
                renamed = true;
            }
        }
        if renamed {
            self.disk.sync_dir(self.disk.root())?;
        }
        self.forget_cleaned(deleted)
    }

    pub(super) fn set_aside(&self, log: &Arc<Log>) -> Result<PathBuf, StorageError> {
        log.stop_cleaning();
        log.mark_deleted();
        let mut checkpointing = self.checkpointing.lock();
        let mut logs = self.logs.lock();
        let aside = self.disk.root().join(set_aside_name(log.topic(), log.partition(), "stray"));
        self.disk.rename(log.path(), &aside)?;
        logs.retain(|_, present| !Arc::ptr_eq(present, log));
        forget(&mut checkpointing, log);
        drop((logs, checkpointing));
        self.disk.sync_dir(self.disk.root())?;
        self.forget_cleaned(std::slice::from_ref(log))?;
        Ok(aside)
    }

    /// Makes sure that the recovery point of `log` on the disk is not above `offset`, nor its start if that moved back.
    pub(crate) fn lower_checkpoint(&self, log: &Log, offset: i64, start_moved: bool) -> Result<(), StorageError> {
        let checkpointing = self.checkpointing.lock(); // what is being written now counts when it is on the disk
        let is_above = log.checkpointed.load(Ordering::Acquire) > offset;
        drop(checkpointing);
        if is_above || start_moved { self.checkpoint() } else { Ok(()) }
    }

    /// Makes sure that the recovery point of `log` on the disk is not below `offset`, up to which it has been flushed.
    pub(crate) fn raise_checkpoint(&self, log: &Log, offset: i64) -> Result<(), StorageError> {
        let checkpointing = self.checkpointing.lock(); // what is being written now counts when it is on the disk
        let is_written = !self.disk.checkpoint_due.load(Ordering::SeqCst);
        let is_there = is_written && log.checkpointed.load(Ordering::Acquire) >= offset;
        drop(checkpointing);
        if is_there { Ok(()) } else { self.checkpoint() }
    }

    /// Writes the checkpoint files if they would say something new.
    pub(super) fn checkpoint_if_due(&self) -> Result<(), StorageError> {
        let gone = self.checkpointing.lock(); // what is being written now counts when it is on the disk
        if self.disk.checkpoint_due.load(Ordering::SeqCst) { self.write_down(gone) } else { Ok(()) }
    }

    pub(crate) fn checkpoint(&self) -> Result<(), StorageError> {
        self.write_down(self.checkpointing.lock())
    }

    fn write_down(&self, mut gone: MutexGuard<'_, HashSet<(Arc<str>, i32)>>) -> Result<(), StorageError> {
        self.disk.checkpoint_due.swap(false, Ordering::SeqCst);
        self.write_checkpoints().inspect_err(|_| self.disk.checkpoint_due.store(true, Ordering::SeqCst))?;
        gone.clear();
        Ok(())
    }

    fn write_checkpoints(&self) -> Result<(), StorageError> {
        let (mut recovery_points, mut high_watermarks, mut starts) =
            <(OffsetLines, OffsetLines, OffsetLines)>::default();
        for ((topic, partition), log) in self.logs.lock().iter() {
            let flushed = log.flushed_offset();
            recovery_points.push(topic, *partition, flushed);
            log.checkpointed.fetch_max(flushed, Ordering::AcqRel);
            high_watermarks.push(topic, *partition, log.high_watermark());
            let start = log.log_start_offset();
            if start > 0 {
                starts.push(topic, *partition, start);
            }
        }
        let root = self.disk.root();
        for (name, lines) in [(RECOVERY_POINT, recovery_points), (HIGH_WATERMARK, high_watermarks), (LOG_START, starts)]
        {
            self.disk.replace_file(&root.join(name), &lines.finish())?;
        }
        self.disk.sync_dir(root)
    }
}

/// Notes that the checkpoint files may speak of a log that is gone.
fn forget(checkpointing: &mut HashSet<(Arc<str>, i32)>, log: &Log) {
    if log.checkpointed.load(Ordering::Acquire) >= 0 {
        checkpointing.insert((Arc::clone(log.topic_arc()), log.partition()));
    }
    log.checkpoint_is_due();
}

/// A directory name that is no partition's, made from one that is.
pub(super) fn set_aside_name(topic: &str, partition: i32, fate: &str) -> String {
    let suffix = format!("-{partition}.{}-{fate}", Uuid::new_v4().simple());
    let kept = topic.len().min(NAME_MAX - suffix.len());
    format!("{}{suffix}", &topic[..kept]) // topic names are ASCII
}
