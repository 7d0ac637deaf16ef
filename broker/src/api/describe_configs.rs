//! DescribeConfigs, 1 to 4.
//!
//! Version notes: 1 adds sources and synonyms (KIP-226), 3 adds types and documentation (KIP-569), 4 is flexible.
//! Version 0, of before Kafka 1.1, is gone from Kafka 4 too (KIP-896).

use jackdaw_protocol::messages::describe_configs_request::DescribeConfigsResource;
use jackdaw_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use jackdaw_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse, ResponseError, StrBytes};

use super::errors::Failure;
use super::incremental_alter_configs::Resource;
use super::{Context, Handler, Reply};
use crate::broker::Broker;
use crate::config::describe::{self, Entry};
use crate::controller::size_rule;
use crate::topics::names;

impl Handler for DescribeConfigsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<DescribeConfigsResponse> {
        let (synonyms, documentation) = (self.include_synonyms, self.include_documentation);
        let shown = |resource: DescribeConfigsResource| {
            let mut result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match entries(ctx.broker, &resource) {
                Ok(entries) => {
                    let keys = resource.configuration_keys.filter(|keys| !keys.is_empty());
                    let wanted =
                        |entry: &Entry| keys.as_ref().is_none_or(|keys| keys.iter().any(|key| **key == entry.name));
                    let entries = entries.into_iter().filter(wanted);
                    result.configs = entries.map(|entry| wire(entry, synonyms, documentation)).collect();
                }
                Err(failure) => {
                    result.error_code = failure.error.code();
                    // "" where there is nothing to say, as Kafka has it.
                    result.error_message =
                        Some(StrBytes::from_string(failure.message.unwrap_or_default().into_owned()));
                }
            }
            result
        };
        let results = self.resources.into_iter().map(shown).collect();
        Reply::Now(DescribeConfigsResponse::default().with_results(results))
    }
}

fn entries(broker: &Broker, resource: &DescribeConfigsResource) -> Result<Vec<Entry>, Failure> {
    let config = broker.config();
    let image = broker.topics.image();
    let name = resource.resource_name.as_str();
    let invalid = |message: String| Failure::with(ResponseError::InvalidRequest, message);
    match Resource::of(resource.resource_type) {
        Some(Resource::Topic) => {
            names::check(name)
                .map_err(|error| Failure::with(ResponseError::InvalidTopicException, error.to_string()))?;
            let topic = image.topic(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
            Ok(describe::topic(&topic.configs, &config))
        }
        Some(Resource::Broker) if name.is_empty() => Ok(describe::all_brokers(&config)),
        Some(Resource::Broker) => {
            check_node(name, config.node_id, " or empty string,").map_err(invalid)?;
            let largest = size_rule::largest_batch(&image);
            Ok(describe::broker(&config, usize::try_from(largest).unwrap_or(usize::MAX)))
        }
        // Levels are chosen at start, for all of the broker: there is no logger to name.
        Some(Resource::BrokerLogger) => match name {
            "" => Err(invalid("Broker id must not be empty".to_owned())),
            name => check_node(name, config.node_id, "").map(|()| Vec::new()).map_err(invalid),
        },
        Some(Resource::ClientMetrics) => match name {
            "" => Err(invalid("Client metrics subscription name must not be empty".to_owned())),
            _ => Ok(Vec::new()),
        },
        Some(Resource::Group) => match name {
            "" => Err(invalid("Group name must not be empty".to_owned())),
            name => Ok(describe::group(image.group_configs.get(name).unwrap_or(&Default::default()), &config)),
        },
        None => Err(invalid(format!("Unexpected resource type {} for resource {name}", resource.resource_type))),
    }
}

fn check_node(name: &str, node: i32, or: &str) -> Result<(), String> {
    match name.parse::<i32>() {
        Ok(id) if id == node => Ok(()),
        Ok(_) => Err(format!("Unexpected broker id, expected {node}{or} but received {name}")),
        Err(_) => Err(format!("Broker id must be an integer, but it is: {name}")),
    }
}

fn wire(entry: Entry, synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult {
    let kind = entry.kind();
    let doc = entry.def.filter(|_| documentation).map(|def| StrBytes::from_static_str(def.doc));
    let synonym = |synonym: describe::Synonym| {
        DescribeConfigsSynonym::default()
            .with_name(StrBytes::from_string(synonym.name))
            .with_value(synonym.value.map(StrBytes::from_string))
            .with_source(synonym.source as i8)
    };
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_string(entry.name))
        .with_value(entry.value.map(StrBytes::from_string))
        .with_read_only(entry.read_only)
        .with_config_source(entry.source as i8)
        .with_is_sensitive(entry.sensitive)
        .with_synonyms(if synonyms { entry.synonyms.into_iter().map(synonym).collect() } else { Vec::new() })
        .with_config_type(kind)
        .with_documentation(doc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn timeout(synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult {
        let entries = describe::broker(&Config::default(), 0);
        let entry = entries.into_iter().find(|entry| entry.name == "request.timeout.ms").expect("a known setting");
        wire(entry, synonyms, documentation)
    }

    #[test]
    fn synonyms_and_documentation_are_sent_only_when_asked_for() {
        let bare = timeout(false, false);
        assert_eq!((bare.synonyms.len(), bare.documentation), (0, None));
        let full = timeout(true, true);
        assert_eq!(full.synonyms.len(), 1);
        assert!(full.documentation.is_some_and(|doc| !doc.is_empty()));
        assert_eq!((full.config_type, full.config_source, full.read_only), (3, 5, true));
    }

    #[test]
    fn only_this_brokers_number_names_it() {
        assert_eq!(check_node("1", 1, ""), Ok(()));
        assert_eq!(check_node("2", 1, ""), Err("Unexpected broker id, expected 1 but received 2".to_owned()));
        assert_eq!(check_node("one", 1, ""), Err("Broker id must be an integer, but it is: one".to_owned()));
    }
}
