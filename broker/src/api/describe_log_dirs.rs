//! DescribeLogDirs, 1 to 4: what each log directory holds, and how much room it has.
//!
//! Version 3 adds a top-level error (for ACLs), 4 the size of the disk (KIP-827). Null topics mean all.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use jackdaw_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use jackdaw_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, ResponseError, StrBytes};

use super::topology;
use super::{Context, Handler, Reply};
use crate::topics::absolute;

impl Handler for DescribeLogDirsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<DescribeLogDirsResponse> {
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
        let mut results: Vec<_> = ctx.broker.blocking(|| opened.map(|dir| describe(dir, &wanted, ctx)).collect());
        let failed = topics.failed_dirs().iter();
        results.extend(failed.map(|dir| result(&dir.path).with_error_code(ResponseError::KafkaStorageError.code())));
        Reply::Now(DescribeLogDirsResponse::default().with_results(results))
    }
}

fn result(path: &Path) -> DescribeLogDirsResult {
    DescribeLogDirsResult::default().with_log_dir(StrBytes::from_string(absolute(path).display().to_string()))
}

fn describe(dir: usize, wanted: &dyn Fn(&Arc<str>, i32) -> bool, ctx: &Context<'_>) -> DescribeLogDirsResult {
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
        let described = DescribeLogDirsPartition::default()
            .with_partition_index(partition.index())
            .with_partition_size(log.size_bytes() as i64)
            .with_offset_lag((log.high_watermark() - log.log_end_offset()).max(0));
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
