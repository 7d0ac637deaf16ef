//! OffsetDelete, 0: forgets committed offsets of topics that no member of the group reads any more (KIP-496).

use std::sync::Arc;

use jackdaw_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use jackdaw_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse, ResponseError};

use super::errors;
use super::group_words::{owned, reply};
use super::{Context, Handler, Reply};

impl Handler for OffsetDeleteRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<OffsetDeleteResponse> {
        if self.group_id.is_empty() {
            return Reply::Now(OffsetDeleteResponse::default().with_error_code(ResponseError::InvalidGroupId.code()));
        }
        let mut wanted: Vec<(Arc<str>, i32)> = Vec::new();
        let mut response = OffsetDeleteResponse::default();
        let mut places = Vec::new();
        for topic in &self.topics {
            let known = ctx.broker.topics.topic(&topic.name).is_some();
            let name = owned(&topic.name);
            let mut answers = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let mut answer = OffsetDeleteResponsePartition::default().with_partition_index(index);
                if known {
                    places.push((response.topics.len(), answers.len()));
                    wanted.push((name.clone(), index));
                } else {
                    answer.error_code = ResponseError::UnknownTopicOrPartition.code();
                }
                answers.push(answer);
            }
            let topic = OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(answers);
            response.topics.push(topic);
        }
        let outcome = ctx.broker.groups.delete_offsets(&owned(&self.group_id), &wanted);
        reply(outcome, move |answer| match answer {
            Err(error) => OffsetDeleteResponse::default().with_error_code(errors::group(&error).error.code()),
            Ok(verdicts) => {
                for ((topic, partition), verdict) in places.into_iter().zip(verdicts) {
                    if let Err(error) = verdict {
                        response.topics[topic].partitions[partition].error_code = errors::group(&error).error.code();
                    }
                }
                response
            }
        })
    }
}
