//! What happens to the log, one random step at a time.

use jackdaw_protocol::records::{Batch, BatchBuilder, Codec};
use jackdaw_storage::{
    Append, AppendError, CleanerMemory, CompactError, Compacted, CompactionHooks, Hold, Origin, Pace,
};
use rand::Rng;

use crate::Model;
use crate::history::{Appended, Record, read_log, records_of};

/// Nobody is throttled.
struct Free;

impl CompactionHooks for Free {
    fn throttle(&mut self, _: u64) -> Pace {
        Pace::Go
    }
}

/// A batch, who sends it, and what of it the history takes in.
pub(crate) struct Made {
    batch: Batch,
    origin: Origin,
    leader_epoch: i32,
    pub(crate) appended: Appended,
    records: Vec<(i64, Record)>,
}

impl Model {
    pub(crate) fn step(&mut self) {
        let choice = self.rng.random_range(0..100);
        match choice {
            0..42 => self.append(),
            42..46 if self.config.compact => self.compact(),
            42..46 => self.append(),
            46..52 => self.flush(),
            52..54 => self.finish_recovery(),
            54..60 => self.checkpoint(),
            60..66 => self.delete_records(),
            66..72 => self.truncate(),
            72..77 => self.retain(),
            77..80 => self.append_on_a_full_disk(),
            80..82 => {
                let count = self.dir().purge(self.made);
                tell!(self, "purge: {count}");
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
    pub(crate) fn make_batches(&mut self, count: usize) -> Vec<Made> {
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

    pub(crate) fn try_append(&mut self, made: &[Made]) -> Vec<Result<jackdaw_storage::Appended, AppendError>> {
        let appends: Vec<_> =
            made.iter().map(|m| Append { batch: &m.batch, leader_epoch: m.leader_epoch, origin: m.origin }).collect();
        let mut out = Vec::new();
        self.log.append(&appends, self.made, &mut out);
        out
    }

    pub(crate) fn take_in(&mut self, made: Made) {
        tell!(self, "    {:?}", made.appended);
        self.end = made.appended.last + 1;
        self.history.batches.push(made.appended);
        self.history.records.extend(made.records);
    }

    pub(crate) fn append(&mut self) {
        let count = self.rng.random_range(1..6);
        let made = self.make_batches(count);
        tell!(self, "append {count} batches at {}, epoch {}", self.end, self.leader_epoch);
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
        tell!(self, "append {count} batches at {} into {room} bytes: {fitted} fit", self.end);
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
                    tell!(self, "  truncated to {to} all the same");
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
        tell!(self, "flush at {}", self.end);
        assert_eq!(self.log.flush().unwrap(), self.end);
        self.durable_end = self.end;
    }

    fn checkpoint(&mut self) {
        tell!(self, "checkpoint, start {}", self.start);
        self.dir().checkpoint().unwrap();
        self.start_is_durable();
    }

    pub(crate) fn start_is_durable(&mut self) {
        self.durable_start = self.start;
    }

    /// What the broker asks for beside the first requests after a start.
    fn finish_recovery(&mut self) {
        tell!(self, "finish recovery");
        self.dir().finish_recovery().unwrap();
        assert_eq!(self.log.flushed_offset(), self.end);
        self.durable_end = self.end;
    }

    /// What a round takes out is looked at, record by record: see `History::adopt_compaction`.
    fn compact(&mut self) {
        let start = self.log.log_start_offset();
        let done = self.try_compact().map(|done| done.unwrap());
        tell!(self, "compact: {done:?}");
        self.adopt_compaction(start);
    }

    /// One round, as the broker's cleaner makes it; `None` if there is nothing to clean.
    pub(crate) fn try_compact(&mut self) -> Option<Result<Compacted, CompactError>> {
        self.log.set_high_watermark(self.end);
        let dirty = self.log.compaction_candidate(self.made).unwrap()?;
        if dirty.cleanable_bytes == 0 {
            return None;
        }
        let map_bytes = if self.rng.random_bool(0.7) { 1 << 20 } else { 100 };
        let mut memory = CleanerMemory::new(map_bytes, 0.9, self.rng.random_range(0..9000));
        let done = self.log.compact(&dirty, &mut memory, &mut Free, self.made);
        if let Ok(done) = &done {
            // If that fails, the next round begins where this one did.
            let _ = self.log.set_cleaned_offset(done.clean_until);
        }
        Some(done)
    }

    pub(crate) fn adopt_compaction(&mut self, start: i64) {
        let found = records_of(&read_log(&self.log, || 500), start);
        self.history.adopt_compaction(&found, start, self.end);
    }

    fn delete_records(&mut self) {
        let high_watermark = self.rng.random_range(self.start..=self.end);
        self.log.set_high_watermark(high_watermark);
        let to = self.rng.random_range(self.start..=self.log.high_watermark());
        tell!(self, "delete records before {to}");
        self.start = self.log.delete_records_before(to).unwrap();
        assert_eq!(self.start, to);
    }

    fn retain(&mut self) {
        self.log.set_high_watermark(self.end);
        let retained = self.log.retain(self.made, Hold::NONE).unwrap();
        let start = self.log.log_start_offset();
        tell!(self, "retain: {} segments go, start {} -> {start}", retained.dropped.len(), self.start);
        assert!(start >= self.start && start <= self.end);
        if let Some(last) = retained.dropped.last() {
            assert!(last.end_offset <= start);
        }
        self.start = start;
    }

    /// To where a batch begins, as followers do; now and then to the start or below.
    fn truncate(&mut self) {
        let to = self.cut_place();
        tell!(self, "truncate to {to}, from {}", self.end);
        self.log.truncate_to(to).unwrap();
        self.cut_to(to);
    }

    pub(crate) fn cut_place(&mut self) -> i64 {
        let mut places: Vec<i64> =
            self.history.batches.iter().map(|b| b.base).filter(|&base| base >= self.start).collect();
        places.extend([self.end, (self.start - 2).max(0), self.start]);
        places[self.rng.random_range(0..places.len())]
    }

    pub(crate) fn cut_to(&mut self, to: i64) {
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
}
