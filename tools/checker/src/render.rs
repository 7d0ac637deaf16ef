//! Operations as lines of text, short enough to read.

use std::fmt::Write as _;

use crate::history::{History, Key, Op, OpId, Outcome, Read};

/// Operations shown of one anomaly, and records shown of one operation. Who wants more has the line numbers.
const OPERATIONS_MAX: usize = 12;
const RECORDS_MAX: usize = 10;

/// Each operation on a line. Of a poll or send, only what concerns `key`, if there is one.
pub(crate) fn operations(history: &History, ops: &[OpId], key: Option<Key>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut told: Vec<OpId> = Vec::new();
    for &id in ops {
        if told.contains(&id) {
            continue;
        }
        if told.len() == OPERATIONS_MAX {
            lines.push(format!("... and {} more", ops.len() - told.len()));
            break;
        }
        told.push(id);
        lines.push(operation(history, history.op(id), key));
    }
    lines
}

fn operation(history: &History, op: &Op, key: Option<Key>) -> String {
    let mut text = format!("line {}", op.invoked.line);
    let outcome = match (op.outcome, op.completed) {
        (_, None) => "never ended",
        (Outcome::Ok, _) => "ok",
        (Outcome::Fail, _) => "failed",
        (Outcome::Info, _) => "unknown",
    };
    if let Some(completed) = op.completed {
        put(&mut text, format_args!("..{}", completed.line));
    }
    let function = format!("{:?}", op.function).to_lowercase();
    put(&mut text, format_args!("  process {}  {}", op.process, seconds(op.invoked.time)));
    if let Some(completed) = op.completed {
        put(&mut text, format_args!("..{}", seconds(completed.time)));
    }
    put(&mut text, format_args!("  {function} {outcome}"));
    if let Some(group) = op.group {
        put(&mut text, format_args!("  group {}", history.group(group)));
    }
    micro_operations(history, op, key, &mut text);
    text
}

fn micro_operations(history: &History, op: &Op, key: Option<Key>, text: &mut String) {
    let wanted = |other: Key| key.is_none_or(|key| key == other);
    let mut sent = 0;
    for send in history.sends_of(op).iter().filter(|send| wanted(send.key)) {
        sent += 1;
        if sent <= RECORDS_MAX {
            let offset = send.offset.map_or("?".to_owned(), |offset| offset.get().to_string());
            put(text, format_args!("  send {} {}@{offset}", history.key(send.key), send.value));
        }
    }
    if sent > RECORDS_MAX {
        put(text, format_args!(" ... ({sent} sends)"));
    }
    let reads: Vec<&Read> = history.reads_of(op).iter().filter(|read| wanted(read.key)).collect();
    for of_key in reads.chunk_by(|a, b| a.key == b.key).take(RECORDS_MAX) {
        put(text, format_args!("  poll {}:", history.key(of_key[0].key)));
        let head = if of_key.len() > RECORDS_MAX { RECORDS_MAX / 2 } else { of_key.len() };
        let tail = if of_key.len() > RECORDS_MAX { of_key.len() - RECORDS_MAX / 2 } else { of_key.len() };
        of_key[..head].iter().for_each(|read| put(text, format_args!(" {}@{}", read.value, read.offset.get())));
        if head < tail {
            put(text, format_args!(" ... ({} records) ...", of_key.len()));
        }
        of_key[tail..].iter().for_each(|read| put(text, format_args!(" {}@{}", read.value, read.offset.get())));
    }
    let rare = op.rare();
    for (of, offset) in rare.commits.iter().filter(|(of, _)| wanted(*of)) {
        put(text, format_args!("  commit {} {offset}", history.key(*of)));
    }
    for (of, offset) in rare.committed.iter().filter(|(of, _)| wanted(*of)) {
        let offset = offset.map_or("nothing".to_owned(), |offset| offset.to_string());
        put(text, format_args!("  committed {} {offset}", history.key(*of)));
    }
    for (of, ends) in rare.ends.iter().filter(|(of, _)| wanted(*of)) {
        put(text, format_args!("  ends {} lso {} high {}", history.key(*of), ends.lso, ends.high));
        if let Some(node) = rare.node {
            put(text, format_args!(" on {}", history.nodes.text(node.0)));
        }
    }
    for of in rare.keys.iter().filter(|of| wanted(**of)) {
        put(text, format_args!("  {}", history.key(*of)));
    }
}

/// Nanoseconds as seconds, to the microsecond.
pub(crate) fn seconds(nanos: i64) -> String {
    let micros = nanos / 1_000;
    format!("{}.{:06}s", micros / 1_000_000, (micros % 1_000_000).abs())
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes all that is written to it");
}
