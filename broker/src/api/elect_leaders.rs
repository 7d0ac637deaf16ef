//! ElectLeaders, 0 to 2 (KIP-183, KIP-460): the preferred leader back, or any leader at all.
//!
//! Version 1 adds the kind of election; before, it is that of the preferred leader. Where all partitions are asked for, those
//! that have their leader already are not in the answer.

use jackdaw_protocol::messages::elect_leaders_request::TopicPartitions;
use jackdaw_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use jackdaw_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, ResponseError, StrBytes, TopicName};

use super::errors::{self, Failure};
use super::{Context, Forwarded, Handler, Reply};
use crate::controller::election_defaults;
use crate::controller::leaders::{ElectError, Wanted, elect};
use crate::topics::image::Image;
use crate::topics::record::{ElectionDefaults, Record};

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

impl Handler for ElectLeadersRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<ElectLeadersResponse> {
        let wanted = match self.election_type {
            PREFERRED => Wanted::Preferred,
            UNCLEAN => Wanted::Unclean,
            unknown => {
                let message = format!("Unknown election type {unknown}");
                return Reply::Now(refused(
                    self,
                    ctx.api_version,
                    &Failure::with(ResponseError::InvalidRequest, message),
                ));
            }
        };
        let defaults = election_defaults(&ctx.broker.config());
        let asked = self.topic_partitions.as_deref();
        let changed = ctx
            .broker
            .blocking(|| ctx.broker.topics.change(|catalog| elections(catalog.image(), asked, wanted, defaults)));
        Reply::Now(match changed {
            Ok(results) => ElectLeadersResponse::default().with_replica_election_results(results),
            Err(error) => refused(self, ctx.api_version, &errors::change(&error)),
        })
    }
}

impl Forwarded for ElectLeadersRequest {
    fn refuse(self, version: i16, error: ResponseError, message: &str) -> ElectLeadersResponse {
        refused(self, version, &Failure::with(error, message.to_owned()))
    }
}

fn elections(
    image: &Image,
    asked: Option<&[TopicPartitions]>,
    wanted: Wanted,
    defaults: ElectionDefaults,
) -> (Vec<Record>, Vec<ReplicaElectionResult>) {
    let mut records = Vec::new();
    let mut one = |topic: &str, partition: i32| match elect(image, topic, partition, wanted, defaults) {
        Ok(record) => {
            records.push(record);
            None
        }
        Err(error) => Some(error),
    };
    let results = match asked {
        Some(asked) => {
            let answer = |asked: &TopicPartitions| {
                let result = |index: &i32| result(*index, one(&asked.topic, *index).as_ref());
                of_topic(asked.topic.clone(), asked.partitions.iter().map(result).collect())
            };
            asked.iter().map(answer).collect()
        }
        None => {
            let answer = |topic: &std::sync::Arc<crate::topics::image::TopicImage>| {
                let outcomes = (0..topic.partitions.len() as i32).map(|index| (index, one(&topic.name, index)));
                let told = outcomes.filter(|(_, error)| *error != Some(ElectError::NotNeeded));
                let results = told.map(|(index, error)| result(index, error.as_ref())).collect();
                of_topic(TopicName(StrBytes::from_string(topic.name.to_string())), results)
            };
            image.topics().map(answer).collect()
        }
    };
    (records, results)
}

fn of_topic(topic: TopicName, results: Vec<PartitionResult>) -> ReplicaElectionResult {
    ReplicaElectionResult::default().with_topic(topic).with_partition_result(results)
}

fn result(partition: i32, error: Option<&ElectError>) -> PartitionResult {
    answered(partition, error.map(errors::elect).as_ref())
}

fn answered(partition: i32, failure: Option<&Failure>) -> PartitionResult {
    let message = failure.and_then(|failure| failure.message.as_ref());
    PartitionResult::default()
        .with_partition_id(partition)
        .with_error_code(failure.map_or(0, |failure| failure.error.code()))
        .with_error_message(message.map(|message| StrBytes::from_string(message.to_string())))
}

/// The same error for everything: version 0 has no place for one of the whole request.
fn refused(request: ElectLeadersRequest, version: i16, failure: &Failure) -> ElectLeadersResponse {
    let topic = |topic: TopicPartitions| {
        let results = topic.partitions.iter().map(|index| answered(*index, Some(failure))).collect();
        of_topic(topic.topic, results)
    };
    ElectLeadersResponse::default()
        .with_error_code(if version >= 1 { failure.error.code() } else { 0 })
        .with_replica_election_results(request.topic_partitions.unwrap_or_default().into_iter().map(topic).collect())
}
