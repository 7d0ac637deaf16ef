//! Compaction of a log: what is dirty, and the round that cleans it. The work is in `compaction`; here are the locks.
//!
//! A round holds `cleaning` from its beginning to its end, and no other lock but for moments: appends and reads go on.
//! Who cuts or deletes the log first makes the round give up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jackdaw_protocol::records::{HEADER_LEN, Header};
use parking_lot::MutexGuard;

use super::Log;
use crate::compaction::Dirty;
use crate::compaction::plan::{self, Bounds, Facts};
use crate::error::StorageError;
use crate::segment::Segment;

/// No compaction of the log runs while this exists.
pub(crate) struct NotCleaning<'a> {
    log: &'a Log,
    _held: MutexGuard<'a, ()>,
}

impl Drop for NotCleaning<'_> {
    fn drop(&mut self) {
        self.log.cleaning_unwanted.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Log {
    /// What a compaction would find, whether or not it is time for one; `None` where the log is not to be compacted, or
    /// nothing but its active segment is there. Cheap but for `min.compaction.lag.ms` and `max.compaction.lag.ms`, which
    /// look at the dirty segments.
    pub fn compaction_candidate(&self, now_ms: i64) -> Result<Option<Dirty>, StorageError> {
        let config = self.config.load();
        if !config.compact || self.damage.is_some() || self.segment_count() < 2 {
            return Ok(None);
        }
        let segments = self.segments.load_full();
        let Some((active, sealed)) = segments.split_last() else { return Ok(None) };
        let facts: Vec<Facts> = sealed.iter().map(|s| facts_of(s, (0, 0))).collect();
        let bounds = self.compaction_bounds();
        let first_dirty = bounds.first_dirty().0;
        let dirty =
            if first_dirty >= active.base() { &[][..] } else { &sealed[plan::holder_of(&facts, first_dirty)..] };
        let mut lagging = None;
        if config.min_compaction_lag_ms > 0 {
            let youngest = now_ms.saturating_sub(config.min_compaction_lag_ms);
            for segment in dirty {
                if segment.newest_ms()? > youngest {
                    lagging = Some(segment.base());
                    break;
                }
            }
        }
        let mut found = plan::dirty(&facts, active.base(), &bounds, lagging);
        if config.max_compaction_lag_ms < i64::MAX {
            let latest = now_ms.saturating_sub(config.max_compaction_lag_ms.max(0));
            for segment in dirty {
                if let Some(first) = first_timestamp(segment)?.filter(|&first| first > 0) {
                    found.overdue_ms = found.overdue_ms.max(latest.saturating_sub(first));
                }
            }
        }
        Ok(Some(found))
    }

    /// Whether `cleanup.policy` names compact, and a segment beside the active one holds something that was not compacted.
    pub(crate) fn has_dirty_segments(&self) -> bool {
        if !self.config.load().compact || self.segment_count() < 2 {
            return false;
        }
        let active = self.segments.load().last().map_or(0, |active| active.base());
        self.compaction_bounds().first_dirty().0 < active
    }

    /// Something happened that may make [`Log::has_dirty_segments`] true: the cleaner has to look.
    pub(crate) fn queue_for_compaction(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.queue_for_compaction(self);
        }
    }

    /// The share of the log that a compaction could clean, 0 to 1; `None` where there is nothing to say.
    pub fn cleanable_ratio(&self, now_ms: i64) -> Option<f64> {
        self.compaction_candidate(now_ms).ok().flatten().map(|dirty| dirty.ratio())
    }

    /// Below it, the log has been compacted: the offset that `cleaner-offset-checkpoint` has.
    pub fn cleaned_offset(&self) -> Option<i64> {
        self.shared.upgrade()?.cleaned_offset(self)
    }

    /// Notes how far the log has been compacted, in the directory's file too.
    pub fn set_cleaned_offset(&self, offset: i64) -> Result<(), StorageError> {
        match self.shared.upgrade() {
            Some(shared) if !self.is_deleted() => shared.set_cleaned_offset(self, offset),
            _ => Ok(()),
        }
    }

    fn compaction_bounds(&self) -> Bounds {
        Bounds {
            log_start: self.log_start_offset(),
            log_end: self.log_end_offset(),
            last_stable: self.last_stable_offset(),
            cleaned: self.cleaned_offset(),
        }
    }

    /// Makes a compaction give up, and keeps the next one from beginning for as long as what this returns exists.
    pub(crate) fn pause_cleaning(&self) -> NotCleaning<'_> {
        self.cleaning_unwanted.fetch_add(1, Ordering::AcqRel);
        NotCleaning { log: self, _held: self.cleaning.lock() }
    }

    /// Takes one [`Log::stop_cleaning`] back: the log stays after all.
    pub(crate) fn allow_cleaning(&self) {
        self.cleaning_unwanted.fetch_sub(1, Ordering::AcqRel);
    }

    /// Makes a compaction give up for good: the log is about to go. Returns when it has.
    pub(crate) fn stop_cleaning(&self) {
        self.cleaning_unwanted.fetch_add(1, Ordering::AcqRel);
        drop(self.cleaning.lock());
    }
}

fn facts_of(segment: &Arc<Segment>, index_sizes: (u32, u32)) -> Facts {
    Facts { base: segment.base(), size: segment.end().size, index_sizes }
}

/// Max timestamp of the first batch.
fn first_timestamp(segment: &Segment) -> Result<Option<i64>, StorageError> {
    if segment.end().size == 0 {
        return Ok(None);
    }
    let mut head = [0; HEADER_LEN];
    segment.open_read()?.read_at(&mut head, 0)?;
    Ok(Header::parse(&head).ok().map(|header| header.max_timestamp()))
}
