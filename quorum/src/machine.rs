//! openraft's state machine: applies committed commands to the application's, and keeps its last snapshot on the disk.
//!
//! The state itself is in memory. At start it is restored from the snapshot, and openraft applies again what was committed
//! since.

use std::io::{self, Cursor};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, Entry, EntryPayload, LogId, Membership, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta,
    StorageError, StorageIOError, StoredMembership,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::disk::Disk;
use crate::frame;
use crate::journal::Directory;
use crate::store::{Command, Peer, Reply, TypeConfig};

/// Where a command stands in the log of the quorum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct At {
    /// The term of the leader that proposed it.
    pub term: u64,
    /// Its place; no other command has it. Not every place holds a command.
    pub index: u64,
}

impl At {
    pub(crate) fn of(id: &LogId<u64>) -> At {
        At { term: id.leader_id.term, index: id.index }
    }
}

/// What the application makes of commands. Every member must come to the same state from the same commands.
pub trait Machine: Send + 'static {
    /// Applies a committed command. It cannot fail: a command that may not be carried out is answered so.
    fn apply(&mut self, at: At, command: Command) -> Reply;
    /// Something that gives the state of now as bytes. It is called elsewhere, while commands are applied, so it should hold
    /// a cheap copy of the state and do the work when it is called.
    fn snapshot(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send>;
    /// Takes over a state; the error says what is wrong with the bytes.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String>;
}

/// The snapshot's file.
pub(crate) const SNAPSHOT: &str = "quorum.snapshot";
/// What a snapshot's file ends with.
const END: &[u8] = b"end";

pub(crate) type Meta = SnapshotMeta<u64, Peer>;
type Stored<T> = Result<T, StorageError<u64>>;

/// A snapshot, read from the disk: in memory it would be the state once more.
pub(crate) struct Loaded {
    pub(crate) meta: Meta,
    pub(crate) data: Bytes,
}

struct State<M> {
    machine: M,
    applied: Option<LogId<u64>>,
    membership: StoredMembership<u64, Peer>,
    /// The one on the disk.
    snapshot: Option<Meta>,
    /// Makes the names of snapshots differ that hold the same entries.
    snapshots: u64,
}

/// The state machine of one member. Clones are the same machine.
pub struct StateMachine<M> {
    state: Arc<Mutex<State<M>>>,
    disk: Arc<dyn Disk>,
    /// Held while a snapshot goes to the disk: one is built beside an installation.
    saving: Arc<tokio::sync::Mutex<()>>,
    applied: watch::Sender<At>,
}

impl<M> Clone for StateMachine<M> {
    fn clone(&self) -> Self {
        let (state, disk, saving) = (Arc::clone(&self.state), Arc::clone(&self.disk), Arc::clone(&self.saving));
        StateMachine { state, disk, saving, applied: self.applied.clone() }
    }
}

/// What stands before the state in a snapshot file: a frame of this, then a frame of the state.
#[derive(Serialize, Deserialize)]
struct Head {
    meta: Meta,
}

impl<M: Machine> StateMachine<M> {
    /// Opens the machine with the snapshot in the directory, if there is one.
    pub fn open(directory: &Path, machine: M) -> io::Result<StateMachine<M>> {
        StateMachine::on(Arc::new(Directory::open(directory)?), machine)
    }

    /// Opens the machine with the snapshot on the disk, if there is one.
    pub(crate) fn on(disk: Arc<dyn Disk>, machine: M) -> io::Result<StateMachine<M>> {
        let membership = StoredMembership::default();
        let mut state = State { machine, applied: None, membership, snapshot: None, snapshots: 0 };
        if let Some(bytes) = disk.load(SNAPSHOT)? {
            let wrong = |why| io::Error::other(format!("{SNAPSHOT}: {why}"));
            let (meta, data) = decode(&bytes).map_err(wrong)?;
            state.take(meta, data).map_err(wrong)?;
        }
        let applied = watch::Sender::new(state.applied.as_ref().map(At::of).unwrap_or_default());
        Ok(StateMachine { state: Arc::new(Mutex::new(state)), disk, saving: Arc::default(), applied })
    }

    /// Who belongs to the quorum, as far as was applied.
    pub(crate) fn membership(&self) -> Membership<u64, Peer> {
        self.state.lock().membership.membership().clone()
    }

    /// Reads the last snapshot.
    pub(crate) async fn load(&self) -> io::Result<Option<Loaded>> {
        let (saving, disk) = (Arc::clone(&self.saving), Arc::clone(&self.disk));
        let _saving = saving.lock().await;
        if self.state.lock().snapshot.is_none() {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let bytes = disk.load(SNAPSHOT)?.ok_or(io::ErrorKind::NotFound)?;
            let (meta, data) = decode(&bytes).map_err(|why| io::Error::other(format!("{SNAPSHOT}: {why}")))?;
            Ok(Some(Loaded { meta, data: data.into() }))
        });
        read.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// The last entry that was applied.
    pub fn applied(&self) -> watch::Receiver<At> {
        self.applied.subscribe()
    }

    fn tell(&self) {
        let applied = self.state.lock().applied.as_ref().map(At::of).unwrap_or_default();
        self.applied.send_if_modified(|known| std::mem::replace(known, applied) != applied);
    }

    /// Looks at the application's machine.
    pub fn read<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        look(&self.state.lock().machine)
    }

    async fn save(&self, meta: &Meta, data: &[u8]) -> Stored<()> {
        let disk = Arc::clone(&self.disk);
        let saved = match encode(meta, data) {
            Ok(bytes) => {
                let written = tokio::task::spawn_blocking(move || disk.replace(SNAPSHOT, &bytes)).await;
                written.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
            Err(error) => Err(error),
        };
        saved.map_err(|error| StorageIOError::write_snapshot(Some(meta.signature()), AnyError::new(&error)).into())
    }
}

impl<M: Machine> State<M> {
    fn take(&mut self, meta: Meta, data: Vec<u8>) -> Result<(), String> {
        self.machine.restore(&data)?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.snapshot = Some(meta);
        Ok(())
    }
}

fn encode(meta: &Meta, data: &[u8]) -> io::Result<Vec<u8>> {
    let head = serde_json::to_vec(&Head { meta: meta.clone() })?;
    let mut bytes = Vec::with_capacity(head.len() + data.len() + 64);
    frame::encode(1, &head, &mut bytes);
    data.chunks(frame::PAYLOAD_MAX).for_each(|piece| frame::encode(1, piece, &mut bytes));
    // So that a file cut between two pieces is not taken for a whole one.
    frame::encode(1, END, &mut bytes);
    Ok(bytes)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<(Meta, Vec<u8>), String> {
    let scan = frame::scan(bytes).map_err(|damage| format!("damaged at byte {}", damage.at))?;
    match &scan.frames[..] {
        [head, pieces @ .., end] if scan.sound == bytes.len() && end.payload == END => {
            let head: Head = serde_json::from_slice(head.payload).map_err(|error| error.to_string())?;
            let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.payload).collect();
            Ok((head.meta, pieces.concat()))
        }
        _ => Err(format!("damaged at byte {}", scan.sound)),
    }
}

impl<M: Machine> RaftSnapshotBuilder<TypeConfig> for StateMachine<M> {
    async fn build_snapshot(&mut self) -> Stored<Snapshot<TypeConfig>> {
        let (meta, data) = {
            let mut state = self.state.lock();
            state.snapshots += 1;
            let last = state.applied.map_or("none".to_owned(), |id| format!("{}-{}", id.leader_id, id.index));
            let snapshot_id = format!("{last}-{}", state.snapshots);
            let meta = Meta { last_log_id: state.applied, last_membership: state.membership.clone(), snapshot_id };
            (meta, state.machine.snapshot())
        };
        let data = tokio::task::spawn_blocking(data).await;
        let data = data.map_err(|error| StorageIOError::read_state_machine(AnyError::new(&error)))?;
        let saving = Arc::clone(&self.saving);
        let _saving = saving.lock().await;
        let known = self.state.lock().snapshot.as_ref().and_then(|known| known.last_log_id);
        // One may have been installed meanwhile, and must not give way to an older one.
        if known <= meta.last_log_id {
            self.save(&meta, &data).await?;
            self.state.lock().snapshot = Some(meta.clone());
        }
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(data)) })
    }
}

impl<M: Machine> RaftStateMachine<TypeConfig> for StateMachine<M> {
    type SnapshotBuilder = StateMachine<M>;

    async fn applied_state(&mut self) -> Stored<(Option<LogId<u64>>, StoredMembership<u64, Peer>)> {
        let state = self.state.lock();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Stored<Vec<Reply>>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut state = self.state.lock();
        let mut replies = Vec::new();
        for entry in entries {
            state.applied = Some(entry.log_id);
            replies.push(match entry.payload {
                EntryPayload::Blank => Reply::default(),
                EntryPayload::Normal(command) => state.machine.apply(At::of(&entry.log_id), command),
                EntryPayload::Membership(membership) => {
                    state.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Reply::default()
                }
            });
        }
        drop(state);
        self.tell();
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> StateMachine<M> {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Stored<Box<Cursor<Vec<u8>>>> {
        Ok(Box::new(Cursor::new(Vec::new())))
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: Box<Cursor<Vec<u8>>>) -> Stored<()> {
        let data = snapshot.into_inner();
        let saving = Arc::clone(&self.saving);
        let _saving = saving.lock().await;
        self.save(meta, &data).await?;
        let taken = self.state.lock().take(meta.clone(), data);
        taken.map_err(|why| StorageIOError::read_snapshot(Some(meta.signature()), AnyError::error(why)))?;
        self.tell();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Stored<Option<Snapshot<TypeConfig>>> {
        let loaded = self.load().await;
        let loaded = loaded.map_err(|error| StorageIOError::read_snapshot(None, AnyError::new(&error)))?;
        Ok(loaded.map(|Loaded { meta, data }| Snapshot { meta, snapshot: Box::new(Cursor::new(data.into())) }))
    }
}
