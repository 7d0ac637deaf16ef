//! AlterPartitionReassignments, 0 to 1 (KIP-455): other replicas for partitions, or, with none named, the way back.
//!
//! Version 1 lets the caller insist on the number of replicas (KIP-860).

use jackdaw_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use jackdaw_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ResponseError, StrBytes,
};

use super::errors::{self, Failure};
use super::{Context, Forwarded, Handler, Reply};
use crate::controller::reassign::{Reassign, reassign};
use crate::controller::{election_defaults, placement};
use crate::topics::image::Image;
use crate::topics::record::{ElectionDefaults, Record};

impl Handler for AlterPartitionReassignmentsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<AlterPartitionReassignmentsResponse> {
        let defaults = election_defaults(&ctx.broker.config());
        // Older versions do not ask: the default is to allow it.
        let other_factor = self.allow_replication_factor_change;
        let changed =
            ctx.broker.blocking(|| ctx.broker.topics.change(|catalog| reassignments(catalog.image(), &self, defaults)));
        let answer = AlterPartitionReassignmentsResponse::default()
            .with_error_message(None)
            .with_allow_replication_factor_change(other_factor);
        Reply::Now(match changed {
            Ok(responses) => answer.with_responses(responses),
            Err(error) => {
                let Failure { error, message, .. } = errors::change(&error);
                let message = message.map(|message| StrBytes::from_string(message.into_owned()));
                answer.with_error_code(error.code()).with_error_message(message)
            }
        })
    }
}

impl Forwarded for AlterPartitionReassignmentsRequest {
    fn refuse(self, _version: i16, error: ResponseError, message: &str) -> AlterPartitionReassignmentsResponse {
        AlterPartitionReassignmentsResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_string(message.to_owned())))
    }
}

fn reassignments(
    image: &Image,
    request: &AlterPartitionReassignmentsRequest,
    defaults: ElectionDefaults,
) -> (Vec<Record>, Vec<ReassignableTopicResponse>) {
    let brokers = placement::brokers(image);
    let mut records = Vec::new();
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut results = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let target = partition.replicas.as_ref().map(|replicas| replicas.iter().map(|id| id.0).collect());
            let command = Reassign {
                topic: topic.name.to_string(),
                partition: partition.partition_index,
                target,
                other_factor: request.allow_replication_factor_change,
            };
            let result = reassign(image, &brokers, &command, defaults);
            let failure = result.map(|record| records.extend(record)).err().map(|error| errors::reassign(&error));
            let message = failure.as_ref().and_then(|failure| failure.message.as_ref());
            results.push(
                ReassignablePartitionResponse::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(failure.as_ref().map_or(0, |failure| failure.error.code()))
                    .with_error_message(message.map(|message| StrBytes::from_string(message.to_string()))),
            );
        }
        responses.push(ReassignableTopicResponse::default().with_name(topic.name.clone()).with_partitions(results));
    }
    (records, responses)
}
