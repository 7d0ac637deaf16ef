//! Settings of brokers and groups made at run time: stored with the metadata, in effect at once and after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::hosting::FoundLogs;
use super::image::{Configs, Image};
use super::record::Record;
use super::{AlterConfigsError, Topics};
use crate::config::{Config, ConfigErrors};

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
        let mut writer = self.writer.lock();
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
            Some(_) => {}
        }
        let config = self.config.load().with_dynamic(all, own).map_err(AlterBrokerConfigsError::Invalid)?;
        if validate_only || after == before {
            return Ok(());
        }
        self.commit(&mut writer, &[Record::BrokerConfigsChanged { broker, configs: after }])
            .map_err(|error| AlterBrokerConfigsError::Storage(error.to_string()))?;
        self.config.store(Arc::new(config));
        let topics: Vec<_> = writer.catalog.image().topics().map(|topic| topic.id).collect();
        self.reconcile(&writer, &topics, &mut FoundLogs::default());
        Ok(())
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
        let mut writer = self.writer.lock();
        let before = writer.catalog.image().group_configs.get(group).cloned().unwrap_or_default();
        let configs = change(&before).map_err(AlterConfigsError::Refused)?;
        if configs == before {
            return Ok(());
        }
        self.commit(&mut writer, &[Record::GroupConfigsChanged { group: group.to_owned(), configs }])
            .map_err(|error| AlterConfigsError::Storage(error.to_string()))?;
        self.publish_image(&writer);
        Ok(())
    }

    /// Puts the settings stored with the metadata into effect, at start.
    pub(super) fn load_dynamic_configs(&self, image: &Image) {
        let (all, own) = self.dynamic_layers(image);
        if all.is_empty() && own.is_empty() {
            return;
        }
        let (config, dropped): (Config, _) = self.config.load().with_stored_dynamic(all, own);
        for error in dropped {
            tracing::warn!(%error, "a setting made at run time does not hold any more and is not in effect");
        }
        self.config.store(Arc::new(config));
    }

    fn dynamic_layers(&self, image: &Image) -> (Configs, BTreeMap<String, String>) {
        let own = image.broker_configs.get(&self.node_id).cloned().unwrap_or_default();
        (Configs::clone(&image.cluster_configs), own)
    }
}
