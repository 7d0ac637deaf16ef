//! What was written must be read.
//!
//! - *lost-write*: of each key, let the bound be the largest of the *first* indexes of values that operations polled which
//!   took effect. A value whose *last* index is at or before the bound, and whose writer must have committed, must have been
//!   polled by an operation that took effect too; else it is lost.
//! - *unseen*: an acknowledged send that no such operation polled, wherever it stands: judged after a final phase, which
//!   reads every key to its end. It finds the tail of a log, which the rule before cannot judge.

use crate::history::{History, Key, OpId};
use crate::report::{Findings, Kind};
use crate::versions::{Fact, KeyVersions, Versions};

pub(crate) fn check(history: &History, versions: &Versions, findings: &mut Findings<'_>) {
    let unseen = if history.final_phase.is_some() { Kind::Unseen } else { Kind::UnseenYet };
    for (key, of_key) in versions.keys() {
        let first_of_read = |fact: &Fact| fact.indexes().filter(|_| fact.ok_read).map(|(first, _)| first);
        let bound = of_key.facts.iter().filter_map(first_of_read).max();
        for fact in of_key.facts.iter().filter(|fact| !fact.ok_read) {
            let Some(writer) = fact.writer().filter(|&writer| versions.must_have_committed(writer)) else { continue };
            let last = fact.indexes().map(|(_, last)| last);
            if let (Some(last), Some(bound)) = (last, bound)
                && last <= bound
            {
                findings.add(Kind::LostWrite, Some(key), || lost(history, of_key, key, fact, writer, bound));
            } else if history.op(writer).is_ok() {
                findings.add(unseen, Some(key), || {
                    let what =
                        format!("value {} was acknowledged for {} and never polled", fact.value, history.key(key));
                    (what, vec![writer])
                });
            }
        }
    }
}

fn lost(
    history: &History,
    of_key: &KeyVersions,
    key: Key,
    fact: &Fact,
    writer: OpId,
    bound: u32,
) -> (String, Vec<OpId>) {
    let beyond = of_key.at(bound)[0];
    let at = fact.indexes().map(|(_, last)| of_key.at(last)[0].offset.get());
    let at = at.map_or("an unknown offset".to_owned(), |offset| format!("offset {offset}"));
    let key_name = history.key(key);
    let (value, read, offset) = (fact.value, beyond.value, beyond.offset.get());
    let what = format!("value {value} at {at} of {key_name} was never polled, but value {read} at offset {offset} was");
    let mut ops = vec![writer];
    ops.extend(history.readers(key, read).first());
    (what, ops)
}
