//! The brokers of the cluster, as the active controller looks after them: it takes their registrations and heartbeats,
//! and fences those that are not there any more. What is decided stands in `controller::{registration, liveness}`; here
//! are the clock, the dials and the metadata.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::broker::Broker;
use crate::controller::liveness::{Dialed, Due, Liveness};
use crate::controller::registration::{
    self, Application, Beat, BrokerEpochError, Presence, RegistrationError, Verdict,
};
use crate::limits;
use crate::net::{Peer, PeerConfig};
use crate::topics::ChangeError;
use crate::topics::record::{ElectionDefaults, Record};

/// Between two attempts to write down that a broker is gone.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How often a broker is dialled in a row that takes connections and drops them.
const KNOCKS: u32 = 5;
/// A connection that holds for so long is one to a process that runs.
const MOMENT: Duration = Duration::from_millis(20);

/// Who is heard.
pub struct Members {
    liveness: Mutex<Liveness>,
    observers: Mutex<BTreeMap<i32, Observer>>,
    news: Notify,
}

/// How far a broker that does not vote has come in the log of the metadata, by its last heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observer {
    /// The offset after the last entry that it has.
    pub end: i64,
    /// When it said so, in ms.
    pub heard_ms: i64,
    /// When it last had all that there was, in ms; -1 for never.
    pub caught_up_ms: i64,
    /// The end of the log then.
    leaders_end: i64,
}

impl Observer {
    /// What is known after a heartbeat, given what was known before.
    fn heard(before: Option<Observer>, end: i64, leaders_end: i64, now_ms: i64) -> Observer {
        let caught_up_ms = match before {
            _ if end >= leaders_end => now_ms,
            // It has what there was when it was heard before.
            Some(before) if end >= before.leaders_end => before.heard_ms,
            Some(before) => before.caught_up_ms,
            None => -1,
        };
        Observer { end, heard_ms: now_ms, caught_up_ms, leaders_end }
    }
}

impl Members {
    /// Knows nobody. `session` is `broker.session.timeout.ms`.
    pub fn new(session: Duration) -> Members {
        Members { liveness: Mutex::new(Liveness::new(session)), observers: Mutex::default(), news: Notify::new() }
    }

    /// How far a broker that does not vote has come, if it has told this controller.
    pub fn observer(&self, broker: i32) -> Option<Observer> {
        self.observers.lock().get(&broker).copied()
    }

    /// A connection of this process closed, at that time of the monotonic clock. It may have been a broker's.
    pub fn connection_closed(&self, now: Duration, connection: u64) {
        if self.liveness.lock().closed(now, connection) {
            self.news.notify_one();
        }
    }
}

/// What the rules of elections are where nothing was set at run time.
pub fn election_defaults(broker: &Broker) -> ElectionDefaults {
    let config = broker.config();
    ElectionDefaults {
        min_insync_replicas: config.topic_defaults.min_insync_replicas,
        unclean: config.topic_defaults.unclean_leader_election_enable,
    }
}

/// Registers a broker, and gives its epoch. `connection` is the one that it asked on; none for the broker in this process,
/// which needs no heartbeat to be heard and knows the metadata: it is not fenced even for a moment.
///
/// # Errors
/// Outside: this is not the active controller, or the metadata cannot be written. Inside: the refusal.
pub fn register(
    broker: &Broker,
    wish: &Application,
    connection: Option<u64>,
) -> Result<Result<i64, RegistrationError>, ChangeError> {
    let (defaults, cluster_id) = (election_defaults(broker), broker.cluster_id());
    let is_own = connection.is_none();
    let now = broker.clock.monotonic();
    // Whoever was this node before has ended, or we would not be here.
    let presence = if is_own { Presence::Gone } else { broker.members.liveness.lock().presence(now, wish.broker) };
    let granted = broker.topics.change(|catalog| {
        match registration::register(catalog.image(), cluster_id, presence, wish, defaults) {
            Ok(mut granted) => {
                if is_own && !granted.records.is_empty() {
                    let (broker, epoch) = (wish.broker, granted.epoch);
                    granted.records.push(Record::BrokerUnfenced { broker, epoch, defaults });
                }
                (granted.records, Ok(granted.epoch))
            }
            Err(refused) => (Vec::new(), Err(refused)),
        }
    })?;
    if let Ok(epoch) = &granted {
        broker.members.liveness.lock().heard(broker.clock.monotonic(), wish.broker, *epoch, connection);
        broker.members.news.notify_one();
    }
    Ok(granted)
}

/// Takes a heartbeat.
///
/// # Errors
/// As [`register`].
pub fn beat(
    broker: &Broker,
    said: &Beat,
    connection: Option<u64>,
) -> Result<Result<Verdict, BrokerEpochError>, ChangeError> {
    let defaults = election_defaults(broker);
    let before = broker.clock.monotonic();
    let verdict = broker.topics.change(|catalog| match registration::beat(catalog.image(), said, defaults) {
        Ok(mut verdict) => (std::mem::take(&mut verdict.records), Ok(verdict)),
        Err(stale) => (Vec::new(), Err(stale)),
    })?;
    if verdict.is_ok() {
        broker.members.liveness.lock().heard(before, said.broker, said.epoch, connection);
    }
    Ok(verdict)
}

/// Takes note of how far a registered broker that does not vote has come in the log of the metadata.
pub fn follows(broker: &Broker, id: i32, end: i64) {
    let Some(quorum) = broker.topics.quorum().as_voter() else { return };
    let leaders_end = i64::try_from(quorum.applied().borrow().index).unwrap_or(i64::MAX - 1) + 1;
    let mut observers = broker.members.observers.lock();
    let before = observers.get(&id).copied();
    observers.insert(id, Observer::heard(before, end, leaders_end, broker.clock.now_ms()));
}

/// Takes a broker out of the cluster.
///
/// # Errors
/// As [`register`].
pub fn unregister(broker: &Broker, id: i32) -> Result<Result<(), BrokerEpochError>, ChangeError> {
    let defaults = election_defaults(broker);
    let done = broker.topics.change(|catalog| match registration::unregister(catalog.image(), id, defaults) {
        Ok(records) => (records, Ok(())),
        Err(unknown) => (Vec::new(), Err(unknown)),
    })?;
    if done.is_ok() {
        broker.members.liveness.lock().forget(id);
        broker.members.observers.lock().remove(&id);
    }
    Ok(done)
}

/// Watches over the brokers while this node is the active controller. Runs until its task is dropped.
pub(crate) async fn run(broker: Arc<Broker>) {
    let mut leadership = broker.cluster.leadership();
    let mut term = None;
    loop {
        let now = broker.clock.monotonic();
        let current = broker.cluster.is_active_controller().then(|| leadership.borrow_and_update().term);
        if current != term {
            term = current;
            begin_or_end(&broker, now, term.is_some());
        }
        let (due, wait) = match term {
            Some(_) => look(&broker, now),
            None => (Due::default(), Duration::from_secs(3600)),
        };
        act(&broker, due);
        let changed = async {
            if leadership.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = broker.members.news.notified() => {}
            () = changed => {}
        }
    }
}

fn begin_or_end(broker: &Broker, now: Duration, begins: bool) {
    let mut liveness = broker.members.liveness.lock();
    if !begins {
        liveness.end();
        return;
    }
    let image = broker.topics.image();
    let active = image.brokers.iter().filter(|(_, known)| !known.fenced);
    liveness.begin(now, active.map(|(id, known)| (*id, known.registration.epoch)));
}

fn look(broker: &Broker, now: Duration) -> (Due, Duration) {
    let own = (broker.node_id(), broker.lifecycle.epoch());
    let mut liveness = broker.members.liveness.lock();
    if own.1 >= 0 {
        liveness.heard(now, own.0, own.1, None);
    }
    let due = liveness.tick(now);
    (due, liveness.wait(now))
}

fn act(broker: &Arc<Broker>, due: Due) {
    if !due.fence.is_empty() {
        let broker = broker.clone();
        tokio::spawn(fence(broker, due.fence));
    }
    for (id, epoch) in due.dial {
        tokio::spawn(dial(broker.clone(), id, epoch));
    }
}

/// Writes down that brokers are gone, for as long as this node decides.
async fn fence(broker: Arc<Broker>, gone: Vec<(i32, i64)>) {
    let gone = Arc::new(gone);
    while broker.cluster.is_active_controller() {
        let (here, ids) = (broker.clone(), gone.clone());
        let fenced = tokio::task::spawn_blocking(move || {
            let defaults = election_defaults(&here);
            here.topics.change(|catalog| {
                let record = |(id, epoch): &(i32, i64)| registration::fence(catalog.image(), *id, *epoch, defaults);
                let records: Vec<Record> = ids.iter().filter_map(record).collect();
                let news = !records.is_empty();
                (records, news)
            })
        });
        match fenced.await {
            Ok(Ok(true)) => {
                tracing::warn!(brokers = ?gone, "brokers are not heard any more: others lead what they led");
                return;
            }
            Ok(Ok(false)) | Err(_) => return,
            Ok(Err(error)) => {
                tracing::warn!(%error, brokers = ?gone, "cannot fence brokers yet");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Finds out whether the process of a broker is there.
async fn dial(broker: Arc<Broker>, id: i32, epoch: i64) {
    let image = broker.topics.image();
    let known = image.broker_of_epoch(id, epoch).map(|known| &known.registration.listeners);
    let own = broker.channel.broker_address(&image, id);
    let address = own.or_else(|| known?.first().map(|endpoint| (endpoint.host.clone(), endpoint.port)));
    let found = match address {
        None => Dialed::Unknown,
        Some((host, port)) => knock(&host, port, &broker.channel.peer_config()).await,
    };
    let due = broker.members.liveness.lock().dialed(broker.clock.monotonic(), id, epoch, found);
    act(&broker, due);
    broker.members.news.notify_one();
}

/// Dials until it is clear what is there: a process that is just ending takes a connection, and drops it a moment later.
async fn knock(host: &str, port: u16, config: &PeerConfig) -> Dialed {
    for attempt in 0..KNOCKS {
        let peer = Peer::new(host, port, config.clone());
        match peer.connect(limits::DIAL_DEADLINE).await {
            Ok(()) if tokio::time::timeout(MOMENT, peer.closed()).await.is_err() => return Dialed::Taken,
            // One that lives may do so too, with too many connections: it is not to be kept busy.
            Ok(()) => tokio::time::sleep(Duration::from_millis(1 << attempt)).await,
            Err(error) if error.is_refused() => return Dialed::Refused,
            Err(_) => return Dialed::Unknown,
        }
    }
    Dialed::Taken
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[tokio::test]
    async fn a_process_that_takes_a_connection_and_ends_is_found_gone_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ending = tokio::spawn(async move {
            drop(listener.accept().await.unwrap());
            drop(listener);
        });
        let config = PeerConfig::new("test");
        assert_eq!(knock("127.0.0.1", port, &config).await, Dialed::Refused);
        ending.await.unwrap();
    }

    #[tokio::test]
    async fn a_process_that_keeps_a_connection_or_drops_all_of_them_is_there() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = PeerConfig::new("test");
        // Nobody accepts: the system has taken it.
        assert_eq!(knock("127.0.0.1", port, &config).await, Dialed::Taken);
        let full = tokio::spawn(async move {
            loop {
                drop(listener.accept().await.unwrap());
            }
        });
        assert_eq!(knock("127.0.0.1", port, &config).await, Dialed::Taken);
        full.abort();
    }

    #[test]
    fn an_observer_was_caught_up_when_it_last_had_all_that_there_was() {
        let told = |before: Option<Observer>, end, leaders_end, now_ms| {
            let heard = Observer::heard(before, end, leaders_end, now_ms);
            assert_eq!((heard.end, heard.heard_ms), (end, now_ms));
            heard
        };
        let new = told(None, 5, 10, 1_000);
        assert_eq!(new.caught_up_ms, -1);
        let behind = told(Some(new), 9, 20, 3_000);
        assert_eq!(behind.caught_up_ms, -1);
        // It has by now what there was at 3,000.
        let nearer = told(Some(behind), 20, 30, 5_000);
        assert_eq!(nearer.caught_up_ms, 3_000);
        assert_eq!(told(Some(nearer), 25, 40, 7_000).caught_up_ms, 3_000);
        assert_eq!(told(Some(nearer), 40, 40, 7_000).caught_up_ms, 7_000);
    }
}
