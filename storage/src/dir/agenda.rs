//! Which logs retention has to look at, so that an idle one costs it nothing.
//!
//! A log is looked at when something happened to it that may bring records nearer to their end (its high watermark rose,
//! its policy changed, it was cut or compacted), when the time comes at which its oldest segment may be near, and in
//! every round as long as something in it is due or near. The first round looks at all of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::Shared;
use crate::error::StorageError;
use crate::log::{Log, Outlook};

type Key = (Arc<str>, i32);

/// What is known of the logs of one directory.
#[derive(Default)]
pub(crate) struct Agenda {
    /// Those that something happened to. Its lock is held for a push only.
    stirred: Mutex<Vec<Key>>,
    plan: Mutex<Plan>,
}

#[derive(Default)]
struct Plan {
    begun: bool,
    /// When to look at a log in which nothing is near. Of a log's entries only the one counts that the log knows of.
    by_time: BinaryHeap<Reverse<(i64, Key)>>,
    /// Those to be looked at in the next round in any case.
    next: Vec<Key>,
}

fn key_of(log: &Log) -> Key {
    (Arc::clone(log.topic_arc()), log.partition())
}

impl Agenda {
    /// Something happened to the log; it says so once until it was looked at.
    pub(crate) fn stir(&self, log: &Log) {
        self.stirred.lock().push(key_of(log));
    }
}

impl Shared {
    /// The logs in which something is due or near, and those that cannot tell.
    pub(super) fn retention_candidates(&self, now_ms: i64) -> Vec<(Arc<Log>, Result<Outlook, StorageError>)> {
        let mut plan = self.agenda.plan.lock();
        let mut found = Vec::new();
        for key in self.to_look_at(&mut plan, now_ms) {
            let Some(log) = self.logs.lock().get(&key).cloned() else { continue };
            log.stirred.store(false, Ordering::SeqCst); // what happens from here on is said again
            if log.quarantine().is_some() || log.is_moved() {
                continue; // nothing of it may change
            }
            let outlook = log.retention_outlook(now_ms);
            match &outlook {
                Ok(outlook) if !outlook.is_due && outlook.near_until <= log.log_start_offset() => {
                    plan.schedule(&log, key, outlook.look_at_ms);
                    continue;
                }
                _ => plan.next.push(key),
            }
            found.push((log, outlook));
        }
        found
    }

    fn to_look_at(&self, plan: &mut Plan, now_ms: i64) -> Vec<Key> {
        let mut keys = std::mem::take(&mut *self.agenda.stirred.lock());
        if !std::mem::replace(&mut plan.begun, true) {
            return self.logs.lock().keys().cloned().collect();
        }
        keys.append(&mut plan.next);
        while plan.by_time.peek().is_some_and(|Reverse((at_ms, _))| *at_ms <= now_ms) {
            let Some(Reverse((at_ms, key))) = plan.by_time.pop() else { break };
            let log = self.logs.lock().get(&key).cloned();
            if log.is_some_and(|log| {
                log.look_at_ms.compare_exchange(at_ms, i64::MAX, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            }) {
                keys.push(key);
            }
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

impl Plan {
    /// Nothing is near before `at_ms`, unless something happens. A log that is to be looked at earlier stays so.
    fn schedule(&mut self, log: &Log, key: Key, at_ms: i64) {
        if log.look_at_ms.fetch_min(at_ms, Ordering::AcqRel) > at_ms {
            self.by_time.push(Reverse((at_ms, key)));
        }
    }
}
