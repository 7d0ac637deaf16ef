//! A fetcher: one task that follows one leader for its share of the partitions.
//!
//! A round is: sync what came last, ask from the end of each log on, append what comes, cut where the logs have parted.
//! So what a leader is asked for says what is on this broker's disk. What goes wrong with one partition holds up no other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jackdaw_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
use jackdaw_protocol::messages::{BrokerId, FetchRequest, FetchResponse, ResponseError};
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use super::progress::Progress;
use super::round::{self, Followed, Key, Outcome};
use super::session::{Ask, FetchSession};
use super::throttle::Throttle;
use crate::broker::Broker;
use crate::fetch::session::Params;
use crate::net::{Peer, PeerError};
use crate::partition::Partition;

/// The version of Fetch between brokers: topic ids, broker epochs, divergence.
const VERSION: i16 = 17;
/// The first pause after an error; doubled up to `replica.fetch.backoff.ms`.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// A poll that waits is given up for new partitions after so long.
const PATIENCE: Duration = Duration::from_millis(5);

/// What a fetcher is told: the partitions that it follows.
#[derive(Default)]
pub(super) struct Assigned {
    partitions: Mutex<HashMap<Key, Followed>>,
    changed: Notify,
}

impl Assigned {
    /// Follows this partition from now on.
    pub(super) fn put(&self, key: Key, followed: Followed) {
        self.partitions.lock().insert(key, followed);
        self.changed.notify_one();
    }

    /// Follows it no more.
    pub(super) fn remove(&self, key: &Key) -> bool {
        let was_there = self.partitions.lock().remove(key).is_some();
        if was_there {
            self.changed.notify_one();
        }
        was_there
    }

    fn remove_same(&self, key: &Key, epoch: i32) {
        let mut partitions = self.partitions.lock();
        if partitions.get(key).is_some_and(|followed| followed.epoch == epoch) {
            partitions.remove(key);
        }
    }
}

/// A pause of one partition, or of a connection.
#[derive(Clone, Copy, Default)]
struct Pause {
    failures: u32,
    until: Duration,
}

impl Pause {
    fn after_error(self, now: Duration, longest: Duration) -> Pause {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(longest.max(FIRST_PAUSE));
        Pause { failures: self.failures.saturating_add(1), until: now + pause }
    }
}

/// One fetcher.
pub(super) struct Fetcher {
    broker: Arc<Broker>,
    leader: i32,
    assigned: Arc<Assigned>,
    throttle: Arc<Throttle>,
    session: FetchSession<Key>,
    /// With the leader epoch that they are of.
    pauses: HashMap<Key, (i32, Pause)>,
    pause: Pause,
    peer: Option<((String, u16), Peer)>,
    progress: Progress,
}

/// What came of asking.
enum Answered {
    With(FetchResponse),
    /// There are other partitions to ask for.
    Interrupted,
    Failed(PeerError),
}

impl Fetcher {
    /// A fetcher of partitions that `leader` leads.
    pub(super) fn new(broker: Arc<Broker>, leader: i32, assigned: Arc<Assigned>, throttle: Arc<Throttle>) -> Fetcher {
        Fetcher {
            progress: Progress::new(leader),
            broker,
            leader,
            assigned,
            throttle,
            session: FetchSession::default(),
            pauses: HashMap::new(),
            pause: Pause::default(),
            peer: None,
        }
    }

    /// Follows until its task ends.
    pub(super) async fn run(mut self) {
        loop {
            let followed = self.assigned.partitions.lock().clone();
            if followed.is_empty() {
                (self.peer, self.pauses) = (None, HashMap::new());
                self.session.forget();
                self.assigned.changed.notified().await;
                continue;
            }
            self.round(followed).await;
        }
    }

    async fn round(&mut self, followed: HashMap<Key, Followed>) {
        let now = self.broker.clock.monotonic();
        self.pauses.retain(|key, (epoch, _)| followed.get(key).is_some_and(|followed| followed.epoch == *epoch));
        let due = |key: &Key| self.pauses.get(key).is_none_or(|(_, pause)| pause.until <= now);
        let rate = self.throttled_rate();
        let held = |followed: &Followed| self.is_throttled(&followed.partition) && !self.throttle.is_open(rate, now);
        let followed: HashMap<Key, Followed> =
            followed.into_iter().filter(|(key, followed)| due(key) && !held(followed)).collect();
        // Those that pause are asked for as soon as their pause is over.
        let next = self.pauses.values().map(|(_, pause)| pause.until).filter(|until| *until > now).min();
        let wait = Duration::from_millis(self.broker.config().replica_fetch_wait_max_ms);
        let wait = next.map_or(wait, |next| wait.min(next - now));
        let resting = self.pause.until.saturating_sub(now);
        if followed.is_empty() || !resting.is_zero() {
            let rest = if followed.is_empty() { wait.max(FIRST_PAUSE) } else { resting };
            let _ = tokio::time::timeout(rest, self.assigned.changed.notified()).await;
            return;
        }
        let followed = Arc::new(followed);
        if round::is_unsynced(&followed) {
            // Of before: what a round brings, it syncs.
            let followed = followed.clone();
            blocking(move || round::sync(&followed)).await;
        }
        let of_brokers = self.broker.topics.view().largest_batch();
        let largest = |topic: usize| self.broker.config().effective_replica_fetch_max_bytes(topic.max(of_brokers));
        let wanted = round::wanted(&followed, largest);
        for (key, followed) in followed.iter().filter(|(key, _)| !wanted.contains_key(key)) {
            self.back_off(*key, followed.epoch);
        }
        if wanted.is_empty() {
            return;
        }
        match self.ask(&wanted, wait).await {
            Answered::With(response) => self.take(followed, response).await,
            Answered::Interrupted => {}
            Answered::Failed(error) => {
                let (leader, partitions) = (self.leader, wanted.len());
                tracing::debug!(leader, partitions, %error, "the leader does not answer");
                self.session.forget();
                self.peer = None;
                self.pause = self.pause.after_error(self.broker.clock.monotonic(), self.longest_pause());
            }
        }
    }

    fn throttled_rate(&self) -> f64 {
        let rate = self.broker.config().get("follower.replication.throttled.rate").and_then(|rate| rate.parse().ok());
        rate.unwrap_or(f64::MAX)
    }

    fn is_throttled(&self, partition: &Partition) -> bool {
        let (index, node) = (partition.index(), self.broker.node_id());
        partition.with_config(|config| config.follower_replication_throttled_replicas.contains(index, node))
    }

    fn longest_pause(&self) -> Duration {
        Duration::from_millis(self.broker.config().replica_fetch_backoff_ms)
    }

    fn back_off(&mut self, key: Key, epoch: i32) {
        let (now, longest) = (self.broker.clock.monotonic(), self.longest_pause());
        let (_, pause) = self.pauses.get(&key).copied().unwrap_or_default();
        self.pauses.insert(key, (epoch, pause.after_error(now, longest)));
    }

    async fn ask(&mut self, wanted: &HashMap<Key, Params>, wait: Duration) -> Answered {
        let image = self.broker.topics.image();
        let Some(address) = self.broker.channel.broker_address(&image, self.leader) else {
            return Answered::Failed(PeerError::Unreachable {
                address: format!("broker {}", self.leader),
                reason: "it is not registered".to_owned(),
            });
        };
        if self.peer.as_ref().is_none_or(|(known, _)| *known != address) {
            self.session.forget();
            let config = self.broker.channel.peer_config();
            self.peer = Some((address.clone(), Peer::new(address.0.clone(), address.1, config)));
        }
        let ask = self.session.ask(wanted);
        let request = self.request(ask, wait);
        let Some((_, peer)) = &self.peer else { return Answered::Interrupted };
        let timeout = self.broker.config().get("replica.socket.timeout.ms").and_then(|ms| ms.parse().ok());
        let timeout = Duration::from_millis(timeout.unwrap_or(30_000)) + wait;
        let answer = {
            let call = peer.call(&request, VERSION, timeout);
            tokio::pin!(call);
            tokio::select! {
                biased;
                answer = &mut call => Some(answer),
                () = self.assigned.changed.notified() => tokio::time::timeout(PATIENCE, &mut call).await.ok(),
            }
        };
        match answer {
            Some(Ok(response)) => Answered::With(response),
            Some(Err(error)) => Answered::Failed(error),
            None => {
                // New partitions must not wait for a poll that waits for the old ones; on its connection they would.
                self.session.forget();
                self.peer = None;
                Answered::Interrupted
            }
        }
    }

    fn request(&self, ask: Ask<Key>, wait: Duration) -> FetchRequest {
        let config = self.broker.config();
        let bytes = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
        let mut topics: HashMap<Uuid, Vec<FetchPartition>> = HashMap::new();
        for ((id, partition), params) in ask.partitions {
            topics.entry(id).or_default().push(
                FetchPartition::default()
                    .with_partition(partition)
                    .with_current_leader_epoch(params.current_leader_epoch)
                    .with_fetch_offset(params.fetch_offset)
                    .with_last_fetched_epoch(params.last_fetched_epoch)
                    .with_log_start_offset(params.log_start_offset)
                    .with_partition_max_bytes(params.max_bytes),
            );
        }
        let mut forgotten: HashMap<Uuid, Vec<i32>> = HashMap::new();
        for (id, partition) in ask.forgotten {
            forgotten.entry(id).or_default().push(partition);
        }
        let topic = |(id, partitions)| FetchTopic::default().with_topic_id(id).with_partitions(partitions);
        let forget = |(id, partitions)| ForgottenTopic::default().with_topic_id(id).with_partitions(partitions);
        let replica = ReplicaState::default()
            .with_replica_id(BrokerId(self.broker.node_id()))
            .with_replica_epoch(self.broker.topics.view().node_epoch());
        FetchRequest::default()
            .with_replica_state(replica)
            .with_max_wait_ms(bytes(wait.as_millis() as usize))
            .with_min_bytes(bytes(config.replica_fetch_min_bytes))
            .with_max_bytes(bytes(config.replica_fetch_response_max_bytes))
            .with_session_id(ask.session_id)
            .with_session_epoch(ask.session_epoch)
            .with_topics(topics.into_iter().map(topic).collect())
            .with_forgotten_topics_data(forgotten.into_iter().map(forget).collect())
    }

    async fn take(&mut self, followed: Arc<HashMap<Key, Followed>>, response: FetchResponse) {
        if response.error_code != 0 {
            let (leader, code) = (self.leader, response.error_code);
            tracing::debug!(leader, code, "the fetch session begins anew");
            self.session.forget();
            let is_session = matches!(
                ResponseError::try_from_code(code),
                Some(ResponseError::FetchSessionIdNotFound | ResponseError::InvalidFetchSessionEpoch)
            );
            if !is_session {
                self.pause = self.pause.after_error(self.broker.clock.monotonic(), self.longest_pause());
            }
            return;
        }
        self.pause = Pause::default();
        self.session.answered(response.session_id);
        let now_ms = self.broker.clock.now_ms();
        let outcomes = {
            let followed = followed.clone();
            let work = move || {
                let outcomes = take_all(&followed, response, now_ms);
                round::sync(&followed);
                outcomes
            };
            blocking(work).await.unwrap_or_default()
        };
        let now = self.broker.clock.monotonic();
        for (key, outcome) in outcomes {
            let Some(Followed { partition, epoch }) = followed.get(&key) else { continue };
            match outcome {
                Outcome::Fine { bytes, lag } => {
                    self.pauses.remove(&key);
                    if self.is_throttled(partition) {
                        self.throttle.spend(bytes);
                    }
                    self.progress.note(partition, lag, now);
                }
                Outcome::BackOff => self.back_off(key, *epoch),
                Outcome::Gone => self.assigned.remove_same(&key, *epoch),
            }
        }
        self.progress.tell(now);
    }
}

/// Takes in all of an answer: appends and cuts, and then what the leader says of itself.
fn take_all(followed: &HashMap<Key, Followed>, response: FetchResponse, now_ms: i64) -> Vec<(Key, Outcome)> {
    let mut outcomes = Vec::new();
    let mut told = Vec::new();
    for topic in response.responses {
        for data in topic.partitions {
            let key = (topic.topic_id, data.partition_index);
            let Some(own) = followed.get(&key) else { continue };
            let is_whole = data.error_code == 0 && data.diverging_epoch.epoch < 0;
            let (high_watermark, log_start) = (data.high_watermark, data.log_start_offset);
            let outcome = round::take(own, data, now_ms);
            // The high watermark comes after the verdict on divergence, never before (KAFKA-14704).
            if is_whole && matches!(outcome, Outcome::Fine { .. }) {
                told.push((own, high_watermark, log_start));
            }
            outcomes.push((key, outcome));
        }
    }
    for (own, high_watermark, log_start) in told {
        round::follow(own, high_watermark, log_start);
    }
    outcomes
}

/// On a thread that may wait for the disk. None if that panicked, which the panic hook has told.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
