//! `jackdaw chaos`: what clients saw while things broke, and whether it was right.
//!
//! - `run`: breaks a cluster of its own while clients use it.
//! - `check`: judges a history that was written, by the rules of `jackdaw-checker`.

mod check;
mod run;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Kill, cut off and starve brokers, and judge what clients saw
#[derive(Debug, Args)]
pub(crate) struct ChaosArgs {
    #[command(subcommand)]
    command: ChaosCommand,
}

#[derive(Debug, Subcommand)]
enum ChaosCommand {
    Run(run::RunArgs),
    Check(check::CheckArgs),
}

/// Runs a `chaos` command.
pub(crate) fn run(args: ChaosArgs) -> ExitCode {
    match args.command {
        ChaosCommand::Run(args) => run::run(&args),
        ChaosCommand::Check(args) => check::run(&args),
    }
}
