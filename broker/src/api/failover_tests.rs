//! Groups whose coordinator moves to another broker: what the next one reads, and what the former one answers.
//!
//! The brokers share the log here, as replicas that have all of it do.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use jackdaw_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use jackdaw_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use jackdaw_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use jackdaw_protocol::messages::*;

use super::testing::{TestBroker, topic};
use crate::config::Config;
use crate::coordinator::{Groups, Outcome, offsets_topic};
use crate::group::GroupError;
use crate::group::shard::FetchedOffset;

const GROUP: &str = "billing";
const ELSEWHERE: i32 = 999;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

async fn broker(initial_delay_ms: &str) -> TestBroker {
    let test = TestBroker::start(&[("group.initial.rebalance.delay.ms", initial_delay_ms)]).await;
    // As clients do: on a busy machine the topic that the first one makes may have no leader yet.
    for attempt in 1.. {
        let found = test.ask(1, FindCoordinatorRequest::default().with_key(text(GROUP))).await;
        if found.error_code == 0 {
            break;
        }
        assert!(attempt < 500, "{:?}", found.error_message);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    test.create("orders", 1, &[]);
    test
}

fn join(group: &str) -> JoinGroupRequest {
    let range = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"\0\0\0\0\0\x01\0\x06orders\xff\xff\xff\xff"));
    JoinGroupRequest::default()
        .with_group_id(text(group).into())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(20_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![range])
}

/// Joins alone, takes everything, and commits offset 7.
async fn member(test: &TestBroker) -> (Arc<str>, i32) {
    let joined = test.ask(3, join(GROUP)).await;
    assert_eq!(joined.error_code, 0);
    let share = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(Bytes::from("all"));
    let sync = SyncGroupRequest::default()
        .with_group_id(text(GROUP).into())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![share]);
    assert_eq!(test.ask(3, sync).await.error_code, 0);
    assert_eq!(commit(test, &joined.member_id, joined.generation_id).await, 0);
    (joined.member_id.as_str().into(), joined.generation_id)
}

async fn commit(test: &TestBroker, member: &str, generation: i32) -> i16 {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(7);
    let orders = OffsetCommitRequestTopic::default().with_name(topic("orders")).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(text(GROUP).into())
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member))
        .with_topics(vec![orders]);
    test.ask(7, request).await.topics[0].partitions[0].error_code
}

async fn heartbeat(test: &TestBroker, member: &str, generation: i32) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(text(GROUP).into())
        .with_member_id(text(member))
        .with_generation_id(generation);
    test.ask(3, request).await.error_code
}

/// The groups of a broker that has not led anything yet.
fn next_coordinator(test: &TestBroker) -> Groups {
    let config = Arc::new(ArcSwap::from_pointee(Config::clone(&test.broker().config())));
    Groups::new(config, test.broker().clock.clone())
}

fn now<T>(outcome: Outcome<T>) -> T {
    match outcome {
        Outcome::Now(answer) => answer,
        Outcome::Later(_) => panic!("it waits"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_coordinator_knows_members_and_offsets_and_nobody_has_to_rebalance() {
    let test = broker("0").await;
    let (member, generation) = member(&test).await;
    let (registry, node) = (test.broker().topics.registry(), test.broker().node_id());
    test.broker().groups.follow(&registry, ELSEWHERE);
    let next = next_coordinator(&test);
    let group: Arc<str> = GROUP.into();
    next.follow(&registry, node);
    // Until it has read the log it says so, and does not act as if there were no such group.
    let fetched = |groups: &Groups| now(groups.fetch(&group, &[("orders".into(), 0)], true));
    assert_eq!(fetched(&next).unwrap_err(), GroupError::LoadInProgress);
    assert_eq!(next.list().unwrap_err(), GroupError::LoadInProgress);
    assert!(next.committed(&[Arc::from("orders")].into()).is_none());
    tokio::task::block_in_place(|| next.load());
    match fetched(&next).unwrap()[..] {
        [FetchedOffset::Committed(ref value)] => assert_eq!(value.offset, 7),
        _ => panic!("the committed offset is lost"),
    }
    // The generation goes on with the same member.
    assert_eq!(now(next.heartbeat(&group, &member, None, generation)), Ok(()));
    let described = now(next.describe(&group)).unwrap().unwrap();
    assert_eq!(described.members.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_lost_its_partition_sends_away_who_asks_and_who_waits() {
    let test = broker("600000").await;
    let broker = test.broker().clone();
    // It waits for more members, for ten minutes.
    let waiting = test.ask(3, join(GROUP));
    let lose = async {
        let listed = |groups: &Groups| groups.list().is_ok_and(|groups| !groups.is_empty());
        while !listed(&broker.groups) {
            tokio::task::yield_now().await;
        }
        broker.groups.follow(&broker.topics.registry(), ELSEWHERE);
    };
    let (joined, ()) = tokio::join!(waiting, lose);
    assert_eq!(joined.error_code, ResponseError::NotCoordinator.code());
    assert_eq!(heartbeat(&test, "m", 1).await, ResponseError::NotCoordinator.code());
    assert_eq!(commit(&test, "", -1).await, ResponseError::NotCoordinator.code());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_state_of_the_metadata_takes_no_partition_away_from_a_coordinator() {
    let test = broker("0").await;
    let older = test.broker().topics.registry();
    let (member, generation) = member(&test).await;
    test.create("later", 1, &[]);
    let groups = &test.broker().groups;
    groups.follow(&test.broker().topics.registry(), test.broker().node_id());
    groups.follow(&older, ELSEWHERE);
    assert_eq!(heartbeat(&test, &member, generation).await, 0);
    // And the same state again changes nothing for those who are there.
    groups.follow(&test.broker().topics.registry(), test.broker().node_id());
    assert_eq!(heartbeat(&test, &member, generation).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_a_topic_that_is_gone_are_forgotten_by_whoever_coordinates_the_group() {
    let test = broker("0").await;
    let next = next_coordinator(&test);
    let node = test.broker().node_id();
    next.follow(&test.broker().topics.registry(), node);
    let (member, _) = member(&test).await;
    assert!(!member.is_empty());
    let later = next_coordinator(&test);
    later.follow(&test.broker().topics.registry(), node);
    tokio::task::block_in_place(|| later.load());
    // Somebody else, the controller, deletes the topic: this coordinator learns of it by the metadata.
    let id = test.broker().topics.topic("orders").unwrap().id();
    tokio::task::block_in_place(|| test.broker().topics.delete(&[id]));
    later.follow(&test.broker().topics.registry(), node);
    let group: Arc<str> = GROUP.into();
    let fetched = later.fetch(&group, &[("orders".into(), 0)], false).wait().await.unwrap();
    assert!(matches!(fetched[..], [FetchedOffset::Missing]));
}

#[test]
fn the_offsets_topic_gets_its_replicas_even_if_the_brokers_are_not_there_yet() {
    let config = Config::default();
    assert_eq!(offsets_topic(&config, false).replication_factor, 3);
    assert_eq!(offsets_topic(&config, true).replication_factor, 1, "a broker that is a cluster of its own");
}
