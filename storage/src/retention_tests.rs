//! Tests of the rules, each on a log given as segments of (end offset, bytes, time of the youngest record).

use super::*;

const NOW: i64 = 1_000_000;

fn policy(retention_ms: i64, retention_bytes: i64) -> LogConfig {
    LogConfig { retention_ms, retention_bytes, ..LogConfig::default() }
}

fn decide(segments: &[(i64, u32, i64)], config: &LogConfig, log_start: i64, watermark: i64, hold: &Hold) -> Plan {
    let bounds = Bounds { log_start, high_watermark: watermark, now_ms: NOW };
    let facts = |i: usize| Facts { end: segments[i].0, size: segments[i].1 };
    plan(segments.len(), facts, |i| Ok::<_, ()>(segments[i].2), config, bounds, hold).unwrap()
}

fn dropped(segments: &[(i64, u32, i64)], config: &LogConfig) -> usize {
    decide(segments, config, 0, i64::MAX, &Hold::NONE).drop
}

/// Four segments of 100 bytes and 10 records; the youngest records are 400, 300, 200 and 100 ms old.
const FOUR: [(i64, u32, i64); 4] =
    [(10, 100, NOW - 400), (20, 100, NOW - 300), (30, 100, NOW - 200), (40, 100, NOW - 100)];

#[test]
fn segments_go_when_their_youngest_record_is_older_than_retention_ms_and_not_when_it_is_as_old() {
    assert_eq!(dropped(&FOUR, &policy(400, -1)), 0);
    assert_eq!(dropped(&FOUR, &policy(399, -1)), 1);
    assert_eq!(dropped(&FOUR, &policy(200, -1)), 2);
    assert_eq!(dropped(&FOUR, &policy(-1, -1)), 0);
}

#[test]
fn the_active_segment_goes_only_with_all_before_it_and_only_if_it_holds_something() {
    assert_eq!(dropped(&FOUR, &policy(0, -1)), 4);
    let mut segments = FOUR;
    segments[3].1 = 0;
    assert_eq!(dropped(&segments, &policy(0, -1)), 3);
    assert_eq!(dropped(&[(0, 0, 0)], &policy(0, 0)), 0);
}

#[test]
fn an_old_segment_behind_a_young_one_stays() {
    let mut segments = FOUR;
    segments[0].2 = NOW;
    assert_eq!(dropped(&segments, &policy(50, -1)), 0);
}

#[test]
fn segments_go_as_long_as_what_is_left_is_retention_bytes_or_more() {
    for (limit, expected) in [(401, 0), (400, 0), (301, 0), (300, 1), (299, 1), (200, 2), (1, 3), (0, 4)] {
        assert_eq!(dropped(&FOUR, &policy(-1, limit)), expected, "retention.bytes={limit}");
    }
}

#[test]
fn time_goes_on_where_size_has_stopped() {
    assert_eq!(dropped(&FOUR, &policy(250, 300)), 2);
    assert_eq!(reason(&policy(250, 300), 300, 400), Some(Reason::Size));
    assert_eq!(reason(&policy(250, 300), 200, 300), Some(Reason::Time));
}

#[test]
fn below_the_log_start_segments_go_under_every_policy_but_never_the_active_one() {
    let keep = LogConfig { delete: false, compact: true, ..policy(0, 0) };
    let start = |log_start| decide(&FOUR, &keep, log_start, i64::MAX, &Hold::NONE).drop;
    assert_eq!([start(9), start(10), start(19), start(30), start(40)], [0, 1, 1, 3, 3]);
    let both = LogConfig { compact: true, ..policy(250, -1) };
    assert_eq!(dropped(&FOUR, &both), 2);
}

#[test]
fn nothing_goes_that_the_high_watermark_has_not_passed() {
    let config = policy(0, 0);
    for (watermark, expected) in [(0, 0), (9, 0), (10, 1), (39, 3), (40, 4)] {
        assert_eq!(decide(&FOUR, &config, 0, watermark, &Hold::NONE).drop, expected, "{watermark}");
    }
    assert_eq!(decide(&FOUR, &config, 30, 19, &Hold::NONE).drop, 1);
}

#[test]
fn a_timestamp_of_the_future_keeps_its_segment_and_is_reported() {
    let mut segments = FOUR;
    segments[1].2 = NOW + 1;
    let plan = decide(&segments, &policy(10, -1), 0, i64::MAX, &Hold::NONE);
    assert_eq!((plan.drop, plan.future), (1, Some(1)));
    assert_eq!(decide(&FOUR, &policy(10, -1), 0, i64::MAX, &Hold::NONE).future, None);
}

#[test]
fn from_four_fifths_of_the_way_segments_are_near() {
    let near = |config: &LogConfig| decide(&FOUR, config, 0, i64::MAX, &Hold::NONE).near;
    assert_eq!([near(&policy(501, -1)), near(&policy(500, -1)), near(&policy(375, -1))], [0, 1, 2]);
    // Behind the first segment are 300 bytes: four fifths of 375.
    assert_eq!([near(&policy(-1, 376)), near(&policy(-1, 375)), near(&policy(-1, 301))], [0, 1, 1]);
    assert_eq!(near(&policy(-1, -1)), 0);
}

#[test]
fn what_a_group_has_not_read_is_held_and_what_it_has_read_goes() {
    let hold = |keep_from| Hold { keep_from, max_ms: i64::MAX, max_bytes: u64::MAX };
    let config = policy(150, -1); // three are due
    let decide = |hold: &Hold| decide(&FOUR, &config, 0, i64::MAX, hold);
    for (keep_from, expected, bytes) in [(0, 0, 300), (9, 0, 300), (10, 1, 200), (29, 2, 100), (30, 3, 0)] {
        let plan = decide(&hold(keep_from));
        assert_eq!((plan.drop, plan.due, plan.held_bytes), (expected, 3, bytes), "{keep_from}");
    }
    assert_eq!(decide(&Hold::NONE).drop, 3);
}

#[test]
fn a_hold_ends_at_its_caps() {
    let config = policy(150, -1);
    let hold = |max_ms, max_bytes| Hold { keep_from: 0, max_ms, max_bytes };
    let decide = |hold: &Hold| decide(&FOUR, &config, 0, i64::MAX, hold).drop;
    // Ages of 400, 300 and 200, of which 150 are their own.
    for (max_ms, expected) in [(250, 0), (249, 1), (150, 1), (149, 2), (0, 3)] {
        assert_eq!(decide(&hold(max_ms, u64::MAX)), expected, "{max_ms}");
    }
    for (max_bytes, expected) in [(300, 0), (299, 1), (200, 1), (100, 2), (99, 3), (0, 3)] {
        assert_eq!(decide(&hold(i64::MAX, max_bytes)), expected, "{max_bytes}");
    }
}

#[test]
fn a_hold_does_not_keep_what_lies_below_the_log_start() {
    let hold = Hold { keep_from: 0, max_ms: i64::MAX, max_bytes: u64::MAX };
    assert_eq!(decide(&FOUR, &policy(0, -1), 20, i64::MAX, &hold).drop, 2);
}
