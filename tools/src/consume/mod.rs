//! `jackdaw consume`: records to lines.
//!
//! Tasks fetch from the leaders ([`fetcher`]); this task prints ([`format`]), and as a member of a group it beats,
//! commits and rebalances ([`member`], [`assignor`]). [`start`] decides where reading begins.

pub(crate) mod assignor;
mod fetcher;
mod format;
mod member;
mod start;

use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufWriter, Stdout, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jackdaw_protocol::records::{Batch, ControlRecord, ControlType, records};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::client::{Client, READ_COMMITTED, READ_UNCOMMITTED, Topic};
use crate::output::{CliError, ConnectArgs};
use fetcher::{Fetched, Fetcher};
use format::{Message, Printer};
use member::{HEARTBEAT_INTERVAL, Member, Standing};
use start::{Bounds, Start};

const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// Records of one batch may decompress to so many bytes.
const MAX_DECOMPRESSED: usize = 512 << 20;
const WRITE_BUFFER: usize = 256 << 10;

/// Read records and print them
///
/// Format tokens, as in kcat: %s value, %S its length, %R its length as 4 binary bytes, %k key, %K its length, %t topic,
/// %p partition, %o offset, %T timestamp in ms, %h headers; and \n \r \t \0 \xHH.
#[derive(Debug, Args)]
pub(crate) struct ConsumeArgs {
    topic: String,
    #[command(flatten)]
    connect: ConnectArgs,
    /// Begin with the first record (a group: where it has no committed offset)
    #[arg(long, conflicts_with_all = ["offset", "timestamp"])]
    from_beginning: bool,
    /// Begin at N, N records before the end, beginning, or end (default, but beginning with --exit)
    #[arg(short, long, value_name = "N|-N|beginning|end", allow_hyphen_values = true, value_parser = start::parse_offset)]
    offset: Option<Start>,
    /// Begin at the first record of this time or later: ms since 1970, or as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = start::parse_time, conflicts_with = "offset")]
    timestamp: Option<i64>,
    /// Share the partitions with the other members of this group, and commit what was printed
    #[arg(short, long, conflicts_with_all = ["offset", "timestamp", "partition"])]
    group: Option<String>,
    /// Read this partition only; may be repeated
    #[arg(short, long)]
    partition: Vec<i32>,
    /// Stop after the records that are there now
    #[arg(short, long)]
    exit: bool,
    /// Stop after so many records
    #[arg(short = 'n', long, value_name = "COUNT")]
    max_messages: Option<u64>,
    /// What to print for each record
    #[arg(short, long, default_value = "%s\\n", allow_hyphen_values = true, value_parser = format::parse)]
    format: Printer,
    /// Print each record as a JSON object, as kcat -J does
    #[arg(short = 'J', long, conflicts_with = "format")]
    json: bool,
    /// Whether to show records of open and aborted transactions
    #[arg(long, value_enum, default_value = "committed")]
    isolation: Isolation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Isolation {
    /// Only what was committed, up to the first open transaction.
    #[value(alias = "read_committed")]
    Committed,
    /// Everything.
    #[value(alias = "read_uncommitted")]
    Uncommitted,
}

/// Runs `jackdaw consume`.
pub(crate) async fn run(args: ConsumeArgs) -> Result<(), CliError> {
    let mut stop = Stop::listen().map_err(CliError::io("signals"))?;
    let client = tokio::select! {
        client = args.connect.client() => Arc::new(client?),
        () = stop.asked() => return Ok(()),
    };
    let topic = client.ready_topic(&args.topic, false).await?;
    let isolation = if args.isolation == Isolation::Committed { READ_COMMITTED } else { READ_UNCOMMITTED };
    let session = Session {
        out: BufWriter::with_capacity(WRITE_BUFFER, io::stdout()),
        printer: if args.json { Printer::Json } else { args.format.clone() },
        start: chosen_start(&args),
        until_end: args.exit,
        left: args.max_messages,
        positions: BTreeMap::new(),
        ends: BTreeMap::new(),
        client,
        topic: args.topic.clone(),
        isolation,
    };
    match &args.group {
        Some(group) => session.run_in_group(group, &mut stop).await,
        None => session.run_alone(partitions(&topic, &args.partition)?, &mut stop).await,
    }
}

fn chosen_start(args: &ConsumeArgs) -> Start {
    let explicit = args.offset.or(args.timestamp.map(Start::Time));
    let otherwise = if args.from_beginning || args.exit { Start::Beginning } else { Start::End };
    explicit.unwrap_or(otherwise)
}

fn partitions(topic: &Topic, chosen: &[i32]) -> Result<Vec<i32>, CliError> {
    if chosen.is_empty() {
        return Ok(topic.partitions.keys().copied().collect());
    }
    for &partition in chosen {
        topic.leader(partition)?;
    }
    Ok(chosen.to_vec())
}

/// Interrupts and terminations.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> io::Result<Stop> {
        Ok(Stop { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    More,
    Done,
}

/// One run of `consume`.
struct Session {
    client: Arc<Client>,
    topic: String,
    isolation: i8,
    printer: Printer,
    out: BufWriter<Stdout>,
    start: Start,
    until_end: bool,
    /// Records still to print, if there is a limit.
    left: Option<u64>,
    /// The offset after what was printed.
    positions: BTreeMap<i32, i64>,
    /// Where to stop, with `until_end`.
    ends: BTreeMap<i32, i64>,
}

impl Session {
    async fn run_alone(mut self, partitions: Vec<i32>, stop: &mut Stop) -> Result<(), CliError> {
        let (positions, bounds) =
            start::resolve(&self.client, &self.topic, &partitions, self.start, self.isolation).await?;
        let mut fetcher = self.fetch(positions, bounds);
        while self.flow() == Flow::More {
            tokio::select! {
                fetched = fetcher.results.recv() => match fetched {
                    Some(fetched) => self.print(fetched?, fetcher.results.is_empty())?,
                    None => break,
                },
                () = stop.asked() => break,
            }
        }
        self.out.flush().map_err(CliError::stdout)
    }

    async fn run_in_group(mut self, group: &str, stop: &mut Stop) -> Result<(), CliError> {
        let mut member = Member::new(&self.client, group, &self.topic);
        let ran = self.follow_group(&mut member, stop).await;
        let flushed = self.out.flush().map_err(CliError::stdout);
        // Whatever ended the run: what was printed is committed, and the others need not wait for our session.
        let committed = match &flushed {
            Ok(()) => member.commit(&self.positions).await.map(drop),
            Err(_) => Ok(()),
        };
        let left = member.leave().await;
        ran.and(flushed)?;
        committed.and(left).map_err(CliError::from)
    }

    async fn follow_group(&mut self, member: &mut Member, stop: &mut Stop) -> Result<(), CliError> {
        loop {
            let joined = tokio::select! {
                joined = self.join(member) => joined?,
                () = stop.asked() => return Ok(()),
            };
            let (mut heartbeat, mut commit) = (ticks(HEARTBEAT_INTERVAL), ticks(COMMIT_INTERVAL));
            let mut fetcher = joined;
            loop {
                if self.flow() == Flow::Done {
                    return Ok(());
                }
                let standing = tokio::select! {
                    fetched = fetcher.results.recv() => {
                        match fetched {
                            Some(fetched) => self.print(fetched?, fetcher.results.is_empty())?,
                            None => return Ok(()),
                        }
                        Standing::Member
                    }
                    _ = heartbeat.tick() => member.heartbeat().await?,
                    _ = commit.tick() => self.commit(member).await?,
                    () = stop.asked() => return Ok(()),
                };
                if standing == Standing::JoinAgain {
                    // Whoever takes over our partitions goes on where we stopped printing.
                    drop(fetcher);
                    self.commit(member).await?;
                    break;
                }
            }
        }
    }

    async fn join(&mut self, member: &mut Member) -> Result<Fetcher, CliError> {
        // Until the new assignment is known nothing is ours to commit.
        let partitions = {
            let partitions = member.join().await?;
            self.positions.clear();
            partitions
        };
        let committed = member.committed(&partitions).await?;
        let (mut positions, bounds) =
            start::resolve(&self.client, &self.topic, &partitions, self.start, self.isolation).await?;
        positions.extend(committed);
        Ok(self.fetch(positions, bounds))
    }

    async fn commit(&mut self, member: &mut Member) -> Result<Standing, CliError> {
        self.out.flush().map_err(CliError::stdout)?;
        Ok(member.commit(&self.positions).await?)
    }

    fn fetch(&mut self, positions: BTreeMap<i32, i64>, bounds: Bounds) -> Fetcher {
        self.positions.clone_from(&positions);
        self.ends = bounds.ends;
        Fetcher::start(&self.client, &self.topic, self.isolation, positions)
    }

    fn flow(&self) -> Flow {
        let reached = |(partition, position): (&i32, &i64)| self.ends.get(partition).is_none_or(|end| position >= end);
        let done = self.left == Some(0) || self.until_end && self.positions.iter().all(reached);
        if done { Flow::Done } else { Flow::More }
    }

    /// Prints what was fetched; `idle` says that nothing more is at hand, so that a reader should see it now.
    fn print(&mut self, fetched: Fetched, idle: bool) -> Result<(), CliError> {
        let end = if self.until_end { self.ends.get(&fetched.partition).copied() } else { None };
        let end = end.unwrap_or(i64::MAX);
        let mut filter = Transactions::new(&fetched);
        for batch in fetched.batches.iter().take_while(|batch| batch.header().base_offset() < end) {
            if filter.admits(batch) {
                self.print_batch(&fetched, batch)?;
            }
            if self.left == Some(0) {
                break;
            }
        }
        // Past control batches and holes too, but never past a record that was not printed.
        if self.left != Some(0) {
            self.positions.insert(fetched.partition, fetched.next.min(end));
        }
        if idle {
            self.out.flush().map_err(CliError::stdout)?;
        }
        Ok(())
    }

    fn print_batch(&mut self, fetched: &Fetched, batch: &Batch) -> Result<(), CliError> {
        let header = batch.header();
        if header.is_control() {
            return Ok(());
        }
        let what = || format!("{}[{}], batch at {}", self.topic, fetched.partition, header.base_offset());
        let decoded =
            records(batch, MAX_DECOMPRESSED).map_err(|error| CliError::Failed(format!("{}: {error}", what())))?;
        for record in &decoded {
            let record = record.map_err(|error| CliError::Failed(format!("{}: {error}", what())))?;
            let offset = decoded.offset(&record);
            if offset < fetched.from {
                continue;
            }
            if self.left == Some(0) {
                break;
            }
            let message = Message {
                topic: &self.topic,
                partition: fetched.partition,
                offset,
                timestamp: decoded.timestamp(&record),
                log_append_time: header.is_log_append_time(),
                broker: fetched.broker,
                key: record.key,
                value: record.value,
                headers: record.headers().map(|header| (header.key, header.value)).collect(),
            };
            self.printer.print(&message, &mut self.out).map_err(CliError::stdout)?;
            self.left = self.left.map(|left| left - 1);
            self.positions.insert(fetched.partition, offset + 1);
        }
        Ok(())
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Which batches belong to aborted transactions: the broker lists where they begin, markers show where they end.
struct Transactions {
    /// By first offset, the last one first.
    ahead: Vec<(i64, i64)>,
    open: HashSet<i64>,
}

impl Transactions {
    fn new(fetched: &Fetched) -> Transactions {
        let mut ahead = fetched.aborted.clone();
        ahead.sort_unstable_by(|left, right| right.cmp(left));
        Transactions { ahead, open: HashSet::new() }
    }

    fn admits(&mut self, batch: &Batch) -> bool {
        let header = batch.header();
        while let Some((_, producer)) = self.ahead.pop_if(|(first, _)| *first <= header.last_offset()) {
            self.open.insert(producer);
        }
        let producer = header.producer_id();
        if header.is_control() {
            if is_abort(batch) {
                self.open.remove(&producer);
            }
            return false;
        }
        !(header.is_transactional() && self.open.contains(&producer))
    }
}

fn is_abort(batch: &Batch) -> bool {
    let Ok(decoded) = records(batch, MAX_DECOMPRESSED) else { return false };
    let first = decoded.iter().next();
    first.and_then(Result::ok).and_then(|record| ControlRecord::parse(&record).ok()).map(|control| control.kind)
        == Some(Some(ControlType::Abort))
}
