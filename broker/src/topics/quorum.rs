//! This node's part in the metadata quorum: a voter, or one that follows it without a vote.
//!
//! It runs on threads of its own, which nothing else blocks: a leader that is late with its heartbeats is given up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jackdaw_quorum::{Leadership, NoTransport, Observer, Options, ProposeError, Quorum, Transport, Voters};
use parking_lot::Mutex;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

use super::ChangeError;
use super::catalog::Catalog;
use super::machine::{self, MetadataMachine, News, Outcome};
use super::record::Record;
use super::store::StoreError;

/// How long a node alone may take until it leads itself: it has only its own files to read.
const ALONE_PATIENCE: Duration = Duration::from_secs(60);

enum Node {
    Voter(Quorum<MetadataMachine>),
    Observer(Observer<MetadataMachine>),
}

/// How a voter takes part.
pub(crate) struct VoterOptions {
    pub(crate) quorum: Options,
    pub(crate) transport: Arc<dyn Transport>,
}

/// This node's part in the quorum.
pub struct MetadataQuorum {
    node: Node,
    news: Arc<News>,
    handle: Handle,
    threads: Mutex<Option<Threads>>,
    /// This node, on a voter.
    id: u64,
}

/// The threads of the quorum, and of the controller listener.
pub(crate) struct Threads(Option<Runtime>);

impl Threads {
    /// Starts them.
    pub(crate) fn start() -> std::io::Result<Threads> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Ok(Threads(Some(builder.worker_threads(2).thread_name("quorum").enable_all().build()?)))
    }

    /// For tasks that are to run on them.
    pub(crate) fn handle(&self) -> Handle {
        self.0.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Nothing waits for it here: a drop may happen on a thread that must not.
            runtime.shutdown_background();
        }
    }
}

impl MetadataQuorum {
    /// A quorum of one in this directory.
    pub(crate) fn alone(node_id: i32, directory: &Path, cluster_id: &str) -> Result<MetadataQuorum, StoreError> {
        let id = u64::try_from(node_id).unwrap_or_default();
        let voters = Voters::Founding([(id, String::new())].into());
        let quorum = Options::new(id, directory, cluster_id, voters);
        let threads = Threads::start().map_err(StoreError::Thread)?;
        MetadataQuorum::voter(threads, VoterOptions { quorum, transport: Arc::new(NoTransport) })
    }

    /// A voter, or one that waits to be made one.
    pub(crate) fn voter(threads: Threads, options: VoterOptions) -> Result<MetadataQuorum, StoreError> {
        let news: Arc<News> = Arc::default();
        let (id, handle) = (options.quorum.id, threads.handle());
        let machine = MetadataMachine::new(news.clone());
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let founds = matches!(options.quorum.voters, Voters::Founding(_));
        handle.spawn(async move {
            let started = Quorum::start(options.quorum, machine, options.transport).await;
            // The members are in its files by now, and told of a moment later.
            while founds && started.as_ref().is_ok_and(|quorum: &Quorum<_>| quorum.members().is_empty()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let _ = sender.send(started);
        });
        let started = receiver.recv().map_err(|_| StoreError::Stopped)?;
        let node = Node::Voter(started.map_err(|error| StoreError::Quorum(Box::new(error)))?);
        Ok(MetadataQuorum { node, news, handle, threads: Mutex::new(Some(threads)), id })
    }

    /// One that follows.
    pub(crate) fn observer(threads: Threads, cluster_id: &str) -> MetadataQuorum {
        let news: Arc<News> = Arc::default();
        let node = Node::Observer(Observer::new(cluster_id, MetadataMachine::new(news.clone())));
        let handle = threads.handle();
        MetadataQuorum { node, news, handle, threads: Mutex::new(Some(threads)), id: 0 }
    }

    /// The threads that it runs on.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(super) fn news(&self) -> &Arc<News> {
        &self.news
    }

    /// The node of openraft, on a voter.
    pub fn as_voter(&self) -> Option<&Quorum<MetadataMachine>> {
        match &self.node {
            Node::Voter(quorum) => Some(quorum),
            Node::Observer(_) => None,
        }
    }

    /// The observer, on a broker that is no voter.
    pub fn as_observer(&self) -> Option<&Observer<MetadataMachine>> {
        match &self.node {
            Node::Voter(_) => None,
            Node::Observer(observer) => Some(observer),
        }
    }

    /// The state as of now. Whoever keeps it makes the next change copy all of it.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.look(MetadataMachine::catalog)
    }

    /// The version of the metadata that this node has applied.
    pub fn version(&self) -> u64 {
        self.look(|machine| machine.catalog().image().version)
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&MetadataMachine) -> T) -> T {
        match &self.node {
            Node::Voter(quorum) => quorum.read(look),
            Node::Observer(observer) => observer.read(look),
        }
    }

    /// Who leads.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        match &self.node {
            Node::Voter(quorum) => quorum.leadership(),
            Node::Observer(observer) => observer.leadership(),
        }
    }

    /// Whether decisions on the state as of now are safe here.
    pub(super) fn check_active(&self) -> Result<(), ChangeError> {
        let leadership = *self.leadership().borrow();
        if leadership.ready || self.is_alone() {
            return Ok(());
        }
        Err(ChangeError::NotController { leader: leadership.leader.and_then(|id| i32::try_from(id).ok()) })
    }

    /// Answers a request of another node's part in the quorum.
    pub async fn answer(&self, request: Bytes) -> Option<Bytes> {
        match &self.node {
            Node::Voter(quorum) => Some(quorum.handle(request).await),
            Node::Observer(_) => None,
        }
    }

    /// Has the records carried out on version `base`, all or none; the version afterwards. Not from a thread of the quorum.
    pub(super) fn propose(&self, base: u64, records: &[Record]) -> Result<u64, ChangeError> {
        let Node::Voter(quorum) = &self.node else {
            let leader = self.leadership().borrow().leader.and_then(|id| i32::try_from(id).ok());
            return Err(ChangeError::NotController { leader });
        };
        let reply = quorum.propose_blocking(machine::command(base, records)).map_err(|error| match error {
            ProposeError::NotLeader { leader } => {
                ChangeError::NotController { leader: leader.and_then(|id| i32::try_from(id).ok()) }
            }
            error => ChangeError::Storage(StoreError::Propose(error)),
        })?;
        match machine::outcome(&reply) {
            Outcome::Applied(version) => Ok(version),
            // Somebody else decided meanwhile, so this node had not been the one to do so.
            Outcome::Stale(_) => Err(ChangeError::NotController { leader: None }),
            Outcome::Refused(reason) => Err(ChangeError::Storage(StoreError::Refused(reason))),
        }
    }

    /// On a node alone, waits until its own state is whole.
    pub(super) fn wait_alone(&self) -> Result<(), StoreError> {
        if !self.is_alone() {
            return Ok(());
        }
        let mut leadership = self.leadership();
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.handle.spawn(async move {
            let ready = tokio::time::timeout(ALONE_PATIENCE, leadership.wait_for(|now| now.ready)).await;
            let _ = sender.send(matches!(ready, Ok(Ok(_))));
        });
        if receiver.recv() == Ok(true) { Ok(()) } else { Err(StoreError::NoLeader { within: ALONE_PATIENCE }) }
    }

    /// Whether this node is the only voter.
    pub fn is_alone(&self) -> bool {
        self.as_voter().is_some_and(|quorum| {
            let members = quorum.members();
            members.len() == 1 && members.get(&self.id).is_some_and(|member| member.voter)
        })
    }

    /// Whether this node is a controller that no quorum has taken in yet.
    pub fn is_stranger(&self) -> bool {
        self.as_voter().is_some_and(|quorum| !quorum.members().contains_key(&self.id))
    }

    /// The voters with their controller listeners, as far as this node knows.
    pub fn voters(&self) -> BTreeMap<i32, String> {
        let voters: BTreeMap<u64, String> = match &self.node {
            Node::Voter(quorum) => {
                let members = quorum.members().into_iter().filter(|(_, member)| member.voter);
                members.map(|(id, member)| (id, member.address)).collect()
            }
            Node::Observer(observer) => observer.voters(),
        };
        voters.into_iter().filter_map(|(id, address)| Some((i32::try_from(id).ok()?, address))).collect()
    }

    /// Ends this node's part; what was asked for is on the disk afterwards.
    pub(super) fn stop(&self) {
        self.news.close();
        if let Node::Voter(quorum) = &self.node {
            let (sender, receiver) = std::sync::mpsc::sync_channel::<()>(1);
            let quorum = quorum.clone();
            self.handle.spawn(async move {
                quorum.compact_before_stop().await;
                quorum.shutdown().await;
                drop(sender);
            });
            // Ends with an error, when the sender is dropped.
            let _ = receiver.recv();
        }
        drop(self.threads.lock().take());
    }
}

/// The folder of the quorum's files in a log directory.
pub(super) fn folder(dir: &Path) -> PathBuf {
    dir.join("quorum")
}
