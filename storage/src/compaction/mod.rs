//! Compaction: of each key, the last record stays. Offsets never change; what was dropped leaves gaps.
//!
//! `plan`: pure; what is dirty, what may not be cleaned yet, which segments are rewritten together. `map`: the last
//! offset of each key of the dirty part, in bounded memory. `transactions`: which batches were aborted, and which
//! markers nobody needs any more. `filter`: one batch in, what stays of it out. `rewrite`: segments in, one segment out.
//! The log's side (which thread, which lock, the swap) is in `log/compact.rs` and `log/replace.rs`.

pub(crate) mod filter;
pub(crate) mod map;
pub(crate) mod plan;
pub(crate) mod rewrite;
pub(crate) mod transactions;

use crate::error::StorageError;

/// What a compaction would find in a log: see [`crate::Log::compaction_candidate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dirty {
    /// Below it, each key has been deduplicated against all that came before.
    pub first_dirty_offset: i64,
    /// Where cleaning has to stop: the active segment, the last stable offset, records younger than
    /// `min.compaction.lag.ms`. Where a segment begins.
    pub first_uncleanable_offset: i64,
    /// Bytes below the dirty part.
    pub clean_bytes: u64,
    /// Bytes of the dirty part that may be cleaned.
    pub cleanable_bytes: u64,
    /// By how many ms the oldest dirty record has outlived `max.compaction.lag.ms`; 0 if none has.
    pub overdue_ms: i64,
    /// The checkpointed offset was outside of the log, and has been reset to its start.
    pub was_reset: bool,
}

impl Dirty {
    /// The share of cleanable bytes, 0 to 1, as `min.cleanable.dirty.ratio` measures it.
    pub fn ratio(&self) -> f64 {
        let total = self.clean_bytes + self.cleanable_bytes;
        if total == 0 { 0.0 } else { self.cleanable_bytes as f64 / total as f64 }
    }

    /// Whether it is time to compact.
    pub fn is_due(&self, min_cleanable_dirty_ratio: f64) -> bool {
        self.cleanable_bytes > 0 && (self.overdue_ms > 0 || self.ratio() > min_cleanable_dirty_ratio)
    }
}

/// What one round of compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Below it, the log is clean now. Lower than what was asked for when the keys did not fit the map: another round
    /// goes on from here.
    pub clean_until: i64,
    /// Bytes read to learn the keys of the dirty part.
    pub map_bytes: u64,
    /// Bytes of the segments that were rewritten.
    pub bytes_in: u64,
    /// Bytes they have now.
    pub bytes_out: u64,
    /// Records read while rewriting.
    pub records_in: u64,
    /// Records kept.
    pub records_out: u64,
    /// Distinct keys in the map.
    pub keys: u64,
    /// Segments before.
    pub segments_in: usize,
    /// Segments after.
    pub segments_out: usize,
}

/// Why a round of compaction ended early. What it had swapped in by then stays; nothing is lost in any case.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CompactError {
    /// The log was deleted or cut meanwhile, its recovery point cannot follow now, or the broker stops.
    #[error("compaction was interrupted")]
    Interrupted,
    /// Batches of one segment that would outgrow what a segment can hold.
    #[error("segment {base} of {}-{partition} would grow beyond 2 GiB", topic)]
    TooLarge {
        /// Topic of the log.
        topic: std::sync::Arc<str>,
        /// Partition of the log.
        partition: i32,
        /// First offset of the segment.
        base: i64,
    },
    /// A batch that is not what was written. It stays as it is.
    #[error("cannot compact {}: the batch at byte {position} is damaged: {reason}", path.display())]
    Damaged {
        /// The segment's file.
        path: std::path::PathBuf,
        /// Where the batch begins.
        position: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk failed or is full.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What to do after some bytes were read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Go on.
    Go,
    /// The rate is too high: ask again, with 0 bytes. Between the questions the compaction looks whether it is still
    /// wanted.
    Wait,
    /// The broker stops: give up.
    Stop,
}

/// The memory of one cleaner thread, used for log after log.
pub struct CleanerMemory {
    pub(crate) map: map::KeyMap,
    pub(crate) filter: filter::Filter,
    /// Read from segments into this, and written to them from that.
    pub(crate) input: Vec<u8>,
    pub(crate) output: Vec<u8>,
    /// How large these two are, while no batch is larger.
    pub(crate) io_bytes: usize,
    pub(crate) keys: Vec<(map::KeyHash, i64)>,
}

impl CleanerMemory {
    /// At most `map_bytes` for the keys (24 bytes each, full at `load_factor` of that), and `io_bytes` to read and write
    /// through; a batch that is larger takes what it needs. Little of it is taken before there are keys.
    pub fn new(map_bytes: usize, load_factor: f64, io_bytes: usize) -> CleanerMemory {
        CleanerMemory {
            map: map::KeyMap::new(map_bytes, load_factor),
            filter: filter::Filter::default(),
            input: Vec::new(),
            output: Vec::new(),
            io_bytes: (io_bytes / 2).max(4096),
            keys: Vec::new(),
        }
    }

    /// Lets go of memory that only an uncommonly large batch needed.
    pub(crate) fn shrink(&mut self) {
        let most = 2 * self.io_bytes;
        self.filter.shrink(most);
        self.input.clear();
        self.input.shrink_to(most);
        self.output.clear();
        self.output.shrink_to(most);
        self.keys.clear();
        self.keys.shrink_to(most / size_of::<(map::KeyHash, i64)>());
    }
}

/// Who is told of the progress of a compaction.
pub trait CompactionHooks {
    /// So many bytes were read or written. May sleep for a moment, to bound the rate.
    fn throttle(&mut self, bytes: u64) -> Pace;
}
