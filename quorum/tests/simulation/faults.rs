//! One fault at a time.

use std::time::Duration;

use jackdaw_quorum::ProposeError;

use crate::oracle::{Ledger, command};
use crate::world::World;

#[tokio::test(start_paused = true)]
async fn three_nodes_elect_a_leader_and_agree() {
    let mut world = World::of(3, 1).await;
    for _ in 0..20 {
        world.leader().await;
        world.say().await;
    }
    assert_eq!(world.oracle.lock().acked.len(), 20);
    world.verify(&[1, 2, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_its_majority_says_so_within_the_election_timeout_and_another_is_elected() {
    let mut world = World::of(3, 2).await;
    let (old, leader) = world.leader().await;
    for other in [1, 2, 3] {
        world.net.lock().cut.extend([(old, other), (other, old)]);
    }
    let (base, proposing) = (leader.read(Ledger::len), leader.clone());
    let proposed = tokio::spawn(async move { proposing.propose(command(base, "lost")).await });
    let mut leadership = leader.leadership();
    let lost = leadership.wait_for(|now| !now.ready);
    let lost = *tokio::time::timeout(Duration::from_millis(1_500), lost).await.expect("in bounded time").unwrap();
    assert_eq!(lost.leader, None);
    let refused = leader.propose(command(base, "refused")).await;
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: None }), "it does not even try");
    assert!(matches!(proposed.await.unwrap(), Err(ProposeError::TimedOut { .. })));
    let (new, leader) = world.leader().await;
    assert_ne!(new, old);
    let base = leader.read(Ledger::len);
    leader.propose(command(base, "kept")).await.unwrap();
    world.heal().await;
    world.verify(&[1, 2, 3]).await;
    let (_, leader) = world.leader().await;
    assert!(!leader.read(Ledger::words).contains(&"lost".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn voters_that_lost_the_leaders_connection_elect_another_before_the_election_timeout() {
    for seed in 0..20 {
        let mut world = World::of(3, seed).await;
        let (old, _) = world.leader().await;
        world.pass(Duration::from_millis(500)).await;
        world.crash(old);
        let start = tokio::time::Instant::now();
        world.up().into_iter().for_each(|id| world.node(id).leader_connection_lost(old));
        world.leader().await;
        let took = start.elapsed();
        assert!(took < Duration::from_millis(900), "seed {seed}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_false_alarm_of_one_voter_costs_an_election_at_most() {
    let mut world = World::of(3, 4).await;
    let (old, _) = world.leader().await;
    let other = world.up().into_iter().find(|id| *id != old).unwrap();
    world.node(other).leader_connection_lost(old);
    world.pass(Duration::from_secs(2)).await;
    world.verify(&[1, 2, 3]).await;
    let term = world.leader().await.1.leadership().borrow().term;
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(world.leader().await.1.leadership().borrow().term, term, "it is quiet afterwards");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_disk_fails_ends_and_says_why() {
    let mut world = World::of(3, 5).await;
    let (old, leader) = world.leader().await;
    world.platters[&old].fail();
    let base = leader.read(Ledger::len);
    let refused = leader.propose(command(base, "lost")).await;
    assert!(matches!(refused, Err(ProposeError::Fatal(_))), "{refused:?}");
    let why = tokio::time::timeout(Duration::from_secs(5), leader.ended()).await.unwrap();
    assert!(why.contains("no space"), "{why}");
    world.pass(Duration::from_secs(1)).await;
    assert!(!leader.leadership().borrow().ready);
    let (new, _) = world.leader().await;
    assert_ne!(new, old);
    world.crash(old);
    world.heal().await;
    world.verify(&[1, 2, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn everything_acknowledged_survives_a_power_cut_of_all_nodes() {
    for seed in 0..5 {
        let mut world = World::of(3, seed).await;
        for _ in 0..60 {
            world.leader().await;
            world.say().await;
        }
        [1, 2, 3].into_iter().for_each(|id| world.crash(id));
        world.heal().await;
        world.verify(&[1, 2, 3]).await;
        assert!(world.oracle.lock().acked.len() >= 60);
    }
}

#[tokio::test(start_paused = true)]
async fn one_voter_alone_leads_at_once_and_again_after_a_power_cut() {
    let mut world = World::of(1, 6).await;
    for round in 1..5 {
        let start = tokio::time::Instant::now();
        world.leader().await;
        assert!(start.elapsed() < Duration::from_millis(100), "round {round}: {:?}", start.elapsed());
        for _ in 0..15 {
            world.say().await;
        }
        assert_eq!(world.oracle.lock().acked.len(), round * 15);
        let words = world.node(1).read(Ledger::words);
        world.crash(1);
        world.start(1).await;
        world.leader().await;
        assert_eq!(world.node(1).read(Ledger::words), words, "what is ready has applied everything");
    }
}
