//! The `jackdaw` binary.

mod bench;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    // kafka-protocol's errors would capture a backtrace each when RUST_BACKTRACE is set, at a pace that peers choose.
    init_log();
    match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Bench(args) => match bench::run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
    }
}

fn init_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("JACKDAW_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .init();
}
