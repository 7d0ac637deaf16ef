//! The settings of one topic: its own where set, else the broker's.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use jackdaw_storage::{LogConfig, TimestampType};

use super::broker::Config;
use super::definition;
use super::error::ConfigError;
use super::size_rule;
use super::table;
use super::values::Values;
use crate::replication::throttle::Throttled;

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
    /// Replicas that are bounded while they catch up: here, what they receive; below, what is sent to them.
    pub follower_replication_throttled_replicas: Throttled,
    pub flush_messages: i64,
    pub flush_ms: i64,
    pub index_interval_bytes: u32,
    pub leader_replication_throttled_replicas: Throttled,
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
    /// `retention.hold.groups`: dropped is only what these have consumed, within the two bounds that follow.
    pub retention_hold_groups: Vec<String>,
    pub retention_hold_max_bytes: u64,
    pub retention_hold_max_ms: i64,
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
    shared_log: Derived,
}

/// What follows from the other settings: made anew for a copy, which may be changed, and no part of a comparison.
#[derive(Debug, Default)]
struct Derived(OnceLock<Arc<LogConfig>>);

impl Clone for Derived {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Derived {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl TopicConfig {
    /// The topic's own settings over the broker's. Values that do not parse were refused when they were set;
    /// should one turn up all the same, the broker's value holds.
    pub fn resolve(overrides: &BTreeMap<String, String>, broker: &Config) -> Self {
        Self::read(overrides, &broker.values)
    }

    /// [`TopicConfig::log`], once for all partitions of the topic.
    #[must_use]
    pub fn shared_log(&self) -> Arc<LogConfig> {
        self.shared_log.0.get_or_init(|| Arc::new(self.log())).clone()
    }

    /// What the log itself needs to know.
    #[must_use]
    pub fn log(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.segment_bytes,
            segment_ms: self.segment_ms,
            segment_jitter_ms: self.segment_jitter_ms,
            index_interval_bytes: self.index_interval_bytes,
            segment_index_bytes: self.segment_index_bytes,
            max_message_bytes: self.max_message_bytes,
            timestamp_type: self.message_timestamp_type,
            timestamp_before_max_ms: self.message_timestamp_before_max_ms,
            timestamp_after_max_ms: self.message_timestamp_after_max_ms,
            producer_id_expiration_ms: self.producer_id_expiration_ms,
            preallocate: self.preallocate,
            delete: self.delete,
            compact: self.compact,
            retention_ms: self.retention_ms,
            retention_bytes: self.retention_bytes,
            file_delete_delay_ms: self.file_delete_delay_ms,
            delete_retention_ms: self.delete_retention_ms,
            min_compaction_lag_ms: self.min_compaction_lag_ms,
            max_compaction_lag_ms: self.max_compaction_lag_ms,
            min_cleanable_dirty_ratio: self.min_cleanable_dirty_ratio,
        }
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
        let throttled =
            |name: &str| get(name).map_or(Throttled::None, |value| Throttled::parse(&definition::list(&value)));
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
            follower_replication_throttled_replicas: throttled("follower.replication.throttled.replicas"),
            flush_messages: long("flush.messages"),
            flush_ms: long("flush.ms"),
            index_interval_bytes: unsigned("index.interval.bytes"),
            leader_replication_throttled_replicas: throttled("leader.replication.throttled.replicas"),
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
            retention_hold_groups: hold_groups(get(table::RETENTION_HOLD_GROUPS).as_deref()),
            retention_hold_max_bytes: u64::try_from(long(table::RETENTION_HOLD_MAX_BYTES)).unwrap_or(0),
            retention_hold_max_ms: long(table::RETENTION_HOLD_MAX_MS),
            retention_ms: long("retention.ms"),
            segment_bytes: own_segment_bytes(overrides).unwrap_or_else(|| unsigned("segment.bytes")),
            segment_index_bytes: unsigned("segment.index.bytes"),
            segment_jitter_ms: long("segment.jitter.ms"),
            segment_ms: long("segment.ms"),
            unclean_leader_election_enable: flag("unclean.leader.election.enable"),
            write_caching: flag(table::WRITE_CACHING),
            producer_id_expiration_ms: broker.long("producer.id.expiration.ms"),
            shared_log: Derived::default(),
        }
    }
}

/// Kafka's own tests roll tiny segments by this hidden setting, past the lower bound of `segment.bytes`.
fn own_segment_bytes(overrides: &BTreeMap<String, String>) -> Option<u32> {
    overrides.get("internal.segment.bytes").and_then(|value| value.trim().parse().ok())
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

fn hold_groups(value: Option<&str>) -> Vec<String> {
    let names = definition::list(value.unwrap_or_default());
    names.into_iter().filter(|name| !name.is_empty()).map(str::to_owned).collect()
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

/// Checks all settings of a topic, at creation or after a change: each by itself, against each other, and by the
/// size rule.
///
/// # Errors
/// The first thing wrong, in the order of names.
pub fn validate_all(topic: &str, overrides: &BTreeMap<String, String>, broker: &Config) -> Result<(), ConfigError> {
    for (name, value) in overrides {
        validate(name, value)?;
    }
    let config = TopicConfig::resolve(overrides, broker);
    let (least, most) = (config.min_compaction_lag_ms, config.max_compaction_lag_ms);
    if least > most {
        return Err(ConfigError::new(
            "min.compaction.lag.ms",
            overrides.get("min.compaction.lag.ms").map(String::as_str),
            format!("Topic {topic}: min.compaction.lag.ms={least} must not be more than max.compaction.lag.ms={most}."),
        ));
    }
    if overrides.get("remote.storage.enable").is_some_and(|value| value.trim().eq_ignore_ascii_case("true")) {
        return Err(ConfigError::new(
            "remote.storage.enable",
            Some("true"),
            format!(
                "Topic {topic}: remote.storage.enable=true asks for tiered storage, which the broker does not have. \
                 Leave it false; all data stays on the brokers' disks."
            ),
        ));
    }
    size_rule::check_topic(topic, config.max_message_bytes, broker)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::config::ConfigSources;

    fn broker(overrides: &[(&str, &str)]) -> Config {
        let overrides = overrides.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::load(&ConfigSources { overrides, ..ConfigSources::default() }).unwrap().config
    }

    fn own(overrides: &[(&str, &str)]) -> BTreeMap<String, String> {
        overrides.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_topic_without_settings_has_kafkas_defaults() {
        let topic = TopicConfig::resolve(&BTreeMap::new(), &Config::default());
        assert_eq!(topic.retention_ms, 604_800_000);
        assert_eq!(topic.segment_ms, 604_800_000);
        assert_eq!(topic.flush_ms, i64::MAX);
        assert_eq!(topic.max_message_bytes, 1_048_588);
        assert!(topic.delete && !topic.compact && !topic.write_caching);
        assert_eq!(topic.log(), LogConfig::default());
    }

    #[test]
    fn the_finer_unit_of_the_brokers_retention_wins_over_the_coarser() {
        let hours = broker(&[("log.retention.hours", "1")]);
        assert_eq!(TopicConfig::resolve(&BTreeMap::new(), &hours).retention_ms, 3_600_000);
        let minutes = broker(&[("log.retention.hours", "1"), ("log.retention.minutes", "2")]);
        assert_eq!(TopicConfig::resolve(&BTreeMap::new(), &minutes).retention_ms, 120_000);
        let ms = broker(&[("log.retention.hours", "1"), ("log.retention.minutes", "2"), ("log.retention.ms", "3")]);
        assert_eq!(TopicConfig::resolve(&BTreeMap::new(), &ms).retention_ms, 3);
        let forever = broker(&[("log.retention.hours", "-1")]);
        assert_eq!(TopicConfig::resolve(&BTreeMap::new(), &forever).retention_ms, -1);
    }

    #[test]
    fn a_topics_own_setting_wins_over_the_brokers() {
        let broker =
            broker(&[("log.write.caching", "true"), ("min.insync.replicas", "2"), ("log.cleanup.policy", "compact")]);
        let topic =
            TopicConfig::resolve(&own(&[("write.caching", "FALSE"), ("cleanup.policy", "compact, delete")]), &broker);
        assert!(!topic.write_caching && topic.compact && topic.delete);
        assert_eq!(topic.min_insync_replicas, 2);
        assert!(TopicConfig::resolve(&BTreeMap::new(), &broker).write_caching);
    }

    #[test]
    fn a_stored_value_that_no_longer_holds_yields_to_the_brokers() {
        let topic = TopicConfig::resolve(&own(&[("retention.ms", "soon"), ("segment.bytes", "1")]), &Config::default());
        assert_eq!((topic.retention_ms, topic.segment_bytes), (604_800_000, 1 << 30));
    }

    #[test]
    fn an_unknown_setting_is_refused_with_the_nearest_known_one() {
        let error = validate("retention.mss", "1").unwrap_err().to_string();
        assert_eq!(error, "Unknown topic config name: retention.mss. Did you mean retention.ms?");
        let error = validate("zzz", "1").unwrap_err().to_string();
        assert_eq!(error, "Unknown topic config name: zzz.");
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_with_what_is_allowed() {
        for (name, value, allowed) in [
            ("segment.bytes", "1048575", "from 1048576 to 2147483647"),
            ("retention.ms", "-2", "from -1 to 9223372036854775807"),
            ("cleanup.policy", "delete,delete", "delete"),
            ("cleanup.policy", "shred", "compact, delete"),
            ("compression.type", "lzma", "zstd"),
            ("compression.gzip.level", "0", "-1"),
            ("min.cleanable.dirty.ratio", "1.5", "from 0 to 1"),
            ("preallocate", "yes", "true or false"),
            ("min.insync.replicas", "0", "from 1"),
            ("max.message.bytes", "many", "whole number"),
            ("retention.hold.max.ms", "-1", "from 0 to 9223372036854775807"),
            ("retention.hold.max.bytes", "-1", "from 0 to 9223372036854775807"),
            ("leader.replication.throttled.replicas", "0-1", "0:1,1:2"),
        ] {
            let error = validate(name, value).unwrap_err();
            assert!(error.to_string().contains(allowed), "{error}");
            assert_eq!((error.key.as_str(), error.value.as_deref()), (name, Some(value)));
        }
        for (name, value) in [
            ("cleanup.policy", ""),
            ("compression.gzip.level", "-1"),
            ("leader.replication.throttled.replicas", "*"),
            ("follower.replication.throttled.replicas", "0:1,12:3"),
            ("retention.bytes", "-1"),
            ("write.caching", "true"),
            ("retention.hold.groups", "billing, audit"),
            ("retention.hold.max.ms", "0"),
        ] {
            validate(name, value).unwrap();
        }
    }

    #[test]
    fn compaction_lags_in_the_wrong_order_are_refused() {
        let lags = own(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "9")]);
        assert!(
            validate_all("t", &lags, &Config::default()).unwrap_err().to_string().contains("min.compaction.lag.ms=10")
        );
    }

    #[test]
    fn the_size_rule_holds_for_a_topic_that_inherits_and_one_that_does_not() {
        let broker = broker(&[("replica.fetch.max.bytes", "1048576")]);
        validate_all("t", &BTreeMap::new(), &broker).unwrap();
        let error = validate_all("t", &own(&[("max.message.bytes", "1048577")]), &broker).unwrap_err().to_string();
        assert!(error.contains("Topic t") && error.contains("replica.fetch.max.bytes=1048576"), "{error}");
    }

    #[test]
    fn tiered_storage_is_refused_rather_than_ignored() {
        let error = validate_all("t", &own(&[("remote.storage.enable", "true")]), &Config::default()).unwrap_err();
        assert!(error.to_string().contains("tiered storage"), "{error}");
    }
}
