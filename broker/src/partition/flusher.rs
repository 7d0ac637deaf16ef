//! Group commit: the one place where async meets the disk's sync.
//!
//! A few threads per log directory, each syncing one log at a time; a log is synced by one of them only. The next sync of
//! a log starts as soon as the last one ended and covers everything that was appended meanwhile; there is no timer. Where
//! many wait, one sync of the file system serves them all, and no other runs beside it: that would write the same inodes,
//! and flush the disk, for a few logs that the next sync of all takes along.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use jackdaw_storage::{Log, LogDir, StorageError};
use parking_lot::{Condvar, Mutex};

use super::home::Home;
use super::{NotDurable, Partition};
use crate::clock::Clock;
use crate::limits;

/// Where a partition stands with its directory's sync threads.
#[derive(Default)]
pub(super) struct SyncState {
    /// Somebody waits for a sync that has not begun.
    asked: AtomicBool,
    /// A thread is at work on it. Changed under the lock of the queue.
    running: AtomicBool,
}

/// A partition to sync, and its log as it was asked for.
type Wanted = (Arc<Partition>, Arc<Home>);

#[derive(Default)]
struct Asked {
    queue: VecDeque<Wanted>,
    threads: Vec<JoinHandle<()>>,
    idle: usize,
    /// One sync of the whole file system is going on: who asks meanwhile waits for the next sync.
    all_at_once: bool,
    stopping: bool,
}

/// The sync threads of one log directory, and what is known of the directory's pace.
pub struct Flusher {
    dir: Arc<LogDir>,
    clock: Arc<Clock>,
    /// How many of the next appends are expected to block.
    slow_appends: AtomicU32,
    asked: Mutex<Asked>,
    wake: Condvar,
}

impl Flusher {
    /// Starts the first thread; others are started when syncs have to wait for one.
    pub fn start(dir: Arc<LogDir>, clock: Arc<Clock>) -> std::io::Result<Arc<Flusher>> {
        let flusher = Arc::new(Flusher {
            dir,
            clock,
            slow_appends: AtomicU32::new(0),
            asked: Mutex::default(),
            wake: Condvar::new(),
        });
        let first = flusher.start_thread()?;
        flusher.asked.lock().threads.push(first);
        Ok(flusher)
    }

    fn start_thread(self: &Arc<Self>) -> std::io::Result<JoinHandle<()>> {
        let flusher = self.clone();
        std::thread::Builder::new().name("flusher".into()).spawn(move || flusher.run())
    }

    /// The directory that these threads sync.
    pub fn dir(&self) -> &Arc<LogDir> {
        &self.dir
    }

    /// Runs an append. Into the page cache it takes microseconds, and runs right here; a directory that made one wait
    /// (dirty-page throttling, a slow disk) gets the next ones where they hold up no other connection of this worker
    /// thread. Handing the worker's other tasks to another thread costs more than the append itself, and an append
    /// also takes long when the thread was merely preempted: so this lasts for some appends only, not for a time.
    pub(super) fn append(&self, append: impl FnOnce()) {
        let started = self.clock.monotonic();
        // Several workers may count down at once: then it ends a few appends sooner or later, which is no matter.
        let slow_left = self.slow_appends.load(Ordering::Relaxed);
        if slow_left > 0 {
            self.slow_appends.store(slow_left - 1, Ordering::Relaxed);
            tokio::task::block_in_place(append);
        } else {
            append();
        }
        if self.clock.monotonic() - started > limits::SLOW_APPEND {
            self.slow_appends.store(limits::SLOW_DIRECTORY_APPENDS, Ordering::Relaxed);
        }
    }

    /// Asks for a sync of this partition's log, which is in this directory; its waits end when it is done.
    pub(super) fn ask(self: &Arc<Self>, partition: &Arc<Partition>, home: &Arc<Home>) {
        if home.sync.asked.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut asked = self.asked.lock();
        if asked.stopping {
            drop(asked);
            partition.synced(Err(NotDurable::Stopping));
            return;
        }
        if home.sync.running.load(Ordering::Relaxed) {
            return; // the thread at work on it sees the flag when it is done
        }
        asked.queue.push_back((partition.clone(), home.clone()));
        // A thread that was woken counts as idle until it runs.
        if asked.all_at_once {
            // At its end all are woken.
        } else if asked.queue.len() <= asked.idle {
            self.wake.notify_one();
        } else if asked.threads.len() < limits::SYNC_THREADS {
            match self.start_thread() {
                Ok(thread) => asked.threads.push(thread),
                Err(error) => tracing::warn!(%error, "no further sync thread; those that run do its work"),
            }
        }
    }

    /// Ends the threads after the syncs asked for so far, and waits for that.
    pub fn stop(&self) {
        let threads = {
            let mut asked = self.asked.lock();
            asked.stopping = true;
            std::mem::take(&mut asked.threads)
        };
        self.wake.notify_all();
        for thread in threads {
            // Had it panicked, the panic hook has told.
            let _ = thread.join();
        }
    }

    fn run(&self) {
        while let Some(wanted) = self.next() {
            for (_, home) in &wanted {
                // Before the sync: whoever appends from here on must ask again.
                home.sync.asked.store(false, Ordering::Release);
            }
            let all = (wanted.len() > 1).then(|| AllAtOnce(self));
            if let [one] = &wanted[..] {
                synced(one, one.1.log.flush());
            } else {
                let logs: Vec<Arc<Log>> = wanted.iter().map(|(_, home)| home.log.clone()).collect();
                for (at, result) in self.dir.flush_many(&logs) {
                    synced(&wanted[at], result);
                }
            }
            let mut asked = self.asked.lock();
            for (partition, home) in wanted {
                home.sync.running.store(false, Ordering::Relaxed);
                if home.sync.asked.load(Ordering::Acquire) {
                    asked.queue.push_back((partition, home));
                }
            }
            drop(asked);
            drop(all);
        }
    }

    /// What to sync next: one partition, or all that wait if they are many. `None` when the thread must end.
    fn next(&self) -> Option<Vec<Wanted>> {
        let mut asked = self.asked.lock();
        while asked.queue.is_empty() || asked.all_at_once {
            if asked.stopping && asked.queue.is_empty() {
                return None;
            }
            asked.idle += 1;
            self.wake.wait(&mut asked);
            asked.idle -= 1;
        }
        let count = if asked.queue.len() >= limits::SYNC_TOGETHER { asked.queue.len() } else { 1 };
        asked.all_at_once = count > 1;
        let wanted: Vec<_> = asked.queue.drain(..count).collect();
        for (_, home) in &wanted {
            home.sync.running.store(true, Ordering::Relaxed);
        }
        Some(wanted)
    }
}

/// Ends the time in which no other sync may begin, also after a panic.
struct AllAtOnce<'a>(&'a Flusher);

impl Drop for AllAtOnce<'_> {
    fn drop(&mut self) {
        self.0.asked.lock().all_at_once = false;
        self.0.wake.notify_all();
    }
}

/// Ends the waits of a partition. Where its log was moved to another directory meanwhile, they go on there.
fn synced((partition, _): &Wanted, result: Result<i64, StorageError>) {
    match result {
        Err(StorageError::Moved { .. }) => partition.ask_for_sync(),
        result => partition.synced(result.map_err(NotDurable::from)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use jackdaw_protocol::records::{Batch, BatchBuilder, Codec};
    use jackdaw_storage::{Append, LogDirOptions, Origin};
    use uuid::Uuid;

    use super::*;
    use crate::config::{Config, ConfigSources};

    fn append(partition: &Partition) {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(1, None, Some(b"x"), &[]);
        let batch = Batch::check(builder.build()).unwrap();
        let mut out = Vec::new();
        partition.log().append(&[Append { batch: &batch, origin: Origin::Client, leader_epoch: 0 }], 1, &mut out);
        out.remove(0).unwrap();
    }

    #[test]
    fn what_was_asked_for_is_synced_when_the_threads_have_ended_be_it_of_one_log_or_of_a_hundred() {
        let config = Arc::new(Config::load(&ConfigSources::default()).unwrap().config.topic_defaults);
        for count in [1, limits::SYNC_TOGETHER as i32 - 1, 100] {
            let temp = tempfile::tempdir().unwrap();
            let dir = LogDir::open(temp.path(), LogDirOptions::new(1), &|_| config.log(), &|_| {}).unwrap();
            let flusher = Flusher::start(Arc::new(dir), Arc::new(Clock::new())).unwrap();
            let make = |index| {
                let log = flusher.dir().create("t", Uuid::from_u128(7), index, config.shared_log()).unwrap();
                Partition::new("t".into(), Uuid::from_u128(7), index, log, config.clone(), flusher.clone())
            };
            let partitions: Vec<_> = (0..count).map(make).collect();
            for _ in 0..5 {
                for partition in &partitions {
                    append(partition);
                    partition.ask_for_sync();
                }
            }
            flusher.stop();
            for partition in &partitions {
                assert_eq!((partition.log().flushed_offset(), partition.log().log_end_offset()), (5, 5));
            }
        }
    }
}
