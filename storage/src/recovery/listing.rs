//! What a partition directory holds, before any segment is opened.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use uuid::Uuid;

use super::LoadRequest;
use crate::checkpoint::{LEADER_EPOCHS, PARTITION_METADATA, decode_epochs, decode_partition_metadata};
use crate::disk::Disk;
use crate::epochs::Epochs;
use crate::error::{OpenError, StorageError};
use crate::segment::file_name;
use crate::swap::{CLEANED, SWAP, settle};

/// Files of a partition directory, by base offset.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) logs: BTreeMap<i64, u64>,
    pub(super) indexes: HashMap<(i64, Kind), u64>,
    pub(super) snapshots: Vec<i64>,
    pub(super) sketches: Vec<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Offset,
    Time,
    Txn,
}

pub(super) fn file_size(request: &LoadRequest<'_>, base: i64, len: u64) -> Result<u32, OpenError> {
    u32::try_from(len).map_err(|_| OpenError::BadFile {
        path: request.path.join(file_name(base, "log")),
        reason: format!("{len} bytes are more than a segment can have"),
    })
}

/// A segment that began above had no room for its offsets: no log has come so far, and such a name is none of ours.
const BASE_MAX: i64 = i64::MAX - u32::MAX as i64;

pub(super) fn base_of(name: &str, suffix: &str) -> Option<i64> {
    let (digits, found) = name.split_once('.')?;
    let base = (found == suffix && digits.len() == 20).then(|| digits.parse().ok()).flatten();
    base.filter(|base| *base <= BASE_MAX)
}

/// Lists a partition directory, and removes what operations that were never finished left in it.
pub(super) fn list(disk: &Disk, path: &Path) -> Result<Listing, OpenError> {
    let mut listing = Listing::default();
    let mut entries = disk.list(path)?;
    if entries.iter().any(|e| e.name.ends_with(SWAP) || e.name.ends_with(CLEANED)) {
        settle(disk, path)?;
        entries = disk.list(path)?;
    }
    for entry in entries.iter().filter(|e| !e.is_dir) {
        let name = entry.name.as_str();
        if name.ends_with(".deleted") || name.ends_with(".tmp") {
            disk.remove_file(&path.join(name))?;
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
        } else if let Some(base) = base_of(name, "keys") {
            listing.sketches.push(base);
        }
    }
    for base in listing.sketches.iter().filter(|base| !listing.logs.contains_key(base)) {
        disk.remove_file(&path.join(file_name(*base, "keys")))?;
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
pub(super) fn read_topic_id(disk: &Disk, path: &Path) -> Result<Uuid, OpenError> {
    let name = path.join(PARTITION_METADATA);
    let Some(bytes) = disk.read_file(&name)? else { return Ok(Uuid::nil()) };
    Ok(decode_partition_metadata(&bytes).unwrap_or_else(|reason| {
        tracing::warn!(path = %name.display(), reason, "topic id is unknown");
        Uuid::nil()
    }))
}

/// `None` where they have to be rebuilt from the batches.
pub(super) fn read_epochs(disk: &Disk, path: &Path) -> Result<Option<Epochs>, OpenError> {
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

/// Bytes of the segments that a start after a crash has to walk.
pub(crate) fn unchecked_bytes(disk: &Disk, path: &Path, recovery_point: Option<i64>) -> Result<u64, StorageError> {
    let mut logs: Vec<(i64, u64)> =
        disk.list(path)?.iter().filter_map(|entry| Some((base_of(&entry.name, "log")?, entry.len))).collect();
    logs.sort_unstable();
    let first = logs.partition_point(|(base, _)| *base <= recovery_point.unwrap_or(0)).saturating_sub(1);
    Ok(logs[first..].iter().map(|(_, len)| len).sum())
}
