//! Ours: each record, once for each group.
//!
//! An operation *consumed* a record for its group if it polled it and committed a later offset of the same key. A group is
//! judged as exactly-once if all its commits are in transactions, and as at-least-once otherwise.
//!
//! - *group-duplicate*, of exactly-once groups: two operations that must have committed consumed the same record. What they
//!   sent for it, they sent twice.
//! - *group-skip*: between the first and the last record that a group consumed stands one that no operation of the group
//!   consumed, nor may have (its end unknown). In an at-least-once group it is enough that any of its members polled it,
//!   whatever became of the poll, since it may commit later. A failed transaction whose offsets were committed all the same
//!   shows here; one whose records were, shows as an aborted read.

use std::collections::{BTreeMap, HashSet};

use crate::entry::Function;
use crate::history::{Group, History, Key, Op, OpId, Outcome};
use crate::report::{Findings, Kind};
use crate::versions::{Fact, Versions};

/// A record, by its index, and who consumed it.
struct Consumed {
    index: u32,
    op: OpId,
    /// Whether it certainly did.
    certain: bool,
}

pub(crate) fn check(history: &History, versions: &Versions, findings: &mut Findings<'_>) {
    let at_least_once = at_least_once_groups(history);
    let mut consumed: BTreeMap<(Group, Key), Vec<Consumed>> = BTreeMap::new();
    for (id, op) in history.ops() {
        let Some(group) = op.group else { continue };
        let plain = at_least_once.contains(&group);
        let certain = if plain { op.is_ok() } else { versions.must_have_committed(id) };
        if !plain && op.outcome == Outcome::Fail {
            continue;
        }
        for read in history.reads_of(op).iter().filter(|read| plain || commits(op, read.key, read.offset.get())) {
            if let Some(index) = versions.key(read.key).index(read.offset) {
                consumed.entry((group, read.key)).or_default().push(Consumed { index, op: id, certain });
            }
        }
    }
    for ((group, key), mut of_key) in consumed {
        of_key.sort_unstable_by_key(|consumed| (consumed.index, consumed.op));
        if !at_least_once.contains(&group) {
            duplicates(history, versions, (group, key), &of_key, findings);
        }
        skips(history, versions, (group, key), &of_key, findings);
    }
}

fn at_least_once_groups(history: &History) -> HashSet<Group> {
    let plain = history.ops().filter(|(_, op)| op.function != Function::Txn && !op.rare().commits.is_empty());
    plain.filter_map(|(_, op)| op.group).collect()
}

fn commits(op: &Op, key: Key, offset: i64) -> bool {
    op.rare().commits.iter().any(|&(of, next)| of == key && offset < next)
}

fn duplicates(
    history: &History,
    versions: &Versions,
    (group, key): (Group, Key),
    consumed: &[Consumed],
    findings: &mut Findings<'_>,
) {
    for of_record in consumed.chunk_by(|a, b| a.index == b.index) {
        let mut ops: Vec<OpId> = of_record.iter().filter(|by| by.certain).map(|by| by.op).collect();
        ops.dedup();
        if ops.len() > 1 {
            findings.add(Kind::GroupDuplicate, Some(key), || {
                let slot = versions.key(key).at(of_record[0].index)[0];
                let (group, key, count) = (history.group(group), history.key(key), ops.len());
                let (value, offset) = (slot.value, slot.offset.get());
                let what = format!(
                    "{count} committed transactions of group {group} consumed value {value} at offset {offset} of {key}"
                );
                (what, ops)
            });
        }
    }
}

fn skips(
    history: &History,
    versions: &Versions,
    (group, key): (Group, Key),
    consumed: &[Consumed],
    findings: &mut Findings<'_>,
) {
    let of_key = versions.key(key);
    let Some(last) = consumed.iter().rev().find(|by| by.certain).map(|by| by.index) else { return };
    for pair in consumed.windows(2).filter(|pair| pair[0].index < last) {
        for index in pair[0].index + 1..pair[1].index {
            let slots = of_key.at(index);
            let aborted = |value: i64| {
                let writer = of_key.fact(value).and_then(Fact::writer);
                writer.is_some_and(|writer| history.op(writer).outcome == Outcome::Fail)
            };
            if slots.iter().all(|slot| aborted(slot.value)) {
                continue;
            }
            findings.add(Kind::GroupSkip, Some(key), || {
                let (value, offset) = (slots[0].value, slots[0].offset.get());
                let (group, key) = (history.group(group), history.key(key));
                let what = format!(
                    "group {group} went on behind value {value} at offset {offset} of {key}, which none of its members consumed"
                );
                let writer = of_key.fact(value).and_then(Fact::writer);
                (what, writer.into_iter().chain([pair[0].op, pair[1].op]).collect())
            });
        }
    }
}
