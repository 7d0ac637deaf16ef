//! The Jackdaw broker: sockets, tasks, the clock, and the pure machines they drive.
//!
//! How one request travels: [`net`] reads bytes and cuts frames; [`api`] finds the row of the API, lets the guard walk the
//! body, decodes it and calls the handler (one file per API); the handler works on a [`partition`], the topics or a group
//! coordinator through its [`api::Context`]; the answer goes back by value and [`net`] writes the answers of a connection
//! in the order of its requests.
//!
//! What is not here: no file is opened outside `config` and `jackdaw_storage`; nothing but [`net`] names a socket; nothing
//! but [`clock`] reads the time; the machines in `group`, `fetch::session` and `topics::catalog` know neither.

pub mod api;
mod balance;
pub mod broker;
pub mod cleaner;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod coordinator;
pub mod dirs;
pub mod fetch;
pub mod group;
mod housekeeping;
pub mod limits;
pub mod metrics;
pub mod net;
pub mod partition;
pub mod replication;
mod retention;
mod sketches;
pub mod topics;

pub use broker::Broker;
