//! ListPartitionReassignments, 0 (KIP-455). A broker on its own has nowhere to move a partition, so none is ever moving;
//! `kafka-topics --describe` asks all the same.

use jackdaw_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use super::{Context, Handler, Reply};

impl Handler for ListPartitionReassignmentsRequest {
    fn handle(self, _ctx: &Context<'_>) -> Reply<ListPartitionReassignmentsResponse> {
        Reply::Now(ListPartitionReassignmentsResponse::default().with_error_message(None))
    }
}
