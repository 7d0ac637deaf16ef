//! `jackdaw log import`: topics from the log directories of a stopped Apache Kafka.

mod target;

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jackdaw_broker::topics::StoreError;
use jackdaw_broker::topics::seed::accepted_configs;
use jackdaw_storage::inspect::id_to_text;
use jackdaw_storage::{OpenError, StorageError};
use serde_json::json;
use thiserror::Error;
use uuid::Uuid;

use super::files::{FileError, bytes};
use super::plan::{self, Plan, PlanError, PlannedTopic, Wishes};
use super::source::{self, SourceError};
use super::{CANNOT, DAMAGED, Format};
use crate::output;
use target::Target;

/// Take topics over from the log directories of a stopped Apache Kafka
///
/// Takes whole log directories as Kafka 2.8 to 4.x leave them: topics with their data, ids and configs, and committed
/// offsets, which are the data of __consumer_offsets. The metadata comes from __cluster_metadata-0 (@metadata-0 in the
/// preview of KRaft in 2.8). Directories of a cluster with ZooKeeper hold none: there, topics come from their folders,
/// with the ids in them or new ones, and with default configs.
///
/// 1. Stop the Kafka brokers in order.
/// 2. jackdaw log import --from KAFKA_LOG_DIR --data-dir DIR [--dry-run]
/// 3. jackdaw serve --data-dir DIR
///
/// The source is only read. It is refused while a broker runs on it. All topics are taken or none: what was begun is
/// undone if anything fails. What Kafka keeps of transactions and share groups stays behind, as do ACLs, users and
/// quotas; what stays is named.
///
/// Exit codes: 0 imported; 1 damage or a failure, nothing was imported; 2 refused, nothing was begun.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ImportArgs {
    /// A log directory of Apache Kafka (log.dirs, metadata.log.dir); may be repeated, also for several brokers
    #[arg(long, required = true, value_name = "KAFKA_LOG_DIR")]
    from: Vec<PathBuf>,
    /// Only these topics; * and ? stand for any letters. May be repeated [default: all]
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

/// Why nothing was imported.
#[derive(Debug, Error)]
enum ImportError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot understand {}: {reason}", path.display())]
    BadFile { path: PathBuf, reason: String },
    #[error("{} is neither empty nor the data directory of a Jackdaw broker: choose another", .0.display())]
    NotOurs(PathBuf),
    #[error("a broker is running on {}: stop it first", .0.display())]
    TargetRuns(PathBuf),
    #[error("{} has partitions and no metadata: start a broker on it once, which makes topics of them", .0.display())]
    NoMetadata(PathBuf),
    #[error("the data directory has topics of these names or ids already: {0}; leave them out with --topic")]
    TopicsExist(String),
    #[error("{} changed while it was copied: a broker or a person is at work on the source", .0.display())]
    Changed(PathBuf),
    #[error("copies are damaged, as their sources are:\n{}", .0.join("\n"))]
    Damaged(Vec<String>),
    #[error("not confirmed; --yes does not ask")]
    NotConfirmed,
    #[error("standard output: {0}")]
    Print(#[from] std::io::Error),
}

impl ImportError {
    fn code(&self) -> u8 {
        match self {
            ImportError::Source(SourceError::Image(_))
            | ImportError::Storage(_)
            | ImportError::Store(_)
            | ImportError::Changed(_)
            | ImportError::Damaged(_)
            | ImportError::Print(_) => DAMAGED,
            ImportError::Source(_)
            | ImportError::Plan(_)
            | ImportError::File(_)
            | ImportError::Open(_)
            | ImportError::BadFile { .. }
            | ImportError::NotOurs(_)
            | ImportError::TargetRuns(_)
            | ImportError::NoMetadata(_)
            | ImportError::TopicsExist(_)
            | ImportError::NotConfirmed => CANNOT,
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &ImportArgs) -> ExitCode {
    match import(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::from(error.code())
        }
    }
}

fn import(args: &ImportArgs) -> Result<(), ImportError> {
    let sources = args.from.iter().map(|path| source::scan(path, args.unclean)).collect::<Result<Vec<_>, _>>()?;
    let wishes = Wishes { patterns: &args.topic, create_missing: args.create_missing, new_id: &new_topic_id };
    let mut plan = plan::plan(&sources, &wishes)?;
    leave_out_refused_configs(&mut plan);
    target::node_of(&args.data_dir)?;
    tell(&plan, args)?;
    if args.dry_run {
        return say(args, "nothing was done (--dry-run)");
    }
    confirm(args)?;
    let target = Target::open(&args.data_dir, args.node_id, plan.cluster_id.clone())?;
    let bar = progress(plan.topics.iter().map(PlannedTopic::bytes).sum());
    let staged = target.check(&plan.topics).and_then(|()| target.stage(&plan, &mut |n| bar.inc(n)));
    bar.finish_and_clear();
    let staged = match staged {
        Ok(staged) => staged,
        Err(error) => return Err(target.give_up(error)),
    };
    for (partition, cut) in &staged.cut {
        output::complain(&format!("{partition}: a torn end of {cut} bytes was cut in the copy"));
    }
    target.publish(&plan, &staged, now_ms())?;
    say(args, &format!("imported {} topics into {}", plan.topics.len(), args.data_dir.display()))
}

/// Settings that this broker does not have are named and left out: the data matters more.
fn leave_out_refused_configs(plan: &mut Plan<'_>) {
    for topic in &mut plan.topics {
        let (accepted, refused) = accepted_configs(&topic.name, &topic.configs);
        for (key, reason) in refused {
            plan.notes.push(format!("config {key} of topic {} stays behind: {reason}", topic.name));
        }
        topic.configs = accepted;
    }
}

fn tell(plan: &Plan<'_>, args: &ImportArgs) -> Result<(), ImportError> {
    if args.format == Format::Json {
        for topic in &plan.topics {
            let missing: Vec<usize> = (0..topic.partitions.len()).filter(|&p| topic.partitions[p].is_none()).collect();
            let line = json!({
                "type": "topic", "topic": topic.name, "topic_id": id_to_text(topic.id), "new_id": topic.id_is_fresh,
                "partitions": topic.partitions.len(), "made_empty": missing, "bytes": topic.bytes(),
                "leader_epochs": topic.leader_epochs, "configs": topic.configs,
            });
            writeln!(std::io::stdout(), "{line}")?;
        }
        for note in &plan.notes {
            writeln!(std::io::stdout(), "{}", json!({"type": "note", "note": note}))?;
        }
        return Ok(());
    }
    let row = |topic: &PlannedTopic<'_>| {
        let configs: Vec<String> = topic.configs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let id = if topic.id_is_fresh { "new".to_owned() } else { id_to_text(topic.id) };
        let count = topic.partitions.len().to_string();
        vec![topic.name.clone(), count, bytes(topic.bytes()), id, configs.join(", ")]
    };
    let rows: Vec<Vec<String>> = plan.topics.iter().map(row).collect();
    let printed = output::table(&["TOPIC", "PARTITIONS", "SIZE", "TOPIC ID", "CONFIGS"], &rows);
    printed.map_err(std::io::Error::other)?;
    for note in &plan.notes {
        writeln!(std::io::stdout(), "note: {note}")?;
    }
    Ok(())
}

/// A last word, for people and for programs.
fn say(args: &ImportArgs, text: &str) -> Result<(), ImportError> {
    let mut out = std::io::stdout();
    match args.format {
        Format::Json => writeln!(out, "{}", json!({"type": "result", "imported": !args.dry_run, "text": text}))?,
        Format::Table if args.dry_run => writeln!(out, "{text}")?,
        Format::Table => {
            writeln!(out, "{text}")?;
            writeln!(out, "serve them with: jackdaw serve --data-dir {}", args.data_dir.display())?;
        }
    }
    Ok(())
}

fn confirm(args: &ImportArgs) -> Result<(), ImportError> {
    if args.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(ImportError::NotConfirmed);
    }
    write!(std::io::stderr(), "import these topics into {}? [y/N] ", args.data_dir.display())?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(ImportError::NotConfirmed) }
}

/// Shown on a terminal only.
fn progress(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bytes}/{total_bytes} {wide_bar} {binary_bytes_per_sec} {eta}");
    let bar = ProgressBar::new(total);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// An id as Kafka makes them: none whose text begins with a dash, which command lines take for an option.
fn new_topic_id() -> Uuid {
    loop {
        let id = Uuid::new_v4();
        if !id_to_text(id).starts_with('-') {
            return id;
        }
    }
}
