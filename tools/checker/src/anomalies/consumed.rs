//! *consumed-twice* (Jepsen's consume-counts): one process polled a value more than once while it was subscribed, in
//! transactions that took effect. Told, and no error: a group may hand a record out again after a rebalance.

use std::collections::HashSet;

use crate::entry::Function;
use crate::history::{History, Key, OpId};
use crate::report::{Findings, Kind};

struct Polled {
    process: u32,
    key: Key,
    value: i64,
    op: OpId,
}

pub(crate) fn check(history: &History, findings: &mut Findings<'_>) {
    let mut subscribed: HashSet<u32> = HashSet::new();
    let mut polled: Vec<Polled> = Vec::new();
    for (id, op) in history.ops() {
        match op.function {
            Function::Subscribe => {
                subscribed.insert(op.process);
            }
            Function::Assign | Function::Crash => {
                subscribed.remove(&op.process);
            }
            Function::Txn if op.is_ok() && subscribed.contains(&op.process) => {
                let of_op = history.reads_of(op).iter();
                polled.extend(of_op.map(|read| Polled {
                    process: op.process,
                    key: read.key,
                    value: read.value,
                    op: id,
                }));
            }
            Function::Txn | Function::Send | Function::Poll | Function::Observe => {}
        }
    }
    polled.sort_unstable_by_key(|polled| (polled.key, polled.value, polled.process, polled.op));
    let same = |a: &Polled, b: &Polled| (a.key, a.value, a.process) == (b.key, b.value, b.process);
    for times in polled.chunk_by(same).filter(|times| times.len() > 1) {
        let Polled { process, key, value, .. } = times[0];
        findings.add(Kind::ConsumedTwice, Some(key), || {
            let what = format!("process {process} polled value {value} of {} {} times", history.key(key), times.len());
            (what, times.iter().map(|polled| polled.op).collect())
        });
    }
}
