//! Between the words of the wire and those of the group coordinator.

use std::sync::Arc;

use bytes::Bytes;
use jackdaw_protocol::messages::StrBytes;

use super::{Context, Reply};
use crate::cluster::creation;
use crate::coordinator::Outcome;
use crate::group::GroupError;
use crate::topics::names::CONSUMER_OFFSETS;

/// Text that outlives the request: a slice would keep the whole frame in memory.
pub(super) fn owned(text: &StrBytes) -> Arc<str> {
    Arc::from(text.as_str())
}

/// The same for text that may be missing.
pub(super) fn owned_or_none(text: Option<&StrBytes>) -> Option<Arc<str>> {
    text.map(owned)
}

/// Bytes that outlive the request.
pub(super) fn owned_bytes(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// Text for an answer.
pub(super) fn wire(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Text that may be missing, for an answer.
pub(super) fn wire_or_null(text: Option<&Arc<str>>) -> Option<StrBytes> {
    text.map(|text| wire(text))
}

/// The coordinator's answer in the words of an API.
pub(super) fn reply<T: Send + 'static, R>(
    outcome: Outcome<T>,
    words: impl FnOnce(T) -> R + Send + 'static,
) -> Reply<R> {
    match outcome {
        Outcome::Now(answer) => Reply::Now(words(answer)),
        Outcome::Later(coming) => Reply::Later(Box::pin(async move { words(coming.await) })),
    }
}

/// Makes `__consumer_offsets` before the first group is served.
pub(super) fn ensure_open(ctx: &Context<'_>) -> Result<(), GroupError> {
    if ctx.broker.groups.topic_id().is_some() {
        return Ok(());
    }
    ensure_topic(ctx)
}

/// Makes `__consumer_offsets`, if this broker may, and opens what it leads of it; else the controller is asked for it, and
/// the client comes again.
pub(super) fn ensure_topic(ctx: &Context<'_>) -> Result<(), GroupError> {
    let broker = ctx.broker;
    if !broker.channel.is_active() && broker.topics.topic(CONSUMER_OFFSETS).is_none() {
        creation::ask_for(broker, [CONSUMER_OFFSETS.to_owned()]);
        return Err(GroupError::NotAvailable(format!("{CONSUMER_OFFSETS} is being created")));
    }
    broker.blocking(|| broker.groups.ensure_open(&broker.topics, broker.cluster.is_alone()))
}

/// ACL operations that anybody may do with a group while there are no ACLs: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and
/// ALTER_CONFIGS, as bits.
pub(super) const ALL_GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;
