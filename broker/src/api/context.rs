//! What a handler may touch.

use std::net::SocketAddr;
use std::sync::Arc;

use jackdaw_protocol::messages::StrBytes;

use crate::broker::Broker;

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// Clients and brokers.
    Clients,
    /// Controllers, and brokers that ask the controller.
    Controller,
}

/// One client connection, as handlers see it.
pub struct ConnectionInfo {
    /// Unique in this process.
    pub id: u64,
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that the client dialled.
    pub local: SocketAddr,
    /// Name of the listener, which decides the advertised addresses.
    pub listener: Arc<str>,
    /// What that listener is for.
    pub serving: Serving,
}

/// The surroundings of one request.
pub struct Context<'a> {
    /// The broker.
    pub broker: &'a Arc<Broker>,
    /// The connection that the request came on.
    pub connection: &'a Arc<ConnectionInfo>,
    /// The header's client id.
    pub client_id: Option<&'a StrBytes>,
    /// The request's version, in the served range.
    pub api_version: i16,
}

impl Context<'_> {
    /// The client id, or "" where the client sent none.
    pub fn client_id(&self) -> &str {
        self.client_id.map_or("", |id| id.as_str())
    }

    /// The client's host as group members report it: `/127.0.0.1`, as Kafka prints it.
    pub fn client_host(&self) -> String {
        format!("/{}", self.connection.peer.ip())
    }
}
