//! Produce: acknowledgements, topic names and ids, refusals.

use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::messages::produce_request::{PartitionProduceData, TopicProduceData};
use jackdaw_test_support::messages::{ApiVersionsRequest, ProduceRequest};
use jackdaw_test_support::requests::{self, PRODUCE};
use jackdaw_test_support::wire::Quiet;
use uuid::Uuid;

use crate::{client, with_topic};

#[test]
fn every_version_appends_and_says_where() {
    let (mut client, topic) = with_topic("produce");
    let id = requests::topic_id(&mut client, &topic).topic_id;
    for (i, version) in (3..=13).enumerate() {
        let mut request = requests::produce_request(&topic, 0, -1, Batch::of([format!("version {version}")]).bytes());
        if version >= 13 {
            request.topic_data[0].name = Default::default();
            request.topic_data[0].topic_id = id;
        }
        let response = client.call(version, &request);
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, i as i64), "version {version}");
        assert_eq!(answer.log_append_time_ms, -1, "the record's own time counts");
        assert_eq!(answer.log_start_offset, if version >= 5 { 0 } else { -1 });
    }
    let texts: Vec<_> = requests::read_all(&mut client, &topic, 0).iter().map(|r| r.text().to_owned()).collect();
    assert_eq!(texts, (3..=13).map(|version| format!("version {version}")).collect::<Vec<_>>());
}

#[test]
fn acks_0_is_not_answered_and_the_next_request_is() {
    let (mut client, topic) = with_topic("silent");
    client.send(PRODUCE, &requests::produce_request(&topic, 0, 0, Batch::of(["quietly"]).bytes()));
    assert_eq!(client.quiet(), Quiet::Open);
    assert_eq!(requests::read_all(&mut client, &topic, 0).len(), 1);
}

#[test]
fn acks_0_to_an_unknown_topic_closes_the_connection() {
    let mut client = client();
    client.send(PRODUCE, &requests::produce_request("nobody-made-this", 0, 0, Batch::of(["lost"]).bytes()));
    client.expect_closed();
}

#[test]
fn acks_that_are_none_of_the_three_are_refused() {
    let (mut client, topic) = with_topic("acks");
    let response = client.call(PRODUCE, &requests::produce_request(&topic, 0, 2, Batch::of(["two"]).bytes()));
    assert_eq!(response.responses[0].partition_responses[0].error_code, 21, "INVALID_REQUIRED_ACKS");
    assert_eq!(requests::list_offset(&mut client, &topic, 0, -1), 0);
}

#[test]
fn unknown_topics_and_partitions_are_answered_one_by_one_beside_good_ones() {
    let (mut client, topic) = with_topic("mixed");
    let partition =
        |index| PartitionProduceData::default().with_index(index).with_records(Some(Batch::of(["x"]).bytes()));
    let data = |name: &str, partitions| {
        TopicProduceData::default().with_name(requests::topic(name)).with_partition_data(partitions)
    };
    let request = ProduceRequest::default().with_acks(1).with_timeout_ms(1000).with_topic_data(vec![
        data("nobody-made-this", vec![partition(0)]),
        data(&topic, vec![partition(9), partition(0), partition(-1)]),
    ]);
    let response = client.call(PRODUCE, &request);
    let mut answers = Vec::new();
    for answer in &response.responses {
        let known = answer.name.as_str() == topic;
        answers
            .extend(answer.partition_responses.iter().map(|partition| (known, partition.index, partition.error_code)));
    }
    answers.sort_unstable();
    assert_eq!(answers, [(false, 0, 3), (true, -1, 3), (true, 0, 0), (true, 9, 3)]);
}

#[test]
fn an_unknown_topic_id_is_its_own_error() {
    let (mut client, topic) = with_topic("by-id");
    let mut request = requests::produce_request(&topic, 0, 1, Batch::of(["x"]).bytes());
    request.topic_data[0].name = Default::default();
    request.topic_data[0].topic_id = Uuid::from_u128(0x1234_5678);
    let response = client.call(13, &request);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 100, "UNKNOWN_TOPIC_ID");
}

#[test]
fn log_append_time_is_the_brokers_and_is_told_to_producer_and_consumer() {
    let (mut client, topic) = (client(), crate::unique("log-append-time"));
    requests::create_topic_with(&mut client, &topic, 1, &[("message.timestamp.type", "LogAppendTime")]);
    let answer = requests::produce_bytes(&mut client, &topic, 0, Batch::of(["a", "b"]).timestamp(1_000).bytes());
    assert_eq!(answer.error_code, 0);
    assert!(answer.log_append_time_ms > 1_000_000_000_000);
    let response = client.call(requests::FETCH, &requests::fetch_request(&topic, 0, 0, 0, 0));
    let records = requests::fetched(&response);
    let max_timestamp = i64::from_be_bytes(records[35..43].try_into().unwrap());
    assert_eq!(max_timestamp, answer.log_append_time_ms);
    assert_eq!(records[22] & 0b1000, 0b1000, "the timestamp type bit");
    assert_eq!(jackdaw_test_support::batch::read(records).len(), 2);
}

#[test]
fn timestamps_too_far_ahead_are_refused() {
    let (mut client, topic) = with_topic("ahead");
    let day = 24 * 3600 * 1000;
    let batch = Batch::of(["tomorrow"]).timestamp(jackdaw_test_support::batch::now_ms() + day);
    let answer = requests::produce_bytes(&mut client, &topic, 0, batch.bytes());
    assert_eq!(answer.error_code, 32, "INVALID_TIMESTAMP");
    assert_eq!(requests::list_offset(&mut client, &topic, 0, -1), 0);
}

#[test]
fn a_batch_above_max_message_bytes_is_too_large_and_the_connection_goes_on() {
    let (mut client, topic) = (client(), crate::unique("small"));
    requests::create_topic_with(&mut client, &topic, 1, &[("max.message.bytes", "1000")]);
    let answer = requests::produce_bytes(&mut client, &topic, 0, Batch::of(["x".repeat(2000)]).bytes());
    assert_eq!(answer.error_code, 10, "MESSAGE_TOO_LARGE");
    assert_eq!(requests::produce(&mut client, &topic, 0, &Batch::of(["fits"])), 0);
    assert_eq!(client.call(0, &ApiVersionsRequest::default()).error_code, 0);
}

#[test]
fn an_internal_topic_is_not_written_by_clients() {
    let (mut client, topic) = (client(), "__consumer_offsets");
    let find = jackdaw_test_support::messages::FindCoordinatorRequest::default().with_key(requests::text("any"));
    while client.call(3, &find).error_code == 15 {} // creates it
    let answer = requests::produce_bytes(&mut client, topic, 0, Batch::of(["x"]).bytes());
    assert_eq!(answer.error_code, 17, "INVALID_TOPIC_EXCEPTION");
}
