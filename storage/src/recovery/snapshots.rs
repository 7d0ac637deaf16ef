//! Producer snapshots of a partition directory.

use std::path::Path;
use std::sync::Arc;

use super::listing::base_of;
use super::scan::Replay;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::producers::{Producers, decode_snapshot};
use crate::segment::{Segment, file_name};
use crate::walk::{WalkError, Walker, Want};

/// What the producers were when the log ended at `end`: the newest usable snapshot that is not beyond, and the batches
/// after it.
pub(crate) fn load_producers(
    disk: &Arc<Disk>,
    path: &Path,
    segments: &[Arc<Segment>],
    end: i64,
) -> Result<Producers, StorageError> {
    let mut from = segments.first().map_or(end, |s| s.base());
    // One of before the first segment knows nothing of the batches between: to forget a producer is better than to take
    // its next batch for one out of order.
    let mut snapshots: Vec<i64> =
        snapshot_offsets(disk, path)?.into_iter().filter(|offset| (from..=end).contains(offset)).collect();
    snapshots.sort_unstable();
    let mut replay = Replay::default();
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
            match walker.next(want) {
                Ok(Some(step)) if step.header.base_offset() >= end => break,
                Ok(Some(step)) if step.header.base_offset() >= from => replay.apply(&step),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(WalkError::Bad { position, reason }) => {
                    // Whoever reads there is told. The producers of the rest are better known than none.
                    tracing::error!(path = %segment.path("log").display(), position, reason, "damaged segment");
                    break;
                }
                Err(WalkError::Storage(error)) => return Err(error),
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

/// Each clean close leaves a snapshot: the newest is wanted, and those where a segment begins. After a crash, the newest
/// may be of an earlier life of the log: then its name came back, and the log has grown beyond its offset again.
pub(super) fn remove_stray_snapshots(
    disk: &Disk,
    path: &Path,
    segments: &[Arc<Segment>],
    clean: bool,
) -> Result<(), StorageError> {
    let offsets = snapshot_offsets(disk, path)?;
    let newest = offsets.iter().max().copied().filter(|_| clean);
    for offset in offsets {
        if Some(offset) != newest && !segments.iter().any(|s| s.base() == offset) {
            disk.remove_file(&path.join(file_name(offset, "snapshot")))?;
        }
    }
    Ok(())
}
