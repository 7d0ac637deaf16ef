//! Fetches that wait for records: objects that appends feed, not loops that poll.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Partition;

/// One waiting fetch, registered with each of its partitions.
pub struct FetchWaiter {
    missing: AtomicI64,
    notify: Notify,
}

impl FetchWaiter {
    /// A fetch that waits for `missing` bytes.
    pub fn new(missing: usize) -> Arc<FetchWaiter> {
        Arc::new(FetchWaiter { missing: AtomicI64::new(missing as i64), notify: Notify::new() })
    }

    /// Returns once the missing bytes were appended since the fetch was registered.
    pub async fn satisfied(&self) {
        self.notify.notified().await;
    }

    /// Counts bytes that the fetch found or that were appended.
    pub fn feed(&self, bytes: usize) {
        let before = self.missing.fetch_sub(bytes as i64, Ordering::AcqRel);
        if before > 0 && before <= bytes as i64 {
            self.notify.notify_one();
        }
    }

    pub(super) fn wake(&self) {
        self.missing.store(0, Ordering::Release);
        self.notify.notify_one();
    }
}

/// Who fetches, which says up to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Up to the high watermark, or the last stable offset.
    Consumer,
    /// Another broker, which is to have everything.
    Replica,
}

/// The fetches of one kind that wait at one partition.
#[derive(Default)]
pub(super) struct FetchWaiters {
    /// Lets an append that nobody waits for skip the lock.
    count: AtomicUsize,
    waiting: Mutex<Vec<Arc<FetchWaiter>>>,
}

impl FetchWaiters {
    pub(super) fn appended(&self, bytes: usize) {
        // SeqCst pairs with `add`: either the fetch's read that follows its registration sees the new records, or this
        // load sees the fetch.
        if self.count.load(Ordering::SeqCst) > 0 {
            for waiter in self.waiting.lock().iter() {
                waiter.feed(bytes);
            }
        }
    }

    /// The high watermark has moved: by how many bytes nobody knows, so those who wait look for themselves.
    pub(super) fn advanced(&self) {
        if self.count.load(Ordering::SeqCst) > 0 {
            self.wake_all();
        }
    }

    pub(super) fn wake_all(&self) {
        for waiter in self.waiting.lock().iter() {
            waiter.wake();
        }
    }

    fn add(&self, waiter: Arc<FetchWaiter>) {
        let mut waiting = self.waiting.lock();
        waiting.push(waiter);
        self.count.store(waiting.len(), Ordering::SeqCst);
    }

    fn remove(&self, waiter: &Arc<FetchWaiter>) {
        let mut waiting = self.waiting.lock();
        if let Some(at) = waiting.iter().position(|other| Arc::ptr_eq(other, waiter)) {
            waiting.swap_remove(at);
        }
        self.count.store(waiting.len(), Ordering::SeqCst);
    }
}

/// A registration; dropping it ends it.
pub struct Watch {
    partition: Arc<Partition>,
    waiter: Arc<FetchWaiter>,
    reader: Reader,
}

impl Watch {
    pub(super) fn new(partition: Arc<Partition>, waiter: Arc<FetchWaiter>, reader: Reader) -> Watch {
        partition.fetchers_of(reader).add(waiter.clone());
        Watch { partition, waiter, reader }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.partition.fetchers_of(self.reader).remove(&self.waiter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_woken(waiter: &FetchWaiter) -> bool {
        use futures_util::FutureExt;
        waiter.satisfied().now_or_never().is_some()
    }

    #[test]
    fn a_fetch_wakes_when_its_missing_bytes_have_come() {
        let (waiters, waiter) = (FetchWaiters::default(), FetchWaiter::new(100));
        waiters.add(waiter.clone());
        waiters.appended(60);
        assert!(!is_woken(&waiter));
        waiters.appended(60);
        assert!(is_woken(&waiter));
    }

    #[test]
    fn a_fetch_that_left_is_not_fed() {
        let (waiters, waiter) = (FetchWaiters::default(), FetchWaiter::new(1));
        waiters.add(waiter.clone());
        waiters.remove(&waiter);
        waiters.appended(60);
        assert!(!is_woken(&waiter));
        assert_eq!(waiters.count.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_deleted_partition_wakes_its_fetches_at_once() {
        let (waiters, waiter) = (FetchWaiters::default(), FetchWaiter::new(1_000));
        waiters.add(waiter.clone());
        waiters.wake_all();
        assert!(is_woken(&waiter));
    }
}
