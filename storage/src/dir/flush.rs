//! Many logs brought to the disk together.

use std::sync::Arc;

use crate::disk::Disk;
use crate::error::StorageError;
use crate::log::{FlushJob, Log};

/// From so many dirty logs on, syncing the file system is cheaper than syncing their files.
pub(super) const SYNC_TOGETHER_MIN: usize = 16;

pub(super) fn flush_many(disk: &Arc<Disk>, logs: &[Arc<Log>]) -> Vec<(usize, Result<i64, StorageError>)> {
    let one_by_one = |indexes: Vec<usize>| indexes.into_iter().map(|i| (i, logs[i].flush())).collect::<Vec<_>>();
    if logs.len() <= SYNC_TOGETHER_MIN {
        return one_by_one((0..logs.len()).collect());
    }
    let mut results = Vec::with_capacity(logs.len());
    let mut jobs: Vec<(usize, FlushJob<'_>)> = Vec::with_capacity(logs.len());
    let mut has_epochs = false;
    let mut busy = Vec::new(); // being flushed by somebody else, or listed twice
    for (i, log) in logs.iter().enumerate() {
        match log.try_flush_job() {
            None => busy.push(i),
            Some(Err(error)) => results.push((i, Err(error))),
            Some(Ok(job)) => match job.stage_epochs() {
                Ok(staged) => {
                    has_epochs |= staged;
                    jobs.push((i, job));
                }
                Err(error) => results.push((i, Err(error))),
            },
        }
    }
    let synced = disk.sync_file_system().and_then(|()| {
        if !has_epochs {
            return Ok(());
        }
        // Their bytes are on the disk: now they may take their names.
        jobs.iter().try_for_each(|(_, job)| job.commit_epochs())?;
        disk.sync_file_system()
    });
    match synced {
        Ok(()) => results.extend(jobs.into_iter().map(|(i, job)| (i, Ok(job.finish())))),
        Err(error) => results.extend(jobs.into_iter().map(|(i, _)| (i, Err(error.clone())))),
    }
    results.extend(one_by_one(busy));
    results
}
