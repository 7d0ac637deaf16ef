//! Where the quorum keeps its files, and the metadata log that stood in its place in earlier releases: `__cluster_metadata-0`
//! in one of the log directories. An import still writes it, for a start to take over; after that it is only kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jackdaw_protocol::records::{self, Batch, BatchBuilder, BatchError, Codec};
use jackdaw_storage::{Append, AppendError, Log, LogConfig, LogDir, Origin, ReadError, StorageError};
use uuid::Uuid;

use super::catalog::{ApplyError, Catalog};
use super::names::CLUSTER_METADATA;
use super::quorum;
use super::record::{DecodeError, Record};
use crate::config::ConfigError;
use crate::dirs::FailedDir;

/// Kafka's id of the metadata topic.
const METADATA_TOPIC_ID: Uuid = Uuid::from_u128(1);
/// The one leader of a quorum of one.
const LEADER_EPOCH: i32 = 0;
/// How much is read at a time when replaying.
const READ_BYTES: usize = 1 << 20;
/// Metadata batches are not compressed, so nothing unpacks to more than it is.
const UNPACKED_CAP: usize = 1 << 30;

/// What can go wrong between metadata and its log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{_0}{remedy}", remedy = _0.remedy())]
    Storage(#[from] StorageError),
    /// What is stored does not go with the broker's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot read the metadata log: {0}")]
    Read(#[from] ReadError),
    #[error("cannot append to the metadata log: {0}")]
    Append(#[from] AppendError),
    #[error("metadata log is damaged at offset {offset}: {source}")]
    Batch { offset: i64, source: BatchError },
    #[error("metadata log is damaged at offset {offset}: {source}")]
    Records { offset: i64, source: records::DecodeError },
    #[error("metadata log gives nothing at offset {offset}, below its end {end}")]
    Nothing { offset: i64, end: i64 },
    #[error(
        "the metadata log's record at offset {offset} was not written by this broker ({source}); \
         if the data directory is Apache Kafka's, take its topics over with jackdaw log import"
    )]
    Decode { offset: i64, source: DecodeError },
    #[error(
        "both {} and {} hold a metadata log, so they are of two brokers: take one out of log.dirs",
        first.display(), second.display()
    )]
    TwoLogs { first: PathBuf, second: PathBuf },
    /// Making a new one would make the topics of the old one anew, without their records.
    #[error(
        "the metadata log is in none of the log directories that can be read: {reasons}. It is in the directory that came first in \
         log.dirs when the data was made: make that one readable again, or start without it on other directories"
    )]
    Absent { reasons: String },
    #[error("metadata log does not add up at offset {offset}: {source}")]
    Apply { offset: i64, source: ApplyError },
    /// This node's part in the metadata quorum cannot begin.
    #[error(transparent)]
    Quorum(Box<jackdaw_quorum::StartError>),
    /// The quorum did not carry out a change, or may not have.
    #[error(transparent)]
    Propose(jackdaw_quorum::ProposeError),
    #[error("the change was not carried out: {0}")]
    Refused(String),
    #[error("this node is stopping")]
    Stopped,
    #[error("this node, alone in its quorum, does not lead it after {} s: its disk may be stuck", within.as_secs())]
    NoLeader { within: std::time::Duration },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// Its topics would be lost to the cluster, or the cluster's to it.
    #[error(
        "{} holds the metadata of a node that was alone, written by an earlier release: start it once alone (with itself only in \
         controller.quorum.voters), then add the other controllers with jackdaw cluster add-voter", path.display()
    )]
    WasAlone { path: PathBuf },
}

/// The metadata log of an earlier release, or of an import.
pub struct Store {
    log: Arc<Log>,
}

/// Policy of the metadata log: nothing is refused for its size or time, and nothing of it is ever deleted.
pub fn log_config() -> LogConfig {
    LogConfig {
        max_message_bytes: i32::MAX as usize,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        delete: false,
        ..LogConfig::default()
    }
}

/// Where this node keeps the quorum's files, and the metadata log of an earlier release, if it has one to be taken over.
pub struct Place {
    pub folder: PathBuf,
    pub earlier: Option<Store>,
}

impl Place {
    /// Finds the folder among `dirs`, or chooses one; `metadata` is `metadata.log.dir`.
    ///
    /// # Errors
    /// There are two, or the one that there was is not here.
    pub fn find(metadata: Option<&Path>, dirs: &[Arc<LogDir>], failed: &[FailedDir]) -> Result<Place, StoreError> {
        if let Some(dir) = metadata.filter(|metadata| dirs.iter().all(|dir| dir.path() != *metadata)) {
            let folder = quorum::folder(dir);
            let earlier = if folder.is_dir() { None } else { Store::find(dirs)?.map(|(_, log)| log) };
            return Ok(Place { folder, earlier });
        }
        let has_folder = |dir: &&Arc<LogDir>| quorum::folder(dir.path()).is_dir();
        let mut found = dirs.iter().filter(has_folder);
        if let (Some(first), second) = (found.next(), found.next()) {
            if let Some(second) = second {
                return Err(StoreError::TwoLogs { first: first.path().to_owned(), second: second.path().to_owned() });
            }
            return Ok(Place { folder: quorum::folder(first.path()), earlier: None });
        }
        let preferred = metadata.and_then(|metadata| dirs.iter().find(|dir| dir.path() == metadata));
        match Store::find(dirs)? {
            Some((dir, log)) => {
                let dir = preferred.unwrap_or(&dir);
                Ok(Place { folder: quorum::folder(dir.path()), earlier: Some(log) })
            }
            None if !failed.is_empty() || is_part_of_something(dirs) => Err(absent(dirs, failed)),
            None => Ok(Place { folder: quorum::folder(preferred.unwrap_or(&dirs[0]).path()), earlier: None }),
        }
    }
}

impl Store {
    /// The metadata log among those loaded from `dirs`.
    fn find(dirs: &[Arc<LogDir>]) -> Result<Option<(Arc<LogDir>, Store)>, StoreError> {
        let of_dir =
            |dir: &Arc<LogDir>| dir.logs().into_iter().find(|log| is_metadata(log)).map(|log| (dir.clone(), log));
        let mut found: Vec<_> = dirs.iter().filter_map(of_dir).collect();
        if let [(first, _), (second, _), ..] = &found[..] {
            return Err(StoreError::TwoLogs { first: first.path().to_owned(), second: second.path().to_owned() });
        }
        let Some((dir, log)) = found.pop() else { return Ok(None) };
        log.update_config(log_config());
        log.set_high_watermark(log.log_end_offset());
        Ok(Some((dir, Store { log })))
    }

    /// The metadata log in the directory; made if it is not there.
    pub fn open(dir: &Arc<LogDir>) -> Result<Store, StoreError> {
        if let Some((_, store)) = Store::find(std::slice::from_ref(dir))? {
            return Ok(store);
        }
        Ok(Store { log: dir.create(CLUSTER_METADATA, METADATA_TOPIC_ID, 0, log_config())? })
    }

    /// Applies all stored records in order.
    pub fn replay(&self, catalog: &mut Catalog) -> Result<(), StoreError> {
        self.read(|offset, record| catalog.apply(&record).map_err(|source| StoreError::Apply { offset, source }))
    }

    /// All stored records in order; they add up.
    pub fn records(&self) -> Result<Vec<Record>, StoreError> {
        let (mut records, mut catalog) = (Vec::new(), Catalog::default());
        self.read(|offset, record| {
            catalog.apply(&record).map_err(|source| StoreError::Apply { offset, source })?;
            records.push(record);
            Ok(())
        })?;
        Ok(records)
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.log.path().to_owned()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.log.log_end_offset() == self.log.log_start_offset()
    }

    fn read(&self, mut take: impl FnMut(i64, Record) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let end = self.log.log_end_offset();
        let mut offset = self.log.log_start_offset();
        while offset < end {
            let slice = self.log.read(offset, READ_BYTES, true, end)?;
            let started_at = offset;
            for batch in Batch::split_all(slice.bytes) {
                let batch = batch.map_err(|source| StoreError::Batch { offset, source })?;
                read_batch(&batch, &mut take)?;
                offset = batch.header().last_offset() + 1;
            }
            if offset == started_at {
                // The log promises at least one whole batch below its end.
                return Err(StoreError::Nothing { offset, end });
            }
        }
        Ok(())
    }

    /// Appends `records` as one batch and returns when they are on the disk.
    pub fn append(&self, records: &[Record], now_ms: i64) -> Result<(), StoreError> {
        let mut builder = BatchBuilder::new(Codec::None);
        for record in records {
            builder.push(now_ms, None, Some(&record.encode()), &[]);
        }
        let offset = self.log.log_end_offset();
        let batch = Batch::check(builder.build()).map_err(|source| StoreError::Batch { offset, source })?;
        let append = Append { batch: &batch, leader_epoch: LEADER_EPOCH, origin: Origin::Coordinator };
        let mut results = Vec::with_capacity(1);
        self.log.append(&[append], now_ms, &mut results);
        for result in results {
            result?;
        }
        let durable = self.log.flush()?;
        self.log.set_high_watermark(durable);
        Ok(())
    }
}

/// A directory is empty and another is not: it may be the mount point of a disk that is not mounted.
fn is_part_of_something(dirs: &[Arc<LogDir>]) -> bool {
    dirs.iter().any(|dir| dir.is_fresh()) && dirs.iter().any(|dir| !dir.logs().is_empty())
}

fn absent(dirs: &[Arc<LogDir>], failed: &[FailedDir]) -> StoreError {
    let empty = dirs.iter().filter(|dir| dir.is_fresh()).map(|dir| format!("{} is empty", dir.path().display()));
    let failed = failed.iter().map(|failed| failed.reason.clone());
    StoreError::Absent { reasons: failed.chain(empty).collect::<Vec<_>>().join("; ") }
}

/// Whether this log is the metadata log.
pub fn is_metadata(log: &Log) -> bool {
    log.topic() == CLUSTER_METADATA
}

fn read_batch(batch: &Batch, take: &mut impl FnMut(i64, Record) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let offset = batch.header().base_offset();
    let decoded = records::records(batch, UNPACKED_CAP).map_err(|source| StoreError::Records { offset, source })?;
    for record in decoded.iter() {
        let record = record.map_err(|source| StoreError::Records { offset, source })?;
        let offset = decoded.offset(&record);
        let stored = record.value.unwrap_or_default();
        take(offset, Record::decode(stored).map_err(|source| StoreError::Decode { offset, source })?)?;
    }
    Ok(())
}
