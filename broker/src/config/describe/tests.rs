//! Compared with what Apache Kafka 4.3.1's own tool printed (`kafka-configs --describe --all`): the files beside this one.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::config::ConfigSources;

const KAFKA_BROKER: &str = include_str!("kafka-4.3.1/broker-configs.txt");
const KAFKA_TOPIC: &str = include_str!("kafka-4.3.1/topic-configs.txt");
const KAFKA_GROUP: &str = include_str!("kafka-4.3.1/group-configs.txt");

/// The file of the node that was asked.
const PROPERTIES: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("node.id", "1"),
    ("controller.quorum.voters", "1@127.0.0.1:9193"),
    ("controller.listener.names", "CONTROLLER"),
    ("listeners", "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9193"),
    ("advertised.listeners", "PLAINTEXT://127.0.0.1:9092"),
    ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
    ("inter.broker.listener.name", "PLAINTEXT"),
    ("log.dirs", "DIR/data"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
];

/// Where Jackdaw answers otherwise, and why.
const DELIBERATE: &[(&str, &str)] = &[
    ("controller.listener.names", "has a default, so that a broker starts without a file"),
    ("log.dir", "its default is not in /tmp, which does not keep things"),
    ("node.id", "has a default, so that a broker starts without a file"),
    ("process.roles", "has a default, so that a broker starts without a file"),
    ("replica.fetch.max.bytes", "follows message.max.bytes where it is not set (size rule)"),
];

/// What Kafka does not have.
const OWN: &[&str] = &[
    "log.write.caching",
    "metrics.listener",
    "retention.hold.groups",
    "retention.hold.max.bytes",
    "retention.hold.max.ms",
    "write.caching",
];

/// Kafka made `min.insync.replicas` a setting of the cluster when it formatted the node (KIP-966).
fn node() -> Config {
    let overrides = PROPERTIES.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let fixed = Config::load(&ConfigSources { overrides, ..ConfigSources::default() }).unwrap().config;
    let all = BTreeMap::from([("min.insync.replicas".to_owned(), "1".to_owned())]);
    fixed.with_dynamic(all, BTreeMap::new()).unwrap()
}

const fn word(source: Source) -> &'static str {
    match source {
        Source::Topic => "DYNAMIC_TOPIC_CONFIG",
        Source::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
        Source::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        Source::StaticBroker => "STATIC_BROKER_CONFIG",
        Source::Default => "DEFAULT_CONFIG",
        Source::DynamicBrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
        Source::ClientMetrics => "DYNAMIC_CLIENT_METRICS_CONFIG",
        Source::Group => "DYNAMIC_GROUP_CONFIG",
    }
}

/// As the tool prints it.
fn line(entry: &Entry) -> String {
    let null = || "null".to_owned();
    let synonym = |s: &Synonym| format!("{}:{}={}", word(s.source), s.name, s.value.clone().unwrap_or_else(null));
    let synonyms = entry.synonyms.iter().map(synonym).collect::<Vec<_>>().join(", ");
    let value = entry.value.clone().unwrap_or_else(null);
    format!("{}={value} sensitive={} synonyms={{{synonyms}}}", entry.name, entry.sensitive)
}

fn differences(kafka: &str, entries: &[Entry]) -> Vec<String> {
    let name = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    let theirs: BTreeMap<_, _> =
        kafka.lines().skip(1).map(|line| (name(line.trim()), line.trim().to_owned())).collect();
    let ours: BTreeMap<_, _> = entries.iter().map(|entry| (entry.name.clone(), line(entry))).collect();
    let names: BTreeSet<_> = theirs.keys().chain(ours.keys()).filter(|name| !OWN.contains(&name.as_str())).collect();
    names.into_iter().filter(|name| theirs.get(*name) != ours.get(*name)).cloned().collect()
}

#[test]
fn every_broker_setting_is_known_with_kafkas_value_and_synonyms_but_for_deliberate_differences() {
    let expected: Vec<_> = DELIBERATE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(differences(KAFKA_BROKER, &broker(&node(), 0)), expected);
}

#[test]
fn every_topic_setting_is_known_with_kafkas_value_and_synonyms() {
    assert_eq!(differences(KAFKA_TOPIC, &topic(&BTreeMap::new(), &node())), Vec::<String>::new());
}

#[test]
fn every_group_setting_is_known_with_kafkas_value_and_synonyms() {
    assert_eq!(differences(KAFKA_GROUP, &group(&BTreeMap::new(), &node())), Vec::<String>::new());
}

#[test]
fn every_setting_is_documented() {
    for def in table::broker().values().chain(table::topic().values()).chain(table::group().values()) {
        assert!(def.doc.len() > 20 && def.doc.ends_with('.'), "{}: {:?}", def.name, def.doc);
    }
}

#[test]
fn every_default_is_valid_by_its_own_definition() {
    for def in table::broker().values().chain(table::topic().values()).chain(table::group().values()) {
        if let Some(default) = def.default {
            assert_eq!(def.check(default), Ok(()), "{}", def.name);
        }
    }
}

#[test]
fn every_synonym_names_a_broker_setting() {
    for name in table::topic().keys() {
        for synonym in table::topic_synonyms(name) {
            assert!(table::broker().contains_key(synonym.name), "{name}: {}", synonym.name);
        }
    }
    for name in table::group().keys() {
        if let Some(behind) = table::group_synonym(name) {
            assert!(table::broker().contains_key(behind.as_str()), "{name}: {behind}");
        }
    }
}

fn find<'a>(entries: &'a [Entry], name: &str) -> &'a Entry {
    entries.iter().find(|entry| entry.name == name).unwrap()
}

#[test]
fn a_topics_own_setting_stands_over_every_other_layer() {
    let layer = |value: &str| BTreeMap::from([("message.max.bytes".to_owned(), value.to_owned())]);
    let overrides = vec![("message.max.bytes".to_owned(), "1".to_owned())];
    let fixed = Config::load(&ConfigSources { overrides, ..ConfigSources::default() }).unwrap().config;
    let config = fixed.with_dynamic(layer("2"), layer("3")).unwrap();
    let own = BTreeMap::from([("max.message.bytes".to_owned(), " 4 ".to_owned())]);
    assert_eq!(
        line(find(&topic(&own, &config), "max.message.bytes")),
        "max.message.bytes=4 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:max.message.bytes=4, \
         DYNAMIC_BROKER_CONFIG:message.max.bytes=3, DYNAMIC_DEFAULT_BROKER_CONFIG:message.max.bytes=2, \
         STATIC_BROKER_CONFIG:message.max.bytes=1, DEFAULT_CONFIG:message.max.bytes=1048588}"
    );
    let inherited = topic(&BTreeMap::new(), &config);
    assert_eq!(find(&inherited, "max.message.bytes").source, Source::DynamicBroker);
    assert_eq!(find(&inherited, "max.message.bytes").value.as_deref(), Some("3"));
}

#[test]
fn settings_of_all_brokers_are_those_made_at_run_time() {
    let entries = all_brokers(&node());
    assert_eq!(entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["min.insync.replicas"]);
    assert_eq!(entries[0].source, Source::DynamicDefaultBroker);
    assert!(!entries[0].read_only);
}

#[test]
fn secrets_and_settings_of_unknown_names_are_not_shown() {
    let overrides =
        vec![("ssl.key.password".to_owned(), "hush".to_owned()), ("my.plugin.token".to_owned(), "hush".to_owned())];
    let config = Config::load(&ConfigSources { overrides, ..ConfigSources::default() }).unwrap().config;
    let entries = broker(&config, 0);
    for name in ["ssl.key.password", "my.plugin.token"] {
        let entry = find(&entries, name);
        assert!(entry.sensitive && entry.value.is_none(), "{entry:?}");
        assert!(entry.synonyms.iter().all(|synonym| synonym.value.is_none()), "{entry:?}");
        assert_eq!(entry.source, Source::StaticBroker);
    }
    assert_eq!(find(&entries, "my.plugin.token").kind(), 0);
}

#[test]
fn an_automatic_replica_fetch_max_bytes_shows_what_it_follows() {
    let entries = broker(&Config::default(), 5_000_000);
    let entry = find(&entries, "replica.fetch.max.bytes");
    assert_eq!((entry.value.as_deref(), entry.source), (Some("5000000"), Source::Default));
}

#[test]
fn what_cannot_change_at_run_time_is_read_only() {
    let entries = broker(&Config::default(), 0);
    for (name, read_only) in [("num.partitions", true), ("listeners", true), ("log.retention.ms", false)] {
        assert_eq!(find(&entries, name).read_only, read_only, "{name}");
    }
}

#[test]
fn a_groups_own_setting_stands_over_the_brokers() {
    let own = BTreeMap::from([("consumer.session.timeout.ms".to_owned(), "50000".to_owned())]);
    let entries = group(&own, &Config::default());
    let entry = find(&entries, "consumer.session.timeout.ms");
    assert_eq!((entry.value.as_deref(), entry.source), (Some("50000"), Source::Group));
}
