//! Configs described and altered: sources, refusals, effects.

use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::messages::describe_configs_request::DescribeConfigsResource;
use jackdaw_test_support::messages::describe_configs_response::DescribeConfigsResourceResult as Found;
use jackdaw_test_support::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, MetadataRequest,
    alter_configs_request, incremental_alter_configs_request,
};
use jackdaw_test_support::requests::{self, text};
use jackdaw_test_support::{Broker, Client};

use crate::{client, unique, with_topic};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const INVALID_CONFIG: i16 = 40;

/// What an incremental change does.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Where a value comes from.
const OF_TOPIC: i8 = 1;
const CLUSTER_DEFAULT: i8 = 3;
const DEFAULT: i8 = 5;

/// Error code and message of setting one config of a topic.
pub(crate) fn set(client: &mut Client, name: &str, key: &str, value: &str) -> (i16, String) {
    alter(client, TOPIC, name, key, SET, Some(value))
}

/// The same of a broker; of all brokers where `node` is empty.
pub(crate) fn set_broker(client: &mut Client, node: &str, key: &str, value: &str) -> (i16, String) {
    alter(client, BROKER, node, key, SET, Some(value))
}

fn alter(client: &mut Client, kind: i8, name: &str, key: &str, operation: i8, value: Option<&str>) -> (i16, String) {
    let config = incremental_alter_configs_request::AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(operation)
        .with_value(value.map(text));
    let resource = incremental_alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(vec![config]);
    let response = client.call(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource]));
    let answer = &response.responses[0];
    (answer.error_code, answer.error_message.as_ref().map_or(String::new(), |message| message.to_string()))
}

fn describe(client: &mut Client, kind: i8, name: &str, keys: Option<&[&str]>) -> Vec<Found> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys.map(|keys| keys.iter().map(|key| text(key)).collect()));
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(true);
    let mut response = client.call(4, &request);
    assert_eq!(response.results[0].error_code, 0, "{:?}", response.results[0].error_message);
    response.results.remove(0).configs
}

pub(crate) fn topic_config(client: &mut Client, name: &str, key: &str) -> Found {
    describe(client, TOPIC, name, Some(&[key])).remove(0)
}

fn value(config: &Found) -> &str {
    config.value.as_ref().map_or("", |value| value.as_str())
}

/// The node id, by which brokers are named as resources.
fn me(client: &mut Client) -> String {
    client.call(9, &MetadataRequest::default().with_topics(Some(vec![]))).brokers[0].node_id.0.to_string()
}

#[test]
fn a_default_says_that_it_is_one_and_where_it_comes_from() {
    let (mut client, name) = with_topic("default");
    let found = topic_config(&mut client, &name, "segment.bytes");
    assert_eq!((value(&found), found.config_source, found.read_only), ("1073741824", DEFAULT, false));
    assert!(found.documentation.is_some_and(|text| text.len() > 20));
    assert!(found.synonyms.iter().any(|synonym| synonym.name.as_str() == "log.segment.bytes"), "{:?}", found.synonyms);
}

#[test]
fn what_a_topic_sets_wins_and_unsetting_brings_the_default_back() {
    let (mut client, name) = with_topic("set");
    assert_eq!(set(&mut client, &name, "retention.ms", "5000000").0, 0);
    let found = topic_config(&mut client, &name, "retention.ms");
    assert_eq!((value(&found), found.config_source), ("5000000", OF_TOPIC));
    assert_eq!(alter(&mut client, TOPIC, &name, "retention.ms", DELETE, None).0, 0);
    assert_eq!(value(&topic_config(&mut client, &name, "retention.ms")), "604800000");
}

#[test]
fn lists_are_appended_to_and_subtracted_from() {
    let (mut client, name) = with_topic("list");
    assert_eq!(alter(&mut client, TOPIC, &name, "cleanup.policy", APPEND, Some("compact")).0, 0);
    assert_eq!(value(&topic_config(&mut client, &name, "cleanup.policy")), "delete,compact");
    assert_eq!(alter(&mut client, TOPIC, &name, "cleanup.policy", SUBTRACT, Some("delete")).0, 0);
    assert_eq!(value(&topic_config(&mut client, &name, "cleanup.policy")), "compact");
    assert_eq!(alter(&mut client, TOPIC, &name, "retention.ms", APPEND, Some("1")).0, INVALID_CONFIG, "not a list");
}

#[test]
fn wrong_values_and_unknown_keys_are_refused_by_name_and_nothing_changes() {
    let (mut client, name) = with_topic("wrong");
    for (key, wrong) in [
        ("retention.ms", "soon"),
        ("retention.ms", "-2"),
        ("segment.bytes", "1"),
        ("cleanup.policy", "burn"),
        ("compression.type", "rar"),
        ("message.timestamp.type", "Never"),
        ("min.insync.replicas", "0"),
        ("no.such.key", "1"),
    ] {
        let (code, message) = set(&mut client, &name, key, wrong);
        assert_eq!(code, INVALID_CONFIG, "{key}={wrong}: {message}");
        assert!(message.contains(key) || message.contains(wrong), "{key}={wrong}: {message:?}");
    }
    assert_eq!(value(&topic_config(&mut client, &name, "retention.ms")), "604800000");
}

#[test]
fn validate_only_checks_and_changes_nothing() {
    let (mut client, name) = with_topic("validate");
    let config = incremental_alter_configs_request::AlterableConfig::default()
        .with_name(text("retention.ms"))
        .with_value(Some(text("1234567")));
    let resource = incremental_alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(&name))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(true);
    assert_eq!(client.call(1, &request).responses[0].error_code, 0);
    assert_eq!(value(&topic_config(&mut client, &name, "retention.ms")), "604800000");
}

#[test]
fn the_old_alter_replaces_all_that_was_set() {
    let (mut client, name) = with_topic("replace");
    set(&mut client, &name, "retention.ms", "5000000");
    for version in 0..=2 {
        let config = alter_configs_request::AlterableConfig::default()
            .with_name(text("max.message.bytes"))
            .with_value(Some(text("12345")));
        let resource = alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(&name))
            .with_configs(vec![config]);
        let response = client.call(version, &AlterConfigsRequest::default().with_resources(vec![resource]));
        assert_eq!(response.responses[0].error_code, 0, "version {version}");
    }
    assert_eq!(value(&topic_config(&mut client, &name, "max.message.bytes")), "12345");
    assert_eq!(value(&topic_config(&mut client, &name, "retention.ms")), "604800000");
}

#[test]
fn an_altered_config_takes_effect_at_once() {
    let (mut client, name) = with_topic("effect");
    let large = Batch::of(["x".repeat(2000)]);
    assert_eq!(requests::produce(&mut client, &name, 0, &large), 0);
    set(&mut client, &name, "max.message.bytes", "1000");
    assert_eq!(requests::produce_bytes(&mut client, &name, 0, large.bytes()).error_code, 10, "MESSAGE_TOO_LARGE");
}

#[test]
fn a_broker_describes_all_its_configs() {
    let mut client = client();
    let me = me(&mut client);
    let all = describe(&mut client, BROKER, &me, None);
    assert!(all.len() > 150, "{} configs", all.len());
    let find = |key: &str| all.iter().find(|config| config.name.as_str() == key).expect(key);
    assert_eq!(value(find("log.segment.bytes")), "1073741824");
    assert_eq!(value(find("group.initial.rebalance.delay.ms")), "0", "as this test started the broker");
    assert!(find("node.id").read_only);
    assert!(all.iter().all(|config| config.documentation.as_ref().is_some_and(|text| !text.is_empty())));
    assert!(all.iter().filter(|config| config.is_sensitive).all(|config| config.value.is_none()), "no secret is told");
}

#[test]
fn a_dynamic_broker_config_becomes_the_default_of_topics() {
    let broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic(&mut client, "dynamic", 1);
    assert_eq!(alter(&mut client, BROKER, "", "log.retention.ms", SET, Some("99999999")), (0, String::new()));
    let found = topic_config(&mut client, "dynamic", "retention.ms");
    assert_eq!((value(&found), found.config_source), ("99999999", CLUSTER_DEFAULT));
    let me = me(&mut client);
    let (code, message) = alter(&mut client, BROKER, &me, "node.id", SET, Some("5"));
    assert_ne!(code, 0, "{message}");
}

#[test]
fn unknown_resources_are_errors_of_their_own() {
    let mut client = client();
    for (kind, name, code) in [(TOPIC, unique("nobody"), 3), (BROKER, "77".to_owned(), 42), (99, String::new(), 42)] {
        let resource = DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(text(&name));
        let response = client.call(4, &DescribeConfigsRequest::default().with_resources(vec![resource]));
        assert_eq!(response.results[0].error_code, code, "{kind} {name:?}: {:?}", response.results[0].error_message);
    }
}

/// The value of one config of a topic.
pub(crate) fn topic_value(client: &mut Client, name: &str, key: &str) -> String {
    value(&topic_config(client, name, key)).to_owned()
}

/// The value of one config of a broker.
pub(crate) fn broker_config(client: &mut Client, node: &str, key: &str) -> String {
    value(&describe(client, BROKER, node, Some(&[key]))[0]).to_owned()
}
