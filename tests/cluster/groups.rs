//! Groups whose coordinator dies.

use jackdaw_test_support::messages::join_group_request::JoinGroupRequestProtocol;
use jackdaw_test_support::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use jackdaw_test_support::messages::sync_group_request::SyncGroupRequestAssignment;
use jackdaw_test_support::messages::{
    FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, OffsetCommitRequest, OffsetFetchRequest,
    SyncGroupRequest,
};
use jackdaw_test_support::requests::{text, topic};
use jackdaw_test_support::{Cluster, ClusterOptions};

const GROUP: &str = "readers";
/// COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR: ask again, perhaps elsewhere.
const ASK_AGAIN: [i16; 3] = [14, 15, 16];

fn id() -> GroupId {
    GroupId(text(GROUP))
}

fn find(cluster: &Cluster) -> Option<i32> {
    let found = cluster.ask_any(3, &FindCoordinatorRequest::default().with_key(text(GROUP)))?;
    (found.error_code == 0).then_some(found.node_id.0)
}

/// What the coordinator answers, once there is one; `code` finds the error in an answer.
fn call<R>(cluster: &Cluster, version: i16, request: &R, code: impl Fn(&R::Response) -> i16) -> R::Response
where
    R: jackdaw_test_support::wire::Request,
{
    cluster.wait_for("an answer of the group's coordinator", |cluster| {
        let answer = cluster.ask(find(cluster)?, version, request)?;
        (!ASK_AGAIN.contains(&code(&answer))).then_some(answer)
    })
}

fn join(cluster: &Cluster, member: &str) -> (i16, String, i32) {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(vec![0, 1, 2].into());
    let request = JoinGroupRequest::default()
        .with_group_id(id())
        .with_session_timeout_ms(60_000)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let answer = call(cluster, 5, &request, |answer| answer.error_code);
    (answer.error_code, answer.member_id.to_string(), answer.generation_id)
}

fn commit(cluster: &Cluster, member: &str, generation: i32, offset: i64) -> i16 {
    let partition =
        OffsetCommitRequestPartition::default().with_committed_offset(offset).with_committed_leader_epoch(-1);
    let wanted = OffsetCommitRequestTopic::default().with_name(topic("read")).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(id())
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member))
        .with_topics(vec![wanted]);
    let code =
        |answer: &jackdaw_test_support::messages::OffsetCommitResponse| answer.topics[0].partitions[0].error_code;
    code(&call(cluster, 7, &request, code))
}

fn fetch() -> OffsetFetchRequest {
    OffsetFetchRequest::default().with_group_id(id()).with_topics(None)
}

fn committed(cluster: &Cluster) -> i64 {
    let answer = call(cluster, 5, &fetch(), |answer| answer.error_code);
    answer.topics[0].partitions[0].committed_offset
}

fn beat(cluster: &Cluster, member: &str, generation: i32) -> i16 {
    let request =
        HeartbeatRequest::default().with_group_id(id()).with_member_id(text(member)).with_generation_id(generation);
    call(cluster, 3, &request, |answer| answer.error_code).error_code
}

/// The next coordinator reads what the last one has written: who is a member, which generation it is, what was committed.
#[test]
fn a_group_goes_on_in_its_generation_with_all_its_offsets_when_its_coordinator_dies() {
    let mut cluster = ClusterOptions::nodes(3).start();
    cluster.create_topic("read", 1, 3, &[]);
    let (code, member, _) = join(&cluster, "");
    assert_eq!(code, 79, "MEMBER_ID_REQUIRED");
    let (code, member, generation) = join(&cluster, &member);
    assert_eq!(code, 0);
    let assignment =
        SyncGroupRequestAssignment::default().with_member_id(text(&member)).with_assignment(vec![7; 9].into());
    let request = SyncGroupRequest::default()
        .with_group_id(id())
        .with_generation_id(generation)
        .with_member_id(text(&member))
        .with_assignments(vec![assignment]);
    assert_eq!(call(&cluster, 3, &request, |answer| answer.error_code).error_code, 0);
    for index in 0..3 {
        cluster.wait_isr("__consumer_offsets", index, &[1, 2, 3]);
    }
    let mut offset = 0;
    // Each in turn: the second coordinator has loaded what the first had written, and written more.
    for _ in 0..3 {
        for _ in 0..5 {
            offset += 1;
            assert_eq!(commit(&cluster, &member, generation, offset), 0);
        }
        let coordinator = find(&cluster).unwrap();
        cluster.kill(coordinator);
        cluster.wait_for("another coordinator", |cluster| find(cluster).filter(|now| *now != coordinator));
        assert_eq!(beat(&cluster, &member, generation), 0, "its generation is what it was");
        assert_eq!(committed(&cluster), offset);
        offset += 1;
        assert_eq!(commit(&cluster, &member, generation, offset), 0);
        cluster.start_node(coordinator);
        for index in 0..3 {
            cluster.wait_isr("__consumer_offsets", index, &[1, 2, 3]);
        }
    }
    assert_eq!(committed(&cluster), offset);
}

/// Found by `jackdaw chaos`: a consumer that started just then read again what it had committed as read.
#[test]
fn a_coordinator_that_was_frozen_tells_no_offsets_that_were_overtaken_meanwhile() {
    let cluster = ClusterOptions::nodes(3)
        .set("broker.session.timeout.ms", 2000)
        .set("broker.heartbeat.interval.ms", 500)
        .start();
    cluster.create_topic("read", 1, 3, &[]);
    assert_eq!(commit(&cluster, "", -1, 1), 0);
    for index in 0..3 {
        cluster.wait_isr("__consumer_offsets", index, &[1, 2, 3]);
    }
    let frozen = find(&cluster).unwrap();
    cluster.pause(frozen);
    cluster.wait_for("another coordinator", |cluster| find(cluster).filter(|now| *now != frozen));
    assert_eq!(commit(&cluster, "", -1, 2), 0);
    cluster.resume(frozen);
    cluster.wait_for("the woken node to know that it coordinates no more", |cluster| {
        let answer = cluster.ask(frozen, 5, &fetch())?;
        let told = answer.topics.first().map(|topic| topic.partitions[0].committed_offset);
        assert!(matches!((answer.error_code, told), (0, Some(2)) | (14..=16, None)), "{answer:?}");
        let found = cluster.ask(frozen, 3, &FindCoordinatorRequest::default().with_key(text(GROUP)))?;
        (found.error_code == 0 && found.node_id.0 != frozen).then_some(())
    });
    assert_eq!(committed(&cluster), 2);
}
