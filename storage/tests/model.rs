//! A log against a plain vector: random histories of appends, epochs, rolls, flushes, cuts at both ends, crashes with
//! and without a torn tail. After every step the log must hold what the vector holds.
//!
//! `JACKDAW_MODEL_SEEDS` runs more histories, `JACKDAW_MODEL_SEED` one alone.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files and damages them")]

mod support;

use std::path::Path;
use std::sync::Arc;

use jackdaw_protocol::records::{BatchBuilder, Codec, Header};
use jackdaw_storage::{Append, Log, LogConfig, LogDir, Origin};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::*;

const PRODUCER: i64 = 77;

/// What a record should be.
#[derive(Debug, Clone, PartialEq)]
struct Record {
    value: String,
    leader_epoch: i32,
    timestamp: i64,
    is_sequenced: bool,
}

struct Model {
    rng: StdRng,
    config: LogConfig,
    dir: Option<LogDir>,
    log: Arc<Log>,
    records: Vec<Record>,
    /// Offset of the first of `records`.
    base: i64,
    start: i64,
    leader_epoch: i32,
    /// Sequenced records that have ever been below `base`, with the producer's state kept.
    sequenced_before: i32,
    produced: u32,
}

impl Model {
    fn new(seed: u64, path: &Path) -> Model {
        let mut rng = StdRng::seed_from_u64(seed);
        let config = LogConfig {
            segment_bytes: rng.random_range(300..3000),
            index_interval_bytes: rng.random_range(0..400),
            segment_ms: if rng.random_bool(0.3) { 50 } else { i64::MAX },
            timestamp_after_max_ms: i64::MAX,
            ..LogConfig::default()
        };
        let dir = open(path, &config);
        let log = create(&dir, &config);
        let (records, dir) = (Vec::new(), Some(dir));
        Model { rng, config, dir, log, records, base: 0, start: 0, leader_epoch: 0, sequenced_before: 0, produced: 0 }
    }

    fn end(&self) -> i64 {
        self.base + self.records.len() as i64
    }

    fn sequence(&self) -> i32 {
        self.sequenced_before + self.records.iter().filter(|r| r.is_sequenced).count() as i32
    }

    fn append(&mut self) {
        if self.rng.random_bool(0.1) {
            self.leader_epoch += self.rng.random_range(1..3);
        }
        let mut sequence = self.sequence();
        let mut batches = Vec::new();
        let mut expected = self.end();
        for _ in 0..self.rng.random_range(1..6) {
            let is_sequenced = self.rng.random_bool(0.5);
            let mut builder = BatchBuilder::new(if self.rng.random_bool(0.2) { Codec::Lz4 } else { Codec::None });
            if is_sequenced {
                builder = builder.producer(PRODUCER, 0, sequence);
            }
            for _ in 0..self.rng.random_range(1..5) {
                let value = format!("{}-{}", self.produced, "x".repeat(self.rng.random_range(0..40)));
                let timestamp = i64::from(self.produced) + self.rng.random_range(0..30);
                builder.push(timestamp, None, Some(value.as_bytes()), &[]);
                self.produced += 1;
                sequence += i32::from(is_sequenced);
                self.records.push(Record { value, leader_epoch: self.leader_epoch, timestamp, is_sequenced });
            }
            batches.push(jackdaw_protocol::records::Batch::check(builder.build()).unwrap());
        }
        let appends: Vec<_> = batches
            .iter()
            .map(|batch| Append { batch, leader_epoch: self.leader_epoch, origin: Origin::Client })
            .collect();
        let mut out = Vec::new();
        self.log.append(&appends, NOW, &mut out);
        for (batch, appended) in batches.iter().zip(out) {
            assert_eq!(appended.unwrap().base_offset, expected);
            expected += i64::from(batch.header().record_count());
        }
    }

    fn step(&mut self, path: &Path) {
        let choice = self.rng.random_range(0..100);
        println!("choice {choice}");
        match choice {
            0..55 => self.append(),
            55..65 => assert_eq!(self.log.flush().unwrap(), self.end()),
            65..72 => self.dir.as_ref().unwrap().checkpoint().unwrap(),
            72..80 => self.delete_records(),
            80..88 => self.truncate(),
            88..92 => self.reopen(path, true, false),
            92..96 => self.reopen(path, false, false),
            _ => self.reopen(path, false, true),
        }
    }

    fn delete_records(&mut self) {
        self.log.set_high_watermark(self.rng.random_range(self.start..=self.end()));
        let to = self.rng.random_range(self.start..=self.log.high_watermark());
        self.start = self.log.delete_records_before(to).unwrap();
        assert_eq!(self.start, to.max(self.start));
        // A start that no checkpoint holds may be forgotten by a crash; this model does not follow that.
        self.dir.as_ref().unwrap().checkpoint().unwrap();
    }

    /// To where a batch begins, as followers do; now and then to the start or below.
    fn truncate(&mut self) {
        let batches = read_batches(&self.log, 1000, self.end());
        let mut places: Vec<i64> = batches.iter().map(|b| b.header().base_offset()).collect();
        places.extend([self.end(), self.end(), (self.start - 2).max(0), self.start]);
        let to = places[self.rng.random_range(0..places.len())];
        self.log.truncate_to(to).unwrap();
        if to >= self.end() {
            return;
        }
        if to <= self.start {
            (self.records, self.base, self.start, self.sequenced_before) = (Vec::new(), to, to, 0);
        } else {
            self.records.truncate((to - self.base) as usize);
        }
    }

    fn reopen(&mut self, path: &Path, clean: bool, torn: bool) {
        let dir = self.dir.take().unwrap();
        if clean {
            dir.close().unwrap();
        }
        drop(dir);
        let checkpoint = std::fs::read_to_string(path.join("recovery-point-offset-checkpoint")).unwrap();
        let recovery_point =
            checkpoint.lines().nth(2).map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap());
        if torn {
            tear(&partition_path(path), recovery_point, &mut self.rng);
        }
        let dir = open(path, &self.config);
        self.log = only_log(&dir);
        self.dir = Some(dir);
        assert!(self.log.quarantine().is_none(), "{:?}", self.log.quarantine());
        let end = self.log.log_end_offset();
        if torn {
            assert!(end >= recovery_point && end <= self.end(), "{recovery_point} <= {end} <= {}", self.end());
            if end < self.start {
                panic!("log start {} was not kept", self.start);
            }
            if self.start == end && self.log.producers().is_empty() {
                self.sequenced_before = 0;
                (self.records, self.base) = (Vec::new(), end);
            } else {
                self.records.truncate((end - self.base).max(0) as usize);
            }
        }
        assert_eq!(end, self.end());
    }

    fn verify_values(&self) {
        let expected: Vec<_> = (self.start..self.end())
            .map(|offset| (offset, &self.records[(offset - self.base) as usize]))
            .map(|(offset, record)| (offset, record.value.clone().into_bytes()))
            .collect();
        assert_eq!(read_all(&self.log), expected);
    }

    fn verify(&mut self) {
        assert_eq!((self.log.log_start_offset(), self.log.log_end_offset()), (self.start, self.end()));
        assert!(self.log.flushed_offset() <= self.end());
        self.verify_values();
        let last = self.log.producers().first().map_or(0, |p| p.last_sequence + 1);
        assert_eq!(last, self.sequence());
        for offset in self.start..self.end() {
            let record = &self.records[(offset - self.base) as usize];
            assert_eq!(self.log.epoch_at(offset), Some(record.leader_epoch), "epoch at {offset}");
        }
        let target = self.rng.random_range(0..self.produced.max(1) + 40).into();
        let is_young = |offset: &i64| self.records[(offset - self.base) as usize].timestamp >= target;
        let first = (self.start..self.end()).find(is_young);
        assert_eq!(self.log.offset_for_timestamp(target).unwrap().map(|f| f.offset), first, "timestamp {target}");
    }
}

/// Cuts the last file somewhere above the recovery point, and perhaps spoils a byte behind it.
fn tear(partition: &Path, recovery_point: i64, rng: &mut StdRng) {
    let file = data_files(partition).pop().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let mut safe = 0;
    while let Ok(header) = Header::parse(&bytes[safe..]) {
        if header.base_offset() >= recovery_point {
            break;
        }
        safe += header.size_in_bytes();
    }
    bytes.truncate(rng.random_range(safe..=bytes.len()));
    if bytes.len() > safe && rng.random_bool(0.3) {
        let at = rng.random_range(safe..bytes.len());
        let in_batch = {
            let mut start = safe;
            while let Ok(header) = Header::parse(&bytes[start..])
                && start + header.size_in_bytes() <= at
            {
                start += header.size_in_bytes();
            }
            at - start
        };
        if in_batch >= 16 {
            bytes[at] ^= 0x40; // what the CRC covers
        }
    }
    std::fs::write(&file, bytes).unwrap();
}

#[test]
fn the_log_holds_what_a_plain_vector_holds() {
    let number = |name: &str| std::env::var(name).ok().map(|v| v.parse::<u64>().unwrap());
    let seeds = match number("JACKDAW_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("JACKDAW_MODEL_SEEDS").unwrap_or(200),
    };
    for seed in seeds {
        let temp = fast_temp();
        let run = std::panic::AssertUnwindSafe(|| {
            let mut model = Model::new(seed, temp.path());
            for _ in 0..40 {
                model.step(temp.path());
                println!("{:?} epochs {}", model.log, model.leader_epoch); // shown if the test fails
                model.verify();
            }
        });
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("failed with JACKDAW_MODEL_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
