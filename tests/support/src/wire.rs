//! A blocking client for one connection, which sends and receives frames, valid or not.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
pub use kafka_protocol::protocol::Request;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use crate::broker::{Broker, PATIENCE};

/// Shorter than any wait in the broker that a test asks for, longer than any answer takes.
const SILENCE: Duration = Duration::from_millis(300);

pub struct Client {
    stream: TcpStream,
    next_correlation_id: i32,
    shared: Option<Arc<Broker>>,
}

/// What came of a connection on which nothing was answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Quiet {
    Open,
    Closed,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).expect("the broker accepts connections")
    }

    /// None if nobody listens.
    pub fn try_connect(address: SocketAddr) -> Option<Client> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Some(Client { stream, next_correlation_id: 1, shared: None })
    }

    /// A connection to the shared broker, which runs as long as the connection is kept.
    pub fn of_shared_broker() -> Client {
        let broker = Broker::shared();
        Client { shared: Some(broker.clone()), ..broker.client() }
    }

    /// Bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
    }

    /// The same, to a broker that may well have closed the connection already.
    pub fn offer_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Bytes behind their length.
    pub fn send_frame(&mut self, body: &[u8]) {
        self.send_bytes(&framed(body));
    }

    /// The next frame, without its length.
    pub fn recv_frame(&mut self) -> Bytes {
        self.try_recv_frame().expect("a frame, but the broker closed the connection")
    }

    /// The next frame; none if the connection was closed, or died, in its place.
    pub fn try_recv_frame(&mut self) -> Option<Bytes> {
        let mut size = [0; 4];
        self.read_exact(&mut size)?;
        let size = i32::from_be_bytes(size);
        let mut frame = vec![0; usize::try_from(size).expect("a frame has a length")];
        self.read_exact(&mut frame)?;
        Some(frame.into())
    }

    fn read_exact(&mut self, into: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(into) {
            Ok(()) => Some(()),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ) =>
            {
                None
            }
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// Sends a request without waiting for its answer; returns its correlation id.
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        let id = self.next_correlation_id;
        self.next_correlation_id += 1;
        self.send_frame(&encode(version, id, request));
        id
    }

    /// The answer to the oldest request that has none yet, which must be this one.
    pub fn recv<R: Request>(&mut self, version: i16, correlation_id: i32) -> R::Response {
        self.try_recv::<R>(version, correlation_id).expect("an answer, but the broker closed the connection")
    }

    /// The same; none if the broker is gone.
    pub fn try_recv<R: Request>(&mut self, version: i16, correlation_id: i32) -> Option<R::Response> {
        let mut frame = self.try_recv_frame()?;
        let header =
            ResponseHeader::decode(&mut frame, R::Response::header_version(version)).expect("a response header");
        assert_eq!(header.correlation_id, correlation_id, "answers come in the order of the requests");
        let response = R::Response::decode(&mut frame, version).expect("a response body");
        assert!(frame.is_empty(), "{} bytes lie behind the answer to key {} version {version}", frame.len(), R::KEY);
        Some(response)
    }

    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let id = self.send(version, request);
        self.recv::<R>(version, id)
    }

    /// Like [`Client::call`] to a broker that may be gone, cut off or frozen: none if there is no answer within the limit.
    pub fn try_call<R: Request>(&mut self, version: i16, request: &R, limit: Duration) -> Option<R::Response> {
        let id = self.try_send(version, request)?;
        let deadline = Instant::now() + limit;
        let mut size = [0; 4];
        self.read_until(&mut size, deadline)?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(size)).ok()?];
        self.read_until(&mut frame, deadline)?;
        let mut frame = Bytes::from(frame);
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version)).ok()?;
        assert_eq!(header.correlation_id, id, "answers come in the order of the requests");
        Some(R::Response::decode(&mut frame, version).expect("a response body"))
    }

    fn read_until(&mut self, mut into: &mut [u8], deadline: Instant) -> Option<()> {
        while !into.is_empty() {
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.stream.read(into) {
                Ok(0) => return None,
                Ok(count) => into = &mut into[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(())
    }

    /// Whether the broker leaves us alone (and has not closed the connection) for a moment.
    pub fn quiet(&mut self) -> Quiet {
        self.stream.set_read_timeout(Some(SILENCE)).unwrap();
        let mut byte = [0];
        let outcome = match self.stream.read(&mut byte) {
            Ok(0) => Quiet::Closed,
            Ok(_) => panic!("the broker answered what it should have kept quiet about"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Quiet::Open,
            Err(_) => Quiet::Closed,
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        outcome
    }

    /// Waits until the broker closes the connection; nothing else may come first.
    pub fn expect_closed(&mut self) {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => {}
            Ok(_) => panic!("the broker answered instead of closing the connection"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the broker left the connection open")
            }
            Err(_) => {}
        }
    }

    /// Reads whatever still comes until the broker closes the connection.
    pub fn drain(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("the broker left the connection open")
                }
                Err(_) => return,
            }
        }
    }

    /// Says that no more will be sent.
    pub fn finish_sending(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// A second handle of the same connection, for a thread that reads while this one writes.
    #[must_use]
    pub fn split(&self) -> Client {
        let stream = self.stream.try_clone().unwrap();
        Client { stream, next_correlation_id: self.next_correlation_id, shared: self.shared.clone() }
    }

    /// Like [`Client::send`], to a broker that may die meanwhile.
    pub fn try_send<R: Request>(&mut self, version: i16, request: &R) -> Option<i32> {
        let id = self.next_correlation_id;
        self.next_correlation_id += 1;
        self.stream.write_all(&framed(&encode(version, id, request))).ok()?;
        Some(id)
    }

    pub fn read_timeout(&mut self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit)).unwrap();
    }
}

/// A request with its header, as it stands behind the length.
pub fn encode<R: Request>(version: i16, correlation_id: i32, request: &R) -> Bytes {
    let mut frame = header(R::KEY, version, correlation_id, R::header_version(version));
    request.encode(&mut frame, version).expect("a request that can be encoded");
    frame.freeze()
}

/// A request header of a header version of one's choice.
pub fn header(key: i16, version: i16, correlation_id: i32, header_version: i16) -> BytesMut {
    let mut frame = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str("test")))
        .encode(&mut frame, header_version)
        .expect("a header that can be encoded");
    frame
}

pub fn framed(body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(4 + body.len());
    frame.put_i32(i32::try_from(body.len()).expect("a test's frame is small"));
    frame.put_slice(body);
    frame.freeze()
}
