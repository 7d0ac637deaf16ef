//! What is there before a stop or a kill is there afterwards.

use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use jackdaw_test_support::messages::offset_fetch_request::OffsetFetchRequestTopic;
use jackdaw_test_support::messages::{
    DeleteRecordsRequest, GroupId, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, delete_records_request,
};
use jackdaw_test_support::requests::{self, text, topic};
use jackdaw_test_support::{Broker, Client, Options};

/// A clean stop, or a kill.
#[derive(Clone, Copy, Debug)]
enum End {
    Stop,
    Kill,
}

fn end_and_start(broker: &mut Broker, end: End) -> Client {
    match end {
        End::Stop => assert!(broker.stop().success(), "a clean stop is a success:\n{}", broker.said()),
        End::Kill => broker.kill(),
    }
    broker.start_again();
    broker.client()
}

fn texts(client: &mut Client, name: &str, partition: i32) -> Vec<String> {
    requests::read_all(client, name, partition).iter().map(|record| record.text().to_owned()).collect()
}

#[test]
fn records_topics_and_ids_are_there_after_every_kind_of_end() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic_with(&mut client, "kept", 3, &[("retention.ms", "86400000")]);
    let before = requests::topic_id(&mut client, "kept");
    let mut expected = Vec::new();
    for (round, end) in [End::Stop, End::Kill, End::Kill, End::Stop].into_iter().enumerate() {
        for i in 0..10 {
            let value = format!("round {round} record {i}");
            requests::produce(&mut client, "kept", 1, &Batch::of([&value]));
            expected.push(value);
        }
        client = end_and_start(&mut broker, end);
        assert_eq!(texts(&mut client, "kept", 1), expected, "after {end:?}");
        assert_eq!(requests::list_offset(&mut client, "kept", 0, -1), 0);
        let after = requests::topic_id(&mut client, "kept");
        assert_eq!((after.topic_id, after.partitions.len()), (before.topic_id, 3));
    }
}

#[test]
fn the_cluster_keeps_its_id() {
    let mut broker = Broker::start();
    let id = |client: &mut Client| client.call(9, &MetadataRequest::default().with_topics(Some(vec![]))).cluster_id;
    let before = id(&mut broker.client());
    assert_eq!(id(&mut end_and_start(&mut broker, End::Kill)), before);
    assert_eq!(id(&mut end_and_start(&mut broker, End::Stop)), before);
}

#[test]
fn committed_offsets_are_there_after_every_kind_of_end() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic(&mut client, "read", 1);
    requests::coordinator(&mut client, "readers");
    for (offset, end) in [(7, End::Kill), (8, End::Stop), (9, End::Kill)] {
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("m")));
        let wanted = OffsetCommitRequestTopic::default().with_name(topic("read")).with_partitions(vec![partition]);
        let commit = OffsetCommitRequest::default().with_group_id(GroupId(text("readers"))).with_topics(vec![wanted]);
        assert_eq!(client.call(7, &commit).topics[0].partitions[0].error_code, 0);
        client = end_and_start(&mut broker, end);
        requests::coordinator(&mut client, "readers");
        let wanted = OffsetFetchRequestTopic::default().with_name(topic("read")).with_partition_indexes(vec![0]);
        let fetch =
            OffsetFetchRequest::default().with_group_id(GroupId(text("readers"))).with_topics(Some(vec![wanted]));
        let found = &client.call(7, &fetch).topics[0].partitions[0];
        assert_eq!((found.error_code, found.committed_offset), (0, offset), "after {end:?}");
    }
}

#[test]
fn deleted_records_and_deleted_topics_stay_deleted() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    for name in ["trimmed", "gone"] {
        requests::create_topic(&mut client, name, 1);
        for i in 0..6 {
            requests::produce(&mut client, name, 0, &Batch::of([i.to_string()]));
        }
    }
    let partition = delete_records_request::DeleteRecordsPartition::default().with_offset(4);
    let wanted = delete_records_request::DeleteRecordsTopic::default()
        .with_name(topic("trimmed"))
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(10_000);
    assert_eq!(client.call(2, &request).topics[0].partitions[0].error_code, 0);
    requests::delete_topic(&mut client, "gone");
    for end in [End::Stop, End::Kill] {
        client = end_and_start(&mut broker, end);
        assert_eq!(texts(&mut client, "trimmed", 0), ["4", "5"], "after {end:?}");
        assert_eq!(requests::topic_id(&mut client, "gone").error_code, 3);
    }
}

#[test]
fn changed_configs_and_added_partitions_stay() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic(&mut client, "changed", 1);
    assert_eq!(crate::configs::set(&mut client, "changed", "retention.ms", "77777777"), (0, String::new()));
    for end in [End::Kill, End::Stop] {
        client = end_and_start(&mut broker, end);
        let found = crate::configs::topic_config(&mut client, "changed", "retention.ms");
        assert_eq!(found.value.as_ref().map(|value| value.as_str()), Some("77777777"), "after {end:?}");
    }
}

#[test]
fn segments_roll_and_all_of_them_are_read_after_a_kill() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic_with(&mut client, "rolling", 1, &[("segment.bytes", "1048576")]);
    for i in 0..40 {
        let value = format!("{i} {}", "x".repeat(100_000));
        assert_eq!(requests::produce(&mut client, "rolling", 0, &Batch::of([value])), i);
    }
    let segments = || {
        let files = std::fs::read_dir(broker.data_dir().join("rolling-0")).unwrap();
        files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "log")).count()
    };
    assert!(segments() >= 4, "{} segments", segments());
    let mut client = end_and_start(&mut broker, End::Kill);
    let numbers: Vec<String> =
        texts(&mut client, "rolling", 0).iter().map(|text| text.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(numbers, (0..40).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_torn_tail_is_cut_and_what_was_whole_is_kept() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic(&mut client, "torn", 1);
    for i in 0..5 {
        requests::produce(&mut client, "torn", 0, &Batch::of([i.to_string()]));
    }
    broker.kill();
    let path = broker.data_dir().join("torn-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    while bytes.last() == Some(&0) {
        bytes.pop(); // space reserved ahead, if any
    }
    bytes.extend_from_slice(&Batch::of(["half of this"]).bytes()[..40]);
    std::fs::write(&path, bytes).unwrap();
    broker.start_again();
    let mut client = broker.client();
    assert_eq!(texts(&mut client, "torn", 0), ["0", "1", "2", "3", "4"]);
    assert_eq!(requests::produce(&mut client, "torn", 0, &Batch::of(["5"])), 5);
}

#[test]
fn write_caching_survives_a_kill_of_the_process_too() {
    let mut broker = Options::new().start();
    let mut client = broker.client();
    requests::create_topic_with(&mut client, "cached", 1, &[("write.caching", "true")]);
    for i in 0..20 {
        requests::produce(&mut client, "cached", 0, &Batch::of([i.to_string()]));
    }
    let mut client = end_and_start(&mut broker, End::Kill);
    assert_eq!(texts(&mut client, "cached", 0).len(), 20, "the page cache outlives the process");
}
