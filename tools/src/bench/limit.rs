//! What the machine allows: servers that do only the unavoidable part of a broker's work, and loops over the kernel's
//! own copies and syncs. A broker's figures are read against these, taken in the same session.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use jackdaw_protocol::crc::crc32c;
use rustix::fs::{FallocateFlags, fallocate};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::BenchError;
use super::args::{bytes, resolve};
use super::process::own_cpu_seconds;
use super::report;

/// Frames above this size are not what the limits are about.
const MAX_FRAME: usize = 64 << 20;
const READ_AHEAD: usize = 64 << 10;
const PREALLOCATE: u64 = 64 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct LimitArgs {
    #[command(subcommand)]
    limit: Limit,
}

#[derive(Debug, clap::Subcommand)]
enum Limit {
    /// Serve Kafka frames: read each whole, answer at once. Optionally checksum and store what arrives.
    Echo(EchoArgs),
    /// Copy bytes through loopback sockets, one writing and one reading thread per stream.
    Loopback {
        /// Streams at the same time.
        #[arg(long, default_value_t = 1)]
        streams: usize,
        /// Bytes of each write.
        #[arg(long, default_value = "1MiB", value_parser = bytes)]
        write_size: u64,
        /// Bytes in all.
        #[arg(long, default_value = "8GiB", value_parser = bytes)]
        bytes: u64,
        /// Write the report to FILE as JSON, too.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Append to a preallocated file and sync it, again and again.
    Fdatasync {
        /// Directory of the file, on the disk in question.
        #[arg(long, default_value = ".")]
        dir: PathBuf,
        /// Bytes of each append.
        #[arg(long, default_value = "16KiB", value_parser = bytes)]
        write_size: u64,
        #[arg(long, default_value_t = 2_000)]
        count: u64,
        /// Write the report to FILE as JSON, too.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

#[derive(Debug, Clone, clap::Args)]
struct EchoArgs {
    /// Where to listen; the port is printed.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "HOST:PORT")]
    listen: String,
    /// Bytes of each answer, its length prefix left out.
    #[arg(long, default_value = "60", value_parser = bytes)]
    answer_size: u64,
    /// Checksum each frame, as a broker checks a batch.
    #[arg(long)]
    crc: bool,
    /// Append each frame to a file of its connection in this directory.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Worker threads.
    #[arg(long, default_value_t = 2)]
    workers: usize,
}

pub(super) fn run(args: &LimitArgs) -> Result<(), BenchError> {
    match &args.limit {
        Limit::Echo(echo) => serve(echo),
        Limit::Loopback { streams, write_size, bytes, json } => {
            report::finish(&loopback(*streams, to_usize(*write_size)?, *bytes)?, json.as_deref())
        }
        Limit::Fdatasync { dir, write_size, count, json } => {
            report::finish(&fdatasync(dir, to_usize(*write_size)?, *count)?, json.as_deref())
        }
    }
}

fn to_usize(size: u64) -> Result<usize, BenchError> {
    usize::try_from(size).map_err(|error| BenchError::Arguments(error.to_string()))
}

/// Serves until it is killed.
fn serve(args: &EchoArgs) -> Result<(), BenchError> {
    let address = resolve(&args.listen)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(args.workers).enable_io().build()?;
    // The accept loop runs on a worker too: connections are then spawned, and woken, there.
    runtime.block_on(async {
        let args = args.clone();
        tokio::spawn(accept(address, args)).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    })
}

async fn accept(address: SocketAddr, args: EchoArgs) -> Result<(), BenchError> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|source| BenchError::Connect { address: address.to_string(), source })?;
    println!("listening on {}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let answer: Arc<[u8]> = answer_of(to_usize(args.answer_size)?)?.into();
    let mut count = 0;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        count += 1;
        let store = args.store.as_ref().map(|dir| Store::create(dir, count)).transpose()?;
        let task = echo(stream, Arc::clone(&answer), args.crc, store);
        tokio::spawn(async move {
            if let Err(error) = task.await {
                eprintln!("connection: {error}");
            }
        });
    }
}

/// A frame of zeros of that size: no error, whatever the place where one is looked for.
fn answer_of(size: usize) -> Result<Vec<u8>, BenchError> {
    let length = i32::try_from(size.max(4)).map_err(|error| BenchError::Arguments(error.to_string()))?;
    let mut answer = vec![0; size.max(4) + 4];
    answer[..4].copy_from_slice(&length.to_be_bytes());
    Ok(answer)
}

async fn echo(
    mut stream: tokio::net::TcpStream,
    answer: Arc<[u8]>,
    crc: bool,
    mut store: Option<Store>,
) -> Result<(), BenchError> {
    let mut input = vec![0; READ_AHEAD];
    let mut filled = 0;
    let mut out = Vec::new();
    loop {
        let count = stream.read(&mut input[filled..]).await?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let mut start = 0;
        while let Some(frame) = next_frame(&input[start..filled])? {
            let Some(body) = input[start..filled].get(4..4 + frame) else {
                if input.len() < 4 + frame {
                    input.resize(4 + frame, 0);
                }
                break;
            };
            if crc {
                std::hint::black_box(crc32c(body));
            }
            if let Some(store) = &mut store {
                store.append(body)?;
            }
            let at = out.len();
            out.extend_from_slice(&answer);
            // After the key and the version stands the correlation id.
            out[at + 4..at + 8].copy_from_slice(&body[4..8]);
            start += 4 + frame;
        }
        input.copy_within(start..filled, 0);
        filled -= start;
        stream.write_all(&out).await?;
        out.clear();
    }
}

/// Length of the frame that begins there, once its prefix has arrived.
fn next_frame(bytes: &[u8]) -> Result<Option<usize>, BenchError> {
    let Some(prefix) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = i32::from_be_bytes(*prefix);
    match usize::try_from(length) {
        Ok(size) if (8..=MAX_FRAME).contains(&size) => Ok(Some(size)),
        _ => Err(BenchError::Malformed { what: "request", why: format!("its length is {length}") }),
    }
}

/// A file that only grows, preallocated without changing its length; without a name, so that it goes with the process.
struct Store {
    file: File,
    end: u64,
    allocated: u64,
}

impl Store {
    fn create(dir: &Path, number: usize) -> Result<Self, BenchError> {
        let path = dir.join(format!("limit-{}-{number}", std::process::id()));
        let fail = |source| BenchError::File { path: path.display().to_string(), source };
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(fail)?;
        std::fs::remove_file(&path).map_err(fail)?;
        Ok(Self { file, end: 0, allocated: 0 })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), BenchError> {
        let end = self.end + bytes.len() as u64;
        if end > self.allocated {
            let step = PREALLOCATE.max(bytes.len() as u64);
            fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.allocated, step).map_err(std::io::Error::from)?;
            self.allocated += step;
        }
        self.file.write_all_at(bytes, self.end)?;
        self.end = end;
        Ok(())
    }
}

fn loopback(streams: usize, write_size: usize, bytes: u64) -> Result<Value, BenchError> {
    if streams == 0 || write_size == 0 {
        return Err(BenchError::Arguments("--streams and --write-size must be at least 1".to_owned()));
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut pairs = Vec::new();
    for _ in 0..streams {
        let writer = TcpStream::connect(address)?;
        pairs.push((writer, listener.accept()?.0));
    }
    let received = AtomicU64::new(0);
    let own = own_cpu_seconds();
    let started = Instant::now();
    thread::scope(|scope| {
        for (writer, reader) in pairs {
            let received = &received;
            scope.spawn(move || pour(writer, write_size, bytes / streams as u64));
            scope.spawn(move || drain(reader, write_size, received));
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    let received = received.into_inner();
    Ok(json!({
        "command": "limit loopback",
        "settings": { "streams": streams, "write_size": write_size },
        "bytes": received,
        "seconds": seconds,
        "mib_per_second": received as f64 / f64::from(1 << 20) / seconds,
        "cpu_seconds_both_sides": own_cpu_seconds() - own,
    }))
}

fn pour(mut stream: TcpStream, write_size: usize, bytes: u64) {
    let buffer = vec![7; write_size];
    for _ in 0..bytes.div_ceil(write_size as u64) {
        if stream.write_all(&buffer).is_err() {
            return;
        }
    }
}

fn drain(mut stream: TcpStream, size: usize, received: &AtomicU64) {
    let mut buffer = vec![0; size];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => received.fetch_add(count as u64, Ordering::Relaxed),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
    }
}

fn fdatasync(dir: &Path, write_size: usize, count: u64) -> Result<Value, BenchError> {
    let mut store = Store::create(dir, 0)?;
    let buffer = vec![7; write_size];
    let mut syncs = report::histogram();
    let started = Instant::now();
    for _ in 0..count {
        store.append(&buffer)?;
        let begun = Instant::now();
        store.file.sync_data()?;
        syncs.saturating_record(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(json!({
        "command": "limit fdatasync",
        "settings": { "write_size": write_size, "count": count },
        "seconds": started.elapsed().as_secs_f64(),
        "fdatasync_us": report::latency(&syncs),
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn loopback_counts_every_byte() {
        let report = loopback(2, 4096, 1 << 20).unwrap();
        assert_eq!(report["bytes"], 1 << 20);
    }

    #[test]
    fn syncs_are_timed_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let report = fdatasync(dir.path(), 512, 3).unwrap();
        assert_eq!(report["fdatasync_us"]["count"], 3);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
