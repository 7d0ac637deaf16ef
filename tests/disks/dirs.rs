//! Two log directories, one of them on a disk that fails: it goes offline alone.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::log_dirs::{errors, move_to, place, places};
use jackdaw_test_support::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use jackdaw_test_support::messages::{FindCoordinatorRequest, GroupId, OffsetCommitRequest};
use jackdaw_test_support::requests::{self, text};
use jackdaw_test_support::volume::{FileSystem, Volume};
use jackdaw_test_support::{Broker, Client, Options};
use tempfile::TempDir;

const LEADER_NOT_AVAILABLE: i16 = 5;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const STORAGE_ERROR: i16 = 56;
const TOPIC: &str = "t";
/// One for each partition of `__consumer_offsets`, of which there are three.
const GROUPS: [&str; 3] = ["a", "b", "c"];

/// Where the offsets of a group of one letter are: by Java's hash of the name.
fn partition_of(group: &str) -> i32 {
    i32::from(group.as_bytes()[0]) % 3
}

fn find_coordinator(client: &mut Client, group: &str) -> i16 {
    client.call(3, &FindCoordinatorRequest::default().with_key(text(group))).error_code
}

fn commit(client: &mut Client, group: &str, offset: i64) -> i16 {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let partition = partition.with_committed_metadata(Some(text(&"m".repeat(4000))));
    let topic = OffsetCommitRequestTopic::default().with_name(requests::topic(TOPIC)).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default().with_group_id(GroupId(text(group))).with_topics(vec![topic]);
    client.call(7, &request.with_generation_id_or_member_epoch(-1)).topics[0].partitions[0].error_code
}

/// A broker on the directories `sound` and `failing`.
struct Pair {
    volume: Volume,
    scratch: TempDir,
    broker: Broker,
    /// Partitions of the topic by where they are.
    sound: i32,
    failing: i32,
}

impl Pair {
    /// With a record in each partition of a topic of two.
    fn start(kind: FileSystem, mib: u64) -> Pair {
        let (volume, scratch) = (Volume::new(kind, mib), TempDir::new().unwrap());
        let dirs = [scratch.path().join("sound"), volume.path().join("failing")];
        let dirs = dirs.map(|dir| dir.display().to_string()).join(",");
        let broker = Options::new().data_dir(Path::new(&dirs)).start();
        let mut client = broker.client();
        requests::create_topic_with(&mut client, TOPIC, 2, &[("segment.bytes", "1048576")]);
        for partition in 0..2 {
            assert_eq!(produce(&mut client, partition), 0);
        }
        let sound = i32::from(place(&mut client, TOPIC, 0) != "sound");
        Pair { volume, scratch, broker, sound, failing: 1 - sound }
    }

    fn dir(&self, name: &str) -> PathBuf {
        let root = if name == "sound" { self.scratch.path() } else { self.volume.path() };
        root.join(name)
    }

    /// The sound one serves all that it can, the failing one is told of as Apache Kafka tells of it.
    fn only_the_sound_one_serves(&self, client: &mut Client) {
        assert_eq!(errors(client), BTreeMap::from([("failing".to_owned(), STORAGE_ERROR), ("sound".to_owned(), 0)]));
        assert_eq!([produce(client, self.sound), produce(client, self.failing)], [0, STORAGE_ERROR]);
        assert!(!requests::read_all(client, TOPIC, self.sound).is_empty());
        for told in requests::topic_id(client, TOPIC).partitions {
            let offline: Vec<i32> = told.offline_replicas.iter().map(|broker| broker.0).collect();
            let seen = (told.error_code, told.leader_id.0, offline);
            let serves = told.partition_index == self.sound;
            assert_eq!(seen, if serves { (0, 1, vec![]) } else { (LEADER_NOT_AVAILABLE, -1, vec![1]) });
        }
        assert_eq!(move_to(client, TOPIC, self.sound, &self.dir("failing")), STORAGE_ERROR);
    }
}

fn produce(client: &mut Client, partition: i32) -> i16 {
    requests::produce_bytes(client, TOPIC, partition, Batch::of(["x"]).bytes()).error_code
}

fn wait_for_place(client: &mut Client, name: &str, partition: i32, dir: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let places = places(client, name, partition);
        if places.len() == 1 && places.get(dir).is_some_and(|found| !found.is_future) {
            return;
        }
        assert!(Instant::now() < deadline, "{name}-{partition} never came to {dir}: {places:?}");
    }
}

#[test]
fn a_disk_that_turns_read_only_goes_offline_alone_and_what_it_holds_can_be_saved() {
    let mut pair = Pair::start(FileSystem::Ext4, 64);
    let mut client = pair.broker.client();
    requests::create_topic(&mut client, "idle", 2);
    let idle = i32::from(place(&mut client, "idle", 0) != "failing");
    pair.volume.turn_read_only();
    assert_eq!(produce(&mut client, pair.failing), STORAGE_ERROR);
    pair.broker.wait_for_log("log directory goes offline");
    pair.only_the_sound_one_serves(&mut client);
    requests::create_topic(&mut client, "new", 2);
    assert_eq!([0, 1].map(|partition| place(&mut client, "new", partition)), ["sound", "sound"]);
    // What can still be read can be moved to a disk that works.
    assert_eq!(move_to(&mut client, TOPIC, pair.failing, &pair.dir("sound")), 0);
    wait_for_place(&mut client, TOPIC, pair.failing, "sound");
    let saved: Vec<_> = requests::read_all(&mut client, TOPIC, pair.failing);
    assert_eq!(saved.len(), 1);
    assert_eq!(produce(&mut client, pair.failing), 0);
    drop(client);
    assert!(pair.broker.is_running());
    pair.broker.kill();
    // The disk is read-only at the start, too.
    pair.broker.start_again();
    let mut client = pair.broker.client();
    assert!(pair.broker.said().contains("a log directory cannot be opened"), "{}", pair.broker.said());
    assert_eq!(errors(&mut client)["failing"], STORAGE_ERROR);
    for partition in 0..2 {
        assert_eq!(produce(&mut client, partition), 0, "both are in the sound directory");
    }
    assert_eq!(requests::produce_bytes(&mut client, "idle", idle, Batch::of(["x"]).bytes()).error_code, STORAGE_ERROR);
    drop(client);
    pair.broker.kill();
    pair.volume.mount_again();
    pair.broker.start_again();
    let mut client = pair.broker.client();
    assert_eq!(place(&mut client, TOPIC, pair.failing), "sound", "what was saved goes before what was left behind");
    assert_eq!(requests::read_all(&mut client, TOPIC, pair.failing).len(), 3);
    assert_eq!(requests::produce_bytes(&mut client, "idle", idle, Batch::of(["x"]).bytes()).error_code, 0);
    drop(client);
    pair.broker.kill();
}

#[test]
fn a_disk_that_loses_its_power_goes_offline_alone() {
    let mut pair = Pair::start(FileSystem::Xfs, 320);
    let mut client = pair.broker.client();
    requests::coordinator(&mut client, "g");
    let lost: Vec<i32> = (0..3).filter(|at| place(&mut client, "__consumer_offsets", *at) == "failing").collect();
    assert!(!lost.is_empty() && lost.len() < 3, "{lost:?}");
    pair.volume.cut_power();
    assert_eq!(produce(&mut client, pair.failing), STORAGE_ERROR);
    pair.only_the_sound_one_serves(&mut client);
    for group in GROUPS {
        let expected = if lost.contains(&partition_of(group)) { COORDINATOR_NOT_AVAILABLE } else { 0 };
        assert_eq!(find_coordinator(&mut client, group), expected, "{group} of {lost:?}");
    }
    drop(client);
    assert!(pair.broker.is_running());
    pair.broker.kill();
    pair.volume.mount_again();
    pair.broker.start_again();
    let mut client = pair.broker.client();
    assert_eq!([0, 1].map(|partition| produce(&mut client, partition)), [0, 0]);
    assert!(requests::read_all(&mut client, TOPIC, pair.failing).len() >= 2);
    drop(client);
    pair.broker.kill();
}

#[test]
fn a_full_disk_refuses_only_its_own_partitions_and_a_move_into_it_is_given_up() {
    let mut pair = Pair::start(FileSystem::Ext4, 64);
    let mut client = pair.broker.client();
    requests::coordinator(&mut client, "g");
    let there = |group: &&str| place(&mut pair.broker.client(), "__consumer_offsets", partition_of(group)) == "failing";
    let group = GROUPS.into_iter().find(there).expect("a group's offsets are on the failing disk");
    assert_eq!(commit(&mut client, group, 1), 0);
    let large = Batch::of(["x".repeat(500_000)]);
    for _ in 0..72 {
        assert_eq!(requests::produce_bytes(&mut client, TOPIC, pair.sound, large.bytes()).error_code, 0);
    }
    let (ballast, mut written) = (pair.volume.path().join("ballast"), 0);
    std::fs::write(&ballast, vec![7; 24 << 20]).unwrap();
    // 36 MB do not fit beside the ballast.
    assert_eq!(move_to(&mut client, TOPIC, pair.sound, &pair.dir("failing")), 0);
    pair.broker.wait_for_log("given up");
    assert_eq!(place(&mut client, TOPIC, pair.sound), "sound");
    let deadline = Instant::now() + Duration::from_secs(10);
    while produce(&mut client, pair.failing) != 0 {
        assert!(Instant::now() < deadline, "what the move had taken is free again, and nobody noticed");
        std::thread::sleep(Duration::from_millis(20));
    }
    while requests::produce_bytes(&mut client, TOPIC, pair.failing, large.bytes()).error_code == 0 {
        written += 1;
        assert!(written < 100, "the disk is never full");
    }
    assert_eq!([produce(&mut client, pair.sound), produce(&mut client, pair.failing)], [0, STORAGE_ERROR]);
    assert_eq!(errors(&mut client), BTreeMap::from([("failing".to_owned(), 0), ("sound".to_owned(), 0)]));
    requests::create_topic(&mut client, "new", 2);
    assert_eq!([0, 1].map(|partition| place(&mut client, "new", partition)), ["sound", "sound"]);
    // What small appends would still find room in.
    let rest = std::fs::File::create(pair.volume.path().join("rest")).unwrap();
    while (&rest).write(&[7; 4096]).is_ok() {}
    let mut commits = (2..2000).map(|offset| commit(&mut client, group, offset));
    assert_eq!(commits.find(|error| *error != 0), Some(NOT_COORDINATOR));
    assert_eq!(find_coordinator(&mut client, group), COORDINATOR_NOT_AVAILABLE);
    // A move out of it makes room without anybody's help.
    assert_eq!(move_to(&mut client, TOPIC, pair.failing, &pair.dir("sound")), 0);
    wait_for_place(&mut client, TOPIC, pair.failing, "sound");
    assert_eq!(produce(&mut client, pair.failing), 0);
    let deadline = Instant::now() + Duration::from_secs(20);
    while find_coordinator(&mut client, group) != 0 {
        assert!(Instant::now() < deadline, "the groups never come back:\n{}", pair.broker.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(commit(&mut client, group, 2000), 0);
    drop(client);
    assert!(pair.broker.stop().success());
}
