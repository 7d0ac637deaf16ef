//! Group commit: the one place where async meets the disk's sync.
//!
//! One thread per log directory. It starts the next sync as soon as the last one ended and covers everything that was
//! asked for meanwhile; there is no timer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use jackdaw_storage::{Log, LogDir};
use parking_lot::{Condvar, Mutex};

use super::{NotDurable, Partition};
use crate::clock::Clock;
use crate::limits;

#[derive(Default)]
struct Asked {
    partitions: Vec<Arc<Partition>>,
    stopping: bool,
}

/// The sync thread of one log directory, and what is known of the directory's pace.
pub struct Flusher {
    dir: Arc<LogDir>,
    clock: Arc<Clock>,
    /// Until when, by the coarse clock, appends are expected to block.
    slow_until_ms: AtomicU64,
    asked: Mutex<Asked>,
    wake: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Flusher {
    /// Starts the thread.
    pub fn start(dir: Arc<LogDir>, clock: Arc<Clock>) -> std::io::Result<Arc<Flusher>> {
        let slow_until_ms = AtomicU64::new(0);
        let flusher = Arc::new(Flusher {
            dir,
            clock,
            slow_until_ms,
            asked: Mutex::default(),
            wake: Condvar::new(),
            thread: Mutex::default(),
        });
        let runs = flusher.clone();
        let thread = std::thread::Builder::new().name("flusher".into()).spawn(move || runs.run())?;
        *flusher.thread.lock() = Some(thread);
        Ok(flusher)
    }

    /// The directory that this thread syncs.
    pub fn dir(&self) -> &Arc<LogDir> {
        &self.dir
    }

    /// Runs an append. Into the page cache it takes microseconds, and runs right here; a directory that made one wait
    /// lately (dirty-page throttling, a slow disk) gets the next ones where they hold up no other connection of this
    /// worker thread.
    pub(super) fn append(&self, append: impl FnOnce()) {
        if self.slow_until_ms.load(Ordering::Relaxed) > self.clock.coarse_ms() {
            tokio::task::block_in_place(append);
            return;
        }
        let started = self.clock.monotonic();
        append();
        if self.clock.monotonic() - started > limits::SLOW_APPEND {
            let until = self.clock.coarse_ms() + limits::SLOW_DIRECTORY.as_millis() as u64;
            self.slow_until_ms.store(until, Ordering::Relaxed);
        }
    }

    /// Asks for a sync of this partition's log; its waits end when it is done.
    pub(super) fn ask(&self, partition: &Arc<Partition>) {
        if partition.sync_asked.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut asked = self.asked.lock();
        if asked.stopping {
            drop(asked);
            partition.synced(Err(NotDurable::Stopping));
            return;
        }
        asked.partitions.push(partition.clone());
        self.wake.notify_one();
    }

    /// Ends the thread after the syncs asked for so far, and waits for that.
    pub fn stop(&self) {
        self.asked.lock().stopping = true;
        self.wake.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // Had it panicked, the panic hook has told.
            let _ = thread.join();
        }
    }

    fn run(&self) {
        let mut partitions = Vec::new();
        let mut logs: Vec<Arc<Log>> = Vec::new();
        loop {
            {
                let mut asked = self.asked.lock();
                while asked.partitions.is_empty() {
                    if asked.stopping {
                        return;
                    }
                    self.wake.wait(&mut asked);
                }
                std::mem::swap(&mut partitions, &mut asked.partitions);
            }
            for partition in &partitions {
                // Before the sync: whoever appends from here on must ask again.
                partition.sync_asked.store(false, Ordering::Release);
                logs.push(partition.log.clone());
            }
            for (at, result) in self.dir.flush_many(&logs) {
                partitions[at].synced(result.map_err(NotDurable::from));
            }
            partitions.clear();
            logs.clear();
        }
    }
}
