//! `jackdaw bench consume`: raw Fetch requests over a filled log; what arrives is checked batch by batch.

use std::collections::VecDeque;

use jackdaw_protocol::messages::{FetchRequest, ProduceRequest};
use jackdaw_protocol::records::{Header, verify_stored};
use serde_json::json;

use super::BenchError;
use super::args::{BatchShape, Drive, Observe, Target, bytes};
use super::batch;
use super::frames::{FetchTemplate, Outgoing, Template, fetched};
use super::load::{self, Traffic};
use super::produce::{Load, ProduceTraffic, drive_json, report_of};
use super::report;
use super::wire::{Client, Topic, refuse};

#[derive(Debug, clap::Args)]
pub(crate) struct ConsumeArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    drive: Drive,
    #[command(flatten)]
    batch: BatchShape,
    #[command(flatten)]
    observe: Observe,
    /// Records that each Fetch asks for.
    #[arg(long, default_value = "1MiB", value_parser = bytes, value_name = "BYTES")]
    fetch_size: u64,
    /// Bytes to read in all; the log is read again from its start as often as needed.
    #[arg(long, value_parser = bytes, value_name = "BYTES")]
    bytes: u64,
    /// Fill the topic with this much first.
    #[arg(long, default_value = "256MiB", value_parser = bytes, value_name = "BYTES")]
    fill: u64,
    /// What is checked of each batch that arrives: its CRC and header, the header only, or nothing.
    #[arg(long, default_value = "crc", value_parser = ["crc", "headers", "none"])]
    verify: String,
    /// Version of the Fetch API [default: the newest that both sides know].
    #[arg(long, value_name = "VERSION")]
    fetch_version: Option<i16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verify {
    Crc,
    Headers,
    Nothing,
}

pub(super) fn run(args: &ConsumeArgs) -> Result<(), BenchError> {
    args.drive.check()?;
    let verify = match args.verify.as_str() {
        "crc" => Verify::Crc,
        "headers" => Verify::Headers,
        _ => Verify::Nothing,
    };
    let address = args.target.address()?;
    let requests = args.bytes.div_ceil(args.fetch_size);
    let max_bytes = i32::try_from(args.fetch_size).map_err(|error| BenchError::Arguments(error.to_string()))?;
    let mut control = None;
    let (topic, version) = if args.target.bare {
        (Topic::imagined(&args.target), args.fetch_version.unwrap_or(11))
    } else {
        let client = control.insert(Client::connect(address)?);
        let version = client.api_versions()?.choose::<FetchRequest>(args.fetch_version)?;
        let topic = Topic::create(client, &args.target, "consume")?;
        if !args.target.existing {
            fill(client, args, &topic)?;
        }
        (topic, version)
    };
    let reading = Reading { topic: &topic, max_bytes, version, verify, bare: args.target.bare };
    let outcome = load::run(address, &args.drive, requests, args.observe.broker_pid, |thread, connections| {
        FetchTraffic::new(&reading, thread, connections, args.drive.depth)
    });
    if let Some(client) = control.as_mut().filter(|_| !args.target.keeps()) {
        topic.remove(client)?;
    }
    let settings = json!({
        "partitions": topic.partitions,
        "version": version,
        "fetch_size": args.fetch_size,
        "fill": args.fill,
        "verify": args.verify,
        "load": drive_json(&args.drive),
    });
    let report = report_of("consume", settings, &outcome?, 0);
    report::finish(&report, args.observe.json.as_deref())
}

/// Writes the data that is read afterwards.
fn fill(client: &mut Client, args: &ConsumeArgs, topic: &Topic) -> Result<(), BenchError> {
    let shape = BatchShape { batch_size: args.batch.batch_size.or(Some(16 << 10)), ..args.batch.clone() };
    let (batch, _) = batch::build(&shape)?;
    let version = client.api_versions()?.choose::<ProduceRequest>(None)?;
    let load = Load { topic, batch: &batch, acks: 1, version };
    let drive = Drive { connections: 1, depth: 4, threads: 1, rate: None, warmup: 0 };
    let requests = args.fill.div_ceil(batch.len() as u64).max(topic.partitions.unsigned_abs().into());
    load::run(args.target.address()?, &drive, requests, None, |thread, connections| {
        ProduceTraffic::new(&load, thread, connections)
    })?;
    Ok(())
}

struct Reading<'a> {
    topic: &'a Topic,
    max_bytes: i32,
    version: i16,
    verify: Verify,
    bare: bool,
}

/// A place in one partition's log, moved on by each answer.
struct Slot {
    partition: usize,
    offset: i64,
}

/// One thread's reading: each request in flight has a slot of its own, since the next offset is known only from the
/// answer before.
struct FetchTraffic {
    templates: Vec<FetchTemplate>,
    /// By connection: slots not in flight, and those in flight in request order.
    idle: Vec<VecDeque<Slot>>,
    in_flight: Vec<VecDeque<Slot>>,
    version: i16,
    verify: Verify,
    bare: bool,
}

impl FetchTraffic {
    fn new(reading: &Reading<'_>, thread: usize, connections: usize, depth: usize) -> Result<Self, BenchError> {
        let partitions = reading.topic.partitions.max(1);
        let template = |partition| Template::fetch(reading.topic, partition, reading.max_bytes, 500, reading.version);
        let slots = |connection: usize| {
            let first = (thread * connections + connection) * depth;
            let count = partitions.unsigned_abs() as usize;
            (first..first + depth).map(|at| Slot { partition: at % count, offset: 0 }).collect()
        };
        Ok(Self {
            templates: (0..partitions).map(template).collect::<Result<_, _>>()?,
            idle: (0..connections).map(slots).collect(),
            in_flight: (0..connections).map(|_| VecDeque::with_capacity(depth)).collect(),
            version: reading.version,
            verify: reading.verify,
            bare: reading.bare,
        })
    }
}

impl Traffic for FetchTraffic {
    fn request(&mut self, connection: usize, correlation_id: i32, out: &mut Outgoing) {
        let slot = self.idle[connection].pop_front().expect("there are as many slots as requests in flight");
        self.templates[slot.partition].put(correlation_id, slot.offset, &mut out.joined);
        self.in_flight[connection].push_back(slot);
    }

    fn answer(&mut self, connection: usize, answer: &[u8]) -> Result<u64, BenchError> {
        let mut slot = self.in_flight[connection].pop_front().expect("the loop matched this answer to a request");
        let bytes = if self.bare {
            answer.len()
        } else {
            let fetched = fetched(answer, self.version)?;
            refuse("Fetch", fetched.error_code, None)?;
            let next = next_offset(fetched.records, slot.offset, self.verify)?;
            slot.offset = if next >= fetched.high_watermark { 0 } else { next };
            fetched.records.len()
        };
        self.idle[connection].push_back(slot);
        Ok(bytes as u64)
    }
}

/// Walks whole batches: offsets must follow each other from the one asked for. Returns the offset after the last.
fn next_offset(records: &[u8], asked: i64, verify: Verify) -> Result<i64, BenchError> {
    let damaged = |offset, why: &dyn ToString| BenchError::Damaged { offset, why: why.to_string() };
    let mut rest = records;
    let mut next = None;
    while let Ok(header) = Header::parse(rest) {
        // A broker may cut the last batch off at the size limit.
        let Some((batch, after)) = rest.split_at_checked(header.size_in_bytes()) else { break };
        let (base, last) = (header.base_offset(), header.last_offset());
        match next {
            None if !(base..=last).contains(&asked) => {
                return Err(damaged(base, &format!("offset {asked} was asked for")));
            }
            Some(expected) if base != expected => {
                return Err(damaged(base, &format!("offset {expected} should follow")));
            }
            _ => {}
        }
        if verify == Verify::Crc {
            verify_stored(batch).map_err(|error| damaged(base, &error))?;
        }
        next = Some(last + 1);
        rest = after;
        if verify == Verify::Nothing && rest.len() > batch.len() {
            // Equal batches, as this program writes them: the last whole one tells the next offset.
            let skip = (rest.len() / batch.len()).saturating_sub(1);
            next = Some(last + 1 + (last + 1 - base) * i64::try_from(skip).unwrap_or(0));
            rest = &rest[skip * batch.len()..];
        }
    }
    next.ok_or_else(|| damaged(asked, &format!("the answer's {} bytes hold no whole batch", records.len())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn log(batches: i64) -> Vec<u8> {
        let shape = BatchShape { record_size: 100, batch_size: Some(1_000), codec: "none".to_owned() };
        let (batch, records) = batch::build(&shape).unwrap();
        let mut out = Vec::new();
        for at in 0..batches {
            let start = out.len();
            out.extend_from_slice(&batch);
            out[start..start + 8].copy_from_slice(&(at * i64::try_from(records).unwrap()).to_be_bytes());
        }
        out
    }

    #[test]
    fn every_way_of_checking_finds_the_same_next_offset() {
        let bytes = log(5);
        let expected = next_offset(&bytes, 3, Verify::Crc).unwrap();
        assert_eq!(expected % 5, 0);
        assert_eq!(next_offset(&bytes, 3, Verify::Headers).unwrap(), expected);
        assert_eq!(next_offset(&bytes, 3, Verify::Nothing).unwrap(), expected);
        let cut = next_offset(&bytes[..bytes.len() - 1], 0, Verify::Crc).unwrap();
        assert_eq!(cut, expected / 5 * 4);
    }

    #[test]
    fn a_changed_byte_a_gap_and_an_empty_answer_are_found() {
        let mut bytes = log(3);
        assert!(next_offset(&[], 0, Verify::Crc).is_err());
        let batch = bytes.len() / 3;
        let gap = [&bytes[..batch], &bytes[2 * batch..]].concat();
        assert!(next_offset(&gap, 0, Verify::Headers).unwrap_err().to_string().contains("should follow"));
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(next_offset(&bytes, 0, Verify::Headers).is_ok());
        assert!(next_offset(&bytes, 0, Verify::Crc).unwrap_err().to_string().contains("damaged"));
    }
}
