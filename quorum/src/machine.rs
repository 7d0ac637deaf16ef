//! openraft's state machine: applies committed commands to the application's, and keeps its last snapshot on the disk.
//!
//! The state itself is in memory. At start it is restored from the snapshot, and openraft applies again what was committed
//! since.

use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, Entry, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageError,
    StorageIOError, StoredMembership,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::frame;
use crate::journal;
use crate::store::{Command, Peer, Reply, TypeConfig};

/// Where a command stands in the log of the quorum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct At {
    /// The term of the leader that proposed it.
    pub term: u64,
    /// Its place; no other command has it. Not every place holds a command.
    pub index: u64,
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

type Meta = SnapshotMeta<u64, Peer>;
type Stored<T> = Result<T, StorageError<u64>>;

struct State<M> {
    machine: M,
    applied: Option<LogId<u64>>,
    membership: StoredMembership<u64, Peer>,
    snapshot: Option<(Meta, Vec<u8>)>,
    /// Makes the names of snapshots differ that hold the same entries.
    snapshots: u64,
}

/// The state machine of one member. Clones are the same machine.
pub struct StateMachine<M> {
    state: Arc<Mutex<State<M>>>,
    path: Arc<PathBuf>,
    /// Held while a snapshot goes to the disk: one is built beside an installation.
    saving: Arc<tokio::sync::Mutex<()>>,
    applied: watch::Sender<At>,
}

impl<M> Clone for StateMachine<M> {
    fn clone(&self) -> Self {
        let (state, path, saving) = (Arc::clone(&self.state), Arc::clone(&self.path), Arc::clone(&self.saving));
        StateMachine { state, path, saving, applied: self.applied.clone() }
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
        let path = directory.join("quorum.snapshot");
        let membership = StoredMembership::default();
        let mut state = State { machine, applied: None, membership, snapshot: None, snapshots: 0 };
        if let Some(bytes) = journal::load(&path)? {
            let (meta, data) = decode(&bytes).map_err(|why| io::Error::other(format!("{}: {why}", path.display())))?;
            state.take(meta, data).map_err(|why| io::Error::other(format!("{}: {why}", path.display())))?;
        }
        let applied = watch::Sender::new(state.applied.as_ref().map(at).unwrap_or_default());
        Ok(StateMachine { state: Arc::new(Mutex::new(state)), path: Arc::new(path), saving: Arc::default(), applied })
    }

    /// The last entry that was applied.
    pub fn applied(&self) -> watch::Receiver<At> {
        self.applied.subscribe()
    }

    fn tell(&self) {
        let applied = self.state.lock().applied.as_ref().map(at).unwrap_or_default();
        self.applied.send_if_modified(|known| std::mem::replace(known, applied) != applied);
    }

    /// Looks at the application's machine.
    pub fn read<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        look(&self.state.lock().machine)
    }

    async fn save(&self, meta: &Meta, data: &[u8]) -> Stored<()> {
        let path = Arc::clone(&self.path);
        let saved = match encode(meta, data) {
            Ok(bytes) => {
                let written = tokio::task::spawn_blocking(move || journal::replace(&path, &bytes)).await;
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
        self.snapshot = Some((meta, data));
        Ok(())
    }
}

fn at(id: &LogId<u64>) -> At {
    At { term: id.leader_id.term, index: id.index }
}

fn encode(meta: &Meta, data: &[u8]) -> io::Result<Vec<u8>> {
    let head = serde_json::to_vec(&Head { meta: meta.clone() })?;
    if data.len() > frame::PAYLOAD_MAX {
        return Err(io::Error::other(format!(
            "a snapshot of {} bytes is larger than {}",
            data.len(),
            frame::PAYLOAD_MAX
        )));
    }
    let mut bytes = Vec::with_capacity(head.len() + data.len() + 64);
    frame::encode(1, &head, &mut bytes);
    frame::encode(1, data, &mut bytes);
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<(Meta, Vec<u8>), String> {
    let scan = frame::scan(bytes).map_err(|damage| format!("damaged at byte {}", damage.at))?;
    match scan.frames[..] {
        [head, data] if scan.sound == bytes.len() => {
            let head: Head = serde_json::from_slice(head.payload).map_err(|error| error.to_string())?;
            Ok((head.meta, data.payload.to_vec()))
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
        let newer = self.state.lock().snapshot.clone().filter(|(newer, _)| newer.last_log_id > meta.last_log_id);
        if let Some((meta, data)) = newer {
            // One was installed meanwhile; it must not give way to an older one.
            return Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(data)) });
        }
        self.save(&meta, &data).await?;
        self.state.lock().snapshot = Some((meta.clone(), data.clone()));
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
                EntryPayload::Normal(command) => state.machine.apply(at(&entry.log_id), command),
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
        let state = self.state.lock();
        let snapshot = state.snapshot.clone();
        Ok(snapshot.map(|(meta, data)| Snapshot { meta, snapshot: Box::new(Cursor::new(data)) }))
    }
}
