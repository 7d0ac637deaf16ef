//! OffsetForLeaderEpoch, 2 to 4: where an epoch of leadership ended in the log, by which a consumer notices that what it
//! has read was lost (KIP-320). Version 3 adds the replica id.

use jackdaw_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use jackdaw_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use jackdaw_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, ResponseError};

use super::errors;
use super::{Context, Handler, Reply};

impl Handler for OffsetForLeaderEpochRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<OffsetForLeaderEpochResponse> {
        let topics = self.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let answer = EpochEndOffset::default().with_partition(asked.partition);
                match end_offset(&topic.topic, asked, ctx) {
                    Ok(Some((epoch, end))) => answer.with_leader_epoch(epoch).with_end_offset(end),
                    Ok(None) => answer.with_leader_epoch(-1).with_end_offset(-1),
                    Err(error) => answer.with_error_code(error.code()).with_leader_epoch(-1).with_end_offset(-1),
                }
            });
            let partitions = partitions.collect();
            OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
        });
        Reply::Now(OffsetForLeaderEpochResponse::default().with_topics(topics.collect()))
    }
}

/// The largest epoch not above the one asked for, and where it ended; none if the log knows none.
fn end_offset(
    topic: &str,
    asked: &OffsetForLeaderPartition,
    ctx: &Context<'_>,
) -> Result<Option<(i32, i64)>, ResponseError> {
    let partition = ctx.broker.topics.find(topic, asked.partition).map_err(errors::find)?;
    partition.check_leader(asked.current_leader_epoch).map_err(|error| errors::not_served(&error))?;
    Ok(partition.epoch_end_offset(asked.leader_epoch))
}
