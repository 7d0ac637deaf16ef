//! One client connection: one task that reads, works and writes.
//!
//! Frames are cut from one read buffer; Produce requests that arrived together are appended together; answers leave in
//! request order, as Kafka's protocol guide promises clients, coalesced into one vectored write. An answer that is not ready (a
//! long poll, a join, a durable ack) becomes a slot; requests behind it are worked on meanwhile, up to a bound.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use jackdaw_protocol::frame::{self, Frame, FrameError, Next, Splitter};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::registry::Vitals;
use super::{Answers, buffers};
use crate::api::produce::ProduceRun;
use crate::api::{self, ConnectionInfo, Context, Served};
use crate::broker::Broker;
use crate::limits;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum Closing {
    #[error("the client closed it")]
    ByPeer,
    #[error("{0}")]
    Watch(&'static str),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Request(String),
}

struct Connection {
    stream: TcpStream,
    info: Arc<ConnectionInfo>,
    vitals: Arc<Vitals>,
    broker: Arc<Broker>,
    splitter: Splitter,
    input: BytesMut,
    /// Bytes that the frame now arriving needs in all; 0 between frames.
    frame_bytes: usize,
    /// Held while a frame larger than the read buffer arrives.
    budget: Option<OwnedSemaphorePermit>,
    /// Frames are left in `input` because there was no room to work on them.
    held_back: bool,
    run: ProduceRun,
    answers: Answers,
}

/// Serves a connection until either side closes it.
pub(super) async fn run(stream: TcpStream, info: Arc<ConnectionInfo>, vitals: Arc<Vitals>, broker: Arc<Broker>) {
    vitals.active_ms.store(broker.clock.coarse_ms(), Ordering::Relaxed);
    let splitter = Splitter::new(broker.config().socket_request_max_bytes);
    let mut connection = Connection {
        stream,
        info,
        vitals,
        broker,
        splitter,
        input: BytesMut::new(),
        frame_bytes: 0,
        budget: None,
        held_back: false,
        run: ProduceRun::default(),
        answers: Answers::default(),
    };
    let closing = connection.serve().await;
    connection.report(&closing);
}

impl Connection {
    async fn serve(&mut self) -> Closing {
        loop {
            if let Err(closing) = self.work() {
                // What was answered before the bad request still leaves, as far as the socket takes it at once.
                let _ = poll_fn(|cx| Poll::Ready(self.poll_write(cx))).await;
                return closing;
            }
            if let Err(closing) = self.admit_large_frame().await {
                return closing;
            }
            if let Err(closing) = poll_fn(|cx| self.poll_progress(cx)).await {
                return closing;
            }
        }
    }

    /// Works on every complete frame, as far as the bounds allow.
    fn work(&mut self) -> Result<(), Closing> {
        let outcome = self.work_on_frames();
        self.finish_run()?;
        outcome
    }

    fn work_on_frames(&mut self) -> Result<(), Closing> {
        self.frame_bytes = 0;
        self.held_back = true;
        while self.has_room() {
            match self.splitter.next(&mut self.input)? {
                Next::Frame(bytes) => self.take_frame(bytes)?,
                Next::NeedMore { at_least } => {
                    self.frame_bytes = if self.input.is_empty() { 0 } else { self.input.len() + at_least };
                    self.held_back = false;
                    break;
                }
            }
        }
        self.budget = None;
        let since = if self.frame_bytes == 0 { 0 } else { self.broker.clock.coarse_ms().max(1) };
        if since == 0 || self.vitals.frame_since_ms.load(Ordering::Relaxed) == 0 {
            self.vitals.frame_since_ms.store(since, Ordering::Relaxed);
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.answers.waiting() + self.run.len() < limits::IN_FLIGHT_PER_CONNECTION
            && self.answers.ready_bytes() < limits::OUTGOING_BYTES
    }

    fn take_frame(&mut self, bytes: Bytes) -> Result<(), Closing> {
        let frame = frame::parse_header(bytes, api::is_flexible)?;
        let Some(row) = api::find(frame.api_key) else {
            return Err(Closing::Request(format!("API key {} is not served", frame.api_key)));
        };
        if !row.scope.is_served(self.info.serving) {
            return Err(Closing::Request(format!("{} is not served on this listener", row.name)));
        }
        if !(row.min..=row.max).contains(&frame.api_version) {
            return self.refuse_version(row, &frame);
        }
        let Some(serve) = row.each() else {
            return self.take_produce(frame);
        };
        self.finish_run()?;
        let ctx = Context {
            broker: &self.broker,
            connection: &self.info,
            client_id: frame.client_id.as_ref(),
            api_version: frame.api_version,
        };
        match serve(&ctx, frame.correlation_id, frame.body, self.answers.place()) {
            Served::Answered | Served::Silent => {}
            Served::Later(answer) => self.answers.later(answer),
            Served::Close(reason) => return Err(Closing::Request(format!("{}: {reason}", row.name))),
        }
        Ok(())
    }

    /// ApiVersions above our range is answered with error 35 in version 0 (KIP-511); any other API has no answer for it.
    fn refuse_version(&mut self, row: &api::Row, frame: &Frame) -> Result<(), Closing> {
        if row.key != api::api_versions::KEY || frame.api_version < 0 {
            return Err(Closing::Request(format!(
                "{} version {} is not served, only {} to {}",
                row.name, frame.api_version, row.min, row.max
            )));
        }
        self.finish_run()?;
        api::api_versions::unsupported(frame.correlation_id, self.answers.place()).map_err(Closing::Request)
    }

    fn take_produce(&mut self, frame: Frame) -> Result<(), Closing> {
        if self.run.is_full() {
            self.finish_run()?;
        }
        let ctx = Context {
            broker: &self.broker,
            connection: &self.info,
            client_id: frame.client_id.as_ref(),
            api_version: frame.api_version,
        };
        self.run
            .add(&ctx, frame.correlation_id, frame.body)
            .map_err(|reason| Closing::Request(format!("Produce: {reason}")))
    }

    /// Appends the Produce requests collected so far and queues their answers.
    fn finish_run(&mut self) -> Result<(), Closing> {
        if self.run.is_empty() {
            return Ok(());
        }
        self.run.finish(&self.broker, &self.info, &mut self.answers).map_err(Closing::Request)
    }

    /// A frame that outgrows the read buffer needs its share of the budget for requests in flight.
    async fn admit_large_frame(&mut self) -> Result<(), Closing> {
        if self.frame_bytes <= limits::READ_BUFFER_BYTES || self.budget.is_some() {
            return Ok(());
        }
        // A frame larger than the whole budget must still pass, alone.
        let permits = self.broker.request_budget_permits(self.frame_bytes);
        let budget = self.broker.request_budget.clone();
        let permit = match budget.clone().try_acquire_many_owned(permits) {
            Ok(permit) => permit,
            Err(_) => budget.acquire_many_owned(permits).await.map_err(|_| Closing::Watch("the broker is stopping"))?,
        };
        self.budget = Some(permit);
        Ok(())
    }

    /// Writes, takes in what became ready, reads: returns after any progress that may make work.
    fn poll_progress(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Closing>> {
        self.vitals.waker.register(cx.waker());
        if let Some(reason) = self.vitals.closing() {
            return Poll::Ready(Err(Closing::Watch(reason)));
        }
        self.answers.poll_ready(cx).map_err(Closing::Request)?;
        self.poll_write(cx)?;
        if self.held_back && self.has_room() {
            return Poll::Ready(Ok(()));
        }
        if self.has_room() { self.poll_read(cx) } else { Poll::Pending }
    }

    fn poll_write(&mut self, cx: &mut TaskContext<'_>) -> Result<(), Closing> {
        let out = self.answers.out();
        let now = self.broker.clock.coarse_ms();
        while !out.is_empty() {
            let mut slices = [IoSlice::new(&[]); limits::SLICES_PER_WRITE];
            let count = out.slices(&mut slices);
            let stream = Pin::new(&mut self.stream);
            // One slice, the usual case, is cheaper to send than a vector of one.
            let written = match slices[..count] {
                [one] => stream.poll_write(cx, &one),
                _ => stream.poll_write_vectored(cx, &slices[..count]),
            };
            match written {
                Poll::Ready(Ok(0)) => return Err(Closing::ByPeer),
                Poll::Ready(Ok(written)) => {
                    out.advance(written);
                    self.vitals.active_ms.store(now, Ordering::Relaxed);
                    self.vitals.stalled_since_ms.store(0, Ordering::Relaxed);
                }
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Pending => {
                    let stalled = &self.vitals.stalled_since_ms;
                    let _ = stalled.compare_exchange(0, now.max(1), Ordering::Relaxed, Ordering::Relaxed);
                    break;
                }
            }
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Closing>> {
        let at_most = buffers::room_for_frame(&mut self.input, self.frame_bytes);
        let polled = std::pin::pin!(self.stream.read_buf(&mut (&mut self.input).limit(at_most))).poll(cx);
        match polled {
            Poll::Pending => {
                if self.input.is_empty() {
                    buffers::give(std::mem::take(&mut self.input));
                }
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Ready(Ok(0)) => Poll::Ready(Err(Closing::ByPeer)),
            Poll::Ready(Ok(_)) => {
                self.vitals.active_ms.store(self.broker.clock.coarse_ms(), Ordering::Relaxed);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn report(&self, closing: &Closing) {
        let peer = self.info.peer;
        match closing {
            Closing::ByPeer | Closing::Io(_) => tracing::debug!(%peer, %closing, "connection closed"),
            Closing::Watch(reason) => tracing::info!(%peer, reason, "connection closed by the broker"),
            Closing::Frame(_) | Closing::Request(_) => {
                tracing::warn!(%peer, listener = %self.info.listener, reason = %closing, "connection closed: it does not speak Kafka's protocol as served here");
            }
        }
    }
}
