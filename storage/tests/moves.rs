//! A log that moves to another directory: through power cuts at any step, beside retention, after compaction.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test makes directories of its own")]

mod support;

use std::path::Path;
use std::sync::Arc;

use jackdaw_storage::{AppendError, FutureLog, Hold, Log, LogConfig, LogDir, StorageError};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::faulty::Faulty;
use support::*;

/// What a test moves into `to`, in one directory `root` with where it is moved from.
struct Two {
    from: LogDir,
    to: LogDir,
}

fn open_two(root: &Path, disk: Option<&Arc<Faulty>>) -> Two {
    let open = |name: &str| {
        open_with(&root.join(name), &tiny(), |options| {
            options.recovery_threads = 1;
            if let Some(disk) = disk {
                options.faults = Some(disk.clone());
            }
        })
    };
    Two { from: open("from"), to: open("to") }
}

fn put(log: &Log, value: &str) -> bool {
    append_all(log, &[batch(&[value])], 0, NOW).pop().unwrap().is_ok()
}

/// What was appended, and how much of it was promised to be on the disk.
#[derive(Default)]
struct Promised {
    values: Vec<String>,
    durable: i64,
    /// What is before it, retention may have deleted.
    start: i64,
}

impl Promised {
    /// Appends some, and syncs them now and then. False once the disk does nothing any more.
    fn grow(&mut self, log: &Log, random: &mut StdRng) -> bool {
        for _ in 0..random.random_range(1..6) {
            let value = format!("{} {}", self.values.len(), "v".repeat(random.random_range(0..200)));
            if !put(log, &value) {
                return false;
            }
            self.values.push(value);
        }
        if random.random_bool(0.1) {
            log.set_high_watermark(log.log_end_offset());
            let _ = log.retain(NOW, Hold::NONE);
            self.start = log.log_start_offset();
        }
        if random.random_bool(0.6) {
            let Ok(durable) = log.flush() else { return false };
            self.durable = self.durable.max(durable);
        }
        true
    }

    /// A log holds the first so many of them, with all that was promised.
    fn check(&self, log: &Log) {
        assert_eq!(log.quarantine().map(ToString::to_string), None);
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        let found: Vec<(i64, String)> =
            read_all(log).into_iter().map(|(offset, value)| (offset, String::from_utf8(value).unwrap())).collect();
        let values = self.values.iter().cloned().enumerate().map(|(offset, value)| (offset as i64, value));
        let expected: Vec<_> = values.filter(|(offset, _)| (start..end).contains(offset)).collect();
        assert_eq!(found, expected);
        assert!(end >= self.durable && start <= self.start, "{start}..{end} of {}..{}", self.start, self.durable);
    }
}

/// From the beginning of a move to what comes after it, until the disk fails. True if the move was done.
fn move_and_use(two: &Two, log: &Arc<Log>, promised: &mut Promised, random: &mut StdRng) -> bool {
    let Ok(future) = two.to.begin_move(log) else { return false };
    for _ in 0..random.random_range(0..6) {
        if future.copy(random.random_range(1..2000)).is_err() || !promised.grow(log, random) {
            return false;
        }
    }
    let Ok(new) = future.take_over(|_| {}) else { return false };
    drop(future);
    for round in 0..4 {
        if !promised.grow(&new, random) {
            break;
        }
        if round == 2 {
            let _ = two.from.detach(std::slice::from_ref(log)).and_then(|_| two.from.checkpoint());
        }
    }
    true
}

fn a_power_cut_in_a_move(seed: u64) -> bool {
    let random = &mut StdRng::seed_from_u64(seed);
    let (temp, after) = (fast_temp(), fast_temp());
    for name in ["from", "to"] {
        std::fs::create_dir(temp.path().join(name)).unwrap();
    }
    let disk = Arc::new(Faulty::new(temp.path()));
    let two = open_two(temp.path(), Some(&disk));
    let log = create(&two.from, &LogConfig { delete: true, retention_bytes: 2000, ..tiny() });
    let mut promised = Promised::default();
    for _ in 0..random.random_range(0..8) {
        promised.grow(&log, random);
    }
    disk.cut_power_after(random.random_range(1..160));
    let moved = move_and_use(&two, &log, &mut promised, random);
    disk.cut_power_after(0);
    drop((log, two));
    disk.materialize(after.path(), random);
    let two = open_two(after.path(), None);
    let mut left: Vec<Arc<Log>> = two.from.logs().into_iter().chain(two.to.logs()).collect();
    for log in &left {
        log.set_high_watermark(log.log_end_offset());
    }
    // As the broker chooses.
    left.sort_by_key(|log| (log.log_end_offset(), log.log_start_offset(), log.flushed_offset()));
    let Some(log) = left.pop() else {
        assert_eq!(promised.durable, 0, "there is none");
        return moved;
    };
    promised.check(&log);
    assert!(put(&log, "more"));
    log.flush().unwrap();
    moved
}

#[test]
fn a_power_cut_at_any_moment_of_a_move_loses_nothing_that_was_promised() {
    let seeds = |name: &str| std::env::var(name).ok().map(|seed| seed.parse::<u64>().unwrap());
    let range = seeds("SEED").map_or(0..seeds("SEEDS").unwrap_or(200), |seed| seed..seed + 1);
    let mut moved = 0;
    for seed in range.clone() {
        let run = std::panic::catch_unwind(|| a_power_cut_in_a_move(seed));
        moved += u64::from(run.unwrap_or_else(|_| panic!("failed: run it again with SEED={seed}")));
    }
    let seeds = range.end - range.start;
    assert!(seeds == 1 || moved > seeds / 10 && moved < seeds * 9 / 10, "{moved} of {seeds} moves were done");
}

/// Moves it in one go.
fn move_now(future: &FutureLog) -> Arc<Log> {
    while future.copy(1000).unwrap() > 0 {}
    future.take_over(|_| {}).unwrap()
}

fn pair() -> (tempfile::TempDir, Two) {
    let temp = fast_temp();
    for name in ["from", "to"] {
        std::fs::create_dir(temp.path().join(name)).unwrap();
    }
    let two = open_two(temp.path(), None);
    (temp, two)
}

#[test]
fn what_retention_deletes_meanwhile_is_not_there_afterwards() {
    let (temp, two) = pair();
    let log = create(&two.from, &tiny());
    for i in 0..40 {
        assert!(put(&log, &format!("{i} {}", "v".repeat(100))));
    }
    log.set_high_watermark(40);
    let future = two.to.begin_move(&log).unwrap();
    future.copy(1).unwrap();
    // The move is in a segment that goes.
    log.update_config(LogConfig { delete: true, retention_bytes: 2500, ..tiny() });
    let gone = log.retain(NOW, Hold::NONE).unwrap();
    assert!(!gone.dropped.is_empty());
    let start = log.log_start_offset();
    assert!(start > 10, "{start}");
    let new = move_now(&future);
    assert_eq!((new.log_start_offset(), new.log_end_offset(), new.high_watermark()), (start, 40, 40));
    let (before, after) = (read_all(&log), read_all(&new));
    assert!(before == after);
    new.flush().unwrap();
    two.from.detach(std::slice::from_ref(&log)).unwrap();
    drop((log, new, future, two));
    let two = open_two(temp.path(), None);
    let log = only_log(&two.to);
    log.set_high_watermark(40);
    assert!(read_all(&log) == after, "{:?}", log);
    assert!(two.from.logs().is_empty() && two.to.interrupted_moves().is_empty());
}

#[test]
fn a_log_that_moved_says_so_even_after_its_old_files_are_deleted() {
    let (_temp, two) = pair();
    let log = create(&two.from, &tiny());
    assert!(put(&log, "before"));
    let new = move_now(&two.to.begin_move(&log).unwrap());
    two.from.detach(std::slice::from_ref(&log)).unwrap();
    // Whoever looked the log up before the move tries again in its new place.
    let late = append_all(&log, &[batch(&["late"])], 0, NOW).pop().unwrap();
    assert!(matches!(late, Err(AppendError::Storage(StorageError::Moved { .. }))), "{late:?}");
    assert!(matches!(log.flush(), Err(StorageError::Moved { .. })));
    two.to.detach(std::slice::from_ref(&new)).unwrap();
    assert!(matches!(new.flush(), Err(StorageError::Deleted { .. })));
}

#[test]
fn a_failed_directory_can_be_read_out_of() {
    let temp = fast_temp();
    for name in ["from", "to"] {
        std::fs::create_dir(temp.path().join(name)).unwrap();
    }
    let disk = Arc::new(Faulty::new(temp.path()));
    let from = open_with(&temp.path().join("from"), &tiny(), |options| options.faults = Some(disk.clone()));
    let to = open(&temp.path().join("to"), &tiny());
    let log = create(&from, &tiny());
    for i in 0..40 {
        assert!(put(&log, &format!("{i} {}", "v".repeat(100))));
    }
    disk.cut_power_after(0);
    assert!(!put(&log, "refused") && !from.is_online());
    let new = move_now(&to.begin_move(&log).unwrap());
    new.set_high_watermark(40);
    assert_eq!(read_all(&new).len(), 40);
    assert!(put(&new, "goes on"));
    assert_eq!(new.flush().unwrap(), 41);
}
