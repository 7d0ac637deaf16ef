//! Pure: a follower's side of a fetch session (KIP-227): all partitions once, then what changed.

use std::collections::HashMap;
use std::hash::Hash;

use crate::fetch::session::{INITIAL_EPOCH, NO_SESSION, Params};

/// What goes into one request.
#[derive(Debug, PartialEq, Eq)]
pub struct Ask<K> {
    /// The session's id; 0 asks for a new one.
    pub session_id: i32,
    /// Its epoch.
    pub session_epoch: i32,
    /// What the leader does not know yet.
    pub partitions: Vec<(K, Params)>,
    /// What it shall not answer any more.
    pub forgotten: Vec<K>,
}

/// One session with one leader.
#[derive(Debug)]
pub struct FetchSession<K> {
    id: i32,
    epoch: i32,
    known: HashMap<K, Params>,
}

impl<K> Default for FetchSession<K> {
    fn default() -> Self {
        FetchSession { id: NO_SESSION, epoch: INITIAL_EPOCH, known: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash> FetchSession<K> {
    /// The request for what is wanted now. One of its answers must come, or the session be forgotten.
    pub fn ask(&mut self, wanted: &HashMap<K, Params>) -> Ask<K> {
        let forgotten: Vec<K> = match self.id {
            NO_SESSION => Vec::new(),
            _ => self.known.keys().filter(|key| !wanted.contains_key(key)).copied().collect(),
        };
        let is_new = |key: &K, params: &Params| self.id == NO_SESSION || self.known.get(key) != Some(params);
        let partitions = wanted.iter().filter(|(key, params)| is_new(key, params));
        let partitions = partitions.map(|(key, params)| (*key, *params)).collect();
        self.known.clone_from(wanted);
        Ask { session_id: self.id, session_epoch: self.epoch, partitions, forgotten }
    }

    /// The answer came, under this session id.
    pub fn answered(&mut self, session_id: i32) {
        if session_id == NO_SESSION {
            self.forget();
            return;
        }
        self.id = session_id;
        self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
    }

    /// The session is lost, or nobody knows what the leader knows.
    pub fn forget(&mut self) {
        *self = FetchSession::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(fetch_offset: i64) -> Params {
        Params { fetch_offset, log_start_offset: 0, max_bytes: 1, current_leader_epoch: 0, last_fetched_epoch: 0 }
    }

    #[test]
    fn only_what_changed_is_sent_once_there_is_a_session() {
        let mut session = FetchSession::default();
        let mut wanted = HashMap::from([(1, params(0)), (2, params(0))]);
        let first = session.ask(&wanted);
        assert_eq!((first.session_id, first.session_epoch, first.partitions.len()), (0, 0, 2));
        session.answered(77);
        wanted.insert(1, params(5));
        let second = session.ask(&wanted);
        assert_eq!((second.session_id, second.session_epoch), (77, 1));
        assert_eq!((second.partitions, second.forgotten), (vec![(1, params(5))], vec![]));
        session.answered(77);
        wanted.remove(&2);
        let third = session.ask(&wanted);
        assert_eq!((third.session_epoch, third.partitions, third.forgotten), (2, vec![], vec![2]));
    }

    #[test]
    fn a_session_that_is_lost_or_not_given_begins_with_everything() {
        let mut session = FetchSession::default();
        let wanted = HashMap::from([(1, params(0))]);
        session.ask(&wanted);
        session.answered(NO_SESSION);
        assert_eq!(session.ask(&wanted).partitions.len(), 1);
        session.answered(5);
        session.ask(&wanted);
        session.forget();
        let again = session.ask(&wanted);
        assert_eq!((again.session_id, again.session_epoch, again.partitions.len()), (0, 0, 1));
    }
}
