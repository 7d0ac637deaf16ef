//! Untrusted directory -> log. The only file that repairs.
//!
//! What lies below the recovery point has been synced by a broker that finished doing so: it is believed, but for its
//! structure where that is walked anyway. What lies above is checked batch by batch (structure, CRC, rising offsets);
//! the first batch that fails ends the log, and what follows is cut. A failure *below* the recovery point is no torn
//! tail but damage: nothing is cut, and the log is quarantined. Indexes, snapshots and epochs are rebuilt where they
//! are missing, short or doubtful.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use jackdaw_protocol::records::Batch;
use uuid::Uuid;

use crate::checkpoint::{LEADER_EPOCHS, PARTITION_METADATA, decode_epochs, decode_partition_metadata, encode_epochs};
use crate::config::LogConfig;
use crate::dir::Shared;
use crate::disk::{DataFile, Disk};
use crate::epochs::Epochs;
use crate::error::{OpenError, StorageError};
use crate::index::{OffsetIndex, Place, TimeIndex, is_plausible_offset_index};
use crate::log::{AbortedTxn, Damage, Log, LogParts, Writer, as_storage, transaction_marker};
use crate::producers::{Marker, Producers, decode_snapshot};
use crate::segment::{End, Segment, file_name};
use crate::walk::{Step, WalkError, Walker, Want};

/// What is known of a partition before its directory is read.
pub(crate) struct LoadRequest<'a> {
    pub(crate) disk: &'a Arc<Disk>,
    pub(crate) shared: Weak<Shared>,
    pub(crate) path: Arc<Path>,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) config: LogConfig,
    pub(crate) recovery_point: Option<i64>,
    pub(crate) log_start: Option<i64>,
    pub(crate) high_watermark: i64,
    /// The last broker closed the directory in order.
    pub(crate) clean: bool,
}

/// A loaded log, and what that took.
pub(crate) struct Loaded {
    pub(crate) log: Log,
    pub(crate) checked_bytes: u64,
    pub(crate) cut_bytes: u64,
}

/// Files of a partition directory, by base offset.
#[derive(Default)]
struct Listing {
    logs: BTreeMap<i64, u64>,
    indexes: HashMap<(i64, Kind), u64>,
    snapshots: Vec<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Offset,
    Time,
    Txn,
}

/// Indexes of one segment as its walk builds them.
pub(crate) struct Scan {
    pub(crate) index: OffsetIndex,
    pub(crate) times: TimeIndex,
    pub(crate) end: End,
    pub(crate) since_index: u64,
    /// Where and why the walk ended before the end of the file.
    bad: Option<(u64, String)>,
}

/// What the batches of a log say about it, taken in one after the other.
#[derive(Default)]
struct Replay {
    producers: Producers,
    epochs: Epochs,
    aborted: Vec<AbortedTxn>,
}

impl Replay {
    fn apply(&mut self, step: &Step<'_>) {
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
    };
    loader.load_segments(&listing)?;
    loader.finish(topic_id, stored_epochs.as_ref())
}

struct Loader<'a> {
    request: LoadRequest<'a>,
    /// Batches that reach this offset are checked with their CRC.
    checked_from: i64,
    epochs_known: bool,
    replay: Replay,
    segments: Vec<Arc<Segment>>,
    since_index: u64,
    checked_bytes: u64,
    cut_bytes: u64,
    damage: Option<Damage>,
    is_as_closed: bool,
}

impl Loader<'_> {
    fn load_segments(&mut self, listing: &Listing) -> Result<(), OpenError> {
        let bases: Vec<i64> = listing.logs.keys().copied().collect();
        let Some(last) = bases.len().checked_sub(1) else { return self.start_at(self.request.log_start.unwrap_or(0)) };
        let is_trusted = |i: usize| i < last && (self.request.clean || bases[i + 1] <= self.checked_from);
        let first_doubtful = (0..last).find(|&i| !is_trusted(i)).unwrap_or(last);
        for i in 0..first_doubtful {
            self.trust(bases[i], bases[i + 1], listing)?;
        }
        if self.request.clean && self.open_as_closed(bases[last], listing)? {
            return Ok(());
        }
        self.replay.producers =
            load_producers(self.request.disk, &self.request.path, &self.segments, bases[first_doubtful])?;
        for i in first_doubtful..=last {
            let goes_on = self.scan(bases[i], listing.logs[&bases[i]], i == last)?;
            if !goes_on {
                for base in &bases[i + 1..] {
                    if self.damage.is_none() {
                        self.cut_bytes += listing.logs[base];
                        self.segment_at(*base, End { offset: *base, size: 0 }).remove()?;
                    }
                }
                break;
            }
        }
        Ok(())
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

    /// A sealed segment below the recovery point.
    fn trust(&mut self, base: i64, next_base: i64, listing: &Listing) -> Result<(), OpenError> {
        let size = file_size(&self.request, base, listing.logs[&base])?;
        let end = End { offset: next_base, size };
        let len = |kind| listing.indexes.get(&(base, kind)).copied();
        let has_indexes = size == 0
            || (len(Kind::Offset).is_some_and(is_plausible_offset_index)
                && len(Kind::Time).is_some_and(|len| len > 0 && len % 12 == 0));
        let has_txns = len(Kind::Txn).is_some();
        let (disk, path) = (Arc::clone(self.request.disk), Arc::clone(&self.request.path));
        let segment = Segment::sealed(disk, Arc::clone(&path), base, end, has_txns);
        if !has_indexes || !self.epochs_known {
            let file = segment.open_read()?;
            let interval = u64::from(self.request.config.index_interval_bytes);
            let mut epochs = std::mem::take(&mut self.replay.epochs);
            let scan = scan(&file, base, size, i64::MAX, interval, |step| {
                epochs.assign(step.header.leader_epoch(), step.header.base_offset());
            })?;
            self.replay.epochs = epochs;
            if let Some((position, reason)) = scan.bad {
                tracing::error!(path = %segment.path("log").display(), position, reason, "damaged segment");
            }
            if !has_indexes {
                tracing::info!(path = %segment.path("index").display(), "index rebuilt");
                self.request.disk.write_file(&segment.path("index"), &scan.index.encode())?;
                let mut times = scan.times;
                times.mark();
                self.request.disk.write_file(&segment.path("timeindex"), &times.encode())?;
                segment.sync_indexes()?;
            }
        }
        self.segments.push(Arc::new(segment));
        Ok(())
    }

    /// The last segment of a log that was closed in order: its index files say where to look for its end. `false` if
    /// they do not fit together.
    fn open_as_closed(&mut self, base: i64, listing: &Listing) -> Result<bool, OpenError> {
        if !self.epochs_known {
            return Ok(false);
        }
        let size = file_size(&self.request, base, listing.logs[&base])?;
        let disk = self.request.disk;
        let probe = self.segment_at(base, End { offset: base, size: 0 });
        let (Some(index), Some(times)) =
            (disk.read_file(&probe.path("index"))?, disk.read_file(&probe.path("timeindex"))?)
        else {
            return Ok(false);
        };
        let index = OffsetIndex::decode(&index, size);
        let Some(times) = TimeIndex::decode(&times) else { return Ok(false) };
        let txns = disk.read_file(&probe.path("txnindex"))?.unwrap_or_default();
        let Some(txns) = crate::index::decode_txns(&txns) else { return Ok(false) };
        let from = index.last().unwrap_or_default().position;
        let file = probe.open_read()?;
        let mut walker = Walker::new(&file, u64::from(from), u64::from(size), base);
        let mut largest = -1;
        loop {
            match walker.next(|_| Want::Header) {
                Ok(Some(step)) => largest = step.header.max_timestamp().max(largest),
                Ok(None) => break,
                Err(WalkError::Bad { .. }) => return Ok(false),
                Err(WalkError::Storage(error)) => return Err(error.into()),
            }
        }
        if largest > times.largest().map_or(-1, |l| l.timestamp) {
            return Ok(false);
        }
        let end = End { offset: walker.next_offset(), size };
        if self.request.recovery_point.is_some_and(|point| end.offset < point) {
            return Ok(false);
        }
        let (disk, path) = (Arc::clone(disk), Arc::clone(&self.request.path));
        let capacity = self.request.config.segment_bytes;
        let segment = Segment::active(disk, path, base, capacity, end, (index, times, txns));
        self.segments.push(Arc::new(segment));
        self.since_index = u64::from(size - from);
        self.replay.producers = load_producers(self.request.disk, &self.request.path, &self.segments, end.offset)?;
        self.is_as_closed = listing.snapshots.contains(&end.offset);
        Ok(true)
    }

    /// Walks a segment from its start and rebuilds everything that follows from it. `false` if the log ends in it
    /// though there are more.
    fn scan(&mut self, base: i64, file_len: u64, is_last: bool) -> Result<bool, OpenError> {
        let probe = self.segment_at(base, End { offset: base, size: 0 });
        let file = self.request.disk.open_data(&probe.path("log"), false)?;
        // What lies beyond 4 GiB cannot be ours: it is cut, or reported, like any other tail.
        let walked = u32::try_from(file_len).unwrap_or(u32::MAX);
        let interval = u64::from(self.request.config.index_interval_bytes);
        let mut replay = std::mem::take(&mut self.replay);
        let mut scan = scan(&file, base, walked, self.checked_from, interval, |step| replay.apply(&step))?;
        self.checked_bytes += file_len;
        let txns = std::mem::take(&mut replay.aborted);
        self.replay = replay;
        let end = scan.end;
        if scan.bad.is_none() && u64::from(end.size) < file_len {
            scan.bad = Some((u64::from(end.size), "the file is larger than a segment can be".to_owned()));
        }
        let expected = self.request.recovery_point.unwrap_or(0);
        let goes_on = match scan.bad {
            Some((position, reason)) if self.request.clean || end.offset < expected => {
                self.quarantine(&probe, end.offset, position, &reason);
                false
            }
            Some((position, reason)) => {
                let cut = file_len - position;
                tracing::warn!(
                    path = %probe.path("log").display(), position, cut_bytes = cut, end_offset = end.offset, reason,
                    "torn tail cut"
                );
                file.set_len(self.request.disk, position)?; // nothing is mapped yet
                self.cut_bytes += cut;
                false
            }
            None if is_last && end.offset < expected => {
                let reason = format!("it ends at offset {}, below its recovery point {expected}", end.offset);
                self.quarantine(&probe, end.offset, u64::from(end.size), &reason);
                false
            }
            None => true,
        };
        let (disk, path) = (Arc::clone(self.request.disk), Arc::clone(&self.request.path));
        let capacity = self.request.config.segment_bytes;
        let segment = Segment::active(disk, path, base, capacity, end, (scan.index, scan.times, txns));
        self.since_index = scan.since_index;
        if goes_on && !is_last {
            segment.seal()?;
            segment.close_file();
        }
        self.segments.push(Arc::new(segment));
        Ok(goes_on)
    }

    fn quarantine(&mut self, segment: &Segment, offset: i64, position: u64, reason: &str) {
        let error = segment.corrupt(position, reason);
        tracing::error!(topic = %self.request.topic, partition = self.request.partition, %error, "partition quarantined");
        self.damage = Some(Damage { offset, error });
    }

    fn finish(mut self, topic_id: Uuid, stored_epochs: Option<&Epochs>) -> Result<Loaded, OpenError> {
        let last_end = |segments: &[Arc<Segment>]| segments.last().map_or(0, |s| s.end().offset);
        let first_base = self.segments.first().map_or(0, |s| s.base());
        let start = self.request.log_start.unwrap_or(0).max(first_base);
        if start > last_end(&self.segments) && self.damage.is_none() {
            // Everything up to the start was deleted, and what would show it is lost.
            for segment in std::mem::take(&mut self.segments) {
                segment.remove()?;
            }
            self.replay.producers = Producers::default();
            remove_snapshots_above(self.request.disk, &self.request.path, -1)?;
            self.start_at(start)?;
        }
        let end = last_end(&self.segments);
        let mut epochs = self.replay.epochs;
        epochs.truncate_end(end);
        epochs.truncate_start(start);
        if self.damage.is_none() {
            if stored_epochs != Some(&epochs) {
                // Rebuildable like the indexes, and synced with them before the recovery point moves.
                let path = self.request.path.join(LEADER_EPOCHS);
                self.request.disk.write_file(&path, &encode_epochs(&epochs))?;
            }
            remove_snapshots_above(self.request.disk, &self.request.path, end)?;
            remove_stray_snapshots(self.request.disk, &self.request.path, &self.segments)?;
        }
        let Some(active) = self.segments.last().cloned() else {
            return Err(StorageError::io("load", &self.request.path, std::io::ErrorKind::NotFound.into()).into());
        };
        let mut writer = Writer::new(self.replay.producers, epochs, active, self.since_index);
        writer.names_dirty = !self.request.clean || stored_epochs != Some(&writer.epochs);
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

/// Walks the batches of a file: CRCs from offset `checked_from` on, headers below.
fn scan(
    file: &DataFile,
    base: i64,
    size: u32,
    checked_from: i64,
    interval: u64,
    mut take: impl FnMut(Step<'_>),
) -> Result<Scan, StorageError> {
    let mut scan = Scan {
        index: OffsetIndex::default(),
        times: TimeIndex::default(),
        end: End { offset: base, size: 0 },
        since_index: 0,
        bad: None,
    };
    let mut walker = Walker::new(file, 0, u64::from(size), base);
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
            Ok(None) => return Ok(scan),
            Err(WalkError::Storage(error)) => return Err(error),
            Err(WalkError::Bad { position, reason }) => {
                scan.bad = Some((position, reason));
                return Ok(scan);
            }
        };
        let Ok(relative_offset) = u32::try_from(step.header.last_offset() - base) else {
            scan.bad = Some((step.position, "an offset too far from the segment's base".to_owned()));
            return Ok(scan);
        };
        scan.times.observe(step.header.max_timestamp(), relative_offset);
        if scan.since_index > interval {
            scan.index.push(Place { relative_offset, position: step.position as u32 });
            scan.times.mark();
            scan.since_index = 0;
        }
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

/// What the producers were when the log ended at `end`: the newest usable snapshot that is not beyond, and the batches
/// after it.
pub(crate) fn load_producers(
    disk: &Arc<Disk>,
    path: &Path,
    segments: &[Arc<Segment>],
    end: i64,
) -> Result<Producers, StorageError> {
    let mut snapshots: Vec<i64> = snapshot_offsets(disk, path)?.into_iter().filter(|&offset| offset <= end).collect();
    snapshots.sort_unstable();
    let mut replay = Replay::default();
    let mut from = segments.first().map_or(end, |s| s.base());
    for offset in snapshots.into_iter().rev() {
        let name = path.join(file_name(offset, "snapshot"));
        match decode_snapshot(&disk.read_file(&name)?.unwrap_or_default()) {
            Ok(producers) => {
                replay.producers = producers;
                from = from.max(offset);
                break;
            }
            Err(error) => tracing::warn!(path = %name.display(), %error, "producer snapshot is no use"),
        }
    }
    for segment in segments.iter().filter(|s| s.end().offset > from && s.base() < end && s.end().size > 0) {
        let file = segment.open_read()?;
        let start = segment.walk_start(from)?;
        let mut walker = Walker::new(&file, u64::from(start), u64::from(segment.end().size), segment.base());
        loop {
            let want =
                |h: &jackdaw_protocol::records::Header<'_>| if h.is_control() { Want::Whole } else { Want::Header };
            match walker.next(want).map_err(|e| as_storage(segment, e))? {
                Some(step) if step.header.base_offset() >= end => break,
                Some(step) if step.header.base_offset() >= from => replay.apply(&step),
                Some(_) => {}
                None => break,
            }
        }
    }
    Ok(replay.producers)
}

fn snapshot_offsets(disk: &Disk, path: &Path) -> Result<Vec<i64>, StorageError> {
    let names = disk.list(path)?;
    Ok(names.iter().filter_map(|e| base_of(&e.name, "snapshot")).collect())
}

/// Snapshots beyond the end of the log tell of records that are no more.
pub(crate) fn remove_snapshots_above(disk: &Disk, path: &Path, end: i64) -> Result<(), StorageError> {
    for offset in snapshot_offsets(disk, path)?.into_iter().filter(|&offset| offset > end) {
        disk.remove_file(&path.join(file_name(offset, "snapshot")))?;
    }
    Ok(())
}

/// Each clean close leaves a snapshot: the newest is wanted, and those where a segment begins.
fn remove_stray_snapshots(disk: &Disk, path: &Path, segments: &[Arc<Segment>]) -> Result<(), StorageError> {
    let offsets = snapshot_offsets(disk, path)?;
    let newest = offsets.iter().max().copied();
    for offset in offsets {
        if Some(offset) != newest && !segments.iter().any(|s| s.base() == offset) {
            disk.remove_file(&path.join(file_name(offset, "snapshot")))?;
        }
    }
    Ok(())
}

fn file_size(request: &LoadRequest<'_>, base: i64, len: u64) -> Result<u32, OpenError> {
    u32::try_from(len).map_err(|_| OpenError::BadFile {
        path: request.path.join(file_name(base, "log")),
        reason: format!("{len} bytes are more than a segment can have"),
    })
}

fn base_of(name: &str, suffix: &str) -> Option<i64> {
    let (digits, found) = name.split_once('.')?;
    (found == suffix && digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// Lists a partition directory, and removes what operations that were never finished left in it.
fn list(disk: &Disk, path: &Path) -> Result<Listing, OpenError> {
    let mut listing = Listing::default();
    let entries = disk.list(path)?;
    for entry in entries.iter().filter(|e| !e.is_dir) {
        let name = entry.name.as_str();
        if name.ends_with(".deleted") || name.ends_with(".cleaned") || name.ends_with(".tmp") {
            disk.remove_file(&path.join(name))?;
        } else if name.ends_with(".swap") {
            return Err(OpenError::UnfinishedSwap { path: path.join(name) });
        } else if let Some(base) = base_of(name, "log") {
            listing.logs.insert(base, entry.len);
        } else if let Some(base) = base_of(name, "index") {
            listing.indexes.insert((base, Kind::Offset), entry.len);
        } else if let Some(base) = base_of(name, "timeindex") {
            listing.indexes.insert((base, Kind::Time), entry.len);
        } else if let Some(base) = base_of(name, "txnindex") {
            listing.indexes.insert((base, Kind::Txn), entry.len);
        } else if let Some(offset) = base_of(name, "snapshot") {
            listing.snapshots.push(offset);
        }
    }
    let orphans = listing.indexes.keys().filter(|(base, _)| !listing.logs.contains_key(base));
    for (base, kind) in orphans {
        let suffix = match kind {
            Kind::Offset => "index",
            Kind::Time => "timeindex",
            Kind::Txn => "txnindex",
        };
        disk.remove_file(&path.join(file_name(*base, suffix)))?;
    }
    Ok(listing)
}

/// Nil where the file is missing, or was being written when the machine stopped.
fn read_topic_id(disk: &Disk, path: &Path) -> Result<Uuid, OpenError> {
    let name = path.join(PARTITION_METADATA);
    let Some(bytes) = disk.read_file(&name)? else { return Ok(Uuid::nil()) };
    Ok(decode_partition_metadata(&bytes).unwrap_or_else(|reason| {
        tracing::warn!(path = %name.display(), reason, "topic id is unknown");
        Uuid::nil()
    }))
}

/// `None` where they have to be rebuilt from the batches.
fn read_epochs(disk: &Disk, path: &Path) -> Result<Option<Epochs>, OpenError> {
    let name = path.join(LEADER_EPOCHS);
    let Some(bytes) = disk.read_file(&name)? else { return Ok(None) };
    match decode_epochs(&bytes) {
        Ok(epochs) => Ok(Some(epochs)),
        Err(reason) => {
            tracing::warn!(path = %name.display(), reason, "leader epochs are rebuilt");
            Ok(None)
        }
    }
}
