//! What must not get in: nodes and requests that do not belong to the cluster, or to what it is now. Each is refused with the
//! reason, and nothing on any disk changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jackdaw_test_support::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use jackdaw_test_support::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use jackdaw_test_support::messages::fetch_response::PartitionData as Fetched;
use jackdaw_test_support::messages::{
    AlterPartitionRequest, BrokerHeartbeatRequest, BrokerId, BrokerRegistrationRequest, FetchRequest,
};
use jackdaw_test_support::requests::{self, text};
use jackdaw_test_support::{Client, Cluster, ClusterOptions, Options};

use crate::{Producer, another, expected, texts};

const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const STALE_BROKER_EPOCH: i16 = 77;
const INVALID_UPDATE_VERSION: i16 = 95;
const BROKER_ID_NOT_REGISTERED: i16 = 102;

/// Every file below a folder, but for what a process that opens it locks.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else if path.file_name().unwrap() != ".lock" {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    files
}

fn assert_same(before: &BTreeMap<PathBuf, Vec<u8>>, folder: &Path) {
    let after = contents(folder);
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(&after));
    // It tells when the files of a clean stop were written.
    for (path, bytes) in before.iter().filter(|(path, _)| !path.ends_with("clean-shutdown-index")) {
        assert!(after[path] == *bytes, "{} was changed", path.display());
    }
}

#[test]
fn a_node_that_does_not_fit_to_the_cluster_is_refused_with_the_reason_and_its_disk_is_left_alone() {
    let mut cluster = ClusterOptions::nodes(3).and_brokers(1).start();
    let listed = |ids: &[i32]| {
        let voters: Vec<_> = ids.iter().map(|id| format!("{id}@{}", cluster.controller_address(*id))).collect();
        voters.join(",")
    };
    let (all, fewer) = (listed(&[1, 2, 3]), listed(&[1, 3]));

    // A voter list that disagrees: with the votes on this node's disk, and then with the other voters.
    assert!(cluster.stop(3).success());
    let before = contents(cluster.data_dir(3));
    cluster.configure(3, "controller.quorum.voters", &fewer);
    let said = cluster.refused(3);
    assert!(said.contains(&format!("controller.quorum.voters names {fewer}")), "{said}");
    assert!(said.contains(&all), "the list that is right is not named: {said}");
    assert_same(&before, cluster.data_dir(3));
    let away = cluster.data_dir(3).with_extension("away");
    std::fs::rename(cluster.data_dir(3), &away).unwrap();
    let said = cluster.refused(3);
    assert!(said.contains("controller.quorum.voters names nodes 1, 3 here"), "{said}");
    assert!(said.contains("is started with 1, 2, 3"), "{said}");
    assert!(!cluster.data_dir(3).exists(), "nothing is made by a node that is refused");
    cluster.configure(3, "controller.quorum.voters", &all);

    // A directory of another cluster.
    let mut elsewhere = Options::new().set("node.id", 3).data_dir(cluster.data_dir(3)).start();
    requests::create_topic(&mut elsewhere.client(), "elsewhere", 1);
    requests::produce(&mut elsewhere.client(), "elsewhere", 0, &crate::numbered(0, 10));
    assert!(elsewhere.stop().success());
    let before = contents(cluster.data_dir(3));
    let said = cluster.refused(3);
    let ours = cluster.metadata(None).unwrap().cluster_id.unwrap().to_string();
    assert!(said.contains(" is of cluster ") && said.contains(&ours), "{said}");
    assert!(said.contains(&cluster.data_dir(3).display().to_string()), "{said}");
    assert_same(&before, cluster.data_dir(3));
    std::fs::remove_dir_all(cluster.data_dir(3)).unwrap();
    std::fs::rename(&away, cluster.data_dir(3)).unwrap();
    cluster.start_node(3);

    // A node id that another broker has.
    cluster.configure(4, "controller.quorum.voters", "");
    cluster.configure(4, "controller.quorum.bootstrap.servers", cluster.controller_address(2));
    cluster.configure(4, "node.id", 1);
    cluster.configure(4, "initial.broker.registration.timeout.ms", 1000);
    let said = cluster.refused(4);
    assert!(said.contains("node id 1 is in use by a broker that is alive"), "{said}");
    assert!(said.contains(&cluster.address(1).to_string()), "{said}");
    // And one that another controller has.
    cluster.wipe(4);
    let listeners = format!("PLAINTEXT://{},CONTROLLER://{}", cluster.address(4), cluster.controller_address(4));
    cluster.configure(4, "listeners", listeners);
    cluster.configure(4, "process.roles", "broker,controller");
    for (key, value) in [("voters", &*all), ("bootstrap.servers", "")] {
        cluster.configure(4, &format!("controller.quorum.{key}"), value);
    }
    let said = cluster.refused(4);
    assert!(said.contains("node id 1 is in use: another process, which is alive"), "{said}");
    assert!(said.contains(&cluster.controller_address(1).to_string()), "{said}");
    // The same where no voters are listed.
    for (key, value) in [("voters", String::new()), ("bootstrap.servers", cluster.controller_address(2).to_string())] {
        cluster.configure(4, &format!("controller.quorum.{key}"), value);
    }
    let said = cluster.refused(4);
    assert!(said.contains("node id 1 is in use: another process, which is alive"), "{said}");
    assert!(!cluster.data_dir(4).exists(), "nothing is made by a node that is refused");
    assert_eq!(cluster.metadata(None).unwrap().brokers.len(), 3);
}

#[test]
fn a_listener_on_every_address_needs_one_to_be_told_to_the_others() {
    let mut cluster = ClusterOptions::nodes(3).prepare();
    let port = cluster.address(1).port();
    cluster.configure(1, "advertised.listeners", "");
    for host in ["0.0.0.0", ""] {
        let listeners = format!("PLAINTEXT://{host}:{port},CONTROLLER://{}", cluster.controller_address(1));
        cluster.configure(1, "listeners", listeners);
        let said = cluster.refused(1);
        assert!(said.contains(&format!("advertised.listeners=PLAINTEXT://HOST:{port}")), "{said}");
        assert!(said.contains("takes connections on every address of this machine"), "{said}");
    }
    assert!(!cluster.data_dir(1).exists(), "nothing is made by a node that is refused");
    cluster.configure(1, "advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}"));
    cluster.ids().into_iter().for_each(|id| cluster.launch(id));
    cluster.ids().into_iter().for_each(|id| cluster.wait_ready(id));
    cluster.create_topic("everywhere", 1, 3, &[]);
}

/// The epoch that a broker is registered with, as the controllers have logged it.
fn broker_epoch(cluster: &Cluster, broker: i32) -> i64 {
    let line = format!("broker registered broker={broker} epoch=");
    let said: Vec<String> = cluster.ids().into_iter().map(|id| cluster.said(id)).collect();
    let epochs = said.iter().flat_map(|said| said.lines()).filter_map(|known| known.split_once(&line));
    epochs.map(|(_, epoch)| epoch.trim().parse().unwrap()).max().expect("somebody has registered it")
}

/// What a Fetch brings that claims to be of a broker's replica.
struct Claim {
    broker: i32,
    broker_epoch: i64,
    leader_epoch: i32,
    offset: i64,
    last_epoch: i32,
}

impl Claim {
    fn fetch(&self, client: &mut Client, topic: &str) -> Fetched {
        let id = requests::topic_id(client, topic).topic_id;
        let partition = FetchPartition::default()
            .with_fetch_offset(self.offset)
            .with_current_leader_epoch(self.leader_epoch)
            .with_last_fetched_epoch(self.last_epoch)
            .with_partition_max_bytes(1 << 20);
        let replica =
            ReplicaState::default().with_replica_id(BrokerId(self.broker)).with_replica_epoch(self.broker_epoch);
        let request = FetchRequest::default()
            .with_replica_state(replica)
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![FetchTopic::default().with_topic_id(id).with_partitions(vec![partition])]);
        client.call(17, &request).responses.remove(0).partitions.remove(0)
    }
}

/// Who may say how far a replica has come says what is committed (CVE-2018-1288).
#[test]
fn a_fetch_in_the_name_of_a_replica_is_taken_from_that_broker_in_its_epoch_and_not_where_clients_connect() {
    let mut cluster = ClusterOptions::nodes(3).separate_listeners().start();
    cluster.create_topic("asked", 1, 2, &[]);
    let producer = Producer::new(&cluster);
    cluster.produce("asked", 0, &producer.batch(0, 10));
    // So that there are earlier epochs.
    let first = cluster.leader("asked", 0);
    cluster.restart(first);
    cluster.wait_for("both replicas in sync", |cluster| {
        (cluster.partition("asked", 0)?.isr_nodes.len() == 2).then_some(())
    });
    cluster.leader("asked", 0);
    let known = cluster.partition("asked", 0).unwrap();
    let (leader, leader_epoch) = (known.leader_id.0, known.leader_epoch);
    let replicas: Vec<i32> = known.replica_nodes.iter().map(|id| id.0).collect();
    let follower = replicas.iter().copied().find(|id| *id != leader).unwrap();
    let stranger = cluster.ids().into_iter().find(|id| !replicas.contains(id)).unwrap();
    let claim = |broker| Claim {
        broker,
        broker_epoch: broker_epoch(&cluster, broker),
        leader_epoch,
        offset: 10,
        last_epoch: 0,
    };
    let (mut clients, mut brokers) = (cluster.client(leader), Client::connect(cluster.internal_address(leader)));
    // All of it true, and yet not by a client.
    let answer = claim(follower).fetch(&mut clients, "asked");
    assert_eq!(answer.error_code, CLUSTER_AUTHORIZATION_FAILED);
    assert!(answer.records.is_none_or(|records| records.is_empty()));
    // In the version of old, which has no broker epoch, nobody is believed.
    for client in [&mut clients, &mut brokers] {
        let request = requests::fetch_request("asked", 0, 10, 0, 0).with_replica_id(BrokerId(follower));
        let answer = client.call(12, &request).responses.remove(0).partitions.remove(0);
        assert!(
            matches!(answer.error_code, CLUSTER_AUTHORIZATION_FAILED | STALE_BROKER_EPOCH),
            "{}",
            answer.error_code
        );
    }
    // Between brokers: an epoch of another life of the broker, or of the leader, or a log that no leader wrote.
    let earlier = Claim { broker_epoch: claim(follower).broker_epoch - 1, ..claim(follower) };
    let unknown = Claim { broker_epoch: 99, ..Claim { broker: 99, ..claim(follower) } };
    let later = Claim { leader_epoch: leader_epoch + 1, ..claim(follower) };
    let before = Claim { leader_epoch: leader_epoch - 1, ..claim(follower) };
    let foreign = Claim { last_epoch: leader_epoch + 7, ..claim(follower) };
    for (claim, code) in [
        (earlier, STALE_BROKER_EPOCH),
        (unknown, STALE_BROKER_EPOCH),
        (later, UNKNOWN_LEADER_EPOCH),
        (before, FENCED_LEADER_EPOCH),
        (foreign, UNKNOWN_LEADER_EPOCH),
        (claim(stranger), NOT_LEADER_OR_FOLLOWER),
    ] {
        let (id, epoch) = (claim.broker, claim.broker_epoch);
        assert_eq!(claim.fetch(&mut brokers, "asked").error_code, code, "broker {id} in epoch {epoch}");
    }
    // What is not for clients is not served to them at all.
    let heartbeat = BrokerHeartbeatRequest::default().with_broker_id(BrokerId(follower));
    assert!(cluster.ask(leader, 0, &heartbeat).is_none());
    assert!(cluster.ask(leader, 0, &BrokerRegistrationRequest::default().with_cluster_id(text("x"))).is_none());
    assert!(cluster.ask(leader, 3, &AlterPartitionRequest::default()).is_none());
    assert_eq!(texts(&cluster.read_all("asked", 0)), expected(10));
}

#[test]
fn requests_of_an_earlier_life_of_a_broker_or_partition_change_nothing() {
    let mut cluster = ClusterOptions::nodes(3).set("min.insync.replicas", 2).start();
    cluster.create_topic("changed", 1, 3, &[]);
    let (leader, id) = {
        let leader = cluster.leader("changed", 0);
        (leader, requests::topic_id(&mut cluster.client(leader), "changed").topic_id)
    };
    let first_life = broker_epoch(&cluster, leader);
    // It leaves and comes back: the partition and the broker have later epochs since.
    cluster.restart(leader);
    cluster.wait_isr("changed", 0, &[1, 2, 3]);
    cluster.jackdaw(&["topic", "elect", "changed"]);
    cluster.wait_leader("changed", 0, |now| now == leader);
    cluster.wait_isr("changed", 0, &[1, 2, 3]);
    let epoch = broker_epoch(&cluster, leader);
    assert!(epoch > first_life);
    let leader_epoch = cluster.partition("changed", 0).unwrap().leader_epoch;
    let mut controller = Client::connect(cluster.controller_address(cluster.controller()));

    let beat = |broker: i32, epoch: i64| {
        let beat = BrokerHeartbeatRequest::default().with_broker_id(BrokerId(broker)).with_broker_epoch(epoch);
        beat.with_want_fence(true)
    };
    assert_eq!(controller.call(1, &beat(leader, first_life)).error_code, STALE_BROKER_EPOCH);
    assert_eq!(controller.call(1, &beat(99, epoch)).error_code, BROKER_ID_NOT_REGISTERED);

    // The leader alone in sync: who gets that accepted loses what the others have.
    let alone = |broker_epoch: i64, leader_epoch: i32, partition_epoch: i32| {
        let state = BrokerState::default().with_broker_id(BrokerId(leader)).with_broker_epoch(epoch);
        let partition = PartitionData::default()
            .with_leader_epoch(leader_epoch)
            .with_partition_epoch(partition_epoch)
            .with_new_isr_with_epochs(vec![state]);
        AlterPartitionRequest::default()
            .with_broker_id(BrokerId(leader))
            .with_broker_epoch(broker_epoch)
            .with_topics(vec![TopicData::default().with_topic_id(id).with_partitions(vec![partition])])
    };
    let mut code = |request: AlterPartitionRequest| {
        let answer = controller.call(3, &request);
        answer.topics.first().map_or(answer.error_code, |topic| topic.partitions[0].error_code)
    };
    assert_eq!(code(alone(first_life, leader_epoch, 0)), STALE_BROKER_EPOCH);
    assert_eq!(code(alone(epoch, leader_epoch - 1, 0)), FENCED_LEADER_EPOCH);
    assert_eq!(code(alone(epoch, leader_epoch, 0)), INVALID_UPDATE_VERSION);
    let other = another(&cluster, leader);
    assert_eq!(code(alone(epoch, leader_epoch, 0).with_broker_id(BrokerId(other))), STALE_BROKER_EPOCH);
    let now = cluster.partition("changed", 0).unwrap();
    assert_eq!((now.leader_id.0, now.leader_epoch, now.isr_nodes.len()), (leader, leader_epoch, 3));
    assert_eq!(cluster.metadata(None).unwrap().brokers.len(), 3);
}
