//! *realtime-lag*: how long records had been acknowledged that a poll did not come to.
//!
//! Where a consumer stands in a key after a poll, a later record may have been there already. The lag is the time from the
//! first acknowledgement of any later record to the invocation of the poll: a careful measure, since the record stood there
//! before it was acknowledged, and the poll looked after it was invoked. Stuck consumers, and transactions that hang, show
//! here; so the worst is always told, and one over a limit is an anomaly.
//!
//! A consumer of assigned keys stands before the first record when it sought to the beginning; otherwise nobody knows where it
//! stands before it has polled something. While subscribed, only keys of which the poll returned something are judged: others
//! may be a fellow member's.

use std::collections::{BTreeMap, HashMap};

use crate::entry::Function;
use crate::history::{History, Key, Op, OpId};
use crate::render::seconds;
use crate::report::{Findings, Kind};
use crate::versions::{Fact, KeyVersions, Versions};

#[derive(Default)]
struct Consumer {
    subscribed: bool,
    /// The index of the next record of each key that it has come to know.
    next: BTreeMap<Key, u32>,
}

/// Returns the worst lag, in nanoseconds.
pub(crate) fn check(history: &History, versions: &Versions, limit: Option<i64>, findings: &mut Findings<'_>) -> i64 {
    let acknowledged: Vec<Vec<Acknowledged>> =
        versions.keys().map(|(_, of_key)| first_acknowledgements(history, of_key)).collect();
    let mut consumers: HashMap<u32, Consumer> = HashMap::new();
    let mut worst = 0;
    for (id, op) in history.ops() {
        let consumer = consumers.entry(op.process).or_default();
        match op.function {
            Function::Assign => assign(consumer, op),
            Function::Subscribe => *consumer = Consumer { subscribed: true, ..Consumer::default() },
            Function::Crash => *consumer = Consumer::default(),
            Function::Poll | Function::Txn if op.is_ok() => {
                advance(history, versions, consumer, op);
                for (&key, &next) in &consumer.next {
                    let Some(first) = acknowledged[key.0 as usize].get(next as usize) else { continue };
                    let lag = op.invoked.time.saturating_sub(first.time);
                    worst = worst.max(lag);
                    if limit.is_some_and(|limit| lag > limit) {
                        let what = || {
                            let (process, key) = (op.process, history.key(key));
                            format!(
                                "a poll of process {process} misses a record of {key} acknowledged {} before it",
                                seconds(lag)
                            )
                        };
                        findings.add(Kind::RealtimeLag, Some(key), || (what(), vec![first.writer, id]));
                    }
                }
                if consumer.subscribed {
                    consumer.next.clear();
                }
            }
            Function::Poll | Function::Txn | Function::Send | Function::Observe => {}
        }
    }
    worst
}

fn assign(consumer: &mut Consumer, op: &Op) {
    let rare = op.rare();
    consumer.subscribed = false;
    if rare.seek_to_beginning && op.is_ok() {
        consumer.next = rare.keys.iter().map(|&key| (key, 0)).collect();
    } else if op.is_ok() {
        consumer.next.retain(|key, _| rare.keys.contains(key));
    } else {
        consumer.next.clear();
    }
}

fn advance(history: &History, versions: &Versions, consumer: &mut Consumer, op: &Op) {
    for read in history.reads_of(op) {
        if let Some(index) = versions.key(read.key).index(read.offset) {
            let next = consumer.next.entry(read.key).or_default();
            *next = (*next).max(index + 1);
        }
    }
}

#[derive(Clone, Copy)]
struct Acknowledged {
    time: i64,
    writer: OpId,
}

/// For each index: when a record at it or behind it was acknowledged first.
fn first_acknowledgements(history: &History, of_key: &KeyVersions) -> Vec<Acknowledged> {
    let never = Acknowledged { time: i64::MAX, writer: OpId(0) };
    let mut first = vec![never; of_key.len() as usize];
    for slot in &of_key.slots {
        let Some(writer) = of_key.fact(slot.value).and_then(Fact::writer) else { continue };
        let op = history.op(writer);
        if let Some(completed) = op.completed.filter(|_| op.is_ok())
            && completed.time < first[slot.index as usize].time
        {
            first[slot.index as usize] = Acknowledged { time: completed.time, writer };
        }
    }
    for at in (1..first.len()).rev() {
        if first[at].time < first[at - 1].time {
            first[at - 1] = first[at];
        }
    }
    first
}
