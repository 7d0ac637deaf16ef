//! A broker that does not vote follows what the voters committed: it asks one of them again and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::watch;

use crate::leadership::Leadership;
use crate::machine::{At, Machine};
use crate::wire::{self, Answer, Ask, News, Piece, Pull, Refusal, Request, Response, Route, WireError};

/// Why an answer could not be taken.
#[derive(Debug, Error)]
pub enum ObserveError {
    /// The bytes are none of a voter's.
    #[error("the voter's answer cannot be understood: {0}")]
    Wire(#[from] WireError),
    /// The voter said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It does not follow on what is here; nothing was taken.
    #[error("the voter answered with {got}, behind {applied}")]
    Gap {
        /// Where the answer goes on.
        got: u64,
        /// What is applied.
        applied: u64,
    },
    /// The machine cannot make anything of the snapshot.
    #[error("the voter's snapshot cannot be taken: {0}")]
    Snapshot(String),
}

struct State<M> {
    machine: M,
    at: At,
    /// A snapshot that is not whole yet, and its bytes so far.
    partial: Option<(Piece, Vec<u8>)>,
    voters: BTreeMap<u64, String>,
}

/// Follows the quorum without a vote. Clones are the same observer.
pub struct Observer<M> {
    state: Arc<Mutex<State<M>>>,
    cluster_id: Arc<str>,
    applied: watch::Sender<At>,
    leadership: watch::Sender<Leadership>,
}

impl<M> Clone for Observer<M> {
    fn clone(&self) -> Self {
        let (state, cluster_id) = (Arc::clone(&self.state), Arc::clone(&self.cluster_id));
        Observer { state, cluster_id, applied: self.applied.clone(), leadership: self.leadership.clone() }
    }
}

impl<M: Machine> Observer<M> {
    /// An observer that knows nothing yet.
    pub fn new(cluster_id: &str, machine: M) -> Observer<M> {
        let state = State { machine, at: At::default(), partial: None, voters: BTreeMap::new() };
        Observer {
            state: Arc::new(Mutex::new(state)),
            cluster_id: cluster_id.into(),
            applied: watch::Sender::new(At::default()),
            leadership: watch::Sender::new(Leadership::default()),
        }
    }

    /// The bytes to give to [`Quorum::handle`](crate::Quorum::handle) of any voter. It answers when there is news, or after `wait`.
    pub fn request(&self, max_bytes: u64, wait: Duration) -> Bytes {
        let state = self.state.lock();
        let partial = state.partial.as_ref().map(|(of, bytes)| (*of, bytes.len() as u64));
        let known = *self.leadership.borrow();
        let known = (known.leader, known.term);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let pull = Pull { after: state.at, max_bytes, wait_ms, partial, known };
        let route = Route { cluster: self.cluster_id.to_string(), from: None, to: None, named: None };
        wire::encode(&Request { route, ask: Ask::Pull(pull) }, &[])
    }

    /// Takes a voter's answer. Whether it brought anything; if not, ask again.
    pub fn take(&self, answer: &Bytes) -> Result<bool, ObserveError> {
        let (response, body) = wire::decode::<Response>(answer)?;
        let pulled = match response.answer {
            Answer::Pulled(pulled) => pulled,
            Answer::Refused(refusal) => return Err(refusal.into()),
            _ => return Err(WireError::Malformed("an answer to something else".to_owned()).into()),
        };
        let leadership = pulled.leadership();
        let mut state = self.state.lock();
        let before = state.at;
        match pulled.news {
            News::Commands { commands, upto } => state.follow(commands, upto)?,
            News::Snapshot { of, offset } => state.piece(of, offset, &body)?,
        }
        state.voters = pulled.voters;
        let at = state.at;
        drop(state);
        // An answer of an older term is of a voter that knows less.
        self.leadership.send_if_modified(|known| {
            let newer = leadership.term >= known.term && leadership != *known;
            if newer {
                *known = leadership;
            }
            newer
        });
        self.applied.send_if_modified(|known| std::mem::replace(known, at) != at);
        Ok(at != before)
    }

    /// Looks at the application's machine, between two commands.
    pub fn read<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        look(&self.state.lock().machine)
    }

    /// The last entry that is applied here.
    pub fn applied(&self) -> watch::Receiver<At> {
        self.applied.subscribe()
    }

    /// Who leads, as the voter that was asked last knows it.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    /// The voters and their controller listeners, as last heard; empty before the first answer.
    pub fn voters(&self) -> BTreeMap<u64, String> {
        self.state.lock().voters.clone()
    }
}

impl<M: Machine> State<M> {
    fn follow(&mut self, commands: Vec<(At, crate::store::Command)>, upto: At) -> Result<(), ObserveError> {
        let applied = self.at;
        let in_order = commands.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let first = commands.first().map_or(upto, |(at, _)| *at);
        let last = commands.last().map_or(upto, |(at, _)| *at);
        if !in_order || last > upto || upto < applied || (!commands.is_empty() && first.index <= applied.index) {
            return Err(ObserveError::Gap { got: first.index, applied: applied.index });
        }
        for (at, command) in commands {
            self.machine.apply(at, command);
        }
        self.at = upto;
        self.partial = None;
        Ok(())
    }

    fn piece(&mut self, of: Piece, offset: u64, body: &[u8]) -> Result<(), ObserveError> {
        let gap = ObserveError::Gap { got: of.at.index, applied: self.at.index };
        if of.at <= self.at {
            return Err(gap);
        }
        let mut bytes = match self.partial.take() {
            Some((known, bytes)) if known == of && offset > 0 => bytes,
            _ => Vec::new(),
        };
        if offset != bytes.len() as u64 {
            return Err(gap);
        }
        bytes.extend_from_slice(body);
        if (bytes.len() as u64) < of.total {
            self.partial = Some((of, bytes));
            return Ok(());
        }
        if wire::checksum(&bytes) != of.crc {
            return Err(ObserveError::Snapshot("it is not what was sent".to_owned()));
        }
        self.machine.restore(&bytes).map_err(ObserveError::Snapshot)?;
        self.at = of.at;
        Ok(())
    }
}
