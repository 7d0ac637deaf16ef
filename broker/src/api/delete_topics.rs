//! DeleteTopics, 1 to 6: by name, from version 6 on by name or id (KIP-516).
//!
//! Version 5 adds messages. Where `delete.topic.enable` is false all is refused: with 73 from version 3 on.

use std::collections::{HashMap, HashSet};

use jackdaw_protocol::messages::delete_topics_response::DeletableTopicResult;
use jackdaw_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, ResponseError, StrBytes, TopicName};
use uuid::Uuid;

use super::errors::{self, Failure};
use super::{Context, Forwarded, Handler, Reply};
use crate::topics::{DeleteTopicError, Registry};

const TOPICS_SINCE: i16 = 6;
const DELETION_DISABLED_SINCE: i16 = 3;

/// One topic as the request names it.
#[derive(Clone)]
struct Named {
    name: Option<TopicName>,
    id: Uuid,
}

impl Handler for DeleteTopicsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<DeleteTopicsResponse> {
        let named = named(self, ctx.api_version);
        if !ctx.broker.config().delete_topic_enable {
            let error = if ctx.api_version < DELETION_DISABLED_SINCE {
                ResponseError::InvalidRequest
            } else {
                ResponseError::TopicDeletionDisabled
            };
            let disabled = Failure::with(error, "Topic deletion is disabled: delete.topic.enable is false.");
            let responses = named.into_iter().map(|named| result(named, Some(disabled.clone()))).collect();
            return Reply::Now(DeleteTopicsResponse::default().with_responses(responses));
        }
        let (mut responses, resolved) = resolve(named, &ctx.broker.topics.registry());
        let ids: Vec<Uuid> = resolved.iter().map(|named| named.id).collect();
        let deleted = ctx.broker.blocking(|| ctx.broker.topics.delete(&ids));
        for (named, outcome) in resolved.into_iter().zip(deleted) {
            if let (Ok(()), Some(name)) = (&outcome, &named.name) {
                ctx.broker.blocking(|| ctx.broker.groups.topic_deleted(name));
            }
            responses.push(result(named, outcome.err().map(|error| errors::delete_topic(&error))));
        }
        Reply::Now(DeleteTopicsResponse::default().with_responses(responses))
    }
}

impl Forwarded for DeleteTopicsRequest {
    fn refuse(self, version: i16, error: ResponseError, message: &str) -> DeleteTopicsResponse {
        let failure = Failure::with(error, message.to_owned());
        let responses = named(self, version).into_iter().map(|named| result(named, Some(failure.clone()))).collect();
        DeleteTopicsResponse::default().with_responses(responses)
    }
}

fn named(request: DeleteTopicsRequest, version: i16) -> Vec<Named> {
    if version >= TOPICS_SINCE {
        return request.topics.into_iter().map(|topic| Named { name: topic.name, id: topic.topic_id }).collect();
    }
    request.topic_names.into_iter().map(|name| Named { name: Some(name), id: Uuid::nil() }).collect()
}

/// Finds name and id of each topic; what is wrong or named twice is answered at once.
fn resolve(named: Vec<Named>, registry: &Registry) -> (Vec<DeletableTopicResult>, Vec<Named>) {
    let mut refused = Vec::new();
    let mut mentions: HashMap<Uuid, usize> = HashMap::new();
    let mut names: HashMap<TopicName, usize> = HashMap::new();
    for topic in &named {
        match &topic.name {
            Some(name) => *names.entry(name.clone()).or_default() += 1,
            None => *mentions.entry(topic.id).or_default() += 1,
        }
    }
    let mut resolved: Vec<Named> = Vec::new();
    let mut told = HashSet::new();
    for mut topic in named {
        let invalid = |message: &'static str| Err(Failure::with(ResponseError::InvalidRequest, message));
        let found = match &topic.name {
            None if topic.id.is_nil() => invalid("Neither topic name nor id were specified."),
            Some(_) if !topic.id.is_nil() => invalid("You may not specify both topic name and topic id."),
            None if mentions[&topic.id] > 1 => invalid("Duplicate topic id."),
            Some(name) if names[name] > 1 => invalid("Duplicate topic name."),
            None => {
                registry.topic_by_id(topic.id).ok_or_else(|| errors::delete_topic(&DeleteTopicError::UnknownTopicId))
            }
            Some(name) => registry.topic(name).ok_or_else(|| {
                let message = "This server does not host this topic-partition.";
                Failure::with(ResponseError::UnknownTopicOrPartition, message)
            }),
        };
        match found {
            Ok(found) => {
                topic.name = Some(super::topology::topic_name(found.name()));
                topic.id = found.id();
                resolved.push(topic);
            }
            Err(failure) => {
                // A duplicate is told once, as Kafka does.
                if told.insert((topic.name.clone(), topic.id)) {
                    refused.push(result(topic, Some(failure)));
                }
            }
        }
    }
    refuse_named_both_ways(&mut refused, &mut resolved);
    (refused, resolved)
}

/// A topic named once by name and once by id is a mistake too.
fn refuse_named_both_ways(refused: &mut Vec<DeletableTopicResult>, resolved: &mut Vec<Named>) {
    let mut count: HashMap<Uuid, usize> = HashMap::new();
    for topic in resolved.iter() {
        *count.entry(topic.id).or_default() += 1;
    }
    let (twice, once) = std::mem::take(resolved).into_iter().partition(|topic| count[&topic.id] > 1);
    *resolved = once;
    let twice: HashMap<Uuid, Named> = Vec::into_iter(twice).map(|topic: Named| (topic.id, topic)).collect();
    refused.extend(twice.into_values().map(|topic| {
        let message = "The provided topic name maps to an ID that was already supplied.";
        result(topic, Some(Failure::with(ResponseError::InvalidRequest, message)))
    }));
}

fn result(topic: Named, failure: Option<Failure>) -> DeletableTopicResult {
    let result = DeletableTopicResult::default().with_name(topic.name).with_topic_id(topic.id);
    match failure {
        None => result,
        Some(failure) => {
            let message = failure.message.map(|message| StrBytes::from_string(message.into_owned()));
            result.with_error_code(failure.error.code()).with_error_message(message)
        }
    }
}
