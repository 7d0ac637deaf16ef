//! AlterReplicaLogDirs, 1 and 2: moves partitions between the log directories of this broker (KIP-113).
//!
//! The answer says that a move has begun; DescribeLogDirs shows how far it is. A partition that does not exist is refused,
//! but its directory is remembered for when it is made.

use std::collections::BTreeMap;

use jackdaw_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use jackdaw_protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, TopicName};

use super::{Context, Handler, Reply, errors};

impl Handler for AlterReplicaLogDirsRequest {
    const MIN: i16 = 1;

    fn handle(self, ctx: &Context<'_>) -> Reply<AlterReplicaLogDirsResponse> {
        let mut wanted: BTreeMap<(TopicName, i32), String> = BTreeMap::new();
        for dir in self.dirs {
            for topic in dir.topics {
                // One that is named twice goes to the directory named last.
                let key = |partition| (topic.name.clone(), partition);
                wanted.extend(topic.partitions.into_iter().map(|partition| (key(partition), dir.path.to_string())));
            }
        }
        let results = ctx.broker.blocking(|| {
            let mut results: Vec<AlterReplicaLogDirTopicResult> = Vec::new();
            for ((topic, partition), dir) in wanted {
                let moved = ctx.broker.topics.move_partition(&topic, partition, &dir);
                let code = moved.map_or_else(|error| errors::move_partition(&error).code(), |()| 0);
                let result =
                    AlterReplicaLogDirPartitionResult::default().with_partition_index(partition).with_error_code(code);
                match results.last_mut() {
                    Some(last) if last.topic_name == topic => last.partitions.push(result),
                    _ => results.push(
                        AlterReplicaLogDirTopicResult::default().with_topic_name(topic).with_partitions(vec![result]),
                    ),
                }
            }
            results
        });
        Reply::Now(AlterReplicaLogDirsResponse::default().with_results(results))
    }
}
