//! Whether batches stand where they say: no checksum covers a batch's base offset, since the broker sets it after the
//! producer has summed up. Its neighbours and the ends of the segment tell.

use jackdaw_protocol::records::Header;

use super::{End, Mapped, Segment};
use crate::error::StorageError;

impl Segment {
    /// Whether a batch may begin so at `position`, where nothing below `next` can come any more.
    pub(super) fn check_order(
        &self,
        header: &Header<'_>,
        position: u32,
        next: i64,
        end: End,
    ) -> Result<(), StorageError> {
        let (first, last) = (header.base_offset(), header.last_offset());
        if first >= next && last >= first && last < end.offset {
            return Ok(());
        }
        let (above, below) = (next - 1, end.offset);
        let reason = format!("offsets {first}..={last} do not lie between {above} and {below}");
        Err(self.corrupt(u64::from(position), &reason))
    }

    /// Whether the batch behind one that ends at `last` goes on above it. If not, one of the two says what is not so, and
    /// nothing tells which. That it is no batch at all is told to who reads there.
    pub(super) fn check_successor(
        &self,
        mapped: &Mapped,
        position: u32,
        last: i64,
        end: End,
    ) -> Result<(), StorageError> {
        match self.header_at(mapped, position, end) {
            Ok(next) if next.base_offset() <= last => {
                let reason = format!("a batch of offset {} follows offset {last}", next.base_offset());
                Err(self.corrupt(u64::from(position), &reason))
            }
            _ => Ok(()),
        }
    }
}
