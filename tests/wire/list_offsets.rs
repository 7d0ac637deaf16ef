//! ListOffsets: the special times, look-up by time, and OffsetForLeaderEpoch beside it.

use jackdaw_test_support::Client;
use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use jackdaw_test_support::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use jackdaw_test_support::messages::{BrokerId, ListOffsetsRequest, OffsetForLeaderEpochRequest};
use jackdaw_test_support::requests::{self, topic};

use crate::with_topic;

/// Error code, offset and timestamp.
pub(crate) fn ask(client: &mut Client, version: i16, name: &str, partition: i32, time: i64) -> (i16, i64, i64) {
    let wanted = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(time);
    let wanted = ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![wanted]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![wanted]);
    let response = client.call(version, &request);
    let answer = &response.topics[0].partitions[0];
    (answer.error_code, answer.offset, answer.timestamp)
}

/// Records of the times base, base+10, base+5 and base+20, each in a batch of its own.
fn with_times(what: &str) -> (Client, String, i64) {
    let (mut client, name) = with_topic(what);
    let base = jackdaw_test_support::batch::now_ms() - 60_000;
    for delta in [0, 10, 5, 20] {
        requests::produce(&mut client, &name, 0, &Batch::of([delta.to_string()]).timestamp(base + delta));
    }
    (client, name, base)
}

#[test]
fn every_version_knows_earliest_latest_and_a_time() {
    let (mut client, name, base) = with_times("times");
    for version in 1..=10 {
        assert_eq!(ask(&mut client, version, &name, 0, -2), (0, 0, -1), "earliest, version {version}");
        assert_eq!(ask(&mut client, version, &name, 0, -1), (0, 4, -1), "latest, version {version}");
        assert_eq!(ask(&mut client, version, &name, 0, base + 1), (0, 1, base + 10), "version {version}");
    }
}

#[test]
fn a_time_finds_the_first_record_that_is_not_older() {
    let (mut client, name, base) = with_times("exact");
    for (time, found) in [
        (0, (0, 0, base)),
        (base, (0, 0, base)),
        (base + 6, (0, 1, base + 10)),
        (base + 10, (0, 1, base + 10)),
        (base + 11, (0, 3, base + 20)),
        (base + 21, (0, -1, -1)),
    ] {
        assert_eq!(ask(&mut client, 7, &name, 0, time), found, "time base + {}", time - base);
    }
}

#[test]
fn the_largest_timestamp_is_known_since_version_7() {
    let (mut client, name, base) = with_times("largest");
    assert_eq!(ask(&mut client, 7, &name, 0, -3), (0, 3, base + 20));
    assert_eq!(ask(&mut client, 6, &name, 0, -3).0, 35, "UNSUPPORTED_VERSION for this partition");
}

#[test]
fn local_and_tiered_starts_answer_since_their_versions() {
    let (mut client, name, _) = with_times("tiers");
    assert_eq!(ask(&mut client, 8, &name, 0, -4).0, 0);
    assert_eq!(ask(&mut client, 8, &name, 0, -4).1, 0, "all of the log is local");
    assert_eq!(ask(&mut client, 9, &name, 0, -5), (0, -1, -1), "nothing is tiered");
    assert_eq!(ask(&mut client, 7, &name, 0, -4).0, 35);
    assert_eq!(ask(&mut client, 8, &name, 0, -5).0, 35);
    assert_eq!(ask(&mut client, 10, &name, 0, -6).0, 35, "the next to be tiered (KIP-1023) is of version 11");
    assert_eq!(ask(&mut client, 10, &name, 0, -99).0, 35);
}

#[test]
fn an_empty_log_begins_and_ends_at_zero_and_holds_no_time() {
    let (mut client, name) = with_topic("empty");
    assert_eq!(ask(&mut client, 7, &name, 0, -2), (0, 0, -1));
    assert_eq!(ask(&mut client, 7, &name, 0, -1), (0, 0, -1));
    assert_eq!(ask(&mut client, 7, &name, 0, 0), (0, -1, -1));
    assert_eq!(ask(&mut client, 7, &name, 0, -3), (0, -1, -1));
}

#[test]
fn unknown_topics_and_partitions_are_said_so() {
    let (mut client, name) = with_topic("unknown");
    assert_eq!(ask(&mut client, 7, &name, 5, -1).0, 3);
    assert_eq!(ask(&mut client, 7, "nobody-made-this", 0, -1).0, 3);
}

#[test]
fn the_end_of_a_leader_epoch_is_the_end_of_the_log_while_it_lasts() {
    let (mut client, name, _) = with_times("epochs");
    for version in 2..=4 {
        let mut ask = |epoch| {
            let wanted = OffsetForLeaderPartition::default().with_partition(0).with_leader_epoch(epoch);
            let wanted = OffsetForLeaderTopic::default().with_topic(topic(&name)).with_partitions(vec![wanted]);
            let mut request = OffsetForLeaderEpochRequest::default().with_topics(vec![wanted]);
            request.replica_id = BrokerId(-2);
            let response = client.call(version, &request);
            let answer = response.topics[0].partitions[0].clone();
            (answer.error_code, answer.leader_epoch, answer.end_offset)
        };
        assert_eq!(ask(0), (0, 0, 4));
        assert_eq!(ask(7), (0, -1, -1), "an epoch to come");
    }
}
