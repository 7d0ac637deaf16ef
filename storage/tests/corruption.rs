//! Random damage to any file of a directory: a start never panics, refuses only what it must, says which file it was, and
//! serves what is sound.
//!
//! `SEED=17 cargo test -p jackdaw-storage --test corruption` damages the same again.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files and damages them")]

mod support;

use std::path::{Path, PathBuf};

use jackdaw_protocol::records::{Batch, BatchBuilder, Codec, records};
use jackdaw_storage::{Append, CleanerMemory, CompactionHooks, Log, LogConfig, LogDir, LogDirOptions, Origin, Pace};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::*;
use uuid::Uuid;

const OTHER: &str = "sound";

struct Free;

impl CompactionHooks for Free {
    fn throttle(&mut self, _: u64) -> Pace {
        Pace::Go
    }
}

fn config() -> LogConfig {
    LogConfig { compact: true, min_cleanable_dirty_ratio: 0.0, ..tiny() }
}

fn keyed(i: i64) -> Batch {
    let mut builder = BatchBuilder::new(if i % 3 == 0 { Codec::Lz4 } else { Codec::None }).producer(9, 0, i as i32);
    builder.push(NOW + i, Some(format!("k{}", i % 5).as_bytes()), Some(format!("value-{i}").as_bytes()), &[]);
    Batch::check(builder.build()).unwrap()
}

/// A directory with one file of every kind; what both logs held.
fn stopped(path: &Path, clean: bool) -> [Vec<(i64, Vec<u8>)>; 2] {
    let dir = open(path, &config());
    let log = create(&dir, &config());
    let other = dir.create(OTHER, Uuid::from_u128(8), 0, config()).unwrap();
    for i in 0..40 {
        append_all(&log, &[keyed(i)], (i / 9) as i32, NOW).pop().unwrap().unwrap();
        append_all(&other, &[keyed(i)], 0, NOW).pop().unwrap().unwrap();
        if i % 12 == 5 {
            let mut aborted = BatchBuilder::new(Codec::None).producer(70 + i, 0, 0).transactional(true);
            aborted.push(NOW, Some(b"k1"), Some(b"aborted"), &[]);
            for batch in [Batch::check(aborted.build()).unwrap(), marker(70 + i, 0, false)] {
                let append = Append { batch: &batch, leader_epoch: (i / 9) as i32, origin: Origin::Coordinator };
                let mut out = Vec::new();
                log.append(&[append], NOW, &mut out);
                out.pop().unwrap().unwrap();
            }
        }
        if i == 29 {
            log.set_high_watermark(20);
            log.delete_records_before(2).unwrap();
            log.flush().unwrap();
            other.flush().unwrap();
            let dirty = log.compaction_candidate(NOW).unwrap().unwrap();
            let done = log.compact(&dirty, &mut CleanerMemory::new(1 << 16, 0.9, 8192), &mut Free, NOW).unwrap();
            log.set_cleaned_offset(done.clean_until).unwrap();
            dir.checkpoint().unwrap();
        }
    }
    other.flush().unwrap();
    dir.checkpoint().unwrap();
    if clean {
        dir.close().unwrap();
    }
    [read_all(&log), read_all(&other)]
}

/// Every file but those of the sound partition.
fn victims(path: &Path) -> Vec<PathBuf> {
    let folders = [path.to_path_buf(), partition_path(path)];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut files: Vec<_> = entries.map(|e| e.unwrap().path()).filter(|p| p.is_file()).collect();
    files.sort();
    files
}

fn damage(rng: &mut StdRng, path: &Path) -> String {
    let files = victims(path);
    let victim = &files[rng.random_range(0..files.len())];
    let mut bytes = std::fs::read(victim).unwrap();
    let (mut target, at) = (victim.clone(), rng.random_range(0..=bytes.len()));
    let kind = rng.random_range(0..10);
    match kind {
        0 => bytes.truncate(at),
        1 => bytes.extend((0..rng.random_range(1..5000)).map(|_| rng.random::<u8>())),
        2 => bytes[at..].fill(0),
        3 => bytes.iter_mut().for_each(|byte| *byte = rng.random()),
        4 => bytes = std::fs::read(&files[rng.random_range(0..files.len())]).unwrap(),
        5 => {
            std::fs::remove_file(victim).unwrap();
            return format!("{} removed", victim.display());
        }
        6 => {
            // Half a copy of it under a name that somebody might believe.
            let base = [0, 1, 7, 13, 39, 40, 5000, i64::MAX][rng.random_range(0..8)];
            let suffix = ["log", "index", "timeindex", "txnindex", "snapshot", "keys", "log.cleaned", "log.deleted"];
            target = partition_path(path).join(format!("{base:020}.{}", suffix[rng.random_range(0..8)]));
            bytes.truncate(at);
        }
        7 => {
            // A number becomes another one, in the text files.
            let digits: Vec<usize> = (0..bytes.len()).filter(|&i| bytes[i].is_ascii_digit()).collect();
            for _ in 0..digits.len().min(3) {
                bytes[digits[rng.random_range(0..digits.len())]] = b"-9 18"[rng.random_range(0..5)];
            }
        }
        _ => {
            for _ in 0..rng.random_range(1..4) {
                if let Some(bit) = (!bytes.is_empty()).then(|| rng.random_range(0..bytes.len() * 8)) {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }
        }
    }
    std::fs::write(&target, bytes).unwrap();
    format!("{}: kind {kind} at {at}", target.display())
}

/// The records of every sound batch that can be reached, however much around them is not.
fn reachable(log: &Log) -> Vec<(i64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut offset = log.log_start_offset();
    while offset < log.log_end_offset().min(10_000) {
        let slice = log.read(offset, 1, true, log.log_end_offset());
        let Some(batch) = slice.ok().and_then(|slice| Batch::check(slice.bytes).ok()) else {
            offset += 1; // clients check the CRC too
            continue;
        };
        let decoded = records(&batch, 1 << 20).unwrap();
        let of_batch =
            decoded.iter().map(|r| r.unwrap()).map(|r| (decoded.offset(&r), r.value.unwrap_or(b"").to_vec()));
        found.extend(of_batch.filter(|(o, _)| *o >= log.log_start_offset()));
        offset = batch.header().last_offset().max(offset) + 1;
    }
    found
}

fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let temp = fast_temp();
    let clean = rng.random_bool(0.5);
    let [held, other_held] = stopped(temp.path(), clean);
    let told: Vec<_> = (0..rng.random_range(1..3)).map(|_| damage(&mut rng, temp.path())).collect();
    for round in 0..2 {
        let opened = LogDir::open(temp.path(), LogDirOptions::new(1), &|_| config(), &|_| {});
        let dir = match opened {
            Ok(dir) => dir,
            Err(error) => {
                // Whose directory it is cannot be guessed, and a number may have become another.
                let error = error.to_string();
                let is_told = error.contains("meta.properties") || error.contains("belongs to");
                assert!(is_told && told.iter().any(|told| told.contains("meta.properties")), "{told:?}: {error}");
                return;
            }
        };
        let logs = dir.logs();
        let find = |topic: &str| logs.iter().find(|log| log.topic() == topic);
        let other = find(OTHER).unwrap();
        let is_root = |told: &String| !told.contains(TOPIC);
        if round == 0 && !told.iter().any(is_root) {
            assert!(other.quarantine().is_none());
            assert_eq!(read_all(other), other_held, "{told:?}");
        }
        let other_found = reachable(other);
        assert!(other_found.iter().all(|row| row.0 >= 40 || other_held.contains(row)), "{told:?}");
        let log = find(TOPIC).unwrap();
        let found = reachable(log);
        if round == 0 {
            assert!(found.iter().all(|row| held.contains(row)), "{told:?}: {found:?}");
        }
        // Whatever is asked of it may be refused, and nothing of it may panic.
        let _ = (log.offset_for_timestamp(NOW + 3), log.max_timestamp(), log.epoch_end_offset(2), log.producers());
        let _ = (log.aborted_transactions(0, 40), log.compaction_candidate(NOW));
        for log in [log, other] {
            let mut out = Vec::new();
            let batch = batch_of(Codec::None, &[(NOW, b"next")]);
            let append = Append { batch: &batch, leader_epoch: 9, origin: Origin::Client };
            log.append(&[append], NOW, &mut out);
            let _ = log.flush();
            let _ = log.truncate_to(rng.random_range(0..45));
        }
        let _ = dir.finish_recovery();
        let _ = dir.checkpoint();
        let _ = dir.close();
    }
}

#[test]
fn a_start_survives_any_damage_and_serves_what_is_sound() {
    if let Some(seed) = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        return run(seed);
    }
    let seeds = std::env::var("CORRUPTION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300);
    for seed in 0..seeds {
        if std::panic::catch_unwind(|| run(seed)).is_err() {
            panic!("failed: run it again with SEED={seed}");
        }
    }
}
