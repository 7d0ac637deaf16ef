//! Configuration: every setting of Apache Kafka 4.3.1 by its own name, parsed once, typed, and described.
//!
//! - [`table`]: the settings as data, by area; [`definition`]: what one setting is.
//! - [`load`]: where values come from and which one wins; [`broker`]: the typed result, [`Config`].
//! - [`topic`]: settings of one topic over the broker's; [`size_rule`]: what keeps replication from wedging.
//! - [`describe`]: what DescribeConfigs shows; [`dynamic`]: what may change while the broker runs.

pub mod alter;
pub mod broker;
mod checks;
pub mod definition;
pub mod describe;
pub mod dynamic;
mod error;
pub mod group;
mod listener;
pub mod load;
pub mod quorum;
pub mod size_rule;
mod sources;
pub mod table;
pub mod topic;
mod values;

pub use jackdaw_storage::TimestampType;

pub use broker::{Config, Roles};
pub use error::{ConfigError, ConfigErrors};
pub use listener::{Listener, SecurityProtocol};
pub use load::Loaded;
pub use quorum::Voter;
pub use sources::ConfigSources;
pub use topic::{CompressionType, TopicConfig};
pub use values::{Given, Origin, Values};
