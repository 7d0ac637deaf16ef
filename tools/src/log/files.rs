//! Files of data directories, read where they lie.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jackdaw_storage::inspect::{ReadAt, SegmentReader};

/// A file that cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {error}", path.display())]
pub(super) struct FileError {
    pub(super) what: &'static str,
    pub(super) path: PathBuf,
    pub(super) error: io::Error,
}

impl FileError {
    pub(super) fn new(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
        let path = path.to_path_buf();
        move |error| FileError { what, path, error }
    }
}

/// A small file may have so many bytes before it is taken for something else.
const SMALL_MAX: u64 = 1 << 30;

/// An open file, read by position.
pub(super) struct OnDisk {
    file: File,
    pub(super) len: u64,
}

impl OnDisk {
    pub(super) fn open(path: &Path) -> Result<OnDisk, FileError> {
        let file = File::open(path).map_err(FileError::new("open", path))?;
        let len = file.metadata().map_err(FileError::new("look at", path))?.len();
        Ok(OnDisk { file, len })
    }
}

impl ReadAt for OnDisk {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// Reads the batches of a segment file, or of a snapshot of metadata.
pub(super) fn segment(path: &Path, base: i64) -> Result<SegmentReader<OnDisk>, FileError> {
    let file = OnDisk::open(path)?;
    let len = file.len;
    Ok(SegmentReader::new(file, len, base))
}

/// The whole of a small file; `None` if there is none.
pub(super) fn small(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let read = || {
        let len = std::fs::metadata(path)?.len();
        if len > SMALL_MAX {
            return Err(io::Error::other(format!("{len} bytes are far too many for such a file")));
        }
        std::fs::read(path)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", path)(error)),
    }
}

/// An entry of a directory.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) is_dir: bool,
    pub(super) len: u64,
}

/// What is in a directory, by name. What vanishes meanwhile is left out.
pub(super) fn list(path: &Path) -> Result<Vec<Entry>, FileError> {
    let wrap = || FileError::new("list", path);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(wrap())? {
        let entry = entry.map_err(wrap())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        match std::fs::metadata(entry.path()) {
            Ok(meta) => entries.push(Entry { name, path: entry.path(), is_dir: meta.is_dir(), len: meta.len() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(FileError::new("look at", &entry.path())(error)),
        }
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Whether a broker holds the lock of a data directory. The lock is only asked about, never taken: a broker that starts
/// at this moment is not disturbed. Apache Kafka takes the record lock that is asked for, and Jackdaw takes it too.
pub(super) fn is_locked(dir: &Path) -> Result<bool, FileError> {
    let path = dir.join(".lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(FileError::new("open", &path)(error)),
    };
    let wanted = rustix::process::Flock::from(rustix::process::FlockType::WriteLock);
    let holder = rustix::process::fcntl_getlk(&file, &wanted);
    Ok(holder.map_err(|errno| FileError::new("ask for the lock of", &path)(errno.into()))?.is_some())
}

/// A time for people: UTC, to the millisecond.
pub(super) fn time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        _ if ms == -1 => "-".to_owned(),
        Ok(time) => format!("{time:.3}"),
        Err(_) => format!("{ms}ms"),
    }
}

/// A number of bytes for people.
pub(super) fn bytes(n: u64) -> String {
    indicatif::HumanBytes(n).to_string()
}
