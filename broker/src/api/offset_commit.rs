//! OffsetCommit, 2 to 9: where a group has read to. The answer waits until the offsets are durable.
//!
//! Versions 2 to 4 may name a retention time. Version 6 adds the leader epoch, 7 static members, 9 the error
//! `GROUP_ID_NOT_FOUND` for a generation of an unknown group, which is `ILLEGAL_GENERATION` before.

use std::sync::Arc;

use jackdaw_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use jackdaw_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, ResponseError};

use super::errors;
use super::group_words::{ensure_open, owned, owned_or_none, reply};
use super::{Context, Handler, Reply};
use crate::group::GroupError;
use crate::group::classic::Committer;
use crate::group::shard::{Commit, CommitOffset};
use crate::topics::FindError;

const UNKNOWN_GROUP_SINCE: i16 = 9;
/// "As long as the broker keeps offsets."
const DEFAULT_RETENTION: i64 = -1;

impl Handler for OffsetCommitRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<OffsetCommitResponse> {
        let version = ctx.api_version;
        let (response, offsets, places) = sort_out(&self, ctx);
        if offsets.is_empty() {
            return Reply::Now(response);
        }
        if let Err(error) = ensure_open(ctx) {
            return Reply::Now(with_verdicts(response, &places, &vec![Err(error); places.len()], version));
        }
        let commit = Commit {
            group: owned(&self.group_id),
            committer: Committer {
                member_id: owned(&self.member_id),
                instance_id: owned_or_none(self.group_instance_id.as_ref()),
                generation: self.generation_id_or_member_epoch,
            },
            retention_ms: (self.retention_time_ms != DEFAULT_RETENTION).then_some(self.retention_time_ms),
            offsets,
        };
        reply(ctx.broker.groups.commit(commit), move |answer| {
            let verdicts = answer.unwrap_or_else(|error| vec![Err(error); places.len()]);
            with_verdicts(response, &places, &verdicts, version)
        })
    }
}

/// Where in the answer the verdict on an offset goes: topic and partition by position.
type Place = (usize, usize);

/// The answer with the verdict on partitions that do not exist, and what is left to commit.
fn sort_out(request: &OffsetCommitRequest, ctx: &Context<'_>) -> (OffsetCommitResponse, Vec<CommitOffset>, Vec<Place>) {
    let (mut offsets, mut places) = (Vec::new(), Vec::new());
    let mut response = OffsetCommitResponse::default();
    for (topic_at, topic) in request.topics.iter().enumerate() {
        let known = ctx.broker.topics.topic(&topic.name);
        let name: Arc<str> = owned(&topic.name);
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for (partition_at, partition) in topic.partitions.iter().enumerate() {
            let index = partition.partition_index;
            let mut answer = OffsetCommitResponsePartition::default().with_partition_index(index);
            match &known {
                Some(known) if known.partition(index).err() != Some(FindError::UnknownPartition) => {
                    places.push((topic_at, partition_at));
                    offsets.push(CommitOffset {
                        topic: name.clone(),
                        topic_id: known.id(),
                        partition: index,
                        offset: partition.committed_offset,
                        leader_epoch: partition.committed_leader_epoch,
                        metadata: partition.committed_metadata.as_ref().map(owned).unwrap_or_default(),
                    });
                }
                _ => answer.error_code = ResponseError::UnknownTopicOrPartition.code(),
            }
            answers.push(answer);
        }
        let topic = OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(answers);
        response.topics.push(topic);
    }
    (response, offsets, places)
}

fn with_verdicts(
    mut response: OffsetCommitResponse,
    places: &[Place],
    verdicts: &[Result<(), GroupError>],
    version: i16,
) -> OffsetCommitResponse {
    for ((topic, partition), verdict) in places.iter().zip(verdicts) {
        if let Err(error) = verdict {
            response.topics[*topic].partitions[*partition].error_code = code(error, version);
        }
    }
    response
}

fn code(error: &GroupError, version: i16) -> i16 {
    let error = match error {
        GroupError::GroupIdNotFound if version < UNKNOWN_GROUP_SINCE => ResponseError::IllegalGeneration,
        GroupError::RecordTooLarge { .. } => ResponseError::InvalidCommitOffsetSize,
        other => errors::group(other).error,
    };
    error.code()
}
