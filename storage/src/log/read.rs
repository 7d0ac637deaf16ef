//! Read: whole batches, unchanged and not copied. No lock.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{AbortedTxn, Log, Slice};
use crate::error::{ReadError, StorageError};
use crate::segment::Segment;

impl Log {
    /// Whole batches from the one that holds `offset` on, out of one segment: at most `max_bytes`, all below
    /// `upper_bound` (exclusive: the high watermark, the last stable offset or the log end). With `at_least_one`, the
    /// first batch comes even if it is larger than `max_bytes`. Empty if the bounds leave nothing.
    ///
    /// Pages that are not in memory are read from the disk while the caller waits: see [`Log::probably_cold`].
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
        upper_bound: i64,
    ) -> Result<Slice, ReadError> {
        loop {
            let (start, end) = (self.log_start_offset(), self.log_end_offset());
            let sound = self.damage.as_ref().map_or(Ok(i64::MAX), |damage| damage.at(offset))?;
            if offset < start || offset > end {
                return Err(ReadError::OutOfRange { offset, start, end });
            }
            let bound = upper_bound.min(end).min(sound);
            let nothing = Slice { bytes: Bytes::new(), first_offset: offset, source: None };
            if offset >= bound {
                return Ok(nothing);
            }
            let segments = self.segments.load();
            let first = segments.partition_point(|s| s.base() <= offset).saturating_sub(1);
            let mut replaced = false;
            for segment in &segments[first..] {
                if segment.base() >= bound {
                    break;
                }
                match segment.read(offset, max_bytes, at_least_one, bound) {
                    Ok(None) => {} // compaction may leave nothing of an offset's segment: go on with the next
                    Ok(Some(found)) => {
                        let source = Some((found.map, found.range.0 as usize));
                        return Ok(Slice { bytes: found.bytes, first_offset: found.first_offset, source });
                    }
                    Err(_) if segment.is_gone() => {
                        replaced = true;
                        break;
                    }
                    Err(error) => {
                        if let Some(shared) = self.shared.upgrade() {
                            shared.note_damage(self, offset.max(segment.base()), &error);
                        }
                        return Err(error.into());
                    }
                }
            }
            if !replaced {
                return Ok(nothing);
            }
            self.await_new_segments()?;
        }
    }

    /// Whether reading there would probably wait for the disk: then it is better done on a thread that may block. A
    /// guess, made with a few cheap probes; wrong guesses cost time only.
    pub fn probably_cold(&self, offset: i64, max_bytes: usize) -> bool {
        let segments = self.segments.load();
        let at = segments.partition_point(|s| s.base() <= offset).saturating_sub(1);
        offset < self.log_end_offset() && segments.get(at).is_some_and(|s| s.is_cold(offset, max_bytes))
    }

    /// The aborted transactions that a reader of `from..to` needs to know.
    pub fn aborted_transactions(&self, from: i64, to: i64) -> Result<Vec<AbortedTxn>, StorageError> {
        self.with_segments(|segments| {
            let first = segments.partition_point(|s| s.base() <= from).saturating_sub(1);
            let mut aborted = Vec::new();
            for segment in &segments[first..] {
                let is_complete = segment.with_txns(|txns| {
                    aborted.extend(txns.iter().filter(|t| t.last_offset >= from && t.first_offset < to));
                    txns.iter().any(|t| t.last_stable_offset >= to)
                })?;
                if is_complete {
                    break;
                }
            }
            Ok(aborted)
        })
    }

    /// Asks the segments something, and asks again if one of them was replaced or removed meanwhile: what is read by the
    /// names of its files may be another's by then, or nothing.
    pub(super) fn with_segments<T>(
        &self,
        ask: impl Fn(&[Arc<Segment>]) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        loop {
            let segments = self.segments.load_full();
            let answer = ask(&segments);
            if !segments.iter().any(|s| s.is_gone()) {
                return answer;
            }
            self.await_new_segments()?;
        }
    }

    /// To be called when a segment of the list was found replaced: the new list is about to be published. `Err` if there
    /// will be none.
    fn await_new_segments(&self) -> Result<(), StorageError> {
        if self.is_deleted() {
            return Err(self.deleted_error());
        }
        self.disk.check_online()?;
        std::thread::yield_now();
        Ok(())
    }

    #[doc(hidden)]
    /// First unstable offset, for tests and metrics of hanging transactions.
    pub fn first_unstable_offset(&self) -> Option<i64> {
        Some(self.first_unstable.load(Ordering::Acquire)).filter(|&offset| offset != i64::MAX)
    }
}
