//! Metadata and logs over restarts, on a whole broker.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files and damages them")]

use std::path::{Path, PathBuf};

use super::*;
use crate::api::testing::TestBroker;

/// Everything that the metadata says but the leader epochs, which grow with each start.
fn summary(broker: &TestBroker) -> String {
    let image = broker.broker().topics.image();
    let topics: Vec<_> = image
        .topics()
        .map(|topic| {
            let replicas: Vec<_> =
                topic.partitions.iter().map(|p| (p.replicas.clone(), p.isr.clone(), p.leader)).collect();
            (topic.name.clone(), topic.id, topic.configs.clone(), replicas)
        })
        .collect();
    let Image { cluster_configs, broker_configs, group_configs, features, next_producer_id, .. } = &*image;
    format!("{topics:?} {cluster_configs:?} {broker_configs:?} {group_configs:?} {features:?} {next_producer_id}")
}

fn entries(dir: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| wanted(path.file_name().unwrap().to_str().unwrap())).collect()
}

fn end_of(broker: &TestBroker, topic: &str) -> i64 {
    broker.broker().topics.find(topic, 0).unwrap().log().log_end_offset()
}

fn set(key: &str, value: &str) -> impl FnOnce(&Configs) -> Result<Configs, String> {
    let (key, value) = (key.to_owned(), value.to_owned());
    move |before| {
        let mut after = before.clone();
        after.insert(key, value);
        Ok(after)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_is_the_same_after_a_restart() {
    let broker = TestBroker::start(&[]).await;
    broker.create("kept", 3, &[("retention.ms", "5")]);
    broker.create("gone", 1, &[]);
    let topics = &broker.broker().topics;
    topics.delete(&[topics.topic("gone").unwrap().id()]).remove(0).unwrap();
    topics.alter_topic_configs("kept", set("segment.bytes", "2000000")).unwrap();
    topics.alter_broker_configs(None, false, set("log.retention.ms", "77")).unwrap();
    topics.alter_group_configs("g", set("consumer.session.timeout.ms", "50000")).unwrap();
    topics.next_producer_id().unwrap();
    let before = summary(&broker);
    assert!(before.contains("metadata.version"), "a directory knows the level it was formatted with");
    let broker = broker.restart(&[]).await;
    assert_eq!(summary(&broker), before);
    let kept = broker.broker().topics.topic("kept").unwrap();
    assert_eq!((kept.config.retention_ms, kept.config.segment_bytes), (5, 2_000_000));
    assert_eq!(broker.broker().topics.find("kept", 0).unwrap().log().config().segment_bytes, 2_000_000);
    assert_eq!(broker.broker().config().topic_defaults.retention_ms, 77);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_begin_a_new_epoch_with_each_start() {
    let mut broker = TestBroker::start(&[]).await;
    broker.create("t", 1, &[]);
    for epoch in 0..3 {
        let partition = broker.broker().topics.find("t", 0).unwrap();
        assert_eq!(partition.leader_epoch(), epoch);
        assert_eq!(broker.broker().topics.image().topic("t").unwrap().partitions[0].leader_epoch, epoch);
        drop(partition);
        broker = broker.restart(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_settings_reach_the_open_partitions() {
    let broker = TestBroker::start(&[]).await;
    broker.create("own", 1, &[("max.message.bytes", "3000")]);
    broker.create("inherits", 1, &[]);
    let topics = &broker.broker().topics;
    let limit = |topic: &str| topics.find(topic, 0).unwrap().with_config(|config| config.max_message_bytes);
    topics.alter_topic_configs("own", set("max.message.bytes", "4000")).unwrap();
    topics.alter_broker_configs(Some(1), false, set("message.max.bytes", "5000")).unwrap();
    assert_eq!((limit("own"), limit("inherits")), (4000, 5000));
    assert_eq!(topics.find("inherits", 0).unwrap().log().config().max_message_bytes, 5000);
    let error = topics.alter_topic_configs("nowhere", set("retention.ms", "1")).unwrap_err();
    assert!(matches!(error, AlterConfigsError::UnknownTopic));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stray_partition_is_set_aside_with_its_data() {
    let broker = TestBroker::start(&[]).await;
    broker.create("t", 1, &[]);
    broker.create("other", 1, &[]);
    broker.append("t", &[1, 2, 3]);
    // The directory of a topic that this broker's metadata does not know: as if restored from somewhere.
    let broker =
        broker.restart_after(&[], |data| std::fs::rename(data.join("t-0"), data.join("stray-7")).unwrap()).await;
    let data = broker.data_dir();
    assert!(!data.join("stray-7").exists());
    let aside = entries(&data, |name| name.starts_with("stray-7.") && name.ends_with("-stray"));
    assert_eq!(aside.len(), 1);
    assert!(std::fs::metadata(aside[0].join("00000000000000000000.log")).unwrap().len() > 0);
    assert_eq!(end_of(&broker, "t"), 0, "a log that is missing is made anew");
    let broker = broker.restart(&[]).await;
    assert_eq!(entries(&broker.data_dir(), |name| name.ends_with("-stray")).len(), 1, "and then left alone");
}

/// Without a process of its own: until it runs its program, that one holds the locks of all directories open here.
fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap().map(|file| file.unwrap()) {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_an_earlier_topic_of_that_name_is_not_mistaken_for_the_new_ones() {
    let broker = TestBroker::start(&[]).await;
    broker.create("t", 1, &[]);
    broker.append("t", &[1, 2, 3]);
    let kept = tempfile::tempdir().unwrap();
    let copy = kept.path().join("t-0");
    let topics = &broker.broker().topics;
    copy_files(&broker.data_dir().join("t-0"), &copy);
    topics.delete(&[topics.topic("t").unwrap().id()]).remove(0).unwrap();
    broker.create("t", 1, &[]);
    let put_back = |data: &Path| {
        std::fs::remove_dir_all(data.join("t-0")).unwrap();
        copy_files(&copy, &data.join("t-0"));
    };
    let broker = broker.restart_after(&[], put_back).await;
    assert_eq!(end_of(&broker, "t"), 0);
    assert_eq!(entries(&broker.data_dir(), |name| name.ends_with("-stray")).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_without_metadata_is_taken_over_not_thrown_out() {
    let broker = TestBroker::start(&[]).await;
    broker.create("t", 2, &[]);
    broker.append("t", &[1, 2, 3]);
    let id = broker.broker().topics.topic("t").unwrap().id();
    let lose = |data: &Path| std::fs::remove_dir_all(data.join("quorum")).unwrap();
    let broker = broker.restart_after(&[], lose).await;
    let topic = broker.broker().topics.topic("t").unwrap();
    assert_eq!((topic.id(), topic.partitions().count()), (id, 2));
    assert_eq!(end_of(&broker, "t"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_log_of_an_earlier_release_is_taken_over_once() {
    let broker = TestBroker::start(&[]).await;
    broker.create("t", 2, &[]);
    broker.append("t", &[1, 2, 3]);
    let id = broker.broker().topics.topic("t").unwrap().id();
    // As such a release left it: a log, and no quorum.
    let turn_back = |data: &Path| {
        std::fs::remove_dir_all(data.join("quorum")).unwrap();
        let none = |_: &str| jackdaw_storage::LogConfig::default();
        let dir = jackdaw_storage::LogDir::open(data, jackdaw_storage::LogDirOptions::new(1), &none, &|_| {}).unwrap();
        let dir = Arc::new(dir);
        let configs = Configs::from([("retention.ms".to_owned(), "5".to_owned())]);
        let topic = seed::SeedTopic { name: "t".to_owned(), id, leader_epochs: vec![4, 0], configs };
        seed::seed(&dir, 1, &[topic], 5000, 1).unwrap();
        dir.close().unwrap();
    };
    let broker = broker.restart_after(&[], turn_back).await;
    let topic = broker.broker().topics.topic("t").unwrap();
    assert_eq!((topic.id(), topic.partitions().count(), topic.config.retention_ms), (id, 2, 5));
    assert!(broker.broker().topics.image().next_producer_id >= 5000);
    assert!(topic.image.partitions[0].leader_epoch >= 4);
    drop(topic);
    broker.broker().topics.delete(&[id]).remove(0).unwrap();
    let broker = broker.restart(&[]).await;
    assert!(broker.data_dir().join("__cluster_metadata-0").exists(), "the old log stays, and says nothing any more");
    assert!(broker.broker().topics.topic("t").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_go_to_the_log_directory_with_the_fewest() {
    let dirs = tempfile::tempdir().unwrap();
    let list = format!("{0}/a,{0}/b", dirs.path().display());
    let running = crate::broker::Broker::start(config_with_dirs(&list)).await.unwrap();
    let topics = &running.broker.topics;
    let command = CreateTopic { partitions: 7, ..CreateTopic::with_defaults("t") };
    topics.create(&[command], false).remove(0).unwrap();
    let mut counts = [topics.partitions_in(0).len(), topics.partitions_in(1).len()];
    counts.sort_unstable();
    assert_eq!(counts, [3, 4]);
    running.stop().await;
    // The directories may be named in another order: the metadata is found where it is.
    let list = format!("{0}/b,{0}/a", dirs.path().display());
    let running = loop {
        match crate::broker::Broker::start(config_with_dirs(&list)).await {
            // In one process, a task that was left behind may hold a directory a moment longer.
            Err(crate::broker::StartError::LogDir(jackdaw_storage::OpenError::Locked { .. })) => {}
            started => break started.unwrap(),
        }
    };
    assert_eq!(running.broker.topics.topic("t").unwrap().partitions().count(), 7);
    running.stop().await;
}

fn config_with_dirs(dirs: &str) -> Config {
    let sources = crate::config::ConfigSources {
        overrides: vec![("log.dirs".to_owned(), dirs.to_owned())],
        listen: vec!["127.0.0.1:0".to_owned()],
        ..crate::config::ConfigSources::default()
    };
    Config::load(&sources).unwrap().config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_created_by_many_at_once_is_created_once() {
    let broker = TestBroker::start(&[]).await;
    let creators: Vec<_> = (0..8)
        .map(|_| {
            let broker = broker.broker().clone();
            std::thread::spawn(move || broker.topics.auto_create(&["t".to_owned()]).remove(0).unwrap().id())
        })
        .collect();
    let mut ids: Vec<Uuid> = creators.into_iter().map(|creator| creator.join().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_whose_logs_cannot_be_made_is_not_created() {
    let broker = TestBroker::start(&[]).await;
    std::fs::write(broker.data_dir().join("t-1"), b"in the way").unwrap();
    let command = CreateTopic { partitions: 3, ..CreateTopic::with_defaults("t") };
    let error = broker.broker().topics.create(std::slice::from_ref(&command), false).remove(0).unwrap_err();
    assert!(error.to_string().contains("t-1 exists already"), "{error}");
    assert!(broker.broker().topics.topic("t").is_none());
    assert!(!broker.data_dir().join("t-0").exists());
    std::fs::remove_file(broker.data_dir().join("t-1")).unwrap();
    broker.broker().topics.create(&[command], false).remove(0).unwrap();
}
