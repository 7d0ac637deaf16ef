//! Who is in the metadata quorum, as the settings say it, and what is nonsense there.

use super::broker::Roles;
use super::definition;
use super::error::ConfigError;
use super::listener::{Listener, Listeners, SecurityProtocol};
use super::values::Values;

const VOTERS: &str = "controller.quorum.voters";
const BOOTSTRAP: &str = "controller.quorum.bootstrap.servers";
const ROLES: &str = "process.roles";
const NAMES: &str = "controller.listener.names";
const ADVERTISED: &str = "advertised.listeners";

/// One entry of `controller.quorum.voters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Its `node.id`.
    pub id: i32,
    /// Its controller listener, `host:port`.
    pub address: String,
}

/// `host:port`, an IPv6 address in brackets; none where it is neither, or the port 0.
pub fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let host = bare.unwrap_or(host);
    (!host.is_empty() && (bare.is_some() || !host.contains(':'))).then_some((host, port))
}

fn voter(text: &str) -> Option<Voter> {
    let (id, address) = text.split_once('@')?;
    let id = id.trim().parse().ok().filter(|id| *id >= 0)?;
    host_and_port(address)?;
    Some(Voter { id, address: address.to_owned() })
}

/// The voters named; what cannot be read is left out.
pub(super) fn voters(values: &Values) -> Vec<Voter> {
    values.list(VOTERS).iter().filter_map(|text| voter(text)).collect()
}

/// The controller listeners that this node opens: a node alone needs none, and one that it could not secure as asked
/// stays closed.
pub(super) fn opened(values: &Values, listeners: &[Listener]) -> Vec<Listener> {
    let is_alone = is_alone(values);
    let serves = |listener: &&Listener| !is_alone || listener.protocol == SecurityProtocol::Plaintext;
    let named = !is_alone || values.given(VOTERS).is_some();
    listeners.iter().filter(|listener| named && serves(listener)).cloned().collect()
}

/// No other node is named.
pub(super) fn is_alone(values: &Values) -> bool {
    definition::list(values.effective(VOTERS).unwrap_or_default()).len() < 2
        && definition::list(values.effective(BOOTSTRAP).unwrap_or_default()).is_empty()
        && super::broker::roles(values).controller
}

/// Checks at start.
pub(super) fn check(values: &Values, listeners: &Listeners, errors: &mut Vec<ConfigError>, warnings: &mut Vec<String>) {
    let roles = super::broker::roles(values);
    check_entries(values, errors);
    let voters = voters(values);
    check_distinct(values, &voters, errors);
    check_roles(values, roles, listeners, errors);
    check_own(values, roles, &voters, errors);
    if !is_alone(values) {
        check_reachable(values, listeners, &voters, errors);
    }
    if roles.controller && !is_alone(values) {
        check_listener(values, listeners, &voters, errors, warnings);
    }
}

/// The other nodes, and the clients that they tell, need an address to reach this one by; "every address of this machine" is
/// none.
fn check_reachable(values: &Values, listeners: &Listeners, voters: &[Voter], errors: &mut Vec<ConfigError>) {
    let named = voters.iter().any(|voter| voter.id == values.int("node.id"));
    // Where the voters are listed, the list says where each is.
    let controllers = listeners.controllers.iter().filter(|_| !named);
    for listener in listeners.clients.iter().chain(controllers).filter(|listener| listener.advertised_host.is_none()) {
        let (name, port) = (&listener.name, listener.port);
        let message = format!(
            "Listener {listener} takes connections on every address of this machine, and the other nodes of the cluster are told \
             none that they could reach it by. Set {ADVERTISED}={name}://HOST:{port}, with a host name or address of this \
             machine that the others know, or give listeners one address: {name}://HOST:{port}."
        );
        errors.push(fault(values, ADVERTISED, message));
    }
}

fn check_entries(values: &Values, errors: &mut Vec<ConfigError>) {
    for text in values.list(VOTERS).iter().filter(|text| voter(text).is_none()) {
        let message = format!("Cannot read {text:?} in {VOTERS}: a voter is id@host:port, such as 1@127.0.0.1:9093.");
        errors.push(fault(values, VOTERS, message));
    }
    for text in values.list(BOOTSTRAP).iter().filter(|text| host_and_port(text).is_none()) {
        let message = format!(
            "Cannot read {text:?} in {BOOTSTRAP}: an entry is host:port of a controller listener, such as 127.0.0.1:9093."
        );
        errors.push(fault(values, BOOTSTRAP, message));
    }
}

fn check_distinct(values: &Values, voters: &[Voter], errors: &mut Vec<ConfigError>) {
    for (at, voter) in voters.iter().enumerate() {
        if voters[..at].iter().any(|other| other.id == voter.id) {
            let message = format!("{VOTERS} names node {} twice: each voter has an id of its own.", voter.id);
            errors.push(fault(values, VOTERS, message));
        } else if let Some(other) = voters[..at].iter().find(|other| other.address == voter.address) {
            let message = format!(
                "{VOTERS} gives nodes {} and {} the same address {}: correct one of them.",
                other.id, voter.id, voter.address
            );
            errors.push(fault(values, VOTERS, message));
        }
    }
}

fn check_roles(values: &Values, roles: Roles, listeners: &Listeners, errors: &mut Vec<ConfigError>) {
    let known = |role: &String| role == "broker" || role == "controller";
    let given = values.list(ROLES);
    if given.is_empty() || !given.iter().all(known) {
        let message = format!("{ROLES} must be broker, controller, or broker,controller.");
        errors.push(fault(values, ROLES, message));
        return;
    }
    if !roles.broker
        && let Some(listener) = listeners.clients.first()
    {
        let message = format!(
            "{ROLES}=controller serves no clients, but listener {} is none of {NAMES}: take it out of listeners, or set \
             {ROLES}=broker,controller.",
            listener.name
        );
        errors.push(fault(values, ROLES, message));
    }
    if !roles.controller
        && let Some(listener) = listeners.controllers.first()
    {
        let message = format!(
            "{ROLES}=broker is no controller, but listener {} is one of {NAMES}: take it out of listeners, or set \
             {ROLES}=broker,controller.",
            listener.name
        );
        errors.push(fault(values, ROLES, message));
    }
}

/// A node that was meant for a cluster must not start as one of its own: it would take data that the others never see.
fn check_own(values: &Values, roles: Roles, voters: &[Voter], errors: &mut Vec<ConfigError>) {
    let (node, text) = (values.int("node.id"), values.effective(VOTERS).unwrap_or_default());
    let named = voters.iter().any(|voter| voter.id == node);
    if roles.controller && !voters.is_empty() && !named {
        let message = format!(
            "{VOTERS}={text} does not name node.id={node}, which is a controller: name it there, as {node}@host:port of its \
             controller listener, or set {ROLES}=broker."
        );
        errors.push(fault(values, VOTERS, message));
    }
    if roles.broker && !roles.controller && named {
        let message = format!(
            "{VOTERS}={text} names node.id={node}, which is no controller: set {ROLES}=broker,controller, or take it out there."
        );
        errors.push(fault(values, VOTERS, message));
    }
    if roles.broker && !roles.controller && voters.is_empty() && values.list(BOOTSTRAP).is_empty() {
        let message = format!(
            "{ROLES}=broker needs controllers: name their controller listeners in {BOOTSTRAP}=host:port,..., or set \
             {ROLES}=broker,controller."
        );
        errors.push(fault(values, ROLES, message));
    }
}

fn check_listener(
    values: &Values,
    listeners: &Listeners,
    voters: &[Voter],
    errors: &mut Vec<ConfigError>,
    warnings: &mut Vec<String>,
) {
    if listeners.controllers.is_empty() {
        let names = values.effective(NAMES).filter(|names| !names.is_empty()).unwrap_or("CONTROLLER");
        let message = format!(
            "The other controllers cannot reach this one: listeners has none of {NAMES}={names}. Add {names}://host:port to \
             listeners, with {NAMES}={names}."
        );
        errors.push(fault(values, NAMES, message));
    }
    for listener in listeners.controllers.iter().filter(|l| l.protocol != SecurityProtocol::Plaintext) {
        let message = format!(
            "Controller listener {} is to speak {}, which this version of Jackdaw does not: it serves PLAINTEXT only. Map it to \
             PLAINTEXT in listener.security.protocol.map if the network is trusted.",
            listener.name,
            listener.protocol.name()
        );
        errors.push(fault(values, "listener.security.protocol.map", message));
    }
    let own = voters.iter().find(|voter| voter.id == values.int("node.id"));
    let told = own.and_then(|own| host_and_port(&own.address));
    if let Some((_, told)) = told
        && !listeners.controllers.is_empty()
        && listeners.controllers.iter().all(|listener| listener.port != told && listener.port != 0)
    {
        warnings.push(format!(
            "{VOTERS} says that this node's controller listener has port {told}, and no controller listener in listeners has: \
             the others reach it only if something forwards that port."
        ));
    }
}

fn fault(values: &Values, key: &str, message: String) -> ConfigError {
    let error = ConfigError::new(key, values.effective(key), message);
    match values.fixed.get(key) {
        Some(given) => error.at(&given.origin),
        None => error,
    }
}
