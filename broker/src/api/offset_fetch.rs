//! OffsetFetch, 1 to 9: what groups have committed.
//!
//! Version 1 has no error of its own, so each partition carries it. From version 2 null topics mean all. Version 5 adds
//! the leader epoch, 7 `require_stable`, 8 asks for many groups and leaves the old fields empty, 9 adds member id and
//! epoch, which only mean something in groups of the newer protocol.

use std::sync::Arc;

use jackdaw_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use jackdaw_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use jackdaw_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, ResponseError, StrBytes};

use super::errors;
use super::group_words::{owned, reply, wire};
use super::{Context, Handler, Reply};
use crate::coordinator::Outcome;
use crate::group::GroupError;
use crate::group::shard::FetchedOffset;

const TOP_LEVEL_ERROR_SINCE: i16 = 2;
const LEADER_EPOCH_SINCE: i16 = 5;
const MANY_GROUPS_SINCE: i16 = 8;

type Asked = Vec<(Arc<str>, i32)>;
type Fetched = Vec<(Arc<str>, i32, FetchedOffset)>;

impl Handler for OffsetFetchRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<OffsetFetchResponse> {
        if ctx.api_version >= MANY_GROUPS_SINCE { many_groups(self, ctx) } else { one_group(&self, ctx) }
    }
}

fn many_groups(request: OffsetFetchRequest, ctx: &Context<'_>) -> Reply<OffsetFetchResponse> {
    let ask = |group: &OffsetFetchRequestGroup| {
        let flat = |topics: &Vec<OffsetFetchRequestTopics>| -> Asked {
            topics.iter().flat_map(|topic| asked(&topic.name, &topic.partition_indexes)).collect()
        };
        let wanted = group.topics.as_ref().map(flat);
        fetch(ctx, &owned(&group.group_id), wanted, request.require_stable)
    };
    let outcome = Outcome::all(request.groups.iter().map(ask).collect());
    reply(outcome, move |answers| {
        let groups = request.groups.into_iter().zip(answers).map(|(group, answer)| {
            let response = OffsetFetchResponseGroup::default().with_group_id(group.group_id);
            match answer {
                Ok(fetched) => response.with_topics(topics_of_group(fetched)),
                Err(error) => response.with_error_code(errors::group(&error).error.code()),
            }
        });
        OffsetFetchResponse::default().with_groups(groups.collect())
    })
}

fn topics_of_group(fetched: Fetched) -> Vec<OffsetFetchResponseTopics> {
    let partition = |index, answer: PartitionAnswer| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(index)
            .with_committed_offset(answer.offset)
            .with_committed_leader_epoch(answer.leader_epoch)
            .with_metadata(Some(answer.metadata))
            .with_error_code(answer.error_code)
    };
    let topic = |name: &str, partitions| {
        OffsetFetchResponseTopics::default().with_name(wire(name).into()).with_partitions(partitions)
    };
    by_topic(fetched, partition, topic)
}

fn one_group(request: &OffsetFetchRequest, ctx: &Context<'_>) -> Reply<OffsetFetchResponse> {
    let version = ctx.api_version;
    let flat = |topics: &Vec<OffsetFetchRequestTopic>| -> Asked {
        topics.iter().flat_map(|topic| asked(&topic.name, &topic.partition_indexes)).collect()
    };
    let wanted = request.topics.as_ref().map(flat);
    let outcome = fetch(ctx, &owned(&request.group_id), wanted.clone(), request.require_stable);
    reply(outcome, move |answer| match answer {
        Ok(fetched) => OffsetFetchResponse::default().with_topics(topics(fetched, version, 0)),
        Err(error) => {
            let code = errors::group(&error).error.code();
            if version >= TOP_LEVEL_ERROR_SINCE {
                return OffsetFetchResponse::default().with_error_code(code);
            }
            let missing = |(topic, index)| (topic, index, FetchedOffset::Missing);
            let nothing = wanted.unwrap_or_default().into_iter().map(missing).collect();
            OffsetFetchResponse::default().with_topics(topics(nothing, version, code))
        }
    })
}

/// `error_code` is that of the whole group, for the version that has no other place for it.
fn topics(fetched: Fetched, version: i16, error_code: i16) -> Vec<OffsetFetchResponseTopic> {
    let partition = |index, answer: PartitionAnswer| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(index)
            .with_committed_offset(answer.offset)
            .with_committed_leader_epoch(if version >= LEADER_EPOCH_SINCE { answer.leader_epoch } else { -1 })
            .with_metadata(Some(answer.metadata))
            .with_error_code(if error_code == 0 { answer.error_code } else { error_code })
    };
    let topic = |name: &str, partitions| {
        OffsetFetchResponseTopic::default().with_name(wire(name).into()).with_partitions(partitions)
    };
    by_topic(fetched, partition, topic)
}

fn asked<'a>(topic: &StrBytes, partitions: &'a [i32]) -> impl Iterator<Item = (Arc<str>, i32)> + use<'a> {
    let topic = owned(topic);
    partitions.iter().map(move |partition| (topic.clone(), *partition))
}

fn fetch(
    ctx: &Context<'_>,
    group: &Arc<str>,
    wanted: Option<Asked>,
    require_stable: bool,
) -> Outcome<Result<Fetched, GroupError>> {
    let groups = &ctx.broker.groups;
    let Some(wanted) = wanted else { return groups.fetch_all(group, require_stable) };
    groups.fetch(group, &wanted, require_stable).map(move |answer| {
        let offsets = answer?;
        Ok(wanted.into_iter().zip(offsets).map(|((topic, partition), offset)| (topic, partition, offset)).collect())
    })
}

struct PartitionAnswer {
    offset: i64,
    leader_epoch: i32,
    metadata: StrBytes,
    error_code: i16,
}

impl From<FetchedOffset> for PartitionAnswer {
    fn from(fetched: FetchedOffset) -> PartitionAnswer {
        let none = |error_code| PartitionAnswer { offset: -1, leader_epoch: -1, metadata: StrBytes::new(), error_code };
        match fetched {
            FetchedOffset::Committed(value) => PartitionAnswer {
                offset: value.offset,
                leader_epoch: value.leader_epoch,
                metadata: wire(&value.metadata),
                error_code: 0,
            },
            FetchedOffset::Missing => none(0),
            FetchedOffset::Unstable => none(ResponseError::UnstableOffsetCommit.code()),
        }
    }
}

/// Neighbours of one topic share its entry.
fn by_topic<P, T>(
    fetched: Fetched,
    partition: impl Fn(i32, PartitionAnswer) -> P,
    topic: impl Fn(&str, Vec<P>) -> T,
) -> Vec<T> {
    let mut topics = Vec::new();
    let mut current: Option<(Arc<str>, Vec<P>)> = None;
    for (name, index, offset) in fetched {
        let answer = partition(index, offset.into());
        match &mut current {
            Some((open, partitions)) if *open == name => partitions.push(answer),
            _ => {
                if let Some((done, partitions)) = current.replace((name, vec![answer])) {
                    topics.push(topic(&done, partitions));
                }
            }
        }
    }
    topics.extend(current.map(|(done, partitions)| topic(&done, partitions)));
    topics
}
