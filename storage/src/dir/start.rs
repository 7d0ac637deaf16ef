//! What a start reads and decides: whose directory it is, which logs are in it, and the loading of them all.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use uuid::Uuid;

use super::Shared;
use super::closed::load_closed;
use crate::checkpoint::{
    HIGH_WATERMARK, LOG_START, META_PROPERTIES, Meta, Offsets, RECOVERY_POINT, decode_meta, decode_offsets,
    encode_meta, encode_uuid,
};
use crate::closed::Stamp;
use crate::config::{LogConfig, LogDirOptions};
use crate::disk::Disk;
use crate::error::{OpenError, StorageError};
use crate::recovery::{LoadRequest, Loaded, Watch, load, unchecked_bytes};
use crate::trash::What;

/// Told after each partition that was loaded, and now and then within one that takes long.
#[derive(Debug, Clone)]
pub struct RecoveryProgress {
    /// How many partitions are loaded by now.
    pub loaded: usize,
    /// Of how many.
    pub total: usize,
    /// Bytes that were checked by now because the last stop was not clean.
    pub bytes_done: u64,
    /// Of about how many.
    pub bytes_total: u64,
    /// The partition that was loaded just now.
    pub log: Option<LoadedLog>,
}

/// A partition that was loaded.
#[derive(Debug, Clone)]
pub struct LoadedLog {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its number.
    pub partition: i32,
    /// Bytes of it that were checked.
    pub checked_bytes: u64,
    /// Bytes cut off as torn.
    pub cut_bytes: u64,
}

/// Splits `<topic>-<partition>`.
pub(super) fn partition_of(name: &str) -> Option<(&str, i32)> {
    let (topic, number) = name.rsplit_once('-')?;
    let partition = number.parse().ok().filter(|p: &i32| *p >= 0 && p.to_string() == number)?;
    (!topic.is_empty()).then_some((topic, partition))
}

pub(super) fn read_meta(disk: &Disk, options: &LogDirOptions) -> Result<Meta, OpenError> {
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

/// Offsets of a checkpoint file; `None` where there is none, or none that can be read. A start goes on without: logs
/// whose recovery point is lost are checked in full, and where that finds damage, nothing is cut that others follow.
fn read_offsets(disk: &Disk, name: &str) -> Result<Option<Offsets>, OpenError> {
    let path: PathBuf = disk.root().join(name);
    let Some(bytes) = disk.read_file(&path)? else { return Ok(None) };
    match decode_offsets(&bytes) {
        Ok(offsets) => Ok(Some(offsets)),
        Err(reason) => {
            let consequence = match name {
                RECOVERY_POINT => "every log is checked from its beginning",
                HIGH_WATERMARK => "high watermarks are taken from the logs",
                _ => "records deleted from a segment that is still there may be readable again",
            };
            tracing::warn!(path = %path.display(), reason, consequence, "a checkpoint file is damaged, and written anew");
            disk.checkpoint_due.store(true, Ordering::SeqCst);
            Ok(None)
        }
    }
}

/// Topic and partition of every log in the directory; what was being deleted when the broker stopped goes now.
fn stored_logs(disk: &Disk) -> Result<Vec<(String, i32)>, OpenError> {
    let mut found = Vec::new();
    for name in disk.directories()? {
        if name.ends_with("-delete") {
            // At the first purge, so that the start does not wait for it.
            disk.trash.add(What::Directory(disk.root().join(&name)), 0);
        } else if let Some((topic, partition)) = partition_of(&name) {
            found.push((topic.to_owned(), partition));
        }
    }
    Ok(found)
}

/// Runs `work` on pieces of `0..count`, on several threads; what it gives comes in the order of the pieces.
pub(super) fn in_parallel<T: Send>(
    threads: usize,
    count: usize,
    piece: usize,
    work: impl Fn(Range<usize>) -> T + Sync,
) -> Vec<T> {
    let pieces = count.div_ceil(piece);
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(pieces)));
    let run = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= pieces {
                return;
            }
            let result = work(at * piece..count.min((at + 1) * piece));
            done.lock().push((at, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(pieces) {
            scope.spawn(run);
        }
        run();
    });
    let mut done = done.into_inner();
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// What the checkpoint files say of every log.
struct Checkpoints {
    has_recovery_points: bool,
    recovery_points: Offsets,
    high_watermarks: Offsets,
    log_starts: Offsets,
    cleaned: Offsets,
}

impl Checkpoints {
    fn read(disk: &Disk) -> Result<Checkpoints, OpenError> {
        let recovery_points = read_offsets(disk, RECOVERY_POINT)?;
        Ok(Checkpoints {
            has_recovery_points: recovery_points.is_some(),
            recovery_points: recovery_points.unwrap_or_default(),
            high_watermarks: read_offsets(disk, HIGH_WATERMARK)?.unwrap_or_default(),
            log_starts: read_offsets(disk, LOG_START)?.unwrap_or_default(),
            cleaned: super::cleaned::read(disk)?,
        })
    }

    /// `None` if the file is lost; a log that it lacks has never been synced.
    fn recovery_point(&self, key: &(String, i32)) -> Option<i64> {
        self.recovery_points.get(key).copied().or(self.has_recovery_points.then_some(0))
    }
}

/// What the partitions of one topic share, made once for each topic.
struct Policies<'a> {
    config_for: &'a (dyn Fn(&str) -> LogConfig + Sync),
    by_topic: Mutex<HashMap<String, Policy>>,
}

/// Name and policy of a topic.
type Policy = (Arc<str>, Arc<LogConfig>);

impl Policies<'_> {
    fn of(&self, topic: &str) -> Policy {
        let mut by_topic = self.by_topic.lock();
        let made = || (Arc::from(topic), Arc::new((self.config_for)(topic)));
        by_topic.entry(topic.to_owned()).or_insert_with(made).clone()
    }
}

/// Loads every partition directory.
pub(super) fn load_all(
    shared: &Arc<Shared>,
    options: &LogDirOptions,
    clean: bool,
    closed: Option<(Stamp, Vec<u8>)>,
    config_for: &(dyn Fn(&str) -> LogConfig + Sync),
    progress: &(dyn Fn(RecoveryProgress) + Sync),
) -> Result<(), OpenError> {
    let disk = &shared.disk;
    let mut found = stored_logs(disk)?;
    let total = found.len();
    let known = load_closed(shared, closed, options.recovery_threads, config_for);
    found.retain(|(topic, partition)| !known.contains(topic, *partition));
    let loaded = AtomicUsize::new(total - found.len());
    if found.is_empty() && known.is_complete() {
        // What the last stop left is what the checkpoint files say.
        shared.logs.lock().values().for_each(|log| log.checkpointed.store(log.flushed_offset(), Ordering::Release));
        disk.checkpoint_due.store(false, Ordering::SeqCst);
        return Ok(());
    }
    let checkpoints = Checkpoints::read(disk)?;
    let bytes_total = if clean { 0 } else { big_ones_first(disk, options.recovery_threads, &checkpoints, &mut found)? };
    let tell = |bytes_done| {
        progress(RecoveryProgress {
            loaded: loaded.load(Ordering::Relaxed),
            total,
            bytes_done,
            bytes_total,
            log: None,
        });
    };
    let watch = Watch::new(&tell);
    let loading = Loading {
        shared,
        checkpoints: &checkpoints,
        policies: Policies { config_for, by_topic: Mutex::default() },
        clean,
        watch: &watch,
    };
    let failure = Mutex::new(None);
    in_parallel(options.recovery_threads, found.len(), 1, |range| {
        if failure.lock().is_some() {
            return;
        }
        match loading.load_one(&found[range.start]) {
            Ok(log) => progress(RecoveryProgress {
                loaded: loaded.fetch_add(1, Ordering::Relaxed) + 1,
                total,
                bytes_done: watch.done(),
                bytes_total,
                log: Some(log),
            }),
            Err(error) => {
                failure.lock().get_or_insert(error);
            }
        }
    });
    match failure.into_inner() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// What the loading of every log needs to know.
struct Loading<'a> {
    shared: &'a Arc<Shared>,
    checkpoints: &'a Checkpoints,
    policies: Policies<'a>,
    clean: bool,
    watch: &'a Watch<'a>,
}

impl Loading<'_> {
    fn load_one(&self, key: &(String, i32)) -> Result<LoadedLog, OpenError> {
        let (topic, config) = self.policies.of(&key.0);
        let loaded = load(LoadRequest {
            disk: &self.shared.disk,
            shared: Arc::downgrade(self.shared),
            path: Arc::from(self.shared.disk.root().join(format!("{}-{}", key.0, key.1))),
            topic: Arc::clone(&topic),
            partition: key.1,
            config,
            recovery_point: self.checkpoints.recovery_point(key),
            cleaned: self.checkpoints.cleaned.get(key).copied().unwrap_or(0),
            log_start: self.checkpoints.log_starts.get(key).copied(),
            high_watermark: self.checkpoints.high_watermarks.get(key).copied().unwrap_or(0),
            clean: self.clean,
            watch: self.watch,
        })?;
        let Loaded { log, checked_bytes, cut_bytes } = loaded;
        if log.segment_count() > 1 {
            self.shared.queue_for_compaction(&log);
        }
        self.shared.logs.lock().insert((Arc::clone(&topic), key.1), Arc::new(log));
        Ok(LoadedLog { topic, partition: key.1, checked_bytes, cut_bytes })
    }
}

/// Sorts logs so that the ones that take longest come first: the last thread to finish then has a small one. Answers
/// how many bytes are to be checked in all.
fn big_ones_first(
    disk: &Disk,
    threads: usize,
    checkpoints: &Checkpoints,
    found: &mut Vec<(String, i32)>,
) -> Result<u64, StorageError> {
    let measured = in_parallel(threads, found.len(), 64, |range| {
        let bytes_of = |key: &(String, i32)| {
            let path = disk.root().join(format!("{}-{}", key.0, key.1));
            unchecked_bytes(disk, &path, checkpoints.recovery_point(key))
        };
        found[range].iter().map(bytes_of).collect::<Result<Vec<u64>, _>>()
    });
    let sizes = measured.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    let total = sizes.iter().sum();
    let mut sized: Vec<_> = sizes.into_iter().zip(std::mem::take(found)).collect();
    sized.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    *found = sized.into_iter().map(|(_, key)| key).collect();
    Ok(total)
}
