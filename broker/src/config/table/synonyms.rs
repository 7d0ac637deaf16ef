//! Which broker settings give a topic, group or broker setting its default, the strongest first.

use super::own::WRITE_CACHING;

/// How a value of the broker setting becomes a value of the topic setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Same,
    MinutesToMs,
    HoursToMs,
}

impl Unit {
    /// The value in the unit of the topic setting. Negative numbers mean "no limit" in every unit.
    pub fn convert(self, value: &str) -> String {
        let factor = match self {
            Self::Same => return value.to_owned(),
            Self::MinutesToMs => 60_000,
            Self::HoursToMs => 3_600_000,
        };
        match value.trim().parse::<i64>() {
            Ok(n) if n < 0 => n.to_string(),
            Ok(n) => n.saturating_mul(factor).to_string(),
            Err(_) => value.to_owned(),
        }
    }
}

/// A broker setting that stands for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: &'static str,
    pub unit: Unit,
}

const fn same(name: &'static str) -> Synonym {
    Synonym { name, unit: Unit::Same }
}

const fn minutes(name: &'static str) -> Synonym {
    Synonym { name, unit: Unit::MinutesToMs }
}

const fn hours(name: &'static str) -> Synonym {
    Synonym { name, unit: Unit::HoursToMs }
}

const TOPIC: &[(&str, &[Synonym])] = &[
    ("cleanup.policy", &[same("log.cleanup.policy")]),
    ("compression.gzip.level", &[same("compression.gzip.level")]),
    ("compression.lz4.level", &[same("compression.lz4.level")]),
    ("compression.type", &[same("compression.type")]),
    ("compression.zstd.level", &[same("compression.zstd.level")]),
    ("delete.retention.ms", &[same("log.cleaner.delete.retention.ms")]),
    ("file.delete.delay.ms", &[same("log.segment.delete.delay.ms")]),
    ("flush.messages", &[same("log.flush.interval.messages")]),
    ("flush.ms", &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")]),
    ("index.interval.bytes", &[same("log.index.interval.bytes")]),
    ("local.retention.bytes", &[same("log.local.retention.bytes")]),
    ("local.retention.ms", &[same("log.local.retention.ms")]),
    ("max.compaction.lag.ms", &[same("log.cleaner.max.compaction.lag.ms")]),
    ("max.message.bytes", &[same("message.max.bytes")]),
    ("message.timestamp.after.max.ms", &[same("log.message.timestamp.after.max.ms")]),
    ("message.timestamp.before.max.ms", &[same("log.message.timestamp.before.max.ms")]),
    ("message.timestamp.type", &[same("log.message.timestamp.type")]),
    ("min.cleanable.dirty.ratio", &[same("log.cleaner.min.cleanable.ratio")]),
    ("min.compaction.lag.ms", &[same("log.cleaner.min.compaction.lag.ms")]),
    ("min.insync.replicas", &[same("min.insync.replicas")]),
    ("preallocate", &[same("log.preallocate")]),
    ("retention.bytes", &[same("log.retention.bytes")]),
    ("retention.ms", &[same("log.retention.ms"), minutes("log.retention.minutes"), hours("log.retention.hours")]),
    ("segment.bytes", &[same("log.segment.bytes")]),
    ("segment.index.bytes", &[same("log.index.size.max.bytes")]),
    ("segment.jitter.ms", &[same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")]),
    ("segment.ms", &[same("log.roll.ms"), hours("log.roll.hours")]),
    ("unclean.leader.election.enable", &[same("unclean.leader.election.enable")]),
    (WRITE_CACHING, &[same("log.write.caching")]),
];

/// Broker settings of the same meaning, the strongest first.
const BROKER: &[&[&str]] = &[
    &["log.roll.ms", "log.roll.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.flush.interval.ms", FLUSH_SCHEDULER],
    &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
];

/// Stands in for the flush interval, but not the other way round.
const FLUSH_SCHEDULER: &str = "log.flush.scheduler.interval.ms";

/// Group settings whose broker setting is not simply `group.` and their own name.
const GROUP_ALONE: &[&str] = &["share.auto.offset.reset", "share.isolation.level", "share.renew.acknowledge.enable"];

/// The broker settings behind a topic setting.
pub fn topic_synonyms(name: &str) -> &'static [Synonym] {
    TOPIC.iter().find(|(topic, _)| *topic == name).map_or(&[], |(_, synonyms)| synonyms)
}

/// The broker settings of the same meaning as `name`, the strongest first; empty where it stands alone.
pub fn broker_synonyms(name: &str) -> &'static [&'static str] {
    BROKER.iter().find(|chain| chain.contains(&name) && name != FLUSH_SCHEDULER).copied().unwrap_or(&[])
}

/// The broker setting behind a group setting.
pub fn group_synonym(name: &str) -> Option<String> {
    (!GROUP_ALONE.contains(&name)).then(|| format!("group.{name}"))
}
