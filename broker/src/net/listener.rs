//! Listening sockets, and the door at which connections are counted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::connection;
use crate::api::ConnectionInfo;
use crate::broker::Broker;

/// A listener that is bound but not yet served.
pub struct Bound {
    /// Its name in `listeners`.
    pub name: Arc<str>,
    /// Its address; the port is the real one where 0 was asked for.
    pub address: SocketAddr,
    listener: TcpListener,
}

impl Bound {
    pub(super) async fn accept(&self) -> io::Result<TcpStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

/// A listener that cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has the port.
    #[error(
        "listener {name}: port {port} of {host} is in use by another process; stop it, or listen elsewhere: \
         --listen {host}:PORT or listeners={name}://{host}:PORT"
    )]
    InUse {
        /// Listener name.
        name: String,
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
    },
    /// Any other reason.
    #[error("listener {name}: cannot listen on {host}:{port}: {source}")]
    Other {
        /// Listener name.
        name: String,
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
        /// The system's reason.
        source: io::Error,
    },
}

/// Binds one listener; an empty host means every interface.
pub async fn bind(name: &str, host: &str, port: u16) -> Result<Bound, ListenError> {
    let asked = if host.is_empty() { "0.0.0.0" } else { host };
    let listener = TcpListener::bind((asked, port)).await.map_err(|source| {
        let (name, host) = (name.to_owned(), asked.to_owned());
        match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { name, host, port },
            _ => ListenError::Other { name, host, port, source },
        }
    })?;
    let address = listener.local_addr().map_err(|source| ListenError::Other {
        name: name.to_owned(),
        host: asked.to_owned(),
        port,
        source,
    })?;
    Ok(Bound { name: name.into(), address, listener })
}

/// Accepts connections until the task is dropped.
pub async fn serve(bound: Bound, broker: Arc<Broker>) {
    loop {
        match bound.listener.accept().await {
            Ok((stream, peer)) => admit(stream, peer, &bound.name, &broker),
            Err(error) => {
                // Out of descriptors, most often: the connections that are open go on, new ones wait in the backlog.
                tracing::warn!(listener = %bound.name, %error, "cannot accept a connection; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn admit(stream: TcpStream, peer: SocketAddr, listener: &Arc<str>, broker: &Arc<Broker>) {
    let (total, per_address) = broker.connection_limits(peer.ip());
    let (id, vitals) = match broker.connections.enter(peer.ip(), total, per_address) {
        Ok(entered) => entered,
        Err(refused) => {
            tracing::warn!(%peer, %refused, "connection refused");
            return;
        }
    };
    let Ok(local) = stream.local_addr() else {
        broker.connections.leave(id, peer.ip());
        return;
    };
    // Answers are small and complete: waiting for more to fill a packet only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY refused");
    }
    let serving = broker.serving(listener);
    let info = Arc::new(ConnectionInfo { id, peer, local, listener: listener.clone(), serving });
    let broker = broker.clone();
    tokio::spawn(async move {
        connection::run(stream, info, vitals, broker.clone()).await;
        broker.connections.leave(id, peer.ip());
        broker.members.connection_closed(broker.clock.monotonic(), id);
    });
}
