//! Producers go forward.
//!
//! - *nonmonotonic-send*: of two operations of a process that took effect, the later one's first send to a key stands at or
//!   before the earlier one's last.
//! - *realtime-send* (ours): a send was acknowledged at or below an offset that another operation had been acknowledged
//!   before it began. The log was cut between, whether anybody reads it or not.
//! - *int-nonmonotonic-send*: the same for two sends within one operation.
//! - *int-send-skip*: records of others stand between two sends of one operation. Allowed: producers interleave.
//!
//! A send whose offset is unknown stands where it was first polled, if it was.

use std::collections::HashMap;

use crate::history::{History, Key, Offset, Op, OpId, Send};
use crate::report::{Findings, Kind};
use crate::versions::Versions;

pub(crate) fn check(history: &History, versions: &Versions, findings: &mut Findings<'_>) {
    let mut last: HashMap<(u32, Key), (u32, OpId)> = HashMap::new();
    for (id, op) in history.ok_ops() {
        check_operation(history, versions, &mut last, (id, op), findings);
    }
    realtime(history, findings);
}

fn realtime(history: &History, findings: &mut Findings<'_>) {
    let mut by_end: Vec<(i64, OpId)> = history.ok_ops().map(|(id, op)| (op.ended(), id)).collect();
    by_end.sort_unstable();
    let mut ended = by_end.into_iter().peekable();
    let mut highest: HashMap<Key, (Offset, OpId)> = HashMap::new();
    let acknowledged = |op: OpId| {
        let sends = history.sends_of(history.op(op)).iter();
        sends.filter_map(|send| send.offset.map(|offset| (send.key, offset)))
    };
    for (id, op) in history.ok_ops().filter(|(_, op)| !op.sends.is_empty()) {
        while let Some((_, earlier)) = ended.next_if(|(end, _)| *end < op.invoked.time) {
            for (key, offset) in acknowledged(earlier) {
                let known = highest.entry(key).or_insert((offset, earlier));
                *known = (*known).max((offset, earlier));
            }
        }
        for (key, offset) in acknowledged(id) {
            let Some(&(known, earlier)) = highest.get(&key).filter(|(known, _)| offset <= *known) else { continue };
            findings.add(Kind::RealtimeSend, Some(key), || {
                let (now, known, key) = (offset.get(), known.get(), history.key(key));
                let what = format!("a send to {key} was acknowledged at offset {now}, after one at offset {known}");
                (what, vec![earlier, id])
            });
        }
    }
}

fn check_operation(
    history: &History,
    versions: &Versions,
    last: &mut HashMap<(u32, Key), (u32, OpId)>,
    (id, op): (OpId, &Op),
    findings: &mut Findings<'_>,
) {
    for send in history.sends_of(op) {
        let Some(index) = index_of(versions, send) else { continue };
        let Some((before, before_op)) = last.insert((op.process, send.key), (index, id)) else { continue };
        let within = before_op == id;
        if index <= before {
            let kind = if within { Kind::InternalNonmonotonicSend } else { Kind::NonmonotonicSend };
            findings.add(kind, Some(send.key), || {
                let offset = |index: u32| versions.key(send.key).at(index)[0].offset.get();
                let (now, before, key) = (offset(index), offset(before), history.key(send.key));
                let process = op.process;
                let what = format!("process {process} sent to offset {before} of {key}, and then to offset {now}");
                (what, vec![before_op, id])
            });
        } else if within && index > before + 1 {
            findings.add(Kind::InternalSendSkip, Some(send.key), || {
                let (count, key) = (index - before - 1, history.key(send.key));
                (format!("{count} records stand between two sends of one operation to {key}"), vec![id])
            });
        }
    }
}

fn index_of(versions: &Versions, send: &Send) -> Option<u32> {
    let of_key = versions.key(send.key);
    match send.offset {
        Some(offset) => of_key.index(offset),
        None => of_key.fact(send.value)?.indexes().map(|(first, _)| first),
    }
}
