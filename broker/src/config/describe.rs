//! What DescribeConfigs shows: every setting with its value, where that comes from, and what else could give it.

use std::collections::{BTreeMap, BTreeSet};

use super::broker::Config;
use super::definition::Def;
use super::dynamic;
use super::load;
use super::size_rule;
use super::table;
use super::topic;
use super::values::Values;

/// Where a value comes from, with the code DescribeConfigs gives it (KIP-226, KIP-412, KIP-1043).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Topic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    DynamicBrokerLogger = 6,
    ClientMetrics = 7,
    Group = 8,
}

/// One way to give the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: String,
    /// None where it may not be shown.
    pub value: Option<String>,
    pub source: Source,
}

/// One setting of a resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: String,
    /// None where it is null, or may not be shown.
    pub value: Option<String>,
    pub read_only: bool,
    pub sensitive: bool,
    pub source: Source,
    /// The ways to give the value that are in use, the strongest first.
    pub synonyms: Vec<Synonym>,
    /// None where the setting is not one of ours.
    pub def: Option<&'static Def>,
}

impl Entry {
    /// The type's code; 0 where it is unknown.
    pub fn kind(&self) -> i8 {
        self.def.map_or(0, |def| def.kind as i8)
    }

    fn new(name: &str, value: Option<String>, synonyms: Vec<Synonym>, def: Option<&'static Def>) -> Self {
        // What is unknown may be a secret.
        let sensitive = def.is_none_or(Def::is_sensitive);
        Self {
            name: name.to_owned(),
            value: value.filter(|_| !sensitive),
            read_only: false,
            sensitive,
            source: synonyms.first().map_or(Source::Default, |synonym| synonym.source),
            synonyms,
            def,
        }
    }
}

/// Every setting of a topic.
pub fn topic(overrides: &BTreeMap<String, String>, broker: &Config) -> Vec<Entry> {
    let values = &broker.values;
    let shown = table::topic().values().filter(|def| !def.internal || overrides.contains_key(def.name));
    let entry = |def: &&'static Def| {
        let value = topic::effective(def.name, overrides, values).map(|value| def.display(&value));
        // Kafka looks through the settings of the same meaning as the first synonym, and only from that one on.
        let first = table::topic_synonyms(def.name).first();
        let mut synonyms = first.map_or_else(Vec::new, |first| broker_synonyms(first.name, values, None));
        if overrides.contains_key(def.name) {
            synonyms.insert(0, Synonym { name: def.name.to_owned(), value: value.clone(), source: Source::Topic });
        }
        Entry::new(def.name, value, synonyms, Some(def))
    };
    shown.map(entry).collect()
}

/// Every setting of this broker, those of unknown name included. `largest_batch` is the largest that any broker or topic takes:
/// what an automatic `replica.fetch.max.bytes` follows.
pub fn broker(config: &Config, largest_batch: usize) -> Vec<Entry> {
    let values = &config.values;
    let known = table::broker().values().filter(|def| !def.internal).map(|def| def.name);
    let given = values.fixed.keys().chain(values.dynamic_default.keys()).chain(values.dynamic.keys());
    let names: BTreeSet<&str> = known.chain(given.map(String::as_str)).collect();
    let automatic = config.effective_replica_fetch_max_bytes(largest_batch).to_string();
    let entry = |name| {
        let def = table::broker().get(load::base_name(name)).copied();
        let derived = (name == size_rule::REPLICA_FETCH_MAX_BYTES).then_some(automatic.as_str());
        let value = values.given(name).or(derived).or_else(|| values.fallback(name));
        let value = value.map(|value| def.map_or_else(|| value.to_owned(), |def| def.display(value)));
        let entry = Entry::new(name, value, broker_synonyms(name, values, derived), def);
        Entry { read_only: def.is_none_or(|def| !dynamic::is_dynamic(def)), ..entry }
    };
    names.into_iter().map(entry).collect()
}

/// The settings made at run time for all brokers.
pub fn all_brokers(config: &Config) -> Vec<Entry> {
    let entry = |(name, value): (&String, &String)| {
        let def = table::broker().get(load::base_name(name)).copied();
        let value = def.map_or_else(|| value.clone(), |def| def.display(value));
        let mut synonyms = broker_synonyms(name, &config.values, None);
        synonyms.retain(|synonym| synonym.source == Source::DynamicDefaultBroker);
        let entry = Entry::new(name, Some(value), synonyms, def);
        Entry { read_only: def.is_none_or(|def| !dynamic::is_dynamic(def)), ..entry }
    };
    config.values.dynamic_default.iter().map(entry).collect()
}

/// Every setting of a group.
pub fn group(overrides: &BTreeMap<String, String>, broker: &Config) -> Vec<Entry> {
    let values = &broker.values;
    let entry = |def: &&'static Def| {
        let behind = table::group_synonym(def.name);
        let own = overrides.get(def.name).map(String::as_str);
        let value = own.or_else(|| behind.as_deref().and_then(|name| values.effective(name))).or(def.default);
        let value = value.map(|value| def.display(value));
        let mut synonyms = behind.as_deref().map_or_else(
            || {
                vec![Synonym {
                    name: def.name.to_owned(),
                    value: def.default.map(str::to_owned),
                    source: Source::Default,
                }]
            },
            |name| broker_synonyms(name, values, None),
        );
        if own.is_some() {
            synonyms.insert(0, Synonym { name: def.name.to_owned(), value: value.clone(), source: Source::Group });
        }
        Entry::new(def.name, value, synonyms, Some(def))
    };
    table::group().values().map(entry).collect()
}

/// Layer by layer, the strongest first, the settings of the same meaning as `name`; whatever stands before `name`
/// itself is dropped, as Kafka does. `derived` replaces the default.
fn broker_synonyms(name: &str, values: &Values, derived: Option<&str>) -> Vec<Synonym> {
    let base = load::base_name(name);
    let alone = [name, base];
    let chain = match table::broker_synonyms(name) {
        [] if base == name => &alone[..1],
        [] => &alone[..],
        chain => chain,
    };
    let sensitive = table::broker().get(base).is_none_or(|def| def.is_sensitive());
    let fixed = |name: &str| values.fixed.get(name).map(|given| given.value.as_str());
    let mut found = Vec::new();
    let mut layer = |source, get: &dyn Fn(&str) -> Option<String>| {
        for name in chain {
            if let Some(value) = get(name) {
                let value = (!sensitive).then_some(value);
                found.push(Synonym { name: (*name).to_owned(), value, source });
            }
        }
    };
    layer(Source::DynamicBroker, &|name| values.dynamic.get(name).cloned());
    layer(Source::DynamicDefaultBroker, &|name| values.dynamic_default.get(name).cloned());
    layer(Source::StaticBroker, &|name| fixed(name).map(str::to_owned));
    layer(Source::Default, &|name| derived.or_else(|| values.fallback(name)).map(str::to_owned));
    let first = found.iter().position(|synonym| synonym.name == name).unwrap_or(found.len());
    found.split_off(first)
}

#[cfg(test)]
mod tests;
