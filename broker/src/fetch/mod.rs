//! What a Fetch needs to remember between requests. Pure: no clock, no socket, no log.

pub mod session;
