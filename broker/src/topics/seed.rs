//! Topics put into the metadata of a directory while no broker runs: how an import makes its copies known.

use std::collections::BTreeMap;
use std::sync::Arc;

use jackdaw_storage::LogDir;
use uuid::Uuid;

use super::catalog::{ApplyError, Catalog};
use super::record::Record;
use super::store::{Store, StoreError};
use crate::config::{Config, ConfigSources, TopicConfig, topic};

/// A topic whose partitions lie in the directory.
#[derive(Clone, Debug)]
pub struct SeedTopic {
    pub name: String,
    pub id: Uuid,
    /// The leader epoch of each partition: the next leadership has a higher one.
    pub leader_epochs: Vec<i32>,
    /// Its overrides, as [`accepted_configs`] leaves them.
    pub configs: BTreeMap<String, String>,
}

/// What the metadata of a directory names already.
#[derive(Debug)]
pub struct Known {
    /// Every topic with its id.
    pub topics: Vec<(String, Uuid)>,
    /// Whether there is any metadata.
    pub is_fresh: bool,
}

/// Reads the metadata of a directory; makes an empty metadata log where there is none.
pub fn known(dir: &Arc<LogDir>) -> Result<Known, StoreError> {
    let catalog = replay(&Store::open(std::slice::from_ref(dir), &[])?)?;
    let image = catalog.image();
    let topics = image.topics().map(|topic| (topic.name.to_string(), topic.id)).collect();
    Ok(Known { topics, is_fresh: image.version == 0 })
}

/// Adds topics, all or none, led by `node_id`, and gives out no producer id below `next_producer_id` any more. On the
/// disk when it returns.
///
/// # Errors
/// A topic of such a name or id exists; the metadata cannot be read or written.
pub fn seed(
    dir: &Arc<LogDir>,
    node_id: i32,
    topics: &[SeedTopic],
    next_producer_id: i64,
    now_ms: i64,
) -> Result<(), StoreError> {
    let store = Store::open(std::slice::from_ref(dir), &[])?;
    let mut catalog = replay(&store)?;
    let mut records = Vec::new();
    if catalog.image().version == 0 {
        records.push(super::format_record());
    }
    for topic in topics {
        records.push(Record::TopicCreated {
            name: topic.name.clone(),
            id: topic.id,
            assignments: vec![vec![node_id]; topic.leader_epochs.len()],
            configs: topic.configs.clone(),
        });
        if topic.leader_epochs.iter().any(|&epoch| epoch > 0) {
            records.push(Record::LeaderEpochsRaised { id: topic.id, epochs: topic.leader_epochs.clone() });
        }
    }
    if next_producer_id > catalog.image().next_producer_id {
        records.push(Record::ProducerIdsAllocated { broker: node_id, next: next_producer_id });
    }
    for record in &records {
        catalog.apply(record).map_err(|source: ApplyError| StoreError::Apply { offset: -1, source })?;
    }
    store.append(&records, now_ms)
}

fn replay(store: &Store) -> Result<Catalog, StoreError> {
    let mut catalog = Catalog::default();
    store.replay(&mut catalog)?;
    Ok(catalog)
}

/// Settings that a topic brings from elsewhere: those that this broker takes, and the others with the reason. They are
/// checked one by one and then together, against a broker with default settings.
pub fn accepted_configs(
    topic: &str,
    configs: &BTreeMap<String, String>,
) -> (BTreeMap<String, String>, Vec<(String, String)>) {
    let (mut accepted, mut refused) = (BTreeMap::new(), Vec::new());
    let broker = Config::load(&ConfigSources::default()).ok().map(|loaded| loaded.config);
    for (key, value) in configs {
        let mut with = accepted.clone();
        with.insert(key.clone(), value.clone());
        let checked = match &broker {
            Some(broker) => topic::validate_all(topic, &with, broker),
            None => topic::validate(key, value),
        };
        match checked {
            Ok(()) => accepted = with,
            Err(error) => refused.push((key.clone(), error.to_string())),
        }
    }
    (accepted, refused)
}

/// How the logs of a topic with these settings are kept.
pub fn log_config(configs: &BTreeMap<String, String>) -> jackdaw_storage::LogConfig {
    let broker = Config::load(&ConfigSources::default()).ok().map(|loaded| loaded.config);
    broker.map(|broker| TopicConfig::resolve(configs, &broker).log()).unwrap_or_default()
}
