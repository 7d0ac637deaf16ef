//! DeleteGroups, 0 to 2: removes groups without members, and their offsets.

use jackdaw_protocol::messages::delete_groups_response::DeletableGroupResult;
use jackdaw_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse, GroupId};

use super::errors;
use super::group_words::{owned, reply};
use super::{Context, Handler, Reply};
use crate::coordinator::Outcome;

impl Handler for DeleteGroupsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<DeleteGroupsResponse> {
        let delete = |group: &GroupId| ctx.broker.groups.delete_group(&owned(group));
        let outcome = Outcome::all(self.groups_names.iter().map(delete).collect());
        reply(outcome, move |answers| {
            let results = self.groups_names.into_iter().zip(answers).map(|(group_id, answer)| {
                let code = answer.err().map_or(0, |error| errors::group(&error).error.code());
                DeletableGroupResult::default().with_group_id(group_id).with_error_code(code)
            });
            DeleteGroupsResponse::default().with_results(results.collect())
        })
    }
}
