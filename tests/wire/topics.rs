//! The life of a topic: CreateTopics, CreatePartitions, DeleteRecords, DeleteTopics, and what each refuses.

use jackdaw_test_support::Client;
use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::messages::create_partitions_request::CreatePartitionsTopic;
use jackdaw_test_support::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use jackdaw_test_support::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use jackdaw_test_support::messages::delete_topics_request::DeleteTopicState;
use jackdaw_test_support::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
};
use jackdaw_test_support::requests::{self, create_request, topic};

use crate::{client, unique, with_topic};

/// Error code and message of creating one topic.
fn refusal(client: &mut Client, request: &CreateTopicsRequest) -> (i16, String) {
    let response = client.call(7, request);
    let answer = &response.topics[0];
    (answer.error_code, answer.error_message.as_ref().map_or(String::new(), |message| message.to_string()))
}

#[test]
fn every_version_creates_a_topic() {
    let mut client = client();
    for version in 2..=7 {
        let name = unique("create");
        let response = client.call(version, &create_request(&name, 2, &[("retention.ms", "12345678")]));
        let made = &response.topics[0];
        assert_eq!(made.error_code, 0, "version {version}: {:?}", made.error_message);
        if version >= 5 {
            assert_eq!((made.num_partitions, made.replication_factor), (2, 1));
            let configs = made.configs.as_ref().unwrap();
            let retention = configs.iter().find(|config| config.name.as_str() == "retention.ms").unwrap();
            assert_eq!(retention.value.as_ref().unwrap().as_str(), "12345678");
        }
        if version >= 7 {
            assert_eq!(made.topic_id, requests::topic_id(&mut client, &name).topic_id);
        }
    }
}

#[test]
fn defaults_and_explicit_assignments_are_taken() {
    let (mut client, name) = (client(), unique("defaults"));
    let response = client.call(7, &create_request(&name, -1, &[]));
    assert_eq!((response.topics[0].error_code, response.topics[0].num_partitions), (0, 1));

    let me = requests::topic_id(&mut client, &name).partitions[0].leader_id;
    let assigned = |index, brokers: Vec<BrokerId>| {
        CreatableReplicaAssignment::default().with_partition_index(index).with_broker_ids(brokers)
    };
    let with = |name: &str, assignments| {
        let spec = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(assignments);
        CreateTopicsRequest::default().with_topics(vec![spec]).with_timeout_ms(30_000)
    };
    let name = unique("assigned");
    assert_eq!(refusal(&mut client, &with(&name, vec![assigned(0, vec![me]), assigned(1, vec![me])])).0, 0);
    assert_eq!(requests::topic_id(&mut client, &name).partitions.len(), 2);
    let elsewhere = with(&unique("elsewhere"), vec![assigned(0, vec![BrokerId(77)])]);
    assert_eq!(refusal(&mut client, &elsewhere).0, 39, "INVALID_REPLICA_ASSIGNMENT");
}

#[test]
fn what_cannot_be_created_is_refused_with_the_reason() {
    let (mut client, taken) = with_topic("taken");
    let mut refused = |code, word: &str, request: CreateTopicsRequest| {
        let (found, message) = refusal(&mut client, &request);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(word), "{message:?} should name {word:?}");
    };
    refused(36, &taken, create_request(&taken, 1, &[]));
    refused(17, "a b", create_request("a b", 1, &[]));
    refused(37, "artitions", create_request(&unique("none"), 0, &[]));
    let mut three = create_request(&unique("three"), 1, &[]);
    three.topics[0].replication_factor = 3;
    refused(38, "3", three);
    refused(40, "soon", create_request(&unique("config"), 1, &[("retention.ms", "soon")]));
    refused(40, "no.such.key", create_request(&unique("config"), 1, &[("no.such.key", "1")]));
    refused(40, "cleanup.policy", create_request(&unique("config"), 1, &[("cleanup.policy", "burn")]));
}

#[test]
fn validate_only_changes_nothing() {
    let (mut client, name) = (client(), unique("validate"));
    assert_eq!(client.call(7, &create_request(&name, 1, &[]).with_validate_only(true)).topics[0].error_code, 0);
    assert_eq!(requests::topic_id(&mut client, &name).error_code, 3);
}

#[test]
fn a_name_that_differs_only_in_dots_and_underscores_collides() {
    let mut client = client();
    let base = unique("collide");
    requests::create_topic(&mut client, &format!("{base}.x"), 1);
    let (code, message) = refusal(&mut client, &create_request(&format!("{base}_x"), 1, &[]));
    assert_eq!(code, 17, "{message}");
}

#[test]
fn partitions_can_be_added_and_not_taken_away() {
    let (mut client, name) = with_topic("grow");
    for (version, count, code) in [(0, 2, 0), (1, 3, 0), (2, 4, 0), (3, 5, 0), (3, 5, 37), (3, 4, 37), (3, 0, 37)] {
        let wanted = CreatePartitionsTopic::default().with_name(topic(&name)).with_count(count).with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
        let response = client.call(version, &request);
        assert_eq!(response.results[0].error_code, code, "{:?}", response.results[0].error_message);
    }
    assert_eq!(requests::topic_id(&mut client, &name).partitions.len(), 5);
    assert_eq!(requests::produce(&mut client, &name, 4, &Batch::of(["new"])), 0);
}

#[test]
fn records_can_be_deleted_up_to_an_offset_or_all_of_them() {
    let (mut client, name) = with_topic("trim");
    for i in 0..10 {
        requests::produce(&mut client, &name, 0, &Batch::of([i.to_string()]));
    }
    let delete = |client: &mut Client, version, offset| {
        let wanted = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
        let wanted = DeleteRecordsTopic::default().with_name(topic(&name)).with_partitions(vec![wanted]);
        let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
        let response = client.call(version, &request);
        let answer = response.topics[0].partitions[0].clone();
        (answer.error_code, answer.low_watermark)
    };
    assert_eq!(delete(&mut client, 0, 3), (0, 3));
    assert_eq!(requests::list_offset(&mut client, &name, 0, -2), 3);
    assert_eq!(requests::fetch(&mut client, &name, 0, 3)[0].text(), "3");
    let response = client.call(requests::FETCH, &requests::fetch_request(&name, 0, 2, 0, 0));
    assert_eq!(response.responses[0].partitions[0].error_code, 1, "what is deleted is out of range");
    assert_eq!(delete(&mut client, 1, 11).0, 1, "beyond the end");
    assert_eq!(delete(&mut client, 2, -1), (0, 10));
    assert_eq!(requests::produce(&mut client, &name, 0, &Batch::of(["next"])), 10, "offsets go on");
}

#[test]
fn every_version_deletes_and_the_name_is_free_again() {
    let (mut client, name) = with_topic("delete");
    for version in 1..=6 {
        let request = match version {
            6 => DeleteTopicsRequest::default()
                .with_topics(vec![DeleteTopicState::default().with_name(Some(topic(&name)))]),
            _ => DeleteTopicsRequest::default().with_topic_names(vec![topic(&name)]),
        };
        let response = client.call(version, &request.with_timeout_ms(30_000));
        assert_eq!(response.responses[0].error_code, 0, "version {version}");
        assert_eq!(requests::topic_id(&mut client, &name).error_code, 3);
        requests::create_topic(&mut client, &name, 1);
        assert_eq!(requests::list_offset(&mut client, &name, 0, -1), 0, "nothing of the old one is left");
        requests::produce(&mut client, &name, 0, &Batch::of(["x"]));
    }
}

#[test]
fn a_topic_is_deleted_by_its_id() {
    let (mut client, name) = with_topic("delete-id");
    let id = requests::topic_id(&mut client, &name).topic_id;
    let request = |id| {
        DeleteTopicsRequest::default()
            .with_topics(vec![DeleteTopicState::default().with_name(None).with_topic_id(id)])
            .with_timeout_ms(30_000)
    };
    assert_eq!(client.call(6, &request(id)).responses[0].error_code, 0);
    assert_eq!(client.call(6, &request(id)).responses[0].error_code, 100, "UNKNOWN_TOPIC_ID");
}

#[test]
fn deleting_what_is_not_there_is_an_error() {
    let mut client = client();
    let request =
        DeleteTopicsRequest::default().with_topic_names(vec![topic("nobody-made-this")]).with_timeout_ms(1000);
    assert_eq!(client.call(4, &request).responses[0].error_code, 3);
}
