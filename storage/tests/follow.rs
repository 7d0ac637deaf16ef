//! A log that follows another: what it takes, what it refuses, and what truncation leaves.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "what it shares looks at the files and damages them")]

mod support;

use jackdaw_protocol::records::Batch;
use jackdaw_storage::{AppendError, Log};
use support::*;

/// What a follower is sent from `offset` on.
fn sent(leader: &Log, offset: i64) -> Vec<Batch> {
    let slice = leader.read(offset, 1 << 20, true, leader.log_end_offset()).unwrap();
    Batch::split_all(slice.bytes).map(Result::unwrap).collect()
}

fn replicate(leader: &Log, follower: &Log) {
    while follower.log_end_offset() < leader.log_end_offset() {
        let batches = sent(leader, follower.log_end_offset());
        follower.append_as_follower(i32::MAX, &batches, NOW).unwrap();
    }
}

fn pair() -> (tempfile::TempDir, tempfile::TempDir, jackdaw_storage::LogDir, jackdaw_storage::LogDir) {
    let (a, b) = (fast_temp(), fast_temp());
    let (leaders, followers) = (open(a.path(), &tiny()), open(b.path(), &tiny()));
    create(&leaders, &tiny());
    create(&followers, &tiny());
    (a, b, leaders, followers)
}

#[test]
fn a_follower_has_the_leaders_bytes_offsets_and_epochs_over_several_segments() {
    let (_a, _b, leaders, followers) = pair();
    let (leader, follower) = (only_log(&leaders), only_log(&followers));
    for i in 0..60 {
        append_all(&leader, &[batch(&[&format!("value {i}"), "second"])], i / 20, NOW).pop().unwrap().unwrap();
    }
    replicate(&leader, &follower);
    assert!(follower.segment_count() > 3);
    let bytes = |log: &Log| read_batches(log, 1 << 20, i64::MAX).iter().map(|b| b.bytes().to_vec()).collect::<Vec<_>>();
    assert_eq!(bytes(&leader), bytes(&follower));
    for epoch in -1..5 {
        assert_eq!(leader.epoch_end_offset(epoch), follower.epoch_end_offset(epoch), "of epoch {epoch}");
    }
}

#[test]
fn what_does_not_go_on_where_the_log_ends_is_refused_and_nothing_is_appended() {
    let (_a, _b, leaders, followers) = pair();
    let (leader, follower) = (only_log(&leaders), only_log(&followers));
    for i in 0..4 {
        append_all(&leader, &[batch(&[&format!("{i}")])], 5 + i / 2, NOW).pop().unwrap().unwrap();
    }
    let all = sent(&leader, 0);
    follower.append_as_follower(9, &all[..2], NOW).unwrap();
    let again = follower.append_as_follower(9, &all[1..], NOW);
    assert!(matches!(again, Err(AppendError::NotNext { base_offset: 1, end: 2 })), "{again:?}");
    follower.append_as_follower(9, &all[2..], NOW).unwrap();
    let older = Batch::from_log(with_offset_and_epoch(&all[0], 4, 5)).unwrap();
    let fallen = follower.append_as_follower(9, &[older], NOW);
    assert!(matches!(fallen, Err(AppendError::EpochFalls { epoch: 5, latest: 6, .. })), "{fallen:?}");
    assert_eq!(values(&follower), ["0", "1", "2", "3"]);
}

fn with_offset_and_epoch(batch: &Batch, offset: i64, epoch: i32) -> bytes::Bytes {
    let mut bytes = batch.bytes().to_vec();
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
    bytes.into()
}

#[test]
fn who_leads_in_an_epoch_that_has_ended_appends_nothing() {
    let (_a, _b, leaders, followers) = pair();
    let (leader, follower) = (only_log(&leaders), only_log(&followers));
    append_all(&leader, &[batch(&["zombie"])], 3, NOW).pop().unwrap().unwrap();
    follower.fence(5);
    let from_zombie = follower.append_as_follower(4, &sent(&leader, 0), NOW);
    assert!(matches!(from_zombie, Err(AppendError::Fenced { epoch: 4, current: 5 })), "{from_zombie:?}");
    leader.fence(4);
    let as_zombie = append_all(&leader, &[batch(&["late"])], 3, NOW).pop().unwrap();
    assert!(matches!(as_zombie, Err(AppendError::Fenced { epoch: 3, current: 4 })), "{as_zombie:?}");
    follower.append_as_follower(5, &sent(&leader, 0), NOW).unwrap();
    assert_eq!((values(&leader), values(&follower)), (vec!["zombie".to_owned()], vec!["zombie".to_owned()]));
}

#[test]
fn an_election_without_appends_hides_no_epoch_from_the_next_leader() {
    // KAFKA-10706: the follower never finished truncating.
    let (_a, _b, leaders, _followers) = pair();
    let log = only_log(&leaders);
    append_all(&log, &[batch(&["a"])], 3, NOW).pop().unwrap().unwrap();
    log.begin_epoch(7);
    assert_eq!(log.latest_epoch(), Some(7));
    log.forget_empty_epochs();
    assert_eq!(log.latest_epoch(), Some(3));
}

#[test]
fn gaps_that_compaction_left_are_taken_over_and_survive_a_crash() {
    let (_a, b, leaders, followers) = pair();
    let (leader, follower) = (only_log(&leaders), only_log(&followers));
    append(&leader, &batch(&["a"])).unwrap();
    let first = sent(&leader, 0).remove(0);
    let far = |offset| Batch::from_log(with_offset_and_epoch(&first, offset, 0)).unwrap();
    // Farther than one segment reaches, too.
    let batches = [first.clone(), far(100), far(5_000_000_000), far(5_000_000_007)];
    assert_eq!(follower.append_as_follower(0, &batches, NOW).unwrap(), 5_000_000_008);
    let offsets = |log: &Log| read_all(log).into_iter().map(|(offset, _)| offset).collect::<Vec<_>>();
    assert_eq!(offsets(&follower), [0, 100, 5_000_000_000, 5_000_000_007]);
    drop((follower, followers));
    let again = open(b.path(), &tiny());
    assert_eq!(offsets(&only_log(&again)), [0, 100, 5_000_000_000, 5_000_000_007]);
}

#[test]
fn a_follower_below_the_leaders_log_start_begins_anew_there_even_in_the_middle_of_a_batch() {
    let (_a, b, leaders, followers) = pair();
    let (leader, follower) = (only_log(&leaders), only_log(&followers));
    append_all(&follower, &[batch(&["old"])], 1, NOW).pop().unwrap().unwrap();
    append_all(&leader, &[batch(&["0", "1"]), batch(&["2", "3"]), batch(&["4"])], 2, NOW);
    leader.set_high_watermark(5);
    leader.delete_records_before(3).unwrap();
    follower.restart_at(3, 3).unwrap();
    assert_eq!((follower.log_start_offset(), follower.log_end_offset(), follower.high_watermark()), (3, 3, 3));
    assert_eq!(follower.latest_epoch(), None);
    follower.append_as_follower(2, &sent(&leader, 3), NOW).unwrap();
    assert_eq!((follower.log_start_offset(), follower.log_end_offset()), (3, 5));
    assert_eq!(values(&follower), ["3", "4"]);
    follower.flush().unwrap();
    followers.checkpoint().unwrap();
    drop((follower, followers));
    let again = open(b.path(), &tiny());
    assert_eq!(values(&only_log(&again)), ["3", "4"]);
}

#[test]
fn truncation_takes_producers_transactions_and_epochs_back_with_it() {
    // KAFKA-12153: what a reader of committed records may see must not run ahead.
    let (_a, _b, leaders, followers) = pair();
    let (leader, follower) = (only_log(&leaders), only_log(&followers));
    append_all(&leader, &[transactional(7, 0, 0, &["open"])], 1, NOW).pop().unwrap().unwrap();
    let end = leader.log_end_offset();
    let mut out = Vec::new();
    let marker = marker(7, 0, true);
    let append =
        jackdaw_storage::Append { batch: &marker, leader_epoch: 2, origin: jackdaw_storage::Origin::Coordinator };
    leader.append(&[append], NOW, &mut out);
    append_all(&leader, &[sequenced(9, 0, 0, &["later"])], 2, NOW).pop().unwrap().unwrap();
    replicate(&leader, &follower);
    follower.set_high_watermark(1);
    assert_eq!(follower.last_stable_offset(), 0, "the marker is not committed");
    follower.truncate_to(end).unwrap();
    assert_eq!((follower.latest_epoch(), follower.log_end_offset()), (Some(1), 1));
    assert_eq!(follower.producers().iter().map(|p| p.producer_id).collect::<Vec<_>>(), [7]);
    assert_eq!(follower.producers()[0].txn_start_offset, Some(0));
    follower.set_high_watermark(1);
    assert_eq!(follower.last_stable_offset(), 0, "the transaction is open again");
}

#[test]
fn the_high_watermark_survives_a_start_and_one_that_is_not_in_the_file_is_the_log_start() {
    // KAFKA-8333, KAFKA-1647: replicas that nobody had asked for yet were missing, and began at 0 ever after.
    let (_a, b, _leaders, followers) = pair();
    let follower = only_log(&followers);
    append_all(&follower, &[batch(&["a"]), batch(&["b"]), batch(&["c"])], 1, NOW);
    follower.set_high_watermark(2);
    follower.flush().unwrap();
    followers.checkpoint().unwrap();
    drop((follower, followers));
    let again = open(b.path(), &tiny());
    assert_eq!(only_log(&again).high_watermark(), 2);
    // Nobody has given it a role: the file still knows it after the next checkpoint.
    only_log(&again).flush().unwrap();
    again.checkpoint().unwrap();
    drop(again);
    assert_eq!(only_log(&open(b.path(), &tiny())).high_watermark(), 2);
}

#[test]
fn a_batch_larger_than_a_segment_is_still_replicated() {
    let (a, b) = (fast_temp(), fast_temp());
    let large = jackdaw_storage::LogConfig { segment_bytes: 1 << 20, ..tiny() };
    let (leaders, followers) = (open(a.path(), &large), open(b.path(), &tiny()));
    let (leader, follower) = (create(&leaders, &large), create(&followers, &tiny()));
    let value = "x".repeat(5_000);
    append_all(&leader, &[batch(&["small"]), batch(&[&value]), batch(&["after"])], 0, NOW);
    replicate(&leader, &follower);
    assert_eq!(values(&follower), ["small".to_owned(), value, "after".to_owned()]);
}

#[test]
fn a_copy_of_a_log_that_was_truncated_meanwhile_does_not_take_its_place() {
    let (_a, b, leaders, _followers) = pair();
    let leader = only_log(&leaders);
    append_all(&leader, &[batch(&["a"]), batch(&["b"])], 0, NOW);
    let other = fast_temp();
    let target = open(other.path(), &tiny());
    let copy = target.begin_move(&leader).unwrap();
    while copy.copy(1 << 20).unwrap() > 0 {}
    leader.truncate_to(1).unwrap();
    append_all(&leader, &[batch(&["c"])], 1, NOW);
    assert!(copy.take_over(|_| {}).is_err());
    copy.cancel().unwrap();
    append_all(&leader, &[batch(&["d"])], 1, NOW).pop().unwrap().unwrap();
    assert_eq!(values(&leader), ["a", "c", "d"]);
    drop(b);
}
