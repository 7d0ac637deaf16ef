//! A bound on things that cost the kernel something (maps, descriptors): the least recently used give way.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

/// A place for one such thing. Whoever holds a clone of the `Arc` inside keeps the thing alive after it gave way.
pub(crate) struct Slot<T> {
    value: ArcSwapOption<T>,
    used: AtomicBool,
    /// May not give way: a file with bytes that are not synced must see the error of its sync.
    pinned: AtomicBool,
}

impl<T> Slot<T> {
    pub(crate) fn empty() -> Arc<Slot<T>> {
        Arc::new(Slot { value: ArcSwapOption::empty(), used: AtomicBool::new(false), pinned: AtomicBool::new(false) })
    }

    /// What is in the place; counts as a use.
    pub(crate) fn get(&self) -> Option<Arc<T>> {
        let value = self.value.load_full()?;
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        Some(value)
    }

    pub(crate) fn pin(&self, pinned: bool) {
        if self.pinned.load(Ordering::Relaxed) != pinned {
            self.pinned.store(pinned, Ordering::Relaxed);
        }
    }

    pub(crate) fn clear(&self) {
        self.value.store(None);
    }
}

/// The bound: a ring of places, swept by the clock algorithm (a place used since the last sweep gets another round).
pub(crate) struct Budget<T> {
    limit: usize,
    ring: Mutex<VecDeque<Weak<Slot<T>>>>,
    /// Length of the ring, readable without its lock.
    len: AtomicUsize,
}

/// How many places one admission looks at. Bounds its cost when most are pinned; the budget is then exceeded until
/// [`Budget::is_over`] makes somebody sync them.
const SWEEP_MAX: usize = 64;

impl<T> Budget<T> {
    pub(crate) fn new(limit: usize) -> Budget<T> {
        Budget { limit: limit.max(1), ring: Mutex::new(VecDeque::new()), len: AtomicUsize::new(0) }
    }

    /// Puts `value` in its place, unless another thread was faster; returns what is there now.
    pub(crate) fn admit(&self, slot: &Arc<Slot<T>>, value: Arc<T>) -> Arc<T> {
        let mut ring = self.ring.lock();
        if let Some(present) = slot.get() {
            return present;
        }
        slot.value.store(Some(Arc::clone(&value)));
        slot.used.store(true, Ordering::Relaxed);
        ring.push_back(Arc::downgrade(slot));
        self.sweep(&mut ring, SWEEP_MAX);
        value
    }

    /// Whether more is held than allowed, because too much of it is pinned.
    pub(crate) fn is_over(&self) -> bool {
        self.len.load(Ordering::Relaxed) > self.limit
    }

    /// Makes room after places were unpinned.
    pub(crate) fn shrink(&self) {
        let mut ring = self.ring.lock();
        let steps = ring.len() * 2;
        self.sweep(&mut ring, steps);
    }

    /// Lets go of what was not used since the last call. Costs as much as is held.
    pub(crate) fn let_go_of_unused(&self) {
        let mut ring = self.ring.lock();
        ring.retain(|weak| {
            let Some(slot) = weak.upgrade().filter(|slot| slot.value.load().is_some()) else { return false };
            let stays = slot.pinned.load(Ordering::Relaxed) || slot.used.swap(false, Ordering::Relaxed);
            if !stays {
                slot.value.store(None);
            }
            stays
        });
        self.len.store(ring.len(), Ordering::Relaxed);
    }

    /// How many things are held now.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        let holds = |w: &Weak<Slot<T>>| w.upgrade().is_some_and(|s| s.value.load().is_some());
        self.ring.lock().iter().filter(|w| holds(w)).count()
    }

    fn sweep(&self, ring: &mut VecDeque<Weak<Slot<T>>>, steps: usize) {
        for _ in 0..steps {
            if ring.len() <= self.limit {
                break;
            }
            let Some(weak) = ring.pop_front() else { break };
            let Some(slot) = weak.upgrade() else { continue };
            if slot.value.load().is_none() {
                continue;
            }
            if slot.pinned.load(Ordering::Relaxed) || slot.used.swap(false, Ordering::Relaxed) {
                ring.push_back(weak);
            } else {
                slot.value.store(None);
            }
        }
        self.len.store(ring.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_gives_way_and_pinned_ones_stay() {
        let budget = Budget::new(3);
        let slots: Vec<_> = (0..5).map(|_| Slot::empty()).collect();
        slots[0].pin(true);
        for (i, slot) in slots.iter().enumerate().take(3) {
            budget.admit(slot, Arc::new(i));
        }
        budget.admit(&slots[3], Arc::new(3)); // sweeps: all were used once, 1 is the first unpinned to give way
        assert!(slots[0].get().is_some());
        assert!(slots[1].get().is_none());
        assert_eq!(budget.held(), 3);
        slots.iter().for_each(|s| s.pin(true));
        budget.admit(&slots[4], Arc::new(4));
        assert!(budget.is_over());
        slots.iter().for_each(|s| s.pin(false));
        budget.shrink();
        assert_eq!(budget.held(), 3);
        assert!(!budget.is_over());
    }

    #[test]
    fn what_is_not_used_from_one_round_to_the_next_goes_and_pinned_ones_stay() {
        let budget = Budget::new(10);
        let slots: Vec<_> = (0..3).map(|_| Slot::empty()).collect();
        for (i, slot) in slots.iter().enumerate() {
            budget.admit(slot, Arc::new(i));
        }
        slots[0].pin(true);
        budget.let_go_of_unused();
        assert_eq!(budget.held(), 3);
        assert!(slots[1].get().is_some());
        budget.let_go_of_unused();
        assert!(slots[0].get().is_some() && slots[1].get().is_some() && slots[2].get().is_none());
        slots[0].pin(false);
        budget.let_go_of_unused();
        budget.let_go_of_unused();
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn a_place_cleared_by_its_owner_frees_its_share() {
        let budget = Budget::new(2);
        let slots: Vec<_> = (0..3).map(|_| Slot::empty()).collect();
        budget.admit(&slots[0], Arc::new(0));
        slots[0].clear();
        budget.admit(&slots[0], Arc::new(7));
        budget.admit(&slots[1], Arc::new(1));
        budget.admit(&slots[2], Arc::new(2));
        assert!(budget.held() <= 2);
    }
}
