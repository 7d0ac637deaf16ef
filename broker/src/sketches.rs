//! Makes the sketches of keys that sealed segments lack: in the background, at a bounded rate, one segment at a time.
//!
//! A directory tells which of its logs have something to do; while none has, a round costs a look at an empty queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::broker::Broker;
use crate::limits;

/// Ends the work on its thread when the task that waits for it is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs until its task is dropped.
pub(crate) async fn run(broker: Arc<Broker>) {
    let stopping = Arc::new(AtomicBool::new(false));
    let _stop = StopOnDrop(stopping.clone());
    loop {
        tokio::time::sleep(limits::SKETCH_CHECK).await;
        for flusher in broker.flushers() {
            while let Some(log) = flusher.dir().take_unsketched() {
                let stopping = stopping.clone();
                let work = move || {
                    if let Err(error) = log.make_sketches(&mut pace(&stopping)) {
                        // A full or failing disk is told of by those who need it; this can be made later.
                        tracing::debug!(topic = log.topic(), partition = log.partition(), %error, "no sketch of keys");
                    }
                };
                // A panic in there has been reported by the panic hook; that log is asked again after its next roll.
                let _ = tokio::task::spawn_blocking(work).await;
            }
        }
    }
}

/// Sleeps after every share of bytes, so that the rate stays bounded; `false` when the broker stops.
fn pace(stopping: &AtomicBool) -> impl FnMut(usize) -> bool {
    let mut bytes = 0;
    move |more| {
        bytes += more;
        if bytes >= limits::SKETCH_BYTES_PER_SECOND / 16 {
            bytes = 0;
            std::thread::sleep(Duration::from_millis(1000 / 16));
        }
        !stopping.load(Ordering::Relaxed)
    }
}
