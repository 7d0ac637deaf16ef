//! One round of a fetcher: what to ask for, and what to do with the answer. Blocking: it writes to logs and syncs them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use jackdaw_protocol::messages::ResponseError;
use jackdaw_protocol::messages::fetch_response::PartitionData;
use jackdaw_protocol::records::Batch;
use jackdaw_storage::{AppendError, Log, LogDir, StorageError};
use uuid::Uuid;

use super::follower::{Answer, Refusal, Verdict, judge};
use crate::fetch::session::Params;
use crate::partition::Partition;

/// Topic id and partition.
pub(super) type Key = (Uuid, i32);

/// A partition that is followed, and since which leader epoch.
#[derive(Clone)]
pub(super) struct Followed {
    /// The partition.
    pub(super) partition: Arc<Partition>,
    /// The leader epoch.
    pub(super) epoch: i32,
}

/// What became of a partition in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It goes on; so many bytes came, and so many records are still missing below the leader's high watermark.
    Fine {
        /// Bytes appended.
        bytes: usize,
        /// Records missing.
        lag: i64,
    },
    /// Nothing can be had at the moment.
    BackOff,
    /// It is not here any more, or not this leader's.
    Gone,
}

fn is_synced(partition: &Partition) -> bool {
    let log = partition.log();
    log.flushed_offset() >= log.log_end_offset() || partition.with_config(|config| config.write_caching)
}

/// Whether something of these partitions is not on the disk yet.
pub(super) fn is_unsynced(followed: &HashMap<Key, Followed>) -> bool {
    followed.values().any(|followed| !is_synced(&followed.partition))
}

/// Brings to the disk what is not there yet, so that what is asked for next says what is on it.
pub(super) fn sync(followed: &HashMap<Key, Followed>) {
    let mut by_dir: HashMap<*const LogDir, (Arc<LogDir>, Vec<Arc<Log>>)> = HashMap::new();
    for Followed { partition, .. } in followed.values().filter(|followed| !is_synced(&followed.partition)) {
        let dir = partition.flusher().dir().clone();
        by_dir.entry(Arc::as_ptr(&dir)).or_insert_with(|| (dir, Vec::new())).1.push(Arc::clone(&partition.log()));
    }
    for (dir, logs) in by_dir.into_values() {
        for (at, result) in dir.flush_many(&logs) {
            match result {
                Ok(_) | Err(StorageError::Moved { .. } | StorageError::Deleted { .. }) => {}
                Err(error) => {
                    let (topic, partition) = (logs[at].topic(), logs[at].partition());
                    tracing::error!(topic, partition, %error, "a replica cannot be synced, and does not follow");
                }
            }
        }
    }
}

/// What to ask for: from the end of each log on, if all of it is on the disk. `max_bytes` knows how much, by the largest
/// batch that a topic takes.
pub(super) fn wanted(followed: &HashMap<Key, Followed>, max_bytes: impl Fn(usize) -> usize) -> HashMap<Key, Params> {
    let mut wanted = HashMap::with_capacity(followed.len());
    for (key, Followed { partition, epoch }) in followed {
        // Read before it is compared: who follows alone appends.
        if is_synced(partition) {
            let max_bytes = max_bytes(partition.with_config(|config| config.max_message_bytes));
            wanted.insert(*key, ask(&partition.log(), *epoch, i32::try_from(max_bytes).unwrap_or(i32::MAX)));
        }
    }
    wanted
}

fn ask(log: &Log, epoch: i32, max_bytes: i32) -> Params {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    Params {
        fetch_offset: end,
        log_start_offset: start,
        max_bytes,
        current_leader_epoch: epoch,
        // Of the last record; a log without records parts from none.
        last_fetched_epoch: if start == end { -1 } else { log.latest_epoch().unwrap_or(-1) },
    }
}

/// Takes in the answer for one partition.
pub(super) fn take(followed: &Followed, data: PartitionData, now_ms: i64) -> Outcome {
    let Followed { partition, epoch } = followed;
    let log = partition.log();
    if log.is_deleted() || partition.leader_epoch() != *epoch {
        return Outcome::Gone;
    }
    let answer = Answer {
        error: refusal(data.error_code),
        diverging: (data.diverging_epoch.epoch >= 0)
            .then_some((data.diverging_epoch.epoch, data.diverging_epoch.end_offset)),
        high_watermark: data.high_watermark,
        log_start: data.log_start_offset,
    };
    let verdict = judge(&answer, log.as_ref());
    let (topic, index, end) = (partition.topic(), partition.index(), log.log_end_offset());
    let done = match verdict {
        Verdict::Append => return append(followed, &answer, data.records.unwrap_or_default(), now_ms),
        Verdict::Truncate(offset) => {
            let (leader_epoch, leaders_end) = answer.diverging.unwrap_or_default();
            if offset < log.high_watermark() {
                let high_watermark = log.high_watermark();
                tracing::warn!(
                    %topic, partition = index, offset, high_watermark, leader_epoch, leaders_end,
                    "the leader lacks records that were committed: an unclean election; they are cut off"
                );
            }
            tracing::info!(%topic, partition = index, end, offset, leader_epoch, leaders_end, "cut where the leader's log parts");
            partition.truncate(*epoch, offset)
        }
        Verdict::RestartAt(offset) => {
            tracing::info!(%topic, partition = index, end, offset, "the leader's log starts beyond the end of this replica: it goes on there");
            partition.restart_at(*epoch, offset)
        }
        Verdict::BackOff | Verdict::AwaitMetadata => {
            tracing::debug!(%topic, partition = index, epoch, code = data.error_code, "the leader has no records for us now");
            return Outcome::BackOff;
        }
    };
    match done {
        Ok(true) => Outcome::Fine { bytes: 0, lag: (data.high_watermark - partition.log().log_end_offset()).max(0) },
        Ok(false) | Err(StorageError::Deleted { .. }) => Outcome::Gone,
        Err(error) => {
            if is_news(partition) {
                tracing::error!(%topic, partition = index, %error, "a replica cannot be cut");
            }
            Outcome::BackOff
        }
    }
}

fn append(followed: &Followed, answer: &Answer, records: Bytes, now_ms: i64) -> Outcome {
    let Followed { partition, epoch } = followed;
    let (topic, index) = (partition.topic(), partition.index());
    let bytes = records.len();
    let batches: Result<Vec<Batch>, _> = Batch::split_all(records).collect();
    let batches = match batches {
        Ok(batches) if bytes == 0 || !batches.is_empty() => batches,
        Ok(_) => {
            tracing::error!(%topic, partition = index, bytes, "the leader sent half a batch");
            return Outcome::BackOff;
        }
        Err(error) => {
            tracing::error!(%topic, partition = index, %error, "what the leader sent is damaged");
            return Outcome::BackOff;
        }
    };
    let end = if batches.is_empty() {
        Ok(partition.log().log_end_offset())
    } else {
        partition.append_as_follower(*epoch, &batches, now_ms)
    };
    match end {
        Ok(end) => Outcome::Fine { bytes, lag: (answer.high_watermark - end).max(0) },
        Err(AppendError::Fenced { .. } | AppendError::Storage(StorageError::Deleted { .. })) => Outcome::Gone,
        // Asked again, it goes to where the log is now.
        Err(AppendError::Storage(StorageError::Moved { .. })) => Outcome::Fine { bytes: 0, lag: 0 },
        Err(error) => {
            if is_news(partition) {
                tracing::error!(%topic, partition = index, %error, "the leader's records are not appended");
            }
            Outcome::BackOff
        }
    }
}

/// Whether a failure is news: not where the broker is stopping, or has told already what became of the directory.
fn is_news(partition: &Partition) -> bool {
    let flusher = partition.flusher();
    flusher.dir().is_online() && !flusher.dir().is_closing()
}

/// Takes over the high watermark and the log start that came with records, once those are on the disk.
pub(super) fn follow(followed: &Followed, high_watermark: i64, log_start: i64) {
    let Followed { partition, epoch } = followed;
    if let Err(error) = partition.follow(*epoch, high_watermark, log_start) {
        tracing::warn!(topic = %partition.topic(), partition = partition.index(), %error, "the log start stays behind the leader's");
    }
}

fn refusal(code: i16) -> Option<Refusal> {
    match ResponseError::try_from_code(code) {
        None if code == 0 => None,
        Some(ResponseError::OffsetOutOfRange) => Some(Refusal::OutOfRange),
        Some(ResponseError::FencedLeaderEpoch) => Some(Refusal::FencedEpoch),
        _ => Some(Refusal::NotYet(code)),
    }
}
