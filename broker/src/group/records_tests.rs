#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use bytes::Bytes;
use jackdaw_protocol::records::{Batch, records};
use uuid::Uuid;

use super::*;

/// The log of a `__consumer_offsets` partition that Apache Kafka 4.3.1 wrote: a static member and a console consumer
/// joined, committed and left, offsets were reset and deleted, a group was deleted.
const KAFKA_LOG: &[u8] = include_bytes!("../../tests/fixtures/consumer-offsets-kafka-4.3.1.log");

fn kafka_records() -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for batch in Batch::split_all(Bytes::from_static(KAFKA_LOG)) {
        for record in records(&batch.unwrap(), 1 << 20).unwrap().iter() {
            let record = record.unwrap();
            found.push((record.key.unwrap().to_vec(), record.value.map(<[u8]>::to_vec)));
        }
    }
    found
}

#[test]
fn every_record_that_kafka_wrote_is_written_by_us_byte_for_byte() {
    let written = kafka_records();
    assert_eq!(written.len(), 15);
    for (key, value) in written {
        let record = Record::decode(&key, value.as_deref()).unwrap().unwrap();
        assert_eq!(record.key(), key, "{record:?}");
        assert_eq!(record.value(), value, "{record:?}");
    }
}

#[test]
fn what_kafka_wrote_means_what_its_own_tool_says() {
    let decoded: Vec<Record> =
        kafka_records().iter().map(|(key, value)| Record::decode(key, value.as_deref()).unwrap().unwrap()).collect();
    let Record::Group { group, value: Some(value) } = &decoded[1] else { panic!("{:?}", decoded[1]) };
    assert_eq!(&**group, "billing");
    assert_eq!((&*value.protocol_type, value.generation, value.protocol.as_deref()), ("consumer", 1, Some("range")));
    assert_eq!(value.state_since_ms, Some(1_795_255_789_037));
    let [member] = &value.members[..] else { panic!("{value:?}") };
    assert_eq!(value.leader.as_ref(), Some(&member.member_id));
    assert_eq!((member.instance_id.as_deref(), &*member.client_id), (Some("till-1"), "biller"));
    assert_eq!((&*member.client_host, member.session_timeout_ms), ("/127.0.0.1", 45_000));
    assert_eq!(member.rebalance_timeout_ms, 300_000);
    let mut topics = std::collections::BTreeSet::new();
    crate::group::subscription::add_topics(&member.subscription, &mut topics).unwrap();
    assert_eq!(topics.into_iter().collect::<Vec<_>>(), ["orders"]);

    let Record::Offset { group, topic, partition: 1, value: Some(value) } = &decoded[3] else { panic!() };
    assert_eq!((&**group, &**topic, value.offset, value.leader_epoch), ("billing", "orders", 20, 0));
    assert!(!value.topic_id.is_nil());
    assert_eq!(decoded[14], Record::Group { group: "billing".into(), value: None });
}

fn group_value() -> GroupValue {
    let member = |id: &str, instance: Option<&str>| MemberValue {
        member_id: id.into(),
        instance_id: instance.map(Into::into),
        client_id: "app".into(),
        client_host: "/10.0.0.1".into(),
        rebalance_timeout_ms: 60_000,
        session_timeout_ms: 10_000,
        subscription: Bytes::from_static(b"wants"),
        assignment: Bytes::from_static(b"gets"),
    };
    GroupValue {
        protocol_type: "consumer".into(),
        generation: 7,
        protocol: Some("range".into()),
        leader: Some("a".into()),
        state_since_ms: Some(123),
        members: vec![member("a", None), member("b", Some("static"))],
    }
}

fn offset_value() -> OffsetValue {
    OffsetValue {
        offset: 42,
        leader_epoch: 3,
        metadata: "where I was".into(),
        commit_timestamp_ms: 1000,
        expire_timestamp_ms: None,
        topic_id: Uuid::from_u128(7),
    }
}

#[test]
fn groups_survive_the_round_trip_and_their_length_is_known_beforehand() {
    for value in [group_value(), GroupValue { protocol: None, leader: None, members: vec![], ..group_value() }] {
        let bytes = value.encode();
        assert_eq!(bytes.len(), value.encoded_len());
        assert_eq!(GroupValue::decode(&bytes).unwrap(), value);
    }
}

#[test]
fn offsets_survive_the_round_trip() {
    let long = "m".repeat(4096);
    for value in [
        offset_value(),
        OffsetValue { topic_id: Uuid::nil(), ..offset_value() },
        OffsetValue { metadata: long.as_str().into(), ..offset_value() },
    ] {
        assert_eq!(OffsetValue::decode(&value.encode()).unwrap(), value);
    }
}

#[test]
fn a_retention_time_of_the_clients_own_is_kept_in_the_version_that_has_a_place_for_it() {
    let value = OffsetValue { expire_timestamp_ms: Some(9000), ..offset_value() };
    let bytes = value.encode();
    assert_eq!(bytes[..2], [0, 1]);
    // That version has no leader epoch and no topic id.
    let read = OffsetValue { leader_epoch: -1, topic_id: Uuid::nil(), ..value };
    assert_eq!(OffsetValue::decode(&bytes).unwrap(), read);
}

#[test]
fn older_offset_values_are_read() {
    let tail = [&7i64.to_be_bytes()[..], &[0, 1, b'm'], &9i64.to_be_bytes()].concat();
    for version in [0u8, 2] {
        let value = OffsetValue::decode(&[&[0, version], &tail[..]].concat()).unwrap();
        assert_eq!((value.offset, &*value.metadata, value.commit_timestamp_ms), (7, "m", 9));
    }
    let tail = [&7i64.to_be_bytes()[..], &5i32.to_be_bytes(), &[0, 1, b'm'], &9i64.to_be_bytes()].concat();
    let value = OffsetValue::decode(&[&[0, 3], &tail[..]].concat()).unwrap();
    assert_eq!((value.offset, value.leader_epoch, &*value.metadata), (7, 5, "m"));
}

/// Writes a group value as Kafka's other versions have it.
fn group_value_of_version(version: u8) -> Vec<u8> {
    let text = |text: &str| -> Vec<u8> {
        let bytes = text.as_bytes();
        if version >= 4 {
            [&[bytes.len() as u8 + 1], bytes].concat()
        } else {
            [&(bytes.len() as i16).to_be_bytes(), bytes].concat()
        }
    };
    let blob = |bytes: &[u8]| -> Vec<u8> {
        if version >= 4 {
            [&[bytes.len() as u8 + 1], bytes].concat()
        } else {
            [&(bytes.len() as i32).to_be_bytes(), bytes].concat()
        }
    };
    let mut out = vec![0, version];
    out.extend(text("consumer"));
    out.extend(7i32.to_be_bytes());
    out.extend(text("range"));
    out.extend(text("a"));
    if version >= 2 {
        out.extend(123i64.to_be_bytes());
    }
    if version >= 4 {
        out.push(2)
    } else {
        out.extend(1i32.to_be_bytes())
    }
    out.extend(text("a"));
    if version >= 3 {
        out.extend(text("static"));
    }
    out.extend(text("app"));
    out.extend(text("/10.0.0.1"));
    if version >= 1 {
        out.extend(60_000i32.to_be_bytes());
    }
    out.extend(10_000i32.to_be_bytes());
    out.extend(blob(b"wants"));
    out.extend(blob(b"gets"));
    if version >= 4 {
        out.extend([0, 0]);
    }
    out
}

#[test]
fn group_values_of_all_versions_are_read() {
    for version in 0..=4 {
        let value = GroupValue::decode(&group_value_of_version(version)).unwrap();
        assert_eq!((&*value.protocol_type, value.generation), ("consumer", 7), "version {version}");
        assert_eq!(value.state_since_ms, (version >= 2).then_some(123));
        let member = &value.members[0];
        assert_eq!(member.instance_id.as_deref(), (version >= 3).then_some("static"));
        assert_eq!(member.rebalance_timeout_ms, if version >= 1 { 60_000 } else { -1 });
        assert_eq!((&member.subscription[..], &member.assignment[..]), (&b"wants"[..], &b"gets"[..]));
    }
}

#[test]
fn unknown_versions_are_refused_and_unknown_kinds_of_records_are_left_out() {
    assert_eq!(
        OffsetValue::decode(&[0, 5, 0, 0]),
        Err(RecordError::UnknownVersion { what: "OffsetCommitValue", version: 5 })
    );
    assert_eq!(
        GroupValue::decode(&[0xff, 0xff]),
        Err(RecordError::UnknownVersion { what: "GroupMetadataValue", version: -1 })
    );
    assert_eq!(Record::decode(&[0, 3, 0, 1, b'g'], Some(&[0, 0])), Ok(None));
}

#[test]
fn no_truncated_or_inflated_value_is_read_or_reserves_memory() {
    for bytes in [group_value().encode(), group_value_of_version(0), group_value_of_version(4)] {
        for end in 0..bytes.len() {
            assert!(GroupValue::decode(&bytes[..end]).is_err(), "{end} of {}", bytes.len());
        }
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at..].fill(0x7f);
            let _ = GroupValue::decode(&broken);
            broken[at..].fill(0xff);
            let _ = GroupValue::decode(&broken);
        }
    }
    let bytes = offset_value().encode();
    assert!((0..bytes.len()).all(|end| OffsetValue::decode(&bytes[..end]).is_err()));
    let key = Record::Offset { group: "g".into(), topic: "t".into(), partition: 1, value: None }.key();
    assert!((0..key.len()).all(|end| Record::decode(&key[..end], None).is_err()));
    let claims = [&[0, 0, 0, 1, b'c'][..], &[0; 4], &[0xff; 4], &i32::MAX.to_be_bytes()].concat();
    assert_eq!(GroupValue::decode(&claims), Err(RecordError::Truncated { field: "members" }));
}
