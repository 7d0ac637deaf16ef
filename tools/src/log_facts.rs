//! What a broker tells of the logs of a topic: sizes of any Kafka broker, and of Jackdaw how much there is to compact, and
//! whether that pays.

use std::collections::BTreeMap;

use bytes::Bytes;
use jackdaw_protocol::log_facts::{LogFacts, TAG};
use jackdaw_protocol::messages::DescribeLogDirsRequest;
use jackdaw_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use serde::Serialize;

use crate::client::{Client, ClientError, Topic, topic_name};

/// From so many records with a key for each key on, compaction gives back half of the space or more.
const PAYS_FROM: f64 = 2.0;

/// One partition's log, at its leader.
#[derive(Debug, Default, Serialize)]
pub(crate) struct LogDescription {
    /// Bytes of its segments.
    pub(crate) size: Option<i64>,
    /// Offsets from the first to the last record; after compaction there are fewer records.
    pub(crate) offset_span: Option<i64>,
    /// Share of the log that a compaction would look at for the first time.
    pub(crate) cleanable_ratio: Option<f64>,
    /// Estimate, with a standard error of 0.6 %.
    pub(crate) distinct_keys: Option<i64>,
    /// Records with a key among those that the estimate has seen.
    pub(crate) keyed_records: Option<i64>,
    /// Records that the estimate has seen.
    pub(crate) seen_records: Option<i64>,
    /// Share of the log's bytes that the estimate has seen.
    pub(crate) seen_share: Option<f64>,
    /// Of those the estimate has seen.
    pub(crate) records_per_key: Option<f64>,
    /// The first offset that cannot be read because of damage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) damaged_from: Option<i64>,
    /// Whether compaction would drop at least half of the records; not known without keys.
    pub(crate) compaction_pays: Option<bool>,
}

impl LogDescription {
    fn new(size: i64, facts: Option<LogFacts>) -> LogDescription {
        let Some(facts) = facts else { return LogDescription { size: Some(size), ..LogDescription::default() } };
        let mut described = LogDescription {
            size: Some(size),
            offset_span: facts.log_end_offset.zip(facts.log_start_offset).map(|(end, start)| end - start),
            cleanable_ratio: facts.cleanable_ratio(),
            distinct_keys: facts.distinct_keys,
            keyed_records: facts.keyed_records,
            seen_records: facts.seen_records,
            damaged_from: facts.damaged_from_offset,
            seen_share: facts.seen_bytes.map(|seen| if size > 0 { (seen as f64 / size as f64).min(1.0) } else { 1.0 }),
            ..LogDescription::default()
        };
        described.weigh();
        described
    }

    fn weigh(&mut self) {
        self.records_per_key = match (self.keyed_records, self.distinct_keys) {
            (Some(records), Some(keys)) if keys > 0 => Some(records as f64 / keys as f64),
            _ => None,
        };
        self.compaction_pays = self.records_per_key.map(|records| records >= PAYS_FROM);
    }

    /// All partitions as one: their keys are not each other's, as long as the partitioner goes by key.
    pub(crate) fn sum<'a>(partitions: impl Iterator<Item = &'a LogDescription>) -> LogDescription {
        let mut sum = LogDescription::default();
        let add = |sum: &mut Option<i64>, more: Option<i64>| *sum = more.map_or(*sum, |n| Some(sum.unwrap_or(0) + n));
        for partition in partitions {
            add(&mut sum.size, partition.size);
            add(&mut sum.distinct_keys, partition.distinct_keys);
            add(&mut sum.keyed_records, partition.keyed_records);
            add(&mut sum.seen_records, partition.seen_records);
        }
        sum.weigh();
        sum
    }

    /// Whether compaction pays, in a sentence; `None` where nobody can tell.
    pub(crate) fn verdict(&self) -> Option<String> {
        let (seen, keyed) = (self.seen_records?, self.keyed_records?);
        if seen == 0 {
            return Some("no records, so nothing to compact".to_owned());
        }
        let Some(per_key) = self.records_per_key else {
            return Some("does not apply: no record has a key".to_owned());
        };
        let left = 100.0 / per_key;
        let word = if per_key >= PAYS_FROM { "pays" } else { "hardly pays" };
        let unkeyed = if keyed < seen { format!("; {} records have no key", seen - keyed) } else { String::new() };
        Some(format!("{word}: {per_key:.1} records per key, so about {left:.0} % of them would stay{unkeyed}"))
    }
}

/// The logs of the partitions that have a leader, by index. Where a broker does not answer, they are missing.
pub(crate) async fn describe(client: &Client, topic: &Topic) -> BTreeMap<i32, LogDescription> {
    let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (&index, partition) in topic.partitions.iter().filter(|(_, partition)| partition.leader >= 0) {
        by_leader.entry(partition.leader).or_default().push(index);
    }
    let mut found = BTreeMap::new();
    for (leader, partitions) in by_leader {
        // A partition that is just moving, or whose disk failed, is described without its size.
        let _ = ask(client, &topic.name, leader, partitions, &mut found).await;
    }
    found
}

async fn ask(
    client: &Client,
    name: &str,
    leader: i32,
    partitions: Vec<i32>,
    found: &mut BTreeMap<i32, LogDescription>,
) -> Result<(), ClientError> {
    let wanted = DescribableLogDirTopic::default().with_topic(topic_name(name)).with_partitions(partitions);
    let mut request = DescribeLogDirsRequest::default().with_topics(Some(vec![wanted]));
    let connection = client.broker(leader).await?;
    if connection.version::<DescribeLogDirsRequest>()? >= 2 {
        request.unknown_tagged_fields.insert(TAG, Bytes::new());
    }
    let answer = connection.send(&request).await?;
    let topics = answer.results.iter().filter(|result| result.error_code == 0).flat_map(|result| &result.topics);
    for partition in topics.flat_map(|topic| &topic.partitions).filter(|partition| !partition.is_future_key) {
        let facts = partition.unknown_tagged_fields.get(&TAG).and_then(|bytes| LogFacts::decode(bytes));
        found.insert(partition.partition_index, LogDescription::new(partition.partition_size, facts));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seen: i64, keyed: i64, keys: i64) -> LogDescription {
        let facts = LogFacts {
            seen_records: Some(seen),
            keyed_records: Some(keyed),
            distinct_keys: Some(keys),
            ..LogFacts::default()
        };
        LogDescription::new(100, Some(facts))
    }

    #[test]
    fn the_verdict_says_what_compaction_would_leave() {
        let verdict = |seen, keyed, keys| of(seen, keyed, keys).verdict().unwrap_or_default();
        assert_eq!(verdict(1000, 1000, 100), "pays: 10.0 records per key, so about 10 % of them would stay");
        assert_eq!(
            verdict(110, 100, 80),
            "hardly pays: 1.2 records per key, so about 80 % of them would stay; 10 records have no key"
        );
        assert_eq!(verdict(10, 0, 0), "does not apply: no record has a key");
        assert_eq!(verdict(0, 0, 0), "no records, so nothing to compact");
        assert_eq!(LogDescription::new(5, None).verdict(), None, "Apache Kafka tells the size only");
    }

    #[test]
    fn partitions_add_up_and_one_that_knows_nothing_takes_nothing_away() {
        let sum = LogDescription::sum([of(100, 100, 10), LogDescription::new(7, None), of(20, 20, 20)].iter());
        assert_eq!((sum.size, sum.distinct_keys, sum.records_per_key), (Some(207), Some(30), Some(4.0)));
    }
}
