//! A Fetch that waits is woken by what it waits for, and by nothing else.

use std::time::{Duration, Instant};

use jackdaw_test_support::batch::{self, Batch};
use jackdaw_test_support::messages::FetchRequest;
use jackdaw_test_support::requests::{self, FETCH};
use jackdaw_test_support::wire::Quiet;

use crate::{client, unique, with_topic};

#[test]
fn a_waiting_fetch_is_woken_by_the_first_record() {
    let (mut producer, topic) = with_topic("wake");
    let mut consumer = client();
    let id = consumer.send(FETCH, &requests::fetch_request(&topic, 0, 0, 30_000, 1));
    assert_eq!(consumer.quiet(), Quiet::Open, "it waits");
    requests::produce(&mut producer, &topic, 0, &Batch::of(["hello"]));
    let start = Instant::now();
    let response = consumer.recv::<FetchRequest>(FETCH, id);
    assert_eq!(batch::texts(requests::fetched(&response)), ["hello"]);
    assert!(start.elapsed() < Duration::from_secs(5), "woken by the append, not by the end of the wait");
}

#[test]
fn a_waiting_fetch_wants_its_minimum_of_bytes() {
    let (mut producer, topic) = with_topic("minimum");
    let mut consumer = client();
    let id = consumer.send(FETCH, &requests::fetch_request(&topic, 0, 0, 30_000, 1_000));
    for i in 0..2 {
        requests::produce(&mut producer, &topic, 0, &Batch::of([format!("{i}{}", "x".repeat(200))]));
    }
    assert_eq!(consumer.quiet(), Quiet::Open, "some six hundred bytes are not enough");
    requests::produce(&mut producer, &topic, 0, &Batch::of(["x".repeat(800)]));
    let response = consumer.recv::<FetchRequest>(FETCH, id);
    assert_eq!(batch::read(requests::fetched(&response)).len(), 3);
}

#[test]
fn max_wait_ends_the_wait_with_what_there_is() {
    let (mut producer, topic) = with_topic("max-wait");
    requests::produce(&mut producer, &topic, 0, &Batch::of(["little"]));
    let start = Instant::now();
    let response = producer.call(FETCH, &requests::fetch_request(&topic, 0, 0, 400, 1 << 20));
    assert!(start.elapsed() >= Duration::from_millis(390));
    assert_eq!(batch::texts(requests::fetched(&response)), ["little"]);
}

#[test]
fn a_waiting_fetch_of_many_partitions_is_woken_by_any() {
    let (mut producer, topic) = (client(), unique("many"));
    requests::create_topic(&mut producer, &topic, 20);
    let mut consumer = client();
    let mut request = requests::fetch_request(&topic, 0, 0, 30_000, 1);
    request.topics[0].partitions = (0..20).map(|partition| requests::fetch_partition(partition, 0)).collect();
    for partition in [13, 0, 19] {
        let id = consumer.send(FETCH, &request);
        requests::produce(&mut producer, &topic, partition, &Batch::of([partition.to_string()]));
        let response = consumer.recv::<FetchRequest>(FETCH, id);
        let partitions = &response.responses[0].partitions;
        let found =
            partitions.iter().find(|found| found.records.as_ref().is_some_and(|records| !records.is_empty())).unwrap();
        assert_eq!(found.partition_index, partition);
        request.topics[0].partitions.iter_mut().find(|asked| asked.partition == partition).unwrap().fetch_offset = 1;
    }
}

#[test]
fn a_hundred_waiting_consumers_are_woken_by_one_append() {
    let (mut producer, topic) = with_topic("crowd");
    let request = requests::fetch_request(&topic, 0, 0, 30_000, 1);
    let mut consumers: Vec<_> = (0..100).map(|_| client()).collect();
    let ids: Vec<i32> = consumers.iter_mut().map(|consumer| consumer.send(FETCH, &request)).collect();
    requests::produce(&mut producer, &topic, 0, &Batch::of(["all of you"]));
    for (consumer, id) in consumers.iter_mut().zip(ids) {
        let response = consumer.recv::<FetchRequest>(FETCH, id);
        assert_eq!(batch::texts(requests::fetched(&response)), ["all of you"]);
    }
}

#[test]
fn a_waiting_fetch_whose_client_leaves_harms_nobody() {
    let (mut producer, topic) = with_topic("gone");
    for _ in 0..50 {
        let mut consumer = client();
        consumer.send(FETCH, &requests::fetch_request(&topic, 0, 0, 30_000, 1));
    }
    assert_eq!(requests::produce(&mut producer, &topic, 0, &Batch::of(["still here"])), 0);
    assert_eq!(requests::read_all(&mut producer, &topic, 0).len(), 1);
}

#[test]
fn deleting_the_topic_ends_the_wait() {
    let (mut admin, topic) = with_topic("deleted");
    let mut consumer = client();
    let id = consumer.send(FETCH, &requests::fetch_request(&topic, 0, 0, 20_000, 1));
    assert_eq!(consumer.quiet(), Quiet::Open);
    requests::delete_topic(&mut admin, &topic);
    let start = Instant::now();
    let response = consumer.recv::<FetchRequest>(FETCH, id);
    assert!(start.elapsed() < Duration::from_secs(10), "nothing more can come");
    let code = response.responses[0].partitions[0].error_code;
    assert!([3, 6].contains(&code), "UNKNOWN_TOPIC_OR_PARTITION or NOT_LEADER_OR_FOLLOWER, not {code}");
}
