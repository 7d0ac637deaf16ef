//! Whether the log holds what the history says.

use rand::Rng;

use crate::Model;
use crate::history::{read_log, records_of};

impl Model {
    pub(crate) fn verify(&mut self) {
        assert_eq!((self.log.log_start_offset(), self.log.log_end_offset()), (self.start, self.end));
        assert!(self.log.flushed_offset() <= self.end);
        let rng = &mut self.rng;
        let batches = read_log(&self.log, || rng.random_range(1..2000));
        let found = records_of(&batches, self.start);
        let expected: Vec<_> = self.history.records.range(self.start..self.end).collect();
        let found: Vec<_> = found.iter().collect();
        let differs = found.iter().zip(&expected).position(|(found, expected)| found != expected);
        if let Some(at) = differs {
            panic!("found {:?}, expected {:?}", found[at], expected[at]);
        }
        let offsets =
            |records: &[(&i64, &crate::history::Record)]| records.iter().map(|(o, _)| **o).collect::<Vec<_>>();
        assert_eq!(offsets(&found), offsets(&expected));
        self.verify_epochs();
        self.verify_producers();
        self.verify_times();
        self.verify_bounds();
    }

    fn verify_epochs(&self) {
        for (offset, record) in self.history.records.range(self.start..self.end) {
            assert_eq!(self.log.epoch_at(*offset), Some(record.leader_epoch), "epoch at {offset}");
        }
    }

    /// A producer whose newest batch is in the log is known by it. One whose batches were all deleted may be forgotten,
    /// but not confused.
    fn verify_producers(&self) {
        let known = self.log.producers();
        for producer in [1, 2, 11, 12] {
            let Some((base, last_sequence)) = self.history.last_of(producer) else { continue };
            let state = known.iter().find(|p| p.producer_id == producer);
            let may_be_gone = base < self.start || self.history.is_compacted_away(base);
            if self.history.was_cut_after_compaction && may_be_gone {
                continue; // it was not this producer's newest when it went
            }
            match state {
                Some(state) if state.last_sequence >= 0 => {
                    assert_eq!(state.last_sequence, last_sequence, "producer {producer}")
                }
                _ => assert!(base < self.start, "producer {producer} is forgotten, its batch at {base} is there"),
            }
        }
        self.log.set_high_watermark(self.end);
        let stable = self.log.last_stable_offset();
        let may_be = self.history.open_transactions().map(|open| match open.first_key_value() {
            Some((&first, _)) if first < self.start => stable, // forgotten or not
            Some((&first, _)) => first,
            None => self.end,
        });
        // A producer's last batch stays when its records go: what is gone of a transaction may begin it all the same.
        let begins_there = self.history.was_cut_after_compaction && self.history.is_compacted_away(stable);
        assert!(may_be.contains(&stable) || begins_there, "last stable offset {stable}, not one of {may_be:?}");
        let listed = self.log.aborted_transactions(self.start, self.end).unwrap();
        let ended = self.history.ended_transactions();
        for aborted in &listed {
            let is_known = ended
                .iter()
                .any(|t| t.is_aborted && (t.producer, t.last) == (aborted.producer_id, aborted.last_offset));
            assert!(is_known || aborted.first_offset < self.start, "{aborted:?} was never aborted");
        }
        for aborted in ended.iter().filter(|t| t.is_aborted && t.first >= self.start) {
            // Its first batches may have gone with an earlier transaction that a cut then opened again.
            let may_be_later = self.history.was_cut_after_compaction;
            let is_listed = listed.iter().any(|t| {
                (t.producer_id, t.last_offset) == (aborted.producer, aborted.last)
                    && (t.first_offset == aborted.first || may_be_later)
            });
            let is_needed = self.history.batches.iter().any(|b| {
                b.producer.is_some_and(|(id, _)| id == aborted.producer)
                    && b.base >= aborted.first
                    && b.base < aborted.last
                    && self.history.records.range(b.base..=b.last).next().is_some()
            });
            assert!(is_listed || !is_needed, "{aborted:?} is not listed");
        }
    }

    fn verify_times(&mut self) {
        let target = self.rng.random_range(0..self.made.max(1) + 40);
        let mut records = self.history.records.range(self.start..self.end);
        let first = records.find(|(_, record)| record.timestamp >= target).map(|(offset, _)| *offset);
        let found = self.log.offset_for_timestamp(target).unwrap().map(|f| f.offset);
        assert_eq!(found, first, "timestamp {target}");
        let records = self.history.records.range(self.start..self.end);
        let largest = records.map(|(_, r)| r.timestamp).max();
        assert_eq!(self.log.max_timestamp().unwrap().map(|f| f.timestamp), largest);
    }

    /// A read between bounds gives the batch of its offset, and nothing above the upper one.
    fn verify_bounds(&mut self) {
        if self.start == self.end {
            return;
        }
        let offset = self.rng.random_range(self.start..self.end);
        let upper = self.rng.random_range(offset..=self.end);
        let slice = self.log.read(offset, 300, true, upper).unwrap();
        for batch in jackdaw_protocol::records::Batch::split_all(slice.bytes) {
            let batch = batch.unwrap();
            assert!(batch.header().last_offset() < upper && batch.header().last_offset() >= offset);
        }
    }
}
