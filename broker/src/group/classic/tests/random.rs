//! Seeded random schedules: members join, sync, beat, leave, fall silent and restart in any order.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::driver::{Driver, SESSION_MS, join, static_join, subscription};
use crate::group::classic::{ClassicGroup, Join, Leaving, StateName, Sync};
use crate::group::records::Record;
use crate::group::{Answer, GroupError, Joined, Token};

const CLIENTS: usize = 6;

/// A client that follows the protocol, but may stop doing so at any moment.
#[derive(Default)]
struct Client {
    instance: Option<&'static str>,
    member_id: Arc<str>,
    joining: Option<Token>,
    syncing: Option<Token>,
    generation: Option<Joined>,
    share: Option<Bytes>,
    silent: bool,
}

struct World {
    driver: Driver,
    clients: Vec<Client>,
    rng: StdRng,
}

impl World {
    fn new(seed: u64) -> World {
        let mut driver = Driver::new();
        let mut rng = StdRng::seed_from_u64(seed);
        driver.config.initial_rebalance_delay_ms = rng.random_range(0..2) * 3_000;
        let client = |at| Client { instance: [None, None, None, None, Some("x"), Some("y")][at], ..Client::default() };
        World { driver, clients: (0..CLIENTS).map(client).collect(), rng }
    }

    fn act(&mut self) {
        match self.rng.random_range(0..100) {
            0..50 => self.follow_protocol(),
            50..60 => {
                let ms = self.rng.random_range(1..SESSION_MS as u64);
                self.driver.pass(ms);
            }
            60..66 => {
                let at = self.rng.random_range(0..CLIENTS);
                self.clients[at].silent ^= true;
            }
            66..70 => self.restart(),
            70..75 => self.leave(),
            75..77 => self.fail_over(),
            _ => self.beat(),
        }
        self.hear();
        self.check();
    }

    fn pick(&mut self) -> Option<usize> {
        let at = self.rng.random_range(0..CLIENTS);
        (!self.clients[at].silent).then_some(at)
    }

    /// What a well-behaved client would do next.
    fn follow_protocol(&mut self) {
        let Some(at) = self.pick() else { return };
        let client = &self.clients[at];
        if client.joining.is_some() || client.syncing.is_some() {
            return;
        }
        if let Some(joined) = client.generation.clone().filter(|_| client.share.is_none()) {
            let token = self.driver.token();
            let share = |id: &Arc<str>| Bytes::from(format!("{}:{id}", joined.generation));
            let members = joined.members.iter().map(|member| (member.member_id.clone(), share(&member.member_id)));
            let sync = Sync {
                token,
                member_id: joined.member_id.clone(),
                instance_id: client.instance.map(Into::into),
                generation: joined.generation,
                protocol_type: joined.protocol_type.clone(),
                protocol: joined.protocol.clone(),
                assignments: if joined.skip_assignment { Default::default() } else { members.collect() },
            };
            self.driver.step(|group, step| group.sync(sync, step));
            self.clients[at].syncing = Some(token);
        } else if client.share.is_none() {
            self.join(at);
        } else if self.rng.random_ratio(1, 10) {
            // New metadata, or a leader that wants a new assignment.
            self.join(at);
        }
    }

    fn join(&mut self, at: usize) {
        let client = &self.clients[at];
        let base = match client.instance {
            Some(instance) => static_join(&client.member_id, instance),
            None => join(&client.member_id),
        };
        let topics = ["t", "u"];
        let metadata = subscription(&topics[..self.rng.random_range(1..=2)]);
        let token = self.driver.join(Join { protocols: vec![("range".into(), metadata)], ..base });
        let client = &mut self.clients[at];
        (client.joining, client.generation, client.share) = (Some(token), None, None);
    }

    /// The process ends; a static member comes back under its name, a dynamic one as a stranger.
    fn restart(&mut self) {
        let Some(at) = self.pick() else { return };
        self.clients[at] = Client { instance: self.clients[at].instance, ..Client::default() };
    }

    fn leave(&mut self) {
        let Some(at) = self.pick() else { return };
        let client = &self.clients[at];
        let leaving = Leaving { member_id: client.member_id.clone(), instance_id: client.instance.map(Into::into) };
        self.driver.step(|group, step| group.leave(&[leaving], step));
    }

    fn beat(&mut self) {
        let Some(at) = self.pick() else { return };
        let Some(joined) = &self.clients[at].generation else { return };
        let (id, generation) = (joined.member_id.clone(), joined.generation);
        let instance = self.clients[at].instance;
        let answer = self.driver.step(|group, step| group.heartbeat(&id, instance, generation, step));
        let client = &mut self.clients[at];
        match answer {
            Ok(()) => {}
            Err(GroupError::RebalanceInProgress) => (client.generation, client.share) = (None, None),
            Err(_) => *client = Client { instance: client.instance, ..Client::default() },
        }
    }

    /// The broker restarts: what is stored is what there is, and parked requests are gone with their connections.
    fn fail_over(&mut self) {
        let stored = self.driver.records.iter().rev().find_map(|record| match record {
            Record::Group { value, .. } => value.clone(),
            Record::Offset { .. } => None,
        });
        let now_ms = self.driver.now_ms;
        let group = match stored {
            Some(value) => ClassicGroup::from_value("g".into(), value),
            None => ClassicGroup::new("g".into(), None),
        };
        let records = std::mem::take(&mut self.driver.records);
        let (config, ids) = (self.driver.config.clone(), self.driver.ids);
        self.driver = Driver::with(group);
        self.driver.ids = ids;
        (self.driver.now_ms, self.driver.records, self.driver.config) = (now_ms, records, config);
        self.driver.step(|group, step| group.resume(step));
        for client in &mut self.clients {
            (client.joining, client.syncing) = (None, None);
        }
    }

    /// Clients read the answers that have come.
    fn hear(&mut self) {
        for client in &mut self.clients {
            match client.joining.and_then(|token| self.driver.answer(token)) {
                Some(Answer::Join(Ok(joined))) => {
                    client.member_id = joined.member_id.clone();
                    (client.generation, client.joining) = (Some(joined.clone()), None);
                }
                Some(Answer::Join(Err(refused))) => {
                    client.joining = None;
                    match refused.error {
                        GroupError::MemberIdRequired => client.member_id = refused.member_id.clone(),
                        GroupError::RebalanceInProgress => {}
                        _ => client.member_id = "".into(),
                    }
                }
                Some(Answer::Sync(_)) => panic!("a sync's answer to a join"),
                None => {}
            }
            match client.syncing.and_then(|token| self.driver.answer(token)) {
                Some(Answer::Sync(Ok(synced))) => {
                    (client.share, client.syncing) = (Some(synced.assignment.clone()), None);
                }
                Some(Answer::Sync(Err(error))) => {
                    (client.syncing, client.generation) = (None, None);
                    if *error != GroupError::RebalanceInProgress {
                        client.member_id = "".into();
                    }
                }
                Some(Answer::Join(_)) => panic!("a join's answer to a sync"),
                None => {}
            }
        }
    }

    fn check(&mut self) {
        let group = &self.driver.group;
        // What is counted is what is there.
        let awaiting = group.members.values().filter(|member| member.awaiting_join.is_some()).count();
        assert_eq!(group.awaiting_join, awaiting);
        assert!(group.supported.values().all(|count| (1..=group.members.len()).contains(count)));
        // Every parked request is in exactly one member.
        let mut held: Vec<Token> = Vec::new();
        for member in group.members.values() {
            held.extend(member.awaiting_join);
            held.extend(member.awaiting_sync);
        }
        held.sort();
        assert_eq!(held, self.driver.parked.keys().copied().collect::<Vec<_>>());
        // Static members are members, and the leader is one.
        assert!(group.static_members.values().all(|id| group.members.contains_key(id)));
        assert!(group.leader.as_ref().is_none_or(|leader| group.members.contains_key(leader)));
        assert!(group.pending_joins.iter().all(|id| !group.members.contains_key(id)));
        assert_eq!(group.is_empty(), group.state() == StateName::Empty);
        assert!(!group.is_empty() || group.members.is_empty());
        // What is stored is what is there, while the group is at rest.
        if matches!(group.state(), StateName::Stable)
            && let Some(Record::Group { value: Some(stored), .. }) = self.driver.records.last()
        {
            let Record::Group { value: Some(now), .. } = group.to_record() else { panic!() };
            assert_eq!((stored.generation, &stored.members), (now.generation, &now.members));
        }
        // One generation has assignments: two members never hold a share of the same name from different generations.
        if let StateName::Stable = group.state() {
            let shares: BTreeMap<_, _> =
                group.members.values().map(|member| (&member.id, &member.assignment)).collect();
            let generation = format!("{}:", group.generation());
            assert!(shares.values().all(|share| share.is_empty() || share.starts_with(generation.as_bytes())));
        }
    }

    /// All clients behave from now on: everybody must get into one generation, and nobody may be left parked.
    fn settle(&mut self) {
        for client in &mut self.clients {
            client.silent = false;
        }
        for _ in 0..2_000 {
            self.driver.pass(500);
            self.hear();
            for at in 0..CLIENTS {
                let share = self.clients[at].share.is_some();
                self.settle_one(at, share);
                self.hear();
                self.check();
            }
            let generations: Vec<_> = self.clients.iter().filter_map(|client| client.generation.as_ref()).collect();
            let settled = self.clients.iter().all(|client| client.share.is_some())
                && generations.iter().all(|joined| joined.generation == self.driver.group.generation());
            if settled && self.driver.parked.is_empty() && self.driver.group.members.len() == CLIENTS {
                return;
            }
        }
        panic!("the group never settled: {:#?}", self.driver.group);
    }

    fn settle_one(&mut self, at: usize, has_share: bool) {
        if has_share {
            let Some(joined) = self.clients[at].generation.clone() else { return };
            let instance = self.clients[at].instance;
            let answer =
                self.driver.step(|group, step| group.heartbeat(&joined.member_id, instance, joined.generation, step));
            let client = &mut self.clients[at];
            match answer {
                Ok(()) => {}
                Err(GroupError::RebalanceInProgress) => (client.generation, client.share) = (None, None),
                Err(_) => *client = Client { instance: client.instance, ..Client::default() },
            }
        } else {
            // The same choice as in the storm, aimed at this client.
            let others: Vec<bool> = self.clients.iter().map(|client| client.silent).collect();
            for (other, client) in self.clients.iter_mut().enumerate() {
                client.silent = other != at;
            }
            for _ in 0..CLIENTS * 4 {
                self.follow_protocol();
            }
            for (client, silent) in self.clients.iter_mut().zip(others) {
                client.silent = silent;
            }
        }
    }
}

#[test]
fn whatever_happens_every_request_is_answered_once_and_the_group_settles_with_everybody() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.act();
        }
        world.settle();
    }
}

#[test]
fn the_same_seed_gives_the_same_records() {
    let run = |seed| {
        let mut world = World::new(seed);
        (0..400).for_each(|_| world.act());
        world.driver.records
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
