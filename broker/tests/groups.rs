//! Consumer groups of a whole broker, over its socket: every version of every group API, durability and restarts.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use jackdaw_protocol::messages::delete_groups_request::DeleteGroupsRequest;
use jackdaw_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use jackdaw_protocol::messages::leave_group_request::MemberIdentity;
use jackdaw_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use jackdaw_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use jackdaw_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use jackdaw_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use jackdaw_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, ResponseError,
    StrBytes, SyncGroupRequest,
};

use support::{Client, Server};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn code(error: ResponseError) -> i16 {
    error.code()
}

/// A consumer's metadata for topic `orders`.
fn subscription() -> Bytes {
    Bytes::from_static(b"\0\0\0\0\0\x01\0\x06orders\xff\xff\xff\xff")
}

fn join(group: &str, member_id: &str) -> JoinGroupRequest {
    let range = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(subscription());
    JoinGroupRequest::default()
        .with_group_id(text(group).into())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(20_000)
        .with_member_id(text(member_id))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![range])
}

/// Joins alone, in as many steps as the version asks for.
async fn join_alone(client: &mut Client, version: i16, group: &str) -> JoinGroupResponse {
    let mut joined = client.call(version, &join(group, "")).await;
    if joined.error_code == code(ResponseError::MemberIdRequired) {
        assert!(version >= 4);
        joined = client.call(version, &join(group, &joined.member_id)).await;
    }
    assert_eq!(joined.error_code, 0, "JoinGroup {version}");
    joined
}

fn sync(group: &str, joined: &JoinGroupResponse, version: i16) -> SyncGroupRequest {
    let share = |member: &_| {
        let member: &jackdaw_protocol::messages::join_group_response::JoinGroupResponseMember = member;
        SyncGroupRequestAssignment::default()
            .with_member_id(member.member_id.clone())
            .with_assignment(Bytes::from(format!("share of {}", member.member_id)))
    };
    let mut request = SyncGroupRequest::default()
        .with_group_id(text(group).into())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(joined.members.iter().map(share).collect());
    if version >= 5 {
        request.protocol_type = Some(text("consumer"));
        request.protocol_name = Some(text("range"));
    }
    request
}

fn commit(group: &str, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("here")));
    let topic = OffsetCommitRequestTopic::default().with_name(text("orders").into()).with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(text(group).into())
        .with_generation_id_or_member_epoch(-1)
        .with_retention_time_ms(-1)
        .with_topics(vec![topic])
}

async fn committed(client: &mut Client, group: &str) -> i64 {
    let topic = OffsetFetchRequestTopics::default().with_name(text("orders").into()).with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default().with_group_id(text(group).into()).with_topics(Some(vec![topic]));
    let response = client.call(8, &OffsetFetchRequest::default().with_groups(vec![group])).await;
    assert_eq!(response.groups[0].error_code, 0);
    response.groups[0].topics[0].partitions[0].committed_offset
}

async fn ready(client: &mut Client, group: &str) {
    loop {
        let request = FindCoordinatorRequest::default().with_key(text(group));
        let found = client.call(1, &request).await;
        assert_eq!(found.error_code, 0, "{:?}", found.error_message);
        let listed = client.call(4, &ListGroupsRequest::default()).await;
        if listed.error_code != code(ResponseError::CoordinatorLoadInProgress) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_find_coordinator_names_this_broker() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for version in 0..=3 {
        let found = client.call(version, &FindCoordinatorRequest::default().with_key(text("g"))).await;
        assert_eq!((found.error_code, found.port), (0, i32::from(server.port())), "version {version}");
        assert_eq!(&*found.host, "127.0.0.1");
    }
    for version in 4..=6 {
        let keys = vec![text("g"), text("h")];
        let found = client.call(version, &FindCoordinatorRequest::default().with_coordinator_keys(keys)).await;
        assert_eq!(found.coordinators.len(), 2);
        for coordinator in found.coordinators {
            assert_eq!((coordinator.error_code, coordinator.port), (0, i32::from(server.port())));
        }
    }
    let topic = server.broker().topics.topic("__consumer_offsets").unwrap();
    assert_eq!(topic.image.partitions.len(), 50);
    for (key_type, error) in
        [(1, ResponseError::TransactionalIdAuthorizationFailed), (9, ResponseError::InvalidRequest)]
    {
        let request = FindCoordinatorRequest::default().with_key(text("g")).with_key_type(key_type);
        assert_eq!(client.call(1, &request).await.error_code, code(error));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_joins_syncs_beats_and_leaves_in_every_version() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for version in 0..=9 {
        let group = format!("group-{version}");
        let joined = join_alone(&mut client, version, &group).await;
        assert_eq!((joined.generation_id, &joined.leader), (1, &joined.member_id));
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        assert_eq!(joined.protocol_type.as_deref(), (version >= 7).then_some("consumer"));
        assert_eq!(joined.members[0].metadata, subscription());

        let sync_version = version.min(5);
        let synced = client.call(sync_version, &sync(&group, &joined, sync_version)).await;
        assert_eq!((synced.error_code, synced.assignment), (0, format!("share of {}", joined.member_id).into()));
        assert_eq!(synced.protocol_name.as_deref(), (sync_version >= 5).then_some("range"));

        let heartbeat = HeartbeatRequest::default()
            .with_group_id(text(&group).into())
            .with_generation_id(1)
            .with_member_id(joined.member_id.clone());
        assert_eq!(client.call(version.min(4), &heartbeat).await.error_code, 0);

        let leave_version = version.min(5);
        let mut leave = LeaveGroupRequest::default().with_group_id(text(&group).into());
        if leave_version >= 3 {
            leave.members = vec![MemberIdentity::default().with_member_id(joined.member_id.clone())];
        } else {
            leave.member_id = joined.member_id.clone();
        }
        let left = client.call(leave_version, &leave).await;
        assert_eq!((left.error_code, left.members.len()), (0, usize::from(leave_version >= 3)));
        let again = client.call(leave_version, &leave).await;
        let verdict = if leave_version >= 3 { again.members[0].error_code } else { again.error_code };
        assert_eq!(verdict, code(ResponseError::UnknownMemberId));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_joins_have_the_protocol_name_that_their_version_can_carry() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for version in 0..=9 {
        let refused = client.call(version, &join("g", "").with_session_timeout_ms(1)).await;
        assert_eq!(refused.error_code, code(ResponseError::InvalidSessionTimeout));
        assert_eq!(refused.protocol_name.as_deref(), if version >= 7 { None } else { Some("") });
        assert_eq!(refused.generation_id, -1);
        let refused = client.call(version, &join("", "")).await;
        assert_eq!(refused.error_code, code(ResponseError::InvalidGroupId));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_committed_fetched_and_deleted_in_every_version() {
    let server = Server::start().await;
    server.topic("orders", 2);
    let mut client = server.client().await;
    for version in 2..=9 {
        let response = client.call(version, &commit("g", i64::from(version))).await;
        assert_eq!(response.topics[0].partitions[0].error_code, 0, "version {version}");
        assert_eq!(committed(&mut client, "g").await, i64::from(version));
    }
    for version in 1..=7 {
        let topic =
            OffsetFetchRequestTopic::default().with_name(text("orders").into()).with_partition_indexes(vec![1, 0]);
        let request = OffsetFetchRequest::default().with_group_id(text("g").into()).with_topics(Some(vec![topic]));
        let response = client.call(version, &request).await;
        let [missing, present] = &response.topics[0].partitions[..] else { panic!("{response:?}") };
        assert_eq!((missing.committed_offset, missing.error_code), (-1, 0));
        assert_eq!((present.committed_offset, present.metadata.as_deref()), (9, Some("here")));
        if version >= 2 {
            let all = client.call(version, &request.with_topics(None)).await;
            assert_eq!(all.topics[0].partitions.len(), 1);
        }
    }
    for version in 8..=9 {
        let group = OffsetFetchRequestGroup::default().with_group_id(text("g").into()).with_topics(None);
        let unknown = OffsetFetchRequestGroup::default().with_group_id(text("nobody").into()).with_topics(None);
        let response = client.call(version, &OffsetFetchRequest::default().with_groups(vec![group, unknown])).await;
        assert_eq!(response.groups[0].topics[0].partitions[0].committed_offset, 9);
        assert!(response.groups[1].topics.is_empty() && response.groups[1].error_code == 0);
    }
    let partition = OffsetDeleteRequestPartition::default();
    let topic = |name: &str| {
        OffsetDeleteRequestTopic::default().with_name(text(name).into()).with_partitions(vec![partition.clone()])
    };
    let request = OffsetDeleteRequest::default()
        .with_group_id(text("g").into())
        .with_topics(vec![topic("orders"), topic("nowhere")]);
    let response = client.call(0, &request).await;
    let codes: Vec<i16> = response.topics.iter().map(|topic| topic.partitions[0].error_code).collect();
    assert_eq!((response.error_code, codes), (0, vec![0, code(ResponseError::UnknownTopicOrPartition)]));
    assert_eq!(committed(&mut client, "g").await, -1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_to_what_does_not_exist_are_refused_one_by_one() {
    let server = Server::start().await;
    server.topic("orders", 1);
    let mut client = server.client().await;
    let mut request = commit("g", 7);
    let mut nowhere = request.topics[0].clone();
    nowhere.name = text("nowhere").into();
    request.topics[0].partitions.push(OffsetCommitRequestPartition::default().with_partition_index(9));
    request.topics.push(nowhere);
    let response = client.call(9, &request).await;
    let codes: Vec<Vec<i16>> = response
        .topics
        .iter()
        .map(|topic| topic.partitions.iter().map(|partition| partition.error_code).collect())
        .collect();
    let unknown = code(ResponseError::UnknownTopicOrPartition);
    assert_eq!(codes, [vec![0, unknown], vec![unknown]]);
    for (version, error) in [(8, ResponseError::IllegalGeneration), (9, ResponseError::GroupIdNotFound)] {
        let request = commit("nobody", 7).with_generation_id_or_member_epoch(3).with_member_id(text("m"));
        let response = client.call(version, &request).await;
        assert_eq!(response.topics[0].partitions[0].error_code, code(error));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_listed_described_and_deleted_in_every_version() {
    let server = Server::start().await;
    server.topic("orders", 1);
    let mut client = server.client().await;
    let joined = join_alone(&mut client, 9, "busy").await;
    client.call(5, &sync("busy", &joined, 5)).await;
    client.call(9, &commit("idle", 1)).await;
    for version in 0..=5 {
        let mut listed = client.call(version, &ListGroupsRequest::default()).await.groups;
        listed.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        let kinds: Vec<_> = listed.iter().map(|group| (&**group.group_id, &*group.protocol_type)).collect();
        assert_eq!(kinds, [("busy", "consumer"), ("idle", "")]);
        let states: Vec<_> = listed.iter().map(|group| &*group.group_state).collect();
        assert_eq!(states, if version >= 4 { ["Stable", "Empty"] } else { ["", ""] });
        assert_eq!(&*listed[0].group_type, if version >= 5 { "classic" } else { "" });
    }
    let filtered = |states: &[&str], types: &[&str]| {
        let texts = |list: &[&str]| list.iter().map(|one| text(one)).collect::<Vec<_>>();
        ListGroupsRequest::default().with_states_filter(texts(states)).with_types_filter(texts(types))
    };
    for (request, count) in [
        (filtered(&["STABLE"], &[]), 1),
        (filtered(&["stable", "empty"], &["Classic"]), 2),
        (filtered(&["nonsense"], &[]), 0),
        (filtered(&[], &["consumer"]), 0),
    ] {
        assert_eq!(client.call(5, &request).await.groups.len(), count);
    }
    for version in 0..=6 {
        let request = DescribeGroupsRequest::default()
            .with_groups(vec![text("busy").into(), text("nobody").into()])
            .with_include_authorized_operations(version >= 3);
        let groups = client.call(version, &request).await.groups;
        assert_eq!((&*groups[0].group_state, &*groups[0].protocol_data), ("Stable", "range"));
        let member = &groups[0].members[0];
        assert_eq!((&member.member_id, &*member.client_host), (&joined.member_id, "/127.0.0.1"));
        assert_eq!(member.member_metadata, subscription());
        assert_eq!(groups[0].authorized_operations, if version >= 3 { 3400 } else { i32::MIN });
        let unknown = if version >= 6 { code(ResponseError::GroupIdNotFound) } else { 0 };
        assert_eq!((&*groups[1].group_state, groups[1].error_code), ("Dead", unknown));
    }
    for version in 0..=2 {
        client.call(9, &commit("idle", 1)).await;
        let names = vec![text("busy").into(), text("idle").into(), text("nobody").into()];
        let results = client.call(version, &DeleteGroupsRequest::default().with_groups_names(names)).await.results;
        let codes: Vec<i16> = results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [code(ResponseError::NonEmptyGroup), 0, code(ResponseError::GroupIdNotFound)]);
        assert_eq!(committed(&mut client, "idle").await, -1);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_and_offsets_are_still_there_after_a_restart() {
    let server = Server::start().await;
    server.topic("orders", 1);
    let mut client = server.client().await;
    let joined = join_alone(&mut client, 9, "busy").await;
    client.call(5, &sync("busy", &joined, 5)).await;
    client.call(9, &commit("idle", 42)).await;
    let server = server.restart().await;

    let mut client = server.client().await;
    ready(&mut client, "busy").await;
    assert_eq!(committed(&mut client, "idle").await, 42);
    let heartbeat = HeartbeatRequest::default()
        .with_group_id(text("busy").into())
        .with_generation_id(1)
        .with_member_id(joined.member_id.clone());
    assert_eq!(client.call(4, &heartbeat).await.error_code, 0);
    let synced = client.call(5, &sync("busy", &joined, 5)).await;
    assert_eq!(synced.assignment, format!("share of {}", joined.member_id));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_join_does_not_hold_up_the_work_behind_it_only_its_answers() {
    let server = Server::start_with(&[("group.initial.rebalance.delay.ms", "3000")]).await;
    server.topic("orders", 1);
    let mut client = server.client().await;
    let given = client.call(9, &join("g", "")).await;
    let parked = client.send(9, &join("g", &given.member_id)).await;
    let behind = client.send(9, &commit("other", 5)).await;
    let mut second = server.client().await;
    while committed(&mut second, "other").await != 5 {
        tokio::task::yield_now().await;
    }
    let joined = client.receive::<JoinGroupRequest>(9, parked).await;
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    let response = client.receive::<OffsetCommitRequest>(9, behind).await;
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_a_generation_and_a_silent_one_is_put_out() {
    let server = Server::start_with(&[("group.min.session.timeout.ms", "100")]).await;
    let mut first = server.client().await;
    let mut second = server.client().await;
    let alone = join_alone(&mut first, 9, "g").await;
    first.call(5, &sync("g", &alone, 5)).await;

    // The second has a short session and will never be heard of again.
    let silent = join("g", "").with_session_timeout_ms(100);
    let given = second.call(9, &silent).await;
    let newcomer = second.send(9, &silent.with_member_id(given.member_id)).await;
    let again = first.call(9, &join("g", &alone.member_id)).await;
    let newcomer = second.receive::<JoinGroupRequest>(9, newcomer).await;
    assert_eq!((again.generation_id, newcomer.generation_id), (2, 2));
    assert_eq!((again.members.len(), newcomer.members.len()), (2, 0));

    let heartbeat = HeartbeatRequest::default()
        .with_group_id(text("g").into())
        .with_generation_id(2)
        .with_member_id(alone.member_id.clone());
    let rebalancing = async {
        while first.call(4, &heartbeat).await.error_code != code(ResponseError::RebalanceInProgress) {
            tokio::task::yield_now().await;
        }
        first
    };
    let mut first =
        tokio::time::timeout(Duration::from_secs(20), rebalancing).await.expect("the silent one is noticed");
    let last = first.call(9, &join("g", &alone.member_id)).await;
    assert_eq!((last.generation_id, last.members.len()), (3, 1));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_takes_its_offsets_along() {
    let server = Server::start().await;
    server.topic("orders", 1);
    let mut client = server.client().await;
    client.call(9, &commit("g", 7)).await;
    server.broker().groups.topic_deleted("orders");
    assert_eq!(committed(&mut client, "g").await, -1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_offsets_topic_can_be_deleted_and_comes_back_empty() {
    let server = Server::start().await;
    server.topic("orders", 1);
    let mut client = server.client().await;
    client.call(9, &commit("g", 7)).await;
    let offsets = server.broker().topics.topic("__consumer_offsets").unwrap().id();
    tokio::task::block_in_place(|| server.broker().topics.delete(&[offsets])).remove(0).unwrap();
    let response = client.call(9, &commit("g", 8)).await;
    assert_eq!(response.topics[0].partitions[0].error_code, code(ResponseError::NotCoordinator));
    ready(&mut client, "g").await;
    assert_eq!(committed(&mut client, "g").await, -1);
    let response = client.call(9, &commit("g", 9)).await;
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
    server.stop().await;
}
