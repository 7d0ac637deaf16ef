//! Put a new segment in the place of some that lie next to each other, so that a crash at any moment leaves either.
//!
//! 1. The new files, whole and synced, end in `.cleaned`. They become `.swap`, the data last: from then on a start
//!    completes what follows; before, it throws them away (`swap`).
//! 2. The old files go, each segment's data first.
//! 3. The new ones get their names, the data first. What of the indexes a crash leaves as `.swap`, the start renames.
//!
//! These are Kafka's names, and an order that Kafka's start understands too.

use std::sync::Arc;

use super::{Log, Writer};
use crate::error::StorageError;
use crate::segment::Segment;
use crate::swap::{CLEANED, SWAP, remove_leftovers};

/// Whether the new segment is in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replaced {
    Yes,
    /// The old segments are not what they were: they have been dropped or cut meanwhile. The new files are gone.
    OutOfDate,
}

/// The data last when it is given up for, first when it takes over.
const INDEXES: [&str; 3] = ["txnindex", "timeindex", "index"];

impl Log {
    /// Replaces `old`, sealed segments in their order, by `new`, which begins where they begin and ends where they end,
    /// and whose files are synced under `.cleaned` names. The append lock is held for the renames only. To be called by a
    /// compaction, which keeps others from cutting the log meanwhile.
    pub(crate) fn replace(&self, old: &[Arc<Segment>], new: &Arc<Segment>) -> Result<Replaced, StorageError> {
        let suffixes: Vec<&str> = INDEXES.into_iter().filter(|s| *s != "txnindex" || new.has_txns()).collect();
        self.rename_all(new, CLEANED, SWAP, suffixes.iter().copied().chain(["log"]))?;
        self.disk.sync_dir(&self.path)?;
        {
            let mut writer = self.writer.lock();
            let segments = self.segments.load_full();
            let at = segments.iter().position(|s| old.first().is_some_and(|first| Arc::ptr_eq(s, first)));
            let is_current = at.is_some_and(|at| {
                let there = segments.get(at..at + old.len()).unwrap_or_default();
                there.len() == old.len() && there.iter().zip(old).all(|(a, b)| Arc::ptr_eq(a, b))
            });
            if let (Some(at), true, Ok(())) = (at, is_current, self.check_writable()) {
                self.swap_in(&mut writer, &segments, at, old, new, &suffixes).inspect_err(|error| {
                    // Neither the old files nor the new ones are all there: only a start can sort that out.
                    self.disk.take_offline(error);
                })?;
            } else {
                drop(writer);
                // The data is the first to lose its name, so that a crash cannot mistake the rest for a swap half done.
                self.rename_all(new, SWAP, CLEANED, ["log"])?;
                remove_leftovers(&self.disk, &self.path)?;
                return Ok(Replaced::OutOfDate);
            }
        }
        self.disk.sync_dir(&self.path)?;
        Ok(Replaced::Yes)
    }

    fn swap_in(
        &self,
        writer: &mut Writer,
        segments: &[Arc<Segment>],
        at: usize,
        old: &[Arc<Segment>],
        new: &Arc<Segment>,
        suffixes: &[&str],
    ) -> Result<(), StorageError> {
        // Readers that come by name now find nothing, and wait for the new list.
        old.iter().for_each(|segment| segment.retire());
        let delay_ms = self.config.load().file_delete_delay_ms;
        for (i, segment) in old.iter().enumerate() {
            // What the producers were where the first one begins is as true for the new one.
            segment.remove_replaced(i == 0, delay_ms)?;
        }
        self.rename_all(new, SWAP, "", ["log"].into_iter().chain(suffixes.iter().copied()))?;
        let mut list = Vec::with_capacity(segments.len() + 1 - old.len());
        list.extend_from_slice(&segments[..at]);
        list.push(Arc::clone(new));
        list.extend_from_slice(&segments[at + old.len()..]);
        self.segments.store(Arc::new(list));
        writer.sealed.retain(|sealed| !old.iter().any(|segment| Arc::ptr_eq(segment, &sealed.segment)));
        writer.names_dirty = true;
        self.stir();
        Ok(())
    }

    fn rename_all<'a>(
        &self,
        segment: &Segment,
        from: &str,
        to: &str,
        suffixes: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), StorageError> {
        for suffix in suffixes {
            let (from, to) = (segment.path(&format!("{suffix}{from}")), segment.path(&format!("{suffix}{to}")));
            self.disk.rename(&from, &to)?;
        }
        Ok(())
    }
}
