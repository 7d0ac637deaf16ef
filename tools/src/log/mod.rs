//! `jackdaw log`: look at the files of a data directory, check them, and take them from and to Apache Kafka.
//!
//! - `dump`, `verify`: read only; they lock nothing and may look at the directory of a running broker.
//! - `import`, `export`: offline; both refuse a directory that a broker has locked.
//! - `quorum` reads what the metadata quorum wrote.
//! - `files` reads, `copy` copies, `schema` decodes the records of internal topics; `source` is a log directory of Kafka,
//!   `image` its metadata, `plan` what an import makes of both.

mod copy;
mod dump;
mod export;
mod files;
mod image;
mod import;
mod plan;
mod quorum;
mod schema;
mod source;
mod verify;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

/// Look at the files of a data directory, check them, exchange them with Apache Kafka
///
/// These commands work on files, not on a cluster: run them where the data directory is.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    Dump(dump::DumpArgs),
    Verify(verify::VerifyArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
}

/// Runs a `log` command.
pub(crate) fn run(args: LogArgs) -> ExitCode {
    match args.command {
        LogCommand::Dump(args) => dump::run(&args),
        LogCommand::Verify(args) => verify::run(&args),
        LogCommand::Import(args) => import::run(&args),
        LogCommand::Export(args) => export::run(&args),
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// One JSON object a line.
    Json,
}

/// Nothing wrong was found.
const SOUND: u8 = 0;
/// Damage was found, or not all could be done.
const DAMAGED: u8 = 1;
/// It could not be looked at, or the command line is wrong.
const CANNOT: u8 = 2;
