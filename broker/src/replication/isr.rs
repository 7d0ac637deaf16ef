//! Asks the controller for the changes of in-sync replicas that partitions of this broker propose: all that wait, in one
//! AlterPartition, one request at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jackdaw_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use jackdaw_protocol::messages::{AlterPartitionRequest, AlterPartitionResponse, BrokerId, ResponseError};
use uuid::Uuid;

use super::leader::{Answer, Proposal};
use super::view::Wish;
use crate::broker::Broker;
use crate::cluster::channel;
use crate::partition::Partition;

/// How long one request may take before what is still wished is put together anew.
const WITHIN: Duration = Duration::from_secs(5);
/// The pause before a request is tried again.
const PAUSE: Duration = Duration::from_millis(50);

type Waiting = HashMap<(Uuid, i32), (Arc<Partition>, Proposal)>;

/// Runs until its task is dropped.
pub(super) async fn run(broker: Arc<Broker>) {
    let mut waiting = Waiting::new();
    loop {
        if waiting.is_empty() {
            take(&mut waiting, broker.topics.view().wishes().await);
        } else {
            take(&mut waiting, broker.topics.view().wishes_now());
        }
        // The metadata may have answered.
        waiting.retain(|_, (partition, proposal)| partition.is_proposed(proposal));
        if waiting.is_empty() {
            continue;
        }
        let request = request(&broker, &waiting);
        match channel::call_controller(&broker, &request, WITHIN).await {
            Ok(response) if response.error_code == 0 => answer(&mut waiting, &response),
            Ok(response) => {
                // Of an earlier registration of this broker, most likely: the metadata will tell.
                tracing::debug!(code = response.error_code, "the controller does not change in-sync replicas");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                tracing::debug!(%error, partitions = waiting.len(), "in-sync replicas wait for the controller");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn take(waiting: &mut Waiting, wishes: Vec<Wish>) {
    for Wish { partition, proposal } in wishes {
        if let Some(partition) = partition.upgrade() {
            waiting.insert((partition.topic_id(), partition.index()), (partition, proposal));
        }
    }
}

fn request(broker: &Broker, waiting: &Waiting) -> AlterPartitionRequest {
    let mut topics: HashMap<Uuid, Vec<PartitionData>> = HashMap::new();
    for ((id, index), (_, proposal)) in waiting {
        let state =
            |(id, epoch): &(i32, i64)| BrokerState::default().with_broker_id(BrokerId(*id)).with_broker_epoch(*epoch);
        topics.entry(*id).or_default().push(
            PartitionData::default()
                .with_partition_index(*index)
                .with_leader_epoch(proposal.leader_epoch)
                .with_partition_epoch(proposal.partition_epoch)
                .with_new_isr_with_epochs(proposal.isr.iter().map(state).collect()),
        );
    }
    let topic = |(id, partitions)| TopicData::default().with_topic_id(id).with_partitions(partitions);
    AlterPartitionRequest::default()
        .with_broker_id(BrokerId(broker.node_id()))
        .with_broker_epoch(broker.topics.view().node_epoch())
        .with_topics(topics.into_iter().map(topic).collect())
}

fn answer(waiting: &mut Waiting, response: &AlterPartitionResponse) {
    for topic in &response.topics {
        for data in &topic.partitions {
            let Some((partition, proposal)) = waiting.remove(&(topic.topic_id, data.partition_index)) else { continue };
            let answer = match ResponseError::try_from_code(data.error_code) {
                None if data.error_code == 0 => Answer::Committed {
                    isr: data.isr.iter().map(|id| id.0).collect(),
                    partition_epoch: data.partition_epoch,
                },
                // Nothing was changed, and what is known here is as new as what the controller knows.
                Some(ResponseError::IneligibleReplica | ResponseError::OperationNotAttempted) => Answer::Refused,
                _ => Answer::Unknown,
            };
            let (name, index) = (partition.topic(), partition.index());
            match &answer {
                Answer::Committed { isr, partition_epoch } => tracing::info!(
                    topic = %name, partition = index, ?isr, partition_epoch,
                    joined = ?proposal.added, left = ?proposal.removed, "in-sync replicas changed"
                ),
                _ => tracing::info!(
                    topic = %name, partition = index, code = data.error_code,
                    joining = ?proposal.added, leaving = ?proposal.removed, "in-sync replicas not changed"
                ),
            }
            partition.isr_answered(&proposal, answer);
        }
    }
    // What the controller has passed over is wished no more.
    waiting.clear();
}
