//! One round of compaction: learn the last offset of each key of the dirty part, then rewrite all segments up to there.
//!
//! When the dirty part has more keys than the map takes, the round covers as much as fits, and another goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Log;
use super::replace::Replaced;
use crate::compaction::filter::{Court, LastBatch, Rules, Verdict, control_of};
use crate::compaction::plan::{self, Facts};
use crate::compaction::rewrite::{Output, WriteError, Written};
use crate::compaction::transactions::{Control, Transactions};
use crate::compaction::{CleanerMemory, CompactError, Compacted, CompactionHooks, Dirty, Pace};
use crate::config::LogConfig;
use crate::disk::DataFile;
use crate::segment::{End, Segment};
use crate::sketch::KeySketch;
use crate::swap::remove_leftovers;
use crate::walk::{WalkError, Walker, Want};

use jackdaw_protocol::records::Header;

/// The throttle is told of bytes in steps of this.
const PACE_BYTES: u64 = 128 << 10;
/// Pages of a cold segment are given back after so many bytes.
const FORGET_BYTES: u64 = 16 << 20;

impl Log {
    /// One round of compaction: what [`Log::compaction_candidate`] found is cleaned, or as much of it as `memory` has
    /// keys for. Blocks for as long as that takes; appends and reads go on, and see each segment change at once, whole.
    ///
    /// Nothing is replaced before all records that it was judged by are on the disk: a key's last durable record never
    /// goes for one that is not. The caller remembers `clean_until` with [`Log::set_cleaned_offset`].
    pub fn compact(
        &self,
        dirty: &Dirty,
        memory: &mut CleanerMemory,
        hooks: &mut dyn CompactionHooks,
        now_ms: i64,
    ) -> Result<Compacted, CompactError> {
        let Some(_cleaning) = self.cleaning.try_lock() else { return Err(CompactError::Interrupted) };
        self.check_cleaning_wanted()?;
        // What an earlier round may have left would make a start undo this one.
        remove_leftovers(&self.disk, &self.path)?;
        // To the end: the marker of a transaction that was aborted may lie far above its records.
        if self.needs_flush() {
            self.flush()?;
        }
        if self.flushed_offset() < dirty.first_uncleanable_offset {
            // The disk was too full for the leader epochs: the recovery point waits for them, and this for it.
            return Err(CompactError::Interrupted);
        }
        if let Some(shared) = self.shared.upgrade() {
            // Above its recovery point, a start takes a gap for a lost tail, and cuts what follows.
            shared.raise_checkpoint(self, dirty.first_uncleanable_offset)?;
        }
        memory.filter.reset();
        let all = self.segments.load_full();
        let sealed = all.len().saturating_sub(1);
        let cleanable = all[..sealed].partition_point(|s| s.base() < dirty.first_uncleanable_offset);
        if !all[..cleanable].iter().all(|s| s.is_sealed()) {
            return Err(CompactError::Interrupted); // no space for its indexes, which the flush writes
        }
        let mut round = Round {
            log: self,
            config: self.config.load_full(),
            segments: all[..cleanable].to_vec(),
            dirty: *dirty,
            memory,
            hooks,
            now_ms,
            unpaced: 0,
            done: Compacted { clean_until: dirty.first_dirty_offset, ..Compacted::default() },
        };
        let result = round.run();
        let done = round.done;
        memory.shrink();
        if result.is_err() && !self.is_deleted() {
            // If that fails, the next round tries again, and does nothing before it succeeds.
            let _ = remove_leftovers(&self.disk, &self.path);
        }
        result.map(|()| done)
    }

    fn check_cleaning_wanted(&self) -> Result<(), CompactError> {
        let is_closing = self.disk.check_open().is_err();
        if is_closing || self.is_deleted() || self.cleaning_unwanted.load(Ordering::Acquire) > 0 {
            return Err(CompactError::Interrupted);
        }
        Ok(self.check_writable()?)
    }

    fn last_batch_of(&self, producer_id: i64) -> Option<LastBatch> {
        self.writer.lock().producers.last_batch_of(producer_id)
    }
}

struct Round<'a> {
    log: &'a Log,
    config: Arc<LogConfig>,
    /// Sealed, from the first one of the log to the first uncleanable offset.
    segments: Vec<Arc<Segment>>,
    dirty: Dirty,
    memory: &'a mut CleanerMemory,
    hooks: &'a mut dyn CompactionHooks,
    now_ms: i64,
    unpaced: u64,
    done: Compacted,
}

impl Round<'_> {
    fn run(&mut self) -> Result<(), CompactError> {
        let covers = self.learn_keys()?;
        self.done.keys = self.memory.map.len() as u64;
        let first = self.segments.first().map_or(0, |s| s.base());
        let rules = Rules {
            now_ms: self.now_ms,
            delete_retention_ms: self.config.delete_retention_ms,
            map_covers: covers,
            first_uncleanable_offset: self.dirty.first_uncleanable_offset,
        };
        let rewritten = self.segments.partition_point(|s| s.base() <= covers);
        let facts: Vec<Facts> = self.segments[..rewritten].iter().map(|s| facts_with_indexes(s)).collect();
        let next_base = self.next_base(rewritten);
        // To the end of what is rewritten, though the map may cover less: the marker of an aborted transaction that is
        // not known here would look like one that nobody needs.
        let mut transactions = Transactions::new(self.log.aborted_transactions(first, next_base)?);
        for group in plan::groups(&facts, next_base, self.config.segment_bytes, self.config.segment_index_bytes) {
            let (start, end) = (group.start, group.end);
            self.rewrite(start, end, &rules, &mut transactions)?;
        }
        self.done.clean_until = covers + 1;
        Ok(())
    }

    /// Where the segment at `at` begins, or would.
    fn next_base(&self, at: usize) -> i64 {
        self.segments.get(at).map_or(self.dirty.first_uncleanable_offset, |s| s.base())
    }

    /// Fills the map from the dirty segments; the last offset up to which it is complete.
    fn learn_keys(&mut self) -> Result<i64, CompactError> {
        let (from, to) = (self.dirty.first_dirty_offset, self.dirty.first_uncleanable_offset);
        let at = self.segments.partition_point(|s| s.base() <= from).saturating_sub(1);
        self.memory.map.clear(u64::try_from(to - from).unwrap_or(0));
        let mut transactions = Transactions::new(self.log.aborted_transactions(from, to)?);
        for i in at..self.segments.len() {
            let segment = Arc::clone(&self.segments[i]);
            let file = segment.open_read()?;
            let start = u64::from(segment.walk_start(from)?);
            let end = u64::from(segment.end().size);
            let input = std::mem::take(&mut self.memory.input);
            let mut walker = Walker::dense(&file, start, end, segment.base(), self.memory.io_bytes, input);
            while let Some(step) = walker.next(|_| Want::Checked).map_err(|e| damaged(&segment, e))? {
                let len = step.bytes.len() as u64;
                self.done.map_bytes += len;
                if step.header.is_control() {
                    let control = control_of(step.bytes, &step.header).unwrap_or(Control::Other);
                    transactions.control(&step.header, control);
                } else if !transactions.data(&step.header) && step.header.last_offset() >= from {
                    let memory = &mut *self.memory;
                    memory.filter.keys(step.bytes, from, &memory.map, &mut memory.keys).map_err(|reason| {
                        CompactError::Damaged { path: segment.path("log"), position: step.position, reason }
                    })?;
                    let noted = memory.map.put_all(&memory.keys);
                    if let Some(&(_, offset)) = memory.keys.get(noted) {
                        return Ok(offset - 1);
                    }
                }
                self.pace(len)?;
            }
            self.memory.input = walker.into_buffer();
        }
        Ok(to - 1)
    }

    /// Rewrites the segments `start..end` into one, and puts it in their place.
    fn rewrite(
        &mut self,
        start: usize,
        end: usize,
        rules: &Rules,
        transactions: &mut Transactions,
    ) -> Result<(), CompactError> {
        let old = self.segments[start..end].to_vec();
        let Some(first) = old.first().cloned() else { return Ok(()) };
        let buffer = std::mem::take(&mut self.memory.output);
        let interval = self.config.index_interval_bytes;
        let mut output = Output::new(&self.log.disk, &first, interval, buffer, self.memory.io_bytes);
        let (mut last_file, mut sketch) = (None, KeySketch::default());
        for segment in &old {
            let file = segment.open_read()?;
            if old.len() > 1 {
                output.start(&file)?; // several become one: that is a change
            }
            self.filter_into(&mut output, segment, &file, rules, transactions, &mut sketch)?;
            self.done.bytes_in += u64::from(segment.end().size);
            last_file = Some(file);
        }
        let Some(last_file) = last_file else { return Ok(()) };
        self.done.segments_in += old.len();
        self.done.segments_out += 1;
        let txns = transactions.take_kept();
        let (written, buffer) = output.finish(&txns, &last_file)?;
        self.memory.output = buffer;
        let Some(Written { size, has_txns }) = written else {
            self.done.bytes_out += u64::from(first.end().size);
            return Ok(()); // everything stays
        };
        self.check_wanted()?;
        let log = self.log;
        let end = End { offset: self.next_base(end), size };
        let new = Segment::sealed(Arc::clone(&log.disk), Arc::clone(&log.path), first.base(), end, has_txns);
        let new = Arc::new(new);
        if log.replace(&old, &new)? == Replaced::OutOfDate {
            return Err(CompactError::Interrupted);
        }
        self.done.bytes_out += u64::from(size);
        if let Err(error) = new.write_sketch(&sketch) {
            tracing::debug!(base = new.base(), %error, "no sketch of the keys: it is made later");
        }
        Ok(())
    }

    fn filter_into(
        &mut self,
        output: &mut Output,
        segment: &Arc<Segment>,
        file: &DataFile,
        rules: &Rules,
        transactions: &mut Transactions,
        sketch: &mut KeySketch,
    ) -> Result<(), CompactError> {
        let size = u64::from(segment.end().size);
        let is_cold = size > 0 && !file.is_cached(0) && !file.is_cached(size - 1);
        output.set_cold(is_cold);
        let log = self.log;
        let last_batch = |producer_id| log.last_batch_of(producer_id);
        let input = std::mem::take(&mut self.memory.input);
        let mut walker = Walker::dense(file, 0, size, segment.base(), self.memory.io_bytes, input);
        let mut forgotten = 0;
        while let Some(step) = walker.next(|_| Want::Checked).map_err(|e| damaged(segment, e))? {
            let position = step.position;
            let bad = |reason| CompactError::Damaged { path: segment.path("log"), position, reason };
            let before = output.buffer.len();
            let memory = &mut *self.memory;
            let on_key = &mut |key: Option<&[u8]>| sketch.add(key);
            let mut court = Court { rules: *rules, map: &memory.map, last_batch: &last_batch, on_key };
            let verdict = memory.filter.judge(step.bytes, &mut court, transactions, &mut output.buffer).map_err(bad)?;
            match verdict {
                Verdict::Keep => output.keep(step.bytes, &step.header).map_err(|e| self.write_error(segment, e))?,
                Verdict::Drop => output.start(file)?,
                Verdict::Replaced if !output.is_started() => {
                    let replacement = output.buffer.split_off(before);
                    output.start(file)?;
                    output.buffer.extend_from_slice(&replacement);
                    let header = Header::parse(&replacement).map_err(|e| bad(e.to_string()))?;
                    output.took(&header).map_err(|e| self.write_error(segment, e))?;
                }
                Verdict::Replaced => {
                    let head = output.buffer[before..].first_chunk::<{ jackdaw_protocol::records::HEADER_LEN }>();
                    let head = head.copied().unwrap_or([0; jackdaw_protocol::records::HEADER_LEN]);
                    let header = Header::parse(&head).map_err(|e| bad(e.to_string()))?;
                    output.took(&header).map_err(|e| self.write_error(segment, e))?;
                }
            }
            let written = output.buffer.len().saturating_sub(before) as u64;
            let next = position + step.bytes.len() as u64;
            self.pace(step.bytes.len() as u64 + written)?;
            if is_cold && next - forgotten >= FORGET_BYTES {
                file.forget_pages(forgotten, next - forgotten);
                forgotten = next;
            }
        }
        if is_cold {
            file.forget_pages(forgotten, size - forgotten);
        }
        self.memory.input = walker.into_buffer();
        self.done.records_in = self.memory.filter.records_in;
        self.done.records_out = self.memory.filter.records_out;
        Ok(())
    }

    fn write_error(&self, segment: &Segment, error: WriteError) -> CompactError {
        match error {
            WriteError::TooLarge => CompactError::TooLarge {
                topic: Arc::clone(&self.log.topic),
                partition: self.log.partition,
                base: segment.base(),
            },
            WriteError::Storage(error) => error.into(),
        }
    }

    fn check_wanted(&self) -> Result<(), CompactError> {
        self.log.check_cleaning_wanted()
    }

    /// Lets the throttle know of bytes read or written, and gives up when nobody wants the round any more.
    fn pace(&mut self, bytes: u64) -> Result<(), CompactError> {
        self.unpaced += bytes;
        if self.unpaced < PACE_BYTES {
            return Ok(());
        }
        let mut tell = std::mem::take(&mut self.unpaced);
        loop {
            self.check_wanted()?;
            match self.hooks.throttle(tell) {
                Pace::Go => return Ok(()),
                Pace::Wait => tell = 0,
                Pace::Stop => return Err(CompactError::Interrupted),
            }
        }
    }
}

fn facts_with_indexes(segment: &Segment) -> Facts {
    // Both files are rebuilt where they are missing: what is not there takes no room.
    let len = |suffix| u32::try_from(segment.file_len(suffix)).unwrap_or(u32::MAX);
    Facts { base: segment.base(), size: segment.end().size, index_sizes: (len("index"), len("timeindex")) }
}

fn damaged(segment: &Segment, error: WalkError) -> CompactError {
    match error {
        WalkError::Storage(error) => error.into(),
        WalkError::Bad { position, reason } => CompactError::Damaged { path: segment.path("log"), position, reason },
    }
}
