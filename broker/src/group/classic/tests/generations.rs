//! From the first join to a stable generation, and from one generation to the next.

use std::sync::Arc;

use bytes::Bytes;

use super::driver::{DELAY_MS, Driver, REBALANCE_MS, SESSION_MS, join, subscription};
use crate::group::classic::{ClassicGroup, Join, StateName};
use crate::group::{GroupError, Joined, Token};

#[test]
fn the_first_member_waits_for_the_initial_delay_then_leads_a_group_of_its_own() {
    let mut driver = Driver::new();
    let (id, token) = driver.join_twice(join);
    assert_eq!(driver.state(), StateName::PreparingRebalance);
    driver.pass(DELAY_MS - 1);
    assert!(driver.is_parked(token));
    driver.pass(1);
    let joined = driver.joined(token);
    assert_eq!((joined.generation, &joined.leader, &joined.member_id), (1, &id, &id));
    assert_eq!((joined.protocol_type.as_deref(), joined.protocol.as_deref()), (Some("consumer"), Some("range")));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(joined.members[0].metadata, subscription(&["t"]));
    assert!(!joined.skip_assignment);
    assert_eq!(driver.state(), StateName::CompletingRebalance);
    assert!(driver.records.is_empty(), "a generation without an assignment is not stored");

    let token = driver.sync(&joined, &[(&id, "all of it")]);
    assert_eq!(driver.synced(token).assignment, "all of it");
    assert_eq!(driver.state(), StateName::Stable);
    let stored = driver.last_record();
    assert_eq!((stored.generation, stored.members.len()), (1, 1));
    assert_eq!(stored.members[0].assignment, "all of it");
    assert_eq!(stored.state_since_ms, Some(driver.now_ms));
}

#[test]
fn members_that_keep_coming_prolong_the_initial_delay_up_to_the_rebalance_timeout() {
    let mut driver = Driver::new();
    let mut tokens = vec![driver.join_twice(join).1];
    let start = driver.now_ms;
    while driver.state() == StateName::PreparingRebalance {
        driver.pass(DELAY_MS - 1);
        if driver.state() == StateName::PreparingRebalance {
            tokens.push(driver.join_twice(join).1);
        }
        driver.pass(1);
    }
    assert_eq!(driver.now_ms - start, i64::from(REBALANCE_MS));
    assert!(tokens.iter().all(|token| driver.joined(*token).generation == 1));
}

#[test]
fn a_delay_of_zero_starts_the_first_generation_at_once() {
    let mut driver = Driver::new();
    driver.config.initial_rebalance_delay_ms = 0;
    let (_, token) = driver.join_twice(join);
    assert_eq!(driver.joined(token).generation, 1);
}

#[test]
fn only_the_leader_sees_the_members() {
    let (_, joined) = Driver::stable(3);
    assert_eq!(joined[0].members.len(), 3);
    assert!(joined[1..].iter().all(|joined| joined.members.is_empty() && joined.leader == joined.leader));
}

#[test]
fn followers_wait_for_the_leaders_assignment_and_get_their_own_share() {
    let mut driver = Driver::new();
    let tokens = [driver.join_twice(join).1, driver.join_twice(join).1];
    driver.end_initial_delay();
    let joined = tokens.map(|token| driver.joined(token));
    let (leader, follower) =
        if joined[0].member_id == joined[0].leader { (&joined[0], &joined[1]) } else { (&joined[1], &joined[0]) };
    let waiting = driver.sync(follower, &[]);
    assert!(driver.is_parked(waiting));
    let leading = driver.sync(leader, &[(&leader.member_id, "mine"), (&follower.member_id, "yours")]);
    assert_eq!(driver.synced(leading).assignment, "mine");
    assert_eq!(driver.synced(waiting).assignment, "yours");
    assert_eq!(driver.synced(waiting).protocol.as_deref(), Some("range"));
}

#[test]
fn a_member_that_the_leader_forgot_gets_an_empty_assignment_and_strangers_are_ignored() {
    let mut driver = Driver::new();
    let tokens = [driver.join_twice(join).1, driver.join_twice(join).1];
    driver.end_initial_delay();
    let mut joined = tokens.map(|token| driver.joined(token));
    joined.sort_by_key(|joined| joined.member_id != joined.leader);
    driver.sync(&joined[0], &[(&joined[0].leader, "mine"), ("nobody", "lost")]);
    let token = driver.sync(&joined[1], &[]);
    assert!(driver.synced(token).assignment.is_empty());
    assert_eq!(driver.last_record().members.len(), 2);
}

#[test]
fn a_sync_that_comes_after_the_leaders_is_answered_at_once() {
    let (mut driver, joined) = Driver::stable(2);
    let token = driver.sync(&joined[1], &[]);
    assert_eq!(driver.synced(token).assignment, joined[1].member_id.as_bytes());
}

#[test]
fn a_sync_is_refused_for_a_wrong_member_generation_or_protocol() {
    let (mut driver, joined) = Driver::stable(1);
    let of = |change: &dyn Fn(&mut Joined)| {
        let mut joined = joined[0].clone();
        change(&mut joined);
        joined
    };
    let cases: [(Joined, GroupError); 4] = [
        (of(&|joined| joined.member_id = "nobody".into()), GroupError::UnknownMemberId),
        (of(&|joined| joined.generation = 9), GroupError::IllegalGeneration),
        (of(&|joined| joined.protocol_type = Some("connect".into())), GroupError::InconsistentGroupProtocol),
        (of(&|joined| joined.protocol = Some("sticky".into())), GroupError::InconsistentGroupProtocol),
    ];
    for (joined, error) in cases {
        let token = driver.sync(&joined, &[]);
        assert_eq!(driver.sync_error(token), error);
    }
}

#[test]
fn a_newcomer_sends_everybody_back_to_join_and_the_next_generation_has_all() {
    let (mut driver, joined) = Driver::stable(1);
    let (_, newcomer) = driver.join_twice(join);
    assert_eq!(driver.state(), StateName::PreparingRebalance);
    assert!(driver.is_parked(newcomer));
    let old = &joined[0].member_id;
    assert_eq!(driver.heartbeat(old, 1), Err(GroupError::RebalanceInProgress));
    let token = driver.sync(&joined[0], &[]);
    assert_eq!(driver.sync_error(token), GroupError::RebalanceInProgress);
    let again = driver.join(join(old));
    let (first, second) = (driver.joined(again), driver.joined(newcomer));
    assert_eq!((first.generation, second.generation), (2, 2));
    assert_eq!(first.leader, *old, "the leader stays");
    driver.sync_all(&[first, second]);
}

#[test]
fn a_newcomer_during_the_assignment_sends_those_who_wait_for_it_back_to_join() {
    let mut driver = Driver::new();
    let tokens = [driver.join_twice(join).1, driver.join_twice(join).1];
    driver.end_initial_delay();
    let mut joined = tokens.map(|token| driver.joined(token));
    joined.sort_by_key(|joined| joined.member_id != joined.leader);
    let waiting = driver.sync(&joined[1], &[]);
    driver.join_twice(join);
    assert_eq!(driver.sync_error(waiting), GroupError::RebalanceInProgress);
    let late = driver.sync(&joined[0], &[(&joined[0].leader, "too late")]);
    assert_eq!(driver.sync_error(late), GroupError::RebalanceInProgress);
    assert!(driver.records.is_empty());
}

#[test]
fn members_that_do_not_rejoin_in_time_are_put_out_and_the_rest_goes_on() {
    let (mut driver, joined) = Driver::stable(3);
    let (_, newcomer) = driver.join_twice(join);
    let back = driver.join(join(&joined[1].member_id));
    for _ in 0..6 {
        // The others send heartbeats but never rejoin.
        driver.pass(9_000);
        let _ = driver.heartbeat(&joined[0].member_id, 1);
        let _ = driver.heartbeat(&joined[2].member_id, 1);
    }
    assert!(driver.is_parked(back));
    driver.pass(REBALANCE_MS as u64 - 6 * 9_000);
    let answers = [driver.joined(newcomer), driver.joined(back)];
    let leader = answers.iter().find(|joined| joined.leader == joined.member_id).unwrap();
    assert_eq!(leader.members.len(), 2);
    assert_eq!(driver.heartbeat(&joined[0].member_id, 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_generation_whose_members_never_sync_puts_them_out() {
    let mut driver = Driver::new();
    let tokens = [driver.join_twice(join).1, driver.join_twice(join).1];
    driver.pass(2 * DELAY_MS);
    let mut joined = tokens.map(|token| driver.joined(token));
    joined.sort_by_key(|joined| joined.member_id != joined.leader);
    let waiting = driver.sync(&joined[1], &[]);
    for _ in 0..7 {
        driver.pass(9_000);
        let _ = driver.heartbeat(&joined[0].member_id, 1);
    }
    assert_eq!(driver.sync_error(waiting), GroupError::RebalanceInProgress);
    assert_eq!(driver.heartbeat(&joined[0].member_id, 1), Err(GroupError::UnknownMemberId));
    let again = driver.join(join(&joined[1].member_id));
    assert_eq!(driver.joined(again).generation, 2);
}

#[test]
fn the_protocol_is_one_that_all_support_and_most_prefer() {
    let with = |names: &'static [&'static str]| {
        move |id: &str| Join {
            protocols: names.iter().map(|name| (Arc::from(*name), Bytes::from_static(b"m"))).collect(),
            ..join(id)
        }
    };
    let mut driver = Driver::new();
    let token = driver.join_twice(with(&["range", "sticky", "only-mine"])).1;
    driver.join_twice(with(&["sticky", "range"]));
    driver.join_twice(with(&["sticky", "range"]));
    driver.end_initial_delay();
    assert_eq!(driver.joined(token).protocol.as_deref(), Some("sticky"));
}

#[test]
fn a_member_without_a_common_protocol_is_refused() {
    let (mut driver, _) = Driver::stable(1);
    let other = |protocol: &str| vec![(Arc::from(protocol), Bytes::new())];
    let token = driver.join(Join { protocols: other("sticky"), ..join("") });
    assert_eq!(driver.join_error(token), GroupError::InconsistentGroupProtocol);
    let token = driver.join(Join { protocol_type: "connect".into(), ..join("") });
    assert_eq!(driver.join_error(token), GroupError::InconsistentGroupProtocol);
    let mut driver = Driver::new();
    let token = driver.join(Join { protocols: vec![], ..join("") });
    assert_eq!(driver.join_error(token), GroupError::InconsistentGroupProtocol);
    let token = driver.join(Join { protocol_type: "".into(), ..join("") });
    assert_eq!(driver.join_error(token), GroupError::InconsistentGroupProtocol);
    assert!(driver.group.is_trace(), "a refused member leaves nothing behind");
}

#[test]
fn a_follower_that_rejoins_unchanged_gets_the_current_generation_and_disturbs_nobody() {
    let (mut driver, joined) = Driver::stable(2);
    let token = driver.join(join(&joined[1].member_id));
    let again = driver.joined(token);
    assert_eq!((again.generation, again.leader), (1, joined[0].leader.clone()));
    assert!(again.members.is_empty());
    assert_eq!(driver.state(), StateName::Stable);
}

#[test]
fn a_leader_that_rejoins_or_a_member_with_new_metadata_starts_a_rebalance() {
    let (mut driver, joined) = Driver::stable(2);
    driver.join(join(&joined[0].leader));
    assert_eq!(driver.state(), StateName::PreparingRebalance);
    let (mut driver, joined) = Driver::stable(2);
    let changed = vec![(Arc::from("range"), subscription(&["t", "u"]))];
    driver.join(Join { protocols: changed, ..join(&joined[1].member_id) });
    assert_eq!(driver.state(), StateName::PreparingRebalance);
}

#[test]
fn a_lost_join_answer_can_be_asked_for_again_during_the_assignment() {
    let mut driver = Driver::new();
    let (id, token) = driver.join_twice(join);
    driver.pass(DELAY_MS);
    let again = driver.join(join(&id));
    assert_eq!(driver.joined(again), driver.joined(token));
}

#[test]
fn an_assignment_too_large_for_the_log_fails_the_generation_and_not_the_broker() {
    let mut driver = Driver::new();
    driver.config.max_record_bytes = 1000;
    let (id, token) = driver.join_twice(join);
    driver.pass(DELAY_MS);
    let joined = driver.joined(token);
    let huge: &'static str = Box::leak("x".repeat(1000).into_boxed_str());
    let token = driver.sync(&joined, &[(&id, huge)]);
    assert!(matches!(driver.sync_error(token), GroupError::RecordTooLarge { limit: 1000, .. }));
    assert_eq!(driver.state(), StateName::PreparingRebalance);
    assert!(driver.records.is_empty());
}

#[test]
fn a_group_that_everybody_left_is_empty_and_stored_so() {
    let (mut driver, joined) = Driver::stable(2);
    assert_eq!(driver.leave(&joined[0].member_id), Ok(()));
    assert_eq!(driver.state(), StateName::PreparingRebalance);
    assert_eq!(driver.leave(&joined[1].member_id), Ok(()));
    assert_eq!(driver.state(), StateName::Empty);
    let stored = driver.last_record();
    assert_eq!((stored.generation, stored.members.len(), stored.leader), (2, 0, None));
    assert_eq!(&*stored.protocol_type, "consumer");
    assert!(!driver.has_timers());
}

#[test]
fn a_group_comes_back_from_its_record_as_it_was_stored() {
    let (driver, joined) = Driver::stable(3);
    let mut loaded = Driver::with(ClassicGroup::from_value("g".into(), driver.last_record()));
    assert_eq!(loaded.group.to_record(), driver.group.to_record());
    assert_eq!(loaded.state(), StateName::Stable);
    loaded.step(|group, step| group.resume(step));
    for member in &joined {
        assert_eq!(loaded.heartbeat(&member.member_id, 1), Ok(()));
        let token = loaded.sync(member, &[]);
        assert_eq!(loaded.synced(token).assignment, member.member_id.as_bytes());
    }
    loaded.pass(SESSION_MS as u64);
    assert_eq!(loaded.state(), StateName::Empty, "their sessions run from the moment of loading");
}

#[test]
fn generations_never_become_negative() {
    let (mut driver, joined) = Driver::stable(1);
    let mut value = driver.last_record();
    value.generation = i32::MAX;
    driver = Driver::with(ClassicGroup::from_value("g".into(), value));
    let token: Token = driver.join(join(&joined[0].member_id));
    assert_eq!(driver.joined(token).generation, 1);
}
