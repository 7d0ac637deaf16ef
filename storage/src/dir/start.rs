//! What a start reads and decides: whose directory it is, which logs are in it, and the loading of them all.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use uuid::Uuid;

use super::Shared;
use crate::checkpoint::{
    HIGH_WATERMARK, LOG_START, META_PROPERTIES, Meta, Offsets, RECOVERY_POINT, decode_meta, decode_offsets,
    encode_meta, encode_uuid,
};
use crate::config::{LogConfig, LogDirOptions};
use crate::disk::Disk;
use crate::error::OpenError;
use crate::recovery::{LoadRequest, load};

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
pub(super) fn load_all(
    shared: &Arc<Shared>,
    options: &LogDirOptions,
    clean: bool,
    config_for: &(dyn Fn(&str) -> LogConfig + Sync),
    progress: &(dyn Fn(RecoveryProgress) + Sync),
) -> Result<bool, OpenError> {
    let disk = &shared.disk;
    let recovery_points = read_offsets(disk, RECOVERY_POINT)?;
    let has_recovery_points = disk.exists(&disk.root().join(RECOVERY_POINT));
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
            recovery_point: recovery_points.get(key).copied().or(has_recovery_points.then_some(0)),
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
