//! What partitions need to know of the cluster, and where they put what the controller is to be asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use super::leader::Proposal;
use super::throttle::Throttle;
use crate::clock::Clock;
use crate::config::Config;
use crate::controller::size_rule;
use crate::limits;
use crate::partition::{Duty, Partition};
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

/// What partitions are to do since somebody asked last, by topic id and partition.
type Duties = HashMap<(Uuid, i32), (Arc<Partition>, Duty)>;

/// What partitions see of the cluster. One for each broker.
pub struct View {
    node: i32,
    incarnation: Uuid,
    in_former_life: AtomicBool,
    node_epoch: AtomicI64,
    clock: Arc<Clock>,
    lag_max: Duration,
    session: Duration,
    /// In milliseconds of the monotonic clock.
    heard_until: AtomicU64,
    selects_by_rack: bool,
    brokers: ArcSwap<Brokers>,
    largest_batch: AtomicUsize,
    /// Partitions that this broker leads and that others follow.
    followed: AtomicUsize,
    wishes: Mutex<Vec<Wish>>,
    wished: Notify,
    duties: Mutex<Duties>,
    has_duties: Notify,
    /// Of what this broker sends to replicas that are throttled.
    pub(crate) sent: Throttle,
}

impl View {
    /// A cluster of which nothing is known yet.
    pub fn new(config: &Config, clock: Arc<Clock>) -> Arc<View> {
        Arc::new(View {
            node: config.node_id,
            incarnation: Uuid::new_v4(),
            in_former_life: AtomicBool::new(false),
            node_epoch: AtomicI64::new(-1),
            clock,
            lag_max: Duration::from_millis(config.replica_lag_time_max_ms),
            session: Duration::from_millis(config.broker_session_timeout_ms),
            heard_until: AtomicU64::new(0),
            selects_by_rack: selects_by_rack(config.get("replica.selector.class")),
            brokers: ArcSwap::default(),
            largest_batch: AtomicUsize::new(0),
            followed: AtomicUsize::new(0),
            wishes: Mutex::default(),
            wished: Notify::new(),
            duties: Mutex::default(),
            has_duties: Notify::new(),
            sent: Throttle::default(),
        })
    }

    /// This broker.
    pub fn node(&self) -> i32 {
        self.node
    }

    /// This start of the process.
    pub fn incarnation(&self) -> Uuid {
        self.incarnation
    }

    /// Whether the metadata still speak of an earlier start of this broker. What that one led it leads no more, for it may
    /// have lost what it had not synced, and a leader that goes on in the same epoch makes another history of it: followers
    /// that still have the first one would not notice.
    pub fn is_of_former_life(&self, image: &Image) -> bool {
        let own = image.brokers.get(&self.node);
        own.is_some_and(|own| own.registration.incarnation != self.incarnation)
    }

    /// The same, of the metadata that were learned last.
    pub fn is_in_former_life(&self) -> bool {
        self.in_former_life.load(Ordering::Acquire)
    }

    /// The epoch that this broker is registered with; -1 before.
    pub fn node_epoch(&self) -> i64 {
        self.node_epoch.load(Ordering::Acquire)
    }

    /// Monotonic time.
    pub fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// A controller on another node let this broker go on, by a heartbeat that was sent `at`: for a session from then on,
    /// it makes nobody else leader because this broker is not heard.
    pub(crate) fn heard(&self, at: Duration) {
        let until = u64::try_from((at + self.session).as_millis()).unwrap_or(u64::MAX);
        self.heard_until.fetch_max(until, Ordering::AcqRel);
    }

    /// Whether that session lasts. Not after a freeze, of which this process cannot know by itself.
    pub fn is_heard(&self) -> bool {
        self.clock.monotonic().as_millis() < u128::from(self.heard_until.load(Ordering::Acquire))
    }

    /// How long after it was asked for records by a follower a leader may take that for a sign that it leads still: much
    /// longer than a follower waits between two, much less than a session.
    pub(crate) fn asked_within(&self) -> Duration {
        limits::FOLLOWERS_ASK_WITHIN.min(self.session / 2)
    }

    /// `replica.lag.time.max.ms`.
    pub fn lag_max(&self) -> Duration {
        self.lag_max
    }

    /// Whether consumers are sent to replicas of their own rack (KIP-392).
    pub fn selects_by_rack(&self) -> bool {
        self.selects_by_rack
    }

    /// The largest batch that any broker takes for a topic that has no `max.message.bytes` of its own.
    pub fn largest_batch(&self) -> usize {
        self.largest_batch.load(Ordering::Relaxed)
    }

    /// The brokers as of now.
    pub fn brokers(&self) -> Guard<Arc<Brokers>> {
        self.brokers.load()
    }

    /// Whether any partition here has followers who may fall behind.
    pub(super) fn has_followers(&self) -> bool {
        self.followed.load(Ordering::Relaxed) > 0
    }

    /// Takes in what the metadata say of brokers. To be called before partitions are told of the same image.
    pub fn learn(&self, image: &Image) {
        let view = |broker: &crate::topics::image::BrokerImage| BrokerView {
            epoch: broker.registration.epoch,
            is_active: broker.is_active(),
            rack: broker.registration.rack.clone(),
        };
        let brokers: Brokers = image.brokers.iter().map(|(&id, broker)| (id, view(broker))).collect();
        self.in_former_life.store(self.is_of_former_life(image), Ordering::Release);
        if let Some(own) = brokers.get(&self.node) {
            self.node_epoch.store(own.epoch, Ordering::Release);
        }
        let largest = usize::try_from(size_rule::largest_of_brokers(image)).unwrap_or(usize::MAX);
        self.largest_batch.store(largest, Ordering::Relaxed);
        if **self.brokers.load() != brokers {
            self.brokers.store(Arc::new(brokers));
        }
    }

    #[cfg(test)]
    pub(crate) fn set_former_life(&self, is_former: bool) {
        self.in_former_life.store(is_former, Ordering::Release);
    }

    #[cfg(test)]
    pub(crate) fn set_brokers(&self, brokers: Brokers) {
        self.node_epoch.store(brokers.get(&self.node).map_or(-1, |own| own.epoch), Ordering::Release);
        self.brokers.store(Arc::new(brokers));
    }

    pub(crate) fn ask(&self, partition: &Arc<Partition>, proposal: Proposal) {
        self.wishes.lock().push(Wish { partition: Arc::downgrade(partition), proposal });
        self.wished.notify_one();
    }

    /// Waits until the controller has to be asked something, and takes all of it.
    pub async fn wishes(&self) -> Vec<Wish> {
        loop {
            let wished = self.wished.notified();
            let wishes = self.wishes_now();
            if !wishes.is_empty() {
                return wishes;
            }
            wished.await;
        }
    }

    /// What the controller is to be asked now.
    pub fn wishes_now(&self) -> Vec<Wish> {
        std::mem::take(&mut *self.wishes.lock())
    }

    pub(crate) fn on_duty(&self, partition: &Arc<Partition>, duty: Duty) {
        self.duties.lock().insert((partition.topic_id(), partition.index()), (partition.clone(), duty));
        self.has_duties.notify_one();
    }

    /// Waits until roles have changed, and takes all that partitions are to do now.
    pub async fn duties(&self) -> Vec<(Arc<Partition>, Duty)> {
        loop {
            let changed = self.has_duties.notified();
            let duties = std::mem::take(&mut *self.duties.lock());
            if !duties.is_empty() {
                return duties.into_values().collect();
            }
            changed.await;
        }
    }
}

/// A partition that this broker leads and that others follow, as long as it does.
pub(crate) struct Followed(Arc<View>);

impl Followed {
    pub(crate) fn new(view: Arc<View>) -> Followed {
        view.followed.fetch_add(1, Ordering::Relaxed);
        Followed(view)
    }
}

impl std::ops::Deref for Followed {
    type Target = View;

    fn deref(&self) -> &View {
        &self.0
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.0.followed.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `replica.selector.class` names Kafka's selector by racks, the one that there is.
fn selects_by_rack(class: Option<&str>) -> bool {
    class.is_some_and(|class| class.rsplit('.').next() == Some("RackAwareReplicaSelector"))
}
