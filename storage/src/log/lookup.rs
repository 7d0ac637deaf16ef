//! Lookups by time: the time index narrows, the batches' headers decide, and one batch is decoded.

use std::sync::Arc;

use bytes::Bytes;
use jackdaw_protocol::records::{Batch, records};

use super::{Log, TimestampOffset};
use crate::error::StorageError;
use crate::segment::Segment;
use crate::walk::{Step, WalkError, Walker, Want};

/// Most bytes that one compressed batch may unfold to in a lookup. What unfolds further is answered for by its header.
const DECODED_MAX: usize = 128 << 20;

impl Log {
    /// The first record whose timestamp is not below `timestamp`, in ms; `None` if all are older.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<TimestampOffset>, StorageError> {
        let log_start = self.log_start_offset();
        self.with_segments(|segments| offset_for_timestamp(segments, timestamp, log_start))
    }

    /// The first of the records with the largest timestamp; `None` if no record has one.
    pub fn max_timestamp(&self) -> Result<Option<TimestampOffset>, StorageError> {
        let log_start = self.log_start_offset();
        self.with_segments(|segments| max_timestamp(segments, log_start))
    }
}

fn offset_for_timestamp(
    segments: &[Arc<Segment>],
    timestamp: i64,
    log_start: i64,
) -> Result<Option<TimestampOffset>, StorageError> {
    for segment in segments {
        if segment.end().offset <= log_start {
            continue;
        }
        let Some(floor) = segment.time_floor(timestamp)? else { continue };
        let from = (segment.base() + i64::from(floor)).max(log_start);
        let found = search(
            segment,
            from,
            |step| {
                let is_candidate = step.header.max_timestamp() >= timestamp && step.header.last_offset() >= log_start;
                is_candidate.then(|| first_record(&step, log_start, |t| t >= timestamp)).flatten()
            },
            |max_timestamp| max_timestamp >= timestamp,
        )?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn max_timestamp(segments: &[Arc<Segment>], log_start: i64) -> Result<Option<TimestampOffset>, StorageError> {
    let mut best: Option<(i64, &Segment)> = None;
    for segment in segments.iter().filter(|s| s.end().offset > log_start) {
        let Some(mut largest) = segment.with_times(|times| times.largest())? else { continue };
        if segment.base() + i64::from(largest.relative_offset) < log_start {
            // The youngest batch of the segment has been deleted: look at the others.
            let Some(timestamp) = largest_from(segment, log_start)? else { continue };
            largest.timestamp = timestamp;
        }
        if best.is_none_or(|(timestamp, _)| largest.timestamp > timestamp) {
            best = Some((largest.timestamp, segment));
        }
    }
    let Some((timestamp, segment)) = best else { return Ok(None) };
    let found = first_at(segment, timestamp, log_start)?;
    // The batch with the largest timestamp may have lost its records to compaction.
    if found.is_some() { Ok(found) } else { max_timestamp_of_records(segments, log_start) }
}

/// [`max_timestamp`] by looking at every record.
fn max_timestamp_of_records(
    segments: &[Arc<Segment>],
    log_start: i64,
) -> Result<Option<TimestampOffset>, StorageError> {
    let mut best: Option<(i64, &Segment)> = None;
    for segment in segments.iter().filter(|s| s.end().offset > log_start) {
        let largest = largest_from(segment, log_start.max(segment.base()))?;
        if let Some(timestamp) = largest.filter(|&t| best.is_none_or(|(best, _)| t > best)) {
            best = Some((timestamp, segment));
        }
    }
    best.map_or(Ok(None), |(timestamp, segment)| first_at(segment, timestamp, log_start))
}

/// The first record of the segment that is not older than `timestamp`, its largest.
fn first_at(segment: &Segment, timestamp: i64, log_start: i64) -> Result<Option<TimestampOffset>, StorageError> {
    let floor = segment.time_floor(timestamp)?.unwrap_or(0);
    let from = log_start.max(segment.base() + i64::from(floor));
    search(
        segment,
        from,
        |step| first_record(&step, log_start, |t| t >= timestamp),
        |max_timestamp| max_timestamp >= timestamp,
    )
}

/// Walks from the batch that holds `from`, and shows `look` the whole batches whose max timestamp `is_wanted`.
fn search(
    segment: &Segment,
    from: i64,
    look: impl Fn(Step<'_>) -> Option<TimestampOffset>,
    is_wanted: impl Fn(i64) -> bool,
) -> Result<Option<TimestampOffset>, StorageError> {
    let file = segment.open_read()?;
    let start = u64::from(segment.walk_start(from)?);
    let mut walker = Walker::new(&file, start, u64::from(segment.end().size), segment.base());
    loop {
        let step = walker
            .next(|h| if is_wanted(h.max_timestamp()) && h.last_offset() >= from { Want::Whole } else { Want::Header });
        let Some(step) = step.map_err(|e| as_storage(segment, e))? else { return Ok(None) };
        if is_wanted(step.header.max_timestamp())
            && step.header.last_offset() >= from
            && let Some(found) = look(step)
        {
            return Ok(Some(found));
        }
    }
}

/// Largest timestamp of the batches that reach to `log_start` or beyond.
fn largest_from(segment: &Segment, log_start: i64) -> Result<Option<i64>, StorageError> {
    let file = segment.open_read()?;
    let start = u64::from(segment.walk_start(log_start)?);
    let mut walker = Walker::new(&file, start, u64::from(segment.end().size), segment.base());
    let mut largest = None;
    while let Some(step) = walker.next(|_| Want::Whole).map_err(|e| as_storage(segment, e))? {
        if step.header.last_offset() >= log_start && largest.is_none_or(|l| step.header.max_timestamp() > l) {
            // The max timestamp of a batch that begins before the start may be a deleted record's.
            let candidate = last_of(&step, log_start);
            largest = largest.max(candidate);
        }
    }
    Ok(largest.filter(|&timestamp| timestamp >= 0))
}

fn last_of(step: &Step<'_>, log_start: i64) -> Option<i64> {
    let batch = Batch::from_log(Bytes::copy_from_slice(step.bytes)).ok()?;
    let decoded = records(&batch, DECODED_MAX).ok()?;
    let live = decoded.iter().flatten().filter(|r| decoded.offset(r) >= log_start);
    live.map(|r| decoded.timestamp(&r)).max()
}

/// The first record at or above `log_start` whose timestamp is `wanted`.
fn first_record(step: &Step<'_>, log_start: i64, wanted: impl Fn(i64) -> bool) -> Option<TimestampOffset> {
    let leader_epoch = step.header.leader_epoch();
    let by_header = TimestampOffset {
        offset: step.header.base_offset().max(log_start),
        timestamp: step.header.max_timestamp(),
        leader_epoch,
    };
    let Ok(batch) = Batch::from_log(Bytes::copy_from_slice(step.bytes)) else { return Some(by_header) };
    let decoded = match records(&batch, DECODED_MAX) {
        Ok(decoded) => decoded,
        Err(error) => {
            tracing::warn!(offset = by_header.offset, %error, "a batch cannot be decoded; its header answers for it");
            return Some(by_header);
        }
    };
    decoded.iter().flatten().find_map(|record| {
        let (offset, timestamp) = (decoded.offset(&record), decoded.timestamp(&record));
        (offset >= log_start && wanted(timestamp)).then_some(TimestampOffset { offset, timestamp, leader_epoch })
    })
}

pub(crate) fn as_storage(segment: &Segment, error: WalkError) -> StorageError {
    match error {
        WalkError::Storage(error) => error,
        WalkError::Bad { position, reason } => segment.corrupt(position, &reason),
    }
}
