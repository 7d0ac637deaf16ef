//! A log directory of a stopped Apache Kafka, looked over before anything is taken from it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use jackdaw_storage::inspect::{
    DirectoryMeta, FileKind, checkpoint_entries, directory_meta, epoch_starts, partition_dir, topic_id_of,
};
use thiserror::Error;
use uuid::Uuid;

use super::files::{self, Entry, FileError};
use super::image::{self, Image, ImageError};

/// Kafka's names of its metadata log, newest first; 2.8 had one of its own.
pub(super) const METADATA_LOGS: [&str; 2] = ["__cluster_metadata-0", "@metadata-0"];

/// Where our brokers keep what the metadata quorum agreed on; Kafka's have no such folder.
pub(super) const QUORUM: &str = "quorum";

/// Why a directory cannot be taken as a source.
#[derive(Debug, Error)]
pub(super) enum SourceError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("{} is no log directory: it has neither meta.properties nor a folder of a partition", .0.display())]
    NotALogDir(PathBuf),
    #[error("{} is the data directory of a Jackdaw broker, not of Apache Kafka: its broker serves it as it is", .0.display())]
    Ours(PathBuf),
    #[error("a broker is running on {}: stop it first, so that all it holds is on the disk", .0.display())]
    Running(PathBuf),
    #[error(
        "{} was not stopped in order (there is no .kafka_cleanshutdown), so that its logs may end in torn batches: \
         start and stop that broker once, or give --unclean, which checks the logs and cuts torn ends in the copy",
        .0.display()
    )]
    Unclean(PathBuf),
    #[error("cannot understand {}: {reason}", path.display())]
    BadFile { path: PathBuf, reason: String },
}

/// Offsets of a checkpoint file.
pub(super) type Offsets = HashMap<(String, i32), i64>;

/// A log directory.
pub(super) struct Source {
    pub(super) meta: Option<DirectoryMeta>,
    pub(super) is_clean: bool,
    pub(super) partitions: Vec<FoundPartition>,
    /// What its metadata log says, if it has one.
    pub(super) image: Option<Image>,
    /// Folders passed over, and why.
    pub(super) notes: Vec<String>,
}

/// A partition's folder.
#[derive(Debug)]
pub(super) struct FoundPartition {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) path: PathBuf,
    /// By its partition.metadata; brokers before 2.8 and the preview of KRaft had none.
    pub(super) id: Option<Uuid>,
    pub(super) node_id: i64,
    /// What is copied of it.
    pub(super) files: Vec<FileToCopy>,
    pub(super) bytes: u64,
    pub(super) recovery_point: Option<i64>,
    pub(super) log_start: Option<i64>,
    pub(super) high_watermark: Option<i64>,
    pub(super) latest_epoch: i32,
}

/// A file to copy.
#[derive(Debug)]
pub(super) struct FileToCopy {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) len: u64,
}

/// Looks a directory over; refuses one that a broker runs on, and one left in disorder unless `unclean`.
pub(super) fn scan(path: &Path, unclean: bool) -> Result<Source, SourceError> {
    let entries = files::list(path)?;
    let meta_path = path.join("meta.properties");
    let meta = match files::small(&meta_path)? {
        Some(bytes) => Some(directory_meta(&bytes).map_err(|reason| SourceError::BadFile { path: meta_path, reason })?),
        None => None,
    };
    let is_partition = |entry: &&Entry| entry.is_dir && partition_dir(&entry.name).is_some();
    if meta.is_none() && !entries.iter().any(|entry| is_partition(&entry)) {
        return Err(SourceError::NotALogDir(path.to_path_buf()));
    }
    if files::is_locked(path)? {
        return Err(SourceError::Running(path.to_path_buf()));
    }
    let is_clean = entries.iter().any(|entry| FileKind::of(&entry.name) == FileKind::CleanShutdown);
    if !is_clean && !unclean {
        return Err(SourceError::Unclean(path.to_path_buf()));
    }
    if path.join(QUORUM).is_dir() {
        return Err(SourceError::Ours(path.to_path_buf()));
    }
    let metadata = METADATA_LOGS.iter().map(|name| path.join(name)).find(|path| path.is_dir());
    let image = match &metadata {
        Some(dir) if is_kafkas(dir)? => Some(image::load(dir, !is_clean)?),
        Some(_) => return Err(SourceError::Ours(path.to_path_buf())),
        None => None,
    };
    let node_id = meta.as_ref().map_or(-1, |meta| i64::from(meta.node_id));
    let mut source = Source { meta, is_clean, partitions: Vec::new(), image, notes: Vec::new() };
    source.partitions = partitions(path, &entries, is_clean)?;
    source.partitions.iter_mut().for_each(|partition| partition.node_id = node_id);
    let others = entries.iter().filter(|entry| entry.is_dir && !is_partition(entry));
    source.notes = others.filter_map(passed_over).collect();
    Ok(source)
}

/// The partitions of a log directory but that of the metadata, with what its checkpoints say of them.
pub(super) fn partitions(path: &Path, entries: &[Entry], is_clean: bool) -> Result<Vec<FoundPartition>, SourceError> {
    let recovery_points = offsets(path, "recovery-point-offset-checkpoint")?;
    let high_watermarks = offsets(path, "replication-offset-checkpoint")?;
    let log_starts = offsets(path, "log-start-offset-checkpoint")?;
    let mut partitions = Vec::new();
    for entry in entries.iter().filter(|entry| entry.is_dir && !METADATA_LOGS.contains(&entry.name.as_str())) {
        let Some((topic, partition)) = partition_dir(&entry.name) else { continue };
        let key = (topic.to_owned(), partition);
        let mut found = partition_in(entry, topic, partition, is_clean)?;
        found.recovery_point = recovery_points.get(&key).copied();
        found.high_watermark = high_watermarks.get(&key).copied();
        found.log_start = log_starts.get(&key).copied();
        partitions.push(found);
    }
    Ok(partitions)
}

/// Kafka's quorum keeps its state beside its log; ours has none.
pub(super) fn is_kafkas(dir: &Path) -> Result<bool, FileError> {
    let entries = files::list(dir)?;
    let is_quorums =
        |entry: &Entry| matches!(FileKind::of(&entry.name), FileKind::QuorumState | FileKind::MetadataSnapshot { .. });
    Ok(entries.iter().any(is_quorums))
}

pub(super) fn offsets(dir: &Path, name: &str) -> Result<Offsets, SourceError> {
    let path = dir.join(name);
    let Some(bytes) = files::small(&path)? else { return Ok(Offsets::new()) };
    let entries = checkpoint_entries(&bytes).map_err(|reason| SourceError::BadFile { path, reason })?;
    Ok(entries.into_iter().map(|(topic, partition, offset)| ((topic, partition), offset)).collect())
}

fn passed_over(entry: &Entry) -> Option<String> {
    let why = if entry.name.ends_with("-delete") {
        "its topic was being deleted"
    } else if entry.name.ends_with("-stray") {
        "Kafka had set it aside"
    } else if entry.name.ends_with("-future") {
        "it was being moved to another directory, and the one it comes from is whole"
    } else if entry.name == "lost+found" {
        return None;
    } else {
        "it is no folder of a partition"
    };
    Some(format!("{} stays: {why}", entry.path.display()))
}

fn partition_in(entry: &Entry, topic: &str, partition: i32, is_clean: bool) -> Result<FoundPartition, SourceError> {
    let (mut id, mut latest_epoch, mut wanted) = (None, 0, Vec::new());
    let entries = files::list(&entry.path)?;
    let last = entries.iter().filter_map(|entry| match FileKind::of(&entry.name) {
        FileKind::Segment { base } => Some(base),
        _ => None,
    });
    let last = last.max().unwrap_or(0);
    for file in entries.into_iter().filter(|entry| !entry.is_dir) {
        let bad = |reason| SourceError::BadFile { path: file.path.clone(), reason };
        let bytes = || files::small(&file.path).map(Option::unwrap_or_default);
        let copied = match FileKind::of(&file.name) {
            FileKind::PartitionMetadata => {
                id = Some(topic_id_of(&bytes()?).map_err(bad)?);
                false
            }
            FileKind::LeaderEpochs => {
                let starts = epoch_starts(&bytes()?).map_err(bad)?;
                latest_epoch = starts.iter().map(|start| start.epoch).max().unwrap_or(0);
                true
            }
            FileKind::Segment { .. } | FileKind::TxnIndex { .. } | FileKind::ProducerSnapshot { .. } => true,
            // Of a segment that was being written, they are as large as they may become, and are made anew.
            FileKind::OffsetIndex { base } | FileKind::TimeIndex { base } => is_clean || base < last,
            FileKind::Leftover { suffix } => suffix == "swap" || suffix == "cleaned",
            _ => false,
        };
        if copied {
            wanted.push(FileToCopy { name: file.name, path: file.path, len: file.len });
        }
    }
    Ok(FoundPartition {
        topic: topic.to_owned(),
        partition,
        path: entry.path.clone(),
        id: id.filter(|id| !id.is_nil()),
        node_id: -1,
        bytes: wanted.iter().map(|file| file.len).sum(),
        files: wanted,
        recovery_point: None,
        log_start: None,
        high_watermark: None,
        latest_epoch,
    })
}
