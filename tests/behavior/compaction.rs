//! A compacted topic keeps the last value of each key, whatever happens to the broker meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jackdaw_protocol::log_facts::{LogFacts, TAG};
use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::messages::DescribeLogDirsRequest;
use jackdaw_test_support::{Broker, Client, Options, requests};

const KEYS: i64 = 7;
const TOPIC: &str = "changes";

/// Rolls a segment every few records, and cleans as soon as there is something to clean.
fn broker() -> Broker {
    Options::new().set("log.cleaner.backoff.ms", 20).set("file.delete.delay.ms", 0).start()
}

/// Values of rising numbers for a few keys, each in a batch of its own, 10 ms apart by their timestamps.
fn write(client: &mut Client, from: i64, count: i64, last: &mut BTreeMap<String, String>) {
    let begin = 1_700_000_000_000;
    for i in from..from + count {
        let (key, value) = (format!("key {}", i * 5 % KEYS), format!("value {i}"));
        let batch = Batch::of([&value]).key(&key).timestamp(begin + i * 10);
        requests::produce(client, TOPIC, 0, &batch);
        last.insert(key, value);
    }
}

/// Reads from the start, as a consumer that builds a table does: the table, and how many records it took.
fn table(client: &mut Client) -> (BTreeMap<String, String>, usize) {
    let records = requests::read_all(client, TOPIC, 0);
    let offsets: Vec<i64> = records.iter().map(|record| record.offset).collect();
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
    let count = records.len();
    let rows = records.iter().map(|record| {
        let key = String::from_utf8(record.key.as_ref().unwrap().to_vec()).unwrap();
        (key, record.text().to_owned())
    });
    (rows.collect(), count)
}

/// Reads until few enough records are left; what is read holds the last values at every moment.
fn wait_until_compacted(client: &mut Client, last: &BTreeMap<String, String>, most: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (found, count) = table(client);
        assert_eq!(&found, last);
        if count <= most {
            return;
        }
        assert!(Instant::now() < deadline, "{count} records are left");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_reader_from_the_start_gets_the_last_value_of_each_key_across_compactions_and_kills() {
    let mut broker = broker();
    let mut client = broker.client();
    let configs = [("cleanup.policy", "compact"), ("segment.ms", "50"), ("min.cleanable.dirty.ratio", "0.01")];
    requests::create_topic_with(&mut client, TOPIC, 1, &configs);
    let mut last = BTreeMap::new();
    for (round, is_kill) in [false, true, true, false].into_iter().enumerate() {
        write(&mut client, round as i64 * 200, 200, &mut last);
        if is_kill {
            // In the middle of it, as likely as not.
            broker.kill();
        } else {
            assert!(broker.stop().success(), "{}", broker.said());
        }
        broker.start_again();
        client = broker.client();
        assert_eq!(table(&mut client).0, last);
        // Each key once, and what the last few segments hold: the active one is never touched.
        wait_until_compacted(&mut client, &last, KEYS as usize + 12);
        assert_eq!(requests::list_offset(&mut client, TOPIC, 0, -1), (round as i64 + 1) * 200);
        assert_eq!(requests::list_offset(&mut client, TOPIC, 0, -2), 0);
    }
    let checkpoint = std::fs::read_to_string(broker.data_dir().join("cleaner-offset-checkpoint")).unwrap();
    assert!(checkpoint.contains(&format!("{TOPIC} 0 ")), "{checkpoint}");
}

/// What `jackdaw topic describe` asks for.
fn facts(client: &mut Client) -> LogFacts {
    let mut request = DescribeLogDirsRequest::default().with_topics(None);
    request.unknown_tagged_fields.insert(TAG, Bytes::new());
    let topics = client.call(4, &request).results.remove(0).topics;
    let mut found = topics.into_iter().find(|found| found.name.as_str() == TOPIC).unwrap();
    LogFacts::decode(&found.partitions.remove(0).unknown_tagged_fields[&TAG]).unwrap()
}

#[test]
fn nothing_is_compacted_while_the_cleaner_is_switched_off() {
    let broker = Options::new().set("log.cleaner.enable", "false").set("log.cleaner.backoff.ms", 20).start();
    let mut client = broker.client();
    let configs = [("cleanup.policy", "compact"), ("segment.ms", "50"), ("min.cleanable.dirty.ratio", "0.01")];
    requests::create_topic_with(&mut client, TOPIC, 1, &configs);
    let mut last = BTreeMap::new();
    write(&mut client, 0, 100, &mut last);
    assert_eq!(table(&mut client), (last, 100));
    let facts = facts(&mut client);
    assert_eq!((facts.cleanable_ratio(), facts.first_dirty_offset), (Some(1.0), Some(0)), "all of it is dirty");
    assert_eq!((facts.distinct_keys, facts.keyed_records), (Some(KEYS), Some(100)));
    assert!(!broker.data_dir().join("cleaner-offset-checkpoint").exists());
}
