//! One partition: its segments batch by batch, and everything that can be known from them against what other files say.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use jackdaw_protocol::records::{Batch, Header, records};
use jackdaw_storage::inspect::{
    Check, EpochStart, FileKind, Item, epoch_starts, partition_dir, segment_file_name, snapshot_producers, topic_id_of,
};

use super::directory::FOREIGN;
use super::indexes::Indexes;
use super::report::{Kind, PartitionReport};
use crate::log::files::{self, Entry, FileError};

/// What the records of one batch may unpack to.
const UNPACKED_MAX: usize = 256 << 20;
/// Bytes between two reports of progress.
const PROGRESS: u64 = 4 << 20;
/// After so many damages in one file, the rest is counted.
const TOLD_MAX: usize = 20;

/// What is known of the directory.
pub(super) struct Context<'a> {
    pub(super) with_records: bool,
    /// Closed in order, and nobody is at work on it.
    pub(super) is_settled: bool,
    pub(super) recovery_points: &'a HashMap<(String, i32), i64>,
    pub(super) log_starts: &'a HashMap<(String, i32), i64>,
    pub(super) cleaned: &'a HashMap<(String, i32), i64>,
}

/// Checks the partition in a folder.
pub(super) fn verify(entry: &Entry, context: &Context<'_>, done: &dyn Fn(u64)) -> PartitionReport {
    let (topic, partition) = partition_dir(&entry.name).unwrap_or((&entry.name, 0));
    let mut report = PartitionReport {
        topic: topic.to_owned(),
        partition,
        path: entry.path.clone(),
        records: context.with_records.then_some(0),
        ..PartitionReport::default()
    };
    if let Err(error) = look(entry, context, done, &mut report) {
        report.found(Kind::Unread, &error.path, None, error.error.to_string());
    }
    report
}

fn look(
    entry: &Entry,
    context: &Context<'_>,
    done: &dyn Fn(u64),
    report: &mut PartitionReport,
) -> Result<(), FileError> {
    let files = files::list(&entry.path)?;
    let mut segments: Vec<(i64, &Entry)> = Vec::new();
    for file in files.iter().filter(|file| !file.is_dir) {
        match FileKind::of(&file.name) {
            FileKind::Segment { base } => segments.push((base, file)),
            FileKind::Leftover { suffix } => report.note(&file.path, leftover(&suffix)),
            FileKind::PartitionMetadata => match topic_id_of(&files::small(&file.path)?.unwrap_or_default()) {
                Ok(id) => report.topic_id = Some(id),
                Err(reason) => report.damage(&file.path, None, reason),
            },
            FileKind::Unknown => report.note(&file.path, FOREIGN),
            _ => {}
        }
    }
    segments.sort_unstable_by_key(|(base, _)| *base);
    let epochs = read_epochs(&entry.path, report)?;
    let key = (report.topic.clone(), report.partition);
    let mut walk = Walk {
        context,
        done,
        report,
        epochs,
        epochs_wrong: false,
        recovery_point: context.recovery_points.get(&key).copied().unwrap_or(0),
        log_start: context.log_starts.get(&key).copied().unwrap_or(0),
        last_epoch: -1,
        has_producers: false,
        is_compacted: context.cleaned.contains_key(&key),
        gaps: Vec::new(),
        was_damaged: false,
    };
    walk.report.first_offset = segments.first().map_or(0, |(base, _)| *base);
    walk.report.end_offset = walk.report.first_offset;
    for (i, (base, file)) in segments.iter().enumerate() {
        walk.segment(*base, file, segments.get(i + 1).map(|(base, _)| *base))?;
    }
    walk.finish(&entry.path, &files, &segments)
}

fn leftover(suffix: &str) -> &'static str {
    match suffix {
        "deleted" => "was given up, and is removed after a while or at the next start",
        "swap" => "a compaction was about to take it into use; the next start finishes that",
        _ => "was not finished; the next start removes it",
    }
}

fn read_epochs(dir: &Path, report: &mut PartitionReport) -> Result<Option<Vec<EpochStart>>, FileError> {
    let path = dir.join("leader-epoch-checkpoint");
    let Some(bytes) = files::small(&path)? else { return Ok(None) };
    match epoch_starts(&bytes) {
        Ok(starts) => {
            let falls =
                |pair: &[EpochStart]| pair[0].epoch >= pair[1].epoch || pair[0].start_offset > pair[1].start_offset;
            if starts.windows(2).any(falls) {
                report.damage(&path, None, "its epochs do not rise");
            }
            Ok(Some(starts))
        }
        Err(reason) => {
            report.damage(&path, None, reason);
            Ok(None)
        }
    }
}

struct Walk<'a> {
    context: &'a Context<'a>,
    done: &'a dyn Fn(u64),
    report: &'a mut PartitionReport,
    epochs: Option<Vec<EpochStart>>,
    epochs_wrong: bool,
    recovery_point: i64,
    log_start: i64,
    last_epoch: i32,
    /// Whether a snapshot of producers would hold any.
    has_producers: bool,
    /// Whether compaction has been here, by the cleaner's own word or by what it leaves.
    is_compacted: bool,
    /// Offsets between segments that are in none: from, up to, and the segment behind.
    gaps: Vec<(i64, i64, PathBuf)>,
    /// Whether the last segment was: then the gap behind it is told.
    was_damaged: bool,
}

impl Walk<'_> {
    fn segment(&mut self, base: i64, file: &Entry, next_base: Option<i64>) -> Result<(), FileError> {
        let path = &file.path;
        if base < self.report.end_offset {
            let text = format!("begins at offset {base}, and the segment before ends at {}", self.report.end_offset);
            self.report.damage(path, None, text);
        }
        if base > self.report.end_offset && self.report.segments > 0 && !self.was_damaged {
            self.gaps.push((self.report.end_offset, base, path.clone()));
        }
        let mut expected = base;
        let mut indexes = Indexes::open(path.parent().unwrap_or(path), base, self.report)?;
        let mut reader = files::segment(path, base)?;
        let size = reader.len();
        let (mut told, mut legacy, mut damages) = (0, 0u64, 0);
        while let Some(item) = reader.next().map_err(FileError::new("read", path))? {
            match item {
                Item::Batch(batch) => {
                    let header = batch.header();
                    match &batch.check {
                        Check::Bad(error) => {
                            damages += 1;
                            self.tell(path, batch.position, error.to_string(), damages);
                        }
                        Check::Whole(whole) => self.records(path, batch.position, whole),
                        Check::TooLargeToHold => self.report.note(path, "a batch too large to look into its records"),
                    }
                    self.report.batches += 1;
                    self.is_compacted |= header.base_offset() > expected && damages == 0;
                    self.is_compacted |=
                        header.record_count() <= header.last_offset_delta() || header.has_delete_horizon();
                    self.has_producers |= header.producer_id() >= 0;
                    expected = header.last_offset() + 1;
                    indexes.batch(batch.position, &header, self.report)?;
                    self.epoch(path, batch.position, &header);
                }
                Item::Legacy(_) => legacy += 1,
                Item::Damage(damage) if self.is_torn_end(&reader, next_base, damage.end) => {
                    let text = format!(
                        "a torn end of {} bytes ({}); the next start cuts it",
                        damage.end - damage.position,
                        damage.reason
                    );
                    self.report.found(Kind::Note, path, Some(damage.position), text);
                }
                Item::Damage(damage) => {
                    damages += 1;
                    let text = format!("{}; nothing can be read up to byte {}", damage.reason, damage.end);
                    self.tell(path, damage.position, text, damages);
                }
            }
            if reader.position() - told >= PROGRESS {
                (self.done)(reader.position() - told);
                told = reader.position();
            }
        }
        (self.done)(size - told);
        if damages > TOLD_MAX {
            self.report.note(path, format!("{} more damages in this file", damages - TOLD_MAX));
        }
        if legacy > 0 {
            let text = format!("{legacy} messages of formats before Kafka 0.11, which no broker from 4.0 on reads");
            self.report.note(path, text);
        }
        indexes.finish(size, next_base.is_some(), self.context.is_settled, self.report)?;
        self.was_damaged = damages > 0;
        self.report.segments += 1;
        self.report.bytes += size;
        self.report.end_offset = self.report.end_offset.max(reader.next_offset());
        Ok(())
    }

    fn tell(&mut self, path: &Path, position: u64, what: String, damages: usize) {
        if damages <= TOLD_MAX {
            self.report.damage(path, Some(position), what);
        }
    }

    /// What a crash leaves, or a write that goes on: the end of the last segment, above the recovery point.
    fn is_torn_end<R: jackdaw_storage::inspect::ReadAt>(
        &self,
        reader: &jackdaw_storage::inspect::SegmentReader<R>,
        next_base: Option<i64>,
        end: u64,
    ) -> bool {
        !self.context.is_settled
            && next_base.is_none()
            && end == reader.len()
            && reader.next_offset() >= self.recovery_point
    }

    /// Unpacks and counts.
    fn records(&mut self, path: &Path, position: u64, batch: &Batch) {
        let Some(count) = self.report.records else { return };
        let header = batch.header();
        let mut found = 0;
        let decoded = match records(batch, UNPACKED_MAX) {
            Ok(decoded) => decoded,
            Err(error) => return self.report.damage(path, Some(position), format!("its records: {error}")),
        };
        let mut last_delta = -1;
        for record in decoded.iter() {
            match record {
                Ok(record) if record.offset_delta > last_delta && record.offset_delta <= header.last_offset_delta() => {
                    last_delta = record.offset_delta;
                    found += 1;
                }
                Ok(record) => {
                    let text = format!("record {found} has offset delta {} after {last_delta}", record.offset_delta);
                    return self.report.damage(path, Some(position), text);
                }
                Err(error) => return self.report.damage(path, Some(position), format!("its records: {error}")),
            }
        }
        self.report.records = Some(count + found);
    }

    /// The epochs of batches rise, and the file of epochs says the same.
    fn epoch(&mut self, path: &Path, position: u64, header: &Header<'_>) {
        let (epoch, offset) = (header.leader_epoch(), header.base_offset());
        if epoch < self.last_epoch {
            let text = format!("leader epoch {epoch} after {}", self.last_epoch);
            self.report.damage(path, Some(position), text);
        }
        self.last_epoch = self.last_epoch.max(epoch);
        let Some(starts) = &self.epochs else { return };
        let at = starts.partition_point(|start| start.start_offset <= offset);
        let said = at.checked_sub(1).and_then(|at| starts.get(at)).map(|start| start.epoch);
        // Below the start of the log the file has forgotten; while it is written to, it may not know yet.
        let may_differ = offset < self.log_start || (!self.context.is_settled && offset >= self.recovery_point);
        if said != Some(epoch) && epoch >= 0 && !may_differ && !std::mem::replace(&mut self.epochs_wrong, true) {
            let said = said.map_or("no epoch".to_owned(), |epoch| format!("epoch {epoch}"));
            let path = path.with_file_name("leader-epoch-checkpoint");
            let text = format!("says {said} at offset {offset}, the batch there is of epoch {epoch}");
            self.report.damage(&path, None, text);
        }
    }

    fn finish(&mut self, dir: &Path, files: &[Entry], segments: &[(i64, &Entry)]) -> Result<(), FileError> {
        let end = self.report.end_offset;
        if segments.is_empty() {
            self.report.note(dir, "holds no segment");
        }
        if let Some(start) = self.epochs.iter().flatten().last().filter(|start| start.start_offset > end) {
            let text = format!(
                "epoch {} begins at offset {}, beyond the end of the log, {end}",
                start.epoch, start.start_offset
            );
            self.report.damage(&dir.join("leader-epoch-checkpoint"), None, text);
        }
        for file in files {
            match FileKind::of(&file.name) {
                FileKind::ProducerSnapshot { offset } => self.snapshot(&file.path, offset, end)?,
                FileKind::OffsetIndex { base } | FileKind::TimeIndex { base } | FileKind::TxnIndex { base }
                    if !segments.iter().any(|(known, _)| *known == base) =>
                {
                    self.report.note(&file.path, "an index without its segment; the next start removes it");
                }
                _ => {}
            }
        }
        self.tell_gaps();
        self.missing_snapshots(dir, files, segments);
        Ok(())
    }

    /// Compaction leaves gaps between segments, and others; where it has never been, a segment is lost.
    fn tell_gaps(&mut self) {
        for (from, to, path) in std::mem::take(&mut self.gaps) {
            let text = format!("no segment holds offsets {from} to {}, before this one", to - 1);
            if self.is_compacted {
                self.report.note(&path, format!("{text}: compaction may have left none of them"));
            } else {
                self.report.damage(&path, None, text);
            }
        }
    }

    /// One at the start of each segment but the first; one at the end, if the log was closed.
    fn missing_snapshots(&mut self, dir: &Path, files: &[Entry], segments: &[(i64, &Entry)]) {
        if !self.has_producers {
            return;
        }
        let starts = segments.iter().skip(1).map(|(base, _)| *base);
        let (first, end) = (self.report.first_offset, self.report.end_offset);
        let wanted = starts.chain(self.context.is_settled.then_some(end));
        for offset in wanted.filter(|offset| *offset > first) {
            let is_there = |file: &Entry| FileKind::of(&file.name) == FileKind::ProducerSnapshot { offset };
            if !files.iter().any(is_there) {
                let path = dir.join(segment_file_name(offset, "snapshot"));
                self.report.note(&path, "is missing; a start that needs it reads the producers from the segments");
            }
        }
    }

    fn snapshot(&mut self, path: &Path, offset: i64, end: i64) -> Result<(), FileError> {
        if offset > end && self.context.is_settled {
            self.report.damage(path, None, format!("is of offset {offset}, beyond the end of the log, {end}"));
        }
        match snapshot_producers(&files::small(path)?.unwrap_or_default()) {
            Ok(producers) => {
                let last = |producer: &jackdaw_storage::inspect::SnapshotProducer| {
                    producer.batches.last().map(|b| b.last_offset)
                };
                let beyond = producers.iter().find(|producer| last(producer).is_some_and(|last| last >= offset));
                if let Some(producer) = beyond {
                    let text =
                        format!("knows an offset of producer {} that is not below its own", producer.producer_id);
                    self.report.damage(path, None, text);
                }
            }
            Err(reason) => self.report.damage(path, None, reason),
        }
        Ok(())
    }
}
