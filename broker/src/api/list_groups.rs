//! ListGroups, 0 to 5: the groups that this broker coordinates. Version 4 adds states and a filter for them, 5 types and a
//! filter for them. Filters ignore case, and a value that no group has selects none.

use jackdaw_protocol::messages::list_groups_response::ListedGroup;
use jackdaw_protocol::messages::{ListGroupsRequest, ListGroupsResponse, StrBytes};

use super::errors;
use super::group_words::wire;
use super::{Context, Handler, Reply};

const STATE_SINCE: i16 = 4;
const TYPE_SINCE: i16 = 5;
const CLASSIC: &str = "classic";

impl Handler for ListGroupsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<ListGroupsResponse> {
        let listed = match ctx.broker.groups.list() {
            Ok(listed) => listed,
            Err(error) => {
                let code = errors::group(&error).error.code();
                return Reply::Now(ListGroupsResponse::default().with_error_code(code));
            }
        };
        let mut response = ListGroupsResponse::default();
        if !selects(&self.types_filter, CLASSIC) {
            return Reply::Now(response);
        }
        for group in listed.into_iter().filter(|group| selects(&self.states_filter, group.state.as_str())) {
            let mut answer = ListedGroup::default()
                .with_group_id(wire(&group.group).into())
                .with_protocol_type(wire(&group.protocol_type));
            if ctx.api_version >= STATE_SINCE {
                answer.group_state = StrBytes::from_static_str(group.state.as_str());
            }
            if ctx.api_version >= TYPE_SINCE {
                answer.group_type = StrBytes::from_static_str(CLASSIC);
            }
            response.groups.push(answer);
        }
        Reply::Now(response)
    }
}

/// An empty filter selects everything.
fn selects(filter: &[StrBytes], name: &str) -> bool {
    filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
}
