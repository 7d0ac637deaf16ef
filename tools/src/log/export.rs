//! `jackdaw log export`: partition folders that a stopped Apache Kafka takes in the place of its own.

mod folder;

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jackdaw_storage::inspect::{id_from_text, id_to_text};
use serde_json::json;
use thiserror::Error;
use uuid::Uuid;

use super::files::{self, FileError, bytes};
use super::image::{self, Image};
use super::plan::matches;
use super::source::{self, FoundPartition, METADATA_LOGS, QUORUM, SourceError};
use super::{CANNOT, DAMAGED, Format};
use crate::output;

/// Write partition folders that a stopped Apache Kafka takes in the place of its own
///
/// Into a log directory of Kafka (log.dirs), they go to their places:
///
/// 1. Create the topic in Kafka, with as many partitions, and stop its brokers in order.
/// 2. Stop the Jackdaw broker in order.
/// 3. jackdaw log export --data-dir DIR --to KAFKA_LOG_DIR --topic NAME --replace
/// 4. Start Kafka. It deletes the folders that were replaced.
///
/// The folders then carry the topic's id in Kafka, and the lines of these partitions in Kafka's checkpoint files are
/// written anew. Where a topic has several replicas, do so on each of their brokers.
///
/// Into a new or empty directory, the folders are written beside checkpoint files that hold their lines only. To bring
/// them into a log directory by hand: stop Kafka, put each folder in the place of the one of its name, set topic_id in
/// its partition.metadata to that of the folder it replaces (or export with --topic-id), and replace the lines of these
/// partitions in recovery-point-offset-checkpoint, replication-offset-checkpoint and log-start-offset-checkpoint, with
/// the count in the second line. Lines of cleaner-offset-checkpoint for these partitions go.
///
/// Exit codes: 0 exported; 1 damage or a failure, nothing was changed; 2 refused, nothing was begun.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
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
    /// The id that the topic has in Kafka: ID for a single topic, or TOPIC=ID; may be repeated [default: Kafka's, where
    /// it is known there; else kept]
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

/// Why nothing was exported.
#[derive(Debug, Error)]
enum ExportError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} is no data directory of a Jackdaw broker", .0.display())]
    NotOurs(PathBuf),
    #[error("{} was not stopped in order: start the broker and stop it, so that its indexes are on the disk", .0.display())]
    Unclean(PathBuf),
    #[error("a broker is running on {}: stop it first", .0.display())]
    Running(PathBuf),
    #[error("no topic in the data directory matches; there are: {0}")]
    NothingMatches(String),
    #[error("--topic-id {0}: not an id of 22 base64url characters, or no such topic among those to export")]
    BadTopicId(String),
    #[error("{} is neither empty nor a log directory of Apache Kafka", .0.display())]
    BadTarget(PathBuf),
    #[error("{topic}-{partition} lies in two of the data directories")]
    Twice { topic: String, partition: i32 },
    #[error("Kafka knows no topic {0}: create it there first, with as many partitions, and stop Kafka again")]
    UnknownTopic(String),
    #[error("Kafka's topic {topic} has {kafkas} partitions, ours {ours}: they must be as many")]
    PartitionCount { topic: String, kafkas: usize, ours: usize },
    #[error("there already: {0}; --replace puts the new folders in their place, and Kafka deletes the old ones")]
    InTheWay(String),
    #[error("cannot read {}: {reason}", path.display())]
    BadFile { path: PathBuf, reason: String },
    #[error("{} changed while it was copied", .0.display())]
    Changed(PathBuf),
    #[error("not confirmed; --yes does not ask")]
    NotConfirmed,
    #[error("standard output: {0}")]
    Print(#[from] std::io::Error),
}

impl ExportError {
    fn code(&self) -> u8 {
        match self {
            ExportError::BadFile { .. } | ExportError::Changed(_) | ExportError::Print(_) => DAMAGED,
            _ => CANNOT,
        }
    }
}

/// One partition on its way.
struct Outgoing<'a> {
    found: &'a FoundPartition,
    topic_id: Uuid,
}

/// Where they go.
struct Destination {
    path: PathBuf,
    /// A log directory of Kafka's, not a fresh one.
    is_kafkas: bool,
    image: Option<Image>,
}

/// Runs the command.
pub(super) fn run(args: &ExportArgs) -> ExitCode {
    match export(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::from(error.code())
        }
    }
}

fn export(args: &ExportArgs) -> Result<(), ExportError> {
    let mut partitions = Vec::new();
    for dir in &args.data_dir {
        partitions.extend(ours(dir)?);
    }
    let topics = chosen(&partitions, &args.topic)?;
    let destination = destination(&args.to)?;
    let ids = topic_ids(&topics, &destination, &args.topic_id)?;
    let outgoing: Vec<Outgoing<'_>> = topics
        .iter()
        .flat_map(|(topic, found)| found.iter().map(|&found| Outgoing { found, topic_id: ids[topic] }))
        .collect();
    let there = outgoing.iter().filter(|one| destination.path.join(folder::name(one.found)).exists());
    let there: Vec<String> = there.map(|one| folder::name(one.found)).collect();
    if !there.is_empty() && !args.replace {
        return Err(ExportError::InTheWay(there.join(", ")));
    }
    tell(&topics, &ids, &epoch_notes(&topics, &destination), args)?;
    if args.dry_run {
        return say(args, "nothing was done (--dry-run)");
    }
    confirm(args, there.len())?;
    folder::write_all(&destination, &outgoing)?;
    say(args, &format!("exported {} partitions to {}", outgoing.len(), args.to.display()))
}

/// The partitions of a stopped data directory of ours.
fn ours(dir: &Path) -> Result<Vec<FoundPartition>, ExportError> {
    let entries = files::list(dir)?;
    let metadata = dir.join(METADATA_LOGS[0]);
    if !metadata.is_dir() || source::is_kafkas(&metadata)? {
        // Of several log directories of a broker, one has the metadata.
        let is_data = entries.iter().any(|entry| entry.name == "meta.properties") && !metadata.is_dir();
        if !is_data || dir.join(METADATA_LOGS[1]).exists() {
            return Err(ExportError::NotOurs(dir.to_path_buf()));
        }
    }
    if files::is_locked(dir)? {
        return Err(ExportError::Running(dir.to_path_buf()));
    }
    if !dir.join(".kafka_cleanshutdown").exists() {
        return Err(ExportError::Unclean(dir.to_path_buf()));
    }
    Ok(source::partitions(dir, &entries, true)?)
}

type Topics<'a> = BTreeMap<&'a str, Vec<&'a FoundPartition>>;

fn chosen<'a>(partitions: &'a [FoundPartition], patterns: &[String]) -> Result<Topics<'a>, ExportError> {
    let is_chosen = |topic: &str| match patterns {
        [] => !topic.starts_with("__"),
        patterns => patterns.iter().any(|pattern| matches(pattern, topic)),
    };
    let mut topics = Topics::new();
    for found in partitions.iter().filter(|found| is_chosen(&found.topic)) {
        let known = topics.entry(found.topic.as_str()).or_default();
        if known.iter().any(|one: &&FoundPartition| one.partition == found.partition) {
            return Err(ExportError::Twice { topic: found.topic.clone(), partition: found.partition });
        }
        known.push(found);
    }
    if topics.is_empty() {
        let mut there: Vec<&str> = partitions.iter().map(|found| found.topic.as_str()).collect();
        there.sort_unstable();
        there.dedup();
        return Err(ExportError::NothingMatches(there.join(" ")));
    }
    Ok(topics)
}

fn destination(path: &Path) -> Result<Destination, ExportError> {
    let entries = match files::list(path) {
        Ok(entries) => entries,
        Err(error) if error.error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    if entries.iter().all(|entry| entry.name == "lost+found") {
        return Ok(Destination { path: path.to_path_buf(), is_kafkas: false, image: None });
    }
    if !entries.iter().any(|entry| entry.name == "meta.properties") {
        return Err(ExportError::BadTarget(path.to_path_buf()));
    }
    if path.join(QUORUM).is_dir() {
        return Err(ExportError::BadTarget(path.to_path_buf()));
    }
    let metadata = METADATA_LOGS.iter().map(|name| path.join(name)).find(|path| path.is_dir());
    if let Some(metadata) = &metadata
        && !source::is_kafkas(metadata)?
    {
        return Err(ExportError::BadTarget(path.to_path_buf()));
    }
    if files::is_locked(path)? {
        return Err(ExportError::Running(path.to_path_buf()));
    }
    if !path.join(".kafka_cleanshutdown").exists() {
        return Err(SourceError::Unclean(path.to_path_buf()).into());
    }
    let image = metadata.map(|dir| image::load(&dir, false)).transpose().map_err(SourceError::from)?;
    Ok(Destination { path: path.to_path_buf(), is_kafkas: true, image })
}

/// The id of each topic: as asked, else as Kafka has it, else ours.
fn topic_ids<'a>(
    topics: &Topics<'a>,
    destination: &Destination,
    asked: &[String],
) -> Result<BTreeMap<&'a str, Uuid>, ExportError> {
    let mut ids = BTreeMap::new();
    for (topic, found) in topics {
        let kafkas = destination.image.as_ref().map(|image| image.topics.get(*topic));
        if let Some(known) = kafkas {
            let known = known.ok_or_else(|| ExportError::UnknownTopic((*topic).to_owned()))?;
            let (kafkas, ours) = (known.partitions.len(), found.len());
            if kafkas != ours {
                return Err(ExportError::PartitionCount { topic: (*topic).to_owned(), kafkas, ours });
            }
        }
        let in_place = found.iter().find_map(|found| folder::topic_id(&destination.path.join(folder::name(found))));
        let kept = found.iter().find_map(|found| found.id);
        let id = kafkas.flatten().map(|topic| topic.id).or(in_place).or(kept);
        ids.insert(*topic, id.unwrap_or_else(Uuid::new_v4));
    }
    for text in asked {
        let bad = || ExportError::BadTopicId(text.clone());
        let (topic, id) = match text.split_once('=') {
            Some((topic, id)) => (topics.keys().copied().find(|known| *known == topic), id),
            None => (topics.keys().copied().next().filter(|_| topics.len() == 1), text.as_str()),
        };
        ids.insert(topic.ok_or_else(bad)?, id_from_text(id).ok_or_else(bad)?);
    }
    Ok(ids)
}

/// Kafka's controller counts the epochs of a partition on from where it was; each start of a broker is one.
fn epoch_notes(topics: &Topics<'_>, destination: &Destination) -> Vec<String> {
    let Some(image) = &destination.image else { return Vec::new() };
    let mut notes = Vec::new();
    for (topic, found) in topics {
        let kafkas =
            |partition: i32| image.topics.get(*topic)?.partitions.get(&partition).map(|known| known.leader_epoch);
        let ahead = |one: &&&FoundPartition| kafkas(one.partition).is_some_and(|epoch| epoch + 1 < one.latest_epoch);
        if let Some(one) = found.iter().find(ahead) {
            notes.push(format!(
                "leader epochs in {topic}-{} go up to {}, Kafka's are at {}: Kafka counts on from its own, and forgets where ours \
                 began; records, offsets and clients are not affected",
                one.partition,
                one.latest_epoch,
                kafkas(one.partition).unwrap_or_default(),
            ));
        }
    }
    notes
}

fn tell(
    topics: &Topics<'_>,
    ids: &BTreeMap<&str, Uuid>,
    notes: &[String],
    args: &ExportArgs,
) -> Result<(), ExportError> {
    let size = |found: &[&FoundPartition]| found.iter().map(|one| one.bytes).sum::<u64>();
    if args.format == Format::Json {
        for (topic, found) in topics {
            let line = json!({
                "type": "topic", "topic": topic, "topic_id": id_to_text(ids[topic]),
                "partitions": found.iter().map(|one| one.partition).collect::<Vec<_>>(), "bytes": size(found),
            });
            writeln!(std::io::stdout(), "{line}")?;
        }
        for note in notes {
            writeln!(std::io::stdout(), "{}", json!({"type": "note", "note": note}))?;
        }
        return Ok(());
    }
    let row = |(topic, found): (&&str, &Vec<&FoundPartition>)| {
        vec![(*topic).to_owned(), found.len().to_string(), bytes(size(found)), id_to_text(ids[topic])]
    };
    let rows: Vec<Vec<String>> = topics.iter().map(row).collect();
    output::table(&["TOPIC", "PARTITIONS", "SIZE", "TOPIC ID"], &rows).map_err(std::io::Error::other)?;
    for note in notes {
        writeln!(std::io::stdout(), "note: {note}")?;
    }
    Ok(())
}

fn say(args: &ExportArgs, text: &str) -> Result<(), ExportError> {
    match args.format {
        Format::Json => {
            writeln!(std::io::stdout(), "{}", json!({"type": "result", "exported": !args.dry_run, "text": text}))?;
        }
        Format::Table => writeln!(std::io::stdout(), "{text}")?,
    }
    Ok(())
}

fn confirm(args: &ExportArgs, replaced: usize) -> Result<(), ExportError> {
    if args.yes || (replaced == 0 && !std::io::stdin().is_terminal()) {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(ExportError::NotConfirmed);
    }
    let what = if replaced == 0 { String::new() } else { format!(", replacing {replaced} folders") };
    write!(std::io::stderr(), "export to {}{what}? [y/N] ", args.to.display())?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(ExportError::NotConfirmed) }
}
