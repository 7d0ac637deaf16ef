//! What becomes of what one host sends to another: the switch of the namespaces asks here, and so do the proxies of loopback.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The link from one host to another.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Link {
    /// Nothing passes.
    pub(super) cut: bool,
    /// Share of packets that are lost.
    pub(super) loss: f64,
    /// Share of packets that come twice.
    pub(super) doubled: f64,
    /// How late all of them are.
    pub(super) delay: Duration,
    /// How much later each may be, at random: more than the gap between two reorders them.
    pub(super) jitter: Duration,
    /// Share of packets whose connection is reset in their place.
    pub(super) reset: f64,
}

/// The links between all hosts, 0 being that of the clients.
#[derive(Clone)]
pub(super) struct Links(Arc<Mutex<Vec<Vec<Link>>>>);

impl Links {
    pub(super) fn new(nodes: usize) -> Links {
        Links(Arc::new(Mutex::new(vec![vec![Link::default(); nodes + 1]; nodes + 1])))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<Link>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, from: usize, to: usize) -> Link {
        self.lock().get(from).and_then(|row| row.get(to)).copied().unwrap_or_default()
    }

    /// Changes the link of every pair of different hosts for which `which` says so.
    pub(super) fn change(&self, which: impl Fn(usize, usize) -> bool, change: impl Fn(&mut Link)) {
        for (from, row) in self.lock().iter_mut().enumerate() {
            for (to, link) in row.iter_mut().enumerate() {
                if from != to && which(from, to) {
                    change(link);
                }
            }
        }
    }

    /// All links as they should be.
    pub(super) fn heal(&self) {
        self.change(|_, _| true, |link| *link = Link::default());
    }
}
