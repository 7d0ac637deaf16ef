//! Why a body was refused.

use std::fmt;

/// Which table a body was checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The body of a request.
    Request,
    /// The body of a response.
    Response,
    /// What members of a classic consumer group hand each other through JoinGroup and SyncGroup.
    ConsumerProtocol,
}

/// What is wrong with the field that a [`GuardError`] names. `claimed` and `remaining` count bytes, but elements
/// where it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No such API, or no such version of it.
    UnknownVersion,
    /// The field needs `claimed` bytes.
    Truncated {
        /// Bytes that the field takes.
        claimed: usize,
        /// Bytes left in the body.
        remaining: usize,
    },
    /// An array claims more elements than the bytes left can hold.
    TooManyElements {
        /// Elements claimed.
        claimed: usize,
        /// Bytes left in the body.
        remaining: usize,
    },
    /// A length or count below -1.
    NegativeLength(i32),
    /// Null where the version does not allow it.
    Null,
    /// A string that is not UTF-8.
    NotUtf8,
    /// A variable-length integer without an end within 5 bytes, or above 32 bits.
    BadVarint,
    /// A tagged field that this version does not have.
    TagOutOfVersion(u32),
    /// A tagged field whose content does not take the size that it claims.
    TagSize {
        /// Bytes claimed.
        claimed: usize,
        /// Bytes that the content takes.
        actual: usize,
    },
    /// The body goes on after its last field.
    TrailingBytes {
        /// Bytes left over.
        remaining: usize,
    },
}

/// A body that does not fit its shape: the API, the field and the claim that gives it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardError {
    /// Which table the body was checked against.
    pub kind: Kind,
    /// The API key, -1 for the consumer protocol.
    pub api_key: i16,
    /// The version the body was checked against.
    pub version: i16,
    /// Where in the body the fault was seen, in bytes from its start.
    pub position: usize,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for GuardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.fault)
    }
}

impl std::error::Error for GuardError {}
