//! The `.lock` file: one broker per log directory.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::FlockOperation;

use crate::error::{OpenError, StorageError};

/// Held as long as the directory is open.
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes two locks on the file: `flock`, which also keeps a second log directory of this process out, and the
    /// POSIX record lock, which is the one that Apache Kafka takes.
    pub(crate) fn acquire(root: &Path) -> Result<DirLock, OpenError> {
        let path = root.join(".lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| StorageError::io("open", &path, e))?;
        let flock = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        let record = flock.and_then(|()| rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive));
        match record {
            Ok(()) => Ok(DirLock { _file: file }),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
                Err(OpenError::Locked { path: root.to_path_buf() })
            }
            Err(errno) => Err(StorageError::io("lock", &path, errno.into()).into()),
        }
    }
}
