//! DescribeProducers, 0: the producers that a partition remembers, for finding hanging transactions (KIP-664).

use jackdaw_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use jackdaw_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, ProducerId, ResponseError, StrBytes,
};

use super::errors::{self, Failure};
use super::{Context, Handler, Reply};
use crate::topics::{FindError, names};

impl Handler for DescribeProducersRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<DescribeProducersResponse> {
        let topics = self.topics.into_iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|&index| {
                let response = PartitionResponse::default().with_partition_index(index);
                match producers(&topic.name, index, ctx) {
                    Ok(producers) => response.with_active_producers(producers),
                    Err(failure) => response
                        .with_error_code(failure.error.code())
                        .with_error_message(failure.message.map(|text| StrBytes::from_string(text.into_owned()))),
                }
            });
            let partitions = partitions.collect();
            TopicResponse::default().with_name(topic.name).with_partitions(partitions)
        });
        Reply::Now(DescribeProducersResponse::default().with_topics(topics.collect()))
    }
}

fn producers(topic: &str, index: i32, ctx: &Context<'_>) -> Result<Vec<ProducerState>, Failure> {
    names::check(topic).map_err(|error| Failure::with(ResponseError::InvalidTopicException, error.to_string()))?;
    let partition = ctx.broker.topics.find(topic, index).map_err(|error| Failure {
        error: errors::find(error),
        message: (error == FindError::UnknownTopic).then(|| "This server does not host this topic-partition.".into()),
        records: Vec::new(),
    })?;
    partition.check_leader(-1).map_err(|error| errors::not_served(&error))?;
    let describe = |state: jackdaw_storage::ProducerState| {
        ProducerState::default()
            .with_producer_id(ProducerId(state.producer_id))
            .with_producer_epoch(i32::from(state.epoch))
            .with_last_sequence(state.last_sequence)
            .with_last_timestamp(state.last_timestamp)
            .with_coordinator_epoch(state.coordinator_epoch)
            .with_current_txn_start_offset(state.txn_start_offset.unwrap_or(-1))
    };
    Ok(partition.log().producers().into_iter().map(describe).collect())
}
