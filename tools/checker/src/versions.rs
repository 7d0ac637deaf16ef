//! The version order: for each key, what stood in its log, as far as anybody saw.
//!
//! The definition is that of `jepsen.tests.kafka`: at an offset stand the values of sends with a known offset by operations
//! that must have committed, and of every poll, also of failed ones, since a poll must be right whatever becomes of its
//! transaction. Offsets that nobody saw are no holes: control records and aborted ones take them.

use crate::history::{History, Key, Offset, OpId, Outcome};
use crate::read::{Cause, HistoryError};

const NONE: u32 = u32::MAX;

/// The version orders of all keys, and which operations must have committed.
#[derive(Debug)]
pub(crate) struct Versions {
    keys: Vec<KeyVersions>,
    must_have_committed: Vec<bool>,
}

/// The log of one key. Its offsets are numbered from 0 without holes: that number is called index.
#[derive(Debug, Default)]
pub(crate) struct KeyVersions {
    /// By offset, then value.
    pub(crate) slots: Vec<Slot>,
    /// By value.
    pub(crate) facts: Vec<Fact>,
}

/// A value at an offset.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) offset: Offset,
    pub(crate) value: i64,
    pub(crate) index: u32,
}

/// What is known of a value of one key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fact {
    pub(crate) value: i64,
    first: u32,
    last: u32,
    writer: u32,
    /// Polled by an operation that took effect.
    pub(crate) ok_read: bool,
}

impl Fact {
    /// Its first and last index; none if nobody knows where it stands, if it stands anywhere.
    pub(crate) fn indexes(&self) -> Option<(u32, u32)> {
        (self.first != NONE).then_some((self.first, self.last))
    }

    /// Whether it stands at several offsets.
    pub(crate) fn is_duplicate(&self) -> bool {
        self.first != self.last
    }

    /// Who sent it; none if nobody did.
    pub(crate) fn writer(&self) -> Option<OpId> {
        (self.writer != NONE).then_some(OpId(self.writer))
    }
}

impl KeyVersions {
    /// The index of an offset that somebody saw.
    pub(crate) fn index(&self, offset: Offset) -> Option<u32> {
        let at = self.slots.partition_point(|slot| slot.offset < offset);
        self.slots.get(at).filter(|slot| slot.offset == offset).map(|slot| slot.index)
    }

    /// What is known of a value.
    pub(crate) fn fact(&self, value: i64) -> Option<&Fact> {
        self.facts.binary_search_by_key(&value, |fact| fact.value).ok().map(|at| &self.facts[at])
    }

    /// The values at one index, and where it is.
    pub(crate) fn at(&self, index: u32) -> &[Slot] {
        let from = self.slots.partition_point(|slot| slot.index < index);
        let to = self.slots.partition_point(|slot| slot.index <= index);
        &self.slots[from..to]
    }

    /// How many offsets there are.
    pub(crate) fn len(&self) -> u32 {
        self.slots.last().map_or(0, |slot| slot.index + 1)
    }
}

impl Versions {
    /// Fails if a value was sent twice to a key: then nobody can tell who wrote what was read.
    pub(crate) fn new(history: &History) -> Result<Versions, HistoryError> {
        let mut seen = seen_by_key(history);
        let writers = writers_by_key(history)?;
        let mut must_have_committed: Vec<bool> = history.ops.iter().map(|op| op.outcome == Outcome::Ok).collect();
        for (seen, writers) in seen.iter().zip(&writers) {
            for writer in writers {
                let info = history.op(writer.op).outcome == Outcome::Info;
                if info && seen.ok_values.binary_search(&writer.value).is_ok() {
                    must_have_committed[writer.op.0 as usize] = true;
                }
            }
        }
        let keys = seen.iter_mut().zip(&writers);
        let keys = keys.map(|(seen, writers)| key_versions(std::mem::take(seen), writers, &must_have_committed));
        let keys = keys.collect();
        Ok(Versions { keys, must_have_committed })
    }

    /// Every key.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (Key, &KeyVersions)> {
        (0..).map(Key).zip(&self.keys)
    }

    pub(crate) fn key(&self, key: Key) -> &KeyVersions {
        &self.keys[key.0 as usize]
    }

    /// Whether the operation took effect: it is ok, or nobody knows how it ended but an operation that took effect read
    /// what it sent.
    pub(crate) fn must_have_committed(&self, op: OpId) -> bool {
        self.must_have_committed[op.0 as usize]
    }
}

/// What was polled of a key.
#[derive(Default)]
struct Seen {
    slots: Vec<(Offset, i64)>,
    /// Of operations that took effect; in order, each once.
    ok_values: Vec<i64>,
}

struct Writer {
    value: i64,
    op: OpId,
    offset: Option<Offset>,
}

fn seen_by_key(history: &History) -> Vec<Seen> {
    let ok: Vec<bool> = {
        let mut ok = vec![false; history.reads.len()];
        for (_, op) in history.ok_ops() {
            ok[op.reads.start as usize..op.reads.end as usize].fill(true);
        }
        ok
    };
    let (starts, order) = bucket(history.keys.len(), history.reads.iter().map(|read| read.key));
    let seen = |of_key: &[u32]| {
        let read = |&at: &u32| &history.reads[at as usize];
        let mut slots: Vec<_> = of_key.iter().map(|at| (read(at).offset, read(at).value)).collect();
        let mut ok_values: Vec<_> = of_key.iter().filter(|&&at| ok[at as usize]).map(|at| read(at).value).collect();
        sort_once(&mut slots);
        sort_once(&mut ok_values);
        Seen { slots, ok_values }
    };
    starts.windows(2).map(|window| seen(&order[window[0] as usize..window[1] as usize])).collect()
}

fn writers_by_key(history: &History) -> Result<Vec<Vec<Writer>>, HistoryError> {
    let mut writers: Vec<Vec<Writer>> = Vec::new();
    writers.resize_with(history.keys.len(), Vec::new);
    for (op, facts) in history.ops() {
        for send in history.sends_of(facts) {
            writers[send.key.0 as usize].push(Writer { value: send.value, op, offset: send.offset });
        }
    }
    for (key, of_key) in (0..).map(Key).zip(&mut writers) {
        of_key.sort_by_key(|writer| (writer.value, writer.op));
        if let Some(twice) = of_key.windows(2).find(|pair| pair[0].value == pair[1].value) {
            let line = |writer: &Writer| history.op(writer.op).invoked.line;
            let (key, value, first) = (history.key(key).to_owned(), twice[0].value, line(&twice[0]));
            let cause = Cause::SentTwice { key, value, first };
            return Err(HistoryError { line: line(&twice[1]), column: 1, cause });
        }
    }
    Ok(writers)
}

fn key_versions(seen: Seen, writers: &[Writer], must_have_committed: &[bool]) -> KeyVersions {
    let mut pairs = seen.slots;
    for writer in writers {
        if let Some(offset) = writer.offset.filter(|_| must_have_committed[writer.op.0 as usize]) {
            pairs.push((offset, writer.value));
        }
    }
    sort_once(&mut pairs);
    let mut slots: Vec<Slot> = Vec::with_capacity(pairs.len());
    for (offset, value) in pairs {
        let index = match slots.last() {
            Some(last) if last.offset == offset => last.index,
            Some(last) => last.index + 1,
            None => 0,
        };
        slots.push(Slot { offset, value, index });
    }
    let mut stands: Vec<(i64, u32)> = slots.iter().map(|slot| (slot.value, slot.index)).collect();
    stands.extend(writers.iter().map(|writer| (writer.value, NONE)));
    stands.sort_unstable();
    let mut facts: Vec<Fact> = Vec::with_capacity(writers.len());
    for of_value in stands.chunk_by(|a, b| a.0 == b.0) {
        let value = of_value[0].0;
        let last = of_value.iter().rev().find(|(_, index)| *index != NONE).map_or(NONE, |(_, index)| *index);
        let writer = writers.binary_search_by_key(&value, |writer| writer.value);
        let writer = writer.map_or(NONE, |at| writers[at].op.0);
        let ok_read = seen.ok_values.binary_search(&value).is_ok();
        facts.push(Fact { value, first: of_value[0].1, last, writer, ok_read });
    }
    facts.shrink_to_fit();
    KeyVersions { slots, facts }
}

fn sort_once<T: Ord>(items: &mut Vec<T>) {
    items.sort_unstable();
    items.dedup();
}

/// Positions by key: those of key k are `order[starts[k]..starts[k + 1]]`. Four bytes for each.
fn bucket(count: usize, keys: impl Iterator<Item = Key> + Clone) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0_u32; count + 1];
    for key in keys.clone() {
        starts[key.0 as usize + 1] += 1;
    }
    for at in 0..count {
        starts[at + 1] += starts[at];
    }
    let mut next = starts.clone();
    let mut order = vec![0_u32; starts[count] as usize];
    for (at, key) in (0..).zip(keys) {
        let place = &mut next[key.0 as usize];
        order[*place as usize] = at;
        *place += 1;
    }
    (starts, order)
}
