//! What happens without a request: the coarse clock, the watch over connections, the watch over full disks, and
//! checkpoints.
//!
//! Files that were deleted `file.delete.delay.ms` ago are removed here; which ones are deleted, `retention` decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jackdaw_storage::{LoadedLog, LogDir, RecoveryProgress};
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;

use crate::broker::Broker;
use crate::clock::Clock;
use crate::limits;
use crate::partition::Flusher;

/// Runs until its task is dropped.
pub(crate) async fn run(broker: Arc<Broker>) {
    let mut ticks = tokio::time::interval(limits::CONNECTION_CHECK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let now = broker.clock.monotonic();
    let upkeep = |flusher: &Arc<Flusher>| Upkeep {
        dir: flusher.dir().clone(),
        busy: Arc::default(),
        checkpointed: now,
        swept: now,
    };
    let mut dirs: Vec<Upkeep> = broker.flushers().iter().map(upkeep).collect();
    let mut takes_writes = true;
    let mut online = broker.flushers().len();
    loop {
        ticks.tick().await;
        broker.clock.tick();
        let idle_ms = broker.config().connections_max_idle_ms.unwrap_or(u64::MAX);
        broker.connections.check(broker.clock.coarse_ms(), idle_ms);
        dirs.iter_mut().for_each(|dir| dir.tick(&broker));
        let still_online = broker.flushers().iter().filter(|flusher| flusher.dir().is_online()).count();
        if std::mem::replace(&mut online, still_online) != still_online {
            broker.lifecycle.hurry();
        }
        if takes_writes && !broker.topics.takes_writes() {
            takes_writes = false;
            tracing::error!(
                "every log directory is offline: producers are refused, readers served; repair the disks, then restart the broker"
            );
        }
    }
}

/// One log directory's. Nobody waits for it: a slow disk holds up neither the clock nor the other directories.
struct Upkeep {
    dir: Arc<LogDir>,
    busy: Arc<AtomicBool>,
    checkpointed: Duration,
    swept: Duration,
}

impl Upkeep {
    fn tick(&mut self, broker: &Arc<Broker>) {
        let every = Duration::from_millis(broker.config().replica_high_watermark_checkpoint_interval_ms);
        let now = broker.clock.monotonic();
        let checkpoint = now.saturating_sub(self.checkpointed) >= every;
        let (is_full, has_deleted) = (self.dir.is_full(), self.dir.has_deleted());
        if !(is_full || checkpoint || has_deleted) || self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let sweep = now.saturating_sub(self.swept) >= limits::IDLE_FILES;
        if checkpoint {
            self.checkpointed = now;
        }
        if sweep {
            self.swept = now;
        }
        let (dir, now_ms) = (self.dir.clone(), broker.clock.now_ms());
        let busy = Busy(self.busy.clone());
        // A panic in there is reported by the panic hook; the next round tries again.
        tokio::task::spawn_blocking(move || {
            let _busy = busy;
            if is_full {
                // Lets appends go on if there is room again; the log directory tells of both.
                dir.probe_space();
            }
            if checkpoint {
                write_checkpoint(&dir);
            }
            if has_deleted {
                dir.purge(now_ms);
            }
            if sweep {
                dir.let_go_of_idle_files();
            }
        });
    }
}

/// Until dropped, be it by a panic.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn write_checkpoint(dir: &LogDir) {
    if let Err(error) = dir.checkpoint()
        && !error.is_full_disk()
        && dir.is_online()
    {
        tracing::warn!(dir = %dir.path().display(), %error, "checkpoint not written");
    }
}

/// Syncs what the last run had not, while requests are served.
pub(crate) fn finish_recovery(flusher: &Flusher) {
    if let Err(error) = flusher.dir().finish_recovery() {
        tracing::warn!(dir = %flusher.dir().path().display(), %error, "what was recovered is not synced");
    }
}

/// Tells what a recovery cut, and, every few seconds, how far it has come.
pub(crate) struct RecoveryReport<'a> {
    clock: &'a Clock,
    started: Duration,
    told: Mutex<Duration>,
}

impl<'a> RecoveryReport<'a> {
    pub(crate) fn new(clock: &'a Clock) -> RecoveryReport<'a> {
        let now = clock.monotonic();
        RecoveryReport { clock, started: now, told: Mutex::new(now) }
    }

    pub(crate) fn note(&self, progress: &RecoveryProgress) {
        let RecoveryProgress { loaded, total, bytes_done, bytes_total, log } = progress;
        if let Some(LoadedLog { topic, partition, checked_bytes, cut_bytes }) = log {
            if *cut_bytes > 0 {
                tracing::warn!(%topic, partition, cut_bytes, "cut what the last run had not finished writing");
            }
            tracing::debug!(%topic, partition, loaded, total, checked_bytes, "log loaded");
        }
        let now = self.clock.monotonic();
        let is_last = loaded == total && now - self.started >= limits::RECOVERY_REPORT;
        {
            let mut told = self.told.lock();
            if now - *told < limits::RECOVERY_REPORT && !is_last {
                return;
            }
            *told = now;
        }
        let mib = |bytes: u64| bytes >> 20;
        let seconds_left = seconds_left(now - self.started, *bytes_done, *bytes_total);
        tracing::info!(
            partitions = format!("{loaded} of {total}"),
            mib_checked = format!("{} of {}", mib(*bytes_done), mib(*bytes_total)),
            percent = share(*bytes_done, *bytes_total),
            seconds_left,
            "loading the logs"
        );
    }
}

fn share(done: u64, total: u64) -> u64 {
    (done * 100).checked_div(total).unwrap_or(100).min(100)
}

/// At the pace so far.
fn seconds_left(elapsed: Duration, done: u64, total: u64) -> u64 {
    let left = total.saturating_sub(done) as f64;
    (elapsed.as_secs_f64() * left / done.max(1) as f64).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_from_the_pace_so_far() {
        assert_eq!(seconds_left(Duration::from_secs(10), 250, 1000), 30);
        assert_eq!(seconds_left(Duration::from_secs(10), 1001, 1000), 0);
        assert_eq!((share(250, 1000), share(0, 0), share(1001, 1000)), (25, 100, 100));
    }
}
