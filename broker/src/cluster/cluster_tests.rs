//! Several brokers in one process become one cluster, and one that was alone grows.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jackdaw_storage::OpenError;

use crate::broker::{Broker, Running, StartError};
use crate::config::{Config, ConfigSources};
use crate::topics::catalog::CreateTopic;
use crate::topics::image::Image;

const PATIENCE: Duration = Duration::from_secs(30);

/// Ports that were free just now.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

fn voters(ports: &[u16]) -> String {
    let voter = |(at, port): (usize, &u16)| format!("{}@127.0.0.1:{port}", at + 1);
    ports.iter().enumerate().map(voter).collect::<Vec<_>>().join(",")
}

/// A node with a client listener, and a controller listener where `controller` is its port.
fn config(dir: &Path, node: i32, controller: Option<u16>, settings: &[(&str, &str)]) -> Config {
    let mut overrides = vec![("node.id".to_owned(), node.to_string())];
    overrides.push(("controller.listener.names".to_owned(), "CONTROLLER".to_owned()));
    let controller = controller.map(|port| format!(",CONTROLLER://127.0.0.1:{port}")).unwrap_or_default();
    overrides.push(("listeners".to_owned(), format!("PLAINTEXT://127.0.0.1:0{controller}")));
    overrides.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let data_dir = Some(dir.join(node.to_string()));
    Config::load(&ConfigSources { overrides, data_dir, ..ConfigSources::default() }).unwrap().config
}

async fn start_all(configs: Vec<Config>) -> Vec<Running> {
    let starting: Vec<_> = configs.into_iter().map(|config| tokio::spawn(start(config))).collect();
    let mut running = Vec::new();
    for starting in starting {
        running.push(tokio::time::timeout(PATIENCE, starting).await.unwrap().unwrap());
    }
    running
}

/// In one process, a task that the node before has left behind may hold its directory a moment longer.
async fn start(config: Config) -> Running {
    loop {
        match Broker::start(config.clone()).await {
            Err(StartError::LogDir(OpenError::Locked { .. })) => tokio::time::sleep(Duration::from_millis(5)).await,
            started => return started.unwrap(),
        }
    }
}

async fn stop_all(running: Vec<Running>) {
    for running in running {
        running.stop().await;
    }
}

/// Waits until a node publishes metadata of which that is true.
async fn until(broker: &Arc<Broker>, wanted: impl Fn(&Image) -> bool) {
    let waiting = async {
        while !wanted(&broker.topics.image()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

fn create(running: &[Running], name: &str, replicas: i16) {
    let active = running.iter().find(|running| running.broker.cluster.is_active_controller()).unwrap();
    let command = CreateTopic { replication_factor: replicas, ..CreateTopic::with_defaults(name) };
    let topics = &active.broker.topics;
    tokio::task::block_in_place(|| topics.create(&[command], false)).remove(0).unwrap();
}

fn all_active(count: usize) -> impl Fn(&Image) -> bool {
    move |image| image.brokers.values().filter(|broker| broker.is_active()).count() == count
}

#[tokio::test(flavor = "multi_thread")]
async fn three_fresh_nodes_agree_on_one_cluster_and_its_metadata_and_again_after_a_restart() {
    let (dir, ports) = (tempfile::tempdir().unwrap(), free_ports(3));
    let voters = voters(&ports);
    let configs = || {
        let config = |(at, port): (usize, &u16)| {
            config(dir.path(), at as i32 + 1, Some(*port), &[("controller.quorum.voters", &voters)])
        };
        ports.iter().enumerate().map(config).collect::<Vec<_>>()
    };
    let running = start_all(configs()).await;
    let cluster = running[0].broker.cluster_id().to_owned();
    assert!(running.iter().all(|running| running.broker.cluster_id() == cluster));
    for running in &running {
        until(&running.broker, all_active(3)).await;
    }
    create(&running, "t", 3);
    for running in &running {
        until(&running.broker, |image| image.topic("t").is_some()).await;
        assert!(running.broker.topics.topic("t").unwrap().partitions().count() == 1, "each has its replica");
    }
    stop_all(running).await;
    let running = start_all(configs()).await;
    for running in &running {
        assert_eq!(running.broker.cluster_id(), cluster);
        assert!(running.broker.topics.image().topic("t").is_some(), "it is known before the node serves");
    }
    stop_all(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_without_data_and_a_broker_without_a_vote_are_a_cluster() {
    let (dir, ports) = (tempfile::tempdir().unwrap(), free_ports(1));
    let voters = voters(&ports);
    let listeners = format!("CONTROLLER://127.0.0.1:{}", ports[0]);
    let controller =
        [("process.roles", "controller"), ("controller.quorum.voters", &*voters), ("listeners", &*listeners)];
    let broker = [("process.roles", "broker"), ("controller.quorum.voters", &*voters)];
    let configs = vec![config(dir.path(), 1, None, &controller), config(dir.path(), 7, None, &broker)];
    let running = start_all(configs).await;
    assert_eq!(running[0].broker.cluster_id(), running[1].broker.cluster_id());
    until(&running[1].broker, all_active(1)).await;
    until(&running[0].broker, all_active(1)).await;
    create(&running, "t", 1);
    until(&running[1].broker, |image| image.topic("t").is_some()).await;
    assert_eq!(running[1].broker.topics.image().topic("t").unwrap().partitions[0].leader, 7);
    assert_eq!(running[0].broker.topics.topic("t").unwrap().partitions().count(), 0);
    stop_all(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_alone_grows_into_three_and_shrinks_again_without_a_rebuild() {
    let (dir, ports) = (tempfile::tempdir().unwrap(), free_ports(3));
    let alone = start(config(dir.path(), 1, None, &[])).await;
    let running = vec![alone];
    create(&running, "old", 1);
    stop_all(running).await;
    let own = format!("1@127.0.0.1:{}", ports[0]);
    let first = config(dir.path(), 1, Some(ports[0]), &[("controller.quorum.voters", &own)]);
    let first = start(first).await;
    let servers = format!("127.0.0.1:{}", ports[0]);
    let join = |node: i32, port: u16| {
        let config = config(dir.path(), node, Some(port), &[("controller.quorum.bootstrap.servers", &servers)]);
        tokio::spawn(Broker::start(config))
    };
    let (second, third) = (join(2, ports[1]), join(3, ports[2]));
    let quorum = first.broker.topics.quorum().as_voter().unwrap().clone();
    for (node, port) in [(2, ports[1]), (3, ports[2])] {
        let address = format!("127.0.0.1:{port}");
        let adding = async {
            while quorum.add_learner(node, &address, None).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, adding).await.unwrap();
        quorum.promote(node).await.unwrap();
    }
    let second = tokio::time::timeout(PATIENCE, second).await.unwrap().unwrap().unwrap();
    let third = tokio::time::timeout(PATIENCE, third).await.unwrap().unwrap().unwrap();
    assert_eq!(first.broker.cluster.voters().len(), 3);
    assert!(!first.broker.cluster.is_alone());
    let running = vec![first, second, third];
    for running in &running {
        assert!(running.broker.topics.image().topic("old").is_some());
        until(&running.broker, all_active(3)).await;
    }
    create(&running, "new", 3);
    for node in [3, 2] {
        quorum.remove(node).await.unwrap();
    }
    assert!(running[0].broker.topics.quorum().is_alone());
    create(&running[..1], "after", 1);
    stop_all(running).await;
    let again = start(config(dir.path(), 1, None, &[])).await;
    let image = again.broker.topics.image();
    assert!(["old", "new", "after"].iter().all(|name| image.topic(name).is_some()));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_another_cluster_is_refused_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    start(config(dir.path(), 1, None, &[])).await.stop().await;
    let mut other = config(dir.path(), 1, None, &[]);
    other.cluster_id = Some("another".to_owned());
    let refused = Broker::start(other).await.err().unwrap();
    assert!(matches!(refused, StartError::LogDir(_)), "{refused}");
    start(config(dir.path(), 1, None, &[])).await.stop().await;
}
