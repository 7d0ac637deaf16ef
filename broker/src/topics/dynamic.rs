//! Settings of brokers and groups made at run time: stored with the metadata, in effect at once and after a restart.

use std::sync::Arc;

use super::image::{Configs, Image};
use super::record::Record;
use super::{AlterConfigsError, Topics};
use crate::config::dynamic;
use crate::config::{ConfigError, ConfigErrors, TopicConfig, size_rule};

/// Why settings of a broker were not changed.
#[derive(Debug, thiserror::Error)]
pub enum AlterBrokerConfigsError<E> {
    /// The caller's own check.
    #[error("{0}")]
    Refused(E),
    /// They do not go with those that stand.
    #[error("{0}")]
    Invalid(ConfigErrors),
    #[error("{0}")]
    Storage(String),
}

impl Topics {
    /// Replaces the settings of one broker, or of all, by what `change` makes of them. If they are for this broker they
    /// are in effect when this returns, for topics that inherit them too. Waits for the disk.
    ///
    /// # Errors
    /// Nothing was changed then.
    pub fn alter_broker_configs<E>(
        &self,
        broker: Option<i32>,
        validate_only: bool,
        change: impl FnOnce(&Configs) -> Result<Configs, E>,
    ) -> Result<(), AlterBrokerConfigsError<E>> {
        let mut writer = self.turn();
        let image = writer.catalog.image();
        let (mut all, mut own) = self.dynamic_layers(image);
        let before = match broker {
            None => all.clone(),
            Some(id) => image.broker_configs.get(&id).cloned().unwrap_or_default(),
        };
        let after = change(&before).map_err(AlterBrokerConfigsError::Refused)?;
        match broker {
            None => all.clone_from(&after),
            Some(id) if id == self.node_id => own.clone_from(&after),
            // How its settings go together, that broker alone knows: it has a file of its own.
            Some(_) => dynamic::check_types(&after).map_err(AlterBrokerConfigsError::Invalid)?,
        }
        self.config.load().with_dynamic(all, own).map_err(AlterBrokerConfigsError::Invalid)?;
        if validate_only || after == before {
            return Ok(());
        }
        self.commit(&mut writer, &[Record::BrokerConfigsChanged { broker, configs: after }])
            .map_err(|error| AlterBrokerConfigsError::Storage(error.to_string()))
    }

    /// Replaces the settings of a group by what `change` makes of them. Waits for the disk.
    ///
    /// # Errors
    /// Nothing was changed then.
    pub fn alter_group_configs<E>(
        &self,
        group: &str,
        change: impl FnOnce(&Configs) -> Result<Configs, E>,
    ) -> Result<(), AlterConfigsError<E>> {
        let mut writer = self.turn();
        let before = writer.catalog.image().group_configs.get(group).cloned().unwrap_or_default();
        let configs = change(&before).map_err(AlterConfigsError::Refused)?;
        if configs == before {
            return Ok(());
        }
        self.commit(&mut writer, &[Record::GroupConfigsChanged { group: group.to_owned(), configs }])
            .map_err(|error| AlterConfigsError::Storage(error.to_string()))
    }

    /// Puts the settings stored with the metadata into effect, at start, and checks that all topics go with those of
    /// the file, which may have changed.
    pub(super) fn load_dynamic_configs(&self, image: &Image) -> Result<(), ConfigError> {
        let (all, own) = self.dynamic_layers(image);
        if !all.is_empty() || !own.is_empty() {
            let (config, dropped) = self.config.load().with_stored_dynamic(all, own);
            for error in dropped {
                tracing::warn!(%error, "a setting made at run time does not hold any more and is not in effect");
            }
            self.config.store(Arc::new(config));
        }
        let config = self.config.load();
        image.topics().try_for_each(|topic| {
            let largest = TopicConfig::resolve(&topic.configs, &config).max_message_bytes;
            size_rule::check_topic(&topic.name, largest, &config)
        })
    }

    fn dynamic_layers(&self, image: &Image) -> (Configs, Configs) {
        let own = image.broker_configs.get(&self.node_id).cloned().unwrap_or_default();
        (Configs::clone(&image.cluster_configs), own)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::convert::Infallible;
    use std::path::Path;

    use arc_swap::ArcSwap;
    use jackdaw_storage::{LogDir, LogDirOptions};

    use super::*;
    use crate::clock::Clock;
    use crate::config::{Config, ConfigSources};
    use crate::partition::Flusher;
    use crate::topics::catalog::CreateTopic;
    use crate::topics::{MetadataQuorum, OpenError};

    fn open(dir: &Path, overrides: &[(&str, &str)]) -> Result<(Arc<Topics>, Arc<ArcSwap<Config>>), OpenError> {
        let overrides = overrides.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let config = Config::load(&ConfigSources { overrides, ..ConfigSources::default() }).unwrap().config;
        let config = Arc::new(ArcSwap::from_pointee(config));
        let clock = Arc::new(Clock::new());
        let log = config.load().topic_defaults.log();
        let logs = LogDir::open(dir, LogDirOptions::new(1), &|_| log.clone(), &|_| {}).unwrap();
        let flusher = Flusher::start(Arc::new(logs), clock.clone()).unwrap();
        let quorum = MetadataQuorum::alone(1, &dir.join("quorum"), flusher.dir().cluster_id())?;
        let topics = Topics::open(Arc::new(quorum), vec![flusher], Vec::new(), config.clone(), clock)?;
        if let Err(error) = topics.host(None) {
            close(topics);
            return Err(error);
        }
        Ok((topics, config))
    }

    fn close(topics: Arc<Topics>) {
        topics.stop();
        let flusher = topics.dirs()[0].clone();
        flusher.stop();
        flusher.dir().close().unwrap();
    }

    fn one(name: &str, value: &str) -> Configs {
        Configs::from([(name.to_owned(), value.to_owned())])
    }

    fn set(topics: &Topics, broker: Option<i32>, configs: Configs) -> Result<(), AlterBrokerConfigsError<Infallible>> {
        topics.alter_broker_configs(broker, false, |_| Ok(configs))
    }

    fn make_topic(topics: &Topics, configs: &[(&str, &str)]) -> Result<(), String> {
        let configs = configs.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned()))).collect();
        let command = CreateTopic { configs, ..CreateTopic::with_defaults("t") };
        topics.create(&[command], false).remove(0).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn a_setting_made_at_run_time_reaches_topics_at_once_and_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (topics, config) = open(dir.path(), &[]).unwrap();
        make_topic(&topics, &[]).unwrap();
        set(&topics, None, one("message.max.bytes", "2000000")).unwrap();
        assert_eq!(config.load().message_max_bytes, 2_000_000);
        assert_eq!(topics.partition("t", 0).unwrap().topic_config().max_message_bytes, 2_000_000);
        set(&topics, Some(1), one("message.max.bytes", "3000000")).unwrap();
        set(&topics, Some(2), one("message.max.bytes", "4000000")).unwrap();
        close(topics);
        let (topics, config) = open(dir.path(), &[]).unwrap();
        assert_eq!(config.load().message_max_bytes, 3_000_000);
        assert_eq!(topics.partition("t", 0).unwrap().topic_config().max_message_bytes, 3_000_000);
        close(topics);
    }

    #[test]
    fn a_change_that_does_not_hold_or_is_only_tried_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (topics, config) = open(dir.path(), &[]).unwrap();
        let refused = set(&topics, None, one("message.max.bytes", "many"));
        assert!(matches!(refused, Err(AlterBrokerConfigsError::Invalid(_))));
        let of_another = set(&topics, Some(2), one("log.cleaner.backoff.ms", "abc"));
        assert!(matches!(of_another, Err(AlterBrokerConfigsError::Invalid(_))), "no broker would take it");
        topics.alter_broker_configs::<Infallible>(None, true, |_| Ok(one("message.max.bytes", "5"))).unwrap();
        assert_eq!(config.load().message_max_bytes, 1_048_588);
        assert!(topics.image().cluster_configs.is_empty());
        close(topics);
    }

    #[test]
    fn the_size_rule_is_kept_when_a_topic_is_made_and_when_the_broker_starts() {
        let dir = tempfile::tempdir().unwrap();
        let fetch = [("replica.fetch.max.bytes", "2000000")];
        let (topics, _) = open(dir.path(), &fetch).unwrap();
        let error = make_topic(&topics, &[("max.message.bytes", "2000001")]).unwrap_err();
        assert!(error.contains("Topic t") && error.contains("replica.fetch.max.bytes=2000000"), "{error}");
        close(topics);
        let (topics, _) = open(dir.path(), &[]).unwrap();
        make_topic(&topics, &[("max.message.bytes", "2000001")]).unwrap();
        close(topics);
        let error = open(dir.path(), &fetch).map(drop).unwrap_err().to_string();
        assert!(error.contains("Topic t") && error.contains("max.message.bytes=2000001"), "{error}");
    }

    #[test]
    fn settings_of_a_group_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (topics, _) = open(dir.path(), &[]).unwrap();
        topics.alter_group_configs::<Infallible>("g", |_| Ok(one("share.isolation.level", "read_committed"))).unwrap();
        close(topics);
        let (topics, _) = open(dir.path(), &[]).unwrap();
        assert_eq!(topics.image().group_configs["g"], one("share.isolation.level", "read_committed"));
        close(topics);
    }
}
