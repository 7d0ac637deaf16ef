//! Several brokers in one thread, with a clock, a network and disks that a seed decides: the pure machines of replication
//! and of the metadata as they are, and around them as little as carries their messages.
//!
//! After every event the promises are checked: one leader an epoch, equal logs wherever epochs agree, nothing
//! acknowledged missing on a replica that may lead, nothing read that changes later. Then everything heals, and all must
//! be whole again. The checks are tried on known mistakes: each must be found.
//!
//! `SIM_SEED=n` runs one seed and tells what happens; `SIM_SEEDS=n` so many.
#![allow(clippy::unwrap_used, reason = "a test that meets a surprise should stop right there")]

mod disk;
mod node;
mod promises;
mod world;

use world::{Mistake, World};

const SEEDS: u64 = 400;
/// Each mistake is found within so many seeds.
const SEEDS_FOR_A_MISTAKE: u64 = 400;

fn outcome(seed: u64, mistake: Mistake) -> Result<world::Summary, String> {
    let mut world = World::new(seed, mistake);
    world.run()
}

#[test]
fn nothing_acknowledged_is_lost_whatever_happens_to_brokers_and_network() {
    if let Some(seed) = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let mut world = World::new(seed, Mistake::None);
        world.tells = true;
        println!("{:?}", world.run().unwrap());
        return;
    }
    let seeds = std::env::var("SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let (mut acknowledged, mut elections, mut truncations) = (0, 0, 0);
    for seed in 0..seeds {
        let summary = outcome(seed, Mistake::None).unwrap_or_else(|broken| panic!("SIM_SEED={seed}: {broken}"));
        acknowledged += summary.acknowledged;
        elections += summary.elections;
        truncations += summary.truncations;
    }
    println!("{seeds} seeds: {acknowledged} acknowledged, {elections} elections, {truncations} truncations");
    let enough = |count: usize, each: f64| count as f64 >= seeds as f64 * each;
    assert!(enough(acknowledged, 50.0) && enough(elections, 5.0) && enough(truncations, 0.5), "this proves little");
}

#[test]
fn a_seed_tells_the_same_story_every_time() {
    for seed in 0..20 {
        assert_eq!(outcome(seed, Mistake::None), outcome(seed, Mistake::None));
    }
}

fn is_found(mistake: Mistake) {
    let found = (0..SEEDS_FOR_A_MISTAKE).find_map(|seed| Some((seed, outcome(seed, mistake).err()?)));
    let (seed, broken) = found.expect("the mistake was not found");
    println!("{mistake:?} is found by seed {seed}: {broken}");
}

#[test]
fn a_follower_that_acknowledges_before_it_has_synced_is_found() {
    is_found(Mistake::AcknowledgesUnsynced);
}

#[test]
fn a_truncation_by_the_high_watermark_is_found() {
    is_found(Mistake::TruncatesByHighWatermark);
}

#[test]
fn a_leader_that_takes_fetches_of_every_epoch_is_found() {
    is_found(Mistake::ChecksNoEpoch);
}

#[test]
fn a_leader_that_does_not_wait_for_the_controller_to_shrink_the_isr_is_found() {
    is_found(Mistake::ShrinksByItself);
}

#[test]
fn a_restarted_broker_that_leads_by_what_was_known_before_it_registered_is_found() {
    is_found(Mistake::LeadsUnregistered);
}
