//! An open segment file: positional reads and writes, blocks reserved in steps, sync, cut.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::{Disk, FileSystem, Operation};
use crate::error::StorageError;

/// An open file and its name. Closed when dropped.
pub(crate) struct DataFile {
    file: File,
    path: Arc<Path>,
    system: Arc<dyn FileSystem>,
}

impl DataFile {
    pub(super) fn new(file: File, path: &Path, system: Arc<dyn FileSystem>) -> DataFile {
        DataFile { file, path: Arc::from(path), system }
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

    /// Writes all of `parts` at `position`. The slices are advanced, and useless afterwards. On an error, some of the
    /// bytes may be in the file.
    pub(crate) fn write_all_at(
        &self,
        disk: &Disk,
        parts: &mut [IoSlice<'_>],
        position: u64,
    ) -> Result<(), StorageError> {
        disk.change(Operation::Write, &self.path, || write_all(&*self.system, &self.file, &self.path, parts, position))
    }

    /// Reserves blocks for `len` bytes at `position`, the end of the file, whose length stays. Whether that worked
    /// matters to speed only: what was not reserved is allocated by the write, which reports a full disk by itself.
    pub(crate) fn reserve(&self, disk: &Disk, position: u64, len: u64) {
        if !disk.can_allocate.load(Ordering::Relaxed) {
            return;
        }
        let result =
            disk.change(Operation::Allocate, &self.path, || self.system.reserve(&self.file, &self.path, position, len));
        match result {
            Err(e) if e.io_kind() == Some(io::ErrorKind::Unsupported) => {
                disk.can_allocate.store(false, Ordering::Relaxed);
            }
            Err(e) if e.is_full_disk() => {
                // What was reserved before it failed would be missing elsewhere.
                let _ = self.set_len(disk, position);
            }
            _ => {}
        }
    }

    /// Fills as much of `buffer` as the file has bytes at `position`; returns how much.
    pub(crate) fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize, StorageError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.system.read_at(&self.file, &self.path, &mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
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
        disk.change(Operation::Sync, &self.path, || self.system.sync(&self.file, &self.path))
    }

    /// Gives back the blocks beyond the end of the file, if it has any.
    pub(crate) fn trim(&self, disk: &Disk) -> Result<(), StorageError> {
        const BLOCK: u64 = 4096;
        let metadata = self.file.metadata().map_err(|e| StorageError::io("measure", &self.path, e))?;
        if metadata.blocks() * 512 <= metadata.len().next_multiple_of(BLOCK) {
            return Ok(());
        }
        self.set_len(disk, metadata.len())
    }

    /// Cuts the file, or, with its own length, gives back the blocks reserved beyond. Must not cut below what a map
    /// may still show: reading it would be a SIGBUS.
    pub(crate) fn set_len(&self, disk: &Disk, len: u64) -> Result<(), StorageError> {
        disk.change(Operation::Truncate, &self.path, || self.system.set_len(&self.file, &self.path, len))
    }
}

/// A write may take less than it was given: the next one says why, or takes the rest.
pub(super) fn write_all(
    system: &dyn FileSystem,
    file: &File,
    path: &Path,
    mut parts: &mut [IoSlice<'_>],
    mut position: u64,
) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0); // empty ones go
    while !parts.is_empty() {
        match system.write_at(file, path, parts, position)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => {
                position += written as u64;
                IoSlice::advance_slices(&mut parts, written);
            }
        }
    }
    Ok(())
}
