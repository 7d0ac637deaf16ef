//! Retention: what goes, what stays, when its files go, and who is told.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use jackdaw_test_support::messages::describe_log_dirs_request::DescribableLogDirTopic;
use jackdaw_test_support::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use jackdaw_test_support::messages::{DeleteRecordsRequest, DescribeLogDirsRequest, GroupId, OffsetCommitRequest};
use jackdaw_test_support::requests::{self, text, topic};
use jackdaw_test_support::{Broker, Client, Options, PATIENCE};

use crate::configs::{set, topic_config};

const HOUR_MS: i64 = 3_600_000;
const OFFSET_OUT_OF_RANGE: i16 = 1;

fn options() -> Options {
    Options::new().set("log.retention.check.interval.ms", 10).set("metrics.listener", "127.0.0.1:0")
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A topic in which each batch begins a segment.
fn create(client: &mut Client, name: &str, configs: &[(&str, &str)]) {
    let small = [("internal.segment.bytes", "300")];
    requests::create_topic_with(client, name, 1, &[&small[..], configs].concat());
}

/// Appends one segment of 10 records, so many hours old.
fn segment(client: &mut Client, name: &str, hours: i64) {
    let values = (0..10).map(|i| format!("record {i} of ten"));
    requests::produce(client, name, 0, &Batch::of(values).timestamp(now_ms() - hours * HOUR_MS));
}

fn start_of(client: &mut Client, name: &str) -> i64 {
    requests::list_offset(client, name, 0, -2)
}

#[track_caller]
fn starts_at(client: &mut Client, name: &str, offset: i64) {
    until(&format!("{name} starts at {offset}"), || start_of(client, name) == offset);
}

/// Returns after a round of retention that began after this was called.
fn a_round(client: &mut Client) {
    let name = crate::unique("round");
    create(client, &name, &[("retention.ms", "1")]);
    segment(client, &name, 1);
    starts_at(client, &name, 10);
}

fn commit(client: &mut Client, group: &str, name: &str, offset: i64) {
    requests::coordinator(client, group);
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let wanted = OffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
    let commit = OffsetCommitRequest::default().with_group_id(GroupId(text(group))).with_topics(vec![wanted]);
    assert_eq!(client.call(7, &commit).topics[0].partitions[0].error_code, 0);
}

fn delete_records(client: &mut Client, name: &str, offset: i64) {
    let partition = DeleteRecordsPartition::default().with_offset(offset);
    let wanted = DeleteRecordsTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(10_000);
    assert_eq!(client.call(2, &request).topics[0].partitions[0].error_code, 0);
}

fn set_ok(client: &mut Client, name: &str, key: &str, value: &str) {
    assert_eq!(set(client, name, key, value), (0, String::new()));
}

/// Names of the files in the data directory whose path contains `part`.
fn files(broker: &Broker, part: &str) -> Vec<String> {
    let mut found = Vec::new();
    for dir in std::fs::read_dir(broker.data_dir()).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        // It may go while it is listed.
        for file in std::fs::read_dir(dir.path()).into_iter().flatten().flatten() {
            let path = format!("{}/{}", dir.file_name().to_string_lossy(), file.file_name().to_string_lossy());
            found.extend(path.contains(part).then_some(path));
        }
    }
    found
}

pub(crate) fn metrics(broker: &Broker) -> String {
    let said = broker.said();
    let address = said.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
    let plain: String = address.chars().filter(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
    get(&plain, "GET /metrics HTTP/1.1")
}

fn get(address: &str, request_line: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request_line}\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn records_go_by_their_own_time_as_soon_as_the_policy_says_so() {
    let broker = options().start();
    let mut client = broker.client();
    create(&mut client, "aged", &[]);
    for hours in [5, 4, 1, 3] {
        segment(&mut client, "aged", hours);
    }
    a_round(&mut client);
    assert_eq!(start_of(&mut client, "aged"), 0);
    // The last one is old enough, and stays behind one that is not.
    set_ok(&mut client, "aged", "retention.ms", "7200000");
    starts_at(&mut client, "aged", 20);
    a_round(&mut client);
    assert_eq!(start_of(&mut client, "aged"), 20);
    let answer = client.call(4, &requests::fetch_request("aged", 0, 19, 0, 0));
    assert_eq!(answer.responses[0].partitions[0].error_code, OFFSET_OUT_OF_RANGE);
    assert_eq!(requests::read_all(&mut client, "aged", 0).len(), 20);
    // All of it, the active segment too; offsets go on where they were.
    set_ok(&mut client, "aged", "retention.ms", "1000");
    starts_at(&mut client, "aged", 40);
    segment(&mut client, "aged", 0);
    assert_eq!(requests::list_offset(&mut client, "aged", 0, -1), 50);
}

#[test]
fn what_retention_took_is_not_back_after_a_kill_or_a_stop() {
    let mut broker = options().start();
    let mut client = broker.client();
    create(&mut client, "gone", &[("retention.ms", "7200000")]);
    for hours in [5, 4, 1] {
        segment(&mut client, "gone", hours);
    }
    starts_at(&mut client, "gone", 20);
    broker.kill();
    broker.start_again();
    let mut client = broker.client();
    assert_eq!((start_of(&mut client, "gone"), requests::list_offset(&mut client, "gone", 0, -1)), (20, 30));
    assert!(files(&broker, "gone-0/").iter().all(|name| !name.contains(".deleted")));
    assert!(broker.stop().success());
    broker.start_again();
    let mut client = broker.client();
    assert_eq!((start_of(&mut client, "gone"), requests::list_offset(&mut client, "gone", 0, -1)), (20, 30));
}

#[test]
fn records_go_by_size_until_what_is_left_would_be_too_little() {
    let broker = options().start();
    let mut client = broker.client();
    create(&mut client, "large", &[]);
    for _ in 0..6 {
        segment(&mut client, "large", 0);
    }
    let size = i64::try_from(Batch::of((0..10).map(|i| format!("record {i} of ten"))).bytes().len()).unwrap();
    set_ok(&mut client, "large", "retention.bytes", &(2 * size + 1).to_string());
    starts_at(&mut client, "large", 30);
    set_ok(&mut client, "large", "retention.bytes", &(2 * size).to_string());
    starts_at(&mut client, "large", 40);
    segment(&mut client, "large", 0);
    starts_at(&mut client, "large", 50);
}

#[test]
fn a_compacted_topic_keeps_old_records_unless_its_policy_names_delete_too() {
    let broker = options().start();
    let mut client = broker.client();
    let mut create = |name: &str, policy: &str| {
        create(&mut client, name, &[("cleanup.policy", policy), ("retention.ms", "1")]);
        let batch = Batch::of((0..10).map(|i| format!("record {i} of ten"))).key("k").timestamp(now_ms() - HOUR_MS);
        requests::produce(&mut client, name, 0, &batch);
    };
    create("compact", "compact");
    create("both", "compact,delete");
    let mut client = broker.client();
    starts_at(&mut client, "both", 10);
    a_round(&mut client);
    assert_eq!(start_of(&mut client, "compact"), 0);
}

#[test]
fn files_go_after_their_delay_and_are_not_counted_meanwhile() {
    let broker = options().start();
    let mut client = broker.client();
    create(&mut client, "slow", &[("file.delete.delay.ms", "600000")]);
    create(&mut client, "quick", &[("file.delete.delay.ms", "0")]);
    for name in ["slow", "quick"] {
        for _ in 0..3 {
            segment(&mut client, name, 0);
        }
        delete_records(&mut client, name, 25);
    }
    let is_deleted = |name: &str| files(&broker, name).iter().filter(|file| file.ends_with(".log.deleted")).count();
    until("quick files are gone", || is_deleted("quick-0/") == 0);
    assert_eq!(is_deleted("slow-0/"), 2);
    let wanted = DescribableLogDirTopic::default().with_topic(topic("slow")).with_partitions(vec![0]);
    let described = client.call(4, &DescribeLogDirsRequest::default().with_topics(Some(vec![wanted])));
    let size = Batch::of((0..10).map(|i| format!("record {i} of ten"))).bytes().len();
    assert_eq!(described.results[0].topics[0].partitions[0].partition_size, i64::try_from(size).unwrap());

    for name in ["slow", "quick"] {
        requests::delete_topic(&mut client, name);
    }
    until("the quick directory is gone", || files(&broker, "quick-0.").is_empty());
    assert!(files(&broker, "slow-0.").iter().any(|path| path.contains("-delete/")));
    // Its name is free at once.
    create(&mut client, "slow", &[]);
    assert_eq!(requests::list_offset(&mut client, "slow", 0, -1), 0);
}

#[test]
fn who_will_lose_records_is_told_before_and_when_they_go() {
    let broker = options().start();
    let mut client = broker.client();
    create(&mut client, "read", &[("retention.ms", "36000000")]);
    for hours in [9, 9, 1] {
        segment(&mut client, "read", hours);
    }
    commit(&mut client, "slow-group", "read", 4);
    commit(&mut client, "half-way", "read", 15);
    commit(&mut client, "well-behaved", "read", 20);
    broker.wait_for_log("retention will soon delete records that the group has not consumed");
    until("the metrics show who is at risk", || {
        let metrics = metrics(&broker);
        let risk = |group: &str, records: i64| {
            let series = format!("{{group=\"{group}\",topic=\"read\",partition=\"0\"}} {records}\n");
            metrics.contains(&format!("jackdaw_retention_records_at_risk{series}"))
        };
        risk("slow-group", 16) && risk("half-way", 5) && !metrics.contains("well-behaved")
    });
    a_round(&mut client);
    let lines = |what: &str, group: &str| {
        let said = broker.said();
        said.lines().filter(|line| line.contains(what) && line.contains(group)).count()
    };
    let (ahead, after) = ("retention will soon delete", "retention deleted records");
    assert_eq!((lines(ahead, "slow-group"), lines(ahead, "half-way"), lines(ahead, "well-behaved")), (1, 1, 0));
    assert_eq!(lines(after, "group"), 0);

    set_ok(&mut client, "read", "retention.ms", "7200000");
    starts_at(&mut client, "read", 20);
    a_round(&mut client);
    assert_eq!((lines(after, "slow-group"), lines(after, "half-way"), lines(after, "well-behaved")), (1, 1, 0));
    let metrics = metrics(&broker);
    let lost = |group: &str, records: i64| {
        let series = format!("{{group=\"{group}\",topic=\"read\",partition=\"0\"}} {records}\n");
        assert!(metrics.contains(&format!("jackdaw_retention_lost_records_total{series}")), "{metrics}");
    };
    lost("slow-group", 16);
    lost("half-way", 5);
    assert!(!metrics.contains("jackdaw_retention_records_at_risk{"), "{metrics}");
}

#[test]
fn who_will_lose_records_to_the_size_is_told_from_four_fifths_of_it() {
    let broker = options().start();
    let mut client = broker.client();
    let size = i64::try_from(Batch::of((0..10).map(|i| format!("record {i} of ten"))).bytes().len()).unwrap();
    // A segment goes when ten of its size come after it, and is near that when eight do.
    create(&mut client, "sized", &[("retention.bytes", &(10 * size).to_string())]);
    commit(&mut client, "lagging", "sized", 3);
    for _ in 0..8 {
        segment(&mut client, "sized", 0);
    }
    a_round(&mut client);
    let told = |broker: &Broker| broker.said().lines().filter(|line| line.contains("will soon delete")).count();
    assert_eq!(told(&broker), 0);
    segment(&mut client, "sized", 0);
    broker.wait_for_log("retention will soon delete");
    let said = broker.said();
    let line = said.lines().find(|line| line.contains("will soon delete")).unwrap();
    let plain: String = line.chars().filter(|c| !c.is_ascii_control()).collect();
    for part in ["lagging", "sized", "partition", "7", "retention.hold.groups"] {
        assert!(plain.contains(part), "{part}: {plain}");
    }
    a_round(&mut client);
    assert_eq!(start_of(&mut client, "sized"), 0);
}

#[test]
fn a_hundred_losses_are_told_in_a_round_and_all_are_in_the_metrics() {
    let broker = options().start();
    let mut client = broker.client();
    create(&mut client, "many", &[("retention.ms", "36000000")]);
    for hours in [9, 1] {
        segment(&mut client, "many", hours);
    }
    for group in 0..130 {
        commit(&mut client, &format!("behind-{group}"), "many", 2);
    }
    set_ok(&mut client, "many", "retention.ms", "7200000");
    starts_at(&mut client, "many", 10);
    a_round(&mut client);
    let said = broker.said();
    let told = said.lines().filter(|line| line.contains("retention deleted records")).count();
    assert!(told <= 100, "{told}");
    assert!(said.contains("further losses to retention are in the metrics only"), "{said}");
    let metrics = metrics(&broker);
    let lost = metrics.lines().filter(|line| line.starts_with("jackdaw_retention_lost_records_total{")).count();
    assert_eq!(lost, 130);
}

#[test]
fn timestamps_of_the_future_are_bounded_and_what_they_keep_is_told_once() {
    const INVALID_TIMESTAMP: i16 = 32;
    let broker = options().start();
    let mut client = broker.client();
    let configs = [("retention.ms", "3600000"), ("message.timestamp.after.max.ms", "7200000")];
    create(&mut client, "ahead", &configs);
    let late = Batch::of(["x"]).timestamp(now_ms() + 3 * HOUR_MS);
    let answer = requests::produce_bytes(&mut client, "ahead", 0, late.bytes());
    assert_eq!(answer.error_code, INVALID_TIMESTAMP);
    segment(&mut client, "ahead", -1);
    segment(&mut client, "ahead", 9);
    broker.wait_for_log("a segment holds timestamps of the future");
    a_round(&mut client);
    segment(&mut client, "ahead", 9);
    a_round(&mut client);
    assert_eq!(start_of(&mut client, "ahead"), 0);
    let said = broker.said();
    assert_eq!(said.lines().filter(|line| line.contains("timestamps of the future")).count(), 1, "{said}");
    let (code, message) = set(&mut client, "ahead", "message.timestamp.after.max.ms", "-1");
    assert!(code == 40 && message.contains("from 0 to 9223372036854775807"), "{code} {message}");
}

#[test]
fn a_group_in_retention_hold_groups_keeps_what_it_has_not_consumed() {
    let broker = options().start();
    let mut client = broker.client();
    create(&mut client, "held", &[("retention.ms", "3600000"), ("retention.hold.groups", "billing, audit")]);
    for hours in [5, 4, 3, 0] {
        segment(&mut client, "held", hours);
    }
    a_round(&mut client);
    // Neither has ever committed.
    assert_eq!(start_of(&mut client, "held"), 0);
    // A round tells its measurements at its end, after the last deletion can be seen.
    until("the metrics show what is held", || {
        metrics(&broker).contains("jackdaw_retention_held_bytes{topic=\"held\",partition=\"0\"}")
    });
    commit(&mut client, "billing", "held", 40);
    commit(&mut client, "audit", "held", 15);
    starts_at(&mut client, "held", 10);
    a_round(&mut client);
    assert_eq!(start_of(&mut client, "held"), 10);
    commit(&mut client, "audit", "held", 20);
    starts_at(&mut client, "held", 20);
    a_round(&mut client);
    assert_eq!(start_of(&mut client, "held"), 20);
    // The cap in time: three hours past one is kept two at most.
    set_ok(&mut client, "held", "retention.hold.max.ms", "5400000");
    starts_at(&mut client, "held", 30);
    broker.wait_for_log("retention deleted records that the group had not consumed");
}

#[test]
fn a_hold_ends_where_its_bytes_do_and_does_not_stand_against_delete_records() {
    let broker = options().start();
    let mut client = broker.client();
    let size = Batch::of((0..10).map(|i| format!("record {i} of ten"))).bytes().len();
    let most = (2 * size).to_string();
    let hold = [("retention.hold.groups", "never"), ("retention.hold.max.bytes", &*most), ("retention.ms", "3600000")];
    create(&mut client, "bound", &hold);
    for hours in [5, 4, 3, 2, 0] {
        segment(&mut client, "bound", hours);
    }
    starts_at(&mut client, "bound", 20);
    a_round(&mut client);
    assert_eq!(start_of(&mut client, "bound"), 20);
    delete_records(&mut client, "bound", 33);
    assert_eq!(start_of(&mut client, "bound"), 33);
    for (key, value) in [("retention.hold.max.ms", "-1"), ("retention.hold.max.bytes", "-1")] {
        let (code, message) = set(&mut client, "bound", key, value);
        assert!(code == 40 && message.contains("from 0 to 9223372036854775807"), "{code} {message}");
    }
    let shown = |client: &mut Client, key: &str| topic_config(client, "bound", key).value.unwrap().to_string();
    assert_eq!(shown(&mut client, "retention.hold.groups"), "never");
    assert_eq!(shown(&mut client, "retention.hold.max.bytes"), most);
    assert_eq!(shown(&mut client, "retention.hold.max.ms"), "604800000");
}

#[test]
fn metrics_are_served_where_asked_for_and_nowhere_else() {
    let broker = options().start();
    let mut client = broker.client();
    create(&mut client, "seen", &[]);
    segment(&mut client, "seen", 0);
    let answer = metrics(&broker);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("jackdaw_log_offset_span{topic=\"seen\"} 10\n"), "{answer}");
    assert!(answer.contains("jackdaw_connections ") && answer.contains("jackdaw_cleaner_rounds_total "), "{answer}");
    assert!(answer.contains("jackdaw_log_dirs_offline 0\n") && answer.trim_end().ends_with("# EOF"), "{answer}");
    let said = broker.said();
    let address = said.lines().find(|line| line.contains("metrics are served")).unwrap();
    let address: String = address.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let address: String = address.chars().filter(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
    assert!(get(&address, "GET / HTTP/1.1").starts_with("HTTP/1.1 404 "));
    assert!(get(&address, "POST /metrics HTTP/1.1").starts_with("HTTP/1.1 405 "));
    assert!(!Broker::start().said().contains("metrics are served"));
    let refused = Options::new().set("metrics.listener", "here").refused();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("metrics.listener=here must be HOST:PORT"), "{said}");
}
