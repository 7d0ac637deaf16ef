#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
use super::*;

const LAG_MAX: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Brokers 1 to 9, each in the epoch of ten times its id.
fn all_active(id: i32) -> Option<i64> {
    Some(i64::from(id) * 10)
}

fn around(now: u64, end: i64, high_watermark: i64) -> Surroundings<'static> {
    Surroundings { now: at(now), end, high_watermark, lag_max: LAG_MAX, min_isr: 2, active: &all_active }
}

/// Broker 1 leads in epoch 5 from offset 100 on.
fn leader(isr: &[i32]) -> Leader {
    Leader::new((1, 10), (5, 100), 7, &[1, 2, 3], isr, at(0))
}

fn fetch(leader: &mut Leader, id: i32, offset: i64, end: i64, now: u64) {
    leader.fetched(id, i64::from(id) * 10, offset, 0, end, at(now)).unwrap();
}

#[test]
fn the_high_watermark_is_the_least_offset_that_all_in_sync_replicas_have_on_their_disks() {
    let mut leader = leader(&[1, 2, 3]);
    assert_eq!(leader.high_watermark(&around(0, 120, 100)), None, "two have not been heard of");
    fetch(&mut leader, 2, 110, 120, 1);
    assert_eq!(leader.high_watermark(&around(1, 120, 100)), None);
    fetch(&mut leader, 3, 105, 120, 1);
    assert_eq!(leader.high_watermark(&around(1, 120, 100)), Some(105));
    fetch(&mut leader, 3, 120, 120, 2);
    fetch(&mut leader, 2, 120, 120, 2);
    assert_eq!(leader.high_watermark(&around(2, 120, 105)), Some(120));
}

#[test]
fn below_min_isr_the_high_watermark_stays_where_it_is() {
    // KIP-966: what is committed then must not be on fewer disks than min.insync.replicas.
    let leader = leader(&[1]);
    assert_eq!(leader.high_watermark(&around(0, 120, 100)), None);
    let relaxed = Surroundings { min_isr: 1, ..around(40, 120, 100) };
    assert_eq!(leader.high_watermark(&relaxed), Some(120));
}

#[test]
fn a_shrink_that_is_committed_lets_the_high_watermark_advance() {
    // KAFKA-13091, KAFKA-9491: nobody looked again, and acks=all hung.
    let mut leader = leader(&[1, 2, 3]);
    fetch(&mut leader, 2, 120, 120, 40);
    let proposal = leader.propose(&around(40, 120, 100)).unwrap();
    assert_eq!((proposal.removed.as_slice(), proposal.partition_epoch), (&[3][..], 7));
    assert_eq!(proposal.isr, [(1, 10), (2, 20)]);
    assert_eq!(leader.high_watermark(&around(40, 120, 100)), None, "3 counts until the controller has committed");
    assert!(leader.answered(proposal.number, Answer::Committed { isr: vec![1, 2], partition_epoch: 8 }));
    assert_eq!(leader.high_watermark(&around(40, 120, 100)), Some(120));
}

#[test]
fn a_follower_that_keeps_up_with_a_moving_end_stays_in_sync() {
    let mut leader = leader(&[1, 2, 3]);
    for now in 1..100 {
        let end = 100 + now as i64 * 10;
        // One round behind, always.
        fetch(&mut leader, 2, end - 10, end, now);
        fetch(&mut leader, 3, end, end, now);
        assert_eq!(leader.propose(&around(now, end, 100)), None, "at {now}");
    }
    // 3 goes on; 2 asks for the same again and again.
    for now in 100..140 {
        let end = 100 + now as i64 * 10;
        fetch(&mut leader, 2, 1_080, end, now);
        fetch(&mut leader, 3, end, end, now);
    }
    assert_eq!(leader.propose(&around(139, 1_490, 100)).unwrap().removed, [2]);
}

#[test]
fn an_idle_follower_that_has_everything_is_not_thrown_out() {
    let mut leader = leader(&[1, 2, 3]);
    fetch(&mut leader, 2, 100, 100, 1);
    fetch(&mut leader, 3, 100, 100, 1);
    assert_eq!(leader.propose(&around(10_000, 100, 100)), None);
}

#[test]
fn a_follower_joins_once_it_has_all_that_is_committed_and_the_beginning_of_the_epoch() {
    let mut leader = leader(&[1, 2]);
    fetch(&mut leader, 2, 150, 150, 1);
    fetch(&mut leader, 3, 99, 150, 1);
    assert_eq!(leader.propose(&around(1, 150, 90)), None, "above the high watermark, below the epoch's beginning");
    fetch(&mut leader, 3, 140, 150, 1);
    assert_eq!(leader.propose(&around(1, 150, 150)), None, "below the high watermark");
    fetch(&mut leader, 3, 150, 150, 2);
    let proposal = leader.propose(&around(2, 150, 150)).unwrap();
    assert_eq!(proposal.isr, [(1, 10), (2, 20), (3, 30)]);
    assert_eq!(leader.propose(&around(2, 150, 150)), None, "one question at a time");
}

#[test]
fn while_a_join_is_in_flight_the_high_watermark_waits_for_the_one_who_joins() {
    let mut leader = leader(&[1, 2]);
    fetch(&mut leader, 2, 150, 150, 1);
    fetch(&mut leader, 3, 150, 150, 1);
    leader.propose(&around(1, 150, 150)).unwrap();
    fetch(&mut leader, 2, 160, 160, 50);
    let later = Surroundings { high_watermark: 150, ..around(50, 160, 150) };
    assert_eq!(leader.high_watermark(&later), Some(150));
    assert!(leader.answered(1, Answer::Refused));
    assert_eq!(leader.high_watermark(&later), Some(160), "3 has not fetched for long, and will not join");
}

#[test]
fn a_proposal_without_an_answer_counts_until_the_metadata_tell() {
    // A timeout leaves a stale partition epoch: the change may have been made.
    let mut leader = leader(&[1, 2]);
    fetch(&mut leader, 2, 150, 150, 1);
    fetch(&mut leader, 3, 150, 150, 1);
    let proposal = leader.propose(&around(1, 150, 150)).unwrap();
    assert!(!leader.answered(proposal.number, Answer::Unknown));
    assert!(leader.proposed().is_some());
    assert!(leader.learned(8, &[1, 2, 3], &[1, 2, 3], at(2)));
    assert_eq!((leader.isr(), leader.proposed()), (&[1, 2, 3][..], None));
    assert!(!leader.answered(proposal.number, Answer::Refused), "an answer too late changes nothing");
    assert_eq!(leader.isr(), [1, 2, 3]);
}

#[test]
fn the_metadata_do_not_take_back_what_an_answer_has_brought() {
    let mut leader = leader(&[1, 2, 3]);
    fetch(&mut leader, 2, 120, 120, 40);
    let proposal = leader.propose(&around(40, 120, 100)).unwrap();
    leader.answered(proposal.number, Answer::Committed { isr: vec![1, 2], partition_epoch: 8 });
    assert!(!leader.learned(7, &[1, 2, 3], &[1, 2, 3], at(41)));
    assert!(!leader.learned(8, &[1, 2, 3], &[1, 2], at(41)), "equal is no news");
    assert_eq!(leader.isr(), [1, 2]);
}

#[test]
fn a_fenced_broker_or_one_that_was_started_anew_is_not_put_back() {
    // KIP-841, KIP-903: what it had on its disk is not what it has now.
    let mut leader = leader(&[1, 2]);
    fetch(&mut leader, 2, 150, 150, 1);
    fetch(&mut leader, 3, 150, 150, 1);
    for active in [(|_| None) as fn(i32) -> Option<i64>, |id| Some(i64::from(id) * 10 + 1)] {
        let fenced = Surroundings { active: &active, ..around(1, 150, 150) };
        assert_eq!(leader.propose(&fenced), None);
    }
    assert!(leader.propose(&around(1, 150, 150)).is_some());
}

#[test]
fn a_fetch_of_an_earlier_life_of_a_broker_changes_nothing() {
    let mut leader = leader(&[1, 2, 3]);
    leader.fetched(2, 21, 105, 0, 150, at(1)).unwrap();
    let refused = leader.fetched(2, 20, 150, 0, 150, at(2)).unwrap_err();
    assert_eq!(refused, FetchRefused::StaleBroker { epoch: 20, known: 21 });
    assert_eq!(leader.followers()[0].end, Some(105));
    assert_eq!(leader.fetched(4, 40, 150, 0, 150, at(2)), Err(FetchRefused::NotAReplica(4)));
}

#[test]
fn a_replica_that_is_added_is_followed_and_one_that_is_removed_no_more() {
    let mut leader = leader(&[1, 2, 3]);
    assert!(leader.learned(8, &[1, 3, 4], &[1, 3], at(2)));
    let ids: Vec<i32> = leader.followers().iter().map(|f| f.id).collect();
    assert_eq!(ids, [3, 4]);
    assert!(leader.fetched(2, 20, 100, 0, 100, at(3)).is_err());
}

mod random {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Append(i64),
        Fetch(i32),
        /// The follower loses its disk's tail and is started anew.
        Restart(i32),
        Propose,
        Answer(bool),
        Time(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1i64..5).prop_map(Step::Append),
            (2i32..4).prop_map(Step::Fetch),
            (2i32..4).prop_map(Step::Restart),
            Just(Step::Propose),
            any::<bool>().prop_map(Step::Answer),
            (1u64..40).prop_map(Step::Time),
        ]
    }

    proptest! {
        /// Whatever happens, what is below the high watermark is on every committed in-sync replica that was not started
        /// anew since, and on at least `min_isr` of them when it got there.
        #[test]
        fn what_is_committed_is_on_every_in_sync_replica(steps in prop::collection::vec(step(), 1..80)) {
            let mut leader = Leader::new((1, 10), (5, 0), 0, &[1, 2, 3], &[1, 2, 3], at(0));
            let (mut end, mut high_watermark, mut now) = (0i64, 0i64, 0u64);
            let (mut ends, mut epochs) = ([0i64; 4], [0i64, 10, 20, 30]);
            // What the controller has committed.
            let (mut isr, mut partition_epoch) = (vec![1, 2, 3], 0);
            for step in steps {
                match step {
                    Step::Append(count) => end += count,
                    Step::Fetch(id) => {
                        let i = id as usize;
                        leader.fetched(id, epochs[i], ends[i], 0, end, at(now)).unwrap();
                        ends[i] = end; // read, synced, and told with its next fetch
                    }
                    Step::Restart(id) => {
                        // It comes back empty; the controller has taken it out before it serves again.
                        let i = id as usize;
                        (ends[i], epochs[i]) = (0, epochs[i] + 1);
                        isr.retain(|&member| member != id);
                        partition_epoch += 1;
                        leader.learned(partition_epoch, &[1, 2, 3], &isr, at(now));
                    }
                    Step::Propose => {
                        let epochs = epochs;
                        let active = move |id: i32| Some(epochs[id as usize]);
                        let around = Surroundings {
                            active: &active, ..around(now, end, high_watermark)
                        };
                        leader.propose(&around);
                    }
                    Step::Answer(commit) => if let Some(proposal) = leader.proposed().cloned() {
                        if commit && proposal.partition_epoch == partition_epoch {
                            isr = proposal.isr.iter().map(|(id, _)| *id).collect();
                            partition_epoch += 1;
                            leader.answered(proposal.number, Answer::Committed { isr: isr.clone(), partition_epoch });
                        } else {
                            leader.answered(proposal.number, Answer::Refused);
                        }
                    },
                    Step::Time(seconds) => now += seconds,
                }
                let epochs_now = epochs;
                let active = move |id: i32| Some(epochs_now[id as usize]);
                let around = Surroundings { active: &active, ..around(now, end, high_watermark) };
                if let Some(to) = leader.high_watermark(&around) {
                    high_watermark = high_watermark.max(to);
                }
                for &id in isr.iter().filter(|&&id| id != 1) {
                    prop_assert!(ends[id as usize] >= high_watermark, "{id} lacks what is committed");
                }
            }
        }
    }
}
