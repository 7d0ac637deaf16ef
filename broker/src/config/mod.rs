//! Configuration: every setting of Apache Kafka 4.3.1 by its own name, parsed once, typed, and described.
//!
//! - [`table`]: the settings as data, by area; [`definition`]: what one setting is.
//! - [`load`]: where values come from and which one wins; [`broker`]: the typed result, [`Config`].
//! - [`topic`]: settings of one topic over the broker's; [`size_rule`]: what keeps replication from wedging.
//! - [`describe`]: what DescribeConfigs shows; [`dynamic`]: what may change while the broker runs.

pub mod broker;
pub mod definition;
mod error;
mod listener;
pub mod load;
pub mod table;
pub mod topic;
mod values;

pub use broker::{Config, Roles};
pub use error::{ConfigError, ConfigErrors};
pub use listener::{Listener, SecurityProtocol};
pub use load::{ConfigSources, Loaded};
pub use topic::{CompressionType, TimestampType, TopicConfig};
pub use values::{Given, Origin, Values};
