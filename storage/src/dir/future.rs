//! Moving a log to another directory: its copy grows in a `-future` directory, as Kafka names it, until it takes over.
//!
//! What a crash leaves, by its moment:
//!
//! - while copying: the log, and a `-future` directory that the next start removes;
//! - while taking over: both under the same name. The old one holds everything until the new one does; from then on only
//!   the new one grows. So the one that reaches further is the log, and if both reach as far, both hold the same.
//!
//! The checkpoint files of the new directory speak of the copy before it takes over, so that a start finds all of it.
//!
//! Nothing that was promised to be on the disk is only in one that might lose: the new one is synced, up to all that was
//! promised, before it has the name; syncs of the old one wait from then on; and the first sync of the new one, which
//! comes before its first promise, makes the name durable too.

use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::start::partition_of;
use super::{LogDir, Shared};
use crate::disk::Disk;
use crate::error::StorageError;
use crate::log::Log;

use super::shared::{NAME_MAX, set_aside_name};

const FUTURE: &str = "-future";
/// Copied at once while syncs wait.
const CHUNK: usize = 1 << 20;

/// The copy of a log that is to take its place. Dropped without [`FutureLog::take_over`] or [`FutureLog::cancel`], what
/// is on the disk goes at the next start.
pub struct FutureLog {
    source: Arc<Log>,
    from: Arc<Shared>,
    log: Arc<Log>,
    to: Arc<Shared>,
    /// How often the source's end had been cut off when the copy began.
    cuts: usize,
}

impl LogDir {
    /// Begins a copy of `source`, a log of another directory, that shall take its place. It is not compacted meanwhile.
    ///
    /// # Errors
    /// The source is damaged or gone, this directory has a log of that name or cannot be written, or the name is too long
    /// to have the suffix of a copy.
    pub fn begin_move(&self, source: &Arc<Log>) -> Result<FutureLog, StorageError> {
        if let Some(error) = source.quarantine() {
            return Err(error.clone());
        }
        let to = Arc::clone(&self.shared);
        let name = format!("{}-{}.{}{FUTURE}", source.topic(), source.partition(), Uuid::new_v4().simple());
        if name.len() > NAME_MAX {
            return Err(StorageError::BadName { name });
        }
        let from = source.directory()?;
        let path: Arc<Path> = Arc::from(to.disk.root().join(name));
        to.disk.check_open()?;
        check_free(&to, source)?;
        let key = (Arc::clone(source.topic_arc()), source.partition());
        source.stop_cleaning();
        let cuts = source.cuts();
        let begin = || {
            let base = source.first_base();
            let config = source.config();
            let log = to.fresh_log(&key, source.topic_id(), path, base, config)?;
            log.copy_first_snapshot(source)?;
            Ok(log)
        };
        match begin() {
            Ok(log) => Ok(FutureLog { source: Arc::clone(source), from, log, to, cuts }),
            Err(error) => {
                source.allow_cleaning();
                Err(error)
            }
        }
    }

    /// Moves into this directory that the last broker did not finish, as topic and partition: what was copied is
    /// removed.
    pub fn interrupted_moves(&self) -> &[(String, i32)] {
        &self.interrupted
    }
}

impl FutureLog {
    /// The log that it is a copy of.
    pub fn source(&self) -> &Arc<Log> {
        &self.source
    }

    /// The offset that is copied next.
    pub fn end_offset(&self) -> i64 {
        self.log.log_end_offset()
    }

    /// How many offsets of the source are not copied yet.
    pub fn lag(&self) -> i64 {
        (self.source.log_end_offset() - self.end_offset()).max(0)
    }

    /// Bytes copied.
    pub fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }

    /// Whether no more than about `bytes` are left to be copied.
    pub fn is_close(&self, bytes: u64) -> bool {
        self.log.is_close_to(&self.source, bytes)
    }

    /// Copies about `max_bytes` more, at least one batch; returns how many bytes that were, none once there is nothing
    /// more. Waits for both disks.
    pub fn copy(&self, max_bytes: usize) -> Result<usize, StorageError> {
        if self.source.cuts() != self.cuts {
            return Err(self.source.truncated_error());
        }
        self.log.copy_from(&self.source, max_bytes)
    }

    /// Puts the copy in the source's place, with all that has been appended meanwhile: `adopt` is given the new log while
    /// nobody can append to the old one, and before anybody can find out that nothing can be appended there any more.
    /// The old one can be read until it is deleted ([`LogDir::detach`]), which is left to the caller.
    ///
    /// To be called when [`FutureLog::lag`] is small: syncs of the source wait meanwhile, appends only for the last of it.
    ///
    /// # Errors
    /// One of the disks failed, or the source was truncated since the copy began. The source goes on as if nothing had happened.
    pub fn take_over(&self, adopt: impl FnOnce(&Arc<Log>)) -> Result<Arc<Log>, StorageError> {
        let source = &self.source;
        let syncs_wait = source.hold_flushes();
        catch_up(&self.log, source)?;
        self.log.flush()?;
        check_free(&self.to, source)?;
        if self.to.checkpointing.lock().contains(&(Arc::clone(source.topic_arc()), source.partition())) {
            // What the files say of a log that had this name would be taken for the new one's.
            self.to.checkpoint()?;
        }
        let path: Arc<Path> = Arc::from(self.to.disk.root().join(format!("{}-{}", source.topic(), source.partition())));
        self.to.disk.rename(self.log.path(), &path)?;
        let log = self.named(&path).inspect_err(|_| {
            // Not a log of this directory. If even that fails, the next start finds that it does not reach as far.
            let aside = set_aside_name(source.topic(), source.partition(), "delete");
            let _ = self.to.disk.rename(&path, &self.to.disk.root().join(aside));
        })?;
        let taken = self.put_in_place(&log, || adopt(&log));
        drop(syncs_wait);
        if let Err(error) = taken {
            // The same, but the checkpoint files may speak of it.
            let _ = self.to.detach(std::slice::from_ref(&log));
            return Err(error);
        }
        Ok(log)
    }

    fn named(&self, path: &Arc<Path>) -> Result<Arc<Log>, StorageError> {
        self.to.disk.sync_dir(self.to.disk.root())?;
        Ok(Arc::new(self.log.renamed(path)?))
    }

    /// The checkpoint files speak of the copy before it promises anything: above the recovery point, a start would take the
    /// gap that compaction or retention has left between two segments for a lost tail, and cut what follows.
    fn put_in_place(&self, log: &Arc<Log>, adopt: impl FnOnce()) -> Result<(), StorageError> {
        catch_up(log, &self.source)?;
        log.flush()?;
        log.adopt_start(&self.source);
        self.to.logs.lock().insert((Arc::clone(log.topic_arc()), log.partition()), Arc::clone(log));
        self.to.queue_for_compaction(log);
        if let Some(cleaned) = self.from.cleaned_offset(&self.source) {
            self.to.set_cleaned_offset(log, cleaned)?;
        }
        self.to.checkpoint()?;
        self.source.hand_over(log, &self.to, self.cuts, adopt)
    }

    /// Gives the move up, and removes what was copied.
    pub fn cancel(&self) -> Result<(), StorageError> {
        self.log.mark_deleted();
        self.to.disk.remove_dir_all(self.log.path())
    }
}

impl Drop for FutureLog {
    fn drop(&mut self) {
        self.source.allow_cleaning();
    }
}

/// Copies what the source has by now. What is appended meanwhile may be more than is copied meanwhile.
fn catch_up(log: &Log, source: &Log) -> Result<(), StorageError> {
    let end = source.log_end_offset();
    while log.log_end_offset() < end && log.copy_from(source, CHUNK)? > 0 {}
    Ok(())
}

/// Nothing is there under the name of `source`.
fn check_free(to: &Shared, source: &Log) -> Result<(), StorageError> {
    let path = to.disk.root().join(format!("{}-{}", source.topic(), source.partition()));
    let key = (Arc::clone(source.topic_arc()), source.partition());
    if to.logs.lock().contains_key(&key) || to.disk.exists(&path) {
        return Err(StorageError::Exists { path: Arc::from(path) });
    }
    Ok(())
}

/// Removes the copies that the last broker did not finish. The logs they are copies of are whole: a copy has another
/// name before it takes over.
pub(super) fn remove_unfinished(disk: &Disk) -> Result<Vec<(String, i32)>, StorageError> {
    let mut moves = Vec::new();
    for entry in disk.list(disk.root())?.into_iter().filter(|entry| entry.is_dir) {
        let Some(name) = entry.name.strip_suffix(FUTURE) else { continue };
        disk.remove_dir_all(&disk.root().join(&entry.name))?;
        let partition = name.rsplit_once('.').and_then(|(name, _)| partition_of(name));
        moves.extend(partition.map(|(topic, partition)| (topic.to_owned(), partition)));
    }
    Ok(moves)
}
