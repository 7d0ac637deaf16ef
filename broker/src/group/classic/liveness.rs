//! Heartbeats, leaving, and what happens to those that do neither.

use std::sync::Arc;

use super::{ClassicGroup, State, set_timer};
use crate::group::{GroupError, MemberId, Step, TimerKind};

/// One member of a LeaveGroup request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Empty where an administrator removes a static member by its instance id.
    pub member_id: MemberId,
    /// `group.instance.id`
    pub instance_id: Option<Arc<str>>,
}

impl ClassicGroup {
    /// A member says that it is there. `RebalanceInProgress` tells it to rejoin.
    pub fn heartbeat(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        step: &mut Step,
    ) -> Result<(), GroupError> {
        self.check_member(member_id, instance_id)?;
        if generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let (id, member) = self.members.get_key_value(member_id).ok_or(GroupError::UnknownMemberId)?;
        set_timer(step, &self.id, TimerKind::Session(id.clone()), member.session_ms());
        match self.state {
            State::Empty => Err(GroupError::UnknownMemberId),
            State::PreparingRebalance { .. } => Err(GroupError::RebalanceInProgress),
            State::CompletingRebalance { .. } | State::Stable { .. } => Ok(()),
        }
    }

    /// Members go, each with its own verdict; the rest rebalances once.
    pub fn leave(&mut self, leaving: &[Leaving], step: &mut Step) -> Vec<Result<(), GroupError>> {
        let verdicts: Vec<_> = leaving.iter().map(|who| self.leave_one(who, step)).collect();
        if verdicts.iter().any(Result::is_ok) {
            self.after_removal(step);
        }
        verdicts
    }

    fn leave_one(&mut self, leaving: &Leaving, step: &mut Step) -> Result<(), GroupError> {
        if leaving.member_id.is_empty() {
            let owner = leaving.instance_id.as_ref().and_then(|instance_id| self.static_members.get(instance_id));
            let member_id = owner.cloned().ok_or(GroupError::UnknownMemberId)?;
            self.remove(&member_id, step);
            return Ok(());
        }
        if !self.remove_pending(&leaving.member_id, step) {
            self.check_member(&leaving.member_id, leaving.instance_id.as_deref())?;
            self.remove(&leaving.member_id, step);
        }
        Ok(())
    }

    /// A session timer fired.
    pub fn session_timeout(&mut self, member_id: &str, step: &mut Step) {
        if self.remove_pending(member_id, step) {
            // It had no share yet, but the join phase may have waited for it.
            self.complete_if_all_joined(step);
        } else if self.members.get(member_id).is_some_and(|member| !member.excused_from_heartbeat()) {
            self.remove(member_id, step);
            self.after_removal(step);
        }
    }
}
