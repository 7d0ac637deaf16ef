//! What an acknowledgement of all replicas means.

use jackdaw_test_support::{ClusterOptions, requests};

use crate::{Producer, expected, numbered, texts};

const REQUEST_TIMED_OUT: i16 = 7;
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

/// Apache Kafka 4.3.1, asked the same (librdkafka; three nodes, one frozen, broker.session.timeout.ms=2000): the write that waits
/// ends with REQUEST_TIMED_OUT, as the high watermark stays where it is below the minimum; the next one is refused with
/// NOT_ENOUGH_REPLICAS; neither is read before the frozen replica is back, and then the first one is.
#[test]
fn a_write_that_waits_when_replicas_go_below_the_minimum_is_not_acknowledged_and_not_read_until_they_are_back() {
    let cluster = ClusterOptions::nodes(3)
        .set("broker.session.timeout.ms", 2000)
        .set("broker.heartbeat.interval.ms", 500)
        .start();
    cluster.create_topic("waits", 1, 3, &[("min.insync.replicas", "3")]);
    let producer = Producer::new(&cluster);
    cluster.produce("waits", 0, &producer.batch(0, 10));
    let leader = cluster.leader("waits", 0);
    let frozen = crate::another(&cluster, leader);
    cluster.pause(frozen);
    // Appended while the frozen replica still counts as one in sync.
    let request = requests::produce_request("waits", 0, -1, producer.batch(10, 10).bytes()).with_timeout_ms(4000);
    let answer = cluster.client(leader).call(requests::PRODUCE, &request);
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(code, REQUEST_TIMED_OUT);
    // Without the frozen one there are too few: nothing more is appended, and what was is not read.
    let isr: Vec<i32> = cluster.ids().into_iter().filter(|id| *id != frozen).collect();
    cluster.wait_for("the frozen replica to be out of sync", |cluster| {
        let topic = cluster.metadata_of(leader, Some("waits"))?.topics.pop()?;
        let mut now: Vec<i32> = topic.partitions.first()?.isr_nodes.iter().map(|node| node.0).collect();
        now.sort_unstable();
        (now == isr).then_some(())
    });
    let refused = requests::produce_bytes(&mut cluster.client(leader), "waits", 0, numbered(900, 1).bytes());
    assert_eq!(refused.error_code, NOT_ENOUGH_REPLICAS);
    assert_eq!(cluster.high_watermark(leader, "waits", 0), Some(10));
    let read = cluster.client(leader).call(requests::FETCH, &requests::fetch_request("waits", 0, 10, 100, 1));
    assert!(requests::fetched(&read).is_empty(), "what is not committed is not read");
    cluster.resume(frozen);
    cluster.wait_isr("waits", 0, &[1, 2, 3]);
    // Sent again, as a producer does: it is there once.
    cluster.produce("waits", 0, &producer.batch(10, 10));
    assert_eq!(texts(&cluster.read_all("waits", 0)), expected(20));
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
    cluster.replace_disk(emptied);
    cluster.wait_isr("copied", 0, &[1, 2, 3]);
    let others: Vec<i32> = cluster.ids().into_iter().filter(|id| *id != emptied).collect();
    cluster.wait_isr("copied", 1, &[1, 2, 3]);
    // What it leads now is what it was given.
    cluster.kill(others[0]);
    cluster.wait_leader("copied", 0, |id| id != others[0]);
    assert_eq!(texts(&cluster.read_all("copied", 0)), expected(200));
}
