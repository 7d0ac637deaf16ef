//! Kinds of fault, and the seeded schedule of a run.

use std::time::Duration;

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde::Serialize;

/// What can be done to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// kill -9 of one node, any one
    KillOne,
    /// kill -9 of the leader of a partition under load
    KillLeader,
    /// kill -9 of the active controller
    KillController,
    /// kill -9 of a group's coordinator
    KillCoordinator,
    /// kill -9 of a majority at once
    KillMajority,
    /// kill -9 of all nodes at once
    KillAll,
    /// SIGTERM of the leader of a partition, and a start
    StopLeader,
    /// Each node in turn is stopped cleanly and started again
    RollingRestart,
    /// SIGSTOP of one node, later SIGCONT
    Pause,
    /// SIGSTOP and SIGCONT in short turns
    Stutter,
    /// One node hears the others, and they do not hear it
    Mute,
    /// The others hear one node, and it does not hear them
    Deafen,
    /// Each node hears its neighbour on one side only
    Ring,
    /// The leader of a partition sees clients, and no other node
    IsolateLeader,
    /// The active controller sees clients, and no other node
    IsolateController,
    /// A share of all packets is lost
    Loss,
    /// All packets between nodes are late
    Delay,
    /// Packets come twice, and out of order
    Disorder,
    /// Connections are reset all the time
    Resets,
    /// Wall clocks jump, each its own way
    ClockJump,
    /// The power of one node fails: what it had not synced is gone
    PowerCut,
    /// The power of all nodes fails at once
    PowerCutAll,
    /// The disk of one node is full, and has room again
    FullDisk,
    /// The disk of one node stands still again and again
    SlowDisk,
    /// One node loses its data, and comes back empty
    Wipe,
    /// Replicas move between nodes under load
    Reassign,
    /// Leaders are elected anew all the time
    Elections,
    /// A voter leaves the metadata quorum, and comes back
    Membership,
}

/// What a kind needs to be possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// Packets in its own hands: to TCP, a proxy can do the rest.
    Packets,
    /// A file system for each node.
    Volumes,
    /// A wall clock that can be made to jump.
    Clock,
    /// Voters that can change.
    DynamicQuorum,
}

impl Kind {
    pub(super) fn all() -> &'static [Kind] {
        Kind::value_variants()
    }

    /// Its name on the command line.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(|| format!("{self:?}"), |value| value.get_name().to_owned())
    }

    pub(super) fn need(self) -> Need {
        match self {
            Kind::Disorder => Need::Packets,
            Kind::PowerCut | Kind::PowerCutAll | Kind::FullDisk | Kind::SlowDisk => Need::Volumes,
            Kind::ClockJump => Need::Clock,
            Kind::Membership => Need::DynamicQuorum,
            _ => Need::Nothing,
        }
    }

    /// Whether it may only come when everything is in sync: it takes something away for good.
    pub(super) fn destroys(self) -> bool {
        matches!(self, Kind::Wipe)
    }
}

/// One fault of a schedule.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// Which node, where the kind leaves that to chance; also the seed of its other choices.
    pub(super) node: usize,
    pub(super) lasts_ms: u64,
    /// Quiet time after it is healed.
    pub(super) rest_ms: u64,
}

impl Fault {
    pub(super) fn lasts(&self) -> Duration {
        Duration::from_millis(self.lasts_ms)
    }

    pub(super) fn rest(&self) -> Duration {
        Duration::from_millis(self.rest_ms)
    }
}

/// Faults without end for a seed: every kind once in each round, in an order of its own.
pub(super) struct Schedule {
    kinds: Vec<Kind>,
    nodes: usize,
    random: StdRng,
    round: Vec<Kind>,
}

impl Schedule {
    pub(super) fn new(seed: u64, kinds: &[Kind], nodes: usize) -> Schedule {
        Schedule { kinds: kinds.to_vec(), nodes, random: StdRng::seed_from_u64(seed), round: Vec::new() }
    }
}

impl Iterator for Schedule {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        if self.round.is_empty() {
            self.round.clone_from(&self.kinds);
            self.round.shuffle(&mut self.random);
        }
        let kind = self.round.pop()?;
        Some(Fault {
            kind,
            node: self.random.random_range(1..=self.nodes),
            lasts_ms: self.random.random_range(2_000..12_000),
            rest_ms: self.random.random_range(1_000..6_000),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        let some = |seed| Schedule::new(seed, Kind::all(), 3).take(60).map(|fault| format!("{fault:?}"));
        assert!(some(7).eq(some(7)));
        assert!(!some(7).eq(some(8)));
    }

    #[test]
    fn every_kind_comes_once_in_each_round() {
        let mut schedule = Schedule::new(1, Kind::all(), 5);
        for _ in 0..3 {
            let mut kinds: Vec<String> =
                schedule.by_ref().take(Kind::all().len()).map(|fault| fault.kind.name()).collect();
            kinds.sort();
            kinds.dedup();
            assert_eq!(kinds.len(), Kind::all().len());
        }
    }
}
