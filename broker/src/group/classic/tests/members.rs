//! Coming, being there, and going.

use super::driver::{DELAY_MS, Driver, SESSION_MS, join};
use crate::group::classic::{ClassicGroup, Committer, Join, StateName};
use crate::group::{GroupError, NEW_MEMBER_JOIN_TIMEOUT_MS};

#[test]
fn a_member_without_an_id_is_given_one_and_must_come_back_with_it() {
    let mut driver = Driver::new();
    let token = driver.join(join(""));
    let refused = driver.join_refused(token);
    assert_eq!(refused.error, GroupError::MemberIdRequired);
    assert!(refused.member_id.starts_with("app-"));
    assert_eq!(driver.state(), StateName::Empty);
    let token = driver.join(join(&refused.member_id));
    driver.pass(DELAY_MS);
    assert_eq!(driver.joined(token).member_id, refused.member_id);
}

#[test]
fn clients_from_before_that_rule_join_at_once() {
    let mut driver = Driver::new();
    let token = driver.join(Join { requires_known_id: false, ..join("") });
    driver.pass(DELAY_MS);
    assert!(driver.joined(token).member_id.starts_with("app-"));
}

#[test]
fn a_member_that_never_comes_back_with_its_id_is_forgotten_after_its_session_timeout() {
    let mut driver = Driver::new();
    let token = driver.join(join(""));
    let id = driver.join_refused(token).member_id;
    driver.pass(SESSION_MS as u64);
    let token = driver.join(join(&id));
    assert_eq!(driver.join_error(token), GroupError::UnknownMemberId);
    assert!(driver.group.is_trace() && !driver.has_timers());
}

#[test]
fn a_rebalance_waits_for_a_member_that_was_given_its_id_until_that_expires() {
    let (mut driver, joined) = Driver::stable(1);
    driver.join(join(""));
    let again = driver.join(join(&joined[0].member_id));
    assert!(driver.is_parked(again));
    driver.pass(SESSION_MS as u64);
    assert_eq!(driver.joined(again).generation, 2);
}

#[test]
fn a_long_client_id_gives_a_member_id_that_fits_every_version() {
    let mut driver = Driver::new();
    let client_id = "ä".repeat(16_000);
    let token = driver.join(Join { client_id: client_id.as_str().into(), ..join("") });
    assert!(driver.join_refused(token).member_id.len() < 300);
}

#[test]
fn unknown_ids_are_refused() {
    let (mut driver, _) = Driver::stable(1);
    let token = driver.join(join("nobody"));
    assert_eq!(driver.join_error(token), GroupError::UnknownMemberId);
    assert_eq!(driver.heartbeat("nobody", 1), Err(GroupError::UnknownMemberId));
    assert_eq!(driver.leave("nobody"), Err(GroupError::UnknownMemberId));
    assert_eq!(driver.state(), StateName::Stable);
}

#[test]
fn heartbeats_keep_a_member_and_silence_puts_it_out() {
    let (mut driver, joined) = Driver::stable(2);
    for _ in 0..10 {
        driver.pass(SESSION_MS as u64 - 1);
        if driver.heartbeat(&joined[0].member_id, 1) == Err(GroupError::RebalanceInProgress) {
            break;
        }
    }
    assert_eq!(driver.state(), StateName::PreparingRebalance, "the silent one is gone and its share is free");
    let again = driver.join(join(&joined[0].member_id));
    assert_eq!(driver.joined(again).members.len(), 1);
    assert_eq!(driver.heartbeat(&joined[1].member_id, 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn heartbeats_of_another_generation_are_refused_and_do_not_prolong() {
    let (mut driver, joined) = Driver::stable(1);
    driver.pass(SESSION_MS as u64 - 1);
    assert_eq!(driver.heartbeat(&joined[0].member_id, 2), Err(GroupError::IllegalGeneration));
    driver.pass(1);
    assert_eq!(driver.state(), StateName::Empty);
}

#[test]
fn heartbeats_count_while_the_assignment_is_made() {
    let mut driver = Driver::new();
    let (id, token) = driver.join_twice(join);
    driver.pass(DELAY_MS);
    let joined = driver.joined(token);
    for _ in 0..3 {
        driver.pass(SESSION_MS as u64 - 1);
        assert_eq!(driver.heartbeat(&id, joined.generation), Ok(()));
    }
}

#[test]
fn waiting_for_an_answer_counts_as_being_there() {
    let (mut driver, joined) = Driver::stable(2);
    let again = driver.join(join(&joined[0].member_id));
    driver.pass(SESSION_MS as u64 - 1);
    let _ = driver.heartbeat(&joined[1].member_id, 1);
    driver.pass(SESSION_MS as u64 - 1);
    assert!(driver.is_parked(again), "its session ended while it was parked, and it is still in");
    driver.join(join(&joined[1].member_id));
    let generation = driver.joined(again).generation;
    driver.pass(SESSION_MS as u64 - 1);
    assert_eq!(driver.heartbeat(&joined[0].member_id, generation), Ok(()), "its session began anew");
}

#[test]
fn a_new_member_that_is_parked_for_too_long_is_put_out() {
    let (mut driver, joined) = Driver::stable(1);
    let long = |id: &str| Join { rebalance_timeout_ms: 2 * NEW_MEMBER_JOIN_TIMEOUT_MS as i32, ..join(id) };
    let (_, newcomer) = driver.join_twice(long);
    for _ in 0..NEW_MEMBER_JOIN_TIMEOUT_MS / 5_000 {
        driver.pass(5_000);
        let _ = driver.heartbeat(&joined[0].member_id, 1);
    }
    assert_eq!(driver.join_error(newcomer), GroupError::UnknownMemberId);
}

#[test]
fn a_member_that_leaves_while_it_is_parked_gets_its_answers() {
    let mut driver = Driver::new();
    let (id, token) = driver.join_twice(join);
    assert_eq!(driver.leave(&id), Ok(()));
    assert_eq!(driver.join_error(token), GroupError::UnknownMemberId);

    let tokens = [driver.join_twice(join).1, driver.join_twice(join).1];
    driver.end_initial_delay();
    let mut joined = tokens.map(|token| driver.joined(token));
    joined.sort_by_key(|joined| joined.member_id != joined.leader);
    let waiting = driver.sync(&joined[1], &[]);
    assert_eq!(driver.leave(&joined[1].member_id), Ok(()));
    assert_eq!(driver.sync_error(waiting), GroupError::UnknownMemberId);
}

#[test]
fn a_request_that_its_client_gave_up_is_answered_when_the_next_one_comes() {
    let (mut driver, joined) = Driver::stable(2);
    let given_up = driver.join(join(&joined[0].member_id));
    let again = driver.join(join(&joined[0].member_id));
    assert_eq!(driver.join_error(given_up), GroupError::RebalanceInProgress);
    assert!(driver.is_parked(again));

    driver.join(join(&joined[1].member_id));
    let generation = driver.joined(again);
    let follower = crate::group::Joined { member_id: joined[1].member_id.clone(), ..generation };
    let given_up = driver.sync(&follower, &[]);
    let again = driver.sync(&follower, &[]);
    assert_eq!(driver.sync_error(given_up), GroupError::RebalanceInProgress);
    assert!(driver.is_parked(again));
}

#[test]
fn leaving_frees_the_share_at_once() {
    let (mut driver, joined) = Driver::stable(2);
    assert_eq!(driver.leave(&joined[0].member_id), Ok(()));
    let again = driver.join(join(&joined[1].member_id));
    let next = driver.joined(again);
    assert_eq!((next.leader, next.members.len()), (joined[1].member_id.clone(), 1));
}

#[test]
fn a_full_group_takes_no_more_and_keeps_those_it_has() {
    let (mut driver, joined) = Driver::stable(2);
    driver.config.max_size = 2;
    let token = driver.join(join(""));
    assert_eq!(driver.join_error(token), GroupError::GroupMaxSizeReached);
    assert_eq!(driver.state(), StateName::Stable);
    let token = driver.join(join(&joined[1].member_id));
    assert_eq!(driver.joined(token).generation, 1);
}

#[test]
fn when_the_limit_was_lowered_the_last_to_rejoin_are_put_out() {
    let (driver, joined) = Driver::stable(3);
    let mut driver = Driver::with(ClassicGroup::from_value("g".into(), driver.last_record()));
    driver.config.max_size = 2;
    driver.step(|group, step| group.resume(step));
    assert_eq!(driver.state(), StateName::PreparingRebalance);
    let tokens: Vec<_> = joined.iter().map(|joined| driver.join(join(&joined.member_id))).collect();
    assert_eq!(driver.join_error(tokens[2]), GroupError::GroupMaxSizeReached);
    assert_eq!(driver.joined(tokens[0]).generation, 2);
    assert_eq!(driver.joined(tokens[1]).generation, 2);
}

fn commit(driver: &mut Driver, member_id: &str, generation: i32) -> Result<(), GroupError> {
    let committer = Committer { member_id: member_id.into(), instance_id: None, generation };
    driver.step(|group, step| group.admit_commit(&committer, step))
}

#[test]
fn members_of_the_current_generation_may_commit_and_nobody_else() {
    let (mut driver, joined) = Driver::stable(1);
    let id = joined[0].member_id.clone();
    assert_eq!(commit(&mut driver, &id, 1), Ok(()));
    assert_eq!(commit(&mut driver, &id, 0), Err(GroupError::IllegalGeneration));
    assert_eq!(commit(&mut driver, &id, -1), Err(GroupError::IllegalGeneration));
    assert_eq!(commit(&mut driver, "nobody", 1), Err(GroupError::UnknownMemberId));
    assert_eq!(commit(&mut driver, "", -1), Err(GroupError::UnknownMemberId), "the group has members");
}

#[test]
fn anybody_without_a_generation_may_commit_to_an_empty_group() {
    let mut driver = Driver::new();
    assert_eq!(commit(&mut driver, "", -1), Ok(()));
    assert_eq!(commit(&mut driver, "admin", -1), Ok(()));
    assert_eq!(commit(&mut driver, "", 0), Err(GroupError::UnknownMemberId));
}

#[test]
fn commits_pass_while_members_rejoin_and_are_refused_while_the_assignment_is_made() {
    let (mut driver, joined) = Driver::stable(1);
    let id = joined[0].member_id.clone();
    driver.join_twice(join);
    assert_eq!(driver.state(), StateName::PreparingRebalance);
    assert_eq!(commit(&mut driver, &id, 1), Ok(()));
    driver.join(join(&id));
    assert_eq!(driver.state(), StateName::CompletingRebalance);
    assert_eq!(commit(&mut driver, &id, 2), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_commit_keeps_a_member_like_a_heartbeat() {
    let (mut driver, joined) = Driver::stable(1);
    for _ in 0..3 {
        driver.pass(SESSION_MS as u64 - 1);
        assert_eq!(commit(&mut driver, &joined[0].member_id, 1), Ok(()));
    }
}

#[test]
fn subscriptions_are_known_for_consumers_and_for_no_other_kind_of_group() {
    let (mut driver, joined) = Driver::stable(1);
    assert!(driver.group.is_subscribed_to("t") && !driver.group.is_subscribed_to("u"));
    driver.leave(&joined[0].member_id).unwrap();
    assert!(!driver.group.is_subscribed_to("t"));

    let mut driver = Driver::new();
    driver.join_twice(|id| Join { protocol_type: "connect".into(), ..join(id) });
    driver.pass(DELAY_MS);
    assert!(!driver.group.is_subscribed_to("t"));

    let mut driver = Driver::new();
    let garbage = vec![("range".into(), bytes::Bytes::from_static(b"?"))];
    driver.join_twice(|id| Join { protocols: garbage.clone(), ..join(id) });
    driver.pass(DELAY_MS);
    assert!(driver.group.is_subscribed_to("anything"), "what cannot be read may be anything");
}
