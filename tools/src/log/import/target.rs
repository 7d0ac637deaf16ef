//! Where an import goes: a data directory of ours, locked while it is worked on, and left as it was if anything fails.
//!
//! Copies are made and checked in a folder of their own. Then the mark `import-unfinished` is left, so that no broker
//! starts; the copies are renamed into place; the metadata gets all topics in one batch; the mark goes. Whoever finds
//! the mark knows from the metadata whether the import took place: then only the mark is left to remove, and otherwise
//! the copies.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jackdaw_broker::topics::seed::{self, SeedTopic};
use jackdaw_storage::inspect::{
    checkpoint_entries, directory_meta, encode_checkpoint, encode_topic_id_file, id_to_text,
};
use jackdaw_storage::{LogConfig, LogDir, LogDirOptions, UNFINISHED_IMPORT};
use serde::{Deserialize, Serialize};

use super::ImportError;
use crate::log::copy;
use crate::log::files::{self, FileError};
use crate::log::plan::{Plan, PlannedTopic};

/// Copies on their way.
const STAGING: &str = "import-staging";
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
const LOG_STARTS: &str = "log-start-offset-checkpoint";
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// Producer ids are given out in such blocks; ours begin at the next one.
const PRODUCER_ID_BLOCK: i64 = 1000;

/// What the mark says of an import that did not end.
#[derive(Serialize, Deserialize)]
struct Unfinished {
    /// Ids.
    topics: Vec<String>,
    partitions: Vec<(String, i32)>,
}

/// A data directory, open and locked.
pub(super) struct Target {
    path: PathBuf,
    node_id: i32,
    dir: Arc<LogDir>,
    /// There was nothing in it; whether it was there at all.
    was_empty: bool,
    existed: bool,
}

/// Copies that can be published.
pub(super) struct Staged {
    /// No producer of the copies has a higher id.
    largest_producer_id: i64,
    /// Partition by partition, bytes of torn ends that were cut.
    pub(super) cut: Vec<(String, u64)>,
}

fn open_dir(
    path: &Path,
    node_id: i32,
    cluster_id: Option<String>,
    importing: bool,
) -> Result<Arc<LogDir>, ImportError> {
    let mut options = LogDirOptions::new(node_id);
    options.cluster_id = cluster_id;
    options.importing = importing;
    Ok(Arc::new(LogDir::open(path, options, &|_| LogConfig::default(), &|_| {})?))
}

/// What is in a data directory; nothing of it is changed.
pub(super) fn node_of(path: &Path) -> Result<Option<i32>, ImportError> {
    let entries = match files::list(path) {
        Ok(entries) => entries,
        Err(error) if error.error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if entries.iter().all(|entry| entry.name == "lost+found") {
        return Ok(None);
    }
    let meta = path.join("meta.properties");
    let Some(bytes) = files::small(&meta)? else { return Err(ImportError::NotOurs(path.to_path_buf())) };
    if files::is_locked(path)? {
        return Err(ImportError::TargetRuns(path.to_path_buf()));
    }
    let meta = directory_meta(&bytes).map_err(|reason| ImportError::BadFile { path: meta, reason })?;
    Ok(Some(meta.node_id))
}

impl Target {
    /// Opens the directory, making it if need be, and settles what an interrupted import left in it.
    pub(super) fn open(path: &Path, node_id: i32, cluster_id: Option<String>) -> Result<Target, ImportError> {
        let existed = path.exists();
        let known_node = node_of(path)?;
        std::fs::create_dir_all(path).map_err(FileError::new("create", path))?;
        let node_id = known_node.unwrap_or(node_id);
        if path.join(UNFINISHED_IMPORT).exists() {
            settle(path, node_id)?;
        }
        let was_empty = known_node.is_none();
        let dir = open_dir(path, node_id, cluster_id.filter(|_| was_empty), false)?;
        let target = Target { path: path.to_path_buf(), node_id, dir, was_empty, existed };
        match target.remove_staging() {
            Ok(()) => Ok(target),
            Err(error) => Err(target.give_up(error)),
        }
    }

    fn staging(&self) -> PathBuf {
        self.path.join(STAGING)
    }

    fn remove_staging(&self) -> Result<(), ImportError> {
        remove_dir(&self.staging())
    }

    /// Refuses topics that are there already, by name or by id.
    pub(super) fn check(&self, topics: &[PlannedTopic<'_>]) -> Result<(), ImportError> {
        let known = seed::known(&self.dir, self.node_id)?;
        let logs = self.dir.logs();
        let is_data = |topic: &str| topic != "__cluster_metadata";
        if known.is_fresh && logs.iter().any(|log| is_data(log.topic())) {
            return Err(ImportError::NoMetadata(self.path.clone()));
        }
        let there = |topic: &&PlannedTopic<'_>| {
            known.topics.iter().any(|(name, id)| *name == topic.name || *id == topic.id)
                || logs.iter().any(|log| log.topic() == topic.name)
        };
        let there: Vec<&str> = topics.iter().filter(there).map(|topic| topic.name.as_str()).collect();
        if there.is_empty() { Ok(()) } else { Err(ImportError::TopicsExist(there.join(", "))) }
    }

    /// Copies everything, and has our own recovery look at the copies.
    pub(super) fn stage(&self, plan: &Plan<'_>, done: &mut dyn FnMut(u64)) -> Result<Staged, ImportError> {
        let staging = self.staging();
        std::fs::create_dir(&staging).map_err(FileError::new("create", &staging))?;
        let (mut points, mut watermarks, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        for topic in &plan.topics {
            for copy in topic.partitions.iter().flatten() {
                let folder = staging.join(format!("{}-{}", copy.topic, copy.partition));
                std::fs::create_dir(&folder).map_err(FileError::new("create", &folder))?;
                for file in &copy.files {
                    let copied = copy::file(&file.path, &folder.join(&file.name), &mut *done);
                    let copied = copied.map_err(FileError::new("copy", &file.path))?;
                    if copied != file.len {
                        return Err(ImportError::Changed(file.path.clone()));
                    }
                }
                write(&folder.join("partition.metadata"), &encode_topic_id_file(topic.id))?;
                let entry = |offset: Option<i64>| Some((copy.topic.as_str(), copy.partition, offset?));
                points.extend(entry(copy.recovery_point));
                watermarks.extend(entry(copy.high_watermark));
                starts.extend(entry(copy.log_start));
            }
        }
        for (name, entries) in [(RECOVERY_POINTS, points), (HIGH_WATERMARKS, watermarks), (LOG_STARTS, starts)] {
            write(&staging.join(name), &encode_checkpoint(entries))?;
        }
        if plan.is_clean {
            write(&staging.join(CLEAN_SHUTDOWN), b"")?;
        }
        self.check_copies()
    }

    fn check_copies(&self) -> Result<Staged, ImportError> {
        let staging = self.staging();
        let cut = std::sync::Mutex::new(Vec::new());
        let told = |progress: jackdaw_storage::RecoveryProgress| {
            if let Some(log) = progress.log.filter(|log| log.cut_bytes > 0)
                && let Ok(mut cut) = cut.lock()
            {
                cut.push((format!("{}-{}", log.topic, log.partition), log.cut_bytes));
            }
        };
        let dir = LogDir::open(&staging, LogDirOptions::new(self.node_id), &|_| LogConfig::default(), &told)?;
        let damaged: Vec<String> =
            dir.logs().iter().filter_map(|log| log.quarantine().map(ToString::to_string)).collect();
        if !damaged.is_empty() {
            return Err(ImportError::Damaged(damaged));
        }
        let producers = dir.logs().into_iter().flat_map(|log| log.producers());
        let largest_producer_id = producers.map(|producer| producer.producer_id).max().unwrap_or(-1);
        dir.close()?;
        drop(dir);
        copy::sync_file_system(&staging).map_err(FileError::new("sync", &staging))?;
        Ok(Staged { largest_producer_id, cut: cut.into_inner().unwrap_or_default() })
    }

    /// Puts the copies into place and makes them known; all of them or none.
    pub(super) fn publish(self, plan: &Plan<'_>, staged: &Staged, now_ms: i64) -> Result<(), ImportError> {
        let partitions = || plan.topics.iter().flat_map(|topic| topic.partitions.iter().flatten());
        let unfinished = Unfinished {
            topics: plan.topics.iter().map(|topic| id_to_text(topic.id)).collect(),
            partitions: partitions().map(|copy| (copy.topic.clone(), copy.partition)).collect(),
        };
        let mark = self.path.join(UNFINISHED_IMPORT);
        let text = serde_json::to_vec(&unfinished).map_err(|error| FileError::new("write", &mark)(error.into()))?;
        if let Err(error) = copy::replace(&mark, &text) {
            return Err(self.give_up(FileError::new("write", &mark)(error).into()));
        }
        let (path, node_id) = (self.path.clone(), self.node_id);
        self.dir.close()?;
        drop(self);
        let published = put_in_place(&path, &unfinished).and_then(|()| {
            let dir = open_dir(&path, node_id, None, true)?;
            // Ids are given out in blocks; none of a producer that is in the copies may be given again.
            let after =
                (staged.largest_producer_id.saturating_add(PRODUCER_ID_BLOCK)) / PRODUCER_ID_BLOCK * PRODUCER_ID_BLOCK;
            let next_producer_id = plan.next_producer_id.max(after);
            seed::seed(&dir, node_id, &seeds(&plan.topics), next_producer_id, now_ms)?;
            Ok(dir.close()?)
        });
        // Whether it went well or not, the metadata tells what holds.
        settle(&path, node_id).and(published)
    }

    /// Leaves the directory as it was found; gives back why.
    pub(super) fn give_up(self, why: ImportError) -> ImportError {
        let undone = self.remove_staging().and_then(|()| Ok(self.dir.close()?));
        let Target { path, dir, was_empty, existed, .. } = self;
        drop(dir);
        let undone = undone.and_then(|()| if was_empty { empty(&path, existed) } else { Ok(()) });
        if let Err(error) = undone {
            crate::output::complain(&format!("what was begun could not all be undone: {error}"));
        }
        why
    }
}

fn seeds(topics: &[PlannedTopic<'_>]) -> Vec<SeedTopic> {
    let seed = |topic: &PlannedTopic<'_>| SeedTopic {
        name: topic.name.clone(),
        id: topic.id,
        leader_epochs: topic.leader_epochs.clone(),
        configs: topic.configs.clone(),
    };
    topics.iter().map(seed).collect()
}

/// Renames the copies, after their offsets were put into the checkpoints that will be read with them.
fn put_in_place(path: &Path, unfinished: &Unfinished) -> Result<(), ImportError> {
    let staging = path.join(STAGING);
    for name in [RECOVERY_POINTS, HIGH_WATERMARKS, LOG_STARTS] {
        let mut merged = checkpoint(&path.join(name))?;
        merged.extend(checkpoint(&staging.join(name))?);
        let lines = merged.iter().map(|((topic, partition), offset)| (topic.as_str(), *partition, *offset));
        let file = path.join(name);
        copy::replace(&file, &encode_checkpoint(lines)).map_err(FileError::new("write", &file))?;
    }
    for (topic, partition) in &unfinished.partitions {
        let folder = format!("{topic}-{partition}");
        let (from, to) = (staging.join(&folder), path.join(&folder));
        std::fs::rename(&from, &to).map_err(FileError::new("rename", &from))?;
    }
    Ok(copy::sync_dir(path).map_err(FileError::new("sync", path))?)
}

fn checkpoint(path: &Path) -> Result<BTreeMap<(String, i32), i64>, ImportError> {
    let Some(bytes) = files::small(path)? else { return Ok(BTreeMap::new()) };
    let entries =
        checkpoint_entries(&bytes).map_err(|reason| ImportError::BadFile { path: path.to_path_buf(), reason })?;
    Ok(entries.into_iter().map(|(topic, partition, offset)| ((topic, partition), offset)).collect())
}

/// Ends what the mark tells of: undone, unless the metadata has it all.
fn settle(path: &Path, node_id: i32) -> Result<(), ImportError> {
    let mark = path.join(UNFINISHED_IMPORT);
    let bytes = files::small(&mark)?.unwrap_or_default();
    let unfinished: Unfinished = serde_json::from_slice(&bytes)
        .map_err(|error| ImportError::BadFile { path: mark.clone(), reason: error.to_string() })?;
    let dir = open_dir(path, node_id, None, true)?;
    let known = seed::known(&dir, node_id)?;
    let took_place = unfinished.topics.iter().all(|id| known.topics.iter().any(|(_, known)| id_to_text(*known) == *id));
    if !took_place {
        for log in dir.logs() {
            if unfinished
                .partitions
                .iter()
                .any(|(topic, partition)| topic == log.topic() && *partition == log.partition())
            {
                dir.delete(&log)?;
            }
        }
    }
    dir.close()?;
    drop(dir);
    remove_dir(&path.join(STAGING))?;
    std::fs::remove_file(&mark).map_err(FileError::new("remove", &mark))?;
    Ok(copy::sync_dir(path).map_err(FileError::new("sync", path))?)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ImportError> {
    Ok(std::fs::write(path, bytes).map_err(FileError::new("write", path))?)
}

fn remove_dir(path: &Path) -> Result<(), ImportError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::new("remove", path)(error).into()),
        _ => Ok(()),
    }
}

/// Takes everything out of a directory that was empty, or away if it was not there.
fn empty(path: &Path, existed: bool) -> Result<(), ImportError> {
    if !existed {
        return remove_dir(path);
    }
    for entry in files::list(path)?.into_iter().filter(|entry| entry.name != "lost+found") {
        if entry.is_dir {
            remove_dir(&entry.path)?;
        } else {
            std::fs::remove_file(&entry.path).map_err(FileError::new("remove", &entry.path))?;
        }
    }
    Ok(())
}
