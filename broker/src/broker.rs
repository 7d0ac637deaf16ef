//! The broker as a whole: builds the parts, and owns the order in which they start and stop.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::config::Config;
use crate::fetch::session::Sessions;
use crate::net::Registry;

/// One running broker.
pub struct Broker {
    /// The clock.
    pub clock: Arc<Clock>,
    /// Who is connected.
    pub connections: Registry,
    /// Incremental fetch sessions.
    pub fetch_sessions: Sessions,
    /// Bytes that large requests may hold together, in KiB.
    pub request_budget: Arc<Semaphore>,
    request_budget_kib: u32,
    cold_reads: Semaphore,
    config: Arc<ArcSwap<Config>>,
    cluster_id: String,
}

impl Broker {
    /// The configuration now in effect.
    pub fn config(&self) -> Guard<Arc<Config>> {
        self.config.load()
    }

    /// This broker's `node.id`.
    pub fn node_id(&self) -> i32 {
        self.config().node_id
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// `max.connections` and `max.connections.per.ip` for an address.
    pub fn connection_limits(&self, address: std::net::IpAddr) -> (usize, usize) {
        let config = self.config();
        let name = address.to_string();
        let own = config.max_connections_per_ip_overrides.iter().find(|(host, _)| *host == name);
        (config.max_connections, own.map_or(config.max_connections_per_ip, |(_, limit)| *limit))
    }

    /// Permits of the request budget for a frame of so many bytes; a frame above the whole budget passes alone.
    pub fn request_budget_permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.request_budget_kib)
    }

    /// Runs work that may wait for the disk without holding up the connections of this worker thread.
    pub fn blocking<T>(&self, work: impl FnOnce() -> T) -> T {
        tokio::task::block_in_place(work)
    }

    /// Reads from the disk on one of a bounded number of threads.
    pub async fn cold_reads(&self, work: impl FnOnce() + Send + 'static) {
        let Ok(_permit) = self.cold_reads.acquire().await else { return };
        // A panic in there has been reported by the panic hook; the reader goes on without the warm-up.
        let _ = tokio::task::spawn_blocking(work).await;
    }
}
