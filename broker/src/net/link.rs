//! One connection that this node made to another: requests are pipelined on it, answers come back in their order.
//!
//! One task owns the socket. It ends with the first fault, or when nobody can call any more; then everyone who waits is
//! told why, and the link is never used again. [`Peer`](super::Peer) makes the next one.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use jackdaw_protocol::frame::{Next, Splitter};
use jackdaw_protocol::messages;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::buffers;
use super::peer::{PeerConfig, PeerError};

/// A request on its way.
struct Outbound {
    key: i16,
    version: i16,
    body: Bytes,
    answer: oneshot::Sender<Bytes>,
    /// Its place among the requests in flight, given back with the answer.
    place: OwnedSemaphorePermit,
}

/// A request that was written.
struct Pending {
    correlation_id: i32,
    has_tags: bool,
    answer: oneshot::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
}

/// What the two directions of a link share.
struct Flight {
    address: String,
    pending: Mutex<VecDeque<Pending>>,
    /// Something was written, so an answer is due.
    asked: Notify,
}

/// One connection; it ends when it is dropped, or with the first fault.
pub(super) struct Link {
    requests: mpsc::UnboundedSender<Outbound>,
    /// Bounds the queue and what is in flight together.
    places: Arc<Semaphore>,
    ended: watch::Receiver<Option<PeerError>>,
    close: Arc<Notify>,
    answered: watch::Receiver<bool>,
    address: String,
}

impl Link {
    /// Takes over a connected socket.
    pub(super) fn start(stream: TcpStream, address: String, config: &PeerConfig) -> Link {
        let (requests, queue) = mpsc::unbounded_channel();
        let (end, ended) = watch::channel(None);
        let (first_answer, answered) = watch::channel(false);
        let places = Arc::new(Semaphore::new(config.max_in_flight.max(1)));
        let (client_id, timeout, limit) = (config.client_id.clone(), config.request_timeout, config.max_answer_bytes);
        let flight = Flight { address: address.clone(), pending: Mutex::new(VecDeque::new()), asked: Notify::new() };
        let close = Arc::new(Notify::new());
        let link = Link { requests, places, ended, close: close.clone(), answered, address };
        tokio::spawn(async move {
            let (from, to) = stream.into_split();
            let why = tokio::select! {
                why = write_requests(&flight, to, queue, &client_id) => why,
                why = read_answers(&flight, from, Splitter::new(limit), timeout, &first_answer) => why,
                () = close.notified() => flight.closed("this node closed it"),
            };
            // First the reason, then the senders of those who wait: they look for it when theirs is dropped.
            end.send_replace(Some(why));
            drop(flight);
        });
        link
    }

    /// Sends a request and waits for the bytes of its answer, without their header. There is no deadline in here.
    pub(super) async fn call(&self, key: i16, version: i16, body: Bytes) -> Result<Bytes, PeerError> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| self.why())?;
        let (answer, answered) = oneshot::channel();
        self.requests.send(Outbound { key, version, body, answer, place }).map_err(|_| self.why())?;
        answered.await.map_err(|_| self.why())
    }

    /// Ends it.
    pub(super) fn close(&self) {
        self.close.notify_one();
    }

    /// Whether it can still be used.
    pub(super) fn is_open(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// Whether the other side has ever answered.
    pub(super) fn was_answered(&self) -> bool {
        *self.answered.borrow()
    }

    /// Why it ended.
    pub(super) fn why(&self) -> PeerError {
        let why = self.ended.borrow().clone();
        why.unwrap_or_else(|| PeerError::Closed {
            address: self.address.clone(),
            reason: "it is being closed".to_owned(),
        })
    }

    /// Waits until it ends.
    pub(super) fn closed(&self) -> impl Future<Output = PeerError> + Send + use<> {
        let (mut ended, address) = (self.ended.clone(), self.address.clone());
        async move {
            let why = match ended.wait_for(Option::is_some).await {
                Ok(why) => why.clone(),
                Err(_) => None,
            };
            why.unwrap_or(PeerError::Closed { address, reason: "this node is stopping".to_owned() })
        }
    }
}

impl Flight {
    fn closed(&self, reason: impl ToString) -> PeerError {
        PeerError::Closed { address: self.address.clone(), reason: reason.to_string() }
    }

    fn malformed(&self, reason: impl ToString) -> PeerError {
        PeerError::Malformed { address: self.address.clone(), reason: reason.to_string() }
    }

    /// Hands an answer to the request that was written first of those that wait.
    fn take_answer(&self, mut frame: Bytes) -> Result<(), PeerError> {
        let pending = self.pending.lock().pop_front();
        let Some(pending) = pending else {
            return Err(self.malformed("it answered although nothing was asked"));
        };
        let correlation_id = frame.try_get_i32().map_err(|_| self.malformed("an answer ends within its header"))?;
        if correlation_id != pending.correlation_id {
            let expected = pending.correlation_id;
            return Err(self.malformed(format!("it answered request {correlation_id} instead of {expected}")));
        }
        if pending.has_tags {
            skip_tags(&mut frame).ok_or_else(|| self.malformed("the tags of an answer's header do not fit into it"))?;
        }
        // Who asked may have stopped waiting.
        let _ = pending.answer.send(frame);
        Ok(())
    }
}

async fn write_requests(
    flight: &Flight,
    mut to: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Outbound>,
    client_id: &str,
) -> PeerError {
    let mut correlation_id = 0i32;
    while let Some(request) = queue.recv().await {
        // Nobody waits for it any more, and it was not sent yet: it shall not take effect later.
        if request.answer.is_closed() {
            continue;
        }
        correlation_id = correlation_id.wrapping_add(1);
        let head = head(&request, correlation_id, client_id);
        let has_tags = messages::response_header_version(request.key, request.version) == Some(1);
        flight.pending.lock().push_back(Pending {
            correlation_id,
            has_tags,
            answer: request.answer,
            _place: request.place,
        });
        flight.asked.notify_one();
        if let Err(error) = to.write_all_buf(&mut head.chain(request.body)).await {
            return flight.closed(error);
        }
    }
    flight.closed("it is not needed any more")
}

/// Length and header of a request. A key that Kafka does not know, one of our own, has a header without tags.
fn head(request: &Outbound, correlation_id: i32, client_id: &str) -> Bytes {
    let is_flexible = messages::is_flexible(request.key, request.version) == Some(true);
    let len = 10 + client_id.len() + usize::from(is_flexible);
    let mut head = BytesMut::with_capacity(4 + len);
    head.put_u32((len + request.body.len()) as u32);
    head.put_i16(request.key);
    head.put_i16(request.version);
    head.put_i32(correlation_id);
    head.put_i16(client_id.len() as i16);
    head.put_slice(client_id.as_bytes());
    if is_flexible {
        head.put_u8(0);
    }
    head.freeze()
}

async fn read_answers(
    flight: &Flight,
    mut from: OwnedReadHalf,
    splitter: Splitter,
    timeout: Duration,
    first_answer: &watch::Sender<bool>,
) -> PeerError {
    let mut input = BytesMut::new();
    let mut frame_bytes = 0;
    loop {
        let at_most = buffers::room_for_frame(&mut input, frame_bytes);
        match read_some(flight, &mut from, &mut input, at_most, timeout).await {
            Err(why) => return why,
            Ok(0) => return flight.closed("the other side closed it"),
            Ok(_) => {}
        }
        frame_bytes = loop {
            match splitter.next(&mut input) {
                Ok(Next::Frame(frame)) => {
                    if let Err(why) = flight.take_answer(frame) {
                        return why;
                    }
                    first_answer.send_if_modified(|answered| !std::mem::replace(answered, true));
                }
                Ok(Next::NeedMore { at_least }) => break if input.is_empty() { 0 } else { input.len() + at_least },
                Err(error) => return flight.malformed(error),
            }
        };
        if input.is_empty() {
            buffers::give(std::mem::take(&mut input));
        }
    }
}

/// Reads what comes. While an answer is due, something must come within the request timeout: a peer that was cut off
/// without a word is noticed by that, and the next connection finds out what is the matter.
async fn read_some(
    flight: &Flight,
    from: &mut OwnedReadHalf,
    input: &mut BytesMut,
    at_most: usize,
    timeout: Duration,
) -> Result<usize, PeerError> {
    let mut target = input.limit(at_most);
    let mut reading = std::pin::pin!(from.read_buf(&mut target));
    let failed = |error: io::Error| flight.closed(error);
    while flight.pending.lock().is_empty() {
        tokio::select! {
            read = &mut reading => return read.map_err(failed),
            () = flight.asked.notified() => {}
        }
    }
    match tokio::time::timeout(timeout, reading).await {
        Ok(read) => read.map_err(failed),
        Err(_) => Err(PeerError::TimedOut { address: flight.address.clone(), after: timeout }),
    }
}

fn skip_tags(rest: &mut Bytes) -> Option<()> {
    for _ in 0..unsigned_varint(rest)? {
        unsigned_varint(rest)?;
        let len = unsigned_varint(rest)? as usize;
        if len > rest.len() {
            return None;
        }
        rest.advance(len);
    }
    Some(())
}

fn unsigned_varint(rest: &mut Bytes) -> Option<u32> {
    let mut value = 0u32;
    for shift in (0..35).step_by(7) {
        let byte = rest.try_get_u8().ok()?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
