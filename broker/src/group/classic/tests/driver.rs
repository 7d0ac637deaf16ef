//! One group with a clock, timers and clients that remember what they were told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::group::classic::{ClassicGroup, Join, Leaving, StateName, Sync};
use crate::group::records::{GroupValue, Record};
use crate::group::{
    Answer, Effects, GroupConfig, GroupError, JoinRefused, Joined, Step, Synced, TimerKey, TimerKind, Token,
};

pub(super) const SESSION_MS: i32 = 10_000;
pub(super) const REBALANCE_MS: i32 = 60_000;
pub(super) const DELAY_MS: u64 = 3_000;

pub(super) struct Driver {
    pub(super) group: ClassicGroup,
    pub(super) config: GroupConfig,
    pub(super) now_ms: i64,
    pub(super) records: Vec<Record>,
    answers: HashMap<Token, Answer>,
    pub(super) parked: BTreeMap<Token, ()>,
    timers: BTreeMap<TimerKey, i64>,
    next_token: u64,
    /// How many member ids were given out: they are never given twice.
    pub(super) ids: u128,
}

/// A JoinGroup with everything usual filled in.
pub(super) fn join(member_id: &str) -> Join {
    Join {
        token: Token(0),
        member_id: member_id.into(),
        instance_id: None,
        client_id: "app".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), subscription(&["t"]))],
        fresh: Uuid::nil(),
        requires_known_id: true,
        can_skip_assignment: true,
    }
}

/// A join of a static member.
pub(super) fn static_join(member_id: &str, instance_id: &str) -> Join {
    Join { instance_id: Some(instance_id.into()), ..join(member_id) }
}

/// A consumer's metadata.
pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1i32).to_be_bytes());
    bytes.into()
}

impl Driver {
    pub(super) fn new() -> Driver {
        Driver::with(ClassicGroup::new("g".into(), Some(0)))
    }

    pub(super) fn with(group: ClassicGroup) -> Driver {
        Driver {
            group,
            config: GroupConfig::default(),
            now_ms: 1_000_000,
            records: Vec::new(),
            answers: HashMap::new(),
            parked: BTreeMap::new(),
            timers: BTreeMap::new(),
            next_token: 0,
            ids: 0,
        }
    }

    pub(super) fn step<T>(&mut self, verb: impl FnOnce(&mut ClassicGroup, &mut Step) -> T) -> T {
        let mut effects = Effects::default();
        let mut step = Step { now_ms: self.now_ms, config: &self.config, effects: &mut effects };
        let result = verb(&mut self.group, &mut step);
        self.records.extend(effects.records);
        for (token, answer) in effects.replies {
            assert!(self.parked.remove(&token).is_some(), "{token:?} is answered twice or was never asked");
            self.answers.insert(token, answer);
        }
        for change in effects.timers {
            match change.after_ms {
                Some(after_ms) => drop(self.timers.insert(change.key, self.now_ms + after_ms as i64)),
                None => drop(self.timers.remove(&change.key)),
            }
        }
        result
    }

    /// Time passes, and timers fire in their order.
    pub(super) fn pass(&mut self, ms: u64) {
        let until = self.now_ms + ms as i64;
        while let Some((key, at)) = self.first_timer()
            && at <= until
        {
            self.now_ms = at;
            self.timers.remove(&key);
            self.step(|group, step| match &key.kind {
                TimerKind::Session(member_id) => group.session_timeout(member_id, step),
                TimerKind::Join => group.join_timeout(step),
                TimerKind::Sync => group.sync_timeout(step),
            });
        }
        self.now_ms = until;
    }

    /// The initial delay ends, and nothing beyond it.
    pub(super) fn end_initial_delay(&mut self) {
        while self.state() == StateName::PreparingRebalance {
            self.pass(1);
        }
    }

    fn first_timer(&self) -> Option<(TimerKey, i64)> {
        self.timers.iter().min_by_key(|(_, at)| **at).map(|(key, at)| (key.clone(), *at))
    }

    pub(super) fn has_timers(&self) -> bool {
        !self.timers.is_empty()
    }

    pub(super) fn token(&mut self) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.parked.insert(token, ());
        token
    }

    pub(super) fn join(&mut self, join: Join) -> Token {
        let token = self.token();
        self.ids += 1;
        let fresh = Uuid::from_u128(self.ids);
        self.step(|group, step| group.join(Join { token, fresh, ..join }, step));
        token
    }

    /// A dynamic member goes both steps of KIP-394.
    pub(super) fn join_twice(&mut self, with: impl Fn(&str) -> Join) -> (Arc<str>, Token) {
        let token = self.join(with(""));
        let refused = self.join_refused(token);
        assert_eq!(refused.error, GroupError::MemberIdRequired);
        let token = self.join(with(&refused.member_id));
        (refused.member_id, token)
    }

    pub(super) fn sync(&mut self, joined: &Joined, assignments: &[(&str, &'static str)]) -> Token {
        let token = self.token();
        let share = |(id, share): &(&str, &'static str)| (Arc::from(*id), Bytes::from_static(share.as_bytes()));
        let sync = Sync {
            token,
            member_id: joined.member_id.clone(),
            instance_id: None,
            generation: joined.generation,
            protocol_type: joined.protocol_type.clone(),
            protocol: joined.protocol.clone(),
            assignments: assignments.iter().map(share).collect(),
        };
        self.step(|group, step| group.sync(sync, step));
        token
    }

    pub(super) fn heartbeat(&mut self, member_id: &str, generation: i32) -> Result<(), GroupError> {
        self.step(|group, step| group.heartbeat(member_id, None, generation, step))
    }

    pub(super) fn leave(&mut self, member_id: &str) -> Result<(), GroupError> {
        let leaving = Leaving { member_id: member_id.into(), instance_id: None };
        self.step(|group, step| group.leave(&[leaving], step)).remove(0)
    }

    pub(super) fn is_parked(&self, token: Token) -> bool {
        self.parked.contains_key(&token)
    }

    pub(super) fn joined(&self, token: Token) -> Joined {
        match self.answers.get(&token) {
            Some(Answer::Join(Ok(joined))) => joined.clone(),
            other => panic!("{token:?}: {other:?} instead of a join"),
        }
    }

    pub(super) fn join_refused(&self, token: Token) -> JoinRefused {
        match self.answers.get(&token) {
            Some(Answer::Join(Err(refused))) => refused.clone(),
            other => panic!("{token:?}: {other:?} instead of a refused join"),
        }
    }

    pub(super) fn join_error(&self, token: Token) -> GroupError {
        self.join_refused(token).error
    }

    pub(super) fn synced(&self, token: Token) -> Synced {
        match self.answers.get(&token) {
            Some(Answer::Sync(Ok(synced))) => synced.clone(),
            other => panic!("{token:?}: {other:?} instead of an assignment"),
        }
    }

    pub(super) fn sync_error(&self, token: Token) -> GroupError {
        match self.answers.get(&token) {
            Some(Answer::Sync(Err(error))) => error.clone(),
            other => panic!("{token:?}: {other:?} instead of a refused sync"),
        }
    }

    pub(super) fn answer(&self, token: Token) -> Option<&Answer> {
        self.answers.get(&token)
    }

    pub(super) fn state(&self) -> StateName {
        self.group.state()
    }

    pub(super) fn last_record(&self) -> GroupValue {
        match self.records.last() {
            Some(Record::Group { value: Some(value), .. }) => value.clone(),
            other => panic!("{other:?} instead of a group"),
        }
    }

    /// A stable group of so many dynamic members, the leader first: their joins.
    pub(super) fn stable(members: usize) -> (Driver, Vec<Joined>) {
        let mut driver = Driver::new();
        let tokens: Vec<Token> = (0..members).map(|_| driver.join_twice(join).1).collect();
        driver.end_initial_delay();
        let mut joined: Vec<Joined> = tokens.iter().map(|token| driver.joined(*token)).collect();
        joined.sort_by_key(|joined| joined.member_id != joined.leader);
        driver.sync_all(&joined);
        (driver, joined)
    }

    /// All members of a generation sync; each gets its own id as its share.
    pub(super) fn sync_all(&mut self, joined: &[Joined]) {
        let tokens: Vec<Token> = joined
            .iter()
            .map(|member| {
                let token = self.token();
                let leads = member.member_id == member.leader;
                let share = |id: &Arc<str>| (id.clone(), Bytes::copy_from_slice(id.as_bytes()));
                let sync = Sync {
                    token,
                    member_id: member.member_id.clone(),
                    instance_id: None,
                    generation: member.generation,
                    protocol_type: None,
                    protocol: None,
                    assignments: if leads {
                        joined.iter().map(|member| share(&member.member_id)).collect()
                    } else {
                        HashMap::new()
                    },
                };
                self.step(|group, step| group.sync(sync, step));
                token
            })
            .collect();
        for (member, token) in joined.iter().zip(tokens) {
            assert_eq!(self.synced(token).assignment, member.member_id.as_bytes());
        }
        assert_eq!(self.state(), StateName::Stable);
    }
}
