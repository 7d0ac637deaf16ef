//! What happens without a request: the coarse clock, the watch over connections, the watch over full disks, and
//! checkpoints.
//!
//! Files that were deleted `file.delete.delay.ms` ago are removed here; which ones are deleted, `retention` decides.

use std::sync::Arc;
use std::time::Duration;

use jackdaw_storage::RecoveryProgress;
use tokio::time::MissedTickBehavior;

use crate::broker::Broker;
use crate::limits;
use crate::partition::Flusher;

/// Runs until its task is dropped.
pub(crate) async fn run(broker: Arc<Broker>) {
    let mut ticks = tokio::time::interval(limits::CONNECTION_CHECK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut checkpointed = broker.clock.monotonic();
    loop {
        ticks.tick().await;
        broker.clock.tick();
        let idle_ms = broker.config().connections_max_idle_ms.unwrap_or(u64::MAX);
        broker.connections.check(broker.clock.coarse_ms(), idle_ms);
        probe_full_disks(&broker).await;
        let every = Duration::from_millis(broker.config().replica_high_watermark_checkpoint_interval_ms);
        if broker.clock.monotonic() - checkpointed >= every {
            checkpointed = broker.clock.monotonic();
            checkpoint(&broker).await;
        }
        purge(&broker).await;
    }
}

/// Lets appends go on where a full disk has room again; the log directory tells of both.
async fn probe_full_disks(broker: &Arc<Broker>) {
    let full: Vec<_> = broker.flushers().iter().filter(|flusher| flusher.dir().is_full()).cloned().collect();
    if full.is_empty() {
        return;
    }
    let work = move || full.iter().map(|flusher| flusher.dir().probe_space()).filter(|&has_room| has_room).count();
    // A panic in there has been reported by the panic hook; the next round tries again.
    let _ = tokio::task::spawn_blocking(work).await;
}

async fn checkpoint(broker: &Arc<Broker>) {
    let flushers = broker.flushers().to_vec();
    let work = move || {
        for flusher in flushers {
            let written = flusher.dir().checkpoint();
            if let Err(error) = written
                && !error.is_full_disk()
            {
                tracing::warn!(dir = %flusher.dir().path().display(), %error, "checkpoint not written");
            }
        }
    };
    // A panic in there has been reported by the panic hook; the next round tries again.
    let _ = tokio::task::spawn_blocking(work).await;
}

/// Gives back to the file system what was deleted long enough ago.
async fn purge(broker: &Arc<Broker>) {
    for flusher in broker.flushers().iter().filter(|flusher| flusher.dir().has_deleted()) {
        let (dir, now_ms) = (flusher.dir().clone(), broker.clock.now_ms());
        // A panic in there has been reported by the panic hook; the next round tries again.
        let _ = tokio::task::spawn_blocking(move || dir.purge(now_ms)).await;
    }
}

/// Syncs what the last run had not, while requests are served.
pub(crate) fn finish_recovery(flusher: &Flusher) {
    if let Err(error) = flusher.dir().finish_recovery() {
        tracing::warn!(dir = %flusher.dir().path().display(), %error, "what was recovered is not synced");
    }
}

/// Tells what a recovery cut, and how far the loading of many logs has come.
pub(crate) fn recovery_progress(progress: RecoveryProgress) {
    let RecoveryProgress { topic, partition, loaded, total, checked_bytes, cut_bytes } = progress;
    if cut_bytes > 0 {
        tracing::warn!(%topic, partition, cut_bytes, "cut what the last run had not finished writing");
    }
    if loaded == total || loaded % total.div_ceil(10) == 0 && total >= 1000 {
        tracing::info!(loaded, total, "logs loaded");
    } else {
        tracing::debug!(%topic, partition, loaded, total, checked_bytes, "log loaded");
    }
}
