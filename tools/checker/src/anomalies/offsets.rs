//! One offset, one value: inconsistent offsets, and duplicates.
//!
//! - *inconsistent-offsets*: an offset of a key holds two or more values.
//! - *duplicate*: a value stands at two or more offsets of a key.

use crate::history::{History, Key, OpId};
use crate::report::{Findings, Kind};
use crate::versions::{Fact, KeyVersions, Slot, Versions};

pub(crate) fn check(history: &History, versions: &Versions, findings: &mut Findings<'_>) {
    for (key, of_key) in versions.keys() {
        for slots in of_key.slots.chunk_by(|a, b| a.index == b.index).filter(|slots| slots.len() > 1) {
            findings.add(Kind::InconsistentOffsets, Some(key), || inconsistent(history, of_key, key, slots));
        }
        for fact in &of_key.facts {
            if let Some((first, last)) = fact.indexes().filter(|(first, last)| first != last) {
                findings.add(Kind::Duplicate, Some(key), || duplicate(history, of_key, key, fact, (first, last)));
            }
        }
    }
}

fn inconsistent(history: &History, of_key: &KeyVersions, key: Key, slots: &[Slot]) -> (String, Vec<OpId>) {
    let values: Vec<String> = slots.iter().map(|slot| slot.value.to_string()).collect();
    let offset = slots[0].offset.get();
    let mut ops: Vec<OpId> = Vec::new();
    for slot in slots {
        ops.extend(of_key.fact(slot.value).and_then(Fact::writer));
        let sees = |&reader: &OpId| {
            let reads = history.reads_of(history.op(reader));
            reads.iter().any(|read| read.key == key && read.value == slot.value && read.offset == slot.offset)
        };
        ops.extend(history.readers(key, slot.value).into_iter().filter(sees).take(2));
    }
    (format!("offset {offset} of {} holds the values {}", history.key(key), values.join(" and ")), ops)
}

fn duplicate(
    history: &History,
    of_key: &KeyVersions,
    key: Key,
    fact: &Fact,
    (first, last): (u32, u32),
) -> (String, Vec<OpId>) {
    let offset = |index: u32| of_key.at(index)[0].offset.get();
    let (first, last) = (offset(first), offset(last));
    let mut ops: Vec<OpId> = fact.writer().into_iter().collect();
    let readers = history.readers(key, fact.value);
    for offset in [first, last] {
        let sees = |&&reader: &&OpId| {
            let reads = history.reads_of(history.op(reader));
            reads.iter().any(|read| read.key == key && read.value == fact.value && read.offset.get() == offset)
        };
        ops.extend(readers.iter().find(sees));
    }
    let key = history.key(key);
    (format!("value {} stands at offset {first} of {key} and again at offset {last}", fact.value), ops)
}
