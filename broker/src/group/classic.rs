//! One group of the classic protocol: members elect a leader, the leader computes the assignment, the coordinator only
//! keeps them in step. KIP-134 (initial delay), KIP-345 (static members), KIP-394 (member id first).
//!
//! The verbs are spread over the files of this folder: [`join`](self) and `rebalance`, `sync`, `liveness`.

mod join;
mod liveness;
mod member;
mod rebalance;
mod sync;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

pub use join::Join;
pub use liveness::Leaving;
pub use sync::Sync;

use super::records::{GroupValue, MemberValue, Record};
use super::{
    Answer, CONSUMER_PROTOCOL_TYPE, GroupError, GroupId, JoinRefused, JoinedMember, MemberId, NO_MEMBER_ID, Step,
    TimerChange, TimerKey, TimerKind, limits, subscription,
};
use member::Member;

/// One group of the classic protocol.
///
/// ```text
///              first member joins                         all joined, or the join timer fired
///   ┌───────┐ ───────────────────▶ ┌────────────────────┐ ───────────────▶ ┌─────────────────────┐
///   │ Empty │                      │ PreparingRebalance │                  │ CompletingRebalance │
///   └───────┘ ◀─────────────────── └────────────────────┘ ◀─────────────── └─────────────────────┘
///       │      all gone when the     ▲                      a member joins,           │
///       │      join phase ended      │                      leaves or expires         │ the leader sent
///       │                            │                                                │ the assignment
///       │ deleted, or no             │ a member joins anew, leaves,                   ▼
///       │ offsets left               │ expires, changes its metadata,           ┌────────┐
///       ▼                            │ never syncs; or the leader rejoins       │ Stable │
///   ┌──────┐                         └───────────────────────────────────────── └────────┘
///   │ Dead │
///   └──────┘
/// ```
///
/// - **Empty**: no members; offsets may remain. Pending members (KIP-394: they were given an id and have not come back
///   with it) may exist in every state; their session timer removes them.
/// - **PreparingRebalance**: joins are parked. Coming from Empty, the phase lasts `group.initial.rebalance.delay.ms`,
///   prolonged while members keep coming, up to the rebalance timeout; otherwise until all known members have rejoined
///   or the largest rebalance timeout is over. Dynamic members that did not rejoin are put out.
/// - **CompletingRebalance**: a new generation, joins answered, SyncGroups parked until the leader's comes. Who does not
///   sync within the rebalance timeout is put out.
/// - **Stable**: everybody has or can fetch the assignment; the generation is in `__consumer_offsets`. Only this state
///   and Empty are persistent: a restarted broker finds the group in one of the two.
/// - **Dead**: not in the shard any more; this type has no value for it.
///
/// Invariants: one generation at a time has assignments; every parked request is in exactly one member and is answered
/// before that member goes; `awaiting_join` and `supported` are counts over `members`.
#[derive(Debug)]
pub struct ClassicGroup {
    id: GroupId,
    state: State,
    generation: i32,
    protocol_type: Option<Arc<str>>,
    protocol: Option<Arc<str>>,
    leader: Option<MemberId>,
    state_since_ms: Option<i64>,
    members: BTreeMap<MemberId, Member>,
    /// Instance id → the member that owns it now.
    static_members: BTreeMap<Arc<str>, MemberId>,
    pending_joins: BTreeSet<MemberId>,
    /// Protocol name → how many members support it.
    supported: HashMap<Arc<str>, usize>,
    awaiting_join: usize,
    metadata_bytes: usize,
    /// What the members of the current generation subscribe to; `None` if that cannot be known.
    subscribed_topics: Option<BTreeSet<String>>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Empty,
    PreparingRebalance { initial: Option<InitialDelay> },
    CompletingRebalance { pending_sync: BTreeSet<MemberId> },
    Stable { pending_sync: BTreeSet<MemberId> },
}

/// The first rebalance of an empty group waits for more members (KIP-134).
#[derive(Debug, PartialEq, Eq)]
struct InitialDelay {
    waiting_ms: u64,
    remaining_ms: u64,
    member_added: bool,
}

/// A state's name, as DescribeGroups and ListGroups show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateName {
    /// No members.
    Empty,
    /// Waiting for joins.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    /// At work.
    Stable,
    /// Unknown to the coordinator.
    Dead,
}

impl StateName {
    /// Kafka's name of the state.
    pub fn as_str(self) -> &'static str {
        match self {
            StateName::Empty => "Empty",
            StateName::PreparingRebalance => "PreparingRebalance",
            StateName::CompletingRebalance => "CompletingRebalance",
            StateName::Stable => "Stable",
            StateName::Dead => "Dead",
        }
    }
}

/// A member as DescribeGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: MemberId,
    /// Its `group.instance.id`.
    pub instance_id: Option<Arc<str>>,
    /// Its `client.id`.
    pub client_id: Arc<str>,
    /// Its address.
    pub client_host: Arc<str>,
    /// Its metadata; empty unless the group is stable.
    pub metadata: Bytes,
    /// Its assignment; empty unless the group is stable.
    pub assignment: Bytes,
}

/// Who commits offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committer {
    /// Empty for clients that do not use group membership.
    pub member_id: Arc<str>,
    /// `group.instance.id`
    pub instance_id: Option<Arc<str>>,
    /// -1 for clients that do not use group membership.
    pub generation: i32,
}

impl ClassicGroup {
    /// A group that nobody has joined yet.
    pub fn new(id: GroupId, now_ms: Option<i64>) -> ClassicGroup {
        ClassicGroup {
            id,
            state: State::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            state_since_ms: now_ms,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_joins: BTreeSet::new(),
            supported: HashMap::new(),
            awaiting_join: 0,
            metadata_bytes: 0,
            subscribed_topics: None,
        }
    }

    /// The group as it was stored: Stable with its members, or Empty.
    pub fn from_value(id: GroupId, value: GroupValue) -> ClassicGroup {
        let mut group = ClassicGroup::new(id, value.state_since_ms);
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type).filter(|kind| !kind.is_empty());
        group.protocol = value.protocol;
        let protocol = group.protocol.clone().unwrap_or_default();
        for stored in value.members {
            group.add(Member::from_value(stored, protocol.clone()));
        }
        group.leader = value.leader.filter(|leader| group.members.contains_key(leader));
        if group.leader.is_none() {
            group.leader = group.members.keys().next().cloned();
        }
        if !group.members.is_empty() {
            group.state = State::Stable { pending_sync: BTreeSet::new() };
        }
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    /// The record that stores the group as it is now.
    pub fn to_record(&self) -> Record {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let value = GroupValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since_ms: self.state_since_ms,
            members: self.members.values().map(|member| member.to_value(protocol)).collect::<Vec<MemberValue>>(),
        };
        Record::Group { group: self.id.clone(), value: Some(value) }
    }

    /// After loading: the members' sessions start anew, and a group above `group.max.size` sheds members.
    pub fn resume(&mut self, step: &mut Step) {
        for (id, member) in &self.members {
            set_timer(step, &self.id, TimerKind::Session(id.clone()), member.session_ms());
        }
        if matches!(self.state, State::Stable { .. }) && self.members.len() > step.config.max_size {
            self.prepare_rebalance(step);
        }
    }

    /// The state's name.
    pub fn state(&self) -> StateName {
        match self.state {
            State::Empty => StateName::Empty,
            State::PreparingRebalance { .. } => StateName::PreparingRebalance,
            State::CompletingRebalance { .. } => StateName::CompletingRebalance,
            State::Stable { .. } => StateName::Stable,
        }
    }

    /// The current generation.
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// The protocol type; `None` while only offsets were stored.
    pub fn protocol_type(&self) -> Option<&Arc<str>> {
        self.protocol_type.as_ref()
    }

    /// The protocol chosen, where DescribeGroups shows it.
    pub fn described_protocol(&self) -> &str {
        if matches!(self.state, State::Stable { .. }) { self.protocol.as_deref().unwrap_or_default() } else { "" }
    }

    /// When the group entered its state, if that is known.
    pub fn state_since_ms(&self) -> Option<i64> {
        self.state_since_ms
    }

    /// Nobody is in it.
    pub fn is_empty(&self) -> bool {
        matches!(self.state, State::Empty)
    }

    /// Nobody is in it or about to be, and nothing of it was ever stored.
    pub fn is_trace(&self) -> bool {
        self.is_empty() && self.pending_joins.is_empty() && self.generation == 0 && self.protocol_type.is_none()
    }

    /// Everybody has or can fetch the assignment.
    pub fn is_stable(&self) -> bool {
        matches!(self.state, State::Stable { .. })
    }

    /// Forgets the members that were given an id and have not come back with it.
    pub fn drop_pending(&mut self, step: &mut Step) {
        while let Some(id) = self.pending_joins.pop_first() {
            cancel_timer(step, &self.id, TimerKind::Session(id));
        }
    }

    /// Nobody is in it or about to be.
    pub fn is_abandoned(&self) -> bool {
        self.is_empty() && self.pending_joins.is_empty()
    }

    /// The members, as DescribeGroups shows them.
    pub fn describe_members(&self) -> Vec<DescribedMember> {
        let protocol = match self.state {
            State::Stable { .. } => self.protocol.as_deref(),
            _ => None,
        };
        self.members.values().map(|member| member.describe(protocol)).collect()
    }

    /// Whether offsets of the topic are still in use by the members. Where the subscriptions of consumers cannot be
    /// read, every topic may be.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// The members are Kafka consumers.
    pub fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// The subscriptions of the current generation are known.
    pub fn knows_subscriptions(&self) -> bool {
        self.subscribed_topics.is_some()
    }

    /// May `committer` commit offsets now? A member that may is alive, so its session is prolonged.
    pub fn admit_commit(&mut self, committer: &Committer, step: &mut Step) -> Result<(), GroupError> {
        self.check_commit(committer)?;
        if matches!(self.state, State::Stable { .. } | State::PreparingRebalance { .. })
            && let Some(member) = self.members.get(&committer.member_id)
        {
            set_timer(step, &self.id, TimerKind::Session(committer.member_id.clone()), member.session_ms());
        }
        Ok(())
    }

    fn check_commit(&self, committer: &Committer) -> Result<(), GroupError> {
        let outside = committer.generation < 0;
        if outside && self.is_empty() {
            return Ok(());
        }
        if outside && committer.member_id.is_empty() && committer.instance_id.is_none() {
            return Err(GroupError::UnknownMemberId);
        }
        self.check_member(&committer.member_id, committer.instance_id.as_deref())?;
        if committer.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        // The member knows the generation but not yet its assignment, so what it commits may be somebody else's.
        if matches!(self.state, State::CompletingRebalance { .. }) {
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Is this the member it claims to be?
    fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(GroupError::UnknownMemberId),
                Some(owner) if **owner != *member_id => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(GroupError::UnknownMemberId) }
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    fn leader_or_none(&self) -> MemberId {
        self.leader.clone().unwrap_or_else(|| NO_MEMBER_ID.into())
    }

    fn enter(&mut self, state: State, step: &Step) {
        self.state = state;
        self.state_since_ms = Some(step.now_ms);
    }

    fn add(&mut self, member: Member) {
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending_joins.remove(&member.id);
        self.count(&member, true);
        self.members.insert(member.id.clone(), member);
    }

    /// Takes a pending member out.
    fn remove_pending(&mut self, member_id: &str, step: &mut Step) -> bool {
        let Some(id) = self.pending_joins.take(member_id) else { return false };
        cancel_timer(step, &self.id, TimerKind::Session(id));
        true
    }

    /// Takes a member out, answering what it left parked. Its session timer is cancelled.
    fn remove(&mut self, member_id: &str, step: &mut Step) -> bool {
        let Some((id, mut member)) = self.members.remove_entry(member_id) else { return false };
        self.count(&member, false);
        if let Some(token) = member.awaiting_join.take() {
            let refused = JoinRefused { error: GroupError::UnknownMemberId, member_id: NO_MEMBER_ID.into() };
            step.effects.replies.push((token, Answer::Join(Err(refused))));
        }
        if let Some(token) = member.awaiting_sync.take() {
            step.effects.replies.push((token, Answer::Sync(Err(GroupError::UnknownMemberId))));
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        if let State::CompletingRebalance { pending_sync } | State::Stable { pending_sync } = &mut self.state {
            pending_sync.remove(member_id);
        }
        cancel_timer(step, &self.id, TimerKind::Session(id));
        true
    }

    /// Keeps the counts over `members` right when one comes (`true`) or goes.
    fn count(&mut self, member: &Member, comes: bool) {
        for (name, metadata) in &member.protocols {
            let count = self.supported.entry(name.clone()).or_default();
            if comes {
                *count += 1;
                self.metadata_bytes += name.len() + metadata.len();
            } else {
                *count -= 1;
                self.metadata_bytes -= name.len() + metadata.len();
            }
            if *count == 0 {
                self.supported.remove(name);
            }
        }
        if member.awaiting_join.is_some() {
            self.awaiting_join = if comes { self.awaiting_join + 1 } else { self.awaiting_join - 1 };
        }
    }

    fn all_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_joins.is_empty()
    }

    /// The largest rebalance timeout: what the slowest member asks the others to wait.
    fn rebalance_timeout_ms(&self) -> u64 {
        self.members.values().map(|member| member.rebalance_timeout_ms.max(0) as u64).max().unwrap_or(0)
    }

    /// Would a member with these protocols leave the group at least one that all support?
    fn supports(&self, protocol_type: &str, protocols: &[(Arc<str>, Bytes)]) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|(name, _)| self.supported.get(name) == Some(&self.members.len()))
    }

    /// Each member votes for the first of its protocols that all support; the one with the most votes wins, and among
    /// equals the one that the leader would rather have.
    fn select_protocol(&self) -> Option<Arc<str>> {
        let by_all = |name: &Arc<str>| self.supported.get(name) == Some(&self.members.len());
        let mut votes: HashMap<&Arc<str>, usize> = HashMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| by_all(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().max().copied()?;
        let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader))?;
        let chosen = leader.protocols.iter().find(|(name, _)| votes.get(name) == Some(&most))?;
        Some(chosen.0.clone())
    }

    fn members_for_leader(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let seen_by_leader = |member: &Member| JoinedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.values().map(seen_by_leader).collect()
    }

    fn compute_subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        let mut topics = BTreeSet::new();
        if self.members.is_empty() {
            return Some(topics);
        }
        let protocol = self.protocol.as_deref()?;
        for member in self.members.values() {
            subscription::add_topics(&member.metadata(protocol), &mut topics)?;
        }
        Some(topics)
    }
}

fn set_timer(step: &mut Step, group: &GroupId, kind: TimerKind, after_ms: u64) {
    let key = TimerKey { group: group.clone(), kind };
    step.effects.timers.push(TimerChange { key, after_ms: Some(after_ms) });
}

fn cancel_timer(step: &mut Step, group: &GroupId, kind: TimerKind) {
    let key = TimerKey { group: group.clone(), kind };
    step.effects.timers.push(TimerChange { key, after_ms: None });
}

/// The record must fit into a batch of `__consumer_offsets`.
fn check_size(record: &Record, limit: usize) -> Result<(), GroupError> {
    let Record::Group { group, value: Some(value) } = record else { return Ok(()) };
    let size = 4 + group.len() + value.encoded_len();
    if size <= limit { Ok(()) } else { Err(GroupError::RecordTooLarge { size, limit }) }
}

/// Why: see [`limits::MAX_MEMBER_ID_PREFIX`].
fn member_id_prefix(name: &str) -> &str {
    let mut end = name.len().min(limits::MAX_MEMBER_ID_PREFIX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

#[cfg(test)]
mod tests;
