//! `import` and `export`. What Kafka itself wrote is imported in `tests/kafka`; here its directories are made by hand.

use std::path::{Path, PathBuf};

use jackdaw_protocol::records::{BatchBuilder, Codec};
use jackdaw_test_support::batch::{Batch, Record};
use jackdaw_test_support::requests::{produce, producer_id, read_all, topic_id};
use jackdaw_test_support::{Broker, Options};
use tempfile::TempDir;

use crate::{Outcome, broker_with, contents, dump, log, verify};

fn import(from: &Path, to: &Path, more: &[&str]) -> Outcome {
    let mut arguments = vec!["import", "--from", from.to_str().unwrap(), "--data-dir", to.to_str().unwrap()];
    arguments.extend(["--yes", "--format", "json"]);
    arguments.extend(more);
    log(&arguments)
}

fn serve(dir: &Path) -> Broker {
    Options::new().data_dir(dir).start()
}

fn values(records: &[Record]) -> Vec<(i64, String)> {
    records.iter().map(|record| (record.offset, record.text().to_owned())).collect()
}

/// A stopped log directory as a broker with ZooKeeper leaves it: folders and no metadata.
fn without_metadata(topic: &str) -> (TempDir, PathBuf, Vec<(i64, String)>) {
    let mut broker = broker_with(topic, 3);
    let mut client = broker.client();
    let (id, epoch) = producer_id(&mut client);
    produce(&mut client, topic, 1, &Batch::of(["last"]).producer(id, epoch, 0));
    let expected = values(&read_all(&mut client, topic, 0));
    assert!(broker.stop().success());
    let scratch = TempDir::new().unwrap();
    let dir = scratch.path().join("kafka");
    std::fs::rename(broker.data_dir(), &dir).unwrap();
    std::fs::remove_dir_all(dir.join("quorum")).unwrap();
    (scratch, dir, expected)
}

const TOPIC_ID: &str = "AAAAAAAAAAAAAAAAAAAAZw";

/// Kafka's metadata of a topic with so many partitions, of leader epoch 4, and a config that we have and one that we
/// have not.
fn add_metadata(dir: &Path, topic: &str, partitions: u8) {
    let mut id = [0; 16];
    id[15] = 0x67;
    let string = |text: &str| [&[text.len() as u8 + 1], text.as_bytes()].concat();
    let config =
        |key: &str, value: &str| [&[1, 4, 0, 2][..], &string(topic), &string(key), &string(value), &[0]].concat();
    let mut records = vec![[&[1, 2, 0][..], &string(topic), &id, &[0]].concat()];
    for partition in 0..partitions {
        let replicas = [&[2][..], &1i32.to_be_bytes()].concat();
        let numbers = [1i32.to_be_bytes(), 4i32.to_be_bytes(), 9i32.to_be_bytes()].concat();
        let head = [&[1, 3, 0, 0, 0, 0, partition][..], &id].concat();
        records.push([&head[..], &replicas, &replicas, &[1, 1], &numbers, &[0]].concat());
    }
    records.push(config("max.message.bytes", "1234567"));
    records.push(config("no.such.config", "1"));
    records.push([&[1, 15, 0][..], &1i32.to_be_bytes(), &5i64.to_be_bytes(), &7000i64.to_be_bytes(), &[0]].concat());
    let mut builder = BatchBuilder::new(Codec::None);
    records.iter().for_each(|record| builder.push(1, None, Some(record), &[]));
    let metadata = dir.join("__cluster_metadata-0");
    std::fs::create_dir(&metadata).unwrap();
    std::fs::write(metadata.join("00000000000000000000.log"), builder.build()).unwrap();
    std::fs::write(metadata.join("quorum-state"), "{}").unwrap();
    for partition in 0..2 {
        let path = dir.join(format!("{topic}-{partition}/partition.metadata"));
        std::fs::write(path, format!("version: 0\ntopic_id: {TOPIC_ID}")).unwrap();
    }
}

#[test]
fn topics_of_a_directory_without_metadata_come_with_their_data() {
    let (scratch, source, expected) = without_metadata("old");
    let before = contents(&source);
    let target = scratch.path().join("ours");
    let told = import(&source, &target, &[]).expect(0);
    assert_eq!(told.of_type("topic")[0]["partitions"], 2);
    assert_eq!(contents(&source), before, "the source is only read");
    verify(&target).expect(0);
    let created = dump(&target).expect(0).of_type("record");
    assert!(created.iter().any(|line| line["record"] == "topic_created"), "our own metadata is decoded");
    let mut broker = serve(&target);
    let mut client = broker.client();
    assert_eq!(values(&read_all(&mut client, "old", 0)), expected);
    let (id, _) = producer_id(&mut client);
    assert!(id >= 1000, "producer ids in the copies are not given out again: {id}");
    assert!(broker.stop().success());
}

#[test]
fn ids_configs_and_epochs_come_from_kafkas_metadata() {
    let (scratch, source, expected) = without_metadata("kraft");
    add_metadata(&source, "kraft", 2);
    let target = scratch.path().join("ours");
    let told = import(&source, &target, &[]).expect(0);
    assert_eq!(told.of_type("topic")[0]["configs"], serde_json::json!({"max.message.bytes": "1234567"}));
    assert!(told.out.contains("no.such.config"), "{}", told.out);
    let broker = serve(&target);
    let mut client = broker.client();
    assert_eq!(values(&read_all(&mut client, "kraft", 0)), expected);
    let described = topic_id(&mut client, "kraft");
    assert_eq!(described.topic_id.as_u128(), 0x67);
    assert!(described.partitions.iter().all(|partition| partition.leader_epoch > 4), "{described:?}");
    assert!(producer_id(&mut client).0 >= 7000);
}

#[test]
fn a_dry_run_does_nothing_and_a_missing_partition_is_named() {
    let (scratch, source, _) = without_metadata("partial");
    add_metadata(&source, "partial", 3);
    let target = scratch.path().join("ours");
    let refused = import(&source, &target, &[]).expect(2);
    assert!(refused.err.contains("missing in the sources: 2."), "{}", refused.err);
    import(&source, &target, &["--create-missing", "--dry-run"]).expect(0);
    assert!(!target.exists());
    import(&source, &target, &["--create-missing"]).expect(0);
    assert_eq!(read_all(&mut serve(&target).client(), "partial", 2).len(), 0);
}

#[test]
fn a_topic_that_is_there_is_refused_and_another_comes_beside_it() {
    let (scratch, source, expected) = without_metadata("first");
    let target = scratch.path().join("ours");
    import(&source, &target, &[]).expect(0);
    let before = contents(&target);
    let refused = import(&source, &target, &[]).expect(2);
    assert!(refused.err.contains("names or ids already: first"), "{}", refused.err);
    assert_eq!(contents(&target).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    let (_scratch, second, _) = without_metadata("second");
    import(&second, &target, &["--topic", "sec*"]).expect(0);
    let broker = serve(&target);
    assert_eq!(values(&read_all(&mut broker.client(), "first", 0)), expected);
    assert_eq!(read_all(&mut broker.client(), "second", 1).len(), 1);
}

#[test]
fn a_source_that_runs_or_was_not_stopped_in_order_is_refused() {
    let mut broker = broker_with("busy", 2);
    let target = TempDir::new().unwrap();
    std::fs::rename(broker.data_dir().join("quorum"), broker.data_dir().join("hidden")).unwrap();
    assert!(import(broker.data_dir(), target.path(), &[]).expect(2).err.contains("a broker is running on"));
    broker.kill();
    assert!(import(broker.data_dir(), target.path(), &[]).expect(2).err.contains("--unclean"));
    let segment = crate::segment(&broker, "busy");
    let torn = [std::fs::read(&segment).unwrap(), vec![7; 33]].concat();
    std::fs::write(&segment, &torn).unwrap();
    let told = import(broker.data_dir(), target.path(), &["--unclean"]).expect(0);
    assert!(told.err.contains("busy-0: a torn end of 33 bytes was cut in the copy"), "{}", told.err);
    assert_eq!(std::fs::read(&segment).unwrap(), torn, "not in the source");
    assert_eq!(read_all(&mut serve(target.path()).client(), "busy", 0).len(), 6);
}

#[test]
fn a_damaged_source_leaves_nothing_half_made() {
    let (scratch, source, _) = without_metadata("damaged");
    let target = scratch.path().join("ours");
    let segment = source.join("damaged-0/00000000000000000000.log");
    let len = std::fs::metadata(&segment).unwrap().len();
    std::fs::File::options().write(true).open(&segment).unwrap().set_len(len - 5).unwrap();
    import(&source, &target, &[]).expect(1);
    assert!(!target.exists());
    std::fs::create_dir(&target).unwrap();
    import(&source, &target, &[]).expect(1);
    assert_eq!(contents(&target).len(), 0);
}

#[test]
fn an_import_that_was_interrupted_keeps_brokers_away_and_is_undone_by_the_next() {
    let (scratch, source, expected) = without_metadata("cut");
    let target = scratch.path().join("ours");
    let (_other, other, _) = without_metadata("before");
    import(&other, &target, &[]).expect(0);
    // As it stands between the renames and the metadata.
    let folder = |name: &str| target.join(name);
    std::fs::create_dir(folder("cut-0")).unwrap();
    std::fs::write(folder("cut-0/00000000000000000000.log"), "").unwrap();
    let mark = format!(r#"{{"topics":["{TOPIC_ID}"],"partitions":[["cut",0],["cut",1]]}}"#);
    std::fs::write(folder("import-unfinished"), mark).unwrap();
    let refused = Options::new().data_dir(&target).refused();
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("was interrupted; run `jackdaw log import` into it again")
    );
    import(&source, &target, &[]).expect(0);
    let broker = serve(&target);
    assert_eq!(values(&read_all(&mut broker.client(), "cut", 0)), expected);
    assert_eq!(read_all(&mut broker.client(), "before", 0).len(), 9);
}

#[test]
fn serve_refuses_kafkas_directory_names_the_import_and_changes_nothing() {
    let (_scratch, source, _) = without_metadata("kafkas");
    for name in ["__cluster_metadata-0", "@metadata-0"] {
        let metadata = source.join(name);
        std::fs::create_dir(&metadata).unwrap();
        std::fs::write(metadata.join("quorum-state"), "{}").unwrap();
        let before = contents(&source);
        let refused = Options::new().data_dir(&source).refused();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("is Apache Kafka's") && said.contains("jackdaw log import --from"), "{said}");
        assert_eq!(contents(&source), before);
        std::fs::remove_dir_all(&metadata).unwrap();
    }
}

#[test]
fn what_was_exported_is_byte_for_byte_what_was_written_and_can_be_imported() {
    let mut broker = broker_with("out", 5);
    let mut client = broker.client();
    let (id, epoch) = producer_id(&mut client);
    for sequence in 0..3 {
        produce(&mut client, "out", 1, &Batch::of(["idempotent"]).producer(id, epoch, sequence));
    }
    let data_dir = broker.data_dir().to_owned();
    let scratch = TempDir::new().unwrap();
    let to = scratch.path().join("out");
    let arguments =
        ["export", "--data-dir", data_dir.to_str().unwrap(), "--to", to.to_str().unwrap(), "--topic-id", TOPIC_ID];
    assert!(log(&arguments).expect(2).err.contains("a broker is running on"));
    assert!(broker.stop().success());
    log(&arguments).expect(0);
    for partition in ["out-0", "out-1"] {
        for suffix in ["log", "index", "timeindex"] {
            let name = format!("{partition}/00000000000000000000.{suffix}");
            assert_eq!(std::fs::read(to.join(&name)).unwrap(), std::fs::read(data_dir.join(&name)).unwrap(), "{name}");
        }
        let id = std::fs::read_to_string(to.join(partition).join("partition.metadata")).unwrap();
        assert!(id.contains(TOPIC_ID), "{id}");
    }
    let snapshot = std::fs::read(to.join("out-1/00000000000000000003.snapshot")).unwrap();
    assert_eq!(snapshot.len(), 10 + 46, "one producer, and nothing behind it");
    assert!(std::fs::read_to_string(to.join("replication-offset-checkpoint")).unwrap().contains("out 0 15\n"));
    assert!(log(&arguments).expect(2).err.contains("neither empty nor a log directory"), "a second time");
    let ours = scratch.path().join("ours");
    import(&to, &ours, &["--unclean"]).expect(0);
    assert_eq!(read_all(&mut serve(&ours).client(), "out", 0).len(), 15);
}
