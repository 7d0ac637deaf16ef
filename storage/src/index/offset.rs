//! `.index`: relative offset -> position. An entry is 8 bytes, big-endian: u32 last offset of a batch, relative to the
//! segment's base; u32 position of that batch. The active segment's entries are in memory, read without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Bytes of one entry.
pub(crate) const ENTRY_LEN: usize = 8;

/// An entry: where the batch that ends at `relative_offset` begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) relative_offset: u32,
    pub(crate) position: u32,
}

/// Buckets of doubling size, so that entries never move while readers look at them.
const FIRST_BUCKET: usize = 32;
const BUCKETS: usize = 24;

type Buckets = [OnceLock<Box<[AtomicU64]>>; BUCKETS];

/// The index of an active segment: one writer (under the log's append lock), any number of readers.
#[derive(Default)]
pub(crate) struct OffsetIndex {
    /// Nothing is allocated before the first entry: most partitions are tiny.
    buckets: OnceLock<Box<Buckets>>,
    len: AtomicUsize,
}

impl OffsetIndex {
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Adds an entry, which must lie above the last one. Called by one thread at a time.
    pub(crate) fn push(&self, place: Place) {
        let len = self.len.load(Ordering::Relaxed);
        let (bucket, at) = locate(len);
        let buckets = self.buckets.get_or_init(Default::default);
        let Some(bucket) = buckets.get(bucket) else { return }; // 500 million entries: sparser from here on
        let entries = bucket.get_or_init(|| {
            let size = bucket_size(locate(len).0);
            (0..size).map(|_| AtomicU64::new(0)).collect()
        });
        entries[at].store(u64::from(place.relative_offset) << 32 | u64::from(place.position), Ordering::Relaxed);
        self.len.store(len + 1, Ordering::Release);
    }

    /// Drops an entry for that position, if it is the last one. While nobody reads.
    pub(crate) fn drop_last(&self, position: u32) {
        if self.last().is_some_and(|last| last.position == position) {
            self.len.fetch_sub(1, Ordering::Release);
        }
    }

    fn get(&self, i: usize) -> Place {
        let (bucket, at) = locate(i);
        let raw = self
            .buckets
            .get()
            .and_then(|buckets| buckets[bucket].get())
            .map_or(0, |entries| entries[at].load(Ordering::Relaxed));
        Place { relative_offset: (raw >> 32) as u32, position: raw as u32 }
    }

    pub(crate) fn last(&self) -> Option<Place> {
        Some(self.get(self.len().checked_sub(1)?))
    }

    /// The last entry at or below `relative_offset`; the segment's start if there is none.
    pub(crate) fn floor_by_offset(&self, relative_offset: u32) -> Place {
        floor(self.len(), |i| self.get(i), |p| p.relative_offset <= relative_offset)
    }

    /// The first entry at or above `relative_offset`.
    pub(crate) fn ceiling_by_offset(&self, relative_offset: u32) -> Option<Place> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle).relative_offset < relative_offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (low < self.len()).then(|| self.get(low))
    }

    /// The last entry at or below `position`; the segment's start if there is none.
    pub(crate) fn floor_by_position(&self, position: u32) -> Place {
        floor(self.len(), |i| self.get(i), |p| p.position <= position)
    }

    /// The file's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len() * ENTRY_LEN);
        for i in 0..self.len() {
            let place = self.get(i);
            bytes.extend_from_slice(&place.relative_offset.to_be_bytes());
            bytes.extend_from_slice(&place.position.to_be_bytes());
        }
        bytes
    }

    /// The entries of a file that point below `size`, as long as they rise.
    pub(crate) fn decode(bytes: &[u8], size: u32) -> OffsetIndex {
        let index = OffsetIndex::default();
        for i in 0..bytes.len() / ENTRY_LEN {
            let place = entry_in(bytes, i);
            let rises = index
                .last()
                .is_none_or(|last| last.relative_offset < place.relative_offset && last.position < place.position);
            if !rises || place.position >= size {
                break;
            }
            index.push(place);
        }
        index
    }
}

fn bucket_size(bucket: usize) -> usize {
    FIRST_BUCKET << bucket
}

fn locate(i: usize) -> (usize, usize) {
    let bucket = ((i / FIRST_BUCKET) + 1).ilog2() as usize;
    (bucket, i - FIRST_BUCKET * ((1 << bucket) - 1))
}

fn floor(len: usize, get: impl Fn(usize) -> Place, is_below: impl Fn(Place) -> bool) -> Place {
    let (mut low, mut high) = (0, len); // everything before `low` is below, everything from `high` on is not
    while low < high {
        let middle = low + (high - low) / 2;
        if is_below(get(middle)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low.checked_sub(1).map_or(Place::default(), get)
}

fn entry_in(bytes: &[u8], i: usize) -> Place {
    let raw = bytes[i * ENTRY_LEN..].first_chunk::<ENTRY_LEN>().map_or(0, |raw| u64::from_be_bytes(*raw));
    Place { relative_offset: (raw >> 32) as u32, position: raw as u32 }
}

/// The entries of a file; `None` where it is not of whole ones.
pub(crate) fn entries_of(bytes: &[u8]) -> Option<impl Iterator<Item = Place>> {
    let is_whole = bytes.len().is_multiple_of(ENTRY_LEN);
    is_whole.then(|| (0..bytes.len() / ENTRY_LEN).map(|i| entry_in(bytes, i)))
}

/// [`OffsetIndex::floor_by_offset`] in the bytes of a file.
pub(crate) fn floor_by_offset_in(bytes: &[u8], relative_offset: u32) -> Place {
    floor(bytes.len() / ENTRY_LEN, |i| entry_in(bytes, i), |p| p.relative_offset <= relative_offset)
}

/// [`OffsetIndex::floor_by_position`] in the bytes of a file.
pub(crate) fn floor_by_position_in(bytes: &[u8], position: u32) -> Place {
    floor(bytes.len() / ENTRY_LEN, |i| entry_in(bytes, i), |p| p.position <= position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_offset_and_by_position_in_memory_and_in_the_file() {
        let index = OffsetIndex::default();
        for i in 0..10_000u32 {
            index.push(Place { relative_offset: i * 10 + 9, position: i * 4096 });
        }
        let bytes = index.encode();
        assert_eq!(bytes.len(), 80_000);
        for target in [0, 8, 9, 10, 18, 19, 50_000, 99_999, 200_000] {
            let expected = if target < 9 {
                Place::default()
            } else {
                let i = ((target - 9) / 10).min(9_999);
                Place { relative_offset: i * 10 + 9, position: i * 4096 }
            };
            assert_eq!(index.floor_by_offset(target), expected, "{target}");
            assert_eq!(floor_by_offset_in(&bytes, target), expected, "{target}");
        }
        assert_eq!(index.floor_by_position(4095).position, 0);
        assert_eq!(floor_by_position_in(&bytes, 8192).position, 8192);
        let half = OffsetIndex::decode(&bytes, 5_000 * 4096);
        assert_eq!(half.len(), 5_000);
        assert_eq!(half.last(), Some(Place { relative_offset: 49_999, position: 4_999 * 4096 }));
    }
}
