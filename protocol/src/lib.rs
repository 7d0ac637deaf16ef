//! placeholder
pub mod guard;
pub mod messages;
