//! The only unsafe code of the crate: read-only memory maps of segment and index files.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Advice, Mmap, MmapOptions};

use super::DataFile;

/// A read-only map. It may be longer than its file: bytes appended later by `pwrite` show up in it, so a segment is
/// mapped once in its life. Only ranges below the published end of the segment may be touched; beyond the end of the
/// file there is nothing but SIGBUS.
#[derive(Clone)]
pub(crate) struct Map(Arc<Mmap>);

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.0
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
        Ok(Map(Arc::new(map)))
    }

    /// The map as one `Bytes`, to be sliced without copying; it keeps the map alive.
    pub(crate) fn to_bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// Reads the pages of a range in, so that touching them will not wait for the disk. Failure is no harm.
    pub(crate) fn populate(&self, position: usize, len: usize) {
        const PAGE: usize = 4096; // at least: a larger page only rounds further down
        let start = position / PAGE * PAGE;
        if let Err(error) = self.0.advise_range(Advice::PopulateRead, start, position + len - start) {
            tracing::debug!(%error, "cannot populate a map");
        }
    }
}
