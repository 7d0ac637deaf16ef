//! `jackdaw bench produce`: the same batch again and again, to every partition in turn.

use bytes::Bytes;
use serde_json::{Value, json};

use jackdaw_protocol::messages::ProduceRequest;

use super::BenchError;
use super::args::{BatchShape, Drive, Observe, Target, bytes};
use super::batch;
use super::frames::{Outgoing, Template, produce_error_at};
use super::load::{self, Outcome, Traffic};
use super::report;
use super::wire::{Client, Topic, refuse};

#[derive(Debug, clap::Args)]
pub(crate) struct ProduceArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    drive: Drive,
    #[command(flatten)]
    batch: BatchShape,
    #[command(flatten)]
    observe: Observe,
    #[command(flatten)]
    work: Work,
    /// 0 (no answer), 1 (written) or all.
    #[arg(long, default_value = "1", value_parser = ["0", "1", "all", "-1"])]
    acks: String,
    /// Version of the Produce API [default: the newest that both sides know].
    #[arg(long, value_name = "VERSION")]
    produce_version: Option<i16>,
}

/// How much is sent: one of these.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
struct Work {
    /// Requests to send, each with one batch.
    #[arg(long)]
    requests: Option<u64>,
    /// Records to send, rounded up to whole batches.
    #[arg(long)]
    records: Option<u64>,
    /// Bytes of batches to send, rounded up to whole batches.
    #[arg(long, value_parser = bytes)]
    bytes: Option<u64>,
}

impl Work {
    fn requests(&self, records: u64, batch_bytes: u64) -> u64 {
        self.requests
            .or_else(|| self.records.map(|wanted| wanted.div_ceil(records)))
            .or_else(|| self.bytes.map(|wanted| wanted.div_ceil(batch_bytes)))
            .unwrap_or(0)
    }
}

/// The measured settings that the report repeats.
pub(super) fn drive_json(drive: &Drive) -> Value {
    json!({
        "connections": drive.connections,
        "depth": drive.depth,
        "threads": drive.threads,
        "rate": drive.rate,
        "warmup": drive.warmup,
    })
}

pub(super) fn run(args: &ProduceArgs) -> Result<(), BenchError> {
    args.drive.check()?;
    let acks: i16 = match args.acks.as_str() {
        "0" => 0,
        "1" => 1,
        _ => -1,
    };
    let (batch, records) = batch::build(&args.batch)?;
    let address = args.target.address()?;
    let requests = args.work.requests(records, batch.len() as u64);
    let mut control = None;
    let (topic, version) = if args.target.bare {
        (Topic::imagined(&args.target), args.produce_version.unwrap_or(7))
    } else {
        let client = control.insert(Client::connect(address)?);
        let version = client.api_versions()?.choose::<ProduceRequest>(args.produce_version)?;
        (Topic::create(client, &args.target, "produce")?, version)
    };
    let load = Load { topic: &topic, batch: &batch, acks, version };
    let outcome = load::run(address, &args.drive, requests, args.observe.broker_pid, |thread, connections| {
        ProduceTraffic::new(&load, thread, connections)
    });
    if let Some(client) = control.as_mut().filter(|_| !args.target.keeps()) {
        topic.remove(client)?;
    }
    let settings = json!({
        "partitions": topic.partitions,
        "acks": args.acks,
        "version": version,
        "record_size": args.batch.record_size,
        "records_per_batch": records,
        "batch_bytes": batch.len(),
        "codec": args.batch.codec,
        "load": drive_json(&args.drive),
    });
    let report = report_of("produce", settings, &outcome?, records);
    report::finish(&report, args.observe.json.as_deref())
}

/// The common part of the reports of `produce` and `consume`.
pub(super) fn report_of(command: &str, settings: Value, outcome: &Outcome, records_per_request: u64) -> Value {
    let seconds = outcome.elapsed.as_secs_f64();
    let records = outcome.requests * records_per_request;
    let mib = outcome.bytes as f64 / f64::from(1 << 20);
    let mut report = json!({
        "command": command,
        "settings": settings,
        "requests": outcome.requests,
        "bytes": outcome.bytes,
        "seconds": seconds,
        "requests_per_second": outcome.requests as f64 / seconds,
        "mib_per_second": mib / seconds,
        "generator_cpu_seconds": outcome.generator_cpu_seconds,
    });
    // With acks=0 there is nothing that could be timed.
    if !outcome.latency.is_empty() {
        report["latency_us"] = report::latency(&outcome.latency);
    }
    if records_per_request > 0 {
        report["records"] = json!(records);
        report["records_per_second"] = json!(records as f64 / seconds);
    }
    if let Some(cost) = outcome.broker {
        report["broker"] = cost.to_json(outcome.requests, records, outcome.bytes);
    }
    report
}

/// What all threads of a run send.
pub(super) struct Load<'a> {
    pub(super) topic: &'a Topic,
    pub(super) batch: &'a Bytes,
    pub(super) acks: i16,
    pub(super) version: i16,
}

/// One thread's replay: a template per partition, and each connection's place in the round.
pub(super) struct ProduceTraffic {
    templates: Vec<Template>,
    fence: Template,
    next: Vec<usize>,
    error_at: usize,
    batch_bytes: u64,
    acks: i16,
}

impl ProduceTraffic {
    pub(super) fn new(load: &Load<'_>, thread: usize, connections: usize) -> Result<Self, BenchError> {
        let template = |partition, acks| Template::produce(load.topic, partition, load.batch, acks, load.version);
        let templates: Vec<Template> = (0..load.topic.partitions.max(1))
            .map(|partition| template(partition, load.acks))
            .collect::<Result<_, _>>()?;
        let count = templates.len();
        Ok(Self {
            // Connections begin at different partitions, so that they do not march in step over one after another.
            next: (0..connections).map(|connection| (thread * connections + connection) % count).collect(),
            templates,
            fence: template(0, 1)?,
            error_at: produce_error_at(load.topic, load.version)?,
            batch_bytes: load.batch.len() as u64,
            acks: load.acks,
        })
    }
}

impl Traffic for ProduceTraffic {
    fn request(&mut self, connection: usize, correlation_id: i32, out: &mut Outgoing) {
        let next = &mut self.next[connection];
        self.templates[*next].put(correlation_id, out);
        *next = if *next + 1 == self.templates.len() { 0 } else { *next + 1 };
    }

    fn answer(&mut self, _connection: usize, answer: &[u8]) -> Result<u64, BenchError> {
        let code = answer.get(self.error_at..).and_then(|rest| rest.first_chunk::<2>());
        let code = code.ok_or_else(|| BenchError::Malformed {
            what: "Produce answer",
            why: format!("it has {} bytes, too few for an error code", answer.len()),
        })?;
        refuse("Produce", i16::from_be_bytes(*code), None)?;
        Ok(self.batch_bytes)
    }

    fn unanswered(&self) -> Option<u64> {
        (self.acks == 0).then_some(self.batch_bytes)
    }

    fn fence(&mut self, _connection: usize, correlation_id: i32, out: &mut Outgoing) {
        self.fence.put(correlation_id, out);
    }
}
