//! What the metadata records add up to at one moment. Immutable once published: readers hold an `Arc<Image>` and see
//! one consistent state, writers publish the next one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

/// Overrides by Kafka's names.
pub type Configs = BTreeMap<String, String>;

/// All metadata at one moment.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Number of records applied; grows with every change. Kafka's clients see it as the epoch of finalized features.
    pub version: u64,
    by_name: BTreeMap<Arc<str>, Arc<TopicImage>>,
    by_id: HashMap<Uuid, Arc<TopicImage>>,
    partitions: usize,
    /// Dynamic configs of all brokers.
    pub cluster_configs: Arc<Configs>,
    /// Dynamic configs of single brokers.
    pub broker_configs: Arc<BTreeMap<i32, Configs>>,
    /// Dynamic configs of groups.
    pub group_configs: Arc<BTreeMap<String, Configs>>,
    /// Finalized features.
    pub features: Arc<BTreeMap<String, i16>>,
    /// Log directories of brokers: ids with the paths they had.
    pub log_dirs: Arc<BTreeMap<i32, BTreeMap<String, String>>>,
    /// The first producer id that no broker has.
    pub next_producer_id: i64,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicImage {
    pub name: Arc<str>,
    pub id: Uuid,
    pub partitions: Vec<PartitionImage>,
    /// What differs from the broker's defaults.
    pub configs: Configs,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionImage {
    /// Brokers that hold it, the preferred leader first.
    pub replicas: Arc<[i32]>,
    /// Those of them that are in sync.
    pub isr: Arc<[i32]>,
    /// The broker that leads it, -1 if none can.
    pub leader: i32,
    /// Grows with every change of leader.
    pub leader_epoch: i32,
}

impl Image {
    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.by_name.get(name)
    }

    /// The topic of that id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.by_id.get(&id)
    }

    /// All topics, sorted by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<TopicImage>> {
        self.by_name.values()
    }

    /// The topics whose name is not below `from`, sorted by name.
    pub fn topics_from(&self, from: &str) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.by_name.range::<str, _>((std::ops::Bound::Included(from), std::ops::Bound::Unbounded)).map(|(_, t)| t)
    }

    /// Partitions of all topics together.
    pub fn partition_count(&self) -> usize {
        self.partitions
    }

    pub(super) fn put(&mut self, topic: TopicImage) {
        let topic = Arc::new(topic);
        self.partitions += topic.partitions.len();
        if let Some(old) = self.by_id.insert(topic.id, topic.clone()) {
            self.partitions -= old.partitions.len();
        }
        self.by_name.insert(topic.name.clone(), topic);
    }

    pub(super) fn remove(&mut self, id: Uuid) -> Option<Arc<TopicImage>> {
        let topic = self.by_id.remove(&id)?;
        self.partitions -= topic.partitions.len();
        self.by_name.remove(&topic.name);
        Some(topic)
    }
}
