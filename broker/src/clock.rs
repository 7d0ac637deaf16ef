//! The only reader of time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall clock and monotonic clock of this process.
pub struct Clock {
    started: Instant,
    coarse_ms: AtomicU64,
}

impl Clock {
    /// Starts the monotonic clock at zero.
    #[expect(clippy::disallowed_methods, reason = "this file is the one reader of time")]
    pub fn new() -> Clock {
        Clock { started: Instant::now(), coarse_ms: AtomicU64::new(0) }
    }

    /// Milliseconds since 1970-01-01T00:00Z, Kafka's timestamps. May jump; never use it for leases or timeouts.
    #[expect(clippy::disallowed_methods, reason = "this file is the one reader of time")]
    pub fn now_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }

    /// Time since the clock was made; never jumps.
    pub fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    /// Milliseconds since the clock was made, as of the last [`Clock::tick`]: free to read on the hot path.
    pub fn coarse_ms(&self) -> u64 {
        self.coarse_ms.load(Ordering::Relaxed)
    }

    /// Advances the coarse clock; called about once a second by the broker's housekeeping task.
    pub fn tick(&self) {
        self.coarse_ms.store(self.monotonic().as_millis() as u64, Ordering::Relaxed);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}
