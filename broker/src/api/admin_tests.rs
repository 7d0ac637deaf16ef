//! Rules of the APIs about topics and their logs, on a whole broker.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;

use jackdaw_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use jackdaw_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use jackdaw_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use jackdaw_protocol::messages::delete_topics_request::DeleteTopicState;
use jackdaw_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use jackdaw_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use jackdaw_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use jackdaw_protocol::messages::metadata_request::MetadataRequestTopic;
use jackdaw_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use jackdaw_protocol::messages::*;
use uuid::Uuid;

use super::testing::{TestBroker, topic};
use crate::cluster::channel::Active;

type Code = ResponseError;

fn metadata(names: &[&str]) -> MetadataRequest {
    let topics = names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic(name)))).collect();
    MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false)
}

fn codes<T>(items: &[T], code: impl Fn(&T) -> i16) -> Vec<i16> {
    items.iter().map(code).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_tells_of_the_broker_in_every_version() {
    let broker = TestBroker::start(&[("broker.rack", "r1")]).await;
    broker.create("t", 2, &[]);
    for version in 0..=13 {
        let response = broker.ask(version, metadata(&["t"])).await;
        assert_eq!(response.brokers.len(), 1);
        assert_eq!((response.brokers[0].host.as_str(), response.brokers[0].port), ("127.0.0.1", broker.port()));
        assert_eq!(response.controller_id, response.brokers[0].node_id);
        assert_eq!(response.cluster_id.as_deref().map(|id| id.len()), Some(22));
        let partitions = &response.topics[0].partitions;
        assert_eq!(partitions.len(), 2);
        assert!(partitions.iter().all(|p| p.error_code == 0 && p.leader_id == response.controller_id));
        assert_eq!(response.topics[0].topic_authorized_operations, i32::MIN);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_topics_are_an_empty_list_in_version_0_and_null_afterwards() {
    let broker = TestBroker::start(&[]).await;
    broker.create("a", 1, &[]);
    broker.create("b", 1, &[]);
    assert_eq!(broker.ask(0, metadata(&[])).await.topics.len(), 2);
    for version in 1..=13 {
        assert_eq!(broker.ask(version, metadata(&[])).await.topics.len(), 0);
        assert_eq!(broker.ask(version, metadata(&[]).with_topics(None)).await.topics.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mentioned_topic_is_created_if_broker_and_client_allow_it() {
    let broker = TestBroker::start(&[("num.partitions", "3")]).await;
    let allowed = |names| metadata(names).with_allow_auto_topic_creation(true);
    let refused = broker.ask(12, metadata(&["new"])).await;
    assert_eq!(refused.topics[0].error_code, Code::UnknownTopicOrPartition.code());
    let response = broker.ask(12, allowed(&["new", "new", "no/good"])).await;
    let unknown_yet = [Code::UnknownTopicOrPartition.code(), Code::InvalidTopicException.code()];
    assert_eq!(codes(&response.topics, |t| t.error_code), unknown_yet);
    let response = broker.ask(12, metadata(&["new"])).await;
    assert_eq!(response.topics[0].error_code, 0);
    assert_eq!(response.topics[0].partitions.len(), 3);
    assert!(response.topics[0].partitions.iter().all(|partition| partition.leader_id == 1));
    assert!(!response.topics[0].topic_id.is_nil());

    let broker = broker.restart(&[("auto.create.topics.enable", "false")]).await;
    let response = broker.ask(12, allowed(&["newer", "new"])).await;
    assert_eq!(codes(&response.topics, |t| t.error_code), [Code::UnknownTopicOrPartition.code(), 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_offsets_topic_is_created_with_settings_of_its_own() {
    let broker = TestBroker::start(&[("offsets.topic.num.partitions", "4")]).await;
    let names = ["__consumer_offsets", "__transaction_state"];
    let response = broker.ask(12, metadata(&names).with_allow_auto_topic_creation(true)).await;
    assert_eq!(codes(&response.topics, |t| t.error_code), [0, Code::UnknownTopicOrPartition.code()]);
    assert!(response.topics[0].is_internal);
    assert_eq!(response.topics[0].partitions.len(), 4);
    assert!(broker.broker().topics.topic("__consumer_offsets").unwrap().config.compact);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_finds_topics_by_id_from_version_12_on() {
    let broker = TestBroker::start(&[]).await;
    broker.create("t", 1, &[]);
    let id = broker.broker().topics.topic("t").unwrap().id();
    let by_id = |id| MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    let unknown = Uuid::from_u128(77);
    let request = metadata(&[]).with_topics(Some(vec![by_id(id), by_id(unknown)]));
    let response = broker.ask(12, request.clone()).await;
    let mut found: Vec<_> = response.topics.iter().map(|t| (t.topic_id, t.error_code)).collect();
    found.sort();
    let mut expected = vec![(id, 0), (unknown, Code::UnknownTopicId.code())];
    expected.sort();
    assert_eq!(found, expected);
    let response = broker.ask(11, request).await;
    assert_eq!(response.topics[0].error_code, Code::InvalidRequest.code());
}

#[tokio::test(flavor = "multi_thread")]
async fn allowed_operations_are_told_only_when_asked_for() {
    let broker = TestBroker::start(&[]).await;
    broker.create("t", 1, &[]);
    let asking = metadata(&["t"])
        .with_include_topic_authorized_operations(true)
        .with_include_cluster_authorized_operations(true);
    let response = broker.ask(8, asking.clone()).await;
    assert_eq!((response.topics[0].topic_authorized_operations, response.cluster_authorized_operations), (3576, 8096));
    let response = broker.ask(11, asking.with_include_cluster_authorized_operations(false)).await;
    assert_eq!(response.cluster_authorized_operations, i32::MIN);
}

fn creatable(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default().with_name(topic(name)).with_num_partitions(partitions).with_replication_factor(replicas)
}

fn with_config(topic: CreatableTopic, name: &str, value: &str) -> CreatableTopic {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    topic.with_configs(vec![CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_topic_is_told_with_its_settings_in_every_version() {
    let broker = TestBroker::start(&[]).await;
    for version in 2..=7 {
        let name = format!("t{version}");
        let request = CreateTopicsRequest::default().with_topics(vec![with_config(
            creatable(&name, 2, 1),
            "retention.ms",
            "1234",
        )]);
        let response = broker.ask(version, request).await;
        let created = &response.topics[0];
        assert_eq!((created.error_code, created.error_message.clone()), (0, None));
        if version >= 5 {
            assert_eq!((created.num_partitions, created.replication_factor), (2, 1));
            let configs = created.configs.as_ref().unwrap();
            let retention = configs.iter().find(|config| config.name.as_str() == "retention.ms").unwrap();
            assert_eq!((retention.value.as_ref().map(|v| v.as_str()), retention.config_source), (Some("1234"), 1));
        }
        assert_eq!(broker.broker().topics.topic(&name).unwrap().config.retention_ms, 1234);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refused_topic_gets_its_own_code_and_message() {
    let broker = TestBroker::start(&[("replica.fetch.max.bytes", "2000000")]).await;
    broker.create("there", 1, &[]);
    let manual = CreatableReplicaAssignment::default().with_partition_index(0).with_broker_ids(vec![BrokerId(9)]);
    let topics = vec![
        creatable("there", 1, 1),
        creatable("no/good", 1, 1),
        creatable("p", 0, 1),
        creatable("r", 1, 2),
        creatable("both", 1, 1).with_assignments(vec![manual.clone()]),
        creatable("broker9", -1, -1).with_assignments(vec![manual]),
        with_config(creatable("badkey", 1, 1), "no.such.key", "1"),
        with_config(creatable("toolarge", 1, 1), "max.message.bytes", "2000001"),
        creatable("twice", 1, 1),
        creatable("twice", 1, 1),
        creatable("__cluster_metadata", 1, 1),
        creatable("fine", 1, 1),
    ];
    let response = broker.ask(7, CreateTopicsRequest::default().with_topics(topics)).await;
    let answer = |name: &str| {
        let found: Vec<_> = response.topics.iter().filter(|topic| topic.name.as_str() == name).collect();
        assert_eq!(found.len(), 1, "{name}");
        (found[0].error_code, found[0].error_message.as_deref().map(|m| m.to_string()).unwrap_or_default())
    };
    assert_eq!(answer("there"), (Code::TopicAlreadyExists.code(), "Topic 'there' already exists.".into()));
    assert_eq!(answer("no/good").0, Code::InvalidTopicException.code());
    assert_eq!(answer("p").0, Code::InvalidPartitions.code());
    assert_eq!(answer("r").0, Code::InvalidReplicationFactor.code());
    assert_eq!(answer("both").0, Code::InvalidRequest.code());
    assert_eq!(answer("broker9").0, Code::InvalidReplicaAssignment.code());
    assert_eq!(answer("badkey").0, Code::InvalidConfig.code());
    assert_eq!(answer("toolarge").0, Code::InvalidConfig.code());
    for part in ["max.message.bytes", "2000001", "replica.fetch.max.bytes", "2000000"] {
        assert!(answer("toolarge").1.contains(part), "{}", answer("toolarge").1);
    }
    assert_eq!(answer("twice"), (Code::InvalidRequest.code(), "Duplicate topic name.".into()));
    assert_eq!(answer("__cluster_metadata").0, Code::InvalidRequest.code());
    assert_eq!(answer("fine").0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn validating_creates_nothing() {
    let broker = TestBroker::start(&[]).await;
    let request = CreateTopicsRequest::default().with_topics(vec![creatable("t", 2, 1)]).with_validate_only(true);
    assert_eq!(broker.ask(7, request).await.topics[0].error_code, 0);
    assert!(broker.broker().topics.topic("t").is_none());
    broker.create("t", 1, &[]);
    let more = CreatePartitionsTopic::default().with_name(topic("t")).with_count(5).with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![more]).with_validate_only(true);
    assert_eq!(broker.ask(3, request).await.results[0].error_code, 0);
    assert_eq!(broker.broker().topics.topic("t").unwrap().partitions().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_added_and_survive_a_restart() {
    let broker = TestBroker::start(&[]).await;
    broker.create("t", 1, &[]);
    let count = |name: &str, count| {
        CreatePartitionsTopic::default().with_name(topic(name)).with_count(count).with_assignments(None)
    };
    for (version, partitions) in (0..=3).zip(2..) {
        let topics = vec![count("t", partitions), count("nowhere", 2)];
        let response = broker.ask(version, CreatePartitionsRequest::default().with_topics(topics)).await;
        assert_eq!(codes(&response.results, |r| r.error_code), [0, Code::UnknownTopicOrPartition.code()]);
    }
    let response = broker.ask(3, CreatePartitionsRequest::default().with_topics(vec![count("t", 2)])).await;
    assert_eq!(response.results[0].error_code, Code::InvalidPartitions.code());
    let broker = broker.restart(&[]).await;
    assert_eq!(broker.broker().topics.topic("t").unwrap().partitions().count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_deleted_by_name_and_by_id() {
    let broker = TestBroker::start(&[]).await;
    for version in 1..=5 {
        broker.create("t", 1, &[]);
        let names = vec![topic("t"), topic("nowhere")];
        let response = broker.ask(version, DeleteTopicsRequest::default().with_topic_names(names)).await;
        let found: BTreeSet<_> = response.responses.iter().map(|r| (r.name.clone(), r.error_code)).collect();
        let unknown = Code::UnknownTopicOrPartition.code();
        assert_eq!(found, BTreeSet::from([(Some(topic("t")), 0), (Some(topic("nowhere")), unknown)]));
        assert!(broker.broker().topics.topic("t").is_none());
    }
    broker.create("t", 1, &[]);
    let id = broker.broker().topics.topic("t").unwrap().id();
    let by_id = |id| DeleteTopicState::default().with_name(None).with_topic_id(id);
    let states = vec![by_id(id), by_id(Uuid::from_u128(9)), by_id(Uuid::nil())];
    let response = broker.ask(6, DeleteTopicsRequest::default().with_topics(states)).await;
    let mut found = codes(&response.responses, |r| r.error_code);
    found.sort();
    assert_eq!(found, [0, Code::InvalidRequest.code(), Code::UnknownTopicId.code()]);
    assert!(!broker.data_dir().join("t-0").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_named_twice_is_not_deleted() {
    let broker = TestBroker::start(&[]).await;
    broker.create("t", 1, &[]);
    let id = broker.broker().topics.topic("t").unwrap().id();
    let named = DeleteTopicState::default().with_name(Some(topic("t")));
    let by_id = DeleteTopicState::default().with_name(None).with_topic_id(id);
    for states in [vec![named.clone(), named.clone()], vec![by_id.clone(), by_id.clone()], vec![named, by_id]] {
        let response = broker.ask(6, DeleteTopicsRequest::default().with_topics(states)).await;
        assert_eq!(codes(&response.responses, |r| r.error_code), [Code::InvalidRequest.code()]);
    }
    assert!(broker.broker().topics.topic("t").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_can_be_disabled() {
    let broker = TestBroker::start(&[("delete.topic.enable", "false")]).await;
    broker.create("t", 1, &[]);
    let request = || DeleteTopicsRequest::default().with_topic_names(vec![topic("t")]);
    assert_eq!(broker.ask(2, request()).await.responses[0].error_code, Code::InvalidRequest.code());
    assert_eq!(broker.ask(5, request()).await.responses[0].error_code, Code::TopicDeletionDisabled.code());
}

async fn offset(broker: &TestBroker, version: i16, timestamp: i64) -> (i16, i64, i64) {
    let partition = ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(-1);
    let topics = vec![ListOffsetsTopic::default().with_name(topic("t")).with_partitions(vec![partition])];
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics);
    let response = broker.ask(version, request).await;
    let found = &response.topics[0].partitions[0];
    (found.error_code, found.offset, found.timestamp)
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_found_by_time_and_by_name() {
    let broker = TestBroker::start(&[]).await;
    broker.create("t", 1, &[]);
    let now = broker.broker().clock.now_ms();
    for version in 1..=10 {
        assert_eq!(offset(&broker, version, -2).await, (0, 0, -1));
        assert_eq!(offset(&broker, version, -1).await, (0, version as i64 * 3 - 3, -1));
        broker.append("t", &[now, now + 20, now + 10]);
        assert_eq!(offset(&broker, version, -1).await, (0, version as i64 * 3, -1));
        assert_eq!(offset(&broker, version, now).await, (0, 0, now));
        assert_eq!(offset(&broker, version, now + 1).await, (0, 1, now + 20));
        assert_eq!(offset(&broker, version, now + 21).await, (0, -1, -1));
    }
    assert_eq!(offset(&broker, 7, -3).await, (0, 1, now + 20));
    assert_eq!(offset(&broker, 8, -4).await, (0, 0, -1));
    assert_eq!(offset(&broker, 9, -5).await, (0, -1, -1));
    assert_eq!(offset(&broker, 6, -3).await.0, Code::UnsupportedVersion.code());
    assert_eq!(offset(&broker, 10, -6).await.0, Code::UnsupportedVersion.code());
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_a_partition_asked_twice_or_in_another_epoch_are_refused() {
    let broker = TestBroker::start(&[]).await;
    broker.create("t", 1, &[]);
    let broker = broker.restart(&[]).await;
    let asked = |index, epoch| {
        ListOffsetsPartition::default().with_partition_index(index).with_timestamp(-1).with_current_leader_epoch(epoch)
    };
    let list = async |partitions| {
        let topics = vec![ListOffsetsTopic::default().with_name(topic("t")).with_partitions(partitions)];
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics);
        codes(&broker.ask(10, request).await.topics[0].partitions, |p| p.error_code)
    };
    assert_eq!(list(vec![asked(0, -1), asked(0, -1)]).await, [Code::InvalidRequest.code()]);
    assert_eq!(list(vec![asked(0, 0)]).await, [Code::FencedLeaderEpoch.code()]);
    assert_eq!(list(vec![asked(0, 2)]).await, [Code::UnknownLeaderEpoch.code()]);
    assert_eq!(list(vec![asked(0, 1), asked(7, -1)]).await, [0, Code::UnknownTopicOrPartition.code()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_of_leadership_ends_where_the_next_begins() {
    let broker = TestBroker::start(&[]).await;
    broker.create("t", 1, &[]);
    broker.append("t", &[1, 2]);
    let broker = broker.restart(&[]).await;
    broker.append("t", &[3]);
    let end = async |version, epoch| {
        let asked = OffsetForLeaderPartition::default().with_leader_epoch(epoch).with_current_leader_epoch(1);
        let topics = vec![OffsetForLeaderTopic::default().with_topic(topic("t")).with_partitions(vec![asked])];
        let request = OffsetForLeaderEpochRequest::default().with_topics(topics);
        let response = broker.ask(version, request).await;
        let end = &response.topics[0].partitions[0];
        (end.error_code, end.leader_epoch, end.end_offset)
    };
    for version in 2..=4 {
        assert_eq!(end(version, 0).await, (0, 0, 2));
        assert_eq!(end(version, 1).await, (0, 1, 3));
        assert_eq!(end(version, 2).await, (0, -1, -1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_epoch_of_now_counts_before_anything_is_written_in_it() {
    let broker = TestBroker::start(&[]).await;
    broker.create("empty", 1, &[]);
    broker.create("t", 1, &[]);
    broker.append("t", &[1, 2]);
    let end =
        |broker: &TestBroker, topic, epoch| broker.broker().topics.find(topic, 0).unwrap().epoch_end_offset(epoch);
    assert_eq!(end(&broker, "empty", 0), Some((0, 0)));
    assert_eq!(offset(&broker, 10, -2).await, (0, 0, -1));
    let broker = broker.restart(&[]).await.restart(&[]).await;
    let ends: Vec<_> = (-1..4).map(|epoch| end(&broker, "t", epoch)).collect();
    assert_eq!(ends, [None, Some((0, 2)), Some((0, 2)), Some((2, 2)), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_deleted_up_to_an_offset() {
    let broker = TestBroker::start(&[]).await;
    broker.create("t", 1, &[]);
    broker.create("compacted", 1, &[("cleanup.policy", "compact")]);
    broker.create("kept", 1, &[("cleanup.policy", "")]);
    broker.append("t", &[1, 2, 3, 4, 5]);
    let delete = async |version, name: &str, offset| {
        let asked = DeleteRecordsPartition::default().with_offset(offset);
        let topics = vec![DeleteRecordsTopic::default().with_name(topic(name)).with_partitions(vec![asked])];
        let response = broker.ask(version, DeleteRecordsRequest::default().with_topics(topics)).await;
        let result = &response.topics[0].partitions[0];
        (result.error_code, result.low_watermark)
    };
    assert_eq!(delete(0, "t", 2).await, (0, 2));
    assert_eq!(delete(1, "t", 1).await, (0, 2));
    assert_eq!(delete(2, "t", 6).await, (Code::OffsetOutOfRange.code(), -1));
    assert_eq!(delete(2, "t", -2).await, (Code::OffsetOutOfRange.code(), -1));
    assert_eq!(delete(2, "t", -1).await, (0, 5));
    assert_eq!(offset(&broker, 10, -2).await, (0, 5, -1));
    assert_eq!(delete(2, "compacted", 0).await, (Code::PolicyViolation.code(), -1));
    assert_eq!(delete(2, "kept", 0).await, (0, 0));
    assert_eq!(delete(2, "nowhere", 0).await, (Code::UnknownTopicOrPartition.code(), -1));
}

#[tokio::test(flavor = "multi_thread")]
async fn producer_ids_are_never_given_twice_even_after_a_restart() {
    let mut broker = TestBroker::start(&[]).await;
    let mut seen = BTreeSet::new();
    for version in 0..=5 {
        for _ in 0..500 {
            let request = InitProducerIdRequest::default().with_transactional_id(None);
            let response = broker.ask(version, request).await;
            assert_eq!((response.error_code, response.producer_epoch), (0, 0));
            assert!(seen.insert(response.producer_id.0));
        }
        broker = broker.restart(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_described_page_by_page() {
    let broker = TestBroker::start(&[]).await;
    for (name, partitions) in [("b", 3), ("a", 2), ("c", 1)] {
        broker.create(name, partitions, &[]);
    }
    let mut pages = Vec::new();
    let mut cursor = None;
    loop {
        let request = DescribeTopicPartitionsRequest::default()
            .with_topics(vec![])
            .with_response_partition_limit(2)
            .with_cursor(cursor.take());
        let response = broker.ask(0, request).await;
        let name = |topic: &TopicName| topic.to_string();
        let of = |t: &describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic| {
            let indexes: Vec<_> = t.partitions.iter().map(|p| p.partition_index).collect();
            (t.name.as_ref().map(name).unwrap(), indexes)
        };
        pages.push(response.topics.iter().map(of).collect::<Vec<_>>());
        let Some(next) = response.next_cursor else { break };
        cursor = Some(Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index));
    }
    let page = |parts: &[(&str, &[i32])]| parts.iter().map(|(t, p)| ((*t).to_owned(), p.to_vec())).collect::<Vec<_>>();
    assert_eq!(pages, [page(&[("a", &[0, 1])]), page(&[("b", &[0, 1])]), page(&[("b", &[2]), ("c", &[0])])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn named_topics_are_described_with_their_errors() {
    let broker = TestBroker::start(&[]).await;
    broker.create("t", 1, &[]);
    let named = |names: &[&str]| names.iter().map(|name| TopicRequest::default().with_name(topic(name))).collect();
    let request = DescribeTopicPartitionsRequest::default().with_topics(named(&["t", "nowhere", "a b"]));
    let response = broker.ask(0, request.with_response_partition_limit(100)).await;
    let expected = [Code::InvalidTopicException.code(), Code::UnknownTopicOrPartition.code(), 0];
    assert_eq!(codes(&response.topics, |t| t.error_code), expected);
    let lost = Cursor::default().with_topic_name(topic("elsewhere"));
    let request = DescribeTopicPartitionsRequest::default().with_topics(named(&["t"])).with_cursor(Some(lost));
    assert_eq!(broker.ask(0, request).await.topics[0].error_code, Code::InvalidRequest.code());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_is_described_to_clients_of_brokers_only() {
    let broker = TestBroker::start(&[]).await;
    for version in 0..=2 {
        let response = broker.ask(version, DescribeClusterRequest::default().with_endpoint_type(1)).await;
        assert_eq!((response.error_code, response.brokers.len()), (0, 1));
        assert_eq!(response.brokers[0].port, broker.port());
        assert_eq!(response.cluster_authorized_operations, i32::MIN);
    }
    let refused = async |endpoint| {
        let response = broker.ask(1, DescribeClusterRequest::default().with_endpoint_type(endpoint)).await;
        response.error_code
    };
    assert_eq!(refused(2).await, Code::MismatchedEndpointType.code());
    assert_eq!(refused(9).await, Code::UnsupportedEndpointType.code());
}

#[tokio::test(flavor = "multi_thread")]
async fn log_directories_are_described_with_sizes_and_room() {
    let broker = TestBroker::start(&[]).await;
    broker.create("t", 2, &[]);
    broker.append("t", &[1, 2]);
    for version in 1..=4 {
        let response = broker.ask(version, DescribeLogDirsRequest::default().with_topics(None)).await;
        let dir = &response.results[0];
        assert_eq!(dir.log_dir.as_str(), broker.data_dir().to_str().unwrap());
        assert_eq!(dir.topics.len(), 1, "the metadata log is no topic");
        let sizes: Vec<_> =
            dir.topics[0].partitions.iter().map(|p| (p.partition_index, p.partition_size > 0)).collect();
        assert_eq!(sizes, [(0, true), (1, false)]);
        if version == 4 {
            assert!(0 < dir.usable_bytes && dir.usable_bytes <= dir.total_bytes);
        }
    }
    let one = DescribableLogDirTopic::default().with_topic(topic("t")).with_partitions(vec![1, 9]);
    let response = broker.ask(4, DescribeLogDirsRequest::default().with_topics(Some(vec![one]))).await;
    assert_eq!(response.results[0].topics[0].partitions.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_partition_is_ever_being_reassigned() {
    let broker = TestBroker::start(&[]).await;
    let response = broker.ask(0, ListPartitionReassignmentsRequest::default().with_topics(None)).await;
    assert_eq!((response.error_code, response.topics.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_of_a_partition_are_described() {
    let broker = TestBroker::start(&[]).await;
    broker.create("t", 1, &[]);
    let asked = |name| {
        describe_producers_request::TopicRequest::default().with_name(topic(name)).with_partition_indexes(vec![0])
    };
    let topics = vec![asked("t"), asked("nowhere"), asked("a b")];
    let response = broker.ask(0, DescribeProducersRequest::default().with_topics(topics)).await;
    let errors: Vec<_> = response.topics.iter().map(|topic| topic.partitions[0].error_code).collect();
    assert_eq!(errors, [0, Code::UnknownTopicOrPartition.code(), Code::InvalidTopicException.code()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_an_envelope_takes_effect_on_the_active_controller_only() {
    use jackdaw_protocol::messages::{CreateTopicsResponse, Decodable, Encodable, EnvelopeRequest, HeaderVersion};
    let test = TestBroker::start(&[]).await;
    let create = CreateTopicsRequest::default().with_topics(vec![
        CreatableTopic::default().with_name(topic("t")).with_num_partitions(2).with_replication_factor(1),
    ]);
    let mut data = bytes::BytesMut::new();
    data.extend_from_slice(&[0, 19, 0, 5, 0, 0, 0, 0, 0xff, 0xff, 0]);
    assert_eq!(CreateTopicsRequest::header_version(5), 2);
    create.with_timeout_ms(1).encode(&mut data, 5).unwrap();
    let envelope = EnvelopeRequest::default()
        .with_request_data(data.freeze())
        .with_client_host_address(bytes::Bytes::from_static(&[127, 0, 0, 1]));
    test.broker().channel.force(Active::Unknown);
    assert_eq!(test.ask(0, envelope.clone()).await.error_code, ResponseError::NotController.code());
    test.broker().channel.force(Active::Here);
    let answer = test.ask(0, envelope.clone()).await;
    assert_eq!(answer.error_code, 0);
    let created = CreateTopicsResponse::decode(&mut answer.response_data.unwrap(), 5).unwrap();
    assert_eq!((created.topics[0].error_code, created.topics[0].num_partitions), (0, 2));
    assert!(test.broker().topics.topic("t").is_some());
    // What is not forwarded is not taken out of an envelope: a Fetch, say.
    let fetch = envelope.with_request_data(bytes::Bytes::from_static(&[0, 1, 0, 12, 0, 0, 0, 0, 0xff, 0xff, 0]));
    assert_eq!(test.ask(0, fetch).await.error_code, ResponseError::InvalidRequest.code());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_controller_what_only_it_decides_is_answered_as_timed_out() {
    let test = TestBroker::start(&[("request.timeout.ms", "100")]).await;
    test.broker().channel.force(Active::Unknown);
    let create = CreateTopicsRequest::default().with_topics(vec![CreatableTopic::default().with_name(topic("t"))]);
    let answer = test.serve(5, create).await;
    assert_eq!(answer.topics[0].error_code, ResponseError::RequestTimedOut.code());
    assert!(test.broker().topics.topic("t").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quorum_of_one_is_described_in_every_version() {
    use jackdaw_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
    let broker = TestBroker::start(&[]).await;
    let asked = |name: &str| {
        let topic = TopicData::default().with_topic_name(topic(name)).with_partitions(vec![PartitionData::default()]);
        DescribeQuorumRequest::default().with_topics(vec![topic])
    };
    for version in 0..=2 {
        let answer = broker.ask(version, asked("__cluster_metadata")).await;
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((answer.error_code, partition.error_code), (0, 0));
        assert_eq!(partition.leader_id, partition.current_voters[0].replica_id);
        assert!(partition.current_voters[0].log_end_offset >= partition.high_watermark);
        let refused = broker.ask(version, asked("other")).await;
        assert_eq!(refused.topics[0].partitions[0].error_code, Code::UnknownTopicOrPartition.code());
    }
}
