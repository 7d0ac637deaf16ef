//! What another process has used, as `/proc` counts it.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use super::BenchError;

const GIB: f64 = (1u64 << 30) as f64;

/// CPU time, context switches and memory of a process at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) user_seconds: f64,
    pub(super) system_seconds: f64,
    pub(super) voluntary_switches: u64,
    pub(super) involuntary_switches: u64,
    pub(super) rss_kib: u64,
    pub(super) rss_peak_kib: u64,
    /// The part of the resident set that belongs to the process alone; pages of mapped files are not in it.
    pub(super) anonymous_kib: u64,
    pub(super) threads: u64,
}

impl Usage {
    pub(super) fn of(pid: u32) -> Result<Self, BenchError> {
        Self::read(pid).map_err(|source| BenchError::Process { pid, source })
    }

    fn read(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The command's name may hold spaces and brackets: fields are counted after its last bracket.
        let after = stat.rsplit_once(')').ok_or(io::ErrorKind::InvalidData)?.1;
        let fields: Vec<&str> = after.split_ascii_whitespace().collect();
        let tick = rustix::param::clock_ticks_per_second() as f64;
        let seconds = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0) / tick;
        let mut usage = Self { user_seconds: seconds(11), system_seconds: seconds(12), ..Self::default() };
        usage.read_memory(pid)?;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end between the listing and the look at it.
            if let Ok(status) = fs::read_to_string(task?.path().join("status")) {
                usage.voluntary_switches += number_after(&status, "\nvoluntary_ctxt_switches:");
                usage.involuntary_switches += number_after(&status, "\nnonvoluntary_ctxt_switches:");
            }
        }
        Ok(usage)
    }

    fn read_memory(&mut self, pid: u32) -> io::Result<()> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        self.rss_kib = number_after(&status, "\nVmRSS:");
        self.rss_peak_kib = number_after(&status, "\nVmHWM:");
        self.anonymous_kib = number_after(&status, "\nRssAnon:");
        self.threads = number_after(&status, "\nThreads:");
        Ok(())
    }

    pub(super) fn cpu_seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }
}

fn number_after(text: &str, label: &str) -> u64 {
    let rest = text.split_once(label).map_or("", |(_, rest)| rest);
    rest.split_ascii_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What a process used between two moments, and the most anonymous memory it had in between.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    before: Usage,
    after: Usage,
    anonymous_peak_kib: u64,
}

impl Cost {
    pub(super) fn cpu_seconds(&self) -> f64 {
        self.after.cpu_seconds() - self.before.cpu_seconds()
    }

    /// The report's `broker` object, for that much work done.
    pub(super) fn to_json(self, requests: u64, records: u64, bytes: u64) -> Value {
        let cpu = self.cpu_seconds();
        let per = |count: f64| if count > 0.0 { json!(cpu / count) } else { Value::Null };
        json!({
            "cpu_seconds": cpu,
            "user_seconds": self.after.user_seconds - self.before.user_seconds,
            "system_seconds": self.after.system_seconds - self.before.system_seconds,
            "cpu_us_per_request": per(requests as f64 / 1e6),
            "cpu_seconds_per_million_records": per(records as f64 / 1e6),
            "cpu_seconds_per_gib": per(bytes as f64 / GIB),
            "voluntary_switches": self.after.voluntary_switches.saturating_sub(self.before.voluntary_switches),
            "involuntary_switches": self.after.involuntary_switches.saturating_sub(self.before.involuntary_switches),
            "rss_kib": self.after.rss_kib,
            "rss_peak_kib": self.after.rss_peak_kib,
            "anonymous_kib": self.after.anonymous_kib,
            "anonymous_peak_kib": self.anonymous_peak_kib.max(self.after.anonymous_kib),
        })
    }
}

/// Watches a process from `start` to [`Watch::stop`].
pub(super) struct Watch {
    pid: u32,
    before: Usage,
    done: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    sampler: JoinHandle<()>,
}

impl Watch {
    /// Begins to watch `pid`; `None` watches nothing.
    pub(super) fn start(pid: Option<u32>) -> Result<Option<Self>, BenchError> {
        let Some(pid) = pid else { return Ok(None) };
        let before = Usage::of(pid)?;
        let done = Arc::new(AtomicBool::new(false));
        let peak = Arc::new(AtomicU64::new(0));
        let sampler = thread::spawn({
            let (done, peak) = (Arc::clone(&done), Arc::clone(&peak));
            move || {
                while !done.load(Ordering::Relaxed) {
                    let mut now = Usage::default();
                    if now.read_memory(pid).is_ok() {
                        peak.fetch_max(now.anonymous_kib, Ordering::Relaxed);
                    }
                    // The kernel keeps a high-water mark of the whole set only, so this part has to be sampled.
                    thread::park_timeout(Duration::from_millis(50));
                }
            }
        });
        Ok(Some(Self { pid, before, done, peak, sampler }))
    }

    pub(super) fn stop(self) -> Result<Cost, BenchError> {
        let after = Usage::of(self.pid)?;
        self.done.store(true, Ordering::Relaxed);
        self.sampler.thread().unpark();
        // A sampler that panicked has only lost samples.
        let _ = self.sampler.join();
        Ok(Cost { before: self.before, after, anonymous_peak_kib: self.peak.load(Ordering::Relaxed) })
    }
}

/// CPU seconds that this process itself has used so far.
pub(super) fn own_cpu_seconds() -> f64 {
    Usage::of(std::process::id()).map_or(0.0, |usage| usage.cpu_seconds())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn own_process_has_memory_and_threads() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.rss_kib > 0 && usage.rss_peak_kib >= usage.anonymous_kib && usage.threads >= 1);
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        assert!(Usage::of(u32::MAX).unwrap_err().to_string().contains("process 4294967295"));
    }
}
