//! What Metadata, DescribeCluster and DescribeTopicPartitions tell alike: brokers, partitions, allowed operations.

use std::sync::Arc;

use jackdaw_protocol::messages::{BrokerId, ResponseError, StrBytes, TopicName};

use super::Context;
use crate::topics::image::PartitionImage;
use crate::topics::{FindError, Topic};

/// "Not asked for" in the field of allowed operations.
pub(super) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;
/// All operations on a topic, as bits: without ACLs everyone may do everything. Read, write, create, delete, alter,
/// describe, describe configs, alter configs.
pub(super) const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
/// All operations on the cluster, as bits: create, alter, describe, cluster action, describe configs, alter configs,
/// idempotent write.
pub(super) const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
/// The leader's id where there is none.
const NO_LEADER: i32 = -1;

/// This broker as clients of the listener they came in on reach it.
pub(super) struct Node {
    pub(super) id: i32,
    pub(super) host: StrBytes,
    pub(super) port: i32,
    pub(super) rack: Option<StrBytes>,
}

/// This broker, as told to the client that asks. Where the listener takes every address and nothing else is advertised,
/// that is the address the client has dialled: it works from where the client stands.
pub(super) fn this_node(ctx: &Context<'_>) -> Node {
    let config = ctx.broker.config();
    let local = ctx.connection.local;
    let (host, port) = ctx.broker.advertised(&ctx.connection.listener).unwrap_or_default();
    let host = if matches!(host.as_str(), "" | "0.0.0.0" | "::" | "[::]") { local.ip().to_string() } else { host };
    Node {
        id: ctx.broker.node_id(),
        host: StrBytes::from_string(host),
        port: i32::from(if port == 0 { local.port() } else { port }),
        rack: config.broker_rack.clone().map(StrBytes::from_string),
    }
}

/// One partition as clients are told of it.
pub(super) struct PartitionView {
    pub(super) error: i16,
    pub(super) leader: BrokerId,
    pub(super) leader_epoch: i32,
    pub(super) replicas: Vec<BrokerId>,
    pub(super) isr: Vec<BrokerId>,
    pub(super) offline: Vec<BrokerId>,
}

/// Partition `index` of a topic. With its log directory offline it has no leader, as in Kafka, so that producers choose other
/// partitions. A directory that failed while it was open can still be read: where no directory takes writes any more
/// (`takes_writes`), there is nothing else to choose, and readers are served.
pub(super) fn view(topic: &Topic, index: usize, partition: &PartitionImage, takes_writes: bool) -> PartitionView {
    let brokers = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
    let hosted = topic.partition(index as i32);
    let failed = hosted.is_ok_and(|hosted| !hosted.flusher().dir().is_online());
    let offline = matches!(hosted, Err(FindError::Offline)) || failed && takes_writes;
    PartitionView {
        error: if offline { ResponseError::LeaderNotAvailable.code() } else { 0 },
        leader: BrokerId(if offline { NO_LEADER } else { partition.leader }),
        leader_epoch: partition.leader_epoch,
        replicas: brokers(&partition.replicas),
        isr: brokers(&partition.isr),
        offline: if offline || failed { vec![BrokerId(partition.leader)] } else { Vec::new() },
    }
}

/// A topic's name for the wire.
pub(super) fn topic_name(name: &Arc<str>) -> TopicName {
    TopicName(StrBytes::from_string(name.to_string()))
}
