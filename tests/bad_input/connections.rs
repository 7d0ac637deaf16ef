//! What is not Kafka's protocol at all, and frames that break off.

use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::messages::{ApiVersionsRequest, MetadataRequest};
use jackdaw_test_support::{Broker, Options, requests, wire};
use rand::{RngCore, SeedableRng};

use crate::serves;

#[test]
fn a_tls_hello_is_called_by_its_name_and_closed() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    client.offer_bytes(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]);
    client.expect_closed();
    broker.wait_for_log("TLS");
    serves(&mut broker);
}

#[test]
fn an_http_request_is_called_by_its_name_and_closed() {
    let mut broker = Broker::start();
    for request in
        ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "POST /topics HTTP/1.1\r\n\r\n", "HEAD / HTTP/1.0\r\n\r\n"]
    {
        let mut client = broker.client();
        client.offer_bytes(request.as_bytes());
        client.expect_closed();
    }
    broker.wait_for_log("HTTP");
    serves(&mut broker);
}

#[test]
fn one_bad_connection_is_one_line_in_the_log() {
    let mut broker = Broker::start();
    let before = broker.said().lines().count();
    let mut client = broker.client();
    client.offer_bytes(b"GET / HTTP/1.1\r\n\r\n");
    client.expect_closed();
    broker.wait_for_log("HTTP");
    serves(&mut broker);
    assert_eq!(broker.said().lines().count(), before + 1, "{}", broker.said());
}

#[test]
fn random_bytes_close_their_connection_and_nothing_else() {
    let mut broker = Broker::start();
    let mut bystander = broker.client();
    requests::create_topic(&mut bystander, "bystander", 1);
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    for size in [1, 3, 4, 5, 11, 100, 1_000, 70_000] {
        for _ in 0..20 {
            let mut bytes = vec![0; size];
            random.fill_bytes(&mut bytes);
            let mut client = broker.client();
            client.offer_bytes(&bytes);
            client.finish_sending();
            client.drain();
        }
        requests::produce(&mut bystander, "bystander", 0, &Batch::of(["unharmed"]));
    }
    serves(&mut broker);
    assert_eq!(requests::read_all(&mut bystander, "bystander", 0).len(), 8);
}

#[test]
fn random_bodies_behind_every_header_close_their_connection_or_are_answered() {
    let mut broker = Broker::start();
    let mut random = rand::rngs::StdRng::seed_from_u64(11);
    let apis = broker.client().call(0, &ApiVersionsRequest::default()).api_keys;
    for api in apis {
        for version in api.min_version..=api.max_version {
            for size in [0, 1, 7, 60] {
                let mut body = vec![0; size];
                random.fill_bytes(&mut body);
                for header_version in [1, 2] {
                    let mut frame = wire::header(api.api_key, version, 1, header_version);
                    frame.extend_from_slice(&body);
                    let mut client = broker.client();
                    client.send_frame(&frame);
                    client.finish_sending();
                    client.drain();
                }
            }
        }
    }
    serves(&mut broker);
}

#[test]
fn lengths_below_zero_and_above_the_limit_are_refused_before_anything_is_read() {
    let mut broker = Options::new().set("socket.request.max.bytes", 1_000_000).start();
    for length in [-1, i32::MIN, 1_000_001, i32::MAX] {
        let mut client = broker.client();
        client.send_bytes(&length.to_be_bytes());
        client.expect_closed();
    }
    broker.wait_for_log("1000001");
    serves(&mut broker);
}

#[test]
fn a_large_length_alone_takes_no_memory() {
    let mut broker = Broker::start();
    let before = resident_kib(&broker);
    let clients: Vec<_> = (0..50)
        .map(|_| {
            let mut client = broker.client();
            client.send_bytes(&(100i32 << 20).to_be_bytes());
            client.send_bytes(&[0; 100]);
            client
        })
        .collect();
    serves(&mut broker);
    let grown = resident_kib(&broker).saturating_sub(before);
    assert!(grown < 50 << 10, "fifty frames of which 100 bytes came grew it by {grown} KiB");
    drop(clients);
}

fn resident_kib(broker: &Broker) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn frames_cut_anywhere_leave_nothing_behind() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic(&mut client, "cut", 1);
    let request = requests::produce_request("cut", 0, -1, Batch::of(["never whole"]).bytes());
    let frame = wire::framed(&wire::encode(requests::PRODUCE, 1, &request));
    for cut in 0..frame.len() {
        let mut client = broker.client();
        client.send_bytes(&frame[..cut]);
        client.finish_sending();
        client.expect_closed();
    }
    assert_eq!(requests::list_offset(&mut client, "cut", 0, -1), 0);
    serves(&mut broker);
}

#[test]
fn bodies_cut_anywhere_close_the_connection() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic(&mut client, "short", 1);
    let request = requests::produce_request("short", 0, -1, Batch::of(["too short"]).bytes());
    let body = wire::encode(requests::PRODUCE, 1, &request);
    for cut in 0..body.len() {
        let mut client = broker.client();
        client.send_frame(&body[..cut]);
        client.expect_closed();
    }
    assert_eq!(requests::list_offset(&mut client, "short", 0, -1), 0);
    serves(&mut broker);
}

#[test]
fn more_connections_than_allowed_are_turned_away_and_the_others_go_on() {
    let mut broker = Options::new().set("max.connections", 5).start();
    let mut kept: Vec<_> = (0..5).map(|_| broker.client()).collect();
    for client in &mut kept {
        assert_eq!(client.call(0, &ApiVersionsRequest::default()).error_code, 0);
    }
    broker.client().expect_closed();
    for client in &mut kept {
        assert_eq!(client.call(0, &ApiVersionsRequest::default()).error_code, 0);
    }
    drop(kept);
    // Places are given back, though not in the same instant.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let mut client = broker.client();
        let id = client.try_send(9, &MetadataRequest::default().with_topics(Some(vec![])));
        if id.is_some_and(|id| client.try_recv::<MetadataRequest>(9, id).is_some()) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "no place was given back");
    }
    assert!(broker.is_running());
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let broker = Options::new().set("connections.max.idle.ms", 300).start();
    let mut client = broker.client();
    client.call(0, &ApiVersionsRequest::default());
    client.expect_closed();
}
