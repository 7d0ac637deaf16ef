//! What a client is told that asked the wrong broker, on the wire, at each version.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use jackdaw_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use jackdaw_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use jackdaw_protocol::messages::*;
use jackdaw_protocol::records::{BatchBuilder, Codec};
use uuid::Uuid;

use super::testing::{TestBroker, topic};
use crate::controller::testing::{far_epoch, registered, registration};
use crate::net::{Peer, PeerConfig};
use crate::topics::image::Configs;
use crate::topics::record::{Endpoint, Record, Registration};

const ELSEWHERE: Uuid = Uuid::from_u128(7_000);
const HERE: Uuid = Uuid::from_u128(8_000);
const WITHIN: Duration = Duration::from_secs(20);

/// Broker 11 can be reached by clients, broker 12 only by others.
fn register(broker: i32, listener: &str) -> [Record; 2] {
    let endpoint = Endpoint {
        name: listener.to_owned(),
        host: format!("host-{broker}"),
        port: 9000 + broker as u16,
        security_protocol: 0,
    };
    let own = registration(broker, far_epoch(broker));
    registered(broker, Registration { rack: Some("rack".to_owned()), listeners: vec![endpoint], ..own })
}

/// Partitions 0 and 1 of a topic are led by brokers 11 and 12, and a topic here is in its second epoch.
async fn broker() -> (TestBroker, Peer) {
    let test = TestBroker::start(&[]).await;
    let node = test.broker().node_id();
    let records = [
        register(11, &test.broker().config().inter_broker_listener_name),
        register(12, "OTHERS"),
        [(ELSEWHERE, "elsewhere", vec![vec![11], vec![12]]), (HERE, "here", vec![vec![node]])].map(
            |(id, name, assignments)| Record::TopicCreated {
                name: name.to_owned(),
                id,
                assignments,
                configs: Configs::new(),
            },
        ),
    ];
    test.broker().topics.change(|_| (records.concat(), ())).unwrap();
    let raised = Record::LeaderEpochsRaised { id: HERE, epochs: vec![1] };
    test.broker().topics.change(|_| (vec![raised], ())).unwrap();
    let peer = Peer::new("127.0.0.1", u16::try_from(test.port()).unwrap(), PeerConfig::new("test"));
    (test, peer)
}

async fn produce(peer: &Peer, version: i16) -> ProduceResponse {
    let mut batch = BatchBuilder::new(Codec::None);
    batch.push(1, None, Some(b"x"), &[]);
    let batch = batch.build();
    let data = |index| PartitionProduceData::default().with_index(index).with_records(Some(batch.clone()));
    let of = |name: &str, id, count| {
        let named = TopicProduceData::default().with_partition_data((0..count).map(data).collect());
        if version >= 13 { named.with_topic_id(id) } else { named.with_name(topic(name)) }
    };
    let topics = vec![of("here", HERE, 1), of("elsewhere", ELSEWHERE, 2)];
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5_000).with_topic_data(topics);
    peer.call(&request, version, WITHIN).await.unwrap()
}

async fn fetch(peer: &Peer, version: i16) -> FetchResponse {
    let partition = |index| {
        let asked = FetchPartition::default().with_partition(index).with_partition_max_bytes(1 << 20);
        asked.with_current_leader_epoch(0)
    };
    let of = |name: &str, id, count| {
        let named = FetchTopic::default().with_partitions((0..count).map(partition).collect());
        if version >= 13 { named.with_topic_id(id) } else { named.with_topic(topic(name)) }
    };
    let topics = vec![of("elsewhere", ELSEWHERE, 2), of("here", HERE, 1)];
    let request = FetchRequest::default().with_max_bytes(1 << 20).with_topics(topics);
    peer.call(&request, version, WITHIN).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_at_the_wrong_broker_is_told_of_the_leaders_that_it_can_reach() {
    let (_test, peer) = broker().await;
    for version in 3..=13 {
        let answer = produce(&peer, version).await;
        let outcomes: Vec<_> = answer.responses.iter().flat_map(|topic| &topic.partition_responses).collect();
        let codes: Vec<i16> = outcomes.iter().map(|outcome| outcome.error_code).collect();
        let wrong = ResponseError::NotLeaderOrFollower.code();
        assert_eq!(codes, [0, wrong, wrong], "version {version}");
        let leaders: Vec<_> =
            outcomes.iter().map(|it| (it.current_leader.leader_id.0, it.current_leader.leader_epoch)).collect();
        let nodes: Vec<_> = answer.node_endpoints.iter().map(|node| (node.node_id.0, node.host.as_str())).collect();
        if version >= 10 {
            assert_eq!(leaders, [(-1, -1), (11, 0), (12, 0)], "version {version}");
            assert_eq!(nodes, [(11, "host-11")], "version {version}");
            let node = &answer.node_endpoints[0];
            assert_eq!((node.port, node.rack.as_deref()), (9011, Some("rack")));
        } else {
            assert_eq!((leaders, nodes), (vec![(-1, -1); 3], vec![]), "version {version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_at_the_wrong_broker_or_with_an_old_epoch_is_told_of_the_leaders_that_it_can_reach() {
    let (test, peer) = broker().await;
    for version in 9..=17 {
        let answer = fetch(&peer, version).await;
        let data: Vec<_> = answer.responses.iter().flat_map(|topic| &topic.partitions).collect();
        let codes: Vec<i16> = data.iter().map(|data| data.error_code).collect();
        let (wrong, old) = (ResponseError::NotLeaderOrFollower.code(), ResponseError::FencedLeaderEpoch.code());
        assert_eq!(codes, [wrong, wrong, old], "version {version}");
        let leaders: Vec<_> =
            data.iter().map(|it| (it.current_leader.leader_id.0, it.current_leader.leader_epoch)).collect();
        let nodes: Vec<_> = answer.node_endpoints.iter().map(|node| (node.node_id.0, node.port)).collect();
        if version >= 16 {
            let node = test.broker().node_id();
            assert_eq!(leaders, [(11, 0), (12, 0), (node, 1)], "version {version}");
            assert_eq!(nodes, [(11, 9011), (node, test.port())], "version {version}");
        } else {
            assert_eq!((leaders, nodes), (vec![(-1, -1); 3], vec![]), "version {version}");
        }
    }
}
