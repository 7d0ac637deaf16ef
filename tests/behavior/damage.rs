//! A disk that gave back other bytes than it was given: what is sound is served, and everybody is told of the rest.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use jackdaw_protocol::log_facts::{LogFacts, TAG};
use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::messages::DescribeLogDirsRequest;
use jackdaw_test_support::requests::{self, fetch_request, fetched};
use jackdaw_test_support::{Broker, Client, Options};

use crate::retention::metrics;

const CORRUPT_MESSAGE: i16 = 2;
const KAFKA_STORAGE_ERROR: i16 = 56;
const BATCHES: i64 = 10;

fn batch(i: i64) -> Batch {
    Batch::of([format!("value-{i}"), "x".to_owned()])
}

/// A partition of ten batches of two records, on the disk and below the recovery point, and another one.
fn synced(configs: &[(&str, &str)]) -> Broker {
    let mut broker = Options::new().set("metrics.listener", "127.0.0.1:0").start();
    let mut client = broker.client();
    requests::create_topic_with(&mut client, "hurt", 1, configs);
    requests::create_topic(&mut client, "sound", 1);
    for i in 0..BATCHES {
        assert_eq!(requests::produce(&mut client, "hurt", 0, &batch(i)), i * 2);
    }
    requests::produce(&mut client, "sound", 0, &batch(0));
    broker.stop(); // its recovery points are in the file now
    broker.start_again();
    broker.kill();
    broker
}

fn data_files(broker: &Broker) -> Vec<PathBuf> {
    let files = std::fs::read_dir(broker.data_dir().join("hurt-0")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    files.sort();
    files
}

/// Offsets of what one fetch gives up to the first batch that a client would refuse, or its error.
fn fetch(client: &mut Client, offset: i64) -> Result<Vec<i64>, i16> {
    let response = client.call(11, &fetch_request("hurt", 0, offset, 0, 0));
    match response.responses[0].partitions[0].error_code {
        0 => {
            let sound = jackdaw_protocol::records::Batch::split_all(fetched(&response)).map_while(Result::ok);
            Ok(sound.flat_map(|batch| batch.header().base_offset()..=batch.header().last_offset()).collect())
        }
        code => Err(code),
    }
}

/// Everything that a consumer gets from an offset on, and the offset at which it is refused, if it is.
fn consume(client: &mut Client, mut offset: i64) -> (Vec<i64>, Option<(i64, i16)>) {
    let mut all = Vec::new();
    while offset < BATCHES * 2 {
        match fetch(client, offset) {
            Ok(found) => {
                offset = found.last().unwrap() + 1;
                all.extend(found);
            }
            Err(code) => return (all, Some((offset, code))),
        }
    }
    (all, None)
}

fn report(broker: &Broker) -> String {
    std::fs::read_to_string(broker.data_dir().join("damage-report.txt")).unwrap()
}

fn facts(client: &mut Client) -> LogFacts {
    let mut request = DescribeLogDirsRequest::default().with_topics(None);
    request.unknown_tagged_fields = BTreeMap::from([(TAG, Bytes::new())]);
    let answer = client.call(4, &request);
    assert_eq!(answer.results[0].error_code, 0);
    let hurt = answer.results[0].topics.iter().find(|topic| topic.name.as_str() == "hurt").unwrap();
    LogFacts::decode(&hurt.partitions[0].unknown_tagged_fields[&TAG]).unwrap()
}

#[test]
fn a_damaged_partition_is_read_up_to_its_damage_and_behind_it_and_refuses_records() {
    let mut broker = synced(&[]);
    let size = batch(0).bytes().len();
    let file = data_files(&broker).pop().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[5 * size..5 * size + 40].fill(0xee);
    std::fs::write(&file, &bytes).unwrap();
    for end in ["kill", "stop", "kill"] {
        broker.start_again();
        let mut client = broker.client();
        assert_eq!(consume(&mut client, 0), ((0..10).collect(), Some((10, CORRUPT_MESSAGE))));
        assert_eq!(fetch(&mut client, 11), Err(CORRUPT_MESSAGE));
        assert_eq!(consume(&mut client, 12), ((12..20).collect(), None));
        assert_eq!(requests::list_offset(&mut client, "hurt", 0, -2), 0);
        assert_eq!(requests::list_offset(&mut client, "hurt", 0, -1), 20);
        let refused = requests::produce_bytes(&mut client, "hurt", 0, batch(0).bytes());
        assert_eq!(refused.error_code, KAFKA_STORAGE_ERROR);
        requests::produce(&mut client, "sound", 0, &batch(1));
        broker.wait_for_log("the partition is quarantined");
        let told = report(&broker);
        let at = format!("{}, from byte {} on", file.file_name().unwrap().to_str().unwrap(), 5 * size);
        for wanted in ["partition hurt-0", "offsets from 10 to 11\n", &at, "no records until it is repaired"] {
            assert!(told.contains(wanted), "{wanted:?} is not in: {told}");
        }
        assert_eq!(facts(&mut client).damaged_from_offset, Some(10));
        let counted = metrics(&broker);
        assert!(counted.contains("jackdaw_partitions_quarantined 1\n"), "{counted}");
        assert!(counted.contains("jackdaw_log_damaged_ranges{topic=\"hurt\",partition=\"0\"} 1\n"), "{counted}");
        if end == "kill" {
            broker.kill();
        } else {
            assert!(broker.stop().success());
        }
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "nothing is cut");
    }
}

#[test]
fn a_partition_whose_file_was_restored_is_whole_again_and_the_report_goes() {
    let mut broker = synced(&[]);
    let file = data_files(&broker).pop().unwrap();
    let sound = std::fs::read(&file).unwrap();
    std::fs::write(&file, &sound[..sound.len() / 2]).unwrap();
    broker.start_again();
    let mut client = broker.client();
    assert_eq!(consume(&mut client, 0).1, Some((10, CORRUPT_MESSAGE)), "{}", report(&broker));
    assert!(report(&broker).contains("offsets from 10 on\n"));
    broker.stop();
    std::fs::write(&file, &sound).unwrap();
    broker.start_again();
    let mut client = broker.client();
    assert_eq!(consume(&mut client, 0), ((0..20).collect(), None));
    assert_eq!(requests::produce(&mut client, "hurt", 0, &batch(10)), 20);
    assert!(!broker.data_dir().join("damage-report.txt").exists());
    assert!(metrics(&broker).contains("jackdaw_partitions_quarantined 0\n"));
}

#[test]
fn damage_that_only_a_reader_meets_is_told_and_the_partition_goes_on() {
    let mut broker = synced(&[("internal.segment.bytes", "300")]);
    let files = data_files(&broker);
    assert!(files.len() > 3);
    let mut bytes = std::fs::read(&files[1]).unwrap();
    bytes[batch(0).bytes().len()..].fill(0); // from its second batch on
    std::fs::write(&files[1], &bytes).unwrap();
    broker.start_again();
    let mut client = broker.client();
    assert!(!broker.data_dir().join("damage-report.txt").exists(), "no start looks at what was synced long before");
    let (before, refused) = consume(&mut client, 0);
    let Some((damaged, CORRUPT_MESSAGE)) = refused else { panic!("{refused:?}") };
    assert_eq!(before, (0..damaged).collect::<Vec<_>>());
    let base = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().parse::<i64>().unwrap();
    assert!((base(&files[1])..base(&files[2])).contains(&damaged));
    let (behind, refused) = consume(&mut client, base(&files[2]));
    assert_eq!((behind, refused), ((base(&files[2])..20).collect(), None));
    assert_eq!(requests::produce(&mut client, "hurt", 0, &batch(10)), 20);
    broker.wait_for_log("a reader met damage");
    let told = report(&broker);
    let at = format!("offsets from {damaged} on\n");
    for wanted in ["partition hurt-0", &at, files[1].file_name().unwrap().to_str().unwrap(), "records, as before"] {
        assert!(told.contains(wanted), "{wanted:?} is not in: {told}");
    }
    let counted = metrics(&broker);
    assert!(counted.contains("jackdaw_partitions_quarantined 0\n"), "{counted}");
    assert!(counted.contains("jackdaw_log_damaged_ranges{topic=\"hurt\",partition=\"0\"} 1\n"), "{counted}");
}
