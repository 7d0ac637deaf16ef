//! A log: the segments of one partition, and the only public door to them.
//!
//! One short mutex guards appends and everything that changes with them. Reads take no lock: the list of segments is
//! swapped whole, and what may be read is published by atomics after it was written, in this order: the bytes, the
//! index entries, the segment's end, the log end offset.

mod append;
mod close;
mod compact;
mod copy;
mod cut;
mod damage;
mod flush;
mod follow;
mod keys;
mod lookup;
mod moving;
mod read;
mod replace;
mod retain;
mod roll;
mod round;
mod types;
mod undo;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::config::LogConfig;
use crate::dir::Shared;
use crate::disk::Disk;
use crate::epochs::Epochs;
use crate::error::StorageError;
use crate::producers::Producers;
use crate::segment::{End, Segment};

pub(crate) use append::transaction_marker;
pub(crate) use damage::{Damage, Hole};
pub(crate) use flush::{EpochFile, FlushJob};
pub use keys::KeyEstimate;
pub(crate) use lookup::as_storage;
pub use retain::{Dropped, Outlook, Retained};
use roll::Prepared;
pub(crate) use roll::SealedFiles;
pub use types::{AbortedTxn, Append, Appended, Origin, ProducerState, Slice, TimestampOffset};

/// The log of one partition. All methods may be called from any thread.
pub struct Log {
    topic: Arc<str>,
    partition: i32,
    topic_id: Uuid,
    path: Arc<Path>,
    disk: Arc<Disk>,
    shared: Weak<Shared>,
    config: ArcSwap<LogConfig>,
    /// Never empty; by base offset. The last one is the active one.
    segments: ArcSwap<Vec<Arc<Segment>>>,
    start: AtomicI64,
    end: AtomicI64,
    high_watermark: AtomicI64,
    /// `i64::MAX` while there is none.
    first_unstable: AtomicI64,
    /// Some transaction has ended whose marker is not below the high watermark.
    has_unreplicated: AtomicBool,
    /// Everything below is on the disk: data, snapshots, epochs and names. The recovery point.
    flushed: AtomicI64,
    writer: Mutex<Writer>,
    /// Held while syncing, never together with waiting for an append.
    flush_lock: Mutex<()>,
    /// [`Log::tend`] has something to do.
    untended: AtomicBool,
    /// Retention has been told that something happened here, and has not looked yet.
    pub(crate) stirred: AtomicBool,
    /// When retention will look in any case; `i64::MAX` for never.
    pub(crate) look_at_ms: AtomicI64,
    /// Not below what the file of recovery points says of this log; -1 if it says nothing.
    pub(crate) checkpointed: AtomicI64,
    deleted: AtomicBool,
    /// Another log, in another directory, has taken its place: it can be read for a while, and takes nothing more.
    moved: AtomicBool,
    /// Held by a compaction from its beginning to its end, and by whoever must not meet one.
    cleaning: Mutex<()>,
    /// How many wait for the compaction to give up.
    cleaning_unwanted: AtomicUsize,
    /// How often the end of the log was cut off.
    cuts: AtomicUsize,
    damage: Option<Damage>,
}

/// What only appends (and flushes and cuts, briefly) touch.
pub(crate) struct Writer {
    pub(crate) producers: Producers,
    pub(crate) epochs: Epochs,
    /// Nobody has synced the directory's own name and topic id yet.
    pub(crate) fresh: bool,
    /// The index files and a snapshot are right for a log that ends here.
    pub(crate) closed_at: Option<i64>,
    /// Entries were added that the epoch file lacks.
    pub(crate) epochs_dirty: bool,
    /// Files were created, renamed or removed since the directory was synced.
    pub(crate) names_dirty: bool,
    pub(crate) active: Arc<Segment>,
    /// The end including what is staged, and not published yet.
    pub(crate) end: End,
    /// Blocks are reserved up to here.
    reserved: u64,
    /// Bytes appended since the last index entry.
    pub(crate) since_index: u64,
    /// Max timestamp of the active segment's first batch, once known.
    first_timestamp: Option<i64>,
    /// When the first append since opening saw the active segment, for batches without timestamps.
    first_append_ms: Option<i64>,
    /// Ended since the last flush, with the files to write and to sync.
    pub(crate) sealed: Vec<Arc<SealedFiles>>,
    /// The next segment's file, made beforehand.
    prepared: Option<Prepared>,
    /// It was asked for.
    next_asked: bool,
    /// Who leads in an epoch below appends nothing.
    fence: i32,
    scratch: append::Scratch,
}

impl Writer {
    pub(crate) fn new(producers: Producers, epochs: Epochs, active: Arc<Segment>, since_index: u64) -> Writer {
        let end = active.end();
        Writer {
            producers,
            epochs,
            fresh: false,
            closed_at: None,
            epochs_dirty: false,
            names_dirty: false,
            active,
            end,
            reserved: u64::from(end.size),
            since_index,
            first_timestamp: None,
            first_append_ms: None,
            sealed: Vec::new(),
            prepared: None,
            next_asked: false,
            fence: i32::MIN,
            scratch: append::Scratch::default(),
        }
    }
}

/// Everything a log is made of when it is created or loaded.
pub(crate) struct LogParts {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) topic_id: Uuid,
    pub(crate) path: Arc<Path>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) shared: Weak<Shared>,
    pub(crate) config: Arc<LogConfig>,
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) start: i64,
    pub(crate) high_watermark: i64,
    pub(crate) flushed: i64,
    pub(crate) writer: Writer,
    pub(crate) damage: Option<Damage>,
}

impl Log {
    pub(crate) fn new(parts: LogParts) -> Log {
        let mut writer = parts.writer;
        let end = writer.end.offset;
        let start = parts.start.min(end);
        let high_watermark = parts.high_watermark.clamp(start, end);
        writer.producers.on_high_watermark(high_watermark);
        Log {
            topic: parts.topic,
            partition: parts.partition,
            topic_id: parts.topic_id,
            path: parts.path,
            disk: parts.disk,
            shared: parts.shared,
            config: ArcSwap::new(parts.config),
            segments: ArcSwap::from_pointee(parts.segments),
            start: AtomicI64::new(start),
            end: AtomicI64::new(end),
            high_watermark: AtomicI64::new(high_watermark),
            first_unstable: AtomicI64::new(writer.producers.first_unstable_offset().unwrap_or(i64::MAX)),
            has_unreplicated: AtomicBool::new(writer.producers.has_unreplicated()),
            flushed: AtomicI64::new(parts.flushed),
            writer: Mutex::new(writer),
            flush_lock: Mutex::new(()),
            checkpointed: AtomicI64::new(-1),
            deleted: AtomicBool::new(false),
            untended: AtomicBool::new(false),
            stirred: AtomicBool::new(false),
            look_at_ms: AtomicI64::new(i64::MAX),
            moved: AtomicBool::new(false),
            cleaning: Mutex::new(()),
            cleaning_unwanted: AtomicUsize::new(0),
            cuts: AtomicUsize::new(0),
            damage: parts.damage,
        }
    }

    /// Name of the topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn topic_arc(&self) -> &Arc<str> {
        &self.topic
    }

    /// Id of the topic; nil for a partition that a broker from before topic ids left.
    pub fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// Number of the partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first offset that may be read.
    pub fn log_start_offset(&self) -> i64 {
        self.start.load(Ordering::Acquire)
    }

    /// The offset that the next record gets.
    pub fn log_end_offset(&self) -> i64 {
        self.end.load(Ordering::Acquire)
    }

    /// Below it, records are on every replica that must have them.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// Raises the high watermark, never beyond the log end, never down; returns the value now in force.
    pub fn set_high_watermark(&self, offset: i64) -> i64 {
        let wanted = offset.min(self.log_end_offset());
        let before = self.high_watermark.fetch_max(wanted, Ordering::SeqCst);
        if wanted > before {
            self.checkpoint_is_due();
            self.stir();
        }
        if wanted > before && self.has_unreplicated.load(Ordering::Acquire) {
            let mut writer = self.writer.lock();
            writer.producers.on_high_watermark(self.high_watermark());
            self.publish_stability(&writer.producers);
        }
        before.max(wanted)
    }

    /// Below it, every transaction has ended: the bound of readers of committed records. Never above the high
    /// watermark.
    pub fn last_stable_offset(&self) -> i64 {
        // In this order: a transaction below the high watermark just read has been published before.
        let high_watermark = self.high_watermark();
        high_watermark.min(self.first_unstable.load(Ordering::Acquire))
    }

    /// Everything below it is on the disk.
    pub fn flushed_offset(&self) -> i64 {
        self.flushed.load(Ordering::Acquire)
    }

    /// Bytes of batches in all segments.
    pub fn size_bytes(&self) -> u64 {
        self.segments.load().iter().map(|s| u64::from(s.end().size)).sum()
    }

    /// How many segments there are, the active one included.
    pub fn segment_count(&self) -> usize {
        self.segments.load().len()
    }

    /// What the log knows of its producers, by id.
    pub fn producers(&self) -> Vec<ProducerState> {
        self.writer.lock().producers.states()
    }

    /// Forgets producers that have been idle for `producer.id.expiration.ms`.
    pub fn expire_producers(&self, now_ms: i64) {
        let expiration_ms = self.config.load().producer_id_expiration_ms;
        self.writer.lock().producers.expire(now_ms, expiration_ms);
    }

    /// The policy in force.
    pub fn config(&self) -> Arc<LogConfig> {
        self.config.load_full()
    }

    /// Changes the policy; it holds from the next append on. Logs of one topic may share one.
    pub fn update_config(&self, config: impl Into<Arc<LogConfig>>) {
        let config = config.into();
        let is_compacted = config.compact;
        self.config.store(config);
        self.stir();
        if is_compacted {
            self.queue_for_compaction();
        }
    }

    /// Something may have brought records nearer to their end: retention has to look.
    pub(crate) fn stir(&self) {
        // SeqCst pairs with the store before that look: either it sees what happened, or this sees the store.
        if !self.stirred.load(Ordering::SeqCst)
            && !self.stirred.swap(true, Ordering::SeqCst)
            && let Some(shared) = self.shared.upgrade()
        {
            shared.agenda.stir(self);
        }
    }

    /// Notes that a leader epoch begins at the log end offset, though nothing may ever be appended in it (KIP-101).
    /// An epoch that is not newer than the latest is no news.
    pub fn begin_epoch(&self, epoch: i32) {
        let mut writer = self.writer.lock();
        let end = writer.end.offset;
        if writer.epochs.assign(epoch, end) {
            writer.epochs_dirty = true;
        }
    }

    /// The newest leader epoch.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.writer.lock().epochs.latest()
    }

    /// The largest epoch that is not above the one asked for, and the offset where it ends; `None` if the epoch is
    /// newer than all known, or nothing is known.
    pub fn epoch_end_offset(&self, requested_epoch: i32) -> Option<(i32, i64)> {
        let writer = self.writer.lock();
        writer.epochs.end_offset(requested_epoch, writer.end.offset)
    }

    /// The leader epoch of the record at `offset`, or of the next one at the log end.
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        self.writer.lock().epochs.at(offset)
    }

    /// Why the log takes no appends and cannot be read to its end, if it is so: damage below its recovery point.
    pub fn quarantine(&self) -> Option<&StorageError> {
        self.damage.as_ref().map(Damage::error)
    }

    pub(crate) fn holes(&self) -> &[Hole] {
        self.damage.as_ref().map_or(&[], Damage::holes)
    }

    /// The first offset that cannot be read because of damage that the start found.
    pub fn first_damaged_offset(&self) -> Option<i64> {
        self.holes().first().map(|hole| hole.from)
    }

    /// To be called after the recovery point, the high watermark or the start changed: the next checkpoint writes them.
    pub(crate) fn checkpoint_is_due(&self) {
        // SeqCst pairs with the swap in `Shared::checkpoint`: either that sees the value that changed, or this load
        // sees its swap.
        if !self.disk.checkpoint_due.load(Ordering::SeqCst) {
            self.disk.checkpoint_due.store(true, Ordering::SeqCst);
        }
    }

    /// `Err` when nothing may be changed any more.
    fn check_writable(&self) -> Result<(), StorageError> {
        self.disk.check_open()?;
        self.check_syncable()
    }

    /// `Err` when nothing can be synced any more.
    fn check_syncable(&self) -> Result<(), StorageError> {
        self.check_here()?;
        self.disk.check_online()
    }

    /// `Err` when this is no longer the partition's log, or it is damaged.
    fn check_here(&self) -> Result<(), StorageError> {
        // One that has moved is deleted soon afterwards, and the partition goes on elsewhere all the same.
        if self.moved.load(Ordering::Acquire) {
            return Err(self.moved_error());
        }
        if self.deleted.load(Ordering::Acquire) {
            return Err(self.deleted_error());
        }
        if let Some(damage) = &self.damage {
            return Err(damage.error().clone());
        }
        Ok(())
    }

    fn deleted_error(&self) -> StorageError {
        StorageError::Deleted { topic: Arc::clone(&self.topic), partition: self.partition }
    }

    fn moved_error(&self) -> StorageError {
        StorageError::Moved { topic: Arc::clone(&self.topic), partition: self.partition }
    }

    /// The log is being deleted: no append begins after this returns.
    pub(crate) fn mark_deleted(&self) {
        let _flushes_end = self.flush_lock.lock();
        let writer = self.writer.lock();
        self.deleted.store(true, Ordering::Release);
        drop(writer);
        self.segments.load().iter().for_each(|s| s.retire());
    }

    /// Whether the log was deleted; whoever still holds it should let go.
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    fn publish_stability(&self, producers: &Producers) {
        self.first_unstable.store(producers.first_unstable_offset().unwrap_or(i64::MAX), Ordering::Release);
        self.has_unreplicated.store(producers.has_unreplicated(), Ordering::Release);
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("start", &self.log_start_offset())
            .field("end", &self.log_end_offset())
            .field("high_watermark", &self.high_watermark())
            .finish_non_exhaustive()
    }
}
