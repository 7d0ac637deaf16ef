//! How `__consumer_offsets` comes to be, and its partitions to the coordinator.

use super::Groups;
use crate::config::Config;
use crate::group::GroupError;
use crate::topics::Topics;
use crate::topics::catalog::{CreateTopic, CreateTopicError};
use crate::topics::names::CONSUMER_OFFSETS;

impl Groups {
    /// Opens the partitions of `__consumer_offsets` that this broker leads, if the topic exists.
    pub fn open_existing(&self, topics: &Topics) -> bool {
        let node = self.with_config(|config| config.node_id);
        self.follow(&topics.registry(), node);
        self.topic_id().is_some()
    }

    /// Makes the topic if it is not there (any more) and opens its partitions, on the active controller. Waits for the disk
    /// where it has to.
    pub fn ensure_open(&self, topics: &Topics, is_alone: bool) -> Result<(), GroupError> {
        if let Some(topic) = topics.topic(CONSUMER_OFFSETS) {
            if self.topic_id() != Some(topic.id()) {
                self.open_existing(topics);
                self.load();
            }
            return Ok(());
        }
        let is_alone = is_alone && topics.image().brokers.len() <= 1;
        let command = self.with_config(|config| offsets_topic(config, is_alone));
        match topics.create(&[command], false).pop() {
            // Another connection's request was faster.
            Some(Ok(_) | Err(CreateTopicError::AlreadyExists { .. })) if self.open_existing(topics) => Ok(()),
            Some(Err(error)) => Err(GroupError::NotAvailable(format!("{CONSUMER_OFFSETS} cannot be created: {error}"))),
            _ => Err(GroupError::NotAvailable(format!("{CONSUMER_OFFSETS} is being created"))),
        }
    }
}

/// `__consumer_offsets` as it is to be made: with `offsets.topic.replication.factor` replicas, however many brokers there are
/// at the moment, so that it is not made with too few while a cluster starts. Only a broker that is a cluster of its own
/// gets by with one.
pub fn offsets_topic(config: &Config, is_alone: bool) -> CreateTopic {
    let set = |key: &str, value: String| (key.to_owned(), Some(value));
    let factor = config.offsets_topic_replication_factor;
    CreateTopic {
        name: CONSUMER_OFFSETS.to_owned(),
        partitions: config.offsets_topic_num_partitions,
        replication_factor: if is_alone { factor.min(1) } else { factor },
        assignments: Vec::new(),
        configs: vec![
            set("cleanup.policy", "compact".to_owned()),
            set("compression.type", "producer".to_owned()),
            set("segment.bytes", config.offsets_topic_segment_bytes.to_string()),
        ],
    }
}
