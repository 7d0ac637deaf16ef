//! The only unsafe code of the crate: read-only memory maps of segment and index files.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use memmap2::{Advice, Mmap, MmapOptions, UncheckedAdvice};
use parking_lot::Mutex;

use super::DataFile;

/// A read-only map. It may be longer than its file: bytes appended later by `pwrite` show up in it, so a segment is
/// mapped once in its life. Only ranges below the published end of the segment may be touched; beyond the end of the
/// file there is nothing but SIGBUS.
#[derive(Clone)]
pub(crate) struct Map(Arc<Inner>);

struct Inner {
    mmap: Mmap,
    /// Something of it was handed out since its pages were last let go.
    handed_out: AtomicBool,
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.0.mmap
    }
}

impl Map {
    /// Maps `len` bytes from the start of the file.
    pub(crate) fn new(file: &DataFile, len: usize) -> io::Result<Map> {
        #[expect(unsafe_code, reason = "no safe crate maps a file that is still being appended to")]
        // SAFETY: a map is unsound where its bytes change or vanish under a `&[u8]`. Ours do not: bytes below the
        // published end of a segment are never written again (appends go after it, truncation makes a new file), files
        // that may be mapped are never cut, unlinked files live on under their maps, and the log directory is locked
        // against other brokers. Bytes above the published end do change, and nobody reads them: slices are made by
        // `Mapped::slice` below that end only. What remains is a disk that cannot read a sector: a SIGBUS, documented
        // in the crate map.
        let map = unsafe { MmapOptions::new().len(len).map(file.as_file())? };
        Ok(Map(Arc::new(Inner { mmap: map, handed_out: AtomicBool::new(false) })))
    }

    /// The map as one `Bytes`, to be sliced without copying; it keeps the map alive.
    pub(crate) fn to_bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// Reads the pages of a range in, so that touching them will not wait for the disk. Failure is no harm.
    pub(crate) fn populate(&self, position: usize, len: usize) {
        const PAGE: usize = 4096; // at least: a larger page only rounds further down
        let start = position / PAGE * PAGE;
        if let Err(error) = self.0.mmap.advise_range(Advice::PopulateRead, start, position + len - start) {
            tracing::debug!(%error, "cannot populate a map");
        }
    }
}

/// What the kernel touches at least when a page of a map is: it maps the cached pages around it, too.
const FAULT_AROUND: usize = 64 << 10;

/// A bound on the pages of all maps that count as the process's own memory. They are page cache, so that dropping them
/// frees nothing, but a process that has read its whole log once would look (to its operator, and to whatever kills the
/// largest process) as large as the log.
pub(crate) struct Resident {
    limit: usize,
    /// Bytes handed out since the pages were last let go.
    bytes: AtomicUsize,
    maps: Mutex<Vec<Weak<Inner>>>,
}

impl Resident {
    pub(crate) fn new(limit: usize) -> Resident {
        Resident { limit, bytes: AtomicUsize::new(0), maps: Mutex::new(Vec::new()) }
    }

    /// Notes that `len` bytes of `map` were handed out. Beyond the limit, the process lets go of the pages of all maps;
    /// readers that still need one get it back from the page cache by a page fault.
    pub(crate) fn note(&self, map: &Map, len: usize) {
        if !map.0.handed_out.load(Ordering::Relaxed) && !map.0.handed_out.swap(true, Ordering::Relaxed) {
            self.maps.lock().push(Arc::downgrade(&map.0));
        }
        let len = len.max(FAULT_AROUND);
        let before = self.bytes.fetch_add(len, Ordering::Relaxed);
        if before < self.limit && before + len >= self.limit {
            self.let_go();
        }
    }

    fn let_go(&self) {
        let maps = std::mem::take(&mut *self.maps.lock());
        self.bytes.store(0, Ordering::Relaxed);
        for map in maps.iter().filter_map(Weak::upgrade) {
            map.handed_out.store(false, Ordering::Relaxed);
            #[expect(unsafe_code, reason = "memmap2 cannot know that the map is shared and never written")]
            // SAFETY: dropping pages would lose what was written to a private map. This one is a shared, read-only map
            // of a file: the next access faults the same bytes in again.
            let dropped = unsafe { map.mmap.unchecked_advise(UncheckedAdvice::DontNeed) };
            if let Err(error) = dropped {
                tracing::debug!(%error, "cannot let go of the pages of a map");
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn pages_are_let_go_at_the_limit_and_read_the_same_afterwards() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        file.write_all(&bytes).unwrap();
        let data = DataFile::new(file.reopen().unwrap(), file.path(), Arc::new(crate::disk::System));
        let map = Map::new(&data, bytes.len()).unwrap();
        let resident = Resident::new(2 * FAULT_AROUND);
        let slice = map.to_bytes();
        resident.note(&map, 10);
        assert!(map.0.handed_out.load(Ordering::Relaxed));
        resident.note(&map, FAULT_AROUND);
        assert!(!map.0.handed_out.load(Ordering::Relaxed));
        assert_eq!(resident.bytes.load(Ordering::Relaxed), 0);
        assert_eq!(slice, bytes);
    }
}
