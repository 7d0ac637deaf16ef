//! What the log should hold: plain vectors, and what must follow from them.

use std::collections::{BTreeMap, BTreeSet};

use jackdaw_protocol::records::{Batch, records};
use jackdaw_storage::Log;

/// A record as it was appended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) timestamp: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) is_control: bool,
}

/// A batch as it was appended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Appended {
    pub(crate) base: i64,
    pub(crate) last: i64,
    /// Id and last sequence.
    pub(crate) producer: Option<(i64, i32)>,
    pub(crate) is_transactional: bool,
    /// Of a marker: whether it commits.
    pub(crate) marker: Option<bool>,
}

/// A transaction that ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ended {
    pub(crate) producer: i64,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) is_aborted: bool,
}

/// Everything appended and not cut. What was deleted from the front stays: a crash may bring the old start back.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) records: BTreeMap<i64, Record>,
    pub(crate) batches: Vec<Appended>,
    was_compacted: bool,
    pub(crate) was_cut_after_compaction: bool,
}

impl History {
    pub(crate) fn truncate(&mut self, end: i64) {
        self.was_cut_after_compaction |= self.was_compacted;
        self.records.split_off(&end);
        self.batches.retain(|b| b.base < end);
    }

    /// First offset and producer of each transaction that is open: with and without what a compaction may have taken
    /// before a cut took the transaction's end.
    pub(crate) fn open_transactions(&self) -> [BTreeMap<i64, i64>; 2] {
        let is_there = |batch: &Appended| !self.was_cut_after_compaction || !self.is_gone(batch);
        [self.transactions(|_| true).0, self.transactions(is_there).0]
    }

    pub(crate) fn ended_transactions(&self) -> Vec<Ended> {
        self.transactions(|_| true).1
    }

    fn transactions(&self, is_known: impl Fn(&Appended) -> bool) -> (BTreeMap<i64, i64>, Vec<Ended>) {
        let (mut open, mut ended) = (BTreeMap::new(), Vec::new());
        for batch in self.batches.iter().filter(|b| b.is_transactional && is_known(b)) {
            let Some((producer, _)) = batch.producer else { continue };
            let first = open.iter().find(|&(_, p)| *p == producer).map(|(first, _)| *first);
            match (batch.marker, first) {
                (Some(commits), Some(first)) => {
                    open.remove(&first);
                    ended.push(Ended { producer, first, last: batch.last, is_aborted: !commits });
                }
                (None, None) => {
                    open.insert(batch.base, producer);
                }
                _ => {}
            }
        }
        (open, ended)
    }

    /// The newest batch of a producer that has a sequence number.
    pub(crate) fn last_of(&self, producer: i64) -> Option<(i64, i32)> {
        let of = |b: &&Appended| b.marker.is_none() && b.producer.is_some_and(|(id, _)| id == producer);
        let batch = self.batches.iter().rev().find(of)?;
        Some((batch.base, batch.producer?.1))
    }

    /// Takes out what a compaction took out of the log, after a look at whether it might.
    ///
    /// `found` is what the log holds now from `start` to `end`.
    pub(crate) fn adopt_compaction(&mut self, found: &BTreeMap<i64, Record>, start: i64, end: i64) {
        let aborted: BTreeSet<i64> = self.aborted_offsets();
        let ended = self.ended_transactions();
        let mut gone = Vec::new();
        for (offset, record) in self.records.range(start..end) {
            if let Some(kept) = found.get(offset) {
                assert_eq!(kept, record, "record at {offset}");
                continue;
            }
            gone.push(*offset);
            if record.is_control {
                let of_marker = ended.iter().find(|t| t.last == *offset);
                let rest = of_marker.is_some_and(|t| {
                    self.batches.iter().any(|b| {
                        b.is_transactional
                            && b.marker.is_none()
                            && b.producer.is_some_and(|(id, _)| id == t.producer)
                            && b.base >= t.first
                            && b.base < t.last
                            && found.range(b.base..=b.last).next().is_some()
                    })
                });
                assert!(!rest, "the marker at {offset} is gone before its records");
            } else if !aborted.contains(offset) {
                let same_key = |r: &Record| !r.is_control && r.key == record.key;
                let is_superseded = found.range(offset + 1..).any(|(later, r)| same_key(r) && !aborted.contains(later))
                    || self
                        .records
                        .range(offset + 1..end)
                        .any(|(later, r)| same_key(r) && !aborted.contains(later) && r.value.is_none());
                let was_shadow = found.range(start..*offset).any(|(_, r)| same_key(r));
                let is_tombstone = record.value.is_none() && !was_shadow;
                assert!(is_superseded || is_tombstone, "record at {offset} is gone, and nothing took its place");
            }
        }
        self.was_compacted |= !gone.is_empty();
        for offset in gone {
            self.records.remove(&offset);
        }
    }

    /// Whether nothing is left of the batch that began there.
    pub(crate) fn is_compacted_away(&self, base: i64) -> bool {
        self.batches.iter().any(|b| b.base == base && self.is_gone(b))
    }

    fn is_gone(&self, batch: &Appended) -> bool {
        self.records.range(batch.base..=batch.last).next().is_none()
    }

    fn aborted_offsets(&self) -> BTreeSet<i64> {
        let ended = self.ended_transactions();
        let is_aborted = |b: &&Appended| {
            b.is_transactional
                && b.marker.is_none()
                && ended.iter().any(|t| {
                    t.is_aborted
                        && b.producer.is_some_and(|(id, _)| id == t.producer)
                        && (t.first..t.last).contains(&b.base)
                })
        };
        self.batches.iter().filter(is_aborted).flat_map(|b| b.base..=b.last).collect()
    }
}

/// Whole batches from the log start on, read in pieces of random size.
pub(crate) fn read_log(log: &Log, mut piece: impl FnMut() -> usize) -> Vec<Batch> {
    let (mut offset, end) = (log.log_start_offset(), log.log_end_offset());
    let mut batches = Vec::new();
    while offset < end {
        let max_bytes = piece();
        let slice = log.read(offset, max_bytes, true, end).unwrap();
        if slice.bytes.is_empty() {
            break; // a compacted end
        }
        let len = slice.bytes.len();
        let pieces: Vec<Batch> = Batch::split_all(slice.bytes).map(Result::unwrap).collect();
        assert!(len <= max_bytes || pieces.len() == 1, "{len} bytes for {max_bytes}");
        assert!(pieces[0].header().last_offset() >= offset);
        offset = pieces[pieces.len() - 1].header().last_offset() + 1;
        batches.extend(pieces);
    }
    batches
}

/// The records of batches from `start` on.
pub(crate) fn records_of(batches: &[Batch], start: i64) -> BTreeMap<i64, Record> {
    let mut found = BTreeMap::new();
    for batch in batches {
        let header = batch.header();
        let decoded = records(batch, 1 << 20).unwrap();
        for record in &decoded {
            let record = record.unwrap();
            let offset = decoded.offset(&record);
            let stored = Record {
                key: record.key.map(|k| k.to_vec()),
                value: record.value.map(|v| v.to_vec()),
                timestamp: header.base_timestamp() + record.timestamp_delta,
                leader_epoch: header.leader_epoch(),
                is_control: header.is_control(),
            };
            if offset >= start {
                assert!(found.insert(offset, stored).is_none(), "offset {offset} twice");
            }
        }
    }
    found
}
