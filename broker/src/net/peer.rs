//! Another node, as this one calls it: a connection that is made when it is needed, and made again after it ended.
//!
//! Requests are pipelined and answered in their order, so a long poll holds up what is asked behind it: give it a
//! [`Peer`] of its own. Waiting is bounded everywhere: by the call's own deadline, by the timeout of a connect, by the
//! number of requests in flight, and by the request timeout, after which a silent connection is given up.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jackdaw_protocol::guard;
use jackdaw_protocol::messages::{Decodable, Request};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::link::Link;
use crate::limits;

/// How a node calls another one.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// What the requests' headers name: `broker-1`, say.
    pub client_id: String,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// A connection on which nothing comes for so long, although an answer is due, is given up. More than the longest
    /// poll asked for.
    pub request_timeout: Duration,
    /// The longest answer taken.
    pub max_answer_bytes: usize,
    /// Requests that may wait for their answers, or to be sent.
    pub max_in_flight: usize,
    /// The pause after a connection that could not be made, or ended without an answer; doubled each time.
    pub backoff: Duration,
    /// The longest such pause.
    pub max_backoff: Duration,
}

impl PeerConfig {
    /// The usual bounds, for a node that calls itself so.
    pub fn new(client_id: impl Into<String>) -> PeerConfig {
        let mut client_id = client_id.into();
        // A header has two bytes for its length.
        client_id.truncate((0..=255).rev().find(|at| client_id.is_char_boundary(*at)).unwrap_or(0));
        PeerConfig {
            client_id,
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(30),
            max_answer_bytes: 100 * 1024 * 1024,
            max_in_flight: 64,
            backoff: Duration::from_millis(20),
            max_backoff: Duration::from_secs(1),
        }
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Nobody listens there: the process is gone, or not up yet.
    #[error("{address} refuses connections: nothing listens there")]
    Refused {
        /// `host:port`.
        address: String,
    },
    /// There is no way there.
    #[error("{address} cannot be reached: {reason}")]
    Unreachable {
        /// `host:port`.
        address: String,
        /// The system's reason.
        reason: String,
    },
    /// No answer in time. The request may have taken effect.
    #[error("{address} did not answer within {after:?}")]
    TimedOut {
        /// `host:port`.
        address: String,
        /// How long was waited.
        after: Duration,
    },
    /// The connection ended before the answer came. The request may have taken effect.
    #[error("the connection to {address} ended: {reason}")]
    Closed {
        /// `host:port`.
        address: String,
        /// Why.
        reason: String,
    },
    /// The other side does not speak Kafka's protocol, or not this version of it.
    #[error("{address} answered what cannot be read: {reason}")]
    Malformed {
        /// `host:port`.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// The request was not sent: it has no form in this version.
    #[error("the request does not fit version {version} of API {key}: {reason}")]
    Request {
        /// API key.
        key: i16,
        /// The version asked for.
        version: i16,
        /// What is wrong.
        reason: String,
    },
}

impl PeerError {
    /// Whether nobody is there, for sure and now: the process that listened has ended.
    pub fn is_refused(&self) -> bool {
        matches!(self, PeerError::Refused { .. })
    }
}

/// Another node's listener. Dropping it ends its connection.
pub struct Peer {
    host: String,
    port: u16,
    config: PeerConfig,
    link: parking_lot::Mutex<Option<Arc<Link>>>,
    /// Held while a connection is made.
    dialing: Mutex<Dialing>,
}

#[derive(Default)]
struct Dialing {
    /// Connections in a row that brought nothing.
    failures: u32,
    /// Why the last one failed, and until when no other is tried.
    resting: Option<(PeerError, Instant)>,
}

impl Peer {
    /// Knows an address; the connection is made by the first call.
    pub fn new(host: impl Into<String>, port: u16, config: PeerConfig) -> Peer {
        Peer { host: host.into(), port, config, link: parking_lot::Mutex::default(), dialing: Mutex::default() }
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Sends a request and waits for its answer, whose bytes are shared, not copied: records in it are slices of the
    /// frame that was received.
    pub async fn call<R: Request>(
        &self,
        request: &R,
        version: i16,
        within: Duration,
    ) -> Result<R::Response, PeerError> {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).map_err(|error| PeerError::Request {
            key: R::KEY,
            version,
            reason: error.to_string(),
        })?;
        let mut answer = self.call_raw(R::KEY, version, body.freeze(), within).await?;
        let malformed = |reason: String| PeerError::Malformed { address: self.address(), reason };
        guard::check_response(R::KEY, version, &answer).map_err(|error| malformed(error.to_string()))?;
        R::Response::decode(&mut answer, version).map_err(|error| malformed(error.to_string()))
    }

    /// Sends the body of a request and waits for the body of its answer.
    pub async fn call_raw(&self, key: i16, version: i16, body: Bytes, within: Duration) -> Result<Bytes, PeerError> {
        let call = async { self.link().await?.call(key, version, body).await };
        match tokio::time::timeout(within, call).await {
            Ok(answer) => answer,
            Err(_) => Err(self.missed(within).await),
        }
    }

    /// Makes the connection if there is none.
    pub async fn connect(&self, within: Duration) -> Result<(), PeerError> {
        match tokio::time::timeout(within, self.link()).await {
            Ok(link) => link.map(|_| ()),
            Err(_) => Err(self.missed(within).await),
        }
    }

    /// Waits until the connection that is open now has ended, and says why; at once if none is open.
    pub fn closed(&self) -> impl Future<Output = PeerError> + Send + use<> {
        let closed = self.link.lock().as_ref().map(|link| link.closed());
        let address = self.address();
        async move {
            match closed {
                Some(closed) => closed.await,
                None => PeerError::Closed { address, reason: "it was not connected".to_owned() },
            }
        }
    }

    /// Whether a connection is open.
    pub fn is_connected(&self) -> bool {
        self.open_link().is_some()
    }

    /// Ends the connection; those who wait for answers are told so, and the next call makes another.
    pub fn disconnect(&self) {
        if let Some(link) = self.open_link() {
            link.close();
        }
    }

    /// A deadline that passed: while connections fail, that is what is wrong.
    async fn missed(&self, after: Duration) -> PeerError {
        let resting = self.dialing.try_lock().ok().and_then(|dialing| Some(dialing.resting.as_ref()?.0.clone()));
        resting.unwrap_or_else(|| PeerError::TimedOut { address: self.address(), after })
    }

    fn open_link(&self) -> Option<Arc<Link>> {
        self.link.lock().as_ref().filter(|link| link.is_open()).cloned()
    }

    /// The connection, made if it is not there. Others wait meanwhile, each up to its own deadline.
    async fn link(&self) -> Result<Arc<Link>, PeerError> {
        if let Some(link) = self.open_link() {
            return Ok(link);
        }
        let mut dialing = self.dialing.lock().await;
        if let Some(link) = self.open_link() {
            return Ok(link);
        }
        let before = self.link.lock().take();
        match before {
            Some(link) if link.was_answered() => *dialing = Dialing::default(),
            Some(link) => self.rest(&mut dialing, link.why()),
            None => {}
        }
        if let Some((_, until)) = &dialing.resting {
            tokio::time::sleep_until(*until).await;
        }
        match self.dial().await {
            Ok(stream) => {
                let link = Arc::new(Link::start(stream, self.address(), &self.config));
                dialing.resting = None;
                *self.link.lock() = Some(link.clone());
                Ok(link)
            }
            Err(why) => {
                self.rest(&mut dialing, why.clone());
                Err(why)
            }
        }
    }

    fn rest(&self, dialing: &mut Dialing, why: PeerError) {
        let pause = self.config.backoff.saturating_mul(1 << dialing.failures.min(16)).min(self.config.max_backoff);
        dialing.failures = dialing.failures.saturating_add(1);
        // Nodes that lost the same peer shall not come back in step.
        let pause = pause.mul_f64(rand::random_range(0.8..=1.0));
        dialing.resting = Some((why, tokio::time::sleep(pause).deadline()));
    }

    async fn dial(&self) -> Result<TcpStream, PeerError> {
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let after = self.config.connect_timeout;
        let address = || self.address();
        let stream = match tokio::time::timeout(after, connect).await {
            Err(_) => return Err(PeerError::TimedOut { address: address(), after }),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Err(PeerError::Refused { address: address() });
            }
            Ok(Err(error)) => return Err(PeerError::Unreachable { address: address(), reason: error.to_string() }),
            Ok(Ok(stream)) => stream,
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(address = self.address(), %error, "TCP_NODELAY refused");
        }
        if let Err(error) = end_when_unheard(&stream) {
            tracing::debug!(address = self.address(), %error, "TCP_USER_TIMEOUT or SO_KEEPALIVE refused");
        }
        Ok(stream)
    }
}

/// Lets the kernel end a connection whose other end hears nothing any more. A new one is made within a second of two nodes
/// hearing each other again; the old one might take as long again as they did not.
fn end_when_unheard(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(limits::PEER_UNHEARD))?;
    let probes = TcpKeepalive::new().with_time(limits::PEER_PROBE).with_interval(limits::PEER_PROBE);
    socket.set_tcp_keepalive(&probes)
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
