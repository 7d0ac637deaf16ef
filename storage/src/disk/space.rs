//! A full disk is no failure: nothing was lost, and it ends. Appends are refused meanwhile without asking the disk, and
//! a probe about once a second finds out whether there is room again.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::{Disk, OpenMode, Operation};
use crate::error::StorageError;

/// Appends go on when so many bytes are usable, or this share of a small file system: enough for it to be worth while.
const ROOM_MIN: u64 = 8 << 20;
const ROOM_SHARE: u64 = 16;
/// Written and removed again by a probe: quotas show only when somebody writes.
const TRIAL_LEN: usize = 256 << 10;
/// The file of the probe.
const TRIAL_FILE: &str = ".space-probe";

/// Whether an error says that there is no room, rather than that something is broken.
pub(crate) fn is_want_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the directory has room, and the error of the write that found it had none.
#[derive(Default)]
pub(super) struct Space {
    is_full: AtomicBool,
    error: Mutex<Option<StorageError>>,
}

impl Disk {
    /// `Err` while the directory is full, with the error that said so.
    pub(crate) fn check_space(&self) -> Result<(), StorageError> {
        if !self.space.is_full.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.space.error.lock().clone().map_or(Ok(()), Err)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.space.is_full.load(Ordering::Relaxed)
    }

    pub(super) fn mark_full(&self, error: &StorageError) {
        let mut first = self.space.error.lock();
        if self.space.is_full.swap(true, Ordering::Relaxed) {
            return;
        }
        *first = Some(error.clone());
        let usable_bytes = self.total_and_usable().map_or(0, |(_, usable)| usable);
        tracing::error!(
            dir = %self.root().display(), usable_bytes, %error,
            "log directory is full: appends are refused, reads go on; free some space, and appends go on by themselves"
        );
    }

    /// Whether there is room now. To be asked about once a second: it costs nothing unless the directory is full. Then
    /// what was deleted waits no longer for its files to go.
    pub(crate) fn probe_space(&self) -> bool {
        if !self.is_full() {
            return true;
        }
        self.empty_trash(None);
        let Ok((total, usable)) = self.total_and_usable() else { return false };
        if usable < ROOM_MIN.min(total / ROOM_SHARE) || self.try_writing().is_err() {
            return false;
        }
        let mut error = self.space.error.lock();
        self.space.is_full.store(false, Ordering::Relaxed);
        *error = None;
        tracing::info!(dir = %self.root().display(), usable_bytes = usable, "log directory has room again: appends go on");
        true
    }

    fn try_writing(&self) -> io::Result<()> {
        let path = self.root().join(TRIAL_FILE);
        let result = self.write_trial(&path);
        // Also where the trial failed half way. Nothing depends on it: the next one starts from an empty file.
        let _ = self.system.remove_file(&path);
        result
    }

    fn write_trial(&self, path: &Path) -> io::Result<()> {
        self.system.before(Operation::Create, path)?;
        let file = self.system.open(path, OpenMode::Replace)?;
        self.system.before(Operation::Write, path)?;
        let zeros = vec![0; TRIAL_LEN];
        let written = self.system.write_at(&file, path, &[IoSlice::new(&zeros)], 0)?;
        if written < TRIAL_LEN { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

/// For work that may be left for later when the disk is full, such as files that can be rebuilt: `false` if it was.
pub(crate) fn unless_full(result: Result<(), StorageError>) -> Result<bool, StorageError> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.is_full_disk() => Ok(false),
        Err(error) => Err(error),
    }
}
