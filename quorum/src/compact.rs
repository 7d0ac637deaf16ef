//! Snapshots by bytes and by time: openraft makes one after so many entries, however large they are.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Sleep, sleep, timeout};

use crate::machine::Machine;
use crate::node::{Inner, Quorum};

/// A snapshot that takes longer than this is given up, and another one made.
const PATIENCE: Duration = Duration::from_secs(60);
/// A node that stops has less time.
const PATIENCE_AT_STOP: Duration = Duration::from_secs(5);
/// A start reads so much in a moment.
const WORTH_IT: u64 = 1 << 20;

/// As long as the node lives, makes a snapshot when the entries in memory have become too many bytes, or too old, and lets
/// go of what it holds.
pub(crate) fn as_it_grows<M: Machine>(inner: &Arc<Inner<M>>) {
    let (mut applied, runtime) = (inner.machine.applied(), inner.runtime.clone());
    let (bytes, interval) = (inner.options.snapshot_bytes, inner.options.snapshot_interval);
    let inner = Arc::downgrade(inner);
    runtime.spawn(async move {
        // When something that was applied since the last snapshot will have been left alone for long enough.
        let mut due: Option<Pin<Box<Sleep>>> = None;
        loop {
            let over = async {
                match &mut due {
                    Some(due) => due.as_mut().await,
                    None => std::future::pending().await,
                }
            };
            let is_due = tokio::select! {
                changed = applied.changed() => match changed {
                    Ok(()) => false,
                    Err(_) => return,
                },
                () = over => true,
            };
            if due.is_none() {
                due = interval.map(|interval| Box::pin(sleep(interval)));
            }
            // It must not be what keeps the node alive.
            let Some(inner) = inner.upgrade() else { return };
            if !is_due && inner.store.bytes() <= bytes {
                continue;
            }
            let at = applied.borrow_and_update().index;
            let done = compact(&inner, at);
            drop(inner);
            if timeout(PATIENCE, done).await == Ok(None) {
                return;
            }
            due = None;
        }
    });
}

/// Makes a snapshot of what is applied up to there, and drops the entries that it holds; none when the node has ended.
fn compact<M: Machine>(inner: &Inner<M>, at: u64) -> impl Future<Output = Option<()>> + Send + use<M> {
    let raft = inner.raft.clone();
    async move {
        raft.trigger().snapshot().await.ok()?;
        let mut metrics = raft.metrics();
        let made = metrics
            .wait_for(|now| now.running_state.is_err() || now.snapshot.is_some_and(|snapshot| snapshot.index >= at));
        let upto = made.await.ok()?.snapshot?.index;
        raft.trigger().purge_log(upto).await.ok()
    }
}

impl<M: Machine> Quorum<M> {
    /// Makes a snapshot, if there is so much beyond the last one that the next start would notice. To be called before
    /// [`Quorum::shutdown`].
    pub async fn compact_before_stop(&self) {
        if self.inner.store.bytes() < WORTH_IT {
            return;
        }
        let at = self.applied().borrow().index;
        if timeout(PATIENCE_AT_STOP, compact(&self.inner, at)).await.is_err() {
            tracing::info!("no snapshot of the metadata was made: the next start replays the changes");
            return;
        }
        // The purge is asked for; the journal is shorter once it is done.
        let shorter = async {
            while self.inner.store.bytes() >= WORTH_IT {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = timeout(PATIENCE_AT_STOP, shorter).await;
    }
}
