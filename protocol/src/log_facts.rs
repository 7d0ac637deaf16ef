//! What Jackdaw's own tools may ask of a partition's log beyond Kafka's protocol.
//!
//! They travel in DescribeLogDirs (flexible versions, 2 and later): a request with the tagged field [`TAG`] asks, and each
//! partition of the answer then carries a field of that tag (KIP-482 lets both sides pass over tags they do not know).
//! Kafka's own clients never ask and never see it.
//!
//! The value is a list of pairs of 9 bytes: one byte that names the fact, and a big-endian i64. A name that a reader
//! does not know is passed over, a fact that is not there is not known to the writer: so either side may be older.

use bytes::{BufMut, Bytes, BytesMut};

/// The tag, in the request and in the partitions of the answer; above what Kafka will use.
pub const TAG: i32 = 10_000;

const PAIR: usize = 9;
const SCALE: f64 = 1e9;

macro_rules! facts {
    ($($name:ident: $id:literal, $doc:literal;)*) => {
        /// Facts of one log; `None`: not known.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct LogFacts {
            $(#[doc = $doc] pub $name: Option<i64>,)*
        }

        impl LogFacts {
            fn pairs(&self) -> impl Iterator<Item = (u8, i64)> {
                [$(($id, self.$name)),*].into_iter().filter_map(|(id, value)| Some((id, value?)))
            }

            fn set(&mut self, id: u8, value: i64) {
                match id {
                    $($id => self.$name = Some(value),)*
                    _ => {}
                }
            }
        }
    };
}

facts! {
    log_start_offset: 1, "The first offset that may be read.";
    log_end_offset: 2, "The offset that the next record gets.";
    segments: 3, "Segments, the active one included.";
    compacts: 4, "1 where `cleanup.policy` names compact, else 0.";
    first_dirty_offset: 5, "Where the part begins that no compaction has seen.";
    cleanable_ratio_e9: 6, "Share of the log that a compaction would look at for the first time, times 10^9.";
    distinct_keys: 7, "Estimate of the different keys, with a standard error of 0.6 %.";
    keyed_records: 8, "Records with a key among those that the estimate saw.";
    seen_records: 9, "Records that the estimate saw.";
    seen_bytes: 10, "Bytes of the log that the estimate saw.";
    damaged_from_offset: 11, "The first offset that cannot be read because the log is damaged.";
}

impl LogFacts {
    /// The share of the log that a compaction would look at for the first time.
    #[must_use]
    pub fn cleanable_ratio(&self) -> Option<f64> {
        self.cleanable_ratio_e9.map(|ratio| ratio as f64 / SCALE)
    }

    /// Notes the share of the log that a compaction would look at for the first time.
    #[must_use]
    pub fn with_cleanable_ratio(mut self, ratio: f64) -> LogFacts {
        self.cleanable_ratio_e9 = Some((ratio.clamp(0.0, 1.0) * SCALE).round() as i64);
        self
    }

    /// The value of the tagged field.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        for (id, value) in self.pairs() {
            out.put_u8(id);
            out.put_i64(value);
        }
        out.freeze()
    }

    /// Reads a value; `None` where it is no list of pairs.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<LogFacts> {
        let (pairs, rest) = bytes.as_chunks::<PAIR>();
        let mut facts = LogFacts::default();
        for [id, value @ ..] in pairs {
            facts.set(*id, i64::from_be_bytes(*value));
        }
        rest.is_empty().then_some(facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_survive_the_wire_and_those_not_known_stay_so() {
        let facts = LogFacts { log_start_offset: Some(-1), distinct_keys: Some(i64::MAX), ..LogFacts::default() }
            .with_cleanable_ratio(0.25);
        assert_eq!(LogFacts::decode(&facts.encode()), Some(facts));
        assert_eq!(facts.cleanable_ratio(), Some(0.25));
        assert_eq!(LogFacts::decode(&[]), Some(LogFacts::default()));
    }

    #[test]
    fn a_fact_of_a_later_version_is_passed_over_and_a_cut_list_is_none() {
        let mut bytes = LogFacts { segments: Some(3), ..LogFacts::default() }.encode().to_vec();
        bytes.extend_from_slice(&[250, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(LogFacts::decode(&bytes).and_then(|facts| facts.segments), Some(3));
        assert_eq!(LogFacts::decode(&bytes[1..]), None);
    }
}
