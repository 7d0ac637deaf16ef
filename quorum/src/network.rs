//! openraft's network on the application's transport.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{
    Fatal, NetworkError, PayloadTooLarge, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, SnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend, RaftNetwork, RaftNetworkFactory, Snapshot, Vote};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::identity::{DirectoryId, Identities};
use crate::machine::At;
use crate::options::{Options, Voters};
use crate::store::{Peer, TypeConfig};
use crate::transport::{CallError, Target, Transport};
use crate::wire::{self, Answer, Ask, Hello, Refusal, Request, Response, Route};

/// Bytes of an append above which it is divided.
const APPEND: usize = 8 << 20;
/// Bytes of a snapshot that go in one request.
const PIECE: usize = 4 << 20;

/// Makes the connections to the other members. Clones share what was heard.
#[derive(Clone)]
pub(crate) struct Network {
    cluster: String,
    identities: Arc<Identities>,
    transport: Arc<dyn Transport>,
    /// Addresses of the configuration, which overrule those of the log.
    configured: Arc<BTreeMap<u64, String>>,
    request_timeout: Duration,
    backoff: Duration,
    heard: Arc<Mutex<BTreeMap<u64, Heard>>>,
    /// Where the log names this node with its directory; nobody asks before the node runs.
    named: Arc<OnceLock<WhereNamed>>,
}

type WhereNamed = Box<dyn Fn() -> Option<At> + Send + Sync>;

/// What was last heard of a member.
#[derive(Default)]
struct Heard {
    answered: Option<Instant>,
    /// Why it is of no use, if that was the last.
    refused: Option<String>,
}

impl Network {
    pub(crate) fn new(options: &Options, identities: &Arc<Identities>, transport: Arc<dyn Transport>) -> Network {
        let mut configured = match &options.voters {
            Voters::Founding(voters) => voters.clone(),
            Voters::AsStored => BTreeMap::new(),
        };
        configured.insert(options.id, options.address.clone());
        configured.retain(|_, address| !address.is_empty());
        Network {
            cluster: options.cluster_id.clone(),
            identities: Arc::clone(identities),
            transport,
            configured: Arc::new(configured),
            request_timeout: options.request_timeout,
            backoff: options.heartbeat,
            heard: Arc::default(),
            named: Arc::default(),
        }
    }

    /// From now on others are told where the log names this node as it is.
    pub(crate) fn tell_where_named(&self, named: impl Fn() -> Option<At> + Send + Sync + 'static) {
        let _ = self.named.set(Box::new(named));
    }

    fn route(&self, to: u64, own: (u64, DirectoryId)) -> Route {
        let named = self.named.get().and_then(|named| named());
        Route { cluster: self.cluster.clone(), from: Some(own), to: Some(to), named }
    }

    /// Where a member is reached.
    pub(crate) fn address(&self, id: u64, peer: &Peer) -> String {
        self.configured.get(&id).unwrap_or(&peer.address).clone()
    }

    /// How long ago a member answered.
    pub(crate) fn since_contact(&self, id: u64) -> Option<Duration> {
        self.heard.lock().get(&id)?.answered.as_ref().map(Instant::elapsed)
    }

    /// Why a member that answers is of no use, if it is of none.
    pub(crate) fn refused(&self, id: u64) -> Option<String> {
        self.heard.lock().get(&id)?.refused.clone()
    }

    /// Who is at an address?
    pub(crate) async fn hello(&self, target: Target) -> Result<Hello, String> {
        let own = self.identities.own();
        let route = self.route(target.id, own);
        let request = wire::encode(&Request { route, ask: Ask::Hello }, &[]);
        let answer =
            self.transport.call(target, request, self.request_timeout).await.map_err(|error| error.to_string())?;
        match wire::decode::<Response>(&answer).map_err(|error| error.to_string())?.0.answer {
            Answer::Hello(hello) => Ok(hello),
            Answer::Refused(refusal) => Err(refusal.to_string()),
            _ => Err("it answered something else".to_owned()),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Line;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Line {
        Line {
            target: Target { id: target, address: self.address(target, node) },
            directory: node.directory,
            network: self.clone(),
        }
    }
}

/// The way to one member.
pub(crate) struct Line {
    target: Target,
    /// As the log names it.
    directory: Option<DirectoryId>,
    network: Network,
}

#[expect(clippy::disallowed_methods, reason = "the time of a contact is told to people, and decides nothing")]
fn now() -> Instant {
    Instant::now()
}

type Rpc<E> = RPCError<u64, Peer, E>;

enum AskError {
    Unreachable(AnyError),
    NoAnswer(AnyError),
}

impl<E: std::error::Error> From<AskError> for Rpc<E> {
    fn from(error: AskError) -> Rpc<E> {
        match error {
            AskError::Unreachable(error) => RPCError::Unreachable(Unreachable::new(&error)),
            AskError::NoAnswer(error) => RPCError::Network(NetworkError::new(&error)),
        }
    }
}

impl From<AskError> for StreamingError<TypeConfig, Fatal<u64>> {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Unreachable(error) => StreamingError::Unreachable(Unreachable::new(&error)),
            AskError::NoAnswer(error) => StreamingError::Network(NetworkError::new(&error)),
        }
    }
}

fn misfit() -> AskError {
    AskError::Unreachable(AnyError::error("an answer to something else"))
}

impl Line {
    fn route(&self) -> Route {
        self.network.route(self.target.id, self.network.identities.own())
    }

    async fn ask(&self, ask: Ask, body: &[u8], deadline: Duration) -> Result<Answer, AskError> {
        self.send(wire::encode(&Request { route: self.route(), ask }, body), deadline).await
    }

    async fn send(&self, request: Bytes, deadline: Duration) -> Result<Answer, AskError> {
        let call = self.network.transport.call(self.target.clone(), request, deadline);
        let answer = call.await.map_err(|error| match error {
            CallError::Unreachable(_) => AskError::Unreachable(AnyError::new(&error)),
            CallError::NoAnswer(_) => AskError::NoAnswer(AnyError::new(&error)),
        })?;
        // Whoever answers wrongly will do so again: that is as good as not being there.
        let (response, _): (Response, Bytes) = wire::decode(&answer).map_err(|error| self.refuse(&error))?;
        if let Answer::Refused(refusal) = response.answer {
            return Err(self.refuse(&refusal));
        }
        if response.from.0 != self.target.id {
            let (own, asked) = (response.from.0, self.target.id);
            return Err(self.refuse(&Refusal::OtherNode { own, asked }));
        }
        self.network.identities.believe(self.directory, response.from).map_err(|refusal| self.refuse(&refusal))?;
        self.network.heard.lock().insert(self.target.id, Heard { answered: Some(now()), refused: None });
        Ok(response.answer)
    }

    fn refuse(&self, error: &(impl std::error::Error + 'static)) -> AskError {
        let (node, address, why) = (self.target.id, &self.target.address, error.to_string());
        let mut heard = self.network.heard.lock();
        let heard = heard.entry(node).or_default();
        // It is asked with every heartbeat, and need not be complained of as often.
        if heard.refused.as_ref() != Some(&why) {
            tracing::warn!(node, address, error = why, "a member of the metadata quorum is of no use");
            heard.refused = Some(why);
        }
        AskError::Unreachable(AnyError::new(error))
    }
}

impl RaftNetwork<TypeConfig> for Line {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Rpc<RaftError<u64>>> {
        let entries = rpc.entries.len() as u64;
        let request = wire::encode(&Request { route: self.route(), ask: Ask::Append(rpc) }, &[]);
        if request.len() > APPEND && entries > 1 {
            return Err(PayloadTooLarge::new_entries_hint(entries / 2).into());
        }
        match self.send(request, option.hard_ttl()).await? {
            Answer::Append(answer) => Ok(answer),
            _ => Err(misfit().into()),
        }
    }

    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Rpc<RaftError<u64, openraft::error::InstallSnapshotError>>> {
        // `full_snapshot` below sends all of it.
        Err(misfit().into())
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, Rpc<RaftError<u64>>> {
        match self.ask(Ask::Vote(rpc), &[], option.hard_ttl()).await? {
            Answer::Vote(answer) => Ok(answer),
            _ => Err(misfit().into()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<u64>,
        snapshot: Snapshot<TypeConfig>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot) => sent,
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.network.backoff))
    }
}

impl Line {
    async fn send_snapshot(
        &self,
        vote: Vote<u64>,
        snapshot: Snapshot<TypeConfig>,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        let bytes = snapshot.snapshot.into_inner();
        let total = bytes.len() as u64;
        let mut offset = 0;
        loop {
            let end = bytes.len().min(offset + PIECE);
            let ask = Ask::Install { vote, meta: snapshot.meta.clone(), offset: offset as u64, total };
            let have = match self.ask(ask, &bytes[offset..end], self.network.request_timeout).await? {
                Answer::Install { vote: higher, .. } if higher > vote => return Ok(SnapshotResponse::new(higher)),
                Answer::Install { have, .. } => have,
                _ => return Err(misfit().into()),
            };
            match usize::try_from(have) {
                Ok(have) if have == bytes.len() && end == bytes.len() => return Ok(SnapshotResponse::new(vote)),
                Ok(have) if have == end => offset = end,
                // It was started anew meanwhile, or another leader's came between.
                _ => return Err(AskError::NoAnswer(AnyError::error("the pieces of the snapshot do not add up")).into()),
            }
        }
    }
}
