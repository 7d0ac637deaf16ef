//! Who may be a broker of this cluster, what its heartbeats lead to, and how it leaves. Pure: the metadata and the
//! request in; records, or a refusal that says what to do, out.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::election::{Election, Goal, rules, settle};
use super::size_rule::{self, SizeConflict};
use crate::topics::image::Image;
use crate::topics::record::{ElectionDefaults, Endpoint, Record, Registration};

/// What a broker asks for when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// `node.id`
    pub broker: i32,
    /// The cluster that its log directories are of.
    pub cluster_id: String,
    /// New for each start of the process.
    pub incarnation: Uuid,
    /// `broker.rack`
    pub rack: Option<String>,
    /// Where it can be reached.
    pub listeners: Vec<Endpoint>,
    /// The ids of the log directories that are there and work.
    pub dirs: Vec<Uuid>,
    /// The broker epoch that its last clean stop left behind, -1 if the last stop was not clean.
    pub previous_epoch: i64,
    /// What Kafka's request has no field for.
    pub extras: Extras,
}

/// What Jackdaw's brokers say of themselves beyond Kafka's request.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Extras {
    /// `message.max.bytes`, as its file has it: what was set at run time is in the metadata.
    pub message_max_bytes: u64,
    /// `replica.fetch.max.bytes` where it is set.
    #[serde(default)]
    pub replica_fetch_max_bytes: Option<u64>,
    /// `log.write.caching`, as its file has it.
    #[serde(default)]
    pub write_caching: bool,
    /// Directories to remember, by id, with their paths: those that are there, and those that are not while something may
    /// be in them.
    #[serde(default)]
    pub known_dirs: BTreeMap<String, String>,
}

/// What the controller knows of a broker besides the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It holds a connection to us, or was heard within its session.
    Here,
    /// Its connection closed, and what it comes to is not known yet.
    Doubtful,
    /// It was not heard for its session, or its process is known to have ended.
    Gone,
}

/// Why a broker is not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// Somebody else is this node.
    #[error(
        "node id {broker} is in use by a broker that is alive, at {at}: give this one another node.id, or stop that one first"
    )]
    Duplicate {
        /// The node id.
        broker: i32,
        /// Where the other one listens.
        at: String,
    },
    /// The log directories are another cluster's.
    #[error(
        "broker {broker} is of cluster {theirs}, this is cluster {ours}: its log directories belong elsewhere. Start it on its own \
         cluster's controllers, or on empty directories"
    )]
    OtherCluster {
        /// The node id.
        broker: i32,
        /// Its cluster.
        theirs: String,
        /// This one.
        ours: String,
    },
    /// It does not say what a broker must.
    #[error("the registration of broker {broker} cannot be taken: {reason}")]
    Invalid {
        /// The node id.
        broker: i32,
        /// What is wrong.
        reason: String,
    },
    /// Two log directories of the cluster have one id.
    #[error(
        "log directory id {dir} of broker {broker} is that of broker {other} too: one is a copy of the other's disk. Remove directory.id \
         from meta.properties of the copy, and it gets one of its own"
    )]
    DirectoryTaken {
        /// The node id.
        broker: i32,
        /// The directory.
        dir: Uuid,
        /// Who has it.
        other: i32,
    },
    /// The size rule.
    #[error(transparent)]
    Size(#[from] SizeConflict),
}

impl RegistrationError {
    /// Whether the same process may be taken later.
    pub fn may_heal(&self) -> bool {
        matches!(self, RegistrationError::Duplicate { .. })
    }
}

/// A registration that is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The broker epoch.
    pub epoch: i64,
    /// None if it is registered just so already: an answer was lost.
    pub records: Vec<Record>,
}

/// Decides on a registration.
///
/// # Errors
/// Nothing changes then.
pub fn register(
    image: &Image,
    cluster_id: &str,
    presence: Presence,
    wish: &Application,
    defaults: ElectionDefaults,
) -> Result<Granted, RegistrationError> {
    check_form(image, cluster_id, wish)?;
    let known = image.brokers.get(&wish.broker);
    if let Some(known) = known.filter(|known| known.registration.incarnation != wish.incarnation) {
        check_not_taken(&known.registration, known.fenced, presence, wish)?;
    }
    let mut registration = Registration {
        epoch: i64::try_from(image.version).unwrap_or(i64::MAX - 1) + 1,
        incarnation: wish.incarnation,
        rack: wish.rack.clone(),
        listeners: wish.listeners.clone(),
        dirs: wish.dirs.iter().map(Uuid::to_string).collect(),
        message_max_bytes: wish.extras.message_max_bytes,
        replica_fetch_max_bytes: wish.extras.replica_fetch_max_bytes,
        write_caching: wish.extras.write_caching,
    };
    size_rule::check_registration(image, wish.broker, &registration)?;
    if let Some(known) = known {
        let same = Registration { epoch: known.registration.epoch, ..registration.clone() };
        if same == known.registration {
            return Ok(Granted { epoch: known.registration.epoch, records: Vec::new() });
        }
        registration.epoch = registration.epoch.max(known.registration.epoch + 1);
    }
    let unclean = known.is_some_and(|known| {
        known.registration.incarnation != wish.incarnation && wish.previous_epoch != known.registration.epoch
    });
    let epoch = registration.epoch;
    let mut records = vec![Record::BrokerRegistered { broker: wish.broker, registration, unclean, defaults }];
    records.extend(dirs_record(image, wish));
    Ok(Granted { epoch, records })
}

/// The directories to remember, if they are others than those remembered. One alone cannot be missed: without it there is
/// no broker.
fn dirs_record(image: &Image, wish: &Application) -> Option<Record> {
    let known = image.log_dirs.get(&wish.broker).filter(|known| !known.is_empty());
    let dirs = &wish.extras.known_dirs;
    let news = match known {
        Some(known) => known != dirs,
        None => dirs.len() > 1,
    };
    news.then(|| Record::LogDirsChanged { broker: wish.broker, dirs: dirs.clone() })
}

fn check_form(image: &Image, cluster_id: &str, wish: &Application) -> Result<(), RegistrationError> {
    let broker = wish.broker;
    if wish.cluster_id != cluster_id {
        let (theirs, ours) = (wish.cluster_id.clone(), cluster_id.to_owned());
        return Err(RegistrationError::OtherCluster { broker, theirs, ours });
    }
    let invalid = |reason: &str| Err(RegistrationError::Invalid { broker, reason: reason.to_owned() });
    if broker < 0 {
        return invalid("a node id must not be negative");
    }
    if wish.incarnation.is_nil() {
        return invalid("it names no incarnation");
    }
    if wish.listeners.is_empty() {
        return invalid("it names no listener, so that nobody could reach it");
    }
    check_reachable(image, wish)?;
    if wish.extras.message_max_bytes == 0 {
        return invalid("it does not tell its message.max.bytes: only Jackdaw's brokers can join this cluster");
    }
    if wish.dirs.iter().any(|dir| dir.as_u128() < 100) {
        return invalid("the ids of log directories below 100 are reserved");
    }
    if (1..wish.dirs.len()).any(|at| wish.dirs[..at].contains(&wish.dirs[at])) {
        return invalid("two of its log directories have one id");
    }
    for (other, known) in image.brokers.iter().filter(|(other, _)| **other != broker) {
        let taken = |dir: &&Uuid| known.registration.dirs.contains(&dir.to_string());
        if let Some(dir) = wish.dirs.iter().find(taken) {
            return Err(RegistrationError::DirectoryTaken { broker, dir: *dir, other: *other });
        }
    }
    Ok(())
}

/// Two brokers have to reach each other. One that was alone did not need to say where it is.
fn check_reachable(image: &Image, wish: &Application) -> Result<(), RegistrationError> {
    let broker = wish.broker;
    let mut others = image.brokers.iter().filter(|(id, _)| **id != broker).peekable();
    if others.peek().is_none() {
        return Ok(());
    }
    let nowhere = |listeners: &[Endpoint]| listeners.iter().find(|listener| listener.host.is_empty()).cloned();
    let invalid = |reason: String| Err(RegistrationError::Invalid { broker, reason });
    if let Some(Endpoint { name, port, .. }) = nowhere(&wish.listeners) {
        return invalid(format!(
            "its listener {name} takes connections on every address of its machine, and says none that the other brokers could reach \
             it by: start it with advertised.listeners={name}://HOST:{port}"
        ));
    }
    match others.find_map(|(id, known)| Some((id, nowhere(&known.registration.listeners)?))) {
        None => Ok(()),
        Some((id, Endpoint { name, port, .. })) => invalid(format!(
            "broker {id}, which was alone until now, does not say where other brokers reach it: start broker {id} again with \
             advertised.listeners={name}://HOST:{port} first"
        )),
    }
}

/// Another process was this node. A port can be had by one process only: where the new one listens at the old one's
/// address, and the old one's connection is closed, that one has ended.
fn check_not_taken(
    known: &Registration,
    fenced: bool,
    presence: Presence,
    wish: &Application,
) -> Result<(), RegistrationError> {
    let same_place = known.listeners.iter().any(|endpoint| wish.listeners.contains(endpoint));
    let ended = match presence {
        Presence::Gone => true,
        Presence::Doubtful => fenced || same_place,
        Presence::Here => false,
    };
    if ended {
        return Ok(());
    }
    let at = known.listeners.first().map_or_else(String::new, |at| format!("{}:{}", at.host, at.port));
    Err(RegistrationError::Duplicate { broker: wish.broker, at })
}

/// What a broker says every few seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// `node.id`
    pub broker: i32,
    /// The epoch of its registration.
    pub epoch: i64,
    /// The version of the metadata that it has applied.
    pub applied: i64,
    /// It wants to lead nothing.
    pub want_fence: bool,
    /// It wants to stop.
    pub want_shut_down: bool,
    /// Whether all its log directories are cordoned, if it says.
    pub cordoned: Option<bool>,
    /// Partitions that it cannot serve, since their log directory has failed.
    pub offline: Vec<(Uuid, i32)>,
}

/// What a broker is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It has applied the metadata up to its registration.
    pub caught_up: bool,
    /// It leads nothing, and clients are not shown it.
    pub fenced: bool,
    /// Nothing needs it any more.
    pub should_shut_down: bool,
    /// What changes.
    pub records: Vec<Record>,
}

/// Why a heartbeat, or another request of a broker, is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerEpochError {
    /// The cluster knows no such broker.
    #[error("broker {broker} is not registered")]
    NotRegistered {
        /// The node id.
        broker: i32,
    },
    /// It is of an earlier life of the broker.
    #[error("broker {broker} has epoch {current}, the request is of epoch {given}")]
    Stale {
        /// The node id.
        broker: i32,
        /// As the request says.
        given: i64,
        /// As it is.
        current: i64,
    },
}

/// Whether a request is of the registered life of a broker.
///
/// # Errors
/// It is not.
pub fn check_epoch(image: &Image, broker: i32, epoch: i64) -> Result<(), BrokerEpochError> {
    match image.brokers.get(&broker) {
        None => Err(BrokerEpochError::NotRegistered { broker }),
        Some(known) if known.registration.epoch != epoch => {
            Err(BrokerEpochError::Stale { broker, given: epoch, current: known.registration.epoch })
        }
        Some(_) => Ok(()),
    }
}

/// Decides on a heartbeat.
///
/// # Errors
/// It is not of the broker as it is registered.
pub fn beat(image: &Image, beat: &Beat, defaults: ElectionDefaults) -> Result<Verdict, BrokerEpochError> {
    let Beat { broker, epoch, .. } = *beat;
    check_epoch(image, broker, epoch)?;
    let known = image.brokers.get(&broker).ok_or(BrokerEpochError::NotRegistered { broker })?;
    let mut verdict = Verdict { caught_up: beat.applied >= epoch, fenced: known.fenced, ..Verdict::default() };
    if beat.want_shut_down {
        // What could go elsewhere does so when the record is applied: then nothing needs the broker any more.
        verdict.should_shut_down = true;
        if beat.want_fence && !known.fenced {
            verdict.fenced = true;
            verdict.records.push(Record::BrokerFenced { broker, epoch, defaults });
        } else if known.is_active() {
            verdict.records.push(Record::BrokerInControlledShutdown { broker, epoch, defaults });
        }
        return Ok(verdict);
    }
    match (known.fenced, beat.want_fence) {
        (true, false) if verdict.caught_up => {
            verdict.fenced = false;
            verdict.records.push(Record::BrokerUnfenced { broker, epoch, defaults });
        }
        (false, true) => {
            verdict.fenced = true;
            verdict.records.push(Record::BrokerFenced { broker, epoch, defaults });
        }
        _ => {}
    }
    if let Some(cordoned) = beat.cordoned.filter(|cordoned| *cordoned != known.cordoned) {
        verdict.records.push(Record::BrokerCordoned { broker, epoch, cordoned });
    }
    verdict.records.extend(offline_records(image, beat, defaults));
    Ok(verdict)
}

/// How many partitions one heartbeat moves away; the next one takes the rest.
const MOVED_AT_ONCE: usize = 1000;

/// Partitions on a disk that failed leave their broker, if others can go on with them.
fn offline_records(image: &Image, beat: &Beat, defaults: ElectionDefaults) -> Vec<Record> {
    let broker = beat.broker;
    let record = |(id, index): &(Uuid, i32)| {
        let topic = image.topic_by_id(*id)?;
        let partition = topic.partitions.get(usize::try_from(*index).ok()?)?;
        if partition.leader != broker && !partition.isr.contains(&broker) {
            return None;
        }
        let may_lead = |replica: i32| replica != broker && image.is_active(replica);
        let others: Vec<i32> = partition.isr.iter().copied().filter(|replica| *replica != broker).collect();
        if !others.iter().any(|replica| may_lead(*replica)) {
            return None;
        }
        let rules = rules(topic, &image.cluster_configs, defaults);
        let lost = [broker];
        let goal = Goal { isr: Some(&others), lost: &lost, ..Goal::elect(Election::Online, rules.min_insync_replicas) };
        let state = settle(partition, &goal, &may_lead)?.state();
        Some(Record::PartitionChanged { id: *id, partition: *index, state })
    };
    beat.offline.iter().filter_map(record).take(MOVED_AT_ONCE).collect()
}

/// The records by which a broker leaves for good: whatever it led goes to others first.
///
/// # Errors
/// It is not registered.
pub fn unregister(image: &Image, broker: i32, defaults: ElectionDefaults) -> Result<Vec<Record>, BrokerEpochError> {
    let known = image.brokers.get(&broker).ok_or(BrokerEpochError::NotRegistered { broker })?;
    let epoch = known.registration.epoch;
    let fenced = (!known.fenced).then_some(Record::BrokerFenced { broker, epoch, defaults });
    Ok(fenced.into_iter().chain([Record::BrokerUnregistered { broker }]).collect())
}

/// The record that fences a broker which is not heard any more, if that is news.
pub fn fence(image: &Image, broker: i32, epoch: i64, defaults: ElectionDefaults) -> Option<Record> {
    let known = image.broker_of_epoch(broker, epoch)?;
    (!known.fenced).then_some(Record::BrokerFenced { broker, epoch, defaults })
}

#[cfg(test)]
#[path = "registration_tests.rs"]
mod tests;
