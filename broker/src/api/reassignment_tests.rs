//! Elections and reassignments as their requests ask for them, on one broker that knows of others.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use jackdaw_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use jackdaw_protocol::messages::elect_leaders_request::TopicPartitions;
use jackdaw_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use jackdaw_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use jackdaw_protocol::messages::*;
use uuid::Uuid;

use super::testing::{TestBroker, topic};
use crate::controller::election::{Election, Goal, settle};
use crate::controller::testing::{DEFAULTS, far_epoch, registered, registration};
use crate::topics::image::{Configs, PartitionImage};
use crate::topics::record::Record;

type Code = ResponseError;

fn register(broker: i32) -> [Record; 2] {
    registered(broker, registration(broker, far_epoch(broker)))
}

impl TestBroker {
    fn apply(&self, records: Vec<Record>) {
        self.broker().topics.change(|_| (records, ())).unwrap();
    }

    /// Brokers 11 to 13, which nobody has ever seen, and a topic on them.
    async fn with_others() -> TestBroker {
        let broker = TestBroker::start(&[]).await;
        broker.apply((11..=13).flat_map(register).collect());
        broker.apply(vec![Record::TopicCreated {
            name: "t".to_owned(),
            id: Uuid::from_u128(7_000),
            assignments: vec![vec![11, 12], vec![12, 13]],
            configs: Configs::new(),
        }]);
        broker
    }

    fn partition(&self, index: usize) -> PartitionImage {
        self.broker().topics.image().topic("t").unwrap().partitions[index].clone()
    }

    fn isr(&self, index: usize, isr: &[i32]) {
        let image = self.broker().topics.image();
        let goal = Goal { isr: Some(isr), ..Goal::elect(Election::Online, 1) };
        let after = settle(&self.partition(index), &goal, &|broker| image.is_active(broker)).unwrap();
        let id = image.topic("t").unwrap().id;
        self.apply(vec![Record::PartitionChanged { id, partition: index as i32, state: after.state() }]);
    }

    fn fence(&self, broker: i32) {
        self.apply(vec![Record::BrokerFenced { broker, epoch: far_epoch(broker), defaults: DEFAULTS }]);
    }

    async fn elect(&self, version: i16, kind: i8, partitions: Option<&[i32]>) -> ElectLeadersResponse {
        let topics =
            partitions.map(|all| vec![TopicPartitions::default().with_topic(topic("t")).with_partitions(all.to_vec())]);
        let request = ElectLeadersRequest::default().with_election_type(kind).with_topic_partitions(topics);
        self.ask(version, request).await
    }

    async fn reassign(&self, index: i32, replicas: Option<&[i32]>) -> (i16, Option<String>) {
        let replicas = replicas.map(|replicas| replicas.iter().copied().map(BrokerId).collect());
        let partition = ReassignablePartition::default().with_partition_index(index).with_replicas(replicas);
        let topic = ReassignableTopic::default().with_name(topic("t")).with_partitions(vec![partition]);
        let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]);
        let response = self.ask(1, request).await;
        assert_eq!(response.error_code, 0);
        let result = &response.responses[0].partitions[0];
        (result.error_code, result.error_message.as_ref().map(ToString::to_string))
    }

    async fn reassignments(&self, indexes: Option<&[i32]>) -> Vec<(i32, Vec<i32>, Vec<i32>, Vec<i32>)> {
        let asked = |indexes: &[i32]| {
            let known = ListPartitionReassignmentsTopics::default().with_name(topic("t"));
            let unknown = ListPartitionReassignmentsTopics::default().with_name(topic("u"));
            vec![known.with_partition_indexes(indexes.to_vec()), unknown.with_partition_indexes(vec![0])]
        };
        let request = ListPartitionReassignmentsRequest::default().with_topics(indexes.map(asked));
        let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect();
        let answer = self.ask(0, request).await;
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        partitions
            .map(|p| (p.partition_index, ids(&p.replicas), ids(&p.adding_replicas), ids(&p.removing_replicas)))
            .collect()
    }
}

fn codes(response: &ElectLeadersResponse) -> Vec<(i32, i16)> {
    let results = response.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
    results.map(|result| (result.partition_id, result.error_code)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reassignment_is_listed_until_it_is_done_and_can_be_given_up() {
    let broker = TestBroker::with_others().await;
    assert_eq!(broker.reassignments(None).await, []);
    assert_eq!(broker.reassign(0, Some(&[13, 11])).await, (0, None));
    let moving = [(0, vec![13, 11, 12], vec![13], vec![12])];
    assert_eq!(broker.reassignments(None).await, moving);
    assert_eq!(broker.reassignments(Some(&[0, 1, 9])).await, moving);
    assert_eq!(broker.reassignments(Some(&[1])).await, []);
    assert_eq!(broker.reassign(0, None).await, (0, None));
    assert_eq!((broker.reassignments(None).await.len(), &*broker.partition(0).replicas), (0, [11, 12].as_slice()));
    broker.reassign(0, Some(&[13, 11])).await;
    broker.isr(0, &[11, 12, 13]);
    assert_eq!((broker.reassignments(None).await.len(), &*broker.partition(0).replicas), (0, [13, 11].as_slice()));
}

#[tokio::test(flavor = "multi_thread")]
async fn reassignments_that_cannot_be_are_refused_one_by_one() {
    let broker = TestBroker::with_others().await;
    let code = |result: (i16, Option<String>)| result.0;
    assert_eq!(code(broker.reassign(0, None).await), Code::NoReassignmentInProgress.code());
    assert_eq!(code(broker.reassign(5, Some(&[11])).await), Code::UnknownTopicOrPartition.code());
    assert_eq!(code(broker.reassign(0, Some(&[11, 99])).await), Code::InvalidReplicaAssignment.code());
    assert_eq!(code(broker.reassign(0, Some(&[])).await), Code::InvalidReplicaAssignment.code());
    assert_eq!(&*broker.partition(0).replicas, [11, 12]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_preferred_leader_is_elected_once_it_is_in_sync() {
    let broker = TestBroker::with_others().await;
    assert_eq!(codes(&broker.elect(2, 0, Some(&[0])).await), [(0, Code::ElectionNotNeeded.code())]);
    broker.reassign(0, Some(&[12, 11])).await;
    assert_eq!(broker.partition(0).leader, 11);
    assert_eq!(codes(&broker.elect(2, 0, None).await), [(0, 0)], "those that have their leader are not told");
    assert_eq!(broker.partition(0).leader, 12);
    broker.isr(0, &[12]);
    broker.reassign(0, Some(&[11, 12])).await;
    let refused = broker.elect(0, 0, Some(&[0, 9])).await;
    let (not_available, unknown) = (Code::PreferredLeaderNotAvailable.code(), Code::UnknownTopicOrPartition.code());
    assert_eq!(codes(&refused), [(0, not_available), (9, unknown)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unclean_election_must_be_asked_for_by_its_name() {
    let broker = TestBroker::with_others().await;
    assert_eq!(codes(&broker.elect(2, 1, Some(&[0])).await), [(0, Code::ElectionNotNeeded.code())]);
    broker.fence(12);
    broker.fence(11);
    let not_available = Code::EligibleLeadersNotAvailable.code();
    assert_eq!(codes(&broker.elect(2, 1, Some(&[0])).await), [(0, not_available)]);
    broker.apply(register(12).to_vec());
    assert_eq!(broker.partition(0).leader, -1, "12 was not in sync at the end");
    let unknown = broker.elect(1, 7, Some(&[0])).await;
    assert_eq!((unknown.error_code, codes(&unknown)), (Code::InvalidRequest.code(), vec![(0, 42)]));
    assert_eq!(codes(&broker.elect(0, 7, Some(&[0])).await), [(0, 42)], "version 0 tells it for each partition only");
    assert_eq!(codes(&broker.elect(2, 1, None).await), [(0, 0)]);
    assert_eq!((broker.partition(0).leader, broker.partition(0).is_recovering()), (12, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_begins_to_allow_unclean_elections_has_a_leader_at_once() {
    let broker = TestBroker::with_others().await;
    broker.fence(12);
    broker.fence(11);
    broker.apply(register(12).to_vec());
    assert_eq!(broker.partition(0).leader, -1);
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_static_str("unclean.leader.election.enable"))
        .with_value(Some(StrBytes::from_static_str("true")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("t"))
        .with_configs(vec![config]);
    let response = broker.ask(1, IncrementalAlterConfigsRequest::default().with_resources(vec![resource])).await;
    assert_eq!(response.responses[0].error_code, 0);
    assert_eq!(broker.partition(0).leader, 12);
}
