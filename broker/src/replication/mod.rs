//! Replication by Kafka's leader and follower fetch: pure machines for both sides.

pub mod follower;
pub mod leader;
mod view;

pub use view::{BrokerView, Brokers, View, Wish};
