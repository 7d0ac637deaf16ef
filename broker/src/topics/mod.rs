//! Topics, their partitions and configs: what exists, and where.
//!
//! Reading order: `record` (the changes that can happen), `image` (what they add up to), `brokers` (what follows for partitions when brokers come and go), `names` (which names a topic
//! may have), `catalog` (commands in, records or errors out), `machine` (the catalog as the quorum's state machine),
//! `snapshot` (all of it as bytes), `quorum` (this node's part in it), `publish` (what was agreed on takes effect here),
//! `registry` (what is open here), `hosting` (how it is opened), `dynamic` (settings of brokers and groups), `store` (the
//! metadata log of earlier releases), and this file, which ties them: a command becomes records, the quorum agrees on
//! them and every node applies them, and then logs are made or deleted until they match.

mod brokers;
pub mod catalog;
mod dynamic;
mod hosting;
pub mod image;
mod known_dirs;
pub(crate) mod machine;
mod moves;
pub mod names;
mod placement;
mod publish;
pub(crate) mod quorum;
pub mod record;
pub mod registry;
pub mod seed;
pub mod snapshot;
pub mod store;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
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
use hosting::FoundLogs;
use image::{Configs, Image, TopicImage};
use moves::Moves;
pub(crate) use moves::absolute;
pub use moves::{FutureReplica, MoveError};
pub use publish::Listener;
use publish::Published;
pub use quorum::MetadataQuorum;
use record::Record;
pub use registry::{FindError, Registry, Topic};
use store::Store;
pub use store::StoreError;
/// Why the metadata cannot be read at start.
pub use store::StoreError as OpenError;

/// The level of `metadata.version` that a fresh data directory is formatted with: that of Kafka 4.1 (4.1-IV1).
const METADATA_VERSION_LEVEL: i16 = 27;

/// Records of an earlier release that are proposed together.
const TAKEN_OVER_AT_ONCE: usize = 1000;

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
    quorum: Arc<MetadataQuorum>,
    /// Commands take turns.
    turns: Mutex<()>,
    /// Held while what is hosted here changes.
    hosting: Mutex<()>,
    /// Whether logs are hosted yet: only when the node knows what the cluster knows.
    hosts: AtomicBool,
    published: Published,
    registry: ArcSwap<Registry>,
    view: Arc<View>,
    producer_ids: Mutex<Range<i64>>,
    /// Partitions may be in log directories that are not here.
    has_offline: AtomicBool,
}

/// Whose turn it is to change the metadata, and the state on which it decides.
struct Writer<'a> {
    catalog: Arc<Catalog>,
    _turn: MutexGuard<'a, ()>,
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
    /// Follows what the quorum agrees on. Logs are opened by [`host`](Topics::host).
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn open(
        quorum: Arc<MetadataQuorum>,
        dirs: Vec<Arc<Flusher>>,
        failed_dirs: Vec<FailedDir>,
        config: Arc<ArcSwap<Config>>,
        clock: Arc<Clock>,
    ) -> Result<Arc<Topics>, OpenError> {
        let (node_id, view) = (config.load().node_id, View::new(&config.load(), clock.clone()));
        let topics = Arc::new(Topics {
            node_id,
            view,
            clock,
            config,
            dirs,
            failed_dirs,
            moves: Moves::default(),
            quorum,
            turns: Mutex::default(),
            hosting: Mutex::default(),
            hosts: AtomicBool::new(false),
            published: Published::default(),
            registry: ArcSwap::default(),
            producer_ids: Mutex::new(0..0),
            has_offline: AtomicBool::new(false),
        });
        let (weak, news) = (Arc::downgrade(&topics), topics.quorum.news().clone());
        let publisher = std::thread::Builder::new().name("publisher".to_owned());
        publisher.spawn(move || publish::run(&weak, &news)).map_err(StoreError::Thread)?;
        Ok(topics)
    }

    /// Opens what this broker hosts, and sets aside what no topic accounts for: to be called when the node knows what the
    /// cluster knows. `earlier` is the metadata log of an earlier release, which a node alone takes over.
    ///
    /// # Errors
    /// The metadata cannot be read or written. A partition that cannot be opened is offline, and no error.
    pub fn host(&self, earlier: Option<&Store>) -> Result<(), StoreError> {
        self.quorum.wait_alone()?;
        if let Some(earlier) = earlier {
            self.take_over_log(earlier)?;
        }
        self.load_dynamic_configs(self.quorum.catalog().image())?;
        let mut found = FoundLogs::scan(&self.dirs);
        if self.quorum.is_alone() {
            self.begin_alone(&found)?;
        }
        let image = self.quorum.catalog().image().clone();
        found.set_strays_aside(&image, self.node_id, &self.dirs);
        found.absent = self.absent_dirs(&image);
        self.publish(&mut found, true);
        self.note_offline(&found);
        Ok(())
    }

    /// The records of an earlier release become the first that the quorum agrees on.
    fn take_over_log(&self, earlier: &Store) -> Result<(), StoreError> {
        let mut writer = self.turn();
        if writer.catalog.image().version > 0 {
            return Ok(());
        }
        let records = earlier.records()?;
        let count = records.len();
        for records in records.chunks(TAKEN_OVER_AT_ONCE) {
            self.commit(&mut writer, records).map_err(in_store)?;
        }
        if count > 0 {
            tracing::info!(
                records = count,
                "the metadata log of an earlier release is taken over, and is not written any more"
            );
        }
        Ok(())
    }

    fn begin_alone(&self, found: &FoundLogs) -> Result<(), StoreError> {
        let mut writer = self.turn();
        let image = writer.catalog.image();
        if image.version == 0 && !found.is_empty() {
            let adopted = found.adopted(self.node_id);
            tracing::warn!(
                topics = adopted.len(),
                "there is no metadata: topics are taken over as found, with default configs"
            );
            return self.commit(&mut writer, &adopted).map_err(in_store);
        }
        Ok(())
    }

    /// This node's part in the metadata quorum.
    pub fn quorum(&self) -> &Arc<MetadataQuorum> {
        &self.quorum
    }

    /// Ends this node's part in the metadata quorum, and the publication of changes.
    pub fn stop(&self) {
        self.published.close();
        self.quorum.stop();
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

    /// Creates topics, each or none of its partitions; results are in the order of `commands`. With `validate_only`
    /// nothing changes. Waits for the disk.
    pub fn create(&self, commands: &[CreateTopic], validate_only: bool) -> Vec<Result<CreatedTopic, CreateTopicError>> {
        let mut writer = self.turn();
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
                self.take_back(&mut writer, &mut results);
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

    /// Removes topics whose logs could not be made, and that no other broker has, so that the client may try again.
    fn take_back(&self, writer: &mut Writer<'_>, results: &mut [Result<Record, CreateTopicError>]) {
        let made: Vec<Record> = results.iter().flatten().cloned().collect();
        let mut failed = self.published.failed(&ids(&made));
        let is_only_here = |topic: &Arc<TopicImage>| topic.partitions.iter().all(|p| *p.replicas == [self.node_id]);
        failed.retain(|id, _| writer.catalog.image().topic_by_id(*id).is_some_and(is_only_here));
        if failed.is_empty() {
            return;
        }
        let records: Vec<Record> = failed.keys().map(|id| Record::TopicRemoved { id: *id }).collect();
        if let Err(error) = self.commit(writer, &records) {
            tracing::error!(%error, "a topic without logs stays, its partitions offline");
        }
        for result in results {
            if let Ok(Record::TopicCreated { id, .. }) = result
                && let Some(error) = failed.get(id)
            {
                *result = Err(CreateTopicError::Storage(error.clone()));
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
        let mut writer = self.turn();
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
                let failed = self.published.failed(&ids(&records));
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
        let mut writer = self.turn();
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
        if !records.is_empty()
            && let Err(error) = self.commit(&mut writer, &records)
        {
            fail_all(&mut results, DeleteTopicError::Storage(error.to_string()));
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
        let mut writer = self.turn();
        let topic = writer.catalog.image().topic(topic).cloned().ok_or(AlterConfigsError::UnknownTopic)?;
        let configs = change(&topic.configs).map_err(AlterConfigsError::Refused)?;
        if configs == topic.configs {
            return Ok(());
        }
        self.commit(&mut writer, &[Record::TopicConfigsChanged { id: topic.id, configs }])
            .map_err(|error| AlterConfigsError::Storage(error.to_string()))
    }

    /// Changes the metadata as the active controller: `decide` sees the state as of now and gives the records of the
    /// change, with an answer for the caller. Commands take turns, so the state is still this when the records are
    /// applied. When it returns, the change is durable and published here. With no records nothing happens.
    ///
    /// # Errors
    /// Nothing was changed then, or, after [`ChangeError::Storage`], nobody knows.
    pub fn change<T>(&self, decide: impl FnOnce(&Catalog) -> (Vec<Record>, T)) -> Result<T, ChangeError> {
        let mut writer = self.turn();
        self.quorum.check_active()?;
        let (records, answer) = decide(&writer.catalog);
        if !records.is_empty() {
            self.commit(&mut writer, &records)?;
        }
        Ok(answer)
    }

    /// A producer id that no other producer has or had.
    pub fn next_producer_id(&self) -> Result<i64, ChangeError> {
        let mut block = self.producer_ids.lock();
        if block.is_empty() {
            let mut writer = self.turn();
            let (record, first) = writer.catalog.allocate_producer_ids(self.node_id);
            self.commit(&mut writer, &[record])?;
            *block = first..first + PRODUCER_ID_BLOCK;
        }
        Ok(block.next().expect("the block was just filled"))
    }

    fn rules<'a>(&'a self, image: &'a Image, config: &Config, check_configs: &'a CheckConfigs<'a>) -> Rules<'a> {
        let mut brokers = crate::controller::placement::brokers(image);
        if brokers.is_empty() {
            brokers.push(Broker { id: self.node_id, rack: None, state: State::Active });
        }
        // A broker whose directories are all cordoned takes no new partition (KIP-1066). Of itself this one knows at once.
        let is_cordoned = |id: i32| match id == self.node_id {
            true => self.is_all_cordoned(),
            false => image.brokers.get(&id).is_some_and(|known| known.cordoned),
        };
        brokers.retain(|broker| !is_cordoned(broker.id));
        Rules {
            brokers,
            default_partitions: config.num_partitions,
            default_replication_factor: config.default_replication_factor,
            check_configs,
            new_id: &new_topic_id,
        }
    }

    /// The next change is the caller's.
    fn turn(&self) -> Writer<'_> {
        let turn = self.turns.lock();
        Writer { catalog: self.quorum.catalog(), _turn: turn }
    }

    /// Has the quorum agree on records that were decided on the writer's state. Afterwards they are durable, applied, and
    /// published here.
    fn commit(&self, writer: &mut Writer<'_>, records: &[Record]) -> Result<(), ChangeError> {
        let base = writer.catalog.image().version;
        let format = (base == 0).then(format_record);
        let has_format = records.iter().any(|record| matches!(record, Record::FeatureLevelChanged { .. }));
        let records: Vec<Record> = format.filter(|_| !has_format).into_iter().chain(records.iter().cloned()).collect();
        // Whoever keeps the state makes the change copy all of it.
        writer.catalog = Arc::default();
        let proposed = machine::by_command(&records).try_fold(base, |base, records| self.quorum.propose(base, records));
        let outcome = match proposed {
            Ok(version) if self.published.wait_for(version) => Ok(()),
            Ok(_) => Err(ChangeError::Storage(StoreError::Stopped)),
            Err(error) => Err(error),
        };
        writer.catalog = self.quorum.catalog();
        outcome
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

fn in_store(error: ChangeError) -> StoreError {
    match error {
        ChangeError::Storage(error) => error,
        error @ ChangeError::NotController { .. } => StoreError::Refused(error.to_string()),
    }
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
        | Record::BrokerCordoned { .. }
        | Record::BrokerUnregistered { .. }
        | Record::LogDirsChanged { .. } => None,
    };
    records.iter().filter_map(id).collect()
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
