//! DescribeTopicPartitions, 0: topics and partitions page by page, sorted by name (KIP-966).
//!
//! No topics means all. A page holds at most `response_partition_limit` partitions, and never more than
//! `max.request.partition.size.limit`; where it ends, the cursor names the first partition that is missing.

use std::collections::BTreeSet;
use std::ops::Range;

use jackdaw_protocol::messages::describe_topic_partitions_request::Cursor as Start;
use jackdaw_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use jackdaw_protocol::messages::{
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, ResponseError, StrBytes, TopicName,
};

use super::topology::{self, Brokers, TOPIC_OPERATIONS};
use super::{Context, Handler, Reply};
use crate::topics::image::PartitionImage;
use crate::topics::names;
use crate::topics::{Registry, Topic};

impl Handler for DescribeTopicPartitionsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<DescribeTopicPartitionsResponse> {
        let registry = ctx.broker.topics.registry();
        let largest = ctx.broker.config().max_request_partition_size_limit;
        let brokers = Brokers::of(ctx, &registry.image);
        Reply::Now(page(&self, &registry, &brokers, largest, ctx.broker.topics.takes_writes()))
    }
}

fn page(
    request: &DescribeTopicPartitionsRequest,
    registry: &Registry,
    brokers: &Brokers,
    largest: usize,
    takes_writes: bool,
) -> DescribeTopicPartitionsResponse {
    let from = request.cursor.as_ref().map_or("", |cursor| cursor.topic_name.as_str());
    let all = request.topics.is_empty();
    let wanted: BTreeSet<&str> = if all {
        registry.image.topics_from(from).map(|topic| &*topic.name).collect()
    } else {
        request.topics.iter().map(|topic| topic.name.as_str()).filter(|name| *name >= from).collect()
    };
    if let Some(cursor) = &request.cursor
        && (cursor.partition_index < 0 || !all && !wanted.contains(from))
    {
        return refused(request);
    }
    let mut left = usize::try_from(request.response_partition_limit).unwrap_or(0).min(largest).max(1);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in wanted {
        if left == 0 {
            response.next_cursor = Some(cursor(name, 0));
            break;
        }
        let Some(topic) = registry.topic(name) else {
            if !all {
                response.topics.push(missing(name));
            }
            continue;
        };
        let first = match &request.cursor {
            Some(Start { topic_name, partition_index, .. }) if topic_name.as_str() == name => *partition_index as usize,
            _ => 0,
        };
        let count = topic.image.partitions.len();
        let end = first.saturating_add(left).min(count);
        left -= end.saturating_sub(first);
        response.topics.push(described(brokers, topic, first..end, takes_writes));
        if end < count {
            response.next_cursor = Some(cursor(name, end as i32));
            break;
        }
    }
    response
}

fn described(
    brokers: &Brokers,
    topic: &Topic,
    range: Range<usize>,
    takes_writes: bool,
) -> DescribeTopicPartitionsResponseTopic {
    let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
    let partitions = topic.image.partitions.iter().enumerate().take(range.end).skip(range.start);
    let partition = |(index, image): (usize, &PartitionImage)| {
        let view = topology::view(brokers, topic, index, image, takes_writes);
        // Unlike Metadata, Kafka reports no error here for a partition without a leader.
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_id(view.leader)
            .with_leader_epoch(view.leader_epoch)
            .with_replica_nodes(view.replicas)
            .with_isr_nodes(view.isr)
            .with_eligible_leader_replicas(Some(ids(image.elr())))
            .with_last_known_elr(Some(ids(image.last_known_elr())))
            .with_offline_replicas(view.offline)
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(topology::topic_name(topic.name())))
        .with_topic_id(topic.id())
        .with_is_internal(names::is_internal(topic.name()))
        .with_partitions(partitions.map(partition).collect())
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

fn missing(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error = match names::check(name) {
        Ok(()) => ResponseError::UnknownTopicOrPartition,
        Err(_) => ResponseError::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(error.code())
        .with_name(Some(TopicName(StrBytes::from_string(name.to_owned()))))
        .with_is_internal(names::is_internal(name))
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

/// A cursor that points nowhere: the response has no error of its own, so each topic gets it.
fn refused(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let failed = |name: &TopicName| {
        DescribeTopicPartitionsResponseTopic::default()
            .with_error_code(ResponseError::InvalidRequest.code())
            .with_name(Some(name.clone()))
    };
    DescribeTopicPartitionsResponse::default()
        .with_topics(request.topics.iter().map(|topic| failed(&topic.name)).collect())
}

fn cursor(topic: &str, partition: i32) -> Cursor {
    let topic = TopicName(StrBytes::from_string(topic.to_owned()));
    Cursor::default().with_topic_name(topic).with_partition_index(partition)
}
