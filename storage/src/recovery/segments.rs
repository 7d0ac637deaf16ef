//! One segment of a log that is loaded: believed, looked at, or walked.

use std::sync::Arc;

use super::Loader;
use super::listing::{Kind, Listing, file_size};
use super::resume::find_batches;
use super::scan::{Replay, Scan, resume, scan};
use super::snapshots::load_producers;
use crate::disk::{DataFile, unless_full};
use crate::error::OpenError;
use crate::index::{OffsetIndex, TimeIndex};
use crate::log::{Hole, SealedFiles};
use crate::producers::encode_snapshot;
use crate::segment::{End, Segment, file_name};
use crate::walk::{WalkError, Walker, Want};

impl Loader<'_> {
    /// A sealed segment below the recovery point. Its index files are looked at when somebody needs them.
    pub(super) fn trust(&mut self, base: i64, next_base: i64, listing: &Listing) -> Result<(), OpenError> {
        let size = file_size(&self.request, base, listing.logs[&base])?;
        let end = End { offset: next_base, size };
        let has_txns = listing.indexes.contains_key(&(base, Kind::Txn));
        let (disk, path) = (Arc::clone(self.request.disk), Arc::clone(&self.request.path));
        let segment = Segment::sealed(disk, Arc::clone(&path), base, end, has_txns);
        if !self.epochs_known {
            let file = segment.open_read()?;
            let mut epochs = std::mem::take(&mut self.replay.epochs);
            let interval = u64::from(self.request.config.index_interval_bytes);
            let scan = scan(&file, base, size, i64::MAX, interval, |step| {
                epochs.assign(step.header.leader_epoch(), step.header.base_offset());
            })?;
            self.replay.epochs = epochs;
            if let Some((position, reason)) = &scan.bad {
                tracing::error!(path = %segment.path("log").display(), position, reason, "damaged segment");
            }
        }
        self.segments.push(Arc::new(segment));
        Ok(())
    }

    /// The last segment of a log that was closed in order: its index files say where to look for its end. `false` if
    /// they do not fit together.
    pub(super) fn open_as_closed(&mut self, base: i64, listing: &Listing) -> Result<bool, OpenError> {
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
        if self.request.recovery_point.is_some_and(|point| end.offset != point) {
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
    pub(super) fn scan(&mut self, base: i64, file_len: u64, next_base: Option<i64>) -> Result<bool, OpenError> {
        let probe = self.segment_at(base, End { offset: base, size: 0 });
        let file = self.request.disk.open_data(&probe.path("log"), false)?;
        // What lies beyond 4 GiB cannot be ours: it is cut, or reported, like any other tail.
        let walked = u32::try_from(file_len).unwrap_or(u32::MAX);
        let interval = u64::from(self.request.config.index_interval_bytes);
        let mut replay = std::mem::take(&mut self.replay);
        let watch = self.request.watch;
        let mut scan = scan(&file, base, walked, self.checked_from, interval, |step| {
            replay.apply(&step);
            watch.add(step.header.size_in_bytes() as u64);
        })?;
        self.checked_bytes += file_len;
        if scan.bad.is_none() && u64::from(scan.end.size) < file_len {
            scan.bad = Some((u64::from(scan.end.size), "the file is larger than a segment can be".to_owned()));
        }
        let known_end = next_base.or(self.request.recovery_point).filter(|_| self.request.clean);
        if scan.bad.is_none() && known_end.is_some_and(|end| scan.end.offset > end) {
            scan.doubt_last("it reaches beyond the end");
        }
        self.look_behind_damage(&probe, &file, walked, next_base, &mut scan, &mut replay)?;
        let txns = std::mem::take(&mut replay.aborted);
        self.replay = replay;
        let goes_on = self.judge(&probe, &file, file_len, next_base, &mut scan)?;
        let (disk, path) = (Arc::clone(self.request.disk), Arc::clone(&self.request.path));
        let capacity = self.request.config.segment_bytes;
        let end = End { offset: next_base.filter(|_| goes_on).unwrap_or(scan.end.offset), ..scan.end };
        let segment = Segment::active(disk, path, base, capacity, end, (scan.index, scan.times, txns));
        self.since_index = scan.since_index;
        if let Some(next_base) = next_base.filter(|_| goes_on && self.damage.is_none()) {
            // Too little room for its index files: it keeps them in memory, and the next start makes them again.
            unless_full(segment.seal())?;
            segment.close_file();
            // One that is there may be of an earlier life, before a cut.
            let snapshot = self.request.path.join(file_name(next_base, "snapshot"));
            unless_full(self.request.disk.write_file(&snapshot, &encode_snapshot(&self.replay.producers)))?;
        }
        let segment = Arc::new(segment);
        if let Some(next_base) = next_base.filter(|_| goes_on) {
            self.unsynced.push(Arc::new(SealedFiles::recovered(Arc::clone(&segment), &self.request.path, next_base)));
        }
        self.segments.push(segment);
        Ok(goes_on)
    }

    /// The log must reach this offset: it was synced or, where nobody knows any more what was, committed.
    fn expected(&self) -> i64 {
        self.request.recovery_point.unwrap_or(self.request.high_watermark)
    }

    /// Where bytes that had been safe are bad, the log has a hole there, and goes on where whole batches begin again.
    fn look_behind_damage(
        &mut self,
        probe: &Segment,
        file: &DataFile,
        size: u32,
        next_base: Option<i64>,
        scan: &mut Scan,
        replay: &mut Replay,
    ) -> Result<(), OpenError> {
        let (base, interval) = (probe.base(), u64::from(self.request.config.index_interval_bytes));
        // Where nobody knows any more what had been synced, nothing is cut that others follow.
        let is_safe = self.request.clean || (self.request.recovery_point.is_none() && next_base.is_some());
        while is_safe || self.damage.is_some() || scan.end.offset < self.expected() {
            let Some((position, reason)) = scan.bad.take() else { break };
            let from = scan.end.offset;
            let error = probe.corrupt(position, &reason);
            let Some(sound) = find_batches(file, position, u64::from(size), from)? else {
                self.quarantine(Hole { from, to: next_base.unwrap_or(i64::MAX), error });
                break;
            };
            let to = resume(scan, file, base, (sound, size), self.checked_from, interval, |step| replay.apply(&step))?;
            self.quarantine(Hole { from, to, error });
        }
        Ok(())
    }

    /// What becomes of a segment that was walked; `false` if the log ends in it.
    fn judge(
        &mut self,
        probe: &Segment,
        file: &DataFile,
        file_len: u64,
        next_base: Option<i64>,
        scan: &mut Scan,
    ) -> Result<bool, OpenError> {
        let (end, expected) = (scan.end, self.expected());
        let log = probe.path("log");
        if next_base.is_none() && end.offset < expected {
            // Promised, and nowhere to be found: no offset there may be given out again.
            let reason = format!("it ends at offset {}, below its recovery point {expected}", end.offset);
            let error = probe.corrupt(u64::from(end.size), &reason);
            if self.damage.as_ref().is_none_or(|damage| damage.holes().iter().all(|hole| hole.to < i64::MAX)) {
                self.quarantine(Hole { from: end.offset, to: i64::MAX, error });
            }
        }
        if self.damage.is_some() {
            return Ok(true); // nothing is cut, and what follows may be sound
        }
        if let Some((position, reason)) = scan.bad.take() {
            let cut = file_len - position;
            tracing::warn!(
                path = %log.display(), position, cut_bytes = cut, end_offset = end.offset, reason, "torn tail cut"
            );
            file.set_len(self.request.disk, position)?; // nothing is mapped yet
            // What is appended over it is not to be mixed with it by the next crash. Little waits for the disk here: a
            // machine that lost its power has written nothing since.
            file.sync(self.request.disk)?;
            self.cut_bytes += cut;
            return Ok(false);
        }
        if next_base.is_none() && !self.request.clean {
            // A crash may have left records of before in the blocks beyond the end, and the next one may let the file
            // grow over them before it has the bytes that were appended since.
            file.trim(self.request.disk)?;
        }
        let gaps_below = end.offset.max(self.checked_from).max(self.request.cleaned);
        if self.request.recovery_point.is_some() && next_base.is_some_and(|next| next > gaps_below) {
            // Where a log has been compacted, there are such gaps: ours only below the recovery point, Apache Kafka's
            // above it too. Elsewhere only a lost tail leaves one: the directory had the next segment's name before
            // the disk had this one's bytes.
            tracing::warn!(
                path = %log.display(), end_offset = end.offset, next_segment = next_base,
                "its end never reached the disk: what follows is cut"
            );
            return Ok(false);
        }
        Ok(true)
    }
}
