//! What a step of the machine asks the outside to do, as data.

use bytes::Bytes;

use super::records::Record;
use super::{GroupError, GroupId, MemberId};

/// Names one parked request. The runtime makes it, the machine holds it, exactly one reply carries it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// What a step asks for. Order within each list matters.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// To be appended to the shard's partition, in this order. They are applied to memory already.
    pub records: Vec<Record>,
    /// To be released once everything appended so far is durable.
    pub replies: Vec<(Token, Answer)>,
    /// Timers to set, move or cancel.
    pub timers: Vec<TimerChange>,
}

impl Effects {
    /// Takes out the reply to `token`, if this step already made it.
    pub fn take_reply(&mut self, token: Token) -> Option<Answer> {
        let at = self.replies.iter().position(|(of, _)| *of == token)?;
        Some(self.replies.remove(at).1)
    }
}

/// Sets a timer (replacing one of the same key), or cancels it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerChange {
    /// Which timer.
    pub key: TimerKey,
    /// From now, in milliseconds; `None` cancels.
    pub after_ms: Option<u64>,
}

/// A timer's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerKey {
    /// Whose.
    pub group: GroupId,
    /// What for.
    pub kind: TimerKind,
}

/// What a timer is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimerKind {
    /// The member must be heard of before.
    Session(MemberId),
    /// The join phase ends, or the initial delay is looked at again.
    Join,
    /// Members that have not sent SyncGroup are put out.
    Sync,
}

/// The reply to a request that may be parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To JoinGroup.
    Join(Result<Joined, JoinRefused>),
    /// To SyncGroup.
    Sync(Result<Synced, GroupError>),
}

/// The member is in the generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The member's id.
    pub member_id: MemberId,
    /// The generation it joined.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: Option<std::sync::Arc<str>>,
    /// The protocol that the members' votes chose.
    pub protocol: Option<std::sync::Arc<str>>,
    /// Who computes the assignment.
    pub leader: MemberId,
    /// The leader need not compute one: the group keeps the assignment it has (version 9).
    pub skip_assignment: bool,
    /// All members with their metadata, for the leader; empty for the others.
    pub members: Vec<JoinedMember>,
}

/// One member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// The member's id.
    pub member_id: MemberId,
    /// Its `group.instance.id`, if it is static.
    pub instance_id: Option<std::sync::Arc<str>>,
    /// Its metadata for the chosen protocol.
    pub metadata: Bytes,
}

/// The member did not join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// Why.
    pub error: GroupError,
    /// The id to put into the answer: a fresh one with [`GroupError::MemberIdRequired`].
    pub member_id: MemberId,
}

impl From<GroupError> for JoinRefused {
    fn from(error: GroupError) -> JoinRefused {
        JoinRefused { error, member_id: super::NO_MEMBER_ID.into() }
    }
}

/// The member's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: Option<std::sync::Arc<str>>,
    /// The group's protocol.
    pub protocol: Option<std::sync::Arc<str>>,
    /// What the leader assigned to this member; empty if nothing.
    pub assignment: Bytes,
}
