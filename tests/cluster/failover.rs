//! Somebody goes, and the others go on.

use jackdaw_test_support::{Cluster, ClusterOptions};

use crate::{Producer, another, expected, numbered, texts};

fn cluster() -> Cluster {
    ClusterOptions::nodes(3).set("min.insync.replicas", 2).start()
}

#[test]
fn a_partition_goes_on_when_its_leader_is_killed_and_the_killed_one_catches_up() {
    let mut cluster = cluster();
    cluster.create_topic("orders", 1, 3, &[]);
    let producer = Producer::new(&cluster);
    cluster.produce("orders", 0, &producer.batch(0, 10));
    let leader = cluster.leader("orders", 0);
    cluster.kill(leader);
    let next = cluster.wait_leader("orders", 0, |id| id != leader);
    cluster.produce("orders", 0, &producer.batch(10, 10));
    assert_eq!(texts(&cluster.read_all("orders", 0)), expected(20));
    cluster.start_node(leader);
    cluster.wait_isr("orders", 0, &[1, 2, 3]);
    // Only one of the two that have seen all of it is left, and the one that had been killed.
    cluster.kill(next);
    cluster.wait_leader("orders", 0, |id| id != next);
    cluster.produce("orders", 0, &producer.batch(20, 10));
    assert_eq!(texts(&cluster.read_all("orders", 0)), expected(30));
}

#[test]
fn metadata_can_be_changed_when_the_active_controller_was_killed() {
    let mut cluster = cluster();
    let controller = cluster.controller();
    cluster.kill(controller);
    cluster.wait_for("another active controller", |cluster| (cluster.controller() != controller).then_some(()));
    cluster.create_topic("made-later", 1, 2, &[]);
    cluster.start_node(controller);
    cluster.wait_for("the killed node to know what was made without it", |cluster| {
        let topic = cluster.metadata_of(controller, Some("made-later"))?.topics.pop()?;
        (topic.error_code == 0 && !topic.partitions.is_empty()).then_some(())
    });
}

#[test]
fn a_node_that_is_stopped_cleanly_has_given_its_partitions_away_before() {
    let mut cluster = cluster();
    cluster.create_topic("moved", 3, 3, &[]);
    let stopped = cluster.leader("moved", 0);
    let status = cluster.stop(stopped);
    // A JVM that is told to stop says 143.
    assert!(status.success() || status.code() == Some(143), "{status}: {}", cluster.said(stopped));
    let asked = another(&cluster, stopped);
    let topic = cluster.metadata_of(asked, Some("moved")).unwrap().topics.pop().unwrap();
    for partition in topic.partitions {
        let leader = partition.leader_id.0;
        assert!(leader > 0 && leader != stopped, "{partition:?} when node {stopped} had stopped");
    }
    cluster.produce("moved", 0, &numbered(0, 5));
    cluster.start_node(stopped);
    cluster.wait_isr("moved", 0, &[1, 2, 3]);
}

#[test]
fn a_frozen_leader_is_replaced_and_follows_when_it_wakes() {
    let cluster = ClusterOptions::nodes(3)
        .set("min.insync.replicas", 2)
        .set("broker.session.timeout.ms", 2000)
        .set("broker.heartbeat.interval.ms", 500)
        .start();
    cluster.create_topic("frozen", 1, 3, &[]);
    let producer = Producer::new(&cluster);
    cluster.produce("frozen", 0, &producer.batch(0, 10));
    let leader = cluster.leader("frozen", 0);
    cluster.pause(leader);
    let other = another(&cluster, leader);
    cluster.wait_for("another leader", |cluster| {
        let topic = cluster.metadata_of(other, Some("frozen"))?.topics.pop()?;
        let next = topic.partitions.first()?.leader_id.0;
        (next > 0 && next != leader).then_some(())
    });
    cluster.wait_for("an acknowledgement by the others", |cluster| {
        let topic = cluster.metadata_of(other, Some("frozen"))?.topics.pop()?;
        let next = topic.partitions.first()?.leader_id.0;
        let request = jackdaw_test_support::requests::produce_request("frozen", 0, -1, producer.batch(10, 10).bytes());
        let answer = cluster.ask(next, jackdaw_test_support::requests::PRODUCE, &request)?;
        (answer.responses[0].partition_responses[0].error_code == 0).then_some(())
    });
    cluster.resume(leader);
    // What it believed when it froze is told to nobody once it knows better.
    cluster.wait_for("the woken node knows", |cluster| {
        let topic = cluster.metadata_of(leader, Some("frozen"))?.topics.pop()?;
        let next = topic.partitions.first()?.leader_id.0;
        (next > 0 && next != leader).then_some(())
    });
    cluster.wait_isr("frozen", 0, &[1, 2, 3]);
    assert_eq!(texts(&cluster.read_all("frozen", 0)), expected(20));
}
