//! What becomes of partitions when brokers come and go. One record tells of a broker; what follows for each of its
//! partitions is computed here, the same on every node, so that the loss of a broker is as cheap to replicate with a
//! hundred thousand partitions as with one.

use std::sync::Arc;

use super::catalog::{ApplyError, Catalog};
use super::image::{BrokerImage, Image, PartitionImage, TopicImage};
use super::record::{ElectionDefaults, Registration};
use crate::controller::election::{Election, Goal, rules, settle};

/// What happened to a broker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    /// All that it held is in doubt (`everything`), or what topics with `write.caching=true` had only in memory.
    Registered {
        unclean: bool,
        everything: bool,
        /// Topics that do not say otherwise are such topics on it.
        cached: bool,
    },
    Fenced,
    Unfenced,
    ShuttingDown,
}

impl Catalog {
    pub(super) fn register(
        &mut self,
        broker: i32,
        registration: &Registration,
        unclean: bool,
        defaults: ElectionDefaults,
    ) {
        let known = self.image().brokers.get(&broker);
        let everything =
            known.is_some_and(|known| known.registration.dirs.iter().any(|dir| !registration.dirs.contains(dir)));
        let was_cached = known.is_some_and(|known| known.registration.write_caching);
        let cached = was_cached || registration.write_caching;
        // So it is until a heartbeat says otherwise.
        let cordoned = known.is_some_and(|known| known.cordoned);
        let registration = registration.clone();
        let now = BrokerImage { registration, fenced: true, in_controlled_shutdown: false, cordoned };
        Arc::make_mut(&mut self.image_mut().brokers).insert(broker, now);
        self.follow(broker, Event::Registered { unclean, everything, cached }, defaults);
    }

    pub(super) fn fence(&mut self, broker: i32, epoch: i64, defaults: ElectionDefaults) -> Result<(), ApplyError> {
        self.known(broker, epoch)?.fenced = true;
        self.follow(broker, Event::Fenced, defaults);
        Ok(())
    }

    pub(super) fn unfence(&mut self, broker: i32, epoch: i64, defaults: ElectionDefaults) -> Result<(), ApplyError> {
        self.known(broker, epoch)?.fenced = false;
        self.follow(broker, Event::Unfenced, defaults);
        Ok(())
    }

    pub(super) fn begin_shutdown(
        &mut self,
        broker: i32,
        epoch: i64,
        defaults: ElectionDefaults,
    ) -> Result<(), ApplyError> {
        self.known(broker, epoch)?.in_controlled_shutdown = true;
        self.follow(broker, Event::ShuttingDown, defaults);
        Ok(())
    }

    pub(super) fn cordon(&mut self, broker: i32, epoch: i64, cordoned: bool) -> Result<(), ApplyError> {
        self.known(broker, epoch)?.cordoned = cordoned;
        Ok(())
    }

    pub(super) fn unregister(&mut self, broker: i32) -> Result<(), ApplyError> {
        let known = Arc::make_mut(&mut self.image_mut().brokers).remove(&broker);
        known.map(|_| ()).ok_or(ApplyError::UnknownBroker { broker, epoch: -1 })
    }

    fn known(&mut self, broker: i32, epoch: i64) -> Result<&mut BrokerImage, ApplyError> {
        let known = Arc::make_mut(&mut self.image_mut().brokers).get_mut(&broker);
        let known = known.filter(|known| known.registration.epoch == epoch);
        known.ok_or(ApplyError::UnknownBroker { broker, epoch })
    }

    fn follow(&mut self, broker: i32, event: Event, defaults: ElectionDefaults) {
        // One after the other, so that what each leaves is there for the next: all of a hundred thousand partitions at
        // once would be twice the memory.
        let topics: Vec<Arc<TopicImage>> = self.image().topics().cloned().collect();
        for topic in topics {
            if let Some(after) = follow_topic(self.image(), &topic, broker, event, defaults) {
                self.image_mut().put(after);
            }
        }
    }
}

/// The topic afterwards, if anything of it is different.
fn follow_topic(
    image: &Image,
    topic: &TopicImage,
    broker: i32,
    event: Event,
    defaults: ElectionDefaults,
) -> Option<TopicImage> {
    let concerned = |partition: &PartitionImage| match event {
        Event::Unfenced => partition.leader == PartitionImage::NO_LEADER && partition.replicas.contains(&broker),
        Event::Registered { .. } => partition.replicas.contains(&broker),
        Event::Fenced | Event::ShuttingDown => partition.leader == broker || partition.isr.contains(&broker),
    };
    if !topic.partitions.iter().any(concerned) {
        return None;
    }
    let rules = rules(topic, &image.cluster_configs, defaults);
    let lossy = match event {
        Event::Registered { everything: true, .. } => true,
        Event::Registered { unclean: true, cached, .. } => is_cached(image, topic, broker, cached),
        _ => false,
    };
    let mut after: Option<TopicImage> = None;
    for (index, partition) in topic.partitions.iter().enumerate().filter(|(_, partition)| concerned(partition)) {
        if let Some(next) = follow_partition(image, partition, broker, event, rules, lossy) {
            after.get_or_insert_with(|| topic.clone()).partitions[index] = next;
        }
    }
    after
}

/// Whether the broker acknowledged for the topic what it had only in memory.
fn is_cached(image: &Image, topic: &TopicImage, broker: i32, by_its_file: bool) -> bool {
    let own = image.broker_configs.get(&broker).and_then(|own| own.get("log.write.caching"));
    let given = topic.configs.get("write.caching").or(own).or_else(|| image.cluster_configs.get("log.write.caching"));
    given.map_or(by_its_file, |value| value.trim().eq_ignore_ascii_case("true"))
}

fn follow_partition(
    image: &Image,
    partition: &PartitionImage,
    broker: i32,
    event: Event,
    rules: ElectionDefaults,
    lossy: bool,
) -> Option<PartitionImage> {
    let may_lead = |replica: i32| image.is_active(replica);
    let election = if rules.unclean { Election::Unclean } else { Election::Online };
    let goal = Goal::elect(election, rules.min_insync_replicas);
    if event == Event::Unfenced {
        return settle(partition, &goal, &may_lead);
    }
    let others: Vec<i32> = partition.isr.iter().copied().filter(|replica| *replica != broker).collect();
    if event == Event::ShuttingDown && !others.iter().any(|replica| may_lead(*replica)) {
        // Nobody could go on: it leads until it is gone.
        return None;
    }
    // The last one that knows anything is not struck off: whatever it still has is all there is.
    let has_others = !others.is_empty() || partition.elr().iter().any(|replica| *replica != broker);
    let lost = [broker];
    let lost: &[i32] = if lossy && has_others { &lost } else { &[] };
    let mut after = settle(partition, &Goal { isr: Some(&others), lost, ..goal }, &may_lead)?;
    if matches!(event, Event::Registered { .. }) && after.leader == PartitionImage::NO_LEADER {
        // Who led has ended, and nobody leads in this epoch any more: the next leader's is the next one.
        after.leader_epoch = partition.leader_epoch;
    }
    Some(after)
}
