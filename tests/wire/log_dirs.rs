//! DescribeLogDirs: sizes for everybody, and the facts of logs for who asks by a tagged field of our own.

use std::collections::BTreeMap;

use bytes::Bytes;
use jackdaw_protocol::log_facts::{LogFacts, TAG};
use jackdaw_protocol::records::{BatchBuilder, Codec};
use jackdaw_test_support::batch::now_ms;
use jackdaw_test_support::messages::DescribeLogDirsRequest;
use jackdaw_test_support::messages::describe_log_dirs_request::DescribableLogDirTopic;
use jackdaw_test_support::messages::describe_log_dirs_response::DescribeLogDirsPartition;
use jackdaw_test_support::requests::{self, topic};

use crate::with_topic;

fn ask(client: &mut jackdaw_test_support::Client, name: &str, version: i16, tags: &[i32]) -> DescribeLogDirsPartition {
    let wanted = DescribableLogDirTopic::default().with_topic(topic(name)).with_partitions(vec![0]);
    let mut request = DescribeLogDirsRequest::default().with_topics(Some(vec![wanted]));
    request.unknown_tagged_fields = tags.iter().map(|tag| (*tag, Bytes::new())).collect::<BTreeMap<_, _>>();
    client.call(version, &request).results.remove(0).topics.remove(0).partitions.remove(0)
}

#[test]
fn facts_are_told_only_to_who_asks_for_them() {
    let (mut client, name) = with_topic("facts");
    let mut batch = BatchBuilder::new(Codec::Zstd);
    for i in 0..90 {
        batch.push(now_ms(), Some(format!("key-{}", i % 30).as_bytes()), Some(b"value"), &[]);
    }
    batch.push(now_ms(), None, Some(b"no key"), &[]);
    assert_eq!(requests::produce_bytes(&mut client, &name, 0, batch.build()).error_code, 0);
    for version in 1..=4 {
        let plain = ask(&mut client, &name, version, &[]);
        assert!(plain.partition_size > 0 && plain.unknown_tagged_fields.is_empty(), "version {version}");
    }
    for version in 2..=4 {
        let other = ask(&mut client, &name, version, &[TAG + 1]);
        assert!(other.unknown_tagged_fields.is_empty(), "a tag that nobody knows is passed over");
        let told = ask(&mut client, &name, version, &[TAG, TAG + 1]);
        let facts = LogFacts::decode(&told.unknown_tagged_fields[&TAG]).unwrap();
        assert_eq!((facts.log_start_offset, facts.log_end_offset), (Some(0), Some(91)));
        assert_eq!((facts.distinct_keys, facts.keyed_records, facts.seen_records), (Some(30), Some(90), Some(91)));
        assert_eq!(facts.seen_bytes, Some(told.partition_size));
    }
}
