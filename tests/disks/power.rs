//! The storage crate on file systems that lose their power while appends, syncs and rolls are going on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use jackdaw_protocol::records::{Batch, BatchBuilder, Codec, records};
use jackdaw_storage::{Append, Log, LogConfig, LogDir, LogDirOptions, Origin};
use jackdaw_test_support::volume::{FileSystem, Volume};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

const LOGS: usize = 3;
const NOW: i64 = 1_700_000_000_000;
/// Past this, a log starts over, so that a check costs the same in the last cycle as in the first.
const LOG_MAX: u64 = 512 << 10;

/// Segments small enough to be rolled in every cycle.
fn config() -> LogConfig {
    LogConfig { segment_bytes: 100_000, index_interval_bytes: 1000, ..LogConfig::default() }
}

fn open(path: &Path) -> LogDir {
    let config = config();
    LogDir::open(path, LogDirOptions::new(1), &|_| config.clone(), &|_| {}).expect("the directory opens after a cut")
}

/// The record at an offset is known from the offset, so that what is read back can be judged without a memory of it.
fn value(log: usize, life: u64, offset: i64) -> Vec<u8> {
    let word = (offset as u64 ^ (life << 32) ^ ((log as u64) << 48)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word.to_le_bytes().repeat(1 + (word >> 32) as usize % 400)
}

/// What is known of one log across its cuts.
#[derive(Default)]
struct Known {
    /// How often it started over.
    life: u64,
    /// Everything below was reported to be on the disk.
    synced: AtomicI64,
    /// The log may reach up to here: what a start has not found does not come back.
    appended: AtomicI64,
    /// The start that a checkpoint has.
    start: AtomicI64,
}

/// Appends batches, and syncs now and then, until the power is gone.
fn work(index: usize, log: &Log, known: &Known, dir: &LogDir, off: &AtomicBool, mut random: StdRng) {
    let mut out = Vec::new();
    // Not ended by `off`: the cut has to find work going on.
    loop {
        let mut offset = log.log_end_offset();
        let mut batches = Vec::new();
        for _ in 0..random.random_range(1..5) {
            let codec = if random.random_bool(0.2) { Codec::Lz4 } else { Codec::None };
            let mut builder = BatchBuilder::new(codec);
            for _ in 0..random.random_range(1..6) {
                builder.push(NOW + offset, Some(b"key"), Some(&value(index, known.life, offset)), &[]);
                offset += 1;
            }
            batches.push(Batch::check(builder.build()).unwrap());
        }
        known.appended.store(offset, Ordering::Release);
        let appends: Vec<_> =
            batches.iter().map(|batch| Append { batch, leader_epoch: 0, origin: Origin::Client }).collect();
        out.clear();
        log.append(&appends, NOW, &mut out);
        if out.iter().any(Result::is_err) {
            return;
        }
        log.set_high_watermark(log.log_end_offset());
        if random.random_bool(0.4) {
            let Ok(synced) = log.flush() else { return };
            // Linux may report a sync as done that the cut has just aborted: a power cut reports nothing afterwards.
            if off.load(Ordering::SeqCst) {
                return;
            }
            known.synced.fetch_max(synced, Ordering::AcqRel);
        }
        if random.random_bool(0.05) && dir.checkpoint().is_err() {
            return;
        }
        if random.random_bool(0.02) {
            let wanted = random.random_range(log.log_start_offset()..=log.log_end_offset());
            if log.delete_records_before(wanted).is_err() || dir.checkpoint().is_err() || off.load(Ordering::SeqCst) {
                return;
            }
            known.start.fetch_max(wanted, Ordering::AcqRel);
        }
    }
}

/// What lies in the directory of a log, for whoever looks into a failure.
fn files(log: &Log) -> String {
    let entries = std::fs::read_dir(log.path()).unwrap().map(|entry| {
        let entry = entry.unwrap();
        format!("{} {}", entry.file_name().display(), entry.metadata().map_or(0, |m| m.len()))
    });
    let mut entries: Vec<_> = entries.collect();
    entries.sort();
    format!("{log:?}, flushed {}: {}", log.flushed_offset(), entries.join(", "))
}

/// Everything synced is there, and what is there is what was appended.
fn check(index: usize, log: &Log, known: &Known, context: &str) {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let (synced, appended) = (known.synced.load(Ordering::Acquire), known.appended.load(Ordering::Acquire));
    assert!(log.quarantine().is_none(), "{context}: log {index} is quarantined: {:?}", log.quarantine());
    assert!(end >= synced, "{context}: log {index} ends at {end}, and {synced} was synced: {}", files(log));
    assert!(end <= appended, "{context}: log {index} ends at {end}, and only {appended} were appended: {}", files(log));
    let known_start = known.start.load(Ordering::Acquire);
    assert!(start >= known_start, "{context}: log {index} starts at {start}, not {known_start}: {}", files(log));
    let mut offset = start;
    while offset < end {
        let slice = log.read(offset, 1 << 20, true, end).unwrap_or_else(|e| panic!("{context}: log {index}: {e}"));
        assert!(!slice.bytes.is_empty(), "{context}: log {index} has nothing at {offset} of {end}");
        for batch in Batch::split_all(slice.bytes) {
            let batch = batch.unwrap_or_else(|e| panic!("{context}: log {index} near {offset}: {e}"));
            let decoded = records(&batch, 1 << 20).unwrap();
            for record in &decoded {
                let record = record.unwrap();
                let at = decoded.offset(&record);
                let expected = value(index, known.life, at);
                assert_eq!(record.value, Some(&expected[..]), "{context}: log {index}, offset {at}");
            }
            offset = batch.header().last_offset() + 1;
        }
    }
    assert_eq!(offset, end, "{context}: log {index}");
}

/// The tail that was not synced may reach the disk in any mix of its pages: puts such a mix behind the end of the file.
fn tear(log_path: &Path, random: &mut StdRng) {
    let mut files: Vec<_> = std::fs::read_dir(log_path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "log"));
    files.sort();
    let Some(last) = files.last() else { return };
    let mut bytes = std::fs::read(last).unwrap();
    let page = if random.random_bool(0.5) { 512 } else { 4096 };
    let begin = bytes.len();
    // What could have been there: a copy of batches of before, of which some pages are zeros.
    let copied = begin.min(random.random_range(1..20_000));
    bytes.extend_from_within(..copied);
    for start in (begin / page * page..bytes.len()).step_by(page) {
        if random.random_bool(0.5) {
            let (from, to) = (start.max(begin), (start + page).min(bytes.len()));
            bytes[from..to].fill(0);
        }
    }
    std::fs::write(last, bytes).unwrap();
}

fn name(index: usize, life: u64) -> String {
    format!("log{index}.{life}")
}

/// Cuts the power of one file system so many times.
pub(crate) fn cuts_lose_nothing_synced(kind: FileSystem, cuts: u64) {
    let mut volume = Volume::new(kind, if kind == FileSystem::Xfs { 512 } else { 256 });
    let data = volume.path().join("data");
    let mut known: Vec<Known> = (0..LOGS).map(|_| Known::default()).collect();
    let mut total = 0;
    for cut in 0..cuts {
        let context = format!("{kind:?}, cut {cut}");
        let mut random = StdRng::seed_from_u64(cut);
        let dir = Arc::new(open(&data));
        // A broker does it beside its first requests; or it never gets to it.
        if random.random_bool(0.5) {
            dir.finish_recovery().unwrap();
        }
        let logs: Vec<_> = known.iter_mut().enumerate().map(|(i, k)| take_log(&dir, i, k, &context)).collect();
        total += known.iter().map(|k| k.synced.load(Ordering::Acquire)).sum::<i64>();
        for (log, known) in logs.iter().zip(&known) {
            // What was found and is not synced may be gone the next time.
            known.synced.store(log.flushed_offset(), Ordering::Release);
            known.appended.store(log.log_end_offset(), Ordering::Release);
        }
        let off = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (i, (log, known)) in logs.iter().zip(&known).enumerate() {
                let (random, off, dir) = (StdRng::seed_from_u64(random.random()), &off, &dir);
                scope.spawn(move || work(i, log, known, dir, off, random));
            }
            std::thread::sleep(Duration::from_micros(random.random_range(0..12_000)));
            off.store(true, Ordering::SeqCst);
            volume.cut_power();
        });
        drop(logs);
        drop(dir);
        volume.mount_again();
        if random.random_bool(0.3) {
            let torn = random.random_range(0..LOGS);
            let path = data.join(format!("{}-0", name(torn, known[torn].life)));
            if path.is_dir() {
                tear(&path, &mut random);
            }
        }
    }
    assert!(total > 0, "nothing was ever synced: this proves nothing");
}

/// The log of this life, checked; a long one is deleted and starts over.
fn take_log(dir: &LogDir, index: usize, known: &mut Known, context: &str) -> Arc<Log> {
    let find = |life| dir.logs().into_iter().find(|log| log.topic() == name(index, life));
    if let Some(log) = find(known.life) {
        check(index, &log, known, context);
        if log.size_bytes() < LOG_MAX {
            return log;
        }
        dir.delete(&log).unwrap();
        *known = Known { life: known.life + 1, ..Known::default() };
    } else {
        assert_eq!(known.synced.load(Ordering::Acquire), 0, "{context}: log {index} is gone");
        *known = Known { life: known.life, ..Known::default() };
    }
    dir.create(&name(index, known.life), Uuid::from_u128(1 + index as u128), 0, config()).unwrap()
}
