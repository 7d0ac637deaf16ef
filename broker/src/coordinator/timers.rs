//! Deadlines of one shard. Pure: time is a number of milliseconds that the caller brings.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::group::TimerKey;

/// Which timers are set, and which is due first.
///
/// A heartbeat moves its member's deadline into the future, and almost every timer is moved many times before it fires.
/// So moving it later only changes `deadlines`; the entry in `queue` is found stale when its time comes, and only then put
/// where it belongs.
#[derive(Debug, Default)]
pub(super) struct Timers {
    deadlines: HashMap<TimerKey, Deadline>,
    queue: BinaryHeap<Reverse<(u64, TimerKey)>>,
}

#[derive(Debug)]
struct Deadline {
    at_ms: u64,
    /// The earliest entry in the queue for this key.
    queued_ms: u64,
}

impl Timers {
    /// Sets or moves a timer.
    pub(super) fn set(&mut self, key: TimerKey, at_ms: u64) {
        match self.deadlines.get_mut(&key) {
            Some(deadline) if deadline.queued_ms <= at_ms => deadline.at_ms = at_ms,
            _ => {
                self.queue.push(Reverse((at_ms, key.clone())));
                self.deadlines.insert(key, Deadline { at_ms, queued_ms: at_ms });
            }
        }
    }

    /// Cancels a timer. What is left in the queue is dropped once more than half of it is stale.
    pub(super) fn cancel(&mut self, key: &TimerKey) {
        self.deadlines.remove(key);
        if self.queue.len() > 64 && self.queue.len() > 2 * self.deadlines.len() {
            self.rebuild();
        }
    }

    fn rebuild(&mut self) {
        let entry = |(key, deadline): (&TimerKey, &mut Deadline)| {
            deadline.queued_ms = deadline.at_ms;
            Reverse((deadline.at_ms, key.clone()))
        };
        self.queue = self.deadlines.iter_mut().map(entry).collect();
    }

    /// Takes out one timer whose time has come.
    pub(super) fn pop_due(&mut self, now_ms: u64) -> Option<TimerKey> {
        while self.next_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            let Reverse((queued_ms, key)) = self.queue.pop()?;
            let Some(deadline) = self.deadlines.get_mut(&key) else { continue };
            if deadline.queued_ms != queued_ms {
                continue;
            }
            if deadline.at_ms > now_ms {
                deadline.queued_ms = deadline.at_ms;
                self.queue.push(Reverse((deadline.at_ms, key)));
                continue;
            }
            self.deadlines.remove(&key);
            return Some(key);
        }
        None
    }

    /// When to look again; not later than the next deadline.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse((at_ms, _))| *at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::TimerKind;

    fn key(name: &str) -> TimerKey {
        TimerKey { group: "g".into(), kind: TimerKind::Session(name.into()) }
    }

    #[test]
    fn timers_fire_in_the_order_of_their_deadlines_and_not_before() {
        let mut timers = Timers::default();
        timers.set(key("late"), 20);
        timers.set(key("early"), 10);
        assert_eq!(timers.next_ms(), Some(10));
        assert_eq!(timers.pop_due(9), None);
        assert_eq!(timers.pop_due(25), Some(key("early")));
        assert_eq!(timers.pop_due(25), Some(key("late")));
        assert_eq!((timers.pop_due(25), timers.next_ms()), (None, None));
    }

    #[test]
    fn a_timer_moved_later_fires_once_at_its_new_time() {
        let mut timers = Timers::default();
        timers.set(key("m"), 10);
        timers.set(key("m"), 30);
        timers.set(key("m"), 50);
        assert_eq!(timers.pop_due(40), None);
        assert_eq!(timers.next_ms(), Some(50));
        assert_eq!(timers.pop_due(50), Some(key("m")));
        assert_eq!(timers.pop_due(1000), None);
    }

    #[test]
    fn a_timer_moved_earlier_fires_once_at_its_new_time() {
        let mut timers = Timers::default();
        timers.set(key("m"), 50);
        timers.set(key("m"), 10);
        assert_eq!(timers.pop_due(10), Some(key("m")));
        assert_eq!(timers.pop_due(1000), None);
    }

    #[test]
    fn a_cancelled_timer_never_fires_and_its_key_can_be_used_again() {
        let mut timers = Timers::default();
        timers.set(key("m"), 10);
        timers.cancel(&key("m"));
        assert_eq!(timers.pop_due(10), None);
        timers.set(key("m"), 5);
        timers.cancel(&key("m"));
        timers.set(key("m"), 20);
        assert_eq!(timers.pop_due(19), None);
        assert_eq!(timers.pop_due(20), Some(key("m")));
    }

    #[test]
    fn cancelled_timers_do_not_pile_up() {
        let mut timers = Timers::default();
        for round in 0..10_000 {
            timers.set(key(&format!("m{round}")), 1_000_000);
            timers.cancel(&key(&format!("m{round}")));
        }
        assert!(timers.queue.len() <= 65, "{}", timers.queue.len());
    }
}
