//! SyncGroup: the leader's assignment on its way to the members.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{ClassicGroup, State, cancel_timer, check_size, set_timer};
use crate::group::{Answer, GroupError, MemberId, Step, Synced, TimerKind, Token};

/// A SyncGroup request.
#[derive(Clone, Debug)]
pub struct Sync {
    /// Who waits for the answer.
    pub token: Token,
    /// The member.
    pub member_id: MemberId,
    /// Its `group.instance.id`.
    pub instance_id: Option<Arc<str>>,
    /// The generation it joined.
    pub generation: i32,
    /// What it takes the group's protocol type to be (version 5).
    pub protocol_type: Option<Arc<str>>,
    /// What it takes the group's protocol to be (version 5).
    pub protocol: Option<Arc<str>>,
    /// The assignment, if it leads.
    pub assignments: HashMap<MemberId, Bytes>,
}

impl ClassicGroup {
    /// A member asks for its share; the leader brings everybody's.
    pub fn sync(&mut self, sync: Sync, step: &mut Step) {
        if let Err(error) = self.check_sync(&sync) {
            return step.effects.replies.push((sync.token, Answer::Sync(Err(error))));
        }
        match &mut self.state {
            State::Empty => step.effects.replies.push((sync.token, Answer::Sync(Err(GroupError::UnknownMemberId)))),
            State::PreparingRebalance { .. } => {
                step.effects.replies.push((sync.token, Answer::Sync(Err(GroupError::RebalanceInProgress))));
            }
            State::CompletingRebalance { pending_sync } => {
                pending_sync.remove(&sync.member_id);
                self.stop_waiting_for_syncs(step);
                self.park_sync(&sync, step);
                if self.is_leader(&sync.member_id) {
                    self.accept_assignment(sync.assignments, step);
                }
            }
            State::Stable { pending_sync } => {
                pending_sync.remove(&sync.member_id);
                self.stop_waiting_for_syncs(step);
                let answer = self.synced(&sync.member_id);
                step.effects.replies.push((sync.token, Answer::Sync(Ok(answer))));
            }
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), GroupError> {
        self.check_member(&sync.member_id, sync.instance_id.as_deref())?;
        if sync.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |claimed: &Option<Arc<str>>, actual: &Option<Arc<str>>| claimed.is_some() && claimed != actual;
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol, &self.protocol) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn stop_waiting_for_syncs(&mut self, step: &mut Step) {
        if let State::CompletingRebalance { pending_sync } | State::Stable { pending_sync } = &self.state
            && pending_sync.is_empty()
        {
            cancel_timer(step, &self.id, TimerKind::Sync);
        }
    }

    fn park_sync(&mut self, sync: &Sync, step: &mut Step) {
        if let Some(member) = self.members.get_mut(&sync.member_id)
            && let Some(abandoned) = member.awaiting_sync.replace(sync.token)
        {
            step.effects.replies.push((abandoned, Answer::Sync(Err(GroupError::RebalanceInProgress))));
        }
    }

    /// The generation is complete: store it, then tell everybody who waits. The runtime holds the answers back until
    /// the record is durable, so no member works on an assignment that a restart would not know.
    fn accept_assignment(&mut self, mut assignments: HashMap<MemberId, Bytes>, step: &mut Step) {
        for member in self.members.values_mut() {
            member.assignment = assignments.remove(&member.id).unwrap_or_default();
        }
        let State::CompletingRebalance { pending_sync } = &mut self.state else { return };
        let stable = State::Stable { pending_sync: std::mem::take(pending_sync) };
        let since_before = self.state_since_ms;
        self.state_since_ms = Some(step.now_ms);
        let record = self.to_record();
        if let Err(error) = check_size(&record, step.config.max_record_bytes) {
            self.state_since_ms = since_before;
            self.answer_syncs_with_error(&error, step);
            return self.prepare_rebalance(step);
        }
        step.effects.records.push(record);
        self.enter(stable, step);
        self.answer_syncs(step);
    }

    fn answer_syncs(&mut self, step: &mut Step) {
        let mut waiting = Vec::new();
        for member in self.members.values_mut() {
            if let Some(token) = member.awaiting_sync.take() {
                waiting.push((token, member.id.clone(), member.session_ms()));
            }
        }
        for (token, member_id, session_ms) in waiting {
            let answer = self.synced(&member_id);
            step.effects.replies.push((token, Answer::Sync(Ok(answer))));
            // A session that ended while the member was parked was let pass, and nothing else would start it again.
            set_timer(step, &self.id, TimerKind::Session(member_id), session_ms);
        }
    }

    fn synced(&self, member_id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members.get(member_id).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }

    /// The sync timer fired: members that joined this generation and never asked for their share are gone.
    pub fn sync_timeout(&mut self, step: &mut Step) {
        let (State::CompletingRebalance { pending_sync } | State::Stable { pending_sync }) = &mut self.state else {
            return;
        };
        let missing = std::mem::take(pending_sync);
        if missing.is_empty() {
            return;
        }
        for member_id in missing {
            self.remove(&member_id, step);
        }
        self.prepare_rebalance(step);
    }
}
