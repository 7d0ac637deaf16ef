//! What this broker hosts at one moment: the image, and for each topic its settings in force and its open partitions.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::image::{Image, TopicImage};
use crate::config::TopicConfig;
use crate::partition::Partition;

/// One topic as hosted here.
#[derive(Clone)]
pub struct Topic {
    /// What the metadata says.
    pub image: Arc<TopicImage>,
    /// The settings in force.
    pub config: Arc<TopicConfig>,
    /// This broker.
    pub(super) node_id: i32,
    /// By index; none that is offline or another broker's.
    pub(super) hosted: Vec<Option<Arc<Partition>>>,
}

/// Why a partition cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    #[error("there is no such topic")]
    UnknownTopic,
    #[error("the topic has no such partition")]
    UnknownPartition,
    #[error("the partition's log directory is offline")]
    Offline,
    #[error("this broker has no replica of the partition")]
    Elsewhere,
}

impl Topic {
    /// Topic name.
    pub fn name(&self) -> &Arc<str> {
        &self.image.name
    }

    /// Topic id.
    pub fn id(&self) -> Uuid {
        self.image.id
    }

    /// The partition of that index.
    pub fn partition(&self, index: i32) -> Result<&Arc<Partition>, FindError> {
        let index = usize::try_from(index).map_err(|_| FindError::UnknownPartition)?;
        match self.hosted.get(index) {
            Some(Some(hosted)) => Ok(hosted),
            None => Err(FindError::UnknownPartition),
            Some(None) => {
                let replicas = self.image.partitions.get(index).map(|partition| &partition.replicas);
                let is_ours = replicas.is_none_or(|replicas| replicas.contains(&self.node_id));
                Err(if is_ours { FindError::Offline } else { FindError::Elsewhere })
            }
        }
    }

    /// The partitions that are hosted and online, in order.
    pub fn partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.hosted.iter().flatten()
    }
}

/// All of it. Replaced as a whole with each change.
#[derive(Clone, Default)]
pub struct Registry {
    /// What the metadata says.
    pub image: Arc<Image>,
    by_name: HashMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

impl Registry {
    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// The topic of that id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// All topics, in no order.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_id.values()
    }

    pub(super) fn put(&mut self, topic: Topic) {
        let topic = Arc::new(topic);
        self.by_name.insert(topic.name().clone(), topic.clone());
        self.by_id.insert(topic.id(), topic);
    }

    pub(super) fn remove(&mut self, id: Uuid) -> Option<Arc<Topic>> {
        let topic = self.by_id.remove(&id)?;
        // The name may already be another topic's: deleted and made again in one go.
        if self.by_name.get(topic.name()).is_some_and(|named| named.id() == id) {
            self.by_name.remove(topic.name());
        }
        Some(topic)
    }
}
