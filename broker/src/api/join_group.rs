//! JoinGroup, 0 to 9: a member asks to be in the group's next generation. The answer waits for the other members.
//!
//! Version 0 has no rebalance timeout and takes the session timeout for it. From version 4 a member without an id is given
//! one and must come back with it (KIP-394). Version 5 adds static members (KIP-345), 7 the protocol type and a nullable
//! protocol name in the answer, 8 the reason, 9 `skip_assignment` (KIP-814).

use jackdaw_protocol::messages::join_group_response::JoinGroupResponseMember;
use jackdaw_protocol::messages::{JoinGroupRequest, JoinGroupResponse, StrBytes};
use uuid::Uuid;

use super::errors;
use super::group_words::{ensure_open, owned, owned_bytes, owned_or_none, reply, wire, wire_or_null};
use super::{Context, Handler, Reply};
use crate::group::classic::Join;
use crate::group::{JoinRefused, Joined};

const REBALANCE_TIMEOUT_SINCE: i16 = 1;
const KNOWN_MEMBER_ID_SINCE: i16 = 4;
const PROTOCOL_TYPE_SINCE: i16 = 7;
const SKIP_ASSIGNMENT_SINCE: i16 = 9;

impl Handler for JoinGroupRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<JoinGroupResponse> {
        let version = ctx.api_version;
        if let Err(error) = ensure_open(ctx) {
            return Reply::Now(refused(JoinRefused { error, member_id: owned(&self.member_id) }, version));
        }
        let rebalance_timeout_ms =
            if version >= REBALANCE_TIMEOUT_SINCE { self.rebalance_timeout_ms } else { self.session_timeout_ms };
        let protocols = self.protocols.iter().map(|protocol| (owned(&protocol.name), owned_bytes(&protocol.metadata)));
        let join = Join {
            token: ctx.broker.groups.token(),
            member_id: owned(&self.member_id),
            instance_id: owned_or_none(self.group_instance_id.as_ref()),
            client_id: ctx.client_id().into(),
            client_host: ctx.client_host().into(),
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms,
            protocol_type: owned(&self.protocol_type),
            protocols: protocols.collect(),
            fresh: Uuid::new_v4(),
            requires_known_id: version >= KNOWN_MEMBER_ID_SINCE,
            can_skip_assignment: version >= SKIP_ASSIGNMENT_SINCE,
        };
        let outcome = ctx.broker.groups.join(&owned(&self.group_id), join);
        reply(outcome, move |answer| match answer {
            Ok(joined) => response(joined, version),
            Err(refusal) => refused(refusal, version),
        })
    }
}

fn response(joined: Joined, version: i16) -> JoinGroupResponse {
    let member = |member: crate::group::JoinedMember| {
        JoinGroupResponseMember::default()
            .with_member_id(wire(&member.member_id))
            .with_group_instance_id(wire_or_null(member.instance_id.as_ref()))
            .with_metadata(member.metadata)
    };
    let protocol = joined.protocol.unwrap_or_default();
    let mut response = JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_name(Some(wire(&protocol)))
        .with_leader(wire(&joined.leader))
        .with_member_id(wire(&joined.member_id))
        .with_members(joined.members.into_iter().map(member).collect());
    if version >= PROTOCOL_TYPE_SINCE {
        response.protocol_type = wire_or_null(joined.protocol_type.as_ref());
    }
    if version >= SKIP_ASSIGNMENT_SINCE {
        response.skip_assignment = joined.skip_assignment;
    }
    response
}

fn refused(refusal: JoinRefused, version: i16) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(errors::group(&refusal.error).error.code())
        .with_generation_id(-1)
        .with_protocol_name(if version >= PROTOCOL_TYPE_SINCE { None } else { Some(StrBytes::new()) })
        .with_member_id(wire(&refusal.member_id))
}
