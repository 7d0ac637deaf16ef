//! What the metadata records add up to at one moment. Immutable once published: readers hold an `Arc<Image>` and see
//! one consistent state, writers publish the next one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::record::{PartitionState, Registration};

/// Overrides by Kafka's names.
pub type Configs = BTreeMap<String, String>;

/// All metadata at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Number of records applied; grows with every change. Kafka's clients see it as the epoch of finalized features.
    pub version: u64,
    pub(super) by_name: BTreeMap<Arc<str>, Arc<TopicImage>>,
    pub(super) by_id: HashMap<Uuid, Arc<TopicImage>>,
    pub(super) partitions: usize,
    /// The registered brokers.
    pub brokers: Arc<BTreeMap<i32, BrokerImage>>,
    /// Dynamic configs of all brokers.
    pub cluster_configs: Arc<Configs>,
    /// Dynamic configs of single brokers.
    pub broker_configs: Arc<BTreeMap<i32, Configs>>,
    /// Dynamic configs of groups.
    pub group_configs: Arc<BTreeMap<String, Configs>>,
    /// Finalized features.
    pub features: Arc<BTreeMap<String, i16>>,
    /// Log directories of brokers: ids with the paths they had.
    pub log_dirs: Arc<BTreeMap<i32, BTreeMap<String, String>>>,
    /// The first producer id that no broker has.
    pub next_producer_id: i64,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicImage {
    pub name: Arc<str>,
    pub id: Uuid,
    pub partitions: Vec<PartitionImage>,
    /// What differs from the broker's defaults.
    pub configs: Configs,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionImage {
    /// Brokers that hold it, the preferred leader first.
    pub replicas: Arc<[i32]>,
    /// Those of them that are in sync.
    pub isr: Arc<[i32]>,
    /// The broker that leads it, -1 if none can.
    pub leader: i32,
    /// Grows with every change of leader.
    pub leader_epoch: i32,
    /// Grows with every change.
    pub partition_epoch: i32,
    /// What few partitions have: most are in no reassignment, and all their replicas are in sync.
    pub rare: Option<Box<RarePartition>>,
}

/// The rest of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RarePartition {
    /// Replicas that a reassignment adds.
    pub adding: Vec<i32>,
    /// Replicas that a reassignment will remove.
    pub removing: Vec<i32>,
    /// Replicas that left the ISR below `min.insync.replicas`, and hold all that was acknowledged (KIP-966).
    pub elr: Vec<i32>,
    /// Those that were such, or led last, when nobody was left.
    pub last_known_elr: Vec<i32>,
    /// The leader was elected uncleanly.
    pub recovering: bool,
}

/// One registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerImage {
    /// What it said of itself.
    pub registration: Registration,
    /// It may not lead, and is not shown to clients.
    pub fenced: bool,
    /// It is about to stop, and may not lead.
    pub in_controlled_shutdown: bool,
    /// `cordoned.log.dirs` names all that it has: it gets no new partition.
    pub cordoned: bool,
}

impl BrokerImage {
    /// Whether it may lead, and join an ISR.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }
}

impl PartitionImage {
    /// No leader can be had.
    pub const NO_LEADER: i32 = -1;

    /// A new partition: all replicas are in sync, the first leads.
    pub fn new(replicas: Arc<[i32]>) -> PartitionImage {
        let leader = replicas.first().copied().unwrap_or(Self::NO_LEADER);
        PartitionImage { isr: replicas.clone(), replicas, leader, leader_epoch: 0, partition_epoch: 0, rare: None }
    }

    /// Replicas that a reassignment adds.
    pub fn adding(&self) -> &[i32] {
        self.rare.as_ref().map_or(&[], |rare| &rare.adding)
    }

    /// Replicas that a reassignment will remove.
    pub fn removing(&self) -> &[i32] {
        self.rare.as_ref().map_or(&[], |rare| &rare.removing)
    }

    /// Eligible leader replicas (KIP-966).
    pub fn elr(&self) -> &[i32] {
        self.rare.as_ref().map_or(&[], |rare| &rare.elr)
    }

    /// The last known eligible leader replicas, or the last known leader.
    pub fn last_known_elr(&self) -> &[i32] {
        self.rare.as_ref().map_or(&[], |rare| &rare.last_known_elr)
    }

    /// Whether the leader was elected uncleanly and has not said yet that it has recovered.
    pub fn is_recovering(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.recovering)
    }

    /// Everything, as a record tells it.
    pub fn state(&self) -> PartitionState {
        let rare = self.rare.as_deref().cloned().unwrap_or_default();
        PartitionState {
            replicas: self.replicas.to_vec(),
            isr: self.isr.to_vec(),
            leader: self.leader,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            adding: rare.adding,
            removing: rare.removing,
            elr: rare.elr,
            last_known_elr: rare.last_known_elr,
            recovering: rare.recovering,
        }
    }
}

impl From<PartitionState> for PartitionImage {
    fn from(state: PartitionState) -> PartitionImage {
        let replicas: Arc<[i32]> = state.replicas.into();
        let isr = if *replicas == *state.isr { replicas.clone() } else { state.isr.into() };
        let PartitionState { adding, removing, elr, last_known_elr, recovering, .. } = state;
        let rare = RarePartition { adding, removing, elr, last_known_elr, recovering };
        let rare = (rare != RarePartition::default()).then(|| Box::new(rare));
        let (leader, leader_epoch, partition_epoch) = (state.leader, state.leader_epoch, state.partition_epoch);
        PartitionImage { replicas, isr, leader, leader_epoch, partition_epoch, rare }
    }
}

impl Image {
    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.by_name.get(name)
    }

    /// The topic of that id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.by_id.get(&id)
    }

    /// All topics, sorted by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<TopicImage>> {
        self.by_name.values()
    }

    /// The topics whose name is not below `from`, sorted by name.
    pub fn topics_from(&self, from: &str) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.by_name.range::<str, _>((std::ops::Bound::Included(from), std::ops::Bound::Unbounded)).map(|(_, t)| t)
    }

    /// The broker, if it is registered with this epoch.
    pub fn broker_of_epoch(&self, broker: i32, epoch: i64) -> Option<&BrokerImage> {
        self.brokers.get(&broker).filter(|known| known.registration.epoch == epoch)
    }

    /// Whether the broker may lead, and join an ISR.
    pub fn is_active(&self, broker: i32) -> bool {
        self.brokers.get(&broker).is_some_and(BrokerImage::is_active)
    }

    /// Partitions of all topics together.
    pub fn partition_count(&self) -> usize {
        self.partitions
    }

    pub(super) fn put(&mut self, topic: impl Into<Arc<TopicImage>>) {
        let topic = topic.into();
        self.partitions += topic.partitions.len();
        if let Some(old) = self.by_id.insert(topic.id, topic.clone()) {
            self.partitions -= old.partitions.len();
        }
        self.by_name.insert(topic.name.clone(), topic);
    }

    pub(super) fn remove(&mut self, id: Uuid) -> Option<Arc<TopicImage>> {
        let topic = self.by_id.remove(&id)?;
        self.partitions -= topic.partitions.len();
        self.by_name.remove(&topic.name);
        Some(topic)
    }
}
