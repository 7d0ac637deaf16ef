#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use jackdaw_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use jackdaw_protocol::messages::Encodable;

use super::*;

const LONG: Duration = Duration::from_secs(20);

fn config() -> PeerConfig {
    PeerConfig {
        backoff: Duration::from_millis(1),
        max_backoff: Duration::from_millis(5),
        ..PeerConfig::new("broker-7")
    }
}

async fn listen() -> (TcpListener, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, Peer::new("127.0.0.1", port, config()))
}

/// Reads one request: its correlation id and everything behind it.
async fn request(stream: &mut TcpStream) -> (i32, Vec<u8>) {
    let mut frame = vec![0; stream.read_u32().await.unwrap() as usize];
    stream.read_exact(&mut frame).await.unwrap();
    (i32::from_be_bytes(*frame[4..].first_chunk().unwrap()), frame)
}

async fn answer(stream: &mut TcpStream, correlation_id: i32, body: &[u8]) {
    let mut frame = Vec::new();
    frame.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    frame.extend_from_slice(&correlation_id.to_be_bytes());
    frame.extend_from_slice(body);
    stream.write_all(&frame).await.unwrap();
}

#[tokio::test]
async fn a_typed_call_sends_header_and_body_and_decodes_the_answer() {
    let (listener, peer) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (id, frame) = request(&mut stream).await;
        assert_eq!(frame[..4], [0, 3, 0, 12], "Metadata 12");
        assert_eq!(frame[8..19], *b"\0\x08broker-7\0", "client id and no tags");
        let mut body = BytesMut::from(&b"\0"[..]);
        MetadataResponse::default().with_controller_id(3.into()).encode(&mut body, 12).unwrap();
        answer(&mut stream, id, &body).await;
    });
    let response = peer.call(&MetadataRequest::default(), 12, LONG).await.unwrap();
    assert_eq!(response.controller_id, 3);
    server.await.unwrap();
}

#[tokio::test]
async fn a_connection_whose_other_end_hears_nothing_is_ended_by_the_kernel_within_seconds() {
    let (_listener, peer) = listen().await;
    let stream = peer.dial().await.unwrap();
    let socket = SockRef::from(&stream);
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(limits::PEER_UNHEARD));
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), limits::PEER_PROBE);
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), limits::PEER_PROBE);
}

#[tokio::test]
async fn calls_are_pipelined_and_each_gets_its_own_answer() {
    let (listener, peer) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        // None is answered before all have come: they do not wait for one another.
        for _ in 0..10 {
            let (id, frame) = request(&mut stream).await;
            asked.push((id, frame[frame.len() - 1]));
        }
        for (id, byte) in asked {
            answer(&mut stream, id, &[byte]).await;
        }
    });
    let calls = (0..10u8).map(|byte| peer.call_raw(0x7000, 0, Bytes::from(vec![byte]), LONG));
    let answers = futures_util::future::join_all(calls).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap()[0]).collect();
    assert_eq!(answers, (0..10).collect::<Vec<_>>());
    server.await.unwrap();
}

#[tokio::test]
async fn nobody_listening_is_told_apart_and_found_again_once_somebody_does() {
    let (listener, peer) = listen().await;
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = peer.call_raw(3, 0, Bytes::new(), LONG).await.unwrap_err();
    assert_eq!(error, PeerError::Refused { address: address.to_string() });
    let listener = TcpListener::bind(address).await.unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (id, _) = request(&mut stream).await;
        answer(&mut stream, id, b"here").await;
    });
    assert_eq!(&peer.call_raw(3, 0, Bytes::new(), LONG).await.unwrap()[..], b"here");
    server.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_ends_is_noticed_at_once_by_callers_and_by_who_watches_it() {
    let (listener, peer) = listen().await;
    peer.connect(LONG).await.unwrap();
    assert!(peer.is_connected());
    let closed = peer.closed();
    let (mut stream, _) = listener.accept().await.unwrap();
    let call = peer.call_raw(3, 0, Bytes::new(), LONG);
    let close = async {
        request(&mut stream).await;
        drop(stream);
    };
    let (answer, ()) = tokio::join!(call, close);
    assert!(matches!(answer, Err(PeerError::Closed { .. })), "{answer:?}");
    assert!(matches!(closed.await, PeerError::Closed { .. }));
    assert!(!peer.is_connected());
    // And the next call comes on a new connection.
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (id, _) = request(&mut stream).await;
        answer_and_wait(&mut stream, id).await;
    });
    assert_eq!(&peer.call_raw(3, 0, Bytes::new(), LONG).await.unwrap()[..], b"again");
    drop(peer);
    server.await.unwrap();
}

async fn answer_and_wait(stream: &mut TcpStream, id: i32) {
    answer(stream, id, b"again").await;
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "a peer that is dropped closes its connection");
}

#[tokio::test]
async fn a_call_gives_up_at_its_deadline_and_those_behind_it_still_get_their_answers() {
    let (listener, peer) = listen().await;
    let late = peer.call_raw(3, 0, Bytes::new(), Duration::from_millis(50)).await;
    assert!(matches!(late, Err(PeerError::TimedOut { .. })), "{late:?}");
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (first, _) = request(&mut stream).await;
        let (second, _) = request(&mut stream).await;
        answer(&mut stream, first, b"late").await;
        answer(&mut stream, second, b"second").await;
    });
    assert_eq!(&peer.call_raw(3, 0, Bytes::new(), LONG).await.unwrap()[..], b"second");
    server.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_stays_silent_is_given_up_and_another_one_made() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = Peer::new("127.0.0.1", port, PeerConfig { request_timeout: Duration::from_millis(50), ..config() });
    let silent = peer.call_raw(3, 0, Bytes::new(), LONG).await;
    assert!(matches!(silent, Err(PeerError::TimedOut { .. })), "{silent:?}");
    let server = tokio::spawn(async move {
        let (_silent, _) = listener.accept().await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let (id, _) = request(&mut stream).await;
        answer(&mut stream, id, b"fresh").await;
    });
    assert_eq!(&peer.call_raw(3, 0, Bytes::new(), LONG).await.unwrap()[..], b"fresh");
    server.await.unwrap();
}

#[tokio::test]
async fn an_answer_to_another_request_ends_the_connection() {
    let (listener, peer) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (id, _) = request(&mut stream).await;
        answer(&mut stream, id + 1, b"?").await;
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    });
    let error = peer.call_raw(3, 0, Bytes::new(), LONG).await.unwrap_err();
    assert!(matches!(error, PeerError::Malformed { .. }), "{error}");
    server.await.unwrap();
}

#[tokio::test]
async fn an_answer_longer_than_allowed_or_one_that_cannot_be_decoded_is_refused() {
    let (listener, _) = listen().await;
    let port = listener.local_addr().unwrap().port();
    let peer = Peer::new("127.0.0.1", port, PeerConfig { max_answer_bytes: 64, ..config() });
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (id, _) = request(&mut stream).await;
        // An array of two thousand million elements in six bytes.
        answer(&mut stream, id, &[0, 0, 0x7f, 0xff, 0xff, 0xff]).await;
        request(&mut stream).await;
        stream.write_all(&65u32.to_be_bytes()).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    });
    let unreadable = peer.call(&ApiVersionsRequest::default(), 0, LONG).await;
    assert!(matches!(unreadable, Err::<ApiVersionsResponse, _>(PeerError::Malformed { .. })), "{unreadable:?}");
    assert!(peer.is_connected(), "the frame was whole, so the connection is still good");
    let long = peer.call_raw(3, 0, Bytes::new(), LONG).await.unwrap_err();
    assert!(matches!(&long, PeerError::Malformed { reason, .. } if reason.contains("65")), "{long}");
    server.await.unwrap();
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = Peer::new("127.0.0.1", port, PeerConfig { max_in_flight: 1, ..config() });
    let (given_up, when_given_up) = tokio::sync::oneshot::channel();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (first, _) = request(&mut stream).await;
        when_given_up.await.unwrap();
        answer(&mut stream, first, b"1").await;
        let (third, frame) = request(&mut stream).await;
        answer(&mut stream, third, &frame[frame.len() - 1..]).await;
    });
    // The second finds the only place taken and gives up; the third is what comes next.
    let first = peer.call_raw(3, 0, Bytes::from_static(b"1"), LONG);
    let second = async {
        let answer = peer.call_raw(3, 0, Bytes::from_static(b"2"), Duration::from_millis(20)).await;
        given_up.send(()).unwrap();
        answer
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(&first.unwrap()[..], b"1");
    assert!(second.is_err());
    assert_eq!(&peer.call_raw(3, 0, Bytes::from_static(b"3"), LONG).await.unwrap()[..], b"3");
    server.await.unwrap();
}
