//! AlterPartition, 2 and 3: a leader asks for a change of in-sync replicas. Served on the controller's listener only; version
//! 3 tells the epochs of the brokers.

use std::collections::HashSet;

use jackdaw_protocol::messages::alter_partition_request::PartitionData as Asked;
use jackdaw_protocol::messages::alter_partition_response::{PartitionData, TopicData};
use jackdaw_protocol::messages::{AlterPartitionRequest, AlterPartitionResponse, BrokerId, ResponseError};
use uuid::Uuid;

use super::{Context, Handler, Reply};
use crate::controller::isr::{self, IsrChange, IsrError};
use crate::topics::ChangeError;
use crate::topics::image::{Image, PartitionImage};
use crate::topics::record::{ElectionDefaults, Record};

const BROKER_EPOCHS_SINCE: i16 = 3;
const UNKNOWN_EPOCH: i64 = -1;

impl Handler for AlterPartitionRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<AlterPartitionResponse> {
        let defaults = &ctx.broker.config().topic_defaults;
        let defaults = ElectionDefaults {
            min_insync_replicas: defaults.min_insync_replicas,
            unclean: defaults.unclean_leader_election_enable,
        };
        let version = ctx.api_version;
        let changed = ctx.broker.blocking(|| {
            ctx.broker.topics.change(|catalog| {
                let mut records = Vec::new();
                let response = decide(self, catalog.image(), version, defaults, &mut records);
                (records, response)
            })
        });
        Reply::Now(changed.unwrap_or_else(|error| {
            let code = match error {
                ChangeError::NotController { .. } => ResponseError::NotController,
                ChangeError::Storage(error) => {
                    tracing::error!(%error, "in-sync replicas are not changed");
                    ResponseError::KafkaStorageError
                }
            };
            AlterPartitionResponse::default().with_error_code(code.code())
        }))
    }
}

fn decide(
    request: AlterPartitionRequest,
    image: &Image,
    version: i16,
    defaults: ElectionDefaults,
    records: &mut Vec<Record>,
) -> AlterPartitionResponse {
    let leader = request.broker_id.0;
    let mut changed = HashSet::new();
    if image.broker_of_epoch(leader, request.broker_epoch).is_none() {
        return AlterPartitionResponse::default().with_error_code(ResponseError::StaleBrokerEpoch.code());
    }
    let topics = request.topics.into_iter().map(|topic| {
        let id = topic.topic_id;
        let partitions = topic.partitions.iter().map(|asked| {
            // Each partition once: the next request finds what this one has changed.
            let answer = PartitionData::default().with_partition_index(asked.partition_index);
            if changed.contains(&(id, asked.partition_index)) {
                return answer.with_error_code(ResponseError::InvalidRequest.code());
            }
            match isr::change(image, leader, &change(id, asked, version), defaults) {
                Ok(done) => {
                    if done.record.is_some() {
                        changed.insert((id, asked.partition_index));
                    }
                    records.extend(done.record);
                    told(answer, image, id, &done.after)
                }
                Err(error) => {
                    tracing::debug!(topic = %id, partition = asked.partition_index, leader, %error, "in-sync replicas not changed");
                    answer.with_error_code(code(&error).code())
                }
            }
        });
        let partitions = partitions.collect();
        TopicData::default().with_topic_id(id).with_partitions(partitions)
    });
    AlterPartitionResponse::default().with_topics(topics.collect())
}

fn change(topic: Uuid, asked: &Asked, version: i16) -> IsrChange {
    let isr = if version >= BROKER_EPOCHS_SINCE {
        asked.new_isr_with_epochs.iter().map(|state| (state.broker_id.0, state.broker_epoch)).collect()
    } else {
        asked.new_isr.iter().map(|id| (id.0, UNKNOWN_EPOCH)).collect()
    };
    IsrChange {
        topic,
        partition: asked.partition_index,
        leader_epoch: asked.leader_epoch,
        partition_epoch: asked.partition_epoch,
        isr,
        is_recovering: asked.leader_recovery_state == 1,
    }
}

/// A change may complete a reassignment, and with it end the leadership: then the metadata tell the rest.
fn told(answer: PartitionData, image: &Image, id: Uuid, after: &PartitionImage) -> PartitionData {
    let index = usize::try_from(answer.partition_index).unwrap_or(usize::MAX);
    let before = image.topic_by_id(id).and_then(|topic| topic.partitions.get(index));
    if let Some(before) = before {
        if before.leader != after.leader {
            return answer.with_error_code(ResponseError::NewLeaderElected.code());
        }
        if before.leader_epoch != after.leader_epoch {
            return answer.with_error_code(ResponseError::FencedLeaderEpoch.code());
        }
    }
    answer
        .with_leader_id(BrokerId(after.leader))
        .with_leader_epoch(after.leader_epoch)
        .with_isr(after.isr.iter().copied().map(BrokerId).collect())
        .with_leader_recovery_state(i8::from(after.is_recovering()))
        .with_partition_epoch(after.partition_epoch)
}

fn code(error: &IsrError) -> ResponseError {
    match error {
        IsrError::UnknownTopic => ResponseError::UnknownTopicId,
        IsrError::UnknownPartition => ResponseError::UnknownTopicOrPartition,
        IsrError::FencedLeader { .. } => ResponseError::FencedLeaderEpoch,
        IsrError::FromTheFuture => ResponseError::NotController,
        IsrError::NotTheLeader { .. } | IsrError::Invalid(_) => ResponseError::InvalidRequest,
        IsrError::InvalidVersion { .. } => ResponseError::InvalidUpdateVersion,
        IsrError::Ineligible { .. } => ResponseError::IneligibleReplica,
    }
}
