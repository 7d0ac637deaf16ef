//! placeholder

pub mod fetch;
pub mod topics;
