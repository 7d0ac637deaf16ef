//! Why a body was refused, and where.

use std::fmt;

use super::shape::{Field, Holds};
use super::tables;

/// What a body was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The body of a request.
    Request,
    /// The body of a response.
    Response,
    /// What a member of a classic consumer group wants to read.
    ConsumerSubscription,
    /// What a member of a classic consumer group is to read.
    ConsumerAssignment,
}

/// What is wrong with the field that a [`GuardError`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The codec has no such API.
    #[error("there is no such API")]
    UnknownApi,
    /// The codec does not decode this version of the API.
    #[error("there is no such version")]
    UnknownVersion,
    /// The field reaches past the end.
    #[error("takes {claimed} bytes, but {remaining} remain")]
    Truncated {
        /// Bytes that the field takes.
        claimed: usize,
        /// Bytes left in the body, or in the tagged field around it.
        remaining: usize,
    },
    /// An array claims more elements than the bytes left can hold.
    #[error("claims {claimed} elements, but {remaining} bytes remain")]
    TooManyElements {
        /// Elements claimed.
        claimed: usize,
        /// Bytes left in the body, or in the tagged field around it.
        remaining: usize,
    },
    /// A length or count below -1.
    #[error("claims the negative length {0}")]
    NegativeLength(i32),
    /// A string longer than the 32,767 bytes that Kafka allows.
    #[error("claims a string of {claimed} bytes; the longest has 32767")]
    LongString {
        /// Bytes claimed.
        claimed: usize,
    },
    /// Null where this version does not allow it.
    #[error("must not be null in this version")]
    Null,
    /// A nullable structure that claims to be neither there (1) nor null (-1).
    #[error("is marked with {0}; 1 means there, -1 means null")]
    BadMarker(i8),
    /// A string that is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// A variable-length integer that does not end within 5 bytes and 32 bits.
    #[error("has a length that does not fit 32 bits")]
    BadVarint,
    /// A tagged field that belongs to other versions.
    #[error("has tag {0}, which this version does not have")]
    BadTag(u32),
    /// A tagged field whose content does not take the bytes it claims.
    #[error("claims {claimed} bytes as a tagged field, but takes {taken}")]
    TagSize {
        /// Bytes claimed.
        claimed: usize,
        /// Bytes that its content takes.
        taken: usize,
    },
    /// The body holds more than any client needs in one message, up to this field.
    #[error("exceeds the {limit} {what} that a message may hold")]
    OverLimit {
        /// What there is too much of.
        what: &'static str,
        /// How many a message may hold.
        limit: usize,
    },
    /// The body goes on after its last field.
    #[error("ends before the body: {remaining} bytes are left over")]
    TrailingBytes {
        /// Bytes left over.
        remaining: usize,
    },
}

/// The deepest nesting of fields in any message; a test holds the tables to it.
pub(super) const MAX_DEPTH: usize = 7;

/// The way to a field: its place among its siblings, then that of the field around it, and so on outwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Path {
    places: [u8; MAX_DEPTH],
    len: u8,
}

impl Path {
    /// Adds the field around those so far.
    pub(super) fn push(&mut self, place: usize) {
        if let (Some(slot), Ok(place)) = (self.places.get_mut(usize::from(self.len)), u8::try_from(place)) {
            *slot = place;
            self.len += 1;
        }
    }

    fn outermost_first(&self) -> impl Iterator<Item = usize> {
        self.places.iter().take(usize::from(self.len)).rev().map(|&place| usize::from(place))
    }
}

/// A body that does not fit its shape: the API, the field, and the claim that gives it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardError {
    /// What the body was taken for.
    pub kind: Kind,
    /// The API key; -1 for what consumers hand each other.
    pub api_key: i16,
    /// The version that the body was checked against.
    pub version: i16,
    /// Where the fault was seen, in bytes from the start of the body.
    pub position: usize,
    /// What is wrong.
    pub fault: Fault,
    pub(super) path: Path,
}

impl GuardError {
    /// Kafka's name of the API, `None` if the key is unknown.
    pub fn api(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Request | Kind::Response => tables::find(self.api_key).map(|api| api.name),
            Kind::ConsumerSubscription => Some("ConsumerProtocolSubscription"),
            Kind::ConsumerAssignment => Some("ConsumerProtocolAssignment"),
        }
    }

    /// The names of the fields from the outermost to the one at fault; none if the whole body is.
    pub fn path(&self) -> impl Iterator<Item = &'static str> {
        let mut fields = self.fields();
        self.path.outermost_first().map_while(move |place| {
            let field = fields.get(place)?;
            fields = match field.holds {
                Holds::Object(inner) | Holds::Array { fields: inner, .. } => inner,
                _ => &[],
            };
            Some(field.name)
        })
    }

    fn fields(&self) -> &'static [Field] {
        match self.kind {
            Kind::Request => tables::find(self.api_key).map_or(&[], |api| api.request.fields),
            Kind::Response => tables::find(self.api_key).map_or(&[], |api| api.response.fields),
            Kind::ConsumerSubscription => tables::CONSUMER_SUBSCRIPTION.fields,
            Kind::ConsumerAssignment => tables::CONSUMER_ASSIGNMENT.fields,
        }
    }
}

impl fmt::Display for GuardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.api() {
            Some(api) => f.write_str(api)?,
            None => write!(f, "API key {}", self.api_key)?,
        }
        let what = match self.kind {
            Kind::Request => " request",
            Kind::Response => " response",
            Kind::ConsumerSubscription | Kind::ConsumerAssignment => "",
        };
        write!(f, "{what} version {}: ", self.version)?;
        let mut names = self.path();
        if let Some(outermost) = names.next() {
            f.write_str(outermost)?;
            for name in names {
                write!(f, ".{name}")?;
            }
            write!(f, " (byte {}) ", self.position)?;
        } else if !matches!(self.fault, Fault::UnknownApi | Fault::UnknownVersion) {
            f.write_str("the message ")?;
        }
        write!(f, "{}", self.fault)
    }
}

impl std::error::Error for GuardError {}
