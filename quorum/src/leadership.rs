//! Who leads, and whether that is us and safe to act on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::error::Fatal;
use openraft::{ChangeMembers, Raft, RaftMetrics, ServerState};
use tokio::sync::watch;

use crate::machine::Machine;
use crate::node::Inner;
use crate::options::Options;
use crate::store::{Peer, TypeConfig};

/// Who leads the quorum, as this node knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader; none while one is sought, or where this node leads and has lost touch with the majority.
    pub leader: Option<u64>,
    /// Grows with every election.
    pub term: u64,
    /// This node leads, a majority heard it within the election timeout, and everything committed before its term is applied:
    /// decisions on the applied state are safe.
    pub ready: bool,
}

/// Follows openraft until it ends.
pub(crate) fn watch(raft: &Raft<TypeConfig>, options: &Options) -> watch::Receiver<Leadership> {
    let (mut metrics, lease) = (raft.metrics(), options.election_timeout);
    let mut judge = Judge { id: options.id, lease, since: None };
    let first = judge.judge(&metrics.borrow_and_update());
    let (sender, receiver) = watch::channel(first);
    tokio::spawn(async move {
        loop {
            let now = match tokio::time::timeout(lease, metrics.changed()).await {
                Ok(Ok(())) => judge.judge(&metrics.borrow_and_update()),
                Ok(Err(_)) => Leadership { leader: None, ready: false, ..*sender.borrow() },
                // openraft is stuck, in a write perhaps: what it said last may no longer hold.
                Err(_) => judge.silent(&metrics.borrow()),
            };
            sender.send_if_modified(|known| std::mem::replace(known, now) != now);
            let fatal = metrics.borrow().running_state.clone().err().filter(|fatal| *fatal != Fatal::Stopped);
            if let Some(error) = fatal {
                tracing::error!(%error, "this node takes no part in the metadata quorum any more");
                return;
            }
            if sender.is_closed() || metrics.has_changed().is_err() {
                sender.send_if_modified(|known| std::mem::take(&mut known.ready));
                return;
            }
        }
    });
    receiver
}

/// Makes what openraft says into what may be relied on.
struct Judge {
    id: u64,
    lease: Duration,
    /// The term we were first seen to lead, and the last entry then: what is to be applied before we are ready.
    since: Option<(u64, Option<u64>)>,
}

impl Judge {
    fn judge(&mut self, metrics: &RaftMetrics<u64, Peer>) -> Leadership {
        let term = metrics.current_term;
        let ended = metrics.running_state.is_err();
        // A leader that was taken out of the quorum leads on until that is committed, and decides nothing any more.
        let votes = metrics.membership_config.voter_ids().any(|id| id == self.id);
        if metrics.state != ServerState::Leader || ended || !votes {
            self.since = None;
            let leader = metrics.current_leader.filter(|leader| *leader != self.id && !ended);
            return Leadership { leader, term, ready: false };
        }
        if self.since.is_none_or(|(since, _)| since != term) {
            self.since = Some((term, metrics.last_log_index));
        }
        let alone = metrics.membership_config.voter_ids().eq([self.id]);
        let lease = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        let heard = alone || metrics.millis_since_quorum_ack.is_some_and(|millis| millis <= lease);
        if !heard {
            return Leadership { leader: None, term, ready: false };
        }
        let first = self.since.and_then(|(_, last)| last);
        let applied = metrics.last_applied;
        let ready = applied.is_some_and(|id| id.leader_id.term == term && Some(id.index) >= first);
        Leadership { leader: Some(self.id), term, ready }
    }

    /// Nothing was heard of openraft for a lease. Whoever is alone is not deposed meanwhile.
    fn silent(&mut self, metrics: &RaftMetrics<u64, Peer>) -> Leadership {
        if metrics.membership_config.voter_ids().eq([self.id]) {
            return self.judge(metrics);
        }
        let leader = metrics.current_leader.filter(|leader| *leader != self.id);
        Leadership { leader, term: metrics.current_term, ready: false }
    }
}

/// Starts an election soon, and again, unless there is another leader by then.
///
/// A voter keeps to its leader for the election timeout, and refuses the others until then; but not once it is a candidate
/// itself. So when all who lost the leader try a few times, one of them finds the others free. The pauses grow: where a vote
/// takes longer than the first ones, candidates would depose each other, and leaders nobody has heard of yet, without end.
pub(crate) fn seek_another<M: Machine>(inner: &Arc<Inner<M>>, lost: u64) {
    if inner.options.id == lost || inner.seeking.swap(true, Ordering::SeqCst) {
        return;
    }
    let (raft, timeout) = (inner.raft.clone(), inner.options.election_timeout);
    let (runtime, inner) = (inner.runtime.clone(), Arc::downgrade(inner));
    runtime.spawn(async move {
        let term = raft.metrics().borrow().current_term;
        let (mut waited, mut patience) = (Duration::ZERO, 1.0);
        while waited < timeout {
            let pause = timeout.mul_f64(patience * rand::random_range(0.02..0.1));
            patience *= 1.5;
            waited += pause;
            tokio::time::sleep(pause).await;
            let metrics = raft.metrics().borrow().clone();
            let found = metrics.current_leader.is_some_and(|leader| leader != lost || metrics.current_term > term);
            if found || raft.trigger().elect().await.is_err() {
                break;
            }
        }
        if let Some(inner) = inner.upgrade() {
            inner.seeking.store(false, Ordering::SeqCst);
        }
    });
}

/// As long as this node leads, brings to its end what an earlier leader left half-way, and writes into the log where the
/// members are and which directories they have: until all know that, a member that lost its directory may be taken for a new one by those who never heard it.
pub(crate) fn tend<M: Machine>(inner: &Arc<Inner<M>>) {
    let (runtime, mut leadership) = (inner.runtime.clone(), inner.leadership.clone());
    let (inner, pause) = (Arc::downgrade(inner), inner.options.heartbeat);
    runtime.spawn(async move {
        while leadership.wait_for(|now| now.ready).await.is_ok() {
            // The others are heard with the first heartbeats.
            tokio::time::sleep(pause).await;
            let Some(inner) = inner.upgrade() else { return };
            let done = tend_once(&inner).await;
            drop(inner);
            if done && leadership.changed().await.is_err() {
                return;
            }
        }
    });
}

/// Whether there is no more to do.
async fn tend_once<M: Machine>(inner: &Inner<M>) -> bool {
    let _one_at_a_time = inner.changing.lock().await;
    if !inner.is_leader() {
        return false;
    }
    let membership = inner.effective();
    let unlogged = inner.identities.unlogged(&membership, |id, peer| inner.network.address(id, peer));
    let change = if membership.get_joint_config().len() > 1 {
        // Nothing more is asked for than the voters that it was to have.
        ChangeMembers::AddVoterIds(BTreeSet::new())
    } else if unlogged.is_empty() {
        return membership.nodes().all(|(_, peer)| peer.directory.is_some());
    } else {
        ChangeMembers::SetNodes(unlogged)
    };
    if let Err(error) = inner.raft.change_membership(change, true).await {
        tracing::debug!(%error, "the members of the quorum are not tended to yet");
    }
    false
}
