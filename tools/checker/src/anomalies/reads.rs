//! What may be read at all: nothing aborted, nothing of one's own open transaction, nothing that nobody wrote.
//!
//! - *aborted-read* (G1a): an operation that took effect polled a value whose writer failed.
//! - *precommitted-read*: a transaction polled a value that it sent itself. A consumer that reads what is committed cannot
//!   see its own open transaction.
//! - *phantom-read* (ours): an operation that took effect polled a value that nobody sent.

use crate::entry::Function;
use crate::history::{History, OpId, Outcome, Read};
use crate::report::{Findings, Kind};
use crate::versions::{Fact, Versions};

pub(crate) fn check(history: &History, versions: &Versions, findings: &mut Findings<'_>) {
    for (id, op) in history.ops() {
        for read in history.reads_of(op) {
            let writer = versions.key(read.key).fact(read.value).and_then(Fact::writer);
            if writer == Some(id) && op.function == Function::Txn {
                add(history, findings, Kind::PrecommittedRead, read, &[id]);
            } else if op.is_ok() {
                match writer {
                    None => add(history, findings, Kind::PhantomRead, read, &[id]),
                    Some(writer) if history.op(writer).outcome == Outcome::Fail => {
                        add(history, findings, Kind::AbortedRead, read, &[writer, id]);
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

fn add(history: &History, findings: &mut Findings<'_>, kind: Kind, read: &Read, ops: &[OpId]) {
    findings.add(kind, Some(read.key), || {
        let (key, value, offset) = (history.key(read.key), read.value, read.offset.get());
        let what = match kind {
            Kind::AbortedRead => format!("value {value} at offset {offset} of {key} was polled, but its writer failed"),
            Kind::PrecommittedRead => {
                format!("value {value} at offset {offset} of {key} was polled by the operation that sent it")
            }
            _ => format!("value {value} at offset {offset} of {key} was polled, but nobody sent it"),
        };
        (what, ops.to_vec())
    });
}
