//! Who belongs to the quorum, and who does not.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jackdaw_quorum::{MembershipError, Options, Quorum, StartError, Voters};
use rand::Rng;

use crate::network::{Weather, Wire};
use crate::oracle::Ledger;
use crate::world::{CLUSTER, World, address, founding};

impl World {
    async fn join(&mut self, id: u64) -> Result<(), MembershipError> {
        self.start(id).await;
        let (_, leader) = self.leader().await;
        leader.add_learner(id, &address(id), None).await?;
        leader.promote(id).await
    }

    /// Tries until it is done: the leader may change meanwhile, and an outcome may be unknown.
    async fn must<F: Future<Output = Result<(), MembershipError>>>(&self, change: impl Fn(Quorum<Ledger>) -> F) {
        let mut last = None;
        for _ in 0..50 {
            let (_, leader) = self.leader().await;
            match change(leader).await {
                Ok(()) => return,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("seed {}: {last:?}; {:#?}", self.seed, self.trace)
    }
}

fn voters(node: &Quorum<Ledger>) -> Vec<u64> {
    node.members().into_iter().filter(|(_, member)| member.voter).map(|(id, _)| id).collect()
}

#[tokio::test(start_paused = true)]
async fn one_voter_grows_into_three_and_back_without_losing_anything() {
    let mut world = World::of(1, 1).await;
    for _ in 0..70 {
        world.say().await;
    }
    for id in [2, 3] {
        world.join(id).await.unwrap();
        world.say().await;
    }
    let (_, leader) = world.leader().await;
    assert_eq!(voters(&leader), [1, 2, 3]);
    // The others came by a snapshot: the log had been cut.
    assert!(world.oracle.lock().snapshots_taken_over >= 2);
    world.crash(1);
    world.verify(&[2, 3]).await;
    world.heal().await;
    world.verify(&[1, 2, 3]).await;
    for id in [2, 1] {
        world
            .must(async |leader| match leader.members().contains_key(&id) {
                true => leader.remove(id).await,
                false => Ok(()),
            })
            .await;
        world.say().await;
    }
    let (last, leader) = world.leader().await;
    assert_eq!((last, voters(&leader)), (3, vec![3]));
    assert_eq!(leader.remove(3).await, Err(MembershipError::LastVoter { id: 3 }));
    world.crash(1);
    world.crash(2);
    world.crash(3);
    world.start(3).await;
    world.verify(&[3]).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_alone_can_be_reached_when_it_has_got_an_address() {
    let mut world = World::of(1, 1).await;
    world.wipe(1);
    let nowhere = Voters::Founding([(1, String::new())].into());
    let options = Options { voters: nowhere.clone(), address: String::new(), ..world.options(1) };
    world.try_start(options).await.unwrap();
    world.leader().await;
    world.crash(1);
    let options = Options { voters: nowhere, ..world.options(1) };
    world.try_start(options).await.unwrap();
    world.leader().await;
    world.join(2).await.unwrap();
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(world.node(2).members()[&1].address, address(1));
    world.verify(&[1, 2]).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_taken_out_decides_nothing_any_more() {
    for seed in 0..5 {
        let mut world = World::of(3, seed).await;
        let (id, leader) = world.leader().await;
        leader.remove(id).await.unwrap();
        let other = if id == 1 { 2 } else { 1 };
        let refused = leader.remove(other).await;
        assert!(matches!(refused, Err(MembershipError::NotLeader { .. })), "seed {seed}: {refused:?}");
        let rest: Vec<u64> = [1, 2, 3].into_iter().filter(|node| *node != id).collect();
        world.pass(Duration::from_millis(10)).await;
        let (next, next_leader) = world.leader().await;
        assert!(next != id, "seed {seed}");
        assert_eq!(voters(&next_leader), rest);
        world.verify(&rest).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_leader_dies_half_way_is_brought_to_its_end() {
    let mut half_way = 0;
    for seed in 0..12 {
        let mut world = World::of(3, seed).await;
        let (id, leader) = world.leader().await;
        world.start(4).await;
        leader.add_learner(4, &address(4), None).await.unwrap();
        tokio::spawn(async move { leader.promote(4).await });
        world.pass(Duration::from_millis(1 + seed)).await;
        world.crash(id);
        let (_, leader) = world.leader().await;
        half_way += usize::from(leader.status().changing);
        let changed = async {
            while leader.status().changing {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), changed).await.unwrap_or_else(|_| panic!("seed {seed}"));
        world.must(async |leader| leader.promote(4).await).await;
        world.heal().await;
        world.verify(&[1, 2, 3, 4]).await;
    }
    assert!(half_way > 0, "no leader died at the right moment");
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_lost_its_directory_has_no_say_until_it_is_added_again() {
    for seed in 0..5 {
        let mut world = World::of(3, seed).await;
        let (leader, _) = world.leader().await;
        for _ in 0..10 {
            world.say().await;
        }
        world.pass(Duration::from_secs(1)).await;
        // Only the leader and one more have what is said now; the third is away, and then that one's disk is lost.
        let others: Vec<u64> = [1, 2, 3].into_iter().filter(|id| *id != leader).collect();
        world.crash(others[0]);
        for _ in 0..10 {
            world.say().await;
        }
        world.wipe(others[1]);
        world.crash(leader);
        world.start(others[0]).await;
        world.start(others[1]).await;
        world.pass(Duration::from_secs(20)).await;
        assert!(world.ready().is_none(), "two voters, of which one has forgotten, elect nobody");
        let refused = world.node(others[1]).status().members[&others[0]].refused.clone().unwrap();
        assert!(refused.contains("it lost its directory"), "{refused}");
        world.start(leader).await;
        world.verify(&[leader, others[0]]).await;
        world.must(async |leader| leader.remove(others[1]).await).await;
        world.founders.remove(&others[1]);
        world.wipe(others[1]);
        world.join(others[1]).await.unwrap();
        world.verify(&[1, 2, 3]).await;
        world.crash(leader);
        world.verify(&others).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_of_another_cluster_or_node_or_other_voters_are_refused_and_nothing_is_changed() {
    let mut world = World::of(3, 1).await;
    world.leader().await;
    world.say().await;
    world.crash(1);
    let before = world.platters[&1].bytes();
    let good = world.options(1);
    let start = async |options: Options| {
        let alive = Arc::new(AtomicBool::new(true));
        let wire = Wire { from: options.id, alive: Arc::clone(&alive), net: Arc::clone(&world.net) };
        let disk = world.platters[&1].mount(&alive, 1);
        let started = Quorum::start_on(disk, options, Ledger::new(&world.oracle), Arc::new(wire)).await;
        started.err().map(|error| (error.to_string(), error))
    };
    let refused = start(Options { cluster_id: "other".to_owned(), ..good.clone() }).await.unwrap();
    assert!(matches!(refused.1, StartError::OtherCluster { .. }), "{}", refused.0);
    let refused = start(Options { id: 2, ..good.clone() }).await.unwrap();
    assert!(matches!(refused.1, StartError::OtherNode { stored: 1, configured: 2, .. }), "{}", refused.0);
    let refused = start(Options { voters: founding(&[1, 2].into()), ..good.clone() }).await.unwrap();
    assert!(matches!(refused.1, StartError::OtherVoters { .. }), "{}", refused.0);
    assert!(refused.0.contains("1@node1:9093,2@node2:9093,3@node3:9093"), "{}", refused.0);
    let refused = start(Options { voters: founding(&[2, 3].into()), ..good.clone() }).await.unwrap();
    assert!(matches!(refused.1, StartError::NotAVoter { id: 1, .. }), "{}", refused.0);
    let twice = [(1, address(1)), (2, address(1))].into();
    let refused = start(Options { voters: Voters::Founding(twice), ..good.clone() }).await.unwrap();
    assert!(matches!(refused.1, StartError::SameAddress { first: 1, second: 2, .. }), "{}", refused.0);
    assert_eq!(world.platters[&1].bytes(), before);
    assert!(start(good.clone()).await.is_none());
    world.platters[&1].lose("quorum.json");
    assert!(matches!(start(good).await.unwrap().1, StartError::NoIdentity { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_vote_whose_journal_is_gone_is_not_made_anew() {
    let mut world = World::of(1, 1).await;
    world.leader().await;
    world.crash(1);
    world.platters[&1].lose("quorum.journal");
    let options = world.options(1);
    let refused = world.try_start(options).await.err().unwrap();
    assert!(matches!(refused, StartError::NoJournal { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn whoever_is_not_who_was_named_is_not_added() {
    let mut world = World::of(3, 1).await;
    let (id, leader) = world.leader().await;
    let other = if id == 1 { 2 } else { 1 };
    let known = leader.add_learner(other, "elsewhere:1", None).await;
    assert_eq!(known, Err(MembershipError::Known { id: other, address: address(other) }));
    let absent = leader.add_learner(4, &address(4), None).await.unwrap_err();
    assert!(absent.to_string().contains("node 4 is off"), "{absent}");
    assert_eq!(leader.promote(4).await, Err(MembershipError::Unknown { id: 4 }));
    assert_eq!(leader.remove(4).await, Err(MembershipError::Unknown { id: 4 }));
    // It is a quorum of its own.
    let options = Options { voters: founding(&[4].into()), ..world.options(4) };
    world.try_start(options).await.unwrap();
    world.node(4).leadership().wait_for(|now| now.leader == Some(4)).await.map(|now| *now).unwrap();
    let foreign = leader.add_learner(4, &address(4), None).await.unwrap_err();
    assert!(foreign.to_string().contains("a quorum of its own"), "{foreign}");
    let options = Options { cluster_id: "other".to_owned(), ..world.options(5) };
    world.try_start(options).await.unwrap();
    let foreign = leader.add_learner(5, &address(5), None).await.unwrap_err();
    assert!(foreign.to_string().contains(&format!("this is cluster other, and not {CLUSTER}")), "{foreign}");
    assert_eq!(voters(&leader), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn the_leader_knows_how_far_each_member_is() {
    let mut world = World::of(3, 1).await;
    let (id, leader) = world.leader().await;
    world.pass(Duration::from_secs(2)).await;
    world.say().await;
    let away = if id == 1 { 2 } else { 1 };
    world.crash(away);
    world.say().await;
    world.pass(Duration::from_secs(5)).await;
    let status = leader.status();
    assert_eq!((status.leader, status.members.len()), (Some(id), 3));
    for (member, status_of) in &status.members {
        let last = status_of.matched.unwrap();
        if *member == away {
            assert!(last < status.high_watermark, "{status:?}");
            assert!(status_of.since_contact.unwrap() > Duration::from_secs(4), "{status:?}");
        } else {
            assert_eq!(last, status.high_watermark, "{status:?}");
            assert_eq!(status_of.since_contact.is_none(), *member == id, "{status:?}");
        }
        assert!(status_of.member.directory.is_some(), "the log names everybody's directory: {status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn members_come_and_go_under_faults_and_nothing_is_lost() {
    for seed in 0..6 {
        let mut world = World::of(3, seed).await;
        for fresh in 4..8 {
            world.leader().await;
            world.net.lock().weather = Weather { loss: 0.1, repeat: 0.1, delay_ms: 20 };
            world.say().await;
            // One goes, one comes in its place.
            let (_, leader) = world.leader().await;
            let members = voters(&leader);
            let gone = members[world.rng.random_range(0..members.len())];
            let crashed = world.rng.random_bool(0.5);
            if crashed {
                world.crash(gone);
            }
            world.note(format!("{fresh} for {gone}, which is off: {crashed}"));
            world.start(fresh).await;
            world
                .must(async |leader| match leader.members().get(&fresh) {
                    Some(member) if member.voter => Ok(()),
                    Some(_) => leader.promote(fresh).await,
                    None => leader.add_learner(fresh, &address(fresh), None).await.and(Err(MembershipError::Busy)),
                })
                .await;
            world.say_meanwhile();
            world
                .must(async |leader| match leader.members().contains_key(&gone) {
                    true => leader.remove(gone).await,
                    false => Ok(()),
                })
                .await;
            // Whoever was taken out goes on for a while, and must not disturb the others for ever.
            world.pass(Duration::from_secs(3)).await;
            world.crash(gone);
            world.platters.remove(&gone);
            world.say().await;
        }
        world.heal().await;
        let (_, leader) = world.leader().await;
        let members = voters(&leader);
        assert_eq!(members.len(), 3);
        world.verify(&members).await;
    }
}

/// Ends whoever leads until this node does: it hears of it first.
async fn lead(world: &mut World, wanted: u64) {
    for _ in 0..20 {
        let (leader, _) = world.leader().await;
        if leader == wanted {
            return;
        }
        world.crash(leader);
        world.node(wanted).leader_connection_lost(leader);
        world.leader().await;
        world.start(leader).await;
        world.pass(Duration::from_secs(1)).await;
    }
    panic!("node {wanted} never led");
}

/// Takes a node out, empties its disk, and adds it again.
async fn replace(world: &mut World, id: u64) {
    world.crash(id);
    world.must(async |leader| leader.remove(id).await).await;
    world.wipe(id);
    world.join(id).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_catches_up_believes_a_leader_whose_directory_is_another_than_in_the_old_log() {
    for seed in 0..2 {
        let mut world = World::of(3, seed).await;
        let (leader, _) = world.leader().await;
        // The directories of all come into the log; then more than is brought at once to who catches up.
        world.pass(Duration::from_secs(2)).await;
        for _ in 0..300 {
            world.say().await;
        }
        let first = if leader == 1 { 2 } else { 1 };
        replace(&mut world, first).await;
        world.say().await;
        lead(&mut world, first).await;
        // What it reads begins with the directory that the leader had before.
        let second = if first == 3 { 2 } else { 3 };
        replace(&mut world, second).await;
        world.verify(&[1, 2, 3]).await;
    }
}
