//! How `__consumer_offsets` comes to be, and its partitions to the coordinator.

use super::Groups;
use crate::config::Config;
use crate::group::GroupError;
use crate::topics::catalog::{CreateTopic, CreateTopicError};
use crate::topics::names::CONSUMER_OFFSETS;
use crate::topics::{Topic, Topics};

impl Groups {
    /// Opens the partitions of `__consumer_offsets` if the topic exists.
    pub fn open_existing(&self, topics: &Topics) -> bool {
        let Some(topic) = topics.topic(CONSUMER_OFFSETS) else { return false };
        self.open_topic(&topic);
        true
    }

    /// Makes the topic if it is not there (any more) and opens its partitions. Waits for the disk where it has to.
    pub fn ensure_open(&self, topics: &Topics) -> Result<(), GroupError> {
        if let Some(topic) = topics.topic(CONSUMER_OFFSETS) {
            if self.topic_id() != Some(topic.id()) {
                self.open_topic(&topic);
                self.load();
            }
            return Ok(());
        }
        let command = self.with_config(offsets_topic);
        match topics.create(&[command], false).pop() {
            // Another connection's request was faster.
            Some(Ok(_) | Err(CreateTopicError::AlreadyExists { .. })) if self.open_existing(topics) => Ok(()),
            Some(Err(error)) => Err(GroupError::NotAvailable(format!("{CONSUMER_OFFSETS} cannot be created: {error}"))),
            _ => Err(GroupError::NotAvailable(format!("{CONSUMER_OFFSETS} is being created"))),
        }
    }

    fn open_topic(&self, topic: &Topic) {
        let count = i32::try_from(topic.image.partitions.len()).unwrap_or(i32::MAX);
        let partitions: Vec<_> = (0..count).map(|index| topic.partition(index).ok().cloned()).collect();
        self.open(topic.id(), &partitions);
    }
}

fn offsets_topic(config: &Config) -> CreateTopic {
    let set = |key: &str, value: String| (key.to_owned(), Some(value));
    CreateTopic {
        name: CONSUMER_OFFSETS.to_owned(),
        partitions: config.offsets_topic_num_partitions,
        // As many as there are brokers to hold them, like Kafka's own tools for one broker set it.
        replication_factor: config.offsets_topic_replication_factor.min(1),
        assignments: Vec::new(),
        configs: vec![
            set("cleanup.policy", "compact".to_owned()),
            set("compression.type", "producer".to_owned()),
            set("segment.bytes", config.offsets_topic_segment_bytes.to_string()),
        ],
    }
}
