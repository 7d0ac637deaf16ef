//! DescribeLogDirs, 1 to 4: what each log directory holds, and how much room it has.
//!
//! Version 3 adds a top-level error (for ACLs), 4 the size of the disk (KIP-827). Null topics mean all.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jackdaw_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use jackdaw_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, ResponseError, StrBytes};

use super::topology;
use super::{Context, Handler, Reply};
use crate::partition::Partition;

impl Handler for DescribeLogDirsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<DescribeLogDirsResponse> {
        let wanted = self.topics.map(|topics| {
            let partitions = topics
                .into_iter()
                .flat_map(|topic| topic.partitions.into_iter().map(move |partition| (topic.topic.clone(), partition)));
            partitions.collect::<HashSet<_>>()
        });
        let wanted = |partition: &Arc<Partition>| match &wanted {
            None => true,
            Some(wanted) => wanted.contains(&(topology::topic_name(partition.topic()), partition.index())),
        };
        let dirs = 0..ctx.broker.topics.dirs().len();
        let results = ctx.broker.blocking(|| dirs.map(|dir| describe(dir, &wanted, ctx)).collect());
        Reply::Now(DescribeLogDirsResponse::default().with_results(results))
    }
}

fn describe(dir: usize, wanted: &dyn Fn(&Arc<Partition>) -> bool, ctx: &Context<'_>) -> DescribeLogDirsResult {
    let topics = &ctx.broker.topics;
    let log_dir = topics.dirs()[dir].dir();
    let path = std::path::absolute(log_dir.path()).unwrap_or_else(|_| log_dir.path().to_owned());
    let result = DescribeLogDirsResult::default().with_log_dir(StrBytes::from_string(path.display().to_string()));
    let offline = || ResponseError::KafkaStorageError.code();
    if !log_dir.is_online() {
        return result.with_error_code(offline());
    }
    let (total, usable) = match log_dir.total_and_usable_bytes() {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::warn!(dir = %path.display(), %error, "cannot tell the size of the disk");
            return result.with_error_code(offline());
        }
    };
    let mut by_topic: BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for partition in topics.partitions_in(dir).iter().filter(|partition| wanted(partition)) {
        let log = partition.log();
        let described = DescribeLogDirsPartition::default()
            .with_partition_index(partition.index())
            .with_partition_size(log.size_bytes() as i64)
            .with_offset_lag((log.high_watermark() - log.log_end_offset()).max(0));
        by_topic.entry(partition.topic().clone()).or_default().push(described);
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
