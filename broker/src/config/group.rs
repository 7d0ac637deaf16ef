//! The settings of one group over the broker's bounds (KIP-848, KIP-932, KIP-1071).

use std::collections::BTreeMap;

use super::broker::Config;
use super::error::ConfigError;
use super::table;

/// Where the broker's settings bound a group's: setting, lower bound, upper bound.
const BOUNDED: &[(&str, &str, &str)] = &[
    (
        "consumer.assignment.interval.ms",
        "group.consumer.min.assignment.interval.ms",
        "group.consumer.max.assignment.interval.ms",
    ),
    (
        "consumer.heartbeat.interval.ms",
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.max.heartbeat.interval.ms",
    ),
    ("consumer.session.timeout.ms", "group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
    (
        "share.assignment.interval.ms",
        "group.share.min.assignment.interval.ms",
        "group.share.max.assignment.interval.ms",
    ),
    ("share.delivery.count.limit", "group.share.min.delivery.count.limit", "group.share.max.delivery.count.limit"),
    ("share.heartbeat.interval.ms", "group.share.min.heartbeat.interval.ms", "group.share.max.heartbeat.interval.ms"),
    (
        "share.partition.max.record.locks",
        "group.share.min.partition.max.record.locks",
        "group.share.max.partition.max.record.locks",
    ),
    (
        "share.record.lock.duration.ms",
        "group.share.min.record.lock.duration.ms",
        "group.share.max.record.lock.duration.ms",
    ),
    ("share.session.timeout.ms", "group.share.min.session.timeout.ms", "group.share.max.session.timeout.ms"),
    (
        "streams.assignment.interval.ms",
        "group.streams.min.assignment.interval.ms",
        "group.streams.max.assignment.interval.ms",
    ),
    (
        "streams.heartbeat.interval.ms",
        "group.streams.min.heartbeat.interval.ms",
        "group.streams.max.heartbeat.interval.ms",
    ),
    ("streams.session.timeout.ms", "group.streams.min.session.timeout.ms", "group.streams.max.session.timeout.ms"),
];

/// Where a group's heartbeats must come more often than its session times out.
const BEATS: &[(&str, &str)] = &[
    ("consumer.heartbeat.interval.ms", "consumer.session.timeout.ms"),
    ("share.heartbeat.interval.ms", "share.session.timeout.ms"),
    ("streams.heartbeat.interval.ms", "streams.session.timeout.ms"),
];

/// Checks all settings of a group: each by itself, against the broker's bounds and against each other.
///
/// # Errors
/// The first thing wrong.
pub fn validate_all(overrides: &BTreeMap<String, String>, broker: &Config) -> Result<(), ConfigError> {
    for (name, value) in overrides {
        let Some(def) = table::group().get(name.as_str()) else {
            return Err(ConfigError::unknown("group", name, table::nearest(name, table::group())));
        };
        def.check(value).map_err(|allowed| ConfigError::invalid(name, value, allowed))?;
    }
    let number = |name: &str| overrides.get(name).and_then(|value| value.trim().parse::<i64>().ok());
    for (name, least, most) in BOUNDED {
        let Some(value) = number(name) else { continue };
        if value < broker.values.long(least) {
            let message =
                format!("{name}={value} must be greater than or equal to {least}={}.", broker.values.long(least));
            return Err(ConfigError::new(name, Some(&value.to_string()), message));
        }
        if value > broker.values.long(most) {
            let message = format!("{name}={value} must be less than or equal to {most}={}.", broker.values.long(most));
            return Err(ConfigError::new(name, Some(&value.to_string()), message));
        }
    }
    for (beat, session) in BEATS {
        let of = |name: &str| number(name).unwrap_or_else(|| broker.values.long(&format!("group.{name}")));
        if of(session) <= of(beat) {
            let message = format!("{session}={} must be greater than {beat}={}.", of(session), of(beat));
            return Err(ConfigError::new(session, overrides.get(*session).map(String::as_str), message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn check(settings: &[(&str, &str)]) -> Result<(), String> {
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        validate_all(&settings, &Config::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_groups_settings_stay_within_the_brokers_bounds() {
        assert_eq!(check(&[("consumer.session.timeout.ms", "50000"), ("share.auto.offset.reset", "earliest")]), Ok(()));
        for (name, value, bound) in [
            ("consumer.session.timeout.ms", "44999", "group.consumer.min.session.timeout.ms=45000"),
            ("consumer.session.timeout.ms", "60001", "group.consumer.max.session.timeout.ms=60000"),
            ("share.delivery.count.limit", "11", "group.share.max.delivery.count.limit=10"),
        ] {
            let error = check(&[(name, value)]).unwrap_err();
            assert!(error.contains(bound) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn unknown_names_and_wrong_values_are_refused() {
        assert!(check(&[("consumer.session.timeout", "1")]).unwrap_err().contains("Did you mean"));
        assert!(check(&[("share.isolation.level", "dirty")]).unwrap_err().contains("read_committed"));
    }
}
