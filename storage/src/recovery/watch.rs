//! How far the checking of a directory's logs has come.

use std::sync::atomic::{AtomicU64, Ordering};

/// Told after so many bytes, within one log too.
const STEP: u64 = 32 << 20;

/// Bytes checked so far; `tell` hears of every step.
pub(crate) struct Watch<'a> {
    done: AtomicU64,
    tell: &'a (dyn Fn(u64) + Sync),
}

impl<'a> Watch<'a> {
    pub(crate) fn new(tell: &'a (dyn Fn(u64) + Sync)) -> Watch<'a> {
        Watch { done: AtomicU64::new(0), tell }
    }

    pub(crate) fn add(&self, bytes: u64) {
        let before = self.done.fetch_add(bytes, Ordering::Relaxed);
        if before / STEP != (before + bytes) / STEP {
            (self.tell)(before + bytes);
        }
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}
