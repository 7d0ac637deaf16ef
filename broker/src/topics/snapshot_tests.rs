//! A snapshot stands for the records that led to it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::topics::catalog::Catalog;
use crate::topics::record::{ElectionDefaults, Endpoint, PartitionState, Record};

const DEFAULTS: ElectionDefaults = ElectionDefaults { min_insync_replicas: 2, unclean: false };

fn registration(epoch: i64) -> Registration {
    Registration {
        epoch,
        incarnation: Uuid::from_u128(7),
        rack: Some("r".into()),
        listeners: vec![Endpoint { name: "L".into(), host: "h".into(), port: 1, security_protocol: 0 }],
        dirs: vec!["d".into()],
        message_max_bytes: 5,
        replica_fetch_max_bytes: None,
        write_caching: true,
    }
}

fn configs(key: u8) -> BTreeMap<String, String> {
    BTreeMap::from([(format!("key.{key}"), format!("\"{key}\""))])
}

/// Any record of topics 1 to 4 and brokers 1 to 3; those that do not fit the state are passed over.
fn record() -> impl Strategy<Value = Record> {
    let id = || (1..5u128).prop_map(Uuid::from_u128);
    let broker = || 1..4i32;
    let replicas = || proptest::sample::subsequence(vec![1, 2, 3], 1..=3);
    prop_oneof![
        (id(), proptest::collection::vec(replicas(), 1..4), 0..3u8).prop_map(|(id, assignments, key)| {
            let name = format!("topic.{}", id.as_u128());
            Record::TopicCreated { name, id, assignments, configs: configs(key) }
        }),
        (id(), replicas()).prop_map(|(id, replicas)| Record::PartitionsAdded { id, assignments: vec![replicas] }),
        (id(), 0..3i32, replicas(), 0..9i32).prop_map(|(id, partition, replicas, epoch)| {
            let state = PartitionState {
                isr: replicas[..1].to_vec(),
                leader: replicas[0],
                leader_epoch: epoch,
                partition_epoch: epoch + 1,
                elr: replicas[1..].to_vec(),
                adding: vec![epoch],
                replicas,
                ..PartitionState::default()
            };
            Record::PartitionChanged { id, partition, state }
        }),
        id().prop_map(|id| Record::TopicRemoved { id }),
        (id(), 0..3u8).prop_map(|(id, key)| Record::TopicConfigsChanged { id, configs: configs(key) }),
        (0..3i32, 0..3u8).prop_map(|(broker, key)| {
            Record::BrokerConfigsChanged { broker: (broker > 0).then_some(broker), configs: configs(key) }
        }),
        (0..3u8).prop_map(|key| Record::GroupConfigsChanged { group: format!("g{key}"), configs: configs(key) }),
        (broker(), 0..9i64).prop_map(|(broker, next)| Record::ProducerIdsAllocated { broker, next }),
        (0..9i16).prop_map(|level| Record::FeatureLevelChanged { name: "metadata.version".into(), level }),
        (broker(), 0..3i64, any::<bool>()).prop_map(|(broker, epoch, unclean)| Record::BrokerRegistered {
            broker,
            registration: registration(epoch),
            unclean,
            defaults: DEFAULTS,
        }),
        (broker(), 0..3i64).prop_map(|(broker, epoch)| Record::BrokerFenced { broker, epoch, defaults: DEFAULTS }),
        (broker(), 0..3i64).prop_map(|(broker, epoch)| Record::BrokerUnfenced { broker, epoch, defaults: DEFAULTS }),
        broker().prop_map(|broker| Record::BrokerUnregistered { broker }),
        (broker(), 0..3u8).prop_map(|(broker, key)| Record::LogDirsChanged { broker, dirs: configs(key) }),
    ]
}

proptest! {
    #[test]
    fn restoring_a_snapshot_is_as_good_as_replaying_the_records(
        before in proptest::collection::vec(record(), 0..40),
        after in proptest::collection::vec(record(), 0..20),
    ) {
        let mut replayed = Catalog::default();
        for record in &before {
            let _ = replayed.apply(record);
        }
        let mut restored = Catalog::restored(decode(&encode(replayed.image())).unwrap());
        prop_assert_eq!(restored.image(), replayed.image());
        for record in &after {
            prop_assert_eq!(restored.apply(record).is_ok(), replayed.apply(record).is_ok());
            prop_assert_eq!(restored.image(), replayed.image());
        }
    }
}

#[test]
fn names_that_collide_are_known_after_a_restore_too() {
    let mut catalog = Catalog::default();
    let created = Record::TopicCreated {
        name: "a.b".into(),
        id: Uuid::from_u128(1),
        assignments: vec![vec![1]],
        configs: configs(1),
    };
    catalog.apply(&created).unwrap();
    let restored = Catalog::restored(decode(&encode(catalog.image())).unwrap());
    assert_eq!(restored.colliding_with("a_b").as_deref(), Some("a.b"));
}

#[test]
fn the_stored_form_is_stable() {
    let mut catalog = Catalog::default();
    let assignments = vec![vec![1, 2], vec![2, 1]];
    let created = Record::TopicCreated { name: "t".into(), id: Uuid::from_u128(1), assignments, configs: configs(1) };
    catalog.apply(&created).unwrap();
    let stored = String::from_utf8(encode(catalog.image())).unwrap();
    let expected = r#"{"v":0,"version":1,"topics":[{"name":"t","id":"00000000-0000-0000-0000-000000000001","configs":{"key.1":"\"1\""},"partitions":[[[1,2],null,1,0,0,null],[[2,1],null,2,0,0,null]]}],"brokers":{},"cluster_configs":{},"broker_configs":{},"group_configs":{},"features":{},"log_dirs":{},"next_producer_id":0}"#;
    assert_eq!(stored, expected);
}

#[test]
fn what_is_no_snapshot_is_refused_with_the_reason() {
    assert!(decode(b"").is_err());
    assert!(decode(b"\xff").is_err());
    let later = decode(br#"{"v":1,"shape":"new"}"#).unwrap_err().to_string();
    assert!(later.contains("version 1, this release reads up to 0: start the release"), "{later}");
    let topic = r#"{"name":"t","id":"00000000-0000-0000-0000-000000000001","configs":{},"partitions":[]}"#;
    let twice = format!(
        r#"{{"v":0,"version":1,"topics":[{topic},{topic}],"brokers":{{}},"cluster_configs":{{}},"broker_configs":{{}},"group_configs":{{}},"features":{{}},"log_dirs":{{}},"next_producer_id":0}}"#
    );
    assert!(matches!(decode(twice.as_bytes()), Err(SnapshotError::Twice(_))));
}
