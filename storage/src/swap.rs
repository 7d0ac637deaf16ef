//! Completes or undoes, at start, a replacement of segments that a crash interrupted: ours (`log/replace.rs`) or Apache
//! Kafka's, which has the same names.
//!
//! A `.cleaned` file was not finished: it goes, and with it every `.swap` file of its base offset or above, which belongs
//! to it (or, from Kafka, to a split that was not finished). A `.log.swap` file that is left is whole: what it replaces
//! goes, and it takes its place. A `.swap` index without data belongs to data that has its place already.

use std::path::Path;

use crate::disk::Disk;
use crate::error::StorageError;
use crate::walk::{WalkError, Walker, Want};

/// Ends the name of a file that is being written.
pub(crate) const CLEANED: &str = ".cleaned";
/// Ends the name of a file that is about to take its place.
pub(crate) const SWAP: &str = ".swap";

const SEGMENT_FILES: [&str; 4] = ["log", "index", "timeindex", "txnindex"];

/// A file of a partition directory: base offset, and what comes after it in the name.
struct Found {
    base: i64,
    kind: String,
    name: String,
}

fn files(disk: &Disk, path: &Path) -> Result<Vec<Found>, StorageError> {
    let found = disk.list(path)?.into_iter().filter(|entry| !entry.is_dir).filter_map(|entry| {
        let (digits, kind) = entry.name.split_once('.')?;
        let base = (digits.len() == 20).then(|| digits.parse().ok())??;
        Some(Found { base, kind: kind.to_owned(), name: entry.name })
    });
    Ok(found.collect())
}

/// Brings a partition directory into a state without `.swap` and `.cleaned` files.
pub(crate) fn settle(disk: &Disk, path: &Path) -> Result<(), StorageError> {
    let found = files(disk, path)?;
    let first_unfinished = found.iter().filter(|f| f.kind.ends_with(CLEANED)).map(|f| f.base).min();
    let (swaps, others): (Vec<Found>, Vec<Found>) =
        found.into_iter().filter(|f| !f.kind.ends_with(CLEANED)).partition(|f| f.kind.ends_with(SWAP));
    let (undone, swaps): (Vec<Found>, Vec<Found>) =
        swaps.into_iter().partition(|swap| first_unfinished.is_some_and(|first| swap.base >= first));
    for swap in &undone {
        tracing::info!(path = %path.display(), file = swap.name, "compaction was not finished: undone");
        disk.remove_file(&path.join(&swap.name))?;
    }
    remove_leftovers_but_swaps(disk, path)?;
    let is_data = |f: &&Found| f.kind.strip_suffix(SWAP) == Some("log");
    for data in swaps.iter().filter(is_data) {
        let end = match end_of(disk, path, data)? {
            Some(end) => end,
            None if others.iter().any(|f| f.base == data.base && f.kind == "log") => {
                // What it was to replace is all there yet. The data loses its name first: see `remove_leftovers`.
                let name = data.name.strip_suffix(SWAP).unwrap_or(&data.name);
                disk.rename(&path.join(&data.name), &path.join(format!("{name}{CLEANED}")))?;
                return settle(disk, path);
            }
            None => data.base + 1, // the load will say so
        };
        tracing::info!(path = %path.display(), file = data.name, end, "compaction was interrupted: completed");
        let replaced = |f: &&Found| f.base >= data.base && f.base < end && SEGMENT_FILES.contains(&f.kind.as_str());
        for old in others.iter().filter(replaced) {
            disk.remove_file(&path.join(&old.name))?;
        }
    }
    let (data, indexes): (Vec<&Found>, Vec<&Found>) = swaps.iter().partition(is_data);
    for swap in data.into_iter().chain(indexes) {
        let name = swap.name.strip_suffix(SWAP).unwrap_or(&swap.name);
        disk.rename(&path.join(&swap.name), &path.join(name))?;
    }
    if swaps.is_empty() && undone.is_empty() { Ok(()) } else { disk.sync_dir(path) }
}

/// Offset after the last batch of a data file that is to be swapped in; `None` if it is damaged.
fn end_of(disk: &Disk, path: &Path, data: &Found) -> Result<Option<i64>, StorageError> {
    let file = disk.open_read(&path.join(&data.name))?;
    let mut walker = Walker::new(&file, 0, file.len()?, data.base);
    loop {
        match walker.next(|_| Want::Header) {
            Ok(Some(_)) => {}
            // An empty file replaces the segment of its name.
            Ok(None) => return Ok(Some(walker.next_offset().max(data.base + 1))),
            Err(WalkError::Bad { position, reason }) => {
                // It had been synced before it got its name: this is damage.
                tracing::error!(path = %path.display(), file = data.name, position, reason, "damaged segment");
                return Ok(None);
            }
            Err(WalkError::Storage(error)) => return Err(error),
        }
    }
}

/// Removes what a compaction that was given up has left: first what ends in `.swap`, and the data of what ends in
/// `.cleaned` last, so that a crash in between leaves nothing that looks finished.
pub(crate) fn remove_leftovers(disk: &Disk, path: &Path) -> Result<(), StorageError> {
    for found in files(disk, path)?.iter().filter(|f| f.kind.ends_with(SWAP)) {
        disk.remove_file(&path.join(&found.name))?;
    }
    remove_leftovers_but_swaps(disk, path)
}

fn remove_leftovers_but_swaps(disk: &Disk, path: &Path) -> Result<(), StorageError> {
    let mut cleaned = files(disk, path)?;
    cleaned.retain(|f| f.kind.ends_with(CLEANED));
    cleaned.sort_by_key(|f| f.kind.starts_with("log"));
    cleaned.iter().try_for_each(|f| disk.remove_file(&path.join(&f.name)))
}
