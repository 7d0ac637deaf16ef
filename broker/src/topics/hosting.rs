//! Logs on disk and partitions in the metadata, brought together: at start those found are taken, later ones are made.

use std::collections::HashMap;
use std::sync::Arc;

use jackdaw_storage::{Log, StorageError};

use super::image::TopicImage;
use super::registry::Hosted;
use super::store;
use crate::config::TopicConfig;
use crate::partition::{Flusher, Partition};

/// Opens the partitions of one topic.
pub(super) struct Opener<'a> {
    pub(super) node_id: i32,
    pub(super) dirs: &'a [Arc<Flusher>],
    pub(super) topic: &'a TopicImage,
    pub(super) config: &'a Arc<TopicConfig>,
    pub(super) found: &'a mut FoundLogs,
    /// Partitions in each directory.
    pub(super) load: &'a mut [usize],
}

impl Opener<'_> {
    /// Keeps an open partition, takes its log among those found, or makes one. None if it is another broker's.
    pub(super) fn host(&mut self, index: usize, open: Option<Hosted>) -> Result<Option<Hosted>, StorageError> {
        let partition = &self.topic.partitions[index];
        if !partition.replicas.contains(&self.node_id) {
            return Ok(None);
        }
        if let Some(open) = open {
            open.partition.set_config(self.config.clone());
            open.partition.set_leader_epoch(partition.leader_epoch);
            return Ok(Some(open));
        }
        let index = index as i32;
        let (dir, log) = match self.found.take(self.topic, index) {
            Some((dir, log)) => {
                log.update_config(self.config.log());
                (dir, log)
            }
            None => self.create(index)?,
        };
        self.load[dir] += 1;
        let flusher = self.dirs[dir].clone();
        let open = Partition::new(self.topic.name.clone(), self.topic.id, index, log, self.config.clone(), flusher);
        open.set_leader_epoch(partition.leader_epoch);
        Ok(Some(Hosted { partition: open, dir }))
    }

    /// In the directory with the fewest partitions among those online.
    fn create(&self, index: i32) -> Result<(usize, Arc<Log>), StorageError> {
        let online = (0..self.load.len()).filter(|&dir| self.dirs[dir].dir().is_online());
        let dir = online.min_by_key(|&dir| self.load[dir]).unwrap_or(0);
        let log = self.dirs[dir].dir().create(&self.topic.name, self.topic.id, index, self.config.log())?;
        Ok((dir, log))
    }
}

/// Topic and partition.
type Name = (String, i32);

/// Logs that were on disk at start and that no partition has taken yet, with the directory of each.
#[derive(Default)]
pub(super) struct FoundLogs {
    logs: HashMap<Name, Vec<(usize, Arc<Log>)>>,
}

impl FoundLogs {
    pub(super) fn scan(dirs: &[Arc<Flusher>]) -> FoundLogs {
        let mut logs: HashMap<_, Vec<_>> = HashMap::new();
        for (dir, flusher) in dirs.iter().enumerate() {
            for log in flusher.dir().logs() {
                if !(dir == 0 && store::is_metadata(&log)) {
                    logs.entry((log.topic().to_owned(), log.partition())).or_default().push((dir, log));
                }
            }
        }
        FoundLogs { logs }
    }

    /// A log without an id is from before ids and is known by its name.
    fn take(&mut self, topic: &TopicImage, partition: i32) -> Option<(usize, Arc<Log>)> {
        let logs = self.logs.get_mut(&(topic.name.to_string(), partition))?;
        let at = logs.iter().position(|(_, log)| log.topic_id() == topic.id || log.topic_id().is_nil())?;
        Some(logs.swap_remove(at))
    }

    pub(super) fn set_strays_aside(self, dirs: &[Arc<Flusher>]) {
        for (dir, log) in self.logs.into_values().flatten() {
            let (topic, partition, id) = (log.topic(), log.partition(), log.topic_id());
            let path = dirs[dir].dir().path().display();
            tracing::warn!(topic, partition, %id, dir = %path, "a partition on disk belongs to no topic");
        }
    }
}
