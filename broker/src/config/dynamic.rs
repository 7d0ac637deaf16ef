//! Settings that change while the broker runs (KIP-226): for one broker, or as the default of all.
//!
//! They are metadata, so they outlive a restart. A change is checked together with all that stands, before it is
//! written; what the file says later may make a stored value invalid, which must not keep the broker from starting.

use std::collections::BTreeMap;

use super::broker::Config;
use super::checks;
use super::definition::{Def, Update};
use super::error::{ConfigError, ConfigErrors};
use super::load;
use super::table;
use super::values::Values;

/// Of the settings for one broker, this alone has nothing to do with listeners.
const CORDONED_LOG_DIRS: &str = "cordoned.log.dirs";

/// Whether the setting can change without a restart. Kafka would also change listeners and their security,
/// setting by setting and per broker; Jackdaw reads those at start only.
pub fn is_dynamic(def: &Def) -> bool {
    matches!(def.update, Update::ClusterWide) || def.name == CORDONED_LOG_DIRS
}

/// Checks names and update modes of the settings kept for one broker (`per_broker`) or for all.
///
/// # Errors
/// An unknown name, or a setting that needs a restart.
pub fn check_names<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<(), NameError> {
    for name in names {
        let Some(def) = table::broker().get(load::base_name(name)) else {
            let nearest = table::nearest(name, table::broker());
            return Err(NameError::Unknown(ConfigError::unknown("broker", name, nearest)));
        };
        if !is_dynamic(def) {
            return Err(NameError::ReadOnly(ConfigError::new(
                name,
                None,
                format!(
                    "Cannot update {name} at run time: change it in the broker's configuration and restart the broker."
                ),
            )));
        }
    }
    Ok(())
}

/// Checks each value for itself: what holds for any broker, whatever its file says.
///
/// # Errors
/// All values of the wrong type, or out of bounds.
pub fn check_types(settings: &BTreeMap<String, String>) -> Result<(), ConfigErrors> {
    let errors: Vec<_> = settings.iter().filter_map(|(name, value)| load::check_type(name, value).err()).collect();
    if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
}

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error(transparent)]
    Unknown(ConfigError),
    #[error(transparent)]
    ReadOnly(ConfigError),
}

impl Config {
    /// This configuration with other settings made at run time: `all`, the default of all brokers,
    /// below `own`, those of this broker.
    ///
    /// # Errors
    /// All that would be wrong.
    pub fn with_dynamic(
        &self,
        all: BTreeMap<String, String>,
        own: BTreeMap<String, String>,
    ) -> Result<Self, ConfigErrors> {
        let values = Values { fixed: self.values.fixed.clone(), dynamic_default: all, dynamic: own };
        let mut errors: Vec<_> = (values.dynamic_default.iter().chain(&values.dynamic))
            .filter_map(|(name, value)| load::check_type(name, value).err())
            .collect();
        checks::check(&values, &mut errors);
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        let mut config = Self::from_values(values, self.listeners.clone(), self.controller_listeners.clone());
        config.inter_broker_listener_name.clone_from(&self.inter_broker_listener_name);
        config.cluster_id.clone_from(&self.cluster_id);
        Ok(config)
    }

    /// The same for settings read back at start: those that do not hold any more are left out, and returned as errors
    /// to be logged.
    pub fn with_stored_dynamic(
        &self,
        mut all: BTreeMap<String, String>,
        mut own: BTreeMap<String, String>,
    ) -> (Self, Vec<ConfigError>) {
        let mut dropped = Vec::new();
        loop {
            let errors = match self.with_dynamic(all.clone(), own.clone()) {
                Ok(config) => return (config, dropped),
                Err(errors) => errors.0,
            };
            let before = all.len() + own.len();
            for error in &errors {
                all.remove(&error.key);
                own.remove(&error.key);
            }
            if all.len() + own.len() == before {
                // The fault lies between a stored setting and one of the file that the error does not name.
                all.clear();
                own.clear();
            }
            dropped.extend(errors);
            if before == 0 {
                return (self.clone(), dropped);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::config::ConfigSources;

    fn map(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
        settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_setting_of_this_broker_wins_over_that_of_all_and_that_over_the_file() {
        let overrides = vec![("message.max.bytes".to_owned(), "1000".to_owned())];
        let fixed = Config::load(&ConfigSources { overrides, ..ConfigSources::default() }).unwrap().config;
        let all = fixed.with_dynamic(map(&[("message.max.bytes", "2000")]), map(&[])).unwrap();
        let own =
            fixed.with_dynamic(map(&[("message.max.bytes", "2000")]), map(&[("message.max.bytes", "3000")])).unwrap();
        assert_eq!((fixed.message_max_bytes, all.message_max_bytes, own.message_max_bytes), (1000, 2000, 3000));
        assert_eq!(own.topic_defaults.max_message_bytes, 3000);
        assert_eq!(own.with_dynamic(map(&[]), map(&[])).unwrap(), fixed);
    }

    #[test]
    fn a_change_that_breaks_the_size_rule_is_refused() {
        let overrides = vec![("replica.fetch.max.bytes".to_owned(), "2000000".to_owned())];
        let fixed = Config::load(&ConfigSources { overrides, ..ConfigSources::default() }).unwrap().config;
        fixed.with_dynamic(map(&[("message.max.bytes", "2000000")]), map(&[])).unwrap();
        let error = fixed.with_dynamic(map(&[("message.max.bytes", "2000001")]), map(&[])).unwrap_err().to_string();
        assert!(
            error.contains("message.max.bytes=2000001") && error.contains("replica.fetch.max.bytes=2000000"),
            "{error}"
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused() {
        let error = Config::default().with_dynamic(map(&[("log.segment.bytes", "x")]), map(&[])).unwrap_err();
        assert!(error.to_string().contains("log.segment.bytes"), "{error}");
    }

    #[test]
    fn names_that_need_a_restart_or_do_not_exist_are_refused() {
        let check = |name: &str| check_names([&name.to_owned()]);
        assert_eq!(check("log.retention.ms"), Ok(()));
        assert_eq!(check("leader.replication.throttled.rate"), Ok(()));
        assert!(matches!(check("num.partitions"), Err(NameError::ReadOnly(_))));
        assert!(matches!(check("listeners"), Err(NameError::ReadOnly(_))));
        assert!(check("log.retention.msx").unwrap_err().to_string().contains("Did you mean log.retention.ms?"));
    }

    #[test]
    fn a_stored_setting_that_no_longer_holds_is_dropped_and_the_rest_kept() {
        let stored = map(&[("message.max.bytes", "5000000"), ("min.insync.replicas", "2"), ("log.roll.ms", "0")]);
        let overrides = vec![("replica.fetch.max.bytes".to_owned(), "2000000".to_owned())];
        let fixed = Config::load(&ConfigSources { overrides, ..ConfigSources::default() }).unwrap().config;
        let (config, dropped) = fixed.with_stored_dynamic(stored, map(&[]));
        assert!(!dropped.is_empty());
        assert_eq!(config.message_max_bytes, 1_048_588);
        assert_eq!(config.replica_fetch_max_bytes, Some(2_000_000));
        assert_eq!(config.topic_defaults.min_insync_replicas, 2);
    }
}
