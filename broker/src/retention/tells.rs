//! What retention takes from groups that have not read it. Pure: what is about to go or went, and what groups committed,
//! in; who loses how much, out. Each loss is told once ahead of time and once when it happens.
//!
//! Numbers of records are differences of offsets: exact, but for what compaction or aborted transactions left out.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::coordinator::CommittedOffset;

/// What one group loses in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) group: Arc<str>,
    /// Whether the group has members now.
    pub(super) is_active: bool,
    /// The first record lost.
    pub(super) from: i64,
    /// The first record behind those lost.
    pub(super) until: i64,
    /// How many.
    pub(super) records: i64,
}

/// What is lost of `from..until` by groups that have not come so far.
pub(super) fn losses(committed: &[CommittedOffset], from: i64, until: i64) -> impl Iterator<Item = Loss> {
    committed.iter().filter_map(move |committed| {
        let from = from.max(committed.offset);
        let loss =
            |records| Loss { group: committed.group.clone(), is_active: committed.is_active, from, until, records };
        (from < until).then(|| loss(until - from))
    })
}

/// What groups have been warned of. Groups that catch up are forgotten.
#[derive(Default)]
pub(super) struct Warned {
    /// Topic, partition and group, with the offset up to which it was warned, and the round in which it still lagged.
    until: HashMap<(Uuid, i32, Arc<str>), (i64, u64)>,
    round: u64,
}

impl Warned {
    /// Whether this is news: the group was not warned of these records yet.
    pub(super) fn is_news(&mut self, topic: Uuid, partition: i32, loss: &Loss) -> bool {
        let round = self.round;
        let warned = self.until.entry((topic, partition, loss.group.clone())).or_insert((i64::MIN, round));
        let is_news = warned.0 < loss.until;
        *warned = (warned.0.max(loss.until), round);
        is_news
    }

    /// Forgets whom no loss was found for since the last call.
    pub(super) fn end_round(&mut self) {
        let round = self.round;
        self.until.retain(|_, (_, lagged)| *lagged == round);
        if self.until.is_empty() {
            self.until = HashMap::new();
        }
        self.round += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(group: &str, offset: i64) -> CommittedOffset {
        CommittedOffset { group: group.into(), offset, is_active: true }
    }

    #[test]
    fn a_group_loses_what_lies_between_its_offset_and_what_stays() {
        let groups = [committed("far-behind", 3), committed("within", 15), committed("just-there", 20)];
        let lost: Vec<_> = losses(&groups, 10, 20).map(|l| (l.group.to_string(), l.from, l.until, l.records)).collect();
        assert_eq!(lost, [("far-behind".to_owned(), 10, 20, 10), ("within".to_owned(), 15, 20, 5)]);
        assert_eq!(losses(&groups, 20, 20).count(), 0);
    }

    #[test]
    fn a_group_is_warned_once_of_the_same_records_and_again_of_further_ones() {
        let mut warned = Warned::default();
        let topic = Uuid::from_u128(1);
        let loss = |until| losses(&[committed("g", 0)], 0, until).next().expect("a loss");
        assert!(warned.is_news(topic, 0, &loss(10)));
        warned.end_round();
        assert!(!warned.is_news(topic, 0, &loss(10)));
        assert!(warned.is_news(topic, 1, &loss(10)));
        warned.end_round();
        assert!(warned.is_news(topic, 0, &loss(20)));
        assert!(!warned.is_news(topic, 0, &loss(15)));
        warned.end_round();
        warned.end_round(); // nobody lagged: forgotten
        assert!(warned.until.is_empty());
        assert!(warned.is_news(topic, 0, &loss(20)));
    }
}
