//! A log directory: the logs on one disk, loaded together, flushed together, closed together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::checkpoint::{
    CLEAN_SHUTDOWN, HIGH_WATERMARK, LOG_START, META_PROPERTIES, Meta, Offsets, PARTITION_METADATA, RECOVERY_POINT,
    decode_meta, decode_offsets, encode_meta, encode_offsets, encode_partition_metadata, encode_uuid,
};
use crate::config::{LogConfig, LogDirOptions};
use crate::disk::{DirLock, Disk};
use crate::epochs::Epochs;
use crate::error::{OpenError, StorageError};
use crate::log::{FlushJob, Log, LogParts, Writer};
use crate::producers::Producers;
use crate::recovery::{LoadRequest, load};
use crate::segment::{End, Segment};

/// From so many dirty logs on, syncing the file system is cheaper than syncing their files.
const SYNC_TOGETHER_MIN: usize = 16;
/// Longest name of a file on Linux.
const NAME_MAX: usize = 255;

/// Told after each partition that was loaded.
#[derive(Debug, Clone)]
pub struct RecoveryProgress {
    /// The partition's topic.
    pub topic: Arc<str>,
    /// Its number.
    pub partition: i32,
    /// How many partitions are loaded by now.
    pub loaded: usize,
    /// Of how many.
    pub total: usize,
    /// Bytes that were walked because the last stop was not clean.
    pub checked_bytes: u64,
    /// Bytes cut off as torn.
    pub cut_bytes: u64,
}

/// A log directory, locked against other brokers while it is open.
///
/// Dropping it without [`LogDir::close`] is like a crash: the next open checks what was not flushed.
pub struct LogDir {
    shared: Arc<Shared>,
    meta: Meta,
    closed: AtomicBool,
    _lock: DirLock,
}

/// By topic and partition.
type Logs = BTreeMap<(Arc<str>, i32), Arc<Log>>;

/// What logs need of their directory.
pub(crate) struct Shared {
    disk: Arc<Disk>,
    logs: Mutex<Logs>,
    /// Recovery points as the file on the disk has them.
    checkpointed: Mutex<Offsets>,
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
        let meta = read_meta(&disk, &options)?;
        let clean_marker = path.join(CLEAN_SHUTDOWN);
        let clean = disk.exists(&clean_marker);
        if clean {
            // Before anything is loaded: a crash from here on must not look like a clean stop (KAFKA-10471).
            disk.remove_file(&clean_marker)?;
            disk.sync_dir(path)?;
        }
        let shared = Arc::new(Shared {
            disk: Arc::new(disk),
            logs: Mutex::new(BTreeMap::new()),
            checkpointed: Mutex::new(Offsets::new()),
        });
        let checked = load_all(&shared, &options, clean, config_for, progress)?;
        if checked && !clean {
            shared.disk.sync_file_system()?;
            shared.logs.lock().values().for_each(|log| log.mark_recovered());
        }
        shared.checkpoint()?;
        Ok(LogDir { shared, meta, closed: AtomicBool::new(false), _lock: lock })
    }

    /// All logs, by topic and partition.
    pub fn logs(&self) -> Vec<Arc<Log>> {
        self.shared.logs.lock().values().cloned().collect()
    }

    /// Creates an empty log. Its directory becomes durable with its first flush: before that, nothing in it was
    /// promised to anyone.
    pub fn create(
        &self,
        topic: &str,
        topic_id: Uuid,
        partition: i32,
        config: LogConfig,
    ) -> Result<Arc<Log>, StorageError> {
        self.shared.create(topic, topic_id, partition, config)
    }

    /// Deletes a log. Its directory is renamed, so that the name is free at once, then removed. Slices already read
    /// stay readable; everything else asked of the log is answered with [`StorageError::Deleted`].
    pub fn delete(&self, log: &Arc<Log>) -> Result<(), StorageError> {
        self.detach(std::slice::from_ref(log))?.remove()
    }

    /// The first half of deleting several logs: their directories are renamed, with one sync for all. Giving the files
    /// back to the file system may take long, and is left to the caller: [`Detached::remove`]. What that does not come
    /// to is removed at the next start.
    pub fn detach(&self, logs: &[Arc<Log>]) -> Result<Detached, StorageError> {
        let paths = self.shared.detach(logs)?;
        Ok(Detached { disk: Arc::clone(&self.shared.disk), paths })
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
        self.shared.checkpoint()
    }

    /// Flushes everything, leaves what makes the next start quick, and then the mark of a clean shutdown. From its
    /// beginning on, appends and cuts are refused; reads go on.
    pub fn close(&self) -> Result<(), StorageError> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.shared.disk.check_online()?;
        self.shared.disk.begin_close();
        let logs: Vec<_> = self.logs().into_iter().filter(|log| log.quarantine().is_none()).collect();
        let mut unsynced = Vec::new();
        for log in &logs {
            unsynced.extend(log.write_for_close()?);
        }
        let dirty: Vec<_> = logs.into_iter().filter(|log| log.needs_flush()).collect();
        for (_, result) in self.flush_many(&dirty) {
            result?;
        }
        if unsynced.len() > SYNC_TOGETHER_MIN {
            self.shared.disk.sync_file_system()?;
        } else {
            unsynced.iter().try_for_each(|path| self.shared.disk.sync_path(path))?;
        }
        self.shared.checkpoint()?;
        let root = self.shared.disk.root();
        self.shared.disk.replace_file(&root.join(CLEAN_SHUTDOWN), b"{\"version\":0,\"brokerEpoch\":-1}")?;
        self.shared.disk.sync_dir(root)
    }

    /// Id of the cluster that the directory belongs to.
    pub fn cluster_id(&self) -> &str {
        &self.meta.cluster_id
    }

    /// Id of the directory itself (KIP-858).
    pub fn directory_id(&self) -> Uuid {
        self.meta.directory_id
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.shared.disk.root()
    }

    /// Size of the file system it is on, and what of that may still be written.
    pub fn total_and_usable_bytes(&self) -> Result<(u64, u64), StorageError> {
        self.shared.disk.total_and_usable()
    }

    /// Whether it still takes writes.
    pub fn is_online(&self) -> bool {
        self.shared.disk.failure().is_none()
    }

    /// The failure that took it offline.
    pub fn offline_reason(&self) -> Option<StorageError> {
        self.shared.disk.failure().cloned()
    }
}

/// Directories of deleted logs, still to be removed.
pub struct Detached {
    disk: Arc<Disk>,
    paths: Vec<PathBuf>,
}

impl Detached {
    /// Removes them.
    pub fn remove(self) -> Result<(), StorageError> {
        self.paths.iter().try_for_each(|path| self.disk.remove_dir_all(path))
    }
}

impl Shared {
    fn create(
        self: &Arc<Shared>,
        topic: &str,
        topic_id: Uuid,
        partition: i32,
        config: LogConfig,
    ) -> Result<Arc<Log>, StorageError> {
        let name = format!("{topic}-{partition}");
        let is_plain = topic.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if topic.is_empty() || !is_plain || partition < 0 || name.len() > NAME_MAX {
            return Err(StorageError::BadName { name });
        }
        let key = (Arc::<str>::from(topic), partition);
        let path: Arc<Path> = Arc::from(self.disk.root().join(&name));
        self.disk.check_open()?;
        let mut logs = self.logs.lock();
        if logs.contains_key(&key) || self.disk.exists(&path) {
            return Err(StorageError::Exists { path });
        }
        if self.checkpointed.lock().contains_key(&(topic.to_owned(), partition)) {
            // The recovery point of a deleted log of that name would make the new one look damaged.
            self.write_checkpoints(&logs)?;
        }
        self.disk.create_dir(&path)?;
        self.disk.write_file(&path.join(PARTITION_METADATA), &encode_partition_metadata(topic_id))?;
        let end = End { offset: 0, size: 0 };
        let (disk, capacity) = (Arc::clone(&self.disk), config.segment_bytes);
        let active = Segment::active(disk, Arc::clone(&path), 0, capacity, end, Default::default());
        active.adopt_file(self.disk.open_data(&active.path("log"), true)?);
        let active = Arc::new(active);
        let mut writer = Writer::new(Producers::default(), Epochs::default(), Arc::clone(&active), 0);
        writer.fresh = true;
        writer.names_dirty = true;
        let log = Arc::new(Log::new(LogParts {
            topic: Arc::clone(&key.0),
            partition,
            topic_id,
            path,
            disk: Arc::clone(&self.disk),
            shared: Arc::downgrade(self),
            config,
            segments: vec![active],
            start: 0,
            high_watermark: 0,
            flushed: 0,
            writer,
            damage: None,
        }));
        logs.insert(key, Arc::clone(&log));
        Ok(log)
    }

    fn detach(&self, deleted: &[Arc<Log>]) -> Result<Vec<PathBuf>, StorageError> {
        let mut aside = Vec::with_capacity(deleted.len());
        {
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
                aside.push(path);
            }
        }
        if !aside.is_empty() {
            self.disk.sync_dir(self.disk.root())?;
        }
        Ok(aside)
    }

    fn set_aside(&self, log: &Arc<Log>) -> Result<PathBuf, StorageError> {
        log.mark_deleted();
        let mut logs = self.logs.lock();
        let aside = self.disk.root().join(set_aside_name(log.topic(), log.partition(), "stray"));
        self.disk.rename(log.path(), &aside)?;
        logs.retain(|_, present| !Arc::ptr_eq(present, log));
        drop(logs);
        self.disk.sync_dir(self.disk.root())?;
        Ok(aside)
    }

    /// Makes sure that the recovery point of `log` on the disk is not above `offset`, nor its start if that moved back.
    pub(crate) fn lower_checkpoint(&self, log: &Log, offset: i64, start_moved: bool) -> Result<(), StorageError> {
        let key = (log.topic().to_owned(), log.partition());
        let is_above = self.checkpointed.lock().get(&key).is_some_and(|&on_disk| on_disk > offset);
        if is_above || start_moved { self.checkpoint() } else { Ok(()) }
    }

    fn checkpoint(&self) -> Result<(), StorageError> {
        let logs = self.logs.lock().clone();
        self.write_checkpoints(&logs)
    }

    fn write_checkpoints(&self, logs: &Logs) -> Result<(), StorageError> {
        let mut checkpointed = self.checkpointed.lock();
        let root = self.disk.root();
        let write = |name: &str, offset_of: &dyn Fn(&Log) -> Option<i64>| -> Result<Offsets, StorageError> {
            let offsets: Vec<_> =
                logs.iter().filter_map(|((topic, p), log)| Some((&**topic, *p, offset_of(log)?))).collect();
            self.disk.replace_file(&root.join(name), &encode_offsets(offsets.iter().copied()))?;
            Ok(offsets.into_iter().map(|(topic, p, offset)| ((topic.to_owned(), p), offset)).collect())
        };
        *checkpointed = write(RECOVERY_POINT, &|log| Some(log.flushed_offset()))?;
        write(HIGH_WATERMARK, &|log| Some(log.high_watermark()))?;
        write(LOG_START, &|log| Some(log.log_start_offset()).filter(|&start| start > 0))?;
        self.disk.sync_dir(root)
    }
}

/// A directory name that is no partition's, made from one that is.
fn set_aside_name(topic: &str, partition: i32, fate: &str) -> String {
    let suffix = format!("-{partition}.{}-{fate}", Uuid::new_v4().simple());
    let kept = topic.len().min(NAME_MAX - suffix.len());
    format!("{}{suffix}", &topic[..kept]) // topic names are ASCII
}

/// Splits `<topic>-<partition>`.
fn partition_of(name: &str) -> Option<(&str, i32)> {
    let (topic, number) = name.rsplit_once('-')?;
    let partition = number.parse().ok().filter(|p: &i32| *p >= 0 && p.to_string() == number)?;
    (!topic.is_empty()).then_some((topic, partition))
}

fn flush_many(disk: &Arc<Disk>, logs: &[Arc<Log>]) -> Vec<(usize, Result<i64, StorageError>)> {
    let one_by_one = |indexes: Vec<usize>| indexes.into_iter().map(|i| (i, logs[i].flush())).collect::<Vec<_>>();
    if logs.len() <= SYNC_TOGETHER_MIN {
        return one_by_one((0..logs.len()).collect());
    }
    let mut results = Vec::with_capacity(logs.len());
    let mut jobs: Vec<(usize, FlushJob<'_>)> = Vec::with_capacity(logs.len());
    let mut busy = Vec::new(); // being flushed by somebody else, or listed twice
    for (i, log) in logs.iter().enumerate() {
        match log.try_flush_job() {
            None => busy.push(i),
            Some(Err(error)) => results.push((i, Err(error))),
            Some(Ok(job)) => match job.write_epochs() {
                Ok(()) => jobs.push((i, job)),
                Err(error) => results.push((i, Err(error))),
            },
        }
    }
    match disk.sync_file_system() {
        Ok(()) => results.extend(jobs.into_iter().map(|(i, job)| (i, Ok(job.finish())))),
        Err(error) => results.extend(jobs.into_iter().map(|(i, _)| (i, Err(error.clone())))),
    }
    results.extend(one_by_one(busy));
    results
}

fn read_meta(disk: &Disk, options: &LogDirOptions) -> Result<Meta, OpenError> {
    let path = disk.root().join(META_PROPERTIES);
    let Some(bytes) = disk.read_file(&path)? else {
        let cluster_id = options.cluster_id.clone().unwrap_or_else(|| encode_uuid(Uuid::new_v4()));
        let meta = Meta { cluster_id, node_id: options.node_id, directory_id: Uuid::new_v4() };
        disk.replace_file(&path, &encode_meta(&meta))?;
        disk.sync_dir(disk.root())?;
        return Ok(meta);
    };
    let meta = decode_meta(&bytes, Uuid::new_v4()).map_err(|reason| OpenError::BadFile { path, reason })?;
    let root = disk.root().to_path_buf();
    if let Some(expected) = options.cluster_id.as_ref().filter(|id| **id != meta.cluster_id) {
        return Err(OpenError::OtherCluster { path: root, found: meta.cluster_id, expected: expected.clone() });
    }
    if meta.node_id != options.node_id {
        return Err(OpenError::OtherNode { path: root, found: meta.node_id, expected: options.node_id });
    }
    Ok(meta)
}

/// Offsets of a checkpoint file; nothing where there is none. A file that cannot be read is replaced only by whoever
/// decides so: recovery points are the line between a torn tail and damage.
fn read_offsets(disk: &Disk, name: &str) -> Result<Offsets, OpenError> {
    let path: PathBuf = disk.root().join(name);
    match disk.read_file(&path)? {
        None => Ok(Offsets::new()),
        Some(bytes) => decode_offsets(&bytes).map_err(|reason| OpenError::BadFile { path, reason }),
    }
}

/// Topic and partition of every log in the directory; what was being deleted when the broker stopped goes now.
fn stored_logs(disk: &Disk) -> Result<Vec<(String, i32)>, OpenError> {
    let mut found = Vec::new();
    for entry in disk.list(disk.root())?.into_iter().filter(|entry| entry.is_dir) {
        if entry.name.ends_with("-delete") {
            disk.remove_dir_all(&disk.root().join(&entry.name))?;
        } else if let Some((topic, partition)) = partition_of(&entry.name) {
            found.push((topic.to_owned(), partition));
        }
    }
    Ok(found)
}

/// Loads every partition directory; whether there were any.
fn load_all(
    shared: &Arc<Shared>,
    options: &LogDirOptions,
    clean: bool,
    config_for: &(dyn Fn(&str) -> LogConfig + Sync),
    progress: &(dyn Fn(RecoveryProgress) + Sync),
) -> Result<bool, OpenError> {
    let disk = &shared.disk;
    let recovery_points = read_offsets(disk, RECOVERY_POINT)?;
    let high_watermarks = read_offsets(disk, HIGH_WATERMARK)?;
    let log_starts = read_offsets(disk, LOG_START)?;
    let found = stored_logs(disk)?;
    let load_one = |key: &(String, i32)| {
        load(LoadRequest {
            disk,
            shared: Arc::downgrade(shared),
            path: Arc::from(disk.root().join(format!("{}-{}", key.0, key.1))),
            topic: Arc::from(key.0.as_str()),
            partition: key.1,
            config: config_for(&key.0),
            recovery_point: recovery_points.get(key).copied(),
            log_start: log_starts.get(key).copied(),
            high_watermark: high_watermarks.get(key).copied().unwrap_or(0),
            clean,
        })
    };
    let (next, loaded) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failure = Mutex::new(None);
    let work = || {
        while let Some(key) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failure.lock().is_some() {
                return;
            }
            match load_one(key) {
                Ok(one) => {
                    let topic = Arc::clone(one.log.topic_arc());
                    shared.logs.lock().insert((Arc::clone(&topic), key.1), Arc::new(one.log));
                    progress(RecoveryProgress {
                        topic,
                        partition: key.1,
                        loaded: loaded.fetch_add(1, Ordering::Relaxed) + 1,
                        total: found.len(),
                        checked_bytes: one.checked_bytes,
                        cut_bytes: one.cut_bytes,
                    });
                }
                Err(error) => {
                    failure.lock().get_or_insert(error);
                }
            }
        }
    };
    let threads = options.recovery_threads.clamp(1, found.len().max(1));
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    match failure.into_inner() {
        Some(error) => Err(error),
        None => Ok(!found.is_empty()),
    }
}
