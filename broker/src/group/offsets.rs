//! The committed offsets of one group.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::classic::ClassicGroup;
use super::records::OffsetValue;

/// Topic → partition → what was committed last.
#[derive(Debug, Default)]
pub struct Offsets {
    topics: BTreeMap<Arc<str>, BTreeMap<i32, Committed>>,
}

#[derive(Debug)]
struct Committed {
    value: OffsetValue,
    /// Position among all records applied to the shard. A transaction's offset takes effect when the transaction ends,
    /// and must not replace one that was committed after it was written.
    sequence: u64,
}

impl Offsets {
    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Stores an offset, unless a later one is there.
    pub fn put(&mut self, topic: Arc<str>, partition: i32, value: OffsetValue, sequence: u64) {
        let partitions = self.topics.entry(topic).or_default();
        if partitions.get(&partition).is_none_or(|present| present.sequence < sequence) {
            partitions.insert(partition, Committed { value, sequence });
        }
    }

    /// Forgets an offset.
    pub fn remove(&mut self, topic: &str, partition: i32) {
        if let Some(partitions) = self.topics.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    /// The offset of one partition.
    pub fn get(&self, topic: &str, partition: i32) -> Option<&OffsetValue> {
        self.topics.get(topic)?.get(&partition).map(|committed| &committed.value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, i32, &OffsetValue)> {
        let of_topic = |(topic, partitions)| {
            let partitions: &BTreeMap<i32, Committed> = partitions;
            partitions.iter().map(move |(partition, committed)| (topic, *partition, &committed.value))
        };
        self.topics.iter().flat_map(of_topic)
    }

    /// All of them, topic by topic.
    pub fn by_topic(&self) -> impl Iterator<Item = (&Arc<str>, impl Iterator<Item = (i32, &OffsetValue)>)> {
        self.topics.iter().map(|(topic, partitions)| {
            (topic, partitions.iter().map(|(partition, committed)| (*partition, &committed.value)))
        })
    }

    /// Those of one topic.
    pub fn of_topic(&self, topic: &str) -> impl Iterator<Item = (i32, &OffsetValue)> {
        let partitions = self.topics.get(topic).into_iter().flatten();
        partitions.map(|(partition, committed)| (*partition, &committed.value))
    }

    /// Which offsets have expired (KIP-211). The retention counts
    /// - from the moment the group became empty, if it had members once (from the commit, if that moment is unknown);
    /// - from the commit, for groups that never had members, and for topics that the stable members of a consumer group
    ///   do not subscribe to any more;
    /// - not at all otherwise: a group at work keeps its offsets.
    ///
    /// An offset committed with a retention time of its own expires at that time instead.
    pub fn expired(&self, group: &ClassicGroup, now_ms: i64, retention_ms: i64) -> Vec<(Arc<str>, i32)> {
        let Some(clock_starts) = clock_of(group) else { return Vec::new() };
        let is_expired = |offset: &OffsetValue| match offset.expire_timestamp_ms {
            Some(expires) => now_ms >= expires,
            None => now_ms.saturating_sub(clock_starts(offset)) >= retention_ms,
        };
        self.iter()
            .filter(|(topic, _, offset)| !group.is_subscribed_to(topic) && is_expired(offset))
            .map(|(topic, partition, _)| (topic.clone(), partition))
            .collect()
    }
}

/// From when on an offset's retention counts; `None` if it does not.
fn clock_of(group: &ClassicGroup) -> Option<impl Fn(&OffsetValue) -> i64> {
    let since_empty = match group.protocol_type() {
        None => None,
        Some(_) if group.is_empty() => group.state_since_ms(),
        Some(_) if group.is_stable() && group.uses_consumer_protocol() && group.knows_subscriptions() => None,
        Some(_) => return None,
    };
    Some(move |offset: &OffsetValue| since_empty.unwrap_or(offset.commit_timestamp_ms))
}

/// Offsets written inside transactions that have not ended: producer id → its offsets. They become visible when a commit
/// marker arrives and vanish with an abort marker. TxnOffsetCommit is not served yet, but a log directory that Apache
/// Kafka wrote may hold such records.
#[derive(Debug, Default)]
pub struct OpenTransactions(BTreeMap<i64, Vec<PendingOffset>>);

/// One offset of an open transaction.
#[derive(Debug)]
pub struct PendingOffset {
    /// The group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// What will be committed.
    pub value: OffsetValue,
    /// Position among all records applied to the shard.
    pub sequence: u64,
}

impl OpenTransactions {
    /// A transaction wrote an offset.
    pub fn put(&mut self, producer_id: i64, offset: PendingOffset) {
        self.0.entry(producer_id).or_default().push(offset);
    }

    /// The transaction ended: its offsets, in the order written.
    pub fn end(&mut self, producer_id: i64) -> Vec<PendingOffset> {
        self.0.remove(&producer_id).unwrap_or_default()
    }

    /// The offset was deleted, so what open transactions hold for it is void.
    pub fn forget(&mut self, group: &str, topic: &str, partition: i32) {
        for offsets in self.0.values_mut() {
            offsets.retain(|held| !(held.is_for(group, topic) && held.partition == partition));
        }
        self.0.retain(|_, offsets| !offsets.is_empty());
    }

    /// An open transaction holds an offset of this partition.
    pub fn hold(&self, group: &str, topic: &str, partition: i32) -> bool {
        self.of_group(group).any(|held| &*held.topic == topic && held.partition == partition)
    }

    /// An open transaction holds an offset of the group.
    pub fn hold_any(&self, group: &str) -> bool {
        self.of_group(group).next().is_some()
    }

    /// What open transactions hold of one topic of a group.
    pub fn of_topic<'a>(&'a self, group: &'a str, topic: &'a str) -> impl Iterator<Item = &'a PendingOffset> {
        self.0.values().flatten().filter(move |held| held.is_for(group, topic))
    }

    fn of_group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a PendingOffset> {
        self.0.values().flatten().filter(move |held| &*held.group == group)
    }
}

impl PendingOffset {
    fn is_for(&self, group: &str, topic: &str) -> bool {
        &*self.group == group && &*self.topic == topic
    }
}
