//! The event loop of the generator: connections with several requests in flight, closed loop or by schedule.
//!
//! One thread serves many sockets. All answers that a read brings are handled before the next requests leave in one
//! write, so that the generator's own cost stays well below that of the broker it drives.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::BenchError;
use super::args::Drive;
use super::frames::Outgoing;
use super::process::{Cost, Watch, own_cpu_seconds};
use super::report;
use super::wire;

/// Frames up to this size may be read together with what follows them; larger ones are read to their end exactly.
const READ_AHEAD: usize = 64 << 10;
const MAX_ANSWER: usize = 256 << 20;
const MAX_SLICES: usize = 64;

/// What is sent and what the answers must look like. One value per thread.
pub(super) trait Traffic: Send {
    /// Appends the next request of `connection`.
    fn request(&mut self, connection: usize, correlation_id: i32, out: &mut Outgoing);

    /// Checks an answer, from its correlation id on; returns the payload bytes that the exchange moved.
    /// Answers of one connection come in the order of its requests.
    fn answer(&mut self, connection: usize, answer: &[u8]) -> Result<u64, BenchError>;

    /// Payload bytes of each request that gets no answer (acks=0); `None` where all get one.
    fn unanswered(&self) -> Option<u64> {
        None
    }

    /// A request that is answered in any case, to learn when those before it were served.
    fn fence(&mut self, connection: usize, correlation_id: i32, out: &mut Outgoing) {
        self.request(connection, correlation_id, out);
    }
}

/// What a measured phase did.
pub(super) struct Outcome {
    pub(super) latency: Histogram<u64>,
    pub(super) requests: u64,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
    pub(super) broker: Option<Cost>,
    pub(super) generator_cpu_seconds: f64,
}

/// Sends `requests` requests, after the warm-up, over `drive.connections` connections to `address`.
pub(super) fn run<T: Traffic>(
    address: SocketAddr,
    drive: &Drive,
    requests: u64,
    broker_pid: Option<u32>,
    mut traffic: impl FnMut(usize, usize) -> Result<T, BenchError>,
) -> Result<Outcome, BenchError> {
    let mut workers = Vec::new();
    for thread in 0..drive.threads {
        let share = |total: usize| (total * (thread + 1) / drive.threads) - (total * thread / drive.threads);
        let connections = share(drive.connections);
        workers.push(Worker::new(address, connections, drive, traffic(thread, connections)?)?);
    }
    let bar = progress(requests);
    let done = AtomicU64::new(0);
    phase(&mut workers, drive.warmup, None, &done)?;
    let watch = Watch::start(broker_pid)?;
    let own = own_cpu_seconds();
    let started = Instant::now();
    done.store(0, Ordering::Relaxed);
    let tallies = thread::scope(|scope| {
        let running = scope.spawn(|| phase(&mut workers, requests, drive.rate, &done));
        while !running.is_finished() {
            bar.set_position(done.load(Ordering::Relaxed));
            thread::park_timeout(Duration::from_millis(if bar.is_hidden() { 5 } else { 50 }));
        }
        running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    bar.finish_and_clear();
    let ended = tallies.iter().map(|tally| tally.ended).max().unwrap_or(started);
    let broker = watch.map(Watch::stop).transpose()?;
    let mut latency = report::histogram();
    for tally in &tallies {
        // Both sides have the same bounds.
        let _ = latency.add(&tally.latency);
    }
    Ok(Outcome {
        latency,
        requests: tallies.iter().map(|tally| tally.requests).sum(),
        bytes: tallies.iter().map(|tally| tally.bytes).sum(),
        elapsed: ended - started,
        broker,
        generator_cpu_seconds: own_cpu_seconds() - own,
    })
}

/// All workers do their share of `requests`, beginning together.
fn phase<T: Traffic>(
    workers: &mut [Worker<T>],
    requests: u64,
    rate: Option<f64>,
    done: &AtomicU64,
) -> Result<Vec<Tally>, BenchError> {
    let count = workers.len() as u64;
    let barrier = Barrier::new(workers.len());
    let failed = Mutex::new(None);
    let tallies = thread::scope(|scope| {
        let handles: Vec<_> = (0u64..)
            .zip(workers.iter_mut())
            .map(|(at, worker)| {
                let share = requests * (at + 1) / count - requests * at / count;
                let (barrier, failed) = (&barrier, &failed);
                scope.spawn(move || {
                    barrier.wait();
                    let mut tally = Tally::new(share, rate.map(|rate| rate / count as f64));
                    if let Err(error) = worker.drive(&mut tally, done) {
                        failed.lock().unwrap_or_else(|poison| poison.into_inner()).get_or_insert(error);
                    }
                    tally
                })
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    match failed.into_inner().unwrap_or_else(|poison| poison.into_inner()) {
        Some(error) => Err(error),
        None => Ok(tallies),
    }
}

fn progress(requests: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(requests), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}

/// The work of one worker in one phase: what is still to do, and what was done.
struct Tally {
    to_issue: u64,
    to_complete: u64,
    schedule: Option<Schedule>,
    latency: Histogram<u64>,
    requests: u64,
    bytes: u64,
    ended: Instant,
}

impl Tally {
    fn new(requests: u64, rate: Option<f64>) -> Self {
        let now = Instant::now();
        Self {
            to_issue: requests,
            to_complete: requests,
            schedule: rate.map(|rate| Schedule { start: now, interval: 1.0 / rate, issued: 0 }),
            latency: report::histogram(),
            requests: 0,
            bytes: 0,
            ended: now,
        }
    }

    fn complete(&mut self, due: Instant, now: Instant, bytes: u64) {
        let nanos = u64::try_from(now.saturating_duration_since(due).as_nanos()).unwrap_or(u64::MAX);
        self.latency.saturating_record(nanos);
        self.count(bytes);
    }

    fn count(&mut self, bytes: u64) {
        self.requests += 1;
        self.bytes += bytes;
        self.to_complete = self.to_complete.saturating_sub(1);
    }
}

/// Due times at even intervals from the start of the phase.
struct Schedule {
    start: Instant,
    interval: f64,
    issued: u64,
}

impl Schedule {
    fn next_due(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.interval * self.issued as f64)
    }
}

struct Connection {
    stream: TcpStream,
    out: Outgoing,
    input: Vec<u8>,
    filled: usize,
    /// Correlation id and due time of every request without an answer, oldest first.
    in_flight: VecDeque<(i32, Instant)>,
    /// Due times of requests that wait for a place in flight.
    backlog: VecDeque<Instant>,
    next_id: i32,
}

struct Worker<T> {
    poll: Poll,
    connections: Vec<Connection>,
    depth: usize,
    traffic: T,
}

impl<T: Traffic> Worker<T> {
    fn new(address: SocketAddr, connections: usize, drive: &Drive, traffic: T) -> Result<Self, BenchError> {
        let poll = Poll::new()?;
        let mut worker = Self { poll, connections: Vec::new(), depth: drive.depth, traffic };
        for at in 0..connections {
            let stream = wire::connect(address)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            worker.poll.registry().register(&mut stream, Token(at), Interest::READABLE | Interest::WRITABLE)?;
            worker.connections.push(Connection {
                stream,
                out: Outgoing::default(),
                input: vec![0; READ_AHEAD],
                filled: 0,
                in_flight: VecDeque::new(),
                backlog: VecDeque::new(),
                next_id: 0,
            });
        }
        Ok(worker)
    }

    /// Issues and completes all of the tally's requests.
    fn drive(&mut self, tally: &mut Tally, done: &AtomicU64) -> Result<(), BenchError> {
        let mut events = Events::with_capacity(256);
        if tally.schedule.is_none() {
            for at in 0..self.connections.len() {
                self.refill(at, tally)?;
            }
        }
        while tally.to_complete > 0 {
            let timeout = self.issue_due(tally)?;
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            let before = tally.requests;
            for event in &events {
                self.serve(event.token().0, tally)?;
            }
            done.fetch_add(tally.requests - before, Ordering::Relaxed);
            if timeout == Some(Duration::ZERO) && events.is_empty() {
                // Timers are coarser than the schedule, so the last stretch is polled; others may run meanwhile.
                thread::yield_now();
            }
        }
        if self.traffic.unanswered().is_some() {
            self.await_fences(&mut events)?;
        }
        tally.ended = Instant::now();
        Ok(())
    }

    /// Open loop: queues what is due by now. Returns how long nothing more will be.
    fn issue_due(&mut self, tally: &mut Tally) -> Result<Option<Duration>, BenchError> {
        let Some(schedule) = &mut tally.schedule else { return Ok(None) };
        let now = Instant::now();
        let mut touched = Vec::new();
        while tally.to_issue > 0 && schedule.next_due() <= now {
            let at = usize::try_from(schedule.issued).unwrap_or(0) % self.connections.len();
            self.connections[at].backlog.push_back(schedule.next_due());
            schedule.issued += 1;
            tally.to_issue -= 1;
            if !touched.contains(&at) {
                touched.push(at);
            }
        }
        let next = (tally.to_issue > 0).then(|| schedule.next_due());
        for at in touched {
            self.refill(at, tally)?;
        }
        let wait = next.map(|due| due.saturating_duration_since(Instant::now()));
        Ok(wait
            .map(|wait| if wait > Duration::from_millis(2) { wait - Duration::from_millis(1) } else { Duration::ZERO }))
    }

    /// Puts as many requests in flight on a connection as its depth and the work left allow, and writes them.
    fn refill(&mut self, at: usize, tally: &mut Tally) -> Result<(), BenchError> {
        let unanswered = self.traffic.unanswered();
        loop {
            let connection = &mut self.connections[at];
            let now = Instant::now();
            let mut issued = 0;
            while connection.in_flight.len() + issued < self.depth && connection.out.parts.len() < MAX_SLICES {
                let due = match &tally.schedule {
                    Some(_) => connection.backlog.pop_front(),
                    None if tally.to_issue > 0 => {
                        tally.to_issue -= 1;
                        Some(now)
                    }
                    None => None,
                };
                let Some(due) = due else { break };
                let id = connection.next_id;
                connection.next_id = id.wrapping_add(1) & i32::MAX;
                self.traffic.request(at, id, &mut connection.out);
                match unanswered {
                    None => connection.in_flight.push_back((id, due)),
                    Some(bytes) => {
                        issued += 1;
                        tally.count(bytes);
                    }
                }
            }
            let drained = connection.flush()?;
            if unanswered.is_none() || !drained || issued == 0 {
                return Ok(());
            }
        }
    }

    /// Handles whatever a connection is ready for.
    fn serve(&mut self, at: usize, tally: &mut Tally) -> Result<(), BenchError> {
        let connection = &mut self.connections[at];
        if !connection.out.is_empty() {
            connection.flush()?;
        }
        loop {
            let more = connection.read()?;
            let now = Instant::now();
            let mut start = 0;
            while let Some(frame) = connection.frame(start)? {
                let (answer, end) = (&connection.input[frame.0..frame.1], frame.1);
                let got = i32::from_be_bytes([answer[0], answer[1], answer[2], answer[3]]);
                match connection.in_flight.pop_front() {
                    Some((expected, due)) if expected == got => {
                        let bytes = self.traffic.answer(at, answer)?;
                        tally.complete(due, now, bytes);
                    }
                    other => return Err(BenchError::OutOfOrder { expected: other.map_or(-1, |o| o.0), got }),
                }
                start = end;
            }
            connection.consume(start);
            if !more {
                break;
            }
        }
        if tally.to_issue == 0 && tally.schedule.is_none() { Ok(()) } else { self.refill(at, tally) }
    }

    /// Waits until every connection has answered one request more, and so served all before it.
    fn await_fences(&mut self, events: &mut Events) -> Result<(), BenchError> {
        let mut tally = Tally::new(self.connections.len() as u64, None);
        tally.to_issue = 0;
        for at in 0..self.connections.len() {
            let connection = &mut self.connections[at];
            let id = connection.next_id;
            connection.next_id = id.wrapping_add(1) & i32::MAX;
            self.traffic.fence(at, id, &mut connection.out);
            connection.in_flight.push_back((id, tally.ended));
            connection.flush()?;
        }
        while tally.to_complete > 0 {
            self.poll.poll(events, None)?;
            for event in events.iter() {
                self.serve(event.token().0, &mut tally)?;
            }
        }
        Ok(())
    }
}

impl Connection {
    /// Writes what the socket takes; true when nothing is left.
    fn flush(&mut self) -> Result<bool, BenchError> {
        while !self.out.is_empty() {
            let wrote = if self.out.parts.is_empty() {
                self.stream.write(&self.out.joined[self.out.sent..])
            } else {
                let slices: Vec<IoSlice<'_>> =
                    self.out.parts.iter().take(MAX_SLICES).map(|part| IoSlice::new(part)).collect();
                self.stream.write_vectored(&slices)
            };
            match wrote {
                Ok(count) => self.out.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Reads once; false when the socket is drained.
    fn read(&mut self) -> Result<bool, BenchError> {
        let limit = self.read_limit()?;
        if self.input.len() < limit {
            self.input.resize(limit, 0);
        }
        match self.stream.read(&mut self.input[self.filled..limit]) {
            Ok(0) => Err(BenchError::Closed { answered: u64::from(self.next_id.unsigned_abs()) }),
            Ok(count) => {
                let full = count == limit - self.filled;
                self.filled += count;
                Ok(full)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Up to where the next read may fill the input: the end of a large frame, so that it never has to be moved.
    fn read_limit(&self) -> Result<usize, BenchError> {
        let Some(prefix) = self.input[..self.filled].first_chunk::<4>() else { return Ok(READ_AHEAD) };
        let length = i32::from_be_bytes(*prefix);
        let size = usize::try_from(length).ok().filter(|size| (4..=MAX_ANSWER).contains(size));
        let size =
            size.ok_or_else(|| BenchError::Malformed { what: "answer", why: format!("its length is {length}") })?;
        Ok((size + 4).max(READ_AHEAD))
    }

    /// Start and end of the frame at `start`, its length prefix left out; `None` while it is incomplete.
    fn frame(&self, start: usize) -> Result<Option<(usize, usize)>, BenchError> {
        let Some(prefix) = self.input[start..self.filled].first_chunk::<4>() else { return Ok(None) };
        let length = i32::from_be_bytes(*prefix);
        let Some(size) = usize::try_from(length).ok().filter(|size| *size >= 4) else {
            return Err(BenchError::Malformed { what: "answer", why: format!("its length is {length}") });
        };
        let end = start + 4 + size;
        Ok((end <= self.filled).then_some((start + 4, end)))
    }

    /// Forgets the first `count` bytes of the input.
    fn consume(&mut self, count: usize) {
        self.input.copy_within(count..self.filled, 0);
        self.filled -= count;
    }
}

impl Outgoing {
    fn advance(&mut self, mut count: usize) {
        if self.parts.is_empty() {
            self.sent += count;
            if self.sent == self.joined.len() {
                self.joined.clear();
                self.sent = 0;
            }
            return;
        }
        while let Some(first) = self.parts.front_mut() {
            if count < first.len() {
                let _ = first.split_to(count);
                return;
            }
            count -= first.len();
            self.parts.pop_front();
        }
    }
}
