//! The index files of a sealed segment, checked against its data at their first use, and rebuilt where they are missing,
//! short or wrong. Not at the start: a broker of many segments would open every one of them.
//!
//! What no check at first use can see (one entry in the middle that points elsewhere) is seen by the lookup that meets
//! it: an entry leads to the header of a batch that it fits, or the index is rebuilt.

use jackdaw_protocol::records::Header;

use super::scan::{Scan, scan};
use crate::disk::{Disk, unless_full};
use crate::error::StorageError;
use crate::index::{OffsetIndex, Place, TimeEntry, TimeIndex, entries_of};
use crate::log::as_storage;
use crate::segment::Segment;
use crate::walk::{WalkError, Walker, Want};

/// An index is rebuilt with an entry for about so many bytes: Kafka's default of `index.interval.bytes`.
const INTERVAL: u64 = 4096;
/// From the last entry to the end may be so many intervals: the interval may have been changed meanwhile.
const GAP_MAX: u64 = 4;

/// Checks the index files; what is wrong with them, if something is.
pub(crate) fn check_indexes(disk: &Disk, segment: &Segment) -> Result<Option<String>, StorageError> {
    if segment.end().size == 0 {
        return Ok(None);
    }
    let Some(index) = disk.read_file(&segment.path("index"))? else { return doubt("the offset index is missing") };
    let Some(times) = disk.read_file(&segment.path("timeindex"))? else { return doubt("the time index is missing") };
    let Some(entries) = entries_of(&index) else { return doubt("the offset index is not of whole entries") };
    let Some(times) = TimeIndex::decode(&times) else { return doubt("the time index is not of rising entries") };
    let (mut last, mut count) = (Place::default(), 0u64);
    for entry in entries {
        let rises = count == 0 || (last.relative_offset < entry.relative_offset && last.position < entry.position);
        if !rises || entry.position >= segment.end().size {
            return doubt("the entries of the offset index do not rise, or point beyond the end");
        }
        (last, count) = (entry, count + 1);
    }
    let file = segment.open_read()?;
    let mut walker = Walker::new(&file, u64::from(last.position), u64::from(segment.end().size), segment.base());
    let (mut passed, mut previous, mut largest) = (0, 0, -1);
    loop {
        match walker.next(|_| Want::Header) {
            Ok(Some(step)) => {
                passed += previous;
                previous = step.header.size_in_bytes() as u64;
                largest = step.header.max_timestamp().max(largest);
            }
            Ok(None) => break,
            Err(WalkError::Storage(error)) => return Err(error),
            Err(WalkError::Bad { .. }) => return doubt("the last entry of the offset index leads to no batch"),
        }
    }
    let usual = (u64::from(last.position) / count.max(1)).max(INTERVAL);
    if passed > usual * GAP_MAX {
        return doubt("the offset index ends too early");
    }
    match times.largest() {
        None if largest >= 0 => doubt("the time index is empty"),
        Some(entry) if entry.timestamp < largest => doubt("the time index ends too early"),
        Some(entry) if !fits(segment, entry)? => doubt("the time index names a batch of another time"),
        _ => Ok(None),
    }
}

fn doubt(what: &str) -> Result<Option<String>, StorageError> {
    Ok(Some(what.to_owned()))
}

/// Whether the batch that an entry of the time index names has the time it says.
pub(crate) fn fits(segment: &Segment, entry: TimeEntry) -> Result<bool, StorageError> {
    let offset = segment.base() + i64::from(entry.relative_offset);
    let file = segment.open_read()?;
    let start = u64::from(segment.unchecked_walk_start(offset)?);
    let mut walker = Walker::new(&file, start, u64::from(segment.end().size), segment.base());
    loop {
        match walker.next(|_| Want::Header) {
            Ok(Some(step)) if step.header.last_offset() < offset => {}
            Ok(Some(step)) => {
                return Ok(step.header.base_offset() <= offset && step.header.max_timestamp() == entry.timestamp);
            }
            Ok(None) | Err(WalkError::Bad { .. }) => return Ok(false),
            Err(WalkError::Storage(error)) => return Err(error),
        }
    }
}

/// Whether an entry of an offset index leads to the header of a batch that it may name. Kafka's entries name the last
/// offset of everything appended at once, of which the batch is the first. `left`: bytes from there to the segment's end.
pub(crate) fn leads_to_batch(base: i64, entry: Place, found: &[u8], left: usize) -> bool {
    Header::parse(found).is_ok_and(|header| {
        header.size_in_bytes() <= left
            && header.base_offset() >= base
            && header.last_offset() <= base + i64::from(entry.relative_offset)
    })
}

/// Makes the index files anew from the data. What lies behind damage in the data is not in them. On a full disk they are
/// given back, to be kept in memory.
pub(crate) fn rebuild_indexes(
    disk: &Disk,
    segment: &Segment,
    why: &str,
) -> Result<Option<(OffsetIndex, TimeIndex)>, StorageError> {
    let file = segment.open_read()?;
    let Scan { index, mut times, bad, .. } =
        scan(&file, segment.base(), segment.end().size, i64::MAX, INTERVAL, |_| {})?;
    if segment.is_gone() {
        return Ok(None); // the names are another segment's by now
    }
    tracing::warn!(path = %segment.path("index").display(), why, "indexes rebuilt");
    if let Some((position, reason)) = bad {
        let error = as_storage(segment, WalkError::Bad { position, reason });
        tracing::error!(path = %file.path().display(), %error, "a segment is damaged");
    }
    times.mark();
    let written = disk
        .write_file(&segment.path("index"), &index.encode())
        .and_then(|()| disk.write_file(&segment.path("timeindex"), &times.encode()));
    Ok(if unless_full(written)? { None } else { Some((index, times)) })
}
