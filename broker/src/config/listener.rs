//! Listeners: where the broker listens, and what it tells clients to connect to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::definition;
use super::error::ConfigError;
use super::values::Values;

const LISTENERS: &str = "listeners";
const ADVERTISED: &str = "advertised.listeners";
const PROTOCOL_MAP: &str = "listener.security.protocol.map";
const CONTROLLER_NAMES: &str = "controller.listener.names";
const INTER_BROKER_NAME: &str = "inter.broker.listener.name";
const INTER_BROKER_PROTOCOL: &str = "security.inter.broker.protocol";

/// How a listener is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's name of the protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    /// Kafka's number of the protocol.
    pub const fn code(self) -> i16 {
        match self {
            Self::Plaintext => 0,
            Self::Ssl => 1,
            Self::SaslPlaintext => 2,
            Self::SaslSsl => 3,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl]
            .into_iter()
            .find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Upper case, unique.
    pub name: Arc<str>,
    pub protocol: SecurityProtocol,
    /// Where to bind; empty means every address of the machine (as do 0.0.0.0 and ::).
    pub host: String,
    /// 0 asks the system for a free port.
    pub port: u16,
    /// What clients are told to connect to. None where nothing is advertised and the listener is bound to
    /// every address: a client is best told the address by which it came in.
    pub advertised_host: Option<String>,
    /// None: the port bound.
    pub advertised_port: Option<u16>,
}

impl Listener {
    /// Whether the listener is bound to every address of the machine.
    pub fn is_wildcard(&self) -> bool {
        is_wildcard(&self.host)
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        if host.contains(':') {
            write!(f, "{}://[{host}]:{}", self.name, self.port)
        } else {
            write!(f, "{}://{host}:{}", self.name, self.port)
        }
    }
}

fn is_wildcard(host: &str) -> bool {
    matches!(host, "" | "0.0.0.0" | "::" | "0:0:0:0:0:0:0:0")
}

/// All listeners of a configuration.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    pub(super) clients: Vec<Listener>,
    pub(super) controllers: Vec<Listener>,
    pub(super) inter_broker: String,
}

/// One `NAME://host:port`.
#[derive(Debug)]
struct Entry {
    name: String,
    host: String,
    port: u16,
}

/// Reads every setting about listeners; what is wrong is added to `errors`.
pub(super) fn read(values: &Values, errors: &mut Vec<ConfigError>) -> Listeners {
    let before = errors.len();
    let entries = entries(LISTENERS, values, errors);
    let advertised = entries_of_optional(ADVERTISED, values, errors);
    check_distinct(&entries, errors);
    let controller_names = names(values, CONTROLLER_NAMES);
    let protocols = protocol_map(values, &entries, &controller_names, errors);
    if errors.len() > before {
        return Listeners::default();
    }
    check_advertised(values, &entries, &advertised, errors);
    let (mut clients, mut controllers) = (Vec::new(), Vec::new());
    for entry in entries {
        let is_controller = controller_names.contains(&entry.name);
        let Some(&protocol) = protocols.get(&entry.name) else {
            errors.push(unmapped(values, &entry.name));
            continue;
        };
        if !is_controller && protocol != SecurityProtocol::Plaintext {
            errors.push(unserved(values, &entry.name, protocol));
            continue;
        }
        let told = advertised.iter().find(|told| told.name == entry.name);
        let listener = entry.into_listener(protocol, told);
        if is_controller { controllers.push(listener) } else { clients.push(listener) }
    }
    let inter_broker = inter_broker_name(values, &clients, errors);
    if clients.is_empty() && super::broker::roles(values).broker && errors.len() == before {
        errors.push(ConfigError::new(
            LISTENERS,
            values.effective(LISTENERS),
            format!(
                "No listener is left for clients: every name in {LISTENERS} is also in {CONTROLLER_NAMES}. Add one, \
                 such as PLAINTEXT://:9092."
            ),
        ));
    }
    Listeners { clients, controllers, inter_broker }
}

impl Entry {
    fn into_listener(self, protocol: SecurityProtocol, told: Option<&Self>) -> Listener {
        let (advertised_host, advertised_port) = match told {
            Some(told) => (Some(told.host.clone()), (told.port != 0).then_some(told.port)),
            None if is_wildcard(&self.host) => (None, None),
            None => (Some(self.host.clone()), None),
        };
        Listener {
            name: self.name.into(),
            protocol,
            host: if is_wildcard(&self.host) { String::new() } else { self.host },
            port: self.port,
            advertised_host,
            advertised_port,
        }
    }
}

fn names(values: &Values, key: &str) -> Vec<String> {
    definition::list(values.effective(key).unwrap_or_default()).into_iter().map(str::to_ascii_uppercase).collect()
}

fn entries_of_optional(key: &str, values: &Values, errors: &mut Vec<ConfigError>) -> Vec<Entry> {
    if values.effective(key).is_some_and(|value| !value.is_empty()) { entries(key, values, errors) } else { Vec::new() }
}

fn entries(key: &str, values: &Values, errors: &mut Vec<ConfigError>) -> Vec<Entry> {
    let value = values.effective(key).unwrap_or_default();
    let parts = definition::list(value);
    if parts.is_empty() {
        errors.push(fault(
            values,
            key,
            format!("{key} is empty: it needs at least one listener such as PLAINTEXT://:9092."),
        ));
    }
    let mut entries: Vec<Entry> = Vec::new();
    for part in parts {
        match entry(part) {
            Ok(entry) if entries.iter().any(|other| other.name == entry.name) => errors.push(fault(
                values,
                key,
                format!("Two listeners in {key} are named {}: give each its own name and map it in {PROTOCOL_MAP}.", entry.name),
            )),
            Ok(entry) => entries.push(entry),
            Err(why) => errors.push(fault(
                values,
                key,
                format!("Cannot read {part:?} in {key}: {why}. A listener is NAME://host:port, such as PLAINTEXT://127.0.0.1:9092."),
            )),
        }
    }
    entries
}

fn entry(text: &str) -> Result<Entry, &'static str> {
    let (name, address) = text.split_once("://").ok_or("it has no ://")?;
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')) {
        return Err("its name is not letters, digits, - or _");
    }
    let (host, port) = address.rsplit_once(':').ok_or("it has no port")?;
    let port = port.parse::<u16>().map_err(|_| "its port is not a number from 0 to 65535")?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').ok_or("its [ is not closed")?,
        None if host.contains(':') && host != "::" => return Err("an IPv6 address needs [ ] around it"),
        None => host,
    };
    if !host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'%')) {
        return Err("its host is neither a name nor an address");
    }
    Ok(Entry { name: name.to_ascii_uppercase(), host: host.to_owned(), port })
}

fn check_distinct(entries: &[Entry], errors: &mut Vec<ConfigError>) {
    for (at, entry) in entries.iter().enumerate() {
        let clash = entries[..at].iter().find(|other| {
            entry.port != 0
                && other.port == entry.port
                && (other.host == entry.host || is_wildcard(&other.host) && is_wildcard(&entry.host))
        });
        if let Some(other) = clash {
            errors.push(ConfigError::new(
                LISTENERS,
                None,
                format!(
                    "Listeners {} and {} both listen on port {}: give one another port.",
                    other.name, entry.name, entry.port
                ),
            ));
        }
    }
}

/// Listener name to protocol. Where the map is not given, controller listeners are plaintext.
fn protocol_map(
    values: &Values,
    entries: &[Entry],
    controller_names: &[String],
    errors: &mut Vec<ConfigError>,
) -> BTreeMap<String, SecurityProtocol> {
    let mut map = BTreeMap::new();
    for pair in definition::list(values.effective(PROTOCOL_MAP).unwrap_or_default()) {
        let parsed = pair.split_once(':').and_then(|(name, protocol)| {
            Some((name.trim().to_ascii_uppercase(), SecurityProtocol::parse(protocol.trim())?))
        });
        match parsed {
            Some((name, protocol)) => {
                if map.insert(name.clone(), protocol).is_some() {
                    errors.push(fault(values, PROTOCOL_MAP, format!("{PROTOCOL_MAP} maps {name} twice: keep one.")));
                }
            }
            None => errors.push(fault(
                values,
                PROTOCOL_MAP,
                format!(
                    "Cannot read {pair:?} in {PROTOCOL_MAP}: an entry is NAME:PROTOCOL, the protocol one of PLAINTEXT, SSL, \
                     SASL_PLAINTEXT, SASL_SSL."
                ),
            )),
        }
    }
    let secured = |name: &String| matches!(name.as_str(), "SSL" | "SASL_SSL" | "SASL_PLAINTEXT");
    let any_secured = controller_names.iter().any(secured) || entries.iter().any(|entry| secured(&entry.name));
    if values.given(PROTOCOL_MAP).is_none() && !any_secured {
        for name in controller_names {
            map.entry(name.clone()).or_insert(SecurityProtocol::Plaintext);
        }
    }
    map
}

fn check_advertised(values: &Values, entries: &[Entry], advertised: &[Entry], errors: &mut Vec<ConfigError>) {
    for told in advertised {
        if is_wildcard(&told.host) {
            errors.push(fault(
                values,
                ADVERTISED,
                format!(
                    "{ADVERTISED} cannot name {:?} for {}: it is no address that a client could connect to. Give a host name or \
                     address of this machine, or leave {ADVERTISED} out.",
                    told.host, told.name
                ),
            ));
        }
        if !entries.iter().any(|entry| entry.name == told.name) {
            let known = entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ");
            errors.push(fault(
                values,
                ADVERTISED,
                format!(
                    "{ADVERTISED} names {}, which {LISTENERS} does not have: use one of {known}, or add it there.",
                    told.name
                ),
            ));
        }
    }
}

fn inter_broker_name(values: &Values, clients: &[Listener], errors: &mut Vec<ConfigError>) -> String {
    let given = values.given(INTER_BROKER_NAME).filter(|name| !name.is_empty()).map(str::to_ascii_uppercase);
    if given.is_some() && values.given(INTER_BROKER_PROTOCOL).is_some() {
        errors.push(fault(
            values,
            INTER_BROKER_NAME,
            format!("Only one of {INTER_BROKER_NAME} and {INTER_BROKER_PROTOCOL} may be set: remove one."),
        ));
    }
    let name = given.clone().or_else(|| names(values, INTER_BROKER_PROTOCOL).pop()).unwrap_or_default();
    if clients.is_empty() || clients.iter().any(|listener| *listener.name == *name) {
        return name;
    }
    let known = clients.iter().map(|listener| &*listener.name).collect::<Vec<_>>();
    match known.as_slice() {
        // Kafka asks for the name here; with one listener there is only one answer.
        [only] if given.is_none() => (*only).to_owned(),
        _ => {
            errors.push(fault(
                values,
                INTER_BROKER_NAME,
                format!(
                    "{INTER_BROKER_NAME}={name} is not among the listeners for clients and brokers: set it to one of {}.",
                    known.join(", ")
                ),
            ));
            name
        }
    }
}

fn unmapped(values: &Values, name: &str) -> ConfigError {
    fault(
        values,
        PROTOCOL_MAP,
        format!("Listener {name} has no security protocol: add {name}:PLAINTEXT to {PROTOCOL_MAP}."),
    )
}

fn unserved(values: &Values, name: &str, protocol: SecurityProtocol) -> ConfigError {
    fault(
        values,
        LISTENERS,
        format!(
            "Listener {name} is to speak {}, which this version of Jackdaw does not: it serves PLAINTEXT only. Map {name} to \
             PLAINTEXT in {PROTOCOL_MAP} if the network is trusted, or put a TLS proxy in front.",
            protocol.name()
        ),
    )
}

fn fault(values: &Values, key: &str, message: String) -> ConfigError {
    let error = ConfigError::new(key, values.effective(key), message);
    match values.fixed.get(key) {
        Some(given) => error.at(&given.origin),
        None => error,
    }
}
