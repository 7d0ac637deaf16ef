//! One connection: requests go out in order, many may be under way, answers are matched by correlation id.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use jackdaw_protocol::frame::{Next, Splitter};
use jackdaw_protocol::guard;
use jackdaw_protocol::messages::{
    ApiKey, ApiVersionsRequest, Decodable, Encodable, HeaderVersion, Request, RequestHeader, ResponseHeader, StrBytes,
};
use jackdaw_protocol::splice::Parts;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::error::ClientError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a broker may take for an answer, beside the time that the request itself grants it.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// No answer is longer than this: fetches ask for far less.
const MAX_ANSWER: usize = 256 << 20;
const READ_STEP: usize = 256 << 10;

/// Answers awaited, or why none will come any more.
enum Pending {
    Open(HashMap<i32, oneshot::Sender<Bytes>>),
    Closed(String),
}

/// A connection to one broker, versions negotiated.
pub(crate) struct Connection {
    address: String,
    client_id: StrBytes,
    versions: HashMap<i16, RangeInclusive<i16>>,
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    pending: Arc<Mutex<Pending>>,
    next_id: AtomicI32,
    reader: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// An answer under way.
pub(crate) struct Answer<R> {
    address: String,
    version: i16,
    receiver: oneshot::Receiver<Bytes>,
    pending: Arc<Mutex<Pending>>,
    request: PhantomData<fn() -> R>,
}

impl Connection {
    /// Connects to `host:port` and asks for the versions that the broker speaks.
    pub(crate) async fn open(address: &str, client_id: &str) -> Result<Connection, ClientError> {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        let stream = connecting
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|error| ClientError::connect(address, &error))?;
        let (read, write) = stream.into_split();
        let pending = Arc::new(Mutex::new(Pending::Open(HashMap::new())));
        let reader = tokio::spawn(read_answers(read, Arc::clone(&pending)));
        let mut connection = Connection {
            address: address.to_owned(),
            client_id: StrBytes::from_string(client_id.to_owned()),
            versions: HashMap::from([(ApiKey::ApiVersions as i16, 0..=3)]),
            writer: tokio::sync::Mutex::new(write),
            pending,
            next_id: AtomicI32::new(0),
            reader,
        };
        connection.negotiate().await?;
        Ok(connection)
    }

    async fn negotiate(&mut self) -> Result<(), ClientError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("jackdaw"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let mut answer = self.send(&request).await;
        // A broker that does not know our version closes the connection or says so in version 0 (KIP-511);
        // the latter does not read as version 3.
        if matches!(answer, Err(ClientError::Garbled { .. })) {
            self.versions.insert(ApiKey::ApiVersions as i16, 0..=0);
            answer = self.send(&ApiVersionsRequest::default()).await;
        }
        let answer = answer?;
        ClientError::check(format!("ApiVersions at {}", self.address), answer.error_code, None)?;
        self.versions = answer.api_keys.iter().map(|api| (api.api_key, api.min_version..=api.max_version)).collect();
        Ok(())
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whether requests can still be sent.
    pub(crate) fn is_open(&self) -> bool {
        matches!(*lock(&self.pending), Pending::Open(_))
    }

    /// The version in which `R` is sent here.
    pub(crate) fn version<R: Request>(&self) -> Result<i16, ClientError> {
        let ours = usable::<R>();
        let theirs = self.versions.get(&R::KEY);
        let best = theirs.map(|range| (*range.start()).max(*ours.start())..=(*range.end()).min(*ours.end()));
        match best {
            Some(both) if !both.is_empty() => Ok(*both.end()),
            _ => Err(ClientError::Unsupported {
                address: self.address.clone(),
                api: api_name(R::KEY),
                ours,
                theirs: theirs.cloned(),
            }),
        }
    }

    /// Sends `request` and waits for its answer.
    pub(crate) async fn send<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        self.send_within(request, ANSWER_TIMEOUT).await
    }

    /// Like [`Connection::send`] with a timeout of its own, for requests that the broker answers late by intent.
    pub(crate) async fn send_within<R: Request>(
        &self,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, ClientError> {
        self.start(request, []).await?.wait(timeout).await
    }

    /// Sends `request`, and returns its answer to wait for. `records` are the batches in it, which are not copied.
    pub(crate) async fn start<R: Request>(
        &self,
        request: &R,
        records: impl IntoIterator<Item = Bytes>,
    ) -> Result<Answer<R>, ClientError> {
        let version = self.version::<R>()?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let frame = self.encode(request, version, id, records)?;
        let (sender, receiver) = oneshot::channel();
        match &mut *lock(&self.pending) {
            Pending::Open(waiting) => drop(waiting.insert(id, sender)),
            Pending::Closed(reason) => return Err(self.closed::<R>(reason.clone())),
        }
        self.write::<R>(&frame).await?;
        Ok(Answer {
            address: self.address.clone(),
            version,
            receiver,
            pending: Arc::clone(&self.pending),
            request: PhantomData,
        })
    }

    /// Sends a request that is never answered: Produce with acks=0.
    pub(crate) async fn send_unanswered<R: Request>(
        &self,
        request: &R,
        records: impl IntoIterator<Item = Bytes>,
    ) -> Result<(), ClientError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let frame = self.encode(request, self.version::<R>()?, id, records)?;
        if let Pending::Closed(reason) = &*lock(&self.pending) {
            return Err(self.closed::<R>(reason.clone()));
        }
        self.write::<R>(&frame).await
    }

    fn encode<R: Request>(
        &self,
        request: &R,
        version: i16,
        id: i32,
        records: impl IntoIterator<Item = Bytes>,
    ) -> Result<Vec<Bytes>, ClientError> {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(id)
            .with_client_id(Some(self.client_id.clone()));
        let mut parts = Parts::with_records(records);
        header
            .encode(&mut parts, R::header_version(version))
            .and_then(|()| request.encode(&mut parts, version))
            .map_err(|error| ClientError::Encode { api: api_name(R::KEY), reason: error.to_string() })?;
        Ok(parts.into_frame().0)
    }

    async fn write<R: Request>(&self, frame: &[Bytes]) -> Result<(), ClientError> {
        let mut writer = self.writer.lock().await;
        let written = write_parts(&mut writer, frame).await;
        written.map_err(|error| self.closed::<R>(error.to_string()))
    }

    fn closed<R: Request>(&self, reason: String) -> ClientError {
        ClientError::Closed { address: self.address.clone(), api: Some(api_name(R::KEY)), reason }
    }
}

impl<R: Request> Answer<R> {
    /// The answer, decoded.
    pub(crate) async fn wait(self, timeout: Duration) -> Result<R::Response, ClientError> {
        let api = api_name(R::KEY);
        let body = match tokio::time::timeout(timeout, self.receiver).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                let reason = match &*lock(&self.pending) {
                    Pending::Closed(reason) => reason.clone(),
                    Pending::Open(_) => "the answer was dropped".to_owned(),
                };
                return Err(ClientError::Closed { address: self.address, api: Some(api), reason });
            }
            Err(_) => return Err(ClientError::Timeout { address: self.address, api, after: timeout }),
        };
        decode::<R>(body, self.version).map_err(|reason| ClientError::Garbled { address: self.address, api, reason })
    }
}

fn decode<R: Request>(mut body: Bytes, version: i16) -> Result<R::Response, String> {
    ResponseHeader::decode(&mut body, R::Response::header_version(version)).map_err(|error| error.to_string())?;
    guard::check_response(R::KEY, version, &body).map_err(|error| error.to_string())?;
    R::Response::decode(&mut body, version).map_err(|error| error.to_string())
}

async fn write_parts(writer: &mut OwnedWriteHalf, parts: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        let written = writer.write_vectored(left).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut left, written);
    }
    Ok(())
}

/// Hands answers to those who wait for them, until the connection ends.
async fn read_answers(mut read: OwnedReadHalf, pending: Arc<Mutex<Pending>>) {
    let splitter = Splitter::new(MAX_ANSWER);
    let mut buf = BytesMut::new();
    let reason = loop {
        match splitter.next(&mut buf) {
            Ok(Next::Frame(frame)) if frame.len() >= 4 => deliver(frame, &pending),
            Ok(Next::Frame(_)) => break "it sent an answer without a correlation id".to_owned(),
            Ok(Next::NeedMore { at_least }) => {
                buf.reserve(at_least.clamp(4096, READ_STEP));
                match read.read_buf(&mut buf).await {
                    Ok(0) => break "end of stream; its log may say why".to_owned(),
                    Ok(_) => {}
                    Err(error) => break error.to_string(),
                }
            }
            Err(error) => break error.to_string(),
        }
    };
    *lock(&pending) = Pending::Closed(reason);
}

fn deliver(mut frame: Bytes, pending: &Mutex<Pending>) {
    // Peeked, since the header is decoded with its tags by who waits.
    let id = frame.clone().get_i32();
    if let Pending::Open(waiting) = &mut *lock(pending)
        && let Some(sender) = waiting.remove(&id)
    {
        // Whoever gave up waiting needs no answer.
        let _ = sender.send(std::mem::take(&mut frame));
    }
}

fn lock(pending: &Mutex<Pending>) -> std::sync::MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The versions of `R` that this client uses. Topic ids (Produce 13, Fetch 13) would force it to look names up,
/// and the forms before KIP-699 and KIP-709 had one group per request.
fn usable<R: Request>() -> RangeInclusive<i16> {
    let all = R::VERSIONS.min..=R::VERSIONS.max;
    let (lowest, highest) = match ApiKey::try_from(R::KEY) {
        Ok(ApiKey::Produce) => (3, 12),
        Ok(ApiKey::Fetch) => (4, 12),
        Ok(ApiKey::FindCoordinator) => (4, 6),
        Ok(ApiKey::OffsetFetch) => (8, 9),
        Ok(ApiKey::OffsetCommit) => (2, 9),
        Ok(ApiKey::JoinGroup) => (5, 9),
        Ok(ApiKey::ApiVersions) => (0, 3),
        _ => (i16::MIN, i16::MAX),
    };
    (*all.start()).max(lowest)..=(*all.end()).min(highest)
}

fn api_name(key: i16) -> &'static str {
    guard::apis().find(|api| api.key == key).map_or("an unknown API", |api| api.name)
}
