//! openraft's network on the application's transport.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, SnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend, RaftNetwork, RaftNetworkFactory, Snapshot, Vote};

use crate::identity::DirectoryId;
use crate::options::Options;
use crate::store::{Peer, TypeConfig};
use crate::transport::{CallError, Target, Transport};
use crate::wire::{self, Answer, Ask, Request, Route};

/// Bytes of a snapshot that go in one request.
const PIECE: usize = 4 << 20;

/// Makes the connections to the other members.
pub(crate) struct Network {
    cluster: String,
    own: (u64, DirectoryId),
    transport: Arc<dyn Transport>,
    request_timeout: Duration,
    backoff: Duration,
}

impl Network {
    pub(crate) fn new(options: &Options, transport: Arc<dyn Transport>) -> Network {
        Network {
            cluster: options.cluster_id.clone(),
            own: (options.id, DirectoryId(uuid::Uuid::nil())),
            transport,
            request_timeout: options.request_timeout,
            backoff: options.heartbeat,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Line;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Line {
        Line {
            target: Target { id: target, address: node.address.clone() },
            route: Route { cluster: self.cluster.clone(), from: Some(self.own), to: Some(target) },
            transport: Arc::clone(&self.transport),
            request_timeout: self.request_timeout,
            backoff: self.backoff,
        }
    }
}

/// The way to one member.
pub(crate) struct Line {
    target: Target,
    route: Route,
    transport: Arc<dyn Transport>,
    request_timeout: Duration,
    backoff: Duration,
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
    async fn ask(&self, ask: Ask, body: &[u8], deadline: Duration) -> Result<(Answer, Bytes), AskError> {
        let request = wire::encode(&Request { route: self.route.clone(), ask }, body);
        let answer =
            self.transport.call(self.target.clone(), request, deadline).await.map_err(|error| match error {
                CallError::Unreachable(_) => AskError::Unreachable(AnyError::new(&error)),
                CallError::NoAnswer(_) => AskError::NoAnswer(AnyError::new(&error)),
            })?;
        match wire::decode(&answer).map_err(|error| AskError::Unreachable(AnyError::new(&error)))? {
            // It will say the same again.
            (Answer::Refused(refusal), _) => Err(AskError::Unreachable(AnyError::new(&refusal))),
            answer => Ok(answer),
        }
    }
}

impl RaftNetwork<TypeConfig> for Line {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Rpc<RaftError<u64>>> {
        match self.ask(Ask::Append(rpc), &[], option.hard_ttl()).await? {
            (Answer::Append(answer), _) => Ok(answer),
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
            (Answer::Vote(answer), _) => Ok(answer),
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
        Backoff::new(std::iter::repeat(self.backoff))
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
            let have = match self.ask(ask, &bytes[offset..end], self.request_timeout).await? {
                (Answer::Install { vote: higher, .. }, _) if higher > vote => return Ok(SnapshotResponse::new(higher)),
                (Answer::Install { have, .. }, _) => have,
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
