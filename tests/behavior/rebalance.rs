//! Classic groups: members come, share, go silent and leave; the others take over.

use std::time::{Duration, Instant};

use bytes::Bytes;
use jackdaw_test_support::messages::join_group_request::JoinGroupRequestProtocol;
use jackdaw_test_support::messages::leave_group_request::MemberIdentity;
use jackdaw_test_support::messages::sync_group_request::SyncGroupRequestAssignment;
use jackdaw_test_support::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
    SyncGroupResponse,
};
use jackdaw_test_support::requests::{self, text};
use jackdaw_test_support::wire::Quiet;
use jackdaw_test_support::{Broker, Client, Options};

use crate::{client, unique};

const UNKNOWN_MEMBER: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;

struct Member {
    client: Client,
    group: String,
    id: String,
    generation: i32,
    session_timeout_ms: i32,
    rebalance_timeout_ms: i32,
}

impl Member {
    fn new(client: Client, group: &str) -> Member {
        let (id, generation) = (String::new(), -1);
        let group = group.to_owned();
        Member { client, group, id, generation, session_timeout_ms: 30_000, rebalance_timeout_ms: 30_000 }
    }

    fn group_id(&self) -> GroupId {
        GroupId(text(&self.group))
    }

    /// Version 3 joins in one step.
    fn ask_to_join(&mut self) -> i32 {
        let protocol =
            JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from_static(b"m"));
        let request = JoinGroupRequest::default()
            .with_group_id(self.group_id())
            .with_session_timeout_ms(self.session_timeout_ms)
            .with_rebalance_timeout_ms(self.rebalance_timeout_ms)
            .with_member_id(text(&self.id))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        self.client.send(3, &request)
    }

    fn joined(&mut self, id: i32) -> JoinGroupResponse {
        let response = self.client.recv::<JoinGroupRequest>(3, id);
        assert_eq!(response.error_code, 0);
        (self.id, self.generation) = (response.member_id.to_string(), response.generation_id);
        response
    }

    fn join(&mut self) -> JoinGroupResponse {
        let id = self.ask_to_join();
        self.joined(id)
    }

    /// The leader hands each member its own name as assignment.
    fn ask_to_sync(&mut self, joined: &JoinGroupResponse) -> i32 {
        let assign = |id: &str| {
            let assignment = Bytes::copy_from_slice(id.as_bytes());
            SyncGroupRequestAssignment::default().with_member_id(text(id)).with_assignment(assignment)
        };
        let request = SyncGroupRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_assignments(joined.members.iter().map(|member| assign(member.member_id.as_str())).collect());
        self.client.send(3, &request)
    }

    fn synced(&mut self, id: i32) -> SyncGroupResponse {
        self.client.recv::<SyncGroupRequest>(3, id)
    }

    fn beat(&mut self) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id));
        self.client.call(3, &request).error_code
    }

    /// Beats until the answer is another, as clients do.
    fn beat_until(&mut self, code: i16) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.beat() != code {
            assert!(Instant::now() < deadline, "no heartbeat was ever answered with {code}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn leave(&mut self) {
        let me = MemberIdentity::default().with_member_id(text(&self.id));
        let request = LeaveGroupRequest::default().with_group_id(self.group_id()).with_members(vec![me]);
        let response = self.client.call(3, &request);
        assert_eq!((response.error_code, response.members[0].error_code), (0, 0));
    }
}

/// Two members of one stable group, the leader first.
fn two_members(mut open: impl FnMut() -> Client, session_timeout_of_second_ms: i32) -> (Member, Member) {
    let group = unique("group");
    let (mut one, mut two) = (Member::new(open(), &group), Member::new(open(), &group));
    requests::coordinator(&mut one.client, &group);
    two.session_timeout_ms = session_timeout_of_second_ms;
    let first = one.join();
    let id = one.ask_to_sync(&first);
    assert_eq!(one.synced(id).error_code, 0);
    let waiting = two.ask_to_join();
    one.beat_until(REBALANCE_IN_PROGRESS);
    let leader = one.join();
    let follower = two.joined(waiting);
    sync_both(&mut one, &leader, &mut two, &follower);
    (one, two)
}

fn sync_both(
    leader: &mut Member,
    joined: &JoinGroupResponse,
    follower: &mut Member,
    follower_joined: &JoinGroupResponse,
) {
    assert_eq!(joined.leader.as_str(), leader.id);
    let waiting = follower.ask_to_sync(follower_joined);
    let leading = leader.ask_to_sync(joined);
    for (member, id) in [(leader, leading), (follower, waiting)] {
        let synced = member.synced(id);
        assert_eq!((synced.error_code, synced.assignment.as_ref()), (0, member.id.as_bytes()));
    }
}

#[test]
fn two_members_agree_on_leader_generation_and_assignments() {
    let (mut one, mut two) = two_members(client, 30_000);
    assert_eq!(one.generation, two.generation);
    assert_eq!((one.beat(), two.beat()), (0, 0));
}

#[test]
fn only_the_leader_is_told_the_members() {
    let group = unique("told");
    let (mut one, mut two) = (Member::new(client(), &group), Member::new(client(), &group));
    requests::coordinator(&mut one.client, &group);
    one.join();
    let waiting = two.ask_to_join();
    one.beat_until(REBALANCE_IN_PROGRESS); // the second is known by then
    let leader = one.join();
    let follower = two.joined(waiting);
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));
    assert_eq!(leader.protocol_name.as_ref().map(|name| name.as_str()), Some("range"));
}

#[test]
fn a_follower_waits_for_the_leaders_assignment() {
    let group = unique("waits");
    let (mut one, mut two) = (Member::new(client(), &group), Member::new(client(), &group));
    requests::coordinator(&mut one.client, &group);
    one.join();
    let waiting = two.ask_to_join();
    one.beat_until(REBALANCE_IN_PROGRESS); // the second is known by then
    let leader = one.join();
    let follower = two.joined(waiting);
    let waiting = two.ask_to_sync(&follower);
    assert_eq!(two.client.quiet(), Quiet::Open);
    let leading = one.ask_to_sync(&leader);
    assert_eq!(one.synced(leading).error_code, 0);
    assert_eq!(two.synced(waiting).assignment.as_ref(), two.id.as_bytes());
}

#[test]
fn one_who_leaves_makes_the_other_join_again_and_take_over() {
    let (mut one, mut two) = two_members(client, 30_000);
    two.leave();
    one.beat_until(REBALANCE_IN_PROGRESS);
    let generation = one.generation;
    let joined = one.join();
    assert_eq!((joined.members.len(), joined.generation_id), (1, generation + 1));
    assert_eq!(two.beat(), UNKNOWN_MEMBER);
}

#[test]
fn one_who_goes_silent_is_removed_after_its_session_timeout() {
    let broker = Options::new().set("group.min.session.timeout.ms", 100).start();
    // Long enough that a loaded machine does not keep a living member from joining within it.
    let (mut one, two) = two_members(|| broker.client(), 3_000);
    drop(two);
    one.beat_until(REBALANCE_IN_PROGRESS);
    assert_eq!(one.join().members.len(), 1);
}

#[test]
fn one_who_does_not_join_again_in_time_is_removed() {
    let group = unique("slow");
    let (mut one, mut two) = (Member::new(client(), &group), Member::new(client(), &group));
    requests::coordinator(&mut one.client, &group);
    (one.rebalance_timeout_ms, two.rebalance_timeout_ms) = (1_500, 1_500);
    let first = one.join();
    let id = one.ask_to_sync(&first);
    one.synced(id);
    let start = Instant::now();
    let waiting = two.ask_to_join();
    let joined = two.joined(waiting);
    assert!(start.elapsed() >= Duration::from_millis(1_490), "the first has its rebalance timeout to come back");
    assert_eq!(joined.members.len(), 1);
    assert_eq!(one.beat(), UNKNOWN_MEMBER);
}

#[test]
fn a_new_group_waits_for_more_members_before_its_first_generation() {
    let broker = Options::new().set("group.initial.rebalance.delay.ms", 2_000).start();
    let group = unique("delay");
    let (mut one, mut two) = (Member::new(broker.client(), &group), Member::new(broker.client(), &group));
    requests::coordinator(&mut one.client, &group);
    let start = Instant::now();
    let (first, second) = (one.ask_to_join(), two.ask_to_join());
    let (first, second) = (one.joined(first), two.joined(second));
    assert!(start.elapsed() >= Duration::from_millis(1_990));
    assert_eq!((first.generation_id, second.generation_id), (1, 1), "both are in the first generation");
    assert_eq!(first.members.len() + second.members.len(), 2);
}

#[test]
fn a_full_group_refuses_one_more() {
    let broker = Options::new().set("group.max.size", 1).start();
    let group = unique("full");
    let (mut one, mut two) = (Member::new(broker.client(), &group), Member::new(broker.client(), &group));
    requests::coordinator(&mut one.client, &group);
    one.join();
    let id = two.ask_to_join();
    assert_eq!(two.client.recv::<JoinGroupRequest>(3, id).error_code, 81, "GROUP_MAX_SIZE_REACHED");
}

#[test]
fn a_stable_group_survives_a_restart_of_the_broker() {
    let mut broker = Broker::start();
    let (one, two) = two_members(|| broker.client(), 30_000);
    broker.kill();
    broker.start_again();
    for mut member in [one, two] {
        member.client = broker.client();
        requests::coordinator(&mut member.client, &member.group);
        assert_eq!(member.beat(), 0, "no rebalance, though the broker was killed");
    }
}
