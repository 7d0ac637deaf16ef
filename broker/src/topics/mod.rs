//! Topics, their partitions and configs: what exists, and where.
//!
//! Reading order: `record` (the changes that can happen), `image` (what they add up to), `brokers` (what follows for partitions when brokers come and go), `names` (which names a topic
//! may have), `catalog` (commands in, records or errors out), `store` (the log of records), `registry` (what is open
//! here), `hosting` (how it is opened), `dynamic` (settings of brokers and groups), and this file, which ties them: a command becomes records, the records become durable, are applied, and then
//! logs are made or deleted until they match. The quorum will take the place of the second step.

mod brokers;
pub mod catalog;
mod dynamic;
mod hosting;
pub mod image;
mod known_dirs;
mod moves;
pub mod names;
mod placement;
pub mod record;
pub mod registry;
pub mod seed;
pub mod store;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use jackdaw_storage::StorageError;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::clock::Clock;
use crate::config::{Config, TopicConfig};
use crate::controller::placement::{Broker, State};
use crate::controller::size_rule;
use crate::dirs::FailedDir;
use crate::partition::{Flusher, Partition};
use crate::replication::View;

use catalog::{
    AddPartitions, AddPartitionsError, Catalog, CheckConfigs, CreateTopic, CreateTopicError, PRODUCER_ID_BLOCK, Rules,
};
pub use dynamic::AlterBrokerConfigsError;
use hosting::{FoundLogs, Opener};
use image::{Configs, Image, TopicImage};
use moves::Moves;
pub(crate) use moves::absolute;
pub use moves::{FutureReplica, MoveError};
use placement::Candidate;
use record::Record;
pub use registry::{FindError, Registry, Topic};
use store::Store;
pub use store::StoreError;
/// Why the metadata cannot be read at start.
pub use store::StoreError as OpenError;

/// The level of `metadata.version` that a fresh data directory is formatted with: that of Kafka 4.1 (4.1-IV1).
const METADATA_VERSION_LEVEL: i16 = 27;

/// All topics of this broker. Readers take an immutable [`Registry`]; commands take turns.
pub struct Topics {
    node_id: i32,
    clock: Arc<Clock>,
    config: Arc<ArcSwap<Config>>,
    /// One log directory each.
    dirs: Vec<Arc<Flusher>>,
    /// Those that could not be opened.
    failed_dirs: Vec<FailedDir>,
    moves: Moves,
    writer: Mutex<Writer>,
    registry: ArcSwap<Registry>,
    view: Arc<View>,
    producer_ids: Mutex<Range<i64>>,
    /// Partitions may be in log directories that are not here.
    has_offline: AtomicBool,
}

struct Writer {
    catalog: Catalog,
    store: Store,
}

/// What bringing logs in step with the metadata came to.
struct Reconciled {
    /// Topics of which a partition is offline, with the reason.
    failed: HashMap<Uuid, StorageError>,
}

/// A topic that was created, or could be.
#[derive(Clone, Debug)]
pub struct CreatedTopic {
    pub image: Arc<TopicImage>,
    pub config: Arc<TopicConfig>,
}

/// Why a topic was not deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteTopicError {
    #[error("This server does not host this topic ID.")]
    UnknownTopicId,
    #[error("{0}")]
    Storage(String),
}

/// Why the metadata was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Another node decides, or nobody at the moment.
    #[error("this node is not the active controller{}", leader.map_or(String::new(), |id| format!("; node {id} is")))]
    NotController {
        /// Who is, if that is known.
        leader: Option<i32>,
    },
    /// The record could not be made durable.
    #[error(transparent)]
    Storage(#[from] StoreError),
}

/// Why configs were not changed.
#[derive(Debug, thiserror::Error)]
pub enum AlterConfigsError<E> {
    #[error("This server does not host this topic-partition.")]
    UnknownTopic,
    /// The caller's own check.
    #[error("{0}")]
    Refused(E),
    #[error("{0}")]
    Storage(String),
}

impl Topics {
    /// Replays the metadata, opens what this broker hosts, and sets aside what no topic accounts for.
    ///
    /// # Errors
    /// The metadata log cannot be read or written. A partition that cannot be opened is offline, and no error.
    pub fn open(
        dirs: Vec<Arc<Flusher>>,
        failed_dirs: Vec<FailedDir>,
        config: Arc<ArcSwap<Config>>,
        clock: Arc<Clock>,
    ) -> Result<Topics, OpenError> {
        let store = Store::open(&dirs.iter().map(|flusher| flusher.dir().clone()).collect::<Vec<_>>(), &failed_dirs)?;
        let mut catalog = Catalog::default();
        store.replay(&mut catalog)?;
        let (node_id, lag_max) = (config.load().node_id, config.load().replica_lag_time_max_ms);
        let topics = Topics {
            node_id,
            view: View::new(node_id, clock.clone(), Duration::from_millis(lag_max)),
            clock,
            config,
            dirs,
            failed_dirs,
            moves: Moves::default(),
            writer: Mutex::new(Writer { catalog, store }),
            registry: ArcSwap::default(),
            producer_ids: Mutex::new(0..0),
            has_offline: AtomicBool::new(false),
        };
        topics.host_everything()?;
        Ok(topics)
    }

    fn host_everything(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        self.load_dynamic_configs(writer.catalog.image())?;
        let mut found = FoundLogs::scan(&self.dirs);
        if writer.catalog.image().version == 0 && !found.is_empty() {
            let adopted = found.adopted(self.node_id);
            tracing::warn!(
                topics = adopted.len(),
                "there is no metadata: topics are taken over as found, with default configs"
            );
            self.commit(&mut writer, &adopted)?;
        }
        found.set_strays_aside(writer.catalog.image(), self.node_id, &self.dirs);
        found.absent = self.absent_dirs(writer.catalog.image());
        let touched: Vec<Uuid> = writer.catalog.image().topics().map(|topic| topic.id).collect();
        for (_, error) in self.reconcile(&writer, &touched, &mut found).failed {
            tracing::error!(%error, "a partition is offline");
        }
        self.note_offline(&found);
        Ok(())
    }

    /// What partitions see of the cluster.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The metadata as of now.
    pub fn image(&self) -> Arc<Image> {
        self.registry.load().image.clone()
    }

    /// Everything hosted as of now.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.load_full()
    }

    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.registry.load().topic(name).cloned()
    }

    /// The topic of that id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.registry.load().topic_by_id(id).cloned()
    }

    /// The partition, if it exists and is online.
    pub fn partition(&self, topic: &str, index: i32) -> Option<Arc<Partition>> {
        self.find(topic, index).ok()
    }

    /// The partition of a topic named by id, if it exists and is online.
    pub fn partition_by_id(&self, id: Uuid, index: i32) -> Option<Arc<Partition>> {
        self.registry.load().topic_by_id(id)?.partition(index).ok().cloned()
    }

    /// The partition, or why there is none.
    pub fn find(&self, topic: &str, index: i32) -> Result<Arc<Partition>, FindError> {
        self.registry.load().topic(topic).ok_or(FindError::UnknownTopic)?.partition(index).cloned()
    }

    /// Log directories that could not be opened.
    pub fn failed_dirs(&self) -> &[FailedDir] {
        &self.failed_dirs
    }

    /// The log directories that could be opened.
    pub fn dirs(&self) -> &[Arc<Flusher>] {
        &self.dirs
    }

    /// The partitions in the `dir`-th log directory.
    pub fn partitions_in(&self, dir: usize) -> Vec<Arc<Partition>> {
        let registry = self.registry.load();
        let hosted = registry.topics().flat_map(|topic| topic.hosted.iter().flatten());
        hosted.filter(|partition| Arc::ptr_eq(&partition.flusher(), &self.dirs[dir])).cloned().collect()
    }

    /// Whether any log directory is online.
    pub fn takes_writes(&self) -> bool {
        self.dirs.iter().any(|flusher| flusher.dir().is_online())
    }

    /// Whether `cordoned.log.dirs` names the `dir`-th log directory.
    pub fn is_cordoned(&self, dir: usize) -> bool {
        let config = self.config.load();
        let path = self.dirs[dir].dir().path();
        config.cordoned_log_dirs.iter().any(|entry| entry == "*" || std::path::Path::new(entry) == path)
    }

    /// Creates topics, each or none of its partitions; results are in the order of `commands`. With `validate_only`
    /// nothing changes. Waits for the disk.
    pub fn create(&self, commands: &[CreateTopic], validate_only: bool) -> Vec<Result<CreatedTopic, CreateTopicError>> {
        let mut writer = self.writer.lock();
        let config = self.config.load_full();
        let catalog = &writer.catalog;
        let mut results =
            catalog.create_topics(commands, &self.rules(catalog.image(), &config, &check_with(&config, catalog)));
        let records: Vec<Record> = results.iter().flatten().cloned().collect();
        if !validate_only && !records.is_empty() {
            if let Err(error) = self.check_room() {
                fail_all(&mut results, CreateTopicError::Storage(error));
            } else if let Err(error) = self.commit(&mut writer, &records) {
                fail_all(&mut results, CreateTopicError::Storage(error.to_string()));
            } else {
                let failed = self.reconcile(&writer, &ids(&records), &mut FoundLogs::default()).failed;
                self.take_back(&mut writer, failed, &mut results);
            }
        }
        results.into_iter().map(|result| Ok(created(&result?, &config))).collect()
    }

    /// Refuses new partitions while every log directory is full, before anything of them is written down.
    fn check_room(&self) -> Result<(), String> {
        let has_room = |flusher: &Arc<Flusher>| flusher.dir().is_online() && !flusher.dir().is_full();
        if self.dirs.iter().any(has_room) || !self.dirs.iter().any(|flusher| flusher.dir().is_full()) {
            return Ok(());
        }
        Err("every log directory is full or offline: free some space, then try again".to_owned())
    }

    /// Removes topics whose logs could not be made, so that the client may try again.
    fn take_back(
        &self,
        writer: &mut Writer,
        failed: HashMap<Uuid, StorageError>,
        results: &mut [Result<Record, CreateTopicError>],
    ) {
        if failed.is_empty() {
            return;
        }
        let records: Vec<Record> = failed.keys().map(|id| Record::TopicRemoved { id: *id }).collect();
        match self.commit(writer, &records) {
            Ok(()) => {
                self.reconcile(writer, &ids(&records), &mut FoundLogs::default());
            }
            Err(error) => tracing::error!(%error, "a topic without logs stays, its partitions offline"),
        }
        for result in results {
            if let Ok(Record::TopicCreated { id, .. }) = result
                && let Some(error) = failed.get(id)
            {
                *result = Err(CreateTopicError::Storage(error.to_string()));
            }
        }
    }

    /// Creates topics that clients mentioned, with the broker's defaults; one that has come to be meanwhile is fine.
    pub fn auto_create(&self, topics: &[String]) -> Vec<Result<Arc<Topic>, CreateTopicError>> {
        let commands: Vec<_> = topics.iter().map(|name| CreateTopic::with_defaults(name)).collect();
        let results = self.create(&commands, false);
        let registry = self.registry.load();
        let topic = |(result, name): (Result<_, CreateTopicError>, &String)| match (result, registry.topic(name)) {
            (Ok(_) | Err(CreateTopicError::AlreadyExists { .. }), Some(topic)) => Ok(topic.clone()),
            (Ok(_), None) => Err(CreateTopicError::Storage(format!("topic {name} was deleted at once"))),
            (Err(error), _) => Err(error),
        };
        results.into_iter().zip(topics).map(topic).collect()
    }

    /// Adds partitions; results are in the order of `commands`. Waits for the disk.
    pub fn add_partitions(
        &self,
        commands: &[AddPartitions],
        validate_only: bool,
    ) -> Vec<Result<(), AddPartitionsError>> {
        let mut writer = self.writer.lock();
        let config = self.config.load_full();
        let catalog = &writer.catalog;
        let mut results =
            catalog.add_partitions(commands, &self.rules(catalog.image(), &config, &check_with(&config, catalog)));
        let records: Vec<Record> = results.iter().flatten().cloned().collect();
        if !validate_only && !records.is_empty() {
            if let Err(error) = self.check_room() {
                fail_all(&mut results, AddPartitionsError::Storage(error));
            } else if let Err(error) = self.commit(&mut writer, &records) {
                fail_all(&mut results, AddPartitionsError::Storage(error.to_string()));
            } else {
                let failed = self.reconcile(&writer, &ids(&records), &mut FoundLogs::default()).failed;
                for result in &mut results {
                    if let Ok(Record::PartitionsAdded { id, .. }) = result
                        && let Some(error) = failed.get(id)
                    {
                        *result = Err(AddPartitionsError::Storage(error.to_string()));
                    }
                }
            }
        }
        results.into_iter().map(|result| result.map(|_| ())).collect()
    }

    /// Deletes topics with all they hold. Readers in flight finish. Waits for the disk.
    pub fn delete(&self, topics: &[Uuid]) -> Vec<Result<(), DeleteTopicError>> {
        let mut writer = self.writer.lock();
        let known = |id: &Uuid| writer.catalog.image().topic_by_id(*id).is_some();
        let mut results: Vec<Result<Record, DeleteTopicError>> = Vec::with_capacity(topics.len());
        for (at, id) in topics.iter().enumerate() {
            let first_mention = !topics[..at].contains(id);
            results.push(if known(id) && first_mention {
                Ok(Record::TopicRemoved { id: *id })
            } else {
                Err(DeleteTopicError::UnknownTopicId)
            });
        }
        let records: Vec<Record> = results.iter().flatten().cloned().collect();
        if !records.is_empty() {
            match self.commit(&mut writer, &records) {
                Err(error) => fail_all(&mut results, DeleteTopicError::Storage(error.to_string())),
                Ok(()) => {
                    self.reconcile(&writer, &ids(&records), &mut FoundLogs::default());
                }
            }
        }
        results.into_iter().map(|result| result.map(|_| ())).collect()
    }

    /// Replaces a topic's overrides by what `change` makes of them; running partitions follow at once. `change` runs
    /// while no other command does, so that nobody's change is lost. Waits for the disk.
    pub fn alter_topic_configs<E>(
        &self,
        topic: &str,
        change: impl FnOnce(&Configs) -> Result<Configs, E>,
    ) -> Result<(), AlterConfigsError<E>> {
        let mut writer = self.writer.lock();
        let topic = writer.catalog.image().topic(topic).cloned().ok_or(AlterConfigsError::UnknownTopic)?;
        let configs = change(&topic.configs).map_err(AlterConfigsError::Refused)?;
        if configs == topic.configs {
            return Ok(());
        }
        self.commit(&mut writer, &[Record::TopicConfigsChanged { id: topic.id, configs }])
            .map_err(|error| AlterConfigsError::Storage(error.to_string()))?;
        self.reconcile(&writer, &[topic.id], &mut FoundLogs::default());
        Ok(())
    }

    /// Changes the metadata as the active controller: `decide` sees the state as of now and gives the records of the
    /// change, with an answer for the caller. Commands take turns, so the state is still this when the records are
    /// applied. When it returns, the change is durable and published here. With no records nothing happens.
    ///
    /// # Errors
    /// Nothing was changed then, or, after [`ChangeError::Storage`], nobody knows.
    pub fn change<T>(&self, decide: impl FnOnce(&Catalog) -> (Vec<Record>, T)) -> Result<T, ChangeError> {
        let mut writer = self.writer.lock();
        let (records, answer) = decide(&writer.catalog);
        if !records.is_empty() {
            let before = writer.catalog.image().clone();
            self.commit(&mut writer, &records)?;
            let touched = touched(&before, writer.catalog.image());
            self.reconcile(&writer, &touched, &mut FoundLogs::default());
        }
        Ok(answer)
    }

    /// A producer id that no other producer has or had.
    pub fn next_producer_id(&self) -> Result<i64, StoreError> {
        let mut block = self.producer_ids.lock();
        if block.is_empty() {
            let mut writer = self.writer.lock();
            let (record, first) = writer.catalog.allocate_producer_ids(self.node_id);
            self.commit(&mut writer, &[record])?;
            self.publish_image(&writer);
            *block = first..first + PRODUCER_ID_BLOCK;
        }
        Ok(block.next().expect("the block was just filled"))
    }

    fn rules<'a>(&'a self, image: &'a Image, config: &Config, check_configs: &'a CheckConfigs<'a>) -> Rules<'a> {
        let mut brokers = crate::controller::placement::brokers(image);
        if brokers.is_empty() {
            brokers.push(Broker { id: self.node_id, rack: None, state: State::Active });
        }
        // A broker whose directories are all cordoned takes no new partition (KIP-1066).
        if (0..self.dirs.len()).all(|dir| self.is_cordoned(dir)) {
            brokers.retain(|broker| broker.id != self.node_id);
        }
        Rules {
            brokers,
            default_partitions: config.num_partitions,
            default_replication_factor: config.default_replication_factor,
            check_configs,
            new_id: &new_topic_id,
        }
    }

    /// Makes records durable and applies them. Afterwards the caller must [`reconcile`](Self::reconcile).
    fn commit(&self, writer: &mut Writer, records: &[Record]) -> Result<(), StoreError> {
        let fresh = writer.catalog.image().version == 0;
        let records: Vec<Record> = fresh.then(format_record).into_iter().chain(records.iter().cloned()).collect();
        writer.store.append(&records, self.clock.now_ms())?;
        for record in &records {
            // What was checked before it was written must fit.
            writer.catalog.apply(record).map_err(|source| StoreError::Apply { offset: -1, source })?;
        }
        Ok(())
    }

    fn publish_image(&self, writer: &Writer) {
        let mut registry = Registry::clone(&self.registry.load());
        registry.image = Arc::new(writer.catalog.image().clone());
        self.registry.store(Arc::new(registry));
    }

    /// Makes what is open here match the metadata of the `touched` topics, and publishes both.
    fn reconcile(&self, writer: &Writer, touched: &[Uuid], found: &mut FoundLogs) -> Reconciled {
        let image = Arc::new(writer.catalog.image().clone());
        let mut registry = Registry::clone(&self.registry.load());
        let mut failed = HashMap::new();
        let mut gone = Vec::new();
        let mut load = self.candidates(&registry);
        let config = self.config.load();
        let defaults = Arc::new(config.topic_defaults.clone());
        for &id in touched {
            let Some(topic) = image.topic_by_id(id) else {
                gone.extend(registry.remove(id));
                continue;
            };
            let config = match topic.configs.is_empty() {
                true => defaults.clone(),
                false => Arc::new(TopicConfig::resolve(&topic.configs, &config)),
            };
            let before = registry.topic_by_id(id).cloned();
            let (node_id, dirs, moves) = (self.node_id, &self.dirs[..], &self.moves);
            let view = &self.view;
            let mut opener = Opener { node_id, dirs, moves, topic, config: &config, found, load: &mut load, view };
            let hosted = (0..topic.partitions.len()).map(|index| {
                if let Some(known) = before.as_ref().and_then(|before| before.hosted.get(index)) {
                    // One that is offline stays so: an empty log elsewhere would hide that it is.
                    return known.as_ref().map(|open| opener.keep(index, open));
                }
                opener.host(index).unwrap_or_else(|error| {
                    tracing::error!(topic = %topic.name, partition = index, %error, "cannot open a partition");
                    failed.insert(id, error);
                    None
                })
            });
            let hosted = hosted.collect();
            registry.put(Topic { image: topic.clone(), config, hosted });
        }
        registry.image = image;
        self.registry.store(Arc::new(registry));
        self.detach_logs(&gone);
        Reconciled { failed }
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

    /// Takes the logs of deleted topics out of service; their files go with housekeeping's `purge`.
    fn detach_logs(&self, topics: &[Arc<Topic>]) {
        let mut by_dir = vec![Vec::new(); self.dirs.len()];
        for hosted in topics.iter().flat_map(|topic| topic.hosted.iter().flatten()) {
            by_dir[self.dir_of(hosted)].push(hosted.log().clone());
        }
        for (flusher, logs) in self.dirs.iter().zip(&by_dir) {
            if let Err(error) = flusher.dir().detach(logs) {
                let dir = flusher.dir().path().display();
                tracing::error!(%dir, %error, "cannot delete the logs of deleted topics");
            }
        }
        for hosted in topics.iter().flat_map(|topic| topic.hosted.iter().flatten()) {
            hosted.wake_fetches();
        }
    }
}

fn created(record: &Record, config: &Config) -> CreatedTopic {
    let mut preview = Catalog::default();
    let applied = preview.apply(record);
    let image = match record {
        Record::TopicCreated { id, .. } if applied.is_ok() => preview.image().topic_by_id(*id).cloned(),
        _ => None,
    };
    let image = image.expect("creating a topic gives the record of one");
    let config = Arc::new(TopicConfig::resolve(&image.configs, config));
    CreatedTopic { image, config }
}

/// The first record of all.
fn format_record() -> Record {
    Record::FeatureLevelChanged { name: "metadata.version".into(), level: METADATA_VERSION_LEVEL }
}

fn ids(records: &[Record]) -> Vec<Uuid> {
    let id = |record: &Record| match record {
        Record::TopicCreated { id, .. }
        | Record::PartitionsAdded { id, .. }
        | Record::TopicRemoved { id }
        | Record::LeaderEpochsRaised { id, .. }
        | Record::PartitionChanged { id, .. }
        | Record::TopicConfigsChanged { id, .. } => Some(*id),
        Record::BrokerConfigsChanged { .. }
        | Record::GroupConfigsChanged { .. }
        | Record::ProducerIdsAllocated { .. }
        | Record::FeatureLevelChanged { .. }
        | Record::BrokerStarted { .. }
        | Record::BrokerRegistered { .. }
        | Record::BrokerFenced { .. }
        | Record::BrokerUnfenced { .. }
        | Record::BrokerInControlledShutdown { .. }
        | Record::BrokerUnregistered { .. }
        | Record::LogDirsChanged { .. } => None,
    };
    records.iter().filter_map(id).collect()
}

/// The topics that differ. Images share what is the same, so this costs a comparison of pointers for each topic.
fn touched(before: &Image, after: &Image) -> Vec<Uuid> {
    let gone = before.topics().filter(|topic| after.topic_by_id(topic.id).is_none()).map(|topic| topic.id);
    let is_other =
        |topic: &&Arc<TopicImage>| !before.topic_by_id(topic.id).is_some_and(|known| Arc::ptr_eq(known, topic));
    gone.chain(after.topics().filter(is_other).map(|topic| topic.id)).collect()
}

fn fail_all<T, E: Clone>(results: &mut [Result<T, E>], error: E) {
    for result in results.iter_mut().filter(|result| result.is_ok()) {
        *result = Err(error.clone());
    }
}

/// Checks the settings of a topic about to be made.
fn check_with<'a>(config: &'a Config, catalog: &'a Catalog) -> impl Fn(&str, &Configs) -> Result<(), String> + 'a {
    move |topic, configs| {
        crate::config::topic::validate_all(topic, configs, config).map_err(|error| error.to_string())?;
        size_rule::check_topic(catalog.image(), topic, configs).map_err(|conflict| conflict.to_string())
    }
}

/// A random id as Kafka makes them: not one of the first hundred, which are reserved, and not one whose text begins
/// with a dash, which command lines take for an option.
fn new_topic_id() -> Uuid {
    const DASH_IN_BASE64: u8 = 62;
    loop {
        let id = Uuid::new_v4();
        if id.as_u128() > 100 && id.as_bytes()[0] >> 2 != DASH_IN_BASE64 {
            return id;
        }
    }
}

#[cfg(test)]
#[path = "topics_tests.rs"]
mod tests;
