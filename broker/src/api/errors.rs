//! Errors as data to Kafka's codes: the one place where they meet. No wildcard arm, so that a new error asks for its code.

use std::borrow::Cow;

use jackdaw_protocol::messages::ResponseError;
use jackdaw_protocol::records::BatchError;
use jackdaw_quorum::MembershipError;
use jackdaw_storage::{AppendError, DeleteRecordsError, ReadError, StorageError};

use crate::controller::leaders::ElectError;
use crate::controller::reassign::ReassignError;
use crate::controller::registration::{BrokerEpochError, RegistrationError};
use crate::group::GroupError;
use crate::partition::intake::IntakeError;
use crate::partition::{NotDurable, NotServed};
use crate::topics::catalog::{AddPartitionsError, CreateTopicError};
use crate::topics::{ChangeError, DeleteTopicError, FindError, MoveError};

/// A wire error, and where the API has room for it what the client should know.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Kafka's error.
    pub error: ResponseError,
    /// Cause, value and fix.
    pub message: Option<Cow<'static, str>>,
    /// Records of a batch that are to blame, by their place in it.
    pub records: Vec<(i32, String)>,
}

impl Failure {
    /// An error with an explanation.
    pub fn with(error: ResponseError, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure { error, message: Some(message.into()), records: Vec::new() }
    }
}

impl From<ResponseError> for Failure {
    fn from(error: ResponseError) -> Failure {
        Failure { error, message: None, records: Vec::new() }
    }
}

/// What is wrong with a produced batch.
pub fn batch(error: &BatchError) -> Failure {
    let code = match error {
        BatchError::TooShort(_) | BatchError::BadCrc { .. } => ResponseError::CorruptMessage,
        BatchError::BadMagic(_) | BatchError::BadLength { .. } | BatchError::BadCount { .. } => {
            ResponseError::InvalidRecord
        }
        // Kafka's codec lookup throws an exception that it has no code for.
        BatchError::UnknownCodec(_) => ResponseError::UnknownServerError,
    };
    Failure::with(code, error.to_string())
}

/// Why the records of a batch are not taken.
pub fn intake(error: &IntakeError) -> Failure {
    let code = match error {
        IntakeError::Malformed(_) => ResponseError::InvalidRecord,
        IntakeError::Unpacked { .. } | IntakeError::Repacked { .. } => ResponseError::MessageTooLarge,
        IntakeError::Codec(_) => ResponseError::UnknownServerError,
        IntakeError::Records { timestamps: true, .. } => ResponseError::InvalidTimestamp,
        IntakeError::Records { timestamps: false, .. } => ResponseError::InvalidRecord,
    };
    let mut failure = Failure::with(code, error.to_string());
    if let IntakeError::Records { faults, .. } = error {
        failure.records = faults.iter().map(|fault| (fault.index as i32, fault.reason.clone())).collect();
    }
    failure
}

/// Why a batch was not appended.
pub fn append(error: &AppendError) -> Failure {
    let code = match error {
        AppendError::OutOfOrderSequence { .. } => ResponseError::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch { .. } => ResponseError::InvalidProducerEpoch,
        AppendError::InvalidTxnState { .. } => ResponseError::InvalidTxnState,
        AppendError::CoordinatorFenced { .. } => ResponseError::TransactionCoordinatorFenced,
        AppendError::InvalidTimestamp { .. } => ResponseError::InvalidTimestamp,
        AppendError::TooLarge { .. } => ResponseError::MessageTooLarge,
        AppendError::LargerThanSegment { .. } => ResponseError::RecordListTooLarge,
        AppendError::InvalidRecord { .. } => ResponseError::InvalidRecord,
        AppendError::Fenced { .. } => ResponseError::NotLeaderOrFollower,
        // Of a leader's batches only, which no client sends.
        AppendError::NotNext { .. } | AppendError::EpochFalls { .. } => ResponseError::UnknownServerError,
        AppendError::Storage(error) => return storage(error),
    };
    Failure::with(code, error.to_string())
}

/// Why a read gave nothing.
pub fn read(error: &ReadError) -> Failure {
    match error {
        ReadError::OutOfRange { .. } => Failure::with(ResponseError::OffsetOutOfRange, error.to_string()),
        // Consumers give up on this code and name the offset; on the code for a failed disk they would ask for ever.
        ReadError::Storage(StorageError::Corrupt { .. }) => Failure::from(ResponseError::CorruptMessage),
        ReadError::Storage(error) => storage(error),
    }
}

/// What the disk's failure means to a client. The path stays in our log: clients learn the kind of failure only.
pub fn storage(error: &StorageError) -> Failure {
    match error {
        StorageError::Deleted { .. } => Failure::from(ResponseError::UnknownTopicOrPartition),
        // To be asked again: it is served, from another directory.
        StorageError::Moved { .. } => Failure::from(ResponseError::NotLeaderOrFollower),
        StorageError::Io { .. } | StorageError::Corrupt { .. } => Failure::from(ResponseError::KafkaStorageError),
        StorageError::Truncated { .. } | StorageError::Exists { .. } | StorageError::BadName { .. } => {
            Failure::from(ResponseError::UnknownServerError)
        }
    }
}

/// Why a durable ack cannot be given.
pub fn not_durable(error: &NotDurable) -> Failure {
    match error {
        NotDurable::Storage(error) => storage(error),
        NotDurable::Stopping | NotDurable::NotLeader => Failure::from(ResponseError::NotLeaderOrFollower),
        NotDurable::TimedOut => Failure::from(ResponseError::RequestTimedOut),
        NotDurable::TooFewReplicas { .. } => {
            Failure::with(ResponseError::NotEnoughReplicasAfterAppend, error.to_string())
        }
    }
}

/// Why a request is not for this replica.
pub fn not_served(error: &NotServed) -> ResponseError {
    match error {
        NotServed::NotLeader { .. } => ResponseError::NotLeaderOrFollower,
        NotServed::FencedEpoch { .. } => ResponseError::FencedLeaderEpoch,
        NotServed::UnknownEpoch { .. } => ResponseError::UnknownLeaderEpoch,
        NotServed::OffsetNotAvailable { .. } => ResponseError::OffsetNotAvailable,
    }
}

/// Why a partition cannot be had.
pub fn find(error: FindError) -> ResponseError {
    match error {
        FindError::UnknownTopic | FindError::UnknownPartition => ResponseError::UnknownTopicOrPartition,
        FindError::Offline => ResponseError::KafkaStorageError,
        FindError::Elsewhere => ResponseError::NotLeaderOrFollower,
    }
}

/// Why a topic was not created.
pub fn create_topic(error: &CreateTopicError) -> Failure {
    let code = match error {
        CreateTopicError::InvalidName(_) | CreateTopicError::Collides { .. } => ResponseError::InvalidTopicException,
        CreateTopicError::AlreadyExists { .. } => ResponseError::TopicAlreadyExists,
        CreateTopicError::MetadataTopic | CreateTopicError::AssignmentAnd(_) => ResponseError::InvalidRequest,
        CreateTopicError::NullConfigs { .. } | CreateTopicError::InvalidConfig(_) => ResponseError::InvalidConfig,
        CreateTopicError::InvalidPartitions => ResponseError::InvalidPartitions,
        CreateTopicError::ReplicationFactor(_) => ResponseError::InvalidReplicationFactor,
        CreateTopicError::Assignment(_) => ResponseError::InvalidReplicaAssignment,
        CreateTopicError::TooManyPartitions(_) => ResponseError::PolicyViolation,
        CreateTopicError::Storage(_) => ResponseError::KafkaStorageError,
    };
    Failure::with(code, error.to_string())
}

/// Why a partition is not moved to another log directory.
pub fn move_partition(error: &MoveError) -> ResponseError {
    match error {
        MoveError::UnknownPartition => ResponseError::UnknownTopicOrPartition,
        MoveError::Offline | MoveError::DirOffline(_) => ResponseError::KafkaStorageError,
        MoveError::UnknownDir(_) => ResponseError::LogDirNotFound,
        MoveError::Cordoned(_) => ResponseError::InvalidReplicaAssignment,
        // Kafka's answer where the topic's name leaves no room for what the copy's directory is called.
        MoveError::Storage(StorageError::BadName { .. }) => ResponseError::InvalidTopicException,
        MoveError::Storage(StorageError::Exists { .. }) => ResponseError::KafkaStorageError,
        MoveError::Storage(error) => storage(error).error,
    }
}

/// Why partitions were not added.
pub fn add_partitions(error: &AddPartitionsError) -> Failure {
    let code = match error {
        AddPartitionsError::UnknownTopic => ResponseError::UnknownTopicOrPartition,
        AddPartitionsError::SameCount(_) | AddPartitionsError::NotAnIncrease { .. } => ResponseError::InvalidPartitions,
        AddPartitionsError::ReplicationFactor(_) => ResponseError::InvalidReplicationFactor,
        AddPartitionsError::Assignment(_) => ResponseError::InvalidReplicaAssignment,
        AddPartitionsError::TooManyPartitions(_) => ResponseError::PolicyViolation,
        AddPartitionsError::Storage(_) => ResponseError::KafkaStorageError,
    };
    Failure::with(code, error.to_string())
}

/// Why a topic was not deleted.
pub fn delete_topic(error: &DeleteTopicError) -> Failure {
    let code = match error {
        DeleteTopicError::UnknownTopicId => ResponseError::UnknownTopicId,
        DeleteTopicError::Storage(_) => ResponseError::KafkaStorageError,
    };
    Failure::with(code, error.to_string())
}

/// Why a broker is not registered.
pub fn registration(error: &RegistrationError) -> Failure {
    let code = match error {
        RegistrationError::Duplicate { .. } => ResponseError::DuplicateBrokerRegistration,
        RegistrationError::OtherCluster { .. } => ResponseError::InconsistentClusterId,
        RegistrationError::Invalid { .. } | RegistrationError::DirectoryTaken { .. } => {
            ResponseError::InvalidRegistration
        }
        RegistrationError::Size(_) => ResponseError::InvalidConfig,
    };
    Failure::with(code, error.to_string())
}

/// Why a request of a broker is not of its registered life.
pub fn broker_epoch(error: BrokerEpochError) -> Failure {
    let code = match error {
        BrokerEpochError::NotRegistered { .. } => ResponseError::BrokerIdNotRegistered,
        BrokerEpochError::Stale { .. } => ResponseError::StaleBrokerEpoch,
    };
    Failure::with(code, error.to_string())
}

/// Why the metadata was not changed.
pub fn change(error: &ChangeError) -> Failure {
    let code = match error {
        ChangeError::NotController { .. } => ResponseError::NotController,
        ChangeError::Storage(_) => ResponseError::KafkaStorageError,
    };
    Failure::with(code, error.to_string())
}

/// Why the voters are as they were.
pub fn membership(error: &MembershipError) -> Failure {
    let code = match error {
        MembershipError::NotLeader { .. } => ResponseError::NotLeaderOrFollower,
        MembershipError::TimedOut { .. } | MembershipError::Busy => ResponseError::RequestTimedOut,
        MembershipError::Known { .. } => ResponseError::DuplicateVoter,
        MembershipError::Unknown { .. } => ResponseError::VoterNotFound,
        MembershipError::LastVoter { .. } | MembershipError::NotThere { .. } => ResponseError::InvalidRequest,
        MembershipError::Fatal(_) => ResponseError::UnknownServerError,
    };
    Failure::with(code, error.to_string())
}

/// Why no leader was elected.
pub fn elect(error: &ElectError) -> Failure {
    let code = match error {
        ElectError::UnknownTopic(_) | ElectError::UnknownPartition { .. } => ResponseError::UnknownTopicOrPartition,
        ElectError::NotNeeded => ResponseError::ElectionNotNeeded,
        ElectError::PreferredNotAvailable => ResponseError::PreferredLeaderNotAvailable,
        ElectError::NobodyEligible => ResponseError::EligibleLeadersNotAvailable,
    };
    Failure::with(code, error.to_string())
}

/// Why a partition is not reassigned.
pub fn reassign(error: &ReassignError) -> Failure {
    let code = match error {
        ReassignError::UnknownTopic(_) | ReassignError::UnknownPartition { .. } => {
            ResponseError::UnknownTopicOrPartition
        }
        ReassignError::Assignment(_) | ReassignError::UncleanRevert { .. } => ResponseError::InvalidReplicaAssignment,
        ReassignError::OtherFactor { .. } => ResponseError::InvalidReplicationFactor,
        ReassignError::NotInProgress => ResponseError::NoReassignmentInProgress,
    };
    Failure::with(code, error.to_string())
}

/// Why records were not deleted.
pub fn delete_records(error: &DeleteRecordsError) -> Failure {
    match error {
        DeleteRecordsError::OutOfRange { .. } => Failure::with(ResponseError::OffsetOutOfRange, error.to_string()),
        DeleteRecordsError::Storage(error) => storage(error),
    }
}

/// Why a group request was refused.
pub fn group(error: &GroupError) -> Failure {
    let code = match error {
        GroupError::LoadInProgress => ResponseError::CoordinatorLoadInProgress,
        GroupError::NotAvailable(_) => ResponseError::CoordinatorNotAvailable,
        GroupError::NotCoordinator => ResponseError::NotCoordinator,
        GroupError::InvalidGroupId => ResponseError::InvalidGroupId,
        GroupError::InvalidSessionTimeout { .. } => ResponseError::InvalidSessionTimeout,
        GroupError::UnknownMemberId => ResponseError::UnknownMemberId,
        GroupError::IllegalGeneration => ResponseError::IllegalGeneration,
        GroupError::RebalanceInProgress => ResponseError::RebalanceInProgress,
        GroupError::InconsistentGroupProtocol => ResponseError::InconsistentGroupProtocol,
        GroupError::MemberIdRequired => ResponseError::MemberIdRequired,
        GroupError::FencedInstanceId => ResponseError::FencedInstanceId,
        GroupError::GroupMaxSizeReached => ResponseError::GroupMaxSizeReached,
        GroupError::GroupIdNotFound => ResponseError::GroupIdNotFound,
        GroupError::NonEmptyGroup => ResponseError::NonEmptyGroup,
        GroupError::OffsetMetadataTooLarge => ResponseError::OffsetMetadataTooLarge,
        GroupError::GroupSubscribedToTopic => ResponseError::GroupSubscribedToTopic,
        // Kafka's answer to an assignment that does not fit into its log.
        GroupError::RecordTooLarge { .. } => ResponseError::UnknownServerError,
        GroupError::InvalidRequest(_) => ResponseError::InvalidRequest,
    };
    Failure::with(code, error.to_string())
}
