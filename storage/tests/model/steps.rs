//! What happens to the log, one random step at a time.

use std::sync::Arc;

use jackdaw_protocol::records::{Batch, BatchBuilder, Codec};
use jackdaw_storage::{Append, AppendError, Hold, LogDir, LogDirOptions, Origin};
use rand::Rng;

use crate::history::{Appended, Record, read_log, records_of};
use crate::support::faulty::Faulty;
use crate::support::*;
use crate::{Model, open_on};

/// A batch, who sends it, and what of it the history takes in.
struct Made {
    batch: Batch,
    origin: Origin,
    leader_epoch: i32,
    appended: Appended,
    records: Vec<(i64, Record)>,
}

impl Model {
    pub(crate) fn step(&mut self) {
        let choice = self.rng.random_range(0..100);
        match choice {
            0..46 => self.append(),
            46..54 => self.flush(),
            54..60 => self.checkpoint(),
            60..66 => self.delete_records(),
            66..72 => self.truncate(),
            72..77 => self.retain(),
            77..80 => self.append_on_a_full_disk(),
            80..82 => {
                let count = self.dir().purge(self.made);
                self.tell(format!("purge: {count}"));
            }
            82..87 => self.restart(true),
            87..90 => self.restart(false),
            90..94 => self.power_cut(),
            _ => self.power_cut_in_the_middle(),
        }
    }

    fn record(&mut self) -> (Option<Vec<u8>>, Option<Vec<u8>>, i64) {
        let key = self.config.compact.then(|| vec![b'a' + self.rng.random_range(0..9)]);
        let is_tombstone = self.config.compact && self.rng.random_bool(0.2);
        let value = format!("{}-{}", self.made, "x".repeat(self.rng.random_range(0..40))).into_bytes();
        let timestamp = self.made + self.rng.random_range(0..30);
        self.made += 1;
        (key, (!is_tombstone).then_some(value), timestamp)
    }

    /// Batches that follow one another, each of a random producer.
    fn make_batches(&mut self, count: usize) -> Vec<Made> {
        let mut made: Vec<Made> = Vec::new();
        let mut sequences: std::collections::HashMap<i64, i32> =
            self.log.producers().iter().map(|p| (p.producer_id, p.last_sequence + 1)).collect();
        let mut open: Vec<i64> =
            self.log.producers().iter().filter(|p| p.txn_start_offset.is_some()).map(|p| p.producer_id).collect();
        let mut end = self.end;
        for _ in 0..count {
            if self.rng.random_bool(0.1) {
                self.leader_epoch += self.rng.random_range(1..3);
            }
            let producer = [-1, -1, 1, 2, 11, 12][self.rng.random_range(0..6)];
            let is_transactional = producer > 10;
            let marker = (open.contains(&producer) && self.rng.random_bool(0.4)).then(|| self.rng.random_bool(0.5));
            let codec = if self.rng.random_bool(0.1) { Codec::Lz4 } else { Codec::None };
            let mut builder = BatchBuilder::new(codec).transactional(is_transactional);
            let mut records = Vec::new();
            let sequence = sequences.entry(producer).or_insert(0);
            let last_sequence;
            if let Some(commits) = marker {
                builder = BatchBuilder::new(Codec::None).producer(producer, 0, -1).transactional(true).control(true);
                let (key, value) = (vec![0, 0, 0, u8::from(commits)], vec![0, 0, 0, 0, 0, 3]);
                builder.push(self.made, Some(&key), Some(&value), &[]);
                records.push((Some(key), Some(value), self.made));
                open.retain(|&p| p != producer);
                last_sequence = -1;
            } else {
                if producer >= 0 {
                    builder = builder.producer(producer, 0, *sequence);
                }
                for _ in 0..self.rng.random_range(1..5) {
                    let (key, value, timestamp) = self.record();
                    builder.push(timestamp, key.as_deref(), value.as_deref(), &[]);
                    records.push((key, value, timestamp));
                }
                *sequence += records.len() as i32;
                last_sequence = *sequence - 1;
                if is_transactional && !open.contains(&producer) {
                    open.push(producer);
                }
            }
            let leader_epoch = self.leader_epoch;
            let is_control = marker.is_some();
            let base = end;
            end += records.len() as i64;
            made.push(Made {
                batch: Batch::check(builder.build()).unwrap(),
                origin: if is_control { Origin::Coordinator } else { Origin::Client },
                leader_epoch,
                appended: Appended {
                    base,
                    last: end - 1,
                    producer: (producer >= 0).then_some((producer, last_sequence)),
                    is_transactional,
                    marker,
                },
                records: (base..)
                    .zip(records)
                    .map(|(offset, (key, value, timestamp))| {
                        (offset, Record { key, value, timestamp, leader_epoch, is_control })
                    })
                    .collect(),
            });
        }
        made
    }

    fn try_append(&mut self, made: &[Made]) -> Vec<Result<jackdaw_storage::Appended, AppendError>> {
        let appends: Vec<_> =
            made.iter().map(|m| Append { batch: &m.batch, leader_epoch: m.leader_epoch, origin: m.origin }).collect();
        let mut out = Vec::new();
        self.log.append(&appends, self.made, &mut out);
        out
    }

    fn take_in(&mut self, made: Made) {
        self.tell(format!("    {:?}", made.appended));
        self.end = made.appended.last + 1;
        self.history.batches.push(made.appended);
        self.history.records.extend(made.records);
    }

    pub(crate) fn append(&mut self) {
        let count = self.rng.random_range(1..6);
        let made = self.make_batches(count);
        self.tell(format!("append {count} batches at {}, epoch {}", self.end, self.leader_epoch));
        let results = self.try_append(&made);
        for (made, result) in made.into_iter().zip(results) {
            let appended = result.unwrap();
            assert_eq!((appended.base_offset, appended.last_offset), (made.appended.base, made.appended.last));
            assert!(!appended.duplicate);
            self.take_in(made);
        }
        if self.rng.random_bool(0.2) {
            self.resend();
        }
    }

    /// The newest batch of a producer again: it is known, and nothing is written.
    fn resend(&mut self) {
        let producer = self.rng.random_range(1..3);
        let Some((base, last_sequence)) = self.history.last_of(producer) else { return };
        let known = self.log.producers().iter().any(|p| p.producer_id == producer && p.last_sequence == last_sequence);
        let Some(sent) = self.history.batches.iter().find(|b| b.base == base).cloned() else { return };
        if !known {
            return;
        }
        let count = sent.last - sent.base + 1;
        let mut builder = BatchBuilder::new(Codec::None).producer(producer, 0, last_sequence - count as i32 + 1);
        for _ in 0..count {
            builder.push(self.made, Some(b"again"), Some(b"again"), &[]);
        }
        let batch = Batch::check(builder.build()).unwrap();
        let append = Append { batch: &batch, leader_epoch: self.leader_epoch, origin: Origin::Client };
        let mut out = Vec::new();
        self.log.append(&[append], self.made, &mut out);
        let again = out.pop().unwrap().unwrap();
        assert!(again.duplicate);
        assert_eq!((again.base_offset, again.last_offset), (sent.base, sent.last));
    }

    fn append_on_a_full_disk(&mut self) {
        let room = self.rng.random_range(0..1500);
        let count = self.rng.random_range(1..12);
        let made = self.make_batches(count);
        self.disk.set_room(Some(room));
        let results = self.try_append(&made);
        let fitted = results.iter().take_while(|r| r.is_ok()).count();
        self.tell(format!("append {count} batches at {} into {room} bytes: {fitted} fit", self.end));
        for result in &results[fitted..] {
            let Err(AppendError::Storage(error)) = result else { panic!("{result:?} after one that failed") };
            assert!(error.is_full_disk(), "{error}");
        }
        for made in made.into_iter().take(fitted) {
            self.take_in(made);
        }
        assert!(self.dir().is_online());
        match self.rng.random_range(0..5) {
            0 => assert_eq!(self.log.flush().unwrap(), self.end, "what is in the log can be synced"),
            1 => drop(self.dir().checkpoint()),
            2 => {
                let to = self.cut_place();
                if self.log.truncate_to(to).is_ok() {
                    self.tell(format!("  truncated to {to} all the same"));
                    self.cut_to(to);
                }
            }
            3 => {
                self.verify();
                self.disk.set_room(None);
                return self.restart(false);
            }
            _ => {}
        }
        self.verify();
        self.disk.set_room(None);
        assert!(self.dir().probe_space());
        self.leader_epoch = self.leader_epoch.max(self.log.latest_epoch().unwrap_or(0));
    }

    fn flush(&mut self) {
        self.tell(format!("flush at {}", self.end));
        assert_eq!(self.log.flush().unwrap(), self.end);
        self.durable_end = self.end;
    }

    fn checkpoint(&mut self) {
        self.tell(format!("checkpoint, start {}", self.start));
        self.dir().checkpoint().unwrap();
        self.start_is_durable();
    }

    fn start_is_durable(&mut self) {
        self.durable_start = self.start;
    }

    fn delete_records(&mut self) {
        let high_watermark = self.rng.random_range(self.start..=self.end);
        self.log.set_high_watermark(high_watermark);
        let to = self.rng.random_range(self.start..=self.log.high_watermark());
        self.tell(format!("delete records before {to}"));
        self.start = self.log.delete_records_before(to).unwrap();
        assert_eq!(self.start, to);
    }

    fn retain(&mut self) {
        self.log.set_high_watermark(self.end);
        let retained = self.log.retain(self.made, Hold::NONE).unwrap();
        let start = self.log.log_start_offset();
        self.tell(format!("retain: {} segments go, start {} -> {start}", retained.dropped.len(), self.start));
        assert!(start >= self.start && start <= self.end);
        if let Some(last) = retained.dropped.last() {
            assert!(last.end_offset <= start);
        }
        self.start = start;
    }

    /// To where a batch begins, as followers do; now and then to the start or below.
    fn truncate(&mut self) {
        let to = self.cut_place();
        self.tell(format!("truncate to {to}, from {}", self.end));
        self.log.truncate_to(to).unwrap();
        self.cut_to(to);
    }

    fn cut_place(&mut self) -> i64 {
        let mut places: Vec<i64> =
            self.history.batches.iter().map(|b| b.base).filter(|&base| base >= self.start).collect();
        places.extend([self.end, (self.start - 2).max(0), self.start]);
        places[self.rng.random_range(0..places.len())]
    }

    fn cut_to(&mut self, to: i64) {
        if to >= self.end {
            return;
        }
        self.history.truncate(to);
        if to <= self.start {
            self.start = to;
            self.durable_start = to;
            self.history.batches.clear();
        }
        self.end = to;
        self.durable_end = self.durable_end.min(to);
    }

    /// A stop of the process alone: nothing of what the system was given is lost.
    pub(crate) fn restart(&mut self, clean: bool) {
        self.tell(format!("restart, clean {clean}"));
        let dir = self.dir.take().unwrap();
        if clean {
            dir.close().unwrap();
            self.start_is_durable();
        }
        drop(dir);
        let end = self.end;
        self.opened(open_on(&self.disk, &self.root(), &self.config));
        assert_eq!(self.end, end);
    }

    /// Takes over what a start found, after a look at whether it may be so.
    fn opened(&mut self, dir: LogDir) {
        self.log = only_log(&dir);
        self.dir = Some(dir);
        assert!(self.log.quarantine().is_none(), "{:?}", self.log.quarantine());
        let (start, end) = (self.log.log_start_offset(), self.log.log_end_offset());
        self.tell(format!(
            "  found {start}..{end}; had {}..{}, durable {}..{}",
            self.start, self.end, self.durable_start, self.durable_end
        ));
        assert!(end >= self.durable_end, "lost what was flushed: ends at {end}");
        assert!(end <= self.end, "more than was appended: {end}");
        let is_boundary = end == self.end || self.history.batches.iter().any(|b| b.base == end) || end == start;
        assert!(is_boundary, "ends within a batch: {end}");
        let may_be_start = self.durable_start.min(end)..=self.start.max(end);
        assert!(may_be_start.contains(&start), "starts at {start}");
        self.history.truncate(end);
        self.end = end;
        self.start = start;
        if self.config.compact {
            let batches = read_log(&self.log, || 500);
            let found = records_of(&batches, start);
            self.history.adopt_compaction(&found, start, end);
        }
        // A start leaves everything it found on the disk.
        self.durable_end = self.log.flushed_offset();
        assert_eq!(self.durable_end, end);
        self.start_is_durable();
    }

    /// The machine stops between two operations.
    fn power_cut(&mut self) {
        self.tell("power cut".to_owned());
        self.disk.cut_power_after(0);
        drop(self.dir.take());
        self.after_power_cut();
    }

    /// The machine stops within one.
    fn power_cut_in_the_middle(&mut self) {
        let operations = self.rng.random_range(0..14);
        let before = (self.end, self.start);
        let what = self.rng.random_range(0..6);
        self.tell(format!("power cut after {operations} operations of kind {what}"));
        match what {
            0 => {
                let count = self.rng.random_range(1..12);
                let made = self.make_batches(count);
                self.disk.cut_power_after(operations);
                let results = self.try_append(&made);
                let acknowledged = results.iter().take_while(|r| r.is_ok()).count();
                assert!(
                    self.log.log_end_offset() >= before.0
                        && self.log.log_end_offset() <= made[count - 1].appended.last + 1
                );
                assert!(acknowledged == count || self.disk.is_off());
                // What was on its way may be there or not.
                made.into_iter().for_each(|made| self.take_in(made));
            }
            1 => {
                self.disk.cut_power_after(operations);
                if self.log.flush().is_ok() {
                    self.durable_end = self.end;
                }
            }
            2 => {
                let to = self.cut_place();
                self.tell(format!("  truncate to {to}"));
                self.disk.cut_power_after(operations);
                let done = self.log.truncate_to(to).is_ok();
                if done {
                    self.cut_to(to);
                } else {
                    self.durable_end = self.durable_end.min(to);
                    self.durable_start = self.durable_start.min(to);
                }
            }
            3 => {
                self.log.set_high_watermark(self.end);
                self.disk.cut_power_after(operations);
                if let Ok(retained) = self.log.retain(self.made, Hold::NONE) {
                    self.tell(format!("  retain: {retained:?}"));
                }
                self.start = self.end; // at most
            }
            4 => {
                self.disk.cut_power_after(operations);
                if self.dir().checkpoint().is_ok() {
                    self.durable_start = self.start;
                }
            }
            _ => {
                self.disk.cut_power_after(operations);
                if self.dir().close().is_ok() {
                    (self.durable_end, self.durable_start) = (self.end, self.start);
                }
            }
        }
        self.disk.cut_power_after(0);
        drop(self.dir.take());
        self.after_power_cut();
    }

    fn after_power_cut(&mut self) {
        loop {
            let left = self.root();
            self.generation += 1;
            let root = self.root();
            std::fs::create_dir(&root).unwrap();
            self.disk.materialize(&root, &mut self.rng);
            self.disk = Arc::new(Faulty::new(&root));
            std::fs::remove_dir_all(left).unwrap();
            if !self.rng.random_bool(0.2) {
                break;
            }
            // The power goes again, during the start.
            let operations = self.rng.random_range(0..20);
            self.tell(format!("  start, power cut after {operations} operations"));
            self.disk.cut_power_after(operations);
            let mut options = LogDirOptions::new(1);
            options.faults = Some(self.disk.clone());
            options.recovery_threads = 1;
            let config = self.config.clone();
            drop(LogDir::open(&root, options, &|_| config.clone(), &|_| {}));
            self.disk.cut_power_after(0);
        }
        self.tell_files();
        let dir = open_on(&self.disk, &self.root(), &self.config);
        self.tell_files();
        if dir.logs().is_empty() {
            assert_eq!(self.durable_end, 0, "the partition is gone");
            self.tell("  the partition never was".to_owned());
            drop(create(&dir, &self.config));
            (self.start, self.durable_start) = (0, 0);
            self.history = Default::default();
            self.end = 0;
        }
        self.opened_after_cut(dir);
    }

    /// What is on the disk, for whoever reads the trace.
    fn tell_files(&mut self) {
        let Ok(entries) = std::fs::read_dir(partition_path(&self.root())) else { return };
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap())
            .map(|e| {
                format!(
                    "{} {}",
                    e.file_name().display().to_string().trim_start_matches('0'),
                    e.metadata().unwrap().len()
                )
            })
            .collect();
        files.sort();
        self.tell(format!("  files: {}", files.join(", ")));
    }

    fn opened_after_cut(&mut self, dir: LogDir) {
        self.opened(dir);
        self.leader_epoch = self.leader_epoch.max(self.log.latest_epoch().unwrap_or(0));
    }
}
