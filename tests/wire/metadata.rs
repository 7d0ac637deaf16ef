//! Metadata, DescribeCluster and DescribeTopicPartitions: who is there.

use jackdaw_test_support::messages::describe_topic_partitions_request::TopicRequest;
use jackdaw_test_support::messages::metadata_request::MetadataRequestTopic;
use jackdaw_test_support::messages::{
    DescribeClusterRequest, DescribeTopicPartitionsRequest, MetadataRequest, MetadataResponse,
};
use jackdaw_test_support::requests::{self, topic};
use jackdaw_test_support::{Broker, Client};
use uuid::Uuid;

use crate::{client, unique};

fn ask(client: &mut Client, version: i16, names: &[&str], create: bool) -> MetadataResponse {
    let wanted = names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic(name)))).collect();
    let request = MetadataRequest::default().with_topics(Some(wanted)).with_allow_auto_topic_creation(create);
    client.call(version, &request)
}

fn names(response: &MetadataResponse) -> Vec<String> {
    response.topics.iter().map(|topic| topic.name.as_ref().map_or(String::new(), |name| name.to_string())).collect()
}

#[test]
fn every_version_names_this_broker_and_describes_the_topic() {
    let (mut client, name) = (client(), unique("metadata"));
    requests::create_topic(&mut client, &name, 3);
    for version in 0..=13 {
        let response = ask(&mut client, version, &[&name], true);
        assert_eq!(response.brokers.len(), 1);
        let broker = &response.brokers[0];
        assert_eq!((broker.host.as_str(), broker.port), ("127.0.0.1", i32::from(Broker::shared().port())));
        if version >= 1 {
            assert_eq!(response.controller_id, broker.node_id, "version {version}");
        }
        if version >= 2 {
            assert_eq!(response.cluster_id.as_ref().unwrap().len(), 22, "a cluster id as Kafka makes them");
        }
        let found = &response.topics[0];
        assert_eq!((found.error_code, found.partitions.len(), found.is_internal), (0, 3, false));
        if version >= 10 {
            assert!(!found.topic_id.is_nil());
        }
        for partition in &found.partitions {
            assert_eq!((partition.error_code, partition.leader_id), (0, broker.node_id));
            assert_eq!(partition.replica_nodes, [broker.node_id]);
            assert_eq!(partition.isr_nodes, [broker.node_id]);
        }
    }
}

#[test]
fn an_empty_list_means_all_in_version_0_and_none_afterwards() {
    let (mut client, name) = (client(), unique("all"));
    requests::create_topic(&mut client, &name, 1);
    let empty = MetadataRequest::default().with_topics(Some(vec![]));
    assert!(names(&client.call(0, &empty)).contains(&name));
    assert!(client.call(1, &empty).topics.is_empty());
    for version in 1..=13 {
        assert!(names(&client.call(version, &MetadataRequest::default().with_topics(None))).contains(&name));
    }
}

#[test]
fn an_unknown_topic_is_made_if_the_client_allows_it() {
    let (mut client, name) = (client(), unique("auto"));
    assert_eq!(ask(&mut client, 4, &[&name], false).topics[0].error_code, 3, "UNKNOWN_TOPIC_OR_PARTITION");
    let mut codes = Vec::new();
    while codes.last() != Some(&0) {
        codes.push(ask(&mut client, 4, &[&name], true).topics[0].error_code);
        assert!(matches!(codes.last(), Some(0 | 3 | 5)) && codes.len() < 1000, "{codes:?}");
    }
}

#[test]
fn versions_without_the_flag_make_topics() {
    for version in 0..=3 {
        let (mut client, name) = (client(), unique("auto-old"));
        while ask(&mut client, version, &[&name], true).topics[0].error_code != 0 {}
        assert_eq!(ask(&mut client, 4, &[&name], false).topics[0].error_code, 0);
    }
}

#[test]
fn names_that_no_topic_may_have_are_refused() {
    let mut client = client();
    for name in ["", ".", "..", "a b", "a/b", "äöü", &"x".repeat(250)] {
        let response = ask(&mut client, 9, &[name], true);
        assert_eq!(response.topics[0].error_code, 17, "INVALID_TOPIC_EXCEPTION for {name:?}");
    }
}

#[test]
fn a_topic_is_found_by_its_id() {
    let (mut client, name) = (client(), unique("by-id"));
    requests::create_topic(&mut client, &name, 1);
    let id = requests::topic_id(&mut client, &name).topic_id;
    let by_id = |id| {
        let wanted = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
        MetadataRequest::default().with_topics(Some(vec![wanted]))
    };
    assert_eq!(names(&client.call(12, &by_id(id))), [name]);
    let unknown = client.call(12, &by_id(Uuid::from_u128(99)));
    assert_eq!(unknown.topics[0].error_code, 100, "UNKNOWN_TOPIC_ID");
}

#[test]
fn authorized_operations_are_told_only_when_asked_for() {
    let (mut client, name) = (client(), unique("operations"));
    requests::create_topic(&mut client, &name, 1);
    let response = ask(&mut client, 8, &[&name], false);
    assert_eq!(response.topics[0].topic_authorized_operations, i32::MIN);
    assert_eq!(response.cluster_authorized_operations, i32::MIN);
}

#[test]
fn describe_cluster_tells_the_same_as_metadata() {
    let mut client = client();
    let metadata = ask(&mut client, 12, &[], false);
    for version in 0..=2 {
        let cluster = client.call(version, &DescribeClusterRequest::default().with_endpoint_type(1));
        assert_eq!(cluster.error_code, 0);
        assert_eq!(Some(cluster.cluster_id), metadata.cluster_id);
        assert_eq!(cluster.controller_id, metadata.controller_id);
        assert_eq!(cluster.brokers.len(), 1);
        assert_eq!(cluster.brokers[0].port, metadata.brokers[0].port);
    }
}

#[test]
fn topic_partitions_come_in_pages() {
    let mut client = client();
    let (one, two) = (unique("pages-a"), unique("pages-b"));
    requests::create_topic(&mut client, &one, 3);
    requests::create_topic(&mut client, &two, 2);
    let topics = [&two, &one].map(|name| TopicRequest::default().with_name(topic(name))).to_vec();
    let mut request = DescribeTopicPartitionsRequest::default().with_topics(topics).with_response_partition_limit(2);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let response = client.call(0, &request);
        for found in &response.topics {
            assert_eq!(found.error_code, 0);
            let name = found.name.as_ref().unwrap().to_string();
            seen.extend(found.partitions.iter().map(|partition| (name.clone(), partition.partition_index)));
        }
        match response.next_cursor {
            None => break,
            Some(cursor) => {
                let next = jackdaw_test_support::messages::describe_topic_partitions_request::Cursor::default()
                    .with_topic_name(cursor.topic_name)
                    .with_partition_index(cursor.partition_index);
                request.cursor = Some(next);
            }
        }
    }
    let expected: Vec<_> = (0..3).map(|i| (one.clone(), i)).chain((0..2).map(|i| (two.clone(), i))).collect();
    assert_eq!(seen, expected, "sorted by name, two partitions a page");
}
