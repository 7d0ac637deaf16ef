//! Behind damage: where whole batches begin again, so that what is sound there can still be read.

use jackdaw_protocol::records::{HEADER_LEN, Header};

use crate::disk::DataFile;
use crate::error::StorageError;
use crate::walk::{WalkError, Walker, Want};

/// Looked through at once.
const CHUNK: usize = 1 << 20;
/// Where a batch says which format it has.
const MAGIC_AT: usize = 16;

/// The first place above `damaged` from which whole batches with right checksums follow, of offsets not below
/// `next_offset`: two at least, or all to the end of the file. One alone could be bytes that a record holds.
pub(super) fn find_batches(
    file: &DataFile,
    damaged: u64,
    size: u64,
    next_offset: i64,
) -> Result<Option<u64>, StorageError> {
    let mut buffer = vec![0; CHUNK.min((size - damaged) as usize)];
    let mut at = damaged + 1;
    while at + HEADER_LEN as u64 <= size {
        let wanted = buffer.len().min((size - at) as usize);
        let read = file.read_at(&mut buffer[..wanted], at)?;
        if read < HEADER_LEN {
            return Ok(None);
        }
        let starts = 0..=read - HEADER_LEN;
        for start in starts.clone().filter(|start| buffer[start + MAGIC_AT] == 2) {
            let position = at + start as u64;
            let is_possible = Header::parse(&buffer[start..start + HEADER_LEN])
                .is_ok_and(|h| h.base_offset() >= next_offset && h.size_in_bytes() as u64 <= size - position);
            if is_possible && goes_on(file, position, size, next_offset)? {
                return Ok(Some(position));
            }
        }
        at += starts.count() as u64;
    }
    Ok(None)
}

fn goes_on(file: &DataFile, position: u64, size: u64, next_offset: i64) -> Result<bool, StorageError> {
    let mut walker = Walker::new(file, position, size, next_offset);
    for sound in 0..2 {
        match walker.next(|_| Want::Checked) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(sound > 0),
            Err(WalkError::Bad { .. }) => return Ok(false),
            Err(WalkError::Storage(error)) => return Err(error),
        }
    }
    Ok(true)
}
