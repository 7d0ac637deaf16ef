//! Group commit: the one place where async meets the disk's sync.
//!
//! One thread per log directory. It starts the next sync as soon as the last one ended and covers everything that was
//! asked for meanwhile; there is no timer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jackdaw_storage::{Log, LogDir};
use parking_lot::{Condvar, Mutex};

use super::{NotDurable, Partition};

#[derive(Default)]
struct Asked {
    partitions: Vec<Arc<Partition>>,
    stopping: bool,
}

/// The sync thread of one log directory.
pub struct Flusher {
    dir: Arc<LogDir>,
    asked: Mutex<Asked>,
    wake: Condvar,
}

impl Flusher {
    /// Starts the thread.
    pub fn start(dir: Arc<LogDir>) -> std::io::Result<Arc<Flusher>> {
        let flusher = Arc::new(Flusher { dir, asked: Mutex::default(), wake: Condvar::new() });
        let runs = flusher.clone();
        std::thread::Builder::new().name("flusher".into()).spawn(move || runs.run())?;
        Ok(flusher)
    }

    /// The directory that this thread syncs.
    pub fn dir(&self) -> &Arc<LogDir> {
        &self.dir
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

    /// Ends the thread after the syncs asked for so far.
    pub fn stop(&self) {
        self.asked.lock().stopping = true;
        self.wake.notify_one();
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
