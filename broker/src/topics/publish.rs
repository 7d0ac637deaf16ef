//! What was agreed on takes effect on this node: settings, logs and roles of partitions, then the image that handlers
//! read. One thread does it, in the order of the changes.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use jackdaw_storage::StorageError;
use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

use super::hosting::{FoundLogs, Opener};
use super::image::{Configs, Image, TopicImage};
use super::machine::{News, Touched};
use super::placement::Candidate;
use super::{Registry, Topic, Topics};
use crate::config::TopicConfig;
use crate::partition::{Flusher, Partition};

/// Told after each publication, on the publisher's thread: it should not take long.
pub type Listener = dyn Fn(&Arc<Registry>) + Send + Sync;

/// What has been published.
#[derive(Default)]
pub(super) struct Published {
    state: Mutex<State>,
    changed: Condvar,
    listeners: Mutex<Vec<Arc<Listener>>>,
}

#[derive(Default)]
struct State {
    version: u64,
    closed: bool,
    /// Topics of which a partition could not be opened, with the reason.
    failed: HashMap<Uuid, String>,
}

impl Published {
    fn tell(&self, image: &Image, failed: HashMap<Uuid, StorageError>) {
        let mut state = self.state.lock();
        state.failed.retain(|id, _| image.topic_by_id(*id).is_some());
        state.failed.extend(failed.into_iter().map(|(id, error)| (id, error.to_string())));
        state.version = image.version;
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until that version is published; false if it never will be.
    pub(super) fn wait_for(&self, version: u64) -> bool {
        let mut state = self.state.lock();
        while state.version < version && !state.closed {
            self.changed.wait(&mut state);
        }
        state.version >= version
    }

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    fn version(&self) -> u64 {
        self.state.lock().version
    }

    /// Which of these topics have a partition that could not be opened, and why.
    pub(super) fn failed(&self, topics: &[Uuid]) -> HashMap<Uuid, String> {
        let state = self.state.lock();
        topics.iter().filter_map(|id| Some((*id, state.failed.get(id)?.clone()))).collect()
    }
}

/// Publishes until the topics are gone, or nothing can change any more.
pub(super) fn run(topics: &Weak<Topics>, news: &News) {
    loop {
        let Some(version) = topics.upgrade().map(|topics| topics.published.version()) else { return };
        if !news.wait_beyond(version) {
            return;
        }
        let Some(topics) = topics.upgrade() else { return };
        topics.publish(&mut FoundLogs::default(), false);
    }
}

impl Topics {
    /// Has `listener` told of every publication from now on, and of what is published already.
    pub fn on_publish(&self, listener: Arc<Listener>) {
        self.published.listeners.lock().push(listener.clone());
        listener(&self.registry());
    }

    /// Publishes all that was applied. `found` are logs that lie on the disk already; `everything` looks at every topic.
    pub(super) fn publish(&self, found: &mut FoundLogs, everything: bool) {
        let _hosting = self.hosting.lock();
        let (image, touched) =
            self.quorum.look(|machine| (Arc::new(machine.catalog().image().clone()), self.quorum.news().take()));
        let before = self.registry.load_full();
        let mut touched = self.follow_configs(&before.image, &image, touched);
        self.view.learn(&image);
        if everything {
            // Under the lock: who publishes beside this one does not know what was found, and would make empty logs.
            self.hosts.store(true, Ordering::Release);
        }
        if !self.hosts.load(Ordering::Acquire) {
            // It is not known yet which of the logs on the disk are still wanted.
            touched.clear();
        } else if everything {
            touched = image.topics().map(|topic| topic.id).collect();
        }
        let failed = self.reconcile(&image, &touched, found);
        let registry = self.registry.load_full();
        let listeners = self.published.listeners.lock().clone();
        listeners.iter().for_each(|listener| listener(&registry));
        // Last: who waited for a change finds that everybody here knows of it.
        self.published.tell(&image, failed);
    }

    /// Puts settings made at run time into effect; the topics to look at, which are all where their defaults changed.
    fn follow_configs(&self, before: &Image, image: &Image, touched: Touched) -> Vec<Uuid> {
        let own = |image: &Image| image.broker_configs.get(&self.node_id).cloned().unwrap_or_default();
        if before.cluster_configs != image.cluster_configs || own(before) != own(image) {
            let (all, own): (Configs, Configs) = (Configs::clone(&image.cluster_configs), own(image));
            let (config, dropped) = self.config.load().with_stored_dynamic(all, own);
            for error in dropped {
                tracing::warn!(%error, "a setting made at run time does not hold here and is not in effect");
            }
            self.config.store(Arc::new(config));
            return image.topics().chain(before.topics()).map(|topic| topic.id).collect();
        }
        match touched.everything {
            true => different(before, image),
            false => touched.topics.into_iter().collect(),
        }
    }

    /// Makes what is open here match the metadata of the `touched` topics, and publishes both; the topics of which a
    /// partition is offline, with the reason.
    fn reconcile(&self, image: &Arc<Image>, touched: &[Uuid], found: &mut FoundLogs) -> HashMap<Uuid, StorageError> {
        let mut registry = Registry::clone(&self.registry.load());
        let mut failed = HashMap::new();
        let mut left = Vec::new();
        let mut load = self.candidates(&registry);
        let config = self.config.load();
        let defaults = Arc::new(config.topic_defaults.clone());
        for &id in touched {
            let Some(topic) = image.topic_by_id(id) else {
                let gone = registry.remove(id);
                left.extend(gone.iter().flat_map(|topic| topic.partitions()).cloned());
                continue;
            };
            let config = match topic.configs.is_empty() {
                true => defaults.clone(),
                false => Arc::new(TopicConfig::resolve(&topic.configs, &config)),
            };
            let before = registry.topic_by_id(id).cloned();
            let (node_id, dirs, moves) = (self.node_id, &self.dirs[..], &self.moves);
            let view = &self.view;
            let (left, load) = (&mut left, &mut load);
            let mut opener = Opener { node_id, dirs, moves, topic, config: &config, found, load, left, view };
            let hosted = (0..topic.partitions.len()).map(|index| {
                opener.settle(index, before.as_deref()).unwrap_or_else(|error| {
                    tracing::error!(topic = %topic.name, partition = index, %error, "cannot open a partition");
                    failed.insert(id, error);
                    None
                })
            });
            let hosted = hosted.collect();
            registry.put(Topic { image: topic.clone(), config, node_id, hosted });
        }
        registry.image = image.clone();
        self.registry.store(Arc::new(registry));
        self.detach_logs(&left);
        failed
    }

    /// Whether `cordoned.log.dirs` names the `dir`-th log directory.
    pub fn is_cordoned(&self, dir: usize) -> bool {
        let config = self.config.load();
        let path = self.dirs[dir].dir().path();
        config.cordoned_log_dirs.iter().any(|entry| entry == "*" || std::path::Path::new(entry) == path)
    }

    /// Whether it names all of them: this broker takes no new partition.
    pub fn is_all_cordoned(&self) -> bool {
        !self.dirs.is_empty() && (0..self.dirs.len()).all(|dir| self.is_cordoned(dir))
    }

    fn candidates(&self, registry: &Registry) -> Vec<Candidate> {
        let candidate = |(dir, flusher): (usize, &Arc<Flusher>)| Candidate {
            partitions: 0,
            is_online: flusher.dir().is_online(),
            is_full: flusher.dir().is_full(),
            is_cordoned: self.is_cordoned(dir),
        };
        let mut candidates: Vec<Candidate> = self.dirs.iter().enumerate().map(candidate).collect();
        for partition in registry.topics().flat_map(|topic| topic.hosted.iter().flatten()) {
            candidates[self.dir_of(partition)].partitions += 1;
        }
        candidates
    }

    fn dir_of(&self, partition: &Partition) -> usize {
        let flusher = partition.flusher();
        self.dirs.iter().position(|dir| Arc::ptr_eq(dir, &flusher)).expect("partitions live in these directories")
    }

    /// Takes the logs of partitions that are not this broker's any more out of service; their files go with
    /// housekeeping's `purge`.
    fn detach_logs(&self, partitions: &[Arc<Partition>]) {
        let mut by_dir = vec![Vec::new(); self.dirs.len()];
        for partition in partitions {
            by_dir[self.dir_of(partition)].push(partition.log().clone());
        }
        for (flusher, logs) in self.dirs.iter().zip(&by_dir) {
            if let Err(error) = flusher.dir().detach(logs) {
                let dir = flusher.dir().path().display();
                tracing::error!(%dir, %error, "cannot delete logs that are not needed any more");
            }
        }
        partitions.iter().for_each(|partition| partition.wake_fetches());
    }
}

/// The topics that differ. Images share what is the same, so most cost a comparison of pointers.
fn different(before: &Image, after: &Image) -> Vec<Uuid> {
    let gone = before.topics().filter(|topic| after.topic_by_id(topic.id).is_none()).map(|topic| topic.id);
    let is_same = |known: &Arc<TopicImage>, topic: &Arc<TopicImage>| Arc::ptr_eq(known, topic) || known == topic;
    let is_other = |topic: &&Arc<TopicImage>| !before.topic_by_id(topic.id).is_some_and(|known| is_same(known, topic));
    gone.chain(after.topics().filter(is_other).map(|topic| topic.id)).collect()
}
