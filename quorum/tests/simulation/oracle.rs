//! What all nodes together did, and what may never happen.

use std::collections::BTreeMap;
use std::sync::Arc;

use jackdaw_quorum::{At, Command, Leadership, Machine, Reply};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Everything that any node ever applied.
#[derive(Default)]
pub struct Oracle {
    committed: BTreeMap<u64, (At, String)>,
    leaders: BTreeMap<u64, u64>,
    terms: BTreeMap<u64, u64>,
    marks: BTreeMap<u64, u64>,
    pub acked: Vec<String>,
    pub snapshots_taken_over: u64,
}

pub type Shared = Arc<Mutex<Oracle>>;

impl Oracle {
    /// ConsistentCommittedData: one place of the log holds one command, on whichever node, for ever.
    fn applied(&mut self, at: At, text: &str) {
        let known = self.committed.entry(at.index).or_insert_with(|| (at, text.to_owned()));
        assert_eq!(*known, (at, text.to_owned()), "two commands were committed at {}", at.index);
    }

    /// SingleLeader and MonotonicEpoch.
    pub fn leads(&mut self, node: u64, leadership: Leadership) {
        let term = self.terms.entry(node).or_default();
        assert!(leadership.term >= *term, "node {node} went back from term {term} to {}", leadership.term);
        *term = leadership.term;
        if leadership.ready {
            let leader = *self.leaders.entry(leadership.term).or_insert(node);
            assert_eq!(leader, node, "two nodes led in term {}", leadership.term);
        }
    }

    /// MonotonicHighWatermark, within one life of a node.
    pub fn mark(&mut self, node: u64, applied: At) {
        let mark = self.marks.entry(node).or_default();
        assert!(applied.index >= *mark, "node {node} went back from {mark} to {}", applied.index);
        *mark = applied.index;
    }

    /// What was applied is in memory, so it begins anew; the vote does not, unless the disk is lost.
    pub fn reborn(&mut self, node: u64, wiped: bool) {
        self.marks.remove(&node);
        if wiped {
            self.terms.remove(&node);
        }
    }

    pub fn terms(&self) -> usize {
        self.leaders.len()
    }

    pub fn commands(&self) -> usize {
        self.committed.len()
    }
}

/// What the nodes agree on: words, each of which says how many it thinks there are.
pub struct Ledger {
    oracle: Shared,
    words: Vec<(At, String)>,
}

#[derive(Serialize, Deserialize)]
struct Saved(Vec<(At, String)>);

impl Ledger {
    pub fn new(oracle: &Shared) -> Ledger {
        Ledger { oracle: Arc::clone(oracle), words: Vec::new() }
    }

    pub fn words(&self) -> Vec<String> {
        self.words.iter().map(|(_, word)| word.clone()).collect()
    }

    pub fn len(&self) -> usize {
        self.words.len()
    }
}

/// A command that is carried out only if there are `base` words.
pub fn command(base: usize, word: &str) -> Command {
    Command(format!("{base} {word}"))
}

impl Machine for Ledger {
    fn apply(&mut self, at: At, command: Command) -> Reply {
        self.oracle.lock().applied(at, &command.0);
        let (base, word) = command.0.split_once(' ').unwrap();
        if base.parse() != Ok(self.words.len()) {
            return Reply("stale".to_owned());
        }
        assert!(self.words.last().is_none_or(|(last, _)| *last < at), "{at:?} was applied out of order");
        self.words.push((at, word.to_owned()));
        Reply(base.to_owned())
    }

    fn snapshot(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send> {
        let words = Saved(self.words.clone());
        Box::new(move || serde_json::to_vec(&words).unwrap())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let Saved(words) = serde_json::from_slice(snapshot).map_err(|error| error.to_string())?;
        let mut oracle = self.oracle.lock();
        oracle.snapshots_taken_over += 1;
        for (at, word) in &words {
            let known = oracle.committed.get(&at.index).expect("a snapshot holds what some node applied");
            assert!(known.0 == *at && known.1.ends_with(word), "a snapshot says {word} where {known:?} was committed");
        }
        self.words = words;
        Ok(())
    }
}
