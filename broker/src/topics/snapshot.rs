//! All metadata as bytes, and back: what takes the place of the records that led to it.
//!
//! JSON with a version: unknown fields are skipped, a higher version is refused. A partition is a short array, since
//! there may be a hundred thousand of them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::image::{BrokerImage, Configs, Image, PartitionImage, RarePartition, TopicImage};
use super::record::{Registration, uuid_text};

/// The version that this release writes, and the highest it reads.
const VERSION: u16 = 0;

#[derive(Serialize, Deserialize)]
struct Stored<Topics> {
    v: u16,
    version: u64,
    topics: Topics,
    brokers: BTreeMap<i32, StoredBroker>,
    cluster_configs: Configs,
    broker_configs: BTreeMap<i32, Configs>,
    group_configs: BTreeMap<String, Configs>,
    features: BTreeMap<String, i16>,
    log_dirs: BTreeMap<i32, BTreeMap<String, String>>,
    next_producer_id: i64,
}

#[derive(Serialize, Deserialize)]
struct StoredTopic {
    name: String,
    #[serde(with = "uuid_text")]
    id: Uuid,
    configs: Configs,
    partitions: Vec<StoredPartition>,
}

/// Replicas, the ISR where it is not all of them, leader, leader epoch, partition epoch, and what few have.
#[derive(Serialize, Deserialize)]
struct StoredPartition(Vec<i32>, Option<Vec<i32>>, i32, i32, i32, Option<Box<StoredRare>>);

#[derive(Serialize, Deserialize)]
struct StoredRare {
    adding: Vec<i32>,
    removing: Vec<i32>,
    elr: Vec<i32>,
    last_known_elr: Vec<i32>,
    recovering: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredBroker {
    registration: Registration,
    fenced: bool,
    in_controlled_shutdown: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cordoned: bool,
}

/// Bytes that are no snapshot which this release can take.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// They are not as the format says.
    #[error("the snapshot of the metadata is not understood: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A later release wrote it.
    #[error(
        "the snapshot of the metadata has version {version}, this release reads up to {VERSION}: start the release that wrote it, \
         or a later one"
    )]
    TooNew {
        /// Its version.
        version: u16,
    },
    /// A topic is in it twice.
    #[error("the snapshot of the metadata holds topic '{0}' twice")]
    Twice(String),
}

/// The bytes of an image.
pub fn encode(image: &Image) -> Vec<u8> {
    // A field that is not stored would be lost: so none is left out here.
    let Image {
        version,
        by_name,
        by_id: _,
        partitions: _,
        brokers,
        cluster_configs,
        broker_configs,
        group_configs,
        features,
        log_dirs,
        next_producer_id,
    } = image;
    let topics: Vec<StoredTopic> = by_name.values().map(|topic| store_topic(topic)).collect();
    let stored = Stored {
        v: VERSION,
        version: *version,
        topics,
        brokers: brokers.iter().map(|(id, broker)| (*id, store_broker(broker))).collect(),
        cluster_configs: Configs::clone(cluster_configs),
        broker_configs: BTreeMap::clone(broker_configs),
        group_configs: BTreeMap::clone(group_configs),
        features: BTreeMap::clone(features),
        log_dirs: BTreeMap::clone(log_dirs),
        next_producer_id: *next_producer_id,
    };
    serde_json::to_vec(&stored).expect("an image is maps of strings and numbers")
}

/// The image of the bytes: equal to the one that was encoded.
pub fn decode(bytes: &[u8]) -> Result<Image, SnapshotError> {
    #[derive(Deserialize)]
    struct Head {
        v: u16,
    }
    // The version stands first, and is looked for alone only if the rest is not understood.
    let stored = match serde_json::from_slice::<Stored<Topics>>(bytes) {
        Ok(stored) if stored.v > VERSION => return Err(SnapshotError::TooNew { version: stored.v }),
        Ok(stored) => stored,
        Err(error) => {
            return Err(match serde_json::from_slice::<Head>(bytes) {
                Ok(head) if head.v > VERSION => SnapshotError::TooNew { version: head.v },
                _ => error.into(),
            });
        }
    };
    let mut image = Image {
        version: stored.version,
        brokers: Arc::new(stored.brokers.into_iter().map(|(id, broker)| (id, load_broker(broker))).collect()),
        cluster_configs: Arc::new(stored.cluster_configs),
        broker_configs: Arc::new(stored.broker_configs),
        group_configs: Arc::new(stored.group_configs),
        features: Arc::new(stored.features),
        log_dirs: Arc::new(stored.log_dirs),
        next_producer_id: stored.next_producer_id,
        ..Image::default()
    };
    for topic in stored.topics.0 {
        if image.topic(&topic.name).is_some() || image.topic_by_id(topic.id).is_some() {
            return Err(SnapshotError::Twice(topic.name.to_string()));
        }
        image.put(topic);
    }
    Ok(image)
}

/// Topics, each made what it becomes as soon as it is read: of all at once, what was read would be the larger part, and
/// leave its holes in the memory of a broker that then is idle.
struct Topics(Vec<TopicImage>);

impl<'de> Deserialize<'de> for Topics {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Topics, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Topics;

            fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
                text.write_str("a list of topics")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Topics, A::Error> {
                let (mut topics, mut replicas) = (Vec::new(), HashMap::new());
                while let Some(topic) = list.next_element()? {
                    topics.push(load_topic(topic, &mut replicas));
                }
                Ok(Topics(topics))
            }
        }

        from.deserialize_seq(Each)
    }
}

fn store_topic(topic: &TopicImage) -> StoredTopic {
    let TopicImage { name, id, partitions, configs } = topic;
    StoredTopic {
        name: name.to_string(),
        id: *id,
        configs: configs.clone(),
        partitions: partitions.iter().map(store_partition).collect(),
    }
}

fn store_partition(partition: &PartitionImage) -> StoredPartition {
    let PartitionImage { replicas, isr, leader, leader_epoch, partition_epoch, rare } = partition;
    let isr = (isr != replicas).then(|| isr.to_vec());
    let rare = rare.as_deref().cloned().map(|rare| {
        let RarePartition { adding, removing, elr, last_known_elr, recovering } = rare;
        Box::new(StoredRare { adding, removing, elr, last_known_elr, recovering })
    });
    StoredPartition(replicas.to_vec(), isr, *leader, *leader_epoch, *partition_epoch, rare)
}

/// Equal lists of replicas share their memory.
fn load_topic(topic: StoredTopic, known: &mut HashMap<Vec<i32>, Arc<[i32]>>) -> TopicImage {
    let mut share = |list: Vec<i32>| match known.get(&list) {
        Some(shared) => shared.clone(),
        None => {
            let shared: Arc<[i32]> = list.as_slice().into();
            known.insert(list, shared.clone());
            shared
        }
    };
    let load = |StoredPartition(replicas, isr, leader, leader_epoch, partition_epoch, rare)| {
        let replicas = share(replicas);
        let isr = isr.map_or_else(|| replicas.clone(), &mut share);
        let rare = rare.map(|rare| {
            let StoredRare { adding, removing, elr, last_known_elr, recovering } = *rare;
            Box::new(RarePartition { adding, removing, elr, last_known_elr, recovering })
        });
        PartitionImage { replicas, isr, leader, leader_epoch, partition_epoch, rare }
    };
    // Not collected: that would go on in the larger memory of what was read, and keep all of it.
    let mut partitions = Vec::with_capacity(topic.partitions.len());
    partitions.extend(topic.partitions.into_iter().map(load));
    TopicImage { name: topic.name.into(), id: topic.id, partitions, configs: topic.configs }
}

fn store_broker(broker: &BrokerImage) -> StoredBroker {
    let BrokerImage { registration, fenced, in_controlled_shutdown, cordoned } = broker.clone();
    StoredBroker { registration, fenced, in_controlled_shutdown, cordoned }
}

fn load_broker(broker: StoredBroker) -> BrokerImage {
    let StoredBroker { registration, fenced, in_controlled_shutdown, cordoned } = broker;
    BrokerImage { registration, fenced, in_controlled_shutdown, cordoned }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
