//! `jackdaw bench latency`: one record at a time, on blocking sockets.
//!
//! Producer and consumer are one thread: what is measured is the broker and the kernel, not a hand-over between two
//! threads of this program.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use jackdaw_protocol::messages::{FetchRequest, ProduceRequest};
use jackdaw_protocol::records::Header;
use serde_json::{Value, json};

use super::BenchError;
use super::args::{BatchShape, Observe, Target};
use super::batch;
use super::frames::{FetchTemplate, Outgoing, Template, fetched, produce_error_at};
use super::process::Watch;
use super::report;
use super::wire::{Client, Topic, connect, read_frame, refuse};

#[derive(Debug, clap::Args)]
pub(crate) struct LatencyArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    batch: BatchShape,
    #[command(flatten)]
    observe: Observe,
    /// Records that are timed in each part.
    #[arg(long, default_value_t = 20_000)]
    records: u64,
    /// Records sent before those.
    #[arg(long, default_value_t = 2_000)]
    warmup: u64,
    /// Pause between records; a waiting consumer's request is surely parked after it.
    #[arg(long, default_value_t = 0, value_name = "MICROSECONDS")]
    interval: u64,
    /// 1 (written) or all.
    #[arg(long, default_value = "1", value_parser = ["1", "all", "-1"])]
    acks: String,
    /// Version of the Produce API [default: the newest that both sides know].
    #[arg(long, value_name = "VERSION")]
    produce_version: Option<i16>,
}

/// A blocking connection with numbered requests.
struct Line {
    stream: TcpStream,
    correlation_id: i32,
    answer: Vec<u8>,
}

impl Line {
    fn open(address: SocketAddr) -> Result<Self, BenchError> {
        Ok(Self { stream: connect(address)?, correlation_id: 0, answer: Vec::new() })
    }

    fn next_id(&mut self) -> i32 {
        self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
        self.correlation_id
    }

    /// Reads the answer to the latest request.
    fn receive(&mut self) -> Result<&[u8], BenchError> {
        read_frame(&mut self.stream, &mut self.answer)?;
        let got = self.answer.first_chunk::<4>().map_or(-1, |id| i32::from_be_bytes(*id));
        if got != self.correlation_id {
            return Err(BenchError::OutOfOrder { expected: self.correlation_id, got });
        }
        Ok(&self.answer)
    }
}

/// Sends one record and looks for the error in its answer.
struct Producer {
    line: Line,
    template: Template,
    error_at: usize,
    out: Outgoing,
}

impl Producer {
    fn send(&mut self) -> Result<Instant, BenchError> {
        let id = self.line.next_id();
        self.template.put(id, &mut self.out);
        for part in self.out.parts.drain(..) {
            self.out.joined.extend_from_slice(&part);
        }
        let sent = Instant::now();
        self.line.stream.write_all(&self.out.joined)?;
        self.out.joined.clear();
        Ok(sent)
    }

    fn receive(&mut self) -> Result<(), BenchError> {
        let error_at = self.error_at;
        let answer = self.line.receive()?;
        let code =
            answer.get(error_at..).and_then(|rest| rest.first_chunk::<2>()).map_or(0, |c| i16::from_be_bytes(*c));
        refuse("Produce", code, None)
    }
}

/// Waits for records at the end of the log.
struct Consumer {
    line: Line,
    template: FetchTemplate,
    version: i16,
    offset: i64,
}

impl Consumer {
    fn ask(&mut self) -> Result<(), BenchError> {
        let id = self.line.next_id();
        let mut frame = Vec::new();
        self.template.put(id, self.offset, &mut frame);
        self.line.stream.write_all(&frame)?;
        Ok(())
    }

    /// Whether the answer brought records.
    fn receive(&mut self) -> Result<bool, BenchError> {
        let (version, offset) = (self.version, self.offset);
        let fetched = fetched(self.line.receive()?, version)?;
        refuse("Fetch", fetched.error_code, None)?;
        if fetched.records.is_empty() {
            return Ok(false);
        }
        let damaged = |why: String| BenchError::Damaged { offset, why };
        let header = Header::parse(fetched.records).map_err(|error| damaged(error.to_string()))?;
        if header.base_offset() != offset {
            return Err(damaged(format!("offset {} came instead", header.base_offset())));
        }
        self.offset = header.last_offset() + 1;
        Ok(true)
    }
}

pub(super) fn run(args: &LatencyArgs) -> Result<(), BenchError> {
    let address = args.target.address()?;
    let mut control = None;
    let topic = if args.target.bare {
        Topic::imagined(&args.target)
    } else {
        Topic::create(control.insert(Client::connect(address)?), &args.target, "latency")?
    };
    let report = measure(args, address, control.as_mut(), &topic);
    if let Some(client) = control.as_mut().filter(|_| !args.target.keeps()) {
        topic.remove(client)?;
    }
    report::finish(&report?, args.observe.json.as_deref())
}

fn measure(
    args: &LatencyArgs,
    address: SocketAddr,
    control: Option<&mut Client>,
    topic: &Topic,
) -> Result<Value, BenchError> {
    let (batch, records) = batch::build(&args.batch)?;
    let acks = if args.acks == "1" { 1 } else { -1 };
    let versions = control.map(Client::api_versions).transpose()?;
    let produce_version = match &versions {
        Some(versions) => versions.choose::<ProduceRequest>(args.produce_version)?,
        None => args.produce_version.unwrap_or(7),
    };
    let mut producer = Producer {
        line: Line::open(address)?,
        template: Template::produce(topic, 0, &batch, acks, produce_version)?,
        error_at: produce_error_at(topic, produce_version)?,
        out: Outgoing::default(),
    };
    let mut report = json!({
        "command": "latency",
        "settings": {
            "acks": args.acks, "version": produce_version, "record_size": args.batch.record_size,
            "records_per_batch": records, "interval_us": args.interval,
        },
    });
    round_trips(&mut producer, args, args.warmup)?;
    let watch = Watch::start(args.observe.broker_pid)?;
    let trips = round_trips(&mut producer, args, args.records)?;
    if let Some(watch) = watch {
        report["broker"] = watch.stop()?.to_json(args.records, args.records * records, 0);
    }
    report["round_trip_us"] = report::latency(&trips);
    if let Some(versions) = versions {
        let version = versions.choose::<FetchRequest>(None)?;
        let sent = i64::try_from((args.warmup + args.records) * records).unwrap_or(i64::MAX);
        let mut consumer = Consumer {
            line: Line::open(address)?,
            template: Template::fetch(topic, 0, 1 << 20, 500, version)?,
            version,
            offset: sent,
        };
        end_to_end(&mut producer, &mut consumer, args, args.warmup)?;
        let watch = Watch::start(args.observe.broker_pid)?;
        let ways = end_to_end(&mut producer, &mut consumer, args, args.records)?;
        if let Some(watch) = watch {
            report["end_to_end_broker"] = watch.stop()?.to_json(args.records, args.records * records, 0);
        }
        report["end_to_end_us"] = report::latency(&ways);
    }
    Ok(report)
}

fn pause(args: &LatencyArgs) {
    if args.interval > 0 {
        thread::sleep(Duration::from_micros(args.interval));
    }
}

fn record(histogram: &mut Histogram<u64>, since: Instant) {
    histogram.saturating_record(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX));
}

/// From the send of a record to its acknowledgement.
fn round_trips(producer: &mut Producer, args: &LatencyArgs, count: u64) -> Result<Histogram<u64>, BenchError> {
    let mut histogram = report::histogram();
    for _ in 0..count {
        let sent = producer.send()?;
        producer.receive()?;
        record(&mut histogram, sent);
        pause(args);
    }
    Ok(histogram)
}

/// From the send of a record to its arrival at a consumer whose Fetch was there before.
fn end_to_end(
    producer: &mut Producer,
    consumer: &mut Consumer,
    args: &LatencyArgs,
    count: u64,
) -> Result<Histogram<u64>, BenchError> {
    let mut histogram = report::histogram();
    for _ in 0..count {
        consumer.ask()?;
        pause(args);
        let sent = producer.send()?;
        while !consumer.receive()? {
            consumer.ask()?;
        }
        record(&mut histogram, sent);
        producer.receive()?;
    }
    Ok(histogram)
}
