//! Which segments have outlived their policy. Pure: facts of segments, the policy, the time and a hold in; how many of
//! the oldest go, and why, out.
//!
//! The rules are Kafka's. Segments go from the front only, each by the first rule that holds:
//!
//! - *log start*: it lies wholly below the log start offset. Holds under every policy.
//! - *size*: what is left without it is still `retention.bytes` or more.
//! - *time*: its largest record timestamp (where no record has one: the time of its last write) is more than
//!   `retention.ms` ago.
//!
//! The last two need `cleanup.policy` to name delete. Nothing goes that the high watermark has not passed. The active
//! segment goes too, if it holds something, all of it is due, and so is everything before it; a new one takes its place.
//!
//! On top of Kafka's rules, a [`Hold`] keeps segments that are due, within its caps.

use crate::config::LogConfig;

/// What keeps records that are due by size or time: readers that have not come so far. Deletion up to the log start is
/// not held up: somebody asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The first offset to keep; `i64::MAX` where nobody holds anything.
    pub keep_from: i64,
    /// How long past `retention.ms` a segment is kept at most, in ms.
    pub max_ms: i64,
    /// How many bytes that are due are kept at most.
    pub max_bytes: u64,
}

impl Hold {
    /// Nobody holds anything.
    pub const NONE: Hold = Hold { keep_from: i64::MAX, max_ms: 0, max_bytes: 0 };
}

/// Why a segment went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It lay below the log start offset.
    LogStart,
    /// The log was larger than `retention.bytes`.
    Size,
    /// Its youngest record was older than `retention.ms`.
    Time,
}

/// What is known of a segment without touching the disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// Offset after its last record.
    pub(crate) end: i64,
    pub(crate) size: u32,
}

/// Where a log stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) log_start: i64,
    pub(crate) high_watermark: i64,
    pub(crate) now_ms: i64,
}

/// Counts of segments from the front: `start <= drop <= due <= near`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Those below the log start.
    pub(crate) start: usize,
    /// Those to drop.
    pub(crate) drop: usize,
    /// Those that are due; what is not dropped of them is held.
    pub(crate) due: usize,
    /// Those that are due or have come 80 % of the way.
    pub(crate) near: usize,
    /// Bytes of those that are held.
    pub(crate) held_bytes: u64,
    /// The first segment that is not due, if its timestamps lie in the future.
    pub(crate) future: Option<usize>,
}

/// A fifth of the way is left when it is first told that a segment will go.
const NEAR_DIVISOR: i64 = 5;

/// Why the segment of which this is known is due; `None` if it is not. `after` are the bytes of all later segments.
pub(crate) fn reason(config: &LogConfig, after: u64, age_ms: i64) -> Option<Reason> {
    if u64::try_from(config.retention_bytes).is_ok_and(|most| after >= most) {
        Some(Reason::Size)
    } else if config.retention_ms >= 0 && age_ms > config.retention_ms {
        Some(Reason::Time)
    } else {
        None
    }
}

/// The age at which a segment is near its end.
pub(crate) fn near_ms(retention_ms: i64) -> i64 {
    retention_ms - retention_ms / NEAR_DIVISOR
}

fn is_near(config: &LogConfig, after: u64, age_ms: i64) -> bool {
    u64::try_from(config.retention_bytes).is_ok_and(|limit| after >= limit - limit / NEAR_DIVISOR as u64)
        || (config.retention_ms >= 0 && age_ms >= near_ms(config.retention_ms))
}

/// Decides for the segments `0..count`, the last of which is the active one. `time_ms` answers when a segment's youngest
/// record was written; it is asked only where that matters, and may have to look at the disk.
pub(crate) fn plan<E>(
    count: usize,
    facts: impl Fn(usize) -> Facts,
    time_ms: impl Fn(usize) -> Result<i64, E>,
    config: &LogConfig,
    bounds: Bounds,
    hold: &Hold,
) -> Result<Plan, E> {
    let may_go = |i: usize| i < count && facts(i).end <= bounds.high_watermark;
    let mut plan = Plan::default();
    while plan.start + 1 < count && facts(plan.start).end <= bounds.log_start && may_go(plan.start) {
        plan.start += 1;
    }
    (plan.drop, plan.due, plan.near) = (plan.start, plan.start, plan.start);
    if !config.delete || (config.retention_ms < 0 && config.retention_bytes < 0) {
        return Ok(plan);
    }
    let age = |i: usize| -> Result<i64, E> {
        if config.retention_ms < 0 { Ok(0) } else { Ok(bounds.now_ms.saturating_sub(time_ms(i)?)) }
    };
    let mut after: u64 = (plan.start..count).map(|i| u64::from(facts(i).size)).sum();
    let (mut due_bytes, mut all_due) = (0, true);
    for i in plan.start..count {
        let Facts { size, .. } = facts(i);
        let is_empty_active = i + 1 == count && size == 0;
        if !may_go(i) || is_empty_active {
            break;
        }
        after -= u64::from(size);
        let age_ms = age(i)?;
        if all_due && reason(config, after, age_ms).is_some() {
            plan.due = i + 1;
            due_bytes += u64::from(size);
        } else {
            if all_due && age_ms < 0 {
                plan.future = Some(i);
            }
            all_due = false;
            if !is_near(config, after, age_ms) {
                break;
            }
        }
        plan.near = i + 1;
    }
    while plan.drop < plan.due {
        let Facts { end, size } = facts(plan.drop);
        let is_held = end > hold.keep_from && due_bytes <= hold.max_bytes && {
            let horizon_ms = config.retention_ms.saturating_add(hold.max_ms);
            config.retention_ms < 0 || age(plan.drop)? <= horizon_ms
        };
        if is_held {
            break;
        }
        due_bytes -= u64::from(size);
        plan.drop += 1;
    }
    plan.held_bytes = due_bytes;
    Ok(plan)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#[path = "retention_tests.rs"]
mod tests;
