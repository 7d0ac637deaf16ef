//! What an acknowledgement of all replicas means.

use jackdaw_test_support::ClusterOptions;

use crate::{Producer, expected, numbered, texts};

const NOT_ENOUGH_REPLICAS: i16 = 19;

#[test]
fn below_the_minimum_of_replicas_in_sync_nothing_is_acknowledged_until_they_are_back() {
    let mut cluster = ClusterOptions::nodes(3)
        .set("broker.session.timeout.ms", 2000)
        .set("broker.heartbeat.interval.ms", 500)
        .start();
    cluster.create_topic("careful", 1, 3, &[("min.insync.replicas", "3")]);
    let producer = Producer::new(&cluster);
    cluster.produce("careful", 0, &producer.batch(0, 10));
    let leader = cluster.leader("careful", 0);
    let follower = crate::another(&cluster, leader);
    cluster.kill(follower);
    cluster.wait_for("the refusal of a write with too few replicas", |cluster| {
        let answer = cluster.try_produce("careful", 0, -1, &numbered(900, 1))?;
        (answer.error_code == NOT_ENOUGH_REPLICAS).then_some(())
    });
    cluster.start_node(follower);
    cluster.wait_isr("careful", 0, &[1, 2, 3]);
    cluster.produce("careful", 0, &producer.batch(10, 10));
    // A write that waited while the follower went may have been appended, and not acknowledged.
    let found: Vec<String> =
        texts(&cluster.read_all("careful", 0)).into_iter().filter(|text| text != "record 900").collect();
    assert_eq!(found, expected(20));
}

#[test]
fn an_emptied_replica_gets_everything_again() {
    let mut cluster = ClusterOptions::nodes(3).set("min.insync.replicas", 2).start();
    cluster.create_topic("copied", 2, 3, &[]);
    let producer = Producer::new(&cluster);
    for from in 0..20 {
        cluster.produce("copied", 0, &producer.batch(from * 10, 10));
    }
    let leader = cluster.leader("copied", 0);
    let emptied = crate::another(&cluster, leader);
    cluster.kill(emptied);
    cluster.wait_for("the killed node to be out of sync", |cluster| {
        let isr = cluster.partition("copied", 0)?.isr_nodes;
        (!isr.iter().any(|node| node.0 == emptied)).then_some(())
    });
    cluster.wipe(emptied);
    cluster.start_node(emptied);
    cluster.wait_isr("copied", 0, &[1, 2, 3]);
    let others: Vec<i32> = cluster.ids().into_iter().filter(|id| *id != emptied).collect();
    cluster.wait_isr("copied", 1, &[1, 2, 3]);
    // What it leads now is what it was given.
    cluster.kill(others[0]);
    cluster.wait_leader("copied", 0, |id| id != others[0]);
    assert_eq!(texts(&cluster.read_all("copied", 0)), expected(200));
}
