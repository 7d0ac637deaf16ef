//! One line of a history: what a client was about to do, or what came of it.
//!
//! The types serialize too, so that whoever writes a history writes it with what will read it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One line: an operation's beginning or end, or a [mark](Mark).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Nanoseconds on the one monotonic clock of whoever writes the history; never less than on the line before.
    pub time: i64,
    /// Who does it: one producer and one consumer, one operation at a time. Absent in a mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<u32>,
    /// Beginning or end. Absent in a mark.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<EntryType>,
    /// What is done. Absent in a mark.
    #[serde(default, rename = "f", skip_serializing_if = "Option::is_none")]
    pub function: Option<Function>,
    /// Micro-operations, in their order; on the last line of an operation with what they saw. Left out there, those of
    /// the invocation stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ops: Option<Vec<Micro>>,
    /// The keys of `assign` and `subscribe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<String>>,
    /// Of `assign`: whether the consumer then seeks to the beginning of every key.
    #[serde(default, skip_serializing_if = "is_false")]
    pub seek_to_beginning: bool,
    /// The consumer's group, for polls and commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The broker that was asked; with `observe`, the one whose offsets these are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Keys that a rebalance took or gave while the operation went on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rebalanced: Vec<String>,
    /// Why it failed, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Makes the line a mark, which is no operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// What a mark says, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What a line without an operation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// A fault was injected, or healed: `note` says which. Not judged.
    Fault,
    /// Faults are over, and every key is read from its beginning to its end. From here on, what was never read is lost.
    Final,
}

/// Beginning or end of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryType {
    /// It begins.
    Invoke,
    /// It took effect.
    Ok,
    /// It did not, and never will.
    Fail,
    /// Nobody knows.
    Info,
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    /// Sends outside of a transaction.
    Send,
    /// Polls, and maybe commits, outside of a transaction.
    Poll,
    /// A transaction of sends, polls and commits.
    Txn,
    /// The consumer takes exactly `keys`.
    Assign,
    /// The consumer joins its group, for `keys`.
    Subscribe,
    /// The client is torn down: producer, consumer, its positions.
    Crash,
    /// Asks for offsets: of logs (`ends`) or of a group (`committed`).
    Observe,
}

/// A part of an operation. In JSON an array whose first element is its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Micro {
    /// `["send", KEY, VALUE]`, and when it is done `["send", KEY, [OFFSET, VALUE]]`, where OFFSET may be null.
    Send {
        /// Topic and partition, in any form.
        key: String,
        /// Where it was acknowledged, if that is known.
        offset: Option<i64>,
        /// Sent once only to this key.
        value: i64,
    },
    /// `["poll"]`, and when it is done `["poll", {KEY: [[OFFSET, VALUE], ...]}]`.
    Poll(BTreeMap<String, Vec<(i64, i64)>>),
    /// `["commit", {KEY: OFFSET}]`: the group goes on from these offsets.
    Commit(BTreeMap<String, i64>),
    /// `["committed", {KEY: OFFSET}]`: what the group had committed (stable offsets only), null for nothing.
    Committed(BTreeMap<String, Option<i64>>),
    /// `["ends", {KEY: {"lso": 5, "high": 7}}]`: the offsets of logs.
    Ends(BTreeMap<String, Ends>),
}

/// Offsets of a log as ListOffsets gives them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ends {
    /// The first offset kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<i64>,
    /// The last stable offset: the end, for isolation level read_committed.
    pub lso: i64,
    /// The high watermark: the end, for isolation level read_uncommitted.
    pub high: i64,
    /// The leader epoch that the answer named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i32>,
}

impl Serialize for Micro {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Micro::Send { key, offset: None, value } => ("send", key, value).serialize(serializer),
            Micro::Send { key, offset, value } => ("send", key, (offset, value)).serialize(serializer),
            Micro::Poll(read) if read.is_empty() => ("poll",).serialize(serializer),
            Micro::Poll(read) => ("poll", read).serialize(serializer),
            Micro::Commit(offsets) => ("commit", offsets).serialize(serializer),
            Micro::Committed(offsets) => ("committed", offsets).serialize(serializer),
            Micro::Ends(ends) => ("ends", ends).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Micro {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Micro, D::Error> {
        deserializer.deserialize_seq(MicroVisitor)
    }
}

const MICRO_NAMES: &[&str] = &["send", "poll", "commit", "committed", "ends"];

struct MicroVisitor;

impl<'de> Visitor<'de> for MicroVisitor {
    type Value = Micro;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a micro-operation, such as [\"send\", \"orders-0\", 17]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Micro, A::Error> {
        let name: String = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let micro = match name.as_str() {
            "send" => {
                let key = needed(&mut seq, "the key of the send")?;
                let Sent { offset, value } = needed(&mut seq, "the value of the send, or [OFFSET, VALUE]")?;
                Micro::Send { key, offset, value }
            }
            "poll" => Micro::Poll(seq.next_element()?.unwrap_or_default()),
            "commit" => Micro::Commit(needed(&mut seq, "the offsets committed, {KEY: OFFSET}")?),
            "committed" => Micro::Committed(seq.next_element()?.unwrap_or_default()),
            "ends" => Micro::Ends(seq.next_element()?.unwrap_or_default()),
            other => return Err(de::Error::unknown_variant(other, MICRO_NAMES)),
        };
        match seq.next_element::<de::IgnoredAny>()? {
            None => Ok(micro),
            Some(_) => Err(de::Error::custom(format!("\"{name}\" has more elements than it may"))),
        }
    }
}

fn needed<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(seq: &mut A, what: &str) -> Result<T, A::Error> {
    seq.next_element()?.ok_or_else(|| de::Error::custom(format!("{what} is missing")))
}

/// The last element of a send: VALUE, or [OFFSET, VALUE].
struct Sent {
    offset: Option<i64>,
    value: i64,
}

impl<'de> Deserialize<'de> for Sent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sent, D::Error> {
        deserializer.deserialize_any(SentVisitor)
    }
}

struct SentVisitor;

impl<'de> Visitor<'de> for SentVisitor {
    type Value = Sent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer value, or [OFFSET, VALUE]")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Sent, E> {
        Ok(Sent { offset: None, value })
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Sent, E> {
        let value = i64::try_from(value).map_err(|_| E::custom(format!("value {value} does not fit 64 bits")))?;
        Ok(Sent { offset: None, value })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sent, A::Error> {
        let offset = needed(&mut seq, "the offset of the send")?;
        let value = needed(&mut seq, "the value of the send")?;
        Ok(Sent { offset, value })
    }
}
