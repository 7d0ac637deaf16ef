//! Errors as data to Kafka's codes: the one place where they meet. No wildcard arm, so that a new error asks for its code.

use std::borrow::Cow;

use jackdaw_protocol::messages::ResponseError;
use jackdaw_protocol::records::BatchError;
use jackdaw_storage::{AppendError, ReadError, StorageError};

use crate::group::GroupError;
use crate::partition::NotDurable;

/// A wire error, and where the API has room for it what the client should know.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Kafka's error.
    pub error: ResponseError,
    /// Cause, value and fix.
    pub message: Option<Cow<'static, str>>,
}

impl Failure {
    /// An error with an explanation.
    pub fn with(error: ResponseError, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure { error, message: Some(message.into()) }
    }
}

impl From<ResponseError> for Failure {
    fn from(error: ResponseError) -> Failure {
        Failure { error, message: None }
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
        AppendError::Storage(error) => return storage(error),
    };
    Failure::with(code, error.to_string())
}

/// Why a read gave nothing.
pub fn read(error: &ReadError) -> Failure {
    match error {
        ReadError::OutOfRange { .. } => Failure::with(ResponseError::OffsetOutOfRange, error.to_string()),
        ReadError::Storage(error) => storage(error),
    }
}

/// What the disk's failure means to a client. The path stays in our log: clients learn the kind of failure only.
pub fn storage(error: &StorageError) -> Failure {
    match error {
        StorageError::Deleted { .. } => Failure::from(ResponseError::UnknownTopicOrPartition),
        StorageError::Io { .. } | StorageError::Corrupt { .. } => Failure::from(ResponseError::KafkaStorageError),
        StorageError::Exists { .. } | StorageError::BadName { .. } => Failure::from(ResponseError::UnknownServerError),
    }
}

/// Why a durable ack cannot be given.
pub fn not_durable(error: &NotDurable) -> Failure {
    match error {
        NotDurable::Storage(error) => storage(error),
        NotDurable::Stopping => Failure::from(ResponseError::NotLeaderOrFollower),
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
