//! Many logs brought to the disk together.

use std::sync::Arc;

use crate::disk::Disk;
use crate::error::StorageError;
use crate::log::{EpochFile, FlushJob, Log};

/// From so many dirty logs on, syncing the file system is cheaper than syncing their files.
pub(super) const SYNC_TOGETHER_MIN: usize = 16;

pub(super) fn flush_many(disk: &Disk, logs: &[Arc<Log>]) -> Vec<(usize, Result<i64, StorageError>)> {
    if logs.len() <= SYNC_TOGETHER_MIN {
        return logs.iter().map(|log| log.flush()).enumerate().collect();
    }
    flush_together(disk, logs)
}

/// With one sync of the file system.
pub(super) fn flush_together(disk: &Disk, logs: &[Arc<Log>]) -> Vec<(usize, Result<i64, StorageError>)> {
    let mut results = Vec::with_capacity(logs.len());
    let mut jobs: Vec<(usize, FlushJob<'_>, EpochFile)> = Vec::with_capacity(logs.len());
    let mut busy = Vec::new(); // being flushed by somebody else, or listed twice
    for (i, log) in logs.iter().enumerate() {
        match log.try_flush_job() {
            None => busy.push(i),
            Some(Err(error)) => results.push((i, Err(error))),
            Some(Ok(job)) => match job.stage() {
                Ok(epochs) => jobs.push((i, job, epochs)),
                Err(error) => results.push((i, Err(job.give_back(error)))),
            },
        }
    }
    match sync_jobs(disk, &jobs) {
        Ok(()) => results.extend(jobs.into_iter().map(|(i, job, epochs)| (i, Ok(job.finish(epochs))))),
        Err(error) => results.extend(jobs.into_iter().map(|(i, job, _)| (i, Err(job.give_back(error.clone()))))),
    }
    results.extend(busy.into_iter().map(|i| (i, logs[i].flush())));
    results
}

fn sync_jobs(disk: &Disk, jobs: &[(usize, FlushJob<'_>, EpochFile)]) -> Result<(), StorageError> {
    disk.sync_file_system()?;
    // The bytes of the epoch files are on the disk: now they may take their names.
    let mut renamed = false;
    for (_, job, epochs) in jobs {
        renamed |= job.commit_epochs(*epochs)?;
    }
    if renamed { disk.sync_file_system() } else { Ok(()) }
}
