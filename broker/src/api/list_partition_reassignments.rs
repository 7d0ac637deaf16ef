//! ListPartitionReassignments, 0 (KIP-455): the partitions whose replicas are coming and going, all or those named.
//!
//! What is named and does not move, or does not exist, is not in the answer.

use jackdaw_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use jackdaw_protocol::messages::{
    BrokerId, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, ResponseError, StrBytes, TopicName,
};

use super::{Context, Forwarded, Handler, Reply};
use crate::controller::reassign::in_progress;
use crate::topics::image::{PartitionImage, TopicImage};

impl Handler for ListPartitionReassignmentsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<ListPartitionReassignmentsResponse> {
        let image = ctx.broker.topics.image();
        let topics = match &self.topics {
            None => image.topics().filter_map(|topic| ongoing(topic, None)).collect(),
            Some(asked) => {
                let known = |name: &TopicName| image.topic(name);
                asked.iter().filter_map(|asked| ongoing(known(&asked.name)?, Some(&asked.partition_indexes))).collect()
            }
        };
        Reply::Now(ListPartitionReassignmentsResponse::default().with_error_message(None).with_topics(topics))
    }
}

impl Forwarded for ListPartitionReassignmentsRequest {
    fn refuse(self, _version: i16, error: ResponseError, message: &str) -> ListPartitionReassignmentsResponse {
        ListPartitionReassignmentsResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_string(message.to_owned())))
    }
}

fn ongoing(topic: &TopicImage, asked: Option<&[i32]>) -> Option<OngoingTopicReassignment> {
    let wanted = |(index, _): &(i32, &PartitionImage)| asked.is_none_or(|asked| asked.contains(index));
    let partitions: Vec<_> =
        in_progress(topic).filter(wanted).map(|(index, partition)| moving(index, partition)).collect();
    let name = TopicName(StrBytes::from_string(topic.name.to_string()));
    (!partitions.is_empty()).then(|| OngoingTopicReassignment::default().with_name(name).with_partitions(partitions))
}

fn moving(index: i32, partition: &PartitionImage) -> OngoingPartitionReassignment {
    let ids = |replicas: &[i32]| replicas.iter().copied().map(BrokerId).collect();
    OngoingPartitionReassignment::default()
        .with_partition_index(index)
        .with_replicas(ids(&partition.replicas))
        .with_adding_replicas(ids(partition.adding()))
        .with_removing_replicas(ids(partition.removing()))
}
