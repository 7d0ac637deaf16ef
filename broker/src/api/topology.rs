//! What Metadata, DescribeCluster and DescribeTopicPartitions tell alike: brokers, partitions, allowed operations.

use std::sync::Arc;

use jackdaw_protocol::messages::{BrokerId, ResponseError, StrBytes, TopicName};

use super::{ConnectionInfo, Context};
use crate::broker::Broker;
use crate::topics::image::{Image, PartitionImage};
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

/// A broker as clients of the listener they came in on reach it.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) id: i32,
    pub(super) host: StrBytes,
    pub(super) port: i32,
    pub(super) rack: Option<StrBytes>,
}

/// This broker, as told to the client that asks. Where the listener takes every address and nothing else is advertised,
/// that is the address the client has dialled: it works from where the client stands.
fn this_node(broker: &Broker, connection: &ConnectionInfo) -> Node {
    let config = broker.config();
    let local = connection.local;
    let (host, port) = broker.advertised(&connection.listener).unwrap_or_default();
    let host = if matches!(host.as_str(), "" | "0.0.0.0" | "::" | "[::]") { local.ip().to_string() } else { host };
    Node {
        id: broker.node_id(),
        host: StrBytes::from_string(host),
        port: i32::from(if port == 0 { local.port() } else { port }),
        rack: config.broker_rack.clone().map(StrBytes::from_string),
    }
}

/// The brokers of the cluster, as the client that asks may know them: by the listener it came in on.
pub(super) struct Brokers {
    this: Node,
    listener: Arc<str>,
    image: Arc<Image>,
}

/// Why a broker cannot be named to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// It is not registered, or fenced.
    Dead,
    /// It has no listener of that name.
    NoListener,
}

impl Brokers {
    pub(super) fn of(ctx: &Context<'_>, image: &Arc<Image>) -> Brokers {
        Brokers::for_client(ctx.broker, ctx.connection, image)
    }

    pub(super) fn for_client(broker: &Broker, connection: &ConnectionInfo, image: &Arc<Image>) -> Brokers {
        let listener = connection.listener.clone();
        Brokers { this: this_node(broker, connection), listener, image: image.clone() }
    }

    pub(super) fn this(&self) -> &Node {
        &self.this
    }

    /// Whether the broker serves, by the metadata. One that has heard of none, not even of itself, is alone.
    fn is_alive(&self, id: i32) -> bool {
        match self.image.brokers.get(&id) {
            Some(known) => !known.fenced,
            None => id == self.this.id && self.image.brokers.is_empty(),
        }
    }

    /// A broker that serves.
    pub(super) fn node(&self, id: i32) -> Result<Node, Absent> {
        if self.is_alive(id) { self.endpoint(id).ok_or(Absent::NoListener) } else { Err(Absent::Dead) }
    }

    fn endpoint(&self, id: i32) -> Option<Node> {
        if id == self.this.id {
            return Some(self.this.clone());
        }
        let known = &self.image.brokers.get(&id)?.registration;
        let endpoint = known.listeners.iter().find(|endpoint| *endpoint.name == *self.listener)?;
        Some(Node {
            id,
            host: StrBytes::from_string(endpoint.host.clone()),
            port: i32::from(endpoint.port),
            rack: known.rack.clone().map(StrBytes::from_string),
        })
    }

    /// All brokers that serve, in order of their ids.
    pub(super) fn alive(&self) -> Vec<Node> {
        if self.image.brokers.is_empty() {
            return vec![self.this.clone()];
        }
        self.image.brokers.keys().filter_map(|id| self.node(*id).ok()).collect()
    }

    /// The brokers that are registered and fenced, in order of their ids.
    pub(super) fn fenced(&self) -> Vec<Node> {
        let fenced = self.image.brokers.iter().filter(|(_, known)| known.fenced);
        fenced.filter_map(|(id, _)| self.endpoint(*id)).collect()
    }

    /// Where a client should send what the controller decides: to the active controller, if it is a broker that the client
    /// can reach, else here, from where it is passed on.
    pub(super) fn controller(&self, active: Option<i32>) -> BrokerId {
        let reachable = active.filter(|id| self.node(*id).is_ok());
        let here = || self.is_alive(self.this.id).then_some(self.this.id);
        BrokerId(reachable.or_else(here).unwrap_or(NO_LEADER))
    }
}

/// One partition as clients are told of it.
pub(super) struct PartitionView {
    pub(super) error: Option<ResponseError>,
    pub(super) leader: BrokerId,
    pub(super) leader_epoch: i32,
    pub(super) replicas: Vec<BrokerId>,
    pub(super) isr: Vec<BrokerId>,
    pub(super) offline: Vec<BrokerId>,
}

/// Partition `index` of a topic. With its log directory offline here it has no leader, as in Kafka, so that producers choose
/// other partitions. A directory that failed while it was open can still be read: where no directory takes writes any more
/// (`takes_writes`), there is nothing else to choose, and readers are served.
pub(super) fn view(
    brokers: &Brokers,
    topic: &Topic,
    index: usize,
    partition: &PartitionImage,
    takes_writes: bool,
) -> PartitionView {
    let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
    let this = brokers.this.id;
    let hosted = partition.replicas.contains(&this).then(|| topic.partition(index as i32));
    let failed = matches!(&hosted, Some(Ok(hosted)) if !hosted.flusher().dir().is_online());
    let offline = matches!(hosted, Some(Err(FindError::Offline))) || failed && takes_writes;
    let leader = match partition.leader {
        leader if leader == this && offline => Err(ResponseError::LeaderNotAvailable),
        leader => brokers.node(leader).map_err(|absent| match absent {
            Absent::Dead => ResponseError::LeaderNotAvailable,
            Absent::NoListener => ResponseError::ListenerNotFound,
        }),
    };
    let is_offline = |id: &i32| *id == this && (offline || failed) || brokers.node(*id).is_err();
    PartitionView {
        error: leader.as_ref().err().copied(),
        leader: BrokerId(leader.map_or(NO_LEADER, |node| node.id)),
        leader_epoch: partition.leader_epoch,
        replicas: ids(&partition.replicas),
        isr: ids(&partition.isr),
        offline: partition.replicas.iter().copied().filter(is_offline).map(BrokerId).collect(),
    }
}

/// A topic's name for the wire.
pub(super) fn topic_name(name: &Arc<str>) -> TopicName {
    TopicName(StrBytes::from_string(name.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;
    use crate::topics::image::BrokerImage;
    use crate::topics::record::{Endpoint, Registration};

    fn registered(id: i32, listeners: &[&str], fenced: bool) -> (i32, BrokerImage) {
        let endpoint = |name: &&str| Endpoint {
            name: (*name).to_owned(),
            host: format!("{name}.{id}").to_lowercase(),
            port: 9000 + id as u16,
            security_protocol: 0,
        };
        let registration = Registration {
            epoch: 1,
            incarnation: Uuid::nil(),
            rack: Some(format!("rack-{id}")),
            listeners: listeners.iter().map(endpoint).collect(),
            dirs: Vec::new(),
            message_max_bytes: 1,
            write_caching: Default::default(),
            replica_fetch_max_bytes: None,
        };
        (id, BrokerImage { registration, fenced, in_controlled_shutdown: false, cordoned: false })
    }

    fn brokers(listener: &str, known: Vec<(i32, BrokerImage)>) -> Brokers {
        let this = Node { id: 1, host: StrBytes::from_static_str("here"), port: 1, rack: None };
        let mut image = Image::default();
        image.brokers = Arc::new(known.into_iter().collect::<BTreeMap<_, _>>());
        Brokers { this, listener: listener.into(), image: Arc::new(image) }
    }

    #[test]
    fn a_client_is_told_of_brokers_by_the_listener_it_came_in_on() {
        let known =
            || vec![registered(1, &["A", "B"], false), registered(2, &["A", "B"], false), registered(3, &["A"], false)];
        let hosts = |brokers: &Brokers| brokers.alive().iter().map(|node| node.host.to_string()).collect::<Vec<_>>();
        assert_eq!(hosts(&brokers("A", known())), ["here", "a.2", "a.3"]);
        let b = brokers("B", known());
        assert_eq!(hosts(&b), ["here", "b.2"]);
        assert_eq!(b.node(3).err(), Some(Absent::NoListener));
        assert_eq!(b.node(2).unwrap().rack.as_deref(), Some("rack-2"));
    }

    #[test]
    fn fenced_brokers_are_left_out_and_named_where_they_are_asked_for() {
        let brokers = brokers("A", vec![registered(1, &["A"], false), registered(2, &["A"], true)]);
        let ids = |nodes: Vec<Node>| nodes.into_iter().map(|node| node.id).collect::<Vec<_>>();
        assert_eq!(ids(brokers.alive()), [1]);
        assert_eq!(ids(brokers.fenced()), [2]);
        assert_eq!(brokers.node(2).err(), Some(Absent::Dead));
        assert_eq!(brokers.node(7).err(), Some(Absent::Dead));
    }

    #[test]
    fn the_controller_is_one_that_the_client_can_reach() {
        let brokers =
            brokers("A", vec![registered(1, &["A"], false), registered(2, &["A"], false), registered(3, &["A"], true)]);
        assert_eq!(brokers.controller(Some(2)), BrokerId(2));
        assert_eq!(brokers.controller(Some(3)), BrokerId(1), "it is fenced");
        assert_eq!(brokers.controller(Some(100)), BrokerId(1), "it is no broker");
        assert_eq!(brokers.controller(None), BrokerId(1), "requests are passed on from here");
    }

    #[test]
    fn a_broker_that_has_heard_of_none_tells_of_itself() {
        let alone = brokers("A", Vec::new());
        assert_eq!(alone.alive().len(), 1);
        assert_eq!(alone.controller(Some(1)), BrokerId(1));
    }
}
