//! Many readers, many segments, many partitions.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files and damages them")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use jackdaw_protocol::records::Batch;
use jackdaw_storage::LogConfig;
use support::*;
use uuid::Uuid;

#[test]
fn readers_beside_an_appender_never_see_a_torn_or_missing_batch() {
    let config = LogConfig { segment_bytes: 20_000, index_interval_bytes: 500, ..LogConfig::default() };
    let temp = fast_temp();
    let dir = open_with(temp.path(), &config, |o| o.map_budget = 8);
    let log = create(&dir, &config);
    const TOTAL: i64 = 6_000;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _done = Done(&done);
        for reader in 0..3 {
            let (log, done) = (&log, &done);
            scope.spawn(move || {
                let mut offset = 0;
                while offset < TOTAL && !(done.load(Ordering::SeqCst) && log.log_end_offset() < TOTAL) {
                    let end = log.log_end_offset();
                    let slice = log.read(offset, 700 + reader * 1000, true, end).unwrap();
                    if slice.bytes.is_empty() {
                        assert!(offset >= end, "nothing at {offset} below {end}");
                        assert!(!done.load(Ordering::SeqCst) || offset >= end);
                        std::thread::yield_now();
                    }
                    for batch in Batch::split_all(slice.bytes) {
                        let batch = batch.unwrap(); // CRC checked
                        assert_eq!(batch.header().base_offset(), offset);
                        offset = batch.header().last_offset() + 1;
                    }
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                log.flush().unwrap();
                dir.checkpoint().unwrap();
            }
        });
        let mut next = 0;
        while next < TOTAL {
            let count = (next % 7 + 1).min(TOTAL - next);
            let batches: Vec<_> = (0..count).map(|i| batch(&[&format!("value-{}", next + i)])).collect();
            append_all(&log, &batches, 0, NOW).into_iter().for_each(|r| assert!(r.is_ok()));
            next += count;
        }
    });
    assert_eq!(log.flush().unwrap(), TOTAL);
}

/// Memory maps and open files of this process that lie below `path`.
fn held_of(path: &std::path::Path) -> (usize, usize) {
    let path = path.to_str().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let maps = maps.lines().filter(|line| line.contains(path) && line.contains(".log")).count();
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let files = files
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.to_str().is_some_and(|t| t.starts_with(path) && t.ends_with(".log")))
        .count();
    (maps, files)
}

#[test]
fn two_thousand_segments_cost_no_more_maps_and_files_than_allowed() {
    let one = batch(&["value-0000"]).size_in_bytes() as u32;
    let config = LogConfig { segment_bytes: one, ..LogConfig::default() };
    let temp = fast_temp();
    let dir = open_with(temp.path(), &config, |o| o.map_budget = 50);
    let log = create(&dir, &config);
    for i in 0..2_000 {
        append(&log, &batch(&[&format!("value-{i:04}")])).unwrap();
    }
    assert_eq!(log.segment_count(), 2_000);
    for round in 0..2 {
        assert_eq!(values(&log).len(), 2_000, "round {round}");
        let (maps, files) = held_of(temp.path());
        assert!(maps <= 50, "{maps} maps");
        assert!(files <= 20, "{files} files");
    }
    let held: Vec<_> = (0..200).map(|i| log.read(i, 1000, true, 2_000).unwrap()).collect();
    assert!(held.iter().all(|slice| Batch::check(slice.bytes.clone()).is_ok()), "slices outlive their map's place");
}

#[test]
fn idle_partitions_cost_neither_maps_nor_files() {
    let temp = fast_temp();
    let config = LogConfig::default();
    {
        let dir = open_with(temp.path(), &config, |o| o.descriptor_budget = 20);
        let mut logs = Vec::new();
        for partition in 0..200 {
            let log = dir.create("many", Uuid::nil(), partition, config.clone()).unwrap();
            append(&log, &batch(&["a"])).unwrap();
            logs.push(log);
        }
        // Nothing may be closed before it is synced; the checkpoint does that.
        dir.checkpoint().unwrap();
        assert!(held_of(temp.path()).1 <= 20);
        let results = dir.flush_many(&logs);
        assert_eq!(results.len(), 200);
        assert!(results.iter().all(|(_, flushed)| matches!(flushed, Ok(1))));
        for log in &logs {
            append(log, &batch(&["b"])).unwrap();
        }
        dir.close().unwrap();
    }
    let dir = open(temp.path(), &config);
    assert_eq!(dir.logs().len(), 200);
    assert_eq!(held_of(temp.path()), (0, 0));
    assert!(dir.logs().iter().all(|log| values(log) == ["a", "b"]));
}

#[test]
fn partitions_that_were_just_made_or_are_idle_again_cost_neither_maps_nor_files() {
    let temp = fast_temp();
    let config = LogConfig::default();
    let dir = open(temp.path(), &config);
    let logs: Vec<_> = (0..300).map(|i| dir.create("many", Uuid::nil(), i, config.clone()).unwrap()).collect();
    assert_eq!(held_of(temp.path()), (0, 0));
    for log in &logs {
        append(log, &batch(&["a"])).unwrap();
        assert_eq!(values(log), ["a"]);
    }
    assert_eq!(held_of(temp.path()), (300, 300));
    dir.let_go_of_idle_files();
    dir.let_go_of_idle_files();
    assert_eq!(held_of(temp.path()).1, 300, "files with bytes that are not synced stay open");
    dir.flush_many(&logs);
    logs[0].read(0, 100, true, 1).unwrap();
    dir.let_go_of_idle_files();
    dir.let_go_of_idle_files();
    assert_eq!(held_of(temp.path()), (0, 0));
    assert!(logs.iter().all(|log| values(log) == ["a"]));
}

#[test]
fn a_large_log_is_not_cold_where_it_was_just_written() {
    let temp = fast_temp();
    let dir = open(temp.path(), &LogConfig::default());
    let log = create(&dir, &LogConfig::default());
    append(&log, &batch(&["a"])).unwrap();
    assert!(!log.probably_cold(0, 1000));
    log.read(0, 1000, true, 1).unwrap().populate();
}
