//! Listeners: where the broker listens, and what it tells clients to connect to.

use std::fmt;
use std::sync::Arc;

/// How a listener is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Upper case, unique.
    pub name: Arc<str>,
    pub protocol: SecurityProtocol,
    /// Where to bind; empty means every address of the machine.
    pub host: String,
    /// 0 asks the system for a free port.
    pub port: u16,
    /// What clients are told to connect to. None: the host bound, or this machine's name where that is every address.
    pub advertised_host: Option<String>,
    /// None: the port bound.
    pub advertised_port: Option<u16>,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.name, self.host, self.port)
    }
}
