//! The cleaner: compacts the logs of compacted topics, the dirtiest first.
//!
//! There is no thread, and no memory for keys, while there is nothing to clean: a task looks every
//! `log.cleaner.backoff.ms`, and starts up to `log.cleaner.threads` workers when there is. A worker goes on until nothing
//! is due. What a round of compaction is, `storage` knows.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jackdaw_storage::{CleanerMemory, CompactError, Compacted, CompactionHooks, Dirty, Log, LogDir, Pace};
use parking_lot::{Condvar, Mutex};

use crate::broker::Broker;
use crate::clock::Clock;
use crate::limits;

/// The longest sleep of the throttle before it looks around again.
const NAP: Duration = Duration::from_millis(20);
/// A rate above this is none: the setting's default is the largest number there is.
const UNBOUNDED_RATE: f64 = 1e15;

/// What the cleaner has done, and has found.
#[derive(Debug, Default)]
pub struct CleanerStats {
    /// Rounds of compaction that came to their end.
    pub rounds: AtomicU64,
    /// Bytes read by them.
    pub read_bytes: AtomicU64,
    /// Bytes that the segments they went through had before.
    pub segment_bytes_before: AtomicU64,
    /// Bytes that these have after.
    pub segment_bytes_after: AtomicU64,
    /// Partitions that are left alone since a round of them failed.
    pub uncleanable_partitions: AtomicU64,
    /// The share of cleanable bytes of the dirtiest log, in percent, when last looked at.
    pub max_dirty_percent: AtomicU64,
}

type Key = (Arc<str>, i32);

/// Who works, on what, and what is better left alone.
#[derive(Default)]
struct Work {
    workers: usize,
    busy: HashSet<Key>,
    uncleanable: HashMap<Key, Weak<Log>>,
}

/// The cleaner's state, shared by its workers.
#[derive(Default)]
pub struct Cleaner {
    /// For the metrics.
    pub stats: CleanerStats,
    work: Mutex<Work>,
    ended: Condvar,
    stopping: AtomicBool,
    /// When the bytes that were read and written so far are paid for, at the rate allowed.
    paid_until: Mutex<Duration>,
}

/// A log that is due.
struct Due {
    log: Arc<Log>,
    dir: Arc<LogDir>,
    dirty: Dirty,
}

/// Runs until its task is dropped.
pub(crate) async fn run(broker: Arc<Broker>) {
    if !broker.config().log_cleaner_enable {
        return;
    }
    loop {
        let backoff = Duration::from_millis(broker.config().log_cleaner_backoff_ms);
        tokio::time::sleep(backoff.max(limits::CLEANER_REST_MIN)).await;
        let looking = broker.clone();
        // A panic in there has been reported by the panic hook; the next look goes on.
        let due = tokio::task::spawn_blocking(move || looking.cleaner.find_due(&looking, &HashSet::new()).is_some());
        if due.await.is_ok_and(|is_due| is_due) && broker.cleaner.begin_worker(&broker) {
            let broker = broker.clone();
            tokio::task::spawn_blocking(move || {
                let _end = WorkerEnd(&broker.cleaner);
                work(&broker);
            });
        }
    }
}

/// Counts the worker out, also when it panicked.
struct WorkerEnd<'a>(&'a Cleaner);

impl Drop for WorkerEnd<'_> {
    fn drop(&mut self) {
        self.0.work.lock().workers -= 1;
        self.0.ended.notify_all();
    }
}

/// One worker: round after round, until nothing is due.
fn work(broker: &Broker) {
    let cleaner = &broker.cleaner;
    let (map_bytes, load_factor, io_bytes) = {
        let config = broker.config();
        let threads = config.log_cleaner_threads.max(1);
        let (map, io) = (config.log_cleaner_dedupe_buffer_size, config.log_cleaner_io_buffer_size);
        (map / threads, config.log_cleaner_io_buffer_load_factor, io / threads)
    };
    let mut memory = CleanerMemory::new(map_bytes, load_factor, io_bytes);
    // Given up for now; the next worker tries them again.
    let mut tried = HashSet::new();
    while !cleaner.stopping.load(Ordering::Acquire) {
        let Some(due) = cleaner.take_due(broker, &tried) else { return };
        let key = key_of(&due.log);
        let _busy = Busy(cleaner, key.clone());
        if !cleaner.clean(broker, &due, &mut memory) {
            tried.insert(key);
        }
    }
}

/// A log that a worker is at.
struct Busy<'a>(&'a Cleaner, Key);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.work.lock().busy.remove(&self.1);
    }
}

fn key_of(log: &Log) -> Key {
    (Arc::from(log.topic()), log.partition())
}

impl Cleaner {
    /// Takes the place of a worker, if there is one left.
    fn begin_worker(&self, broker: &Broker) -> bool {
        let mut work = self.work.lock();
        if self.stopping.load(Ordering::Acquire) || work.workers >= broker.config().log_cleaner_threads.max(1) {
            return false;
        }
        work.workers += 1;
        true
    }

    /// Makes the workers give up, and waits until they have: to be called before the log directories close.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let mut work = self.work.lock();
        while work.workers > 0 {
            self.ended.wait(&mut work);
        }
    }

    fn take_due(&self, broker: &Broker, tried: &HashSet<Key>) -> Option<Due> {
        loop {
            let due = self.find_due(broker, tried)?;
            // Another worker may have been faster.
            if self.work.lock().busy.insert(key_of(&due.log)) {
                return Some(due);
            }
        }
    }

    /// The log with the largest share of dirty bytes, of those that are due and nobody is at.
    fn find_due(&self, broker: &Broker, tried: &HashSet<Key>) -> Option<Due> {
        let now_ms = broker.clock.now_ms();
        let (mut dirtiest, mut best) = (0.0f64, None::<Due>);
        for flusher in broker.flushers() {
            let dir = flusher.dir();
            if !dir.is_online() {
                continue;
            }
            for log in dir.logs_to_compact() {
                if self.is_to_be_left_alone(&log, tried) {
                    continue;
                }
                let dirty = match log.compaction_candidate(now_ms) {
                    Ok(Some(dirty)) => dirty,
                    Ok(None) => continue,
                    Err(error) => {
                        // Segments that were replaced or dropped meanwhile, or a file that cannot be read now.
                        tracing::debug!(topic = log.topic(), partition = log.partition(), %error, "not looked at");
                        continue;
                    }
                };
                forget_if_reset(&log, &dirty);
                dirtiest = dirtiest.max(dirty.ratio());
                let is_dirtier = best.as_ref().is_none_or(|best| dirty.ratio() > best.dirty.ratio());
                if is_dirtier && dirty.is_due(log.config().min_cleanable_dirty_ratio) {
                    best = Some(Due { log, dir: dir.clone(), dirty });
                }
            }
        }
        self.stats.max_dirty_percent.store((dirtiest * 100.0) as u64, Ordering::Relaxed);
        best
    }

    fn is_to_be_left_alone(&self, log: &Arc<Log>, tried: &HashSet<Key>) -> bool {
        let key = key_of(log);
        let mut work = self.work.lock();
        work.uncleanable.retain(|_, log| log.strong_count() > 0);
        self.stats.uncleanable_partitions.store(work.uncleanable.len() as u64, Ordering::Relaxed);
        let failed = work.uncleanable.get(&key).is_some_and(|failed| std::ptr::eq(failed.as_ptr(), Arc::as_ptr(log)));
        failed || work.busy.contains(&key) || tried.contains(&key)
    }

    /// One round, and what is remembered of it. `false` if the log is better left alone for a while.
    fn clean(&self, broker: &Broker, due: &Due, memory: &mut CleanerMemory) -> bool {
        let Due { log, dir, dirty } = due;
        let (topic, partition) = (log.topic(), log.partition());
        let begun = broker.clock.monotonic();
        let mut hooks = Throttle { cleaner: self, broker };
        let result = log.compact(dirty, memory, &mut hooks, broker.clock.now_ms()).and_then(|done| {
            log.set_cleaned_offset(done.clean_until)?;
            Ok(done)
        });
        match result {
            Ok(done) => {
                self.count(&done);
                let Compacted { clean_until, bytes_in, bytes_out, records_in, records_out, keys, .. } = done;
                let took = broker.clock.monotonic() - begun;
                tracing::info!(
                    topic,
                    partition,
                    from = dirty.first_dirty_offset,
                    to = clean_until,
                    bytes_read = bytes_in,
                    bytes_kept = bytes_out,
                    records_in,
                    records_out,
                    keys,
                    seconds = took.as_millis() as f64 / 1e3,
                    "log compacted"
                );
                true
            }
            Err(CompactError::Interrupted) => false,
            Err(CompactError::Storage(error)) if error.is_full_disk() => {
                tracing::warn!(topic, partition, %error, "not compacted now, for want of space; tried again later");
                false
            }
            Err(_) if !dir.is_online() || log.is_deleted() => false,
            Err(error) => {
                tracing::error!(topic, partition, %error, "partition is not compacted any more until the next start");
                self.work.lock().uncleanable.insert(key_of(log), Arc::downgrade(log));
                false
            }
        }
    }

    fn count(&self, done: &Compacted) {
        self.stats.rounds.fetch_add(1, Ordering::Relaxed);
        self.stats.read_bytes.fetch_add(done.map_bytes + done.bytes_in, Ordering::Relaxed);
        self.stats.segment_bytes_before.fetch_add(done.bytes_in, Ordering::Relaxed);
        self.stats.segment_bytes_after.fetch_add(done.bytes_out, Ordering::Relaxed);
    }

    /// Accounts for bytes at a rate; whether the next ones may follow at once. Otherwise it has slept for a moment.
    fn pace(&self, bytes: u64, rate: f64, clock: &Clock) -> bool {
        if !(rate > 0.0 && rate < UNBOUNDED_RATE) {
            return true;
        }
        let now = clock.monotonic();
        let mut paid_until = self.paid_until.lock();
        *paid_until = (*paid_until).max(now) + Duration::from_secs_f64((bytes as f64 / rate).min(3600.0));
        let ahead = *paid_until - now;
        drop(paid_until);
        if ahead <= NAP {
            return true;
        }
        std::thread::sleep(ahead.min(NAP));
        false
    }
}

/// A checkpoint that made no sense was dropped: so it shall be on the disk.
fn forget_if_reset(log: &Log, dirty: &Dirty) {
    if !dirty.was_reset {
        return;
    }
    let (topic, partition, start) = (log.topic(), log.partition(), dirty.first_dirty_offset);
    if !log.config().delete {
        tracing::warn!(topic, partition, start, "what had been compacted lies outside of the log: all of it is dirty");
    }
    if let Err(error) = log.set_cleaned_offset(start) {
        tracing::debug!(topic, partition, %error, "cleaner checkpoint not written");
    }
}

struct Throttle<'a> {
    cleaner: &'a Cleaner,
    broker: &'a Broker,
}

impl CompactionHooks for Throttle<'_> {
    fn throttle(&mut self, bytes: u64) -> Pace {
        if self.cleaner.stopping.load(Ordering::Acquire) {
            return Pace::Stop;
        }
        let rate = self.broker.config().log_cleaner_io_max_bytes_per_second;
        if self.cleaner.pace(bytes, rate, &self.broker.clock) { Pace::Go } else { Pace::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_bounds_all_workers_together() {
        let (cleaner, clock) = (Cleaner::default(), Clock::new());
        assert!(cleaner.pace(u64::MAX, f64::MAX, &clock), "the default is no bound");
        let begun = clock.monotonic();
        for _ in 0..4 {
            // 4 times 50 KB at 1 MB/s.
            let mut bytes = 50_000;
            while !cleaner.pace(bytes, 1e6, &clock) {
                bytes = 0;
            }
        }
        let took = clock.monotonic() - begun;
        assert!(took >= Duration::from_millis(170), "{took:?}");
    }
}
