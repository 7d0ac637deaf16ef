#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
use super::*;
use proptest::prelude::*;

/// The epoch of each record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Model {
    start: i64,
    epochs: Vec<i32>,
}

impl Model {
    fn of(epochs: &[(i32, usize)]) -> Model {
        let epochs = epochs.iter().flat_map(|&(epoch, count)| std::iter::repeat_n(epoch, count));
        Model { start: 0, epochs: epochs.collect() }
    }

    fn last_epoch(&self) -> i32 {
        self.epochs.last().copied().unwrap_or(-1)
    }

    /// What a leader in `current` answers a follower at `offset`, whose last record is of `last_epoch` (KIP-595).
    fn divergence(&self, current: i32, last_epoch: i32, offset: i64) -> Option<(i32, i64)> {
        if last_epoch < 0 {
            return None;
        }
        let (epoch, end) = match self.last_epoch() {
            _ if last_epoch == current => (current, self.end()),
            latest if last_epoch >= latest => (latest, self.end()),
            _ => self.epoch_end(last_epoch)?,
        };
        (epoch < last_epoch || end < offset).then_some((epoch, end))
    }

    fn truncate(&mut self, to: i64) {
        self.epochs.truncate(to as usize);
    }
}

impl EndOfLog for Model {
    fn start(&self) -> i64 {
        self.start
    }

    fn end(&self) -> i64 {
        self.epochs.len() as i64
    }

    fn epoch_end(&self, epoch: i32) -> Option<(i32, i64)> {
        let end = self.epochs.iter().take_while(|&&e| e <= epoch).count() as i64;
        if end == self.end() {
            return (self.last_epoch() == epoch).then_some((epoch, end));
        }
        let floor = self.epochs[..end as usize].last().copied().unwrap_or(epoch);
        Some((floor, end))
    }
}

fn fine() -> Answer {
    Answer { error: None, diverging: None, high_watermark: 5, log_start: 0 }
}

#[test]
fn what_lies_above_the_high_watermark_is_kept_where_the_epochs_agree() {
    // KIP-101: a follower that was started anew, with a high watermark that lags, must not cut what may be acknowledged.
    let log = Model::of(&[(1, 10)]);
    assert_eq!(judge(&fine(), &log), Verdict::Append);
}

#[test]
fn the_high_watermark_is_not_taken_over_from_an_answer_that_found_a_divergence() {
    // KAFKA-14704. Only `Append` takes it over; a divergence leads elsewhere, whatever else the answer holds.
    let log = Model::of(&[(1, 5), (2, 5)]);
    let diverging = Answer { diverging: Some((1, 7)), high_watermark: 9, ..fine() };
    assert_eq!(judge(&diverging, &log), Verdict::Truncate(5));
}

#[test]
fn two_fast_failovers_are_resolved_epoch_by_epoch() {
    // KIP-279: the leader has epochs 1 and 3, this log 1 and 2.
    let leader = Model::of(&[(1, 4), (3, 6)]);
    let mut log = Model::of(&[(1, 6), (2, 2)]);
    let first = leader.divergence(3, log.last_epoch(), log.end()).unwrap();
    assert_eq!(first, (1, 4));
    log.truncate(truncation_point(first, &log));
    assert_eq!(log, Model::of(&[(1, 4)]));
    assert_eq!(leader.divergence(3, log.last_epoch(), log.end()), None);
}

#[test]
fn an_epoch_that_this_log_does_not_know_takes_more_than_one_round() {
    let leader = Model::of(&[(1, 2), (2, 4), (5, 1)]);
    let mut log = Model::of(&[(1, 5), (3, 2), (4, 2)]);
    let first = leader.divergence(5, log.last_epoch(), log.end()).unwrap();
    assert_eq!(first, (2, 6));
    log.truncate(truncation_point(first, &log));
    assert_eq!(log, Model::of(&[(1, 5)]));
    let second = leader.divergence(5, log.last_epoch(), log.end()).unwrap();
    assert_eq!(second, (1, 2));
    log.truncate(truncation_point(second, &log));
    assert_eq!(log, Model::of(&[(1, 2)]));
}

#[test]
fn a_follower_below_the_leaders_log_start_goes_on_there() {
    let log = Model::of(&[(1, 10)]);
    let gone = Answer { error: Some(Refusal::OutOfRange), log_start: 40, ..fine() };
    assert_eq!(judge(&gone, &log), Verdict::RestartAt(40));
    let odd = Answer { error: Some(Refusal::OutOfRange), log_start: -1, ..fine() };
    assert_eq!(judge(&odd, &log), Verdict::BackOff, "nothing is dropped without being told what is there");
}

#[test]
fn a_newer_leader_is_heard_of_from_the_metadata_only() {
    let fenced = Answer { error: Some(Refusal::FencedEpoch), ..fine() };
    assert_eq!(judge(&fenced, &Model::of(&[(1, 1)])), Verdict::AwaitMetadata);
    let unknown = Answer { error: Some(Refusal::NotYet(75)), ..fine() };
    assert_eq!(judge(&unknown, &Model::of(&[(1, 1)])), Verdict::BackOff);
}

/// A log of some epochs: what leaders have appended, each in its own epoch, on top of a common beginning.
fn histories() -> impl Strategy<Value = (Model, Model, usize)> {
    let runs = || prop::collection::vec((1usize..4, any::<bool>()), 0..6);
    (prop::collection::vec(1usize..4, 0..4), runs(), runs()).prop_map(|(common, ours, theirs)| {
        let mut epoch = 0;
        let mut shared = Model { start: 0, epochs: Vec::new() };
        for count in common {
            epoch += 1;
            shared.epochs.extend(std::iter::repeat_n(epoch, count));
        }
        let at = shared.epochs.len();
        let (mut log, mut leader) = (shared.clone(), shared);
        // An epoch has one leader: each is in one of the two logs.
        for (i, (count, skip)) in ours.into_iter().enumerate() {
            let epoch = epoch + 1 + 2 * i as i32 + i32::from(skip) * 20;
            if epoch >= log.last_epoch() {
                log.epochs.extend(std::iter::repeat_n(epoch, count));
            }
        }
        for (i, (count, skip)) in theirs.into_iter().enumerate() {
            let epoch = epoch + 2 + 2 * i as i32 + i32::from(skip) * 20;
            if epoch >= leader.last_epoch() {
                leader.epochs.extend(std::iter::repeat_n(epoch, count));
            }
        }
        (log, leader, at)
    })
}

proptest! {
    #[test]
    fn truncation_ends_at_what_the_logs_have_in_common_and_cuts_nothing_of_it((mut log, leader, common) in histories()) {
        let current = 100;
        for round in 0.. {
            prop_assert!(round < 20, "it never ends");
            let Some(diverging) = leader.divergence(current, log.last_epoch(), log.end()) else { break };
            let before = log.end();
            log.truncate(truncation_point(diverging, &log));
            prop_assert!(log.end() < before, "a round without progress");
        }
        prop_assert!(log.epochs.len() >= common);
        let shorter = log.epochs.len().min(leader.epochs.len());
        prop_assert_eq!(&log.epochs[..shorter], &leader.epochs[..shorter]);
    }
}
