//! Sockets: the only module that names them.

mod answers;
mod outgoing;
mod registry;

pub use answers::{Answers, LaterAnswer};
pub use outgoing::Outgoing;
pub use registry::Registry;
