//! Topics put into the metadata of a directory while no broker runs: how an import makes its copies known.

use std::collections::BTreeMap;
use std::sync::Arc;

use jackdaw_storage::LogDir;
use uuid::Uuid;

use super::catalog::{ApplyError, Catalog};
use super::quorum::{self, MetadataQuorum};
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

/// The metadata of a directory: with the quorum once a broker has run on it, in a log before.
enum Metadata {
    Log(Store),
    Quorum(Box<MetadataQuorum>),
}

impl Metadata {
    fn open(dir: &Arc<LogDir>, node_id: i32) -> Result<Metadata, StoreError> {
        let folder = quorum::folder(dir.path());
        if !folder.is_dir() {
            return Ok(Metadata::Log(Store::open(dir)?));
        }
        let quorum = MetadataQuorum::alone(node_id, &folder, dir.cluster_id())?;
        quorum.wait_alone()?;
        Ok(Metadata::Quorum(Box::new(quorum)))
    }

    fn catalog(&self) -> Result<Catalog, StoreError> {
        match self {
            Metadata::Log(store) => {
                let mut catalog = Catalog::default();
                store.replay(&mut catalog)?;
                Ok(catalog)
            }
            Metadata::Quorum(quorum) => Ok(Catalog::clone(&quorum.catalog())),
        }
    }

    fn append(&self, base: u64, records: &[Record], now_ms: i64) -> Result<(), StoreError> {
        match self {
            Metadata::Log(store) => store.append(records, now_ms),
            Metadata::Quorum(quorum) => quorum.propose(base, records).map(drop).map_err(super::in_store),
        }
    }

    fn close(self) {
        if let Metadata::Quorum(quorum) = self {
            quorum.stop();
        }
    }
}

/// Reads the metadata of a directory, which is of that node; makes an empty metadata log where there is none.
pub fn known(dir: &Arc<LogDir>, node_id: i32) -> Result<Known, StoreError> {
    let metadata = Metadata::open(dir, node_id)?;
    let catalog = metadata.catalog();
    metadata.close();
    let catalog = catalog?;
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
    let metadata = Metadata::open(dir, node_id)?;
    let seeded = add(&metadata, node_id, topics, next_producer_id, now_ms);
    metadata.close();
    seeded
}

fn add(
    metadata: &Metadata,
    node_id: i32,
    topics: &[SeedTopic],
    next_producer_id: i64,
    now_ms: i64,
) -> Result<(), StoreError> {
    let mut catalog = metadata.catalog()?;
    let base = catalog.image().version;
    let mut records = Vec::new();
    if base == 0 {
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
    metadata.append(base, &records, now_ms)
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
