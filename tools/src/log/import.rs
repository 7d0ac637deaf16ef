//! `jackdaw log import`: topics from the log directories of a stopped Apache Kafka.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{CANNOT, Format};

/// Take topics over from the log directories of a stopped Apache Kafka
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// A log directory of Apache Kafka (log.dirs); may be repeated. It is only read
    #[arg(long, required = true, value_name = "KAFKA_LOG_DIR")]
    from: Vec<PathBuf>,
    /// Only these topics; * and ? stand for any letters. May be repeated [default: all but internal ones that stay]
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    topic: Vec<String>,
    /// Where to put them: a new or empty directory, or that of a stopped Jackdaw broker
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// node.id of the broker that will serve a new data directory
    #[arg(long, value_name = "ID", default_value_t = 1)]
    node_id: i32,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Take a source that was not stopped in order: its logs are checked, and torn ends cut in the copy
    #[arg(long)]
    unclean: bool,
    /// Make partitions that are in none of the sources, empty
    #[arg(long)]
    create_missing: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// Runs the command.
pub(super) fn run(_args: &ImportArgs) -> ExitCode {
    crate::output::complain(&"log import is not part of this build yet");
    ExitCode::from(CANNOT)
}
