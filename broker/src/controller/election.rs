//! Who leads a partition after a change of its replicas, its ISR or of the brokers. Pure, and the same on every node: it
//! runs where records are applied.
//!
//! The rules are Kafka's, with eligible leader replicas (KIP-966): whoever left the ISR when it was smaller than
//! `min.insync.replicas` still holds everything that was acknowledged, because the high watermark does not move then.

use std::sync::Arc;

use crate::topics::image::{Configs, PartitionImage, RarePartition, TopicImage};
use crate::topics::record::ElectionDefaults;

/// How far an election may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// The leader stays if it can; else the first replica that is in sync or eligible.
    Online,
    /// As before, but the preferred leader comes first.
    Preferred,
    /// As `Online`; if nobody holds everything, any replica that is there. What it does not hold is lost.
    Unclean,
}

/// What a partition shall become. What is none stays.
#[derive(Clone, Copy, Debug)]
pub struct Goal<'a> {
    pub replicas: Option<&'a [i32]>,
    pub isr: Option<&'a [i32]>,
    pub adding: Option<&'a [i32]>,
    pub removing: Option<&'a [i32]>,
    /// Replicas that may have lost what they held: they are neither in sync nor eligible.
    pub lost: &'a [i32],
    pub election: Election,
    /// `min.insync.replicas` of the topic.
    pub min_insync_replicas: i32,
}

impl Goal<'_> {
    /// Nothing but an election.
    pub fn elect(election: Election, min_insync_replicas: i32) -> Goal<'static> {
        Goal { replicas: None, isr: None, adding: None, removing: None, lost: &[], election, min_insync_replicas }
    }
}

/// What holds for the partitions of one topic: its own settings, else those made for all brokers, else `defaults`.
pub fn rules(topic: &TopicImage, cluster: &Configs, defaults: ElectionDefaults) -> ElectionDefaults {
    let look = |name: &str| topic.configs.get(name).or_else(|| cluster.get(name)).map(|value| value.trim());
    ElectionDefaults {
        min_insync_replicas: look("min.insync.replicas")
            .and_then(|value| value.parse().ok())
            .unwrap_or(defaults.min_insync_replicas),
        unclean: look("unclean.leader.election.enable").map_or(defaults.unclean, |value| value == "true"),
    }
}

/// The partition after the change, or none if nothing is different. `may_lead` tells which brokers are there.
pub fn settle(before: &PartitionImage, goal: &Goal<'_>, may_lead: &dyn Fn(i32) -> bool) -> Option<PartitionImage> {
    let mut next = Next::new(before, goal);
    next.complete_reassignment();
    next.find_eligible(before, goal);
    let election = next.elect(before.leader, goal.election, may_lead);
    let mut after_leader = before.leader;
    let mut new_epoch = false;
    if election.leader != before.leader {
        new_epoch = true;
        after_leader = election.leader;
        next.take_office(election);
    } else if before.replicas.iter().any(|replica| !next.replicas.contains(replica)) {
        // Who is no replica any more must be refused by the leader from now on.
        new_epoch = true;
    }
    if after_leader == PartitionImage::NO_LEADER && next.isr.is_empty() && next.elr.is_empty() {
        next.remember_leader(before);
    }
    let mut after = next.into_image(before);
    after.leader = after_leader;
    after.leader_epoch = before.leader_epoch;
    after.partition_epoch = before.partition_epoch;
    if !new_epoch && after == *before {
        return None;
    }
    after.leader_epoch += i32::from(new_epoch);
    after.partition_epoch += 1;
    Some(after)
}

struct Elected {
    leader: i32,
    unclean: bool,
}

struct Next {
    replicas: Vec<i32>,
    isr: Vec<i32>,
    adding: Vec<i32>,
    removing: Vec<i32>,
    elr: Vec<i32>,
    last_known_elr: Vec<i32>,
    recovering: bool,
}

impl Next {
    fn new(before: &PartitionImage, goal: &Goal<'_>) -> Next {
        let own = |given: Option<&[i32]>, else_: &[i32]| given.unwrap_or(else_).to_vec();
        let mut isr = own(goal.isr, &before.isr);
        isr.retain(|replica| !goal.lost.contains(replica));
        Next {
            replicas: own(goal.replicas, &before.replicas),
            isr,
            adding: own(goal.adding, before.adding()),
            removing: own(goal.removing, before.removing()),
            elr: before.elr().to_vec(),
            last_known_elr: before.last_known_elr().to_vec(),
            recovering: before.is_recovering(),
        }
    }

    /// A reassignment is done when all that stay are in sync: whoever leaves then takes nothing along.
    fn complete_reassignment(&mut self) {
        if self.adding.is_empty() && self.removing.is_empty() {
            return;
        }
        let stays = |replica: &i32| !self.removing.contains(replica);
        let replicas: Vec<i32> = self.replicas.iter().copied().filter(stays).collect();
        let isr: Vec<i32> = self.isr.iter().copied().filter(|replica| replicas.contains(replica)).collect();
        if isr.is_empty() || !replicas.iter().all(|replica| isr.contains(replica)) {
            return;
        }
        (self.replicas, self.isr) = (replicas, isr);
        (self.adding, self.removing) = (Vec::new(), Vec::new());
    }

    fn find_eligible(&mut self, before: &PartitionImage, goal: &Goal<'_>) {
        let min_isr = usize::try_from(goal.min_insync_replicas).unwrap_or(1).min(self.replicas.len());
        if self.isr.len() >= min_isr {
            (self.elr, self.last_known_elr) = (Vec::new(), Vec::new());
            return;
        }
        let mut known = before.last_known_elr().to_vec();
        known.extend(before.elr());
        let holds_all = before.isr.iter().chain(before.elr()).copied();
        let (isr, replicas) = (&self.isr, &self.replicas);
        let elr = holds_all
            .filter(|replica| !isr.contains(replica) && replicas.contains(replica) && !goal.lost.contains(replica));
        self.elr = unique(elr);
        let elr = &self.elr;
        self.last_known_elr = unique(
            known
                .into_iter()
                .filter(|replica| !isr.contains(replica) && !elr.contains(replica) && replicas.contains(replica)),
        );
    }

    fn elect(&self, leader: i32, election: Election, may_lead: &dyn Fn(i32) -> bool) -> Elected {
        let holds_all =
            |replica: i32| self.isr.contains(&replica) || self.isr.is_empty() && self.elr.contains(&replica);
        let fits = |replica: i32| self.replicas.contains(&replica) && holds_all(replica) && may_lead(replica);
        let preferred = self.replicas.first().copied().filter(|_| election == Election::Preferred);
        let clean = preferred.into_iter().chain([leader]).chain(self.replicas.iter().copied()).find(|at| fits(*at));
        if let Some(leader) = clean {
            return Elected { leader, unclean: false };
        }
        let any = self.replicas.iter().copied().find(|replica| may_lead(*replica));
        match any.filter(|_| election == Election::Unclean) {
            Some(leader) => Elected { leader, unclean: true },
            None => Elected { leader: PartitionImage::NO_LEADER, unclean: false },
        }
    }

    fn take_office(&mut self, elected: Elected) {
        let leader = elected.leader;
        if leader == PartitionImage::NO_LEADER {
            return;
        }
        if elected.unclean {
            self.isr = vec![leader];
            self.elr.clear();
            self.recovering = true;
        } else if !self.isr.contains(&leader) {
            self.isr = vec![leader];
        }
        self.elr.retain(|replica| *replica != leader);
    }

    fn remember_leader(&mut self, before: &PartitionImage) {
        if before.leader != PartitionImage::NO_LEADER {
            self.last_known_elr = vec![before.leader];
        }
    }

    fn into_image(self, before: &PartitionImage) -> PartitionImage {
        let share = |list: Vec<i32>, known: &[&Arc<[i32]>]| {
            known.iter().find(|same| same[..] == list[..]).map_or_else(|| list.clone().into(), |same| Arc::clone(same))
        };
        let replicas = share(self.replicas, &[&before.replicas]);
        let isr = share(self.isr, &[&replicas, &before.isr]);
        let rare = RarePartition {
            adding: self.adding,
            removing: self.removing,
            elr: self.elr,
            last_known_elr: self.last_known_elr,
            recovering: self.recovering,
        };
        let rare = (rare != RarePartition::default()).then(|| Box::new(rare));
        PartitionImage { replicas, isr, leader: before.leader, leader_epoch: 0, partition_epoch: 0, rare }
    }
}

fn unique(replicas: impl Iterator<Item = i32>) -> Vec<i32> {
    let mut seen = Vec::new();
    for replica in replicas {
        if !seen.contains(&replica) {
            seen.push(replica);
        }
    }
    seen
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
