//! DescribeGroups, 0 to 6: state and members of groups. Version 3 adds authorized operations, 4 instance ids, 6 an error
//! for unknown groups with a message; before, they are in state Dead.

use jackdaw_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use jackdaw_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId, ResponseError, StrBytes};

use super::errors;
use super::group_words::{ALL_GROUP_OPERATIONS, owned, reply, wire, wire_or_null};
use super::{Context, Handler, Reply};
use crate::coordinator::Outcome;
use crate::group::classic::{DescribedMember, StateName};
use crate::group::{GroupError, shard};

const INSTANCE_ID_SINCE: i16 = 4;
const UNKNOWN_GROUP_SINCE: i16 = 6;

impl Handler for DescribeGroupsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<DescribeGroupsResponse> {
        let version = ctx.api_version;
        let describe = |group: &GroupId| ctx.broker.groups.describe(&owned(group));
        let outcome = Outcome::all(self.groups.iter().map(describe).collect());
        reply(outcome, move |answers| {
            let groups = self.groups.into_iter().zip(answers).map(|(group_id, answer)| {
                let mut described = describe_one(answer, version).with_group_id(group_id);
                if self.include_authorized_operations && described.error_code == 0 {
                    described.authorized_operations = ALL_GROUP_OPERATIONS;
                }
                described
            });
            DescribeGroupsResponse::default().with_groups(groups.collect())
        })
    }
}

fn describe_one(answer: Result<Option<shard::DescribedGroup>, GroupError>, version: i16) -> DescribedGroup {
    let described = DescribedGroup::default();
    match answer {
        Ok(Some(group)) => described
            .with_group_state(StrBytes::from_static_str(group.state.as_str()))
            .with_protocol_type(wire(&group.protocol_type))
            .with_protocol_data(wire(&group.protocol))
            .with_members(group.members.into_iter().map(|of| member(of, version)).collect()),
        Ok(None) => {
            let dead = described.with_group_state(StrBytes::from_static_str(StateName::Dead.as_str()));
            if version < UNKNOWN_GROUP_SINCE {
                return dead;
            }
            dead.with_error_code(ResponseError::GroupIdNotFound.code())
                .with_error_message(Some(StrBytes::from_static_str("there is no such group")))
        }
        Err(error) => {
            let failure = errors::group(&error);
            let described = described.with_error_code(failure.error.code());
            if version < UNKNOWN_GROUP_SINCE {
                return described;
            }
            described.with_error_message(failure.message.map(|message| StrBytes::from_string(message.into_owned())))
        }
    }
}

fn member(member: DescribedMember, version: i16) -> DescribedGroupMember {
    let described = DescribedGroupMember::default()
        .with_member_id(wire(&member.member_id))
        .with_client_id(wire(&member.client_id))
        .with_client_host(wire(&member.client_host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment);
    if version < INSTANCE_ID_SINCE {
        return described;
    }
    described.with_group_instance_id(wire_or_null(member.instance_id.as_ref()))
}
