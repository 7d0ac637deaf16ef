//! Untrusted directory -> log. The only place that repairs.
//!
//! What lies below the recovery point has been synced by a broker that finished doing so: it is believed, but for its
//! structure where that is walked anyway. What lies above is checked batch by batch (structure, CRC, rising offsets);
//! the first batch that fails ends the log, and what follows is cut. A failure *below* the recovery point is no torn
//! tail but damage: nothing is cut, and the log is quarantined. Indexes, snapshots and epochs are rebuilt where they
//! are missing, short or doubtful.

mod closed;
mod epochs;
mod indexes;
mod listing;
mod resume;
mod scan;
mod segments;
mod snapshots;
mod watch;

use std::path::Path;
use std::sync::{Arc, Weak};

use uuid::Uuid;

use crate::checkpoint::{LEADER_EPOCHS, encode_epochs};
use crate::config::LogConfig;
use crate::dir::Shared;
use crate::disk::Disk;
use crate::disk::unless_full;
use crate::epochs::Epochs;
use crate::error::{OpenError, StorageError};
use crate::log::{Damage, Hole, Log, LogParts, SealedFiles, Writer};
use crate::producers::Producers;
use crate::segment::{End, Segment};
use crate::walk::{Walker, Want};

pub(crate) use closed::{Shares, from_closed};
use epochs::completed;
pub(crate) use indexes::{check_indexes, fits, leads_to_batch, rebuild_indexes};
pub(crate) use listing::unchecked_bytes;
use listing::{Listing, list, read_epochs, read_topic_id};
use scan::Replay;
pub(crate) use scan::scan_headers;
use snapshots::remove_stray_snapshots;
pub(crate) use snapshots::{load_producers, remove_snapshots_above};
pub(crate) use watch::Watch;

/// What is known of a partition before its directory is read.
pub(crate) struct LoadRequest<'a> {
    pub(crate) disk: &'a Arc<Disk>,
    pub(crate) shared: Weak<Shared>,
    pub(crate) path: Arc<Path>,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) config: Arc<LogConfig>,
    /// `None` if the file that should tell is lost; a log that it lacks has never been synced.
    pub(crate) recovery_point: Option<i64>,
    /// Below it, the log has been compacted.
    pub(crate) cleaned: i64,
    pub(crate) log_start: Option<i64>,
    pub(crate) high_watermark: i64,
    /// The last broker closed the directory in order.
    pub(crate) clean: bool,
    pub(crate) watch: &'a Watch<'a>,
}

/// A loaded log, and what that took.
pub(crate) struct Loaded {
    pub(crate) log: Log,
    pub(crate) checked_bytes: u64,
    pub(crate) cut_bytes: u64,
}

/// Loads one partition.
pub(crate) fn load(request: LoadRequest<'_>) -> Result<Loaded, OpenError> {
    let disk = request.disk;
    let listing = list(disk, &request.path)?;
    let topic_id = read_topic_id(disk, &request.path)?;
    let checked_from = if request.clean { i64::MAX } else { request.recovery_point.unwrap_or(0) };
    let stored_epochs = read_epochs(disk, &request.path)?;
    let mut epochs = stored_epochs.clone();
    if let Some(epochs) = &mut epochs {
        // The file may be older than a truncation: what it says of offsets above, the batches say better.
        epochs.truncate_end(checked_from);
    }
    let mut loader = Loader {
        checked_from,
        epochs_known: epochs.is_some(),
        replay: Replay { epochs: epochs.unwrap_or_default(), ..Replay::default() },
        request,
        segments: Vec::new(),
        since_index: 0,
        checked_bytes: 0,
        cut_bytes: 0,
        damage: None,
        is_as_closed: false,
        unsynced: Vec::new(),
    };
    loader.load_segments(&listing)?;
    loader.finish(topic_id, stored_epochs.as_ref())
}

struct Loader<'a> {
    pub(super) request: LoadRequest<'a>,
    /// Batches that reach this offset are checked with their CRC.
    pub(super) checked_from: i64,
    pub(super) epochs_known: bool,
    pub(super) replay: Replay,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) since_index: u64,
    pub(super) checked_bytes: u64,
    pub(super) cut_bytes: u64,
    pub(super) damage: Option<Damage>,
    pub(super) is_as_closed: bool,
    /// Sealed, and never synced for sure.
    pub(super) unsynced: Vec<Arc<SealedFiles>>,
}

impl Loader<'_> {
    fn load_segments(&mut self, listing: &Listing) -> Result<(), OpenError> {
        let bases: Vec<i64> = listing.logs.keys().copied().collect();
        let Some(last) = bases.len().checked_sub(1) else { return self.start_at(self.request.log_start.unwrap_or(0)) };
        // One that ends at the recovery point itself may have been sealed after that flush: its batches are on the disk,
        // its index files perhaps not. One that ends at the log start was deleted, and a crash brought its name back:
        // whatever it holds, nothing may follow from it.
        let start = self.request.log_start.unwrap_or(0);
        let is_trusted =
            |i: usize| i < last && (self.request.clean || bases[i + 1] < self.checked_from || bases[i + 1] <= start);
        let first_doubtful = (0..last).find(|&i| !is_trusted(i)).unwrap_or(last);
        for i in 0..first_doubtful {
            self.trust(bases[i], bases[i + 1], listing)?;
        }
        if self.request.clean && self.open_as_closed(bases[last], listing)? {
            return Ok(());
        }
        let kept = self.segments.partition_point(|s| s.end().offset <= start);
        self.replay.producers =
            load_producers(self.request.disk, &self.request.path, &self.segments[kept..], bases[first_doubtful])?;
        let mut doubtful = &bases[first_doubtful..];
        while let Some((&base, rest)) = doubtful.split_first() {
            let rest = &rest[self.in_the_way(base, rest, listing)?..];
            let goes_on = self.scan(base, listing.logs[&base], rest.first().copied())?;
            if !goes_on {
                self.cut_segments(rest, listing)?;
                break;
            }
            doubtful = rest;
        }
        Ok(())
    }

    /// How many of the segments that follow are empty and lie within this one: rolls that were given up left them, and a
    /// crash brought their names back.
    fn in_the_way(&self, base: i64, rest: &[i64], listing: &Listing) -> Result<usize, OpenError> {
        let empty = rest.iter().take_while(|base| listing.logs[base] == 0).count();
        if empty == 0 {
            return Ok(0);
        }
        let segment = self.segment_at(base, End { offset: base, size: 0 });
        let file = segment.open_read()?;
        let mut walker = Walker::new(&file, 0, listing.logs[&base], base);
        while let Ok(Some(_)) = walker.next(|_| Want::Header) {}
        let within = rest[..empty].partition_point(|base| *base < walker.next_offset());
        for base in &rest[..within] {
            self.segment_at(*base, End { offset: *base, size: 0 }).remove(0)?;
        }
        Ok(within)
    }

    /// Removes what follows the end of the log. For good: with what is appended next, a name that came back would lie in
    /// the middle of the log.
    fn cut_segments(&mut self, bases: &[i64], listing: &Listing) -> Result<(), OpenError> {
        if bases.is_empty() || self.damage.is_some() {
            return Ok(());
        }
        for base in bases {
            self.cut_bytes += listing.logs[base];
            self.segment_at(*base, End { offset: *base, size: 0 }).remove(0)?;
        }
        Ok(self.request.disk.sync_dir(&self.request.path)?)
    }

    fn segment_at(&self, base: i64, end: End) -> Segment {
        let (disk, path) = (Arc::clone(self.request.disk), Arc::clone(&self.request.path));
        Segment::active(disk, path, base, self.request.config.segment_bytes, end, Default::default())
    }

    fn start_at(&mut self, base: i64) -> Result<(), OpenError> {
        let segment = self.segment_at(base, End { offset: base, size: 0 });
        segment.adopt_file(self.request.disk.open_data(&segment.path("log"), true)?);
        self.segments = vec![Arc::new(segment)];
        Ok(())
    }

    fn quarantine(&mut self, hole: Hole) {
        self.damage.get_or_insert_default().add(hole);
    }

    /// What a person has to know of a quarantined partition.
    fn report(&self, start: i64, end: i64) {
        let Some(damage) = &self.damage else { return };
        for hole in damage.holes() {
            let (from, to) = (hole.from, hole.to.min(end.max(hole.from)));
            tracing::error!(
                topic = %self.request.topic, partition = self.request.partition, error = %hole.error,
                "offsets from {from} to below {to} cannot be read"
            );
        }
        tracing::error!(
            topic = %self.request.topic, partition = self.request.partition, dir = %self.request.path.display(),
            readable = damage.readable(start, end),
            "the partition is quarantined: what is readable is served, appends are refused; stop the broker and restore the \
             damaged file from a copy, or delete the topic"
        );
    }

    fn finish(mut self, topic_id: Uuid, stored_epochs: Option<&Epochs>) -> Result<Loaded, OpenError> {
        let last_end = |segments: &[Arc<Segment>]| segments.last().map_or(0, |s| s.end().offset);
        let first_base = self.segments.first().map_or(0, |s| s.base());
        let start = self.request.log_start.unwrap_or(0).max(first_base);
        self.report(start, last_end(&self.segments));
        if start > last_end(&self.segments) && self.damage.is_none() {
            // Everything up to the start was deleted, and what would show it is lost.
            for segment in std::mem::take(&mut self.segments) {
                segment.remove(0)?;
            }
            self.replay.producers = Producers::default();
            remove_snapshots_above(self.request.disk, &self.request.path, -1)?;
            self.start_at(start)?;
        }
        let end = last_end(&self.segments);
        let mut epochs = self.replay.epochs;
        epochs.truncate_end(end);
        if !self.request.clean && self.damage.is_none() {
            epochs = completed(epochs, &self.segments, start)?;
        }
        epochs.truncate_start(start);
        if self.damage.is_none() {
            if stored_epochs != Some(&epochs) {
                // Rebuildable like the indexes, and synced with them before the recovery point moves.
                let path = self.request.path.join(LEADER_EPOCHS);
                // A full disk leaves no such file, which is right: they are in the batches.
                unless_full(self.request.disk.write_file(&path, &encode_epochs(&epochs)))?;
            }
            remove_snapshots_above(self.request.disk, &self.request.path, end)?;
            remove_stray_snapshots(self.request.disk, &self.request.path, &self.segments, self.request.clean)?;
        }
        let Some(active) = self.segments.last().cloned() else {
            return Err(StorageError::io("load", &self.request.path, std::io::ErrorKind::NotFound.into()).into());
        };
        let mut writer = Writer::new(self.replay.producers, epochs, active, self.since_index);
        writer.names_dirty = !self.request.clean || stored_epochs != Some(&writer.epochs);
        writer.epochs_dirty = stored_epochs != Some(&writer.epochs);
        writer.sealed = if self.damage.is_none() { self.unsynced } else { Vec::new() };
        // Nothing of it was ever synced: then maybe not its name either.
        writer.fresh = !self.request.clean && self.request.recovery_point.unwrap_or(0) == 0;
        writer.closed_at = self.is_as_closed.then_some(end);
        let recovery_point = self.request.recovery_point.unwrap_or(0);
        let flushed = match (&self.damage, self.request.clean) {
            (Some(_), _) => recovery_point,
            (None, true) => end,
            (None, false) => recovery_point.min(end),
        };
        let log = Log::new(LogParts {
            topic: self.request.topic,
            partition: self.request.partition,
            topic_id,
            path: self.request.path,
            disk: Arc::clone(self.request.disk),
            shared: self.request.shared,
            config: self.request.config,
            segments: self.segments,
            start,
            high_watermark: self.request.high_watermark,
            flushed,
            writer,
            damage: self.damage,
        });
        Ok(Loaded { log, checked_bytes: self.checked_bytes, cut_bytes: self.cut_bytes })
    }
}
