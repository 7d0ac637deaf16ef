//! Errors as data to Kafka's codes: the one place where they meet. No wildcard arm, so that a new error asks for its code.

use std::borrow::Cow;

use jackdaw_protocol::messages::ResponseError;
use jackdaw_protocol::records::BatchError;
use jackdaw_storage::{AppendError, ReadError, StorageError};

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
