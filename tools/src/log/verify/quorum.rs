//! The folder of the metadata quorum: its journal replayed, its snapshot, and whose it is.

use std::path::Path;

use jackdaw_quorum::At;
use jackdaw_quorum::inspect::{self, Entry, FileKind, Identity, Record, What};
use jackdaw_storage::inspect::directory_meta;

use super::directory::FOREIGN;
use super::report::{Finding, Kind, QuorumReport, Report};
use crate::log::files::{self, FileError};
use crate::log::quorum::{Command, State, place};

/// What the records of the journal have added up to so far.
#[derive(Default)]
struct Replay {
    /// The first and the last entry there is, if there is one.
    entries: Option<(u64, At)>,
    purged: Option<At>,
    committed: Option<At>,
    term: u64,
}

/// Checks the folder `dir` of the data directory `root`.
pub(super) fn verify(root: &Path, dir: &Path, report: &mut Report) -> Result<(), FileError> {
    let (mut replay, mut snapshot, mut found) = (Replay::default(), None, QuorumReport::default());
    for entry in files::list(dir)? {
        let path = &entry.path;
        let read = || Ok::<_, FileError>(files::small(path)?.unwrap_or_default());
        match FileKind::of(&entry.name) {
            Some(FileKind::Journal) => {
                found.bytes += entry.len;
                found.has_journal = true;
                journal(path, &read()?, &mut replay, report);
            }
            Some(FileKind::Snapshot) => {
                found.bytes += entry.len;
                let bytes = read()?;
                let whole = inspect::snapshot(&bytes).and_then(|whole| State::read(&whole.state).map(|_| whole.at));
                match whole {
                    Ok(at) => snapshot = Some(at),
                    Err(reason) => report.found(Kind::Damage, path, reason),
                }
            }
            Some(FileKind::Identity) => match inspect::identity(&read()?) {
                Ok(identity) => whose(root, path, &identity, report)?,
                Err(reason) => report.found(Kind::Damage, path, reason),
            },
            None if entry.name.ends_with(".new") => {
                report.found(Kind::Note, path, "was being written; the next start removes it");
            }
            None => report.found(Kind::Note, path, FOREIGN),
        }
    }
    found.last = replay.last();
    found.entries = replay.entries.map_or(0, |(first, last)| last.index + 1 - first);
    found.snapshot = snapshot;
    if !found.has_journal {
        report.found(Kind::Damage, dir, "the journal is missing: this node no longer knows how it voted");
    }
    if let Some(purged) = replay.purged.filter(|purged| snapshot.is_none_or(|at| at.index < purged.index)) {
        let has =
            snapshot.map_or("there is no snapshot".to_owned(), |at| format!("the snapshot ends at {}", place(at)));
        report.found(
            Kind::Damage,
            dir,
            format!("entries up to {} are gone from the journal, and {has}", place(purged)),
        );
    }
    let reaches = replay.last().into_iter().chain(snapshot).map(|at| at.index).max();
    if replay.committed.map(|at| at.index) > reaches {
        let committed = replay.committed.map_or(String::new(), place);
        report.found(Kind::Damage, dir, format!("{committed} was committed, and the journal does not reach to it"));
    }
    report.quorum = Some(found);
    Ok(())
}

fn journal(path: &Path, bytes: &[u8], replay: &mut Replay, report: &mut Report) {
    for place in inspect::journal(bytes) {
        let (kind, what) = match place.what {
            What::Record { record, .. } => match replay.take(record) {
                Ok(()) => continue,
                Err(reason) => (Kind::Damage, reason),
            },
            What::Unknown { reason } => (Kind::Damage, format!("a record that is not understood: {reason}")),
            What::Damaged => {
                (Kind::Damage, format!("{} bytes are no record, and others were written later", place.end - place.at))
            }
            What::Torn => (
                Kind::Note,
                format!("{} bytes of a write that did not end; the next start removes them", place.end - place.at),
            ),
        };
        report.findings.push(Finding { kind, file: path.to_path_buf(), position: Some(place.at as u64), what });
    }
}

impl Replay {
    fn last(&self) -> Option<At> {
        self.entries.map(|(_, last)| last).into_iter().chain(self.purged).max_by_key(|at| at.index)
    }

    fn take(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Vote { term, .. } if term < self.term => {
                return Err(format!("a vote in term {term}, after one in term {}", self.term));
            }
            Record::Vote { term, .. } => self.term = term,
            Record::Truncate { from } => self.drop_from(from),
            Record::Purge { upto } => {
                self.purged = self.purged.into_iter().chain([upto]).max_by_key(|at| at.index);
                self.entries = self.entries.filter(|(_, last)| last.index > upto.index);
                if let Some((first, _)) = &mut self.entries {
                    *first = (*first).max(upto.index + 1);
                }
            }
            Record::Committed { upto } => self.committed = upto,
            Record::Entry { at, entry } => {
                let next = self.last().map_or(0, |last| last.index + 1);
                if at.index > next {
                    let missing = format!("entry {} does not follow: {next} is missing", place(at));
                    self.entries = Some((at.index, at));
                    return Err(missing);
                }
                self.drop_from(at.index);
                let fell = self.last().filter(|last| last.term > at.term);
                self.entries = Some((self.entries.map_or(at.index, |(first, _)| first), at));
                if let Some(last) = fell {
                    return Err(format!("entry {} is of an earlier term than {} before it", place(at), place(last)));
                }
                if let Entry::Command(text) = entry {
                    Command::read(&text).map_err(|reason| format!("entry {}: {reason}", place(at)))?;
                }
            }
        }
        Ok(())
    }

    fn drop_from(&mut self, index: u64) {
        self.entries = match self.entries {
            Some((first, last)) if index > first && index <= last.index => {
                // The term before is not remembered for each: none that follows may be below that of what is left, at least 0.
                Some((first, At { term: 0, index: index - 1 }))
            }
            Some((first, _)) if index <= first => None,
            entries => entries,
        };
    }
}

/// The folder must be of the node and the cluster that the data directory is of.
fn whose(root: &Path, path: &Path, identity: &Identity, report: &mut Report) -> Result<(), FileError> {
    let Some(bytes) = files::small(&root.join("meta.properties"))? else { return Ok(()) };
    // What is wrong with that file is said elsewhere.
    let Ok(meta) = directory_meta(&bytes) else { return Ok(()) };
    if meta.cluster_id != identity.cluster || i64::from(meta.node_id) != i64::try_from(identity.node).unwrap_or(-1) {
        let text = format!(
            "is of node {} of cluster {}, and meta.properties beside it of node {} of cluster {}",
            identity.node, identity.cluster, meta.node_id, meta.cluster_id
        );
        report.found(Kind::Damage, path, text);
    }
    Ok(())
}
