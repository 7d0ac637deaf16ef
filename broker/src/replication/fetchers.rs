//! Which fetcher follows which partition: as the roles of partitions change, so do the fetchers.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use tokio::task::JoinSet;

use super::fetcher::{Assigned, Fetcher};
use super::round::{Followed, Key};
use super::throttle::Throttle;
use crate::broker::Broker;
use crate::partition::{Duty, Partition};

/// A leader, and one of the fetchers that follow it.
type Place = (i32, usize);

struct Fetchers {
    broker: Arc<Broker>,
    throttle: Arc<Throttle>,
    by_place: HashMap<Place, Arc<Assigned>>,
    places: HashMap<Key, Place>,
    tasks: JoinSet<()>,
}

/// Runs until its task is dropped, and all fetchers with it.
pub(super) async fn run(broker: Arc<Broker>) {
    let mut fetchers = Fetchers {
        broker: broker.clone(),
        throttle: Arc::default(),
        by_place: HashMap::new(),
        places: HashMap::new(),
        tasks: JoinSet::new(),
    };
    loop {
        let duties = broker.topics.view().duties().await;
        for (partition, duty) in duties {
            fetchers.assign(partition, duty);
        }
    }
}

impl Fetchers {
    fn assign(&mut self, partition: Arc<Partition>, duty: Duty) {
        let key = (partition.topic_id(), partition.index());
        let place = match duty {
            Duty::Follow { leader, .. } => Some((leader, self.index_of(&key))),
            Duty::Lead | Duty::Wait => None,
        };
        if let Some(old) = self.places.remove(&key)
            && Some(old) != place
            && let Some(assigned) = self.by_place.get(&old)
        {
            assigned.remove(&key);
        }
        if let (Some(place), Duty::Follow { epoch, .. }) = (place, duty) {
            self.places.insert(key, place);
            self.fetcher(place).put(key, Followed { partition, epoch });
        }
    }

    fn index_of(&self, key: &Key) -> usize {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        (hasher.finish() % self.broker.config().num_replica_fetchers.max(1) as u64) as usize
    }

    fn fetcher(&mut self, place: Place) -> &Arc<Assigned> {
        self.by_place.entry(place).or_insert_with(|| {
            let assigned = Arc::<Assigned>::default();
            let fetcher = Fetcher::new(self.broker.clone(), place.0, assigned.clone(), self.throttle.clone());
            self.tasks.spawn(fetcher.run());
            assigned
        })
    }
}
