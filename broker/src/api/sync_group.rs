//! SyncGroup, 0 to 5: the leader brings the assignment, every member takes its share. The answer waits for the leader.
//!
//! Version 3 adds static members, 5 the protocol type and name, which must then be there and be the group's.

use jackdaw_protocol::messages::{ResponseError, SyncGroupRequest, SyncGroupResponse};

use super::errors;
use super::group_words::{owned, owned_bytes, owned_or_none, reply, wire_or_null};
use super::{Context, Handler, Reply};
use crate::group::classic::Sync;

const PROTOCOL_SINCE: i16 = 5;

impl Handler for SyncGroupRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<SyncGroupResponse> {
        let version = ctx.api_version;
        let refused = |error: ResponseError| SyncGroupResponse::default().with_error_code(error.code());
        if self.group_id.is_empty() {
            return Reply::Now(refused(ResponseError::InvalidGroupId));
        }
        if version >= PROTOCOL_SINCE && (self.protocol_type.is_none() || self.protocol_name.is_none()) {
            return Reply::Now(refused(ResponseError::InconsistentGroupProtocol));
        }
        let assignments = self.assignments.iter();
        let sync = Sync {
            token: ctx.broker.groups.token(),
            member_id: owned(&self.member_id),
            instance_id: owned_or_none(self.group_instance_id.as_ref()),
            generation: self.generation_id,
            protocol_type: owned_or_none(self.protocol_type.as_ref()),
            protocol: owned_or_none(self.protocol_name.as_ref()),
            assignments: assignments.map(|one| (owned(&one.member_id), owned_bytes(&one.assignment))).collect(),
        };
        let outcome = ctx.broker.groups.sync(&owned(&self.group_id), sync);
        reply(outcome, move |answer| match answer {
            Ok(synced) => {
                let mut response = SyncGroupResponse::default().with_assignment(synced.assignment);
                if version >= PROTOCOL_SINCE {
                    response.protocol_type = wire_or_null(synced.protocol_type.as_ref());
                    response.protocol_name = wire_or_null(synced.protocol.as_ref());
                }
                response
            }
            Err(error) => refused(errors::group(&error).error),
        })
    }
}
