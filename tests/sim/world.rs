//! Time, network, power and the controller: everything that a seed decides. The quorum is a model here: what is
//! committed is in one list, and nodes learn it late. (openraft on our log store is simulated in the quorum's own tests.)

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jackdaw_broker::controller::election::{Election, Goal, settle};
use jackdaw_broker::replication::leader::{Answer, Proposal};
use jackdaw_broker::topics::catalog::Catalog;
use jackdaw_broker::topics::image::PartitionImage;
use jackdaw_broker::topics::record::{ElectionDefaults, Record, Registration};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use crate::node::{Ask, Node, Role, Told, partition_of};
use crate::promises::Promises;

pub(crate) const TOPIC: &str = "t";
pub(crate) const PARTITIONS: usize = 2;
pub(crate) const MIN_ISR: usize = 2;
const NODES: i32 = 4;
const DEFAULTS: ElectionDefaults = ElectionDefaults { min_insync_replicas: MIN_ISR as i32, unclean: false };
const TOPIC_ID: Uuid = Uuid::from_u128(77);
const SESSION: Duration = Duration::from_millis(900);
const TROUBLE: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(20);
/// The controller among the nodes.
const CONTROLLER: i32 = 0;

/// What is done wrong, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    AcknowledgesUnsynced,
    TruncatesByHighWatermark,
    ChecksNoEpoch,
    ShrinksByItself,
    LeadsUnregistered,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) acknowledged: usize,
    pub(crate) elections: usize,
    pub(crate) truncations: usize,
    events: u64,
}

#[derive(Clone, Debug)]
enum Message {
    Ask(Ask),
    Told(Told),
    Propose { partition: usize, proposal: Proposal },
    Answer { partition: usize, leader_epoch: i32, number: u64, answer: Answer },
    Register { incarnation: u128 },
    Heartbeat { epoch: i64, applied: usize },
    Metadata,
}

#[derive(Clone, Debug)]
enum Event {
    Deliver { from: i32, to: i32, incarnation: u128, message: Message },
    Synced { node: i32, incarnation: u128, partition: usize, upto: usize },
    Tick { node: i32, incarnation: u128 },
    Restart { node: i32 },
    Produce,
    Fault,
}

pub(crate) struct World {
    pub(crate) tells: bool,
    mistake: Mistake,
    random: StdRng,
    now: Duration,
    queue: BTreeMap<(Duration, u64), Event>,
    number: u64,
    nodes: Vec<Node>,
    committed: Vec<Record>,
    catalog: Catalog,
    heard: BTreeMap<i32, Duration>,
    controller_back: Duration,
    /// Directions in which nothing arrives.
    cut: BTreeSet<(i32, i32)>,
    promises: Promises,
    lives: u128,
    values: u64,
    is_over: bool,
    summary: Summary,
}

impl World {
    pub(crate) fn new(seed: u64, mistake: Mistake) -> World {
        let mut world = World {
            tells: false,
            mistake,
            random: StdRng::seed_from_u64(seed),
            now: Duration::ZERO,
            queue: BTreeMap::new(),
            number: 0,
            nodes: (1..=NODES).map(Node::new).collect(),
            committed: Vec::new(),
            catalog: Catalog::default(),
            heard: BTreeMap::new(),
            controller_back: Duration::ZERO,
            cut: BTreeSet::new(),
            promises: Promises::default(),
            lives: 100,
            values: 0,
            is_over: false,
            summary: Summary::default(),
        };
        let assignments = vec![vec![1, 2, 3], vec![2, 3, 4]];
        let (name, configs) = (TOPIC.to_owned(), BTreeMap::new());
        world.commit(Record::TopicCreated { name, id: TOPIC_ID, assignments, configs }).unwrap();
        (1..=NODES).for_each(|node| world.after(Duration::ZERO, Event::Tick { node, incarnation: node as u128 }));
        world.after(Duration::from_millis(300), Event::Produce);
        world.after(Duration::from_millis(600), Event::Fault);
        world
    }

    /// Trouble, then peace; what was broken is the error.
    pub(crate) fn run(&mut self) -> Result<Summary, String> {
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            self.summary.events += 1;
            if self.tells {
                println!("{:9.3} {event:?}", self.now.as_secs_f64());
            }
            if !self.is_over && self.now > TROUBLE {
                self.heal();
            }
            self.step(event)?;
            if self.is_over && self.is_whole() {
                break;
            }
            if self.now > TROUBLE + PATIENCE {
                return Err(format!("not whole again: {}", self.describe()));
            }
        }
        self.summary.acknowledged = self.promises.acknowledged.len();
        self.summary.truncations = self.nodes.iter().map(|node| node.truncations).sum();
        for (partition, node) in (0..PARTITIONS).flat_map(|partition| self.members(partition)) {
            let node = &self.nodes[node];
            self.promises.is_held(partition, node.id, &node.logs[partition])?;
        }
        Ok(self.summary.clone())
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.number += 1;
        self.queue.insert((self.now + wait, self.number), event);
    }

    fn micros(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_micros(self.random.random_range(range))
    }

    fn index(&self, node: i32) -> usize {
        node as usize - 1
    }

    fn life(&self, node: i32) -> u128 {
        if node == CONTROLLER { 0 } else { self.nodes[self.index(node)].incarnation }
    }

    /// A message is lost with the connection that it was for: that to one life of a process.
    fn send(&mut self, from: i32, to: i32, message: Message) {
        let lost = !self.is_over && self.random.random_bool(0.02);
        if lost || self.cut.contains(&(from, to)) {
            return;
        }
        let wait = if self.random.random_bool(0.03) { self.micros(20_000..300_000) } else { self.micros(100..5_000) };
        let incarnation = self.life(to);
        if self.random.random_bool(0.02) {
            let again = self.micros(100..100_000);
            self.after(wait + again, Event::Deliver { from, to, incarnation, message: message.clone() });
        }
        self.after(wait, Event::Deliver { from, to, incarnation, message });
    }

    fn step(&mut self, event: Event) -> Result<(), String> {
        let concerned = match &event {
            Event::Deliver { to, incarnation, .. } => Some((*to, *incarnation)),
            Event::Synced { node, incarnation, .. } | Event::Tick { node, incarnation } => Some((*node, *incarnation)),
            Event::Restart { .. } | Event::Produce | Event::Fault => None,
        };
        if let Some((node, incarnation)) = concerned {
            if self.life(node) != incarnation {
                return Ok(());
            }
            if node != CONTROLLER {
                let index = self.index(node);
                let (up, frozen_until) = (self.nodes[index].up, self.nodes[index].frozen_until);
                if !up {
                    return Ok(());
                }
                if frozen_until > self.now {
                    self.after(frozen_until - self.now, event);
                    return Ok(());
                }
            }
        }
        match event {
            Event::Deliver { from, to: CONTROLLER, message, .. } => self.at_controller(from, message),
            Event::Deliver { from, to, message, .. } => self.at_node(from, to, message),
            Event::Synced { node, partition, upto, .. } => self.synced(node, partition, upto),
            Event::Tick { node, .. } => self.tick(node),
            Event::Restart { node } => self.restart(node),
            Event::Produce => self.produce(),
            Event::Fault => self.fault(),
        }
    }

    // the controller

    fn commit(&mut self, record: Record) -> Result<(), String> {
        self.catalog.apply(&record).map_err(|error| error.to_string())?;
        self.committed.push(record);
        for partition in 0..PARTITIONS {
            for (partition, node) in self.members(partition) {
                let node = &self.nodes[node];
                self.promises.is_held(partition, node.id, &node.logs[partition])?;
            }
        }
        (1..=NODES).for_each(|node| self.send(CONTROLLER, node, Message::Metadata));
        Ok(())
    }

    /// Indexes of the nodes that hold all that was acknowledged, by the metadata: any of them may come to lead.
    fn members(&self, partition: usize) -> Vec<(usize, usize)> {
        let Some(image) = partition_of(self.catalog.image(), partition) else { return Vec::new() };
        image.isr.iter().chain(image.elr()).map(|id| (partition, self.index(*id))).collect()
    }

    fn at_controller(&mut self, from: i32, message: Message) -> Result<(), String> {
        if self.controller_back > self.now {
            return Ok(());
        }
        match message {
            Message::Register { incarnation } => self.register(from, incarnation),
            Message::Heartbeat { epoch, applied } => {
                let Some(known) = self.catalog.image().broker_of_epoch(from, epoch) else { return Ok(()) };
                let (fenced, knows_itself) = (known.fenced, applied as i64 > epoch);
                self.heard.insert(from, self.now);
                if fenced && knows_itself {
                    self.commit(Record::BrokerUnfenced { broker: from, epoch, defaults: DEFAULTS })?;
                }
                Ok(())
            }
            Message::Propose { partition, proposal } => self.proposed(from, partition, proposal),
            _ => Ok(()),
        }
    }

    fn register(&mut self, broker: i32, incarnation: u128) -> Result<(), String> {
        let incarnation = Uuid::from_u128(incarnation);
        let known = self.catalog.image().brokers.get(&broker);
        if known.is_some_and(|known| known.registration.incarnation >= incarnation) {
            return Ok(());
        }
        let unclean = known.is_some();
        let registration = Registration {
            epoch: self.committed.len() as i64,
            incarnation,
            rack: None,
            listeners: vec![],
            dirs: vec![format!("disk of {broker}")],
            message_max_bytes: 1,
            replica_fetch_max_bytes: None,
            write_caching: false,
        };
        self.heard.insert(broker, self.now);
        self.commit(Record::BrokerRegistered { broker, registration, unclean, defaults: DEFAULTS })
    }

    fn proposed(&mut self, from: i32, partition: usize, proposal: Proposal) -> Result<(), String> {
        let image = self.catalog.image().clone();
        let Some(current) = partition_of(&image, partition) else { return Ok(()) };
        let is_its_leader = current.leader == from && current.leader_epoch == proposal.leader_epoch;
        let is_current = current.partition_epoch == proposal.partition_epoch;
        let fits = |(id, epoch): &(i32, i64)| {
            current.replicas.contains(id) && image.is_active(*id) && image.broker_of_epoch(*id, *epoch).is_some()
        };
        let answer = if is_its_leader && is_current && proposal.isr.iter().all(fits) {
            let isr: Vec<i32> = proposal.isr.iter().map(|(id, _)| *id).collect();
            let goal = Goal { isr: Some(&isr), ..Goal::elect(Election::Online, MIN_ISR as i32) };
            let after = settle(current, &goal, &|id| image.is_active(id));
            if let Some(after) = &after {
                let state = after.state();
                self.commit(Record::PartitionChanged { id: TOPIC_ID, partition: partition as i32, state })?;
            }
            let after = after.as_ref().unwrap_or(current);
            Answer::Committed { isr: after.isr.to_vec(), partition_epoch: after.partition_epoch }
        } else if is_its_leader && is_current {
            Answer::Refused
        } else {
            Answer::Unknown
        };
        let (leader_epoch, number) = (proposal.leader_epoch, proposal.number);
        self.send(CONTROLLER, from, Message::Answer { partition, leader_epoch, number, answer });
        Ok(())
    }

    fn fence_the_silent(&mut self) -> Result<(), String> {
        if self.controller_back > self.now {
            return Ok(());
        }
        let brokers = self.catalog.image().brokers.clone();
        for (&broker, known) in brokers.iter().filter(|(_, known)| !known.fenced) {
            let heard = self.heard.get(&broker).copied().unwrap_or_default();
            if self.now.saturating_sub(heard) > SESSION {
                let epoch = known.registration.epoch;
                self.commit(Record::BrokerFenced { broker, epoch, defaults: DEFAULTS })?;
            }
        }
        Ok(())
    }

    // the brokers

    fn at_node(&mut self, from: i32, to: i32, message: Message) -> Result<(), String> {
        let (index, now, mistake) = (self.index(to), self.now, self.mistake);
        let node = &mut self.nodes[index];
        match message {
            Message::Metadata => self.learn(index),
            Message::Ask(ask) => {
                let partition = ask.partition;
                let told = node.asked(&ask, now, mistake);
                node.settle(partition, now, &mut self.promises)?;
                if let Some(told) = told {
                    self.send(to, from, Message::Told(told));
                }
                Ok(())
            }
            Message::Told(told) => {
                let partition = told.partition;
                if node.told(told, &mut self.promises)? {
                    self.sync(index, partition);
                }
                if self.random.random_bool(0.5) {
                    self.ask(index, partition);
                }
                Ok(())
            }
            Message::Answer { partition, leader_epoch, number, answer } => {
                node.answered(partition, leader_epoch, number, answer);
                node.settle(partition, now, &mut self.promises)
            }
            Message::Register { .. } | Message::Heartbeat { .. } | Message::Propose { .. } => Ok(()),
        }
    }

    /// Takes in some of what was committed.
    fn learn(&mut self, index: usize) -> Result<(), String> {
        let upto = if self.random.random_bool(0.8) { self.committed.len() } else { self.nodes[index].applied + 1 };
        let node = &mut self.nodes[index];
        for record in &self.committed[node.applied..upto.min(self.committed.len())] {
            node.catalog.apply(record).map_err(|error| error.to_string())?;
            node.applied += 1;
            node.take_roles(self.mistake, self.now, &mut self.promises)?;
        }
        (0..PARTITIONS).try_for_each(|partition| self.nodes[index].settle(partition, self.now, &mut self.promises))
    }

    fn sync(&mut self, index: usize, partition: usize) {
        let wait = if self.random.random_bool(0.05) { self.micros(20_000..400_000) } else { self.micros(100..6_000) };
        let node = &mut self.nodes[index];
        if self.mistake == Mistake::AcknowledgesUnsynced
            && let Role::Follows { idle, .. } = &mut node.roles[partition]
        {
            *idle = true;
        }
        let (node, incarnation, upto) = (node.id, node.incarnation, node.logs[partition].entries.len());
        self.after(wait, Event::Synced { node, incarnation, partition, upto });
    }

    fn synced(&mut self, node: i32, partition: usize, upto: usize) -> Result<(), String> {
        let index = self.index(node);
        let node = &mut self.nodes[index];
        let log = &mut node.logs[partition];
        // What was cut meanwhile was not synced, and what took its place was not either.
        log.synced = log.synced.max(upto.min(log.entries.len()));
        if let Role::Follows { idle, .. } = &mut node.roles[partition] {
            *idle = log.synced == log.entries.len();
            if !*idle {
                self.sync(index, partition);
            }
        }
        self.nodes[index].settle(partition, self.now, &mut self.promises)?;
        self.ask(index, partition);
        Ok(())
    }

    fn ask(&mut self, index: usize, partition: usize) {
        if let Some((leader, ask)) = self.nodes[index].ask(partition, self.now) {
            let from = self.nodes[index].id;
            self.send(from, leader, Message::Ask(ask));
        }
    }

    fn tick(&mut self, node: i32) -> Result<(), String> {
        let (index, now, mistake) = (self.index(node), self.now, self.mistake);
        let incarnation = self.nodes[index].incarnation;
        self.after(Duration::from_millis(30), Event::Tick { node, incarnation });
        if self.random.random_bool(0.2) {
            self.send(CONTROLLER, node, Message::Metadata);
            self.nodes[index].checkpoints = self.nodes[index].high_watermarks.clone();
        }
        match self.nodes[index].epoch() {
            None => self.send(node, CONTROLLER, Message::Register { incarnation }),
            Some(epoch) => {
                let applied = self.nodes[index].applied;
                self.send(node, CONTROLLER, Message::Heartbeat { epoch, applied });
            }
        }
        for partition in 0..PARTITIONS {
            if matches!(self.nodes[index].roles[partition], Role::Leads { .. }) {
                self.sync(index, partition);
            }
            self.ask(index, partition);
            if let Some(proposal) = self.nodes[index].proposal(partition, now, mistake) {
                self.send(node, CONTROLLER, Message::Propose { partition, proposal });
            }
            self.nodes[index].settle(partition, now, &mut self.promises)?;
        }
        if node == 1 {
            self.summary.elections = (0..PARTITIONS)
                .filter_map(|p| Some(partition_of(self.catalog.image(), p)?.leader_epoch as usize))
                .sum();
        }
        self.fence_the_silent()
    }

    fn produce(&mut self) -> Result<(), String> {
        let wait = self.micros(500..8_000);
        self.after(wait, Event::Produce);
        if self.is_over {
            return Ok(());
        }
        let (index, partition) =
            (self.random.random_range(0..self.nodes.len()), self.random.random_range(0..PARTITIONS));
        let awake = self.nodes[index].up && self.nodes[index].frozen_until <= self.now;
        self.values += 1;
        if awake && self.nodes[index].produce(partition, self.values, &mut self.promises)? {
            self.sync(index, partition);
        }
        Ok(())
    }

    // trouble

    fn fault(&mut self) -> Result<(), String> {
        if self.is_over {
            return Ok(());
        }
        let wait = self.micros(30_000..500_000);
        self.after(wait, Event::Fault);
        let node = self.random.random_range(1..=NODES);
        let other = self.random.random_range(0..=NODES);
        match self.random.random_range(0..12) {
            0..4 => self.crash(node),
            4 => (1..=NODES).for_each(|node| self.crash(node)),
            5 => (1..=NODES).filter(|other| *other != node).for_each(|node| self.crash(node)),
            6 => {
                let frozen = self.micros(50_000..2_500_000);
                let index = self.index(node);
                self.nodes[index].frozen_until = self.now + frozen;
            }
            7 => self.cut.extend([(node, other)]),
            8 => self.cut.extend([(node, other), (other, node)]),
            9 => (0..=NODES).for_each(|other| self.cut.extend([(node, other), (other, node)])),
            10 => self.controller_back = self.now + self.micros(50_000..2_000_000),
            _ => self.cut.clear(),
        }
        Ok(())
    }

    /// The power of a node fails: what was not synced is gone, all of it or the end of it.
    fn crash(&mut self, id: i32) {
        let index = self.index(id);
        if !self.nodes[index].up {
            return;
        }
        let wait = self.micros(20_000..1_500_000);
        for partition in 0..PARTITIONS {
            let (synced, end) =
                (self.nodes[index].logs[partition].synced, self.nodes[index].logs[partition].entries.len());
            let kept = self.random.random_range(synced..=end);
            let node = &mut self.nodes[index];
            node.logs[partition].entries.truncate(kept);
            let end = kept as i64;
            node.high_watermarks[partition] = node.checkpoints[partition].min(end);
            node.roles[partition] = Role::None;
        }
        self.nodes[index].up = false;
        self.after(wait, Event::Restart { node: id });
    }

    fn restart(&mut self, node: i32) -> Result<(), String> {
        let index = self.index(node);
        self.lives += 1;
        let incarnation = self.lives;
        let node_state = &mut self.nodes[index];
        (node_state.up, node_state.incarnation) = (true, incarnation);
        for log in &mut node_state.logs {
            // A start syncs what it found before anything is appended.
            log.synced = log.entries.len();
        }
        node_state.take_roles(self.mistake, self.now, &mut self.promises)?;
        self.after(Duration::ZERO, Event::Tick { node, incarnation });
        Ok(())
    }

    // peace

    fn heal(&mut self) {
        self.is_over = true;
        self.cut.clear();
        self.controller_back = Duration::ZERO;
        for node in &mut self.nodes {
            node.frozen_until = node.frozen_until.min(self.now);
        }
    }

    fn is_whole(&self) -> bool {
        (0..PARTITIONS).all(|partition| {
            let Some(image) = partition_of(self.catalog.image(), partition) else { return false };
            if image.isr.len() != image.replicas.len() || image.leader == PartitionImage::NO_LEADER {
                return false;
            }
            let leader = &self.nodes[self.index(image.leader)];
            let log = &leader.logs[partition];
            leader.high_watermarks[partition] == log.entries.len() as i64
                && matches!(&leader.roles[partition], Role::Leads { waiting, .. } if waiting.is_empty())
                && image.replicas.iter().all(|id| {
                    let node = &self.nodes[self.index(*id)];
                    node.up
                        && node.logs[partition].synced == log.entries.len()
                        && node.logs[partition].entries == log.entries
                })
        })
    }

    fn describe(&self) -> String {
        let partition = |partition: usize| {
            let image = partition_of(self.catalog.image(), partition);
            let ends: Vec<_> = self
                .nodes
                .iter()
                .map(|node| {
                    (
                        node.id,
                        node.logs[partition].entries.len(),
                        node.logs[partition].synced,
                        node.high_watermarks[partition],
                    )
                })
                .collect();
            format!("{image:?}, logs (node, end, synced, high watermark) {ends:?}")
        };
        let fenced: Vec<_> = self.catalog.image().brokers.iter().filter(|(_, b)| b.fenced).map(|(id, _)| *id).collect();
        format!("{}; fenced {fenced:?}", (0..PARTITIONS).map(partition).collect::<Vec<_>>().join("; "))
    }
}
