//! The group APIs at every version: a member joins, syncs, beats, commits, fetches its offsets, is described and leaves.

use jackdaw_test_support::messages::join_group_request::JoinGroupRequestProtocol;
use jackdaw_test_support::messages::leave_group_request::MemberIdentity;
use jackdaw_test_support::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use jackdaw_test_support::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use jackdaw_test_support::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use jackdaw_test_support::messages::sync_group_request::SyncGroupRequestAssignment;
use jackdaw_test_support::messages::*;
use jackdaw_test_support::requests::{text, topic};
use jackdaw_test_support::{Broker, Client};

use crate::{client, with_group, with_topic};

fn id(group: &str) -> GroupId {
    GroupId(text(group))
}

fn join_request(group: &str, member: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(vec![0, 1, 2].into());
    JoinGroupRequest::default()
        .with_group_id(id(group))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Joins as the only member, in two steps where the version has them (KIP-394); member id and generation.
fn join(client: &mut Client, version: i16, group: &str) -> (String, i32) {
    let mut response = client.call(version, &join_request(group, ""));
    if version >= 4 {
        assert_eq!(response.error_code, 79, "MEMBER_ID_REQUIRED at version {version}");
        response = client.call(version, &join_request(group, response.member_id.as_str()));
    }
    assert_eq!(response.error_code, 0, "version {version}");
    assert_eq!(response.leader, response.member_id);
    assert_eq!(response.members.len(), 1);
    assert_eq!(response.members[0].metadata.as_ref(), [0, 1, 2]);
    (response.member_id.to_string(), response.generation_id)
}

fn sync(client: &mut Client, version: i16, group: &str, member: &str, generation: i32) -> (i16, Vec<u8>) {
    let assignment =
        SyncGroupRequestAssignment::default().with_member_id(text(member)).with_assignment(vec![7; 9].into());
    let mut request = SyncGroupRequest::default()
        .with_group_id(id(group))
        .with_generation_id(generation)
        .with_member_id(text(member))
        .with_assignments(vec![assignment]);
    if version >= 5 {
        request = request.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range")));
    }
    let response = client.call(version, &request);
    (response.error_code, response.assignment.to_vec())
}

fn commit_request(group: &str, name: &str, offset: i64, metadata: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text(metadata)));
    let wanted = OffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
    OffsetCommitRequest::default().with_group_id(id(group)).with_topics(vec![wanted])
}

/// Error code, offset and metadata of the committed offset of partition 0.
fn committed(client: &mut Client, version: i16, group: &str, name: &str) -> (i16, i64, String) {
    let request = match version {
        8.. => {
            let wanted = OffsetFetchRequestTopics::default().with_name(topic(name)).with_partition_indexes(vec![0]);
            let group = OffsetFetchRequestGroup::default().with_group_id(id(group)).with_topics(Some(vec![wanted]));
            OffsetFetchRequest::default().with_groups(vec![group])
        }
        _ => {
            let wanted = OffsetFetchRequestTopic::default().with_name(topic(name)).with_partition_indexes(vec![0]);
            OffsetFetchRequest::default().with_group_id(id(group)).with_topics(Some(vec![wanted]))
        }
    };
    let response = client.call(version, &request);
    let text = |metadata: &Option<kafka_protocol::protocol::StrBytes>| {
        metadata.as_ref().map_or(String::new(), |metadata| metadata.to_string())
    };
    if version >= 8 {
        let partition = &response.groups[0].topics[0].partitions[0];
        (partition.error_code, partition.committed_offset, text(&partition.metadata))
    } else {
        let partition = &response.topics[0].partitions[0];
        (partition.error_code, partition.committed_offset, text(&partition.metadata))
    }
}

#[test]
fn the_coordinator_of_any_group_is_this_broker_at_every_version() {
    let mut client = client();
    for version in 0..=6 {
        let request = match version {
            4.. => FindCoordinatorRequest::default().with_coordinator_keys(vec![text("one"), text("two")]),
            _ => FindCoordinatorRequest::default().with_key(text("one")),
        };
        let found = loop {
            let response = client.call(version, &request);
            let found: Vec<_> = match version {
                4.. => response.coordinators.iter().map(|c| (c.error_code, c.port)).collect(),
                _ => vec![(response.error_code, response.port)],
            };
            if found.iter().all(|(code, _)| *code != 15) {
                break found; // 15: the internal topic is being made
            }
        };
        let port = i32::from(Broker::shared().port());
        assert_eq!(found, vec![(0, port); if version >= 4 { 2 } else { 1 }]);
    }
}

#[test]
fn a_member_lives_at_every_version() {
    for version in 0..=9 {
        let (mut client, group) = with_group("life");
        let (member, generation) = join(&mut client, version, &group);
        assert_eq!(generation, 1);
        let at = version.min(5);
        assert_eq!(sync(&mut client, at, &group, &member, generation), (0, vec![7; 9]));
        let beat = HeartbeatRequest::default()
            .with_group_id(id(&group))
            .with_generation_id(generation)
            .with_member_id(text(&member));
        assert_eq!(client.call(version.min(4), &beat).error_code, 0);
        let leave = match at {
            3.. => LeaveGroupRequest::default()
                .with_group_id(id(&group))
                .with_members(vec![MemberIdentity::default().with_member_id(text(&member))]),
            _ => LeaveGroupRequest::default().with_group_id(id(&group)).with_member_id(text(&member)),
        };
        let left = client.call(at, &leave);
        assert_eq!(left.error_code, 0);
        assert!(left.members.iter().all(|member| member.error_code == 0));
        assert_eq!(client.call(version.min(4), &beat).error_code, 25, "UNKNOWN_MEMBER_ID");
    }
}

#[test]
fn offsets_are_committed_and_fetched_at_every_version() {
    let (mut client, name) = with_topic("offsets");
    let (_, group) = with_group("commits");
    for version in 2..=9 {
        let response = client.call(version, &commit_request(&group, &name, i64::from(version) * 10, "note"));
        assert_eq!(response.topics[0].partitions[0].error_code, 0, "version {version}");
        for reader in 1..=9 {
            let found = committed(&mut client, reader, &group, &name);
            assert_eq!(found, (0, i64::from(version) * 10, "note".to_owned()), "read at version {reader}");
        }
    }
}

#[test]
fn a_partition_without_a_committed_offset_is_minus_one_without_an_error() {
    let (mut client, name) = with_topic("uncommitted");
    let (_, group) = with_group("never");
    for version in 1..=9 {
        assert_eq!(committed(&mut client, version, &group, &name), (0, -1, String::new()));
    }
}

#[test]
fn all_offsets_of_a_group_are_listed_without_naming_topics() {
    let (mut client, name) = with_topic("all-offsets");
    let (_, group) = with_group("all");
    client.call(8, &commit_request(&group, &name, 5, ""));
    for version in 2..=7 {
        let response = client.call(version, &OffsetFetchRequest::default().with_group_id(id(&group)).with_topics(None));
        assert_eq!(response.topics[0].partitions[0].committed_offset, 5);
    }
    let all = OffsetFetchRequestGroup::default().with_group_id(id(&group)).with_topics(None);
    let response = client.call(8, &OffsetFetchRequest::default().with_groups(vec![all]));
    assert_eq!(response.groups[0].topics[0].partitions[0].committed_offset, 5);
}

#[test]
fn commits_that_break_a_rule_are_refused() {
    let (mut client, name) = with_topic("bad-commit");
    let (_, group) = with_group("refused");
    let mut code = |request: &OffsetCommitRequest| client.call(8, request).topics[0].partitions[0].error_code;
    assert_eq!(code(&commit_request(&group, &name, 1, &"x".repeat(4097))), 12, "OFFSET_METADATA_TOO_LARGE");
    assert_eq!(code(&commit_request(&group, "nobody-made-this", 1, "")), 3, "UNKNOWN_TOPIC_OR_PARTITION");
    let (member, generation) = join(&mut client, 5, &group);
    sync(&mut client, 5, &group, &member, generation);
    let mut code = |request: &OffsetCommitRequest| client.call(8, request).topics[0].partitions[0].error_code;
    assert_eq!(code(&commit_request(&group, &name, 1, "")), 25, "no member, but the group has one");
    let from = |member: &str, generation| {
        commit_request(&group, &name, 1, "").with_member_id(text(member)).with_generation_id_or_member_epoch(generation)
    };
    assert_eq!(code(&from(&member, generation + 1)), 22, "ILLEGAL_GENERATION");
    assert_eq!(code(&from("stranger", generation)), 25, "UNKNOWN_MEMBER_ID");
    assert_eq!(code(&from(&member, generation)), 0);
}

#[test]
fn joins_that_break_a_rule_are_refused() {
    let (mut client, group) = with_group("join");
    let mut code = |request: &JoinGroupRequest| client.call(5, request).error_code;
    assert_eq!(code(&join_request("", "")), 24, "INVALID_GROUP_ID");
    assert_eq!(code(&join_request(&group, "").with_session_timeout_ms(10)), 26, "INVALID_SESSION_TIMEOUT");
    assert_eq!(code(&join_request(&group, "").with_session_timeout_ms(i32::MAX)), 26, "INVALID_SESSION_TIMEOUT");
    assert_eq!(code(&join_request(&group, "stranger")), 25, "UNKNOWN_MEMBER_ID");
    assert_eq!(code(&join_request(&group, "").with_protocols(vec![])), 23, "INCONSISTENT_GROUP_PROTOCOL");
    join(&mut client, 5, &group);
    let other = JoinGroupRequestProtocol::default().with_name(text("unheard-of"));
    let mut code = |request: &JoinGroupRequest| client.call(3, request).error_code;
    assert_eq!(code(&join_request(&group, "").with_protocols(vec![other])), 23, "no common protocol");
    assert_eq!(code(&join_request(&group, "").with_protocol_type(text("connect"))), 23, "another protocol type");
}

#[test]
fn heartbeats_and_syncs_of_a_wrong_generation_are_refused() {
    let (mut client, group) = with_group("generation");
    let (member, generation) = join(&mut client, 5, &group);
    assert_eq!(sync(&mut client, 3, &group, &member, generation + 1).0, 22);
    assert_eq!(sync(&mut client, 3, &group, "stranger", generation).0, 25);
    assert_eq!(sync(&mut client, 3, &group, &member, generation).0, 0);
    let beat = HeartbeatRequest::default().with_group_id(id(&group)).with_member_id(text(&member));
    assert_eq!(client.call(3, &beat.with_generation_id(generation + 1)).error_code, 22);
}

#[test]
fn a_static_member_comes_back_under_its_own_name_and_fences_the_one_before() {
    let (mut client, group) = with_group("static");
    let request = join_request(&group, "").with_group_instance_id(Some(text("machine-1")));
    let first = client.call(5, &request);
    assert_eq!(first.error_code, 0, "static members join in one step");
    let sync_request = |member: &str| {
        SyncGroupRequest::default()
            .with_group_id(id(&group))
            .with_generation_id(first.generation_id)
            .with_member_id(text(member))
            .with_group_instance_id(Some(text("machine-1")))
    };
    assert_eq!(client.call(3, &sync_request(first.member_id.as_str())).error_code, 0);
    let second = client.call(5, &request);
    assert_eq!((second.error_code, second.generation_id), (0, first.generation_id), "no rebalance");
    assert_ne!(second.member_id, first.member_id);
    assert_eq!(client.call(3, &sync_request(first.member_id.as_str())).error_code, 82, "FENCED_INSTANCE_ID");
}

#[test]
fn groups_are_listed_and_described_at_every_version() {
    let (mut client, group) = with_group("described");
    let (member, generation) = join(&mut client, 5, &group);
    sync(&mut client, 5, &group, &member, generation);
    for version in 0..=5 {
        let listed = client.call(version, &ListGroupsRequest::default());
        let found = listed.groups.iter().find(|found| found.group_id.as_str() == group).expect("the group is listed");
        assert_eq!(found.protocol_type.as_str(), "consumer");
        if version >= 4 {
            assert_eq!(found.group_state.as_str(), "Stable");
        }
    }
    for version in 0..=6 {
        let request = DescribeGroupsRequest::default().with_groups(vec![id(&group), id("nobody")]);
        let described = client.call(version, &request);
        let found = &described.groups[0];
        assert_eq!(
            (found.error_code, found.group_state.as_str(), found.protocol_data.as_str()),
            (0, "Stable", "range")
        );
        assert_eq!(found.members.len(), 1);
        assert_eq!(found.members[0].member_id.as_str(), member);
        assert_eq!(found.members[0].client_host.as_str(), "/127.0.0.1");
        assert_eq!(found.members[0].member_assignment.as_ref(), [7; 9]);
        let nobody = &described.groups[1];
        assert_eq!(nobody.group_state.as_str(), "Dead");
        assert_eq!(nobody.error_code, if version >= 6 { 69 } else { 0 });
    }
}

#[test]
fn states_filter_the_list_of_groups() {
    let (mut client, group) = with_group("filtered");
    join(&mut client, 5, &group);
    let listed = |client: &mut Client, state: &str| {
        let response = client.call(4, &ListGroupsRequest::default().with_states_filter(vec![text(state)]));
        response.groups.iter().any(|found| found.group_id.as_str() == group)
    };
    assert!(listed(&mut client, "CompletingRebalance"));
    assert!(listed(&mut client, "completingrebalance"));
    assert!(!listed(&mut client, "Stable"));
}

#[test]
fn a_group_is_deleted_once_it_is_empty() {
    let (mut client, name) = with_topic("delete-group");
    let (_, group) = with_group("deleted");
    let delete = |client: &mut Client, version| {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![id(&group)]);
        client.call(version, &request).results[0].error_code
    };
    assert_eq!(delete(&mut client, 0), 69, "GROUP_ID_NOT_FOUND");
    let (member, _) = join(&mut client, 5, &group);
    assert_eq!(delete(&mut client, 1), 68, "NON_EMPTY_GROUP");
    let leave = LeaveGroupRequest::default().with_group_id(id(&group)).with_member_id(text(&member));
    assert_eq!(client.call(2, &leave).error_code, 0);
    client.call(8, &commit_request(&group, &name, 3, ""));
    assert_eq!(delete(&mut client, 2), 0);
    assert_eq!(committed(&mut client, 5, &group, &name).1, -1);
}

#[test]
fn single_offsets_are_deleted() {
    let (mut client, name) = with_topic("delete-offset");
    let (_, group) = with_group("offset-delete");
    client.call(8, &commit_request(&group, &name, 3, ""));
    let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
    let wanted = OffsetDeleteRequestTopic::default().with_name(topic(&name)).with_partitions(vec![partition]);
    let response = client.call(0, &OffsetDeleteRequest::default().with_group_id(id(&group)).with_topics(vec![wanted]));
    assert_eq!((response.error_code, response.topics[0].partitions[0].error_code), (0, 0));
    assert_eq!(committed(&mut client, 5, &group, &name).1, -1);
}
