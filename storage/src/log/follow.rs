//! A log that follows another broker's: the leader's batches are appended as they are, with their offsets and epochs.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use jackdaw_protocol::records::{Batch, filler};

use super::{Append, Log, Origin, Writer};
use crate::error::{AppendError, StorageError};

/// Offsets farther apart than this do not fit one segment.
const GAP_MAX: i64 = i32::MAX as i64 / 2;
/// The widest gap is bridged with so many batches without records.
const FILLERS_MAX: usize = 64;

impl Log {
    /// From here on, who appends in an epoch of leadership below `epoch` is refused: on behalf of itself or of a leader.
    /// An append that is under way when this is called has been made when it returns. A fence is never lowered, and not
    /// remembered by the disk.
    pub fn fence(&self, epoch: i32) {
        let mut writer = self.writer.lock();
        writer.fence = writer.fence.max(epoch);
    }

    /// Appends batches that the leader of `epoch` has sent, in their order and all or none of what does not fit any more;
    /// returns the log end offset. Their bytes stay as they are. An empty log takes a first batch that begins below its
    /// end: the leader's log starts in the middle of it.
    ///
    /// When it returns, they are in the page cache; [`Log::flush`] brings them to the disk.
    ///
    /// # Errors
    /// The batches do not go on where this log ends, or in an epoch older than its last: nothing is appended of them and
    /// what follows. `epoch` is below the fence. Or the disk failed.
    pub fn append_as_follower(&self, epoch: i32, batches: &[Batch], now_ms: i64) -> Result<i64, AppendError> {
        let (Some(first), true) = (batches.first(), self.log_end_offset() == self.log_start_offset()) else {
            return self.append_leaders(epoch, batches, now_ms);
        };
        let header = first.header();
        let start = self.log_start_offset();
        if header.base_offset() < start && header.last_offset() >= start {
            self.check_fence(&self.writer.lock(), epoch)?;
            self.restart_at(header.base_offset(), start)?;
        }
        self.append_leaders(epoch, batches, now_ms)
    }

    fn append_leaders(&self, epoch: i32, batches: &[Batch], now_ms: i64) -> Result<i64, AppendError> {
        let mut writer = self.writer.lock();
        self.check_fence(&writer, epoch)?;
        let fitting = fitting(&writer, batches);
        let batches = match &fitting {
            Ok(None) => batches,
            Ok(Some(filled)) => filled,
            Err(refused) => return Err(refused.clone()),
        };
        let appends: Vec<_> = batches
            .iter()
            .map(|batch| Append { batch, leader_epoch: batch.header().leader_epoch(), origin: Origin::Leader })
            .collect();
        let mut results = Vec::with_capacity(appends.len());
        let written = self.append_locked(&mut writer, &appends, now_ms, &mut results);
        let unsynced = writer.has_many_unsynced();
        drop(writer);
        written.map_err(|(_, error)| AppendError::Storage(error))?;
        results.into_iter().try_for_each(|result| result.map(|_| ()))?;
        if unsynced {
            // A failed sync reaches everybody through the latch.
            let _ = self.flush();
        }
        Ok(self.log_end_offset())
    }

    /// Drops epochs that began where the log ends: their leaders never appended, and they would hide from another leader
    /// which epoch the last record is of (KAFKA-10706).
    pub fn forget_empty_epochs(&self) {
        let mut writer = self.writer.lock();
        let end = writer.end.offset;
        writer.epochs_dirty |= writer.epochs.truncate_end(end);
    }

    fn check_fence(&self, writer: &Writer, epoch: i32) -> Result<(), AppendError> {
        if epoch < writer.fence { Err(AppendError::Fenced { epoch, current: writer.fence }) } else { Ok(()) }
    }

    /// Moves the log start to `offset`, which the leader's has reached, as far as the high watermark allows; returns the
    /// start now in force.
    pub fn follow_log_start(&self, offset: i64) -> Result<i64, StorageError> {
        let wanted = offset.min(self.high_watermark());
        if wanted <= self.log_start_offset() {
            return Ok(self.log_start_offset());
        }
        match self.delete_records_before(wanted) {
            Ok(start) => Ok(start),
            Err(crate::DeleteRecordsError::Storage(error)) => Err(error),
            // Cut meanwhile.
            Err(crate::DeleteRecordsError::OutOfRange { .. }) => Ok(self.log_start_offset()),
        }
    }

    /// How often the end of the log was cut off since it was opened.
    pub(crate) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Acquire)
    }

    pub(crate) fn truncated_error(&self) -> StorageError {
        StorageError::Truncated { topic: self.topic.clone(), partition: self.partition }
    }
}

/// Checks that the batches go on where the log ends. With some, wide gaps are bridged.
fn fitting(writer: &Writer, batches: &[Batch]) -> Result<Option<Vec<Batch>>, AppendError> {
    let (mut end, mut latest) = (writer.end.offset, writer.epochs.latest().unwrap_or(-1));
    let mut is_wide = false;
    for batch in batches {
        let header = batch.header();
        let (base_offset, epoch) = (header.base_offset(), header.leader_epoch());
        if base_offset < end || header.last_offset() < base_offset || header.last_offset() == i64::MAX {
            return Err(AppendError::NotNext { base_offset, end });
        }
        if (0..latest).contains(&epoch) {
            return Err(AppendError::EpochFalls { base_offset, epoch, latest });
        }
        is_wide |= base_offset - end > GAP_MAX;
        latest = latest.max(epoch);
        end = header.last_offset() + 1;
    }
    if is_wide { bridged(writer.end.offset, batches).map(Some) } else { Ok(None) }
}

fn bridged(mut end: i64, batches: &[Batch]) -> Result<Vec<Batch>, AppendError> {
    let mut filled = Vec::with_capacity(batches.len() + 1);
    let mut fillers = 0;
    for batch in batches {
        let base_offset = batch.header().base_offset();
        while base_offset - end > GAP_MAX {
            fillers += 1;
            let filler = filler(end, end + GAP_MAX - 1, batch.header().leader_epoch());
            let filler = Batch::from_log(Bytes::copy_from_slice(&filler));
            let (Ok(filler), true) = (filler, fillers <= FILLERS_MAX) else {
                return Err(AppendError::NotNext { base_offset, end });
            };
            filled.push(filler);
            end += GAP_MAX;
        }
        end = batch.header().last_offset() + 1;
        filled.push(batch.clone());
    }
    Ok(filled)
}
