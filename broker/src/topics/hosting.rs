//! Logs on disk and partitions in the metadata, brought together: at start those found are taken, later ones are made.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jackdaw_storage::{Log, LogDir, StorageError};
use uuid::Uuid;

use super::image::{Image, TopicImage};
use super::names;
use super::record::Record;
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
                log.update_config(self.config.shared_log());
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

    /// In the directory with the fewest partitions among those online that are not full.
    fn create(&self, index: i32) -> Result<(usize, Arc<Log>), StorageError> {
        let online =
            (0..self.load.len()).filter(|&dir| self.dirs[dir].dir().is_online() && !self.dirs[dir].dir().is_full());
        let dir = online.min_by_key(|&dir| self.load[dir]).unwrap_or(0);
        let log = self.dirs[dir].dir().create(&self.topic.name, self.topic.id, index, self.config.shared_log())?;
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
                if !store::is_metadata(&log) {
                    logs.entry((log.topic().to_owned(), log.partition())).or_default().push((dir, log));
                }
            }
        }
        FoundLogs { logs }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// The records that make topics of what was found, for a directory without metadata: another broker's, or one that
    /// lost them. Data comes first; configs can be set again.
    pub(super) fn adopted(&self, node_id: i32) -> Vec<Record> {
        let mut topics: BTreeMap<&str, (Uuid, Vec<i32>)> = BTreeMap::new();
        for ((topic, partition), logs) in &self.logs {
            let (id, epochs) = topics.entry(topic).or_default();
            let index = *partition as usize;
            epochs.resize(epochs.len().max(index + 1), 0);
            if let Some((_, log)) = logs.first() {
                // What is appended from now on belongs to no leadership that the log has seen.
                epochs[index] = log.latest_epoch().map_or(0, |epoch| epoch.saturating_add(1));
                if id.is_nil() {
                    *id = log.topic_id();
                }
            }
        }
        let records = |(name, (id, epochs)): (&str, (Uuid, Vec<i32>))| {
            let compact =
                (name == names::CONSUMER_OFFSETS).then(|| ("cleanup.policy".to_owned(), "compact".to_owned()));
            let id = if id.is_nil() { Uuid::new_v4() } else { id };
            let created = Record::TopicCreated {
                name: name.to_owned(),
                id,
                assignments: vec![vec![node_id]; epochs.len()],
                configs: compact.into_iter().collect(),
            };
            let raised = epochs.iter().any(|&epoch| epoch > 0).then_some(Record::LeaderEpochsRaised { id, epochs });
            std::iter::once(created).chain(raised)
        };
        topics.into_iter().flat_map(records).collect()
    }

    pub(super) fn take(&mut self, topic: &TopicImage, partition: i32) -> Option<(usize, Arc<Log>)> {
        let logs = self.logs.get_mut(&(topic.name.to_string(), partition))?;
        let at = logs.iter().position(|(_, log)| is_of(log, topic))?;
        Some(logs.swap_remove(at))
    }

    /// Takes out what no partition of `image` accounts for, and a second copy of what one does. Before any log is made:
    /// a stray may stand in its place.
    pub(super) fn set_strays_aside(&mut self, image: &Image, node_id: i32, dirs: &[Arc<Flusher>]) {
        for ((topic, partition), logs) in &mut self.logs {
            let topic = image.topic(topic);
            let hosted = topic.and_then(|topic| topic.partitions.get(*partition as usize));
            let ours = hosted.is_some_and(|partition| partition.replicas.contains(&node_id));
            let mut taken = false;
            logs.retain(|(dir, log)| {
                let keep = ours && !taken && topic.is_some_and(|topic| is_of(log, topic));
                taken |= keep;
                if !keep {
                    set_aside(log, dirs[*dir].dir());
                }
                keep
            });
        }
    }
}

/// A log without an id is from before ids, and known by its name.
fn is_of(log: &Log, topic: &TopicImage) -> bool {
    log.topic_id() == topic.id || log.topic_id().is_nil()
}

fn set_aside(log: &Arc<Log>, dir: &LogDir) {
    let (topic, partition, id) = (log.topic(), log.partition(), log.topic_id());
    match dir.set_aside(log) {
        Ok(path) => tracing::warn!(
            topic, partition, %id, path = %path.display(),
            "a partition on disk belongs to no topic: its directory was set aside; delete it if it is not needed"
        ),
        Err(error) => tracing::error!(topic, partition, %id, %error, "cannot set a stray partition aside"),
    }
}
