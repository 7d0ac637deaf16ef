//! KIP-345: members that keep their place across restarts.

use std::sync::Arc;

use bytes::Bytes;

use super::driver::{Driver, REBALANCE_MS, SESSION_MS, join, static_join};
use crate::group::classic::{Committer, Join, Leaving, StateName, Sync};
use crate::group::{GroupError, Joined};

/// A stable group of one static member `a` and one dynamic one; their joins, the leader first.
fn stable() -> (Driver, Joined, Joined) {
    let mut driver = Driver::new();
    let fixed = driver.join(static_join("", "a"));
    let other = driver.join_twice(join).1;
    driver.end_initial_delay();
    let (fixed, other) = (driver.joined(fixed), driver.joined(other));
    let both = if fixed.leader == fixed.member_id {
        vec![fixed.clone(), other.clone()]
    } else {
        vec![other.clone(), fixed.clone()]
    };
    driver.sync_all(&both);
    (driver, fixed, other)
}

#[test]
fn a_static_member_joins_without_being_given_an_id_first() {
    let mut driver = Driver::new();
    let token = driver.join(static_join("", "a"));
    driver.end_initial_delay();
    let joined = driver.joined(token);
    assert!(joined.member_id.starts_with("a-"));
    assert_eq!(joined.members[0].instance_id.as_deref(), Some("a"));
}

#[test]
fn a_restarted_static_member_takes_its_place_and_assignment_without_a_rebalance() {
    let (mut driver, fixed, other) = stable();
    let token = driver.join(static_join("", "a"));
    let back = driver.joined(token);
    assert_eq!(driver.state(), StateName::Stable);
    assert_ne!(back.member_id, fixed.member_id);
    assert_eq!(back.generation, 1);
    let token = driver.sync(&back, &[]);
    assert_eq!(driver.synced(token).assignment, fixed.member_id.as_bytes());
    let stored = driver.last_record();
    let member = stored.members.iter().find(|member| member.instance_id.is_some()).unwrap();
    assert_eq!(member.member_id, back.member_id, "a restarted broker must know the new id");
    assert_eq!(driver.heartbeat(&other.member_id, 1), Ok(()));
}

#[test]
fn a_restarted_leader_is_told_to_skip_the_assignment_where_its_version_can_say_so() {
    let mut driver = Driver::new();
    let token = driver.join(static_join("", "a"));
    driver.end_initial_delay();
    let first = driver.joined(token);
    driver.sync_all(std::slice::from_ref(&first));

    let token = driver.join(static_join("", "a"));
    let back = driver.joined(token);
    assert!(back.skip_assignment);
    assert_eq!((&back.leader, back.members.len()), (&back.member_id, 1));

    let token = driver.join(Join { can_skip_assignment: false, ..static_join("", "a") });
    let old = driver.joined(token);
    assert!(!old.skip_assignment && old.members.is_empty());
    assert_ne!(old.leader, old.member_id, "a leader that cannot skip must not know that it leads");
}

#[test]
fn whoever_uses_the_id_that_was_replaced_is_fenced() {
    let (mut driver, fixed, _) = stable();
    driver.join(static_join("", "a"));
    let old = fixed.member_id;
    let instance: Arc<str> = "a".into();
    let fenced = Err(GroupError::FencedInstanceId);
    assert_eq!(driver.step(|group, step| group.heartbeat(&old, Some("a"), 1, step)), fenced);
    let token = driver.join(static_join(&old, "a"));
    assert_eq!(driver.join_error(token), GroupError::FencedInstanceId);
    let committer = Committer { member_id: old.clone(), instance_id: Some(instance.clone()), generation: 1 };
    assert_eq!(driver.step(|group, step| group.admit_commit(&committer, step)), fenced);
    let leaving = Leaving { member_id: old.clone(), instance_id: Some(instance.clone()) };
    assert_eq!(driver.step(|group, step| group.leave(&[leaving], step)), [fenced]);
    let token = driver.token();
    let sync = Sync {
        token,
        member_id: old,
        instance_id: Some(instance),
        generation: 1,
        protocol_type: None,
        protocol: None,
        assignments: Default::default(),
    };
    driver.step(|group, step| group.sync(sync, step));
    assert_eq!(driver.sync_error(token), GroupError::FencedInstanceId);
}

#[test]
fn the_requests_that_the_replaced_member_left_parked_are_fenced() {
    let mut driver = Driver::new();
    let parked = driver.join(static_join("", "a"));
    let again = driver.join(static_join("", "a"));
    assert_eq!(driver.join_error(parked), GroupError::FencedInstanceId);
    driver.end_initial_delay();
    assert_eq!(driver.joined(again).members.len(), 1, "one instance is one member");
}

#[test]
fn a_member_replaced_while_the_assignment_is_made_makes_all_join_again() {
    let mut driver = Driver::new();
    let leader = driver.join_twice(join).1;
    let fixed = driver.join(static_join("", "a"));
    driver.end_initial_delay();
    let (leader, fixed) = (driver.joined(leader), driver.joined(fixed));
    let waiting = driver.sync(&fixed, &[]);
    let back = driver.join(static_join("", "a"));
    assert_eq!(driver.sync_error(waiting), GroupError::FencedInstanceId);
    assert!(driver.is_parked(back));
    let again = driver.join(join(&leader.member_id));
    assert_eq!(driver.joined(again).generation, 2);
    assert_eq!(driver.joined(back).generation, 2);
}

#[test]
fn a_restart_that_changes_the_protocol_chosen_starts_a_rebalance() {
    let mut driver = Driver::new();
    let both = |names: [&str; 2]| names.map(|name| (Arc::from(name), Bytes::new())).to_vec();
    let token = driver.join(Join { protocols: both(["range", "sticky"]), ..static_join("", "a") });
    driver.end_initial_delay();
    let joined = driver.joined(token);
    driver.sync_all(&[joined]);
    driver.join(Join { protocols: both(["sticky", "range"]), ..static_join("", "a") });
    assert_ne!(driver.state(), StateName::Stable);
}

#[test]
fn a_static_member_that_is_late_to_rejoin_keeps_its_place_until_its_session_ends() {
    let (mut driver, fixed, _) = stable();
    let (_, newcomer) = driver.join_twice(|id| Join { session_timeout_ms: 1_800_000, ..join(id) });
    // Neither of the old members rejoins, but the static one sends heartbeats.
    for _ in 0..7 {
        driver.pass(9_000);
        let _ = driver.step(|group, step| group.heartbeat(&fixed.member_id, Some("a"), 1, step));
    }
    let joined = driver.joined(newcomer);
    assert_eq!(joined.leader, joined.member_id, "only one that is there can lead");
    assert!(joined.members.iter().any(|member| member.instance_id.as_deref() == Some("a")));
    assert_eq!(joined.members.len(), 2, "the dynamic member is out");
}

#[test]
fn when_only_absent_static_members_are_left_the_group_waits_for_one_or_for_their_sessions() {
    let mut driver = Driver::new();
    let patient = |id: &str| Join { session_timeout_ms: 300_000, ..static_join(id, "a") };
    let token = driver.join(patient(""));
    let (dynamic, _) = driver.join_twice(join);
    driver.end_initial_delay();
    let generation = driver.joined(token).generation;
    driver.leave(&dynamic).unwrap();
    driver.pass(2 * REBALANCE_MS as u64);
    assert_eq!(driver.state(), StateName::PreparingRebalance);
    driver.pass(300_000);
    assert_eq!(driver.state(), StateName::Empty);
    assert!(driver.group.generation() > generation);
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance_id() {
    let (mut driver, fixed, _) = stable();
    let by_instance = |name: &str| Leaving { member_id: "".into(), instance_id: Some(name.into()) };
    let verdicts = driver.step(|group, step| group.leave(&[by_instance("a"), by_instance("b")], step));
    assert_eq!(verdicts, [Ok(()), Err(GroupError::UnknownMemberId)]);
    assert_eq!(driver.state(), StateName::PreparingRebalance);
    assert_eq!(driver.heartbeat(&fixed.member_id, 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_static_member_that_leaves_silently_is_missed_only_after_its_session() {
    let (mut driver, _, other) = stable();
    driver.pass(SESSION_MS as u64 - 1);
    assert_eq!(driver.heartbeat(&other.member_id, 1), Ok(()));
    driver.pass(1);
    assert_eq!(driver.heartbeat(&other.member_id, 1), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_full_group_still_takes_a_restarted_static_member() {
    let (mut driver, _, _) = stable();
    driver.config.max_size = 2;
    let token = driver.join(static_join("", "a"));
    assert_eq!(driver.joined(token).generation, 1);
}

#[test]
fn a_member_id_that_was_given_to_a_dynamic_member_cannot_become_static() {
    let mut driver = Driver::new();
    let token = driver.join(join(""));
    let id = driver.join_refused(token).member_id;
    let token = driver.join(static_join(&id, "a"));
    assert_eq!(driver.join_error(token), GroupError::UnknownMemberId);
    let token = driver.join(static_join("made-up", "never-seen"));
    assert_eq!(driver.join_error(token), GroupError::UnknownMemberId);
}
