//! `jackdaw log dump`: what the files of a data directory hold.

mod printer;
mod quorum;
mod segment;
mod small;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jackdaw_storage::inspect::{FileKind, partition_dir};
use serde_json::json;

use super::files::{self, Entry, FileError};
use super::schema;
use super::{CANNOT, DAMAGED, Format, SOUND};
use printer::{DumpError, Printer};

/// Show what the files of a log hold
///
/// Takes segments (.log), their indexes, producer snapshots, checkpoints, partition.metadata, meta.properties, the
/// journal and snapshot of the metadata quorum, and Apache Kafka's files of these kinds; a directory stands for everything in it. Nothing is locked or changed, so that
/// the files of a running broker may be shown: what is being written at this moment may then look unfinished.
///
/// A damaged place is named with its position, and reading goes on behind it.
///
/// Exit codes: 0 all was sound; 1 something is damaged; 2 a file could not be read.
#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    /// Files, or directories to show whole
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Show the records of each batch: keys, values, headers; and what the quorum decided
    #[arg(long, short)]
    records: bool,
    /// What records are: of an internal topic of Kafka, or nothing special [default with --records: by the topic's name]
    #[arg(long, value_enum, value_name = "WHAT")]
    decode: Option<Decode>,
    /// How keys and values are shown (in JSON, bytes that are no text are base64)
    #[arg(long, value_enum, default_value = "text")]
    bytes: Bytes,
    /// Leave out batches that end below this offset
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from_offset: i64,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Decode {
    /// Keys and values as they are
    None,
    /// __consumer_offsets: committed offsets and groups
    Offsets,
    /// __cluster_metadata (@metadata in Kafka 2.8): topics, partitions, configs
    Metadata,
    /// __transaction_state
    Transactions,
    /// __share_group_state
    Share,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bytes {
    /// Text, with \xHH for bytes that are none
    Text,
    /// Hex digits
    Hex,
}

impl Decode {
    fn topic(self) -> Option<schema::Topic> {
        match self {
            Decode::Offsets => Some(schema::Topic::Offsets),
            Decode::Transactions => Some(schema::Topic::Transactions),
            Decode::Share => Some(schema::Topic::Share),
            Decode::None | Decode::Metadata => None,
        }
    }

    /// What the records of a file are, by the directory that it is in.
    fn guess(path: &Path) -> Decode {
        let absolute = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let dir = absolute.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or("");
        match partition_dir(dir).map_or("", |(topic, _)| topic) {
            "__consumer_offsets" => Decode::Offsets,
            "__cluster_metadata" | "@metadata" => Decode::Metadata,
            "__transaction_state" => Decode::Transactions,
            "__share_group_state" => Decode::Share,
            _ => Decode::None,
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &DumpArgs) -> ExitCode {
    let mut printer = Printer::new(args.format);
    let mut unread = 0;
    for path in &args.paths {
        match dump(path, args, &mut printer) {
            Ok(()) => {}
            // The reader has seen enough, as `head` does.
            Err(DumpError::Print(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Err(error) => {
                crate::output::complain(&error);
                unread += 1;
            }
        }
    }
    if let Err(error) = printer.flush() {
        crate::output::complain(&error);
        return ExitCode::from(CANNOT);
    }
    ExitCode::from(match (unread + printer.unread(), printer.damages()) {
        (0, 0) => SOUND,
        (0, _) => DAMAGED,
        _ => CANNOT,
    })
}

fn dump(path: &Path, args: &DumpArgs, printer: &mut Printer) -> Result<(), DumpError> {
    let meta = std::fs::metadata(path).map_err(FileError::new("look at", path))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !meta.is_dir() {
        return file(&Entry { name, path: path.to_path_buf(), is_dir: false, len: meta.len() }, args, printer);
    }
    let (dirs, entries): (Vec<Entry>, Vec<Entry>) = files::list(path)?.into_iter().partition(|entry| entry.is_dir);
    for entry in entries.iter().chain(&dirs) {
        let result = if entry.is_dir { dump(&entry.path, args, printer) } else { file(entry, args, printer) };
        match result {
            Err(DumpError::File(error)) => printer.cannot_read(&error),
            other => other?,
        }
    }
    Ok(())
}

fn file(entry: &Entry, args: &DumpArgs, printer: &mut Printer) -> Result<(), DumpError> {
    let path = &entry.path;
    printer.begin(path);
    if let Some(kind) = jackdaw_quorum::inspect::FileKind::of(&entry.name) {
        return quorum::dump(kind, path, args, printer);
    }
    match FileKind::of(&entry.name) {
        FileKind::Segment { base } => segment::dump(path, base, entry.len, args, printer),
        FileKind::MetadataSnapshot { .. } => segment::dump_metadata_snapshot(path, entry.len, args, printer),
        FileKind::OffsetIndex { base } => small::offset_index(path, base, printer),
        FileKind::TimeIndex { base } => small::time_index(path, base, printer),
        FileKind::TxnIndex { .. } => small::txn_index(path, printer),
        FileKind::ProducerSnapshot { offset } => small::producers(path, offset, printer),
        FileKind::LeaderEpochs => small::epochs(path, printer),
        FileKind::OffsetCheckpoint => small::offsets(path, printer),
        FileKind::PartitionMetadata => small::partition_metadata(path, printer),
        FileKind::MetaProperties => small::meta_properties(path, printer),
        FileKind::CleanShutdown => printer.note("the last broker stopped in order", json!({"clean": true})),
        FileKind::ClosedIndex => {
            let text = format!("{} bytes: what the next start needs of every partition, if it comes first", entry.len);
            printer.note(&text, json!({"closed_index_bytes": entry.len}))
        }
        FileKind::UnfinishedImport => printer.note("an import did not end; the next one settles it", json!({})),
        FileKind::DamageReport => printer.note("what starts found damaged, for people to read", json!({})),
        FileKind::QuorumState => small::quorum_state(path, printer),
        FileKind::KeySketch { base } => {
            let text = format!("{} bytes: a sketch of the distinct keys of the segment", entry.len);
            printer.note(&text, json!({"key_sketch_of": base, "bytes": entry.len}))
        }
        FileKind::Lock => printer.note("the lock of a running broker", json!({})),
        FileKind::Leftover { suffix } => {
            let what = match suffix.as_str() {
                "deleted" => "given up; removed after a while, or at the next start",
                "swap" => "a compaction was about to take it into use; the next start finishes that",
                _ => "of something that was not finished; removed at the next start",
            };
            printer.note(&format!("{} bytes: {what}", entry.len), json!({"leftover": suffix, "bytes": entry.len}))
        }
        FileKind::Unknown => {
            printer.note(&format!("{} bytes of no kind known", entry.len), json!({"bytes": entry.len}))
        }
    }
}
