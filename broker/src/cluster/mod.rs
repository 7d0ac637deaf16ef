//! The cluster as this node sees it: who it is, what it is part of, who the controllers are and which of them decides.

pub mod channel;
pub mod creation;
pub mod fit;
pub mod lifecycle;
pub mod members;
pub(crate) mod node;
pub mod producer_ids;

use std::collections::BTreeMap;
use std::sync::Arc;

use jackdaw_quorum::Leadership;
use tokio::sync::watch;

use crate::config::{Config, Roles};
use crate::topics::MetadataQuorum;

/// A controller, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Its `node.id`.
    pub id: i32,
    /// Its controller listener, `host:port`; none where it has none, as a node alone.
    pub address: Option<String>,
}

/// This node's place in the cluster.
pub struct Cluster {
    node_id: i32,
    roles: Roles,
    voters: BTreeMap<i32, String>,
    bootstrap: Vec<String>,
    quorum: Arc<MetadataQuorum>,
    leadership: watch::Receiver<Leadership>,
}

impl Cluster {
    /// A node of the configured roles, with its part in the quorum.
    pub(crate) fn new(config: &Config, quorum: Arc<MetadataQuorum>) -> Cluster {
        let voters = config.controller_quorum_voters.iter().map(|voter| (voter.id, voter.address.clone()));
        Cluster {
            node_id: config.node_id,
            roles: config.process_roles,
            voters: voters.collect(),
            bootstrap: config.controller_quorum_bootstrap_servers.clone(),
            leadership: quorum.leadership(),
            quorum,
        }
    }

    /// This node's `node.id`.
    pub fn node_id(&self) -> i32 {
        self.node_id
    }

    /// `process.roles`.
    pub fn roles(&self) -> Roles {
        self.roles
    }

    /// The voters that are known, with their controller listeners (`host:port`).
    pub fn voters(&self) -> BTreeMap<i32, String> {
        let known = self.quorum.voters();
        if known.is_empty() { self.voters.clone() } else { known }
    }

    /// Where to ask while no controller is known: `controller.quorum.bootstrap.servers`, and the voters.
    pub fn bootstrap_servers(&self) -> Vec<String> {
        let voters = self.voters().into_values().filter(|address| !self.bootstrap.contains(address));
        self.bootstrap.iter().cloned().chain(voters).collect()
    }

    /// Whether no other node is known: a quorum of one.
    pub fn is_alone(&self) -> bool {
        self.bootstrap.is_empty() && self.quorum.is_alone()
    }

    /// This node's part in the quorum.
    pub fn quorum(&self) -> &Arc<MetadataQuorum> {
        &self.quorum
    }

    /// Whether this node decides, and everything committed before its leadership is applied here.
    pub fn is_active_controller(&self) -> bool {
        let leadership = self.leadership.borrow();
        leadership.ready && leadership.leader == u64::try_from(self.node_id).ok()
    }

    /// Who decides; none while that is being found out.
    pub fn active_controller(&self) -> Option<Controller> {
        let id = i32::try_from(self.leadership.borrow().leader?).ok()?;
        Some(Controller { id, address: self.voters().remove(&id) })
    }

    /// Tells of every change of who decides.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
