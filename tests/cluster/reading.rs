//! Consumers that read from a replica near them (KIP-392).

use jackdaw_test_support::messages::FetchRequest;
use jackdaw_test_support::messages::fetch_response::PartitionData;
use jackdaw_test_support::requests::{self, text};
use jackdaw_test_support::{Cluster, ClusterOptions, batch};

use crate::{Producer, another, expected, texts};

const OFFSET_NOT_AVAILABLE: i16 = 78;

fn fetch(cluster: &Cluster, asked: i32, rack: &str, offset: i64) -> Option<PartitionData> {
    let request: FetchRequest = requests::fetch_request("near", 0, offset, 200, 1).with_rack_id(text(rack));
    cluster.ask(asked, requests::FETCH, &request)?.responses.pop()?.partitions.pop()
}

#[test]
fn a_consumer_is_sent_to_the_replica_of_its_rack_and_reads_there_what_is_committed() {
    let mut cluster = ClusterOptions::nodes(3)
        .set("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector")
        .set_of(1, "broker.rack", "rack-1")
        .set_of(2, "broker.rack", "rack-2")
        .set_of(3, "broker.rack", "rack-3")
        .start();
    cluster.create_topic("near", 1, 3, &[]);
    let producer = Producer::new(&cluster);
    cluster.produce("near", 0, &producer.batch(0, 10));
    let leader = cluster.leader("near", 0);
    let near = another(&cluster, leader);
    let rack = format!("rack-{near}");
    cluster.wait_for("the leader to name the replica of that rack", |cluster| {
        let answer = fetch(cluster, leader, &rack, 0)?;
        assert_eq!(answer.error_code, 0);
        let is_sent_on = answer.preferred_read_replica.0 == near;
        assert!(!is_sent_on || answer.records.is_none_or(|records| records.is_empty()), "either, not both");
        is_sent_on.then_some(())
    });
    // There, all of it can be read as soon as the replica knows that it is committed.
    let read = cluster.wait_for("the records at the replica", |cluster| {
        let answer = fetch(cluster, near, &rack, 0)?;
        assert_eq!((answer.error_code, answer.preferred_read_replica.0), (0, -1));
        let records = batch::read(answer.records.unwrap_or_default());
        (records.len() == 10).then_some(records)
    });
    assert_eq!(texts(&read), expected(10));
    // One that has read further elsewhere waits for it, and does not begin anew.
    assert_eq!(fetch(&cluster, near, &rack, 11).unwrap().error_code, OFFSET_NOT_AVAILABLE);
    // At the leader, by who is in no rack, in its own, or in one where nobody is.
    for rack in ["", &format!("rack-{leader}"), "rack-9"] {
        let answer = fetch(&cluster, leader, rack, 0).unwrap();
        assert_eq!((answer.error_code, answer.preferred_read_replica.0), (0, -1), "{rack}");
        assert_eq!(texts(&batch::read(answer.records.unwrap())), expected(10));
    }
    // Gone, it is named no more.
    cluster.kill(near);
    cluster.wait_for("the leader to answer itself", |cluster| {
        let answer = fetch(cluster, leader, &rack, 0)?;
        (answer.preferred_read_replica.0 == -1).then_some(())
    });
}
