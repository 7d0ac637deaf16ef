//! `jackdaw produce`: lines to records.
//!
//! A thread reads and parses lines ([`input`]), this task sorts them into batches by partition ([`partitioner`]), and
//! one task for each partition sends them ([`sender`]). Every queue between them is bounded, so that a stream of any
//! length takes a bounded amount of memory.

mod input;
mod partitioner;
mod sender;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use jackdaw_protocol::records::{BatchBuilder, Codec};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::Client;
use crate::output::{self, CliError, ConnectArgs};
use input::{Chunk, Input, Layout, Line};
use partitioner::{Sticky, partition_of_key};
use sender::{PartitionSender, Sealed, Shared};

/// Records in batches that are being filled, before all of them are sent.
const FILLING_BYTES: usize = 16 << 20;
/// Batches that are being sent.
const SENDING_BYTES: usize = 32 << 20;
/// What a record takes beside key, value and headers, at most.
const RECORD_OVERHEAD: usize = 32;
const READ_BUFFER: usize = 256 << 10;

/// Write records, one for each line
///
/// A line is a value; with --key-delimiter a key, the delimiter and a value; with --json an object such as
/// {"key":"k","value":"v","headers":{"h":"1"},"partition":0,"timestamp":1700000000000}, every field optional.
#[derive(Debug, Args)]
pub(crate) struct ProduceArgs {
    topic: String,
    #[command(flatten)]
    connect: ConnectArgs,
    /// Read this file in place of standard input
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Each line has a key before this text; a tab if no text is given
    #[arg(
        short = 'K',
        long,
        value_name = "TEXT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "\t",
        conflicts_with = "json"
    )]
    key_delimiter: Option<String>,
    /// Each line is a JSON object
    #[arg(long)]
    json: bool,
    /// Take empty keys and values as null (tombstones)
    #[arg(short = 'Z', long)]
    empty_is_null: bool,
    /// How to compress
    #[arg(short = 'z', long, value_enum, default_value = "none")]
    compression: Compression,
    /// Wait for no broker (0), the leader (1), or all in-sync replicas (all)
    #[arg(short, long, default_value = "all", value_parser = acks)]
    acks: i16,
    /// Write everything to this partition
    #[arg(short, long)]
    partition: Option<i32>,
    /// Size at which a batch is sent, before compression
    #[arg(long, default_value_t = 256 << 10, value_name = "BYTES")]
    batch_bytes: usize,
    /// How long a record waits for others to share a batch
    #[arg(long, default_value_t = 10, value_name = "MS")]
    linger_ms: u64,
    /// How long a record is tried
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    timeout: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    fn codec(self) -> Codec {
        match self {
            Compression::None => Codec::None,
            Compression::Gzip => Codec::Gzip,
            Compression::Snappy => Codec::Snappy,
            Compression::Lz4 => Codec::Lz4,
            Compression::Zstd => Codec::Zstd,
        }
    }
}

fn acks(text: &str) -> Result<i16, String> {
    match text {
        "0" => Ok(0),
        "1" => Ok(1),
        "all" | "-1" => Ok(-1),
        _ => Err("choose 0, 1 or all".to_owned()),
    }
}

/// Runs `jackdaw produce`.
pub(crate) async fn run(args: ProduceArgs) -> Result<(), CliError> {
    let source = Source::open(args.file.as_ref())?;
    let client = Arc::new(args.connect.client().await?);
    let topic = client.ready_topic(&args.topic, true).await?;
    if let Some(partition) = args.partition {
        topic.leader(partition)?;
    }
    let layout = match args.key_delimiter {
        _ if args.json => Layout::Json,
        Some(delimiter) if delimiter.is_empty() => {
            return Err(CliError::Usage("--key-delimiter must not be empty".to_owned()));
        }
        Some(delimiter) => Layout::Keyed(delimiter.replace("\\t", "\t")),
        None => Layout::Value,
    };
    let shared = Arc::new(Shared {
        client: Arc::clone(&client),
        topic: args.topic.clone(),
        acks: args.acks,
        timeout: Duration::from_secs(args.timeout),
        written: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    });
    let partitions = topic.partitions.len() as i32;
    let mut batches = Batches {
        shared: Arc::clone(&shared),
        codec: args.compression.codec(),
        limit: batch_limit(&client, &args.topic, args.batch_bytes).await,
        fixed: args.partition,
        partitions,
        sticky: Sticky::new(partitions),
        filling: HashMap::new(),
        filling_bytes: 0,
        oldest: None,
        budget: Arc::new(Semaphore::new(SENDING_BYTES)),
        senders: HashMap::new(),
        tasks: JoinSet::new(),
    };
    let progress = source.progress();
    let chunks = source.read(layout, args.empty_is_null);
    let read = batches.fill_from(chunks, Duration::from_millis(args.linger_ms), &progress).await;
    batches.finish().await;
    progress.finish_and_clear();
    read?;
    let (written, failed) = (shared.written.load(Ordering::Relaxed), shared.failed.load(Ordering::Relaxed));
    if failed > 0 {
        return Err(CliError::Failed(format!("{failed} of {} records were not written", written + failed)));
    }
    if !progress.is_hidden() {
        output::complain(&format_args!("{written} records written to {}", args.topic));
    }
    Ok(())
}

/// The size of batches that the topic takes. Records that compress well might go in larger batches, but need not.
async fn batch_limit(client: &Client, topic: &str, wanted: usize) -> usize {
    let configs = client.topic_configs(topic, Some(&["max.message.bytes"])).await.unwrap_or_default();
    let allowed = configs.iter().find_map(|config| config.value.as_ref()?.parse::<usize>().ok());
    wanted.min(allowed.unwrap_or(usize::MAX)).max(1)
}

/// Where lines come from.
struct Source {
    file: File,
    name: String,
}

impl Source {
    fn open(path: Option<&PathBuf>) -> Result<Source, CliError> {
        match path {
            Some(path) => {
                let name = path.display().to_string();
                let file = File::open(path).map_err(CliError::io(name.clone()))?;
                Ok(Source { file, name })
            }
            None => {
                let name = "standard input".to_owned();
                let own = io::stdin().as_fd().try_clone_to_owned().map_err(CliError::io(name.clone()))?;
                Ok(Source { file: File::from(own), name })
            }
        }
    }

    /// A bar on the terminal if the end is known; otherwise none is shown.
    fn progress(&self) -> ProgressBar {
        let length = self.file.metadata().ok().filter(|meta| meta.is_file()).map(|meta| meta.len());
        let style = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        match (length, ProgressStyle::with_template(style)) {
            (Some(length), Ok(style)) if io::stderr().is_terminal() => ProgressBar::new(length).with_style(style),
            _ => ProgressBar::hidden(),
        }
    }

    fn read(self, layout: Layout, empty_is_null: bool) -> mpsc::Receiver<Result<Chunk, CliError>> {
        let (sender, mut raw) = mpsc::channel(8);
        let (named, receiver) = mpsc::channel(1);
        let Source { file, name } = self;
        std::thread::spawn(move || {
            input::read_lines(BufReader::with_capacity(READ_BUFFER, file), &layout, empty_is_null, &sender);
        });
        tokio::spawn(async move {
            while let Some(chunk) = raw.recv().await {
                let chunk = chunk.map_err(CliError::io(name.clone()));
                if named.send(chunk).await.is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

/// A batch that is being filled.
struct Filling {
    builder: BatchBuilder,
    lines: Vec<u64>,
}

/// Batches by partition, and those who send them.
struct Batches {
    shared: Arc<Shared>,
    codec: Codec,
    limit: usize,
    fixed: Option<i32>,
    partitions: i32,
    sticky: Sticky,
    filling: HashMap<i32, Filling>,
    filling_bytes: usize,
    /// When the oldest record in `filling` came.
    oldest: Option<Instant>,
    budget: Arc<Semaphore>,
    senders: HashMap<i32, mpsc::Sender<Sealed>>,
    tasks: JoinSet<()>,
}

impl Batches {
    /// Takes all lines; after an interrupt no more, but those taken are still sent.
    async fn fill_from(
        &mut self,
        mut chunks: mpsc::Receiver<Result<Chunk, CliError>>,
        linger: Duration,
        progress: &ProgressBar,
    ) -> Result<(), CliError> {
        let interrupt = tokio::signal::ctrl_c();
        tokio::pin!(interrupt);
        loop {
            let due = self.oldest.map(|oldest| oldest + linger);
            let waited = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                chunk = chunks.recv() => match chunk {
                    None => return Ok(()),
                    Some(chunk) => {
                        let Chunk { lines, position } = chunk?;
                        for line in lines {
                            self.take(line).await;
                        }
                        progress.set_position(position);
                        if self.filling_bytes > FILLING_BYTES {
                            self.seal_all().await;
                        }
                    }
                },
                () = waited => self.seal_all().await,
                _ = &mut interrupt => return Ok(()),
            }
        }
    }

    async fn take(&mut self, line: Line) {
        let placed = line.parsed.and_then(|input| Ok((self.place(&input)?, input)));
        let (partition, input) = match placed {
            Ok(placed) => placed,
            Err(reason) => {
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
                return output::complain(&format_args!("line {} not written: {reason}", line.number));
            }
        };
        let size = size_of(&input);
        if self.filling.get(&partition).is_some_and(|filling| filling.builder.size() + size > self.limit) {
            self.seal(partition).await;
        }
        let codec = self.codec;
        let filling = self
            .filling
            .entry(partition)
            .or_insert_with(|| Filling { builder: BatchBuilder::new(codec), lines: Vec::new() });
        let headers: Vec<(&str, Option<&[u8]>)> =
            input.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        let timestamp = input.timestamp.unwrap_or_else(|| jiff::Timestamp::now().as_millisecond());
        filling.builder.push(timestamp, input.key.as_deref(), input.value.as_deref(), &headers);
        filling.lines.push(line.number);
        self.filling_bytes += size;
        self.oldest.get_or_insert_with(Instant::now);
    }

    fn place(&self, input: &Input) -> Result<i32, String> {
        let last = self.partitions - 1;
        match (self.fixed.or(input.partition), &input.key) {
            (Some(partition), _) if partition > last => {
                Err(format!("partition {partition} does not exist, the last is {last}"))
            }
            (Some(partition), _) => Ok(partition),
            (None, Some(key)) => Ok(partition_of_key(key, self.partitions)),
            (None, None) => Ok(self.sticky.current()),
        }
    }

    async fn seal_all(&mut self) {
        let partitions: Vec<i32> = self.filling.keys().copied().collect();
        for partition in partitions {
            self.seal(partition).await;
        }
        self.oldest = None;
        self.filling_bytes = 0;
    }

    /// Hands a batch to its sender, waiting while too much is under way.
    async fn seal(&mut self, partition: i32) {
        let Some(Filling { builder, lines }) = self.filling.remove(&partition) else { return };
        self.sticky.sent(partition);
        self.filling_bytes = self.filling_bytes.saturating_sub(builder.size());
        let size = builder.size().min(SENDING_BYTES) as u32;
        // Neither the semaphore nor the channel is ever closed on the other side.
        let Ok(budget) = Arc::clone(&self.budget).acquire_many_owned(size).await else { return };
        let sealed = Sealed { builder, lines, budget };
        let _ = self.sender(partition).send(sealed).await;
    }

    fn sender(&mut self, partition: i32) -> &mpsc::Sender<Sealed> {
        self.senders.entry(partition).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(1);
            self.tasks.spawn(PartitionSender::new(Arc::clone(&self.shared), partition).run(receiver));
            sender
        })
    }

    /// Sends what is left and waits for every answer.
    async fn finish(&mut self) {
        self.seal_all().await;
        self.senders.clear();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn size_of(input: &Input) -> usize {
    let field = |field: &Option<Vec<u8>>| field.as_ref().map_or(0, Vec::len);
    let headers: usize = input.headers.iter().map(|(key, value)| key.len() + field(value) + 10).sum();
    field(&input.key) + field(&input.value) + headers + RECORD_OVERHEAD
}
