//! Who leads a partition that is not led here: a client that is told need not ask for the metadata first (KIP-951).

use std::sync::Arc;

use jackdaw_protocol::messages::BrokerId;
use jackdaw_protocol::messages::fetch_response::NodeEndpoint;
use jackdaw_protocol::produce::Node as ProduceNode;
use uuid::Uuid;

use super::ConnectionInfo;
use super::topology::{Brokers, Node};
use crate::broker::Broker;
use crate::topics::image::PartitionImage;
use crate::topics::registry::{Registry, Topic};

/// Collects who leads what one answer refuses, and where these leaders are reached.
pub(super) struct LeaderHints {
    registry: Arc<Registry>,
    brokers: Brokers,
    nodes: Vec<Node>,
}

impl LeaderHints {
    /// For an answer on this connection.
    pub(super) fn new(broker: &Broker, connection: &ConnectionInfo) -> LeaderHints {
        let registry = broker.topics.registry();
        let brokers = Brokers::for_client(broker, connection, &registry.image);
        LeaderHints { registry, brokers, nodes: Vec::new() }
    }

    /// The leader and its epoch, of a topic named as in the request, if there is one.
    pub(super) fn leader(&mut self, name: &str, id: Uuid, index: i32) -> Option<(i32, i32)> {
        let topic = if id.is_nil() { self.registry.topic(name) } else { self.registry.topic_by_id(id) };
        let (leader, epoch) = newest(topic?, index)?;
        if leader == PartitionImage::NO_LEADER {
            return None;
        }
        if !self.nodes.iter().any(|node| node.id == leader) {
            self.nodes.extend(self.brokers.node(leader));
        }
        Some((leader, epoch))
    }

    /// Where the leaders told of are reached, as far as a client may know.
    pub(super) fn endpoints(self) -> Vec<NodeEndpoint> {
        let endpoint = |node: Node| {
            let named = NodeEndpoint::default().with_node_id(BrokerId(node.id)).with_host(node.host);
            named.with_port(node.port).with_rack(node.rack)
        };
        self.nodes.into_iter().map(endpoint).collect()
    }

    /// The same for Produce.
    pub(super) fn nodes(self) -> Vec<ProduceNode> {
        let node = |Node { id, host, port, rack }: Node| ProduceNode { id, host, port, rack };
        self.nodes.into_iter().map(node).collect()
    }
}

/// A replica here hears of its leader a moment before everybody else does.
fn newest(topic: &Topic, index: i32) -> Option<(i32, i32)> {
    let published = topic.image.partitions.get(usize::try_from(index).ok()?)?;
    let published = (published.leader, published.leader_epoch);
    let here = topic.partition(index).ok().map(|partition| partition.leader_and_epoch());
    here.filter(|(_, epoch)| *epoch > published.1).or(Some(published))
}
