//! What cannot be read in a directory, told once in the log and kept in a file for whoever has to repair it.
//!
//! Two ways lead here: a start that quarantines a log, and a read that meets damage in a segment that no start looks
//! into, because it had been synced long before.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::shared::Shared;
use crate::disk::unless_full;
use crate::error::StorageError;
use crate::log::Log;

/// The file, in the root of the directory; there is none while nothing is known to be damaged.
pub const DAMAGE_REPORT: &str = "damage-report.txt";
/// As many places found by reads are kept.
const MAX_FOUND: usize = 1000;

/// Offsets of a partition that cannot be read.
#[derive(Debug, Clone)]
pub struct DamagedRange {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The first of the offsets.
    pub from: i64,
    /// The next one that can be read, as far as it is known.
    pub to: Option<i64>,
    /// Whether the partition takes no records because of it.
    pub quarantined: bool,
    /// File, position and reason.
    pub error: StorageError,
}

/// Damage that reads have met: by file and position.
#[derive(Default)]
pub(super) struct FoundDamage(Mutex<BTreeMap<(Arc<Path>, u64), DamagedRange>>);

impl Shared {
    /// What is known, by topic and partition.
    pub(super) fn damaged_ranges(&self) -> Vec<DamagedRange> {
        let mut ranges: Vec<_> = self.found_damage.0.lock().values().cloned().collect();
        let logs = self.logs.lock();
        ranges.retain(|range| logs.contains_key(&(Arc::clone(&range.topic), range.partition)));
        for log in logs.values() {
            for hole in log.holes() {
                ranges.push(DamagedRange {
                    topic: Arc::clone(log.topic_arc()),
                    partition: log.partition(),
                    from: hole.from,
                    to: Some(hole.to).filter(|&to| to < i64::MAX),
                    quarantined: true,
                    error: hole.error.clone(),
                });
            }
        }
        ranges.sort_by(|a, b| (&a.topic, a.partition, a.from).cmp(&(&b.topic, b.partition, b.from)));
        ranges
    }

    /// Writes the file, or removes it where nothing is damaged.
    pub(super) fn report_damage(&self) -> Result<(), StorageError> {
        let path = self.disk.root().join(DAMAGE_REPORT);
        let ranges = self.damaged_ranges();
        if ranges.is_empty() {
            return if self.disk.exists(&path) { self.disk.remove_file(&path) } else { Ok(()) };
        }
        unless_full(self.disk.replace_file(&path, report(&ranges).as_bytes())).map(drop)
    }

    /// To be called where a read met damage at `offset`. The first time, it is told.
    pub(crate) fn note_damage(&self, log: &Log, offset: i64, error: &StorageError) {
        let StorageError::Corrupt { path, position, .. } = error else { return };
        {
            let mut found = self.found_damage.0.lock();
            let key = (Arc::clone(path), *position);
            if found.contains_key(&key) || found.len() >= MAX_FOUND {
                return;
            }
            let (topic, partition) = (Arc::clone(log.topic_arc()), log.partition());
            let range =
                DamagedRange { topic, partition, from: offset, to: None, quarantined: false, error: error.clone() };
            found.insert(key, range);
        }
        tracing::error!(
            topic = log.topic(), partition = log.partition(), offset, %error,
            "a reader met damage; what is sound around it is served"
        );
        if self.disk.check_online().is_ok()
            && let Err(error) = self.report_damage()
        {
            tracing::warn!(dir = %self.disk.root().display(), %error, "{DAMAGE_REPORT} is not written");
        }
    }
}

fn report(ranges: &[DamagedRange]) -> String {
    let mut text = "\
Jackdaw has found damage in this directory. Everything else in it is served.

To repair a partition: stop the broker, put an undamaged copy of the file in the place of the damaged one, remove the
.index, .timeindex, .txnindex and .snapshot files of its partition (they are made again), and start the broker. Without
a copy: read what is sound into a new topic, then delete the topic. This file is written anew at every start.
"
    .to_owned();
    for range in ranges {
        let StorageError::Corrupt { path, position, reason } = &range.error else { continue };
        let last = range.to.map_or("on".to_owned(), |to| format!("to {}", to - 1));
        let takes = if range.quarantined { "no records until it is repaired" } else { "records, as before" };
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\npartition {}-{}\n  unreadable  offsets from {} {last}\n  file        {}, from byte {position} on\n  \
             cause       {reason}\n  it takes    {takes}\n",
            range.topic,
            range.partition,
            range.from,
            path.display(),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_file_offsets_and_cause() {
        let error =
            StorageError::Corrupt { path: Path::new("/d/t-3/0.log").into(), position: 77, reason: "why".into() };
        let range = DamagedRange { topic: "t".into(), partition: 3, from: 10, to: Some(20), quarantined: true, error };
        let text = report(&[range.clone(), DamagedRange { to: None, quarantined: false, ..range }]);
        for wanted in
            ["partition t-3", "offsets from 10 to 19\n", "offsets from 10 on\n", "/d/t-3/0.log, from byte 77 on", "why"]
        {
            assert!(text.contains(wanted), "{wanted} is not in {text}");
        }
    }
}
