//! Good histories, each spoiled in one way: the checker must name it.

use std::collections::BTreeMap;

use jackdaw_checker::Kind;
use jackdaw_checker::entry::{Entry, EntryType, Function, Mark, Micro};
use jackdaw_checker::{Limits, Report};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::script::judge;
use crate::simulated::{history, seeds};

/// Spoils a history, if it has what it takes.
type Spoil = fn(&mut Vec<Entry>, &mut StdRng) -> Option<()>;

/// Spoils histories of 20 seeds; in most of them that must be possible, and in each of these one of `kinds` be found.
fn caught(kinds: &[Kind], spoil: Spoil) {
    let (mut spoiled, mut tried) = (0, 0);
    for seed in seeds(20) {
        let mut entries = history(seed);
        tried += 1;
        if spoil(&mut entries, &mut StdRng::seed_from_u64(seed)).is_none() {
            continue;
        }
        spoiled += 1;
        let report: Report = judge(&entries, &Limits::default());
        assert!(!report.valid, "JACKDAW_CHECKER_SEED={seed}: nothing was found");
        let found: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
        assert!(kinds.iter().any(|kind| found.contains(kind)), "JACKDAW_CHECKER_SEED={seed}: found only {found:?}");
    }
    assert!(spoiled * 2 > tried || tried == 1, "only {spoiled} of {tried} histories could be spoiled");
}

/// Where the polled records of a key are: entry, micro-operation, key.
type Place = (usize, usize, String);

fn places(entries: &[Entry], wanted: impl Fn(&Entry, &[(i64, i64)]) -> bool) -> Vec<Place> {
    let mut found = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        for (micro, op) in entry.ops.iter().flatten().enumerate() {
            if let Micro::Poll(polled) = op {
                let keys = polled.iter().filter(|(_, records)| wanted(entry, records));
                found.extend(keys.map(|(key, _)| (at, micro, key.clone())));
            }
        }
    }
    found
}

fn records<'a>(entries: &'a mut [Entry], place: &Place) -> &'a mut Vec<(i64, i64)> {
    match &mut entries[place.0].ops.as_mut().unwrap()[place.1] {
        Micro::Poll(polled) => polled.get_mut(&place.2).unwrap(),
        other => panic!("{other:?} is no poll"),
    }
}

fn is_ok(entry: &Entry) -> bool {
    entry.kind == Some(EntryType::Ok)
}

fn a_place(entries: &[Entry], rng: &mut StdRng, wanted: impl Fn(&Entry, &[(i64, i64)]) -> bool) -> Option<Place> {
    places(entries, wanted).choose(rng).cloned()
}

/// The acknowledged sends with a known offset: entry, key, offset, value.
fn acknowledged(entries: &[Entry]) -> Vec<(usize, String, i64, i64)> {
    let mut found = Vec::new();
    for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| is_ok(entry)) {
        for op in entry.ops.iter().flatten() {
            if let Micro::Send { key, offset: Some(offset), value } = op {
                found.push((at, key.clone(), *offset, *value));
            }
        }
    }
    found
}

fn remove_reads(entries: &mut [Entry], key: &str, gone: impl Fn(i64, i64) -> bool) {
    for op in entries.iter_mut().filter_map(|entry| entry.ops.as_mut()).flatten() {
        if let Micro::Poll(polled) = op
            && let Some(records) = polled.get_mut(key)
        {
            records.retain(|&(offset, value)| !gone(offset, value));
        }
    }
}

#[test]
fn a_record_dropped_from_the_middle_of_a_poll_is_caught() {
    caught(&[Kind::InternalPollSkip], |entries, rng| {
        let place = a_place(entries, rng, |entry, records| is_ok(entry) && records.len() > 2)?;
        let records = records(entries, &place);
        records.remove(rng.random_range(1..records.len() - 1));
        Some(())
    });
}

#[test]
fn a_record_dropped_between_two_polls_is_caught() {
    caught(&[Kind::PollSkip], |entries, rng| {
        // The key's polls by a process since it was assigned; the first record of a later one is dropped.
        let mut since: BTreeMap<(u32, String), usize> = BTreeMap::new();
        let mut found: Vec<Place> = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            let process = entry.process.unwrap_or(u32::MAX);
            if entry.function == Some(Function::Assign) {
                since.retain(|(of, _), _| *of != process);
            }
            if !is_ok(entry) || entry.group.is_some() {
                continue;
            }
            for (micro, op) in entry.ops.iter().flatten().enumerate() {
                let Micro::Poll(polled) = op else { continue };
                for (key, records) in polled.iter().filter(|(_, records)| !records.is_empty()) {
                    let before = since.insert((process, key.clone()), at);
                    if records.len() > 1 && before.is_some_and(|before| before < at) {
                        found.push((at, micro, key.clone()));
                    }
                }
            }
        }
        let place = found.choose(rng)?.clone();
        records(entries, &place).remove(0);
        Some(())
    });
}

#[test]
fn a_record_polled_again_is_caught() {
    caught(&[Kind::InternalNonmonotonicPoll], |entries, rng| {
        let place = a_place(entries, rng, |entry, records| is_ok(entry) && records.len() > 1)?;
        let records = records(entries, &place);
        let again = records[rng.random_range(0..records.len())];
        records.push(again);
        Some(())
    });
}

#[test]
fn two_records_in_the_wrong_order_are_caught() {
    caught(&[Kind::InternalNonmonotonicPoll], |entries, rng| {
        let place = a_place(entries, rng, |entry, records| is_ok(entry) && records.len() > 1)?;
        let records = records(entries, &place);
        let at = rng.random_range(1..records.len());
        records.swap(at - 1, at);
        Some(())
    });
}

#[test]
fn a_record_at_the_offset_of_another_is_caught() {
    caught(&[Kind::InconsistentOffsets], |entries, rng| {
        let place = a_place(entries, rng, |_, records| records.len() > 1)?;
        let records = records(entries, &place);
        let at = rng.random_range(1..records.len());
        records[at].0 = records[at - 1].0;
        Some(())
    });
}

#[test]
fn a_value_in_the_place_of_another_is_caught() {
    caught(&[Kind::Duplicate], |entries, rng| {
        let place = a_place(entries, rng, |_, records| records.len() > 1)?;
        let records = records(entries, &place);
        let at = rng.random_range(1..records.len());
        records[at].1 = records[at - 1].1;
        Some(())
    });
}

#[test]
fn a_value_that_nobody_sent_is_caught() {
    caught(&[Kind::PhantomRead], |entries, rng| {
        let place = a_place(entries, rng, |entry, records| is_ok(entry) && !records.is_empty())?;
        records(entries, &place)[0].1 = 1_000_000_000;
        Some(())
    });
}

#[test]
fn an_acknowledged_record_that_nobody_reads_is_caught() {
    caught(&[Kind::LostWrite], |entries, rng| {
        let all = acknowledged(entries);
        let last = |key: &str| all.iter().filter(|(_, of, ..)| of == key).map(|(.., offset, _)| *offset).max();
        let inner: Vec<_> = all.iter().filter(|(_, key, offset, _)| last(key) > Some(*offset)).collect();
        let (_, key, _, value) = (*inner.choose(rng)?).clone();
        remove_reads(entries, &key, |_, other| other == value);
        Some(())
    });
}

#[test]
fn an_acknowledged_tail_that_nobody_reads_is_caught() {
    caught(&[Kind::Unseen], |entries, rng| {
        let (_, key, offset, _) = acknowledged(entries).choose(rng)?.clone();
        remove_reads(entries, &key, |other, _| other >= offset);
        Some(())
    });
}

#[test]
fn a_record_of_an_operation_that_failed_is_caught() {
    caught(&[Kind::AbortedRead], |entries, rng| {
        // All that was acknowledged is read in the final phase.
        let (at, ..) = *acknowledged(entries).choose(rng)?;
        entries[at].kind = Some(EntryType::Fail);
        Some(())
    });
}

#[test]
fn a_transaction_that_reads_its_own_record_is_caught() {
    caught(&[Kind::PrecommittedRead], |entries, rng| {
        let all = acknowledged(entries);
        let of_txns: Vec<_> = all.iter().filter(|(at, ..)| entries[*at].function == Some(Function::Txn)).collect();
        let (at, key, offset, value) = (*of_txns.choose(rng)?).clone();
        entries[at].ops.as_mut().unwrap().push(Micro::Poll(BTreeMap::from([(key, vec![(offset, value)])])));
        Some(())
    });
}

#[test]
fn sends_acknowledged_with_each_others_offsets_are_caught() {
    caught(&[Kind::InconsistentOffsets, Kind::NonmonotonicSend, Kind::RealtimeSend], |entries, rng| {
        let all = acknowledged(entries);
        let (first, key, one, _) = all.choose(rng)?.clone();
        let others: Vec<_> = all.iter().filter(|(at, of, ..)| *of == key && *at != first).collect();
        let (second, _, other, _) = (*others.choose(rng)?).clone();
        for (at, from, to) in [(first, one, other), (second, other, one)] {
            for op in entries[at].ops.iter_mut().flatten() {
                match op {
                    Micro::Send { key: of, offset, .. } if *of == key && *offset == Some(from) => *offset = Some(to),
                    _ => {}
                }
            }
        }
        Some(())
    });
}

/// Commits of a group: entry of the invocation and of the end, group, key, offset, end.
fn commits(entries: &[Entry]) -> Vec<(usize, usize, String, String, i64, EntryType)> {
    let mut begun: BTreeMap<u32, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let (Some(process), Some(kind)) = (entry.process, entry.kind) else { continue };
        if kind == EntryType::Invoke {
            begun.insert(process, at);
            continue;
        }
        for op in entry.ops.iter().flatten() {
            if let Micro::Commit(offsets) = op {
                for (key, offset) in offsets {
                    let group = entry.group.clone().unwrap();
                    found.push((begun[&process], at, group, key.clone(), *offset, kind));
                }
            }
        }
    }
    found
}

/// Sets what the last observations of committed offsets saw: what `choose` makes of each that it likes.
fn observe(entries: &mut [Entry], choose: impl Fn(&[Entry], usize, &str, &str) -> Option<i64>) -> Option<()> {
    for end in (0..entries.len()).rev().filter(|&end| entries[end].function == Some(Function::Observe)) {
        let process = entries[end].process;
        let begin = (0..end).rev().find(|&at| entries[at].process == process).unwrap_or(0);
        if !is_ok(&entries[end]) {
            continue;
        }
        let Some(Micro::Committed(saw)) = entries[end].ops.as_ref().and_then(|ops| ops.first()) else { continue };
        let (key, group) = (saw.keys().next().unwrap().clone(), entries[end].group.clone().unwrap());
        if let Some(offset) = choose(entries, begin, &group, &key) {
            entries[end].ops = Some(vec![Micro::Committed(BTreeMap::from([(key, Some(offset))]))]);
            return Some(());
        }
    }
    None
}

#[test]
fn a_committed_offset_that_went_back_is_caught() {
    caught(&[Kind::CommitRegressed], |entries, _| {
        observe(entries, |entries, begin, group, key| {
            let all = commits(entries);
            let of_key = || all.iter().filter(|(_, _, of, other, ..)| of == group && other == key);
            let before = |at: usize| entries[at].time < entries[begin].time;
            let last = of_key().rfind(|(_, end, .., kind)| *kind == EntryType::Ok && before(*end))?;
            // Written once, and replaced before the last commit began.
            let replaced = of_key().find(|(_, end, _, _, offset, kind)| {
                let once = of_key().filter(|(.., other, _)| other == offset).count() == 1;
                once && *kind == EntryType::Ok && *offset < last.4 && entries[*end].time < entries[last.0].time
            })?;
            Some(replaced.4)
        })
    });
}

#[test]
fn a_committed_offset_that_nobody_committed_is_caught() {
    caught(&[Kind::CommitUnknown], |entries, _| observe(entries, |_, _, _, _| Some(10_000_000)));
}

fn of_copiers(entry: &Entry) -> bool {
    is_ok(entry) && entry.function == Some(Function::Txn) && entry.group.is_some()
}

#[test]
fn a_record_that_a_group_did_not_consume_is_caught() {
    caught(&[Kind::GroupSkip], |entries, rng| {
        let (at, micro, key) = a_place(entries, rng, |entry, records| of_copiers(entry) && records.len() > 2)?;
        let (_, gone) = records(entries, &(at, micro, key.clone())).remove(1);
        // One of an unknown end may have consumed it; then nobody can tell.
        let reads_it = |entry: &Entry, records: &[(i64, i64)]| {
            entry.group == entries[at].group && records.iter().any(|(_, value)| *value == gone)
        };
        let info = |entry: &Entry| entry.kind == Some(EntryType::Info);
        places(entries, |entry, records| info(entry) && reads_it(entry, records)).is_empty().then_some(())
    });
}

#[test]
fn a_record_that_a_group_consumed_twice_is_caught() {
    caught(&[Kind::GroupDuplicate], |entries, rng| {
        let all = places(entries, |entry, records| of_copiers(entry) && !records.is_empty());
        let (at, micro, key) = all.choose(rng)?.clone();
        let later: Vec<&Place> = all.iter().filter(|(other, _, of)| *other > at && *of == key).collect();
        let again = (*later.choose(rng)?).clone();
        let first = records(entries, &(at, micro, key))[0];
        records(entries, &again).insert(0, first);
        Some(())
    });
}

/// Every observation of the ends of a log, in turn.
fn change_ends(entries: &mut [Entry], mut change: impl FnMut(&mut jackdaw_checker::entry::Ends)) -> usize {
    let mut count = 0;
    for entry in entries.iter_mut().filter(|entry| is_ok(entry)) {
        for op in entry.ops.iter_mut().flatten() {
            if let Micro::Ends(ends) = op {
                change(ends.get_mut("a").unwrap());
                count += 1;
            }
        }
    }
    count
}

#[test]
fn a_last_stable_offset_that_hangs_is_caught() {
    caught(&[Kind::LsoStall], |entries, _| {
        for entry in entries.iter_mut() {
            entry.time *= 1_000;
        }
        let count = change_ends(entries, |ends| {
            ends.lso = 0;
            ends.high += 1;
        });
        (count > 5).then_some(())
    });
}

#[test]
fn a_high_watermark_that_goes_back_is_caught() {
    caught(&[Kind::WatermarkRegressed], |entries, _| {
        let mut highs = Vec::new();
        change_ends(entries, |ends| highs.push(ends.high));
        // The one before the last may have been asked at the same moment.
        let before = highs[..highs.len().saturating_sub(2)].iter().max().copied().unwrap_or(0);
        let mut left = highs.len();
        change_ends(entries, |ends| {
            left -= 1;
            if left == 0 {
                ends.high = before - 1;
            }
        });
        (before > 0).then_some(())
    });
}

#[test]
fn two_transactions_that_read_from_each_other_are_caught() {
    caught(&[Kind::G1c], |entries, rng| {
        let all = acknowledged(entries);
        let txn = |at: usize| entries[at].function == Some(Function::Txn) && entries[at].group.is_none();
        // A transaction that sends, and whose last record of a key was written by another transaction that sends.
        let mut pairs = Vec::new();
        for (reader, key, offset, value) in all.iter().filter(|(at, ..)| txn(*at)) {
            let mut highest: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
            for op in entries[*reader].ops.iter().flatten() {
                let Micro::Poll(polled) = op else { continue };
                for (of, last) in polled.iter().filter_map(|(of, records)| Some((of, *records.last()?))) {
                    highest.insert(of, last);
                }
            }
            let read = |of: &str, value: i64| highest.get(of).is_some_and(|(_, last)| *last == value);
            let writers = all.iter().filter(|(at, of, _, value)| txn(*at) && at != reader && read(of, *value));
            pairs.extend(writers.map(|(writer, ..)| (*writer, key.clone(), *offset, *value)));
        }
        let (writer, key, offset, value) = pairs.choose(rng)?.clone();
        remove_reads(&mut entries[writer..=writer], &key, |_, _| true);
        let back = Micro::Poll(BTreeMap::from([(key, vec![(offset, value)])]));
        entries[writer].ops.as_mut().unwrap().push(back);
        Some(())
    });
}

#[test]
fn without_its_final_phase_a_history_is_not_judged_for_its_tail() {
    let mut entries = history(1);
    let end = entries.iter().position(|entry| entry.mark == Some(Mark::Final)).unwrap();
    entries.truncate(end);
    let report = judge(&entries, &Limits::default());
    assert!(report.valid && !report.summary.has_final_phase);
    assert!(report.count(Kind::UnseenYet) > 0);
}
