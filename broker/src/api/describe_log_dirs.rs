//! DescribeLogDirs, 1 to 4: what each log directory holds, and how much room it has.
//!
//! Version 3 adds a top-level error (for ACLs), 4 the size of the disk (KIP-827). Null topics mean all.
//! A request with the tagged field of [`log_facts`] gets the facts of each log beside.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use jackdaw_protocol::log_facts::{self, LogFacts};
use jackdaw_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use jackdaw_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, ResponseError, StrBytes};

use super::topology;
use super::{Context, Handler, Reply};
use crate::limits;
use crate::partition::Partition;
use crate::topics::absolute;

impl Handler for DescribeLogDirsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<DescribeLogDirsResponse> {
        // Our own tools ask for more than Kafka's protocol has.
        let mut facts =
            self.unknown_tagged_fields.contains_key(&log_facts::TAG).then_some(limits::SKETCH_BYTES_AT_ONCE);
        let wanted = self.topics.map(|topics| {
            let partitions = topics
                .into_iter()
                .flat_map(|topic| topic.partitions.into_iter().map(move |partition| (topic.topic.clone(), partition)));
            partitions.collect::<HashSet<_>>()
        });
        let wanted = |topic: &Arc<str>, partition: i32| match &wanted {
            None => true,
            Some(wanted) => wanted.contains(&(topology::topic_name(topic), partition)),
        };
        let topics = &ctx.broker.topics;
        let opened = 0..topics.dirs().len();
        let describe = |dir| describe(dir, &wanted, &mut facts, ctx);
        let mut results: Vec<_> = ctx.broker.blocking(|| opened.map(describe).collect());
        let failed = topics.failed_dirs().iter();
        results.extend(failed.map(|dir| result(&dir.path).with_error_code(ResponseError::KafkaStorageError.code())));
        Reply::Now(DescribeLogDirsResponse::default().with_results(results))
    }
}

/// The facts of a log that `jackdaw topic describe` shows. `read_left` is what may still be read to learn of keys.
fn facts_of(partition: &Partition, read_left: &mut u64, now_ms: i64) -> LogFacts {
    let log = partition.log();
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let facts = LogFacts {
        log_start_offset: Some(start),
        log_end_offset: Some(end),
        segments: i64::try_from(log.segment_count()).ok(),
        compacts: Some(i64::from(partition.with_config(|config| config.compact))),
        damaged_from_offset: log.first_damaged_offset(),
        ..LogFacts::default()
    };
    let facts = match log.compaction_candidate(now_ms) {
        Ok(Some(dirty)) => {
            LogFacts { first_dirty_offset: Some(dirty.first_dirty_offset), ..facts }.with_cleanable_ratio(dirty.ratio())
        }
        _ => facts,
    };
    match log.distinct_keys(*read_left) {
        Ok(found) => {
            *read_left = read_left.saturating_sub(found.read_bytes);
            LogFacts {
                distinct_keys: Some(found.keys as i64),
                keyed_records: Some(found.keyed as i64),
                seen_records: Some(found.records as i64),
                seen_bytes: Some(found.seen_bytes as i64),
                ..facts
            }
        }
        Err(error) => {
            tracing::debug!(topic = %partition.topic(), partition = partition.index(), %error, "keys are not counted");
            facts
        }
    }
}

fn result(path: &Path) -> DescribeLogDirsResult {
    DescribeLogDirsResult::default().with_log_dir(StrBytes::from_string(absolute(path).display().to_string()))
}

fn describe(
    dir: usize,
    wanted: &dyn Fn(&Arc<str>, i32) -> bool,
    facts: &mut Option<u64>,
    ctx: &Context<'_>,
) -> DescribeLogDirsResult {
    let topics = &ctx.broker.topics;
    let log_dir = topics.dirs()[dir].dir();
    let result = result(log_dir.path());
    let offline = || ResponseError::KafkaStorageError.code();
    if !log_dir.is_online() {
        return result.with_error_code(offline());
    }
    let (total, usable) = match log_dir.total_and_usable_bytes() {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::warn!(dir = %log_dir.path().display(), %error, "cannot tell the size of the disk");
            return result.with_error_code(offline());
        }
    };
    let mut by_topic: BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for partition in topics.partitions_in(dir).iter().filter(|partition| wanted(partition.topic(), partition.index())) {
        let log = partition.log();
        let mut described = DescribeLogDirsPartition::default()
            .with_partition_index(partition.index())
            .with_partition_size(log.size_bytes() as i64)
            .with_offset_lag((log.high_watermark() - log.log_end_offset()).max(0));
        if let Some(read_left) = facts {
            let facts = facts_of(partition, read_left, ctx.broker.clock.now_ms());
            described.unknown_tagged_fields.insert(log_facts::TAG, facts.encode());
        }
        by_topic.entry(partition.topic().clone()).or_default().push(described);
    }
    for future in topics.futures_in(dir).into_iter().filter(|future| wanted(&future.topic, future.partition)) {
        let described = DescribeLogDirsPartition::default()
            .with_partition_index(future.partition)
            .with_partition_size(future.size_bytes as i64)
            .with_offset_lag(future.lag)
            .with_is_future_key(true);
        by_topic.entry(future.topic).or_default().push(described);
    }
    let topic = |(name, mut partitions): (_, Vec<DescribeLogDirsPartition>)| {
        partitions.sort_by_key(|partition| partition.partition_index);
        DescribeLogDirsTopic::default().with_name(topology::topic_name(&name)).with_partitions(partitions)
    };
    result
        .with_topics(by_topic.into_iter().map(topic).collect())
        .with_total_bytes(i64::try_from(total).unwrap_or(i64::MAX))
        .with_usable_bytes(i64::try_from(usable).unwrap_or(i64::MAX))
}
