//! A log against plain vectors: random histories of appends (idempotent, transactional, of several leader epochs),
//! rolls, flushes, cuts at both ends, retention, compaction, full disks, clean and unclean restarts, and power cuts at
//! any moment, which lose what was not synced and tear pages of 512 and 4096 bytes. After the steps the log must hold what
//! the vectors hold; after a power cut, what was flushed, and of the rest a beginning.
//!
//! `SEED=17 cargo test -p jackdaw-storage --test model` runs one history again and tells its steps; `MODEL_SEEDS=10000`
//! runs so many, as `tests/run` does; `MODEL_FIRST` tells from where on.
//!
//! Planted by hand, each found within 300 histories: a flush that does not sync names, one that does not sync records,
//! an append without room that leaves its producers behind, a compaction that drops some last values, a start that checks
//! no checksums. What it found in earnest has its tests in `crashes` and `damage`.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files and damages them")]

/// Notes a step for whoever reads a history that failed.
macro_rules! tell {
    ($model:expr, $($line:tt)*) => {
        if $model.tells {
            let line = format!($($line)*);
            $model.trace.push(line);
        }
    };
}

mod crashes;
mod history;
mod steps;
#[path = "../support/mod.rs"]
mod support;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use history::History;
use jackdaw_storage::{Log, LogConfig, LogDir};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::faulty::Faulty;
use support::*;

/// Where a history starts to be too long for its time.
const STEPS: usize = 30;

struct Model {
    rng: StdRng,
    config: LogConfig,
    temp: tempfile::TempDir,
    /// Directories used so far: each power cut leaves a new one.
    generation: usize,
    disk: Arc<Faulty>,
    dir: Option<LogDir>,
    log: Arc<Log>,
    history: History,
    start: i64,
    end: i64,
    /// Below it, nothing may be lost.
    durable_end: i64,
    /// A crash may bring the start back to here.
    durable_start: i64,
    leader_epoch: i32,
    /// A crash came in the middle of a compaction: the next start may find its work done, in part or in full.
    was_compacting: bool,
    /// Records made so far; also the time, in ms.
    made: i64,
    is_restarted: bool,
    /// Whether the steps are noted: only where somebody will read them.
    tells: bool,
    trace: Vec<String>,
}

impl Model {
    fn new(seed: u64, tells: bool) -> Model {
        let mut rng = StdRng::seed_from_u64(seed);
        let compact = rng.random_bool(0.4);
        let config = LogConfig {
            segment_bytes: rng.random_range(300..3000),
            index_interval_bytes: rng.random_range(0..400),
            segment_ms: if rng.random_bool(0.3) { 50 } else { i64::MAX },
            retention_ms: if rng.random_bool(0.5) { rng.random_range(10..300) } else { -1 },
            retention_bytes: if rng.random_bool(0.5) { rng.random_range(500..5000) } else { -1 },
            file_delete_delay_ms: rng.random_range(0..100),
            timestamp_after_max_ms: i64::MAX,
            delete: !compact || rng.random_bool(0.3),
            compact,
            delete_retention_ms: if rng.random_bool(0.5) { 0 } else { 1000 },
            min_cleanable_dirty_ratio: 0.0,
            ..LogConfig::default()
        };
        let temp = fast_temp();
        let root = temp.path().join("0");
        std::fs::create_dir(&root).unwrap();
        let disk = Arc::new(Faulty::new(&root));
        let dir = open_on(&disk, &root, &config);
        let log = create(&dir, &config);
        Model {
            rng,
            config,
            temp,
            generation: 0,
            disk,
            dir: Some(dir),
            log,
            history: History::default(),
            start: 0,
            end: 0,
            durable_end: 0,
            durable_start: 0,
            leader_epoch: 0,
            was_compacting: false,
            made: 0,
            is_restarted: false,
            tells,
            trace: Vec::new(),
        }
    }

    fn root(&self) -> PathBuf {
        self.temp.path().join(self.generation.to_string())
    }

    fn dir(&self) -> &LogDir {
        self.dir.as_ref().unwrap()
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.step();
            // What is wrong stays wrong for a while: every other look finds it too, in half the time.
            if self.is_restarted || self.rng.random_bool(0.5) {
                self.verify();
            }
            self.is_restarted = false;
        }
        self.restart(true);
        self.verify();
    }
}

fn open_on(disk: &Arc<Faulty>, root: &std::path::Path, config: &LogConfig) -> LogDir {
    let disk = Arc::clone(disk);
    open_with(root, config, |o| {
        o.recovery_threads = 1;
        o.faults = Some(disk);
    })
}

/// Runs one history; `Err` with the panic, and what is known of the model, if it failed.
fn history_of(seed: u64, tells: bool) -> (std::thread::Result<()>, Option<Model>) {
    let mut model = None;
    let run = std::panic::AssertUnwindSafe(|| model.insert(Model::new(seed, tells)).run());
    (std::panic::catch_unwind(run), model)
}

fn run_seed(seed: u64, tells: bool) {
    let (mut result, mut model) = history_of(seed, tells);
    if result.is_err() && !tells {
        (result, model) = history_of(seed, true);
    }
    if let Some(model) = model.filter(|model| model.tells) {
        let steps = model.trace.join("\n  ");
        eprintln!("SEED={seed}: {:?}\n  {steps}\n  at last: {:?}", model.config, model.log);
        if std::env::var_os("KEEP").is_some() {
            eprintln!("kept: {}", model.temp.keep().display());
        }
    }
    if let Err(panic) = result {
        eprintln!("failed: run it again with SEED={seed}");
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn the_log_holds_what_plain_vectors_hold_whatever_happens_to_it() {
    let number = |name: &str| std::env::var(name).ok().map(|v| v.parse::<u64>().unwrap());
    if let Some(seed) = number("SEED") {
        return run_seed(seed, true);
    }
    let seeds = number("MODEL_SEEDS").unwrap_or(500);
    let first = number("MODEL_FIRST").unwrap_or(0);
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    run_seed(seed, false);
                }
            });
        }
    });
}
