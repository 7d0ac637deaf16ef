//! CreatePartitions, 0 to 3: more partitions for topics that exist. Partitions are never taken away.

use std::collections::HashMap;

use jackdaw_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use jackdaw_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use jackdaw_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, ResponseError, StrBytes, TopicName,
};

use super::errors::{self, Failure};
use super::{Context, Forwarded, Handler, Reply};
use crate::topics::catalog::AddPartitions;

impl Handler for CreatePartitionsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<CreatePartitionsResponse> {
        let mut mentions: HashMap<TopicName, usize> = HashMap::new();
        for topic in &self.topics {
            *mentions.entry(topic.name.clone()).or_default() += 1;
        }
        let (once, twice): (Vec<_>, Vec<_>) = self.topics.into_iter().partition(|topic| mentions[&topic.name] == 1);
        let commands: Vec<AddPartitions> = once.iter().map(command).collect();
        let outcomes = ctx.broker.blocking(|| ctx.broker.topics.add_partitions(&commands, self.validate_only));
        let mut results = duplicates(twice);
        for (topic, outcome) in once.into_iter().zip(outcomes) {
            results.push(result(topic.name, outcome.err().map(|error| errors::add_partitions(&error))));
        }
        Reply::Now(CreatePartitionsResponse::default().with_results(results))
    }
}

impl Forwarded for CreatePartitionsRequest {
    fn refuse(self, _version: i16, error: ResponseError, message: &str) -> CreatePartitionsResponse {
        let failure = Failure::with(error, message.to_owned());
        let results = self.topics.into_iter().map(|topic| result(topic.name, Some(failure.clone()))).collect();
        CreatePartitionsResponse::default().with_results(results)
    }
}

fn command(topic: &CreatePartitionsTopic) -> AddPartitions {
    let replicas = |assignments: &Vec<_>| assignments.iter().map(brokers).collect();
    AddPartitions {
        topic: topic.name.to_string(),
        count: topic.count,
        assignments: topic.assignments.as_ref().map(replicas),
    }
}

fn brokers(assignment: &jackdaw_protocol::messages::create_partitions_request::CreatePartitionsAssignment) -> Vec<i32> {
    assignment.broker_ids.iter().map(|broker| broker.0).collect()
}

fn duplicates(topics: Vec<CreatePartitionsTopic>) -> Vec<CreatePartitionsTopicResult> {
    let mut names: Vec<TopicName> = topics.into_iter().map(|topic| topic.name).collect();
    names.sort();
    names.dedup();
    let duplicate = Failure::with(ResponseError::InvalidRequest, "Duplicate topic name.");
    names.into_iter().map(|name| result(name, Some(duplicate.clone()))).collect()
}

fn result(name: TopicName, failure: Option<Failure>) -> CreatePartitionsTopicResult {
    let result = CreatePartitionsTopicResult::default().with_name(name);
    match failure {
        None => result,
        Some(failure) => {
            let message = failure.message.map(|message| StrBytes::from_string(message.into_owned()));
            result.with_error_code(failure.error.code()).with_error_message(message)
        }
    }
}
