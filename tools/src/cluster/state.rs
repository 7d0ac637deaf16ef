//! What a cluster looks like: its brokers, its partitions with their sizes, and what is moving.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jackdaw_protocol::messages::{
    DescribeClusterRequest, DescribeLogDirsRequest, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
};

use super::plan::{Node, Part};
use crate::client::{Client, ClientError, Topic};

const TIMEOUT_MS: i32 = 30_000;
/// From this version on, DescribeCluster tells of brokers that are fenced, too.
const TELLS_FENCED: i16 = 2;

/// One broker.
#[derive(Debug, Clone)]
pub(crate) struct Broker {
    pub(crate) id: i32,
    pub(crate) address: String,
    pub(crate) rack: Option<String>,
    /// Registered, and not heard.
    pub(crate) fenced: bool,
}

/// The cluster's id, its controller and its brokers.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    pub(crate) cluster_id: String,
    pub(crate) controller: i32,
    pub(crate) brokers: Vec<Broker>,
}

/// Asks who belongs to the cluster.
pub(crate) async fn members(client: &Client) -> Result<Members, ClientError> {
    let tells_fenced = client.any().await?.version::<DescribeClusterRequest>()? >= TELLS_FENCED;
    let request = DescribeClusterRequest::default().with_include_fenced_brokers(tells_fenced);
    let answer = client.ask(&request).await?;
    ClientError::check("cluster", answer.error_code, answer.error_message.as_deref())?;
    let broker = |broker: &jackdaw_protocol::messages::describe_cluster_response::DescribeClusterBroker| Broker {
        id: broker.broker_id.0,
        address: format!("{}:{}", broker.host, broker.port),
        rack: broker.rack.as_ref().map(ToString::to_string),
        fenced: broker.is_fenced,
    };
    let mut brokers: Vec<Broker> = answer.brokers.iter().map(broker).collect();
    brokers.sort_by_key(|broker| broker.id);
    Ok(Members { cluster_id: answer.cluster_id.to_string(), controller: answer.controller_id.0, brokers })
}

/// Brokers and partitions, as plans need them.
pub(crate) struct Layout {
    pub(crate) members: Members,
    pub(crate) nodes: Vec<Node>,
    pub(crate) parts: Vec<Part>,
    pub(crate) topics: BTreeMap<String, Topic>,
}

/// Asks for everything that a plan needs. A broker that does not say what it holds counts as one that has nothing, and the
/// sizes of its partitions come from their other replicas.
pub(crate) async fn layout(client: &Client) -> Result<Layout, ClientError> {
    let members = members(client).await?;
    let topics = client.topics().await?;
    let sizes = sizes(client, &members).await?;
    let node = |broker: &Broker| Node { id: broker.id, rack: broker.rack.clone(), open: !broker.fenced };
    let nodes = members.brokers.iter().map(node).collect();
    let mut parts = Vec::new();
    for topic in topics.values() {
        let name: Arc<str> = topic.name.as_str().into();
        for (&index, partition) in &topic.partitions {
            let of = |replica: &i32| sizes.get(&(*replica, topic.name.clone(), index)).copied();
            let bytes = partition.replicas.iter().filter_map(of).max().unwrap_or(0);
            parts.push(Part { topic: name.clone(), index, replicas: partition.replicas.clone(), bytes });
        }
    }
    Ok(Layout { members, nodes, parts, topics })
}

/// Bytes of a partition on a broker.
pub(crate) type Sizes = HashMap<(i32, String, i32), u64>;

/// What each broker that is there holds.
pub(crate) async fn sizes(client: &Client, members: &Members) -> Result<Sizes, ClientError> {
    let mut sizes = Sizes::new();
    for broker in members.brokers.iter().filter(|broker| !broker.fenced) {
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let answer = match client.broker(broker.id).await {
            Ok(connection) => connection.send(&request).await,
            Err(error) => Err(error),
        };
        let answer = match answer {
            // It died, and is not fenced yet.
            Err(error) if error.is_retriable() => continue,
            answer => answer?,
        };
        for topic in answer.results.iter().flat_map(|result| &result.topics) {
            for partition in topic.partitions.iter().filter(|partition| !partition.is_future_key) {
                let bytes = u64::try_from(partition.partition_size).unwrap_or(0);
                sizes.insert((broker.id, topic.name.to_string(), partition.partition_index), bytes);
            }
        }
    }
    Ok(sizes)
}

/// The partitions that are being reassigned.
pub(crate) async fn reassignments(client: &Client) -> Result<ListPartitionReassignmentsResponse, ClientError> {
    let request = ListPartitionReassignmentsRequest::default().with_timeout_ms(TIMEOUT_MS).with_topics(None);
    let answer = client.ask(&request).await?;
    ClientError::check("reassignments", answer.error_code, answer.error_message.as_deref())?;
    Ok(answer)
}
