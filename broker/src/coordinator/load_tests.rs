#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use bytes::Bytes;

use super::*;
use crate::group::shard::FetchedOffset;

#[test]
fn a_partition_that_apache_kafka_wrote_loads() {
    let log = include_bytes!("../../tests/fixtures/consumer-offsets-kafka-4.3.1.log");
    let mut shard = Shard::default();
    for batch in Batch::split_all(Bytes::from_static(log)) {
        apply_batch(&mut shard, &batch.unwrap()).unwrap();
    }
    let groups: Vec<_> = shard.list().map(|listed| (listed.group.to_string(), listed.state.as_str())).collect();
    assert_eq!(groups, [("audit".to_owned(), "Empty")], "the other one was deleted");
    let fetched = |partition| match shard.fetch("audit", "orders", partition, true) {
        FetchedOffset::Committed(value) => Some(value.offset),
        FetchedOffset::Missing => None,
        FetchedOffset::Unstable => panic!(),
    };
    assert_eq!((fetched(0), fetched(1)), (Some(0), None), "one was reset, the other deleted");
}
