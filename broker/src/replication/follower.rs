//! Pure: what a follower makes of its leader's answer.
//!
//! A log is cut by leader epochs only, never by the high watermark: the high watermark that a follower knows lags
//! behind, and what lies above it may be acknowledged (KIP-101). The leader's high watermark is taken over only from an
//! answer that found no divergence (KAFKA-14704).

/// What a follower's log says of itself.
pub trait EndOfLog {
    /// Log start offset.
    fn start(&self) -> i64;
    /// Log end offset.
    fn end(&self) -> i64;
    /// The largest leader epoch not above `epoch`, and the offset where it ends; none for one newer than all known.
    fn epoch_end(&self, epoch: i32) -> Option<(i32, i64)>;
}

/// What a leader has answered for one partition, but for the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The error, if it is one.
    pub error: Option<Refusal>,
    /// Where the leader's log parts from ours: the largest epoch it has that is not above ours, and where that ended.
    pub diverging: Option<(i32, i64)>,
    /// The leader's high watermark.
    pub high_watermark: i64,
    /// The leader's log start; -1 if it did not tell.
    pub log_start: i64,
}

/// Errors that tell a follower different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The offset asked for is not one of the leader's log.
    OutOfRange,
    /// The leader is in a newer epoch: the metadata will tell.
    FencedEpoch,
    /// The leader has not heard yet that it leads in this epoch, or does not lead, or the partition is unknown there, or
    /// its disk failed: it may pass, or the metadata will tell.
    NotYet(i16),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Append the records, sync, then take over the high watermark and the log start.
    Append,
    /// Drop everything at and above this offset, then ask again.
    Truncate(i64),
    /// What comes next here was deleted there: drop everything, and go on at this offset, the leader's log start.
    RestartAt(i64),
    /// Ask again after a while.
    BackOff,
    /// Ask no more in this epoch.
    AwaitMetadata,
}

/// What the leader's answer means for this log.
#[must_use]
pub fn judge(answer: &Answer, log: &impl EndOfLog) -> Verdict {
    match (answer.error, answer.diverging) {
        (Some(Refusal::OutOfRange), _) if answer.log_start > log.end() => Verdict::RestartAt(answer.log_start),
        (Some(Refusal::FencedEpoch), _) => Verdict::AwaitMetadata,
        (Some(Refusal::OutOfRange | Refusal::NotYet(_)), _) => Verdict::BackOff,
        (None, Some(diverging)) => Verdict::Truncate(truncation_point(diverging, log)),
        (None, None) => Verdict::Append,
    }
}

/// Where to cut, being told the leader's `epoch` and its end there. If this log does not know that epoch, all that is of
/// later ones goes, and the next answer tells more (KIP-279).
#[must_use]
pub fn truncation_point((epoch, leader_end): (i32, i64), log: &impl EndOfLog) -> i64 {
    match log.epoch_end(epoch) {
        Some((known, end)) if known == epoch => end.min(leader_end),
        Some((_, end)) => end,
        None => leader_end,
    }
    .min(log.end())
}

/// The high watermark of a follower whose log now ends at `end`.
#[must_use]
pub fn high_watermark(leaders: i64, end: i64) -> i64 {
    leaders.min(end)
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
