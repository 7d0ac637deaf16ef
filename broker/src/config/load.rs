//! From what is given to a configuration that holds: names, types, bounds, and what settings demand of each other.
//!
//! Everything wrong is found in one go. What is merely odd becomes a warning: Kafka's files carry settings of plugins
//! and of times gone by, and must load.

use std::collections::BTreeMap;

use super::broker::Config;
use super::checks;
use super::error::{ConfigError, ConfigErrors};
use super::listener;
use super::quorum;
use super::size_rule;
use super::sources::{self, ConfigSources};
use super::table;
use super::values::{Given, Origin, Values};

/// A configuration that holds, and what its owner should know about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Probably mistakes: unknown names, values without effect.
    pub warnings: Vec<String>,
    /// Worth a line in the log.
    pub notes: Vec<String>,
}

pub(super) fn load(sources: &ConfigSources) -> Result<Loaded, ConfigErrors> {
    let collected = sources::collect(sources);
    let (mut warnings, mut errors) = (collected.warnings, collected.errors);
    let mut values = Values { fixed: collected.values, ..Values::default() };
    check_names(&values.fixed, &mut warnings);
    check_types(&values, &mut errors);
    settle_node_id(&mut values, &mut errors);
    let listeners = listener::read(&values, &mut errors);
    checks::check(&values, &mut errors);
    checks::check_start(&values, &mut errors, &mut warnings);
    quorum::check(&values, &listeners, &mut errors, &mut warnings);
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    let opened = quorum::opened(&values, &listeners.controllers);
    let mut notes = notes(&values, &listeners.controllers, &opened);
    if let Some(lowered) = size_rule::lowered_message_max_bytes(&values) {
        notes
            .push(format!("message.max.bytes is {lowered}, not its default, so that it fits replica.fetch.max.bytes."));
    }
    let mut config = Config::from_values(values, listeners.clients, opened);
    config.inter_broker_listener_name = listeners.inter_broker;
    config.cluster_id = collected.cluster_id;
    Ok(Loaded { config, warnings, notes })
}

/// The setting behind a name that may be prefixed for one listener (`listener.name.NAME.`) and,
/// for SASL, one mechanism.
pub(super) fn base_name(name: &str) -> &str {
    let Some(rest) = name.strip_prefix("listener.name.").and_then(|rest| rest.split_once('.')).map(|(_, rest)| rest)
    else {
        return name;
    };
    let per_mechanism = [
        "sasl.jaas.config",
        "sasl.login.callback.handler.class",
        "sasl.login.class",
        "sasl.server.callback.handler.class",
        "connections.max.reauth.ms",
    ];
    per_mechanism.into_iter().find(|base| rest.ends_with(base)).unwrap_or(rest)
}

/// Settings that were Kafka's once: found in files that have come a long way.
const OF_OLD: &[&str] = &[
    "auto.include.jmx.reporter",
    "broker.id.generation.enable",
    "control.plane.listener.name",
    "delegation.token.master.key",
    "inter.broker.protocol.version",
    "log.message.downconversion.enable",
    "log.message.format.version",
    "log.message.timestamp.difference.max.ms",
    "offsets.commit.required.acks",
    "reserved.broker.max.id",
];
const OF_OLD_PREFIXES: &[&str] = &["zookeeper.", "password.encoder."];

/// Settings of plugins, whose names no table can know.
const OF_PLUGINS: &[&str] = &["config.providers.", "rlmm.config.", "rsm.config."];

/// Settings of the authorizer that comes with Kafka.
const OF_AUTHORIZER: &[&str] = &["allow.everyone.if.no.acl.found", "super.users"];

fn check_names(given: &BTreeMap<String, Given>, warnings: &mut Vec<String>) {
    for (name, Given { origin, .. }) in given {
        let base = base_name(name);
        if table::broker().contains_key(base) {
            continue;
        }
        let warning = if OF_OLD.contains(&base) || OF_OLD_PREFIXES.iter().any(|prefix| base.starts_with(prefix)) {
            format!("{name} is a setting of Kafka before version 4 and has no effect; remove it")
        } else if OF_PLUGINS.iter().any(|prefix| base.starts_with(prefix)) {
            format!("{name} is for a plugin of the JVM and has no effect")
        } else if OF_AUTHORIZER.contains(&base) {
            format!("{name} has no effect: this version of Jackdaw has no authorization")
        } else {
            match table::nearest(base, table::broker()) {
                Some(known) => format!("unknown setting {name} has no effect; did you mean {known}?"),
                None => format!("unknown setting {name} has no effect; remove it"),
            }
        };
        warnings.push(format!("{warning} ({origin})"));
    }
}

fn check_types(values: &Values, errors: &mut Vec<ConfigError>) {
    for (name, Given { value, origin }) in &values.fixed {
        if let Err(error) = check_type(name, value) {
            errors.push(error.at(origin));
        }
    }
}

/// Checks type and bounds of one broker setting; unknown ones pass.
pub(super) fn check_type(name: &str, value: &str) -> Result<(), ConfigError> {
    let Some(def) = table::broker().get(base_name(name)) else { return Ok(()) };
    // In a file an empty value of a nullable setting is as good as none.
    if value.trim().is_empty() && def.default.is_none() {
        return Ok(());
    }
    def.check(value).map_err(|allowed| match def.is_sensitive() {
        true => ConfigError::invalid_secret(name, allowed),
        false => ConfigError::invalid(name, value, allowed),
    })
}

/// `node.id` and its old name `broker.id` are one: whichever is given stands for both.
fn settle_node_id(values: &mut Values, errors: &mut Vec<ConfigError>) {
    const NODE: &str = "node.id";
    const BROKER: &str = "broker.id";
    let derived = |given: &Given, from| Given { value: given.value.trim().to_owned(), origin: Origin::Derived(from) };
    match (values.fixed.get(NODE), values.fixed.get(BROKER)) {
        (Some(node), Some(broker)) if node.value.trim() != broker.value.trim() => errors.push(ConfigError::new(
            NODE,
            Some(&node.value),
            format!(
                "{NODE}={} ({}) and {BROKER}={} ({}) are the same setting: remove {BROKER}.",
                node.value, node.origin, broker.value, broker.origin
            ),
        )),
        (Some(node), None) => {
            let broker = derived(node, NODE);
            values.fixed.insert(BROKER.to_owned(), broker);
        }
        (None, Some(broker)) => {
            let node = derived(broker, BROKER);
            if let Err(error) = check_type(NODE, &node.value) {
                errors.push(error.at(&broker.origin));
            }
            values.fixed.insert(NODE.to_owned(), node);
        }
        (None, None) => {
            let broker = Given { value: values.int(NODE).to_string(), origin: Origin::Derived(NODE) };
            values.fixed.insert(BROKER.to_owned(), broker);
        }
        (Some(_), Some(_)) => {}
    }
}

fn notes(values: &Values, controllers: &[listener::Listener], opened: &[listener::Listener]) -> Vec<String> {
    let is_closed = |listener: &&listener::Listener| !opened.contains(listener);
    let note = |listener| format!("Controller listener {listener} is not opened: a node alone needs none.");
    let mut notes: Vec<_> = controllers.iter().filter(is_closed).map(note).collect();
    for name in [
        "offsets.topic.replication.factor",
        "transaction.state.log.replication.factor",
        "share.coordinator.state.topic.replication.factor",
    ] {
        if let Some(asked) = values.given(name).filter(|asked| *asked != "1" && quorum::is_alone(values)) {
            notes.push(format!(
                "{name}={asked} is more than one node can hold: its topic gets as many replicas as there are brokers."
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests;
