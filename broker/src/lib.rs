//! The Kafka-compatible broker.

pub mod config;
pub mod fetch;
pub mod group;
pub mod topics;
