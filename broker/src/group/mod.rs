//! Consumer groups: who is in a group, which generation it is in, and where it has read to.
//!
//! Everything here is a pure state machine: no async, no channel, no file, no clock. Time, randomness and the bytes of
//! the log come in as arguments; what should happen outside comes back as [`Effects`]. The one place that performs those
//! effects is `coordinator/runtime.rs`.
//!
//! Reading order:
//! 1. [`effects`]: what a step of the machine asks for (records, replies, timers);
//! 2. [`classic`]: one group of the classic protocol, with its state diagram;
//! 3. [`offsets`]: committed offsets of one group and when they expire;
//! 4. [`shard`]: the groups of one `__consumer_offsets` partition; the only door for callers;
//! 5. [`records`]: the bytes of `__consumer_offsets`, which are Kafka's.

pub mod classic;
pub mod effects;
mod error;
pub mod offsets;
pub mod records;
pub mod shard;
pub mod subscription;

use std::sync::Arc;

pub use effects::{
    Answer, Effects, JoinRefused, Joined, JoinedMember, Synced, TimerChange, TimerKey, TimerKind, Token,
};
pub use error::GroupError;
pub use shard::Shard;

/// A group's name, as the client gave it.
pub type GroupId = Arc<str>;
/// A member's id: made by the coordinator, `<client id or instance id>-<uuid>`.
pub type MemberId = Arc<str>;

/// A member that was given no id yet, or whose id cannot be known, has this one on the wire.
pub const NO_MEMBER_ID: &str = "";

/// The protocol type of Kafka's consumers. Only for it are subscriptions understood; others are opaque.
pub const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// How long a new member may stay parked in its first join before it counts as gone, in milliseconds. It cannot send
/// heartbeats before it knows its id, so its session timeout does not apply yet.
pub const NEW_MEMBER_JOIN_TIMEOUT_MS: u64 = 5 * 60 * 1000;

/// The settings that the machine obeys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: u64,
    /// `group.min.session.timeout.ms`
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout_ms: i32,
    /// `group.max.size`, never above [`limits::MAX_MEMBERS`].
    pub max_size: usize,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// The largest key plus value that one record of `__consumer_offsets` may have; follows its `max.message.bytes`.
    pub max_record_bytes: usize,
}

impl Default for GroupConfig {
    fn default() -> Self {
        GroupConfig {
            initial_rebalance_delay_ms: 3000,
            min_session_timeout_ms: 6000,
            max_session_timeout_ms: 1_800_000,
            max_size: limits::MAX_MEMBERS,
            offset_metadata_max_bytes: 4096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
            max_record_bytes: 1_048_588 - 128,
        }
    }
}

/// What clients can make the coordinator remember, and how much of it.
pub mod limits {
    /// Members of one group, pending ones included. Without it, a peer that joins in a loop fills the memory with
    /// member ids that live for a session timeout each.
    pub const MAX_MEMBERS: usize = 50_000;
    /// Groups of one `__consumer_offsets` partition. Without it, every made-up group name costs memory for good.
    pub const MAX_GROUPS_PER_SHARD: usize = 20_000;
    /// Bytes of protocol metadata that the members of one group may hold together.
    pub const MAX_GROUP_METADATA_BYTES: usize = 64 << 20;
    /// Bytes of a name that goes into a record, whose lengths are 16 bits.
    pub const MAX_NAME: usize = i16::MAX as usize;
    /// Bytes of a client id or instance id that go into a member id; the id must fit the protocol's 16-bit length.
    pub const MAX_MEMBER_ID_PREFIX: usize = 255;
}

/// What one step of the machine may use: the time, the settings, and where it writes down what should happen.
pub struct Step<'a> {
    /// Wall clock, milliseconds since the epoch; goes into records, never used to measure a wait.
    pub now_ms: i64,
    /// The settings in force.
    pub config: &'a GroupConfig,
    /// What should happen outside.
    pub effects: &'a mut Effects,
}
