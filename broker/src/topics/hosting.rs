//! Logs on disk and partitions in the metadata, brought together: at start those found are taken, later ones are made.

use std::collections::BTreeMap;
use std::sync::Arc;

use jackdaw_storage::{Log, LogDir, StorageError};
use uuid::Uuid;

use super::image::{Image, TopicImage};
use super::moves::Moves;
use super::names;
use super::placement::{Candidate, choose};
use super::record::Record;
use super::{Topic, store};
use crate::config::TopicConfig;
use crate::partition::{Flusher, Partition};
use crate::replication::View;

/// Opens the partitions of one topic.
pub(super) struct Opener<'a> {
    pub(super) node_id: i32,
    pub(super) dirs: &'a [Arc<Flusher>],
    pub(super) topic: &'a TopicImage,
    pub(super) config: &'a Arc<TopicConfig>,
    pub(super) found: &'a mut FoundLogs,
    /// What is known of each directory.
    pub(super) load: &'a mut [Candidate],
    pub(super) moves: &'a Moves,
    /// Takes what was hosted and is another broker's now.
    pub(super) left: &'a mut Vec<Arc<Partition>>,
    /// What the partitions see of the cluster.
    pub(super) view: &'a Arc<View>,
}

impl Opener<'_> {
    /// The partition as it should be, given what it was `before`.
    pub(super) fn settle(
        &mut self,
        index: usize,
        before: Option<&Topic>,
    ) -> Result<Option<Arc<Partition>>, StorageError> {
        let is_ours = self.topic.partitions[index].replicas.contains(&self.node_id);
        match before.and_then(|before| Some((before.image.partitions.get(index)?, before.hosted.get(index)?))) {
            Some((_, Some(open))) if is_ours => Ok(Some(self.keep(index, open))),
            Some((_, Some(open))) => {
                self.left.push(self.keep(index, open));
                Ok(None)
            }
            // One that is offline stays so: an empty log elsewhere would hide that it is.
            Some((was, None)) if was.replicas.contains(&self.node_id) => Ok(None),
            _ => self.host(index),
        }
    }

    /// Keeps an open partition, with the settings and the role of now.
    fn keep(&self, index: usize, open: &Arc<Partition>) -> Arc<Partition> {
        open.set_config(self.config.clone());
        open.update_role(self.view, &self.topic.partitions[index]);
        open.clone()
    }

    /// Takes a partition's log among those found, or makes one. None if it is another broker's, or in a directory that is
    /// not here.
    fn host(&mut self, index: usize) -> Result<Option<Arc<Partition>>, StorageError> {
        let partition = &self.topic.partitions[index];
        if !partition.replicas.contains(&self.node_id) {
            return Ok(None);
        }
        let index = index as i32;
        let (dir, log) = match self.found.take(self.topic, index) {
            Some((dir, log)) => {
                log.update_config(self.config.shared_log());
                (dir, log)
            }
            None if !self.found.absent.is_empty() => {
                let topic = &self.topic.name;
                tracing::error!(%topic, partition = index, "offline: it is in none of the log directories that are here");
                self.found.offline += 1;
                return Ok(None);
            }
            None => self.create(index)?,
        };
        self.load[dir].partitions += 1;
        let flusher = self.dirs[dir].clone();
        let open = Partition::new(self.topic.name.clone(), self.topic.id, index, log, self.config.clone(), flusher);
        open.update_role(self.view, partition);
        Ok(Some(open))
    }

    fn create(&self, index: i32) -> Result<(usize, Arc<Log>), StorageError> {
        let wish = self.moves.take_wish(&self.topic.name, index);
        // If none is online, the first one says why.
        let dir = choose(self.load, wish).unwrap_or(0);
        let log = self.dirs[dir].dir().create(&self.topic.name, self.topic.id, index, self.config.shared_log())?;
        Ok((dir, log))
    }
}

/// A log that was on disk at start.
struct Found {
    dir: usize,
    log: Arc<Log>,
    /// A partition has it, or it was set aside.
    is_settled: bool,
}

impl Found {
    fn name(&self) -> (&str, i32) {
        (self.log.topic(), self.log.partition())
    }
}

/// Logs that were on disk at start, with the directory of each. By name, in one piece of memory: there may be a hundred
/// thousand, and what a start leaves behind between them would stay.
#[derive(Default)]
pub(super) struct FoundLogs {
    logs: Vec<Found>,
    /// Log directories that should be here and are not, as the operator is told of them: what is not found may be there.
    pub(super) absent: Vec<String>,
    /// Partitions that may be there.
    pub(super) offline: usize,
}

impl FoundLogs {
    pub(super) fn scan(dirs: &[Arc<Flusher>]) -> FoundLogs {
        let mut logs = Vec::new();
        for (dir, flusher) in dirs.iter().enumerate() {
            let here = flusher.dir().logs().into_iter().filter(|log| !store::is_metadata(log));
            logs.extend(here.map(|log| Found { dir, log, is_settled: false }));
        }
        // Stable: of two under one name, that of the earlier directory comes first.
        logs.sort_by(|one, other| one.name().cmp(&other.name()));
        FoundLogs { logs, ..FoundLogs::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// The records that make topics of what was found, for a directory without metadata: another broker's, or one that
    /// lost them. Data comes first; configs can be set again.
    pub(super) fn adopted(&self, node_id: i32) -> Vec<Record> {
        let mut topics: BTreeMap<&str, (Uuid, Vec<i32>)> = BTreeMap::new();
        for logs in self.logs.chunk_by(|one, other| one.name() == other.name()) {
            let Some(Found { log, .. }) = logs.first() else { continue };
            let (id, epochs) = topics.entry(log.topic()).or_default();
            let index = log.partition() as usize;
            epochs.resize(epochs.len().max(index + 1), 0);
            // What is appended from now on belongs to no leadership that the log has seen.
            epochs[index] = log.latest_epoch().map_or(0, |epoch| epoch.saturating_add(1));
            if id.is_nil() {
                *id = log.topic_id();
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
        let name = (&*topic.name, partition);
        let first = self.logs.partition_point(|found| found.name() < name);
        let mut of_name = self.logs[first..].iter_mut().take_while(|found| found.name() == name);
        let found = of_name.find(|found| !found.is_settled && is_of(&found.log, topic))?;
        found.is_settled = true;
        Some((found.dir, found.log.clone()))
    }

    /// Takes out what no partition of `image` accounts for, and a second copy of what one does. Before any log is made:
    /// a stray may stand in its place.
    pub(super) fn set_strays_aside(&mut self, image: &Image, node_id: i32, dirs: &[Arc<Flusher>]) {
        for logs in self.logs.chunk_by_mut(|one, other| one.name() == other.name()) {
            let (topic, partition) = logs[0].name();
            let topic = image.topic(topic);
            let hosted = topic.and_then(|topic| topic.partitions.get(partition as usize));
            let ours = hosted.is_some_and(|partition| partition.replicas.contains(&node_id));
            let is_its = |log: &Arc<Log>| ours && topic.is_some_and(|topic| is_of(log, topic));
            let of_it = logs.iter().filter(|found| is_its(&found.log));
            let kept = of_it.max_by_key(|found| reach(found.dir, &found.log)).map(|found| found.log.clone());
            for Found { dir, log, is_settled } in logs {
                match &kept {
                    Some(kept) if Arc::ptr_eq(kept, log) => continue,
                    Some(kept) if is_its(log) && is_covered(log, kept) => remove_copy(log, dirs[*dir].dir()),
                    _ => set_aside(log, dirs[*dir].dir()),
                }
                *is_settled = true;
            }
        }
    }
}

/// Which of two logs under one name is the partition: both are there if a move to another directory was interrupted just
/// when the copy took over, or if the old one's directory had failed, and the one that reaches further was appended to
/// last. If both reach as far, they hold the same but for what was deleted at the front; then the one goes first of which
/// more is known to be on the disk.
fn reach(dir: usize, log: &Log) -> (bool, i64, i64, i64, std::cmp::Reverse<usize>) {
    let (end, synced, start) = (log.log_end_offset(), log.flushed_offset(), log.log_start_offset());
    (log.quarantine().is_none(), end, start, synced, std::cmp::Reverse(dir))
}

/// Whether nothing is lost without `log`.
fn is_covered(log: &Log, kept: &Log) -> bool {
    kept.quarantine().is_none() && log.log_end_offset() <= kept.log_end_offset() && log.topic_id() == kept.topic_id()
}

fn remove_copy(log: &Arc<Log>, dir: &LogDir) {
    let (topic, partition, path) = (log.topic(), log.partition(), log.path().display());
    match dir.detach(std::slice::from_ref(log)) {
        Ok(_) => tracing::warn!(topic, partition, %path, "the second copy of a partition, left by a move, is removed"),
        Err(error) => tracing::error!(topic, partition, %path, %error, "cannot remove the second copy of a partition"),
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
