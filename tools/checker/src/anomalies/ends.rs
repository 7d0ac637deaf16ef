//! Ours: the ends of a log move on, and never back.
//!
//! - *lso-stall*: answers in a row gave the same last stable offset of a key below its high watermark, for longer than the
//!   limit: a transaction hangs, and consumers of committed records with it. The time is from the end of the first such
//!   answer to the beginning of the last.
//! - *watermark-regressed*: start, last stable offset or high watermark of a key, as one broker gave them within one leader
//!   epoch, went back between an answer and a later question. (Without an epoch in the answers, this is not judged.)

use std::collections::BTreeMap;

use crate::entry::Ends;
use crate::history::{History, Key, Node, OpId};
use crate::render::seconds;
use crate::report::{Findings, Kind};

#[derive(Clone, Copy)]
struct Seen {
    op: OpId,
    node: Option<Node>,
    from: i64,
    until: i64,
    ends: Ends,
}

/// Returns the longest time that a last stable offset stood still below the high watermark, in nanoseconds.
pub(crate) fn check(history: &History, limit: i64, findings: &mut Findings<'_>) -> i64 {
    let mut by_key: BTreeMap<Key, Vec<Seen>> = BTreeMap::new();
    for (id, op) in history.ok_ops() {
        for &(key, ends) in &op.rare().ends {
            let seen = Seen { op: id, node: op.rare().node, from: op.invoked.time, until: op.ended(), ends };
            by_key.entry(key).or_default().push(seen);
        }
    }
    let mut longest = 0;
    for (key, seen) in by_key {
        longest = longest.max(stalls(history, key, &seen, limit, findings));
        regressions(history, key, &seen, findings);
    }
    longest
}

fn stalls(history: &History, key: Key, seen: &[Seen], limit: i64, findings: &mut Findings<'_>) -> i64 {
    let mut by_end = seen.to_vec();
    by_end.sort_by_key(|seen| seen.until);
    let waits = |seen: &Seen| seen.ends.lso < seen.ends.high;
    let same = |a: &Seen, b: &Seen| waits(a) && waits(b) && a.ends.lso == b.ends.lso;
    let mut longest = 0;
    for run in by_end.chunk_by(same).filter(|run| waits(&run[0])) {
        let (first, last) = (&run[0], &run[run.len() - 1]);
        let wait = last.from.saturating_sub(first.until);
        longest = longest.max(wait);
        if wait > limit {
            findings.add(Kind::LsoStall, Some(key), || {
                let (key, lso, high) = (history.key(key), last.ends.lso, last.ends.high);
                let wait = seconds(wait);
                let what =
                    format!("the last stable offset of {key} stood at {lso} for {wait}; the high watermark is {high}");
                (what, vec![first.op, last.op])
            });
        }
    }
    longest
}

type Bound = fn(&Ends) -> Option<i64>;

const BOUNDS: &[(&str, Bound)] = &[
    ("start", |ends| ends.start),
    ("last stable offset", |ends| Some(ends.lso)),
    ("high watermark", |ends| Some(ends.high)),
];

fn regressions(history: &History, key: Key, seen: &[Seen], findings: &mut Findings<'_>) {
    let mut by_epoch: BTreeMap<(Option<Node>, i32), Vec<Seen>> = BTreeMap::new();
    for one in seen {
        if let Some(epoch) = one.ends.epoch {
            by_epoch.entry((one.node, epoch)).or_default().push(*one);
        }
    }
    for of_epoch in by_epoch.values() {
        let mut by_end = of_epoch.clone();
        by_end.sort_by_key(|seen| seen.until);
        for (name, bound) in BOUNDS {
            let mut ended = by_end.iter().peekable();
            let mut highest: Option<(i64, OpId)> = None;
            for one in of_epoch {
                while let Some(earlier) = ended.next_if(|earlier| earlier.until < one.from) {
                    let value = bound(&earlier.ends).map(|value| (value, earlier.op));
                    highest = highest.max(value);
                }
                let (Some((highest, op)), Some(now)) = (highest, bound(&one.ends)) else { continue };
                if now < highest {
                    findings.add(Kind::WatermarkRegressed, Some(key), || {
                        let what = format!("the {name} of {} went from {highest} back to {now}", history.key(key));
                        (what, vec![op, one.op])
                    });
                }
            }
        }
    }
}
