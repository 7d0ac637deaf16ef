//! A walk over the batches of a segment, and what follows from them: indexes, producers, epochs.

use bytes::Bytes;
use jackdaw_protocol::records::Batch;

use crate::disk::DataFile;
use crate::epochs::Epochs;
use crate::error::StorageError;
use crate::index::{OffsetIndex, Place, TimeIndex};
use crate::log::{AbortedTxn, transaction_marker};
use crate::producers::{Marker, Producers};
use crate::segment::{End, Segment};
use crate::walk::{Step, WalkError, Walker, Want};

/// Indexes of one segment as its walk builds them.
pub(crate) struct Scan {
    pub(crate) index: OffsetIndex,
    pub(crate) times: TimeIndex,
    pub(crate) end: End,
    pub(crate) since_index: u64,
    /// Where and why the walk ended before the end of the file.
    pub(super) bad: Option<(u64, String)>,
    /// Where the last batch begins, if offsets are missing before it: compaction took them, or the batch says what is not so.
    pub(super) after_gap: Option<End>,
}

impl Scan {
    /// What follows the last batch says that its offsets are not what they were, if anything may be wrong with them: then
    /// it is no part of the log.
    pub(super) fn doubt_last(&mut self, reason: &str) -> bool {
        let Some(end) = self.after_gap.take() else { return false };
        self.index.drop_last(end.size);
        self.bad = Some((u64::from(end.size), format!("offsets are missing before this batch, and {reason}")));
        self.end = end;
        true
    }
}

/// What the batches of a log say about it, taken in one after the other.
#[derive(Default)]
pub(super) struct Replay {
    pub(super) producers: Producers,
    pub(super) epochs: Epochs,
    pub(super) aborted: Vec<AbortedTxn>,
}

impl Replay {
    pub(super) fn apply(&mut self, step: &Step<'_>) {
        let header = &step.header;
        self.epochs.assign(header.leader_epoch(), header.base_offset());
        if header.producer_id() >= 0 {
            let marker = marker_of(step);
            let max_timestamp = header.max_timestamp();
            self.aborted.extend(self.producers.apply(header, header.base_offset(), max_timestamp, marker));
        }
    }
}

fn marker_of(step: &Step<'_>) -> Option<Marker> {
    if !step.header.is_control() {
        return None;
    }
    transaction_marker(&Batch::from_log(Bytes::copy_from_slice(step.bytes)).ok()?)
}

/// Walks the batches of a file: CRCs from offset `checked_from` on, headers below.
pub(super) fn scan(
    file: &DataFile,
    base: i64,
    size: u32,
    checked_from: i64,
    interval: u64,
    take: impl FnMut(Step<'_>),
) -> Result<Scan, StorageError> {
    let mut scan = Scan {
        index: OffsetIndex::default(),
        times: TimeIndex::default(),
        end: End { offset: base, size: 0 },
        since_index: 0,
        bad: None,
        after_gap: None,
    };
    go_on(&mut scan, file, base, (0, size), checked_from, interval, take)?;
    Ok(scan)
}

/// Goes on with a scan at a place behind damage; the base offset of the batch there.
pub(super) fn resume(
    scan: &mut Scan,
    file: &DataFile,
    base: i64,
    (position, size): (u64, u32),
    checked_from: i64,
    interval: u64,
    mut take: impl FnMut(Step<'_>),
) -> Result<i64, StorageError> {
    let mut resumed_at = scan.end.offset;
    let before = scan.index.len();
    let damaged_at = scan.end.offset;
    scan.since_index = u64::MAX >> 1; // the first batch gets an entry
    let mut first = true;
    go_on(scan, file, base, (position, size), checked_from, interval, |step| {
        if std::mem::take(&mut first) {
            resumed_at = step.header.base_offset();
        }
        take(step);
    })?;
    debug_assert!(scan.index.len() > before && resumed_at >= damaged_at);
    Ok(resumed_at)
}

fn go_on(
    scan: &mut Scan,
    file: &DataFile,
    base: i64,
    (position, size): (u64, u32),
    checked_from: i64,
    interval: u64,
    mut take: impl FnMut(Step<'_>),
) -> Result<(), StorageError> {
    let mut walker = Walker::new(file, position, u64::from(size), scan.end.offset);
    loop {
        let step = walker.next(|header| {
            if header.last_offset() >= checked_from {
                Want::Checked
            } else if header.is_control() {
                Want::Whole
            } else {
                Want::Header
            }
        });
        let step = match step {
            Ok(Some(step)) => step,
            Ok(None) => return Ok(()),
            Err(WalkError::Storage(error)) => return Err(error),
            Err(WalkError::Bad { position, reason }) => {
                if !(walker.is_disorder() && scan.doubt_last(&reason)) {
                    scan.bad = Some((position, reason));
                }
                return Ok(());
            }
        };
        let Ok(relative_offset) = u32::try_from(step.header.last_offset() - base) else {
            scan.bad = Some((step.position, "an offset too far from the segment's base".to_owned()));
            return Ok(());
        };
        scan.times.observe(step.header.max_timestamp(), relative_offset);
        if scan.since_index > interval {
            scan.index.push(Place { relative_offset, position: step.position as u32 });
            scan.times.mark();
            scan.since_index = 0;
        }
        scan.after_gap = (step.header.base_offset() > scan.end.offset).then_some(scan.end);
        let batch_size = step.header.size_in_bytes();
        scan.since_index += batch_size as u64;
        scan.end = End { offset: step.header.last_offset() + 1, size: step.position as u32 + batch_size as u32 };
        take(step);
    }
}

/// The indexes of a segment file whose batches are trusted.
pub(crate) fn scan_headers(segment: &Segment, file: &DataFile, size: u32, interval: u64) -> Result<Scan, StorageError> {
    let scan = scan(file, segment.base(), size, i64::MAX, interval, |_| {})?;
    match &scan.bad {
        Some((position, reason)) => Err(segment.corrupt(*position, reason)),
        None => Ok(scan),
    }
}
