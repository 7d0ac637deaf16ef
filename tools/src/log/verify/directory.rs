//! A whole data directory: its partitions, several at once, and the files that speak of all of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use jackdaw_storage::inspect::{FileKind, checkpoint_entries, directory_meta, partition_dir};
use uuid::Uuid;

use super::partition::{self, Context};
use super::quorum;
use super::report::{Kind, Report};
use crate::log::files::{self, Entry, FileError};
use crate::log::source::QUORUM;

/// The checkpoints, and what each says.
const CHECKPOINTS: [(&str, &str); 4] = [
    ("recovery-point-offset-checkpoint", "recovery point"),
    ("replication-offset-checkpoint", "high watermark"),
    ("log-start-offset-checkpoint", "log start offset"),
    ("cleaner-offset-checkpoint", "first uncompacted offset"),
];

/// Topic and partition, and what a checkpoint says of it.
type Offsets = HashMap<(String, i32), i64>;

/// Checks a data directory, or a single partition's.
pub(super) fn verify(dir: &Path, with_records: bool, threads: usize, report: &mut Report) -> Result<(), FileError> {
    let entries = files::list(dir)?;
    let is_single = entries.iter().any(|entry| matches!(FileKind::of(&entry.name), FileKind::Segment { .. }));
    let root = if is_single { dir.canonicalize().map_err(FileError::new("find", dir))? } else { dir.to_path_buf() };
    let (root, partitions) = if is_single {
        let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let parent = root.parent().unwrap_or(&root).to_path_buf();
        (parent, vec![Entry { name, path: root, is_dir: true, len: 0 }])
    } else {
        let partitions = root_entries(&root, entries, report)?;
        (root, partitions)
    };
    report.is_in_use = files::is_locked(&root)?;
    report.is_clean = root.join(".kafka_cleanshutdown").exists();
    let mut checkpoints = Vec::new();
    for (name, what) in CHECKPOINTS {
        checkpoints.push((name, what, checkpoint(&root.join(name), report)?));
    }
    let context = Context {
        with_records,
        is_settled: report.is_clean && !report.is_in_use,
        recovery_points: &checkpoints[0].2,
        log_starts: &checkpoints[2].2,
        cleaned: &checkpoints[3].2,
    };
    check_all(&partitions, &context, threads, report);
    compare_checkpoints(&root, &checkpoints, is_single, report);
    compare_ids(report);
    Ok(())
}

/// Notes what is no partition; gives back the partitions.
fn root_entries(root: &Path, entries: Vec<Entry>, report: &mut Report) -> Result<Vec<Entry>, FileError> {
    let mut partitions = Vec::new();
    for entry in entries {
        if entry.is_dir {
            if partition_dir(&entry.name).is_some() {
                partitions.push(entry);
            } else if entry.name == QUORUM {
                quorum::verify(root, &entry.path, report)?;
            } else if entry.name != "lost+found" {
                report.found(Kind::Note, &entry.path, stray(&entry.name));
            }
            continue;
        }
        match FileKind::of(&entry.name) {
            FileKind::MetaProperties => {
                let bytes = files::small(&entry.path)?.unwrap_or_default();
                if let Err(reason) = directory_meta(&bytes) {
                    report.found(Kind::Damage, &entry.path, reason);
                }
            }
            FileKind::Leftover { .. } => {
                report.found(Kind::Note, &entry.path, "was being written; the next start removes it");
            }
            FileKind::UnfinishedImport => {
                report.found(
                    Kind::Note,
                    &entry.path,
                    "an import did not end: no broker starts before the next one has settled it",
                );
            }
            FileKind::DamageReport => report.found(Kind::Note, &entry.path, "tells what starts found damaged"),
            FileKind::Unknown => report.found(Kind::Note, &entry.path, FOREIGN),
            _ => {}
        }
    }
    Ok(partitions)
}

/// What is in a data directory and none of its files.
pub(super) const FOREIGN: &str = "is no file of a log; brokers leave it alone";

fn stray(name: &str) -> &'static str {
    match name.rsplit_once('-').map(|(_, fate)| fate) {
        Some("delete") => "a partition that is being deleted",
        Some("stray") => "a partition that was set aside; no broker uses it",
        Some("future") => "a partition that is being moved here from another log directory",
        Some("staging") => "an import that was interrupted; the next one removes it",
        _ => "no folder of a partition",
    }
}

fn checkpoint(path: &Path, report: &mut Report) -> Result<Offsets, FileError> {
    // Kafka makes the file before there is anything to write into it.
    let Some(bytes) = files::small(path)?.filter(|bytes| !bytes.is_empty()) else { return Ok(Offsets::new()) };
    match checkpoint_entries(&bytes) {
        Ok(entries) => Ok(entries.into_iter().map(|(topic, partition, offset)| ((topic, partition), offset)).collect()),
        Err(reason) => {
            report.found(Kind::Damage, path, reason);
            Ok(Offsets::new())
        }
    }
}

fn check_all(partitions: &[Entry], context: &Context<'_>, threads: usize, report: &mut Report) {
    let size = |entry: &Entry| -> u64 {
        let files = files::list(&entry.path).unwrap_or_default();
        files
            .iter()
            .filter(|file| matches!(FileKind::of(&file.name), FileKind::Segment { .. }))
            .map(|file| file.len)
            .sum()
    };
    let bar = progress(partitions.iter().map(size).sum());
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(partitions.len())));
    let work = || {
        while let Some(entry) = partitions.get(next.fetch_add(1, Ordering::Relaxed)) {
            let one = partition::verify(entry, context, &|n| bar.inc(n));
            if let Ok(mut done) = done.lock() {
                done.push(one);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(partitions.len()) {
            scope.spawn(work);
        }
        work();
    });
    bar.finish_and_clear();
    report.partitions = done.into_inner().unwrap_or_default();
    report.partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
}

/// Shown on a terminal only.
fn progress(total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    match ProgressStyle::with_template("{bytes}/{total_bytes} {wide_bar} {binary_bytes_per_sec} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// No offset of a checkpoint may lie beyond the end of its log.
fn compare_checkpoints(root: &Path, checkpoints: &[(&str, &str, Offsets)], is_single: bool, report: &mut Report) {
    let here: HashSet<(String, i32)> =
        report.partitions.iter().map(|partition| (partition.topic.clone(), partition.partition)).collect();
    for (name, what, offsets) in checkpoints {
        let path = root.join(name);
        let elsewhere: Vec<&(String, i32)> = offsets.keys().filter(|key| !here.contains(*key)).collect();
        for partition in &mut report.partitions {
            let Some(&offset) = offsets.get(&(partition.topic.clone(), partition.partition)) else { continue };
            let end = partition.end_offset;
            if offset > end && partition.topic != "@metadata" {
                let text = format!(
                    "{what} {offset} of {}-{} lies beyond the end of the log, {end}",
                    partition.topic, partition.partition
                );
                partition.damage(&path, None, text);
            }
        }
        if !elsewhere.is_empty() && !is_single {
            report.found(Kind::Note, &path, format!("names what is not here: {}", listed(elsewhere)));
        }
    }
}

/// A few by name, the others by number.
fn listed(mut partitions: Vec<&(String, i32)>) -> String {
    const NAMED: usize = 5;
    partitions.sort_unstable();
    let names: Vec<String> = partitions.iter().take(NAMED).map(|(topic, number)| format!("{topic}-{number}")).collect();
    let more = partitions.len().saturating_sub(NAMED);
    if more == 0 { names.join(", ") } else { format!("{} and {more} more", names.join(", ")) }
}

/// All partitions of a topic are of one id.
fn compare_ids(report: &mut Report) {
    let mut ids: BTreeMap<String, (i32, Uuid)> = BTreeMap::new();
    for at in 0..report.partitions.len() {
        let partition = &report.partitions[at];
        let Some(id) = partition.topic_id else { continue };
        let (first, expected) = *ids.entry(partition.topic.clone()).or_insert((partition.partition, id));
        if id != expected {
            let path = partition.path.join("partition.metadata");
            let text = format!("topic id {id} is not that of partition {first}, {expected}");
            report.partitions[at].damage(&path, None, text);
        }
    }
}
