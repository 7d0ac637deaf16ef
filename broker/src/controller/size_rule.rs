//! The size rule among all registered brokers: what any of them, or any topic, accepts, each of them must be able to
//! fetch. Pure.
//!
//! `config::size_rule` checks the same within the file of one broker. Here stand the doors that see more than one: a
//! registration, a setting made at run time, a topic. Only what a change brings in is held against it, so that an old
//! conflict keeps nobody from repairing another.

use crate::topics::image::{Configs, Image};
use crate::topics::record::Registration;

const MESSAGE_MAX_BYTES: &str = "message.max.bytes";
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";

/// Two settings that do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeConflict {
    /// The broker that could not fetch.
    pub broker: i32,
    /// Its `replica.fetch.max.bytes`.
    pub fetch: u64,
    /// Who accepts more than that.
    pub accepts: Accepts,
}

/// Who accepts batches of so many bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// `message.max.bytes` of a broker.
    Broker { id: i32, bytes: u64 },
    /// `max.message.bytes` of a topic.
    Topic { name: String, bytes: u64 },
}

impl std::error::Error for SizeConflict {}

impl std::fmt::Display for SizeConflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let SizeConflict { broker, fetch, accepts } = self;
        let (what, bytes, lower) = match accepts {
            Accepts::Broker { id, bytes } => (
                format!("{MESSAGE_MAX_BYTES}={bytes} of broker {id}"),
                bytes,
                format!(
                    "kafka-configs.sh --alter --entity-type brokers --entity-name {id} --add-config {MESSAGE_MAX_BYTES}={fetch}"
                ),
            ),
            Accepts::Topic { name, bytes } => (
                format!("{MAX_MESSAGE_BYTES}={bytes} of topic {name}"),
                bytes,
                format!("jackdaw topic alter {name} --config {MAX_MESSAGE_BYTES}={fetch}"),
            ),
        };
        write!(
            f,
            "replica.fetch.max.bytes={fetch} of broker {broker} is less than {what}: broker {broker} could not replicate \
             the largest batches. Either start broker {broker} with a larger one, jackdaw serve --override \
             replica.fetch.max.bytes={bytes} (or remove the setting there: it then follows by itself), or lower the other: \
             {lower}"
        )
    }
}

/// What the rule compares of one broker.
struct Sizes {
    id: i32,
    message: u64,
    fetch: Option<u64>,
}

fn sizes(id: i32, registration: &Registration, cluster: &Configs, own: Option<&Configs>) -> Sizes {
    let given = own.and_then(|own| own.get(MESSAGE_MAX_BYTES)).or_else(|| cluster.get(MESSAGE_MAX_BYTES));
    let message = given.and_then(|value| value.trim().parse().ok()).unwrap_or(registration.message_max_bytes);
    Sizes { id, message, fetch: registration.replica_fetch_max_bytes }
}

fn all_sizes(image: &Image) -> impl Iterator<Item = Sizes> {
    image
        .brokers
        .iter()
        .map(|(id, broker)| sizes(*id, &broker.registration, &image.cluster_configs, image.broker_configs.get(id)))
}

fn topic_sizes(image: &Image) -> impl Iterator<Item = (&str, u64)> {
    image.topics().filter_map(|topic| {
        let bytes = topic.configs.get(MAX_MESSAGE_BYTES)?.trim().parse().ok()?;
        Some((&*topic.name, bytes))
    })
}

/// The largest batch that anything accepts: what `replica.fetch.max.bytes` follows where it is not set.
pub fn largest_batch(image: &Image) -> u64 {
    topic_sizes(image).map(|(_, bytes)| bytes).max().unwrap_or(0).max(largest_of_brokers(image))
}

/// The largest batch that any broker accepts for a topic without a setting of its own: a leader goes by its own
/// `message.max.bytes`, which may be more than that of its followers.
pub fn largest_of_brokers(image: &Image) -> u64 {
    all_sizes(image).map(|sizes| sizes.message).max().unwrap_or(0)
}

fn check_pair(fetcher: &Sizes, accepts: impl FnOnce() -> Accepts, bytes: u64) -> Result<(), SizeConflict> {
    match fetcher.fetch {
        Some(fetch) if fetch < bytes => Err(SizeConflict { broker: fetcher.id, fetch, accepts: accepts() }),
        _ => Ok(()),
    }
}

fn check_brokers(fetcher: &Sizes, leader: &Sizes) -> Result<(), SizeConflict> {
    let accepts = || Accepts::Broker { id: leader.id, bytes: leader.message };
    check_pair(fetcher, accepts, leader.message)
}

/// Whether a broker with these settings may join.
///
/// # Errors
/// The first conflict with a broker that is registered, or with a topic.
pub fn check_registration(image: &Image, broker: i32, registration: &Registration) -> Result<(), SizeConflict> {
    let this = sizes(broker, registration, &image.cluster_configs, image.broker_configs.get(&broker));
    check_brokers(&this, &this)?;
    for other in all_sizes(image).filter(|other| other.id != broker) {
        check_brokers(&this, &other)?;
        check_brokers(&other, &this)?;
    }
    topic_sizes(image)
        .try_for_each(|(name, bytes)| check_pair(&this, || Accepts::Topic { name: name.to_owned(), bytes }, bytes))
}

/// Whether a topic with these overrides may be made, or be altered to have them. One that inherits follows
/// `message.max.bytes`, which was checked by itself.
///
/// # Errors
/// The first broker that could not fetch from it.
pub fn check_topic(image: &Image, topic: &str, configs: &Configs) -> Result<(), SizeConflict> {
    let Some(bytes) = configs.get(MAX_MESSAGE_BYTES).and_then(|value| value.trim().parse().ok()) else { return Ok(()) };
    let before = image.topic(topic).and_then(|known| known.configs.get(MAX_MESSAGE_BYTES)?.trim().parse().ok());
    if before.is_some_and(|before: u64| before >= bytes) {
        return Ok(());
    }
    let accepts = || Accepts::Topic { name: topic.to_owned(), bytes };
    all_sizes(image).try_for_each(|broker| check_pair(&broker, accepts, bytes))
}

/// Whether the settings of one broker, or, without `broker`, those of all, may become `after`.
///
/// # Errors
/// The first broker that could not fetch what another would accept from then on.
pub fn check_configs(image: &Image, broker: Option<i32>, after: &Configs) -> Result<(), SizeConflict> {
    let with = |id: &i32, registration: &Registration| {
        let (cluster, own) = (&*image.cluster_configs, image.broker_configs.get(id));
        match broker {
            None => sizes(*id, registration, after, own),
            Some(changed) if changed == *id => sizes(*id, registration, cluster, Some(after)),
            Some(_) => sizes(*id, registration, cluster, own),
        }
    };
    let then: Vec<Sizes> = image.brokers.iter().map(|(id, known)| with(id, &known.registration)).collect();
    for (before, leader) in all_sizes(image).zip(&then).filter(|(before, after)| after.message > before.message) {
        debug_assert_eq!(before.id, leader.id);
        then.iter().try_for_each(|fetcher| check_brokers(fetcher, leader))?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "size_rule_tests.rs"]
mod tests;
