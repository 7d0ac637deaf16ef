//! Units and options that several benchmarks share.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use super::BenchError;

/// Where the broker is and which topic is made for the run.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Target {
    /// Broker to measure.
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    pub(super) bootstrap_server: String,
    /// Topic to create for this run [default: a fresh name].
    #[arg(long)]
    pub(super) topic: Option<String>,
    /// Partitions of the topic.
    #[arg(long, default_value_t = 1)]
    pub(super) partitions: i32,
    /// Topic setting, may be repeated.
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) configs: Vec<(String, String)>,
    /// Ask for acks from the page cache: `write.caching=true`, left out where the broker does not know it.
    #[arg(long)]
    pub(super) write_caching: bool,
    /// Leave the topic in place afterwards.
    #[arg(long)]
    pub(super) keep: bool,
    /// The topic named by --topic is there already, with --partitions; it is neither made, nor filled, nor deleted.
    #[arg(long, requires = "topic")]
    pub(super) existing: bool,
    /// The server is one of `bench limit`: no topic is made and nothing is asked beforehand.
    #[arg(long, hide = true)]
    pub(super) bare: bool,
}

impl Target {
    /// The first address that the name stands for.
    pub(super) fn address(&self) -> Result<SocketAddr, BenchError> {
        resolve(&self.bootstrap_server)
    }

    /// Whether the topic stays when the run is over.
    pub(super) fn keeps(&self) -> bool {
        self.keep || self.existing
    }

    /// The topic's name: the one given, or one that no earlier run used.
    pub(super) fn topic_name(&self, kind: &str) -> String {
        self.topic.clone().unwrap_or_else(|| format!("bench-{kind}-{}", std::process::id()))
    }
}

/// What is observed and where the report goes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Observe {
    /// Process id of the broker: its CPU time, context switches and memory are reported.
    #[arg(long, value_name = "PID")]
    pub(super) broker_pid: Option<u32>,
    /// Write the report to FILE as JSON, too.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

/// Shape of the batches that are produced.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct BatchShape {
    /// Bytes of each record's value.
    #[arg(long, default_value = "100", value_parser = bytes, value_name = "BYTES")]
    pub(super) record_size: u64,
    /// Fill batches up to this size on the wire (before compression); one record a batch if not given.
    #[arg(long, value_parser = bytes, value_name = "BYTES")]
    pub(super) batch_size: Option<u64>,
    /// Compression: none, gzip, snappy, lz4, zstd.
    #[arg(long, default_value = "none")]
    pub(super) codec: String,
}

/// How the load is driven.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Drive {
    /// Connections, spread over the threads.
    #[arg(long, default_value_t = 1)]
    pub(super) connections: usize,
    /// Requests in flight on each connection, at most.
    #[arg(long, default_value_t = 1)]
    pub(super) depth: usize,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1)]
    pub(super) threads: usize,
    /// Requests a second by schedule (open loop) instead of as fast as answers arrive.
    #[arg(long, value_name = "REQUESTS")]
    pub(super) rate: Option<f64>,
    /// Requests sent before the measured ones.
    #[arg(long, default_value_t = 0, value_name = "REQUESTS")]
    pub(super) warmup: u64,
}

impl Drive {
    /// Refuses shapes that cannot run.
    pub(super) fn check(&self) -> Result<(), BenchError> {
        let fail = |text: &str| Err(BenchError::Arguments(text.to_owned()));
        if self.connections == 0 || self.depth == 0 || self.threads == 0 {
            return fail("--connections, --depth and --threads must be at least 1");
        }
        if self.threads > self.connections {
            return fail("--threads must not exceed --connections: each connection belongs to one thread");
        }
        if self.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return fail("--rate must be above 0");
        }
        Ok(())
    }
}

pub(super) fn resolve(address: &str) -> Result<SocketAddr, BenchError> {
    let fail = |source| BenchError::Address { address: address.to_owned(), source };
    address.to_socket_addrs().map_err(fail)?.next().ok_or_else(|| fail(std::io::ErrorKind::NotFound.into()))
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// `4096`, `64KiB`, `800KB`, `2GiB`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| format!("'{text}' is not a size, e.g. 100, 16KiB, 800KB, 1GiB"))?;
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("unknown unit '{other}' in '{text}'; known: B, KB, MB, GB, KiB, MiB, GiB")),
    };
    number.checked_mul(factor).ok_or_else(|| format!("'{text}' is too large"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_decimal_and_binary_units() {
        assert_eq!(bytes("100").unwrap(), 100);
        assert_eq!(bytes("16KiB").unwrap(), 16_384);
        assert_eq!(bytes("800KB").unwrap(), 800_000);
        assert!(bytes("16Kib").unwrap_err().contains("unknown unit 'Kib'"));
        assert!(bytes("GiB").is_err());
        assert!(bytes("99999999999GiB").is_err());
    }
}
