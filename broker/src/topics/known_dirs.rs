//! Which log directories this broker has had. A partition that is in none of those that are here is made anew, empty,
//! only if all are here: a disk that is not mounted, or that failed, must not cost what is on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::hosting::FoundLogs;
use super::image::Image;
use super::{Topics, absolute};
use crate::partition::Flusher;

/// Ids with paths.
type Dirs = BTreeMap<String, String>;

impl Topics {
    /// What should be here and is not, in words.
    pub(super) fn absent_dirs(&self, image: &Image) -> Vec<String> {
        let here = self.dirs_here();
        let failed = self.failed_dirs.iter().map(|failed| failed.path.display().to_string());
        let known = image.log_dirs.get(&self.node_id).into_iter().flatten();
        let gone = known.filter(|(id, _)| !here.contains_key(*id)).map(|(_, path)| path.clone());
        let mut absent: Vec<String> = failed.chain(gone).collect();
        absent.sort_unstable();
        absent.dedup();
        absent
    }

    /// The directories that are here, and those that are not for as long as something may be in them: what the metadata
    /// shall remember of this broker, by the registration that follows.
    pub fn dirs_to_remember(&self) -> BTreeMap<String, String> {
        let mut dirs = self.dirs_here();
        if self.has_offline.load(Ordering::Relaxed) || !self.failed_dirs.is_empty() {
            dirs.extend(self.image().log_dirs.get(&self.node_id).cloned().unwrap_or_default());
        }
        dirs
    }

    /// Whether partitions may be in directories that are not here.
    pub(super) fn note_offline(&self, found: &FoundLogs) {
        self.has_offline.store(found.offline > 0, Ordering::Relaxed);
        if found.offline > 0 {
            tracing::error!(
                partitions = found.offline, absent = %found.absent.join(", "),
                "partitions are offline because log directories are not here; mount or repair these and restart the broker, or \
                 delete the topics to give up what they held"
            );
        }
    }

    fn dirs_here(&self) -> Dirs {
        let entry = |flusher: &Arc<Flusher>| {
            let dir = flusher.dir();
            (dir.directory_id().to_string(), absolute(dir.path()).display().to_string())
        };
        self.dirs.iter().map(entry).collect()
    }
}
