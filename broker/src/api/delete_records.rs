//! DeleteRecords, 0 to 2: moves the log start offset forward; -1 means up to the high watermark (KIP-107).

use jackdaw_protocol::messages::delete_records_request::DeleteRecordsPartition;
use jackdaw_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use jackdaw_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse, ResponseError};

use super::errors;
use super::{Context, Handler, Reply};
use crate::topics::names;

const HIGH_WATERMARK: i64 = -1;
const NO_WATERMARK: i64 = -1;

impl Handler for DeleteRecordsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<DeleteRecordsResponse> {
        let topics = ctx.broker.blocking(|| {
            let topics = self.topics.into_iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|asked| {
                    let result = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
                    match delete(&topic.name, asked, ctx) {
                        Ok(low_watermark) => result.with_low_watermark(low_watermark),
                        Err(error) => result.with_low_watermark(NO_WATERMARK).with_error_code(error.code()),
                    }
                });
                let partitions = partitions.collect();
                DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions)
            });
            topics.collect()
        });
        Reply::Now(DeleteRecordsResponse::default().with_topics(topics))
    }
}

/// The log start offset afterwards.
fn delete(topic: &str, asked: &DeleteRecordsPartition, ctx: &Context<'_>) -> Result<i64, ResponseError> {
    let partition = ctx.broker.topics.find(topic, asked.partition_index).map_err(errors::find)?;
    partition.check_leader(-1).map_err(|error| errors::not_served(&error))?;
    if names::is_internal(topic) {
        return Err(ResponseError::InvalidTopicException);
    }
    if partition.with_config(|config| config.compact && !config.delete) {
        // Only compaction may decide what of such a topic goes.
        return Err(ResponseError::PolicyViolation);
    }
    let log = partition.log();
    let offset = if asked.offset == HIGH_WATERMARK { log.high_watermark() } else { asked.offset };
    if !(0..=log.high_watermark()).contains(&offset) {
        return Err(ResponseError::OffsetOutOfRange);
    }
    let start = log.delete_records_before(offset).map_err(|error| errors::delete_records(&error).error)?;
    // A reader below the new start must learn that it is out of range.
    partition.wake_fetches();
    Ok(start)
}
