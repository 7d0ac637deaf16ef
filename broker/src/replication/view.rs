//! What partitions need to know of the cluster, and where they put what the controller is to be asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::leader::Proposal;
use crate::clock::Clock;
use crate::partition::Partition;
use crate::topics::image::Image;

/// A registered broker, as leaders see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerView {
    /// Its broker epoch.
    pub epoch: i64,
    /// It may be in sync, and be read from: neither fenced nor about to stop.
    pub is_active: bool,
    /// `broker.rack`.
    pub rack: Option<String>,
}

/// Brokers by id.
pub type Brokers = HashMap<i32, BrokerView>;

/// A change of in-sync replicas that waits to be sent.
pub struct Wish {
    /// Whose.
    pub partition: Weak<Partition>,
    /// What is wished.
    pub proposal: Proposal,
}

/// What partitions see of the cluster. One for each broker.
pub struct View {
    node: i32,
    node_epoch: AtomicI64,
    clock: Arc<Clock>,
    lag_max_ms: AtomicU64,
    brokers: ArcSwap<Brokers>,
    wishes: Mutex<Vec<Wish>>,
    wished: Notify,
}

impl View {
    /// A cluster of which nothing is known yet.
    pub fn new(node: i32, clock: Arc<Clock>, lag_max: Duration) -> Arc<View> {
        Arc::new(View {
            node,
            node_epoch: AtomicI64::new(-1),
            clock,
            lag_max_ms: AtomicU64::new(lag_max.as_millis() as u64),
            brokers: ArcSwap::default(),
            wishes: Mutex::default(),
            wished: Notify::new(),
        })
    }

    /// This broker.
    pub fn node(&self) -> i32 {
        self.node
    }

    /// The epoch that this broker is registered with; -1 before.
    pub fn node_epoch(&self) -> i64 {
        self.node_epoch.load(Ordering::Acquire)
    }

    /// Monotonic time.
    pub fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// `replica.lag.time.max.ms`.
    pub fn lag_max(&self) -> Duration {
        Duration::from_millis(self.lag_max_ms.load(Ordering::Relaxed))
    }

    /// The brokers as of now.
    pub fn brokers(&self) -> Guard<Arc<Brokers>> {
        self.brokers.load()
    }

    /// Takes in what the metadata say of brokers. To be called before partitions are told of the same image.
    pub fn learn(&self, image: &Image) {
        let view = |broker: &crate::topics::image::BrokerImage| BrokerView {
            epoch: broker.registration.epoch,
            is_active: broker.is_active(),
            rack: broker.registration.rack.clone(),
        };
        let brokers: Brokers = image.brokers.iter().map(|(&id, broker)| (id, view(broker))).collect();
        if let Some(own) = brokers.get(&self.node) {
            self.node_epoch.store(own.epoch, Ordering::Release);
        }
        if **self.brokers.load() != brokers {
            self.brokers.store(Arc::new(brokers));
        }
    }

    pub(crate) fn ask(&self, partition: &Arc<Partition>, proposal: Proposal) {
        self.wishes.lock().push(Wish { partition: Arc::downgrade(partition), proposal });
        self.wished.notify_one();
    }

    /// Waits until the controller has to be asked something, and takes all of it.
    pub async fn wishes(&self) -> Vec<Wish> {
        loop {
            let wished = self.wished.notified();
            let wishes = std::mem::take(&mut *self.wishes.lock());
            if !wishes.is_empty() {
                return wishes;
            }
            wished.await;
        }
    }
}
