//! The join phase: how it starts, how long it lasts, how it ends.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{ClassicGroup, InitialDelay, State, cancel_timer, set_timer};
use crate::group::{Answer, GroupError, Step, TimerKind};

impl ClassicGroup {
    /// A member came or changed: start a rebalance, or end the join phase if it was the last one missing.
    pub(super) fn rebalance_or_complete(&mut self, step: &mut Step) {
        match self.state {
            State::PreparingRebalance { .. } => self.complete_if_all_joined(step),
            State::Empty | State::CompletingRebalance { .. } | State::Stable { .. } => self.prepare_rebalance(step),
        }
    }

    /// A member went: the others must share its partitions, unless they are about to anyway.
    pub(super) fn after_removal(&mut self, step: &mut Step) {
        match self.state {
            State::Empty => {}
            State::PreparingRebalance { .. } => self.complete_if_all_joined(step),
            State::CompletingRebalance { .. } | State::Stable { .. } => self.prepare_rebalance(step),
        }
    }

    pub(super) fn prepare_rebalance(&mut self, step: &mut Step) {
        if matches!(self.state, State::CompletingRebalance { .. }) {
            self.answer_syncs_with_error(&GroupError::RebalanceInProgress, step);
        }
        cancel_timer(step, &self.id, TimerKind::Sync);
        if self.is_empty() {
            return self.prepare_first_rebalance(step);
        }
        self.enter(State::PreparingRebalance { initial: None }, step);
        if self.all_joined() {
            self.complete_join(step);
        } else {
            set_timer(step, &self.id, TimerKind::Join, self.rebalance_timeout_ms());
        }
    }

    /// KIP-134: members of an application start within moments of each other; waiting a little spares the first of them
    /// a rebalance for each of the others.
    fn prepare_first_rebalance(&mut self, step: &mut Step) {
        let delay_ms = step.config.initial_rebalance_delay_ms;
        let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms);
        let initial = InitialDelay { waiting_ms: delay_ms, remaining_ms, member_added: false };
        self.enter(State::PreparingRebalance { initial: Some(initial) }, step);
        if delay_ms == 0 {
            self.complete_join(step);
        } else {
            set_timer(step, &self.id, TimerKind::Join, delay_ms);
        }
    }

    pub(super) fn complete_if_all_joined(&mut self, step: &mut Step) {
        if matches!(self.state, State::PreparingRebalance { initial: None }) && self.all_joined() {
            self.complete_join(step);
        }
    }

    /// The join timer fired.
    pub fn join_timeout(&mut self, step: &mut Step) {
        let State::PreparingRebalance { initial } = &mut self.state else { return };
        if let Some(delay) = initial
            && delay.member_added
            && delay.remaining_ms > 0
        {
            delay.member_added = false;
            let waited_ms = delay.waiting_ms;
            delay.waiting_ms = step.config.initial_rebalance_delay_ms.min(delay.remaining_ms);
            delay.remaining_ms = delay.remaining_ms.saturating_sub(waited_ms);
            let waiting_ms = delay.waiting_ms;
            set_timer(step, &self.id, TimerKind::Join, waiting_ms);
        } else {
            self.complete_join(step);
        }
    }

    /// Ends the join phase with the members that are there.
    fn complete_join(&mut self, step: &mut Step) {
        cancel_timer(step, &self.id, TimerKind::Join);
        let late: Vec<_> = self
            .members
            .values()
            .filter(|member| member.awaiting_join.is_none() && member.instance_id.is_none())
            .map(|member| member.id.clone())
            .collect();
        for member_id in late {
            self.remove(&member_id, step);
        }
        if self.members.is_empty() {
            self.become_empty(step);
        } else if self.elect_present_leader() {
            self.start_generation(step);
        } else {
            // Only static members are left and none is back. Wait until one is, or until their sessions end.
            if let State::PreparingRebalance { initial } = &mut self.state {
                *initial = None;
            }
            set_timer(step, &self.id, TimerKind::Join, self.rebalance_timeout_ms());
        }
    }

    /// The leader must be able to compute an assignment, so it must have rejoined. Answers whether anybody has.
    fn elect_present_leader(&mut self) -> bool {
        let present = |member: &super::Member| member.awaiting_join.is_some();
        if self.leader.as_ref().and_then(|leader| self.members.get(leader)).is_some_and(present) {
            return true;
        }
        match self.members.values().find(|member| present(member)) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    fn become_empty(&mut self, step: &mut Step) {
        self.generation = next_generation(self.generation);
        self.protocol = None;
        self.leader = None;
        self.subscribed_topics = self.compute_subscribed_topics();
        self.enter(State::Empty, step);
        step.effects.records.push(self.to_record());
    }

    fn start_generation(&mut self, step: &mut Step) {
        self.generation = next_generation(self.generation);
        self.protocol = self.select_protocol();
        self.subscribed_topics = self.compute_subscribed_topics();
        let pending_sync: BTreeSet<_> = self.members.keys().cloned().collect();
        for member_id in &pending_sync {
            let answer = self.joined(member_id);
            let Some(member) = self.members.get_mut(member_id) else { continue };
            member.is_new = false;
            let session_ms = member.session_ms();
            if let Some(token) = member.awaiting_join.take() {
                self.awaiting_join -= 1;
                step.effects.replies.push((token, Answer::Join(Ok(answer))));
            }
            set_timer(step, &self.id, TimerKind::Session(member_id.clone()), session_ms);
        }
        self.enter(State::CompletingRebalance { pending_sync }, step);
        set_timer(step, &self.id, TimerKind::Sync, self.rebalance_timeout_ms());
    }

    /// The assignment of this generation will not come: forget what is there and send the members back to join.
    pub(super) fn answer_syncs_with_error(&mut self, error: &GroupError, step: &mut Step) {
        let mut waiting = Vec::new();
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if let Some(token) = member.awaiting_sync.take() {
                step.effects.replies.push((token, Answer::Sync(Err(error.clone()))));
                waiting.push((member.id.clone(), member.session_ms()));
            }
        }
        for (member_id, session_ms) in waiting {
            set_timer(step, &self.id, TimerKind::Session(member_id), session_ms);
        }
    }
}

/// Generations wrap to 1, never to a negative number: -1 means "no member" in OffsetCommit.
fn next_generation(generation: i32) -> i32 {
    generation.checked_add(1).unwrap_or(1)
}
