//! What storage lets its caller choose: policy of one log, limits of one log directory.

use std::sync::Arc;

use crate::disk::FileSystem;

/// Who says when a record was written: `message.timestamp.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer; timestamps too far from the broker's clock are refused.
    CreateTime,
    /// The broker, at append.
    LogAppendTime,
}

/// Policy of one log. Names are those of Kafka's topic configs; times are milliseconds, sizes are bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a batch that would grow the active segment beyond it starts the next segment.
    pub segment_bytes: u32,
    /// `segment.ms`: a batch that is this much younger than the first one of the active segment starts the next.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: `segment_ms` is shortened by up to this much, so that not all partitions roll at once.
    pub segment_jitter_ms: i64,
    /// `index.interval.bytes`: one index entry for about so many bytes of batches.
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`: a segment whose offset or time index reaches it is rolled.
    pub segment_index_bytes: u32,
    /// `max.message.bytes`: the largest batch taken, head included.
    pub max_message_bytes: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`; `i64::MAX` for no bound.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`; `i64::MAX` for no bound.
    pub timestamp_after_max_ms: i64,
    /// `producer.id.expiration.ms`: how long an idle producer is remembered.
    pub producer_id_expiration_ms: i64,
    /// `preallocate`: reserve a whole segment's blocks when it is created instead of growing by steps.
    pub preallocate: bool,
    /// `cleanup.policy` names delete: old segments go by time and size.
    pub delete: bool,
    /// `cleanup.policy` names compact: of each key, the last record stays.
    pub compact: bool,
    /// `retention.ms`; -1 for no bound.
    pub retention_ms: i64,
    /// `retention.bytes`; -1 for no bound.
    pub retention_bytes: i64,
    /// `file.delete.delay.ms`: how long the files of what was deleted stay on the disk, renamed.
    pub file_delete_delay_ms: i64,
    /// `delete.retention.ms`: how long a tombstone stays readable after the compaction that first saw it.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: records younger than this are not compacted.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: a record is compacted when it is this old, whatever the dirty ratio.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`: from this share of uncompacted bytes on, compaction pays.
    pub min_cleanable_dirty_ratio: f64,
}

impl LogConfig {
    /// The age at which a segment ends: `segment_ms`, but no more than a compacted log may wait for compaction, which never
    /// touches the active segment.
    pub fn max_segment_ms(&self) -> i64 {
        if self.compact && self.max_compaction_lag_ms > 0 {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }
}

impl Default for LogConfig {
    /// Kafka 4's defaults.
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            segment_jitter_ms: 0,
            index_interval_bytes: 4096,
            segment_index_bytes: 10 << 20,
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            producer_id_expiration_ms: 86_400_000,
            preallocate: false,
            delete: true,
            compact: false,
            retention_ms: 7 * 24 * 3600 * 1000,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            delete_retention_ms: 86_400_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
        }
    }
}

/// How to open a log directory.
#[derive(Clone)]
pub struct LogDirOptions {
    /// `node.id`; a directory of another node is refused.
    pub node_id: i32,
    /// The cluster's id: a directory of another cluster is refused. `None` takes the directory's own, or makes one for
    /// a fresh directory.
    pub cluster_id: Option<String>,
    /// `num.recovery.threads.per.data.dir`: how many partitions are loaded at once.
    pub recovery_threads: usize,
    /// How many memory maps may be kept; the least recently read give way. Linux allows about 65,000 a process.
    pub map_budget: usize,
    /// How many files may be kept open for appends; the longest idle give way.
    pub descriptor_budget: usize,
    /// Stands in for the system's files: for tests of what happens when disks fail. `None` is the system itself.
    pub faults: Option<Arc<dyn FileSystem>>,
    /// The caller brings partitions and metadata from elsewhere together, and left the mark that nobody else may open
    /// the directory meanwhile: see [`crate::UNFINISHED_IMPORT`].
    pub importing: bool,
}

impl LogDirOptions {
    /// Defaults for one node.
    pub fn new(node_id: i32) -> LogDirOptions {
        LogDirOptions {
            node_id,
            cluster_id: None,
            recovery_threads: 2,
            map_budget: 16 * 1024,
            descriptor_budget: 4096,
            faults: None,
            importing: false,
        }
    }
}
