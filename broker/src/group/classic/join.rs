//! JoinGroup: how a member comes in, comes back, or takes over its own place.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::member::Member;
use super::{ClassicGroup, State, cancel_timer, check_size, member_id_prefix, set_timer};
use crate::group::{
    Answer, GroupError, JoinRefused, Joined, MemberId, NEW_MEMBER_JOIN_TIMEOUT_MS, NO_MEMBER_ID, Step, TimerKind,
    Token, limits,
};

/// A JoinGroup request.
#[derive(Clone, Debug)]
pub struct Join {
    /// Who waits for the answer.
    pub token: Token,
    /// Empty if the member has none yet.
    pub member_id: MemberId,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
    /// The client's name, for people to read.
    pub client_id: Arc<str>,
    /// The client's address, for people to read.
    pub client_host: Arc<str>,
    /// How long the member may be silent, in milliseconds.
    pub session_timeout_ms: i32,
    /// How long a rebalance may wait for it, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// What kind of group it wants.
    pub protocol_type: Arc<str>,
    /// What it can do, its favourite first, each with its metadata.
    pub protocols: Vec<(Arc<str>, Bytes)>,
    /// Randomness for a new member id.
    pub fresh: Uuid,
    /// KIP-394 (version 4 and later): a member without an id is only given one.
    pub requires_known_id: bool,
    /// KIP-814 (version 9 and later): a leader can be told that no assignment is needed.
    pub can_skip_assignment: bool,
}

impl Join {
    fn metadata_bytes(&self) -> usize {
        self.protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum()
    }
}

impl ClassicGroup {
    /// A member asks to be in the next generation.
    pub fn join(&mut self, join: Join, step: &mut Step) {
        if !self.has_room_for(&join, step) {
            refuse(step, join.token, GroupError::GroupMaxSizeReached, NO_MEMBER_ID.into());
            if self.remove(&join.member_id, step) || self.remove_pending(&join.member_id, step) {
                self.after_removal(step);
            }
        } else if !self.supports(&join.protocol_type, &join.protocols) {
            refuse(step, join.token, GroupError::InconsistentGroupProtocol, join.member_id);
        } else if join.member_id.is_empty() {
            self.join_new(join, step);
        } else {
            self.join_known(join, step);
        }
    }

    /// While joins are collected, those that wait count, so that the last to rejoin are the ones to go if
    /// `group.max.size` was lowered; later all that are in do.
    fn has_room_for(&self, join: &Join, step: &Step) -> bool {
        let known = self.members.get(&join.member_id);
        let replaced = join.instance_id.as_ref().and_then(|instance_id| self.static_members.get(instance_id));
        let max_size = step.config.max_size.min(limits::MAX_MEMBERS);
        let fits = match self.state {
            State::Empty => true,
            State::PreparingRebalance { .. } => {
                known.is_some_and(|member| member.awaiting_join.is_some()) || self.awaiting_join < max_size
            }
            State::CompletingRebalance { .. } | State::Stable { .. } => {
                known.is_some() || replaced.is_some() || self.members.len() < max_size
            }
        };
        let pending_again = self.pending_joins.contains(&join.member_id);
        let within_limits = known.is_some()
            || replaced.is_some()
            || pending_again
            || self.members.len() + self.pending_joins.len() < limits::MAX_MEMBERS;
        fits && within_limits && self.metadata_bytes + join.metadata_bytes() <= limits::MAX_GROUP_METADATA_BYTES
    }

    fn join_new(&mut self, join: Join, step: &mut Step) {
        let prefix = member_id_prefix(join.instance_id.as_deref().unwrap_or(&join.client_id));
        let member_id: MemberId = format!("{prefix}-{}", join.fresh).into();
        if let Some(instance_id) = &join.instance_id {
            match self.static_members.get(instance_id).cloned() {
                Some(old_id) => self.take_over(old_id, member_id, join, step),
                None => self.add_and_rebalance(member_id, join, step),
            }
        } else if join.requires_known_id {
            self.pending_joins.insert(member_id.clone());
            let session_ms = join.session_timeout_ms.max(0) as u64;
            set_timer(step, &self.id, TimerKind::Session(member_id.clone()), session_ms);
            refuse(step, join.token, GroupError::MemberIdRequired, member_id);
        } else {
            self.add_and_rebalance(member_id, join, step);
        }
    }

    fn join_known(&mut self, join: Join, step: &mut Step) {
        if self.pending_joins.contains(&join.member_id) {
            if join.instance_id.is_some() {
                // A pending member was never static: whoever says so is not the one that was given the id.
                return refuse(step, join.token, GroupError::UnknownMemberId, join.member_id);
            }
            return self.add_and_rebalance(join.member_id.clone(), join, step);
        }
        if let Err(error) = self.check_member(&join.member_id, join.instance_id.as_deref()) {
            return refuse(step, join.token, error, join.member_id);
        }
        let unchanged = self.members.get(&join.member_id).is_some_and(|member| member.protocols == join.protocols);
        match self.state {
            State::Empty => refuse(step, join.token, GroupError::UnknownMemberId, join.member_id),
            State::PreparingRebalance { .. } => self.update_and_rebalance(join, step),
            // The answer to its join was lost: the same one again.
            State::CompletingRebalance { .. } if unchanged => self.answer_current(&join, step),
            // A follower needs nothing but the generation; a leader that rejoins wants a new assignment.
            State::Stable { .. } if unchanged && !self.is_leader(&join.member_id) => self.answer_current(&join, step),
            State::CompletingRebalance { .. } | State::Stable { .. } => self.update_and_rebalance(join, step),
        }
    }

    fn answer_current(&self, join: &Join, step: &mut Step) {
        let answer = self.joined(&join.member_id);
        step.effects.replies.push((join.token, Answer::Join(Ok(answer))));
    }

    /// The answer of the current generation for a member.
    pub(super) fn joined(&self, member_id: &MemberId) -> Joined {
        Joined {
            member_id: member_id.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader_or_none(),
            skip_assignment: false,
            members: if self.is_leader(member_id) { self.members_for_leader() } else { Vec::new() },
        }
    }

    fn add_and_rebalance(&mut self, member_id: MemberId, join: Join, step: &mut Step) {
        if let State::PreparingRebalance { initial: Some(delay) } = &mut self.state {
            delay.member_added = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type);
        }
        set_timer(step, &self.id, TimerKind::Session(member_id.clone()), NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.add(Member {
            id: member_id,
            instance_id: join.instance_id,
            client_id: join.client_id,
            client_host: join.client_host,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols,
            assignment: Bytes::new(),
            is_new: true,
            awaiting_join: Some(join.token),
            awaiting_sync: None,
        });
        self.rebalance_or_complete(step);
    }

    fn update_and_rebalance(&mut self, join: Join, step: &mut Step) {
        self.update(join.member_id.clone(), join, step);
        self.rebalance_or_complete(step);
    }

    /// Gives a member what it asks for now, and parks its join. A join that it left parked was given up by the client;
    /// it is answered all the same, since answers behind it on that connection wait for it.
    fn update(&mut self, member_id: MemberId, join: Join, step: &mut Step) {
        let Some(mut member) = self.members.remove(&member_id) else { return };
        self.count(&member, false);
        if let Some(abandoned) = member.awaiting_join.replace(join.token) {
            refuse(step, abandoned, GroupError::RebalanceInProgress, member_id.clone());
        }
        member.protocols = join.protocols;
        member.rebalance_timeout_ms = join.rebalance_timeout_ms;
        member.session_timeout_ms = join.session_timeout_ms;
        self.count(&member, true);
        self.members.insert(member_id, member);
    }

    /// KIP-345: a static member that lost its id (it restarted) takes its old place under a new one. Whoever still uses
    /// the old id is fenced.
    fn take_over(&mut self, old_id: MemberId, new_id: MemberId, join: Join, step: &mut Step) {
        let old_leader = self.leader_or_none();
        self.replace(&old_id, &new_id, step);
        let token = join.token;
        let can_skip = join.can_skip_assignment;
        self.update(new_id.clone(), join, step);
        if let Some(member) = self.members.get(&new_id) {
            set_timer(step, &self.id, TimerKind::Session(new_id.clone()), member.session_ms());
        }
        match self.state {
            State::Stable { .. } if self.select_protocol() == self.protocol && self.fits_record(step) => {
                self.answer_take_over(token, &new_id, can_skip, old_leader, step);
            }
            State::Stable { .. } | State::CompletingRebalance { .. } => self.prepare_rebalance(step),
            State::PreparingRebalance { .. } | State::Empty => self.complete_if_all_joined(step),
        }
    }

    /// If not, the next SyncGroup will say so.
    fn fits_record(&self, step: &Step) -> bool {
        check_size(&self.to_record(), step.config.max_record_bytes).is_ok()
    }

    /// The member keeps its assignment and nobody else notices. A leader is told so in version 9; before, it is told
    /// that somebody else leads, or it would compute an assignment that nobody waits for.
    fn answer_take_over(
        &mut self,
        token: Token,
        new_id: &MemberId,
        can_skip: bool,
        old_leader: MemberId,
        step: &mut Step,
    ) {
        if let Some(member) = self.members.get_mut(new_id)
            && member.awaiting_join.take().is_some()
        {
            self.awaiting_join -= 1;
        }
        self.subscribed_topics = self.compute_subscribed_topics();
        step.effects.records.push(self.to_record());
        let mut answer = self.joined(new_id);
        if can_skip {
            answer.skip_assignment = self.is_leader(new_id);
        } else {
            answer.leader = old_leader;
            answer.members = Vec::new();
        }
        step.effects.replies.push((token, Answer::Join(Ok(answer))));
    }

    fn replace(&mut self, old_id: &MemberId, new_id: &MemberId, step: &mut Step) {
        let Some(mut member) = self.members.remove(old_id) else { return };
        self.count(&member, false);
        if let Some(token) = member.awaiting_join.take() {
            refuse(step, token, GroupError::FencedInstanceId, old_id.clone());
        }
        if let Some(token) = member.awaiting_sync.take() {
            step.effects.replies.push((token, Answer::Sync(Err(GroupError::FencedInstanceId))));
        }
        if let State::CompletingRebalance { pending_sync } | State::Stable { pending_sync } = &mut self.state
            && pending_sync.remove(old_id)
        {
            pending_sync.insert(new_id.clone());
        }
        if self.is_leader(old_id) {
            self.leader = Some(new_id.clone());
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), new_id.clone());
        }
        cancel_timer(step, &self.id, TimerKind::Session(old_id.clone()));
        member.id = new_id.clone();
        self.count(&member, true);
        self.members.insert(new_id.clone(), member);
    }
}

/// Answers a join with an error.
fn refuse(step: &mut Step, token: Token, error: GroupError, member_id: MemberId) {
    step.effects.replies.push((token, Answer::Join(Err(JoinRefused { error, member_id }))));
}
