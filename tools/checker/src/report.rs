//! What was found: kinds of anomaly, how many of each, and the operations that show the first of them.

use serde::Serialize;

use crate::history::{History, Key, OpId};
use crate::render;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $name:literal $weight:ident $means:literal,)*) => {
        /// A kind of anomaly. Unless it says otherwise, its definition is that of `jepsen.tests.kafka`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// Every kind, in the order in which they are reported.
            pub const ALL: &[Kind] = &[$(Kind::$kind,)*];

            /// Its name in reports.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name,)* }
            }

            /// What it means, in one line.
            pub fn means(self) -> &'static str {
                match self { $(Kind::$kind => $means,)* }
            }

            /// Whether it is an error, or something that Kafka allows and people want to know.
            pub fn weight(self) -> Weight {
                match self { $(Kind::$kind => Weight::$weight,)* }
            }
        }
    };
}

/// Whether a kind fails the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// It does.
    Error,
    /// Kafka's promises allow it.
    Allowed,
}

kinds! {
    /// One offset of a key holds two or more values.
    InconsistentOffsets "inconsistent-offsets" Error "one offset holds several values",
    /// One value stands at two or more offsets of a key.
    Duplicate "duplicate" Error "one value stands at several offsets",
    /// G1a: an operation that took effect polled a value whose writer failed.
    AbortedRead "aborted-read" Error "G1a: polled what its writer had aborted",
    /// A transaction polled a value that it sent itself.
    PrecommittedRead "precommitted-read" Error "polled what it sent itself and had not committed",
    /// Ours: an operation that took effect polled a value that nobody sent.
    PhantomRead "phantom-read" Error "polled a value that nobody sent",
    /// A value stands before one that was read, its writer must have committed, and nobody read it.
    LostWrite "lost-write" Error "a committed record before one that was read was never read",
    /// An acknowledged send that nobody read, after the final phase.
    Unseen "unseen" Error "acknowledged and not read in the final phase",
    /// The same without a final phase: the end was just not read yet.
    UnseenYet "unseen-yet" Allowed "acknowledged and not read; the history has no final phase",
    /// A consumer passed over records between two polls of an assigned key.
    PollSkip "poll-skip" Error "a consumer passed over records between operations",
    /// A consumer went back between two polls of an assigned key.
    NonmonotonicPoll "nonmonotonic-poll" Error "a consumer went back between operations",
    /// A poll skip of a subscribed consumer: a rebalance may have moved it.
    SubscribedPollSkip "poll-skip-subscribed" Allowed "the same in a group, where a rebalance may come between",
    /// A nonmonotonic poll of a subscribed consumer.
    SubscribedNonmonotonicPoll "nonmonotonic-poll-subscribed" Allowed "the same in a group, where a rebalance may come between",
    /// A poll skip inside of one operation.
    InternalPollSkip "int-poll-skip" Error "a consumer passed over records within one operation",
    /// A nonmonotonic poll inside of one operation.
    InternalNonmonotonicPoll "int-nonmonotonic-poll" Error "a consumer went back within one operation",
    /// A process's sends to a key go backwards in its log.
    NonmonotonicSend "nonmonotonic-send" Error "a process's later send stands before its earlier one",
    /// Ours: a send was acknowledged at an offset below one that had been acknowledged before it began.
    RealtimeSend "realtime-send" Error "acknowledged below an offset that was acknowledged before it was sent",
    /// An operation's sends to a key go backwards in its log.
    InternalNonmonotonicSend "int-nonmonotonic-send" Error "an operation's later send stands before its earlier one",
    /// Records of others stand between an operation's sends: producers interleave.
    InternalSendSkip "int-send-skip" Allowed "records of others stand between those of one operation",
    /// A cycle of writes over writes: Kafka's transactions are not isolated in what they write.
    G0 "G0" Allowed "a cycle of writes: producers interleave over several keys",
    /// G0 with the order of processes.
    G0Process "G0-process" Allowed "the same, with the order within a process",
    /// G0 with the order of time.
    G0Realtime "G0-realtime" Allowed "the same, with the order of time",
    /// Circular information flow: a cycle of reads of what others wrote.
    G1c "G1c" Error "circular information flow: each read what the next one wrote",
    /// G1c with the order of processes.
    G1cProcess "G1c-process" Error "the same, with the order within a process",
    /// G1c with the order of time.
    G1cRealtime "G1c-realtime" Error "the same, with the order of time",
    /// A cycle of reads and the order of writes, which transactions do not isolate.
    G1cWrites "G1c-ww" Allowed "a cycle of reads and the order of offsets, which transactions do not isolate",
    /// A value was polled more than once by one process while it was subscribed.
    ConsumedTwice "consumed-twice" Allowed "one process of a group polled a record more than once",
    /// A poll came back without a record acknowledged longer ago than the limit given.
    RealtimeLag "realtime-lag" Error "a poll missed a record acknowledged longer ago than the limit",
    /// Ours: a group's committed offset is one that a later commit had replaced.
    CommitRegressed "commit-regressed" Error "a committed offset went back with no commit that says so",
    /// Ours: a group's committed offset is one that nobody committed.
    CommitUnknown "commit-unknown" Error "a committed offset that nobody committed",
    /// Ours: two committed transactions of a group consumed the same record.
    GroupDuplicate "group-duplicate" Error "two committed transactions of a group consumed one record",
    /// Ours: a group went on behind a record that none of its members consumed.
    GroupSkip "group-skip" Error "a group went on behind a record that it did not consume",
    /// Ours: the last stable offset stood still below the high watermark for longer than the limit.
    LsoStall "lso-stall" Error "the last stable offset stood still below the high watermark",
    /// Ours: start, last stable offset or high watermark went back on one broker within one leader epoch.
    WatermarkRegressed "watermark-regressed" Error "an end or start of a log went back within a leader epoch",
}

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One anomaly, with what shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// What is wrong, in a sentence.
    pub what: String,
    /// The key it is about; none for what spans several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The operations that show it, each on a line: where they stand, who, when, and what they did to the key.
    pub shown_by: Vec<String>,
}

/// All anomalies of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The kind.
    pub kind: Kind,
    /// Whether it fails the history.
    pub weight: Weight,
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub shown: Vec<Anomaly>,
}

/// What the history holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "names of counters")]
pub struct Summary {
    pub lines: u32,
    pub operations: u64,
    pub ok: u64,
    pub failed: u64,
    /// How they ended is unknown.
    pub unknown: u64,
    pub processes: u64,
    pub keys: u64,
    pub groups: u64,
    /// Records that were sent by operations that took effect.
    pub acknowledged_sends: u64,
    /// Records that were polled by operations that took effect.
    pub polled: u64,
    pub faults: u64,
    pub duration_ms: u64,
    /// Whether it ends with a final phase; without, nobody can say that the end of a log was lost.
    pub has_final_phase: bool,
    /// The worst age of a record that a poll should have returned, or come to, and did not.
    pub worst_realtime_lag_ms: u64,
    /// The longest time that a last stable offset stood still below the high watermark.
    pub longest_lso_wait_ms: u64,
}

/// The verdict.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether there is no anomaly that is an error.
    pub valid: bool,
    /// What was judged.
    pub summary: Summary,
    /// Kinds that were found, in the order of [`Kind::ALL`].
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many anomalies of a kind there are.
    pub fn count(&self, kind: Kind) -> u64 {
        self.findings.iter().find(|finding| finding.kind == kind).map_or(0, |finding| finding.count)
    }
}

/// Collects what the checks find; keeps the first few of each kind.
pub(crate) struct Findings<'a> {
    history: &'a History,
    shown_max: usize,
    found: Vec<Finding>,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(history: &'a History, shown_max: usize) -> Findings<'a> {
        let empty = |&kind: &Kind| Finding { kind, weight: kind.weight(), count: 0, shown: Vec::new() };
        Findings { history, shown_max, found: Kind::ALL.iter().map(empty).collect() }
    }

    /// Counts one more, and keeps it if not enough are shown: only then is `evidence` asked what to say, and which
    /// operations show it.
    pub(crate) fn add(&mut self, kind: Kind, key: Option<Key>, evidence: impl FnOnce() -> (String, Vec<OpId>)) {
        let finding = &mut self.found[kind as usize];
        finding.count += 1;
        if finding.shown.len() < self.shown_max {
            let (what, ops) = evidence();
            let shown_by = render::operations(self.history, &ops, key);
            finding.shown.push(Anomaly { what, key: key.map(|key| self.history.key(key).to_owned()), shown_by });
        }
    }

    /// The verdict.
    pub(crate) fn report(self, summary: Summary) -> Report {
        let findings: Vec<Finding> = self.found.into_iter().filter(|finding| finding.count > 0).collect();
        let valid = findings.iter().all(|finding| finding.weight == Weight::Allowed);
        Report { valid, summary, findings }
    }
}
