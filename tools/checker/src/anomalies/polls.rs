//! Consumers go forward, and pass over nothing.
//!
//! For each process and key, with the polls of operations that took effect, one after the other and with no new assignment
//! of the key between: Δ is the index of the first record now less that of the last one before.
//!
//! - *poll-skip*: Δ > 1. *nonmonotonic-poll*: Δ < 1. While a consumer is subscribed, a rebalance may come between: such ones
//!   are told apart, and allowed.
//! - *int-poll-skip*, *int-nonmonotonic-poll*: the same between records within one operation; excused for keys that its
//!   entry says were rebalanced.

use std::collections::HashMap;

use crate::entry::Function;
use crate::history::{History, Key, Op, OpId, Read};
use crate::report::{Findings, Kind};
use crate::versions::Versions;

/// Where a process stands.
#[derive(Default)]
struct Consumer {
    subscribed: bool,
    /// The last record polled of each key, its index, and by which operation.
    last: HashMap<Key, (u32, OpId)>,
}

pub(crate) fn check(history: &History, versions: &Versions, findings: &mut Findings<'_>) {
    let mut consumers: HashMap<u32, Consumer> = HashMap::new();
    for (id, op) in history.ops() {
        let consumer = consumers.entry(op.process).or_default();
        match op.function {
            Function::Assign => assign(consumer, op),
            Function::Subscribe => *consumer = Consumer { subscribed: true, last: HashMap::new() },
            Function::Crash => *consumer = Consumer::default(),
            Function::Send | Function::Poll | Function::Txn | Function::Observe => {
                if op.is_ok() {
                    polls(history, versions, consumer, (id, op), findings);
                }
            }
        }
    }
}

/// A key that was assigned before and still is goes on where it was; nobody knows after an assignment that may have failed.
fn assign(consumer: &mut Consumer, op: &Op) {
    let rare = op.rare();
    if consumer.subscribed || rare.seek_to_beginning || !op.is_ok() {
        consumer.last.clear();
    }
    consumer.subscribed = false;
    consumer.last.retain(|key, _| rare.keys.contains(key));
}

fn polls(
    history: &History,
    versions: &Versions,
    consumer: &mut Consumer,
    (id, op): (OpId, &Op),
    findings: &mut Findings<'_>,
) {
    for read in history.reads_of(op) {
        let Some(index) = versions.key(read.key).index(read.offset) else { continue };
        let before = consumer.last.insert(read.key, (index, id));
        let Some((last, last_op)) = before else { continue };
        let within = last_op == id;
        if within && op.rare().rebalanced.contains(&read.key) {
            continue;
        }
        let kinds = match (within, consumer.subscribed) {
            (true, _) => (Kind::InternalPollSkip, Kind::InternalNonmonotonicPoll),
            (false, false) => (Kind::PollSkip, Kind::NonmonotonicPoll),
            (false, true) => (Kind::SubscribedPollSkip, Kind::SubscribedNonmonotonicPoll),
        };
        if index > last + 1 {
            findings.add(kinds.0, Some(read.key), || skip(history, versions, read, (last, index), &[last_op, id]));
        } else if index < last + 1 {
            findings.add(kinds.1, Some(read.key), || back(history, versions, read, last, &[last_op, id]));
        }
    }
}

fn skip(
    history: &History,
    versions: &Versions,
    read: &Read,
    (last, index): (u32, u32),
    ops: &[OpId],
) -> (String, Vec<OpId>) {
    let of_key = versions.key(read.key);
    let (key, from, to) = (history.key(read.key), of_key.at(last)[0].offset.get(), read.offset.get());
    let passed = of_key.at(last + 1)[0];
    let (count, value, offset) = (index - last - 1, passed.value, passed.offset.get());
    let what = format!(
        "a consumer of {key} went from offset {from} to {to} and passed over {count} records, the first of them value {value} at offset {offset}"
    );
    let mut ops = ops.to_vec();
    ops.extend(of_key.fact(value).and_then(crate::versions::Fact::writer));
    (what, ops)
}

fn back(history: &History, versions: &Versions, read: &Read, last: u32, ops: &[OpId]) -> (String, Vec<OpId>) {
    let (key, from) = (history.key(read.key), versions.key(read.key).at(last)[0].offset.get());
    (format!("a consumer of {key} went from offset {from} back to {}", read.offset.get()), ops.to_vec())
}
