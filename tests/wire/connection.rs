//! One connection: answers in the order of the requests, whatever waits in front; and what closes it.

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use jackdaw_test_support::batch::{self, Batch};
use jackdaw_test_support::messages::join_group_request::JoinGroupRequestProtocol;
use jackdaw_test_support::messages::{
    ApiVersionsRequest, FetchRequest, GroupId, JoinGroupRequest, MetadataRequest, ProduceRequest,
};
use jackdaw_test_support::requests::{self, FETCH, PRODUCE, text};
use jackdaw_test_support::wire::{self, Quiet};

use crate::{client, with_group, with_topic};

#[test]
fn a_thousand_requests_in_flight_are_answered_in_order() {
    let (mut client, topic) = with_topic("pipeline");
    let ids: Vec<i32> = (0..1000)
        .map(|i| {
            let batch = Batch::of([format!("record {i}")]);
            client.send(PRODUCE, &requests::produce_request(&topic, 0, 1, batch.bytes()))
        })
        .collect();
    for (i, id) in ids.into_iter().enumerate() {
        let response = client.recv::<ProduceRequest>(PRODUCE, id);
        assert_eq!(response.responses[0].partition_responses[0].base_offset, i as i64, "requests take effect in order");
    }
    let texts: Vec<String> = requests::read_all(&mut client, &topic, 0).iter().map(|r| r.text().to_owned()).collect();
    assert_eq!(texts, (0..1000).map(|i| format!("record {i}")).collect::<Vec<_>>());
}

#[test]
fn requests_behind_a_parked_fetch_take_effect_and_their_answers_wait_their_turn() {
    let (mut client, topic) = with_topic("parked");
    let parked = client.send(FETCH, &requests::fetch_request(&topic, 0, 0, 20_000, 1));
    let produced = client.send(PRODUCE, &requests::produce_request(&topic, 0, -1, Batch::of(["wake up"]).bytes()));
    let asked = client.send(0, &ApiVersionsRequest::default());
    let start = Instant::now();
    let fetched = client.recv::<FetchRequest>(FETCH, parked);
    assert_eq!(batch::texts(requests::fetched(&fetched)), ["wake up"]);
    assert!(start.elapsed() < Duration::from_secs(10), "the produce behind it ends the wait");
    assert_eq!(client.recv::<ProduceRequest>(PRODUCE, produced).responses[0].partition_responses[0].error_code, 0);
    assert_eq!(client.recv::<ApiVersionsRequest>(0, asked).error_code, 0);
}

fn join(group: &str, member: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(vec![0; 4].into());
    JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

#[test]
fn requests_behind_a_parked_join_group_take_effect_and_their_answers_wait_their_turn() {
    let (mut one, topic) = with_topic("join");
    let (mut two, group) = with_group("group");
    let leader = one.call(3, &join(&group, ""));
    assert_eq!(leader.error_code, 0);

    // The second member waits until the first has joined again.
    let parked = two.send(3, &join(&group, ""));
    let produced = two.send(PRODUCE, &requests::produce_request(&topic, 0, -1, Batch::of(["behind"]).bytes()));
    assert_eq!(two.quiet(), Quiet::Open, "no answer overtakes the parked one");
    assert_eq!(requests::read_all(&mut one, &topic, 0).len(), 1, "but the work behind it is done");

    assert_eq!(one.call(3, &join(&group, leader.member_id.as_str())).error_code, 0);
    let joined = two.recv::<JoinGroupRequest>(3, parked);
    assert_eq!((joined.error_code, joined.generation_id), (0, 2));
    assert_eq!(two.recv::<ProduceRequest>(PRODUCE, produced).responses[0].partition_responses[0].base_offset, 0);
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let mut client = client();
    for byte in wire::framed(&wire::encode(0, 42, &ApiVersionsRequest::default())) {
        client.send_bytes(&[byte]);
    }
    assert_eq!(client.recv::<ApiVersionsRequest>(0, 42).error_code, 0);
}

#[test]
fn several_frames_may_come_in_one_piece() {
    let mut client = client();
    let mut bytes = BytesMut::new();
    for id in 0..10 {
        bytes.put_slice(&wire::framed(&wire::encode(0, id, &ApiVersionsRequest::default())));
    }
    client.send_bytes(&bytes);
    for id in 0..10 {
        client.recv::<ApiVersionsRequest>(0, id);
    }
}

#[test]
fn answers_to_what_was_sent_still_come_after_the_client_has_finished_sending() {
    let mut client = client();
    let id = client.send(0, &ApiVersionsRequest::default());
    client.finish_sending();
    assert_eq!(client.recv::<ApiVersionsRequest>(0, id).error_code, 0);
    client.expect_closed();
}

#[test]
fn an_unknown_api_closes_the_connection() {
    for key in [-1, 4, 7, 63, 999, i16::MAX] {
        let mut client = client();
        client.send_frame(&wire::header(key, 0, 1, 1));
        client.expect_closed();
    }
}

#[test]
fn an_unsupported_version_closes_the_connection() {
    for (key, version) in [(3, 14), (1, 3), (1, 99), (0, 14), (19, 1), (3, -1), (12, 5)] {
        let mut client = client();
        client.send_frame(&wire::header(key, version, 1, 1));
        client.expect_closed();
    }
}

#[test]
fn produce_below_version_3_is_advertised_but_closes_the_connection() {
    let mut client = client();
    client.send_frame(&wire::header(0, 2, 1, 1));
    client.expect_closed();
}

/// librdkafka asks for all topics in flexible versions of Metadata with three bytes too many; Apache Kafka does not mind.
#[test]
fn bytes_after_the_last_field_are_no_fault() {
    let mut client = client();
    let mut frame = wire::header(3, 13, 6, 2);
    frame.put_slice(&[0, 0, 0, 0, 1, 0, 0]);
    client.send_frame(&frame);
    assert_eq!(client.recv::<MetadataRequest>(13, 6).error_code, 0);
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    let mut client = client();
    // Metadata version 12 for no topic: an empty array, two flags, then one tagged field that nobody knows.
    let mut frame = wire::header(3, 12, 5, 2);
    frame.put_slice(&[1, 0, 0, 1, 200, 1, 3, b'a', b'b', b'c']);
    client.send_frame(&frame);
    assert!(client.recv::<MetadataRequest>(12, 5).topics.is_empty());
}
