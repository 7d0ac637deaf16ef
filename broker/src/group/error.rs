//! Why a group request was refused.

/// Why a group request was refused; `api/errors.rs` maps it to Kafka's error codes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The partition of `__consumer_offsets` that holds the group is still being read.
    #[error("the group's state is still being loaded from __consumer_offsets")]
    LoadInProgress,
    /// The offsets topic cannot be created or used now, or the coordinator is at a limit.
    #[error("the group coordinator is not available: {0}")]
    NotAvailable(String),
    /// The group's partition went offline after it was loaded; the client should look the coordinator up again.
    #[error("this broker no longer coordinates the group")]
    NotCoordinator,
    /// The group id is empty where one is needed.
    #[error("the group id must not be empty")]
    InvalidGroupId,
    /// The session timeout lies outside the broker's bounds.
    #[error(
        "session timeout {got} ms is outside group.min.session.timeout.ms={min} and group.max.session.timeout.ms={max}"
    )]
    InvalidSessionTimeout {
        /// What the member asked for, in milliseconds.
        got: i32,
        /// `group.min.session.timeout.ms`
        min: i32,
        /// `group.max.session.timeout.ms`
        max: i32,
    },
    /// The member is not in the group.
    #[error("the group has no such member")]
    UnknownMemberId,
    /// The member's generation is not the group's.
    #[error("the member's generation is not the group's current one")]
    IllegalGeneration,
    /// The group is rebalancing; the member should rejoin.
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    /// The member's protocol type, or all its protocols, are not those of the group.
    #[error("the member's protocol type or protocols do not match the group's")]
    InconsistentGroupProtocol,
    /// KIP-394: the member should join again with the id it was just given.
    #[error("join again with the member id in this answer")]
    MemberIdRequired,
    /// KIP-345: another member took over this instance id.
    #[error("another member with the same group.instance.id replaced this one")]
    FencedInstanceId,
    /// `group.max.size` or a limit on a group's memory is reached.
    #[error("the group is full")]
    GroupMaxSizeReached,
    /// There is no group of that name.
    #[error("there is no such group")]
    GroupIdNotFound,
    /// The operation needs a group without members.
    #[error("the group still has members")]
    NonEmptyGroup,
    /// The metadata string of a committed offset is too long.
    #[error("the metadata of the offset is longer than offset.metadata.max.bytes")]
    OffsetMetadataTooLarge,
    /// A live group still reads the topic whose offsets should be deleted.
    #[error("the group still subscribes to the topic")]
    GroupSubscribedToTopic,
    /// The group's state does not fit into one record of `__consumer_offsets`.
    #[error("the group's state ({size} bytes) does not fit into a record of __consumer_offsets ({limit} bytes)")]
    RecordTooLarge {
        /// Bytes of key and value.
        size: usize,
        /// `GroupConfig::max_record_bytes`
        limit: usize,
    },
    /// The request contradicts itself.
    #[error("{0}")]
    InvalidRequest(String),
}
