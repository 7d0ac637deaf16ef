//! ListOffsets, 1 to 10: the offset of a point in time, or of an end of the log.
//!
//! Version notes: 2 adds the isolation level, 4 leader epochs, 7 the largest timestamp (-3), 8 the local log start (-4),
//! 9 the end of tiered storage (-5), 10 a timeout for tiered storage, which there is none of.
//!
//! An offset that is looked for and not found is -1 with timestamp -1 and no error.

use std::collections::{BTreeMap, HashSet};

use jackdaw_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use jackdaw_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use jackdaw_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse, ResponseError, TopicName};
use jackdaw_storage::TimestampOffset;

use super::errors;
use super::{Context, Handler, Reply};
use crate::partition::Partition;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

const CONSUMER: i32 = -1;
const READ_COMMITTED: i8 = 1;
const LEADER_EPOCH_SINCE: i16 = 4;
const OFFSET_NOT_AVAILABLE_SINCE: i16 = 5;
const UNKNOWN: i64 = -1;

/// What a request means by "latest".
#[derive(Clone, Copy)]
enum Visible {
    /// Committed transactions only.
    Stable,
    HighWatermark,
    /// Followers and tools see everything.
    LogEnd,
}

impl Handler for ListOffsetsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<ListOffsetsResponse> {
        let visible = match (self.replica_id.0, self.isolation_level) {
            (CONSUMER, READ_COMMITTED) => Visible::Stable,
            (CONSUMER, _) => Visible::HighWatermark,
            _ => Visible::LogEnd,
        };
        let searches = |topic: &ListOffsetsTopic| {
            topic.partitions.iter().any(|partition| partition.timestamp >= 0 || partition.timestamp == MAX_TIMESTAMP)
        };
        let topics = if self.topics.iter().any(searches) {
            ctx.broker.blocking(|| answer_all(self.topics, visible, ctx))
        } else {
            answer_all(self.topics, visible, ctx)
        };
        Reply::Now(ListOffsetsResponse::default().with_topics(topics))
    }
}

fn answer_all(topics: Vec<ListOffsetsTopic>, visible: Visible, ctx: &Context<'_>) -> Vec<ListOffsetsTopicResponse> {
    let (mut seen, mut twice) = (HashSet::new(), HashSet::new());
    for topic in &topics {
        for partition in &topic.partitions {
            let key = (topic.name.clone(), partition.partition_index);
            if !seen.insert(key.clone()) {
                twice.insert(key);
            }
        }
    }
    let mut answers: BTreeMap<TopicName, BTreeMap<i32, ListOffsetsPartitionResponse>> = BTreeMap::new();
    for topic in topics {
        let answers = answers.entry(topic.name.clone()).or_default();
        for asked in topic.partitions {
            let result = if twice.contains(&(topic.name.clone(), asked.partition_index)) {
                Err(ResponseError::InvalidRequest)
            } else {
                answer(&topic.name, &asked, visible, ctx)
            };
            let response = response(&asked, result, ctx.api_version);
            answers.insert(asked.partition_index, response);
        }
    }
    let topic = |(name, partitions): (_, BTreeMap<_, _>)| {
        ListOffsetsTopicResponse::default().with_name(name).with_partitions(partitions.into_values().collect())
    };
    answers.into_iter().map(topic).collect()
}

fn answer(
    topic: &str,
    asked: &ListOffsetsPartition,
    visible: Visible,
    ctx: &Context<'_>,
) -> Result<Option<TimestampOffset>, ResponseError> {
    if !is_known(asked.timestamp, ctx.api_version) {
        return Err(ResponseError::UnsupportedVersion);
    }
    let partition = ctx.broker.topics.find(topic, asked.partition_index).map_err(errors::find)?;
    let not_served = |error| errors::not_served(&error);
    partition.check_leader(asked.current_leader_epoch).map_err(not_served)?;
    let is_early = matches!(asked.timestamp, EARLIEST | EARLIEST_LOCAL | LATEST_TIERED);
    if !is_early && !matches!(visible, Visible::LogEnd) {
        partition.check_high_watermark().map_err(|error| match not_served(error) {
            // Clients of before do not know the code.
            ResponseError::OffsetNotAvailable if ctx.api_version < OFFSET_NOT_AVAILABLE_SINCE => {
                ResponseError::LeaderNotAvailable
            }
            code => code,
        })?;
    }
    offset(&partition, asked.timestamp, visible)
}

fn offset(partition: &Partition, timestamp: i64, visible: Visible) -> Result<Option<TimestampOffset>, ResponseError> {
    let log = partition.log();
    let end = match visible {
        Visible::Stable => log.last_stable_offset(),
        Visible::HighWatermark => log.high_watermark(),
        Visible::LogEnd => log.log_end_offset(),
    };
    let at = |offset, leader_epoch| TimestampOffset { offset, timestamp: UNKNOWN, leader_epoch };
    let found = match timestamp {
        LATEST => return Ok(Some(at(end, partition.leader_epoch()))),
        EARLIEST | EARLIEST_LOCAL => {
            let start = log.log_start_offset();
            // An empty log has no epoch but that of now.
            let none = if start == log.log_end_offset() { partition.leader_epoch() } else { -1 };
            return Ok(Some(at(start, log.epoch_at(start).unwrap_or(none))));
        }
        LATEST_TIERED => return Ok(Some(at(UNKNOWN, -1))),
        MAX_TIMESTAMP => log.max_timestamp(),
        timestamp => log.offset_for_timestamp(timestamp),
    };
    // What the reader cannot fetch yet is not found.
    let found = found.map_err(|error| errors::storage(&error).error)?;
    Ok(found.filter(|found| found.offset < end))
}

/// Whether this version knows the special timestamp; times are known always.
fn is_known(timestamp: i64, version: i16) -> bool {
    match timestamp {
        0.. | LATEST | EARLIEST => true,
        MAX_TIMESTAMP => version >= 7,
        EARLIEST_LOCAL => version >= 8,
        LATEST_TIERED => version >= 9,
        _ => false,
    }
}

fn response(
    asked: &ListOffsetsPartition,
    result: Result<Option<TimestampOffset>, ResponseError>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default()
        .with_partition_index(asked.partition_index)
        .with_timestamp(UNKNOWN)
        .with_offset(UNKNOWN);
    match result {
        Err(error) => response.with_error_code(error.code()),
        Ok(None) => response,
        Ok(Some(found)) => response
            .with_timestamp(found.timestamp)
            .with_offset(found.offset)
            .with_leader_epoch(if version >= LEADER_EPOCH_SINCE { found.leader_epoch } else { -1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_timestamps_are_known_from_their_version_on() {
        for (timestamp, since) in [(-1, 1), (-2, 1), (-3, 7), (-4, 8), (-5, 9), (0, 1), (i64::MAX, 1)] {
            for version in 1..=10 {
                assert_eq!(is_known(timestamp, version), version >= since, "{timestamp} in {version}");
            }
        }
        assert!(!is_known(-6, 10) && !is_known(i64::MIN, 10));
    }
}
