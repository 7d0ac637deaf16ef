//! Histories in a few words.

use jackdaw_checker::entry::{Entry, EntryType, Function, Mark, Micro};
use jackdaw_checker::{Kind, Limits, Report, check, read};
use serde_json::Value;

/// A history that grows line by line, a millisecond each.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) entries: Vec<Entry>,
    time: i64,
    group: Option<String>,
}

impl Script {
    pub(crate) fn new() -> Script {
        Script::default()
    }

    /// Lets time pass.
    pub(crate) fn sleep(&mut self, seconds: i64) -> &mut Script {
        self.time += seconds * 1_000_000_000;
        self
    }

    /// From here on, entries have this group.
    pub(crate) fn group(&mut self, name: &str) -> &mut Script {
        self.group = Some(name.to_owned());
        self
    }

    pub(crate) fn entry(&mut self, process: u32, kind: EntryType, function: Function) -> &mut Entry {
        self.time += 1_000_000;
        self.entries.push(Entry {
            time: self.time,
            process: Some(process),
            kind: Some(kind),
            function: Some(function),
            group: self.group.clone(),
            ..Entry::default()
        });
        self.entries.last_mut().unwrap()
    }

    pub(crate) fn begin(&mut self, process: u32, function: Function, ops: Value) -> &mut Script {
        let ops: Vec<Micro> = serde_json::from_value(ops).unwrap();
        let before = |micro| match micro {
            Micro::Send { key, value, .. } => Micro::Send { key, offset: None, value },
            Micro::Poll(_) => Micro::Poll(Default::default()),
            Micro::Committed(_) => Micro::Committed(Default::default()),
            Micro::Ends(_) => Micro::Ends(Default::default()),
            commit @ Micro::Commit(_) => commit,
        };
        self.entry(process, EntryType::Invoke, function).ops = Some(ops.into_iter().map(before).collect());
        self
    }

    pub(crate) fn end(&mut self, process: u32, function: Function, kind: EntryType, ops: Value) -> &mut Script {
        self.entry(process, kind, function).ops = Some(serde_json::from_value(ops).unwrap());
        self
    }

    /// An operation from its beginning to its end.
    pub(crate) fn op(&mut self, process: u32, function: Function, kind: EntryType, ops: Value) -> &mut Script {
        self.begin(process, function, ops.clone());
        self.end(process, function, kind, ops)
    }

    pub(crate) fn send(&mut self, process: u32, ops: Value) -> &mut Script {
        self.op(process, Function::Send, EntryType::Ok, ops)
    }

    pub(crate) fn poll(&mut self, process: u32, polled: Value) -> &mut Script {
        self.op(process, Function::Poll, EntryType::Ok, serde_json::json!([["poll", polled]]))
    }

    pub(crate) fn txn(&mut self, process: u32, ops: Value) -> &mut Script {
        self.op(process, Function::Txn, EntryType::Ok, ops)
    }

    pub(crate) fn observe(&mut self, process: u32, ops: Value) -> &mut Script {
        self.op(process, Function::Observe, EntryType::Ok, ops)
    }

    pub(crate) fn assign(&mut self, process: u32, keys: &[&str], seek_to_beginning: bool) -> &mut Script {
        for kind in [EntryType::Invoke, EntryType::Ok] {
            let entry = self.entry(process, kind, Function::Assign);
            entry.keys = Some(keys.iter().map(|key| (*key).to_owned()).collect());
            entry.seek_to_beginning = seek_to_beginning;
        }
        self
    }

    pub(crate) fn subscribe(&mut self, process: u32, keys: &[&str]) -> &mut Script {
        for kind in [EntryType::Invoke, EntryType::Ok] {
            let entry = self.entry(process, kind, Function::Subscribe);
            entry.keys = Some(keys.iter().map(|key| (*key).to_owned()).collect());
        }
        self
    }

    pub(crate) fn final_phase(&mut self) -> &mut Script {
        self.time += 1_000_000;
        self.entries.push(Entry { time: self.time, mark: Some(Mark::Final), ..Entry::default() });
        self
    }

    pub(crate) fn report(&self) -> Report {
        judge(&self.entries, &Limits::default())
    }

    /// Every kind found, with its count.
    pub(crate) fn kinds(&self) -> Vec<(Kind, u64)> {
        self.report().findings.iter().map(|finding| (finding.kind, finding.count)).collect()
    }

    pub(crate) fn assert_clean(&self) {
        let report = self.report();
        assert!(report.findings.is_empty(), "{}", serde_json::to_string_pretty(&report.findings).unwrap());
        assert!(report.valid);
    }

    /// Exactly these kinds, once each; each is shown by operations.
    pub(crate) fn assert_finds(&self, kinds: &[Kind]) {
        let report = self.report();
        let found: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(found, kinds, "{}", serde_json::to_string_pretty(&report.findings).unwrap());
        for finding in &report.findings {
            assert_eq!(finding.count, 1, "{finding:?}");
            assert!(!finding.shown[0].shown_by.is_empty(), "{finding:?}");
        }
    }
}

pub(crate) fn text(entries: &[Entry]) -> String {
    entries.iter().map(|entry| serde_json::to_string(entry).unwrap() + "\n").collect()
}

pub(crate) fn judge(entries: &[Entry], limits: &Limits) -> Report {
    let history = read(text(entries).as_bytes()).unwrap();
    check(&history, limits).unwrap()
}
