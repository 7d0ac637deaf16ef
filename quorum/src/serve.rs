//! What a node answers to others.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::raft::AppendEntriesRequest;
use openraft::{Snapshot, SnapshotMeta, Vote};

use crate::machine::{At, Machine};
use crate::node::Inner;
use crate::store::{Peer, TypeConfig};
use crate::wire::{self, Answer, Ask, Hello, News, Piece, Pull, Pulled, Refusal, Request, Response, Route};

/// The largest snapshot that is taken.
const SNAPSHOT_MAX: u64 = 1 << 30;
/// The longest that an observer is kept waiting.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The most bytes of commands, or of a snapshot, that an observer gets at once.
const PULL_MAX: u64 = 4 << 20;

/// A snapshot of which a part has come.
pub(crate) struct Receiving {
    vote: Vote<u64>,
    meta: SnapshotMeta<u64, Peer>,
    bytes: Vec<u8>,
}

pub(crate) async fn handle<M: Machine>(inner: &Arc<Inner<M>>, request: Bytes) -> Bytes {
    let (answer, body) = match answer(inner, &request).await {
        Ok(answered) => answered,
        Err(refusal) => {
            tracing::debug!(error = %refusal, "a request of the metadata quorum is refused");
            (Answer::Refused(refusal), Bytes::new())
        }
    };
    wire::encode(&Response { from: inner.identities.own(), answer }, &body)
}

async fn answer<M: Machine>(inner: &Arc<Inner<M>>, request: &Bytes) -> Result<(Answer, Bytes), Refusal> {
    let (request, body): (Request, Bytes) =
        wire::decode(request).map_err(|error| Refusal::NotUnderstood(error.to_string()))?;
    check_route(inner, &request.route, &request.ask)?;
    let ended = |error: &dyn std::fmt::Display| Refusal::Ended(error.to_string());
    let answer = match request.ask {
        Ask::Append(rpc) => {
            check_entries(&rpc)?;
            Answer::Append(inner.raft.append_entries(rpc).await.map_err(|error| ended(&error))?)
        }
        Ask::Vote(rpc) => Answer::Vote(inner.raft.vote(rpc).await.map_err(|error| ended(&error))?),
        Ask::Install { vote, meta, offset, total } => install(inner, vote, meta, (offset, total), &body).await?,
        Ask::Hello => {
            let (id, directory) = inner.identities.own();
            Answer::Hello(Hello { id, directory, voters: inner.effective().voter_ids().collect() })
        }
        Ask::Pull(pull) => return pulled(inner, pull).await,
    };
    Ok((answer, Bytes::new()))
}

fn check_route<M: Machine>(inner: &Inner<M>, route: &Route, ask: &Ask) -> Result<(), Refusal> {
    let own = inner.options.id;
    if route.cluster != inner.options.cluster_id {
        return Err(Refusal::OtherCluster { own: inner.options.cluster_id.clone(), other: route.cluster.clone() });
    }
    if let Some(asked) = route.to.filter(|asked| *asked != own) {
        return Err(Refusal::OtherNode { own, asked });
    }
    let from = match (route.from, ask) {
        (_, Ask::Hello) | (None, Ask::Pull(_)) => return Ok(()),
        (None, _) => return Err(Refusal::NotUnderstood("an observer asks as a member".to_owned())),
        (Some(from), _) => from,
    };
    let known = Arc::clone(&inner.raft.metrics().borrow().membership_config);
    // Whoever is no member here may be one that we have not heard of yet.
    let Some(peer) = known.membership().get_node(&from.0) else { return Ok(()) };
    let believed = inner.identities.believe(peer.directory, from);
    // Our log may be of a time when it had another directory: the asking member's goes further, and names it as it is now. Without
    // that, who is behind would refuse the very leader that brings it the rest.
    let is_older = route.named > known.log_id().as_ref().map(At::of);
    if is_older { Ok(()) } else { believed }
}

/// openraft takes for granted that entries follow each other.
fn check_entries(rpc: &AppendEntriesRequest<TypeConfig>) -> Result<(), Refusal> {
    let first = rpc.prev_log_id.map_or(0, |id| id.index + 1);
    let wrong = rpc.entries.iter().zip(first..).find(|(entry, index)| entry.log_id.index != *index);
    match wrong {
        Some((entry, index)) => {
            Err(Refusal::NotUnderstood(format!("entry {} stands where {index} belongs", entry.log_id.index)))
        }
        None => Ok(()),
    }
}

async fn install<M: Machine>(
    inner: &Inner<M>,
    vote: Vote<u64>,
    meta: SnapshotMeta<u64, Peer>,
    (offset, total): (u64, u64),
    body: &[u8],
) -> Result<Answer, Refusal> {
    if total > SNAPSHOT_MAX {
        return Err(Refusal::NotUnderstood(format!("a snapshot of {total} bytes is larger than {SNAPSHOT_MAX}")));
    }
    let mut receiving = inner.receiving.lock().await;
    let mut now = match receiving.take() {
        Some(now) if offset > 0 && now.vote == vote && now.meta == meta => now,
        _ => Receiving { vote, meta, bytes: Vec::new() },
    };
    let have = now.bytes.len() as u64;
    if offset != have || offset + body.len() as u64 > total {
        // The sender begins anew.
        return Ok(Answer::Install { vote, have: 0 });
    }
    now.bytes.extend_from_slice(body);
    let have = now.bytes.len() as u64;
    if have < total {
        *receiving = Some(now);
        return Ok(Answer::Install { vote, have });
    }
    drop(receiving);
    let snapshot = Snapshot { meta: now.meta, snapshot: Box::new(Cursor::new(now.bytes)) };
    let installed = inner.raft.install_full_snapshot(vote, snapshot).await;
    let installed = installed.map_err(|error| Refusal::Ended(error.to_string()))?;
    Ok(Answer::Install { vote: installed.vote, have })
}

/// Answers an observer when there is news, or it has waited long enough.
async fn pulled<M: Machine>(inner: &Arc<Inner<M>>, pull: Pull) -> Result<(Answer, Bytes), Refusal> {
    let mut applied = inner.machine.applied();
    let mut leadership = inner.leadership.clone();
    let anything = async {
        let more = applied.wait_for(|at| at.index > pull.after.index);
        let other = leadership.wait_for(|now| (now.leader, now.term) != pull.known);
        tokio::select! {
            // Their senders live as long as the node.
            _ = more => (),
            _ = other => (),
        }
    };
    let wait = Duration::from_millis(pull.wait_ms).min(WAIT_MAX);
    // Whichever: the answer is what is known then.
    let _ = tokio::time::timeout(wait, anything).await;
    let upto = *inner.machine.applied().borrow();
    let (news, body) = news(inner, &pull, upto).await?;
    let now = *inner.leadership.borrow();
    let membership = inner.effective();
    let voter = |id| membership.get_node(&id).map(|peer| (id, inner.network.address(id, peer)));
    let voters = membership.voter_ids().filter_map(voter).collect();
    Ok((Answer::Pulled(Pulled { leader: now.leader, term: now.term, voters, news }), body))
}

async fn news<M: Machine>(inner: &Inner<M>, pull: &Pull, upto: At) -> Result<(News, Bytes), Refusal> {
    let after = pull.after;
    if upto.index <= after.index {
        // This voter may be behind the one that was asked before.
        return Ok((News::Commands { commands: Vec::new(), upto: after }, Bytes::new()));
    }
    let max_bytes = pull.max_bytes.min(PULL_MAX);
    if let Some((commands, upto)) = inner.store.commands(after, upto, max_bytes) {
        return Ok((News::Commands { commands, upto }, Bytes::new()));
    }
    let diverged = Refusal::Diverged { index: after.index, term: after.term };
    let loaded = inner.machine.load().await.map_err(|error| Refusal::Ended(error.to_string()))?;
    let kept = loaded.ok_or_else(|| diverged.clone())?;
    let at = kept.meta.last_log_id.as_ref().map(At::of).unwrap_or_default();
    if at.index <= after.index {
        return Err(diverged);
    }
    let of = Piece { at, total: kept.data.len() as u64, crc: wire::checksum(&kept.data) };
    let offset = pull.partial.filter(|(known, have)| *known == of && *have < of.total).map_or(0, |(_, have)| have);
    let begin = usize::try_from(offset).expect("less than the length of bytes in memory");
    let end = kept.data.len().min(begin.saturating_add(usize::try_from(max_bytes).unwrap_or(usize::MAX).max(1)));
    Ok((News::Snapshot { of, offset }, kept.data.slice(begin..end)))
}
