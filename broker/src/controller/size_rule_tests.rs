#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use uuid::Uuid;

use super::*;
use crate::topics::catalog::Catalog;
use crate::topics::record::{ElectionDefaults, Record};

const DEFAULTS: ElectionDefaults = ElectionDefaults { min_insync_replicas: 1, unclean: false };

fn registration(message: u64, fetch: Option<u64>) -> Registration {
    Registration {
        epoch: 1,
        incarnation: Uuid::from_u128(1),
        rack: None,
        listeners: Vec::new(),
        dirs: Vec::new(),
        message_max_bytes: message,
        replica_fetch_max_bytes: fetch,
        write_caching: false,
    }
}

fn configs(pairs: &[(&str, u64)]) -> Configs {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.to_string())).collect()
}

/// Brokers 1, 2, ... with these settings.
fn cluster(brokers: &[(u64, Option<u64>)]) -> Catalog {
    let mut catalog = Catalog::default();
    for (broker, (message, fetch)) in (1..).zip(brokers) {
        join(&mut catalog, broker, *message, *fetch);
    }
    catalog
}

fn join(catalog: &mut Catalog, broker: i32, message: u64, fetch: Option<u64>) {
    let registration = registration(message, fetch);
    catalog.apply(&Record::BrokerRegistered { broker, registration, unclean: false, defaults: DEFAULTS }).unwrap();
}

fn add_topic(catalog: &mut Catalog, max_message_bytes: u64) {
    let record = Record::TopicCreated {
        name: "t".into(),
        id: Uuid::from_u128(7),
        assignments: vec![vec![1]],
        configs: configs(&[("max.message.bytes", max_message_bytes)]),
    };
    catalog.apply(&record).unwrap();
}

#[test]
fn a_broker_that_could_not_fetch_what_another_accepts_is_refused_with_both_settings_and_the_way_out() {
    let catalog = cluster(&[(2000, None)]);
    check_registration(catalog.image(), 2, &registration(1000, None)).unwrap();
    check_registration(catalog.image(), 2, &registration(1000, Some(2000))).unwrap();
    let error = check_registration(catalog.image(), 2, &registration(1000, Some(1999))).unwrap_err().to_string();
    assert!(error.contains("replica.fetch.max.bytes=1999 of broker 2"), "{error}");
    assert!(error.contains("message.max.bytes=2000 of broker 1"), "{error}");
    assert!(error.contains("start broker 2 with a larger one, jackdaw serve --override replica.fetch.max.bytes=2000"));
    assert!(error.contains("--entity-name 1 --add-config message.max.bytes=1999"), "{error}");
}

#[test]
fn a_broker_that_accepts_what_another_could_not_fetch_is_refused() {
    let catalog = cluster(&[(1000, Some(1500))]);
    check_registration(catalog.image(), 2, &registration(1500, None)).unwrap();
    let error = check_registration(catalog.image(), 2, &registration(1501, None)).unwrap_err();
    let accepts = Accepts::Broker { id: 2, bytes: 1501 };
    assert_eq!(error, SizeConflict { broker: 1, fetch: 1500, accepts });
}

#[test]
fn a_broker_that_could_not_fetch_from_a_topic_is_refused_with_the_topic_named() {
    let mut catalog = cluster(&[(1000, None)]);
    add_topic(&mut catalog, 3000);
    check_registration(catalog.image(), 2, &registration(1000, Some(3000))).unwrap();
    let error = check_registration(catalog.image(), 2, &registration(1000, Some(2999))).unwrap_err().to_string();
    assert!(error.contains("max.message.bytes=3000 of topic t"), "{error}");
    assert!(error.contains("jackdaw topic alter t --config max.message.bytes=2999"), "{error}");
}

#[test]
fn a_broker_is_measured_by_its_new_settings_not_by_those_it_had() {
    let catalog = cluster(&[(1000, Some(1000)), (1000, None)]);
    check_registration(catalog.image(), 1, &registration(1500, Some(1500))).unwrap();
}

#[test]
fn settings_made_at_run_time_count_before_those_of_the_file() {
    let mut catalog = cluster(&[(1000, None), (1000, None)]);
    let all = configs(&[("message.max.bytes", 5000)]);
    catalog.apply(&Record::BrokerConfigsChanged { broker: None, configs: all }).unwrap();
    assert!(check_registration(catalog.image(), 3, &registration(1000, Some(4999))).is_err());
    let own = configs(&[("message.max.bytes", 6000)]);
    catalog.apply(&Record::BrokerConfigsChanged { broker: Some(2), configs: own }).unwrap();
    assert!(check_registration(catalog.image(), 3, &registration(1000, Some(5999))).is_err());
    check_registration(catalog.image(), 3, &registration(1000, Some(6000))).unwrap();
    assert_eq!(largest_batch(catalog.image()), 6000);
}

#[test]
fn a_topic_must_fit_every_registered_broker_and_may_always_shrink() {
    let mut catalog = cluster(&[(1000, None), (1000, Some(2000)), (1000, Some(3000))]);
    let wish = |bytes| configs(&[("max.message.bytes", bytes)]);
    check_topic(catalog.image(), "t", &wish(2000)).unwrap();
    assert_eq!(check_topic(catalog.image(), "t", &wish(2001)).unwrap_err().broker, 2);
    check_topic(catalog.image(), "t", &Configs::new()).unwrap();
    // From before the rule.
    add_topic(&mut catalog, 9000);
    check_topic(catalog.image(), "t", &wish(9000)).unwrap();
    check_topic(catalog.image(), "t", &wish(5000)).unwrap();
    assert!(check_topic(catalog.image(), "t", &wish(9001)).is_err());
    assert_eq!(largest_batch(catalog.image()), 9000);
}

#[test]
fn a_setting_for_all_or_for_one_broker_must_leave_it_to_all_to_fetch() {
    let catalog = cluster(&[(1000, None), (1000, Some(2000))]);
    let wish = |bytes| configs(&[("message.max.bytes", bytes)]);
    check_configs(catalog.image(), None, &wish(2000)).unwrap();
    check_configs(catalog.image(), Some(1), &wish(2000)).unwrap();
    for broker in [None, Some(1)] {
        let error = check_configs(catalog.image(), broker, &wish(2001)).unwrap_err();
        assert_eq!((error.broker, error.fetch), (2, 2000));
    }
    check_configs(catalog.image(), None, &configs(&[("log.retention.ms", 1)])).unwrap();
}

#[test]
fn a_setting_that_is_removed_gives_way_to_what_is_below_it() {
    let mut catalog = cluster(&[(3000, None)]);
    let all = configs(&[("message.max.bytes", 1000)]);
    catalog.apply(&Record::BrokerConfigsChanged { broker: None, configs: all }).unwrap();
    join(&mut catalog, 2, 1000, Some(2000));
    let error = check_configs(catalog.image(), None, &Configs::new()).unwrap_err();
    assert_eq!(error.accepts, Accepts::Broker { id: 1, bytes: 3000 });
}

#[test]
fn both_settings_can_be_raised_broker_by_broker_first_what_is_fetched_then_what_is_accepted() {
    let mut catalog = cluster(&[(1000, Some(1000)), (1000, Some(1000))]);
    let wish = configs(&[("message.max.bytes", 2000)]);
    assert!(check_configs(catalog.image(), None, &wish).is_err());
    for broker in [1, 2] {
        assert!(check_configs(catalog.image(), None, &wish).is_err());
        check_registration(catalog.image(), broker, &registration(1000, Some(2000))).unwrap();
        join(&mut catalog, broker, 1000, Some(2000));
    }
    check_configs(catalog.image(), None, &wish).unwrap();
    catalog.apply(&Record::BrokerConfigsChanged { broker: None, configs: wish }).unwrap();
    // And down again: first what is accepted.
    assert!(check_registration(catalog.image(), 1, &registration(1000, Some(1000))).is_err());
    let back = Configs::new();
    check_configs(catalog.image(), None, &back).unwrap();
    catalog.apply(&Record::BrokerConfigsChanged { broker: None, configs: back }).unwrap();
    check_registration(catalog.image(), 1, &registration(1000, Some(1000))).unwrap();
}
