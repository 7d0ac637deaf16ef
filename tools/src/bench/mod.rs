//! `jackdaw bench`: fixed amounts of pre-encoded work against any Kafka-compatible broker, and what they cost.
//!
//! The generator is meant to be cheap beside the broker: requests are encoded once and replayed with a new correlation
//! id, answers are checked at fixed places, and every ready answer of a connection is handled in one go. Latency is
//! counted from the moment a request was *due*, so a stall of the broker is seen by every request that it delayed.
//!
//! Reading order: [`args`] (units and shared options), [`wire`] (control connection), [`frames`] (templates of the hot
//! requests), [`load`] (the event loop), [`produce`], [`consume`], [`latency`], [`start`], then [`limit`]: small
//! programs that do only the unavoidable part of a broker's work.

mod args;
mod batch;
mod consume;
mod error;
mod frames;
mod latency;
mod limit;
mod load;
mod process;
mod produce;
mod report;
mod start;
mod wire;

pub(crate) use error::BenchError;

/// Measure a broker: fixed work, its rate and latency, and, given the broker's pid, what it cost.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, clap::Subcommand)]
enum BenchCommand {
    /// Send pre-encoded Produce requests.
    Produce(produce::ProduceArgs),
    /// Read a log with raw Fetch requests and check what arrives.
    Consume(consume::ConsumeArgs),
    /// One record at a time: the round trip of acks=1, and the way to a waiting consumer.
    Latency(latency::LatencyArgs),
    /// Start a broker: time to its first answer, then its memory and CPU when idle.
    Start(start::StartArgs),
    /// What the machine itself allows: bare servers and disk loops to compare a broker with.
    #[command(hide = true)]
    Limit(limit::LimitArgs),
}

/// Runs one benchmark to its end and prints its report.
pub(crate) fn run(args: &BenchArgs) -> Result<(), BenchError> {
    match &args.command {
        BenchCommand::Produce(args) => produce::run(args),
        BenchCommand::Consume(args) => consume::run(args),
        BenchCommand::Latency(args) => latency::run(args),
        BenchCommand::Start(args) => start::run(args),
        BenchCommand::Limit(args) => limit::run(args),
    }
}
