//! Many faults at once, by seed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::network::Weather;
use crate::oracle::Ledger;
use crate::world::World;

/// Seeds of one run of the tests.
const SEEDS: u64 = 8;
/// Faults of one seed.
const FAULTS: usize = 25;

impl World {
    fn some_node(&mut self) -> u64 {
        let all: Vec<u64> = self.platters.keys().copied().collect();
        *all.choose(&mut self.rng).unwrap()
    }

    fn cut(&mut self, from: u64, to: u64) {
        self.net.lock().cut.insert((from, to));
    }

    async fn befall(&mut self) {
        let nodes: Vec<u64> = self.platters.keys().copied().collect();
        let one = self.some_node();
        // What was bad gets better as often as it gets worse, or there would be nobody to go on.
        if self.rng.random_bool(0.5) {
            self.net.lock().cut.clear();
        }
        for id in &nodes {
            if self.rng.random_bool(0.6) {
                self.start(*id).await;
            }
        }
        let kind = self.rng.random_range(0..10);
        match kind {
            0 => nodes.iter().for_each(|other| {
                self.cut(one, *other);
                self.cut(*other, one);
            }),
            1 => nodes.iter().for_each(|other| self.cut(one, *other)),
            2 => nodes.iter().for_each(|other| self.cut(*other, one)),
            3 => self.ring(&nodes),
            4 => self.crash(one),
            5 => nodes.iter().for_each(|id| self.crash(*id)),
            6 => nodes.iter().take(nodes.len() / 2 + 1).for_each(|id| self.crash(*id)),
            7 => {
                let (loss, repeat) = (self.rng.random_range(0.0..0.3), self.rng.random_range(0.0..0.3));
                let delay_ms = *[1, 5, 50, 150].choose(&mut self.rng).unwrap();
                self.net.lock().weather = Weather { loss, repeat, delay_ms };
            }
            8 => {
                let slowness = *[1, 10, 100, 400].choose(&mut self.rng).unwrap();
                self.platters[&one].slowness.store(slowness, Ordering::SeqCst);
            }
            _ => self.hint(one),
        }
        self.note(format!("{kind} on {one}; up: {:?}; cut: {:?}", self.up(), self.net.lock().cut));
    }

    /// Each hears its two neighbours only.
    fn ring(&mut self, nodes: &[u64]) {
        let count = nodes.len();
        for (at, from) in nodes.iter().enumerate() {
            for (other, to) in nodes.iter().enumerate() {
                if other != (at + 1) % count && at != (other + 1) % count && at != other {
                    self.cut(*from, *to);
                }
            }
        }
        if count == 3 {
            self.cut(nodes[0], nodes[1]);
            self.cut(nodes[1], nodes[0]);
        }
    }

    /// Somebody believes, rightly or not, that the leader is gone.
    fn hint(&mut self, one: u64) {
        if self.up().contains(&one) {
            let node = self.node(one);
            let leader = node.leadership().borrow().leader;
            leader.into_iter().for_each(|leader| node.leader_connection_lost(leader));
        }
    }

    async fn storm(&mut self) {
        for _ in 0..FAULTS {
            self.befall().await;
            let until = self.rng.random_range(1..12);
            for _ in 0..until {
                if self.rng.random_bool(0.5) {
                    self.say().await;
                } else {
                    self.say_meanwhile();
                }
                let pause = Duration::from_millis(self.rng.random_range(1..500));
                self.pass(pause).await;
            }
        }
    }
}

fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match (number("QUORUM_SEED"), number("QUORUM_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, Some(count)) => (0..count).collect(),
        (None, None) => (0..SEEDS).collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_quorum_in_a_storm_keeps_what_it_acknowledged_and_recovers() {
    let (mut terms, mut commands, mut snapshots) = (0, 0, 0);
    for seed in seeds() {
        println!("seed {seed}");
        let mut world = World::of(if seed % 3 == 2 { 5 } else { 3 }, seed).await;
        world.leader().await;
        let observer = world.observe_from_outside();
        world.storm().await;
        world.heal().await;
        let members: Vec<u64> = world.up();
        world.verify(&members).await;
        let last = world.leader().await.1.applied().borrow().index;
        let mut applied = observer.applied();
        let seen = tokio::time::timeout(Duration::from_secs(10), applied.wait_for(|at| at.index >= last)).await;
        assert!(seen.is_ok_and(|seen| seen.is_ok()), "seed {seed}: an observer stays behind");
        assert!(observer.read(Ledger::len) > 0);
        let oracle = world.oracle.lock();
        terms += oracle.terms();
        commands += oracle.commands();
        snapshots += oracle.snapshots_taken_over;
        println!("  {} terms, {} acknowledged of {} commands", oracle.terms(), oracle.acked.len(), oracle.commands());
    }
    println!("{terms} terms, {commands} commands, {snapshots} snapshots taken over");
    assert!(terms > 0 && commands > 0);
}
