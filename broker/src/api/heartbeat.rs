//! Heartbeat, 0 to 4: a member says that it is there, and hears whether it has to rejoin. Version 3 adds static members.

use jackdaw_protocol::messages::{HeartbeatRequest, HeartbeatResponse, ResponseError};

use super::errors;
use super::group_words::{owned, reply};
use super::{Context, Handler, Reply};

impl Handler for HeartbeatRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<HeartbeatResponse> {
        let code = |code: i16| HeartbeatResponse::default().with_error_code(code);
        if self.group_id.is_empty() {
            return Reply::Now(code(ResponseError::InvalidGroupId.code()));
        }
        let instance_id = self.group_instance_id.as_deref();
        let group = owned(&self.group_id);
        let outcome = ctx.broker.groups.heartbeat(&group, &self.member_id, instance_id, self.generation_id);
        reply(outcome, move |answer| code(answer.err().map_or(0, |error| errors::group(&error).error.code())))
    }
}
