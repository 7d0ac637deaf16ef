//! Whole log directories from Kafka to us and back, with the tools that do it: not one byte of a record may change.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use jackdaw_protocol::records::{BatchBuilder, Codec};
use jackdaw_test_support::kafka::{CURRENT, Kafka, OLD, dump, dump_with_gaps, files};
use jackdaw_test_support::messages::describe_configs_request::DescribeConfigsResource;
use jackdaw_test_support::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use jackdaw_test_support::messages::offset_fetch_request::OffsetFetchRequestTopic;
use jackdaw_test_support::messages::{DescribeConfigsRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest};
use jackdaw_test_support::requests::{self, produce_request, text, topic};
use jackdaw_test_support::{Broker, Client, broker};

use crate::both::{Side, THEN, assert_same, encoded, our_options, records};
use crate::left::{self, Left};
use crate::transactions;

/// The last version of Produce with topic names that Kafka 2.8 has; it is served by all.
const PRODUCE: i16 = 9;
const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
const SMALL: (&str, &str) = ("segment.ms", "1000");
const FOREVER: (&str, &str) = ("retention.ms", "-1");

fn produce(client: &mut Client, name: &str, partition: i32, bytes: Bytes) {
    let answer = client.call(PRODUCE, &produce_request(name, partition, -1, bytes));
    let answer = &answer.responses[0].partition_responses[0];
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
}

/// Every codec, headers, tombstones, empty and missing keys, an idempotent producer; a segment for every other second.
fn fill(client: &mut Client, name: &str, producer: i64, first_sequence: i32, from: i64) {
    let mut sequence = first_sequence;
    for (second, codec) in (0..).zip(CODECS.iter().cycle().take(12)) {
        let time = from + second * 700;
        let value = format!("{second} {}", "v".repeat(300));
        produce(client, name, 0, encoded(*codec, time, &[("a", Some(&value)), ("b", None), ("", Some(""))]));
        let mut builder = BatchBuilder::new(*codec).producer(producer, 0, sequence);
        builder.push(time + 1, None, Some(b"no key"), &[("h", Some(b"1")), ("h", None)]);
        builder.push(time - 5, Some(b"a"), None, &[]);
        produce(client, name, 0, builder.build());
        sequence += 2;
    }
}

/// What a client can see of the first partition, and the bytes of its batches.
struct View {
    left: Left,
    bytes: Vec<u8>,
}

fn view(client: &mut Client, name: &str, special: &[i64]) -> View {
    let left = left::look_for(client, name, special);
    let batches = left::all_batches(client, name, left.log_start);
    View { left, bytes: batches.iter().flat_map(|batch| batch.bytes().to_vec()).collect() }
}

fn views(client: &mut Client, names: &[&'static str], special: &[i64]) -> BTreeMap<&'static str, View> {
    names.iter().map(|name| (*name, view(client, name, special))).collect()
}

/// `with_epochs`: also those of answers about time. Those of batches are among the bytes.
fn assert_views(kafka: &BTreeMap<&'static str, View>, ours: &BTreeMap<&'static str, View>, with_epochs: bool) {
    assert!(!kafka.is_empty());
    for (name, view) in kafka {
        assert!(!view.bytes.is_empty(), "{name} is empty");
        assert_same(name, &view.left, &ours[name].left, with_epochs);
        assert!(view.bytes == ours[name].bytes, "the bytes of the batches of {name} differ");
    }
}

/// The segments of all partitions of these topics, byte for byte, and the ids of the topics.
fn assert_folders(these: &Path, those: &Path, names: &[&'static str]) {
    for entry in std::fs::read_dir(these).unwrap() {
        let folder = entry.unwrap().path();
        let folder_name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let Some((name, partition)) = folder_name.rsplit_once('-') else { continue };
        if partition.parse::<u32>().is_err() || !names.contains(&name) {
            continue;
        }
        let other = those.join(&folder_name);
        let id = |folder: &Path| {
            std::fs::read_to_string(folder.join("partition.metadata")).map(|id| id.trim_end().to_owned())
        };
        let our_id = id(&other).unwrap();
        // Kafka 2.8 knows topic ids, and keeps them in its metadata only.
        assert_eq!(id(&folder).unwrap_or_else(|_| our_id.clone()), our_id, "{folder_name}");
        let (logs, copies) = (files(&folder, "log"), files(&other, "log"));
        assert_eq!(logs.len(), copies.len(), "segments of {folder_name}: {logs:?} and {copies:?}");
        for (log, copy) in logs.iter().zip(&copies) {
            assert_eq!(log.file_name(), copy.file_name());
            assert!(std::fs::read(log).unwrap() == std::fs::read(copy).unwrap(), "{} differs", copy.display());
        }
    }
}

fn commit(client: &mut Client, group: &str, name: &str, offset: i64) {
    requests::coordinator(client, group);
    let partition =
        OffsetCommitRequestPartition::default().with_committed_offset(offset).with_committed_metadata(Some(text("m")));
    let wanted = OffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default().with_group_id(GroupId(text(group))).with_topics(vec![wanted]);
    assert_eq!(client.call(7, &request).topics[0].partitions[0].error_code, 0);
}

fn committed(client: &mut Client, group: &str, name: &str) -> (i64, Option<String>) {
    requests::coordinator(client, group);
    let wanted = OffsetFetchRequestTopic::default().with_name(topic(name)).with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(Some(vec![wanted]));
    let answer = client.call(5, &request).topics.remove(0).partitions.remove(0);
    assert_eq!(answer.error_code, 0);
    (answer.committed_offset, answer.metadata.map(|metadata| metadata.to_string()))
}

/// What a topic has of its own, not from a default.
fn configs(client: &mut Client, name: &str) -> BTreeMap<String, String> {
    let resource = DescribeConfigsResource::default().with_resource_type(2).with_resource_name(text(name));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.call(4, &request).results.remove(0);
    assert_eq!(answer.error_code, 0);
    let own = answer.configs.into_iter().filter(|config| config.config_source == 1);
    own.map(|config| (config.name.to_string(), config.value.map(|value| value.to_string()).unwrap_or_default()))
        .collect()
}

/// Runs a command of the binary under test.
fn jackdaw(arguments: &[&str]) -> String {
    let output = Command::new(broker::binary()).args(arguments).output().expect("the binary can be run");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "jackdaw {}: {said}", arguments.join(" "));
    said
}

fn import(kafka: &Kafka, data_dir: &Path) -> Broker {
    let from = kafka.data_dir();
    jackdaw(&["log", "import", "--yes", "--from", from.to_str().unwrap(), "--data-dir", data_dir.to_str().unwrap()]);
    our_options().data_dir(data_dir).start()
}

/// Our own tools read every file of a directory, Kafka's or ours, and find it sound.
fn assert_sound(data_dir: &Path) {
    let dir = data_dir.to_str().unwrap();
    let said = jackdaw(&["log", "verify", dir]);
    // What retention and compaction took goes after a while.
    let is_noted = |line: &str| line.starts_with("note: ") && !line.contains(".deleted: ");
    assert!(said.ends_with(": sound\n") && !said.lines().any(is_noted), "{said}");
    let said = jackdaw(&["log", "dump", "--records", "--format", "json", dir]);
    assert!(said.contains("\"type\":\"record\"") && !said.contains("of no kind known"), "{said}");
}

/// Kafka's own tool reads everything of these topics, and believes their indexes.
fn assert_dumped(data_dir: &Path, names: &[&'static str], is_meant: impl Fn(&Path) -> bool) {
    let all_of = |kinds: &[&str]| -> Vec<_> {
        let folders = names.iter().map(|name| data_dir.join(format!("{name}-0")));
        let all = folders.flat_map(|folder| kinds.iter().flat_map(|kind| files(&folder, kind)).collect::<Vec<_>>());
        all.filter(|file| is_meant(file)).collect()
    };
    let all = all_of(&["log", "index", "timeindex", "txnindex", "snapshot"]);
    let said = dump_with_gaps(&all, &["--deep-iteration", "--print-data-log"]);
    for kind in ["| offset: ", "timestamp: ", "producerId: "] {
        assert!(said.lines().any(|line| line.starts_with(kind)), "{kind:?} in\n{said}");
    }
    dump(&all_of(&["index", "timeindex"]), &["--index-sanity-check"]);
}

const ALL_TIMES: &[i64] = &[-1, -2, -3];

/// What a life in Kafka leaves: segments, a moved log start, transactions, a compacted log, partitions, offsets, configs.
fn a_life_in_kafka(kafka: &Kafka, client: &mut Client) {
    requests::create_topic_with(client, "everything", 1, &[SMALL, FOREVER, ("retention.bytes", "123456789")]);
    let producer = requests::producer_id(client).0;
    fill(client, "everything", producer, 0, THEN);
    requests::create_topic_with(client, "begun-later", 1, &[SMALL, FOREVER]);
    fill(client, "begun-later", producer, 0, THEN);
    let mut later = Side {
        name: "Apache Kafka",
        topic: "begun-later".to_owned(),
        client: kafka.client(),
        data_dir: kafka.data_dir(),
    };
    assert_eq!(later.delete_records(17), (0, 17));
    requests::create_topic_with(client, "transactional", 1, &[SMALL, FOREVER]);
    later.topic = "transactional".to_owned();
    transactions::interwoven_by(&|| kafka.client(), &mut later, Codec::Lz4);
    let compact = [SMALL, ("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")];
    requests::create_topic_with(client, "compacted", 1, &compact);
    for second in 0..12 {
        let value = format!("of {second}");
        produce(client, "compacted", 0, encoded(Codec::Zstd, THEN + second * 600, &[("a", Some(&value)), ("b", None)]));
    }
    later.topic = "compacted".to_owned();
    let active = *later.segments().last().unwrap();
    later.until("compaction", |side| match side.cleaned_to() {
        Some(offset) if offset == active => Ok(()),
        other => Err(format!("{other:?}")),
    });
    requests::create_topic_with(client, "spread", 3, &[FOREVER]);
    for partition in 0..3 {
        produce(client, "spread", partition, records(THEN, &[("k", Some(&partition.to_string()))]));
    }
    commit(client, "readers", "everything", 11);
}

const TOPICS: &[&str] = &["everything", "begun-later", "transactional", "compacted", "spread"];

const HELD: (&str, &str) = ("min.compaction.lag.ms", "4000000000000");
const OUR_COMPACTED: (&str, &[(&str, &str)]) =
    ("our-compacted", &[SMALL, ("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0"), HELD]);
const OUR_STAMPED: (&str, &[(&str, &str)]) =
    ("our-stamped", &[FOREVER, ("internal.segment.bytes", "1500"), ("message.timestamp.type", "LogAppendTime")]);

/// What was there grows, what was empty is filled, with a crash in between; compaction and DeleteRecords take some of both.
fn a_life_here(broker: &mut Broker) {
    let mut client = broker.client();
    let producer = requests::producer_id(&mut client).0;
    fill(&mut client, "everything", producer, 0, THEN + 60_000);
    fill(&mut client, "ours", producer, 0, THEN);
    fill(&mut client, OUR_STAMPED.0, producer, 0, THEN);
    for (second, codec) in (0..).zip(CODECS.iter().cycle().take(15)) {
        let value = format!("of {second}");
        let bytes = encoded(*codec, THEN + second * 600, &[("a", Some(&value)), ("b", None), (&value, Some("once"))]);
        produce(&mut client, OUR_COMPACTED.0, 0, bytes);
    }
    broker.kill();
    broker.start_again();
    client = broker.client();
    fill(&mut client, "ours", producer, 24, THEN + 60_000);
    fill(&mut client, "our-begun-later", producer, 0, THEN);
    let of = |topic: &str| Side {
        name: "Jackdaw",
        topic: topic.to_owned(),
        client: broker.client(),
        data_dir: broker.data_dir().to_owned(),
    };
    assert_eq!(of("our-begun-later").delete_records(17), (0, 17));
    transactions::seal_in(&mut of("transactional"));
    for topic in [OUR_COMPACTED.0, "transactional"] {
        let mut side = of(topic);
        let before = left::look(&mut side.client, topic).records.len();
        let compact =
            [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0"), ("min.compaction.lag.ms", "0")];
        side.alter(&compact);
        let active = *side.segments().last().unwrap();
        side.until("compaction", |side| match side.cleaned_to() {
            Some(offset) if offset == active => Ok(()),
            other => Err(format!("{other:?}")),
        });
        assert!(left::look(&mut side.client, topic).records.len() < before, "compaction took something of {topic}");
    }
}

#[test]
fn a_log_directory_of_kafka_4_3_is_taken_over_lived_in_and_given_back() {
    let scratch = tempfile::tempdir().unwrap();
    let data_dir = scratch.path().join("data");
    let kafka = Kafka::start(CURRENT, &[]);
    let mut client = kafka.client();
    a_life_in_kafka(&kafka, &mut client);
    for (name, configs) in
        [("ours", &[SMALL, FOREVER][..]), OUR_COMPACTED, OUR_STAMPED, ("our-begun-later", &[SMALL, FOREVER])]
    {
        requests::create_topic_with(&mut client, name, 1, configs);
    }
    let before = views(&mut client, TOPICS, ALL_TIMES);
    let kafkas_configs = TOPICS.iter().map(|name| configs(&mut client, name)).collect::<Vec<_>>();
    assert_eq!(kafkas_configs[0]["retention.bytes"], "123456789");
    kafka.stop();
    assert_sound(&kafka.data_dir());

    let mut broker = import(&kafka, &data_dir);
    let mut client = broker.client();
    assert_folders(&kafka.data_dir(), &data_dir, TOPICS);
    assert_views(&before, &views(&mut client, TOPICS, ALL_TIMES), true);
    assert_eq!(TOPICS.iter().map(|name| configs(&mut client, name)).collect::<Vec<_>>(), kafkas_configs);
    assert_eq!(committed(&mut client, "readers", "everything"), (11, Some("m".to_owned())));

    a_life_here(&mut broker);
    let mut client = broker.client();
    let all = [TOPICS, &["ours", OUR_COMPACTED.0, OUR_STAMPED.0, "our-begun-later"]].concat();
    let before = views(&mut client, &all, ALL_TIMES);
    assert!(broker.stop().success());
    assert_dumped(&data_dir, &all, |_| true);
    assert_sound(&data_dir);

    let (from, to) = (data_dir.to_str().unwrap().to_owned(), kafka.data_dir());
    jackdaw(&["log", "export", "--yes", "--replace", "--data-dir", &from, "--to", to.to_str().unwrap()]);
    kafka.start_again();
    let mut client = kafka.client();
    assert_folders(&data_dir, &kafka.data_dir(), &all);
    let after = views(&mut client, &all, ALL_TIMES);
    // Kafka's controller counts epochs on from where it was, which is below ours; then Kafka forgets where ours began.
    assert_views(&after, &before, false);
    // Once more to us: Kafka changed nothing.
    kafka.stop();
    let again = scratch.path().join("again");
    let mut second = import(&kafka, &again);
    assert_folders(&data_dir, &again, &all);
    assert_views(&before, &views(&mut second.client(), &all, ALL_TIMES), false);
    assert!(second.stop().success());
    kafka.start_again();
    client = kafka.client();
    // It is Kafka's again in every way.
    produce(&mut client, "ours", 0, records(THEN + 120_000, &[("a", Some("after all"))]));
    assert_eq!(requests::list_offset(&mut client, "ours", 0, -1), after["ours"].left.end + 1);
    assert_eq!(committed(&mut client, "readers", "everything"), (11, Some("m".to_owned())));
}

#[test]
fn a_log_directory_of_kafka_2_8_is_taken_over() {
    let scratch = tempfile::tempdir().unwrap();
    let data_dir = scratch.path().join("data");
    let kafka = Kafka::start(OLD, &[]);
    let mut client = kafka.client();
    requests::create_topic_with(&mut client, "everything", 1, &[SMALL, FOREVER, ("retention.bytes", "123456789")]);
    fill(&mut client, "everything", 7, 0, THEN);
    requests::create_topic_with(&mut client, "begun-later", 1, &[SMALL, FOREVER]);
    fill(&mut client, "begun-later", 7, 0, THEN);
    let mut later = Side {
        name: "Apache Kafka",
        topic: "begun-later".to_owned(),
        client: kafka.client(),
        data_dir: kafka.data_dir(),
    };
    assert_eq!(later.delete_records(17), (0, 17));
    requests::create_topic_with(&mut client, "spread", 3, &[FOREVER]);
    for partition in 0..3 {
        produce(&mut client, "spread", partition, records(THEN, &[("k", Some(&partition.to_string()))]));
    }
    commit(&mut client, "readers", "everything", 11);
    let topics = &["everything", "begun-later", "spread"];
    let old_times = &[-1, -2];
    let before = views(&mut client, topics, old_times);
    let kafkas_configs = topics.map(|name| configs(&mut client, name));
    assert_eq!(kafkas_configs[0]["retention.bytes"], "123456789");
    kafka.stop();
    assert_sound(&kafka.data_dir());

    let mut broker = import(&kafka, &data_dir);
    let mut client = broker.client();
    assert_folders(&kafka.data_dir(), &data_dir, topics);
    assert_views(&before, &views(&mut client, topics, old_times), true);
    assert_eq!(topics.map(|name| configs(&mut client, name)), kafkas_configs);
    assert_eq!(committed(&mut client, "readers", "everything"), (11, Some("m".to_owned())));
    fill(&mut client, "everything", 7, 24, THEN + 60_000);
    assert!(broker.stop().success());
    // The tool of today finds the time indexes of 2.8 wrong: there, an entry names a record, not the end of its batch.
    let kafkas = kafka.data_dir();
    assert_dumped(&data_dir, topics, |file| !kafkas.join(file.strip_prefix(&data_dir).unwrap()).exists());
}
