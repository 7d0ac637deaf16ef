//! Quorum, an API of our own, on the controller listener only. Version 0 carries what the parts of the metadata quorum say to
//! each other, which `jackdaw_quorum` understands; version 1 asks a node who it is.

use bytes::Bytes;

use super::{Context, Served};
use crate::net::Outgoing;

/// API key, far from Kafka's.
pub(crate) const KEY: i16 = 31_000;
/// The version of what the quorum says.
pub(crate) const MESSAGE: i16 = 0;
/// The version that asks who is there.
pub(crate) const WHO: i16 = 1;

/// What another node wants.
enum QuorumRequest {
    /// To say something to this node's part in the quorum.
    Message(Bytes),
    /// To know who is here.
    Who,
}

impl QuorumRequest {
    fn of(version: i16, body: Bytes) -> QuorumRequest {
        if version == WHO { QuorumRequest::Who } else { QuorumRequest::Message(body) }
    }
}

/// Answers one request.
pub(super) fn serve(ctx: &Context<'_>, correlation_id: i32, body: Bytes, out: &mut Outgoing) -> Served {
    match QuorumRequest::of(ctx.api_version, body) {
        QuorumRequest::Who => {
            let who = crate::cluster::node::who(ctx.broker);
            let len = who.len();
            out.frame_of_parts(correlation_id, false, [who], len);
            Served::Answered
        }
        QuorumRequest::Message(message) => {
            let quorum = ctx.broker.topics.quorum().clone();
            Served::Later(Box::pin(async move {
                let Some(answer) = quorum.answer(message).await else {
                    return Outgoing::broken("this node is no controller".to_owned());
                };
                let (mut out, len) = (Outgoing::default(), answer.len());
                out.frame_of_parts(correlation_id, false, [answer], len);
                out
            }))
        }
    }
}
