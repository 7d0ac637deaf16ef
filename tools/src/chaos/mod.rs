//! `jackdaw chaos`: what clients saw while things broke, and whether it was right.
//!
//! - `check`: judges a history that was written, by the rules of `jackdaw-checker`.

mod check;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Judge what clients saw while brokers were killed, cut off and starved
#[derive(Debug, Args)]
pub(crate) struct ChaosArgs {
    #[command(subcommand)]
    command: ChaosCommand,
}

#[derive(Debug, Subcommand)]
enum ChaosCommand {
    Check(check::CheckArgs),
}

/// Runs a `chaos` command.
pub(crate) fn run(args: ChaosArgs) -> ExitCode {
    match args.command {
        ChaosCommand::Check(args) => check::run(&args),
    }
}
