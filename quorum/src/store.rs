//! openraft's log storage on the journal.
//!
//! The journal holds what happened, in order: entries, votes, truncations, purges, and how far was committed. Replayed, it
//! gives the state that is also in memory. A purge rewrites the journal when most of it is dead.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, Cursor};
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    AnyError, Entry, EntryPayload, LogId, LogState, Membership, OptionalSend, RaftLogReader, StorageError,
    StorageIOError, Vote,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::disk::Disk;
use crate::frame::PAYLOAD_MAX;
use crate::identity::DirectoryId;
use crate::journal::{Directory, Done, Journal, JournalError};
use crate::machine::At;

/// What the application proposes: text that only it understands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command(pub String);

/// What the application answers when a command was applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply(pub String);

/// Where a member is reached, and which directory it keeps its vote in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// `host:port` of its controller listener.
    pub address: String,
    /// The id of its directory, where known: a member that comes with another one has forgotten its vote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<DirectoryId>,
}

openraft::declare_raft_types!(
    /// The types of the metadata quorum.
    pub TypeConfig:
        D = Command,
        R = Reply,
        NodeId = u64,
        Node = Peer,
        Entry = Entry<TypeConfig>,
        SnapshotData = Cursor<Vec<u8>>,
);

/// The journal's name.
pub(crate) const JOURNAL: &str = "quorum.journal";
/// Journal bytes below which a rewrite is not worth it.
const REWRITE_MIN: usize = 1 << 20;

/// One thing that happened.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Record {
    Entry(Entry<TypeConfig>),
    Vote(Vote<u64>),
    /// Entries from this index on are gone.
    Truncate(u64),
    /// Entries up to this one are gone.
    Purge(LogId<u64>),
    Committed(Option<LogId<u64>>),
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<u64, Entry<TypeConfig>>,
    /// Bytes of each entry's record.
    sizes: BTreeMap<u64, usize>,
    vote: Option<Vote<u64>>,
    purged: Option<LogId<u64>>,
    committed: Option<LogId<u64>>,
    /// Bytes of all records in the journal, and of those that still matter.
    written: usize,
    live: usize,
}

impl State {
    fn apply(&mut self, record: Record, size: usize) {
        self.written += size;
        match record {
            Record::Entry(entry) => {
                let index = entry.log_id.index;
                self.drop_from(index);
                self.sizes.insert(index, size);
                self.entries.insert(index, entry);
                self.live += size;
            }
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Truncate(from) => self.drop_from(from),
            Record::Purge(upto) => {
                self.entries = self.entries.split_off(&(upto.index + 1));
                let kept = self.sizes.split_off(&(upto.index + 1));
                self.live -= self.sizes.values().sum::<usize>();
                self.sizes = kept;
                self.purged = self.purged.max(Some(upto));
            }
            Record::Committed(committed) => self.committed = committed,
        }
    }

    fn drop_from(&mut self, index: u64) {
        self.entries.split_off(&index);
        self.live -= self.sizes.split_off(&index).values().sum::<usize>();
    }

    /// The shortest journal that gives this state.
    fn records(&self) -> Vec<Record> {
        let mut records: Vec<Record> = self.vote.map(Record::Vote).into_iter().collect();
        records.extend(self.purged.map(Record::Purge));
        records.extend(self.entries.values().cloned().map(Record::Entry));
        records.extend(self.committed.map(|committed| Record::Committed(Some(committed))));
        records
    }
}

struct Shared {
    journal: Journal,
    state: Mutex<State>,
}

/// The log of one member of the quorum. Clones are the same log.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

type Result<T> = std::result::Result<T, StorageError<u64>>;

impl Store {
    /// Opens or creates the log in the directory.
    pub fn open(directory: &Path) -> std::result::Result<Store, JournalError> {
        let disk =
            Directory::open(directory).map_err(|error| JournalError::Io { path: directory.to_owned(), error })?;
        let disk: Arc<dyn Disk> = Arc::new(disk);
        Store::on(&disk)
    }

    /// Opens or creates the log on the disk.
    pub(crate) fn on(disk: &Arc<dyn Disk>) -> std::result::Result<Store, JournalError> {
        let path = Path::new(&disk.name()).join(JOURNAL);
        let (journal, payloads) = Journal::open(disk, JOURNAL)?;
        let mut state = State::default();
        for (number, payload) in payloads.iter().enumerate() {
            let record = serde_json::from_slice(payload).map_err(|error| JournalError::Unknown {
                path: path.clone(),
                number,
                error,
            })?;
            state.apply(record, payload.len());
        }
        Ok(Store { shared: Arc::new(Shared { journal, state: Mutex::new(state) }) })
    }

    /// The last membership in the log, if it holds one.
    pub(crate) fn last_membership(&self) -> Option<Membership<u64, Peer>> {
        let state = self.shared.state.lock();
        state.entries.values().rev().find_map(|entry| match &entry.payload {
            EntryPayload::Membership(membership) => Some(membership.clone()),
            _ => None,
        })
    }

    /// Bytes of the entries that are kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.state.lock().live as u64
    }

    /// Whether nothing was ever written.
    pub(crate) fn is_fresh(&self) -> bool {
        let state = self.shared.state.lock();
        state.vote.is_none() && state.entries.is_empty() && state.purged.is_none()
    }

    /// Commands after `after` up to `upto`, and the last entry they reach to; none if the log no longer goes back that far, or
    /// holds something else there. At least one command is given, however large.
    pub(crate) fn commands(&self, after: At, upto: At, max_bytes: u64) -> Option<(Vec<(At, Command)>, At)> {
        let state = self.shared.state.lock();
        let known = match state.entries.get(&after.index) {
            Some(entry) => entry.log_id.leader_id.term == after.term,
            None => state.purged.map_or(after == At::default(), |id| At::of(&id) == after),
        };
        // Nothing at all is known: from the first entry on, whose index is 0.
        let from = if after == At::default() && state.purged.is_none() { 0 } else { after.index + 1 };
        if !known && from > 0 {
            return None;
        }
        let (mut commands, mut reached, mut bytes) = (Vec::new(), after, 0);
        for (_, entry) in state.entries.range(from..=upto.index.max(from)) {
            let at = At::of(&entry.log_id);
            if at > upto {
                break;
            }
            if let EntryPayload::Normal(command) = &entry.payload {
                bytes += command.0.len() as u64;
                if bytes > max_bytes && !commands.is_empty() {
                    break;
                }
                commands.push((at, command.clone()));
            }
            reached = at;
        }
        Some((commands, reached))
    }

    /// Applies records to memory, and hands them to the journal under the same lock, so that both have one order.
    fn record(&self, records: Vec<Record>, done: Done) -> io::Result<()> {
        let payloads = encode(&records)?;
        let mut state = self.shared.state.lock();
        for (record, payload) in records.into_iter().zip(&payloads) {
            state.apply(record, payload.len());
        }
        self.shared.journal.append(payloads, done);
        Ok(())
    }

    async fn record_durably(&self, record: Record) -> io::Result<()> {
        let (done, synced) = done();
        self.record(vec![record], done)?;
        wait(synced).await
    }

    /// Rewrites the journal, if most of it is dead.
    async fn rewrite(&self) -> io::Result<()> {
        let (done, synced) = done();
        {
            let mut state = self.shared.state.lock();
            if state.written < REWRITE_MIN || state.written / 2 < state.live {
                return Ok(());
            }
            let payloads = encode(&state.records())?;
            state.written = payloads.iter().map(Vec::len).sum();
            self.shared.journal.rewrite(payloads, done);
        }
        wait(synced).await
    }
}

fn encode(records: &[Record]) -> io::Result<Vec<Vec<u8>>> {
    let encode = |record| {
        let payload = serde_json::to_vec(record)?;
        if payload.len() > PAYLOAD_MAX {
            let why = format!("a record of {} bytes is larger than {PAYLOAD_MAX}", payload.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(payload)
    };
    records.iter().map(encode).collect()
}

fn done() -> (Done, oneshot::Receiver<io::Result<()>>) {
    let (sender, receiver) = oneshot::channel();
    // Who no longer waits need not be told.
    let done = move |result| drop(sender.send(result));
    (Box::new(done), receiver)
}

async fn wait(synced: oneshot::Receiver<io::Result<()>>) -> io::Result<()> {
    synced.await.unwrap_or_else(|_| Err(io::Error::other("the journal's thread has ended")))
}

fn logs(error: io::Error) -> StorageError<u64> {
    StorageIOError::write_logs(AnyError::new(&error)).into()
}

impl RaftLogReader<TypeConfig> for Store {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<TypeConfig>>> {
        Ok(self.shared.state.lock().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }
}

impl RaftLogStorage<TypeConfig> for Store {
    type LogReader = Store;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>> {
        let state = self.shared.state.lock();
        let last = state.entries.last_key_value().map(|(_, entry)| entry.log_id);
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: last.or(state.purged) })
    }

    async fn get_log_reader(&mut self) -> Store {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<()> {
        let saved = self.record_durably(Record::Vote(*vote)).await;
        saved.map_err(|error| StorageIOError::write_vote(AnyError::new(&error)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>> {
        Ok(self.shared.state.lock().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId<u64>>) -> Result<()> {
        // It need not be durable: it comes with the next sync, and an older one costs only a replay.
        let records = vec![Record::Committed(committed)];
        let payloads = encode(&records).map_err(logs)?;
        let mut state = self.shared.state.lock();
        for (record, payload) in records.into_iter().zip(&payloads) {
            state.apply(record, payload.len());
        }
        self.shared.journal.note(payloads);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId<u64>>> {
        Ok(self.shared.state.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<()>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records = entries.into_iter().map(Record::Entry).collect();
        self.record(records, Box::new(move |result| callback.log_io_completed(result))).map_err(logs)
    }

    async fn truncate(&mut self, log_id: LogId<u64>) -> Result<()> {
        self.record_durably(Record::Truncate(log_id.index)).await.map_err(logs)
    }

    async fn purge(&mut self, log_id: LogId<u64>) -> Result<()> {
        self.record_durably(Record::Purge(log_id)).await.map_err(logs)?;
        self.rewrite().await.map_err(logs)
    }
}
