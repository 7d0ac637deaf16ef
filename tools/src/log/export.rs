//! `jackdaw log export`: partition folders that a stopped Apache Kafka takes in the place of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{CANNOT, Format};

/// Write partition folders that a stopped Apache Kafka takes in the place of its own
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The data directory of a stopped Jackdaw broker; may be repeated. It is only read
    #[arg(long, required = true, value_name = "DIR")]
    data_dir: Vec<PathBuf>,
    /// A new or empty directory, or a log directory of a stopped Apache Kafka
    #[arg(long, value_name = "KAFKA_DIR")]
    to: PathBuf,
    /// Only these topics; * and ? stand for any letters. May be repeated [default: all but internal ones]
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    topic: Vec<String>,
    /// The id that the topic has in Kafka: ID for a single topic, or TOPIC=ID; may be repeated [default: kept]
    #[arg(long, value_name = "[TOPIC=]ID")]
    topic_id: Vec<String>,
    /// Put folders in the place of those that are there, which Kafka then deletes at its start
    #[arg(long)]
    replace: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// Runs the command.
pub(super) fn run(_args: &ExportArgs) -> ExitCode {
    crate::output::complain(&"log export is not part of this build yet");
    ExitCode::from(CANNOT)
}
