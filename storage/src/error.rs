//! Errors of the storage crate: one enum per operation, each with the data its message needs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A failure of the disk below a log, or damage found on it.
///
/// It is `Clone`, because one failed sync answers every append that waited for it, and because the first failure of a
/// log directory is the answer to everything asked of that directory afterwards.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// A file operation failed. A failed write or sync has taken the log directory offline.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: "write", "sync", "map".
        operation: &'static str,
        /// The file or directory concerned.
        path: Arc<Path>,
        /// What the system answered.
        source: Arc<io::Error>,
    },
    /// Bytes that had been safe on this disk cannot be what was written. Nothing was cut, the file stays as found. A log
    /// in which a start found it takes no appends until it is repaired.
    #[error(
        "{} is damaged at byte {position}: {reason}; what is sound is served, \
         restore the file from a copy or delete the partition", path.display()
    )]
    Corrupt {
        /// The damaged file.
        path: Arc<Path>,
        /// Where the damage begins.
        position: u64,
        /// What is wrong there.
        reason: Arc<str>,
    },
    /// The partition was deleted while the caller still held its log.
    #[error("partition {topic}-{partition} was deleted")]
    Deleted {
        /// Topic of the deleted log.
        topic: Arc<str>,
        /// Partition of the deleted log.
        partition: i32,
    },
    /// The log was moved to another log directory while the caller still held it: what is asked of it must be asked there.
    #[error("partition {topic}-{partition} was moved to another log directory")]
    Moved {
        /// Topic of the log.
        topic: Arc<str>,
        /// Partition of the log.
        partition: i32,
    },
    /// The end of the log was cut off while it was being copied: the copy may hold what the log no longer does.
    #[error("partition {topic}-{partition} was truncated while it was copied")]
    Truncated {
        /// Topic of the log.
        topic: Arc<str>,
        /// Partition of the log.
        partition: i32,
    },
    /// A log of that name is there already.
    #[error("partition directory {} exists already", path.display())]
    Exists {
        /// The directory in the way.
        path: Arc<Path>,
    },
    /// A topic name that cannot be a directory of its own.
    #[error("topic name {name:?} cannot name a partition directory")]
    BadName {
        /// The name refused.
        name: String,
    },
}

impl StorageError {
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> StorageError {
        StorageError::Io { operation, path: Arc::from(path), source: Arc::new(source) }
    }

    /// What the owner of the disk can do about it, as the end of a sentence; empty where the message says it itself.
    pub fn remedy(&self) -> &'static str {
        match self.io_kind() {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                "; the disk is full: free some space, or choose a data directory on another one"
            }
            Some(io::ErrorKind::PermissionDenied) => {
                "; the user who runs the broker must be able to read and write it: change its owner, or choose another \
                 data directory"
            }
            Some(io::ErrorKind::ReadOnlyFilesystem) => {
                "; its file system is mounted read-only: mount it for writing, or choose another data directory"
            }
            _ => "",
        }
    }

    /// Whether the disk or the owner's share of it is full: the operation left things as they were, and goes on by
    /// itself once there is room. A sync that fails for it is a failed sync all the same.
    pub fn is_full_disk(&self) -> bool {
        matches!(self, StorageError::Io { operation, .. } if *operation != "sync")
            && matches!(self.io_kind(), Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// What kind of system error it was, where it was one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            StorageError::Io { source, .. } => Some(source.kind()),
            StorageError::Corrupt { .. }
            | StorageError::Deleted { .. }
            | StorageError::Moved { .. }
            | StorageError::Truncated { .. }
            | StorageError::Exists { .. }
            | StorageError::BadName { .. } => None,
        }
    }
}

/// Why a log directory could not be opened. Each message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another broker in this one, has it.
    #[error("data directory {} is in use by another broker; stop that one, or choose another directory", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// `meta.properties` names another cluster.
    #[error(
        "data directory {} belongs to cluster {found}, this broker is of cluster {expected}; \
         set the right cluster id, or choose another directory", path.display()
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// The id in its meta.properties.
        found: String,
        /// The id asked for.
        expected: String,
    },
    /// `meta.properties` names another node.
    #[error(
        "data directory {} belongs to node.id {found}, this broker has node.id {expected}; \
         set node.id={found}, or choose another directory", path.display()
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// The id in its meta.properties.
        found: i32,
        /// The id asked for.
        expected: i32,
    },
    /// The directory is Apache Kafka's, whose metadata is in another form. Nothing was changed.
    #[error(
        "data directory {} is Apache Kafka's: {found} holds its metadata, which this broker does not read. \
         Stop that broker and take its topics over into a new directory: \
         jackdaw log import --from {} --data-dir NEW_DIR; then serve NEW_DIR", path.display(), path.display()
    )]
    KafkasMetadata {
        /// The directory.
        path: PathBuf,
        /// What shows it.
        found: &'static str,
    },
    /// Partitions are there that the metadata may not name yet.
    #[error(
        "an import into data directory {} was interrupted; run `jackdaw log import` into it again, \
         which first undoes or completes that one", path.display()
    )]
    UnfinishedImport {
        /// The directory.
        path: PathBuf,
    },
    /// A small file of the directory does not read as what it should be.
    #[error("cannot understand {}: {reason}; restore it from a copy, or remove it if you know what it held", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk refused.
    #[error("{_0}{remedy}", remedy = _0.remedy())]
    Storage(#[from] StorageError),
}

/// Why one batch was not appended. The others of the same call are not concerned, unless it is `Storage`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The batch does not follow the last one of its producer.
    #[error("producer {producer_id} epoch {epoch}: sequence {sequence} does not follow {last_sequence} (out of order)")]
    OutOfOrderSequence {
        /// Producer id of the batch.
        producer_id: i64,
        /// Epoch of the batch.
        epoch: i16,
        /// First sequence of the batch.
        sequence: i32,
        /// Last sequence the log knows; -1 when none.
        last_sequence: i32,
    },
    /// The producer has been replaced by one of a newer epoch.
    #[error("producer {producer_id}: epoch {epoch} is older than {current}, which the log has seen")]
    InvalidProducerEpoch {
        /// Producer id of the batch.
        producer_id: i64,
        /// Epoch of the batch.
        epoch: i16,
        /// Epoch the log knows.
        current: i16,
    },
    /// A plain batch from a producer whose transaction is open.
    #[error("producer {producer_id} wrote a batch outside its open transaction")]
    InvalidTxnState {
        /// Producer id of the batch.
        producer_id: i64,
    },
    /// A marker written by a transaction coordinator that has been replaced.
    #[error("transaction marker of coordinator epoch {epoch}, but {current} has been seen")]
    CoordinatorFenced {
        /// Epoch of the marker.
        epoch: i32,
        /// Epoch the log knows.
        current: i32,
    },
    /// A timestamp outside what `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms` allow.
    #[error("timestamp {timestamp} is outside {earliest}..={latest}")]
    InvalidTimestamp {
        /// The offending timestamp, in ms.
        timestamp: i64,
        /// Earliest allowed, in ms.
        earliest: i64,
        /// Latest allowed, in ms.
        latest: i64,
    },
    /// Larger than `max.message.bytes`.
    #[error("batch of {size} bytes is larger than max.message.bytes={max}")]
    TooLarge {
        /// Size of the batch, head included.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// Larger than a whole segment.
    #[error("batch of {size} bytes is larger than segment.bytes={max}")]
    LargerThanSegment {
        /// Size of the batch, head included.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// A batch that a client may not write.
    #[error("invalid batch: {reason}")]
    InvalidRecord {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The one who appends leads (or follows a leader) of an epoch that has ended: see [`Log::fence`](crate::Log::fence).
    #[error("leader epoch {epoch} has ended: the partition is in epoch {current}")]
    Fenced {
        /// Epoch of the one who appends.
        epoch: i32,
        /// Epoch that the log has been told of.
        current: i32,
    },
    /// A batch of the leader that does not go on where this log ends.
    #[error("the leader's batch begins at offset {base_offset}, this log ends at {end}")]
    NotNext {
        /// First offset of the batch.
        base_offset: i64,
        /// Log end offset.
        end: i64,
    },
    /// A batch of the leader whose epoch is older than that of the records before it.
    #[error("the leader's batch at offset {base_offset} has leader epoch {epoch}, the records before it have {latest}")]
    EpochFalls {
        /// First offset of the batch.
        base_offset: i64,
        /// Its leader epoch.
        epoch: i32,
        /// That of the records before.
        latest: i32,
    },
    /// The disk failed; nothing of the call that had not been answered before is in the log.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a read gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The offset is not one of the log.
    #[error("offset {offset} is outside {start}..={end}")]
    OutOfRange {
        /// The offset asked for.
        offset: i64,
        /// Log start offset.
        start: i64,
        /// Log end offset.
        end: i64,
    },
    /// The disk failed, or the range is quarantined.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why records were not deleted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeleteRecordsError {
    /// Above the high watermark, or negative.
    #[error("cannot delete records before offset {offset}: the high watermark is {high_watermark}")]
    OutOfRange {
        /// The offset asked for.
        offset: i64,
        /// The bound.
        high_watermark: i64,
    },
    /// The disk failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
