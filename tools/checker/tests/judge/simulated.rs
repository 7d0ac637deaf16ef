//! Histories of a log that is right: several partitions, transactions, groups, clients that lose their answers. A seed makes
//! the same history each time.
//!
//! Everything the checker calls an anomaly is impossible here by construction: one thread, one log, effects at one moment
//! between an operation's two lines.

use std::collections::BTreeMap;

use jackdaw_checker::entry::{Ends, Entry, EntryType, Function, Mark, Micro};
use jackdaw_checker::{Limits, Weight};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use crate::script::{judge, text};

const SOURCES: [&str; 2] = ["a", "b"];
const KEYS: [&str; 4] = ["a", "b", "c", "out"];
/// Clients 0 to 3 assign their keys, 4 and 5 are an exactly-once group, 6 commits outside of transactions, 7 looks on.
const ASSIGNED: u32 = 4;
const EXACTLY_ONCE: &str = "copiers";
const AT_LEAST_ONCE: &str = "readers";

#[derive(Default)]
struct Log {
    records: Vec<(Option<i64>, Option<u64>)>,
    open: Vec<(u64, usize)>,
    aborted: Vec<u64>,
}

impl Log {
    fn append(&mut self, value: Option<i64>, txn: Option<u64>) -> i64 {
        self.records.push((value, txn));
        (self.records.len() - 1) as i64
    }

    fn lso(&self) -> usize {
        self.open.iter().map(|(_, first)| *first).min().unwrap_or(self.records.len())
    }

    /// Committed records from a position, and the position behind them.
    fn poll(&self, from: i64, most: usize) -> (Vec<(i64, i64)>, i64) {
        let mut found = Vec::new();
        for at in from as usize..self.lso() {
            if found.len() == most {
                return (found, at as i64);
            }
            if let (Some(value), txn) = self.records[at]
                && txn.is_none_or(|txn| !self.aborted.contains(&txn))
            {
                found.push((at as i64, value));
            }
        }
        (found, (self.lso() as i64).max(from))
    }
}

/// An operation under way.
struct Running {
    function: Function,
    plan: Vec<Step>,
    done: Vec<Micro>,
    kind: EntryType,
    /// Whether it takes effect.
    effective: bool,
    txn: u64,
    group: Option<&'static str>,
    /// Where the consumer stood.
    before: BTreeMap<String, i64>,
    commits: BTreeMap<String, i64>,
}

enum Step {
    Send(&'static str),
    Poll,
    Commit,
    Committed(&'static str),
    Ends,
    /// Commit or abort; plain operations do nothing here.
    Resolve,
}

#[derive(Default)]
struct Client {
    running: Option<Running>,
    positions: BTreeMap<String, i64>,
}

struct World {
    rng: StdRng,
    time: i64,
    entries: Vec<Entry>,
    logs: BTreeMap<&'static str, Log>,
    clients: Vec<Client>,
    committed: BTreeMap<(&'static str, String), i64>,
    /// Source keys that a member of a group works on.
    locks: Vec<(&'static str, String, u32)>,
    next: i64,
}

/// A history of a log that is right.
pub(crate) fn history(seed: u64) -> Vec<Entry> {
    let mut world = World {
        rng: StdRng::seed_from_u64(seed),
        time: 0,
        entries: Vec::new(),
        logs: KEYS.iter().map(|key| (*key, Log::default())).collect(),
        clients: (0..8).map(|_| Client::default()).collect(),
        committed: BTreeMap::new(),
        locks: Vec::new(),
        next: 0,
    };
    for process in [4, 5, 6] {
        for kind in [EntryType::Invoke, EntryType::Ok] {
            let keys = SOURCES.iter().map(|key| (*key).to_owned()).collect();
            world.line(process, kind, Function::Subscribe).keys = Some(keys);
        }
    }
    for _ in 0..700 {
        let process = world.rng.random_range(0..8);
        world.step(process);
    }
    for process in 0..8 {
        while world.clients[process as usize].running.is_some() {
            world.step(process);
        }
    }
    world.final_phase();
    world.entries
}

impl World {
    fn line(&mut self, process: u32, kind: EntryType, function: Function) -> &mut Entry {
        self.time += self.rng.random_range(0..3) * 1_000_000;
        let entry = Entry { time: self.time, ..Entry::default() };
        self.entries.push(Entry { process: Some(process), kind: Some(kind), function: Some(function), ..entry });
        self.entries.last_mut().unwrap()
    }

    fn step(&mut self, process: u32) {
        match self.clients[process as usize].running.take() {
            None => self.begin(process),
            Some(mut running) => match running.plan.pop() {
                Some(step) => {
                    self.take(process, &mut running, step);
                    self.clients[process as usize].running = Some(running);
                }
                None => self.end(process, running),
            },
        }
    }

    fn begin(&mut self, process: u32) {
        let (function, group, mut plan) = match process {
            4 | 5 => {
                let Some(key) = self.lock(process, EXACTLY_ONCE) else { return };
                self.clients[process as usize].positions = BTreeMap::from([key]);
                (Function::Txn, Some(EXACTLY_ONCE), vec![Step::Poll, Step::Send("out"), Step::Poll, Step::Commit])
            }
            6 => {
                let Some(key) = self.lock(process, AT_LEAST_ONCE) else { return };
                self.clients[process as usize].positions = BTreeMap::from([key]);
                (Function::Poll, Some(AT_LEAST_ONCE), vec![Step::Poll, Step::Commit])
            }
            7 if self.rng.random_bool(0.5) => (Function::Observe, None, vec![Step::Ends]),
            7 => {
                let group = [EXACTLY_ONCE, AT_LEAST_ONCE].choose(&mut self.rng).copied();
                let key = SOURCES.choose(&mut self.rng).copied().unwrap();
                (Function::Observe, group, vec![Step::Committed(key)])
            }
            _ if self.rng.random_bool(0.05) => return self.assign(process, false),
            _ => self.client_operation(),
        };
        plan.push(Step::Resolve);
        plan.reverse();
        let kind = match self.rng.random_range(0..10) {
            0 => EntryType::Fail,
            1 => EntryType::Info,
            _ => EntryType::Ok,
        };
        let effective = match kind {
            EntryType::Info => self.rng.random_bool(0.5),
            kind => kind == EntryType::Ok,
        };
        self.next += 1;
        let txn = self.next as u64;
        let before = self.clients[process as usize].positions.clone();
        let (done, commits) = (Vec::new(), BTreeMap::new());
        let running = Running { function, plan, done, kind, effective, txn, group, before, commits };
        let entry = self.line(process, EntryType::Invoke, function);
        entry.group = group.map(str::to_owned);
        self.clients[process as usize].running = Some(running);
    }

    fn client_operation(&mut self) -> (Function, Option<&'static str>, Vec<Step>) {
        let key = |rng: &mut StdRng| KEYS[..3].choose(rng).copied().unwrap();
        match self.rng.random_range(0..3) {
            0 => (Function::Send, None, vec![Step::Send(key(&mut self.rng))]),
            1 => (Function::Poll, None, vec![Step::Poll]),
            _ => {
                let (first, second) = (key(&mut self.rng), key(&mut self.rng));
                let mut plan = vec![Step::Send(first), Step::Send(second), Step::Poll, Step::Poll];
                plan.shuffle(&mut self.rng);
                (Function::Txn, None, plan)
            }
        }
    }

    /// A source key for a member, with the position to begin at.
    fn lock(&mut self, process: u32, group: &'static str) -> Option<(String, i64)> {
        let key = (*SOURCES.choose(&mut self.rng).unwrap()).to_owned();
        if self.locks.iter().any(|(of, locked, _)| *of == group && *locked == key) {
            return None;
        }
        self.locks.push((group, key.clone(), process));
        let position = self.committed.get(&(group, key.clone())).copied().unwrap_or(0);
        Some((key, position))
    }

    fn assign(&mut self, process: u32, all: bool) {
        let mut keys = KEYS.to_vec();
        keys.shuffle(&mut self.rng);
        let count = if all { keys.len() } else { self.rng.random_range(1..keys.len()) };
        let keys: Vec<String> = keys[..count].iter().map(|key| (*key).to_owned()).collect();
        let seek = all || self.rng.random_bool(0.5);
        for kind in [EntryType::Invoke, EntryType::Ok] {
            let entry = self.line(process, kind, Function::Assign);
            entry.keys = Some(keys.clone());
            entry.seek_to_beginning = seek;
        }
        let positions = &mut self.clients[process as usize].positions;
        let now =
            keys.into_iter().map(|key| (key.clone(), positions.get(&key).copied().filter(|_| !seek).unwrap_or(0)));
        *positions = now.collect();
    }

    fn take(&mut self, process: u32, running: &mut Running, step: Step) {
        match step {
            Step::Send(key) => self.send(running, key),
            Step::Poll => {
                let mut polled = BTreeMap::new();
                for (key, position) in &mut self.clients[process as usize].positions {
                    let (records, next) = self.logs[key.as_str()].poll(*position, self.rng.random_range(0..6));
                    *position = next;
                    running.commits.insert(key.clone(), next);
                    if !records.is_empty() {
                        polled.insert(key.clone(), records);
                    }
                }
                running.done.push(Micro::Poll(polled));
            }
            Step::Commit => running.done.push(Micro::Commit(running.commits.clone())),
            Step::Committed(key) => {
                let of = (running.group.unwrap(), key.to_owned());
                let offset = self.committed.get(&of).copied();
                running.done.push(Micro::Committed(BTreeMap::from([(key.to_owned(), offset)])));
            }
            Step::Ends => {
                let ends = |log: &Log| Ends {
                    start: Some(0),
                    lso: log.lso() as i64,
                    high: log.records.len() as i64,
                    epoch: Some(1),
                };
                let all = self.logs.iter().map(|(key, log)| ((*key).to_owned(), ends(log)));
                running.done.push(Micro::Ends(all.collect()));
            }
            Step::Resolve => self.resolve(running),
        }
    }

    fn send(&mut self, running: &mut Running, key: &'static str) {
        self.next += 1;
        let value = self.next;
        let log = self.logs.get_mut(key).unwrap();
        let offset = if running.function == Function::Txn {
            let offset = log.append(Some(value), Some(running.txn));
            if !log.open.iter().any(|(txn, _)| *txn == running.txn) {
                log.open.push((running.txn, offset as usize));
            }
            Some(offset)
        } else {
            running.effective.then(|| log.append(Some(value), None))
        };
        let known = running.kind == EntryType::Ok && self.rng.random_bool(0.95);
        running.done.push(Micro::Send { key: key.to_owned(), offset: offset.filter(|_| known), value });
    }

    fn resolve(&mut self, running: &Running) {
        for log in self.logs.values_mut() {
            let open = log.open.len();
            log.open.retain(|(txn, _)| *txn != running.txn);
            if log.open.len() < open {
                log.append(None, None);
                if !running.effective {
                    log.aborted.push(running.txn);
                }
            }
        }
        if let (true, Some(group), Function::Txn | Function::Poll) =
            (running.effective, running.group, running.function)
        {
            for (key, offset) in &running.commits {
                self.committed.insert((group, key.clone()), *offset);
            }
        }
    }

    fn end(&mut self, process: u32, running: Running) {
        self.locks.retain(|(.., of)| *of != process);
        if running.kind != EntryType::Ok {
            self.clients[process as usize].positions = running.before;
        }
        let entry = self.line(process, running.kind, running.function);
        entry.group = running.group.map(str::to_owned);
        entry.ops = Some(running.done);
    }

    fn final_phase(&mut self) {
        self.entries.push(Entry { time: self.time, mark: Some(Mark::Final), ..Entry::default() });
        for process in 0..ASSIGNED {
            self.assign(process, true);
            for _ in 0..2 {
                self.line(process, EntryType::Invoke, Function::Poll);
                let mut polled = BTreeMap::new();
                for (key, position) in &mut self.clients[process as usize].positions {
                    let most = self.logs[key.as_str()].records.len();
                    let (records, next) = self.logs[key.as_str()].poll(*position, most);
                    *position = next;
                    polled.insert(key.clone(), records);
                }
                self.line(process, EntryType::Ok, Function::Poll).ops = Some(vec![Micro::Poll(polled)]);
            }
        }
    }
}

/// The seeds of a test: one by itself, if it is asked for.
pub(crate) fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|seed| seed.parse::<u64>().ok());
    match number("JACKDAW_CHECKER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("JACKDAW_CHECKER_SEEDS").unwrap_or(count),
    }
}

#[test]
fn histories_of_a_log_that_is_right_are_clean() {
    let mut polled = 0;
    for seed in seeds(60) {
        let entries = history(seed);
        let report = judge(&entries, &Limits::default());
        let wrong = report.findings.iter().filter(|finding| finding.weight == Weight::Error);
        let wrong: Vec<String> = wrong.map(|finding| serde_json::to_string_pretty(finding).unwrap()).collect();
        assert!(wrong.is_empty(), "JACKDAW_CHECKER_SEED={seed}:\n{}", wrong.join("\n"));
        polled += report.summary.polled;
    }
    assert!(polled > 0);
}

#[test]
fn a_seed_makes_the_same_history_and_a_history_the_same_report() {
    let (first, second) = (history(7), history(7));
    assert_eq!(text(&first), text(&second));
    let report = |entries| serde_json::to_string(&judge(entries, &Limits::default())).unwrap();
    assert_eq!(report(&first), report(&second));
}

#[test]
fn what_is_written_reads_back_as_it_was() {
    for entry in history(3) {
        let line = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry, "{line}");
    }
}
