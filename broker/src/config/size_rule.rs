//! The size rule: a follower must be able to fetch every batch that a leader accepts, so
//! `replica.fetch.max.bytes` ≥ `message.max.bytes` and ≥ every topic's `max.message.bytes`, always.
//!
//! Where `replica.fetch.max.bytes` is not set, the rule holds by itself: the value follows the largest of the others.
//! Where it is set, whatever would break the rule is refused. Kafka's own defaults break it by the 12 bytes of
//! overhead of a log entry (1048576 against 1048588), so a default `message.max.bytes` gives way by that much.

use super::broker::Config;
use super::error::ConfigError;
use super::values::Values;

pub(super) const MESSAGE_MAX_BYTES: &str = "message.max.bytes";
pub(super) const REPLICA_FETCH_MAX_BYTES: &str = "replica.fetch.max.bytes";
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";

/// What a follower asks for at least where nothing is set: Kafka's default.
const AUTOMATIC_AT_LEAST: usize = 1 << 20;

/// By how much the default of `message.max.bytes` exceeds that of `replica.fetch.max.bytes`.
const LOG_OVERHEAD: i64 = 12;

/// The default of `message.max.bytes` where `replica.fetch.max.bytes` is set just below it: that value.
pub(super) fn lowered_message_max_bytes(values: &Values) -> Option<&str> {
    let fetch = values.given(REPLICA_FETCH_MAX_BYTES)?;
    let bytes = fetch.parse::<i64>().ok()?;
    let default = default_message_max_bytes();
    (values.given(MESSAGE_MAX_BYTES).is_none() && (default - LOG_OVERHEAD..default).contains(&bytes)).then_some(fetch)
}

fn default_message_max_bytes() -> i64 {
    Values::def(MESSAGE_MAX_BYTES).and_then(|def| def.default).and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// Checks the rule between the broker's own settings.
///
/// # Errors
/// Names both settings, their values and the ways out.
pub(super) fn check_broker(values: &Values) -> Result<(), ConfigError> {
    let Some(fetch) = values.given(REPLICA_FETCH_MAX_BYTES).and_then(|v| v.parse::<i64>().ok()) else { return Ok(()) };
    let Some(message) = values.effective(MESSAGE_MAX_BYTES).and_then(|v| v.parse::<i64>().ok()) else { return Ok(()) };
    if fetch >= message {
        return Ok(());
    }
    let whose = if values.given(MESSAGE_MAX_BYTES).is_some() { "" } else { " (its default)" };
    // At run time only one of the two can change, and that one is at fault.
    let at_run_time =
        [&values.dynamic, &values.dynamic_default].iter().any(|layer| layer.contains_key(MESSAGE_MAX_BYTES));
    let key = if at_run_time { MESSAGE_MAX_BYTES } else { REPLICA_FETCH_MAX_BYTES };
    let node = values.int("node.id");
    let lower = match at_run_time {
        true => format!(
            "kafka-configs.sh --alter --entity-type brokers --entity-name {node} --add-config {MESSAGE_MAX_BYTES}={fetch}"
        ),
        false => format!("jackdaw serve --override {MESSAGE_MAX_BYTES}={fetch}"),
    };
    Err(ConfigError::new(
        key,
        values.given(key),
        format!(
            "{REPLICA_FETCH_MAX_BYTES}={fetch} of broker {node} is less than its {MESSAGE_MAX_BYTES}={message}{whose}: followers \
             could not fetch the largest batches. Start it with a larger one, jackdaw serve --override \
             {REPLICA_FETCH_MAX_BYTES}={message} (or remove the setting: it then follows by itself), or lower the other: {lower}"
        ),
    ))
}

/// Checks the rule for one topic.
///
/// # Errors
/// Names the topic, both settings, their values and the ways out.
pub fn check_topic(topic: &str, max_message_bytes: usize, broker: &Config) -> Result<(), ConfigError> {
    let Some(fetch) = broker.replica_fetch_max_bytes.filter(|fetch| *fetch < max_message_bytes) else { return Ok(()) };
    let node = broker.node_id;
    Err(ConfigError::new(
        MAX_MESSAGE_BYTES,
        Some(&max_message_bytes.to_string()),
        format!(
            "Topic {topic}: {MAX_MESSAGE_BYTES}={max_message_bytes} is more than {REPLICA_FETCH_MAX_BYTES}={fetch} of \
             broker {node}: followers could not fetch the largest batches. Set {MAX_MESSAGE_BYTES} to at most {fetch} (of a topic \
             that is there: jackdaw topic alter {topic} --config {MAX_MESSAGE_BYTES}={fetch}), or start broker {node} with jackdaw \
             serve --override {REPLICA_FETCH_MAX_BYTES}={max_message_bytes} (or without the setting: it then follows by itself)."
        ),
    ))
}

impl Config {
    /// What a follower asks for per partition: as set, else the largest of 1 MiB, `message.max.bytes` and
    /// `largest`, what other brokers and the topics in question take at most.
    pub fn effective_replica_fetch_max_bytes(&self, largest: usize) -> usize {
        self.replica_fetch_max_bytes.unwrap_or_else(|| AUTOMATIC_AT_LEAST.max(self.message_max_bytes).max(largest))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::config::ConfigSources;

    fn config(overrides: &[(&str, &str)]) -> Result<Config, String> {
        let overrides = overrides.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let sources = ConfigSources { overrides, ..ConfigSources::default() };
        Config::load(&sources).map(|loaded| loaded.config).map_err(|errors| errors.to_string())
    }

    #[test]
    fn unset_replica_fetch_max_bytes_follows_the_largest() {
        let config = config(&[("message.max.bytes", "3000000")]).unwrap();
        assert_eq!(config.replica_fetch_max_bytes, None);
        assert_eq!(config.effective_replica_fetch_max_bytes(0), 3_000_000);
        assert_eq!(config.effective_replica_fetch_max_bytes(5_000_000), 5_000_000);
        assert_eq!(Config::default().effective_replica_fetch_max_bytes(0), 1_048_588);
    }

    #[test]
    fn replica_fetch_max_bytes_below_message_max_bytes_is_refused_naming_both() {
        let error = config(&[("replica.fetch.max.bytes", "1000"), ("message.max.bytes", "2000")]).unwrap_err();
        assert!(error.contains("replica.fetch.max.bytes=1000"), "{error}");
        assert!(error.contains("message.max.bytes=2000"), "{error}");
    }

    #[test]
    fn an_unset_message_max_bytes_gives_way_by_twelve_bytes_and_no_more() {
        let lowered = config(&[("replica.fetch.max.bytes", "1048576")]).unwrap();
        assert_eq!(lowered.message_max_bytes, 1_048_576);
        assert_eq!(lowered.topic_defaults.max_message_bytes, 1_048_576);
        assert_eq!(lowered.get(MESSAGE_MAX_BYTES), Some("1048576"));
        let enough = config(&[("replica.fetch.max.bytes", "1048588")]).unwrap();
        assert_eq!(enough.message_max_bytes, 1_048_588);
        let error = config(&[("replica.fetch.max.bytes", "1048575")]).unwrap_err();
        assert!(error.contains("message.max.bytes=1048588 (its default)"), "{error}");
        let error = config(&[("replica.fetch.max.bytes", "1048576"), ("message.max.bytes", "1048588")]).unwrap_err();
        assert!(error.contains("replica.fetch.max.bytes=1048576"), "{error}");
    }

    #[test]
    fn a_topic_above_a_set_replica_fetch_max_bytes_is_refused_naming_topic_values_and_fix() {
        let config = config(&[("replica.fetch.max.bytes", "2000000")]).unwrap();
        assert!(check_topic("orders", 2_000_000, &config).is_ok());
        let error = check_topic("orders", 2_000_001, &config).unwrap_err().to_string();
        for part in ["orders", "max.message.bytes=2000001", "replica.fetch.max.bytes=2000000", "at most 2000000"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(check_topic("orders", 1 << 30, &Config::default()).is_ok());
    }
}
