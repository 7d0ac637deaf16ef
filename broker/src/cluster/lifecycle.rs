//! This broker's life in the cluster: it registers with the active controller, is heard by it every few seconds, and asks
//! it before it stops, so that others lead its partitions first.
//!
//! The controller may be in this process: then the same requests take the short way, without a socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jackdaw_protocol::messages::broker_registration_request::Listener;
use jackdaw_protocol::messages::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerId, BrokerRegistrationRequest, ResponseError, StrBytes,
};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::channel::{ChannelError, call_controller};
use crate::api::{CORDONED_TAG, END_TAG, OWN_TAG, VERSION_TAG, write_partitions};
use crate::broker::Broker;
use crate::controller::registration::Extras;
use crate::limits;
use crate::partition::Partition;

/// What one attempt to reach a controller may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Between two registrations, and between heartbeats while the broker waits to be let in or the controller is in trouble.
const PAUSE: Duration = Duration::from_millis(100);
/// Partitions on failed disks that one heartbeat names.
const OFFLINE_AT_ONCE: usize = 1000;

/// Why the broker cannot be part of the cluster. It must end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cluster's controller refuses this broker: {reason}")]
pub struct Refused {
    /// In the controller's words.
    pub reason: String,
}

/// Where the broker stands.
pub struct Lifecycle {
    epoch: AtomicI64,
    stopping: AtomicBool,
    /// Something happened that the controller should hear of now.
    news: Notify,
    refused: watch::Sender<Option<Refused>>,
}

impl Default for Lifecycle {
    /// Not registered yet, in a life of its own.
    fn default() -> Self {
        Lifecycle {
            epoch: AtomicI64::new(-1),
            stopping: AtomicBool::new(false),
            news: Notify::new(),
            refused: watch::Sender::new(None),
        }
    }
}

impl Lifecycle {
    /// The broker's epoch, -1 while it is not registered. What it asks of controllers and leaders carries it.
    pub fn epoch(&self) -> i64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The next heartbeat goes out now.
    pub fn hurry(&self) {
        self.news.notify_one();
    }

    /// Waits until the cluster refuses this broker for good.
    pub async fn refused(&self) -> Refused {
        let mut refused = self.refused.subscribe();
        let why = refused.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        match why {
            Some(why) => why,
            // The sender is ours, so this is never reached; were it, nobody has refused anything.
            None => std::future::pending().await,
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// Registers the broker, and tries again for as long as that may help.
///
/// # Errors
/// It can never be part of this cluster as it is.
pub(crate) async fn join(broker: &Arc<Broker>) -> Result<(), Refused> {
    let patience = broker.config().get("initial.broker.registration.timeout.ms").and_then(|ms| ms.parse().ok());
    let until = broker.clock.monotonic() + Duration::from_millis(patience.unwrap_or(60_000));
    let mut told = String::new();
    loop {
        let outcome = call_controller(broker, &registration(broker), ATTEMPT).await;
        let trouble = match outcome {
            Ok(answer) if answer.error_code == 0 => {
                registered(broker, answer.broker_epoch);
                return Ok(());
            }
            Ok(answer) => {
                let reason = reason(answer.error_code, answer.unknown_tagged_fields.get(&OWN_TAG));
                let is_duplicate = answer.error_code == ResponseError::DuplicateBrokerRegistration.code();
                if is_final(answer.error_code) || is_duplicate && broker.clock.monotonic() >= until {
                    return Err(Refused { reason });
                }
                reason
            }
            Err(error) => error.to_string(),
        };
        if trouble != told {
            tracing::warn!(reason = %trouble, "not registered with the cluster yet; trying again");
            told = trouble;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn registered(broker: &Broker, epoch: i64) {
    broker.lifecycle.epoch.store(epoch, Ordering::Release);
    for flusher in broker.flushers() {
        flusher.dir().set_broker_epoch(epoch);
    }
    tracing::debug!(epoch, "registered with the cluster");
}

/// The controller's own words, else the error's.
fn reason(code: i16, words: Option<&Bytes>) -> String {
    let words = words.map(|words| String::from_utf8_lossy(words).into_owned()).filter(|words| !words.is_empty());
    words.unwrap_or_else(|| match ResponseError::try_from_code(code) {
        Some(error) => format!("{error} ({error:?})"),
        None => format!("error {code}"),
    })
}

/// Whether the same process would be refused again for ever.
fn is_final(code: i16) -> bool {
    let finals = [
        ResponseError::InconsistentClusterId,
        ResponseError::InvalidRegistration,
        ResponseError::InvalidConfig,
        ResponseError::UnsupportedVersion,
    ];
    finals.iter().any(|error| error.code() == code)
}

fn registration(broker: &Broker) -> BrokerRegistrationRequest {
    let config = broker.config();
    let listener = |own: &crate::config::Listener| {
        let (host, port) = broker.advertised(&own.name)?;
        let listener = Listener::default().with_name(text(&own.name)).with_host(text(&host)).with_port(port);
        Some(listener.with_security_protocol(own.protocol.code()))
    };
    let online = broker.flushers().iter().map(|flusher| flusher.dir()).filter(|dir| dir.is_online());
    BrokerRegistrationRequest::default()
        .with_broker_id(BrokerId(config.node_id))
        .with_cluster_id(text(broker.cluster_id()))
        .with_incarnation_id(broker.topics.view().incarnation())
        .with_listeners(config.listeners.iter().filter_map(listener).collect())
        .with_rack(config.broker_rack.as_deref().map(text))
        .with_log_dirs(online.map(|dir| dir.directory_id()).collect())
        .with_previous_broker_epoch(previous_epoch(broker))
        .with_unknown_tagged_field(OWN_TAG, extras(broker))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// The epoch that the last clean stop left, if all directories agree on it.
fn previous_epoch(broker: &Broker) -> i64 {
    if !broker.topics.failed_dirs().is_empty() {
        return -1;
    }
    let before = broker.flushers().iter().map(|flusher| flusher.dir()).filter(|dir| !dir.is_fresh());
    let mut epochs = before.map(|dir| dir.previous_broker_epoch());
    let first = epochs.next().unwrap_or(-1);
    if epochs.all(|epoch| epoch == first) { first } else { -1 }
}

fn extras(broker: &Broker) -> Bytes {
    let config = broker.config();
    // Without what was set at run time, which the controller knows by itself.
    let file = config.with_dynamic(BTreeMap::new(), BTreeMap::new());
    let file = file.as_ref().unwrap_or(&**config);
    let extras = Extras {
        message_max_bytes: file.message_max_bytes as u64,
        replica_fetch_max_bytes: file.replica_fetch_max_bytes.map(|bytes| bytes as u64),
        write_caching: file.topic_defaults.write_caching,
        known_dirs: broker.topics.dirs_to_remember(),
    };
    serde_json::to_vec(&extras).map_or_else(|_| Bytes::new(), Bytes::from)
}

/// Is heard by the controller, until the task is dropped.
pub(crate) async fn run(broker: Arc<Broker>) {
    let mut trouble = Trouble::default();
    loop {
        let interval = Duration::from_millis(broker.config().broker_heartbeat_interval_ms);
        let wait = match beat(&broker, broker.lifecycle.is_stopping()).await {
            Ok(answer) => match ResponseError::try_from_code(answer.error_code) {
                None => {
                    trouble.over();
                    // One that waits to be let in asks again soon.
                    if answer.is_fenced { PAUSE } else { interval }
                }
                Some(ResponseError::StaleBrokerEpoch | ResponseError::BrokerIdNotRegistered)
                    if !broker.lifecycle.is_stopping() =>
                {
                    tracing::warn!("the cluster knows this broker no more, or in another life: registering again");
                    if let Err(refused) = join(&broker).await {
                        broker.lifecycle.refused.send_replace(Some(refused));
                        return;
                    }
                    Duration::ZERO
                }
                Some(error) => {
                    trouble.tell(&format!("{error:?}"));
                    PAUSE
                }
            },
            Err(error) => {
                trouble.tell(&error.to_string());
                PAUSE
            }
        };
        rest(&broker, wait.min(interval)).await;
    }
}

/// Waits for the next heartbeat: less, if there is news, or the connection to the controller closes, or another one
/// decides.
async fn rest(broker: &Broker, wait: Duration) {
    let mut leadership = broker.cluster.leadership();
    leadership.mark_unchanged();
    let changed = async {
        if leadership.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let closed = async {
        match broker.channel.controller_peer().filter(|peer| peer.is_connected()) {
            Some(peer) => drop(peer.closed().await),
            None => std::future::pending::<()>().await,
        }
    };
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = broker.lifecycle.news.notified() => {}
        () = changed => {}
        () = closed => {}
    }
}

/// Says once what is wrong, and once that it is over.
#[derive(Default)]
struct Trouble(Option<String>);

impl Trouble {
    fn tell(&mut self, what: &str) {
        if self.0.as_deref() != Some(what) {
            tracing::warn!(reason = what, "the cluster's controller does not hear this broker");
            self.0 = Some(what.to_owned());
        }
    }

    fn over(&mut self) {
        if self.0.take().is_some() {
            tracing::info!("the cluster's controller hears this broker again");
        }
    }
}

async fn beat(broker: &Arc<Broker>, want_shut_down: bool) -> Result<BrokerHeartbeatResponse, ChannelError> {
    let applied = i64::try_from(broker.topics.image().version).unwrap_or(i64::MAX);
    let offline = offline_partitions(broker);
    let failed = broker.flushers().iter().map(|flusher| flusher.dir()).filter(|dir| !dir.is_online());
    let mut request = BrokerHeartbeatRequest::default()
        .with_broker_id(BrokerId(broker.node_id()))
        .with_broker_epoch(broker.lifecycle.epoch())
        .with_current_metadata_offset(applied)
        .with_want_shut_down(want_shut_down)
        .with_offline_log_dirs(failed.map(|dir| dir.directory_id()).collect());
    let cordoned = broker.topics.is_all_cordoned();
    request = request.with_unknown_tagged_field(CORDONED_TAG, Bytes::copy_from_slice(&[u8::from(cordoned)]));
    if let Some(observer) = broker.topics.quorum().as_observer() {
        let end = i64::try_from(observer.applied().borrow().index).unwrap_or(i64::MAX - 1) + 1;
        request = request.with_unknown_tagged_field(END_TAG, Bytes::copy_from_slice(&end.to_be_bytes()));
    }
    if !offline.is_empty() {
        request = request.with_unknown_tagged_field(OWN_TAG, write_partitions(&offline));
    }
    let session = Duration::from_millis(broker.config().broker_session_timeout_ms);
    // One in this process knows as little as this broker, if both were frozen.
    let is_own =
        |broker: &Broker| broker.cluster.active_controller().is_none_or(|active| active.id == broker.node_id());
    let (at, was_own) = (broker.clock.monotonic(), is_own(broker));
    let answer = call_controller(broker, &request, session / 2).await?;
    // What was decided while it was not heard, it has to know by now.
    let version = answer.unknown_tagged_fields.get(&VERSION_TAG).and_then(|bytes| bytes.first_chunk().copied());
    let knows_all = version.is_some_and(|version| broker.topics.image().version >= u64::from_be_bytes(version));
    if answer.error_code == 0 && !answer.is_fenced && knows_all && !was_own && !is_own(broker) {
        broker.topics.view().heard(at);
    }
    Ok(answer)
}

/// Partitions that others count on this broker for, and that it cannot serve: their log directory has failed.
fn offline_partitions(broker: &Broker) -> Vec<(Uuid, i32)> {
    let all_online = broker.flushers().iter().all(|flusher| flusher.dir().is_online());
    if all_online && broker.topics.failed_dirs().is_empty() {
        return Vec::new();
    }
    let node = broker.node_id();
    let registry = broker.topics.registry();
    let is_served = |partition: &Arc<Partition>| partition.flusher().dir().is_online();
    let of_topic = |topic: &Arc<crate::topics::Topic>| {
        let mut offline = Vec::new();
        for (index, partition) in (0..).zip(&topic.image.partitions) {
            let counts = partition.leader == node || partition.isr.contains(&node);
            let alone = partition.replicas.len() < 2;
            if counts && !alone && !topic.partition(index).is_ok_and(is_served) {
                offline.push((topic.id(), index));
            }
        }
        offline
    };
    registry.topics().flat_map(of_topic).take(OFFLINE_AT_ONCE).collect()
}

/// Hands over what this broker leads, before it stops: for as long as that may take, and then it stops all the same.
pub(crate) async fn leave(broker: &Arc<Broker>) {
    let wanted = broker.config().get("controlled.shutdown.enable") != Some("false");
    let node = broker.node_id();
    let has_others = |broker: &Broker| broker.topics.image().brokers.keys().any(|id| *id != node);
    if !wanted || broker.lifecycle.epoch() < 0 || !has_others(broker) {
        return;
    }
    broker.lifecycle.stopping.store(true, Ordering::Release);
    let handed_over = async {
        loop {
            match beat(broker, true).await {
                Ok(answer) if answer.error_code == 0 && answer.should_shut_down => break,
                Ok(answer) if answer.error_code != 0 => {
                    tracing::debug!(code = answer.error_code, "the controller does not take the leave yet");
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the controller does not take the leave yet"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        while !leads_nothing_of_others(broker) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(limits::HANDOVER_GRACE).await;
    };
    if tokio::time::timeout(limits::HANDOVER_DEADLINE, handed_over).await.is_err() {
        tracing::warn!(
            "no controller took over this broker's partitions in time: it stops, and others take them when it is missed"
        );
    }
}

/// Whether this broker knows itself that it leads nothing which another one could lead.
fn leads_nothing_of_others(broker: &Broker) -> bool {
    let (image, node) = (broker.topics.image(), broker.node_id());
    image.brokers.get(&node).is_none_or(|own| own.in_controlled_shutdown || own.fenced)
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
