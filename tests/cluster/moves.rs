//! Partitions and voters come and go by the commands that people use.

use jackdaw_test_support::Cluster;
use jackdaw_test_support::messages::DescribeQuorumRequest;
use jackdaw_test_support::messages::describe_quorum_request::{PartitionData, TopicData};

fn replicas(cluster: &Cluster, topic: &str, index: i32) -> Option<Vec<i32>> {
    Some(cluster.partition(topic, index)?.replica_nodes.iter().map(|id| id.0).collect())
}

#[test]
fn a_broker_is_drained_and_filled_again_and_no_record_is_lost_on_the_way() {
    let cluster = Cluster::start(3);
    cluster.create_topic("moved", 6, 2, &[]);
    for index in 0..6 {
        cluster.produce("moved", index, &crate::numbered(0, 20));
    }
    let planned = cluster.jackdaw(&["broker", "drain", "3", "--dry-run"]);
    assert!(planned.contains("would move: 4 partitions"), "{planned}");
    assert!((0..6).any(|index| replicas(&cluster, "moved", index).unwrap().contains(&3)), "a dry run moves nothing");
    let drained = cluster.jackdaw(&["broker", "drain", "3", "--yes"]);
    assert!(drained.contains("moved 4 of 4 partitions"), "{drained}");
    for index in 0..6 {
        cluster.wait_for("the broker to be empty", |cluster| {
            (!replicas(cluster, "moved", index)?.contains(&3)).then_some(())
        });
    }
    let filled = cluster.jackdaw(&["cluster", "rebalance", "--yes"]);
    assert!(filled.contains("moved "), "{filled}");
    cluster.wait_for("the broker to have its share", |cluster| {
        let on_it = (0..6).filter(|index| replicas(cluster, "moved", *index).is_some_and(|all| all.contains(&3)));
        (on_it.count() == 4).then_some(())
    });
    assert!(cluster.jackdaw(&["cluster", "rebalance", "--dry-run"]).contains("load is even"));
    for index in 0..6 {
        cluster.wait_leader("moved", index, |leader| leader > 0);
        assert_eq!(crate::texts(&cluster.read_all("moved", index)), crate::expected(20));
    }
}

#[test]
fn a_preferred_leader_leads_again_when_it_is_asked_for_and_the_replicas_of_a_topic_grow_and_shrink() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("led", 1, 3, &[]);
    cluster.produce("led", 0, &crate::numbered(0, 5));
    let first = replicas(&cluster, "led", 0).unwrap()[0];
    cluster.kill(first);
    cluster.wait_leader("led", 0, |leader| leader > 0 && leader != first);
    cluster.start_node(first);
    cluster.wait_isr("led", 0, &[1, 2, 3]);
    cluster.jackdaw(&["topic", "elect", "led"]);
    cluster.wait_leader("led", 0, |leader| leader == first);
    for factor in ["1", "3"] {
        cluster.jackdaw(&["topic", "reassign", "led", "-r", factor, "--yes"]);
        cluster.wait_for("so many replicas", |cluster| {
            (replicas(cluster, "led", 0)?.len().to_string() == factor).then_some(())
        });
    }
    cluster.wait_leader("led", 0, |leader| leader > 0);
    assert_eq!(crate::texts(&cluster.read_all("led", 0)), crate::expected(5));
}

fn describe_quorum() -> DescribeQuorumRequest {
    let topic = TopicData::default()
        .with_topic_name(jackdaw_test_support::requests::topic("__cluster_metadata"))
        .with_partitions(vec![PartitionData::default()]);
    DescribeQuorumRequest::default().with_topics(vec![topic])
}

#[test]
fn the_quorum_is_described_by_every_node_in_every_version() {
    let cluster = Cluster::start(3);
    let request = describe_quorum();
    for version in 0..=2 {
        for id in cluster.ids() {
            cluster.wait_for("the voters, and how far they are", |cluster| {
                let answer = cluster.ask(id, version, &request)?;
                let partition = answer.topics.first()?.partitions.first()?;
                let known = partition.current_voters.iter().filter(|voter| voter.log_end_offset > 0).count();
                (partition.error_code == 0 && known == 3).then_some(())
            });
        }
    }
}

#[test]
fn a_voter_is_taken_out_and_comes_back() {
    let cluster = Cluster::start(3);
    let out = cluster.ids().into_iter().find(|id| *id != cluster.controller()).unwrap().to_string();
    let address = cluster.controller_address(out.parse().unwrap()).to_string();
    let votes = |cluster: &Cluster| {
        let status = cluster.jackdaw(&["cluster", "status"]);
        status.lines().filter(|line| line.contains("  leader  ") || line.contains("  follower  ")).count()
    };
    assert_eq!(votes(&cluster), 3);
    cluster.jackdaw(&["cluster", "remove-voter", &out, "--yes"]);
    cluster.wait_for("two voters", |cluster| (votes(cluster) == 2).then_some(()));
    cluster.jackdaw(&["cluster", "add-voter", &out, &address]);
    cluster.wait_for("three voters", |cluster| (votes(cluster) == 3).then_some(()));
}

#[test]
fn a_voter_that_is_taken_out_while_it_leads_finds_out_who_leads_after_it() {
    let cluster = Cluster::start(3);
    let out = cluster.controller();
    cluster.jackdaw(&["cluster", "remove-voter", &out.to_string(), "--yes"]);
    // Asked of the very node that nobody in the quorum tells anything any more.
    cluster.wait_for("the two that are left, and which of them leads", |cluster| {
        let answer = cluster.ask(out, 2, &describe_quorum())?;
        let partition = answer.topics.first()?.partitions.first()?;
        let voters: Vec<i32> = partition.current_voters.iter().map(|voter| voter.replica_id.0).collect();
        let is_left = voters.len() == 2 && !voters.contains(&out);
        (partition.error_code == 0 && is_left && voters.contains(&partition.leader_id.0)).then_some(())
    });
}
