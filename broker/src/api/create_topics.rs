//! CreateTopics, 2 to 7.
//!
//! Version notes: 4 takes -1 for the default number of partitions and replicas (KIP-464), 5 returns what was made with
//! its configs (KIP-525), 7 the topic's id.

use std::collections::HashMap;

use jackdaw_protocol::messages::create_topics_request::CreatableTopic;
use jackdaw_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use jackdaw_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, ResponseError, StrBytes, TopicName};

use super::errors::{self, Failure};
use super::{Context, Forwarded, Handler, Reply};
use crate::config::{Config, describe};
use crate::topics::CreatedTopic;
use crate::topics::catalog::CreateTopic;

const DESCRIBED_SINCE: i16 = 5;

impl Handler for CreateTopicsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<CreateTopicsResponse> {
        let mut mentions: HashMap<TopicName, usize> = HashMap::new();
        for topic in &self.topics {
            *mentions.entry(topic.name.clone()).or_default() += 1;
        }
        let (once, twice): (Vec<_>, Vec<_>) = self.topics.into_iter().partition(|topic| mentions[&topic.name] == 1);
        let commands: Vec<CreateTopic> = once.iter().map(command).collect();
        let outcomes = ctx.broker.blocking(|| ctx.broker.topics.create(&commands, self.validate_only));
        let config = ctx.broker.config();
        let answer = |(topic, outcome): (CreatableTopic, Result<CreatedTopic, _>)| match outcome {
            Ok(created) if ctx.api_version >= DESCRIBED_SINCE => described(topic.name, &created, &config),
            Ok(_) => blank(topic.name).with_configs(None),
            Err(error) => failed(topic.name, errors::create_topic(&error)),
        };
        let mut topics: Vec<_> = once.into_iter().zip(outcomes).map(answer).collect();
        topics.extend(duplicates(twice));
        Reply::Now(CreateTopicsResponse::default().with_topics(topics))
    }
}

impl Forwarded for CreateTopicsRequest {
    fn refuse(self, _version: i16, error: ResponseError, message: &str) -> CreateTopicsResponse {
        let failure = Failure::with(error, message.to_owned());
        let topics = self.topics.into_iter().map(|topic| failed(topic.name, failure.clone())).collect();
        CreateTopicsResponse::default().with_topics(topics)
    }
}

fn command(topic: &CreatableTopic) -> CreateTopic {
    let replicas = |ids: &[jackdaw_protocol::messages::BrokerId]| ids.iter().map(|id| id.0).collect();
    CreateTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic.assignments.iter().map(|a| (a.partition_index, replicas(&a.broker_ids))).collect(),
        configs: topic
            .configs
            .iter()
            .map(|config| (config.name.to_string(), config.value.as_ref().map(|value| value.to_string())))
            .collect(),
    }
}

fn blank(name: TopicName) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name)
        .with_error_message(None)
        .with_num_partitions(-1)
        .with_replication_factor(-1)
}

fn described(name: TopicName, created: &CreatedTopic, config: &Config) -> CreatableTopicResult {
    let mut entries = describe::topic(&created.image.configs, config);
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let entry = |entry: describe::Entry| {
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_string(entry.name))
            .with_value(entry.value.map(StrBytes::from_string))
            .with_read_only(entry.read_only)
            .with_config_source(entry.source as i8)
            .with_is_sensitive(entry.sensitive)
    };
    let partitions = &created.image.partitions;
    blank(name)
        .with_topic_id(created.image.id)
        .with_num_partitions(partitions.len() as i32)
        .with_replication_factor(partitions.first().map_or(-1, |partition| partition.replicas.len() as i16))
        .with_configs(Some(entries.into_iter().map(entry).collect()))
}

fn failed(name: TopicName, failure: Failure) -> CreatableTopicResult {
    let message = failure.message.map(|message| StrBytes::from_string(message.into_owned()));
    blank(name).with_error_code(failure.error.code()).with_error_message(message)
}

fn duplicates(topics: Vec<CreatableTopic>) -> impl Iterator<Item = CreatableTopicResult> {
    let mut names: Vec<TopicName> = topics.into_iter().map(|topic| topic.name).collect();
    names.sort();
    names.dedup();
    let duplicate = Failure::with(ResponseError::InvalidRequest, "Duplicate topic name.");
    names.into_iter().map(move |name| failed(name, duplicate.clone()))
}
