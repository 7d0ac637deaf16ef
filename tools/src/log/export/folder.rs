//! Folders of partitions as Kafka has them, written aside and then put into place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use jackdaw_storage::inspect::{FileKind, encode_checkpoint, encode_topic_id_file, snapshot_for_kafka, topic_id_of};
use uuid::Uuid;

use super::{Destination, ExportError, Outgoing};
use crate::log::copy;
use crate::log::files::{self, FileError};
use crate::log::source::{self, FoundPartition};

/// Folders on their way; the name of no partition.
const STAGING: &str = "jackdaw-export-staging";
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
const LOG_STARTS: &str = "log-start-offset-checkpoint";
const CLEANED: &str = "cleaner-offset-checkpoint";
/// Longest name of a file on Linux.
const NAME_MAX: usize = 255;

/// The name of a partition's folder.
pub(super) fn name(found: &FoundPartition) -> String {
    format!("{}-{}", found.topic, found.partition)
}

/// The id in a folder's partition.metadata.
pub(super) fn topic_id(folder: &Path) -> Option<Uuid> {
    let bytes = files::small(&folder.join("partition.metadata")).ok()??;
    topic_id_of(&bytes).ok()
}

/// Writes all folders and their lines in the checkpoints. Nothing is in place if it fails.
pub(super) fn write_all(destination: &Destination, outgoing: &[Outgoing<'_>]) -> Result<(), ExportError> {
    let existed = destination.path.exists();
    std::fs::create_dir_all(&destination.path).map_err(FileError::new("create", &destination.path))?;
    let staging = destination.path.join(STAGING);
    let written = remove(&staging).and_then(|()| stage(&staging, outgoing));
    let done = written.and_then(|()| put_in_place(destination, &staging, outgoing));
    let cleaned = remove(&staging);
    if done.is_err() && !existed {
        remove(&destination.path)?;
    }
    done.and(cleaned)
}

fn remove(path: &Path) -> Result<(), ExportError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(FileError::new("remove", path)(error).into()),
        _ => Ok(()),
    }
}

fn stage(staging: &Path, outgoing: &[Outgoing<'_>]) -> Result<(), ExportError> {
    std::fs::create_dir(staging).map_err(FileError::new("create", staging))?;
    let bar = ProgressBar::new(outgoing.iter().map(|one| one.found.bytes).sum());
    for one in outgoing {
        let folder = staging.join(name(one.found));
        std::fs::create_dir(&folder).map_err(FileError::new("create", &folder))?;
        for file in &one.found.files {
            let to = folder.join(&file.name);
            if matches!(FileKind::of(&file.name), FileKind::ProducerSnapshot { .. }) {
                let bytes = files::small(&file.path)?.unwrap_or_default();
                let snapshot = snapshot_for_kafka(&bytes)
                    .map_err(|reason| ExportError::BadFile { path: file.path.clone(), reason })?;
                std::fs::write(&to, snapshot).map_err(FileError::new("write", &to))?;
                continue;
            }
            let copied = copy::file(&file.path, &to, |n| bar.inc(n)).map_err(FileError::new("copy", &file.path))?;
            if copied != file.len {
                return Err(ExportError::Changed(file.path.clone()));
            }
        }
        let to = folder.join("partition.metadata");
        std::fs::write(&to, encode_topic_id_file(one.topic_id)).map_err(FileError::new("write", &to))?;
    }
    bar.finish_and_clear();
    Ok(copy::sync_file_system(staging).map_err(FileError::new("sync", staging))?)
}

/// What was renamed, from where to where.
type Renamed = Vec<(PathBuf, PathBuf)>;

fn put_in_place(destination: &Destination, staging: &Path, outgoing: &[Outgoing<'_>]) -> Result<(), ExportError> {
    let mut renamed = Renamed::new();
    let done = rename_all(destination, staging, outgoing, &mut renamed)
        .and_then(|()| write_checkpoints(destination, outgoing));
    if done.is_err() {
        for (from, to) in renamed.iter().rev() {
            if let Err(error) = std::fs::rename(to, from) {
                crate::output::complain(&FileError::new("rename back", to)(error));
            }
        }
    }
    done
}

fn rename_all(
    destination: &Destination,
    staging: &Path,
    outgoing: &[Outgoing<'_>],
    renamed: &mut Renamed,
) -> Result<(), ExportError> {
    let mut rename = |from: PathBuf, to: PathBuf| {
        std::fs::rename(&from, &to).map_err(FileError::new("rename", &from))?;
        renamed.push((from, to));
        Ok::<(), FileError>(())
    };
    for one in outgoing {
        let place = destination.path.join(name(one.found));
        if place.exists() {
            rename(place.clone(), destination.path.join(to_be_deleted(one.found)))?;
        }
        rename(staging.join(name(one.found)), place)?;
    }
    Ok(copy::sync_dir(&destination.path).map_err(FileError::new("sync", &destination.path))?)
}

/// A folder of such a name is removed when Kafka starts.
fn to_be_deleted(found: &FoundPartition) -> String {
    let suffix = format!("-{}.{}-delete", found.partition, Uuid::new_v4().simple());
    let topic: String = found.topic.chars().take(NAME_MAX - suffix.len()).collect();
    format!("{topic}{suffix}")
}

/// The lines of these partitions, among those of the others. How far the cleaner came holds no more: it begins anew.
fn write_checkpoints(destination: &Destination, outgoing: &[Outgoing<'_>]) -> Result<(), ExportError> {
    type OffsetOf = fn(&FoundPartition) -> Option<i64>;
    let offsets: [(&str, OffsetOf); 4] = [
        (RECOVERY_POINTS, |found| found.recovery_point),
        (HIGH_WATERMARKS, |found| found.high_watermark),
        (LOG_STARTS, |found| found.log_start.filter(|&start| start > 0)),
        (CLEANED, |_| None),
    ];
    for (file, offset_of) in offsets {
        let path = destination.path.join(file);
        if file == CLEANED && !path.exists() {
            continue;
        }
        let known = if destination.is_kafkas { source::offsets(&destination.path, file)? } else { Default::default() };
        let mut lines: BTreeMap<(String, i32), i64> = known.into_iter().collect();
        for Outgoing { found, .. } in outgoing {
            let key = (found.topic.clone(), found.partition);
            match offset_of(found) {
                Some(offset) => lines.insert(key, offset),
                None => lines.remove(&key),
            };
        }
        let lines = lines.iter().map(|((topic, partition), offset)| (topic.as_str(), *partition, *offset));
        copy::replace(&path, &encode_checkpoint(lines)).map_err(FileError::new("write", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_folder_has_a_name_that_kafka_deletes() {
        let found = FoundPartition {
            topic: "t".repeat(249),
            partition: 12,
            path: PathBuf::new(),
            id: None,
            node_id: 1,
            files: Vec::new(),
            bytes: 0,
            recovery_point: None,
            log_start: None,
            high_watermark: None,
            latest_epoch: 0,
        };
        let aside = to_be_deleted(&found);
        assert_eq!(aside.len(), NAME_MAX);
        assert!(aside.starts_with("ttt") && aside.contains("-12.") && aside.ends_with("-delete"), "{aside}");
    }
}
