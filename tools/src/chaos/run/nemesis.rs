//! Does what the schedule says, and undoes it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;

use super::RunError;
use super::admin::{Admin, View};
use super::fault::{Fault, Kind};
use super::links::Links;
use super::node::{Node, Plan, Target};
use super::workload::Key;

/// How long it may take to learn who leads, before somebody is taken by chance.
const LOOKUP: Duration = Duration::from_secs(5);
const CLOCK_JUMP_MAX: i64 = 3600;
/// How long the quorum may take to change its voters.
const VOTERS: Duration = Duration::from_secs(30);

/// The nodes, and all that can be done to them.
pub(super) struct Nemesis {
    pub(super) plan: Plan,
    pub(super) nodes: Vec<Node>,
    pub(super) links: Links,
    pub(super) admin: Admin,
    pub(super) keys: Vec<Key>,
    /// What the cluster refused to do, and should have done.
    pub(super) complaints: Vec<String>,
    /// Somebody was taken out of the quorum, and is to be added again.
    voter_is_out: bool,
    random: StdRng,
}

/// What a fault did, and to whom.
pub(super) struct Done {
    pub(super) nodes: Vec<usize>,
    /// Nodes that may end by themselves while it lasts: their disk fails.
    pub(super) may_die: bool,
    pub(super) note: String,
}

impl Nemesis {
    pub(super) fn new(plan: Plan, nodes: Vec<Node>, links: Links, admin: Admin, keys: Vec<Key>, seed: u64) -> Nemesis {
        let random = StdRng::seed_from_u64(seed);
        Nemesis { plan, nodes, links, admin, keys, complaints: Vec::new(), voter_is_out: false, random }
    }

    fn node(&mut self, id: usize) -> &mut Node {
        &mut self.nodes[id - 1]
    }

    /// Starts every node that does not run.
    pub(super) fn start_all(&mut self) -> Result<(), RunError> {
        self.nodes.iter_mut().try_for_each(|node| node.start(&self.plan))
    }

    fn majority(&self, with: usize) -> Vec<usize> {
        let others = (1..=self.nodes.len()).filter(|id| *id != with);
        std::iter::once(with).chain(others).take(self.nodes.len() / 2 + 1).collect()
    }

    async fn leader(&mut self, otherwise: usize) -> usize {
        let key = self.keys[self.random.random_range(0..self.keys.len())].clone();
        let topics = self.admin.topics().await.unwrap_or_default();
        let partition = topics.get(&key.topic).and_then(|topic| topic.partitions.get(&key.partition));
        partition.and_then(|found| usize::try_from(found.leader).ok()).filter(|id| *id > 0).unwrap_or(otherwise)
    }

    async fn controller(&mut self, otherwise: usize) -> usize {
        let found = self.admin.quorum(LOOKUP).await.map(|(leader, _)| leader);
        found.ok().and_then(|id| usize::try_from(id).ok()).filter(|id| *id > 0).unwrap_or(otherwise)
    }

    async fn coordinator(&mut self, otherwise: usize) -> usize {
        let group = if self.random.random_bool(0.5) { "librdkafka" } else { super::member::GROUP };
        let found = self.admin.coordinator(group, LOOKUP).await;
        found.ok().and_then(|id| usize::try_from(id).ok()).filter(|id| *id > 0).unwrap_or(otherwise)
    }

    /// Injects a fault, lets it last, and heals it.
    pub(super) async fn inject(&mut self, fault: &Fault) -> Result<Done, RunError> {
        let node = match fault.kind {
            Kind::KillLeader | Kind::StopLeader | Kind::IsolateLeader => self.leader(fault.node).await,
            Kind::KillController | Kind::IsolateController => self.controller(fault.node).await,
            Kind::KillCoordinator => self.coordinator(fault.node).await,
            _ => fault.node,
        };
        let all: Vec<usize> = (1..=self.nodes.len()).collect();
        let nodes = match fault.kind {
            Kind::KillMajority => self.majority(node),
            Kind::KillAll | Kind::PowerCutAll | Kind::ClockJump => all,
            Kind::Ring | Kind::Loss | Kind::Delay | Kind::Disorder | Kind::Resets => Vec::new(),
            Kind::Reassign | Kind::Elections | Kind::RollingRestart => Vec::new(),
            _ => vec![node],
        };
        let may_die = matches!(fault.kind, Kind::PowerCut | Kind::PowerCutAll | Kind::FullDisk | Kind::SlowDisk);
        let mut done = Done { nodes, may_die, note: String::new() };
        match fault.kind {
            Kind::Mute | Kind::Deafen | Kind::Ring | Kind::IsolateLeader | Kind::IsolateController => {
                self.partition(fault.kind, node);
            }
            Kind::Loss | Kind::Delay | Kind::Disorder | Kind::Resets => self.degrade(fault.kind),
            Kind::Pause => self.node(node).signal(Signal::STOP)?,
            Kind::ClockJump => self.jump()?,
            Kind::PowerCut | Kind::PowerCutAll => self.cut_power(&done.nodes)?,
            Kind::FullDisk => self.volume(node, |volume| volume.fill())?,
            Kind::KillOne
            | Kind::KillLeader
            | Kind::KillController
            | Kind::KillCoordinator
            | Kind::KillMajority
            | Kind::KillAll => self.kill(&done.nodes)?,
            Kind::StopLeader => self.node(node).stop()?,
            Kind::Wipe => {
                self.kill(&[node])?;
                // It comes back without its votes: until it is added again it is nobody whom the others would ask.
                if self.take_out(node).await {
                    self.node(node).wipe()?;
                }
            }
            Kind::Stutter
            | Kind::SlowDisk
            | Kind::RollingRestart
            | Kind::Reassign
            | Kind::Elections
            | Kind::Membership => {}
        }
        Ok(std::mem::replace(&mut done, Done { nodes: Vec::new(), may_die, note: String::new() }))
    }

    /// What a fault goes on doing while it lasts.
    pub(super) async fn last(&mut self, fault: &Fault, done: &mut Done) -> Result<(), RunError> {
        let deadline = Instant::now() + fault.lasts();
        match fault.kind {
            Kind::RollingRestart => self.roll().await?,
            Kind::Membership => done.note = self.change_voters(fault.node).await,
            Kind::Reassign => done.note = self.reassign_all(deadline).await,
            _ => {
                while Instant::now() < deadline {
                    self.go_on(fault.kind, &done.nodes).await?;
                }
            }
        }
        Ok(())
    }

    async fn go_on(&mut self, kind: Kind, nodes: &[usize]) -> Result<(), RunError> {
        let short = Duration::from_millis(self.random.random_range(100..900));
        let node = nodes.first().copied().unwrap_or(1);
        match kind {
            Kind::Stutter => {
                self.node(node).signal(Signal::STOP)?;
                tokio::time::sleep(short).await;
                self.node(node).signal(Signal::CONT)?;
            }
            Kind::SlowDisk => {
                // A volume that was frozen is thawed even if the run ends here: see `heal`.
                self.volume(node, |volume| volume.freeze())?;
                tokio::time::sleep(short).await;
                self.volume(node, |volume| {
                    volume.thaw();
                    Ok(())
                })?;
            }
            Kind::Elections => {
                let _ = self.shuffle_leaders().await;
                let _ = self.admin.elect_preferred().await;
            }
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(())
    }

    /// Everything as it should be, whatever was done before: nodes run, links carry, disks have room.
    pub(super) fn heal(&mut self) -> Result<(), RunError> {
        self.links.heal();
        for node in &mut self.nodes {
            node.signal(Signal::CONT)?;
            if let Some(volume) = &node.volume {
                volume.thaw();
                volume.empty()?;
            }
            if self.plan.faketime.is_some() {
                node.set_clock(&self.plan, 0)?;
            }
        }
        self.start_all()
    }

    /// Notices who ended by itself; a node whose disk failed may, and is started again when all is healed.
    pub(super) fn look(&mut self, now: &str, may_die: &[usize]) {
        for node in &mut self.nodes {
            let allowed = may_die.contains(&node.id);
            node.look(now, allowed);
        }
    }

    fn partition(&self, kind: Kind, node: usize) {
        let nodes = self.nodes.len();
        // Host 0 is the clients: they see everybody.
        let cut = move |from: usize, to: usize| {
            let both = from > 0 && to > 0;
            both && match kind {
                Kind::Mute => from == node,
                Kind::Deafen => to == node,
                Kind::Ring => to != from % nodes + 1,
                _ => from == node || to == node,
            }
        };
        self.links.change(cut, |link| link.cut = true);
    }

    fn degrade(&mut self, kind: Kind) {
        let loss = self.random.random_range(0.02..0.15);
        let delay = Duration::from_millis(self.random.random_range(10..150));
        self.links.change(
            |_, _| true,
            |link| match kind {
                Kind::Loss => link.loss = loss,
                Kind::Delay => (link.delay, link.jitter) = (delay, delay / 10),
                Kind::Disorder => (link.doubled, link.jitter) = (0.2, Duration::from_millis(10)),
                _ => link.reset = 0.01,
            },
        );
    }

    fn jump(&mut self) -> Result<(), RunError> {
        for node in &self.nodes {
            node.set_clock(&self.plan, self.random.random_range(-CLOCK_JUMP_MAX..=CLOCK_JUMP_MAX))?;
        }
        Ok(())
    }

    fn kill(&mut self, nodes: &[usize]) -> Result<(), RunError> {
        // All first, so that none sees another go.
        nodes.iter().try_for_each(|id| self.nodes[*id - 1].signal(Signal::KILL))?;
        nodes.iter().for_each(|id| self.nodes[*id - 1].kill());
        Ok(())
    }

    fn cut_power(&mut self, nodes: &[usize]) -> Result<(), RunError> {
        if nodes.len() > 1 {
            // All at the same instant: none does anything more while the disk of another is cut. One alone may notice that its
            // disk fails before it ends.
            nodes.iter().try_for_each(|id| self.nodes[*id - 1].signal(Signal::STOP))?;
        }
        for id in nodes {
            self.volume(*id, |volume| volume.cut_power())?;
        }
        self.kill(nodes)?;
        nodes.iter().try_for_each(|id| self.volume(*id, |volume| volume.mount_again()))
    }

    fn volume(&self, id: usize, what: impl Fn(&super::volume::Volume) -> Result<(), RunError>) -> Result<(), RunError> {
        self.nodes[id - 1].volume.as_ref().map_or(Ok(()), what)
    }

    /// Stops and starts one node after the other; the next when the one before is in sync again.
    async fn roll(&mut self) -> Result<(), RunError> {
        for at in 0..self.nodes.len() {
            self.nodes[at].stop()?;
            self.nodes[at].start(&self.plan)?;
            let _ = self.settle(Duration::from_secs(60)).await;
        }
        Ok(())
    }

    async fn change_voters(&mut self, id: usize) -> String {
        if !self.take_out(id).await {
            return String::new();
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.bring_in().await;
        format!("voter {id} left, and came back")
    }

    /// Takes a node out of the quorum, as one does before its disk is replaced; whether that is so now.
    async fn take_out(&mut self, id: usize) -> bool {
        if matches!(self.plan.target, Target::Kafka(_)) {
            // With controller.quorum.voters its voters are who they are, whatever is on their disks.
            return true;
        }
        self.voter_is_out = true;
        let deadline = Instant::now() + VOTERS;
        loop {
            let error = match self.admin.quorum(LOOKUP).await {
                Ok((_, voters)) => match voters.iter().find(|voter| usize::try_from(voter.id) == Ok(id)) {
                    // That it is gone is asked again: an answer may be lost, and the change made.
                    Some(voter) => self.admin.remove_voter(voter).await.err(),
                    None => return true,
                },
                Err(error) => Some(error),
            };
            if Instant::now() > deadline {
                let error = error.map_or_else(|| "it still votes".to_owned(), |error| error.to_string());
                self.complaints.push(format!("voter {id} was not removed within {} s: {error}", VOTERS.as_secs()));
                return false;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Adds every node to the quorum that was taken out of it.
    pub(super) async fn bring_in(&mut self) {
        let deadline = Instant::now() + VOTERS;
        while self.voter_is_out {
            let error = match self.admin.quorum(LOOKUP).await {
                Ok((_, voters)) => {
                    let is_voter = |id: usize| voters.iter().any(|voter| usize::try_from(voter.id) == Ok(id));
                    let out = (1..=self.nodes.len()).find(|id| !is_voter(*id));
                    let Some(out) = out else {
                        self.voter_is_out = false;
                        return;
                    };
                    let address = self.plan.controller_address(out);
                    self.admin.add_voter(i32::try_from(out).unwrap_or(0), &address).await.err()
                }
                Err(error) => Some(error),
            };
            if Instant::now() > deadline {
                let error = error.map_or_else(|| "it does not vote".to_owned(), |error| error.to_string());
                self.complaints.push(format!("a voter was not added again within {} s: {error}", VOTERS.as_secs()));
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// New orders of the replicas of all partitions: the first of them is the preferred leader.
    async fn shuffle_leaders(&mut self) -> Result<(), RunError> {
        let topics = self.admin.topics().await.unwrap_or_default();
        let mut names: Vec<String> = self.keys.iter().map(|key| key.topic.clone()).collect();
        names.dedup();
        for name in names {
            let Some(topic) = topics.get(&name) else { continue };
            let mut to = BTreeMap::new();
            for (index, partition) in &topic.partitions {
                let mut replicas = partition.replicas.clone();
                replicas.shuffle(&mut self.random);
                to.insert(*index, replicas);
            }
            let _ = self.admin.reassign(&name, &to).await;
        }
        Ok(())
    }

    /// Moves partitions to fewer nodes and back: replicas are dropped and copied anew.
    async fn reassign_all(&mut self, deadline: Instant) -> String {
        let mut moved = 0;
        let mut failed = None;
        let all: Vec<i32> = (1..=self.nodes.len()).filter_map(|id| i32::try_from(id).ok()).collect();
        let mut names: Vec<String> = self.keys.iter().map(|key| key.topic.clone()).collect();
        names.dedup();
        while Instant::now() < deadline {
            for size in [2, 3] {
                for name in &names {
                    let topics = self.admin.topics().await.unwrap_or_default();
                    let Some(topic) = topics.get(name) else { continue };
                    let mut to = BTreeMap::new();
                    for index in topic.partitions.keys() {
                        let mut replicas = all.clone();
                        replicas.shuffle(&mut self.random);
                        replicas.truncate(size);
                        to.insert(*index, replicas);
                    }
                    match self.admin.reassign(name, &to).await {
                        Ok(()) => moved += to.len(),
                        Err(error) => failed = Some(error.to_string()),
                    }
                }
                tokio::time::sleep(Duration::from_millis(1500)).await;
            }
        }
        let failed = failed.map(|error| format!("; last refusal: {error}")).unwrap_or_default();
        format!("{moved} moves{failed}")
    }

    /// Waits until every partition has a leader and all its replicas in sync, and all nodes are there: how long that took,
    /// or what is still missing.
    pub(super) async fn settle(&mut self, patience: Duration) -> Result<Duration, String> {
        let started = Instant::now();
        loop {
            let missing = self.missing().await;
            match missing {
                None => return Ok(started.elapsed()),
                Some(missing) if started.elapsed() > patience => return Err(missing),
                Some(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// What any node still misses, or any leader.
    async fn missing(&mut self) -> Option<String> {
        let views = match self.admin.views().await {
            Ok(views) => views,
            Err(error) => return Some(error.to_string()),
        };
        let incomplete = (1..).zip(&views).find_map(|(node, view)| {
            let why = incomplete(view, self.nodes.len())?;
            Some(format!("node {node} says: {why}"))
        });
        if incomplete.is_some() {
            return incomplete;
        }
        let topics = views.into_iter().next().map(|view| view.topics).unwrap_or_default();
        for topic in topics.values() {
            if let Err(error) = self.admin.all_lead(topic).await {
                return Some(error.to_string());
            }
        }
        None
    }
}

fn incomplete(view: &View, nodes: usize) -> Option<String> {
    if view.brokers.len() < nodes {
        return Some(format!("only brokers {:?} are there", view.brokers));
    }
    view.topics.iter().find_map(|(name, topic)| {
        topic.partitions.iter().find_map(|(index, partition)| {
            let (is, all) = (&partition.in_sync, &partition.replicas);
            if partition.leader < 0 {
                Some(format!("{name}-{index} has no leader"))
            } else if is.len() < all.len() {
                Some(format!("{name}-{index} has only {is:?} of {all:?} in sync"))
            } else {
                None
            }
        })
    })
}
