//! Incremental fetch sessions (KIP-227): a consumer names its partitions once, and from then on only what changes.
//!
//! Pure: time comes in as `now_ms`. The handler's three steps are
//!
//! 1. [`Sessions::begin`] checks the session id and epoch, merges the request into the session, and gives back a
//!    [`Fetch`] whose [`wanted`](Fetch::wanted) lists every partition to read, in the order to serve them.
//! 2. The handler reads (and waits); each partition's result is summed up in an [`Outcome`].
//! 3. [`Sessions::finish`] takes one outcome per wanted partition, in the same order, and says which of them belong in
//!    the response ([`Finished::send`]) and which session id to put there.
//!
//! Rules worth knowing: a session is created by `finish` of a *full* request (epoch 0), so that it starts from what
//! the client was told; an incremental response lists only partitions with records, an error, a new high watermark or
//! log start, a preferred replica or a divergence; partitions that returned records move to the back, so that the
//! front of a long list does not starve the rest under `max_bytes`.
//!
//! Memory is bounded by the number of slots (`max.incremental.fetch.session.cache.slots`) and by
//! [`MAX_CACHED_PARTITIONS`]. A client that gets no session (id 0) goes on with full requests.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

/// Session id of "no session".
pub const NO_SESSION: i32 = 0;
/// Epoch of a full request that asks for a new session.
pub const INITIAL_EPOCH: i32 = 0;
/// Epoch of a full request that wants no session, and closes the one it names.
pub const FINAL_EPOCH: i32 = -1;
/// A session used within this time is not evicted for being idle; one older than this may be evicted by a larger one.
pub const EVICTION_MS: i64 = 120_000;
/// Partitions remembered over all sessions together. Without it a client could park a hundred megabytes of names in
/// each slot. About 130 bytes each.
pub const MAX_CACHED_PARTITIONS: usize = 500_000;

/// How a request names a topic: by id from version 13 on, by name below.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicKey {
    Name(Arc<str>),
    Id(Uuid),
}

/// What a client asks of one partition. Values as on the wire, -1 for "not given".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    pub fetch_offset: i64,
    pub log_start_offset: i64,
    pub max_bytes: i32,
    pub current_leader_epoch: i32,
    pub last_fetched_epoch: i32,
}

/// One partition to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub topic: TopicKey,
    pub partition: i32,
    pub params: Params,
}

/// The session part of a Fetch request.
#[derive(Debug)]
pub struct Request {
    /// 0 below version 7.
    pub session_id: i32,
    /// -1 below version 7.
    pub session_epoch: i32,
    /// Version 13 and above: topics are named by id.
    pub by_topic_id: bool,
    /// A follower's fetch; its session is not evicted for a consumer's.
    pub privileged: bool,
    pub partitions: Vec<Wanted>,
    pub forgotten: Vec<(TopicKey, i32)>,
}

/// What reading one partition came to, as far as sessions care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub has_records: bool,
    /// As sent, -1 with an error.
    pub high_watermark: i64,
    /// As sent, -1 with an error.
    pub log_start_offset: i64,
    pub has_error: bool,
    /// The response names a preferred read replica or a diverging epoch.
    pub has_redirect: bool,
}

/// What the response shall contain.
#[derive(Debug, PartialEq, Eq)]
pub struct Finished {
    pub session_id: i32,
    /// Indexes into [`Fetch::wanted`], ascending.
    pub send: Send,
}

/// Which of the wanted partitions to send.
#[derive(Debug, PartialEq, Eq)]
pub enum Send {
    All,
    Only(Vec<usize>),
}

/// The whole response is this error, without partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("no such fetch session")]
    NotFound,
    #[error("the fetch session expects another epoch")]
    InvalidEpoch {
        /// What to put in the response: the session's id if the epoch moved while the request was served, else 0.
        session_id: i32,
    },
    #[error("the fetch session was made with topic ids and the request uses names, or the reverse")]
    TopicIdMismatch,
}

/// A fetch between `begin` and `finish`.
#[derive(Debug)]
pub struct Fetch {
    wanted: Vec<Wanted>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Sessionless,
    Full {
        by_topic_id: bool,
        privileged: bool,
    },
    Incremental {
        session: Arc<Mutex<Session>>,
        epoch: i32,
        order: Vec<u64>,
        /// The high watermarks that a follower was told.
        told: Vec<i64>,
    },
}

impl Fetch {
    /// The partitions to read, in the order in which to serve them.
    pub fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    /// The high watermark that a follower was last told of the `index`-th of the wanted partitions; -1 where it was told of
    /// none. `None` for a consumer, and where nothing is remembered.
    pub fn told(&self, index: usize) -> Option<i64> {
        match &self.kind {
            Kind::Incremental { told, .. } => told.get(index).copied(),
            Kind::Sessionless | Kind::Full { .. } => None,
        }
    }

    /// Whether the response lists only what changed. If so, an answer may be empty.
    pub fn is_incremental(&self) -> bool {
        matches!(self.kind, Kind::Incremental { .. })
    }
}

/// What was last asked and told about one partition.
#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    high_watermark: i64,
    log_start_offset: i64,
}

impl Cached {
    /// Whether `outcome` tells the client something new; remembers it.
    fn changed_by(&mut self, outcome: &Outcome) -> bool {
        let mut changed = outcome.has_records || outcome.has_error || outcome.has_redirect;
        changed |= self.high_watermark != outcome.high_watermark;
        changed |= self.log_start_offset != outcome.log_start_offset;
        // After an error the partition is sent once more when the error goes away.
        self.high_watermark = if outcome.has_error { -1 } else { outcome.high_watermark };
        self.log_start_offset = outcome.log_start_offset;
        changed
    }
}

/// One client's partitions, in serving order: `order` numbers grow, the back is the largest.
#[derive(Debug)]
struct Session {
    id: i32,
    privileged: bool,
    by_topic_id: bool,
    created_ms: i64,
    last_used_ms: i64,
    /// The epoch that the next request must carry.
    epoch: i32,
    partitions: BTreeMap<u64, Cached>,
    places: HashMap<(TopicKey, i32), u64>,
    next_place: u64,
    /// The size under which the cache has filed this session.
    filed_size: usize,
}

impl Session {
    fn put(&mut self, wanted: Wanted, high_watermark: i64, log_start_offset: i64) {
        let key = (wanted.topic.clone(), wanted.partition);
        if let Some(place) = self.places.get(&key) {
            if let Some(cached) = self.partitions.get_mut(place) {
                cached.wanted.params = wanted.params;
            }
            return;
        }
        let place = self.next_place;
        self.next_place += 1;
        self.places.insert(key, place);
        self.partitions.insert(place, Cached { wanted, high_watermark, log_start_offset });
    }

    fn forget(&mut self, topic: TopicKey, partition: i32) {
        if let Some(place) = self.places.remove(&(topic, partition)) {
            self.partitions.remove(&place);
        }
    }

    fn move_to_back(&mut self, place: u64) {
        let Some(cached) = self.partitions.remove(&place) else { return };
        let back = self.next_place;
        self.next_place += 1;
        self.places.insert((cached.wanted.topic.clone(), cached.wanted.partition), back);
        self.partitions.insert(back, cached);
    }

    fn worth(&self) -> Worth {
        Worth { privileged: self.privileged, size: self.filed_size, id: self.id }
    }
}

/// What a session is worth keeping: a follower's above a consumer's, a large one above a small one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Worth {
    privileged: bool,
    size: usize,
    id: i32,
}

#[derive(Debug, Default)]
struct Cache {
    sessions: HashMap<i32, Arc<Mutex<Session>>>,
    by_last_use: BTreeSet<(i64, i32)>,
    evictable_by_all: BTreeSet<Worth>,
    evictable_by_privileged: BTreeSet<Worth>,
    partitions: usize,
    evictions: u64,
    random: u64,
}

/// All fetch sessions of this broker. Shared by every connection; the cache's lock is held for a few map operations,
/// the session's while its partitions are merged or filtered. Lock order: cache, then session.
#[derive(Debug)]
pub struct Sessions {
    slots: usize,
    max_partitions: usize,
    cache: Mutex<Cache>,
}

impl Sessions {
    /// `slots` is `max.incremental.fetch.session.cache.slots`; `seed` makes session ids differ between runs, so that a
    /// client of an earlier run meets "not found" rather than somebody's session.
    pub fn new(slots: usize, seed: u64) -> Sessions {
        Sessions::with_partition_limit(slots, seed, MAX_CACHED_PARTITIONS)
    }

    fn with_partition_limit(slots: usize, seed: u64, max_partitions: usize) -> Sessions {
        Sessions { slots, max_partitions, cache: Mutex::new(Cache { random: seed, ..Cache::default() }) }
    }

    /// Number of sessions (metric `NumIncrementalFetchSessions`).
    pub fn len(&self) -> usize {
        self.cache.lock().sessions.len()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Partitions remembered over all sessions (metric `NumIncrementalFetchPartitionsCached`).
    pub fn cached_partitions(&self) -> usize {
        self.cache.lock().partitions
    }

    /// Sessions that had to make room since start (metric `IncrementalFetchSessionEvictions`).
    pub fn evictions(&self) -> u64 {
        self.cache.lock().evictions
    }

    /// Checks the request against its session and merges it.
    pub fn begin(&self, request: Request, now_ms: i64) -> Result<Fetch, SessionError> {
        if request.session_epoch != INITIAL_EPOCH && request.session_epoch != FINAL_EPOCH {
            return self.begin_incremental(request, now_ms);
        }
        if request.session_id != NO_SESSION {
            self.cache.lock().remove(request.session_id);
        }
        let kind = if request.session_epoch == FINAL_EPOCH {
            Kind::Sessionless
        } else {
            Kind::Full { by_topic_id: request.by_topic_id, privileged: request.privileged }
        };
        Ok(Fetch { wanted: request.partitions, kind })
    }

    fn begin_incremental(&self, request: Request, now_ms: i64) -> Result<Fetch, SessionError> {
        let mut cache = self.cache.lock();
        let session = cache.sessions.get(&request.session_id).cloned().ok_or(SessionError::NotFound)?;
        let mut state = session.lock();
        if state.epoch != request.session_epoch {
            return Err(SessionError::InvalidEpoch { session_id: NO_SESSION });
        }
        if state.by_topic_id != request.by_topic_id {
            return Err(SessionError::TopicIdMismatch);
        }
        // Counts partitions that are named again too: a bound may err on the safe side.
        if cache.partitions + request.partitions.len() > self.max_partitions && !request.partitions.is_empty() {
            drop(state);
            cache.remove(request.session_id);
            return Err(SessionError::NotFound);
        }
        for wanted in request.partitions {
            state.put(wanted, -1, -1);
        }
        for (topic, partition) in request.forgotten {
            state.forget(topic, partition);
        }
        if state.partitions.is_empty() {
            drop(state);
            cache.remove(request.session_id);
            return Ok(Fetch { wanted: Vec::new(), kind: Kind::Sessionless });
        }
        cache.file(&mut state, now_ms);
        drop(cache); // the rest may be long, and concerns this session only
        state.epoch = next_epoch(state.epoch);
        let order: Vec<u64> = state.partitions.keys().copied().collect();
        let wanted = state.partitions.values().map(|cached| cached.wanted.clone()).collect();
        let epoch = state.epoch;
        let told = match state.privileged {
            true => state.partitions.values().map(|cached| cached.high_watermark).collect(),
            false => Vec::new(),
        };
        drop(state);
        Ok(Fetch { wanted, kind: Kind::Incremental { session, epoch, order, told } })
    }

    /// Decides what to send. `outcomes[i]` belongs to `fetch.wanted()[i]`; there must be one for each.
    pub fn finish(&self, fetch: Fetch, outcomes: &[Outcome], now_ms: i64) -> Result<Finished, SessionError> {
        debug_assert_eq!(fetch.wanted.len(), outcomes.len());
        match fetch.kind {
            Kind::Sessionless => Ok(Finished { session_id: NO_SESSION, send: Send::All }),
            Kind::Full { by_topic_id, privileged } => {
                let session_id = self.create(fetch.wanted, outcomes, by_topic_id, privileged, now_ms);
                Ok(Finished { session_id, send: Send::All })
            }
            Kind::Incremental { session, epoch, order, told: _ } => {
                let mut session = session.lock();
                if session.epoch != epoch {
                    return Err(SessionError::InvalidEpoch { session_id: session.id });
                }
                let mut send = Vec::new();
                for (index, (place, outcome)) in order.into_iter().zip(outcomes).enumerate() {
                    let Some(cached) = session.partitions.get_mut(&place) else { continue };
                    if cached.changed_by(outcome) {
                        send.push(index);
                        if outcome.has_records {
                            session.move_to_back(place);
                        }
                    }
                }
                Ok(Finished { session_id: session.id, send: Send::Only(send) })
            }
        }
    }

    fn create(&self, wanted: Vec<Wanted>, outcomes: &[Outcome], by_topic_id: bool, privileged: bool, now: i64) -> i32 {
        if wanted.is_empty() {
            return NO_SESSION;
        }
        let mut cache = self.cache.lock();
        if cache.partitions + wanted.len() > self.max_partitions {
            return NO_SESSION;
        }
        if cache.sessions.len() >= self.slots && !cache.evict_for(privileged, wanted.len(), now) {
            return NO_SESSION;
        }
        let id = cache.new_id();
        let mut session = Session {
            id,
            privileged,
            by_topic_id,
            created_ms: now,
            last_used_ms: now,
            epoch: next_epoch(INITIAL_EPOCH),
            partitions: BTreeMap::new(),
            places: HashMap::with_capacity(wanted.len()),
            next_place: 0,
            filed_size: 0,
        };
        for (wanted, outcome) in wanted.into_iter().zip(outcomes) {
            session.put(wanted, outcome.high_watermark, outcome.log_start_offset);
        }
        cache.file(&mut session, now);
        cache.sessions.insert(id, Arc::new(Mutex::new(session)));
        id
    }
}

impl Cache {
    fn new_id(&mut self) -> i32 {
        loop {
            // splitmix64: ids need to differ, not to be secret.
            self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = self.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let id = ((mixed ^ (mixed >> 31)) & 0x7FFF_FFFF) as i32;
            if id != NO_SESSION && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    /// Files the session under its current use, size and age. Called on every use.
    fn file(&mut self, session: &mut Session, now_ms: i64) {
        self.unfile(session);
        session.last_used_ms = now_ms;
        session.filed_size = session.partitions.len();
        self.partitions += session.filed_size;
        self.by_last_use.insert((now_ms, session.id));
        let seasoned = now_ms - session.created_ms > EVICTION_MS;
        if !session.privileged || seasoned {
            self.evictable_by_privileged.insert(session.worth());
        }
        if seasoned {
            self.evictable_by_all.insert(session.worth());
        }
    }

    fn unfile(&mut self, session: &Session) {
        if self.by_last_use.remove(&(session.last_used_ms, session.id)) {
            self.partitions -= session.filed_size;
            self.evictable_by_all.remove(&session.worth());
            self.evictable_by_privileged.remove(&session.worth());
        }
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.unfile(&session.lock());
        }
    }

    /// Makes room for a session of this worth: the longest idle one if it is stale, else a less valuable one.
    fn evict_for(&mut self, privileged: bool, size: usize, now_ms: i64) -> bool {
        let Some(&(last_used_ms, idlest)) = self.by_last_use.first() else { return false };
        let victim = if now_ms - last_used_ms > EVICTION_MS {
            Some(idlest)
        } else {
            let evictable = if privileged { &self.evictable_by_privileged } else { &self.evictable_by_all };
            let candidate = Worth { privileged, size, id: 0 };
            evictable.first().filter(|least| candidate >= **least).map(|least| least.id)
        };
        let Some(victim) = victim else { return false };
        self.remove(victim);
        self.evictions += 1;
        true
    }
}

/// The epoch that follows: wraps to 1, because 0 and -1 mean full requests.
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
