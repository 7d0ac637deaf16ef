//! Who is connected: the caps on connections, and the watch over idle and stalled ones.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::limits;

/// What a connection's task and the watch share. Times are the coarse clock's milliseconds; 0 means "not now".
#[derive(Default)]
pub(super) struct Vitals {
    /// When the peer last sent or took a byte.
    pub(super) active_ms: AtomicU64,
    /// Since when a frame is incomplete.
    pub(super) frame_since_ms: AtomicU64,
    /// Since when the peer takes nothing although answers wait.
    pub(super) stalled_since_ms: AtomicU64,
    closing: AtomicBool,
    reason: Mutex<Option<&'static str>>,
    pub(super) waker: AtomicWaker,
}

impl Vitals {
    /// Why this connection must end, if it must.
    pub(super) fn closing(&self) -> Option<&'static str> {
        self.closing.load(Ordering::Acquire).then(|| self.reason.lock().unwrap_or("closed"))
    }

    fn close(&self, reason: &'static str) {
        self.reason.lock().get_or_insert(reason);
        self.closing.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// The deadline this connection has missed, if any.
    fn overdue(&self, now_ms: u64, idle_ms: u64) -> Option<&'static str> {
        let since = |at: &AtomicU64| match at.load(Ordering::Relaxed) {
            0 => 0,
            since => now_ms.saturating_sub(since),
        };
        if since(&self.frame_since_ms) > limits::FRAME_DEADLINE.as_millis() as u64 {
            Some("its frame was not complete within the deadline")
        } else if since(&self.stalled_since_ms) > limits::WRITE_DEADLINE.as_millis() as u64 {
            Some("it does not read its answers")
        } else if now_ms.saturating_sub(self.active_ms.load(Ordering::Relaxed)) > idle_ms {
            Some("it was idle for connections.max.idle.ms")
        } else {
            None
        }
    }
}

/// Why a connection is not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Refused {
    /// The broker holds as many connections as it may.
    #[error("max.connections={0} reached")]
    Total(usize),
    /// This address holds as many connections as it may.
    #[error("max.connections.per.ip={limit} reached by {address}")]
    PerAddress {
        /// The client's address.
        address: IpAddr,
        /// Its limit.
        limit: usize,
    },
    /// The broker stops.
    #[error("the broker is stopping")]
    Stopping,
}

#[derive(Default)]
struct Connections {
    by_id: HashMap<u64, Arc<Vitals>>,
    per_address: HashMap<IpAddr, usize>,
    stopping: bool,
}

/// All connections of this broker.
#[derive(Default)]
pub struct Registry {
    next_id: AtomicU64,
    connections: Mutex<Connections>,
}

impl Registry {
    /// Takes a connection in, within the limits.
    pub(super) fn enter(
        &self,
        address: IpAddr,
        total: usize,
        per_address: usize,
    ) -> Result<(u64, Arc<Vitals>), Refused> {
        let mut connections = self.connections.lock();
        if connections.stopping {
            return Err(Refused::Stopping);
        }
        if connections.by_id.len() >= total {
            return Err(Refused::Total(total));
        }
        let held = connections.per_address.entry(address).or_default();
        if *held >= per_address {
            return Err(Refused::PerAddress { address, limit: per_address });
        }
        *held += 1;
        // 0 is what came on no connection.
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let vitals = Arc::new(Vitals::default());
        connections.by_id.insert(id, vitals.clone());
        Ok((id, vitals))
    }

    /// Forgets a connection.
    pub(super) fn leave(&self, id: u64, address: IpAddr) {
        let mut connections = self.connections.lock();
        connections.by_id.remove(&id);
        if let Some(held) = connections.per_address.get_mut(&address) {
            *held -= 1;
            if *held == 0 {
                connections.per_address.remove(&address);
            }
        }
    }

    /// Connections now open.
    pub fn count(&self) -> usize {
        self.connections.lock().by_id.len()
    }

    /// Ends those that missed a deadline.
    pub fn check(&self, now_ms: u64, idle_ms: u64) {
        for vitals in self.connections.lock().by_id.values() {
            if let Some(reason) = vitals.overdue(now_ms, idle_ms) {
                vitals.close(reason);
            }
        }
    }

    /// Waits until no connection is open, at most so long.
    pub async fn emptied(&self, at_most: Duration) {
        let empty = async {
            while self.count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(at_most, empty).await.is_err() {
            tracing::warn!(connections = self.count(), "stopping although connections are open");
        }
    }

    /// Ends all, and takes no more.
    pub fn stop(&self) {
        let mut connections = self.connections.lock();
        connections.stopping = true;
        for vitals in connections.by_id.values() {
            vitals.close("the broker is stopping");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn connections_beyond_the_limits_are_refused_until_one_leaves() {
        let registry = Registry::default();
        let (id, _) = registry.enter(HERE, 10, 1).unwrap();
        assert_eq!(registry.enter(HERE, 10, 1).err(), Some(Refused::PerAddress { address: HERE, limit: 1 }));
        assert_eq!(registry.enter(HERE, 1, 10).err(), Some(Refused::Total(1)));
        registry.leave(id, HERE);
        assert!(registry.enter(HERE, 1, 1).is_ok());
    }

    #[test]
    fn an_idle_connection_is_closed_and_an_active_one_is_not() {
        let registry = Registry::default();
        let (_, idle) = registry.enter(HERE, 10, 10).unwrap();
        let (_, active) = registry.enter(HERE, 10, 10).unwrap();
        active.active_ms.store(900, Ordering::Relaxed);
        registry.check(1_001, 1_000);
        assert_eq!(idle.closing(), Some("it was idle for connections.max.idle.ms"));
        assert_eq!(active.closing(), None);
    }

    #[test]
    fn a_frame_that_does_not_end_is_given_up() {
        let vitals = Vitals::default();
        vitals.active_ms.store(31_000, Ordering::Relaxed);
        vitals.frame_since_ms.store(1, Ordering::Relaxed);
        assert!(vitals.overdue(31_000, u64::MAX).is_some());
        assert!(vitals.overdue(30_000, u64::MAX).is_none());
    }
}
