//! Entries of the index files, one by one: a file of 10 MiB need not be held.

use crate::log::AbortedTxn;

/// Bytes of one entry of an offset index.
pub const INDEX_ENTRY_LEN: usize = 8;
/// Bytes of one entry of a time index.
pub const TIME_ENTRY_LEN: usize = 12;
/// Bytes of one entry of a transaction index.
pub const TXN_ENTRY_LEN: usize = 34;

/// Where a batch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// The batch's last offset, less the segment's base.
    pub relative_offset: u32,
    /// Where it begins in the segment.
    pub position: u32,
}

/// From when on batches are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeIndexEntry {
    /// The largest timestamp up to that batch, in ms.
    pub timestamp: i64,
    /// The last offset of the batch that brought it, less the segment's base.
    pub relative_offset: u32,
}

/// Reads one entry of an offset index.
#[must_use]
pub fn index_entry(bytes: &[u8; INDEX_ENTRY_LEN]) -> IndexEntry {
    let raw = u64::from_be_bytes(*bytes);
    IndexEntry { relative_offset: (raw >> 32) as u32, position: raw as u32 }
}

/// Reads one entry of a time index.
#[must_use]
pub fn time_entry(bytes: &[u8; TIME_ENTRY_LEN]) -> TimeIndexEntry {
    let [timestamp @ .., a, b, c, d] = *bytes;
    TimeIndexEntry { timestamp: i64::from_be_bytes(timestamp), relative_offset: u32::from_be_bytes([a, b, c, d]) }
}

/// Reads one entry of a transaction index; `None` for one of another version.
#[must_use]
pub fn txn_entry(bytes: &[u8; TXN_ENTRY_LEN]) -> Option<AbortedTxn> {
    crate::index::decode_txns(bytes)?.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_big_endian() {
        let entry = index_entry(&[0, 0, 0, 9, 0, 0, 16, 0]);
        assert_eq!(entry, IndexEntry { relative_offset: 9, position: 4096 });
        let entry = time_entry(&[0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 7]);
        assert_eq!(entry, TimeIndexEntry { timestamp: 256, relative_offset: 7 });
        assert_eq!(txn_entry(&[9; TXN_ENTRY_LEN]), None);
    }
}
