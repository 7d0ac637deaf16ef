//! `jackdaw log verify`: whether a data directory is sound.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{CANNOT, Format};

/// Check a whole data directory, read only
///
/// Every batch's checksum, structure and offset order; its records, unpacked and counted; indexes, producer snapshots,
/// leader epochs, checkpoints and topic ids against the segments; what interrupted work left behind. Nothing is locked
/// or changed: a broker may be running, but then results are of a moving target. Gaps between offsets are no damage:
/// compaction and transactions leave them.
///
/// Exit codes: 0 sound; 1 something is damaged; 2 it could not be looked at.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Data directories (log.dirs), or single partition directories
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Check batches as a whole, and leave out unpacking and counting their records
    #[arg(long)]
    no_records: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// Runs the command.
pub(super) fn run(_args: &VerifyArgs) -> ExitCode {
    crate::output::complain(&"log verify is not part of this build yet");
    ExitCode::from(CANNOT)
}
