//! Random histories against a plain model: every codec, tombstones, transactions, idempotent producers, rounds with small
//! maps, kills and clean stops. What a reader of committed records learns, applied to a map, must always be what was
//! written; what is left must lie where it was.
//!
//! `JACKDAW_COMPACTION_SEEDS` runs more histories, `JACKDAW_COMPACTION_SEED` one alone.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use jackdaw_storage::LogDir;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::transactions::{committed_rows, end};
use super::*;

const RETENTION_MS: i64 = 100;

/// Key and value of a record.
type Written = (String, Option<String>);

struct History {
    rng: StdRng,
    config: LogConfig,
    dir: Option<LogDir>,
    log: Arc<Log>,
    now: i64,
    written: HashSet<Row>,
    /// Of committed records, in the order of their offsets.
    state: BTreeMap<String, Option<String>>,
    sequence: i32,
    open: Option<(i64, Vec<Written>)>,
    next_producer: i64,
    values: u32,
}

impl History {
    fn new(seed: u64, path: &Path) -> History {
        let mut rng = StdRng::seed_from_u64(seed);
        let config = LogConfig {
            segment_bytes: rng.random_range(600..4000),
            delete_retention_ms: RETENTION_MS,
            timestamp_after_max_ms: i64::MAX,
            ..compacted()
        };
        let dir = open(path, &config);
        let log = create(&dir, &config);
        History {
            rng,
            config,
            dir: Some(dir),
            log,
            now: NOW,
            written: HashSet::new(),
            state: BTreeMap::new(),
            sequence: 0,
            open: None,
            next_producer: 100,
            values: 0,
        }
    }

    fn batch(&mut self) {
        let codec = Codec::ALL[self.rng.random_range(0..5)];
        let mut builder = BatchBuilder::new(codec);
        let kind = self.rng.random_range(0..4);
        let mut producer = None;
        match (kind, &self.open) {
            (0, _) => builder = builder.producer(9, 0, self.sequence),
            (1, None) => {
                self.next_producer += i64::from(self.rng.random_bool(0.3));
                let id = self.next_producer;
                self.open = Some((id, Vec::new()));
                producer = Some(id);
            }
            (1, Some((id, _))) => producer = Some(*id),
            _ => {}
        }
        if let Some(id) = producer {
            builder = builder.producer(id, 0, 0).transactional(true);
        }
        let base = self.log.log_end_offset();
        let mut rows = Vec::new();
        for i in 0..self.rng.random_range(1..8) {
            let key = format!("k{}", self.rng.random_range(0..20));
            self.values += 1;
            let value =
                self.rng.random_bool(0.8).then(|| format!("v{}{}", self.values, "x".repeat(self.values as usize % 50)));
            let timestamp = self.now - self.rng.random_range(0..50);
            builder.push(timestamp, Some(key.as_bytes()), value.as_deref().map(str::as_bytes), &[]);
            self.written.insert((base + i, Some(key.clone()), value.clone(), timestamp));
            rows.push((key, value));
        }
        let batch = Batch::check(builder.build()).unwrap();
        let origin =
            if producer.is_some() { jackdaw_storage::Origin::Coordinator } else { jackdaw_storage::Origin::Client };
        let append = jackdaw_storage::Append { batch: &batch, leader_epoch: 0, origin };
        let mut out = Vec::new();
        self.log.append(&[append], self.now, &mut out);
        out.pop().unwrap().unwrap();
        if kind == 0 {
            self.sequence += rows.len() as i32;
        }
        match (&mut self.open, producer) {
            (Some((_, pending)), Some(_)) => pending.extend(rows),
            // An open transaction's records lie before these, and take effect after them only if they come later: the
            // model applies by offset, so transactions are ended before anything else is written to their keys.
            _ => self.state.extend(rows),
        }
    }

    fn end_transaction(&mut self) {
        let Some((id, rows)) = self.open.take() else { return };
        let committed = self.rng.random_bool(0.5);
        end(&self.log, id, committed);
        if committed {
            self.state.extend(rows);
        }
    }

    fn step(&mut self) {
        self.now += self.rng.random_range(0..20);
        match self.rng.random_range(0..10) {
            0..6 => {
                self.batch();
                // See `batch`: nothing else is written while a transaction is open, but more of itself.
                while self.open.is_some() && self.rng.random_bool(0.5) {
                    self.more();
                }
                self.end_transaction();
            }
            6..9 => self.compact(),
            _ => self.restart(),
        }
        self.log.set_high_watermark(i64::MAX);
        self.check();
    }

    /// Another batch of the open transaction.
    fn more(&mut self) {
        let Some((id, _)) = self.open else { return };
        let key = format!("k{}", self.rng.random_range(0..20));
        self.values += 1;
        let value = format!("t{}", self.values);
        let base = super::transactions::begin(&self.log, id, &[(&key, &value)]);
        self.written.insert((base, Some(key.clone()), Some(value.clone()), NOW));
        if let Some((_, rows)) = &mut self.open {
            rows.push((key, Some(value)));
        }
    }

    fn compact(&mut self) {
        self.log.set_high_watermark(i64::MAX);
        let Some(dirty) = self.log.compaction_candidate(self.now).unwrap() else { return };
        if self.rng.random_bool(0.2) {
            self.log.set_cleaned_offset(0).unwrap(); // as if its file had been lost
        }
        let map_bytes = if self.rng.random_bool(0.5) { 1 << 20 } else { 100 };
        let mut memory = CleanerMemory::new(map_bytes, 0.9, self.rng.random_range(0..9000));
        if dirty.cleanable_bytes > 0 {
            let done = self.log.compact(&dirty, &mut memory, &mut Free, self.now).unwrap();
            self.log.set_cleaned_offset(done.clean_until).unwrap();
        }
    }

    fn restart(&mut self) {
        let path = self.dir.as_ref().unwrap().path().to_owned();
        if self.rng.random_bool(0.5) {
            self.dir.as_ref().unwrap().close().unwrap();
        }
        let end = self.log.log_end_offset();
        self.dir = None;
        let dir = open(&path, &self.config);
        self.log = only_log(&dir);
        self.dir = Some(dir);
        assert_eq!(self.log.log_end_offset(), end);
        assert!(self.log.quarantine().is_none());
    }

    fn check(&self) {
        let rows = committed_rows(&self.log);
        let mut state = BTreeMap::new();
        let mut last = -1;
        for row in rows {
            assert!(row.0 > last && self.written.contains(&row), "{row:?} after {last}");
            last = row.0;
            state.insert(row.1.unwrap(), row.2);
        }
        // A tombstone may be gone with its key.
        let live = |state: &BTreeMap<String, Option<String>>| -> Vec<(String, String)> {
            state.iter().filter_map(|(k, v)| Some((k.clone(), v.clone()?))).collect()
        };
        assert_eq!(live(&state), live(&self.state));
    }
}

fn run(seed: u64) {
    let temp = fast_temp();
    let mut history = History::new(seed, temp.path());
    for _ in 0..40 {
        history.step();
    }
    // Cleaned to the end, each key is there once.
    for _ in 0..3 {
        seal(&history.log);
        history.now += RETENTION_MS + 1;
        compact_again(&history.log, history.now);
        history.check();
    }
    let bound = history.log.cleaned_offset().unwrap();
    let mut keys = HashSet::new();
    for (offset, key, _, _) in committed_rows(&history.log) {
        assert!(offset >= bound || keys.insert(key.unwrap()), "twice below {bound}");
    }
}

#[test]
fn random_histories_lose_nothing_and_keep_every_key_once() {
    if let Some(seed) = std::env::var("JACKDAW_COMPACTION_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return run(seed);
    }
    let seeds = std::env::var("JACKDAW_COMPACTION_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    for seed in 0..seeds {
        if std::panic::catch_unwind(|| run(seed)).is_err() {
            panic!("failed with JACKDAW_COMPACTION_SEED={seed}");
        }
    }
}
