//! The Kafka-compatible broker.

pub mod config;
