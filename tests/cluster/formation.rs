//! Processes become a cluster.

use jackdaw_test_support::{Cluster, ClusterOptions};

#[test]
fn three_nodes_started_from_the_properties_of_kafkas_example_are_one_cluster() {
    let cluster = Cluster::start(3);
    for id in cluster.ids() {
        let known = cluster.wait_for("a node to know all brokers", |cluster| {
            let known = cluster.metadata_of(id, None)?;
            (known.brokers.len() == 3).then_some(known)
        });
        let mut brokers: Vec<i32> = known.brokers.iter().map(|broker| broker.node_id.0).collect();
        brokers.sort_unstable();
        assert_eq!(brokers, [1, 2, 3]);
        let ports: Vec<u16> = known.brokers.iter().map(|broker| u16::try_from(broker.port).unwrap()).collect();
        assert!(cluster.ids().iter().all(|id| ports.contains(&cluster.address(*id).port())), "{ports:?}");
    }
    let clusters: Vec<_> = cluster.ids().iter().map(|id| cluster.metadata_of(*id, None).unwrap().cluster_id).collect();
    assert!(clusters[0].is_some() && clusters.iter().all(|id| *id == clusters[0]), "{clusters:?}");
    assert!(cluster.ids().contains(&cluster.controller()));
}

/// The other tests add settings to make themselves short. Here stands what somebody does who has Kafka's files.
#[test]
fn three_nodes_with_nothing_but_the_properties_printed_for_kafka_replicate_and_survive_a_kill() {
    let mut cluster = ClusterOptions::just_as_printed(3).start();
    for id in cluster.ids() {
        let printed =
            std::process::Command::new(jackdaw_test_support::broker::repository().join("benches/peers/kafka"))
                .arg("config")
                .arg(cluster.data_dir(id).ancestors().nth(2).unwrap())
                .args([id.to_string(), "3".to_owned(), cluster.address(1).port().to_string()])
                .output()
                .unwrap();
        assert_eq!(std::fs::read(cluster.config(id)).unwrap(), printed.stdout, "node {id} has a setting of its own");
    }
    cluster.create_topic("orders", 3, 3, &[("min.insync.replicas", "2")]);
    let producer = crate::Producer::new(&cluster);
    cluster.produce("orders", 0, &producer.batch(0, 10));
    let leader = cluster.leader("orders", 0);
    cluster.kill(leader);
    cluster.wait_leader("orders", 0, |id| id != leader);
    cluster.produce("orders", 0, &producer.batch(10, 10));
    cluster.start_node(leader);
    for index in 0..3 {
        cluster.wait_isr("orders", index, &[1, 2, 3]);
    }
    assert_eq!(crate::texts(&cluster.read_all("orders", 0)), crate::expected(20));
}

#[test]
fn a_topic_made_at_any_node_is_known_to_all() {
    let cluster = Cluster::start(3);
    for id in cluster.ids() {
        let name = format!("made-at-{id}");
        cluster.wait_for("the topic to be made at this very node", |cluster| {
            let mut request = jackdaw_test_support::requests::create_request(&name, 3, &[]);
            request.topics[0].replication_factor = 3;
            let made = cluster.ask(id, 7, &request)?.topics.pop()?;
            matches!(made.error_code, 0 | 36).then_some(())
        });
        for other in cluster.ids() {
            cluster.wait_for("the topic to be known", |cluster| {
                let known = cluster.metadata_of(other, Some(&name))?.topics.pop()?;
                let is_led = known.partitions.iter().all(|partition| partition.leader_id.0 > 0);
                (known.error_code == 0 && known.partitions.len() == 3 && is_led).then_some(())
            });
        }
    }
}

#[test]
fn a_stopped_cluster_starts_again_with_all_it_had() {
    let mut cluster = ClusterOptions::nodes(3).set("min.insync.replicas", 2).start();
    cluster.create_topic("kept", 2, 3, &[]);
    cluster.produce("kept", 1, &crate::numbered(0, 10));
    let ids = cluster.ids();
    cluster.kill_all(&ids);
    ids.iter().for_each(|id| cluster.launch(*id));
    ids.iter().for_each(|id| cluster.wait_ready(*id));
    cluster.wait_isr("kept", 1, &[1, 2, 3]);
    assert_eq!(crate::texts(&cluster.read_all("kept", 1)), crate::expected(10));
}
