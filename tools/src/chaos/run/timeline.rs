//! How available the cluster was: acknowledgements over time, and what each fault cost.

use serde::Serialize;

use super::history::Sample;

/// A fault as it happened. Milliseconds since the run began.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Happened {
    pub(super) kind: String,
    pub(super) nodes: Vec<usize>,
    pub(super) began_ms: u64,
    pub(super) healed_ms: u64,
    /// From the heal until every partition had its leader and all replicas in sync; none if that was waited for in vain.
    pub(super) back_after_ms: Option<u64>,
    /// The slowest send that was under way while it lasted, acknowledged or not.
    pub(super) slowest_send_ms: u64,
    pub(super) note: String,
}

impl Happened {
    /// One that could not be done, for this reason.
    pub(super) fn not_done(kind: String, at_ms: u64, why: String) -> Happened {
        let note = format!("not done: {why}");
        let nodes = Vec::new();
        Happened { kind, nodes, began_ms: at_ms, healed_ms: at_ms, back_after_ms: None, slowest_send_ms: 0, note }
    }
}

/// What happened within [`Timeline::bucket_ms`].
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Bucket {
    pub(super) acknowledged: u32,
    pub(super) failed: u32,
    /// Of the sends that were acknowledged here.
    pub(super) slowest_ms: u64,
    /// Partitions with a send under way for longer than a second.
    pub(super) stalled: u32,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Timeline {
    pub(super) target: String,
    pub(super) seed: u64,
    pub(super) nodes: usize,
    pub(super) bucket_ms: u64,
    pub(super) faults: Vec<Happened>,
    pub(super) buckets: Vec<Bucket>,
}

const BUCKET_MS: u64 = 250;
/// A send that takes longer shows that its partition was not there.
const STALL_MS: u64 = 1000;

impl Timeline {
    pub(super) fn new(target: &str, seed: u64, nodes: usize, faults: Vec<Happened>, samples: &[Sample]) -> Timeline {
        let mut timeline =
            Timeline { target: target.to_owned(), seed, nodes, bucket_ms: BUCKET_MS, faults, buckets: Vec::new() };
        let last = samples.iter().map(|sample| millis(sample.ended)).max().unwrap_or(0);
        timeline.buckets = vec![Bucket::default(); usize::try_from(last / BUCKET_MS + 1).unwrap_or(0)];
        let mut stalled = std::collections::BTreeSet::new();
        for sample in samples {
            let (began, ended) = (millis(sample.began), millis(sample.ended));
            let bucket = &mut timeline.buckets[at(ended)];
            if sample.acknowledged {
                bucket.acknowledged += 1;
                bucket.slowest_ms = bucket.slowest_ms.max(ended - began);
            } else {
                bucket.failed += 1;
            }
            stalled.extend((at(began + STALL_MS)..at(ended)).map(|at| (at, sample.key)));
            for fault in &mut timeline.faults {
                if began < fault.healed_ms && ended > fault.began_ms {
                    fault.slowest_send_ms = fault.slowest_send_ms.max(ended - began);
                }
            }
        }
        stalled.into_iter().for_each(|(at, _)| timeline.buckets[at].stalled += 1);
        timeline
    }
}

fn at(ms: u64) -> usize {
    usize::try_from(ms / BUCKET_MS).unwrap_or(usize::MAX)
}

pub(super) fn millis(nanos: i64) -> u64 {
    u64::try_from(nanos / 1_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_that_waits_through_a_fault_is_what_the_fault_cost() {
        let fault = |began_ms, healed_ms| Happened {
            kind: "pause".to_owned(),
            nodes: vec![1],
            began_ms,
            healed_ms,
            back_after_ms: None,
            slowest_send_ms: 0,
            note: String::new(),
        };
        let sample = |key, began: i64, ended: i64, acknowledged| Sample {
            key,
            began: began * 1_000_000,
            ended: ended * 1_000_000,
            acknowledged,
        };
        let samples = [sample(0, 0, 10, true), sample(1, 900, 4000, true), sample(2, 5000, 5001, false)];
        let timeline = Timeline::new("x", 1, 3, vec![fault(1000, 2000), fault(4500, 4600)], &samples);
        let cost: Vec<u64> = timeline.faults.iter().map(|fault| fault.slowest_send_ms).collect();
        assert_eq!(cost, [3100, 0]);
        assert_eq!(timeline.buckets[0].acknowledged, 1);
        assert_eq!((timeline.buckets[16].slowest_ms, timeline.buckets[20].failed), (3100, 1));
        assert_eq!(timeline.buckets.iter().map(|bucket| bucket.stalled).sum::<u32>(), 9);
    }
}
