//! One rule, one test.

use std::os::unix::fs::MetadataExt as _;

use super::*;

#[test]
fn of_each_key_the_last_record_stays_at_its_offset() {
    let temp = fast_temp();
    let dir = open(temp.path(), &compacted());
    let log = create(&dir, &compacted());
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1"), ("a", "3"), ("b", "2")] {
        put(&log, key, value);
    }
    seal(&log);
    let end = log.log_end_offset();
    let done = compact_once(&log, NOW).unwrap();
    assert_eq!(short(&log), expected(&[(3, "c", "1"), (4, "a", "3"), (5, "b", "2")]));
    assert_eq!((log.log_end_offset(), log.log_start_offset()), (end, 0));
    assert!(done.bytes_out < done.bytes_in && done.records_out < done.records_in);
    assert_eq!(log.cleaned_offset(), Some(done.clean_until));
    assert_eq!(log.compaction_candidate(NOW).unwrap().unwrap().cleanable_bytes, 0);
    // What is read from an offset that is gone begins at the next one there is.
    assert_eq!(log.read(0, 1000, true, end).unwrap().first_offset, 3);
}

#[test]
fn the_active_segment_and_what_is_not_committed_are_left_alone() {
    let temp = fast_temp();
    let dir = open(temp.path(), &compacted());
    let log = create(&dir, &compacted());
    put(&log, "a", "1");
    put(&log, "a", "2");
    assert!(log.compaction_candidate(NOW).unwrap().is_none(), "there is only an active segment");
    seal(&log);
    let committed = log.log_end_offset();
    put(&log, "a", "3");
    for i in 0..20 {
        put(&log, "a", &format!("{i}{}", "y".repeat(200)));
    }
    let found = log.compaction_candidate(NOW).unwrap().unwrap();
    assert!(found.first_uncleanable_offset <= committed, "the high watermark bounds it");
    compact_once(&log, NOW).unwrap();
    let left = short(&log);
    assert_eq!(left[0], (1, "a".into(), "2".into()), "the newer ones are not committed yet");
    assert_eq!(left.len(), 22);
}

#[test]
fn records_younger_than_the_min_lag_stay_and_those_older_than_the_max_lag_make_it_due() {
    let temp = fast_temp();
    let config = LogConfig { min_compaction_lag_ms: 1000, min_cleanable_dirty_ratio: 0.99, ..compacted() };
    let dir = open(temp.path(), &config);
    let log = create(&dir, &config);
    put(&log, "a", "1");
    put(&log, "a", "2");
    seal(&log);
    let found = |now| log.compaction_candidate(now).unwrap().unwrap();
    assert_eq!(found(NOW + 999).cleanable_bytes, 0);
    assert!(found(NOW + 1000).cleanable_bytes > 0);
    compact_once(&log, NOW + 1000).unwrap();
    assert_eq!(short(&log).len(), 1);
    // A large clean part, a small dirty one.
    log.update_config(LogConfig { min_compaction_lag_ms: 0, max_compaction_lag_ms: 5000, ..config });
    seal(&log);
    assert!(!found(NOW + 5000).is_due(0.99));
    assert!(found(NOW + 5001).is_due(0.99));
    assert_eq!(found(NOW + 5100).overdue_ms, 100);
}

#[test]
fn a_tombstone_stays_for_the_delete_retention_after_the_round_that_first_met_it() {
    let temp = fast_temp();
    let config = LogConfig { delete_retention_ms: 1000, ..compacted() };
    let dir = open(temp.path(), &config);
    let log = create(&dir, &config);
    put(&log, "a", "1");
    append(&log, &keyed(Codec::None, &[("a", None), ("b", Some("1"))])).unwrap();
    seal(&log);
    compact_once(&log, NOW + 50).unwrap();
    let first = batches(&log)[0].clone();
    assert!(first.header().has_delete_horizon());
    assert_eq!(first.header().base_timestamp(), NOW + 1050);
    assert_eq!(rows_of(&first)[0], (1, Some("a".into()), None, NOW), "the timestamp is the old one");
    assert_eq!(first.header().max_timestamp(), NOW);
    compact_again(&log, NOW + 1049);
    assert_eq!(short(&log), expected(&[(1, "a", "-"), (2, "b", "1")]));
    assert_eq!(batches(&log)[0].bytes(), first.bytes(), "the horizon does not move");
    compact_again(&log, NOW + 1050);
    assert_eq!(short(&log), expected(&[(2, "b", "1")]));
    assert_eq!(batches(&log)[0].header().base_timestamp(), NOW + 1050, "as Kafka, the batch keeps its horizon");
}

#[test]
fn compressed_batches_stay_compressed_with_their_codec_and_keep_their_headers() {
    for codec in Codec::ALL {
        for is_log_append_time in [false, true] {
            let temp = fast_temp();
            let timestamp_type = if is_log_append_time {
                jackdaw_storage::TimestampType::LogAppendTime
            } else {
                jackdaw_storage::TimestampType::CreateTime
            };
            let config = LogConfig { timestamp_type, ..compacted() };
            let dir = open(temp.path(), &config);
            let log = create(&dir, &config);
            let mut builder = BatchBuilder::new(codec);
            for (i, key) in ["a", "b", "c", "b"].iter().enumerate() {
                builder.push(NOW - 100 + i as i64, Some(key.as_bytes()), Some(b"1"), &[("h", Some(b"x")), ("n", None)]);
            }
            let batch = Batch::check(builder.build()).unwrap();
            append_all(&log, &[batch], 3, NOW);
            put(&log, "a", "2");
            seal(&log);
            compact_once(&log, NOW).unwrap();
            let found = batches(&log).remove(0);
            let header = found.header();
            assert_eq!(header.codec(), Ok(codec));
            assert_eq!((header.base_offset(), header.last_offset(), header.leader_epoch()), (0, 3, 3));
            assert_eq!((header.record_count(), header.is_log_append_time()), (2, is_log_append_time));
            let time = |i| if is_log_append_time { NOW } else { NOW - 100 + i };
            let row = |i, key: &str| (i, Some(key.to_owned()), Some("1".to_owned()), time(i));
            assert_eq!(rows_of(&found), [row(2, "c"), row(3, "b")]);
            assert_eq!((header.base_timestamp(), header.max_timestamp()), (time(2), time(3)));
            let decoded = records(&found, 1000).unwrap();
            let headers: Vec<_> = decoded.iter().next().unwrap().unwrap().headers().collect();
            assert_eq!((headers.len(), headers[0].value, headers[1].value), (2, Some(&b"x"[..]), None));
        }
    }
}

#[test]
fn a_segment_of_which_everything_stays_is_not_written_again() {
    let temp = fast_temp();
    let dir = open(temp.path(), &compacted());
    let log = create(&dir, &compacted());
    for i in 0..8 {
        put(&log, &format!("cold{i}"), &"v".repeat(200));
    }
    seal(&log);
    compact_once(&log, NOW).unwrap();
    let file = &data_files(&partition_path(temp.path()))[0];
    let before = (std::fs::metadata(file).unwrap().ino(), bytes_of(file));
    for _ in 0..8 {
        put(&log, "hot", &"w".repeat(200));
    }
    seal(&log);
    compact_once(&log, NOW).unwrap();
    assert_eq!((std::fs::metadata(file).unwrap().ino(), bytes_of(file)), before);
    assert_eq!(short(&log).len(), 9);
}

#[test]
fn small_neighbours_become_one_segment() {
    let temp = fast_temp();
    let dir = open(temp.path(), &compacted());
    let log = create(&dir, &compacted());
    for i in 0..60 {
        put(&log, &format!("k{}", i % 5), &"v".repeat(150));
    }
    seal(&log);
    let before = log.segment_count();
    let done = compact_once(&log, NOW).unwrap();
    assert!(before > 10 && done.segments_in == before - 1);
    // The sizes from before the round decide, as in Kafka: the next round merges what this one made small.
    compact_again(&log, NOW);
    assert!(log.segment_count() <= 3);
    assert_eq!(short(&log).iter().map(|row| row.0).collect::<Vec<_>>(), [55, 56, 57, 58, 59]);
    // No index without data, and nothing left of the swaps.
    let path = partition_path(temp.path());
    assert_eq!(data_files(&path).len(), log.segment_count());
    assert_eq!(files_with(&path, "index").len() + 1, log.segment_count(), "the active one's is in memory");
    assert_eq!(files_with(&path, "swap").len() + files_with(&path, "cleaned").len(), 0);
    dir.close().unwrap();
    drop((log, dir));
    let dir = open(temp.path(), &compacted());
    assert_eq!(short(&only_log(&dir)).len(), 5);
}

#[test]
fn the_last_batch_of_a_live_producer_stays_without_its_records() {
    let temp = fast_temp();
    let dir = open(temp.path(), &compacted());
    let log = create(&dir, &compacted());
    let sequenced = |sequence: i32, value: &str| {
        let mut builder = BatchBuilder::new(Codec::Zstd).producer(9, 2, sequence);
        builder.push(NOW, Some(b"k"), Some(value.as_bytes()), &[]);
        builder.push(NOW, Some(b"l"), Some(value.as_bytes()), &[]);
        Batch::check(builder.build()).unwrap()
    };
    append(&log, &sequenced(0, "1")).unwrap();
    append(&log, &sequenced(2, "2")).unwrap();
    put(&log, "k", "3");
    put(&log, "l", "3");
    seal(&log);
    compact_once(&log, NOW).unwrap();
    assert_eq!(short(&log), expected(&[(4, "k", "3"), (5, "l", "3")]));
    let first = batches(&log).remove(0);
    let header = first.header();
    assert_eq!((header.base_offset(), header.last_offset(), header.record_count()), (2, 3, 0));
    assert_eq!((header.producer_id(), header.producer_epoch(), header.base_sequence()), (9, 2, 2));
    // A start without snapshots learns the sequence from it.
    drop((log, dir));
    for snapshot in files_with(&partition_path(temp.path()), "snapshot") {
        std::fs::remove_file(snapshot).unwrap();
    }
    let dir = open(temp.path(), &compacted());
    let log = only_log(&dir);
    assert!(append(&log, &sequenced(2, "2")).unwrap().duplicate);
    assert!(!append(&log, &sequenced(4, "4")).unwrap().duplicate);
    // It goes once there is a newer one.
    seal(&log);
    compact_again(&log, NOW);
    assert!(batches(&log)[0].header().base_offset() > 3);
}

#[test]
fn the_last_batch_before_the_uncleanable_offset_stays_so_that_readers_come_by() {
    let temp = fast_temp();
    let dir = open(temp.path(), &compacted());
    let log = create(&dir, &compacted());
    for _ in 0..40 {
        put(&log, "filler", &"x".repeat(100));
    }
    log.set_high_watermark(i64::MAX);
    let bound = log.compaction_candidate(NOW).unwrap().unwrap().first_uncleanable_offset;
    // The key's last record is the one before the bound: it is overwritten beyond, out of the round's sight.
    compact_once(&log, NOW).unwrap();
    let last = batches(&log).into_iter().find(|b| b.header().last_offset() + 1 == bound).unwrap();
    assert_eq!(last.header().record_count(), 1);
    seal(&log);
    compact_once(&log, NOW).unwrap();
    let next = log.read(0, 1 << 20, true, log.log_end_offset()).unwrap();
    assert!(next.first_offset >= bound);
}

#[test]
fn keys_that_do_not_fit_the_map_take_several_rounds() {
    let temp = fast_temp();
    let config = LogConfig { segment_bytes: 8000, ..compacted() };
    let dir = open(temp.path(), &config);
    let log = create(&dir, &config);
    for round in 0..3 {
        for chunk in 0..40 {
            let keys: Vec<String> = (0..20).map(|i| format!("k{}", chunk * 20 + i)).collect();
            let value = format!("v{round}");
            let rows: Vec<_> = keys.iter().map(|key| (key.as_str(), Some(value.as_str()))).collect();
            append(&log, &keyed(Codec::None, &rows)).unwrap();
        }
    }
    seal(&log);
    let mut small = CleanerMemory::new(12_000, 0.9, 4096);
    let (mut rounds, mut until) = (0, 0);
    loop {
        let dirty = log.compaction_candidate(NOW).unwrap().unwrap();
        if dirty.first_dirty_offset >= dirty.first_uncleanable_offset {
            break;
        }
        let done = log.compact(&dirty, &mut small, &mut Free, NOW).unwrap();
        assert!(done.clean_until > until, "every round gets further");
        until = done.clean_until;
        log.set_cleaned_offset(until).unwrap();
        rounds += 1;
    }
    assert!(rounds > 4, "{rounds}");
    let left = short(&log);
    assert_eq!(left.len(), 800);
    assert!(left.iter().all(|(offset, _, value)| *offset >= 1600 && value == "v2"));
}

#[test]
fn a_round_gives_up_when_the_log_is_cut_or_deleted_or_the_broker_stops() {
    struct Stop;
    impl CompactionHooks for Stop {
        fn throttle(&mut self, _: u64) -> Pace {
            Pace::Stop
        }
    }
    /// Waits for ever, and says that it does.
    struct Wait(std::sync::mpsc::Sender<()>);
    impl CompactionHooks for Wait {
        fn throttle(&mut self, _: u64) -> Pace {
            let _ = self.0.send(());
            std::thread::yield_now();
            Pace::Wait
        }
    }
    let temp = fast_temp();
    let config = LogConfig { segment_bytes: 100_000, ..compacted() };
    let dir = open(temp.path(), &config);
    let log = create(&dir, &config);
    for _ in 0..800 {
        put(&log, "a", &"v".repeat(400));
    }
    seal(&log);
    let before = rows(&log);
    let dirty = log.compaction_candidate(NOW).unwrap().unwrap();
    let stopped = log.compact(&dirty, &mut memory(), &mut Stop, NOW);
    assert!(matches!(stopped, Err(CompactError::Interrupted)));
    assert_eq!(rows(&log), before);
    // One that is made to wait for ever gives up for the truncation, and for the deletion.
    let wait = |sender| log.compact(&dirty, &mut memory(), &mut Wait(sender), NOW);
    std::thread::scope(|scope| {
        let (sender, waits) = std::sync::mpsc::channel();
        let waiting = scope.spawn(move || wait(sender));
        waits.recv().unwrap();
        log.truncate_to(log.log_end_offset() - 1).unwrap();
        assert!(matches!(waiting.join().unwrap(), Err(CompactError::Interrupted)));
        let (sender, waits) = std::sync::mpsc::channel();
        let waiting = scope.spawn(move || wait(sender));
        waits.recv().unwrap();
        dir.delete(&log).unwrap();
        assert!(matches!(waiting.join().unwrap(), Err(CompactError::Interrupted)));
    });
    assert!(dir.is_online());
}

#[test]
fn the_throttle_hears_of_every_byte_that_is_read_and_written_while_it_is_early_enough_to_wait() {
    struct Count(Vec<u64>);
    impl CompactionHooks for Count {
        fn throttle(&mut self, bytes: u64) -> Pace {
            self.0.push(bytes);
            // Every question is answered once with no.
            if bytes > 0 { Pace::Wait } else { Pace::Go }
        }
    }
    let temp = fast_temp();
    let config = LogConfig { segment_bytes: 200_000, ..compacted() };
    let dir = open(temp.path(), &config);
    let log = create(&dir, &config);
    for i in 0..2000 {
        put(&log, &format!("k{}", i % 700), &"v".repeat(400));
    }
    seal(&log);
    let mut count = Count(Vec::new());
    let dirty = log.compaction_candidate(NOW).unwrap().unwrap();
    let done = log.compact(&dirty, &mut memory(), &mut count, NOW).unwrap();
    let (told, step) = (count.0.iter().sum::<u64>(), 128 << 10);
    let all = done.map_bytes + done.bytes_in + done.bytes_out;
    assert!((all - 2 * step..=all).contains(&told), "{told} of {all}");
    assert!(count.0.iter().all(|&bytes| bytes < 2 * step), "never much at once: {:?}", count.0);
    assert_eq!(count.0.iter().filter(|bytes| **bytes > 0).count() * 2, count.0.len());
}

#[test]
fn a_damaged_batch_ends_the_round_and_changes_nothing() {
    let temp = fast_temp();
    let dir = open(temp.path(), &compacted());
    let log = create(&dir, &compacted());
    for i in 0..10 {
        put(&log, "a", &format!("{i}{}", "v".repeat(100)));
    }
    seal(&log);
    log.flush().unwrap();
    let file = data_files(&partition_path(temp.path())).remove(0);
    let mut bytes = bytes_of(&file).to_vec();
    bytes[130] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let dirty = log.compaction_candidate(NOW).unwrap().unwrap();
    let error = log.compact(&dirty, &mut memory(), &mut Free, NOW).unwrap_err();
    assert!(matches!(error, CompactError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("CRC"), "{error}");
    assert_eq!(bytes_of(&file), bytes);
    assert!(dir.is_online());
}

#[test]
fn appends_and_reads_go_on_while_segments_are_replaced() {
    let temp = fast_temp();
    let config = LogConfig { segment_bytes: 4000, ..compacted() };
    let dir = open(temp.path(), &config);
    let log = create(&dir, &config);
    let done = std::sync::atomic::AtomicBool::new(false);
    let is_done = || done.load(std::sync::atomic::Ordering::Acquire);
    std::thread::scope(|scope| {
        let _done = Done(&done);
        let (reader, timer) = (&log, &log);
        scope.spawn(move || {
            while !is_done() {
                let end = reader.log_end_offset();
                let mut last = -1;
                for batch in read_batches(reader, 500, end) {
                    for (offset, key, value, _) in rows_of(&batch) {
                        assert!(offset > last && (key.is_some() && value.is_some()));
                        last = offset;
                    }
                }
            }
        });
        scope.spawn(move || {
            while !is_done() {
                timer.max_timestamp().unwrap();
                timer.offset_for_timestamp(NOW).unwrap();
                timer.aborted_transactions(0, timer.log_end_offset()).unwrap();
            }
        });
        for i in 0..40 {
            for j in 0..60 {
                put(&log, &format!("k{}", j % 7), &format!("{i}-{j}-{}", "v".repeat(60)));
            }
            log.set_high_watermark(i64::MAX);
            compact_once(&log, NOW).unwrap();
        }
    });
    seal(&log);
    compact_once(&log, NOW).unwrap();
    assert_eq!(short(&log).len(), 7);
}

#[test]
fn the_cleaner_is_shown_a_log_only_while_a_sealed_segment_is_dirty() {
    let temp = fast_temp();
    let dir = open(temp.path(), &compacted());
    let shown = || dir.logs_to_compact().len();
    let log = create(&dir, &compacted());
    let plain = dir.create("plain", uuid::Uuid::from_u128(8), 0, tiny()).unwrap();
    assert_eq!(shown(), 0, "an active segment alone");
    seal(&log);
    seal(&plain);
    assert_eq!((shown(), shown()), (1, 1), "until it was compacted");
    while log.compaction_candidate(NOW).unwrap().is_some_and(|dirty| dirty.cleanable_bytes > 0) {
        compact_once(&log, NOW).unwrap();
    }
    assert_eq!(shown(), 0, "nothing is dirty");
    seal(&log);
    assert_eq!(shown(), 1, "it rolled");
    log.update_config(tiny());
    assert_eq!(shown(), 0, "it is not to be compacted any more");
    log.update_config(compacted());
    plain.update_config(compacted());
    assert_eq!(shown(), 2, "a policy changed");
    compact_once(&log, NOW).unwrap();
    assert_eq!(shown(), 1);
    log.truncate_to(1).unwrap();
    seal(&log);
    assert_eq!(shown(), 2, "it was cut, and grew again");
    drop((log, plain));
    dir.close().unwrap();
    drop(dir);
    assert_eq!(open(temp.path(), &compacted()).logs_to_compact().len(), 2, "a start finds them");
}

#[test]
fn the_cleaned_offset_survives_a_restart_and_goes_with_its_log() {
    let temp = fast_temp();
    let dir = open(temp.path(), &compacted());
    let log = create(&dir, &compacted());
    put(&log, "a", "1");
    seal(&log);
    let until = compact_once(&log, NOW).unwrap().clean_until;
    let file = temp.path().join("cleaner-offset-checkpoint");
    assert_eq!(bytes_of(&file), format!("0\n1\n{TOPIC} 0 {until}\n").as_bytes());
    drop((log, dir));
    let dir = open(temp.path(), &compacted());
    let log = only_log(&dir);
    assert_eq!(log.cleaned_offset(), Some(until));
    log.truncate_to(until - 1).unwrap();
    assert_eq!(log.cleaned_offset(), Some(until - 1));
    assert_eq!(bytes_of(&file), format!("0\n1\n{TOPIC} 0 {}\n", until - 1).as_bytes());
    dir.delete(&log).unwrap();
    assert_eq!(bytes_of(&file), &b"0\n0\n"[..]);
    let log = create(&dir, &compacted());
    assert_eq!(log.cleaned_offset(), None);
    drop((log, dir));
    std::fs::write(&file, "rubbish").unwrap();
    let dir = open(temp.path(), &compacted());
    assert_eq!(only_log(&dir).cleaned_offset(), None);
}
