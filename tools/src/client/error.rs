//! What can go wrong between us and a broker, in words that name the host and what to do.

use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use jackdaw_protocol::messages::ResponseError;
use thiserror::Error;

/// Why a request got no (good) answer.
#[derive(Debug, Clone, Error)]
pub(crate) enum ClientError {
    #[error("cannot connect to {address}: {reason}{hint}")]
    Connect { address: String, reason: String, hint: String },
    #[error("{address} closed the connection{}: {reason}", .api.map(|api| format!(" while {api} was asked")).unwrap_or_default())]
    Closed { address: String, api: Option<&'static str>, reason: String },
    #[error("{address} gave no answer to {api} within {} s", .after.as_secs())]
    Timeout { address: String, api: &'static str, after: Duration },
    #[error(
        "{address} speaks {api} in versions {}, this client needs one of {}-{}",
        .theirs.as_ref().map_or("none".to_owned(), |range| format!("{}-{}", range.start(), range.end())),
        .ours.start(), .ours.end()
    )]
    Unsupported { address: String, api: &'static str, ours: RangeInclusive<i16>, theirs: Option<RangeInclusive<i16>> },
    #[error("{address} answered {api} with bytes that make no sense: {reason}; is it a Kafka broker?")]
    Garbled { address: String, api: &'static str, reason: String },
    #[error("cannot encode {api}: {reason}")]
    Encode { api: &'static str, reason: String },
    #[error("{what}: {error}{hint}", error = code_name(*.code), hint = hint(*.code, .message.as_deref()))]
    Kafka { what: String, code: i16, message: Option<String> },
    #[error("{what}: no broker leads it now; try again, or see `jackdaw topic describe`")]
    NoLeader { what: String },
}

impl ClientError {
    pub(crate) fn connect(address: &str, error: &io::Error) -> ClientError {
        let hint = match error.kind() {
            io::ErrorKind::ConnectionRefused => "; is a broker running there? Set another with --bootstrap-server",
            io::ErrorKind::TimedOut => "; check the address and the firewalls on the way",
            _ => "",
        };
        ClientError::Connect { address: address.to_owned(), reason: lower(error), hint: hint.to_owned() }
    }

    /// An error code of an answer.
    pub(crate) fn kafka(what: impl Into<String>, code: i16, message: Option<&str>) -> ClientError {
        ClientError::Kafka { what: what.into(), code, message: message.map(str::to_owned) }
    }

    /// `Ok` for code 0.
    pub(crate) fn check(what: impl Into<String>, code: i16, message: Option<&str>) -> Result<(), ClientError> {
        if code == 0 { Ok(()) } else { Err(ClientError::kafka(what, code, message)) }
    }

    /// Whether the same may succeed a little later, perhaps at another broker.
    pub(crate) fn is_retriable(&self) -> bool {
        match self {
            ClientError::Connect { .. } | ClientError::Closed { .. } | ClientError::Timeout { .. } => true,
            ClientError::NoLeader { .. } => true,
            ClientError::Kafka { code, .. } => is_retriable(*code),
            ClientError::Unsupported { .. } | ClientError::Garbled { .. } | ClientError::Encode { .. } => false,
        }
    }

    /// The error code, if a broker sent one.
    pub(crate) fn code(&self) -> Option<ResponseError> {
        match self {
            ClientError::Kafka { code, .. } => ResponseError::try_from_code(*code),
            _ => None,
        }
    }
}

/// Whether Kafka calls an error code retriable.
pub(crate) fn is_retriable(code: i16) -> bool {
    ResponseError::try_from_code(code).is_some_and(|error| error.is_retriable())
}

/// Kafka's name of an error code, UNKNOWN_TOPIC_OR_PARTITION say.
pub(crate) fn code_name(code: i16) -> String {
    match ResponseError::try_from_code(code) {
        None => "NONE".to_owned(),
        Some(ResponseError::Unknown(code)) => format!("error code {code}"),
        Some(error) => {
            let mut name = String::new();
            for letter in error.to_string().chars() {
                if letter.is_ascii_uppercase() && !name.is_empty() {
                    name.push('_');
                }
                name.push(letter.to_ascii_uppercase());
            }
            name
        }
    }
}

/// What the broker said, or what helps against the most common errors.
fn hint(code: i16, message: Option<&str>) -> String {
    if let Some(message) = message
        && !message.is_empty()
    {
        return format!(" ({message})");
    }
    let text = match ResponseError::try_from_code(code) {
        Some(ResponseError::UnknownTopicOrPartition) => "it does not exist; `jackdaw topic list` shows those that do",
        Some(ResponseError::TopicAlreadyExists) => "pass --if-not-exists to take it as it is",
        Some(ResponseError::InvalidReplicationFactor) => "the replication factor cannot exceed the number of brokers",
        Some(ResponseError::GroupIdNotFound) => "`jackdaw group list` shows the groups there are",
        Some(ResponseError::MessageTooLarge) => "raise the topic's max.message.bytes, or send smaller records",
        Some(ResponseError::TopicAuthorizationFailed | ResponseError::ClusterAuthorizationFailed) => {
            "the broker's ACLs do not allow it"
        }
        _ => return String::new(),
    };
    format!(" ({text})")
}

/// The system's words without their number.
fn lower(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_kafka() {
        assert_eq!(code_name(3), "UNKNOWN_TOPIC_OR_PARTITION");
        assert_eq!(code_name(0), "NONE");
        assert_eq!(code_name(9999), "error code 9999");
    }

    #[test]
    fn an_error_names_what_failed_and_what_helps() {
        let error = ClientError::kafka("topic orders", 3, None);
        assert_eq!(
            error.to_string(),
            "topic orders: UNKNOWN_TOPIC_OR_PARTITION (it does not exist; `jackdaw topic list` shows those that do)"
        );
        let refused = ClientError::connect("localhost:1", &io::Error::from_raw_os_error(111));
        assert!(
            refused.to_string().starts_with("cannot connect to localhost:1: connection refused; is a broker running")
        );
    }
}
