//! LeaveGroup, 0 to 5: members go. Up to version 2 one member, whose verdict is the answer's error; from version 3 many,
//! each with its own, also static members by instance id alone (an administrator removes them). Version 5 adds a reason.

use jackdaw_protocol::messages::leave_group_request::MemberIdentity;
use jackdaw_protocol::messages::leave_group_response::MemberResponse;
use jackdaw_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse, ResponseError};

use super::errors;
use super::group_words::{owned, owned_or_none, reply};
use super::{Context, Handler, Reply};
use crate::group::GroupError;
use crate::group::classic::Leaving;

const MANY_MEMBERS_SINCE: i16 = 3;

impl Handler for LeaveGroupRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<LeaveGroupResponse> {
        let refused = |code: i16| LeaveGroupResponse::default().with_error_code(code);
        if self.group_id.is_empty() {
            return Reply::Now(refused(ResponseError::InvalidGroupId.code()));
        }
        let many = ctx.api_version >= MANY_MEMBERS_SINCE;
        let leaving: Vec<Leaving> = if many {
            let member = |member: &MemberIdentity| Leaving {
                member_id: owned(&member.member_id),
                instance_id: owned_or_none(member.group_instance_id.as_ref()),
            };
            self.members.iter().map(member).collect()
        } else {
            vec![Leaving { member_id: owned(&self.member_id), instance_id: None }]
        };
        let outcome = ctx.broker.groups.leave(&owned(&self.group_id), &leaving);
        reply(outcome, move |answer| match answer {
            Err(error) => refused(errors::group(&error).error.code()),
            Ok(verdicts) if !many => refused(verdicts.into_iter().next().map_or(0, code)),
            Ok(verdicts) => {
                let member = |(member, verdict): (MemberIdentity, _)| {
                    MemberResponse::default()
                        .with_member_id(member.member_id)
                        .with_group_instance_id(member.group_instance_id)
                        .with_error_code(code(verdict))
                };
                LeaveGroupResponse::default().with_members(self.members.into_iter().zip(verdicts).map(member).collect())
            }
        })
    }
}

fn code(verdict: Result<(), GroupError>) -> i16 {
    verdict.err().map_or(0, |error| errors::group(&error).error.code())
}
