//! Starting: what it takes, what it prints, and what it refuses, saying what to do.

use std::net::TcpListener;
use std::process::Output;

use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::messages::MetadataRequest;
use jackdaw_test_support::{Broker, Options, requests};
use tempfile::TempDir;

/// The output names all of these.
fn says(output: &Output, words: &[&str]) {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for word in words {
        assert!(text.contains(word), "{text:?} should name {word:?}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn sigterm_and_sigint_stop_it_cleanly() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut broker = Broker::start();
        requests::create_topic(&mut broker.client(), "before", 1);
        broker.signal(signal);
        assert!(broker.stop().success());
        assert!(broker.data_dir().join(".kafka_cleanshutdown").exists(), "marked as stopped cleanly");
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_the_way_to_change_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = Options::new().argument("--listen").argument(format!("127.0.0.1:{port}")).refused();
    says(&output, &[&port.to_string(), "in use", "--listen"]);
}

#[test]
fn a_data_directory_serves_one_broker_at_a_time() {
    let dir = TempDir::new().unwrap();
    let mut first = Options::new().data_dir(dir.path()).start();
    let output = Options::new().data_dir(dir.path()).refused();
    says(&output, &[&dir.path().display().to_string(), "in use by another broker"]);
    requests::create_topic(&mut first.client(), "unharmed", 1);
    first.kill();
    first.start_again(); // a lock dies with its process
}

#[test]
fn a_data_directory_of_another_node_is_refused() {
    let dir = TempDir::new().unwrap();
    Options::new().set("node.id", 3).data_dir(dir.path()).start().stop();
    let output = Options::new().set("node.id", 4).data_dir(dir.path()).refused();
    says(&output, &["node.id 3", "node.id 4", &dir.path().display().to_string()]);
}

#[test]
fn a_data_directory_that_is_a_file_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("not-a-directory");
    std::fs::write(&path, "a file").unwrap();
    says(&Options::new().data_dir(&path).refused(), &[&path.display().to_string()]);
}

#[test]
fn a_broken_meta_properties_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("meta.properties");
    std::fs::write(&path, "version=1\nnode.id=what\n").unwrap();
    says(&Options::new().data_dir(dir.path()).refused(), &["meta.properties", "what"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "version=1\nnode.id=what\n");
}

#[test]
fn a_wrong_value_is_refused_with_key_value_and_range() {
    says(&Options::new().set("num.partitions", "many").refused(), &["num.partitions", "many"]);
    says(&Options::new().set("num.partitions", "0").refused(), &["num.partitions", "0", "1"]);
    says(&Options::new().set("log.segment.bytes", "5").refused(), &["log.segment.bytes", "5", "1048576"]);
    says(&Options::new().set("advertised.listeners", "nowhere").refused(), &["advertised.listeners", "nowhere"]);
}

#[test]
fn an_unknown_key_is_warned_about_with_the_nearest_known_one() {
    let broker = Options::new().set("num.partition", 4).start();
    broker.wait_for_log("num.partitions");
    assert!(broker.said().contains("num.partition"), "{}", broker.said());
}

#[test]
fn settings_come_from_the_file_the_environment_and_overrides_in_that_order() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("server.properties");
    std::fs::write(&file, "num.partitions=2\nlog.segment.bytes=2000000\nlisteners=PLAINTEXT://127.0.0.1:0\n").unwrap();
    let broker = Options::default()
        .argument("--config")
        .argument(file.display())
        .environment("KAFKA_NUM_PARTITIONS", "3")
        .environment("KAFKA_LOG_SEGMENT_BYTES", "3000000")
        .set("num.partitions", 4)
        .start();
    let mut client = broker.client();
    let all = MetadataRequest::default().with_topics(Some(vec![]));
    let node = client.call(9, &all).brokers[0].node_id.0.to_string();
    assert_eq!(crate::configs::broker_config(&mut client, &node, "num.partitions"), "4");
    assert_eq!(crate::configs::broker_config(&mut client, &node, "log.segment.bytes"), "3000000");
}

#[test]
fn the_server_properties_of_a_plain_kafka_start_it_unchanged() {
    let dir = TempDir::new().unwrap();
    let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [port, controller] = free.map(|listener| listener.local_addr().unwrap().port());
    let file = dir.path().join("server.properties");
    let properties = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={logs}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
",
        logs = dir.path().join("kafka-logs").display()
    );
    std::fs::write(&file, properties).unwrap();
    let broker = Options::default()
        .argument("--config")
        .argument(file.display())
        .data_dir(&dir.path().join("kafka-logs"))
        .start();
    assert_eq!(broker.port(), port);
    let mut client = broker.client();
    requests::create_topic(&mut client, "as-in-kafka", 1);
    assert_eq!(requests::produce(&mut client, "as-in-kafka", 0, &Batch::of(["works"])), 0);
    assert!(dir.path().join("kafka-logs/as-in-kafka-0/00000000000000000000.log").exists());
}

#[test]
fn advertised_listeners_are_what_clients_are_told() {
    let broker = Options::new().set("advertised.listeners", "PLAINTEXT://broker.example:1234").start();
    let response = broker.client().call(9, &MetadataRequest::default().with_topics(Some(vec![])));
    assert_eq!((response.brokers[0].host.as_str(), response.brokers[0].port), ("broker.example", 1234));
}
