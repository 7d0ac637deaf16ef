//! Leader epochs that the file does not tell of, though their batches are there.

use std::sync::Arc;

use crate::epochs::Epochs;
use crate::error::StorageError;
use crate::segment::Segment;
use crate::walk::{WalkError, Walker, Want};

/// Adds the epochs between `start` and the first one known. They are missing when the log start was moved, the file was
/// written, and then a crash brought the old start back.
pub(super) fn completed(epochs: Epochs, segments: &[Arc<Segment>], start: i64) -> Result<Epochs, StorageError> {
    let known_from = match epochs.entries().first() {
        Some(first) if first.start_offset > start => first.start_offset,
        _ => return Ok(epochs),
    };
    let mut all = Epochs::default();
    for segment in segments.iter().filter(|s| s.base() < known_from && s.end().offset > start && s.end().size > 0) {
        let file = segment.open_read()?;
        let mut walker = Walker::new(&file, 0, u64::from(segment.end().size), segment.base());
        loop {
            let step = match walker.next(|_| Want::Header) {
                Ok(Some(step)) => step,
                Ok(None) | Err(WalkError::Bad { .. }) => break, // whoever reads there is told
                Err(WalkError::Storage(error)) => return Err(error),
            };
            let header = &step.header;
            if header.base_offset() >= known_from {
                break;
            }
            if header.last_offset() >= start {
                all.assign(header.leader_epoch(), header.base_offset().max(start));
            }
        }
    }
    for entry in epochs.entries() {
        all.assign(entry.epoch, entry.start_offset);
    }
    Ok(all)
}
