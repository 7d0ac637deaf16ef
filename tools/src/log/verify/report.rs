//! What a check found, and how it is told.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jackdaw_quorum::At;
use serde_json::json;
use uuid::Uuid;

use crate::log::Format;
use crate::log::files::bytes;
use crate::log::quorum::place;
use crate::output;

/// Whether a finding is damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Something is not as it was written, or two files contradict one another.
    Damage,
    /// Worth knowing, and no damage.
    Note,
    /// A file could not be read.
    Unread,
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    pub(super) file: PathBuf,
    pub(super) position: Option<u64>,
    pub(super) what: String,
}

/// What one partition holds.
#[derive(Debug, Clone, Default)]
pub(super) struct PartitionReport {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) path: PathBuf,
    pub(super) topic_id: Option<Uuid>,
    pub(super) segments: u64,
    pub(super) batches: u64,
    /// None, where records were not counted.
    pub(super) records: Option<u64>,
    pub(super) bytes: u64,
    pub(super) first_offset: i64,
    pub(super) end_offset: i64,
    pub(super) findings: Vec<Finding>,
}

impl PartitionReport {
    pub(super) fn found(&mut self, kind: Kind, file: &Path, position: Option<u64>, what: impl Into<String>) {
        self.findings.push(Finding { kind, file: file.to_path_buf(), position, what: what.into() });
    }

    pub(super) fn damage(&mut self, file: &Path, position: Option<u64>, what: impl Into<String>) {
        self.found(Kind::Damage, file, position, what);
    }

    pub(super) fn note(&mut self, file: &Path, what: impl Into<String>) {
        self.found(Kind::Note, file, None, what);
    }

    fn count(&self, kind: Kind) -> usize {
        self.findings.iter().filter(|finding| finding.kind == kind).count()
    }
}

/// What the metadata quorum keeps.
#[derive(Debug, Default)]
pub(super) struct QuorumReport {
    pub(super) has_journal: bool,
    pub(super) entries: u64,
    pub(super) last: Option<At>,
    pub(super) snapshot: Option<At>,
    pub(super) bytes: u64,
}

/// What a directory holds.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) partitions: Vec<PartitionReport>,
    /// What the metadata quorum keeps here, if this is where.
    pub(super) quorum: Option<QuorumReport>,
    /// Of the directory itself.
    pub(super) findings: Vec<Finding>,
    pub(super) is_in_use: bool,
    pub(super) is_clean: bool,
}

impl Report {
    fn all(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().chain(self.partitions.iter().flat_map(|partition| &partition.findings))
    }

    pub(super) fn damages(&self) -> usize {
        self.all().filter(|finding| finding.kind == Kind::Damage).count()
    }

    pub(super) fn unread(&self) -> usize {
        self.all().filter(|finding| finding.kind == Kind::Unread).count()
    }

    pub(super) fn found(&mut self, kind: Kind, file: &Path, what: impl Into<String>) {
        self.findings.push(Finding { kind, file: file.to_path_buf(), position: None, what: what.into() });
    }
}

/// Prints a report.
pub(super) fn print(dir: &Path, report: &Report, format: Format) -> io::Result<()> {
    match format {
        Format::Json => print_json(dir, report),
        Format::Table => print_table(dir, report),
    }
}

fn print_json(dir: &Path, report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for finding in report.all() {
        let kind = match finding.kind {
            Kind::Damage => "damage",
            Kind::Note => "note",
            Kind::Unread => "unread",
        };
        let line = json!({"type": kind, "file": finding.file, "position": finding.position, "what": finding.what});
        writeln!(out, "{line}")?;
    }
    for partition in &report.partitions {
        let line = json!({
            "type": "partition", "topic": partition.topic, "partition": partition.partition,
            "segments": partition.segments, "batches": partition.batches, "records": partition.records,
            "bytes": partition.bytes, "first_offset": partition.first_offset, "end_offset": partition.end_offset,
            "damages": partition.count(Kind::Damage),
        });
        writeln!(out, "{line}")?;
    }
    if let Some(quorum) = &report.quorum {
        let line = json!({
            "type": "quorum", "entries": quorum.entries, "last": quorum.last, "snapshot": quorum.snapshot, "bytes": quorum.bytes,
        });
        writeln!(out, "{line}")?;
    }
    let total = |of: fn(&PartitionReport) -> u64| report.partitions.iter().map(of).sum::<u64>();
    let line = json!({
        "type": "summary", "dir": dir, "in_use": report.is_in_use, "clean_shutdown": report.is_clean,
        "partitions": report.partitions.len(), "segments": total(|p| p.segments), "batches": total(|p| p.batches),
        "records": report.partitions.iter().map(|p| p.records).sum::<Option<u64>>(), "bytes": total(|p| p.bytes),
        "damages": report.damages(), "unread": report.unread(), "sound": report.damages() + report.unread() == 0,
    });
    writeln!(out, "{line}")
}

fn print_table(dir: &Path, report: &Report) -> io::Result<()> {
    let mut out = io::stdout();
    if report.is_in_use {
        writeln!(out, "{} is in use: what is found is of a moving target", dir.display())?;
    }
    for finding in report.all() {
        let kind = match finding.kind {
            Kind::Damage => "DAMAGED",
            Kind::Note => "note",
            Kind::Unread => "CANNOT READ",
        };
        let place = finding.position.map_or(String::new(), |position| format!(" at byte {position}"));
        writeln!(out, "{kind}: {}{place}: {}", finding.file.display(), finding.what)?;
    }
    let rows = by_topic(report);
    let headings = ["TOPIC", "PARTITIONS", "SEGMENTS", "BATCHES", "RECORDS", "SIZE", "DAMAGES"];
    output::table(&headings, &rows).map_err(io::Error::other)?;
    if let Some(quorum) = &report.quorum {
        let last = quorum
            .last
            .map_or("nothing yet".to_owned(), |at| format!("{} entries up to {}", quorum.entries, place(at)));
        let snapshot = quorum.snapshot.map_or("none".to_owned(), |at| format!("up to {}", place(at)));
        writeln!(out, "metadata: {last}; snapshot: {snapshot}; {}", bytes(quorum.bytes))?;
    }
    let verdict = match (report.damages(), report.unread()) {
        (0, 0) => "sound".to_owned(),
        (0, unread) => format!("{unread} file(s) could not be read; the rest is sound"),
        (1, _) => "1 damage found".to_owned(),
        (damages, _) => format!("{damages} damages found"),
    };
    let stop = if report.is_clean || report.is_in_use { "" } else { ", not closed in order: the next start checks it" };
    writeln!(out, "{}: {verdict}{stop}", dir.display())
}

/// A line for each topic, and one for all.
fn by_topic(report: &Report) -> Vec<Vec<String>> {
    let mut topics: BTreeMap<&str, Vec<&PartitionReport>> = BTreeMap::new();
    for partition in &report.partitions {
        topics.entry(&partition.topic).or_default().push(partition);
    }
    let row = |name: &str, partitions: &[&PartitionReport]| {
        let sum = |of: fn(&PartitionReport) -> u64| partitions.iter().map(|p| of(p)).sum::<u64>();
        let records = partitions.iter().map(|p| p.records).sum::<Option<u64>>();
        let damages: usize = partitions.iter().map(|p| p.count(Kind::Damage)).sum();
        vec![
            name.to_owned(),
            partitions.len().to_string(),
            sum(|p| p.segments).to_string(),
            sum(|p| p.batches).to_string(),
            records.map_or(String::new(), |records| records.to_string()),
            bytes(sum(|p| p.bytes)),
            damages.to_string(),
        ]
    };
    let mut rows: Vec<Vec<String>> = topics.iter().map(|(name, partitions)| row(name, partitions)).collect();
    rows.push(row("(all)", &report.partitions.iter().collect::<Vec<_>>()));
    rows
}
