#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;

const QUIET: Outcome =
    Outcome { has_records: false, high_watermark: 10, log_start_offset: 0, has_error: false, has_redirect: false };
const DATA: Outcome = Outcome { has_records: true, ..QUIET };
const ERROR: Outcome =
    Outcome { has_records: false, high_watermark: -1, log_start_offset: -1, has_error: true, has_redirect: false };

fn key(topic: &str) -> TopicKey {
    TopicKey::Name(topic.into())
}

fn want(topic: &str, partition: i32, offset: i64) -> Wanted {
    let params = Params {
        fetch_offset: offset,
        log_start_offset: -1,
        max_bytes: 1 << 20,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
    };
    Wanted { topic: key(topic), partition, params }
}

fn request(session_id: i32, session_epoch: i32, partitions: Vec<Wanted>) -> Request {
    Request { session_id, session_epoch, by_topic_id: false, privileged: false, partitions, forgotten: vec![] }
}

fn topic(count: i32) -> Vec<Wanted> {
    (0..count).map(|p| want("t", p, 0)).collect()
}

/// Opens a session over `partitions` at `now` with quiet outcomes; gives its id, 0 if refused.
fn open(sessions: &Sessions, partitions: Vec<Wanted>, privileged: bool, now: i64) -> i32 {
    let outcomes = vec![QUIET; partitions.len()];
    let fetch = sessions.begin(Request { privileged, ..request(0, 0, partitions) }, now).unwrap();
    sessions.finish(fetch, &outcomes, now).unwrap().session_id
}

fn partitions_of(fetch: &Fetch) -> Vec<i32> {
    fetch.wanted().iter().map(|wanted| wanted.partition).collect()
}

#[test]
fn a_full_request_gets_everything_and_a_session() {
    let sessions = Sessions::new(10, 1);
    let fetch = sessions.begin(request(0, 0, topic(2)), 0).unwrap();
    assert_eq!(partitions_of(&fetch), [0, 1]);
    let finished = sessions.finish(fetch, &[QUIET, DATA], 0).unwrap();
    assert_ne!(finished.session_id, NO_SESSION);
    assert_eq!(finished.send, Send::All);
    assert_eq!((sessions.len(), sessions.cached_partitions()), (1, 2));
}

#[test]
fn a_final_epoch_gets_everything_and_no_session_and_closes_the_old_one() {
    let sessions = Sessions::new(10, 1);
    let id = open(&sessions, topic(2), false, 0);
    let fetch = sessions.begin(request(id, FINAL_EPOCH, topic(1)), 0).unwrap();
    let finished = sessions.finish(fetch, &[QUIET], 0).unwrap();
    assert_eq!(finished, Finished { session_id: NO_SESSION, send: Send::All });
    assert!(sessions.is_empty());
    assert_eq!(sessions.cached_partitions(), 0);
}

#[test]
fn an_incremental_response_lists_only_what_changed() {
    let sessions = Sessions::new(10, 1);
    let id = open(&sessions, topic(5), false, 0);
    let outcomes = [
        QUIET,
        Outcome { high_watermark: 11, ..QUIET },
        Outcome { log_start_offset: 3, ..QUIET },
        Outcome { has_redirect: true, ..QUIET },
        ERROR,
    ];
    let fetch = sessions.begin(request(id, 1, vec![]), 1).unwrap();
    assert!(fetch.is_incremental());
    let finished = sessions.finish(fetch, &outcomes, 1).unwrap();
    assert_eq!(finished, Finished { session_id: id, send: Send::Only(vec![1, 2, 3, 4]) });

    let outcomes = [QUIET, outcomes[1], outcomes[2], QUIET, QUIET];
    let fetch = sessions.begin(request(id, 2, vec![]), 2).unwrap();
    let finished = sessions.finish(fetch, &outcomes, 2).unwrap();
    assert_eq!(finished.send, Send::Only(vec![4]), "a partition is sent again when its error went away");
}

#[test]
fn a_request_updates_adds_and_forgets_partitions() {
    let sessions = Sessions::new(10, 1);
    let id = open(&sessions, topic(3), false, 0);
    let mut change = request(id, 1, vec![want("t", 1, 42), want("u", 7, 5)]);
    change.forgotten = vec![(key("t"), 0), (key("nowhere"), 3)];
    let fetch = sessions.begin(change, 1).unwrap();
    assert_eq!(fetch.wanted(), [want("t", 1, 42), want("t", 2, 0), want("u", 7, 5)]);
    let finished = sessions.finish(fetch, &[QUIET, QUIET, QUIET], 1).unwrap();
    assert_eq!(finished.send, Send::Only(vec![2]), "a partition new to the session is always told once");
    assert_eq!(sessions.cached_partitions(), 3);
}

#[test]
fn partitions_that_returned_records_are_served_last_next_time() {
    let sessions = Sessions::new(10, 1);
    let id = open(&sessions, topic(4), false, 0);
    let fetch = sessions.begin(request(id, 1, vec![]), 1).unwrap();
    sessions.finish(fetch, &[DATA, QUIET, DATA, QUIET], 1).unwrap();
    let fetch = sessions.begin(request(id, 2, vec![]), 2).unwrap();
    assert_eq!(partitions_of(&fetch), [1, 3, 0, 2]);
    sessions.finish(fetch, &[QUIET, DATA, QUIET, QUIET], 2).unwrap();
    let fetch = sessions.begin(request(id, 3, vec![]), 3).unwrap();
    assert_eq!(partitions_of(&fetch), [1, 0, 2, 3]);
}

#[test]
fn an_unknown_session_is_not_found() {
    let sessions = Sessions::new(10, 1);
    assert_eq!(sessions.begin(request(77, 1, vec![]), 0).unwrap_err(), SessionError::NotFound);
    assert_eq!(sessions.begin(request(0, 1, vec![]), 0).unwrap_err(), SessionError::NotFound);
}

#[test]
fn a_wrong_epoch_is_refused_and_the_session_lives_on() {
    let sessions = Sessions::new(10, 1);
    let id = open(&sessions, topic(1), false, 0);
    let refused = Err(SessionError::InvalidEpoch { session_id: NO_SESSION });
    assert_eq!(sessions.begin(request(id, 2, vec![]), 0).map(|_| ()), refused);
    let fetch = sessions.begin(request(id, 1, vec![]), 0).unwrap();
    sessions.finish(fetch, &[QUIET], 0).unwrap();
    assert_eq!(sessions.begin(request(id, 1, vec![]), 0).map(|_| ()), refused, "a repeated request");
    assert!(sessions.begin(request(id, 2, vec![]), 0).is_ok());
}

#[test]
fn an_answer_overtaken_by_a_later_request_becomes_an_epoch_error() {
    let sessions = Sessions::new(10, 1);
    let id = open(&sessions, topic(1), false, 0);
    let parked = sessions.begin(request(id, 1, vec![]), 0).unwrap();
    let newer = sessions.begin(request(id, 2, vec![]), 0).unwrap();
    assert_eq!(sessions.finish(parked, &[DATA], 0), Err(SessionError::InvalidEpoch { session_id: id }));
    assert!(sessions.finish(newer, &[DATA], 0).is_ok());
}

#[test]
fn names_and_ids_do_not_mix_in_one_session() {
    let sessions = Sessions::new(10, 1);
    let id = open(&sessions, topic(1), false, 0);
    let mixed = Request { by_topic_id: true, ..request(id, 1, vec![]) };
    assert_eq!(sessions.begin(mixed, 0).unwrap_err(), SessionError::TopicIdMismatch);
}

#[test]
fn forgetting_the_last_partition_closes_the_session() {
    let sessions = Sessions::new(10, 1);
    let id = open(&sessions, topic(1), false, 0);
    let fetch = sessions.begin(Request { forgotten: vec![(key("t"), 0)], ..request(id, 1, vec![]) }, 0).unwrap();
    assert_eq!(fetch.wanted(), []);
    assert_eq!(sessions.finish(fetch, &[], 0).unwrap().session_id, NO_SESSION);
    assert!(sessions.is_empty());
}

#[test]
fn a_full_cache_refuses_a_newcomer_while_all_are_fresh() {
    let sessions = Sessions::new(2, 1);
    assert_ne!(open(&sessions, topic(1), false, 0), NO_SESSION);
    assert_ne!(open(&sessions, topic(2), false, 0), NO_SESSION);
    assert_eq!(open(&sessions, topic(9), false, EVICTION_MS), NO_SESSION);
    assert_eq!(open(&Sessions::new(0, 1), topic(1), false, 0), NO_SESSION, "no slots, no sessions");
}

#[test]
fn a_session_idle_for_two_minutes_makes_room() {
    let sessions = Sessions::new(2, 1);
    let idle = open(&sessions, topic(5), false, 0);
    let busy = open(&sessions, topic(5), false, 0);
    let fetch = sessions.begin(request(busy, 1, vec![]), 1_000).unwrap();
    sessions.finish(fetch, &[QUIET; 5], 1_000).unwrap();
    assert_ne!(open(&sessions, topic(1), false, EVICTION_MS + 1), NO_SESSION);
    let now = EVICTION_MS + 1;
    assert_eq!(sessions.begin(request(idle, 1, vec![]), now).unwrap_err(), SessionError::NotFound);
    assert!(sessions.begin(request(busy, 2, vec![]), now).is_ok());
    assert_eq!((sessions.len(), sessions.cached_partitions(), sessions.evictions()), (2, 6, 1));
}

#[test]
fn a_seasoned_session_gives_way_to_a_larger_one_only() {
    let sessions = Sessions::new(1, 1);
    let id = open(&sessions, topic(3), false, 0);
    let now = EVICTION_MS + 1;
    let fetch = sessions.begin(request(id, 1, vec![]), now).unwrap();
    sessions.finish(fetch, &[QUIET; 3], now).unwrap();
    assert_eq!(open(&sessions, topic(2), false, now), NO_SESSION);
    assert_ne!(open(&sessions, topic(4), false, now), NO_SESSION);
}

#[test]
fn a_follower_evicts_a_fresh_consumer_but_no_consumer_evicts_a_fresh_follower() {
    let sessions = Sessions::new(1, 1);
    open(&sessions, topic(9), false, 0);
    assert_ne!(open(&sessions, topic(1), true, 0), NO_SESSION);
    assert_eq!(open(&sessions, topic(9), false, 0), NO_SESSION);
    assert_eq!(open(&sessions, topic(9), true, 0), NO_SESSION, "fresh followers do not evict each other");
}

#[test]
fn the_memory_of_all_sessions_is_bounded() {
    let sessions = Sessions::with_partition_limit(100, 1, 10);
    let id = open(&sessions, topic(6), false, 0);
    assert_eq!(open(&sessions, topic(5), false, 0), NO_SESSION);
    let growing: Vec<_> = (100..105).map(|p| want("t", p, 0)).collect();
    assert_eq!(sessions.begin(request(id, 1, growing), 0).unwrap_err(), SessionError::NotFound);
    assert_eq!(sessions.cached_partitions(), 0);
}

#[test]
fn a_partition_named_twice_in_a_full_request_is_followed_once() {
    let sessions = Sessions::new(10, 1);
    let id = open(&sessions, vec![want("t", 0, 1), want("t", 0, 2)], false, 0);
    let fetch = sessions.begin(request(id, 1, vec![]), 0).unwrap();
    assert_eq!(fetch.wanted(), [want("t", 0, 2)]);
}

#[test]
fn epochs_wrap_around_to_one() {
    assert_eq!(next_epoch(0), 1);
    assert_eq!(next_epoch(i32::MAX), 1);
}
