//! Our files are Kafka's: its own DumpLogSegments must read segments, indexes, snapshots and the offsets topic without a complaint.
//!
//! The tool comes from the published jars (`tests/clients/java/tool`), which are fetched once.
#![allow(clippy::unwrap_used, reason = "a test that meets a surprise should stop right there")]
#![allow(clippy::disallowed_methods, reason = "a test measures how long things take and looks at the files")]

use std::path::PathBuf;

use jackdaw_protocol::records::{BatchBuilder, Codec};
use jackdaw_test_support::Broker;
use jackdaw_test_support::batch::{self, Batch};
use jackdaw_test_support::kafka::{dump, files};
use jackdaw_test_support::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use jackdaw_test_support::messages::{GroupId, OffsetCommitRequest};
use jackdaw_test_support::requests::{self, text, topic};

/// A partition with every codec, idempotent batches, several segments, and a kill in its life; stopped cleanly.
fn a_life(broker: &mut Broker) -> usize {
    let mut client = broker.client();
    requests::create_topic_with(
        &mut client,
        "life",
        1,
        &[("segment.bytes", "1048576"), ("index.interval.bytes", "1000")],
    );
    let (id, epoch) = requests::producer_id(&mut client);
    let mut sent = 0;
    for round in 0..2 {
        for i in 0..40 {
            let sequence = round * 40 + i;
            let batch = Batch::of([format!("idempotent {sequence} {}", "x".repeat(40_000))]).key("k");
            requests::produce(&mut client, "life", 0, &batch.producer(id, epoch, sequence));
            sent += 1;
            for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
                let mut builder = BatchBuilder::new(codec);
                for j in 0..3 {
                    let value = format!("{codec:?} {i} {j} {}", "y".repeat(300));
                    builder.push(batch::now_ms(), Some(b"key"), Some(value.as_bytes()), &[("header", Some(b"h"))]);
                    sent += 1;
                }
                let answer = requests::produce_bytes(&mut client, "life", 0, builder.build());
                assert_eq!(answer.error_code, 0);
            }
        }
        if round == 0 {
            broker.kill();
            broker.start_again();
            client = broker.client();
        }
    }
    sent
}

#[test]
fn kafkas_own_tool_reads_segments_indexes_and_snapshots_without_a_complaint() {
    let mut broker = Broker::start();
    let sent = a_life(&mut broker);
    assert!(broker.stop().success());
    let dir = broker.data_dir().join("life-0");
    let (logs, indexes, times) = (files(&dir, "log"), files(&dir, "index"), files(&dir, "timeindex"));
    assert!(logs.len() >= 3, "{logs:?}");
    assert_eq!([logs.len(); 2], [indexes.len(), times.len()]);

    let records = dump(&logs, &["--deep-iteration", "--print-data-log"]);
    let seen = records.lines().filter(|line| line.starts_with("| offset:")).count();
    assert_eq!(seen, sent, "records that Kafka's tool finds");
    for codec in ["gzip", "snappy", "lz4", "zstd", "none"] {
        assert!(records.contains(&format!("compresscodec: {codec}")), "{codec}");
    }

    // Entries are held against the segments.
    let both = [indexes, times].concat();
    let indexed = dump(&both, &[]);
    let entries = |start: &str| indexed.lines().filter(|line| line.starts_with(start)).count();
    assert!(entries("offset: ") > 50 && entries("timestamp: ") > 50, "indexes with entries:\n{indexed}");
    let sane = dump(&both, &["--index-sanity-check"]);
    assert_eq!(sane.matches("passed sanity check").count(), both.len(), "{sane}");

    let snapshots = files(&dir, "snapshot");
    assert!(!snapshots.is_empty(), "a clean stop leaves a snapshot of the producers");
    let producers = dump(&snapshots, &[]);
    assert!(producers.contains("producerId: ") && producers.contains("lastSequence: 79 "), "{producers}");
}

#[test]
fn kafkas_own_tool_decodes_the_offsets_topic() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic(&mut client, "read", 1);
    requests::coordinator(&mut client, "the-readers");
    let partition =
        OffsetCommitRequestPartition::default().with_committed_offset(42).with_committed_metadata(Some(text("note")));
    let wanted = OffsetCommitRequestTopic::default().with_name(topic("read")).with_partitions(vec![partition]);
    let commit = OffsetCommitRequest::default().with_group_id(GroupId(text("the-readers"))).with_topics(vec![wanted]);
    assert_eq!(client.call(7, &commit).topics[0].partitions[0].error_code, 0);
    assert!(broker.stop().success());
    let logs: Vec<PathBuf> = std::fs::read_dir(broker.data_dir())
        .unwrap()
        .map(|dir| dir.unwrap().path())
        .filter(|dir| dir.file_name().unwrap().to_string_lossy().starts_with("__consumer_offsets-"))
        .flat_map(|dir| files(&dir, "log"))
        .collect();
    let decoded = dump(&logs, &["--offsets-decoder"]);
    assert!(
        decoded.contains("the-readers") && decoded.contains("\"offset\":42") && decoded.contains("note"),
        "{decoded}"
    );
}

#[test]
fn the_small_files_are_as_kafka_writes_them() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic(&mut client, "small", 1);
    requests::produce(&mut client, "small", 0, &Batch::of(["one", "two"]));
    assert!(broker.stop().success());
    let read = |name: &str| {
        std::fs::read_to_string(broker.data_dir().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let meta = read("meta.properties");
    for line in ["version=1", "node.id=1", "cluster.id=", "directory.id="] {
        assert!(meta.lines().any(|found| found.starts_with(line)), "{line} in {meta}");
    }
    for name in ["recovery-point-offset-checkpoint", "replication-offset-checkpoint"] {
        let text = read(name);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "0", "version of {name}");
        assert_eq!(lines[1].parse::<usize>().unwrap(), lines.len() - 2, "count of {name}");
        assert!(lines.contains(&"small 0 2"), "{text}");
    }
    assert_eq!(read("small-0/leader-epoch-checkpoint"), "0\n1\n0 0\n");
    let metadata = read("small-0/partition.metadata");
    let id = metadata.strip_prefix("version: 0\ntopic_id: ").unwrap_or_else(|| panic!("{metadata}"));
    assert_eq!(id.trim_end().len(), 22, "a topic id as Kafka prints them");
}
