//! The metadata state machine. Commands look at the state and give records or an error; [`Catalog::apply`] is the only
//! thing that changes it. Pure: no clock, no disk, no randomness but what [`Rules`] brings in, so that a quorum can
//! stand between a command's records and their application.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use super::image::{Configs, Image, PartitionImage, TopicImage};
use super::names::{self, InvalidName};
use super::record::Record;
use crate::controller::placement::{self, PlacementError, State};

/// Producer ids handed to a broker at a time. A crash wastes at most one block.
pub const PRODUCER_ID_BLOCK: i64 = 1000;
/// Partitions that one request may make. Each costs a directory and some files; Kafka's own bound is 10,000.
pub const MAX_PARTITIONS_PER_REQUEST: usize = 20_000;

/// Checks the overrides of a topic of that name; the error is the message for the client.
pub type CheckConfigs<'a> = dyn Fn(&str, &Configs) -> Result<(), String> + 'a;

/// What a command needs to know beyond the state.
pub struct Rules<'a> {
    /// The registered brokers that may be given partitions.
    pub brokers: Vec<placement::Broker<'a>>,
    /// `num.partitions`
    pub default_partitions: i32,
    /// `default.replication.factor`
    pub default_replication_factor: i16,
    /// Checks a topic's overrides; the error is the message for the client.
    pub check_configs: &'a CheckConfigs<'a>,
    /// Gives ids for new topics.
    pub new_id: &'a dyn Fn() -> Uuid,
}

/// A topic to create, values as on the wire.
#[derive(Clone, Debug, Default)]
pub struct CreateTopic {
    pub name: String,
    /// -1 for the default.
    pub partitions: i32,
    /// -1 for the default.
    pub replication_factor: i16,
    /// Replicas by partition, for a manual assignment; else empty.
    pub assignments: Vec<(i32, Vec<i32>)>,
    pub configs: Vec<(String, Option<String>)>,
}

impl CreateTopic {
    /// A topic with the broker's defaults.
    pub fn with_defaults(name: &str) -> CreateTopic {
        CreateTopic { name: name.to_owned(), partitions: -1, replication_factor: -1, ..CreateTopic::default() }
    }
}

/// Partitions to add to a topic.
#[derive(Clone, Debug)]
pub struct AddPartitions {
    pub topic: String,
    /// The number of partitions to have afterwards.
    pub count: i32,
    /// Replicas of each added partition, for a manual assignment.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// Why a topic cannot be created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateTopicError {
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    #[error("Topic '{name}' collides with existing topic: {existing}")]
    Collides { name: String, existing: String },
    #[error("Topic '{name}' already exists.")]
    AlreadyExists { name: String },
    #[error("Creation of internal topic {} is prohibited.", names::CLUSTER_METADATA)]
    MetadataTopic,
    #[error("Null value not supported for topic configs: {}", .names.join(","))]
    NullConfigs { names: Vec<String> },
    #[error("{0}")]
    InvalidConfig(String),
    #[error("A manual partition assignment was specified, but {0} was not set to -1.")]
    AssignmentAnd(&'static str),
    #[error("Number of partitions was set to an invalid non-positive value.")]
    InvalidPartitions,
    #[error(transparent)]
    ReplicationFactor(#[from] ReplicationFactorError),
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    #[error(transparent)]
    TooManyPartitions(#[from] TooManyPartitions),
    #[error("{0}")]
    Storage(String),
}

/// A replication factor that these brokers cannot give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicationFactorError {
    #[error("Replication factor must be larger than 0, or -1 to use the default value.")]
    NotPositive,
    #[error("Unable to replicate the partition {wanted} time(s): {reason}")]
    Unreachable { wanted: usize, reason: PlacementError },
}

/// A manual assignment that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentError {
    #[error("Found multiple manual partition assignments for partition {0}")]
    Repeated(i32),
    #[error("partitions should be a consecutive 0-based integer sequence")]
    Gap,
    #[error(
        "All brokers specified in the manual partition assignment for partition {0} are fenced or in controlled shutdown."
    )]
    NobodyActive(i32),
    #[error("The manual partition assignment includes an empty replica list.")]
    Empty,
    #[error("The manual partition assignment includes broker {0}, but no such broker is registered.")]
    UnknownBroker(i32),
    #[error("The manual partition assignment includes the broker {0} more than once.")]
    RepeatedBroker(i32),
    #[error(
        "The manual partition assignment includes a partition with {found} replica(s), but this is not consistent \
         with previous partitions, which have {expected} replica(s)."
    )]
    Uneven { found: usize, expected: usize },
    #[error("Attempted to add {added} additional partition(s), but only {given} assignment(s) were specified.")]
    WrongCount { added: i32, given: usize },
}

/// A request that would make more than [`MAX_PARTITIONS_PER_REQUEST`] partitions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Excessively large number of partitions per request: at most {MAX_PARTITIONS_PER_REQUEST}; use more requests.")]
pub struct TooManyPartitions;

/// Why partitions cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddPartitionsError {
    #[error("This server does not host this topic-partition.")]
    UnknownTopic,
    #[error("Topic already has {0} partition(s).")]
    SameCount(i32),
    #[error("The topic {topic} currently has {current} partition(s); {wanted} would not be an increase.")]
    NotAnIncrease { topic: String, current: i32, wanted: i32 },
    #[error(transparent)]
    ReplicationFactor(#[from] ReplicationFactorError),
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    #[error(transparent)]
    TooManyPartitions(#[from] TooManyPartitions),
    #[error("{0}")]
    Storage(String),
}

/// A record that does not fit the state: the metadata log is damaged, or not ours.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("metadata names topic id {0}, which no earlier record has created")]
    UnknownTopic(Uuid),
    #[error("metadata creates topic '{0}' twice")]
    TopicExists(String),
    #[error("metadata names partition {partition} of topic id {id}, which has no such partition")]
    UnknownPartition { id: Uuid, partition: i32 },
    #[error("metadata names broker {broker} with epoch {epoch}, which is not registered")]
    UnknownBroker { broker: i32, epoch: i64 },
}

/// The state machine.
#[derive(Clone, Default)]
pub struct Catalog {
    image: Image,
    /// Topics with `.` or `_` in their names by [`names::collision_key`].
    colliding: HashMap<String, BTreeSet<Arc<str>>>,
}

impl Catalog {
    /// The machine in the state of a snapshot.
    pub fn restored(image: Image) -> Catalog {
        let mut catalog = Catalog::default();
        for topic in image.topics() {
            catalog.note_name(&topic.name);
        }
        catalog.image = image;
        catalog
    }

    /// The topic whose name differs only in `.` and `_`, if there is one.
    #[cfg(test)]
    pub(super) fn colliding_with(&self, name: &str) -> Option<String> {
        let key = names::collision_key(name)?;
        self.colliding.get(&key).and_then(|names| names.first().map(|name| name.to_string()))
    }

    fn note_name(&mut self, name: &Arc<str>) {
        if let Some(key) = names::collision_key(name) {
            self.colliding.entry(key).or_default().insert(name.clone());
        }
    }

    /// The state.
    pub fn image(&self) -> &Image {
        &self.image
    }

    pub(super) fn image_mut(&mut self) -> &mut Image {
        &mut self.image
    }

    /// Applies one committed record.
    pub fn apply(&mut self, record: &Record) -> Result<(), ApplyError> {
        match record {
            Record::TopicCreated { name, id, assignments, configs } => {
                if self.image.topic(name).is_some() || self.image.topic_by_id(*id).is_some() {
                    return Err(ApplyError::TopicExists(name.clone()));
                }
                let name: Arc<str> = name.as_str().into();
                self.note_name(&name);
                let partitions = new_partitions(&self.image, assignments, &[]);
                self.image.put(TopicImage { name, id: *id, partitions, configs: configs.clone() });
            }
            Record::PartitionsAdded { id, assignments } => {
                let topic = self.image.topic_by_id(*id).ok_or(ApplyError::UnknownTopic(*id))?;
                let added = new_partitions(&self.image, assignments, &topic.partitions);
                self.edit(*id, |topic| topic.partitions.extend(added))?;
            }
            Record::LeaderEpochsRaised { id, epochs } => self.edit(*id, |topic| {
                for (partition, epoch) in topic.partitions.iter_mut().zip(epochs) {
                    partition.leader_epoch = partition.leader_epoch.max(*epoch);
                }
            })?,
            Record::TopicRemoved { id } => self.remove_topic(*id)?,
            Record::TopicConfigsChanged { id, configs } => self.edit(*id, |topic| topic.configs = configs.clone())?,
            Record::BrokerConfigsChanged { broker: None, configs } => {
                self.image.cluster_configs = Arc::new(configs.clone())
            }
            Record::BrokerConfigsChanged { broker: Some(broker), configs } => {
                put_or_clear(Arc::make_mut(&mut self.image.broker_configs), *broker, configs);
            }
            Record::GroupConfigsChanged { group, configs } => {
                put_or_clear(Arc::make_mut(&mut self.image.group_configs), group.clone(), configs);
            }
            Record::ProducerIdsAllocated { next, .. } => self.image.next_producer_id = *next,
            Record::FeatureLevelChanged { name, level } => {
                Arc::make_mut(&mut self.image.features).insert(name.clone(), *level);
            }
            Record::PartitionChanged { id, partition, state } => {
                let unknown = ApplyError::UnknownPartition { id: *id, partition: *partition };
                let topic = self.image.topic_by_id(*id).ok_or(ApplyError::UnknownTopic(*id))?;
                let index = usize::try_from(*partition).ok().filter(|index| *index < topic.partitions.len());
                let index = index.ok_or(unknown)?;
                self.edit(*id, |topic| topic.partitions[index] = state.clone().into())?;
            }
            Record::BrokerStarted { broker } => self.start_epochs_led_by(*broker),
            Record::BrokerRegistered { broker, registration, unclean, defaults } => {
                self.register(*broker, registration, *unclean, *defaults);
            }
            Record::BrokerFenced { broker, epoch, defaults } => self.fence(*broker, *epoch, *defaults)?,
            Record::BrokerUnfenced { broker, epoch, defaults } => self.unfence(*broker, *epoch, *defaults)?,
            Record::BrokerInControlledShutdown { broker, epoch, defaults } => {
                self.begin_shutdown(*broker, *epoch, *defaults)?;
            }
            Record::BrokerCordoned { broker, epoch, cordoned } => self.cordon(*broker, *epoch, *cordoned)?,
            Record::BrokerUnregistered { broker } => self.unregister(*broker)?,
            Record::LogDirsChanged { broker, dirs } => {
                Arc::make_mut(&mut self.image.log_dirs).insert(*broker, dirs.clone());
            }
        }
        self.image.version += 1;
        Ok(())
    }

    fn remove_topic(&mut self, id: Uuid) -> Result<(), ApplyError> {
        let topic = self.image.remove(id).ok_or(ApplyError::UnknownTopic(id))?;
        if let Some(key) = names::collision_key(&topic.name)
            && let Some(names) = self.colliding.get_mut(&key)
        {
            names.remove(&topic.name);
            if names.is_empty() {
                self.colliding.remove(&key);
            }
        }
        Ok(())
    }

    fn edit(&mut self, id: Uuid, change: impl FnOnce(&mut TopicImage)) -> Result<(), ApplyError> {
        // Taken out, it is copied only where somebody else has it: once for all the partitions that a command changes.
        let mut topic = self.image.remove(id).ok_or(ApplyError::UnknownTopic(id))?;
        change(Arc::make_mut(&mut topic));
        self.image.put(topic);
        Ok(())
    }

    fn start_epochs_led_by(&mut self, broker: i32) {
        let led = |topic: &&Arc<TopicImage>| topic.partitions.iter().any(|partition| partition.leader == broker);
        let topics: Vec<TopicImage> = self.image.topics().filter(led).map(|topic| TopicImage::clone(topic)).collect();
        for mut topic in topics {
            for partition in topic.partitions.iter_mut().filter(|partition| partition.leader == broker) {
                partition.leader_epoch += 1;
            }
            self.image.put(topic);
        }
    }

    /// The records that create these topics, or why not, one by one. Topics of one call also must not get into each
    /// other's way.
    pub fn create_topics(&self, commands: &[CreateTopic], rules: &Rules<'_>) -> Vec<Result<Record, CreateTopicError>> {
        let mut batch = Batch::default();
        commands.iter().map(|command| self.create_topic(command, rules, &mut batch)).collect()
    }

    fn create_topic(
        &self,
        command: &CreateTopic,
        rules: &Rules<'_>,
        batch: &mut Batch,
    ) -> Result<Record, CreateTopicError> {
        self.check_new_name(&command.name, batch)?;
        let nulls = command.configs.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.clone());
        let nulls: Vec<String> = nulls.collect();
        if !nulls.is_empty() {
            return Err(CreateTopicError::NullConfigs { names: nulls });
        }
        let configs: Configs =
            command.configs.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
        (rules.check_configs)(&command.name, &configs).map_err(CreateTopicError::InvalidConfig)?;
        let assignments = if command.assignments.is_empty() {
            self.place_new_topic(command, rules, batch)?
        } else {
            manual_assignment(command, rules, batch)?
        };
        batch.take_name(&command.name);
        Ok(Record::TopicCreated { name: command.name.clone(), id: (rules.new_id)(), assignments, configs })
    }

    fn check_new_name(&self, name: &str, batch: &Batch) -> Result<(), CreateTopicError> {
        if name == names::CLUSTER_METADATA {
            return Err(CreateTopicError::MetadataTopic);
        }
        if self.image.topic(name).is_some() || batch.names.contains(name) {
            return Err(CreateTopicError::AlreadyExists { name: name.to_owned() });
        }
        names::check(name)?;
        if let Some(key) = names::collision_key(name) {
            let existing = self.colliding.get(&key).and_then(|names| names.first().map(|name| name.to_string()));
            let existing = existing.or_else(|| batch.colliding.get(&key).cloned());
            if let Some(existing) = existing {
                return Err(CreateTopicError::Collides { name: name.to_owned(), existing });
            }
        }
        Ok(())
    }

    fn place_new_topic(
        &self,
        command: &CreateTopic,
        rules: &Rules<'_>,
        batch: &mut Batch,
    ) -> Result<Vec<Vec<i32>>, CreateTopicError> {
        let factor = match command.replication_factor {
            -1 => rules.default_replication_factor,
            given if given <= 0 => return Err(ReplicationFactorError::NotPositive.into()),
            given => given,
        };
        let partitions = match command.partitions {
            -1 => rules.default_partitions,
            given if given <= 0 => return Err(CreateTopicError::InvalidPartitions),
            given => given,
        };
        batch.count(partitions as usize)?;
        Ok(place(rules, self.image.partition_count(), partitions as usize, factor as usize)?)
    }

    /// The records that add these partitions, or why not, one by one.
    pub fn add_partitions(
        &self,
        commands: &[AddPartitions],
        rules: &Rules<'_>,
    ) -> Vec<Result<Record, AddPartitionsError>> {
        let mut batch = Batch::default();
        commands.iter().map(|command| self.add_partitions_to(command, rules, &mut batch)).collect()
    }

    fn add_partitions_to(
        &self,
        command: &AddPartitions,
        rules: &Rules<'_>,
        batch: &mut Batch,
    ) -> Result<Record, AddPartitionsError> {
        let topic = self.image.topic(&command.topic).ok_or(AddPartitionsError::UnknownTopic)?;
        let current = topic.partitions.len() as i32;
        if command.count == current {
            return Err(AddPartitionsError::SameCount(current));
        }
        if command.count < current {
            let topic = command.topic.clone();
            return Err(AddPartitionsError::NotAnIncrease { topic, current, wanted: command.count });
        }
        let added = command.count - current;
        let factor = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
        batch.count(added as usize)?;
        let assignments = match &command.assignments {
            None => place(rules, current as usize, added as usize, factor)?,
            Some(given) => {
                if given.len() != added as usize {
                    return Err(AssignmentError::WrongCount { added, given: given.len() }.into());
                }
                for (partition, replicas) in (current..).zip(given) {
                    check_replicas(replicas, Some(factor), &rules.brokers)?;
                    check_active(partition, replicas, &rules.brokers)?;
                }
                given.clone()
            }
        };
        Ok(Record::PartitionsAdded { id: topic.id, assignments })
    }

    /// The record that gives `broker` the next block of producer ids, and the block's first id.
    pub fn allocate_producer_ids(&self, broker: i32) -> (Record, i64) {
        let first = self.image.next_producer_id;
        (Record::ProducerIdsAllocated { broker, next: first + PRODUCER_ID_BLOCK }, first)
    }
}

/// What earlier commands of the same request have taken.
#[derive(Default)]
struct Batch {
    names: HashSet<String>,
    /// By [`names::collision_key`].
    colliding: HashMap<String, String>,
    partitions: usize,
}

impl Batch {
    fn take_name(&mut self, name: &str) {
        self.names.insert(name.to_owned());
        if let Some(key) = names::collision_key(name) {
            self.colliding.insert(key, name.to_owned());
        }
    }

    fn count(&mut self, partitions: usize) -> Result<(), TooManyPartitions> {
        if self.partitions + partitions > MAX_PARTITIONS_PER_REQUEST {
            return Err(TooManyPartitions);
        }
        self.partitions += partitions;
        Ok(())
    }
}

fn manual_assignment(
    command: &CreateTopic,
    rules: &Rules<'_>,
    batch: &mut Batch,
) -> Result<Vec<Vec<i32>>, CreateTopicError> {
    if command.replication_factor != -1 {
        return Err(CreateTopicError::AssignmentAnd("replication factor"));
    }
    if command.partitions != -1 {
        return Err(CreateTopicError::AssignmentAnd("numPartitions"));
    }
    batch.count(command.assignments.len())?;
    let mut by_partition = BTreeMap::new();
    let mut factor = None;
    for (partition, replicas) in &command.assignments {
        if by_partition.contains_key(partition) {
            return Err(AssignmentError::Repeated(*partition).into());
        }
        check_replicas(replicas, factor, &rules.brokers)?;
        check_active(*partition, replicas, &rules.brokers)?;
        factor = Some(replicas.len());
        by_partition.insert(*partition, replicas.clone());
    }
    if by_partition.keys().copied().ne(0..by_partition.len() as i32) {
        return Err(AssignmentError::Gap.into());
    }
    Ok(by_partition.into_values().collect())
}

/// Checks replicas that were named by hand.
pub(crate) fn check_replicas(
    replicas: &[i32],
    factor: Option<usize>,
    brokers: &[placement::Broker<'_>],
) -> Result<(), AssignmentError> {
    if replicas.is_empty() {
        return Err(AssignmentError::Empty);
    }
    let mut seen = BTreeSet::new();
    for &replica in replicas {
        if !brokers.iter().any(|broker| broker.id == replica) {
            return Err(AssignmentError::UnknownBroker(replica));
        }
        if !seen.insert(replica) {
            return Err(AssignmentError::RepeatedBroker(replica));
        }
    }
    match factor {
        Some(expected) if expected != replicas.len() => {
            Err(AssignmentError::Uneven { found: replicas.len(), expected })
        }
        _ => Ok(()),
    }
}

fn check_active(partition: i32, replicas: &[i32], brokers: &[placement::Broker<'_>]) -> Result<(), AssignmentError> {
    let is_active = |broker: &placement::Broker<'_>| broker.state == State::Active && replicas.contains(&broker.id);
    if brokers.iter().any(is_active) { Ok(()) } else { Err(AssignmentError::NobodyActive(partition)) }
}

fn place(
    rules: &Rules<'_>,
    start: usize,
    count: usize,
    factor: usize,
) -> Result<Vec<Vec<i32>>, ReplicationFactorError> {
    let unreachable = |reason| ReplicationFactorError::Unreachable { wanted: factor, reason };
    placement::place(&rules.brokers, start, count, factor).map_err(unreachable)
}

/// Partitions as they begin: the replicas that are active are in sync, the first of them leads. Where brokers do not
/// register (there is but one), all are. Equal replica lists share their memory, with those of `existing` too.
fn new_partitions(image: &Image, assignments: &[Vec<i32>], existing: &[PartitionImage]) -> Vec<PartitionImage> {
    let mut known: HashMap<&[i32], Arc<[i32]>> = HashMap::new();
    for partition in existing {
        known.entry(&partition.replicas).or_insert_with(|| partition.replicas.clone());
    }
    let mut begin = |replicas| {
        let replicas: Arc<[i32]> = known.entry(replicas).or_insert_with(|| replicas.into()).clone();
        let active: Vec<i32> = replicas.iter().copied().filter(|replica| image.is_active(*replica)).collect();
        let mut partition = PartitionImage::new(replicas);
        if let Some(first) = active.first().copied()
            && active.len() < partition.replicas.len()
        {
            (partition.isr, partition.leader) = (active.into(), first);
        }
        partition
    };
    assignments.iter().map(|replicas| begin(replicas.as_slice())).collect()
}

fn put_or_clear<K: Ord>(map: &mut BTreeMap<K, Configs>, key: K, configs: &Configs) {
    if configs.is_empty() {
        map.remove(&key);
    } else {
        map.insert(key, configs.clone());
    }
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
