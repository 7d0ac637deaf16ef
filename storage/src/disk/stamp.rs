//! What the system knows of a file or directory without opening it.

use std::path::Path;

use rustix::fs::AtFlags;

use super::Disk;
use crate::closed::Stamp;
use crate::error::StorageError;

impl Disk {
    /// What tells the file or directory from one that was changed or replaced since; `None` if it cannot be asked.
    pub(crate) fn stamp(&self, path: &Path) -> Option<Stamp> {
        // From the root on: shorter ways are looked up faster, and a start asks for many.
        let path = path.strip_prefix(&self.root).unwrap_or(path);
        let stat = rustix::fs::statat(&self.root_file, path, AtFlags::empty()).ok()?;
        let changed_ns = i64::try_from(i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec));
        Some(Stamp { inode: stat.st_ino, changed_ns: changed_ns.ok()?, len: u64::try_from(stat.st_size).ok()? })
    }

    /// The names of the directories in the root.
    pub(crate) fn directories(&self) -> Result<Vec<String>, StorageError> {
        let wrap = |e| StorageError::io("list", &self.root, e);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.root).map_err(wrap)? {
            let entry = entry.map_err(wrap)?;
            // Asks the system again only where the file system does not tell in the listing, or for a link.
            let kind = entry.file_type().map_err(wrap)?;
            let is_dir = kind.is_dir() || (kind.is_symlink() && entry.path().is_dir());
            if let (true, Ok(name)) = (is_dir, entry.file_name().into_string()) {
                names.push(name);
            }
        }
        Ok(names)
    }
}
