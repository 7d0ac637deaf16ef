//! `jackdaw log verify`: whether a data directory is sound.

mod directory;
mod indexes;
mod partition;
mod quorum;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{CANNOT, DAMAGED, Format, SOUND};
use crate::output;
use report::{Report, print};

/// Check a whole data directory, read only
///
/// Every batch's checksum, structure and offset order; its records, unpacked and counted; indexes, producer snapshots,
/// leader epochs, checkpoints and topic ids against the segments; the journal and snapshot of the metadata quorum; what interrupted work left behind. Nothing is locked
/// or changed: a broker may be running, but then results are of a moving target. Also for log directories of Apache
/// Kafka.
///
/// Notes are no damage: gaps between offsets that compaction left, a torn end above the recovery point of a directory
/// that was not closed in order, which the next start cuts, an index or a snapshot that is missing, which a start makes
/// anew, and files that belong to no log. A gap between segments where compaction has never been is damage.
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
    /// How many partitions are checked at once [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// Runs the command.
pub(super) fn run(args: &VerifyArgs) -> ExitCode {
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, usize::from);
    let (mut unread, mut damages) = (0, 0);
    for dir in &args.dirs {
        let mut report = Report::default();
        if let Err(error) = directory::verify(dir, !args.no_records, threads, &mut report) {
            output::complain(&error);
            unread += 1;
            continue;
        }
        unread += report.unread();
        damages += report.damages();
        match print(dir, &report, args.format) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            Err(error) => {
                output::complain(&format!("standard output: {error}"));
                return ExitCode::from(CANNOT);
            }
            Ok(()) => {}
        }
    }
    ExitCode::from(match (unread, damages) {
        (0, 0) => SOUND,
        (_, 1..) => DAMAGED,
        _ => CANNOT,
    })
}
