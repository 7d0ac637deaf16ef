//! Append: admit, give offsets, write everything of a call with one `pwritev`, publish.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jackdaw_protocol::records::{
    Batch, ControlRecord, ControlType, HEADER_LEN, Header, PATCHED_LEN, patched_head, records, stamp_log_append_time,
};

use super::undo::Undo;
use super::{AbortedTxn, Append, Appended, Log, Origin, Writer};
use crate::config::{LogConfig, TimestampType};
use crate::error::{AppendError, StorageError};
use crate::index::Place;
use crate::producers::{Admission, Marker};

/// The first blocks reserved for a segment: small, since most partitions are.
const RESERVE_FIRST: u64 = 16 << 10;
/// The most blocks reserved at once.
const RESERVE_MAX: u64 = 128 << 20;
/// More sealed segments than this that nobody has synced, and the appender syncs them itself, after the lock.
const UNSYNCED_MAX: usize = 16;
/// Parts of one `pwritev` kept on the stack; more go through an allocated list.
const STACK_PARTS: usize = 32;
/// The most parts the system takes at once.
const PARTS_MAX: usize = 1024;

/// Buffers of an append, kept from call to call so that the steady state allocates nothing.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(super) staged: Vec<Staged>,
    pub(super) aborted: Vec<AbortedTxn>,
    /// The state before what is staged.
    pub(super) undo: Undo,
}

impl Scratch {
    /// Nothing is staged.
    pub(super) fn clear(&mut self) {
        self.staged.clear();
        self.aborted.clear();
        self.undo.clear();
    }
}

/// A batch that has its offset and waits for the write.
pub(super) struct Staged {
    /// Which of the call's batches.
    pub(super) index: usize,
    /// The first `head_len` bytes as they go to the disk; the rest is the caller's.
    pub(super) head: [u8; HEADER_LEN],
    pub(super) head_len: usize,
    pub(super) last_offset: i64,
    pub(super) max_timestamp: i64,
}

impl Writer {
    pub(super) fn has_many_unsynced(&self) -> bool {
        self.sealed.len() > UNSYNCED_MAX
    }
}

impl Log {
    /// Appends batches in their order and adds one result for each to `out`. All are written under one lock with one
    /// write call, as far as they fit one segment. A refused batch does not hold up the others.
    ///
    /// When it returns, the batches are in the page cache and readers see them; [`Log::flush`] brings them to the disk.
    /// A batch answered with [`AppendError::Storage`] is not in the log, and no trace of it: on a full disk the log is
    /// as it was before. While the directory is full, batches of clients are refused without asking the disk.
    pub fn append(&self, batches: &[Append<'_>], now_ms: i64, out: &mut Vec<Result<Appended, AppendError>>) {
        let first = out.len();
        let mut writer = self.writer.lock();
        let result = self.append_locked(&mut writer, batches, now_ms, out);
        let unsynced = writer.has_many_unsynced();
        drop(writer);
        if let Err((written, error)) = result {
            // The disk is full or failed: what had not been written by then is not in the log, nor is anything after it.
            out.truncate(first + written);
            out.resize(first + batches.len(), Err(AppendError::Storage(error)));
        } else if unsynced {
            // A failed sync reaches everybody through the latch.
            let _ = self.flush();
        }
    }

    /// On failure: how many of the batches have been dealt with for good, and the error of all others.
    pub(super) fn append_locked(
        &self,
        writer: &mut Writer,
        batches: &[Append<'_>],
        now_ms: i64,
        out: &mut Vec<Result<Appended, AppendError>>,
    ) -> Result<(), (usize, StorageError)> {
        self.check_writable().map_err(|e| (0, e))?;
        if batches.iter().any(|append| append.origin != Origin::Coordinator) {
            // Coordinators try: what they write is small and may be what makes room, such as a topic's deletion.
            self.disk.check_space().map_err(|e| (0, e))?;
        }
        writer.active.data_file().map_err(|e| (0, e))?;
        let config = self.config.load();
        writer.scratch.clear();
        let mut written = 0;
        for (index, append) in batches.iter().enumerate() {
            let admitted = match self.admit(writer, &config, append, now_ms) {
                Ok(admitted) => admitted,
                Err(refused) => {
                    out.push(Err(refused));
                    continue;
                }
            };
            let (marker, admission) = admitted;
            if let Admission::Duplicate(batch) = admission {
                let appended = self.appended(batch.first_offset(), batch.last_offset, &config, batch.timestamp, true);
                out.push(Ok(appended));
                continue;
            }
            let must_roll = self.must_roll(writer, &config, append, now_ms);
            if must_roll.inspect_err(|_| self.undo_staged(writer)).map_err(|e| (written, e))? {
                self.write_staged(writer, &config, batches).map_err(|e| (written, e))?;
                written = index;
                self.roll(writer, &config).map_err(|e| (written, e))?;
            }
            out.push(Ok(self.stage(writer, &config, index, append, marker, now_ms)));
        }
        self.write_staged(writer, &config, batches).map_err(|e| (written, e))
    }

    fn admit(
        &self,
        writer: &Writer,
        config: &LogConfig,
        append: &Append<'_>,
        now_ms: i64,
    ) -> Result<(Option<Marker>, Admission), AppendError> {
        let header = append.batch.header();
        let size = append.batch.size_in_bytes();
        match append.origin {
            Origin::Client => check_client_batch(&header, size, config, now_ms)?,
            Origin::Coordinator => {}
            // The leader has admitted it, under the settings of its time.
            Origin::Leader => return Ok((marker_of(append.batch), Admission::New)),
        }
        if append.leader_epoch < writer.fence {
            return Err(AppendError::Fenced { epoch: append.leader_epoch, current: writer.fence });
        }
        if size as u64 > u64::from(config.segment_bytes) {
            return Err(AppendError::LargerThanSegment { size, max: config.segment_bytes as usize });
        }
        if header.producer_id() < 0 {
            return Ok((None, Admission::New));
        }
        let marker = marker_of(append.batch);
        let admission = writer.producers.admit(&header, marker, append.origin)?;
        Ok((marker, admission))
    }

    fn appended(&self, base: i64, last: i64, config: &LogConfig, timestamp: i64, duplicate: bool) -> Appended {
        Appended {
            base_offset: base,
            last_offset: last,
            log_append_time: if config.timestamp_type == TimestampType::LogAppendTime { timestamp } else { -1 },
            log_start_offset: self.start.load(Ordering::Relaxed),
            duplicate,
        }
    }

    /// Gives the batch its offsets and notes what follows from it; the write comes later.
    fn stage(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        index: usize,
        append: &Append<'_>,
        marker: Option<Marker>,
        now_ms: i64,
    ) -> Appended {
        let header = append.batch.header();
        let base_offset = base_offset(append, writer.end.offset);
        let last_offset = base_offset + i64::from(header.last_offset_delta());
        let (mut head, mut head_len) = ([0; HEADER_LEN], PATCHED_LEN);
        let mut max_timestamp = header.max_timestamp();
        let stamps = config.timestamp_type == TimestampType::LogAppendTime && append.origin != Origin::Leader;
        if stamps && !header.is_control() {
            head = stamp_log_append_time(append.batch, now_ms);
            head_len = HEADER_LEN;
            max_timestamp = now_ms;
        }
        head[..PATCHED_LEN].copy_from_slice(&patched_head(&header, base_offset, append.leader_epoch));
        if header.producer_id() >= 0 {
            writer.scratch.undo.keep_producer(writer.producers.remember(header.producer_id()));
            let aborted = writer.producers.apply(&header, base_offset, max_timestamp, marker);
            writer.scratch.aborted.extend(aborted);
        }
        if writer.epochs.latest() != Some(append.leader_epoch) {
            writer.scratch.undo.keep_epochs(&writer.epochs, writer.epochs_dirty);
            writer.epochs_dirty |= writer.epochs.assign(append.leader_epoch, base_offset);
        }
        if writer.end.size == 0 {
            writer.first_timestamp = Some(max_timestamp);
            writer.first_append_ms = Some(now_ms);
        }
        writer.end.offset = last_offset + 1;
        writer.end.size += append.batch.size_in_bytes() as u32;
        writer.scratch.staged.push(Staged { index, head, head_len, last_offset, max_timestamp });
        self.appended(base_offset, last_offset, config, max_timestamp, false)
    }

    /// Writes what is staged, then lets the indexes and the readers know of it.
    pub(super) fn write_staged(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        batches: &[Append<'_>],
    ) -> Result<(), StorageError> {
        if writer.scratch.staged.is_empty() {
            return Ok(());
        }
        // The writer believes in batches that are nowhere.
        self.write_and_publish(writer, config, batches).inspect_err(|_| self.undo_staged(writer))
    }

    fn write_and_publish(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        batches: &[Append<'_>],
    ) -> Result<(), StorageError> {
        let active = Arc::clone(&writer.active);
        let mut position = u64::from(active.end().size);
        if position == 0 {
            // A leader's batch may be larger than a segment is here.
            active.set_capacity(config.segment_bytes.max(writer.end.size));
        }
        let file = active.data_file()?;
        active.pin_file(true);
        if u64::from(writer.end.size) > writer.reserved {
            let step = reserve_step(writer, config, position);
            file.reserve(&self.disk, position, step);
            writer.reserved = position + step;
        }
        for chunk in writer.scratch.staged.chunks(PARTS_MAX / 2) {
            let parts = chunk.iter().flat_map(|staged| {
                let bytes = batches[staged.index].batch.bytes();
                [IoSlice::new(&staged.head[..staged.head_len]), IoSlice::new(&bytes[staged.head_len..])]
            });
            if chunk.len() * 2 <= STACK_PARTS {
                let mut on_stack = [IoSlice::new(&[]); STACK_PARTS];
                on_stack.iter_mut().zip(parts).for_each(|(slot, part)| *slot = part);
                file.write_all_at(&self.disk, &mut on_stack[..chunk.len() * 2], position)?;
            } else {
                file.write_all_at(&self.disk, &mut parts.collect::<Vec<_>>(), position)?;
            }
            position += chunk.iter().map(|s| batches[s.index].batch.size_in_bytes() as u64).sum::<u64>();
        }
        self.index_staged(writer, config, batches)?;
        active.publish(writer.end);
        if !writer.scratch.aborted.is_empty() {
            active.with_txns(|txns| txns.append(&mut writer.scratch.aborted))?;
        }
        if writer.producers.first_unstable_offset().is_some() || self.first_unstable.load(Ordering::Relaxed) != i64::MAX
        {
            self.publish_stability(&writer.producers);
        }
        self.end.store(writer.end.offset, Ordering::Release);
        self.ask_for_next(writer, config);
        writer.scratch.clear();
        Ok(())
    }

    fn index_staged(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        batches: &[Append<'_>],
    ) -> Result<(), StorageError> {
        let active = Arc::clone(&writer.active);
        let mut position = active.end().size;
        active.with_times(|times| {
            for staged in &writer.scratch.staged {
                let size = batches[staged.index].batch.size_in_bytes() as u32;
                let place = Place { relative_offset: (staged.last_offset - active.base()) as u32, position };
                let add_entry = writer.since_index > u64::from(config.index_interval_bytes);
                active.note(times, place, staged.max_timestamp, add_entry);
                if add_entry {
                    writer.since_index = 0;
                }
                writer.since_index += u64::from(size);
                position += size;
            }
        })
    }
}

/// The offset that a batch gets: a leader's batch has its own, beyond the end if compaction took what was between.
pub(super) fn base_offset(append: &Append<'_>, end: i64) -> i64 {
    if append.origin == Origin::Leader { append.batch.header().base_offset() } else { end }
}

/// How many blocks to reserve from `position` on: as much again as the segment has, so that a large segment needs few
/// calls and a small one little space.
fn reserve_step(writer: &Writer, config: &LogConfig, position: u64) -> u64 {
    let needed = u64::from(writer.end.size) - position;
    let room = u64::from(config.segment_bytes).saturating_sub(position);
    let step = if config.preallocate { room } else { position.clamp(RESERVE_FIRST, RESERVE_MAX).min(room) };
    step.max(needed)
}

fn check_client_batch(header: &Header<'_>, size: usize, config: &LogConfig, now_ms: i64) -> Result<(), AppendError> {
    if size > config.max_message_bytes {
        return Err(AppendError::TooLarge { size, max: config.max_message_bytes });
    }
    if header.is_control() {
        return Err(AppendError::InvalidRecord { reason: "clients may not write control records" });
    }
    if header.producer_id() >= 0 && header.base_sequence() < 0 {
        return Err(AppendError::InvalidRecord { reason: "a batch with a producer id needs a sequence number" });
    }
    if config.timestamp_type == TimestampType::LogAppendTime {
        return Ok(());
    }
    let earliest = now_ms.saturating_sub(config.timestamp_before_max_ms);
    let latest = now_ms.saturating_add(config.timestamp_after_max_ms);
    for timestamp in [header.base_timestamp(), header.max_timestamp()] {
        if timestamp != -1 && !(earliest <= timestamp && timestamp <= latest) {
            return Err(AppendError::InvalidTimestamp { timestamp, earliest, latest });
        }
    }
    Ok(())
}

fn marker_of(batch: &Batch) -> Option<Marker> {
    if batch.header().is_control() { transaction_marker(batch) } else { None }
}

/// What the marker in a control batch says; `None` for a control batch of another kind.
pub(crate) fn transaction_marker(batch: &Batch) -> Option<Marker> {
    /// Markers are a few bytes.
    const MARKER_MAX: usize = 1 << 16;
    let decoded = records(batch, MARKER_MAX).ok()?;
    let record = decoded.iter().next()?.ok()?;
    let control = ControlRecord::parse(&record).ok()?;
    let abort = match control.kind? {
        ControlType::Abort => true,
        ControlType::Commit => false,
        _ => return None,
    };
    Some(Marker { abort, coordinator_epoch: control.coordinator_epoch().ok()? })
}
