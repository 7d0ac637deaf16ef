//! `dump` and `verify`.

use std::io::Write;
use std::path::Path;

use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::kafka::files;
use jackdaw_test_support::requests::{coordinator, create_topic, create_topic_with, produce, producer_id};
use serde_json::Value;

use crate::{broker_with, contents, dump, flip, log, segment, verify};

#[test]
fn dump_shows_the_batches_and_records_of_a_running_broker_and_changes_nothing() {
    let broker = broker_with("shown", 3);
    let outcome = dump(&segment(&broker, "shown")).expect(0);
    let batches = outcome.of_type("batch");
    assert_eq!(batches.len(), 3);
    let facts = |key: &str| batches.iter().map(|batch| batch[key].clone()).collect::<Vec<Value>>();
    assert_eq!(facts("base_offset"), [0, 3, 6]);
    assert_eq!(facts("count"), [3, 3, 3]);
    assert_eq!(facts("crc_ok"), [true, true, true]);
    assert_eq!(facts("max_timestamp"), [1_000_000, 1_000_001, 1_000_002]);
    let records = outcome.of_type("record");
    assert_eq!(
        (records.len(), &records[4]["value"], &records[4]["key"]),
        (9, &Value::from("two 1"), &Value::from("k"))
    );
    let table = log(&[Path::new("dump"), &segment(&broker, "shown")]).expect(0).out;
    assert!(table.contains("0..=2") && table.contains("1970-01-01T00:16:40.001Z"), "{table}");
}

#[test]
fn dump_reads_every_file_of_a_stopped_broker() {
    let mut broker = broker_with("all", 2);
    let mut client = broker.client();
    let (id, epoch) = producer_id(&mut client);
    produce(&mut client, "all", 1, &Batch::of(["x"]).producer(id, epoch, 0));
    coordinator(&mut client, "g");
    assert!(broker.stop().success());
    let outcome = dump(broker.data_dir()).expect(0);
    let of = |kind: &str, key: &str| outcome.of_type(kind).iter().map(|line| line[key].clone()).collect::<Vec<_>>();
    assert!(of("producer", "producer_id").contains(&Value::from(id)));
    assert!(of("checkpoint", "topic").contains(&Value::from("all")));
    assert!(!of("leader_epoch", "epoch").is_empty());
    let ids = of("file", "topic_id");
    assert!(ids.iter().filter(|id| id.is_string()).count() >= 2, "{ids:?}");
    assert_eq!(outcome.of_type("damage").len(), 0);
}

#[test]
fn committed_offsets_are_decoded_with_their_tombstones() {
    let broker = jackdaw_test_support::Options::new().set("offsets.topic.num.partitions", "1").start();
    let mut client = broker.client();
    coordinator(&mut client, "g");
    let key = [&[0, 1, 0, 1][..], b"g", &[0, 1], b"t", &[0, 0, 0, 5]].concat();
    let value = [&[0, 3][..], &77i64.to_be_bytes(), &(-1i32).to_be_bytes(), &[0, 1], b"m", &[0; 8]].concat();
    let mut builder = jackdaw_protocol::records::BatchBuilder::new(jackdaw_protocol::records::Codec::Zstd);
    builder.push(5, Some(&key), Some(&value), &[]);
    builder.push(6, Some(&key), None, &[]);
    let dir = broker.data_dir().join("copy/__consumer_offsets-0");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("00000000000000000000.log"), builder.build()).unwrap();
    let records = dump(&dir).expect(0).of_type("record");
    assert_eq!(records[0]["record"], "OffsetCommit");
    assert_eq!(records[0]["fields"]["key"], serde_json::json!({"group": "g", "topic": "t", "partition": 5}));
    assert_eq!(
        (&records[0]["fields"]["value"]["offset"], &records[0]["fields"]["value"]["metadata"]),
        (&Value::from(77), &Value::from("m"))
    );
    assert_eq!(records[1]["record"], "OffsetCommit removed");
}

#[test]
fn a_flipped_bit_is_named_with_its_position_and_what_lies_behind_is_still_read() {
    let mut broker = broker_with("flipped", 4);
    assert!(broker.stop().success());
    let path = segment(&broker, "flipped");
    let size = std::fs::metadata(&path).unwrap().len() as usize / 4;
    assert_eq!(verify(broker.data_dir()).expect(0).of_type("summary")[0]["sound"], true);
    flip(&path, size + 70);
    let outcome = dump(&path).expect(1);
    assert_eq!(outcome.of_type("damage")[0]["position"], size);
    assert_eq!(outcome.of_type("batch").len(), 4);
    let outcome = verify(broker.data_dir()).expect(1);
    assert_eq!((outcome.of_type("damage").len(), &outcome.of_type("damage")[0]["position"]), (1, &Value::from(size)));
    assert_eq!(outcome.of_type("summary")[0]["sound"], false);
}

#[test]
fn files_that_contradict_the_segment_are_damage() {
    let mut broker = broker_with("contradicted", 3);
    assert!(broker.stop().success());
    let dir = broker.data_dir().join("contradicted-0");
    let files = [
        ("contradicted-0/leader-epoch-checkpoint", "0\n1\n0 100\n"),
        ("contradicted-0/partition.metadata", "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA"),
        ("contradicted-0/00000000000000000000.index", "\0\0\0\x05\0\0\0\x07"),
        ("contradicted-0/00000000000000000000.timeindex", "\0\0\0\0\0\0\0\x07\0\0\0\x02"),
        ("contradicted-0/00000000000000000000.txnindex", "half"),
        ("contradicted-0/00000000000000000009.snapshot", "no snapshot"),
        ("replication-offset-checkpoint", "0\n1\ncontradicted 0 10\n"),
        ("recovery-point-offset-checkpoint", "nonsense"),
    ];
    for (name, text) in files {
        let path = broker.data_dir().join(name);
        let before = std::fs::read(&path).ok();
        std::fs::write(&path, text).unwrap();
        let damages = verify(broker.data_dir()).expect(1).of_type("damage");
        let named = damages.iter().any(|damage| damage["file"].as_str().unwrap().ends_with(name));
        assert!(named || name.contains("partition.metadata"), "{name}: {damages:?}");
        match before {
            Some(before) => std::fs::write(&path, before).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
    }
    verify(&dir).expect(0);
    verify(broker.data_dir()).expect(0);
}

#[test]
fn verify_looks_at_a_running_broker_says_so_and_changes_nothing() {
    let broker = broker_with("running", 3);
    let before = contents(&broker.data_dir().join("running-0"));
    let outcome = verify(broker.data_dir()).expect(0);
    assert_eq!(outcome.of_type("summary")[0]["in_use"], true);
    assert_eq!(contents(&broker.data_dir().join("running-0")), before);
    produce(&mut broker.client(), "running", 0, &Batch::of(["after"]));
}

#[test]
fn a_torn_end_after_a_crash_is_a_note_and_in_a_closed_directory_damage() {
    let mut broker = broker_with("torn", 3);
    broker.kill();
    let append = |bytes: &[u8]| {
        std::fs::OpenOptions::new().append(true).open(segment(&broker, "torn")).unwrap().write_all(bytes).unwrap();
    };
    append(&[7; 40]);
    let outcome = verify(broker.data_dir()).expect(0);
    let notes = outcome.of_type("note");
    assert!(notes.iter().any(|note| note["what"].as_str().unwrap().contains("torn end of 40 bytes")), "{notes:?}");
    std::fs::write(broker.data_dir().join(".kafka_cleanshutdown"), "").unwrap();
    verify(broker.data_dir()).expect(1);
}

#[test]
fn what_interrupted_work_left_is_noted() {
    let mut broker = broker_with("left", 1);
    create_topic(&mut broker.client(), "other", 1);
    assert!(broker.stop().success());
    std::fs::write(broker.data_dir().join("left-0/00000000000000000000.log.deleted"), "x").unwrap();
    std::fs::create_dir(broker.data_dir().join("gone-0.0123-stray")).unwrap();
    std::fs::write(broker.data_dir().join("left-0/00000000000000000077.index"), "").unwrap();
    let outcome = verify(broker.data_dir()).expect(0);
    assert_eq!(outcome.of_type("note").len(), 3, "{}", outcome.out);
}

/// A stopped broker, the topic of which has several segments and an idempotent producer; the base offsets of the segments.
fn with_segments(topic: &str) -> (jackdaw_test_support::Broker, Vec<i64>) {
    let mut broker = jackdaw_test_support::Options::new().start();
    let mut client = broker.client();
    create_topic_with(&mut client, topic, 1, &[("retention.ms", "-1"), ("internal.segment.bytes", "300")]);
    let (id, epoch) = producer_id(&mut client);
    for sequence in 0..8 {
        let batch = Batch::of(["v".repeat(100)]).timestamp(1_000_000);
        produce(&mut client, topic, 0, &batch.producer(id, epoch, sequence));
    }
    assert!(broker.stop().success());
    let bases = files(&broker.data_dir().join(format!("{topic}-0")), "log");
    let bases =
        bases.iter().map(|path| path.file_stem().unwrap().to_str().unwrap().parse().unwrap()).collect::<Vec<_>>();
    assert!(bases.len() > 3, "{bases:?}");
    (broker, bases)
}

#[test]
fn a_missing_snapshot_of_producers_is_named_and_no_damage() {
    let (broker, bases) = with_segments("unsnapped");
    assert_eq!(verify(broker.data_dir()).expect(0).of_type("note"), Vec::<Value>::new());
    for offset in [bases[1], 8] {
        let path = broker.data_dir().join(format!("unsnapped-0/{offset:020}.snapshot"));
        let before = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let notes = verify(broker.data_dir()).expect(0).of_type("note");
        assert_eq!((notes.len(), notes[0]["file"].as_str().unwrap()), (1, path.to_str().unwrap()));
        std::fs::write(&path, before).unwrap();
    }
}

#[test]
fn a_missing_segment_is_damage_unless_compaction_was_there() {
    let (broker, bases) = with_segments("torn-apart");
    let folder = broker.data_dir().join("torn-apart-0");
    for kind in ["log", "index", "timeindex", "snapshot"] {
        std::fs::remove_file(folder.join(format!("{:020}.{kind}", bases[1]))).unwrap();
    }
    let damages = verify(broker.data_dir()).expect(1).of_type("damage");
    let told = format!("no segment holds offsets {} to {}, before this one", bases[1], bases[2] - 1);
    assert_eq!((damages.len(), damages[0]["what"].as_str().unwrap()), (1, told.as_str()));
    std::fs::write(broker.data_dir().join("cleaner-offset-checkpoint"), "0\n1\ntorn-apart 0 8\n").unwrap();
    let notes = verify(broker.data_dir()).expect(0).of_type("note");
    assert!(notes.iter().any(|note| note["what"].as_str().unwrap().starts_with(&told)), "{notes:?}");
}

#[test]
fn a_checkpoint_that_nothing_was_written_to_yet_is_sound() {
    let (broker, _) = with_segments("unwritten");
    let path = broker.data_dir().join("cleaner-offset-checkpoint");
    std::fs::write(&path, "").unwrap();
    assert_eq!(verify(broker.data_dir()).expect(0).of_type("note"), Vec::<Value>::new());
    dump(&path).expect(0);
}

#[test]
fn files_that_belong_to_no_log_are_named() {
    let (broker, bases) = with_segments("visited");
    let folder = broker.data_dir().join("visited-0");
    for path in [folder.join("notes.txt"), folder.join("7.log"), broker.data_dir().join("backup.tar")] {
        std::fs::write(&path, "foreign").unwrap();
        let notes = verify(broker.data_dir()).expect(0).of_type("note");
        assert_eq!((notes.len(), notes[0]["file"].as_str().unwrap()), (1, path.to_str().unwrap()));
        std::fs::remove_file(&path).unwrap();
    }
    // A segment of another log is more than that.
    let foreign = folder.join("00000000000000000500.log");
    std::fs::copy(folder.join(format!("{:020}.log", bases[1])), &foreign).unwrap();
    let damages = verify(broker.data_dir()).expect(1).of_type("damage");
    assert!(damages.iter().any(|damage| damage["file"].as_str().unwrap() == foreign.to_str().unwrap()), "{damages:?}");
}

#[test]
fn a_checkpoint_that_names_what_is_not_there_says_what() {
    let (broker, _) = with_segments("named");
    std::fs::rename(broker.data_dir().join("named-0"), broker.data_dir().join("other-0")).unwrap();
    let notes = verify(broker.data_dir()).expect(0).of_type("note");
    assert!(notes.iter().any(|note| note["what"] == "names what is not here: named-0"), "{notes:?}");
}

#[test]
fn what_cannot_be_looked_at_is_told_by_the_exit_code() {
    verify(Path::new("/nonexistent/dir")).expect(2);
    dump(Path::new("/nonexistent/file.log")).expect(2);
    log(&["verify"]).expect(2);
}
