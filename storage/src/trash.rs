//! What was deleted and is still on the disk, under a name that no start reads: `file.delete.delay.ms` has to pass first,
//! so that whoever still reads it (a person with a tool, a copy being made) finishes.
//!
//! The crate has no clock: an entry's time begins when [`Trash::take_due`] first sees it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::Disk;
use crate::segment::file_name;

/// The files that a segment may have.
pub(crate) const SEGMENT_FILES: [&str; 5] = ["log", "index", "timeindex", "txnindex", "snapshot"];

/// What waits for its time.
#[derive(Default)]
pub(crate) struct Trash {
    waiting: Mutex<Vec<Deleted>>,
}

/// One thing that was deleted.
struct Deleted {
    what: What,
    delay_ms: i64,
    since_ms: Option<i64>,
}

/// Where it is.
pub(crate) enum What {
    /// The renamed files of a segment.
    Segment { dir: Arc<Path>, base: i64 },
    /// The renamed directory of a partition.
    Directory(PathBuf),
}

/// The name that a deleted file waits under.
pub(crate) fn deleted_path(dir: &Path, base: i64, suffix: &str) -> PathBuf {
    dir.join(file_name(base, &format!("{suffix}.deleted")))
}

impl Trash {
    /// Adds something that was renamed.
    pub(crate) fn add(&self, what: What, delay_ms: i64) {
        self.waiting.lock().push(Deleted { what, delay_ms, since_ms: None });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }

    /// Takes out what has waited long enough; `None` takes all.
    pub(crate) fn take_due(&self, now_ms: Option<i64>) -> Vec<What> {
        let mut waiting = self.waiting.lock();
        if waiting.is_empty() {
            return Vec::new();
        }
        let mut due = Vec::new();
        for mut deleted in std::mem::take(&mut *waiting) {
            let is_due = now_ms.is_none_or(|now_ms| {
                // A clock that was set back begins anew.
                let since = deleted.since_ms.filter(|&since| since <= now_ms).unwrap_or(now_ms);
                deleted.since_ms = Some(since);
                now_ms - since >= deleted.delay_ms
            });
            if is_due {
                due.push(deleted.what);
            } else {
                waiting.push(deleted);
            }
        }
        due
    }
}

impl Disk {
    /// Removes what is due; `None` takes all. See [`crate::LogDir::purge`].
    pub(crate) fn empty_trash(&self, now_ms: Option<i64>) -> usize {
        if self.failure().is_some() {
            return 0; // nothing can be removed any more
        }
        let due = self.trash.take_due(now_ms);
        for what in &due {
            let removed = match what {
                What::Directory(path) => self.remove_dir_all(path),
                What::Segment { dir, base } => {
                    SEGMENT_FILES.into_iter().try_for_each(|suffix| self.remove_file(&deleted_path(dir, *base, suffix)))
                }
            };
            if let Err(error) = removed {
                tracing::warn!(%error, "what was deleted stays on the disk until the next start");
            }
        }
        due.len()
    }
}
