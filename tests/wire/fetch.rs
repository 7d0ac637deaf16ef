//! Fetch: versions, sizes, waiting, sessions (KIP-227), errors.

use std::time::{Duration, Instant};

use jackdaw_test_support::Client;
use jackdaw_test_support::batch::{self, Batch};
use jackdaw_test_support::messages::fetch_request::{FetchTopic, ForgottenTopic};
use jackdaw_test_support::messages::{FetchRequest, FetchResponse};
use jackdaw_test_support::requests::{self, FETCH};
use uuid::Uuid;

use crate::{client, unique, with_topic};

/// Three batches of two records each, of about a thousand bytes a batch.
fn with_records(what: &str) -> (Client, String) {
    let (mut client, topic) = with_topic(what);
    for i in 0..3 {
        let values = [format!("{i}a{}", "x".repeat(450)), format!("{i}b{}", "x".repeat(450))];
        requests::produce(&mut client, &topic, 0, &Batch::of(values));
    }
    (client, topic)
}

fn first_of(response: &FetchResponse) -> &jackdaw_test_support::messages::fetch_response::PartitionData {
    &response.responses[0].partitions[0]
}

#[test]
fn every_version_returns_the_same_bytes() {
    let (mut client, topic) = with_records("fetch");
    let id = requests::topic_id(&mut client, &topic).topic_id;
    let mut bytes = Vec::new();
    for version in 4..=18 {
        let mut request = requests::fetch_request(&topic, 0, 0, 0, 0);
        if version >= 13 {
            request.topics[0].topic = Default::default();
            request.topics[0].topic_id = id;
        }
        if version < 7 {
            request.session_epoch = -1;
        }
        let response = client.call(version, &request);
        let partition = first_of(&response);
        assert_eq!((partition.error_code, partition.high_watermark, partition.last_stable_offset), (0, 6, 6));
        bytes.push(requests::fetched(&response));
    }
    assert_eq!(batch::read(bytes[0].clone()).len(), 6);
    assert!(bytes.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_fetch_from_within_a_batch_returns_that_whole_batch() {
    let (mut client, topic) = with_records("middle");
    let offsets: Vec<i64> = requests::fetch(&mut client, &topic, 0, 3).iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [2, 3, 4, 5]);
}

#[test]
fn the_first_batch_is_whole_even_if_it_is_above_every_limit() {
    let (mut client, topic) = with_records("small");
    let mut request = requests::fetch_request(&topic, 0, 2, 0, 0).with_max_bytes(1);
    request.topics[0].partitions[0].partition_max_bytes = 1;
    let records = batch::read(requests::fetched(&client.call(FETCH, &request)));
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn limits_of_the_partition_and_of_the_answer_hold_after_the_first_batch() {
    let (mut client, topic) = with_records("limits");
    let mut request = requests::fetch_request(&topic, 0, 0, 0, 0);
    request.topics[0].partitions[0].partition_max_bytes = 2_100;
    assert_eq!(batch::read(requests::fetched(&client.call(FETCH, &request))).len(), 4);
    let request = requests::fetch_request(&topic, 0, 0, 0, 0).with_max_bytes(2_100);
    assert_eq!(batch::read(requests::fetched(&client.call(FETCH, &request))).len(), 4);
}

#[test]
fn a_second_partition_gets_what_is_left_of_the_answers_limit() {
    let (mut client, topic) = (client(), unique("two"));
    requests::create_topic(&mut client, &topic, 2);
    for partition in 0..2 {
        requests::produce(&mut client, &topic, partition, &Batch::of(["x".repeat(1000)]));
    }
    let mut request = requests::fetch_request(&topic, 0, 0, 0, 0).with_max_bytes(500);
    request.topics[0].partitions.push(requests::fetch_partition(1, 0));
    let response = client.call(FETCH, &request);
    let sizes: Vec<usize> =
        response.responses[0].partitions.iter().map(|p| p.records.as_ref().map_or(0, |bytes| bytes.len())).collect();
    assert!(sizes[0] > 1000 && sizes[1] == 0, "{sizes:?}");
}

#[test]
fn an_empty_answer_has_empty_records_not_null() {
    let (mut client, topic) = with_topic("empty");
    for version in [4, 11, 12] {
        let response = client.call(version, &requests::fetch_request(&topic, 0, 0, 0, 0));
        assert_eq!(first_of(&response).records.as_ref().map(|records| records.len()), Some(0), "version {version}");
    }
}

#[test]
fn offsets_outside_of_the_log_are_out_of_range() {
    let (mut client, topic) = with_records("range");
    for offset in [-1, 7, i64::MAX] {
        let response = client.call(FETCH, &requests::fetch_request(&topic, 0, offset, 0, 0));
        let partition = first_of(&response);
        assert_eq!((partition.error_code, partition.high_watermark), (1, -1), "offset {offset}");
    }
}

#[test]
fn the_end_of_the_log_waits_until_max_wait() {
    let (mut client, topic) = with_records("end");
    let start = Instant::now();
    let response = client.call(FETCH, &requests::fetch_request(&topic, 0, 6, 300, 1));
    assert!(start.elapsed() >= Duration::from_millis(290), "{:?}", start.elapsed());
    assert_eq!((first_of(&response).error_code, first_of(&response).high_watermark), (0, 6));
}

#[test]
fn an_offset_out_of_range_in_one_partition_ends_the_wait_at_once() {
    let (mut client, topic) = (client(), unique("error"));
    requests::create_topic(&mut client, &topic, 2);
    let mut request = requests::fetch_request(&topic, 0, 0, 20_000, 1);
    request.topics[0].partitions.push(requests::fetch_partition(1, 5));
    let start = Instant::now();
    let response = client.call(FETCH, &request);
    assert!(start.elapsed() < Duration::from_secs(10));
    let codes: Vec<i16> = response.responses[0].partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!(codes, [0, 1]);
}

#[test]
fn an_unknown_topic_name_and_an_unknown_topic_id_have_their_own_errors() {
    let mut client = client();
    let response = client.call(FETCH, &requests::fetch_request("nobody-made-this", 0, 0, 0, 0));
    assert_eq!(first_of(&response).error_code, 3, "UNKNOWN_TOPIC_OR_PARTITION");
    let mut request = requests::fetch_request("", 0, 0, 0, 0);
    request.topics[0].topic_id = Uuid::from_u128(77);
    assert_eq!(first_of(&client.call(13, &request)).error_code, 100, "UNKNOWN_TOPIC_ID");
}

#[test]
fn a_wrong_leader_epoch_is_fenced_or_unknown() {
    let (mut client, topic) = with_topic("epoch");
    let mut ask = |epoch| {
        let mut request = requests::fetch_request(&topic, 0, 0, 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        first_of(&client.call(FETCH, &request)).error_code
    };
    assert_eq!(ask(0), 0);
    assert_eq!(ask(5), 75, "UNKNOWN_LEADER_EPOCH");
}

#[test]
fn read_committed_sees_records_outside_of_transactions_and_lists_no_aborted_ones() {
    let (mut client, topic) = with_records("committed");
    let response = client.call(FETCH, &requests::fetch_request(&topic, 0, 0, 0, 0).with_isolation_level(1));
    assert_eq!(batch::read(requests::fetched(&response)).len(), 6);
    assert_eq!(first_of(&response).aborted_transactions.as_ref().map(Vec::len), Some(0));
    let response = client.call(FETCH, &requests::fetch_request(&topic, 0, 0, 0, 0));
    assert!(first_of(&response).aborted_transactions.is_none(), "null unless read_committed");
}

fn session(id: i32, epoch: i32) -> FetchRequest {
    FetchRequest::default().with_max_bytes(1 << 20).with_session_id(id).with_session_epoch(epoch)
}

fn asked(topic: &str, offsets: &[i64]) -> Vec<FetchTopic> {
    let partitions =
        offsets.iter().enumerate().map(|(i, offset)| requests::fetch_partition(i as i32, *offset)).collect();
    vec![FetchTopic::default().with_topic(requests::topic(topic)).with_partitions(partitions)]
}

fn partitions_of(response: &FetchResponse) -> Vec<i32> {
    response
        .responses
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| partition.partition_index))
        .collect()
}

#[test]
fn a_session_answers_only_for_what_changed() {
    let (mut client, topic) = (client(), unique("session"));
    requests::create_topic(&mut client, &topic, 3);
    let full = client.call(FETCH, &session(0, 0).with_topics(asked(&topic, &[0, 0, 0])));
    assert_ne!(full.session_id, 0);
    assert_eq!(partitions_of(&full), [0, 1, 2], "the first answer names all");

    let nothing = client.call(FETCH, &session(full.session_id, 1));
    assert_eq!((nothing.error_code, partitions_of(&nothing)), (0, vec![]));

    requests::produce(&mut client, &topic, 1, &Batch::of(["news"]));
    let news = client.call(FETCH, &session(full.session_id, 2));
    assert_eq!(partitions_of(&news), [1]);
    assert_eq!(batch::texts(requests::fetched(&news)), ["news"]);

    // Until the consumer moves on, the records are there again.
    let again = client.call(FETCH, &session(full.session_id, 3));
    assert_eq!(partitions_of(&again), [1]);
    let mut moved = asked(&topic, &[0, 1]);
    moved[0].partitions.remove(0);
    let done = client.call(FETCH, &session(full.session_id, 4).with_topics(moved));
    assert_eq!(partitions_of(&done), Vec::<i32>::new());
}

#[test]
fn a_partition_that_a_session_forgets_is_answered_no_more() {
    let (mut client, topic) = (client(), unique("forget"));
    requests::create_topic(&mut client, &topic, 2);
    let full = client.call(FETCH, &session(0, 0).with_topics(asked(&topic, &[0, 0])));
    for partition in 0..2 {
        requests::produce(&mut client, &topic, partition, &Batch::of(["x"]));
    }
    let forgotten = ForgottenTopic::default().with_topic(requests::topic(&topic)).with_partitions(vec![0]);
    let rest = client.call(FETCH, &session(full.session_id, 1).with_forgotten_topics_data(vec![forgotten]));
    assert_eq!(partitions_of(&rest), [1]);
}

#[test]
fn an_unknown_session_and_a_wrong_epoch_are_errors_of_the_whole_answer() {
    let (mut client, topic) = with_topic("lost");
    let unknown = client.call(FETCH, &session(1_234_567, 1));
    assert_eq!((unknown.error_code, unknown.responses.len()), (70, 0), "FETCH_SESSION_ID_NOT_FOUND");
    let full = client.call(FETCH, &session(0, 0).with_topics(asked(&topic, &[0])));
    let wrong = client.call(FETCH, &session(full.session_id, 5));
    assert_eq!((wrong.error_code, wrong.responses.len()), (71, 0), "INVALID_FETCH_SESSION_EPOCH");
}

#[test]
fn a_session_by_name_cannot_go_on_by_id() {
    let (mut client, topic) = with_topic("by-name");
    let id = requests::topic_id(&mut client, &topic).topic_id;
    let full = client.call(FETCH, &session(0, 0).with_topics(asked(&topic, &[0])));
    let mut by_id = asked("", &[0]);
    by_id[0].topic_id = id;
    let mixed = client.call(13, &session(full.session_id, 1).with_topics(by_id));
    assert_eq!(mixed.error_code, 106, "FETCH_SESSION_TOPIC_ID_ERROR");
}

#[test]
fn a_topic_made_again_is_not_the_one_asked_for_by_id() {
    let (mut client, topic) = with_topic("again");
    let old = requests::topic_id(&mut client, &topic).topic_id;
    requests::delete_topic(&mut client, &topic);
    requests::create_topic(&mut client, &topic, 1);
    assert_ne!(requests::topic_id(&mut client, &topic).topic_id, old);
    let mut request = requests::fetch_request("", 0, 0, 0, 0);
    request.topics[0].topic_id = old;
    assert_eq!(first_of(&client.call(13, &request)).error_code, 100, "UNKNOWN_TOPIC_ID");
}
