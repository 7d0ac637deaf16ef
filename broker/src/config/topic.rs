//! The settings of one topic: its own where set, else the broker's.

use std::collections::BTreeMap;

use super::broker::Config;
use super::definition;
use super::error::ConfigError;
use super::table;
use super::values::Values;

/// How stored batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent them.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Whose clock stamps a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// The settings in force for one topic. Times are milliseconds, sizes bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// The topic's own settings, as given.
    pub overrides: BTreeMap<String, String>,
    /// `cleanup.policy` names compact.
    pub compact: bool,
    /// `cleanup.policy` names delete. Neither of both: records are kept forever.
    pub delete: bool,
    pub compression_type: CompressionType,
    pub compression_gzip_level: i32,
    pub compression_lz4_level: i32,
    pub compression_zstd_level: i32,
    pub delete_retention_ms: i64,
    pub file_delete_delay_ms: i64,
    pub flush_messages: i64,
    pub flush_ms: i64,
    pub index_interval_bytes: u32,
    pub max_compaction_lag_ms: i64,
    pub max_message_bytes: usize,
    pub message_timestamp_after_max_ms: i64,
    pub message_timestamp_before_max_ms: i64,
    pub message_timestamp_type: TimestampType,
    pub min_cleanable_dirty_ratio: f64,
    pub min_compaction_lag_ms: i64,
    pub min_insync_replicas: i32,
    pub preallocate: bool,
    /// -1: no bound.
    pub retention_bytes: i64,
    /// -1: no bound.
    pub retention_ms: i64,
    pub segment_bytes: u32,
    pub segment_index_bytes: u32,
    pub segment_jitter_ms: i64,
    pub segment_ms: i64,
    pub unclean_leader_election_enable: bool,
    /// acks=all is answered from the page cache, as Kafka does, not after a sync.
    pub write_caching: bool,
    /// From the broker: how long a producer's sequence state outlives its last write.
    pub producer_id_expiration_ms: i64,
}

impl TopicConfig {
    /// The topic's own settings over the broker's. Values that do not parse were refused when they were set;
    /// should one turn up all the same, the broker's value holds.
    pub fn resolve(overrides: &BTreeMap<String, String>, broker: &Config) -> Self {
        Self::read(overrides, &broker.values)
    }

    pub(super) fn from_values(broker: &Values) -> Self {
        Self::read(&BTreeMap::new(), broker)
    }

    fn read(overrides: &BTreeMap<String, String>, broker: &Values) -> Self {
        let get = |name: &str| effective(name, overrides, broker);
        let long = |name: &str| get(name).and_then(|value| value.trim().parse::<i64>().ok()).unwrap_or_default();
        let int = |name: &str| i32::try_from(long(name)).unwrap_or(i32::MAX);
        let unsigned = |name: &str| u32::try_from(long(name)).unwrap_or(u32::MAX);
        let flag = |name: &str| get(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
        let policy = get("cleanup.policy").unwrap_or_default();
        let policy = definition::list(&policy);
        Self {
            overrides: overrides.clone(),
            compact: policy.contains(&"compact"),
            delete: policy.contains(&"delete"),
            compression_type: compression_type(get("compression.type").as_deref()),
            compression_gzip_level: int("compression.gzip.level"),
            compression_lz4_level: int("compression.lz4.level"),
            compression_zstd_level: int("compression.zstd.level"),
            delete_retention_ms: long("delete.retention.ms"),
            file_delete_delay_ms: long("file.delete.delay.ms"),
            flush_messages: long("flush.messages"),
            flush_ms: long("flush.ms"),
            index_interval_bytes: unsigned("index.interval.bytes"),
            max_compaction_lag_ms: long("max.compaction.lag.ms"),
            max_message_bytes: usize::try_from(long("max.message.bytes")).unwrap_or(0),
            message_timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
            message_timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
            message_timestamp_type: match get("message.timestamp.type").as_deref() {
                Some("LogAppendTime") => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_cleanable_dirty_ratio: get("min.cleanable.dirty.ratio").and_then(|v| v.parse().ok()).unwrap_or(0.5),
            min_compaction_lag_ms: long("min.compaction.lag.ms"),
            min_insync_replicas: int("min.insync.replicas"),
            preallocate: flag("preallocate"),
            retention_bytes: long("retention.bytes"),
            retention_ms: long("retention.ms"),
            segment_bytes: unsigned("segment.bytes"),
            segment_index_bytes: unsigned("segment.index.bytes"),
            segment_jitter_ms: long("segment.jitter.ms"),
            segment_ms: long("segment.ms"),
            unclean_leader_election_enable: flag("unclean.leader.election.enable"),
            write_caching: flag(table::WRITE_CACHING),
            producer_id_expiration_ms: broker.long("producer.id.expiration.ms"),
        }
    }
}

/// The value in force: the topic's own if valid, else that of the strongest broker setting given, else the default.
pub(super) fn effective(name: &str, overrides: &BTreeMap<String, String>, broker: &Values) -> Option<String> {
    let def = table::topic().get(name)?;
    if let Some(own) = overrides.get(name).filter(|value| def.check(value).is_ok()) {
        return Some(own.trim().to_owned());
    }
    inherited(name, broker).or_else(|| def.default.map(str::to_owned))
}

/// What the broker's settings say for a topic that says nothing.
pub(super) fn inherited(name: &str, broker: &Values) -> Option<String> {
    let synonyms = table::topic_synonyms(name);
    let given = synonyms.iter().find_map(|synonym| broker.given(synonym.name).map(|value| synonym.unit.convert(value)));
    given.or_else(|| {
        synonyms.iter().find_map(|synonym| broker.effective(synonym.name).map(|value| synonym.unit.convert(value)))
    })
}

fn compression_type(value: Option<&str>) -> CompressionType {
    match value {
        Some("uncompressed") => CompressionType::Uncompressed,
        Some("gzip") => CompressionType::Gzip,
        Some("snappy") => CompressionType::Snappy,
        Some("lz4") => CompressionType::Lz4,
        Some("zstd") => CompressionType::Zstd,
        _ => CompressionType::Producer,
    }
}

/// Checks one setting of a topic by itself.
///
/// # Errors
/// An unknown name, with the nearest known one; a value out of type or bounds, with what is allowed.
pub fn validate(name: &str, value: &str) -> Result<(), ConfigError> {
    let Some(def) = table::topic().get(name) else {
        return Err(ConfigError::unknown("topic", name, table::nearest(name, table::topic())));
    };
    def.check(value).map_err(|allowed| ConfigError::invalid(name, value, allowed))
}

impl TopicConfig {
    /// The part that storage needs.
    #[must_use]
    pub fn log(&self) -> jackdaw_storage::LogConfig {
        jackdaw_storage::LogConfig {
            segment_bytes: self.segment_bytes,
            segment_ms: self.segment_ms,
            segment_jitter_ms: self.segment_jitter_ms,
            index_interval_bytes: self.index_interval_bytes,
            segment_index_bytes: self.segment_index_bytes,
            max_message_bytes: self.max_message_bytes,
            timestamp_type: match self.message_timestamp_type {
                TimestampType::CreateTime => jackdaw_storage::TimestampType::CreateTime,
                TimestampType::LogAppendTime => jackdaw_storage::TimestampType::LogAppendTime,
            },
            timestamp_before_max_ms: self.message_timestamp_before_max_ms,
            timestamp_after_max_ms: self.message_timestamp_after_max_ms,
            producer_id_expiration_ms: self.producer_id_expiration_ms,
            preallocate: self.preallocate,
        }
    }
}
