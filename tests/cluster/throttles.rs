//! Replication that is only catching up is bounded, and holds nobody up.

use std::time::{Duration, Instant};

use jackdaw_test_support::ClusterOptions;
use jackdaw_test_support::batch::Batch;

use crate::configs::{self, BROKER, TOPIC};
use crate::{Producer, another};

#[test]
fn a_replica_that_catches_up_keeps_to_its_rate_until_the_rate_is_lifted_and_others_are_not_held_up() {
    let mut cluster = ClusterOptions::nodes(3).set("num.replica.fetchers", 1).start();
    cluster.create_topic("behind", 1, 3, &[]);
    cluster.create_topic("beside", 1, 3, &[]);
    let away = another(&cluster, cluster.leader("behind", 0));
    let asked = another(&cluster, away);
    assert!(cluster.stop(away).success());
    let producer = Producer::new_at(&cluster, asked);
    for sequence in 0..40 {
        let batch = Batch::of([vec![b'x'; 1_000_000]]).producer(producer.0, producer.1, sequence);
        cluster.produce("behind", 0, &batch);
    }
    for key in ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"] {
        assert_eq!(configs::set(&cluster, asked, TOPIC, "behind", (key, "*")), (0, String::new()));
    }
    let rate = "follower.replication.throttled.rate";
    assert_eq!(configs::set(&cluster, asked, BROKER, "", (rate, "1000000")), (0, String::new()));
    cluster.start_node(away);
    let began = Instant::now();
    // It follows what is not throttled, at once.
    cluster.wait_isr("beside", 0, &[1, 2, 3]);
    cluster.produce("beside", 0, &producer.batch(0, 10));
    // A second's worth is saved up, and one answer may go beyond.
    while began.elapsed() < Duration::from_secs(2) {
        let copied: u64 = std::fs::read_dir(cluster.data_dir(away).join("behind-0"))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log"))
            .map(|entry| entry.metadata().map_or(0, |known| known.len()))
            .sum();
        let allowed = 13_000_000 + 1_000_000 * began.elapsed().as_secs();
        assert!(copied < allowed, "{copied} bytes after {:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
    let isr = cluster.partition("behind", 0).unwrap().isr_nodes;
    assert!(!isr.iter().any(|node| node.0 == away), "40 MB came in {:?}", began.elapsed());
    assert_eq!(configs::set(&cluster, asked, BROKER, "", (rate, "1000000000")), (0, String::new()));
    cluster.wait_isr("behind", 0, &[1, 2, 3]);
}
