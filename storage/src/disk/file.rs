//! An open segment file: positional reads and writes, blocks reserved in steps, sync, cut.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::{Disk, Operation};
use crate::error::StorageError;

/// An open file and its name. Closed when dropped.
pub(crate) struct DataFile {
    file: File,
    path: Arc<Path>,
}

impl DataFile {
    pub(super) fn new(file: File, path: &Path) -> DataFile {
        DataFile { file, path: Arc::from(path) }
    }

    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    pub(super) fn as_file(&self) -> &File {
        &self.file
    }

    pub(crate) fn len(&self) -> Result<u64, StorageError> {
        Ok(self.file.metadata().map_err(|e| StorageError::io("measure", &self.path, e))?.len())
    }

    /// Writes all of `parts` at `position`. The slices are advanced, and useless afterwards.
    pub(crate) fn write_all_at(
        &self,
        disk: &Disk,
        mut parts: &mut [IoSlice<'_>],
        mut position: u64,
    ) -> Result<(), StorageError> {
        disk.change(Operation::Write, &self.path, || {
            while !parts.is_empty() {
                match rustix::io::pwritev(&self.file, parts, position) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        position += written as u64;
                        IoSlice::advance_slices(&mut parts, written);
                    }
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Ok(())
        })
    }

    /// Reserves blocks for `len` bytes at `position` without changing the file's length. Whether that worked matters
    /// to speed only: what was not reserved is allocated by the write, which reports a full disk by itself.
    pub(crate) fn reserve(&self, disk: &Disk, position: u64, len: u64) {
        if !disk.can_allocate.load(Ordering::Relaxed) {
            return;
        }
        let result = disk.change(Operation::Allocate, &self.path, || {
            Ok(rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, position, len)?)
        });
        if result.is_err_and(|e| e.io_kind() == Some(io::ErrorKind::Unsupported)) {
            disk.can_allocate.store(false, Ordering::Relaxed);
        }
    }

    /// Fills as much of `buffer` as the file has bytes at `position`; returns how much.
    pub(crate) fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize, StorageError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StorageError::io("read", &self.path, error)),
            }
        }
        Ok(filled)
    }

    /// Whether the byte at `position` is in the page cache; `true` where the system cannot say.
    pub(crate) fn is_cached(&self, position: u64) -> bool {
        let mut byte = [0u8; 1];
        let read = rustix::io::preadv2(
            &self.file,
            &mut [io::IoSliceMut::new(&mut byte)],
            position,
            rustix::io::ReadWriteFlags::NOWAIT,
        );
        !matches!(read, Err(Errno::AGAIN))
    }

    /// Lets the kernel forget the pages of a range that is on the disk: nobody else is expected to read it soon.
    pub(crate) fn forget_pages(&self, position: u64, len: u64) {
        if let Some(len) = std::num::NonZeroU64::new(len) {
            // It is advice: whether the kernel takes it changes nothing.
            let _ = rustix::fs::fadvise(&self.file, position, Some(len), rustix::fs::Advice::DontNeed);
        }
    }

    /// Takes over the modification time of `other`, by which tools tell the age of a segment without timestamps.
    pub(crate) fn take_time_of(&self, other: &DataFile) {
        if let Ok(modified) = other.file.metadata().and_then(|meta| meta.modified()) {
            let _ = self.file.set_modified(modified);
        }
    }

    /// `fdatasync`: bytes and length are on the disk when it returns.
    pub(crate) fn sync(&self, disk: &Disk) -> Result<(), StorageError> {
        disk.change(Operation::Sync, &self.path, || self.file.sync_data())
    }

    /// Cuts the file, or, with its own length, gives back the blocks reserved beyond. Must not cut below what a map
    /// may still show: reading it would be a SIGBUS.
    pub(crate) fn set_len(&self, disk: &Disk, len: u64) -> Result<(), StorageError> {
        disk.change(Operation::Truncate, &self.path, || self.file.set_len(len))
    }
}
