//! IncrementalAlterConfigs, 0 and 1 (KIP-339): some settings of a resource change, the others stay.
//!
//! Version notes: 1 is flexible. What is common to AlterConfigs is here too.

use std::collections::HashSet;

use jackdaw_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use jackdaw_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use jackdaw_protocol::messages::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ResponseError, StrBytes,
};

use super::errors::Failure;
use super::{Context, Forwarded, Handler, Reply};
use crate::broker::Broker;
use crate::config::alter::{self, AlterError, Change, Kind, Settings};
use crate::config::{ConfigError, group, topic};
use crate::controller::size_rule::{self, SizeConflict};
use crate::topics::image::Image;
use crate::topics::{AlterBrokerConfigsError, AlterConfigsError, names};

/// What has settings, with the protocol's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl Resource {
    pub(super) fn of(code: i8) -> Option<Resource> {
        use Resource::{Broker, BrokerLogger, ClientMetrics, Group, Topic};
        [Topic, Broker, BrokerLogger, ClientMetrics, Group].into_iter().find(|resource| *resource as i8 == code)
    }
}

/// Whether the wishes are all that shall hold, or change what holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Incremental,
    Replace,
}

/// The wishes for one resource.
pub(super) struct Wish {
    pub(super) resource_type: i8,
    pub(super) name: StrBytes,
    pub(super) changes: Vec<Change>,
}

impl Handler for IncrementalAlterConfigsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<IncrementalAlterConfigsResponse> {
        let wish = |resource: AlterConfigsResource| {
            let change =
                |config: jackdaw_protocol::messages::incremental_alter_configs_request::AlterableConfig| Change {
                    name: config.name.to_string(),
                    operation: config.config_operation,
                    value: config.value.map(|value| value.to_string()),
                };
            Wish {
                resource_type: resource.resource_type,
                name: resource.resource_name,
                changes: resource.configs.into_iter().map(change).collect(),
            }
        };
        let wishes = self.resources.into_iter().map(wish).collect::<Vec<_>>();
        let results = alter_all(ctx.broker, &wishes, Mode::Incremental, self.validate_only);
        let response = |(wish, result): (Wish, Result<(), Failure>)| {
            let (code, message) = code_and_message(result);
            AlterConfigsResourceResponse::default()
                .with_error_code(code)
                .with_error_message(message)
                .with_resource_type(wish.resource_type)
                .with_resource_name(wish.name)
        };
        let responses = wishes.into_iter().zip(results).map(response).collect();
        Reply::Now(IncrementalAlterConfigsResponse::default().with_responses(responses))
    }
}

impl Forwarded for IncrementalAlterConfigsRequest {
    fn refuse(self, _version: i16, error: ResponseError, message: &str) -> IncrementalAlterConfigsResponse {
        let message = StrBytes::from_string(message.to_owned());
        let refused = |resource: AlterConfigsResource| {
            AlterConfigsResourceResponse::default()
                .with_error_code(error.code())
                .with_error_message(Some(message.clone()))
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name)
        };
        IncrementalAlterConfigsResponse::default().with_responses(self.resources.into_iter().map(refused).collect())
    }
}

/// The wire form of a result.
pub(super) fn code_and_message(result: Result<(), Failure>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(()) => (0, None),
        Err(failure) => (failure.error.code(), failure.message.map(|text| StrBytes::from_string(text.into_owned()))),
    }
}

/// Alters each resource by itself: one that fails leaves the others alone.
pub(super) fn alter_all(broker: &Broker, wishes: &[Wish], mode: Mode, validate_only: bool) -> Vec<Result<(), Failure>> {
    let twice = named_twice(wishes);
    let mut may_elect = false;
    let mut result = |wish: &Wish| {
        if twice.contains(&(wish.resource_type, wish.name.as_str())) {
            return Err(Failure::with(ResponseError::InvalidRequest, "Each resource must appear at most once."));
        }
        may_elect |=
            !validate_only && matches!(Resource::of(wish.resource_type), Some(Resource::Topic | Resource::Broker));
        broker.blocking(|| alter_one(broker, wish, mode, validate_only))
    };
    let results = wishes.iter().map(&mut result).collect();
    if may_elect {
        // Unclean elections may have been switched on, for partitions that wait for just that.
        broker.blocking(|| crate::balance::elect_where_allowed(broker));
    }
    results
}

fn named_twice(wishes: &[Wish]) -> HashSet<(i8, &str)> {
    let mut seen = HashSet::new();
    wishes.iter().map(|wish| (wish.resource_type, wish.name.as_str())).filter(|wish| !seen.insert(*wish)).collect()
}

fn alter_one(broker: &Broker, wish: &Wish, mode: Mode, validate_only: bool) -> Result<(), Failure> {
    alter::check_shape(&wish.changes).map_err(|error| refusal(&error))?;
    let changed = |kind: Kind, before: &Settings| match mode {
        Mode::Incremental => alter::apply(kind, before, &wish.changes),
        Mode::Replace => alter::replace(kind, &wish.changes),
    };
    let name = wish.name.as_str();
    match Resource::of(wish.resource_type) {
        Some(Resource::Topic) => alter_topic(broker, name, validate_only, |before| changed(Kind::Topic, before)),
        Some(Resource::Broker) => alter_broker(broker, name, validate_only, |before| changed(Kind::Broker, before)),
        Some(Resource::Group) => alter_group(broker, name, validate_only, |before| changed(Kind::Group, before)),
        // AlterConfigs of old never knew loggers.
        Some(Resource::BrokerLogger) if mode == Mode::Incremental => Err(Failure::with(
            ResponseError::InvalidConfig,
            "Log levels are chosen when the broker starts, by its environment variable JACKDAW_LOG, and cannot change at run time.",
        )),
        Some(Resource::ClientMetrics) => Err(Failure::with(
            ResponseError::InvalidConfig,
            "This broker collects no client metrics, so there is nothing to subscribe to.",
        )),
        Some(Resource::BrokerLogger) | None => {
            let message = format!("Unknown resource type {}", wish.resource_type);
            Err(Failure::with(ResponseError::InvalidRequest, message))
        }
    }
}

fn alter_topic(
    broker: &Broker,
    name: &str,
    validate_only: bool,
    change: impl Fn(&Settings) -> Result<Settings, AlterError>,
) -> Result<(), Failure> {
    if name.is_empty() {
        return Err(Failure::with(ResponseError::InvalidRequest, "Default topic resources are not allowed."));
    }
    names::check(name).map_err(|error| Failure::with(ResponseError::InvalidTopicException, error.to_string()))?;
    let checked = |before: &Settings| {
        let after = change(before)?;
        topic::validate_all(name, &after, &broker.config())?;
        let fits = size_rule::check_topic(&broker.topics.image(), name, &after);
        fits.map_err(|conflict| breaks("max.message.bytes", &conflict))?;
        Ok::<_, AlterError>(after)
    };
    let unknown =
        || Failure::with(ResponseError::UnknownTopicOrPartition, format!("The topic '{name}' does not exist."));
    let image = broker.topics.image();
    // Settings that could never hold are the first thing to say, also of a topic that does not exist.
    let Some(topic) = image.topic(name) else {
        return checked(&Settings::new()).map_err(|error| refusal(&error)).and_then(|_| Err(unknown()));
    };
    if validate_only {
        return checked(&topic.configs).map(drop).map_err(|error| refusal(&error));
    }
    broker.topics.alter_topic_configs(name, checked).map_err(|error| match error {
        AlterConfigsError::UnknownTopic => unknown(),
        AlterConfigsError::Refused(error) => refusal(&error),
        AlterConfigsError::Storage(message) => Failure::with(ResponseError::KafkaStorageError, message),
    })
}

fn alter_broker(
    broker: &Broker,
    name: &str,
    validate_only: bool,
    change: impl Fn(&Settings) -> Result<Settings, AlterError>,
) -> Result<(), Failure> {
    let node = broker.node_id();
    let id = match name {
        "" => None,
        name => Some(check_node(name, node, &broker.topics.image())?),
    };
    let checked = |before: &Settings| {
        let after = change(before)?;
        let fits = size_rule::check_configs(&broker.topics.image(), id, &after);
        fits.map_err(|conflict| breaks("message.max.bytes", &conflict))?;
        Ok::<_, AlterError>(after)
    };
    broker.topics.alter_broker_configs(id, validate_only, checked).map_err(|error| match error {
        AlterBrokerConfigsError::Refused(error) => refusal(&error),
        // Kafka's code for it, though the request is well-formed (KAFKA-13609).
        AlterBrokerConfigsError::Invalid(errors) => {
            let reasons = errors.0.iter().map(ToString::to_string).collect::<Vec<_>>();
            Failure::with(ResponseError::InvalidRequest, reasons.join(" "))
        }
        AlterBrokerConfigsError::Storage(message) => Failure::with(ResponseError::KafkaStorageError, message),
    })
}

/// This broker or another one that is registered.
fn check_node(name: &str, node: i32, image: &Image) -> Result<i32, Failure> {
    let message = match name.parse::<i32>() {
        Ok(id) if id == node || image.brokers.contains_key(&id) => return Ok(id),
        Ok(_) if image.brokers.len() < 2 => format!("Unexpected broker id, expected {node}, but received {name}"),
        Ok(_) => format!("Unexpected broker id: no broker {name} is registered"),
        Err(_) => format!("Node id must be an integer, but it is: {name}"),
    };
    Err(Failure::with(ResponseError::InvalidRequest, message))
}

fn breaks(key: &str, conflict: &SizeConflict) -> AlterError {
    AlterError::Config(ConfigError::new(key, None, conflict.to_string()))
}

fn alter_group(
    broker: &Broker,
    name: &str,
    validate_only: bool,
    change: impl Fn(&Settings) -> Result<Settings, AlterError>,
) -> Result<(), Failure> {
    if name.is_empty() {
        return Err(Failure::with(ResponseError::InvalidRequest, "Default group resources are not allowed."));
    }
    let checked = |before: &Settings| {
        let after = change(before)?;
        group::validate_all(&after, &broker.config())?;
        Ok::<_, AlterError>(after)
    };
    if validate_only {
        let image = broker.topics.image();
        let before = image.group_configs.get(name).cloned().unwrap_or_default();
        return checked(&before).map(drop).map_err(|error| refusal(&error));
    }
    broker.topics.alter_group_configs(name, checked).map_err(|error| match error {
        AlterConfigsError::UnknownTopic => Failure::from(ResponseError::UnknownServerError),
        AlterConfigsError::Refused(error) => refusal(&error),
        AlterConfigsError::Storage(message) => Failure::with(ResponseError::KafkaStorageError, message),
    })
}

fn refusal(error: &AlterError) -> Failure {
    match error {
        AlterError::Request(message) => Failure::with(ResponseError::InvalidRequest, message.clone()),
        AlterError::Config(error) => config(error),
    }
}

fn config(error: &ConfigError) -> Failure {
    Failure::with(ResponseError::InvalidConfig, error.to_string())
}
