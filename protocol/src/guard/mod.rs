//! The guard in front of the message decoders.
//!
//! The decoders of `kafka-protocol` reserve memory for whatever count a body claims: four bytes make them ask for
//! more than there is, and a failed allocation ends the process. So no bytes from outside reach them before the
//! guard has walked the whole body against the [`shape`] of its message. It refuses a count or length that the bytes
//! left cannot hold, null where the version has none, text that is not UTF-8, variable-length integers without an
//! end, and tagged fields that do not fill their size; in a response, bytes left over too. After it, a decoder allocates
//! in proportion to the body, up to 64 bytes for each (an empty string of one byte becomes a value of 32); the two limits below
//! bound what that can come to. `tests/guard/bombs.rs` holds the codec to it.
//!
//! The walk allocates nothing and does not panic. Records are opaque here, and checked in [`crate::records`].
//!
//! A body that the guard refuses can have no answer, since nothing in it can be trusted: the connection is closed, and
//! [`GuardError`] says in the log what was wrong with which field.

mod error;
pub mod shape;
mod tables;
mod walk;

pub use error::{Fault, GuardError, Kind};

use error::Path;
use shape::{Api, Message};
use walk::Found;

/// Structures and strings in the arrays of one message, all together; numbers do not count. The largest clusters have
/// fewer partitions. It keeps a frame of some megabytes, which nothing else stops, from becoming gigabytes.
pub const MAX_ELEMENTS: usize = 1 << 20;

/// Tagged fields that no shape knows, in one message. The codec keeps them, each in a map node of some 400 bytes for
/// the two that it takes on the wire. Clients send them only where they are newer than the codec.
pub const MAX_UNKNOWN_TAGS: usize = 1 << 16;

/// The shapes of all APIs, by ascending key.
pub fn apis() -> impl Iterator<Item = &'static Api> {
    tables::all()
}

/// The shape of a consumer's subscription, for tests and tools.
pub fn consumer_subscription() -> &'static Message {
    &tables::CONSUMER_SUBSCRIPTION
}

/// The shape of a consumer's assignment, for tests and tools.
pub fn consumer_assignment() -> &'static Message {
    &tables::CONSUMER_ASSIGNMENT
}

/// Checks the body of a request, which comes after its header. After `Ok` the decoder of this request and version
/// may read it. Bytes after the last field are no fault, as they are none to Apache Kafka: librdkafka up to 2.16 at
/// least asks for all topics in Metadata 9 and later with three bytes too many.
#[inline]
pub fn check_request(api_key: i16, version: i16, body: &[u8]) -> Result<(), GuardError> {
    let message = tables::find(api_key).map(|api| &api.request);
    check(Kind::Request, api_key, message, version, body, Trailing::Allowed)
}

/// Checks the body of a response, which comes after its header.
#[inline]
pub fn check_response(api_key: i16, version: i16, body: &[u8]) -> Result<(), GuardError> {
    let message = tables::find(api_key).map(|api| &api.response);
    check(Kind::Response, api_key, message, version, body, Trailing::Refused)
}

/// Checks what a member of a classic consumer group hands to JoinGroup, without the two leading bytes that hold its
/// version. Returns the version to decode with: what a newer version adds comes last, so it reads as the newest known
/// one, and bytes after the last field are no fault.
pub fn check_consumer_subscription(version: i16, body: &[u8]) -> Result<i16, GuardError> {
    let message = &tables::CONSUMER_SUBSCRIPTION;
    let version = version.min(message.newest);
    check(Kind::ConsumerSubscription, -1, Some(message), version, body, Trailing::Allowed)?;
    Ok(version)
}

/// Checks an assignment from SyncGroup, as [`check_consumer_subscription`] does for a subscription.
pub fn check_consumer_assignment(version: i16, body: &[u8]) -> Result<i16, GuardError> {
    let message = &tables::CONSUMER_ASSIGNMENT;
    let version = version.min(message.newest);
    check(Kind::ConsumerAssignment, -1, Some(message), version, body, Trailing::Allowed)?;
    Ok(version)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trailing {
    Allowed,
    Refused,
}

fn check(
    kind: Kind,
    api_key: i16,
    message: Option<&Message>,
    version: i16,
    body: &[u8],
    trailing: Trailing,
) -> Result<(), GuardError> {
    let refuse = |fault, position, path| Err(GuardError { kind, api_key, version, position, fault, path });
    let Some(message) = message else {
        return refuse(Fault::UnknownApi, 0, Path::default());
    };
    if !message.has(version) {
        return refuse(Fault::UnknownVersion, 0, Path::default());
    }
    let mut found = Found::nothing();
    let left = if version >= message.flexible {
        walk::structure::<true>(message.fields, version, body, &mut found)
    } else {
        walk::structure::<false>(message.fields, version, body, &mut found)
    };
    match left {
        Some([]) => Ok(()),
        Some(_) if trailing == Trailing::Allowed => Ok(()),
        Some(left) => {
            let remaining = left.len();
            refuse(Fault::TrailingBytes { remaining }, body.len() - remaining, Path::default())
        }
        None => refuse(found.fault, found.at.saturating_sub(body.as_ptr().addr()), found.path),
    }
}
