//! Partitions on their way to another log directory (AlterReplicaLogDirs, KIP-113).
//!
//! One thread for each directory that something moves into: a slow disk holds up the moves into it and no others. It
//! copies a little of each of its moves in turn, no faster than `replica.alter.log.dirs.io.max.bytes.per.second`, and lets a
//! copy that has caught up take over. Moves that a stop or a crash interrupts begin anew at the next start.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jackdaw_storage::{FutureLog, Log, StorageError};
use parking_lot::{Condvar, Mutex};

use super::{FindError, Topics};
use crate::limits;
use crate::partition::{Flusher, Partition};

/// Why a partition is not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error("there is no such partition")]
    UnknownPartition,
    #[error("the partition is offline")]
    Offline,
    #[error("{} is none of this broker's log directories", .0.display())]
    UnknownDir(PathBuf),
    #[error("log directory {} is offline", .0.display())]
    DirOffline(PathBuf),
    #[error("log directory {} is cordoned", .0.display())]
    Cordoned(PathBuf),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A partition that is being moved, as DescribeLogDirs shows it.
#[derive(Clone, Debug)]
pub struct FutureReplica {
    pub topic: Arc<str>,
    pub partition: i32,
    pub size_bytes: u64,
    /// Offsets that the copy lacks.
    pub lag: i64,
}

/// All moves of this broker.
#[derive(Default)]
pub(super) struct Moves {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    moves: Vec<Arc<Move>>,
    /// What moved logs left behind: readable until nobody can be reading it any more.
    left: Vec<Left>,
    /// Directories with a thread, by index.
    busy: Vec<usize>,
    threads: Vec<JoinHandle<()>>,
    /// Where partitions that do not exist yet shall be made, by index of the directory.
    wishes: HashMap<(String, i32), usize>,
    stopping: bool,
}

struct Move {
    partition: Arc<Partition>,
    dir: usize,
    /// None once it ended.
    future: Mutex<Option<Arc<FutureLog>>>,
}

struct Left {
    dir: usize,
    flusher: Arc<Flusher>,
    log: Arc<Log>,
    since: Duration,
}

impl Moves {
    /// Takes the directory that somebody wished this partition into.
    pub(super) fn take_wish(&self, topic: &str, partition: i32) -> Option<usize> {
        let mut state = self.state.lock();
        if state.wishes.is_empty() {
            return None;
        }
        state.wishes.remove(&(topic.to_owned(), partition))
    }

    fn wish(&self, topic: &str, partition: i32, dir: usize) {
        let mut state = self.state.lock();
        let key = (topic.to_owned(), partition);
        if state.wishes.len() < limits::REMEMBERED_LOG_DIRS || state.wishes.contains_key(&key) {
            state.wishes.insert(key, dir);
        }
    }
}

impl Move {
    fn is_of(&self, partition: &Arc<Partition>) -> bool {
        Arc::ptr_eq(&self.partition, partition)
    }

    fn cancel(&self) {
        let Some(future) = self.future.lock().take() else { return };
        let (topic, partition) = (self.partition.topic(), self.partition.index());
        match future.cancel() {
            Ok(()) => tracing::info!(%topic, partition, "move to another log directory given up"),
            Err(error) => {
                tracing::warn!(%topic, partition, %error, "the copy of a move that was given up stays until the next start");
            }
        }
    }
}

impl Topics {
    /// Begins to move a partition to the log directory of that path; one that is there already stays, and a move of it
    /// elsewhere ends. Waits for the disk, but not for the move.
    ///
    /// # Errors
    /// It does not begin. For a partition that does not exist the directory is remembered.
    pub fn move_partition(self: &Arc<Self>, topic: &str, index: i32, path: &str) -> Result<(), MoveError> {
        let dir = self.dir_of_path(path)?;
        if self.is_cordoned(dir) {
            return Err(MoveError::Cordoned(path.into()));
        }
        // No topic is deleted meanwhile, no other move begins, and none takes over.
        let _hosting = self.hosting.lock();
        let partition = match self.find(topic, index) {
            Ok(partition) => partition,
            Err(FindError::Offline) => return Err(MoveError::Offline),
            Err(FindError::UnknownTopic | FindError::UnknownPartition | FindError::Elsewhere) => {
                self.moves.wish(topic, index, dir);
                return Err(MoveError::UnknownPartition);
            }
        };
        let is_there = Arc::ptr_eq(&partition.flusher(), &self.dirs[dir]);
        let running = self.moves.state.lock().moves.iter().find(|running| running.is_of(&partition)).cloned();
        if let Some(running) = running {
            if running.dir == dir {
                return Ok(()); // it is on its way there
            }
            self.end_move(&running);
        }
        if is_there {
            return Ok(());
        }
        self.remove_left(|left| {
            Arc::ptr_eq(&left.flusher, &self.dirs[dir]) && (left.log.topic(), left.log.partition()) == (topic, index)
        });
        let future = self.dirs[dir].dir().begin_move(&partition.log())?;
        tracing::info!(topic, partition = index, to = path, "move to another log directory begins");
        let running = Arc::new(Move { partition, dir, future: Mutex::new(Some(Arc::new(future))) });
        self.moves.state.lock().moves.push(running);
        self.start_mover(dir);
        Ok(())
    }

    /// Goes on with the moves that were interrupted when the broker stopped.
    pub fn resume_moves(self: &Arc<Self>) {
        for flusher in &self.dirs {
            for (topic, partition) in flusher.dir().interrupted_moves() {
                let path = absolute(flusher.dir().path());
                if let Err(error) = self.move_partition(topic, *partition, &path.to_string_lossy()) {
                    tracing::warn!(topic, partition, to = %path.display(), %error, "an interrupted move does not begin anew");
                }
            }
        }
    }

    /// What moves into the `dir`-th log directory.
    pub fn futures_in(&self, dir: usize) -> Vec<FutureReplica> {
        let moves = self.moves.state.lock().moves.clone();
        let describe = |running: &Arc<Move>| {
            let future = running.future.lock().clone()?;
            let (topic, partition) = (running.partition.topic().clone(), running.partition.index());
            Some(FutureReplica { topic, partition, size_bytes: future.size_bytes(), lag: future.lag() })
        };
        moves.iter().filter(|running| running.dir == dir).filter_map(describe).collect()
    }

    /// Ends all threads. Moves are left as they are.
    pub fn stop_moves(&self) {
        let threads = {
            let mut state = self.moves.state.lock();
            state.stopping = true;
            std::mem::take(&mut state.threads)
        };
        self.moves.wake.notify_all();
        for thread in threads {
            // Had it panicked, the panic hook has told.
            let _ = thread.join();
        }
        self.remove_left(|_| true);
    }

    /// The directory with that path, which must be written as DescribeLogDirs shows it, as in Kafka.
    fn dir_of_path(&self, path: &str) -> Result<usize, MoveError> {
        let is_it = |dir: &Path| absolute(dir).as_os_str() == path;
        if self.failed_dirs.iter().any(|failed| is_it(&failed.path)) {
            return Err(MoveError::DirOffline(path.into()));
        }
        let dir = self.dirs.iter().position(|flusher| is_it(flusher.dir().path()));
        let dir = dir.ok_or_else(|| MoveError::UnknownDir(path.into()))?;
        if self.dirs[dir].dir().is_online() { Ok(dir) } else { Err(MoveError::DirOffline(path.into())) }
    }

    /// Gives a move up, if it has not ended.
    fn end_move(&self, ended: &Arc<Move>) {
        self.moves.state.lock().moves.retain(|running| !Arc::ptr_eq(running, ended));
        ended.cancel();
    }

    fn start_mover(self: &Arc<Self>, dir: usize) {
        let mut state = self.moves.state.lock();
        self.moves.wake.notify_all();
        if state.stopping || state.busy.contains(&dir) {
            return;
        }
        let topics = self.clone();
        match std::thread::Builder::new().name("mover".into()).spawn(move || topics.run_mover(dir)) {
            Ok(thread) => {
                state.busy.push(dir);
                state.threads.retain(|thread| !thread.is_finished());
                state.threads.push(thread);
            }
            Err(error) => {
                tracing::error!(%error, "no thread for moves between log directories; they begin with the next")
            }
        }
    }

    fn run_mover(self: Arc<Self>, dir: usize) {
        while let Some(moves) = self.next_moves(dir) {
            let mut copied = 0;
            for running in moves {
                copied += self.step(&running);
            }
            self.remove_left(|left| {
                left.dir == dir && self.clock.monotonic() - left.since >= limits::MOVED_LOG_READABLE
            });
            self.throttle(copied);
        }
    }

    /// The moves into a directory; waits while there is only something to be removed later. `None` if the thread must
    /// end.
    fn next_moves(&self, dir: usize) -> Option<Vec<Arc<Move>>> {
        let mut state = self.moves.state.lock();
        loop {
            let moves: Vec<_> = state.moves.iter().filter(|running| running.dir == dir).cloned().collect();
            let has_left = state.left.iter().any(|left| left.dir == dir);
            if state.stopping || (moves.is_empty() && !has_left) {
                state.busy.retain(|&busy| busy != dir);
                return None;
            }
            if !moves.is_empty() {
                return Some(moves);
            }
            if self.moves.wake.wait_for(&mut state, limits::MOVED_LOG_READABLE).timed_out() {
                return Some(Vec::new());
            }
        }
    }

    /// Copies some of a partition, or ends its move. Returns how many bytes were copied.
    fn step(&self, running: &Arc<Move>) -> usize {
        // Not under the lock: the disk may be slow, and others ask how far it is.
        let Some(future) = running.future.lock().clone() else { return 0 };
        let chunk = self.move_rate().min(limits::MOVE_CHUNK_BYTES);
        let copied = match future.copy(chunk) {
            Ok(copied) if copied > 0 && !future.is_close(chunk as u64) => return copied,
            Ok(copied) => copied,
            Err(error) => {
                self.fail(running, &error);
                return 0;
            }
        };
        // In this order everywhere: commands take turns first.
        let _hosting = self.hosting.lock();
        if running.partition.log().is_deleted() {
            self.end_move(running);
            return copied;
        }
        if running.future.lock().is_none() {
            return copied; // given up meanwhile
        }
        match self.take_over(running, &future) {
            Ok(()) => {
                running.future.lock().take();
                self.end_move(running);
            }
            Err(error) => self.fail(running, &error),
        }
        copied
    }

    fn take_over(&self, running: &Move, future: &FutureLog) -> Result<(), StorageError> {
        let (partition, to) = (&running.partition, &self.dirs[running.dir]);
        let (from, old) = (partition.flusher(), partition.log().clone());
        future.take_over(|log| partition.move_to(log.clone(), to.clone()))?;
        partition.resume_syncs();
        let left = Left { dir: running.dir, flusher: from.clone(), log: old, since: self.clock.monotonic() };
        self.moves.state.lock().left.push(left);
        tracing::info!(
            topic = %partition.topic(), partition = partition.index(), from = %from.dir().path().display(),
            to = %to.dir().path().display(), "moved to another log directory"
        );
        // The old directory's checkpoint may say more of the log than the new one holds of the next that is moved there.
        if let Err(error) = to.dir().checkpoint() {
            tracing::warn!(dir = %to.dir().path().display(), %error, "checkpoint not written");
        }
        Ok(())
    }

    fn fail(&self, running: &Arc<Move>, error: &StorageError) {
        if !matches!(error, StorageError::Deleted { .. }) {
            let (topic, partition) = (running.partition.topic(), running.partition.index());
            let to = self.dirs[running.dir].dir().path().display();
            tracing::error!(%topic, partition, %to, %error, "move to another log directory failed; the partition stays");
        }
        self.end_move(running);
    }

    /// Deletes what moved logs have left, where `due` says so.
    fn remove_left(&self, due: impl Fn(&Left) -> bool) {
        let due: Vec<Left> = {
            let mut state = self.moves.state.lock();
            let (due, keep) = std::mem::take(&mut state.left).into_iter().partition(|left| due(left));
            state.left = keep;
            due
        };
        for left in due {
            let dir = left.flusher.dir();
            let removed = dir.detach(std::slice::from_ref(&left.log)).and_then(|_| dir.checkpoint());
            if let Err(error) = removed {
                let (topic, partition) = (left.log.topic(), left.log.partition());
                let dir = dir.path().display();
                tracing::warn!(topic, partition, %dir, %error, "what a moved partition left behind stays until the next start");
            }
        }
    }

    /// `replica.alter.log.dirs.io.max.bytes.per.second`
    fn move_rate(&self) -> usize {
        self.config.load().replica_alter_log_dirs_io_max_bytes_per_second.max(1)
    }

    /// Waits as long as the bytes just copied are to take.
    fn throttle(&self, copied: usize) {
        let until = self.clock.monotonic() + Duration::from_secs_f64(copied as f64 / self.move_rate() as f64);
        let mut state = self.moves.state.lock();
        while let Some(wait) = until.checked_sub(self.clock.monotonic()).filter(|wait| *wait > limits::MOVE_PAUSE_MIN)
            && !state.stopping
        {
            self.moves.wake.wait_for(&mut state, wait);
        }
    }
}

/// As DescribeLogDirs shows it.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
