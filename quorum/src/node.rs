//! One node of the quorum.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{Membership, Raft, ServerState};
use thiserror::Error;
use tokio::sync::watch;

use crate::compact;
use crate::disk::Disk;
use crate::identity::{self, Identities};
use crate::journal::Directory;
use crate::leadership::{self, Leadership};
use crate::machine::{At, Machine, StateMachine};
use crate::network::Network;
use crate::options::{Options, StartError, Voters};
use crate::serve::Receiving;
use crate::store::{Command, Peer, Reply, Store, TypeConfig};
use crate::transport::Transport;

/// Why a proposal was not carried out, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// Another node leads, or none does. Nothing was changed.
    #[error("this node does not lead the metadata quorum{}", leader.map_or_else(String::new, |leader| format!(": node {leader} does")))]
    NotLeader {
        /// Who leads, if known.
        leader: Option<u64>,
    },
    /// This node led when it was asked, and was deposed before a majority confirmed: it may be carried out yet.
    #[error("this node was deposed as leader of the metadata quorum meanwhile: the change may be carried out yet")]
    Deposed {
        /// Who leads now, if known.
        leader: Option<u64>,
    },
    /// No majority confirmed it in time: it may be carried out yet.
    #[error("no majority of the metadata quorum answered within {} ms: the change may be carried out yet", within.as_millis())]
    TimedOut {
        /// How long was waited.
        within: Duration,
    },
    /// It is larger than a member takes. Nothing was changed.
    #[error("a change of {bytes} bytes is larger than {limit}: make it in several steps")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// What is taken.
        limit: usize,
    },
    /// This node's part in the quorum has ended: a write failed, or it was shut down.
    #[error("this node takes no part in the metadata quorum any more: {0}")]
    Fatal(String),
}

/// The largest command. As JSON within JSON it may be several times as long, and has to fit into a message then.
pub const COMMAND_MAX: usize = 10 << 20;

/// A running node of the quorum. Clones are the same node.
pub struct Quorum<M: Machine> {
    pub(crate) inner: Arc<Inner<M>>,
}

impl<M: Machine> Clone for Quorum<M> {
    fn clone(&self) -> Self {
        Quorum { inner: Arc::clone(&self.inner) }
    }
}

pub(crate) struct Inner<M: Machine> {
    pub(crate) options: Options,
    pub(crate) raft: Raft<TypeConfig>,
    pub(crate) machine: StateMachine<M>,
    pub(crate) store: Store,
    pub(crate) identities: Arc<Identities>,
    pub(crate) network: Network,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) runtime: tokio::runtime::Handle,
    /// A snapshot of which a part has come.
    pub(crate) receiving: tokio::sync::Mutex<Option<Receiving>>,
    /// Held while the membership changes.
    pub(crate) changing: Arc<tokio::sync::Mutex<()>>,
    /// Whether another leader is being sought.
    pub(crate) seeking: AtomicBool,
}

impl<M: Machine> Inner<M> {
    /// Whether this node leads and is one of the voters. openraft takes changes of the membership from a leader that has just been
    /// taken out, too, and is not made for it.
    pub(crate) fn is_leader(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let votes = metrics.membership_config.voter_ids().any(|id| id == self.options.id);
        metrics.state == ServerState::Leader && votes
    }

    /// The members, as the log names them, committed or not.
    pub(crate) fn effective(&self) -> Membership<u64, Peer> {
        self.raft.metrics().borrow().membership_config.membership().clone()
    }
}

impl<M: Machine> Quorum<M> {
    /// Opens the files in the directory and takes part in the quorum, on the current tokio runtime. It should be one that
    /// nothing blocks, since a leader that is late with its heartbeats is given up.
    ///
    /// # Errors
    /// The files cannot be read, or belong elsewhere. Nothing on the disk has been changed then.
    pub async fn start(options: Options, machine: M, transport: Arc<dyn Transport>) -> Result<Quorum<M>, StartError> {
        let disk = Directory::open(&options.directory);
        let disk = disk.map_err(|error| StartError::Io { path: options.directory.clone(), error })?;
        Quorum::start_on(Arc::new(disk), options, machine, transport).await
    }

    /// The same on a disk of a simulation.
    pub async fn start_on(
        disk: Arc<dyn Disk>,
        options: Options,
        machine: M,
        transport: Arc<dyn Transport>,
    ) -> Result<Quorum<M>, StartError> {
        let config = Arc::new(options.config()?);
        identity::check_options(&options)?;
        let identities = Identities::load(&disk, &options)?;
        let store = Store::on(&disk)?;
        let machine = StateMachine::on(Arc::clone(&disk), machine)
            .map_err(|error| StartError::Io { path: PathBuf::from(disk.name()), error })?;
        let membership = store.last_membership().unwrap_or_else(|| machine.membership());
        let founders = identities.as_ref().and_then(Identities::founders);
        identity::check_voters(&options, founders.as_ref(), &membership)?;
        let identities = match identities {
            Some(identities) => identities,
            None if !store.is_fresh() => return Err(StartError::NoIdentity { path: PathBuf::from(disk.name()) }),
            None => Identities::make(&disk, &options)?,
        };
        let identities = Arc::new(identities);
        let network = Network::new(&options, &identities, transport);
        let fatal = |error: &dyn std::fmt::Display| StartError::Raft { error: error.to_string() };
        let raft = Raft::new(options.id, config, network.clone(), store.clone(), machine.clone());
        let raft = raft.await.map_err(|error| fatal(&error))?;
        let (own, metrics) = (identities.own(), raft.metrics());
        network.tell_where_named(move || identity::named_at(&metrics.borrow().membership_config, own));
        if let Voters::Founding(voters) = &options.voters
            && !raft.is_initialized().await.map_err(|error| fatal(&error))?
        {
            let peer = |address: &String| Peer { address: address.clone(), directory: None };
            let founders: BTreeMap<u64, Peer> = voters.iter().map(|(id, address)| (*id, peer(address))).collect();
            raft.initialize(founders).await.map_err(|error| fatal(&error))?;
        }
        let watched = leadership::watch(&raft, &options);
        let inner = Inner {
            options,
            raft,
            machine,
            store,
            identities,
            network,
            leadership: watched,
            runtime: tokio::runtime::Handle::current(),
            receiving: tokio::sync::Mutex::default(),
            changing: Arc::default(),
            seeking: AtomicBool::new(false),
        };
        let inner = Arc::new(inner);
        leadership::tend(&inner);
        compact::as_it_grows(&inner);
        Ok(Quorum { inner })
    }

    /// Proposes a command, and waits until it is applied here. Only a leader that is ready takes one.
    pub async fn propose(&self, command: Command) -> Result<Reply, ProposeError> {
        let bytes = command.0.len();
        if bytes > COMMAND_MAX {
            return Err(ProposeError::TooLarge { bytes, limit: COMMAND_MAX });
        }
        let leadership = *self.inner.leadership.borrow();
        if let Err(fatal) = &self.inner.raft.metrics().borrow().running_state {
            return Err(ProposeError::Fatal(fatal.to_string()));
        }
        if !leadership.ready {
            return Err(ProposeError::NotLeader { leader: leadership.leader });
        }
        let within = self.inner.options.request_timeout;
        match tokio::time::timeout(within, self.inner.raft.client_write(command)).await {
            Ok(Ok(written)) => Ok(written.data),
            // openraft says so when it never took the entry, and also when another leader replaced it in this node's log: yet
            // another one may still have it.
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                Err(ProposeError::Deposed { leader: to.leader_id.filter(|leader| *leader != self.inner.options.id) })
            }
            Ok(Err(error)) => Err(ProposeError::Fatal(error.to_string())),
            Err(_) => Err(ProposeError::TimedOut { within }),
        }
    }

    /// [`Quorum::propose`] for a thread that is none of the quorum's runtime.
    pub fn propose_blocking(&self, command: Command) -> Result<Reply, ProposeError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let quorum = self.clone();
        // Nobody may wait any more; that is not our matter.
        self.inner.runtime.spawn(async move { drop(sender.send(quorum.propose(command).await)) });
        receiver.recv().unwrap_or_else(|_| Err(ProposeError::Fatal("its runtime has ended".to_owned())))
    }

    /// Who leads, and whether decisions here are safe.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Looks at the application's machine, between two commands.
    pub fn read<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        self.inner.machine.read(look)
    }

    /// The last entry that is applied here. It changes after what was applied can be read.
    pub fn applied(&self) -> watch::Receiver<At> {
        self.inner.machine.applied()
    }

    /// Answers a request of another node, as its [`Transport`] brought it. The bytes are not trusted: what cannot be understood
    /// is answered so.
    pub async fn handle(&self, request: Bytes) -> Bytes {
        crate::serve::handle(&self.inner, request).await
    }

    /// The connection to the leader closed and cannot be made again: seek another one soon, rather than after the election timeout.
    pub fn leader_connection_lost(&self, leader: u64) {
        leadership::seek_another(&self.inner, leader);
    }

    /// Waits until this node's part in the quorum ends, and says why: a failed write, or [`Quorum::shutdown`]. A node that had a vote
    /// should not go on without it.
    pub async fn ended(&self) -> String {
        let mut metrics = self.inner.raft.metrics();
        let ended = metrics.wait_for(|now| now.running_state.is_err()).await;
        let fatal = ended.ok().and_then(|now| now.running_state.clone().err());
        fatal.map_or_else(|| "it was stopped".to_owned(), |fatal| fatal.to_string())
    }

    /// Ends this node's part in the quorum; what was asked for is on the disk afterwards.
    pub async fn shutdown(&self) {
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(%error, "the metadata quorum did not end in order");
        }
    }
}
