//! The only door to the file system: every file operation of this crate is a method here.
//!
//! Two rules live in this one place. Whatever changes or syncs something asks the fault hook first, so that a test can
//! be the broken disk. And the first write, sync, cut or rename that fails takes the whole directory offline: the latch
//! keeps that error, and everything asked afterwards is answered with it. Nothing is retried, because Linux marks the
//! pages of a failed sync clean, and a second sync would "succeed" without them.

mod budget;
mod file;
mod lock;
mod map;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::FaultHook;
use crate::error::StorageError;
use crate::trash::Trash;

pub(crate) use budget::{Budget, Slot};
pub(crate) use file::DataFile;
pub(crate) use lock::DirLock;
pub(crate) use map::{Map, Resident};

/// A file operation that changes or syncs something, as the fault hook of [`crate::LogDirOptions`] is told it.
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

    /// Whether a failure leaves the directory in a state that nobody can vouch for. Too few descriptors, a missing
    /// permission to remove, or a refused preallocation harm no data.
    fn is_fatal(self, error: &io::Error) -> bool {
        match self {
            Operation::Write | Operation::Sync | Operation::Rename | Operation::Truncate => true,
            Operation::Create => {
                let errno = error.raw_os_error();
                errno != Some(rustix::io::Errno::MFILE.raw_os_error())
                    && errno != Some(rustix::io::Errno::NFILE.raw_os_error())
                    && error.kind() != io::ErrorKind::NotFound
                    && error.kind() != io::ErrorKind::AlreadyExists
            }
            Operation::Allocate | Operation::Remove => false,
        }
    }
}

/// Bytes of all maps that may count as the process's own before it lets go of them.
const RESIDENT_MAX: usize = 16 << 20;

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
    faults: Option<FaultHook>,
    failure: OnceLock<StorageError>,
    /// The directory is being closed in order: what is appended now would be missing from what the close leaves.
    closing: AtomicBool,
    /// Cleared when the file system turns out not to know `fallocate`.
    can_allocate: AtomicBool,
    pub(crate) maps: Budget<crate::segment::Mapped>,
    pub(crate) resident: Resident,
    pub(crate) files: Budget<DataFile>,
    /// What was deleted and waits for its time.
    pub(crate) trash: Trash,
}

impl Disk {
    /// Creates `root` if it is missing.
    pub(crate) fn open(
        root: &Path,
        faults: Option<FaultHook>,
        map_budget: usize,
        descriptor_budget: usize,
    ) -> Result<Disk, StorageError> {
        fs::create_dir_all(root).map_err(|e| StorageError::io("create", root, e))?;
        let root_file = fs::File::open(root).map_err(|e| StorageError::io("open", root, e))?;
        Ok(Disk {
            root: root.to_path_buf(),
            root_file,
            faults,
            failure: OnceLock::new(),
            closing: AtomicBool::new(false),
            can_allocate: AtomicBool::new(true),
            maps: Budget::new(map_budget),
            resident: Resident::new(RESIDENT_MAX),
            files: Budget::new(descriptor_budget),
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

    /// Runs one changing operation under the fault hook and the latch.
    fn change<T>(
        &self,
        operation: Operation,
        path: &Path,
        action: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, StorageError> {
        self.check_online()?;
        let injected = self.faults.as_ref().map_or(Ok(()), |hook| hook(operation, path));
        injected.and_then(|()| action()).map_err(|source| {
            let fatal = operation.is_fatal(&source);
            let error = StorageError::io(operation.verb(), path, source);
            if fatal {
                self.take_offline(&error);
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
        self.change(Operation::Create, path, || fs::create_dir(path))
    }

    /// Opens for reading and writing; the file must be new when `new`, and must exist otherwise.
    pub(crate) fn open_data(&self, path: &Path, new: bool) -> Result<DataFile, StorageError> {
        let file = self.change(Operation::Create, path, || {
            fs::OpenOptions::new().read(true).write(true).create_new(new).open(path)
        })?;
        Ok(DataFile::new(file, path))
    }

    pub(crate) fn open_read(&self, path: &Path) -> Result<DataFile, StorageError> {
        let file = fs::File::open(path).map_err(|e| StorageError::io("open", path, e))?;
        Ok(DataFile::new(file, path))
    }

    /// The whole of a small file; `None` if there is no such file.
    pub(crate) fn read_file(&self, path: &Path) -> Result<Option<Vec<u8>>, StorageError> {
        Disk::read_small(path)
    }

    /// The same, of a directory that is not opened.
    pub(crate) fn read_small(path: &Path) -> Result<Option<Vec<u8>>, StorageError> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::io("read", path, error)),
        }
    }

    /// Writes a file that can be rebuilt, so that a crash may leave any part of it. It is a new file even where one of
    /// that name exists, because the old one may be mapped.
    pub(crate) fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        self.change(Operation::Write, path, || {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs::File::create_new(path)?.write_all(bytes)
        })
    }

    /// Replaces a small file so that a crash leaves the old one or the new one, whole: write aside, sync, rename.
    /// The rename itself is durable after [`Disk::sync_dir`] of its directory.
    pub(crate) fn replace_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".tmp");
        let aside = PathBuf::from(aside);
        let mut file = self.change(Operation::Write, &aside, || {
            let mut file = fs::File::create(&aside)?;
            file.write_all(bytes)?;
            Ok(file)
        })?;
        self.change(Operation::Sync, &aside, || {
            file.flush()?;
            file.sync_data()
        })?;
        drop(file);
        self.rename(&aside, path)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.change(Operation::Rename, from, || fs::rename(from, to))
    }

    /// Renames a file to the name under which it waits for its removal; one that is not there is fine.
    pub(crate) fn set_deleted(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.change(Operation::Remove, from, || match fs::rename(from, to) {
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
        self.change(Operation::Remove, path, || match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
    }

    pub(crate) fn remove_dir_all(&self, path: &Path) -> Result<(), StorageError> {
        self.change(Operation::Remove, path, || match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
    }

    /// Makes creations, renames and removals in `path` durable.
    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.change(Operation::Sync, path, || fs::File::open(path)?.sync_all())
    }

    /// Syncs a file by its name; one that was removed meanwhile needs no sync.
    pub(crate) fn sync_path(&self, path: &Path) -> Result<(), StorageError> {
        self.change(Operation::Sync, path, || match fs::File::open(path) {
            Ok(file) => file.sync_data(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        })
    }

    /// Syncs the whole file system: one call for many dirty files.
    pub(crate) fn sync_file_system(&self) -> Result<(), StorageError> {
        self.change(Operation::Sync, &self.root, || Ok(rustix::fs::syncfs(&self.root_file)?))
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
