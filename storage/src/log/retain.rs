//! Retention: drop from the front of a log what its policy does not keep any longer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Log, Writer};
use crate::config::LogConfig;
use crate::error::StorageError;
use crate::retention::{Bounds, Facts, Hold, Plan, Reason, near_ms, plan, reason};
use crate::segment::Segment;

/// Clocks that go wrong by less than this are nothing to talk about.
const FUTURE_MIN_MS: i64 = 60_000;

/// A segment that retention dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Its first offset.
    pub base_offset: i64,
    /// The offset after its last record.
    pub end_offset: i64,
    /// Bytes of its batches.
    pub bytes: u32,
    /// Why it went.
    pub reason: Reason,
}

/// What a round of retention did to one log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retained {
    /// What went, oldest first.
    pub dropped: Vec<Dropped>,
    /// Bytes that are due and are kept by the [`Hold`].
    pub held_bytes: u64,
}

/// How far the records of a log are from being dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// Something would go, were it not held.
    pub is_due: bool,
    /// Records below this offset are due by size or time, or have come at least 80 % of the way; the log start offset
    /// if there are none.
    pub near_until: i64,
    /// When the first of those goes by `retention.ms`, in ms since 1970; `None` where only the size decides.
    pub goes_at_ms: Option<i64>,
    /// Where there are none, and as long as nothing happens to the log: before this time there are none; `i64::MAX` for
    /// never.
    pub look_at_ms: i64,
}

impl Log {
    /// What the policy will do next. Looks at the disk at most once for each segment, and not at all where nothing can
    /// be due; allocates nothing.
    pub fn retention_outlook(&self, now_ms: i64) -> Result<Outlook, StorageError> {
        let (config, segments) = (self.config.load(), self.segments.load());
        let plan = self.plan(&segments, &config, now_ms, &Hold::NONE)?;
        self.warn_of_future(plan, now_ms)?;
        let near_until = match plan.near.checked_sub(1) {
            Some(last) if plan.near > plan.start => segments[last].end().offset,
            _ => self.log_start_offset(),
        };
        let (mut goes_at_ms, mut look_at_ms) = (None, i64::MAX);
        if config.delete && config.retention_ms >= 0 && segments[plan.start].end().size > 0 {
            let newest_ms = segments[plan.start].newest_ms()?;
            goes_at_ms = (plan.near > plan.start).then(|| newest_ms.saturating_add(config.retention_ms));
            look_at_ms = newest_ms.saturating_add(near_ms(config.retention_ms));
        }
        Ok(Outlook { is_due: plan.due > 0, near_until, goes_at_ms, look_at_ms })
    }

    /// Drops the segments that are past `retention.ms`, `retention.bytes` or below the log start, as far as `hold` lets
    /// it, and moves the log start with them. What is left of their files goes with [`crate::LogDir::purge`].
    ///
    /// Costs a look at memory where nothing is due. Otherwise it waits for a sync that is going on, and holds up appends
    /// only while the list of segments is changed.
    pub fn retain(&self, now_ms: i64, hold: Hold) -> Result<Retained, StorageError> {
        let ahead = self.plan(&self.segments.load(), &self.config.load(), now_ms, &hold)?;
        self.warn_of_future(ahead, now_ms)?;
        if ahead.drop == 0 {
            return Ok(Retained { dropped: Vec::new(), held_bytes: ahead.held_bytes });
        }
        let _not_cleaning = self.config.load().compact.then(|| self.pause_cleaning());
        // Flushes and truncation use the files' names too.
        let flushing = self.flush_lock.lock();
        let mut writer = self.writer.lock();
        self.check_writable()?;
        let config = self.config.load();
        let segments = self.segments.load_full();
        let plan = self.plan(&segments, &config, now_ms, &hold)?;
        let dropped = self.describe(&segments[..plan.drop], &segments, plan, &config, now_ms)?;
        if plan.drop == segments.len() {
            self.roll(&mut writer, &config)?;
        }
        let gone = self.drop_front(&mut writer, plan.drop);
        let _flushing = self.flush_before_removal(writer, flushing, &gone)?;
        for segment in gone {
            if let Err(error) = segment.remove(config.file_delete_delay_ms) {
                tracing::warn!(%error, "files that retention dropped stay until a start drops them again");
                break; // a later one without its predecessors would be a gap to that start
            }
        }
        Ok(Retained { dropped, held_bytes: plan.held_bytes })
    }

    fn plan(
        &self,
        segments: &[Arc<Segment>],
        config: &LogConfig,
        now_ms: i64,
        hold: &Hold,
    ) -> Result<Plan, StorageError> {
        let bounds = Bounds { log_start: self.log_start_offset(), high_watermark: self.high_watermark(), now_ms };
        let facts = |i: usize| {
            let end = segments[i].end();
            Facts { end: end.offset, size: end.size }
        };
        plan(segments.len(), facts, |i| segments[i].newest_ms(), config, bounds, hold)
    }

    fn describe(
        &self,
        dropped: &[Arc<Segment>],
        all: &[Arc<Segment>],
        plan: Plan,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<Vec<Dropped>, StorageError> {
        let mut after: u64 = all.iter().map(|s| u64::from(s.end().size)).sum();
        let describe = |(i, segment): (usize, &Arc<Segment>)| {
            let end = segment.end();
            after -= u64::from(end.size);
            let reason = if i < plan.start {
                Reason::LogStart
            } else {
                let age_ms = now_ms.saturating_sub(segment.newest_ms()?);
                reason(config, after, age_ms).unwrap_or(Reason::Time)
            };
            Ok(Dropped { base_offset: segment.base(), end_offset: end.offset, bytes: end.size, reason })
        };
        dropped.iter().enumerate().map(describe).collect()
    }

    /// Takes the first segments off the log, and moves its start to the next one if it lies below. Their files are the
    /// caller's to remove, after [`Log::flush_before_removal`]. The last segment always stays.
    pub(super) fn drop_front(&self, writer: &mut Writer, count: usize) -> Vec<Arc<Segment>> {
        let segments = self.segments.load_full();
        let (dropped, kept) = segments.split_at(count.min(segments.len() - 1));
        if dropped.is_empty() {
            return Vec::new();
        }
        // Before the segments go: a reader of what they held must find itself out of range, not further on.
        self.start.fetch_max(kept[0].base(), Ordering::SeqCst);
        self.checkpoint_is_due();
        if writer.epochs.truncate_start(self.log_start_offset()) {
            writer.epochs_dirty = true;
        }
        self.segments.store(Arc::new(kept.to_vec()));
        // What of them waits to be synced goes on waiting: see `flush_before_removal`.
        writer.names_dirty = true;
        dropped.to_vec()
    }

    /// A segment with timestamps well in the future stays longer than its policy says: told once.
    fn warn_of_future(&self, plan: Plan, now_ms: i64) -> Result<(), StorageError> {
        let segments = self.segments.load();
        let Some(segment) = plan.future.and_then(|at| segments.get(at)) else { return Ok(()) };
        let newest_ms = segment.newest_ms()?;
        if newest_ms.saturating_sub(now_ms) >= FUTURE_MIN_MS && segment.tell_future_once() {
            tracing::warn!(
                topic = %self.topic, partition = self.partition, base_offset = segment.base(), newest_ms, now_ms,
                "a segment holds timestamps of the future, and nothing from it on is dropped by age before that time has \
                 come; message.timestamp.after.max.ms bounds what producers may write"
            );
        }
        Ok(())
    }
}
