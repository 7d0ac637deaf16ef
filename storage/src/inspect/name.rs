//! What a file of a data directory is, by its name alone.

use crate::checkpoint::{
    CLEAN_SHUTDOWN, HIGH_WATERMARK, LEADER_EPOCHS, LOG_START, META_PROPERTIES, PARTITION_METADATA, RECOVERY_POINT,
};
use crate::closed::CLOSED_INDEX;
use crate::dir::{DAMAGE_REPORT, UNFINISHED_IMPORT};

/// Kafka's cleaner keeps here how far each partition is compacted.
const CLEANER_OFFSETS: &str = "cleaner-offset-checkpoint";
/// Suffixes that mark a file as given up, or not yet taken into use.
const LEFTOVERS: [&str; 4] = ["deleted", "swap", "cleaned", "tmp"];

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileKind {
    /// Batches, from the base offset on.
    Segment {
        /// The smallest offset it may hold.
        base: i64,
    },
    /// Where batches of a segment begin.
    OffsetIndex {
        /// Base offset of the segment.
        base: i64,
    },
    /// From when on batches of a segment are.
    TimeIndex {
        /// Base offset of the segment.
        base: i64,
    },
    /// Aborted transactions of a segment.
    TxnIndex {
        /// Base offset of the segment.
        base: i64,
    },
    /// What was known of producers when the log ended at an offset.
    ProducerSnapshot {
        /// That offset.
        offset: i64,
    },
    /// A sketch of the distinct keys of a segment, which Kafka's directories do not have.
    KeySketch {
        /// Base offset of the segment.
        base: i64,
    },
    /// A snapshot of Kafka's metadata log (`<offset>-<epoch>.checkpoint`), or the records it starts from
    /// (`bootstrap.checkpoint`); batches like those of a segment.
    MetadataSnapshot {
        /// The offset after the last record that it stands for.
        end_offset: i64,
        /// That record's epoch.
        epoch: i32,
    },
    /// One offset for each partition: recovery points, high watermarks, starts, or how far the cleaner came.
    OffsetCheckpoint,
    /// Which leader epoch began where.
    LeaderEpochs,
    /// The topic's id.
    PartitionMetadata,
    /// Whose data directory it is.
    MetaProperties,
    /// There after a clean stop.
    CleanShutdown,
    /// What a start after a clean stop needs of every partition, which Kafka's directories do not have.
    ClosedIndex,
    /// The mark of an import that did not end.
    UnfinishedImport,
    /// What starts found damaged, for people.
    DamageReport,
    /// Kafka's vote and leader of its metadata quorum, as JSON.
    QuorumState,
    /// The lock of a running broker.
    Lock,
    /// A file of another kind that is to be removed, or was being written.
    Leftover {
        /// What follows the last dot.
        suffix: String,
    },
    /// None of those.
    Unknown,
}

impl FileKind {
    /// The kind by a file's name, without its directory.
    #[must_use]
    pub fn of(name: &str) -> FileKind {
        match name {
            RECOVERY_POINT | HIGH_WATERMARK | LOG_START | CLEANER_OFFSETS => return FileKind::OffsetCheckpoint,
            LEADER_EPOCHS => return FileKind::LeaderEpochs,
            PARTITION_METADATA => return FileKind::PartitionMetadata,
            META_PROPERTIES => return FileKind::MetaProperties,
            CLEAN_SHUTDOWN => return FileKind::CleanShutdown,
            CLOSED_INDEX => return FileKind::ClosedIndex,
            UNFINISHED_IMPORT => return FileKind::UnfinishedImport,
            DAMAGE_REPORT => return FileKind::DamageReport,
            "quorum-state" => return FileKind::QuorumState,
            ".lock" => return FileKind::Lock,
            "bootstrap.checkpoint" => return FileKind::MetadataSnapshot { end_offset: 0, epoch: 0 },
            _ => {}
        }
        let Some((stem, suffix)) = name.rsplit_once('.') else { return FileKind::Unknown };
        if LEFTOVERS.contains(&suffix) {
            return FileKind::Leftover { suffix: suffix.to_owned() };
        }
        let base = offset_of(stem);
        match (suffix, base) {
            ("log", Some(base)) => FileKind::Segment { base },
            ("index", Some(base)) => FileKind::OffsetIndex { base },
            ("timeindex", Some(base)) => FileKind::TimeIndex { base },
            ("txnindex", Some(base)) => FileKind::TxnIndex { base },
            ("snapshot", Some(offset)) => FileKind::ProducerSnapshot { offset },
            ("keys", Some(base)) => FileKind::KeySketch { base },
            ("checkpoint", None) => metadata_snapshot(stem).unwrap_or(FileKind::Unknown),
            _ => FileKind::Unknown,
        }
    }
}

fn metadata_snapshot(stem: &str) -> Option<FileKind> {
    let (offset, epoch) = stem.split_once('-')?;
    let epoch = (epoch.len() == 10).then(|| epoch.parse().ok()).flatten()?;
    Some(FileKind::MetadataSnapshot { end_offset: offset_of(offset)?, epoch })
}

/// Twenty digits.
fn offset_of(stem: &str) -> Option<i64> {
    (stem.len() == 20 && stem.bytes().all(|b| b.is_ascii_digit())).then(|| stem.parse().ok()).flatten()
}

/// The name of a segment's file: twenty digits of its base offset, and what it holds (`log`, `index`, ...).
#[must_use]
pub fn segment_file_name(base: i64, suffix: &str) -> String {
    crate::segment::file_name(base, suffix)
}

/// Topic and partition of a partition's directory, by its name; `None` for any other directory, those set aside or
/// being deleted included.
#[must_use]
pub fn partition_dir(name: &str) -> Option<(&str, i32)> {
    let (topic, number) = name.rsplit_once('-')?;
    let partition = number.parse().ok().filter(|p: &i32| *p >= 0 && p.to_string() == number)?;
    (!topic.is_empty()).then_some((topic, partition))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        assert_eq!(FileKind::of("00000000000000000120.log"), FileKind::Segment { base: 120 });
        assert_eq!(FileKind::of("00000000000000000120.timeindex"), FileKind::TimeIndex { base: 120 });
        assert_eq!(
            FileKind::of("00000000000000000159-0000000003.checkpoint"),
            FileKind::MetadataSnapshot { end_offset: 159, epoch: 3 }
        );
        assert_eq!(FileKind::of("cleaner-offset-checkpoint"), FileKind::OffsetCheckpoint);
        assert_eq!(FileKind::of("clean-shutdown-index"), FileKind::ClosedIndex);
        assert_eq!(FileKind::of("damage-report.txt"), FileKind::DamageReport);
        assert_eq!(
            FileKind::of("00000000000000000120.log.deleted"),
            FileKind::Leftover { suffix: "deleted".to_owned() }
        );
        for name in ["120.log", "0000000000000000012x.log", "notes.txt", "-1.log", "99999999999999999999.log"] {
            assert_eq!(FileKind::of(name), FileKind::Unknown, "{name}");
        }
    }

    #[test]
    fn only_the_directory_of_a_partition_has_a_topic() {
        assert_eq!(partition_dir("a-b-12"), Some(("a-b", 12)));
        for name in ["a", "a-", "-1", "a-01", "a-1.0e5-delete", "a--1x"] {
            assert_eq!(partition_dir(name), None, "{name}");
        }
    }
}
