//! Who the active controller is, and how this node calls it, and the other brokers.
//!
//! The quorum (on a voter) or the observer (on any other broker) tells the [`Cluster`] who leads; a broker that nobody told
//! asks the voters. A call finds the controller in this process or at the other end of a persistent connection, and tries again until its
//! deadline while there is none, or while the node it asked says that it is not the one (any more).

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use jackdaw_protocol::messages::{
    AllocateProducerIdsRequest, AlterPartitionRequest, BrokerHeartbeatRequest, BrokerRegistrationRequest,
    CreateTopicsRequest, DescribeClusterRequest, EnvelopeRequest, Message, Request, ResponseError,
    UnregisterBrokerRequest,
};
use parking_lot::Mutex;

use crate::api;
use crate::broker::Broker;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::config::quorum::host_and_port;
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

/// Where the active controller is, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Active {
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
    cluster: Arc<Cluster>,
    /// What a voter said last of who leads, where nobody tells this node.
    found: ArcSwapOption<ControllerNode>,
    peers: Mutex<HashMap<(String, u16), Arc<Peer>>>,
    #[cfg(test)]
    forced: ArcSwapOption<Active>,
}

impl Channel {
    /// Has no connection yet.
    pub fn new(config: Arc<ArcSwap<Config>>, cluster: Arc<Cluster>) -> Channel {
        Channel {
            config,
            cluster,
            found: ArcSwapOption::empty(),
            peers: Mutex::default(),
            #[cfg(test)]
            forced: ArcSwapOption::empty(),
        }
    }

    /// Who leads, as far as is known here.
    pub fn active(&self) -> Active {
        #[cfg(test)]
        if let Some(forced) = self.forced.load_full() {
            return (*forced).clone();
        }
        if self.cluster.is_active_controller() {
            return Active::Here;
        }
        let elsewhere = self.cluster.active_controller().filter(|known| known.id != self.cluster.node_id());
        let known = elsewhere.and_then(|known| {
            let (host, port) = host_and_port(known.address.as_deref()?)?;
            Some(ControllerNode { id: known.id, host: host.to_owned(), port })
        });
        match known.or_else(|| self.found.load().as_deref().cloned()) {
            Some(node) => Active::At(node),
            None => Active::Unknown,
        }
    }

    /// For tests: who leads, whatever the quorum says.
    #[cfg(test)]
    pub(crate) fn force(&self, active: Active) {
        self.forced.store(Some(Arc::new(active)));
    }

    /// Whether this node decides.
    pub fn is_active(&self) -> bool {
        self.active() == Active::Here
    }

    /// The `node.id` of the active controller, if it is known.
    pub fn controller_id(&self) -> Option<i32> {
        match self.active() {
            Active::Here => Some(self.cluster.node_id()),
            Active::At(node) => Some(node.id),
            Active::Unknown => None,
        }
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
        match self.active() {
            Active::At(node) => Some(self.peer(&node.host, node.port)),
            Active::Here | Active::Unknown => None,
        }
    }

    /// Waits until another controller is heard of, at most for the pause between two attempts.
    async fn rest(&self) {
        let mut changes = self.cluster.leadership();
        changes.mark_unchanged();
        let change = async {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let _ = tokio::time::timeout(RETRY_PAUSE, change).await;
    }

    /// What `call` comes to; `None` once another node leads: the one that was asked may never answer.
    async fn or_elsewhere<T>(&self, asked: &Active, call: impl Future<Output = T>) -> Option<T> {
        let mut changes = self.cluster.leadership();
        let moved = async {
            loop {
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                let now = self.active();
                if now != *asked && now != Active::Unknown {
                    return;
                }
            }
        };
        tokio::select! {
            answer = call => Some(answer),
            () = moved => None,
        }
    }

    /// Asks voters who leads. A voter need not: its quorum tells it. A controller that was taken out of the quorum, or is
    /// not yet in it, is told nothing, and asks.
    async fn ask_voters(&self) {
        self.found.store(None);
        if self.cluster.roles().controller && self.cluster.active_controller().is_some() {
            return;
        }
        let controllers = DescribeClusterRequest::default().with_endpoint_type(api::CONTROLLER_ENDPOINTS);
        for server in self.cluster.bootstrap_servers() {
            let Some((host, port)) = host_and_port(&server) else { continue };
            let answer = self.peer(host, port).call(&controllers, 1, ASK_VOTER).await;
            let Ok(answer) = answer else { continue };
            let active = answer.brokers.iter().find(|node| node.broker_id == answer.controller_id);
            if let Some(node) = active
                && let Ok(port) = u16::try_from(node.port)
            {
                let (id, host) = (node.broker_id.0, node.host.to_string());
                self.found.store(Some(Arc::new(ControllerNode { id, host, port })));
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
        let controller = channel.active();
        let last = match attempt(broker, &controller, request, left).await? {
            Attempt::Answered(response) => return Ok(response),
            Attempt::Again(last) => last,
        };
        if until <= broker.clock.monotonic() {
            return Err(ChannelError::NoController { within, last });
        }
        channel.rest().await;
        if channel.active() == controller {
            let left = until.saturating_sub(broker.clock.monotonic());
            let mut changes = broker.cluster.leadership();
            changes.mark_unchanged();
            // Voters that are dead take long to not answer, and an election may be over before.
            tokio::select! {
                () = channel.ask_voters() => {}
                Ok(()) = changes.changed() => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }
}

enum Attempt<T> {
    Answered(T),
    Again(String),
}

async fn attempt<R: ControllerRequest>(
    broker: &Arc<Broker>,
    controller: &Active,
    request: &R,
    left: Duration,
) -> Result<Attempt<R::Response>, ChannelError> {
    let version = <R as Message>::VERSIONS.max;
    let answer = match controller {
        Active::Unknown => return Ok(Attempt::Again("no controller is known".to_owned())),
        Active::Here => api::here::call(broker, request, version).await.map_err(ChannelError::Here)?,
        Active::At(node) => {
            let peer = broker.channel.peer(&node.host, node.port);
            let answer = broker.channel.or_elsewhere(controller, peer.call(request, version, left)).await;
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
