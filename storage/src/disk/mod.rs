//! The only door to the file system: every file operation of this crate is a method here.
//!
//! Three rules live in this one place. Everything goes through the [`FileSystem`] trait, so that a test can be the
//! broken disk. The first write, sync, cut or rename that fails takes the whole directory offline: the latch keeps that
//! error, and everything asked afterwards is answered with it. Nothing is retried, because Linux marks the pages of a
//! failed sync clean, and a second sync would "succeed" without them. And want of space is no such failure, unless a
//! sync meets it: it marks the directory full (`space`), and whoever met it must leave things as they were.

mod budget;
mod file;
mod file_system;
mod lock;
mod map;
mod space;
mod stamp;

use std::fs;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::io::Errno;

use crate::error::StorageError;
use crate::trash::Trash;

pub(crate) use budget::{Budget, Slot};
pub(crate) use file::DataFile;
use file::write_all;
use file_system::System;
pub use file_system::{FileSystem, OpenMode};
pub(crate) use lock::DirLock;
pub(crate) use map::{Map, Resident};
pub(crate) use space::unless_full;
use space::{Space, is_want_of_space};

/// A file operation that changes or syncs something, as [`FileSystem::before`] is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A file or directory is created or opened for writing.
    Create,
    /// Bytes are written.
    Write,
    /// Blocks are reserved.
    Allocate,
    /// A file, a directory or the file system is synced.
    Sync,
    /// A file or directory is renamed.
    Rename,
    /// A file or directory is removed.
    Remove,
    /// A file is cut.
    Truncate,
}

impl Operation {
    fn verb(self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::Write => "write",
            Operation::Allocate => "reserve blocks for",
            Operation::Sync => "sync",
            Operation::Rename => "rename",
            Operation::Remove => "remove",
            Operation::Truncate => "cut",
        }
    }

    /// Whether a failure leaves the directory in a state that nobody can vouch for. Too few descriptors, want of
    /// space, a missing permission to remove, or a refused preallocation harm no data.
    fn is_fatal(self, error: &io::Error) -> bool {
        let too_few_descriptors = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
        if too_few_descriptors.contains(&error.raw_os_error()) {
            return false; // nothing was opened, so nothing was done
        }
        match self {
            Operation::Sync => true,
            _ if is_want_of_space(error) => false,
            Operation::Write | Operation::Rename | Operation::Truncate => true,
            Operation::Create => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists),
            Operation::Allocate | Operation::Remove => false,
        }
    }
}

/// Bytes of all maps that may count as the process's own before it lets go of them.
const RESIDENT_MAX: usize = 16 << 20;

/// The whole of a small file of a directory that is not open; `None` if there is no such file.
pub(crate) fn read_unopened(path: &Path) -> Result<Option<Vec<u8>>, StorageError> {
    match System.read_file(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::io("read", path, error)),
    }
}

/// The path without links, dots or, where there is nothing of that name yet, at least absolute.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// What a directory listing tells of one entry.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) is_dir: bool,
    pub(crate) len: u64,
}

/// One log directory's file operations, with its latch and its budgets.
pub(crate) struct Disk {
    root: PathBuf,
    /// Held open for `syncfs`: it reports the write-back errors that happened since this descriptor was opened.
    root_file: fs::File,
    system: Arc<dyn FileSystem>,
    failure: OnceLock<StorageError>,
    /// The directory is being closed in order: what is appended now would be missing from what the close leaves.
    closing: AtomicBool,
    /// Cleared when the file system turns out not to know `fallocate`.
    can_allocate: AtomicBool,
    space: Space,
    pub(crate) maps: Budget<crate::segment::Mapped>,
    pub(crate) resident: Resident,
    pub(crate) files: Budget<DataFile>,
    /// Some log has another recovery point, high watermark or start than the checkpoint files say.
    pub(crate) checkpoint_due: AtomicBool,
    /// What was deleted and waits for its time.
    pub(crate) trash: Trash,
}

impl Disk {
    /// Creates `root` if it is missing.
    pub(crate) fn open(
        root: &Path,
        system: Option<Arc<dyn FileSystem>>,
        map_budget: usize,
        descriptor_budget: usize,
    ) -> Result<Disk, StorageError> {
        fs::create_dir_all(root).map_err(|e| StorageError::io("create", root, e))?;
        let root_file = fs::File::open(root).map_err(|e| StorageError::io("open", root, e))?;
        Ok(Disk {
            root: root.to_path_buf(),
            root_file,
            system: system.unwrap_or_else(|| Arc::new(System)),
            failure: OnceLock::new(),
            closing: AtomicBool::new(false),
            can_allocate: AtomicBool::new(true),
            space: Space::default(),
            maps: Budget::new(map_budget),
            resident: Resident::new(RESIDENT_MAX),
            files: Budget::new(descriptor_budget),
            checkpoint_due: AtomicBool::new(true),
            trash: Trash::default(),
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The failure that took the directory offline, if one did.
    pub(crate) fn failure(&self) -> Option<&StorageError> {
        self.failure.get()
    }

    /// `Err` with the first failure once the directory is offline.
    pub(crate) fn check_online(&self) -> Result<(), StorageError> {
        match self.failure.get() {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    /// Refuses appends and cuts from now on; syncs go on.
    pub(crate) fn begin_close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    /// `Err` once the directory is being closed.
    pub(crate) fn check_open(&self) -> Result<(), StorageError> {
        if self.closing.load(Ordering::SeqCst) {
            let closed = io::Error::new(io::ErrorKind::BrokenPipe, "the log directory is closed");
            return Err(StorageError::io("write to", &self.root, closed));
        }
        Ok(())
    }

    /// Runs one changing operation under the latch.
    fn change<T>(
        &self,
        operation: Operation,
        path: &Path,
        action: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, StorageError> {
        self.check_online()?;
        self.system.before(operation, path).and_then(|()| action()).map_err(|source| {
            let is_fatal = operation.is_fatal(&source);
            // A refused reservation says nothing yet: the write may fit.
            let is_full = !is_fatal && operation != Operation::Allocate && is_want_of_space(&source);
            let error = StorageError::io(operation.verb(), path, source);
            if is_fatal {
                self.take_offline(&error);
            } else if is_full {
                self.mark_full(&error);
            }
            error
        })
    }

    /// Lets `error` be the answer to every change asked for from now on. The first one stays.
    pub(crate) fn take_offline(&self, error: &StorageError) {
        if self.failure.set(error.clone()).is_ok() {
            tracing::error!(dir = %self.root.display(), %error, "log directory goes offline");
        }
    }

    pub(crate) fn create_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.change(Operation::Create, path, || self.system.create_dir(path))
    }

    /// Opens for reading and writing; the file must be new when `new`, and must exist otherwise.
    pub(crate) fn open_data(&self, path: &Path, new: bool) -> Result<DataFile, StorageError> {
        let mode = if new { OpenMode::New } else { OpenMode::Existing };
        let file = self.change(Operation::Create, path, || self.system.open(path, mode))?;
        Ok(DataFile::new(file, path, Arc::clone(&self.system)))
    }

    pub(crate) fn open_read(&self, path: &Path) -> Result<DataFile, StorageError> {
        let file = fs::File::open(path).map_err(|e| StorageError::io("open", path, e))?;
        Ok(DataFile::new(file, path, Arc::clone(&self.system)))
    }

    /// The whole of a small file; `None` if there is no such file.
    pub(crate) fn read_file(&self, path: &Path) -> Result<Option<Vec<u8>>, StorageError> {
        match self.system.read_file(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::io("read", path, error)),
        }
    }

    /// Writes a file that can be rebuilt, so that a crash may leave any part of it. It is a new file even where one of
    /// that name exists, because the old one may be mapped. Where it fails, there is none.
    pub(crate) fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let written = self.change(Operation::Write, path, || {
            self.remove_if_there(path)?;
            let file = self.system.open(path, OpenMode::New)?;
            write_all(&*self.system, &file, path, &mut [IoSlice::new(bytes)], 0)
        });
        self.undo_unless_ok(written, path)
    }

    /// Writes a file that nobody misses, such as [`Disk::write_file`] does; a failure is the caller's and takes nothing
    /// offline.
    pub(crate) fn write_expendable(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        self.check_online()?;
        let write = || {
            self.system.before(Operation::Write, path)?;
            self.remove_if_there(path)?;
            let file = self.system.open(path, OpenMode::New)?;
            write_all(&*self.system, &file, path, &mut [IoSlice::new(bytes)], 0)
        };
        write().map_err(|source| {
            // What is half there says nothing, and takes space that is needed.
            let _ = self.system.remove_file(path);
            StorageError::io("write", path, source)
        })
    }

    /// Replaces a small file so that a crash leaves the old one or the new one, whole: write aside, sync, rename.
    /// The rename itself is durable after [`Disk::sync_dir`] of its directory. Where it fails, the old one stays.
    pub(crate) fn replace_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".tmp");
        let aside = PathBuf::from(aside);
        let replaced = self
            .change(Operation::Write, &aside, || {
                let file = self.system.open(&aside, OpenMode::Replace)?;
                write_all(&*self.system, &file, &aside, &mut [IoSlice::new(bytes)], 0)?;
                Ok(file)
            })
            .and_then(|file| self.change(Operation::Sync, &aside, || self.system.sync(&file, &aside)))
            .and_then(|()| self.rename(&aside, path));
        self.undo_unless_ok(replaced, &aside)
    }

    /// Removes the part of a file that a failed write left: a full disk needs every block.
    fn undo_unless_ok(&self, result: Result<(), StorageError>, path: &Path) -> Result<(), StorageError> {
        if result.is_err() && self.check_online().is_ok() {
            // What stays is in nobody's way: it is replaced by the next try, or removed by the next start.
            let _ = self.remove_file(path);
        }
        result
    }

    fn remove_if_there(&self, path: &Path) -> io::Result<()> {
        match self.system.remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.change(Operation::Rename, from, || self.system.rename(from, to))
    }

    /// Gives a file that was made beforehand its name; `false` if it is not there any more.
    pub(crate) fn set_name(&self, from: &Path, to: &Path) -> Result<bool, StorageError> {
        self.change(Operation::Create, to, || match self.system.rename(from, to) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        })
    }

    /// Renames a file to the name under which it waits for its removal; one that is not there is fine.
    pub(crate) fn set_deleted(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.change(Operation::Remove, from, || match self.system.rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
    }

    /// When a file was last written to, in ms since 1970.
    pub(crate) fn modified_ms(&self, path: &Path) -> Result<i64, StorageError> {
        let modified = fs::metadata(path).and_then(|meta| meta.modified());
        let modified = modified.map_err(|e| StorageError::io("measure", path, e))?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Removes a file; one that is not there is fine.
    pub(crate) fn remove_file(&self, path: &Path) -> Result<(), StorageError> {
        self.change(Operation::Remove, path, || self.remove_if_there(path))
    }

    pub(crate) fn remove_dir_all(&self, path: &Path) -> Result<(), StorageError> {
        self.change(Operation::Remove, path, || match self.system.remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
    }

    /// Makes creations, renames and removals in `path` durable.
    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.change(Operation::Sync, path, || self.system.sync_dir(path))
    }

    /// Syncs a file by its name; one that was removed meanwhile needs no sync.
    pub(crate) fn sync_path(&self, path: &Path) -> Result<(), StorageError> {
        self.change(Operation::Sync, path, || match fs::File::open(path) {
            Ok(file) => self.system.sync(&file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        })
    }

    /// Syncs the whole file system: one call for many dirty files.
    pub(crate) fn sync_file_system(&self) -> Result<(), StorageError> {
        self.change(Operation::Sync, &self.root, || self.system.sync_all(&self.root_file, &self.root))
    }

    /// Everything in a directory, in no order; names that are not UTF-8 are nobody's of ours and left out.
    pub(crate) fn list(&self, path: &Path) -> Result<Vec<Entry>, StorageError> {
        let wrap = |e| StorageError::io("list", path, e);
        let mut entries = Vec::new();
        for entry in fs::read_dir(path).map_err(wrap)? {
            let entry = entry.map_err(wrap)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let meta = entry.metadata().map_err(wrap)?;
            entries.push(Entry { name, is_dir: meta.is_dir(), len: meta.len() });
        }
        Ok(entries)
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    /// Size of the file system and what of it may still be used, in bytes.
    pub(crate) fn total_and_usable(&self) -> Result<(u64, u64), StorageError> {
        let stat = rustix::fs::fstatvfs(&self.root_file)
            .map_err(|e| StorageError::io("measure the file system of", &self.root, e.into()))?;
        Ok((stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
    }
}
