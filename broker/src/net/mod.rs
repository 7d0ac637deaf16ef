//! Sockets: the only module that names them.

mod answers;
mod buffers;
mod connection;
mod early;
mod link;
mod listener;
mod metrics;
mod outgoing;
mod peer;
mod registry;

pub use answers::{Answers, LaterAnswer};
pub use early::serve_early;
pub use listener::{Bound, ListenError, bind, serve};
pub use metrics::serve as serve_metrics;
pub use outgoing::Outgoing;
pub use peer::{Peer, PeerConfig, PeerError};
pub use registry::Registry;
