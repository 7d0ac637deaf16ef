//! Ours: a group's committed offset changes by commits only.
//!
//! For each group and key, commits are writes of a register and `committed` reads it. A commit that is ok took effect between
//! its two lines; one whose end is unknown may have done so at any time after its first, and has certainly done so when it
//! is the only one that explains what a read saw. A commit is *replaced* for a read when another one began after it ended, and
//! had itself taken effect before the read began.
//!
//! - *commit-regressed*: a read saw nothing, or an offset that only replaced commits wrote. (A group may go back: with a
//!   commit that says so.)
//! - *commit-unknown*: a read saw an offset that no commit wrote, or only failed ones.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Group, History, Key, OpId, Outcome};
use crate::report::{Findings, Kind};

#[derive(Default)]
struct Register {
    commits: Vec<Commit>,
    reads: Vec<Read>,
}

#[derive(Clone, Copy)]
struct Commit {
    op: OpId,
    offset: i64,
    from: i64,
    /// When it had certainly taken effect.
    until: i64,
}

#[derive(Clone, Copy)]
struct Read {
    op: OpId,
    offset: Option<i64>,
    from: i64,
    until: i64,
}

pub(crate) fn check(history: &History, findings: &mut Findings<'_>) {
    for ((group, key), mut register) in registers(history) {
        let by_offset = by_offset(&register.commits);
        settle(&mut register, &by_offset);
        let mut by_end = register.commits.clone();
        by_end.sort_unstable_by_key(|commit| commit.until);
        register.reads.sort_by_key(|read| read.from);
        let mut ended = by_end.iter().peekable();
        // Of the commits that had taken effect before the read began, the one that began last.
        let mut latest: Option<Commit> = None;
        for read in &register.reads {
            while let Some(commit) = ended.next_if(|commit| commit.until < read.from) {
                latest = Some(latest.filter(|latest| latest.from >= commit.from).unwrap_or(*commit));
            }
            let candidates = candidates(&register.commits, &by_offset, read);
            if let Some((kind, shown)) = judge(read, &candidates, latest) {
                findings.add(kind, Some(key), || describe(history, (group, key), read, latest, shown));
            }
        }
    }
}

fn registers(history: &History) -> BTreeMap<(Group, Key), Register> {
    let mut registers: BTreeMap<(Group, Key), Register> = BTreeMap::new();
    for (id, op) in history.ops().filter(|(_, op)| op.outcome != Outcome::Fail) {
        let Some(group) = op.group else { continue };
        for &(key, offset) in &op.rare().commits {
            let commit = Commit { op: id, offset, from: op.invoked.time, until: op.ended() };
            registers.entry((group, key)).or_default().commits.push(commit);
        }
        for &(key, offset) in op.rare().committed.iter().filter(|_| op.is_ok()) {
            let read = Read { op: id, offset, from: op.invoked.time, until: op.ended() };
            registers.entry((group, key)).or_default().reads.push(read);
        }
    }
    registers
}

fn by_offset(commits: &[Commit]) -> HashMap<i64, Vec<usize>> {
    let mut by_offset: HashMap<i64, Vec<usize>> = HashMap::new();
    for (at, commit) in commits.iter().enumerate() {
        by_offset.entry(commit.offset).or_default().push(at);
    }
    by_offset
}

/// The commits that may have written what a read saw.
fn candidates(commits: &[Commit], by_offset: &HashMap<i64, Vec<usize>>, read: &Read) -> Vec<Commit> {
    let of_offset = read.offset.and_then(|offset| by_offset.get(&offset)).into_iter().flatten();
    of_offset.map(|&at| commits[at]).filter(|commit| commit.from <= read.until).collect()
}

/// What was read had taken effect when the read ended: no commit that alone explains a read is open behind it.
fn settle(register: &mut Register, by_offset: &HashMap<i64, Vec<usize>>) {
    for read in &register.reads {
        let of_offset = read.offset.and_then(|offset| by_offset.get(&offset)).into_iter().flatten();
        let mut possible = of_offset.filter(|&&at| register.commits[at].from <= read.until);
        if let (Some(&only), None) = (possible.next(), possible.next()) {
            let commit = &mut register.commits[only];
            commit.until = commit.until.min(read.until);
        }
    }
}

/// The kind of anomaly, if it is one, and the commit that is shown for it.
fn judge(read: &Read, candidates: &[Commit], latest: Option<Commit>) -> Option<(Kind, Option<OpId>)> {
    let Some(latest) = latest else {
        let unexplained = read.offset.is_some() && candidates.is_empty();
        return unexplained.then_some((Kind::CommitUnknown, None));
    };
    if candidates.iter().any(|commit| commit.until >= latest.from) {
        return None;
    }
    match candidates.last() {
        Some(replaced) => Some((Kind::CommitRegressed, Some(replaced.op))),
        None if read.offset.is_none() => Some((Kind::CommitRegressed, None)),
        None => Some((Kind::CommitUnknown, None)),
    }
}

fn describe(
    history: &History,
    (group, key): (Group, Key),
    read: &Read,
    latest: Option<Commit>,
    shown: Option<OpId>,
) -> (String, Vec<OpId>) {
    let saw = read.offset.map_or("nothing".to_owned(), |offset| offset.to_string());
    let stood = latest.map_or("nothing".to_owned(), |latest| latest.offset.to_string());
    let (group, key) = (history.group(group), history.key(key));
    let what = format!("group {group} had {stood} committed for {key}, and {saw} was read");
    (what, shown.into_iter().chain(latest.map(|latest| latest.op)).chain([read.op]).collect())
}
