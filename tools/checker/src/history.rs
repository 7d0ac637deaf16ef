//! A whole history, packed: what every check reads and none changes.
//!
//! An operation takes 80 bytes, each record sent or polled 24, each commit or observed offset less than 64; names of keys,
//! groups and nodes are kept once.

use std::collections::HashMap;
use std::ops::Range;

use crate::entry::{Ends, Function};

/// An operation, by the order in which they were invoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OpId(pub(crate) u32);

/// A key: one partition of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) u32);

/// A consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Group(pub(crate) u32);

/// A broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Node(pub(crate) u32);

/// Strings, each kept once, by number.
#[derive(Debug, Default)]
pub(crate) struct Names {
    texts: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
}

impl Names {
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number =
            u32::try_from(self.texts.len()).expect("each name takes a line of a history of less than 2^32 lines");
        self.texts.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }

    /// The name with a number that this gave out.
    pub(crate) fn text(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It took effect.
    Ok,
    /// It had none.
    Fail,
    /// Unknown: the client does not know, or was gone before it could tell.
    Info,
}

/// A line of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// From 1.
    pub(crate) line: u32,
    /// Nanoseconds.
    pub(crate) time: i64,
}

/// One operation. Ranges are of the vectors of the same names in [`History`].
#[derive(Debug, Clone)]
pub(crate) struct Op {
    pub(crate) process: u32,
    pub(crate) function: Function,
    pub(crate) outcome: Outcome,
    pub(crate) group: Option<Group>,
    pub(crate) invoked: Moment,
    /// None if the history ends before it does.
    pub(crate) completed: Option<Moment>,
    pub(crate) sends: Range<u32>,
    pub(crate) reads: Range<u32>,
    pub(crate) rare: Option<Box<Rare>>,
}

/// What few operations have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rare {
    pub(crate) keys: Vec<Key>,
    pub(crate) seek_to_beginning: bool,
    pub(crate) rebalanced: Vec<Key>,
    pub(crate) node: Option<Node>,
    pub(crate) commits: Vec<(Key, i64)>,
    pub(crate) committed: Vec<(Key, Option<i64>)>,
    pub(crate) ends: Vec<(Key, Ends)>,
}

impl Rare {
    pub(crate) fn is_empty(&self) -> bool {
        let lists = [self.keys.len(), self.rebalanced.len(), self.commits.len(), self.committed.len(), self.ends.len()];
        lists == [0; 5] && !self.seek_to_beginning && self.node.is_none()
    }
}

static NOTHING: Rare = Rare {
    keys: Vec::new(),
    seek_to_beginning: false,
    rebalanced: Vec::new(),
    node: None,
    commits: Vec::new(),
    committed: Vec::new(),
    ends: Vec::new(),
};

impl Op {
    pub(crate) fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&NOTHING)
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.outcome == Outcome::Ok
    }

    /// When it was certainly over: never, if nobody knows how it ended.
    pub(crate) fn ended(&self) -> i64 {
        match (self.outcome, self.completed) {
            (Outcome::Info, _) | (_, None) => i64::MAX,
            (_, Some(moment)) => moment.time,
        }
    }
}

/// One record that an operation sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Send {
    pub(crate) key: Key,
    pub(crate) offset: Option<Offset>,
    pub(crate) value: i64,
}

/// One record that an operation polled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    pub(crate) key: Key,
    pub(crate) offset: Offset,
    pub(crate) value: i64,
}

/// An offset of a record. An optional one takes no more room than a plain one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Offset(std::num::NonZeroU64);

impl Offset {
    /// None if it is negative.
    pub(crate) fn new(offset: i64) -> Option<Offset> {
        let offset = u64::try_from(offset).ok()?;
        std::num::NonZeroU64::new(offset + 1).map(Offset)
    }

    pub(crate) fn get(self) -> i64 {
        (self.0.get() - 1).cast_signed()
    }
}

/// A whole history.
#[derive(Debug, Default)]
pub struct History {
    pub(crate) ops: Vec<Op>,
    pub(crate) sends: Vec<Send>,
    pub(crate) reads: Vec<Read>,
    pub(crate) keys: Names,
    pub(crate) groups: Names,
    pub(crate) nodes: Names,
    /// Lines read, blank ones too.
    pub(crate) lines: u32,
    pub(crate) faults: u64,
    /// When faults were over and the final reads began.
    pub(crate) final_phase: Option<i64>,
    pub(crate) last_time: i64,
}

impl History {
    pub(crate) fn op(&self, id: OpId) -> &Op {
        &self.ops[id.0 as usize]
    }

    pub(crate) fn ops(&self) -> impl Iterator<Item = (OpId, &Op)> {
        (0..).map(OpId).zip(&self.ops)
    }

    /// Operations that took effect, with what they saw.
    pub(crate) fn ok_ops(&self) -> impl Iterator<Item = (OpId, &Op)> {
        self.ops().filter(|(_, op)| op.is_ok())
    }

    pub(crate) fn sends_of(&self, op: &Op) -> &[Send] {
        &self.sends[op.sends.start as usize..op.sends.end as usize]
    }

    pub(crate) fn reads_of(&self, op: &Op) -> &[Read] {
        &self.reads[op.reads.start as usize..op.reads.end as usize]
    }

    pub(crate) fn key(&self, key: Key) -> &str {
        self.keys.text(key.0)
    }

    pub(crate) fn group(&self, group: Group) -> &str {
        self.groups.text(group.0)
    }

    /// Operations that read `value`, those that took effect first. Looks through the whole history: for what is shown.
    pub(crate) fn readers(&self, key: Key, value: i64) -> Vec<OpId> {
        let reads = |op: &Op| self.reads_of(op).iter().any(|read| read.key == key && read.value == value);
        let mut found: Vec<OpId> = self.ops().filter(|(_, op)| reads(op)).map(|(id, _)| id).collect();
        found.sort_by_key(|&id| !self.op(id).is_ok());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_are_millions_of_is_small() {
        assert!(size_of::<Op>() <= 80, "{}", size_of::<Op>());
        assert_eq!(size_of::<Send>(), 24);
        assert_eq!(size_of::<Read>(), 24);
    }

    #[test]
    fn offsets_are_what_they_were_made_of_and_never_negative() {
        for offset in [0, 1, 17, i64::MAX] {
            assert_eq!(Offset::new(offset).unwrap().get(), offset);
        }
        assert_eq!(Offset::new(-1), None);
        assert!(Offset::new(3) < Offset::new(4));
    }
}
