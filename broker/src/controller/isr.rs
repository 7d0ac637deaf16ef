//! Changes of in-sync replicas that leaders ask for (AlterPartition): pure validation, and the record.
//!
//! Epochs of three kinds keep out what is out of date: that of the leadership, that of the partition's state, and those of
//! the brokers, so that nobody is in sync who is fenced, about to stop, or was started anew since the leader heard of it
//! (KIP-497, KIP-841, KIP-903).

use uuid::Uuid;

use super::election::{Election, Goal, rules, settle};
use crate::topics::image::{Image, PartitionImage};
use crate::topics::record::{ElectionDefaults, Record};

/// What a leader asks for one partition.
#[derive(Clone, Debug)]
pub struct IsrChange {
    /// The topic.
    pub topic: Uuid,
    /// The partition.
    pub partition: i32,
    /// Epoch of the leadership that asks.
    pub leader_epoch: i32,
    /// The state that it starts from.
    pub partition_epoch: i32,
    /// The new in-sync replicas, each with the epoch of its broker; -1 where the leader does not know it.
    pub isr: Vec<(i32, i64)>,
    /// The leader says that it is still recovering from an unclean election.
    pub is_recovering: bool,
}

/// Why in-sync replicas were not changed. Nothing was, then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsrError {
    /// No topic of that id.
    #[error("there is no topic of that id")]
    UnknownTopic,
    /// No such partition.
    #[error("the topic has no such partition")]
    UnknownPartition,
    /// The leadership has ended.
    #[error("leader epoch {asked} has ended: the partition is in {current}")]
    FencedLeader {
        /// That of the request.
        asked: i32,
        /// That of now.
        current: i32,
    },
    /// The one who asks knows more than this node: it is not the active controller any more.
    #[error("the request knows of a later state than this controller")]
    FromTheFuture,
    /// Another broker leads.
    #[error("broker {asked} asks, and {leader} leads")]
    NotTheLeader {
        /// Who asks.
        asked: i32,
        /// Who leads.
        leader: i32,
    },
    /// The state has changed since.
    #[error("partition epoch {asked} is out of date: the partition is in {current}")]
    InvalidVersion {
        /// That of the request.
        asked: i32,
        /// That of now.
        current: i32,
    },
    /// It cannot be meant so.
    #[error("{0}")]
    Invalid(&'static str),
    /// Somebody may not be in sync.
    #[error("broker {broker} may not be in sync: {reason}")]
    Ineligible {
        /// Who.
        broker: i32,
        /// Why.
        reason: &'static str,
    },
}

/// What a change comes to.
#[derive(Clone, Debug)]
pub struct IsrChanged {
    /// The partition afterwards.
    pub after: PartitionImage,
    /// None where that is what it was.
    pub record: Option<Record>,
}

/// Judges what broker `leader` asks for.
pub fn change(
    image: &Image,
    leader: i32,
    change: &IsrChange,
    defaults: ElectionDefaults,
) -> Result<IsrChanged, IsrError> {
    let topic = image.topic_by_id(change.topic).ok_or(IsrError::UnknownTopic)?;
    let before = usize::try_from(change.partition).ok().and_then(|index| topic.partitions.get(index));
    let before = before.ok_or(IsrError::UnknownPartition)?;
    check_epochs(before, leader, change)?;
    check_members(before, leader, change)?;
    for &(broker, epoch) in &change.isr {
        check_eligible(image, broker, epoch)?;
    }
    let rules = rules(topic, &image.cluster_configs, defaults);
    let isr: Vec<i32> = change.isr.iter().map(|(broker, _)| *broker).collect();
    let goal = Goal { isr: Some(&isr), ..Goal::elect(Election::Online, rules.min_insync_replicas) };
    let mut after = settle(before, &goal, &|broker| image.is_active(broker));
    if before.is_recovering() && !change.is_recovering {
        let mut recovered = after.unwrap_or_else(|| {
            let partition_epoch = before.partition_epoch + 1;
            PartitionImage { partition_epoch, ..before.clone() }
        });
        if let Some(rare) = &mut recovered.rare {
            rare.recovering = false;
        }
        after = Some(PartitionImage::from(recovered.state()));
    }
    let Some(after) = after else { return Ok(IsrChanged { after: before.clone(), record: None }) };
    let (id, partition) = (change.topic, change.partition);
    let record = Some(Record::PartitionChanged { id, partition, state: after.state() });
    Ok(IsrChanged { after, record })
}

fn check_epochs(before: &PartitionImage, leader: i32, change: &IsrChange) -> Result<(), IsrError> {
    let (asked, current) = (change.leader_epoch, before.leader_epoch);
    if asked < current {
        return Err(IsrError::FencedLeader { asked, current });
    }
    if asked > current {
        return Err(IsrError::FromTheFuture);
    }
    if leader != before.leader {
        return Err(IsrError::NotTheLeader { asked: leader, leader: before.leader });
    }
    let (asked, current) = (change.partition_epoch, before.partition_epoch);
    if asked < current {
        return Err(IsrError::InvalidVersion { asked, current });
    }
    if asked > current {
        return Err(IsrError::FromTheFuture);
    }
    Ok(())
}

fn check_members(before: &PartitionImage, leader: i32, change: &IsrChange) -> Result<(), IsrError> {
    let isr = &change.isr;
    if !isr.iter().any(|(broker, _)| *broker == leader) {
        return Err(IsrError::Invalid("the leader is not among the in-sync replicas"));
    }
    if isr.iter().any(|(broker, _)| !before.replicas.contains(broker)) {
        return Err(IsrError::Invalid("a broker that has no replica cannot be in sync"));
    }
    if isr.iter().enumerate().any(|(at, (broker, _))| isr[..at].iter().any(|(other, _)| other == broker)) {
        return Err(IsrError::Invalid("a broker is named twice"));
    }
    if change.is_recovering && !before.is_recovering() {
        return Err(IsrError::Invalid("a leader that has recovered does not recover again"));
    }
    if change.is_recovering && isr.len() > 1 {
        return Err(IsrError::Invalid("while the leader recovers, nobody else is in sync"));
    }
    Ok(())
}

fn check_eligible(image: &Image, broker: i32, epoch: i64) -> Result<(), IsrError> {
    let ineligible = |reason| Err(IsrError::Ineligible { broker, reason });
    let Some(known) = image.brokers.get(&broker) else { return ineligible("it is not registered") };
    if epoch != -1 && epoch != known.registration.epoch {
        return ineligible("it was started anew since the leader heard of it");
    }
    if known.fenced {
        return ineligible("it is fenced");
    }
    if known.in_controlled_shutdown {
        return ineligible("it is about to stop");
    }
    Ok(())
}

#[cfg(test)]
#[path = "isr_tests.rs"]
mod tests;
