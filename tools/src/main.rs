//! The `jackdaw` binary.
#![allow(clippy::disallowed_methods, reason = "a tool runs by the clock of its machine and on the files of its user")]

mod bench;
mod broker;
mod chaos;
mod client;
mod cluster;
mod consume;
mod group;
mod log;
mod log_facts;
mod output;
mod produce;
mod serve;
mod topic;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use output::CliError;

/// A Kafka-compatible log broker, and the tools to live with it
#[derive(Parser, Debug)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(serve::ServeArgs),
    Topic(topic::TopicArgs),
    Produce(produce::ProduceArgs),
    Consume(consume::ConsumeArgs),
    Group(group::GroupArgs),
    Broker(broker::BrokerArgs),
    Cluster(cluster::ClusterArgs),
    Log(log::LogArgs),
    Bench(bench::BenchArgs),
    Chaos(chaos::ChaosArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => {
            init_log();
            serve::run(args)
        }
        Command::Topic(args) => talk(topic::run(args)),
        Command::Produce(args) => talk(produce::run(args)),
        Command::Consume(args) => talk(consume::run(args)),
        Command::Group(args) => talk(group::run(args)),
        Command::Broker(args) => talk(broker::run(args)),
        Command::Cluster(args) => talk(cluster::run(args)),
        Command::Log(args) => log::run(args),
        Command::Chaos(args) => chaos::run(args),
        Command::Bench(args) => match bench::run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                output::complain(&error);
                ExitCode::FAILURE
            }
        },
    }
}

/// Runs a command that talks to a cluster as a client.
fn talk(command: impl Future<Output = Result<(), CliError>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(command);
            // A thread may still wait for a line of standard input; the process need not.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(CliError::io("cannot start the runtime")(error)),
    };
    output::finish(result)
}

fn init_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("JACKDAW_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,openraft=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .init();
}
