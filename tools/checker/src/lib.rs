//! Judges a history: what clients of a log did and saw while somebody broke things.
//!
//! A history is text, one JSON object a line ([`entry::Entry`]; tools/checker/HISTORY.md describes it). [`read`] packs it into a
//! [`History`], [`check`] judges that and returns a [`Report`]. Nothing here talks to a broker, reads a clock or opens a
//! file, and nothing is particular to Jackdaw: a history of Apache Kafka is judged as well.
//!
//! The definitions are those of Jepsen's workload for Kafka (`jepsen.tests.kafka`, written in our own words at each check),
//! and a few of our own, so marked. What is no error there (Kafka promises less than one may think) is reported here, and
//! does not fail a history: see [`Weight`].
//!
//! **Memory**: 80 bytes for each operation, 24 for each record sent and again for each time that it is polled; while it is
//! judged, up to 100 for each different record, and about 150 for each operation in the graph of cycles. Measured: a million
//! operations, which sent and polled a million records, took 417 MiB at the peak. Of the text, one line at a time is held.
//!
//! In the order of reading: `entry` (one line), `read` (lines to a history), `history`, `versions` (what stood in the logs),
//! then `anomalies/`, one file for each family, and `report`.

mod anomalies;
pub mod entry;
mod history;
mod read;
mod render;
mod report;
mod versions;

pub use history::History;
pub use read::{Cause, HistoryError, LINE_BYTES_MAX, read};
pub use report::{Anomaly, Finding, Kind, Report, Summary, Weight};

use report::Findings;
use versions::Versions;

/// What to allow, and how much to tell.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many anomalies of a kind are shown; all are counted.
    pub shown_max: usize,
    /// A poll that misses records acknowledged longer ago than this is an anomaly. Nanoseconds; none: the worst is only
    /// told.
    pub realtime_lag_max: Option<i64>,
    /// A last stable offset that stands still below the high watermark for longer is an anomaly. Nanoseconds.
    pub lso_wait_max: i64,
}

impl Default for Limits {
    /// Shows 8 of a kind; a transaction may hold the last stable offset for 75 s: Kafka's default transaction timeout, the
    /// interval at which the coordinator looks for those that are over it, and 5 s to abort them.
    fn default() -> Limits {
        Limits { shown_max: 8, realtime_lag_max: None, lso_wait_max: 75_000_000_000 }
    }
}

/// Judges a history. Fails if a value was sent to one key twice: then it cannot be judged.
pub fn check(history: &History, limits: &Limits) -> Result<Report, HistoryError> {
    let versions = Versions::new(history)?;
    let mut findings = Findings::new(history, limits.shown_max);
    anomalies::offsets::check(history, &versions, &mut findings);
    anomalies::reads::check(history, &versions, &mut findings);
    anomalies::lost::check(history, &versions, &mut findings);
    anomalies::polls::check(history, &versions, &mut findings);
    anomalies::consumed::check(history, &mut findings);
    anomalies::sends::check(history, &versions, &mut findings);
    anomalies::cycles::check(history, &versions, &mut findings);
    let worst_lag = anomalies::lag::check(history, &versions, limits.realtime_lag_max, &mut findings);
    anomalies::commits::check(history, &mut findings);
    anomalies::groups::check(history, &versions, &mut findings);
    let longest_wait = anomalies::ends::check(history, limits.lso_wait_max, &mut findings);
    let mut summary = Summary::new(history);
    summary.worst_realtime_lag_ms = millis(worst_lag);
    summary.longest_lso_wait_ms = millis(longest_wait);
    Ok(findings.report(summary))
}

fn millis(nanos: i64) -> u64 {
    u64::try_from(nanos / 1_000_000).unwrap_or(0)
}

impl Summary {
    fn new(history: &History) -> Summary {
        let mut summary = Summary {
            lines: history.lines,
            operations: history.ops.len() as u64,
            keys: history.keys.len() as u64,
            groups: history.groups.len() as u64,
            faults: history.faults,
            has_final_phase: history.final_phase.is_some(),
            ..Summary::default()
        };
        let mut processes = std::collections::HashSet::new();
        for (_, op) in history.ops() {
            processes.insert(op.process);
            match op.outcome {
                history::Outcome::Ok => summary.ok += 1,
                history::Outcome::Fail => summary.failed += 1,
                history::Outcome::Info => summary.unknown += 1,
            }
            if op.is_ok() {
                summary.acknowledged_sends += u64::from(op.sends.end - op.sends.start);
                summary.polled += u64::from(op.reads.end - op.reads.start);
            }
        }
        summary.processes = processes.len() as u64;
        let first = history.ops.first().map_or(0, |op| op.invoked.time);
        summary.duration_ms = millis(history.last_time.saturating_sub(first));
        summary
    }
}
