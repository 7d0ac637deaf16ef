//! Partitions move to other brokers: which replicas come and go meanwhile, and the way back. Pure.
//!
//! A reassignment adds the new replicas to the old ones. When they are in sync, [`settle`] takes the old ones out, with the
//! change of the ISR that completed them; so here is only how it begins and how it is given up.

use super::election::{Election, Goal, rules, settle};
use super::leaders::may_lead;
use super::placement::Broker;
use crate::topics::catalog::{AssignmentError, check_replicas};
use crate::topics::image::{Image, PartitionImage, TopicImage};
use crate::topics::record::{ElectionDefaults, Record};

/// Why a partition is not reassigned, or goes on being.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReassignError {
    #[error("Unable to find a topic named {0}.")]
    UnknownTopic(String),
    #[error("Unable to find partition {topic}:{partition}.")]
    UnknownPartition { topic: String, partition: i32 },
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    #[error("The replication factor is changed from {from} to {to}")]
    OtherFactor { from: usize, to: usize },
    #[error("No partition reassignment is in progress.")]
    NotInProgress,
    #[error(
        "Unable to revert partition assignment for {topic}:{partition} because it would require an unclean leader \
         election."
    )]
    UncleanRevert { topic: String, partition: i32 },
}

/// A partition that shall have other replicas.
#[derive(Clone, Debug)]
pub struct Reassign {
    pub topic: String,
    pub partition: i32,
    /// The replicas to have, the preferred leader first; none gives up the reassignment that is under way.
    pub target: Option<Vec<i32>>,
    /// Whether there may be more or fewer replicas than before (KIP-860).
    pub other_factor: bool,
}

/// The record that begins or gives up a reassignment; none if nothing changes.
pub fn reassign(
    image: &Image,
    brokers: &[Broker<'_>],
    command: &Reassign,
    defaults: ElectionDefaults,
) -> Result<Option<Record>, ReassignError> {
    let topic = image.topic(&command.topic).ok_or_else(|| ReassignError::UnknownTopic(command.topic.clone()))?;
    let unknown = || ReassignError::UnknownPartition { topic: command.topic.clone(), partition: command.partition };
    let index = usize::try_from(command.partition).map_err(|_| unknown())?;
    let before = topic.partitions.get(index).ok_or_else(unknown)?;
    let after = match &command.target {
        Some(target) => begin(image, topic, before, target, command.other_factor, brokers, defaults)?,
        None => give_up(image, topic, before, command.partition, defaults)?,
    };
    let record = |after: PartitionImage| Record::PartitionChanged {
        id: topic.id,
        partition: command.partition,
        state: after.state(),
    };
    Ok(after.map(record))
}

fn begin(
    image: &Image,
    topic: &TopicImage,
    before: &PartitionImage,
    target: &[i32],
    other_factor: bool,
    brokers: &[Broker<'_>],
    defaults: ElectionDefaults,
) -> Result<Option<PartitionImage>, ReassignError> {
    check_replicas(target, None, brokers)?;
    let stays = |replica: &&i32| !before.removing().contains(replica);
    let from = before.replicas.iter().filter(stays).count();
    if !other_factor && from != target.len() {
        return Err(ReassignError::OtherFactor { from, to: target.len() });
    }
    let missing_in = |from: &[i32], other: &[i32]| -> Vec<i32> {
        let mut missing: Vec<i32> = from.iter().copied().filter(|replica| !other.contains(replica)).collect();
        missing.sort_unstable();
        missing
    };
    let (removing, adding) = (missing_in(&before.replicas, target), missing_in(target, &before.replicas));
    // What an earlier reassignment was adding, and this one goes on with, is still to come.
    let still = before.adding().iter().copied().filter(|replica| target.contains(replica));
    let mut adding: Vec<i32> = adding.into_iter().chain(still).collect();
    adding.sort_unstable();
    let replicas: Vec<i32> = target.iter().chain(&removing).copied().collect();
    let goal = Goal {
        replicas: Some(&replicas),
        adding: Some(&adding),
        removing: Some(&removing),
        ..Goal::elect(Election::Online, rules(topic, &image.cluster_configs, defaults).min_insync_replicas)
    };
    Ok(settle(before, &goal, &may_lead(image)))
}

/// The replicas that were being added leave, those that were being removed stay.
fn give_up(
    image: &Image,
    topic: &TopicImage,
    before: &PartitionImage,
    partition: i32,
    defaults: ElectionDefaults,
) -> Result<Option<PartitionImage>, ReassignError> {
    if !is_in_progress(before) {
        return Err(ReassignError::NotInProgress);
    }
    let without_added = |replicas: &[i32]| -> Vec<i32> {
        replicas.iter().copied().filter(|replica| !before.adding().contains(replica)).collect()
    };
    let replicas = without_added(&before.replicas);
    let rules = rules(topic, &image.cluster_configs, defaults);
    let mut isr = without_added(&before.isr);
    let holds_all = |replica: &i32| isr.contains(replica) || before.elr().contains(replica);
    if !replicas.iter().any(holds_all) {
        // Only what was added holds everything.
        if !rules.unclean {
            return Err(ReassignError::UncleanRevert { topic: topic.name.to_string(), partition });
        }
        isr = replicas.first().copied().into_iter().collect();
    }
    let election = if rules.unclean { Election::Unclean } else { Election::Online };
    let goal = Goal {
        replicas: Some(&replicas),
        isr: Some(&isr),
        adding: Some(&[]),
        removing: Some(&[]),
        ..Goal::elect(election, rules.min_insync_replicas)
    };
    Ok(settle(before, &goal, &may_lead(image)))
}

/// Whether replicas of the partition come or go.
pub fn is_in_progress(partition: &PartitionImage) -> bool {
    !partition.adding().is_empty() || !partition.removing().is_empty()
}

/// The partitions of a topic that are being reassigned.
pub fn in_progress(topic: &TopicImage) -> impl Iterator<Item = (i32, &PartitionImage)> {
    (0..).zip(&topic.partitions).filter(|(_, partition)| is_in_progress(partition))
}

#[cfg(test)]
#[path = "reassign_tests.rs"]
mod tests;
