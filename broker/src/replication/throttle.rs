//! Pure: bounds for replication that is only catching up (`leader.replication.throttled.rate` and its counterpart).

use std::time::Duration;

use parking_lot::Mutex;

#[derive(Debug, Default)]
struct Bucket {
    /// Bytes that may pass; below zero after a large answer.
    left: f64,
    at: Duration,
}

/// What has passed, against a rate. One for each direction of a broker.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<Bucket>);

impl Throttle {
    /// Whether something may pass at this rate, in bytes a second.
    pub fn is_open(&self, rate: f64, now: Duration) -> bool {
        let mut bucket = self.0.lock();
        bucket.fill(rate, now);
        bucket.left > 0.0
    }

    /// So much has passed.
    pub fn spend(&self, bytes: usize) {
        self.0.lock().left -= bytes as f64;
    }
}

impl Bucket {
    fn fill(&mut self, rate: f64, now: Duration) {
        let since = now.saturating_sub(self.at).as_secs_f64();
        self.at = now;
        // A second's worth may be saved up.
        self.left = (self.left + rate * since).min(rate);
    }
}

/// Which replicas a topic throttles: `*`, or `partition:broker` for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Throttled {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// These, as partition and broker.
    These(Vec<(i32, i32)>),
}

impl Throttled {
    /// Reads the setting; what is not understood was refused when it was set.
    #[must_use]
    pub fn parse(entries: &[&str]) -> Throttled {
        if entries.iter().any(|entry| entry.trim() == "*") {
            return Throttled::All;
        }
        let pair = |entry: &&str| {
            let (partition, broker) = entry.trim().split_once(':')?;
            Some((partition.parse().ok()?, broker.parse().ok()?))
        };
        match entries.iter().filter_map(pair).collect::<Vec<_>>() {
            these if these.is_empty() => Throttled::None,
            these => Throttled::These(these),
        }
    }

    /// Whether a broker's replica of a partition is meant.
    #[must_use]
    pub fn contains(&self, partition: i32, broker: i32) -> bool {
        match self {
            Throttled::None => false,
            Throttled::All => true,
            Throttled::These(these) => these.contains(&(partition, broker)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_no_more_passes_than_the_rate_allows() {
        let throttle = Throttle::default();
        let (mut passed, rate) = (0usize, 1_000.0);
        for tick in 0..100 {
            let now = Duration::from_millis(100 * tick);
            if throttle.is_open(rate, now) {
                throttle.spend(700);
                passed += 700;
            }
        }
        assert!((9_000..=11_000).contains(&passed), "{passed} in ten seconds");
    }

    #[test]
    fn an_answer_larger_than_a_second_allows_passes_and_is_paid_for_afterwards() {
        let throttle = Throttle::default();
        assert!(throttle.is_open(1_000.0, Duration::from_secs(1)));
        throttle.spend(5_000);
        assert!(!throttle.is_open(1_000.0, Duration::from_secs(4)));
        assert!(throttle.is_open(1_000.0, Duration::from_secs(6)));
    }

    #[test]
    fn replicas_are_named_one_by_one_or_all() {
        let list = Throttled::parse;
        assert_eq!(list(&[]), Throttled::None);
        assert!(list(&["0:1", "3:2"]).contains(3, 2));
        assert!(!list(&["0:1", "3:2"]).contains(3, 1));
        assert!(list(&["*"]).contains(9, 9));
    }
}
