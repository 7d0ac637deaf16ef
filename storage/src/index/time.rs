//! `.timeindex`: largest timestamp so far -> the batch that brought it. An entry is 12 bytes, big-endian: i64
//! timestamp; u32 last offset of the earliest batch with that max timestamp, relative to the segment's base.
//! Timestamps and offsets rise from entry to entry. A sealed segment's last entry holds its largest timestamp.

use crate::disk::DataFile;
use crate::error::StorageError;

const ENTRY_LEN: usize = 12;

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: i64,
    pub(crate) relative_offset: u32,
}

/// The entries of one segment, and the largest timestamp seen in it, which may not be an entry yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct TimeIndex {
    entries: Vec<TimeEntry>,
    largest: Option<TimeEntry>,
}

impl TimeIndex {
    /// The largest timestamp and the earliest batch that has it; `None` before the first batch with a timestamp.
    pub(crate) fn largest(&self) -> Option<TimeEntry> {
        self.largest
    }

    /// How many entries there are.
    pub(crate) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Takes in a batch.
    pub(crate) fn observe(&mut self, max_timestamp: i64, last_relative_offset: u32) {
        if max_timestamp > self.largest.map_or(-1, |l| l.timestamp) {
            self.largest = Some(TimeEntry { timestamp: max_timestamp, relative_offset: last_relative_offset });
        }
    }

    /// Makes the largest timestamp an entry, if it is not one.
    pub(crate) fn mark(&mut self) {
        if let Some(largest) = self.largest
            && self.entries.last().is_none_or(|last| last.timestamp < largest.timestamp)
        {
            self.entries.push(largest);
        }
    }

    /// The last entry whose timestamp lies below `timestamp`: no record before its offset is as young.
    pub(crate) fn floor_entry(&self, timestamp: i64) -> Option<TimeEntry> {
        let after = self.entries.partition_point(|e| e.timestamp < timestamp);
        Some(self.entries[after.checked_sub(1)?])
    }

    /// The file's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * ENTRY_LEN);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.timestamp.to_be_bytes());
            bytes.extend_from_slice(&entry.relative_offset.to_be_bytes());
        }
        bytes
    }

    /// The timestamp of the last entry of a file, which is a sealed segment's largest; `None` where there is no entry.
    pub(crate) fn last_in(file: &DataFile) -> Result<Option<i64>, StorageError> {
        let len = file.len()?;
        let Some(position) = (len - len % ENTRY_LEN as u64).checked_sub(ENTRY_LEN as u64) else { return Ok(None) };
        let mut timestamp = [0; 8];
        let read = file.read_at(&mut timestamp, position)?;
        Ok((read == timestamp.len()).then(|| i64::from_be_bytes(timestamp)).filter(|&timestamp| timestamp >= 0))
    }

    /// Reads a file; `None` where it is not one: not of whole entries, or not rising.
    pub(crate) fn decode(bytes: &[u8]) -> Option<TimeIndex> {
        let (raw, rest) = bytes.as_chunks::<ENTRY_LEN>();
        if !rest.is_empty() {
            return None;
        }
        let mut entries: Vec<TimeEntry> = Vec::with_capacity(raw.len());
        for entry in raw {
            let (timestamp, relative_offset) = entry.split_first_chunk::<8>()?;
            let entry = TimeEntry {
                timestamp: i64::from_be_bytes(*timestamp),
                relative_offset: u32::from_be_bytes(*relative_offset.first_chunk()?),
            };
            let rises = entries
                .last()
                .is_none_or(|last| last.timestamp < entry.timestamp && last.relative_offset <= entry.relative_offset);
            if !rises {
                return None;
            }
            entries.push(entry);
        }
        let largest = entries.last().copied();
        Some(TimeIndex { entries, largest })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn only_rising_timestamps_become_entries() {
        let mut index = TimeIndex::default();
        for (timestamp, offset) in [(-1, 0), (50, 1), (40, 2), (60, 3), (60, 4)] {
            index.observe(timestamp, offset);
            index.mark();
        }
        assert_eq!(index.largest(), Some(TimeEntry { timestamp: 60, relative_offset: 3 }));
        let bytes = index.encode();
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 50, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 3]);
        let back = TimeIndex::decode(&bytes).unwrap();
        let floor = |timestamp| back.floor_entry(timestamp).map(|entry| entry.relative_offset);
        assert_eq!((floor(50), floor(51), floor(61)), (None, Some(1), Some(3)));
        assert!(TimeIndex::decode(&bytes[..23]).is_none());
        assert!(TimeIndex::decode(&[bytes.clone(), bytes].concat()).is_none());
    }
}
