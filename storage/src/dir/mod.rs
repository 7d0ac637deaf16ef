//! A log directory: the logs on one disk, loaded together, flushed together, closed together.

mod agenda;
mod cleaned;
mod closed;
mod damage;
mod flush;
mod foreign;
mod future;
mod identity;
mod shared;
mod start;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::checkpoint::{CLEAN_SHUTDOWN, META_PROPERTIES, Meta, decode_clean_shutdown, encode_clean_shutdown};
use crate::config::{LogConfig, LogDirOptions};
use crate::disk::{DirLock, Disk, unless_full};
use crate::error::{OpenError, StorageError};
use crate::log::{Log, Outlook};

use agenda::Agenda;
use closed::{take_closed_index, write_closed_index};
pub use damage::{DAMAGE_REPORT, DamagedRange};
use flush::{SYNC_TOGETHER_MIN, flush_many, flush_together};
pub use foreign::UNFINISHED_IMPORT;
pub use future::FutureLog;
pub use identity::{cluster_id_of, same_directory};
pub(crate) use shared::Shared;
pub use start::{LoadedLog, RecoveryProgress};
use start::{load_all, read_meta};

/// A log directory, locked against other brokers while it is open.
///
/// Dropping it without [`LogDir::close`] is like a crash: the next open checks what was not flushed.
pub struct LogDir {
    shared: Arc<Shared>,
    meta: Meta,
    is_fresh: bool,
    /// Of the broker that stopped cleanly before, -1 if none did.
    previous_epoch: i64,
    /// Of the broker that has it open.
    broker_epoch: AtomicI64,
    threads: usize,
    closed: AtomicBool,
    /// Moves into this directory that the last broker did not finish.
    interrupted: Vec<(String, i32)>,
    _lock: DirLock,
}

impl LogDir {
    /// Opens a directory, creating and naming it if it is fresh, and loads every partition in it. After an unclean stop
    /// the batches above the recovery point are checked, on `recovery_threads` threads.
    pub fn open(
        path: &Path,
        options: LogDirOptions,
        config_for: &(dyn Fn(&str) -> LogConfig + Sync),
        progress: &(dyn Fn(RecoveryProgress) + Sync),
    ) -> Result<LogDir, OpenError> {
        let disk = Disk::open(path, options.faults.clone(), options.map_budget, options.descriptor_budget)?;
        let lock = DirLock::acquire(path)?;
        foreign::check(&disk, options.importing)?;
        let is_fresh = !disk.exists(&path.join(META_PROPERTIES));
        let meta = read_meta(&disk, &options)?;
        let clean_marker = path.join(CLEAN_SHUTDOWN);
        let clean = disk.exists(&clean_marker);
        let previous_epoch = disk.read_file(&clean_marker)?.map_or(-1, |mark| decode_clean_shutdown(&mark));
        let closed = take_closed_index(&disk, clean)?;
        if clean {
            // Before anything is loaded: a crash from here on must not look like a clean stop (KAFKA-10471).
            disk.remove_file(&clean_marker)?;
            disk.sync_dir(path)?;
        }
        let shared = Arc::new(Shared {
            disk: Arc::new(disk),
            logs: Mutex::new(BTreeMap::new()),
            checkpointing: Mutex::default(),
            unsketched: Mutex::default(),
            to_compact: Mutex::default(),
            agenda: Agenda::default(),
            cleaned: Default::default(),
            found_damage: Default::default(),
        });
        let interrupted = future::remove_unfinished(&shared.disk)?;
        load_all(&shared, &options, clean, closed, config_for, progress)?;
        shared.read_cleaned()?;
        shared.report_damage()?;
        // A start on a full disk serves what is there; the checkpoints of before are as right as they were.
        unless_full(shared.checkpoint_if_due())?;
        let threads = options.recovery_threads;
        let (broker_epoch, closed) = (AtomicI64::new(-1), AtomicBool::new(false));
        Ok(LogDir { shared, meta, is_fresh, previous_epoch, broker_epoch, threads, closed, interrupted, _lock: lock })
    }

    /// Syncs what a start after a crash has found above the recovery points, with one sync of the file system, so that the
    /// next crash need not look there again. May take as long as the disk needs for all that the crashed broker had not
    /// synced; appends and reads go on, and whoever has to wait for the disk waits for this too.
    pub fn finish_recovery(&self) -> Result<(), StorageError> {
        let dirty: Vec<_> =
            self.logs().into_iter().filter(|log| log.quarantine().is_none() && log.needs_flush()).collect();
        if dirty.is_empty() {
            return Ok(());
        }
        flush_together(&self.shared.disk, &dirty).into_iter().try_for_each(|(_, result)| result.map(|_| ()))?;
        self.checkpoint()
    }

    /// Closes files and maps that nobody has used since the last call, so that idle partitions hold none. To be called now
    /// and then.
    pub fn let_go_of_idle_files(&self) {
        self.shared.disk.files.let_go_of_unused();
        self.shared.disk.maps.let_go_of_unused();
    }

    /// What is known to be damaged: what the start found, and what reads have met since.
    pub fn damaged_ranges(&self) -> Vec<DamagedRange> {
        self.shared.damaged_ranges()
    }

    /// All logs, by topic and partition.
    pub fn logs(&self) -> Vec<Arc<Log>> {
        self.shared.logs.lock().values().cloned().collect()
    }

    /// The logs that a compaction may find something in: their `cleanup.policy` names compact, and they have segments
    /// beside the active one that were not all compacted. A log to which nothing happens costs nothing.
    pub fn logs_to_compact(&self) -> Vec<Arc<Log>> {
        self.shared.logs_to_compact()
    }

    /// Creates an empty log. Its directory becomes durable with its first flush: before that, nothing in it was
    /// promised to anyone.
    pub fn create(
        &self,
        topic: &str,
        topic_id: Uuid,
        partition: i32,
        config: impl Into<Arc<LogConfig>>,
    ) -> Result<Arc<Log>, StorageError> {
        self.shared.create(topic, topic_id, partition, config.into())
    }

    /// Deletes a log. Its directory is renamed, so that the name is free at once, and goes with [`LogDir::purge`].
    /// Slices already read stay readable; everything else asked of the log is answered with [`StorageError::Deleted`].
    pub fn delete(&self, log: &Arc<Log>) -> Result<(), StorageError> {
        self.detach(std::slice::from_ref(log))
    }

    /// Deletes several logs, with one sync for all.
    pub fn detach(&self, logs: &[Arc<Log>]) -> Result<(), StorageError> {
        self.shared.detach(logs)
    }

    /// The logs in which something is due by their retention or has come 80 % of the way, each with what is known of it,
    /// and those of which it cannot be told. [`Log::retain`] is left to the caller. A log that nothing happened to, and
    /// whose time has not come, costs nothing.
    pub fn retention_candidates(&self, now_ms: i64) -> Vec<(Arc<Log>, Result<Outlook, StorageError>)> {
        self.shared.retention_candidates(now_ms)
    }

    /// Gives back to the file system what was deleted at least its `file.delete.delay.ms` ago, counted from the first
    /// call that saw it: to be called every second or so. What cannot be removed is removed at the next start.
    /// Answers for how many segments and partitions it did so. Costs nothing where nothing was deleted.
    pub fn purge(&self, now_ms: i64) -> usize {
        self.shared.disk.empty_trash(Some(now_ms))
    }

    /// Whether [`LogDir::purge`] has something to look after.
    pub fn has_deleted(&self) -> bool {
        !self.shared.disk.trash.is_empty()
    }

    /// [`LogDir::purge`] without the delay: for a full disk.
    pub fn purge_all(&self) -> usize {
        self.shared.disk.empty_trash(None)
    }

    /// Takes a log out of service and renames its directory to one that no start loads again; answers the new path. What
    /// it holds stays on the disk for a person to look at.
    pub fn set_aside(&self, log: &Arc<Log>) -> Result<PathBuf, StorageError> {
        self.shared.set_aside(log)
    }

    /// Flushes several logs: one by one, or, if many are dirty, with one sync of the file system. Answers, for each
    /// index into `logs`, the offset below which that log is on the disk; in no particular order.
    pub fn flush_many(&self, logs: &[Arc<Log>]) -> Vec<(usize, Result<i64, StorageError>)> {
        flush_many(&self.shared.disk, logs)
    }

    /// Writes the recovery points, the high watermarks and the log start offsets, each file replaced atomically.
    /// To be called now and then. Where too many descriptors are open because what was written through them is not
    /// synced, it syncs.
    pub fn checkpoint(&self) -> Result<(), StorageError> {
        if self.shared.disk.files.is_over() {
            let dirty: Vec<_> = self.logs().into_iter().filter(|log| log.needs_flush()).collect();
            self.flush_many(&dirty);
            self.shared.disk.files.shrink();
        }
        self.shared.checkpoint_if_due()
    }

    /// Flushes everything, leaves what makes the next start quick, and then the mark of a clean shutdown. From its
    /// beginning on, appends and cuts are refused; reads go on. Where the disk is too full for what the next start
    /// would like to find, everything is synced all the same, and the error says that the next start has to look.
    pub fn close(&self) -> Result<(), StorageError> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.shared.disk.check_online()?;
        self.shared.disk.empty_trash(None); // the next start would do it, and take longer
        self.shared.disk.begin_close();
        let logs: Vec<_> =
            self.logs().into_iter().filter(|log| log.quarantine().is_none() && !log.is_moved()).collect();
        let mut unsynced = Vec::new();
        let mut no_space = None;
        for log in &logs {
            match log.write_for_close() {
                Ok(files) => unsynced.extend(files),
                Err(error) if error.is_full_disk() => no_space = Some(error),
                Err(error) => return Err(error),
            }
        }
        let dirty: Vec<_> = logs.iter().filter(|log| log.needs_flush()).cloned().collect();
        for (_, result) in self.flush_many(&dirty) {
            result?;
        }
        if dirty.len() > SYNC_TOGETHER_MIN {
            // The file system was synced, and these with it.
        } else if unsynced.len() > SYNC_TOGETHER_MIN {
            self.shared.disk.sync_file_system()?;
        } else {
            unsynced.iter().try_for_each(|path| self.shared.disk.sync_path(path))?;
        }
        self.shared.checkpoint_if_due()?;
        if let Some(error) = no_space {
            return Err(error);
        }
        let root = self.shared.disk.root();
        // A start that the cluster refused ends the life before as cleanly as that had ended itself.
        let epoch = Some(self.broker_epoch.load(Ordering::Relaxed)).filter(|epoch| *epoch >= 0);
        let mark = encode_clean_shutdown(epoch.unwrap_or(self.previous_epoch));
        self.shared.disk.replace_file(&root.join(CLEAN_SHUTDOWN), &mark)?;
        write_closed_index(&self.shared, &logs, self.threads)?;
        self.shared.disk.sync_dir(root)
    }

    /// A log that has sealed segments without the sketch of their keys, for [`Log::make_sketches`]; `None` when nothing
    /// waits. It is not given out again before there is news of it.
    pub fn take_unsketched(&self) -> Option<Arc<Log>> {
        loop {
            let key = self.shared.unsketched.lock().pop_first()?;
            if let Some(log) = self.shared.logs.lock().get(&key) {
                return Some(Arc::clone(log));
            }
        }
    }

    /// Id of the cluster that the directory belongs to.
    pub fn cluster_id(&self) -> &str {
        &self.meta.cluster_id
    }

    /// Id of the directory itself (KIP-858).
    pub fn directory_id(&self) -> Uuid {
        self.meta.directory_id
    }

    /// The epoch of the broker that stopped cleanly here before; -1 if none did, or it had none.
    pub fn previous_broker_epoch(&self) -> i64 {
        self.previous_epoch
    }

    /// What a clean stop leaves for the next start as the broker's epoch.
    pub fn set_broker_epoch(&self, epoch: i64) {
        self.broker_epoch.store(epoch, Ordering::Relaxed);
    }

    /// Whether it was empty when it was opened, and has become a log directory then.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.shared.disk.root()
    }

    /// Size of the file system it is on, and what of that may still be written.
    pub fn total_and_usable_bytes(&self) -> Result<(u64, u64), StorageError> {
        self.shared.disk.total_and_usable()
    }

    /// Whether the disk is full: appends of clients are refused, reads go on.
    pub fn is_full(&self) -> bool {
        self.shared.disk.is_full()
    }

    /// Finds out whether a full disk has room again, and lets appends go on if so; whether there is room. To be called
    /// about once a second. Costs nothing unless the directory is full.
    pub fn probe_space(&self) -> bool {
        self.shared.disk.probe_space()
    }

    /// Whether it still takes writes. A full directory is online.
    pub fn is_online(&self) -> bool {
        self.shared.disk.failure().is_none()
    }

    /// Whether nothing is appended or cut any more, because the directory is being closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.shared.disk.check_open().is_err()
    }

    /// The failure that took it offline.
    pub fn offline_reason(&self) -> Option<StorageError> {
        self.shared.disk.failure().cloned()
    }
}
