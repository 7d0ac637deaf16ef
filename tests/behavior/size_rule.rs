//! The size rule: what a topic accepts, a replica must be able to fetch. Refused at every door, with both settings named.

use jackdaw_test_support::messages::MetadataRequest;
use jackdaw_test_support::requests::{self, create_request};
use jackdaw_test_support::{Broker, Client, Options};

use crate::configs;

const INVALID_CONFIG: i16 = 40;

fn names_both(message: &str, values: &[&str]) {
    for word in ["replica.fetch.max.bytes", "message"].iter().chain(values) {
        assert!(message.contains(word), "{message:?} should name {word}");
    }
}

fn create(client: &mut Client, name: &str, max_message_bytes: &str) -> (i16, String) {
    let response = client.call(7, &create_request(name, 1, &[("max.message.bytes", max_message_bytes)]));
    let answer = &response.topics[0];
    (answer.error_code, answer.error_message.as_ref().map_or(String::new(), |message| message.to_string()))
}

#[test]
fn a_start_with_a_replica_fetch_below_the_message_size_is_refused() {
    let options = Options::new().set("replica.fetch.max.bytes", 2_000_000).set("message.max.bytes", 3_000_000);
    let output = options.refused();
    names_both(&String::from_utf8_lossy(&output.stderr), &["2000000", "3000000"]);
}

#[test]
fn a_topic_above_a_replica_fetch_that_is_set_is_refused_at_create_and_alter() {
    let broker = Options::new().set("replica.fetch.max.bytes", 2_000_000).start();
    let mut client = broker.client();
    let (code, message) = create(&mut client, "too-large", "3000000");
    assert_eq!(code, INVALID_CONFIG, "{message}");
    names_both(&message, &["2000000", "3000000"]);

    assert_eq!(create(&mut client, "fits", "2000000").0, 0);
    let (code, message) = configs::set(&mut client, "fits", "max.message.bytes", "2000001");
    assert_eq!(code, INVALID_CONFIG, "{message}");
    names_both(&message, &["2000000", "2000001"]);
    assert_eq!(configs::set(&mut client, "fits", "max.message.bytes", "1500000").0, 0);
}

#[test]
fn a_replica_fetch_that_is_not_set_follows_the_largest_topic() {
    let broker = Broker::start();
    let mut client = broker.client();
    let node = client.call(9, &MetadataRequest::default().with_topics(Some(vec![]))).brokers[0].node_id.0.to_string();
    assert_eq!(create(&mut client, "large", "9000000").0, 0);
    let effective = configs::broker_config(&mut client, &node, "replica.fetch.max.bytes");
    assert_eq!(effective, "9000000");
    requests::delete_topic(&mut client, "large");
    assert_eq!(configs::broker_config(&mut client, &node, "replica.fetch.max.bytes"), "1048588");
}

#[test]
fn kafkas_own_defaults_start_though_they_break_the_rule_by_twelve_bytes() {
    let broker = Options::new().set("replica.fetch.max.bytes", 1_048_576).start();
    let mut client = broker.client();
    requests::create_topic(&mut client, "usual", 1);
    assert_eq!(configs::topic_value(&mut client, "usual", "max.message.bytes"), "1048576");
}
