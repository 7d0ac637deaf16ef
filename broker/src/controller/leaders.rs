//! Elections that were asked for, and those that fall due by themselves. Pure.

use super::election::{Election, Goal, rules, settle};
use crate::topics::image::{Image, PartitionImage, TopicImage};
use crate::topics::record::{ElectionDefaults, Record};

/// Which leader shall be elected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The first replica, if it is in sync.
    Preferred,
    /// Any replica that is there, if there is no leader. What it does not hold is lost.
    Unclean,
}

/// Why nobody was elected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElectError {
    #[error("No such topic as {0}")]
    UnknownTopic(String),
    #[error("No such partition as {topic}-{partition}")]
    UnknownPartition { topic: String, partition: i32 },
    #[error("Leader election not needed for topic partition.")]
    NotNeeded,
    #[error("The preferred leader was not available.")]
    PreferredNotAvailable,
    #[error("Eligible topic partition leaders are not available.")]
    NobodyEligible,
}

/// Partitions that one pass of [`balance`] or [`elect_uncleanly`] looks after; the next pass goes on.
pub const ELECTIONS_PER_PASS: usize = 1_000;

/// Elects a leader of one partition.
pub fn elect(
    image: &Image,
    topic: &str,
    partition: i32,
    wanted: Wanted,
    defaults: ElectionDefaults,
) -> Result<Record, ElectError> {
    let image_of = image.topic(topic).ok_or_else(|| ElectError::UnknownTopic(topic.to_owned()))?;
    let unknown = || ElectError::UnknownPartition { topic: topic.to_owned(), partition };
    let index = usize::try_from(partition).map_err(|_| unknown())?;
    let before = image_of.partitions.get(index).ok_or_else(unknown)?;
    if is_settled(before, wanted) {
        return Err(ElectError::NotNeeded);
    }
    elect_in(image, image_of, index, wanted, defaults).ok_or(match wanted {
        Wanted::Preferred => ElectError::PreferredNotAvailable,
        Wanted::Unclean => ElectError::NobodyEligible,
    })
}

fn is_settled(partition: &PartitionImage, wanted: Wanted) -> bool {
    match wanted {
        Wanted::Preferred => partition.replicas.first() == Some(&partition.leader),
        Wanted::Unclean => partition.leader != PartitionImage::NO_LEADER,
    }
}

fn elect_in(
    image: &Image,
    topic: &TopicImage,
    index: usize,
    wanted: Wanted,
    defaults: ElectionDefaults,
) -> Option<Record> {
    let election = match wanted {
        Wanted::Preferred => Election::Preferred,
        Wanted::Unclean => Election::Unclean,
    };
    let goal = Goal::elect(election, rules(topic, &image.cluster_configs, defaults).min_insync_replicas);
    let after = settle(topic.partitions.get(index)?, &goal, &may_lead(image))?;
    let partition = i32::try_from(index).ok()?;
    is_settled(&after, wanted).then(|| Record::PartitionChanged { id: topic.id, partition, state: after.state() })
}

/// Who may lead. Where no broker registers there is but one, and it may.
pub(super) fn may_lead(image: &Image) -> impl Fn(i32) -> bool {
    |broker| image.brokers.is_empty() || image.is_active(broker)
}

/// Gives the preferred leaders their partitions back, where they are in sync (`auto.leader.rebalance.enable`).
pub fn balance(image: &Image, defaults: ElectionDefaults) -> Vec<Record> {
    pass(image, Wanted::Preferred, defaults, |_, partition| {
        let first = partition.replicas.first().filter(|first| partition.isr.contains(first));
        !is_settled(partition, Wanted::Preferred) && first.is_some_and(|first| may_lead(image)(*first))
    })
}

/// Elects leaders where there is none and the topic would rather lose records than wait
/// (`unclean.leader.election.enable`).
pub fn elect_uncleanly(image: &Image, defaults: ElectionDefaults) -> Vec<Record> {
    pass(image, Wanted::Unclean, defaults, |topic, partition| {
        partition.leader == PartitionImage::NO_LEADER && rules(topic, &image.cluster_configs, defaults).unclean
    })
}

fn pass(
    image: &Image,
    wanted: Wanted,
    defaults: ElectionDefaults,
    due: impl Fn(&TopicImage, &PartitionImage) -> bool,
) -> Vec<Record> {
    let mut records = Vec::new();
    for topic in image.topics() {
        for (index, _) in topic.partitions.iter().enumerate().filter(|(_, partition)| due(topic, partition)) {
            records.extend(elect_in(image, topic, index, wanted, defaults));
            if records.len() == ELECTIONS_PER_PASS {
                return records;
            }
        }
    }
    records
}

#[cfg(test)]
#[path = "leaders_tests.rs"]
mod tests;
