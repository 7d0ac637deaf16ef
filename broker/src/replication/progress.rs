//! How far replicas have come that are behind, for the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::partition::Partition;

/// Told so often, and of replicas that are behind for at least so long.
const EVERY: Duration = Duration::from_secs(10);

struct Behind {
    name: String,
    since: Duration,
    from: i64,
    end: i64,
    target: i64,
}

impl Behind {
    fn percent(&self) -> i64 {
        let (done, all) = (self.end - self.from, self.target - self.from);
        done.saturating_mul(100).checked_div(all).unwrap_or(100).clamp(0, 100)
    }
}

/// Of one fetcher.
pub(super) struct Progress {
    leader: i32,
    behind: HashMap<(uuid::Uuid, i32), Behind>,
    told: Duration,
}

impl Progress {
    pub(super) fn new(leader: i32) -> Progress {
        Progress { leader, behind: HashMap::new(), told: Duration::ZERO }
    }

    /// A replica lacks so many records.
    pub(super) fn note(&mut self, partition: &Arc<Partition>, lag: i64, now: Duration) {
        let key = (partition.topic_id(), partition.index());
        if lag > 0 {
            let end = partition.log().log_end_offset();
            let name = || format!("{}-{}", partition.topic(), partition.index());
            let behind = self.behind.entry(key).or_insert_with(|| Behind {
                name: name(),
                since: now,
                from: end,
                end,
                target: end,
            });
            (behind.end, behind.target) = (end, end + lag);
        } else if let Some(behind) = self.behind.remove(&key)
            && now.saturating_sub(behind.since) >= EVERY
        {
            let (replica, records) = (behind.name, partition.log().log_end_offset() - behind.from);
            let seconds = (now - behind.since).as_secs();
            tracing::info!(replica, leader = self.leader, records, seconds, "the replica has caught up");
        }
    }

    /// Tells, now and then, of those that are behind for long.
    pub(super) fn tell(&mut self, now: Duration) {
        if self.behind.is_empty() || now.saturating_sub(self.told) < EVERY {
            return;
        }
        let long = || self.behind.values().filter(|behind| now.saturating_sub(behind.since) >= EVERY);
        let Some(last) = long().min_by_key(|behind| behind.percent()) else { return };
        self.told = now;
        let missing: i64 = long().map(|behind| behind.target - behind.end).sum();
        tracing::info!(
            leader = self.leader,
            replicas = long().count(),
            records_missing = missing,
            slowest = last.name,
            percent = last.percent(),
            "replicas are catching up"
        );
    }
}
