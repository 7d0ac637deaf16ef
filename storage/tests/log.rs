//! The public door: append, read, roll, reopen, delete, cut.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files and damages them")]

mod support;

use std::sync::Arc;

use jackdaw_protocol::records::{Batch, BatchBuilder, Codec, Header};
use jackdaw_storage::{
    Append, AppendError, DeleteRecordsError, LogConfig, LogDir, LogDirOptions, OpenError, Origin, ReadError,
    StorageError, TimestampType,
};
use support::*;
use uuid::Uuid;

#[test]
fn appended_batches_are_read_back_with_their_offsets_and_epochs_and_nothing_else_changed() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(temp.path(), &LogConfig::default());
    let log = create(&dir, &LogConfig::default());
    let sent = [batch(&["a", "b"]), batch(&["c"]), batch(&["d", "e", "f"])];
    let out = append_all(&log, &sent, 5, NOW);
    let offsets: Vec<_> = out.iter().map(|r| r.as_ref().map(|a| (a.base_offset, a.last_offset)).unwrap()).collect();
    assert_eq!(offsets, [(0, 1), (2, 2), (3, 5)]);
    assert_eq!(log.log_end_offset(), 6);

    let stored = read_batches(&log, usize::MAX, 6);
    assert_eq!(stored.len(), 3);
    for (sent, stored) in sent.iter().zip(&stored) {
        assert_eq!(stored.header().leader_epoch(), 5);
        assert_eq!(stored.bytes()[16..], sent.bytes()[16..]);
    }
    assert_eq!(log.latest_epoch(), Some(5));
}

#[test]
fn a_read_gives_whole_batches_within_its_bounds() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    for i in 0..100 {
        append(&log, &batch(&[&format!("value-{i}"), "x"])).unwrap();
    }
    assert!(log.segment_count() > 5);
    let one = batch(&["value-1", "x"]).size_in_bytes();
    for offset in 0..200 {
        for bound in [offset, offset + 1, 50, 101, 200, 1000] {
            for max in [0, 1, one - 1, one, 3 * one + 1, 100_000] {
                for at_least_one in [true, false] {
                    let slice = log.read(offset, max, at_least_one, bound).unwrap();
                    let batches: Vec<_> = Batch::split_all(slice.bytes.clone()).map(Result::unwrap).collect();
                    let Some(first) = batches.first() else {
                        let first_fits = (offset | 1) < bound && (at_least_one || max > one);
                        assert!(!first_fits, "offset {offset} bound {bound} max {max}: nothing");
                        continue;
                    };
                    assert_eq!(first.header().base_offset(), offset & !1);
                    assert_eq!(slice.first_offset, offset & !1);
                    assert!(batches.last().unwrap().header().last_offset() < bound);
                    assert!(slice.bytes.len() <= max || (at_least_one && batches.len() == 1));
                }
            }
        }
    }
    assert!(matches!(log.read(201, 1, true, 300), Err(ReadError::OutOfRange { offset: 201, start: 0, end: 200 })));
    assert!(matches!(log.read(-1, 1, true, 300), Err(ReadError::OutOfRange { .. })));
    assert!(log.read(200, 1, true, 300).unwrap().bytes.is_empty());
}

#[test]
fn the_log_is_the_same_after_a_clean_close_and_after_a_crash() {
    for clean in [true, false] {
        let temp = tempfile::tempdir().unwrap();
        let before = {
            let dir = open(temp.path(), &tiny());
            let log = create(&dir, &tiny());
            for i in 0..60 {
                let batch = sequenced(42, 0, i * 2, &[&format!("value-{i}"), "x"]);
                append_all(&log, &[batch], i / 20, NOW).pop().unwrap().unwrap();
            }
            log.set_high_watermark(33);
            dir.checkpoint().unwrap();
            if clean {
                dir.close().unwrap();
            }
            (read_all(&log), log.producers(), log.epoch_end_offset(1), log.size_bytes())
        };
        let dir = open(temp.path(), &tiny());
        dir.finish_recovery().unwrap();
        let log = only_log(&dir);
        assert_eq!((log.topic(), log.partition(), log.topic_id()), (TOPIC, 0, Uuid::from_u128(7)));
        assert_eq!(
            (read_all(&log), log.producers(), log.epoch_end_offset(1), log.size_bytes()),
            before,
            "clean {clean}"
        );
        assert_eq!((log.high_watermark(), log.log_end_offset(), log.flushed_offset()), (33, 120, 120));
        let next = append(&log, &sequenced(42, 0, 120, &["y"]));
        assert_eq!(next.unwrap().base_offset, 120);
    }
}

#[test]
fn log_append_time_replaces_timestamps_and_keeps_the_crc_right() {
    let temp = tempfile::tempdir().unwrap();
    let config = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
    let dir = open(temp.path(), &config);
    let log = create(&dir, &config);
    let out = append_all(&log, &[batch(&["a"])], 0, NOW + 5).pop().unwrap().unwrap();
    assert_eq!(out.log_append_time, NOW + 5);
    let stored = read_batches(&log, 1000, 1); // checks the CRC
    assert!(stored[0].header().is_log_append_time());
    assert_eq!(stored[0].header().max_timestamp(), NOW + 5);
    assert_eq!(log.offset_for_timestamp(NOW + 1).unwrap().unwrap().timestamp, NOW + 5);
}

#[test]
fn a_refused_batch_does_not_hold_up_the_others_and_leaves_no_trace() {
    let temp = tempfile::tempdir().unwrap();
    let config = LogConfig { max_message_bytes: 200, segment_bytes: 4000, ..LogConfig::default() };
    let dir = open(temp.path(), &config);
    let log = create(&dir, &config);
    let control = {
        let mut builder = BatchBuilder::new(Codec::None).control(true);
        builder.push(NOW, Some(&[0, 0, 0, 0]), Some(&[0; 6]), &[]);
        Batch::check(builder.build()).unwrap()
    };
    let out = append_all(
        &log,
        &[
            batch(&["a"]),
            batch(&[&"x".repeat(300)]),
            batch_of(Codec::None, &[(NOW + 3_600_001, b"future")]),
            sequenced(1, 0, -1, &["no sequence"]),
            control,
            batch(&["b"]),
        ],
        0,
        NOW,
    );
    assert!(matches!(out[1], Err(AppendError::TooLarge { max: 200, .. })));
    assert!(matches!(out[2], Err(AppendError::InvalidTimestamp { .. })));
    assert!(matches!(out[3], Err(AppendError::InvalidRecord { .. })));
    assert!(matches!(out[4], Err(AppendError::InvalidRecord { .. })));
    assert_eq!(out[5].as_ref().unwrap().base_offset, 1);
    assert_eq!(values(&log), ["a", "b"]);
    assert!(log.producers().is_empty());

    let small = LogConfig { segment_bytes: 100, ..LogConfig::default() };
    log.update_config(small);
    assert!(matches!(append(&log, &batch(&[&"x".repeat(80)])), Err(AppendError::LargerThanSegment { max: 100, .. })));
}

#[test]
fn a_repeated_batch_gets_its_first_offsets_and_is_not_written_again() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(temp.path(), &LogConfig::default());
    let log = create(&dir, &LogConfig::default());
    append(&log, &batch(&["other"])).unwrap();
    let first = append(&log, &sequenced(9, 0, 0, &["a", "b"])).unwrap();
    let same_call = append_all(&log, &[sequenced(9, 0, 2, &["c"]), sequenced(9, 0, 2, &["c"])], 0, NOW);
    assert!(same_call[1].as_ref().unwrap().duplicate);
    let again = append(&log, &sequenced(9, 0, 0, &["a", "b"])).unwrap();
    assert_eq!((again.base_offset, again.last_offset, again.duplicate), (first.base_offset, first.last_offset, true));
    assert_eq!(values(&log), ["other", "a", "b", "c"]);
    let gap = append(&log, &sequenced(9, 0, 7, &["z"]));
    assert!(matches!(gap, Err(AppendError::OutOfOrderSequence { sequence: 7, last_sequence: 2, .. })));
}

#[test]
fn segments_roll_by_size_by_age_and_by_full_index() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(temp.path(), &LogConfig::default());
    let aged = LogConfig { segment_ms: 1000, ..LogConfig::default() };
    let log = dir.create("aged", Uuid::nil(), 0, aged).unwrap();
    for (timestamp, segments) in [(0, 1), (1000, 1), (1001, 2), (500, 2), (2001, 2), (2002, 3)] {
        append(&log, &batch_of(Codec::None, &[(timestamp, b"x")])).unwrap();
        assert_eq!(log.segment_count(), segments, "timestamp {timestamp}");
    }
    let indexed = LogConfig { segment_index_bytes: 48, index_interval_bytes: 0, ..LogConfig::default() };
    // The first batch of a segment has no entry. With one timestamp 6 offsets fill an index; with rising ones 3 times do, of
    // which there is room for 4.
    for (name, step, segments) in [("indexed", 0, 3), ("times-indexed", 1, 5)] {
        let log = dir.create(name, Uuid::nil(), 0, indexed.clone()).unwrap();
        for i in 0..20 {
            append(&log, &batch_of(Codec::None, &[(i * step, b"x")])).unwrap();
        }
        assert_eq!(log.segment_count(), segments, "{name}");
    }
    let one = batch(&["x"]).size_in_bytes() as u32;
    let sized = LogConfig { segment_bytes: one * 3, ..LogConfig::default() };
    let log = dir.create("sized", Uuid::nil(), 0, sized).unwrap();
    append_all(&log, &vec![batch(&["x"]); 10], 0, NOW).into_iter().for_each(|r| assert!(r.is_ok()));
    assert_eq!(log.segment_count(), 4);
    assert_eq!(values(&log).len(), 10);
}

#[test]
fn delete_records_moves_the_start_and_frees_whole_segments() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    for i in 0..100 {
        append_all(&log, &[batch(&[&format!("value-{i}")])], i / 30, NOW);
    }
    let refused = log.delete_records_before(1);
    assert!(matches!(refused, Err(DeleteRecordsError::OutOfRange { offset: 1, high_watermark: 0 })));
    log.set_high_watermark(80);
    let held = log.read(0, 10_000, true, 100).unwrap();
    let segments = log.segment_count();
    assert_eq!(log.delete_records_before(55).unwrap(), 55);
    assert_eq!(log.delete_records_before(10).unwrap(), 55);
    assert!(log.segment_count() < segments);
    assert_eq!(data_files(&partition_path(temp.path())).len(), log.segment_count());
    assert!(matches!(log.read(54, 1, true, 100), Err(ReadError::OutOfRange { start: 55, .. })));
    assert_eq!(values(&log)[0], "value-55");
    assert_eq!(Header::parse(&held.bytes).unwrap().base_offset(), 0); // still readable
    assert_eq!(log.epoch_end_offset(0), Some((0, 55)));
    assert_eq!(log.delete_records_before(-1).unwrap(), 80);
    dir.checkpoint().unwrap();
    drop(dir);
    drop(log);
    let log = only_log(&open(temp.path(), &tiny()));
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.high_watermark()), (80, 100, 80));
}

#[test]
fn truncation_drops_the_tail_and_what_it_said_of_producers_and_epochs() {
    for keep in [0, 1, 7, 8, 9, 30, 59, 60] {
        let temp = tempfile::tempdir().unwrap();
        let dir = open(temp.path(), &tiny());
        let log = create(&dir, &tiny());
        for i in 0..60 {
            append_all(&log, &[sequenced(4, 0, i, &[&format!("value-{i}")])], i / 20, NOW + i64::from(i));
        }
        log.flush().unwrap();
        dir.checkpoint().unwrap();
        let held = log.read(50, 10_000, true, 60).unwrap();
        log.truncate_to(keep).unwrap();
        assert!(Batch::split_all(held.bytes).all(|b| b.is_ok()));
        assert_eq!(values(&log).len() as i64, keep);
        assert_eq!(log.producers().first().map_or(0, |p| i64::from(p.last_sequence) + 1), keep, "keep {keep}");
        assert_eq!(log.latest_epoch(), (keep > 0).then(|| (keep as i32 - 1) / 20));
        append(&log, &sequenced(4, 0, keep as i32, &["new"])).unwrap();
        assert_eq!(values(&log).last().unwrap(), "new");
        let before = read_all(&log);
        drop((dir, log)); // a crash
        let log = only_log(&open(temp.path(), &tiny()));
        assert!(log.quarantine().is_none());
        assert_eq!(read_all(&log), before);
    }
}

#[test]
fn a_deleted_log_answers_so_and_its_name_can_be_used_again() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    append(&log, &batch(&["old"])).unwrap();
    log.flush().unwrap();
    dir.checkpoint().unwrap();
    let held = log.read(0, 100, true, 1).unwrap();
    dir.delete(&log).unwrap();
    dir.delete(&log).unwrap();
    assert!(dir.logs().is_empty());
    assert!(matches!(append(&log, &batch(&["x"])), Err(AppendError::Storage(StorageError::Deleted { .. }))));
    assert!(matches!(log.read(0, 100, true, 1), Err(ReadError::Storage(StorageError::Deleted { .. }))));
    assert!(matches!(log.flush(), Err(StorageError::Deleted { .. })));
    assert!(Batch::check(held.bytes).is_ok());

    let log = create(&dir, &tiny());
    assert!(matches!(dir.create(TOPIC, Uuid::nil(), 0, tiny()), Err(StorageError::Exists { .. })));
    drop((dir, log));
    let log = only_log(&open(temp.path(), &tiny()));
    assert!(log.quarantine().is_none(), "the recovery point of the deleted log must not count");
    assert_eq!(log.log_end_offset(), 0);
}

#[test]
fn a_directory_is_refused_to_a_second_broker_another_node_and_another_cluster() {
    let temp = tempfile::tempdir().unwrap();
    let open = |node, cluster: Option<&str>| {
        let options = LogDirOptions { cluster_id: cluster.map(str::to_owned), ..LogDirOptions::new(node) };
        LogDir::open(temp.path(), options, &|_| LogConfig::default(), &|_| {})
    };
    let dir = open(1, Some("A")).unwrap();
    assert!(matches!(open(1, Some("A")), Err(OpenError::Locked { .. })));
    let id = dir.directory_id();
    drop(dir);
    assert!(matches!(open(2, Some("A")), Err(OpenError::OtherNode { found: 1, expected: 2, .. })));
    assert!(matches!(open(1, Some("B")), Err(OpenError::OtherCluster { .. })));
    let dir = open(1, None).unwrap();
    assert_eq!((dir.cluster_id(), dir.directory_id()), ("A", id));
    let (total, usable) = dir.total_and_usable_bytes().unwrap();
    assert!(0 < usable && usable <= total);
    assert!(matches!(dir.create("a/b", Uuid::nil(), 0, tiny()), Err(StorageError::BadName { .. })));
}

#[test]
fn transactions_bound_the_stable_offset_and_aborted_ones_are_listed() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    let transactional = |id, sequence| {
        let mut builder = BatchBuilder::new(Codec::None).producer(id, 0, sequence).transactional(true);
        builder.push(NOW, None, Some(b"in doubt"), &[]);
        Batch::check(builder.build()).unwrap()
    };
    let marker = |id, commit: u8| {
        let mut builder = BatchBuilder::new(Codec::None).producer(id, 0, -1).transactional(true).control(true);
        builder.push(NOW, Some(&[0, 0, 0, commit]), Some(&[0, 0, 0, 0, 0, 3]), &[]);
        Batch::check(builder.build()).unwrap()
    };
    let end = |batch: &Batch| {
        let mut out = Vec::new();
        log.append(&[Append { batch, leader_epoch: 0, origin: Origin::Coordinator }], NOW, &mut out);
        out.pop().unwrap().unwrap()
    };
    append_all(&log, &[batch(&["a"]), transactional(1, 0), transactional(2, 0)], 0, NOW);
    log.set_high_watermark(3);
    assert_eq!(log.last_stable_offset(), 1);
    end(&marker(1, 0)); // abort, at 3
    assert_eq!(log.last_stable_offset(), 1);
    log.set_high_watermark(4);
    assert_eq!(log.last_stable_offset(), 2);
    end(&marker(2, 1)); // commit, at 4
    log.set_high_watermark(5);
    assert_eq!((log.last_stable_offset(), log.first_unstable_offset()), (5, None));
    append_all(&log, &vec![batch(&["filler"]); 40], 0, NOW);
    append_all(&log, &[transactional(1, 1)], 0, NOW);
    let check = |log: &Arc<jackdaw_storage::Log>| {
        let aborted = log.aborted_transactions(0, 5).unwrap();
        assert_eq!(aborted.len(), 1);
        assert_eq!((aborted[0].producer_id, aborted[0].first_offset, aborted[0].last_offset), (1, 1, 3));
        assert!(log.aborted_transactions(5, 40).unwrap().is_empty());
        log.set_high_watermark(46);
        assert_eq!(log.last_stable_offset(), 45);
        assert_eq!(log.producers()[0].coordinator_epoch, 3);
    };
    check(&log);
    drop((dir, log));
    let dir = open(temp.path(), &tiny());
    check(&only_log(&dir));
    dir.close().unwrap();
    drop(dir);
    check(&only_log(&open(temp.path(), &tiny())));
}

#[test]
fn a_closed_directory_takes_no_appends_that_its_clean_mark_would_deny() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    append(&log, &batch(&["a"])).unwrap();
    dir.close().unwrap();
    assert!(matches!(append(&log, &batch(&["b"])), Err(AppendError::Storage(StorageError::Io { .. }))));
    assert!(log.truncate_to(0).is_err());
    assert!(dir.create("late", Uuid::nil(), 0, tiny()).is_err());
    assert_eq!(values(&log), ["a"]);
}
