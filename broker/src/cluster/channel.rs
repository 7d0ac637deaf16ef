//! Who the active controller is, and how this node calls it, and the other brokers.
//!
//! The quorum (on a voter) or the observer (on any other broker) says who leads, by [`Channel::controller_is`]. A call
//! finds the controller in this process or at the other end of a persistent connection, and tries again until its
//! deadline while there is none, or while the node it asked says that it is not the one (any more).

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jackdaw_protocol::messages::{
    AllocateProducerIdsRequest, AlterPartitionRequest, BrokerHeartbeatRequest, BrokerRegistrationRequest,
    CreateTopicsRequest, DescribeClusterRequest, EnvelopeRequest, Message, Request, ResponseError,
    UnregisterBrokerRequest,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::api;
use crate::broker::Broker;
use crate::config::Config;
use crate::net::{Peer, PeerConfig, PeerError};
use crate::topics::image::Image;

/// The pause before a controller is looked for again, unless another one is heard of before.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// What one voter has to say who leads.
const ASK_VOTER: Duration = Duration::from_millis(500);
/// Connections that are kept although nobody is using them just now.
const KEPT_PEERS: usize = 64;

/// A node's controller listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerNode {
    /// Its `node.id`.
    pub id: i32,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// The active controller, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Controller {
    /// This process.
    Here,
    /// Another node.
    At(ControllerNode),
    /// There is none, or none is known.
    Unknown,
}

/// Why the controller did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// None was found in time.
    #[error("no active controller answered within {within:?}: {last}")]
    NoController {
        /// How long was tried.
        within: Duration,
        /// What the last attempt came to.
        last: String,
    },
    /// It answered what cannot be understood, or the request cannot be sent.
    #[error(transparent)]
    Peer(PeerError),
    /// This process, the controller itself, cannot handle the request.
    #[error("the controller cannot handle the request: {0}")]
    Here(String),
}

/// Connections to the controller and to other brokers.
pub struct Channel {
    config: Arc<ArcSwap<Config>>,
    controller: watch::Sender<Controller>,
    voters: ArcSwap<Vec<ControllerNode>>,
    peers: Mutex<HashMap<(String, u16), Arc<Peer>>>,
}

impl Channel {
    /// A channel of a node that is its own controller, until [`controller_is`](Channel::controller_is) says otherwise.
    pub fn new(config: Arc<ArcSwap<Config>>) -> Channel {
        let voters = config.load().controller_quorum_voters.iter().filter_map(|voter| parse_voter(voter)).collect();
        Channel {
            config,
            controller: watch::Sender::new(Controller::Here),
            voters: ArcSwap::from_pointee(voters),
            peers: Mutex::default(),
        }
    }

    /// Who leads now. Calls that wait for another node's answer turn to the new one.
    pub fn controller_is(&self, controller: Controller) {
        self.controller.send_if_modified(|known| {
            let is_new = *known != controller;
            *known = controller;
            is_new
        });
    }

    /// Who leads, as far as is known here.
    pub fn controller(&self) -> Controller {
        self.controller.borrow().clone()
    }

    /// Whether this node decides.
    pub fn is_active(&self) -> bool {
        *self.controller.borrow() == Controller::Here
    }

    /// The `node.id` of the active controller, if it is known.
    pub fn controller_id(&self) -> Option<i32> {
        match &*self.controller.borrow() {
            Controller::Here => Some(self.config.load().node_id),
            Controller::At(node) => Some(node.id),
            Controller::Unknown => None,
        }
    }

    /// Follows who leads.
    pub fn watch_controller(&self) -> watch::Receiver<Controller> {
        self.controller.subscribe()
    }

    /// The voters from now on, where they are not those of the configuration.
    pub fn voters_are(&self, voters: Vec<ControllerNode>) {
        self.voters.store(Arc::new(voters));
    }

    /// The voters, as far as they are known by their ids.
    pub fn voters(&self) -> Arc<Vec<ControllerNode>> {
        self.voters.load_full()
    }

    /// How this node calls others.
    pub fn peer_config(&self) -> PeerConfig {
        let config = self.config.load();
        PeerConfig {
            request_timeout: Duration::from_millis(config.request_timeout_ms),
            max_answer_bytes: config.socket_request_max_bytes,
            ..PeerConfig::new(format!("broker-{}", config.node_id))
        }
    }

    /// The connection to a listener of another node that all short calls share. What polls needs one of its own.
    pub fn peer(&self, host: &str, port: u16) -> Arc<Peer> {
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(&(host.to_owned(), port)) {
            return peer.clone();
        }
        if peers.len() >= KEPT_PEERS {
            peers.retain(|_, peer| Arc::strong_count(peer) > 1);
        }
        let peer = Arc::new(Peer::new(host, port, self.peer_config()));
        peers.insert((host.to_owned(), port), peer.clone());
        peer
    }

    /// Where a broker takes what other brokers ask; `None` if it is not registered, or not for that listener.
    pub fn broker_address(&self, image: &Image, broker: i32) -> Option<(String, u16)> {
        let config = self.config.load();
        let listeners = &image.brokers.get(&broker)?.registration.listeners;
        let inter_broker = listeners.iter().find(|endpoint| endpoint.name == config.inter_broker_listener_name)?;
        Some((inter_broker.host.clone(), inter_broker.port))
    }

    /// The shared connection to the inter-broker listener of a registered broker.
    pub fn broker(&self, image: &Image, broker: i32) -> Option<Arc<Peer>> {
        let (host, port) = self.broker_address(image, broker)?;
        Some(self.peer(&host, port))
    }

    /// The connection to the active controller's listener, if another node is it.
    pub fn controller_peer(&self) -> Option<Arc<Peer>> {
        match self.controller() {
            Controller::At(node) => Some(self.peer(&node.host, node.port)),
            Controller::Here | Controller::Unknown => None,
        }
    }

    /// Waits until another controller is heard of, at most for the pause between two attempts.
    async fn rest(&self, before: &Controller) {
        let mut changes = self.controller.subscribe();
        let _ = tokio::time::timeout(RETRY_PAUSE, changes.wait_for(|now| now != before)).await;
    }

    /// Asks voters who leads. A voter need not: its quorum tells it.
    async fn ask_voters(&self) {
        let (addresses, is_voter) = {
            let config = self.config.load();
            let known = self.voters.load();
            let named = known.iter().map(|node| (node.host.clone(), node.port));
            let servers = config.controller_quorum_bootstrap_servers.iter().filter_map(|server| parse_address(server));
            (named.chain(servers).collect::<Vec<_>>(), config.process_roles.controller)
        };
        if is_voter {
            return;
        }
        let controllers = DescribeClusterRequest::default().with_endpoint_type(api::CONTROLLER_ENDPOINTS);
        for (host, port) in addresses {
            let answer = self.peer(&host, port).call(&controllers, 1, ASK_VOTER).await;
            let Ok(answer) = answer else { continue };
            let active = answer.brokers.iter().find(|node| node.broker_id == answer.controller_id);
            if let Some(node) = active
                && let Ok(port) = u16::try_from(node.port)
            {
                let (id, host) = (node.broker_id.0, node.host.to_string());
                self.controller_is(Controller::At(ControllerNode { id, host, port }));
                return;
            }
        }
    }
}

/// A request that only the active controller takes, and whose answer says if it went to the wrong node.
pub trait ControllerRequest: Request + Send + Sync {
    /// The answer's error code.
    fn error_code(response: &Self::Response) -> i16;
}

macro_rules! top_level_error {
    ($($request:ty),*) => {
        $(impl ControllerRequest for $request {
            fn error_code(response: &Self::Response) -> i16 {
                response.error_code
            }
        })*
    };
}

top_level_error!(
    AllocateProducerIdsRequest,
    AlterPartitionRequest,
    BrokerHeartbeatRequest,
    BrokerRegistrationRequest,
    EnvelopeRequest,
    UnregisterBrokerRequest
);

impl ControllerRequest for CreateTopicsRequest {
    fn error_code(response: &Self::Response) -> i16 {
        let not_here = |topic: &&_| {
            let topic: &jackdaw_protocol::messages::create_topics_response::CreatableTopicResult = topic;
            topic.error_code == ResponseError::NotController.code()
        };
        response.topics.iter().find(not_here).map_or(0, |topic| topic.error_code)
    }
}

/// Asks the active controller, in this process or over its connection, and again while there is none or it moves, for
/// so long. A request whose answer got lost is sent again: it must bear that.
pub async fn call_controller<R: ControllerRequest>(
    broker: &Arc<Broker>,
    request: &R,
    within: Duration,
) -> Result<R::Response, ChannelError> {
    let channel = &broker.channel;
    let until = broker.clock.monotonic() + within;
    loop {
        let left = until.saturating_sub(broker.clock.monotonic());
        let controller = channel.controller();
        let last = match attempt(broker, &controller, request, left).await? {
            Attempt::Answered(response) => return Ok(response),
            Attempt::Again(last) => last,
        };
        if until <= broker.clock.monotonic() {
            return Err(ChannelError::NoController { within, last });
        }
        channel.rest(&controller).await;
        if channel.controller() == controller {
            let left = until.saturating_sub(broker.clock.monotonic());
            let _ = tokio::time::timeout(left, channel.ask_voters()).await;
        }
    }
}

enum Attempt<T> {
    Answered(T),
    Again(String),
}

async fn attempt<R: ControllerRequest>(
    broker: &Arc<Broker>,
    controller: &Controller,
    request: &R,
    left: Duration,
) -> Result<Attempt<R::Response>, ChannelError> {
    let version = <R as Message>::VERSIONS.max;
    let answer = match controller {
        Controller::Unknown => return Ok(Attempt::Again("no controller is known".to_owned())),
        Controller::Here => api::here::call(broker, request, version).await.map_err(ChannelError::Here)?,
        Controller::At(node) => {
            let peer = broker.channel.peer(&node.host, node.port);
            let answer = or_elsewhere(&broker.channel, controller, peer.call(request, version, left)).await;
            match answer {
                None => return Ok(Attempt::Again("the controller changed".to_owned())),
                Some(Ok(answer)) => answer,
                Some(Err(error @ (PeerError::Request { .. } | PeerError::Malformed { .. }))) => {
                    return Err(ChannelError::Peer(error));
                }
                Some(Err(error)) => return Ok(Attempt::Again(error.to_string())),
            }
        }
    };
    if R::error_code(&answer) == ResponseError::NotController.code() {
        return Ok(Attempt::Again("the node asked is not the active controller".to_owned()));
    }
    Ok(Attempt::Answered(answer))
}

/// What `call` comes to; `None` once another node leads: the one that was asked may never answer.
async fn or_elsewhere<T>(channel: &Channel, asked: &Controller, call: impl Future<Output = T>) -> Option<T> {
    let mut changes = channel.watch_controller();
    tokio::select! {
        answer = call => Some(answer),
        _ = changes.wait_for(|now| now != asked && *now != Controller::Unknown) => None,
    }
}

/// `1@host:port`
fn parse_voter(voter: &str) -> Option<ControllerNode> {
    let (id, address) = voter.split_once('@')?;
    let (host, port) = parse_address(address)?;
    Some(ControllerNode { id: id.trim().parse().ok()?, host, port })
}

fn parse_address(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.trim().rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use super::*;

    #[test]
    fn voters_are_read_as_kafka_writes_them() {
        let node = |id, host: &str, port| ControllerNode { id, host: host.to_owned(), port };
        assert_eq!(parse_voter("1@localhost:9093"), Some(node(1, "localhost", 9093)));
        assert_eq!(parse_voter("3000@[::1]:19093"), Some(node(3000, "::1", 19093)));
        assert_eq!(parse_voter("localhost:9093"), None);
        assert_eq!(parse_voter("1@localhost"), None);
    }
}
