//! How nodes of the quorum reach each other: bytes to a node, bytes back. The application owns the connections.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

/// The node that a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its `node.id`.
    pub id: u64,
    /// Its controller listener, `host:port`.
    pub address: String,
}

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    /// Nobody is there: no connection can be made, so the next try waits a little.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// It was sent, and may have been carried out.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

/// An answer to come.
pub type Call<'a> = Pin<Box<dyn Future<Output = Result<Bytes, CallError>> + Send + 'a>>;

/// Sends requests of the quorum to other nodes.
pub trait Transport: Send + Sync + 'static {
    /// Gives `request` to [`Quorum::handle`](crate::Quorum::handle) of the node, and its answer back. It ends within the deadline,
    /// and may be dropped before. Requests may be lost, repeated and overtaken.
    fn call(&self, target: Target, request: Bytes, deadline: Duration) -> Call<'_>;
}

/// For a quorum of one, which never calls anybody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTransport;

impl Transport for NoTransport {
    fn call(&self, target: Target, _: Bytes, _: Duration) -> Call<'_> {
        let why = format!("node {} has no controller listener to call from", target.id);
        Box::pin(async { Err(CallError::Unreachable(why)) })
    }
}
