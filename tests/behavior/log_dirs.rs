//! Several log directories: where partitions are made, and what is served when a directory is not there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::log_dirs::{errors, move_to, place};
use jackdaw_test_support::messages::FindCoordinatorRequest;
use jackdaw_test_support::requests::{self, text};
use jackdaw_test_support::{Broker, Client, Options};
use tempfile::TempDir;

use crate::configs;

const UNKNOWN_PARTITION: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const INVALID_REPLICATION_FACTOR: i16 = 38;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_REQUEST: i16 = 42;
const STORAGE_ERROR: i16 = 56;
const LOG_DIR_NOT_FOUND: i16 = 57;

/// Some log directories of a test's own.
pub(crate) struct Dirs {
    root: TempDir,
}

impl Dirs {
    pub(crate) fn new() -> Dirs {
        Dirs { root: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn options(&self, names: &[&str]) -> Options {
        let paths: Vec<String> = names.iter().map(|name| self.path(name).display().to_string()).collect();
        Options::new().data_dir(Path::new(&paths.join(",")))
    }

    pub(crate) fn start(&self, names: &[&str]) -> Broker {
        self.options(names).start()
    }

    /// Directories of a partition, by log directory, whatever they are for.
    pub(crate) fn copies(&self, partition: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for dir in std::fs::read_dir(self.root.path()).unwrap().filter(|dir| dir.as_ref().unwrap().path().is_dir()) {
            for entry in std::fs::read_dir(dir.unwrap().path()).unwrap() {
                let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
                if name == partition || name.starts_with(&format!("{partition}.")) {
                    found.push(entry.unwrap().path());
                }
            }
        }
        found
    }
}

fn produce_error(client: &mut Client, name: &str, partition: i32) -> i16 {
    requests::produce_bytes(client, name, partition, Batch::of(["x"]).bytes()).error_code
}

fn fetch_error(client: &mut Client, name: &str, partition: i32) -> i16 {
    let request = requests::fetch_request(name, partition, 0, 0, 0);
    client.call(requests::FETCH, &request).responses[0].partitions[0].error_code
}

fn says(output: &std::process::Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    for word in words {
        assert!(text.contains(word), "{text:?} should name {word:?}");
    }
}

#[test]
fn new_partitions_go_where_the_fewest_are_and_stay_over_restarts() {
    let dirs = Dirs::new();
    let mut broker = dirs.start(&["a", "b", "c"]);
    let mut client = broker.client();
    requests::create_topic(&mut client, "t", 6);
    let before: Vec<String> = (0..6).map(|partition| place(&mut client, "t", partition)).collect();
    assert_eq!(before, ["a", "b", "c", "a", "b", "c"]);
    broker.stop();
    // Another order, and a directory more.
    let broker = dirs.start(&["d", "c", "b", "a"]);
    let mut client = broker.client();
    let after: Vec<String> = (0..6).map(|partition| place(&mut client, "t", partition)).collect();
    assert_eq!(after, before);
    requests::create_topic(&mut client, "more", 2);
    assert_eq!(place(&mut client, "more", 0), "d");
    let cluster = |dir: &str| {
        let text = std::fs::read_to_string(dirs.path(dir).join("meta.properties")).unwrap();
        text.lines().find(|line| line.starts_with("cluster.id=")).unwrap().to_owned()
    };
    assert_eq!(cluster("d"), cluster("a"), "a new directory is of the same cluster, even if it is listed first");
}

#[test]
fn a_cordoned_directory_gets_nothing_new() {
    let dirs = Dirs::new();
    let broker = dirs.start(&["a", "b"]);
    let mut client = broker.client();
    let (a, b) = (dirs.path("a"), dirs.path("b"));
    let cordon = |value: &str| configs::set_broker(&mut broker.client(), "1", "cordoned.log.dirs", value);
    assert_eq!(cordon(a.to_str().unwrap()).0, 0);
    requests::create_topic(&mut client, "t", 2);
    assert_eq!([0, 1].map(|partition| place(&mut client, "t", partition)), ["b", "b"]);
    assert_eq!(move_to(&mut client, "t", 0, &a), INVALID_REPLICA_ASSIGNMENT);
    assert_eq!(cordon("*").0, 0);
    let refused = client.call(7, &requests::create_request("nowhere", 1, &[]));
    assert_eq!(refused.topics[0].error_code, INVALID_REPLICATION_FACTOR);
    let (error, message) = cordon("/nowhere");
    assert!(
        error == INVALID_REQUEST && message.contains("/nowhere") && message.contains("log.dirs"),
        "{error} {message}"
    );
    assert_eq!(cordon("").0, 0);
    assert_eq!(move_to(&mut client, "t", 0, &b), 0);
    requests::create_topic(&mut client, "anywhere", 1);
    assert_eq!(place(&mut client, "anywhere", 0), "a");
}

#[test]
fn moves_are_answered_as_apache_kafka_answers_them() {
    let dirs = Dirs::new();
    let broker = dirs.start(&["a", "b"]);
    let mut client = broker.client();
    requests::create_topic(&mut client, "t", 1);
    let here = dirs.path(&place(&mut client, "t", 0));
    assert_eq!(move_to(&mut client, "t", 0, &here), 0, "it is there already");
    assert_eq!(move_to(&mut client, "t", 0, Path::new("/nowhere")), LOG_DIR_NOT_FOUND);
    assert_eq!(move_to(&mut client, "t", 7, &here), UNKNOWN_PARTITION);
    // Not there yet, but the directory is remembered.
    for partition in 0..3 {
        assert_eq!(move_to(&mut client, "later", partition, &dirs.path("b")), UNKNOWN_PARTITION);
    }
    requests::create_topic(&mut client, "later", 3);
    assert_eq!([0, 1, 2].map(|partition| place(&mut client, "later", partition)), ["b", "b", "b"]);
}

#[test]
fn one_directory_that_cannot_be_opened_leaves_the_others_serving() {
    let dirs = Dirs::new();
    let mut broker = dirs.start(&["a", "b"]);
    let mut client = broker.client();
    requests::create_topic(&mut client, "t", 2);
    for partition in 0..2 {
        requests::produce(&mut client, "t", partition, &Batch::of(["kept"]));
    }
    requests::coordinator(&mut client, "g");
    let (lost, kept) = if place(&mut client, "t", 0) == "b" { (0, 1) } else { (1, 0) };
    let groups_lost: Vec<i32> = (0..3).filter(|p| place(&mut client, "__consumer_offsets", *p) == "b").collect();
    assert!(!groups_lost.is_empty() && groups_lost.len() < 3, "{groups_lost:?}");
    broker.stop();
    std::fs::rename(dirs.path("b"), dirs.path("elsewhere")).unwrap();
    std::fs::write(dirs.path("b"), "not a directory").unwrap();
    broker.start_again();
    let mut client = broker.client();
    broker.wait_for_log("cannot be opened");
    assert!(broker.said().contains(dirs.path("b").to_str().unwrap()));
    assert_eq!(errors(&mut client), BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), STORAGE_ERROR)]));
    assert_eq!((produce_error(&mut client, "t", kept), fetch_error(&mut client, "t", kept)), (0, 0));
    assert_eq!(produce_error(&mut client, "t", lost), STORAGE_ERROR);
    assert_eq!(fetch_error(&mut client, "t", lost), STORAGE_ERROR);
    assert_eq!(move_to(&mut client, "t", lost, &dirs.path("a")), STORAGE_ERROR);
    assert_eq!(move_to(&mut client, "t", kept, &dirs.path("b")), STORAGE_ERROR);
    let told = requests::topic_id(&mut client, "t");
    let told = told.partitions.iter().find(|partition| partition.partition_index == lost).unwrap();
    assert_eq!((told.error_code, told.leader_id.0), (LEADER_NOT_AVAILABLE, -1));
    // Settings may change meanwhile; that does not make the partition anew.
    assert_eq!(configs::set(&mut client, "t", "retention.ms", "-1").0, 0);
    assert_eq!(produce_error(&mut client, "t", lost), STORAGE_ERROR);
    assert!(dirs.copies(&format!("t-{lost}")).iter().all(|copy| copy.starts_with(dirs.path("elsewhere"))));
    // New ones have a place; groups are served but those whose partition is gone.
    requests::create_topic(&mut client, "new", 2);
    let mut answers = Vec::new();
    for group in ["a", "b", "c", "d", "e", "f"] {
        let partition = i32::from(group.as_bytes()[0]) % 3;
        let answer = client.call(3, &FindCoordinatorRequest::default().with_key(text(group))).error_code;
        answers.push((groups_lost.contains(&partition), answer));
    }
    assert!(
        answers.iter().all(|&(lost, answer)| answer == if lost { COORDINATOR_NOT_AVAILABLE } else { 0 }),
        "{answers:?}"
    );
    broker.stop();
    std::fs::remove_file(dirs.path("b")).unwrap();
    std::fs::rename(dirs.path("elsewhere"), dirs.path("b")).unwrap();
    broker.start_again();
    let mut client = broker.client();
    assert_eq!(requests::read_all(&mut client, "t", lost).len(), 1, "what was there is there again");
    assert_eq!(produce_error(&mut client, "t", lost), 0);
}

#[test]
fn a_disk_that_is_not_mounted_does_not_make_its_partitions_anew() {
    let dirs = Dirs::new();
    let mut broker = dirs.start(&["a", "b"]);
    let mut client = broker.client();
    requests::create_topic(&mut client, "t", 2);
    let lost = i32::from(place(&mut client, "t", 0) != "b");
    requests::produce(&mut client, "t", lost, &Batch::of(["kept"]));
    broker.kill();
    std::fs::rename(dirs.path("b"), dirs.path("unmounted")).unwrap();
    for _ in 0..2 {
        broker.start_again(); // on an empty directory in its place
        let mut client = broker.client();
        assert_eq!(produce_error(&mut client, "t", lost), STORAGE_ERROR);
        assert!(
            broker.said().contains("partitions are offline because log directories are not here"),
            "{}",
            broker.said()
        );
        broker.stop();
    }
    std::fs::remove_dir_all(dirs.path("b")).unwrap();
    std::fs::rename(dirs.path("unmounted"), dirs.path("b")).unwrap();
    broker.start_again();
    assert_eq!(requests::read_all(&mut broker.client(), "t", lost).len(), 1);
}

#[test]
fn without_the_directory_of_the_metadata_it_does_not_start() {
    let dirs = Dirs::new();
    let mut broker = dirs.start(&["a", "b"]);
    requests::create_topic(&mut broker.client(), "t", 2);
    broker.stop();
    std::fs::rename(dirs.path("a"), dirs.path("elsewhere")).unwrap();
    let a = dirs.path("a").display().to_string();
    says(&dirs.options(&["a", "b"]).refused(), &["metadata log", &a, "empty"]);
    std::fs::remove_dir_all(dirs.path("a")).unwrap();
    std::fs::write(dirs.path("a"), "not a directory").unwrap();
    says(&dirs.options(&["a", "b"]).refused(), &["metadata log", &a]);
    std::fs::remove_file(dirs.path("a")).unwrap();
    std::fs::rename(dirs.path("elsewhere"), dirs.path("a")).unwrap();
    broker.start_again();
    assert_eq!(produce_error(&mut broker.client(), "t", 1), 0);
}

#[test]
fn directories_that_do_not_belong_together_are_refused_by_name() {
    let dirs = Dirs::new();
    dirs.start(&["a"]).stop();
    dirs.start(&["other"]).stop();
    let [a, other] = ["a", "other"].map(|name| dirs.path(name).display().to_string());
    says(&dirs.options(&["a", "other"]).refused(), &["belongs to cluster", &other]);
    says(&dirs.options(&["a", "a"]).refused(), &["same directory", &a]);
    std::os::unix::fs::symlink(dirs.path("a"), dirs.path("link")).unwrap();
    says(&dirs.options(&["a", "link"]).refused(), &["same directory", &a, dirs.path("link").to_str().unwrap()]);
    let _running = dirs.start(&["other"]);
    std::fs::remove_dir_all(dirs.path("a")).unwrap();
    says(&dirs.options(&["a", "other"]).refused(), &["in use by another broker", &other]);
}
