//! Snapshots by bytes: openraft makes one after so many entries, however large they are.

use std::sync::Arc;
use std::time::Duration;

use crate::machine::Machine;
use crate::node::Inner;

/// A snapshot that takes longer than this is given up, and another one made.
const PATIENCE: Duration = Duration::from_secs(60);

/// As long as the node lives, makes a snapshot when the entries in memory have become too many bytes, and lets go of what it holds.
pub(crate) fn by_bytes<M: Machine>(inner: &Arc<Inner<M>>) {
    let (mut applied, runtime, inner) = (inner.machine.applied(), inner.runtime.clone(), Arc::downgrade(inner));
    runtime.spawn(async move {
        while applied.changed().await.is_ok() {
            // It must not be what keeps the node alive.
            let Some(inner) = inner.upgrade() else { return };
            if inner.store.bytes() <= inner.options.snapshot_bytes {
                continue;
            }
            let (at, raft) = (applied.borrow_and_update().index, inner.raft.clone());
            drop(inner);
            let done = async {
                raft.trigger().snapshot().await.ok()?;
                let mut metrics = raft.metrics();
                let made = metrics.wait_for(|now| {
                    now.running_state.is_err() || now.snapshot.is_some_and(|snapshot| snapshot.index >= at)
                });
                let upto = made.await.ok()?.snapshot?.index;
                raft.trigger().purge_log(upto).await.ok()
            };
            if tokio::time::timeout(PATIENCE, done).await == Ok(None) {
                return;
            }
        }
    });
}
