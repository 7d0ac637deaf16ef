//! Who belongs to the quorum, how far each is, and how that changes: one member at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::ClientWriteResponse;
use openraft::{ChangeMembers, Raft};
use thiserror::Error;

use crate::identity::DirectoryId;
use crate::machine::Machine;
use crate::node::Quorum;
use crate::store::{Peer, TypeConfig};
use crate::transport::Target;

/// Why the membership was not changed, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MembershipError {
    /// Another node leads, or none does.
    #[error("this node does not lead the metadata quorum")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<u64>,
    },
    /// No majority confirmed it in time: it may be carried out yet.
    #[error("no majority of the metadata quorum answered within {} ms: the change may be carried out yet", within.as_millis())]
    TimedOut {
        /// How long was waited.
        within: Duration,
    },
    /// Another change is under way.
    #[error("another change of the voters is under way: try again")]
    Busy,
    /// It is a member already.
    #[error("node {id} is a member of the quorum already, at {address}")]
    Known {
        /// Which.
        id: u64,
        /// Where.
        address: String,
    },
    /// It is no member.
    #[error("node {id} is no member of the quorum")]
    Unknown {
        /// Which.
        id: u64,
    },
    /// The last voter stays.
    #[error("node {id} is the only voter: add another one first")]
    LastVoter {
        /// Which.
        id: u64,
    },
    /// Whoever is at the address is not who it should be.
    #[error("the node at {address} cannot be added: {why}")]
    NotThere {
        /// Where.
        address: String,
        /// Why.
        why: String,
    },
    /// This node's part in the quorum has ended.
    #[error("this node takes no part in the metadata quorum any more: {0}")]
    Fatal(String),
}

/// A member, as the quorum's log names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its controller listener.
    pub address: String,
    /// The id of its directory, where known.
    pub directory: Option<DirectoryId>,
    /// Whether it votes; else it learns.
    pub voter: bool,
}

/// How far a member is, as the leader knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Who it is.
    pub member: Member,
    /// The last entry that is known to be on its disk; none where this node does not lead.
    pub matched: Option<u64>,
    /// How long ago it last answered this leader; none for the leader itself, or when it never did.
    pub since_contact: Option<Duration>,
    /// Why it is of no use though it answers, for example because it lost its directory.
    pub refused: Option<String>,
}

/// The state of the quorum, for `DescribeQuorum`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Who leads.
    pub leader: Option<u64>,
    /// The term.
    pub term: u64,
    /// The last entry that this node has applied: everything up to it is committed.
    pub high_watermark: u64,
    /// Whether a change of the voters is under way, so that majorities of the old and the new ones are needed.
    pub changing: bool,
    /// All members.
    pub members: BTreeMap<u64, MemberStatus>,
}

type Changed = Result<ClientWriteResponse<TypeConfig>, RaftError<u64, ClientWriteError<u64, Peer>>>;

impl<M: Machine> Quorum<M> {
    /// All members, as this node knows them.
    pub fn members(&self) -> BTreeMap<u64, Member> {
        let membership = self.inner.effective();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let member = |(id, peer): (&u64, &Peer)| {
            let (address, directory) = (self.inner.network.address(*id, peer), peer.directory);
            (*id, Member { address, directory, voter: voters.contains(id) })
        };
        membership.nodes().map(member).collect()
    }

    /// The state of the quorum; how far the others are is known to the leader only.
    pub fn status(&self) -> Status {
        let leadership = *self.inner.leadership.borrow();
        let metrics = self.inner.raft.metrics().borrow().clone();
        let replication = metrics.replication.unwrap_or_default();
        let leads = !replication.is_empty();
        let status = |(id, member)| {
            let matched = replication.get(&id).copied().flatten().map(|id| id.index);
            let since_contact = self.inner.network.since_contact(id).filter(|_| leads && id != self.inner.options.id);
            let refused = self.inner.network.refused(id);
            (id, MemberStatus { member, matched, since_contact, refused })
        };
        Status {
            leader: leadership.leader,
            term: leadership.term,
            changing: metrics.membership_config.membership().get_joint_config().len() > 1,
            high_watermark: self.inner.machine.applied().borrow().index,
            members: self.members().into_iter().map(status).collect(),
        }
    }

    /// Adds a member that does not vote yet, and waits until it has everything. Whoever is at the address is asked first who it is.
    /// Called again, it waits again.
    pub async fn add_learner(
        &self,
        id: u64,
        address: &str,
        directory: Option<DirectoryId>,
    ) -> Result<(), MembershipError> {
        let address = address.to_owned();
        let not_there = |why: String| MembershipError::NotThere { address: address.clone(), why };
        if let Some(known) = self.members().get(&id).filter(|known| known.voter || known.address != address) {
            return Err(MembershipError::Known { id, address: known.address.clone() });
        }
        let hello = self.inner.network.hello(Target { id, address: address.clone() }).await.map_err(not_there)?;
        if directory.is_some_and(|directory| directory != hello.directory) {
            return Err(not_there(format!("its directory is {}", hello.directory)));
        }
        // One that was taken out still knows the voters of then, itself among them; one that knows only itself decides alone.
        let stranger = |voter: &u64| *voter != id && !self.members().contains_key(voter);
        let elsewhere = hello.voters.iter().any(stranger) || hello.voters.iter().eq([&id]);
        if elsewhere && !hello.voters.is_empty() {
            return Err(not_there(format!("it belongs to a quorum of its own, of nodes {:?}", hello.voters)));
        }
        let peer = Peer { address, directory: Some(hello.directory) };
        self.within(move |raft| async move { raft.add_learner(id, peer, true).await }).await
    }

    /// Lets a learner vote.
    pub async fn promote(&self, id: u64) -> Result<(), MembershipError> {
        match self.members().get(&id) {
            None => Err(MembershipError::Unknown { id }),
            Some(member) if member.voter => Ok(()),
            Some(_) => {
                let change = ChangeMembers::AddVoterIds([id].into());
                self.within(|raft| async move { raft.change_membership(change, true).await }).await
            }
        }
    }

    /// Takes a member, voter or not, out of the quorum. A leader that removes itself steps down.
    pub async fn remove(&self, id: u64) -> Result<(), MembershipError> {
        let members = self.members();
        let voters = members.values().filter(|member| member.voter).count();
        let change = match members.get(&id) {
            None => return Err(MembershipError::Unknown { id }),
            Some(member) if !member.voter => ChangeMembers::RemoveNodes([id].into()),
            Some(_) if voters == 1 => return Err(MembershipError::LastVoter { id }),
            Some(_) => ChangeMembers::RemoveVoters([id].into()),
        };
        self.within(|raft| async move { raft.change_membership(change, false).await }).await
    }

    /// Carries a change out, even when it takes longer than is waited: one left half-way needs two majorities.
    async fn within<F>(&self, change: impl FnOnce(Raft<TypeConfig>) -> F) -> Result<(), MembershipError>
    where
        F: Future<Output = Changed> + Send + 'static,
    {
        let within = self.inner.options.request_timeout;
        let lock = Arc::clone(&self.inner.changing).lock_owned();
        let one_at_a_time = tokio::time::timeout(within, lock).await.map_err(|_| MembershipError::Busy)?;
        if !self.inner.is_leader() {
            return Err(MembershipError::NotLeader { leader: self.inner.leadership.borrow().leader });
        }
        let change = change(self.inner.raft.clone());
        let changed = self.inner.runtime.spawn(async move {
            let _one_at_a_time = one_at_a_time;
            change.await
        });
        let result = match tokio::time::timeout(within, changed).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => return Err(MembershipError::Fatal(error.to_string())),
            Err(_) => return Err(MembershipError::TimedOut { within }),
        };
        match result {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
                Err(MembershipError::NotLeader { leader: to.leader_id })
            }
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => Err(match error {
                ChangeMembershipError::InProgress(_) => MembershipError::Busy,
                ChangeMembershipError::LearnerNotFound(error) => MembershipError::Unknown { id: error.node_id },
                ChangeMembershipError::EmptyMembership(_) => MembershipError::LastVoter { id: self.inner.options.id },
            }),
            Err(RaftError::Fatal(error)) => Err(MembershipError::Fatal(error.to_string())),
        }
    }
}
