//! `jackdaw chaos run`: a cluster of its own, clients that write down what they see, and whatever can go wrong.
//!
//! In the order of reading: `fault` (what can be done, and the seeded schedule), `nemesis` (does and undoes it), `net`, `switch` and `proxy`
//! (the network), `volume` (the disks), `node` (the processes); `workload`, `producer`, `consumer`, `member` and `rdkafka` (the clients), which
//! write `history`; and at the end `replicas` (the bytes), `timeline` and `plot` (what it cost), `verdict` (all of it).

mod admin;
mod client;
mod consumer;
mod fault;
mod history;
mod links;
mod member;
mod nemesis;
mod net;
mod node;
mod packet;
mod plot;
mod producer;
mod proxy;
mod rdkafka;
mod replicas;
mod session;
mod setup;
mod switch;
mod system;
mod timeline;
mod verdict;
mod volume;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use thiserror::Error;

use crate::client::ClientError;
use crate::output::{self, OutputArgs};
use fault::Kind;

/// Break a cluster of one's own in every way, and see whether it keeps its word
///
/// Starts 3 or 5 brokers in network namespaces of their own, each on a disk of its own, lets clients write and read, and
/// injects one fault after another: killed and frozen processes, cut and bad networks, jumping clocks, power cuts, full and slow
/// disks, moves and elections. Then it heals everything, reads everything, judges what the clients saw (as `jackdaw chaos
/// check` does), and compares the replicas' logs byte by byte.
///
/// Everything it needs is its own, and gone when it ends: it reaches no other address and no other process. Where namespaces
/// are not allowed it runs on loopback, with proxies between the nodes; what a kind of fault needs and this machine lacks is left
/// out, and said; with --strict, nothing is run then.
///
/// Exit codes: 0 all is well; 1 it is not; 2 it could not be run.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Where the history, the logs, the timeline and the report go; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "chaos")]
    out: PathBuf,
    /// Brokers, each a controller too
    #[arg(long, default_value = "3", value_parser = node_count)]
    nodes: usize,
    /// Seconds of faults
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration: u64,
    /// Choose the schedule and all other lots [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Only these kinds of fault
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    faults: Vec<Kind>,
    /// Not these kinds
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    without: Vec<Kind>,
    /// Fail if this machine lacks what a kind of fault needs, or librdkafka, in place of leaving it out
    #[arg(long)]
    strict: bool,
    /// Print the schedule and do nothing
    #[arg(long)]
    dry_run: bool,
    /// The broker to test [default: this very program]
    #[arg(long, value_name = "PROGRAM")]
    broker: Option<PathBuf>,
    /// Test Apache Kafka instead, with this script (benches/peers/kafka)
    #[arg(long, value_name = "SCRIPT", conflicts_with = "broker")]
    kafka: Option<PathBuf>,
    /// A broker setting, for every node
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// A setting of the topic
    #[arg(long = "topic-config", value_name = "KEY=VALUE")]
    topic_configs: Vec<String>,
    /// Acknowledgements that the producers ask for: all, or 1, which promises less
    #[arg(long, default_value = "all", value_parser = ["all", "1"])]
    acks: String,
    /// Partitions under load
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(i32).range(1..=1000))]
    partitions: i32,
    /// Sends a second, of all producers together
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Every partition must be back so soon after a fault is healed
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    back_within: u64,
    /// Size of each node's disk
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(128..=65_536))]
    disk: u64,
    /// Make no namespaces and no disks: processes on loopback, with proxies between them
    #[arg(long)]
    loopback: bool,
    #[command(flatten)]
    output: OutputArgs,
}

fn node_count(text: &str) -> Result<usize, String> {
    match text {
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("3 or 5".to_owned()),
    }
}

/// Why a run could not be.
#[derive(Debug, Error)]
pub(super) enum RunError {
    #[error("{what}: {error}")]
    System { what: String, error: std::io::Error },
    #[error("{0}")]
    Broken(String),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("interrupted; everything that was started is gone")]
    Interrupted,
}

impl RunError {
    fn system(what: &str, error: std::io::Error) -> RunError {
        RunError::System { what: what.to_owned(), error }
    }
}

/// It is well.
const WELL: u8 = 0;
/// It is not.
const BAD: u8 = 1;
/// It could not be run.
const UNABLE: u8 = 2;
/// As shells have it for SIGINT.
const INTERRUPTED: u8 = 130;

/// Runs the command.
pub(super) fn run(args: &RunArgs) -> ExitCode {
    let means = setup::Means::find(args);
    if args.dry_run {
        return finish(setup::print_schedule(args, &means).map(|()| true));
    }
    if means.namespaces && !net::is_inside() {
        output::complain(&net::enter());
        return ExitCode::from(UNABLE);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(interruptible(args, &means));
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(RunError::system("cannot start the runtime", error)),
    };
    finish(result)
}

fn finish(result: Result<bool, RunError>) -> ExitCode {
    ExitCode::from(match result {
        Ok(true) => WELL,
        Ok(false) => BAD,
        Err(error) => {
            output::complain(&error);
            if matches!(error, RunError::Interrupted) { INTERRUPTED } else { UNABLE }
        }
    })
}

/// The run, which ends at once on Ctrl-C or SIGTERM: dropping it kills the nodes, and the namespaces end with this process.
async fn interruptible(args: &RunArgs, means: &setup::Means) -> Result<bool, RunError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| RunError::system("signals", error))?;
    tokio::select! {
        result = session::run(args, means) => result,
        _ = tokio::signal::ctrl_c() => Err(RunError::Interrupted),
        _ = terminate.recv() => Err(RunError::Interrupted),
    }
}
