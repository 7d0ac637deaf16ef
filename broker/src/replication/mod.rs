//! Replication by Kafka's leader and follower fetch.
//!
//! - `leader`, `follower`, `session`, `throttle`: pure. What a leader concludes from its followers' fetches, what a follower
//!   concludes from its leader's answers, and what goes into a request.
//! - `view`: what partitions know of the cluster, and where they leave what is to be done.
//! - `fetchers`, `fetcher`, `round`: the tasks that follow other brokers. `isr`: asks the controller for changes of ISRs.
//!
//! Roles begin and end in [`crate::partition`]; the leader's side of a fetch is `api/fetch.rs`.

mod fetcher;
mod fetchers;
pub mod follower;
mod isr;
pub mod leader;
mod progress;
mod round;
pub mod session;
pub mod throttle;
mod view;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::broker::Broker;

pub(crate) use view::Followed;
pub use view::{BrokerView, Brokers, View, Wish};

/// Runs until its task is dropped.
pub(crate) async fn run(broker: Arc<Broker>) {
    let mut tasks = JoinSet::new();
    tasks.spawn(fetchers::run(broker.clone()));
    tasks.spawn(isr::run(broker.clone()));
    tasks.spawn(watch_lags(broker));
    while tasks.join_next().await.is_some() {}
}

/// A follower that does not ask any more is missed by nobody but the clock.
async fn watch_lags(broker: Arc<Broker>) {
    let every = broker.topics.view().lag_max() / 2;
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A broker that is alone may have a hundred thousand partitions: nobody has to look at each of them.
        if !broker.topics.view().has_followers() {
            continue;
        }
        for topic in broker.topics.registry().topics() {
            topic.partitions().for_each(|partition| partition.look_at_replicas());
        }
    }
}
