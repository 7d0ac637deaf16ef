#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;

const SESSION: Duration = Duration::from_secs(9);

fn at(ms: u64) -> Duration {
    Duration::from_millis(100_000 + ms)
}

/// Broker 1 was heard at time 0 on connection 10, broker 2 on connection 20.
fn two() -> Liveness {
    let mut liveness = Liveness::new(SESSION);
    liveness.begin(at(0), []);
    liveness.heard(at(0), 1, 100, Some(10));
    liveness.heard(at(0), 2, 200, Some(20));
    liveness
}

/// Looks as often as the driver does, and gives the first that was due, with its time.
fn first_due(liveness: &mut Liveness, from: u64, to: u64) -> Option<(u64, Due)> {
    let mut now = from;
    while now <= to {
        let due = liveness.tick(at(now));
        if due != Due::default() {
            return Some((now, due));
        }
        let wait = liveness.wait(at(now)).as_millis() as u64;
        now += wait.max(1);
    }
    None
}

fn fenced(broker: i32, epoch: i64) -> Due {
    Due { fence: vec![(broker, epoch)], dial: vec![] }
}

fn dialled(broker: i32, epoch: i64) -> Due {
    Due { fence: vec![], dial: vec![(broker, epoch)] }
}

#[test]
fn a_broker_that_says_nothing_is_given_up_when_its_session_ends_and_not_before() {
    let mut liveness = two();
    liveness.heard(at(5000), 2, 200, Some(20));
    assert_eq!(first_due(&mut liveness, 0, 20_000), Some((9000, fenced(1, 100))));
    assert_eq!(liveness.presence(at(9000), 1), Presence::Gone);
    assert_eq!(first_due(&mut liveness, 9001, 20_000), Some((14_000, fenced(2, 200))));
    assert_eq!(first_due(&mut liveness, 14_001, 60_000), None);
}

#[test]
fn a_closed_connection_is_followed_by_a_dial_at_once_and_a_refusal_by_fencing() {
    let mut liveness = two();
    assert!(!liveness.closed(at(10), 99), "of a client");
    assert!(liveness.closed(at(10), 10));
    assert_eq!(liveness.presence(at(10), 1), Presence::Doubtful);
    assert_eq!(liveness.wait(at(10)), Duration::ZERO);
    assert_eq!(liveness.tick(at(10)), dialled(1, 100));
    assert_eq!(liveness.tick(at(11)), Due::default(), "one dial at a time");
    assert_eq!(liveness.dialed(at(12), 1, 100, Dialed::Refused), fenced(1, 100));
    assert_eq!(liveness.presence(at(12), 1), Presence::Gone);
}

#[test]
fn a_process_whose_listener_closes_after_its_connection_is_still_found_dead_within_a_moment() {
    let mut liveness = two();
    liveness.closed(at(10), 10);
    assert_eq!(liveness.tick(at(10)), dialled(1, 100));
    assert_eq!(liveness.dialed(at(11), 1, 100, Dialed::Taken), Due::default());
    assert_eq!(first_due(&mut liveness, 12, 1000), Some((111, dialled(1, 100))));
    assert_eq!(liveness.dialed(at(112), 1, 100, Dialed::Refused), fenced(1, 100));
}

#[test]
fn a_broker_that_only_lost_its_connection_stays_and_one_that_cannot_be_reached_has_its_session() {
    let mut liveness = two();
    liveness.heard(at(8000), 2, 200, Some(20));
    liveness.closed(at(10), 10);
    liveness.tick(at(10));
    liveness.heard(at(20), 1, 100, Some(11));
    assert_eq!(liveness.dialed(at(30), 1, 100, Dialed::Refused), Due::default(), "it was heard after the dial began");
    assert_eq!(liveness.presence(at(30), 1), Presence::Here);
    liveness.closed(at(40), 11);
    let mut now = 40;
    loop {
        let (when, due) = first_due(&mut liveness, now, 20_000).unwrap();
        if due == fenced(1, 100) {
            assert_eq!(when, 9020);
            break;
        }
        liveness.dialed(at(when), 1, 100, Dialed::Unknown);
        now = when;
    }
}

#[test]
fn a_new_controller_gives_everybody_a_full_session_and_dials_who_does_not_come() {
    let mut liveness = two();
    liveness.end();
    assert_eq!(liveness.presence(at(0), 1), Presence::Gone);
    liveness.begin(at(50_000), [(1, 100), (2, 200)]);
    assert_eq!(liveness.presence(at(50_000), 1), Presence::Doubtful);
    liveness.heard(at(50_010), 2, 200, Some(3));
    assert_eq!(first_due(&mut liveness, 50_000, 60_000), Some((50_020, dialled(1, 100))));
    assert_eq!(liveness.dialed(at(50_021), 1, 100, Dialed::Refused), fenced(1, 100));
    assert_eq!(first_due(&mut liveness, 50_022, 59_009), None);
    assert_eq!(first_due(&mut liveness, 59_009, 60_000), Some((59_010, fenced(2, 200))));
}

#[test]
fn a_controller_that_was_stopped_itself_fences_nobody_for_it() {
    let mut liveness = two();
    assert_eq!(liveness.tick(at(30_000)), Due::default());
    assert_eq!(liveness.presence(at(30_000), 1), Presence::Here);
    liveness.heard(at(30_001), 1, 100, Some(10));
    let (when, due) = first_due(&mut liveness, 30_001, 60_000).unwrap();
    assert_eq!(due, fenced(2, 200));
    assert!((38_000..=39_000).contains(&when), "{when}: what was left of its session");
}

#[test]
fn what_a_dial_found_of_an_earlier_life_counts_for_nothing() {
    let mut liveness = two();
    liveness.closed(at(10), 10);
    liveness.tick(at(10));
    liveness.heard(at(20), 1, 101, Some(12));
    liveness.closed(at(25), 12);
    assert_eq!(liveness.dialed(at(30), 1, 100, Dialed::Refused), Due::default());
    liveness.forget(1);
    assert_eq!(liveness.dialed(at(31), 1, 101, Dialed::Refused), Due::default());
}

#[test]
fn the_connection_of_before_may_close_after_the_next_one_was_used() {
    let mut liveness = two();
    liveness.heard(at(5), 1, 100, Some(11));
    assert!(!liveness.closed(at(6), 10));
    assert_eq!(liveness.presence(at(6), 1), Presence::Here);
}
