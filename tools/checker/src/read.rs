//! Lines to a history: beginnings find their ends, and whatever cannot be judged is refused with its place.

use std::collections::HashMap;
use std::io::{self, BufRead, Read as _};

use thiserror::Error;

use crate::entry::{Entry, EntryType, Function, Mark, Micro};
use crate::history::{Group, History, Key, Moment, Node, Offset, Op, Outcome, Rare, Read, Send};

/// The longest line read, in bytes. A longer one is no history, and would fill the memory before it could be refused.
pub const LINE_BYTES_MAX: u64 = 64 << 20;

/// Why a history cannot be read.
#[derive(Debug, Error)]
#[error("line {line}, column {column}: {cause}. {}", .cause.fix())]
pub struct HistoryError {
    /// From 1.
    pub line: u32,
    /// In bytes, from 1.
    pub column: usize,
    /// What is wrong there.
    pub cause: Cause,
}

/// What is wrong with a line.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the message of each says it")]
pub enum Cause {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    #[error("not an entry of a history: {0}")]
    Json(String),
    #[error("an entry without \"{0}\"")]
    Missing(&'static str),
    #[error("time {time} is before {last}, that of the line before")]
    TimeGoesBack { time: i64, last: i64 },
    #[error("process {process} begins an operation, but the one it began on line {begun} has not ended")]
    StillOpen { process: u32, begun: u32 },
    #[error("process {process} ends an operation, but has begun none")]
    NotOpen { process: u32 },
    #[error("process {process} ends {ended:?}, but began {begun:?} on line {line}")]
    OtherFunction { process: u32, ended: Function, begun: Function, line: u32 },
    #[error("offset {0} is negative")]
    NegativeOffset(i64),
    #[error("value {value} is sent to {key} a second time; first on line {first}")]
    SentTwice { key: String, value: i64, first: u32 },
    #[error("\"{0}\" without a group")]
    NoGroup(&'static str),
    #[error("holds more than 2^32 lines, sends or reads")]
    TooMany,
    #[error("no operation at all")]
    Empty,
}

impl Cause {
    /// What to do about it.
    fn fix(&self) -> &'static str {
        match self {
            Cause::Io(_) => "Check that the file can be read and is UTF-8 text",
            Cause::LineTooLong => "Give a file with one JSON object a line",
            Cause::Json(_) => {
                "Each line is one JSON object as tools/checker/HISTORY.md describes; if only the last line is cut off, its writer was killed: remove it"
            }
            Cause::Missing(_) => "Operations need time, process, type and f; marks need time and mark",
            Cause::TimeGoesBack { .. } => "Write lines in the order of one monotonic clock, in nanoseconds",
            Cause::StillOpen { .. } => "End every operation with ok, fail or info before its process begins another",
            Cause::NotOpen { .. } => "Write an invoke line before the operation begins",
            Cause::OtherFunction { .. } => "Give an operation the same f on both of its lines",
            Cause::NegativeOffset(_) => "Leave out an offset that is not known (null)",
            Cause::SentTwice { .. } => {
                "Give every send to a key a value of its own: without, nobody can tell who wrote what was read"
            }
            Cause::NoGroup(_) => "Add \"group\" to the entry",
            Cause::TooMany => "Check shorter runs one by one",
            Cause::Empty => "Check that this is the history of a run, and that the run wrote one",
        }
    }
}

/// Reads a history, one JSON object a line. Blank lines are passed over. Memory: see [`History`]; of the text, one line
/// at a time is held.
pub fn read(mut input: impl BufRead) -> Result<History, HistoryError> {
    let mut reader = Reader::default();
    let mut text = Vec::new();
    loop {
        text.clear();
        let line = reader.history.lines.checked_add(1).ok_or_else(|| at(u32::MAX, Cause::TooMany))?;
        let taken = (&mut input).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut text);
        match taken.map_err(|error| at(line, error.into()))? {
            0 => break,
            length if length as u64 > LINE_BYTES_MAX => return Err(at(line, Cause::LineTooLong)),
            _ => reader.history.lines = line,
        }
        let text = text.trim_ascii_end();
        if text.is_empty() {
            continue;
        }
        let entry: Entry = serde_json::from_slice(text).map_err(|error| broken_json(line, &error))?;
        reader.entry(line, entry).map_err(|cause| at(line, cause))?;
    }
    reader.finish()
}

fn at(line: u32, cause: Cause) -> HistoryError {
    HistoryError { line, column: 1, cause }
}

fn broken_json(line: u32, error: &serde_json::Error) -> HistoryError {
    // The library counts lines of its input, which is one of ours.
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let cause = text.strip_suffix(&place).unwrap_or(&text).to_owned();
    HistoryError { line, column: error.column().max(1), cause: Cause::Json(cause) }
}

#[derive(Default)]
struct Reader {
    history: History,
    /// By process: the operation it began, and what it is to do.
    open: HashMap<u32, Open>,
    /// The time of the line before.
    last: Option<i64>,
}

struct Open {
    op: u32,
    ops: Vec<Micro>,
    keys: Vec<String>,
}

impl Reader {
    fn entry(&mut self, line: u32, entry: Entry) -> Result<(), Cause> {
        if let Some(last) = self.last.replace(entry.time).filter(|&last| entry.time < last) {
            return Err(Cause::TimeGoesBack { time: entry.time, last });
        }
        self.history.last_time = entry.time;
        match entry.mark {
            Some(Mark::Fault) => self.history.faults += 1,
            Some(Mark::Final) => self.history.final_phase = Some(entry.time),
            None => {
                let process = entry.process.ok_or(Cause::Missing("process"))?;
                let function = entry.function.ok_or(Cause::Missing("f"))?;
                let moment = Moment { line, time: entry.time };
                match entry.kind.ok_or(Cause::Missing("type"))? {
                    EntryType::Invoke => self.begin(process, function, moment, entry)?,
                    EntryType::Ok => self.end(process, function, Outcome::Ok, moment, entry)?,
                    EntryType::Fail => self.end(process, function, Outcome::Fail, moment, entry)?,
                    EntryType::Info => self.end(process, function, Outcome::Info, moment, entry)?,
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, process: u32, function: Function, invoked: Moment, entry: Entry) -> Result<(), Cause> {
        if let Some(open) = self.open.get(&process) {
            let begun = self.history.ops[open.op as usize].invoked.line;
            return Err(Cause::StillOpen { process, begun });
        }
        let op = u32::try_from(self.history.ops.len()).map_err(|_| Cause::TooMany)?;
        let group = entry.group.as_deref().map(|name| Group(self.history.groups.number(name)));
        self.history.ops.push(Op {
            process,
            function,
            outcome: Outcome::Info,
            group,
            invoked,
            completed: None,
            sends: 0..0,
            reads: 0..0,
            rare: None,
        });
        let ops = entry.ops.unwrap_or_default();
        self.open.insert(process, Open { op, ops, keys: entry.keys.unwrap_or_default() });
        // What the invocation alone says is kept until the end, which may repeat it or leave it out.
        let rare = Rare { seek_to_beginning: entry.seek_to_beginning, ..Rare::default() };
        self.note(op, rare, entry.node.as_deref(), &entry.rebalanced);
        Ok(())
    }

    fn end(
        &mut self,
        process: u32,
        function: Function,
        outcome: Outcome,
        completed: Moment,
        entry: Entry,
    ) -> Result<(), Cause> {
        let open = self.open.remove(&process).ok_or(Cause::NotOpen { process })?;
        let group = entry.group.as_deref().map(|name| Group(self.history.groups.number(name)));
        let op = &mut self.history.ops[open.op as usize];
        if op.function != function {
            let (begun, line) = (op.function, op.invoked.line);
            return Err(Cause::OtherFunction { process, ended: function, begun, line });
        }
        op.outcome = outcome;
        op.completed = Some(completed);
        op.group = group.or(op.group);
        let mut rare = op.rare.take().map(|rare| *rare).unwrap_or_default();
        rare.seek_to_beginning |= entry.seek_to_beginning;
        self.note(open.op, rare, entry.node.as_deref(), &entry.rebalanced);
        self.fill(open.op, entry.ops.unwrap_or(open.ops), entry.keys.unwrap_or(open.keys))
    }

    /// Keeps what few operations have, if there is any.
    fn note(&mut self, op: u32, mut rare: Rare, node: Option<&str>, rebalanced: &[String]) {
        rare.node = node.map(|name| Node(self.history.nodes.number(name))).or(rare.node);
        rare.rebalanced.extend(rebalanced.iter().map(|key| Key(self.history.keys.number(key))));
        if !rare.is_empty() {
            self.history.ops[op as usize].rare = Some(Box::new(rare));
        }
    }

    /// Takes over what an operation did and saw.
    fn fill(&mut self, id: u32, micros: Vec<Micro>, keys: Vec<String>) -> Result<(), Cause> {
        let history = &mut self.history;
        let op = &mut history.ops[id as usize];
        let mut rare = op.rare.take().map(|rare| *rare).unwrap_or_default();
        rare.keys = keys.iter().map(|key| Key(history.keys.number(key))).collect();
        let (sends, reads) = (length(&history.sends)?, length(&history.reads)?);
        for micro in micros {
            match micro {
                Micro::Send { key, offset, value } => {
                    let offset = offset.map(valid).transpose()?;
                    history.sends.push(Send { key: Key(history.keys.number(&key)), offset, value });
                }
                Micro::Poll(polled) => {
                    for (key, records) in polled {
                        let key = Key(history.keys.number(&key));
                        for (offset, value) in records {
                            history.reads.push(Read { key, offset: valid(offset)?, value });
                        }
                    }
                }
                Micro::Commit(offsets) => {
                    op.group.ok_or(Cause::NoGroup("commit"))?;
                    for (key, offset) in offsets {
                        rare.commits.push((Key(history.keys.number(&key)), valid(offset)?.get()));
                    }
                }
                Micro::Committed(offsets) => {
                    op.group.ok_or(Cause::NoGroup("committed"))?;
                    for (key, offset) in offsets {
                        let offset = offset.map(valid).transpose()?.map(Offset::get);
                        rare.committed.push((Key(history.keys.number(&key)), offset));
                    }
                }
                Micro::Ends(ends) => {
                    for (key, ends) in ends {
                        valid(ends.lso)?;
                        valid(ends.high)?;
                        rare.ends.push((Key(history.keys.number(&key)), ends));
                    }
                }
            }
        }
        op.sends = sends..length(&history.sends)?;
        op.reads = reads..length(&history.reads)?;
        if !rare.is_empty() {
            op.rare = Some(Box::new(rare));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<History, HistoryError> {
        let mut open: Vec<Open> = std::mem::take(&mut self.open).into_values().collect();
        open.sort_by_key(|open| open.op);
        for Open { op, ops, keys } in open {
            let line = self.history.ops[op as usize].invoked.line;
            self.fill(op, ops, keys).map_err(|cause| at(line, cause))?;
        }
        if self.history.ops.is_empty() {
            return Err(at(self.history.lines.max(1), Cause::Empty));
        }
        Ok(self.history)
    }
}

fn length<T>(vector: &[T]) -> Result<u32, Cause> {
    u32::try_from(vector.len()).map_err(|_| Cause::TooMany)
}

fn valid(offset: i64) -> Result<Offset, Cause> {
    Offset::new(offset).ok_or(Cause::NegativeOffset(offset))
}
