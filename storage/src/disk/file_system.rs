//! The narrow trait between this crate and the system: what it does to files, one call each.
//!
//! The methods given here are the system calls themselves. A test puts its own in front of them, to be a disk that is
//! full, breaks, lies or loses power. Files are real ones in any case, because segments are mapped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::Operation;

/// How a file is opened for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// It must not exist yet.
    New,
    /// It must exist, and keeps what it holds.
    Existing,
    /// It is made if it is missing, and emptied if it is there.
    Replace,
}

/// Everything that storage asks of the system about the files of one log directory. One call is one system call, and
/// may do as much or as little as that: write less than asked, or fail.
///
/// A closure `Fn(Operation, &Path) -> io::Result<()>` is one too: it is asked before each change, and its error is
/// taken for the system's.
pub trait FileSystem: Send + Sync {
    /// Asked before every operation that changes or syncs something.
    fn before(&self, _operation: Operation, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Opens a file for reading and writing.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match mode {
            OpenMode::New => options.create_new(true),
            OpenMode::Existing => &mut options,
            OpenMode::Replace => options.create(true).truncate(true),
        };
        options.open(path)
    }

    /// Makes a directory; its parent exists.
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    /// `pwritev`: answers how many bytes of `parts` are in the file now.
    fn write_at(&self, file: &File, _path: &Path, parts: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        loop {
            match rustix::io::pwritev(file, parts, position) {
                Err(Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    /// Reserves blocks for `len` bytes at `position`; the length of the file stays.
    fn reserve(&self, file: &File, _path: &Path, position: u64, len: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, position, len)?)
    }

    /// Cuts a file; with its own length, gives back the blocks reserved beyond.
    fn set_len(&self, file: &File, _path: &Path, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    /// `fdatasync`: bytes and length.
    fn sync(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_data()
    }

    /// Syncs the names in a directory.
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    /// `syncfs`: everything on the file system of `root`.
    fn sync_all(&self, root: &File, _path: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(root)?)
    }

    /// Renames a file or directory, replacing a file of the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Removes a directory with all it holds.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    /// `pread`: answers how many bytes of `buffer` were filled; 0 at the end of the file.
    fn read_at(&self, file: &File, _path: &Path, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        loop {
            match file.read_at(buffer, position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// The whole of a small file.
    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }
}

/// The system as it is.
pub(crate) struct System;

impl FileSystem for System {}

impl<F: Fn(Operation, &Path) -> io::Result<()> + Send + Sync> FileSystem for F {
    fn before(&self, operation: Operation, path: &Path) -> io::Result<()> {
        self(operation, path)
    }
}
