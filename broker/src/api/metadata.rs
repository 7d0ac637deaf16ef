//! Metadata, 0 to 13: brokers, topics, leaders; creates topics that clients mention (`auto.create.topics.enable`).
//!
//! Version notes: in 0 an empty list means all topics, from 1 on null does; 1 adds the controller, racks and internal
//! topics, 2 the cluster id, 4 the flag against auto-creation (before, it is taken as given), 5 offline replicas, 7
//! leader epochs, 8 allowed operations, 10 topic ids, 12 topics asked by id; 13 a top-level error (KIP-1102).
//!
//! A topic that is created on the way is answered as unknown, as Kafka does; the client's next request finds it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jackdaw_protocol::messages::metadata_request::MetadataRequestTopic;
use jackdaw_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use jackdaw_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, ResponseError, StrBytes, TopicName};
use uuid::Uuid;

use super::group_words::ensure_topic;
use super::topology::{self, Brokers, CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS};
use super::{Context, Handler, Reply, errors};
use crate::cluster::creation;
use crate::topics::names;
use crate::topics::{Registry, Topic};

const TOPICS_BY_ID_SINCE: i16 = 12;
const LISTENER_NOT_FOUND_SINCE: i16 = 6;
/// The cluster's allowed operations moved to DescribeCluster in version 11.
const CLUSTER_OPERATIONS_IN: std::ops::RangeInclusive<i16> = 8..=10;

impl Handler for MetadataRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<MetadataResponse> {
        let topic_operations =
            if self.include_topic_authorized_operations { TOPIC_OPERATIONS } else { OPERATIONS_NOT_ASKED };
        let cluster_operations =
            self.include_cluster_authorized_operations && CLUSTER_OPERATIONS_IN.contains(&ctx.api_version);
        let mut topics = topics(self, ctx);
        for topic in topics.iter_mut().filter(|topic| topic.error_code == 0) {
            topic.topic_authorized_operations = topic_operations;
        }
        let brokers = Brokers::of(ctx, &ctx.broker.topics.image());
        let broker = |node: topology::Node| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(node.id))
                .with_host(node.host)
                .with_port(node.port)
                .with_rack(node.rack)
        };
        let response = MetadataResponse::default()
            .with_brokers(brokers.alive().into_iter().map(broker).collect())
            .with_cluster_id(Some(StrBytes::from_string(ctx.broker.cluster_id().to_owned())))
            .with_controller_id(brokers.controller(ctx.broker.channel.controller_id()))
            .with_topics(topics)
            .with_cluster_authorized_operations(if cluster_operations {
                CLUSTER_OPERATIONS
            } else {
                OPERATIONS_NOT_ASKED
            });
        Reply::Now(response)
    }
}

fn topics(request: MetadataRequest, ctx: &Context<'_>) -> Vec<MetadataResponseTopic> {
    let registry = ctx.broker.topics.registry();
    let found = finder(ctx, &registry);
    let asked = match request.topics {
        Some(asked) if !(asked.is_empty() && ctx.api_version == 0) => asked,
        _ => return registry.topics().map(&found).collect(),
    };
    let needs_ids = |topic: &MetadataRequestTopic| topic.name.is_none() || !topic.topic_id.is_nil();
    if ctx.api_version < TOPICS_BY_ID_SINCE && asked.iter().any(needs_ids) {
        let refuse = |name: Option<TopicName>| failed(name.unwrap_or_default(), ResponseError::InvalidRequest);
        return asked.into_iter().map(|topic| refuse(topic.name)).collect();
    }
    if asked.iter().any(|topic| !topic.topic_id.is_nil()) {
        let ids: HashSet<Uuid> = asked.iter().map(|topic| topic.topic_id).filter(|id| !id.is_nil()).collect();
        return ids.into_iter().map(|id| registry.topic_by_id(id).map_or_else(|| unknown_id(id), &found)).collect();
    }
    let may_create = request.allow_auto_topic_creation && ctx.broker.config().auto_create_topics_enable;
    let mut seen = HashSet::with_capacity(asked.len());
    let names = asked.into_iter().filter_map(|topic| topic.name).filter(|name| seen.insert(name.clone()));
    by_name(names.collect(), &registry, may_create, ctx)
}

fn by_name(
    names: Vec<TopicName>,
    registry: &Registry,
    may_create: bool,
    ctx: &Context<'_>,
) -> Vec<MetadataResponseTopic> {
    let found = finder(ctx, registry);
    let is_missing = |name: &&TopicName| registry.topic(name).is_none();
    let missing: Vec<&TopicName> = names.iter().filter(is_missing).collect();
    let mut coordinators = None;
    if may_create && missing.iter().any(|name| name.as_str() == names::CONSUMER_OFFSETS) {
        // Why it could not be made is in the log; the client hears that it is not there.
        let _ = ensure_topic(ctx);
        coordinators = ctx.broker.topics.topic(names::CONSUMER_OFFSETS);
    }
    // Internal topics have settings of their own, which only their coordinators know.
    let missing: Vec<String> =
        missing.into_iter().filter(|name| !names::is_internal(name)).map(|name| name.to_string()).collect();
    let elsewhere = may_create && !ctx.broker.channel.is_active();
    if elsewhere {
        creation::ask_for(ctx.broker, missing.iter().filter(|name| names::check(name).is_ok()).cloned());
    }
    let mut created = if may_create && !elsewhere && !missing.is_empty() {
        let create = || ctx.broker.topics.auto_create(&missing);
        missing.iter().cloned().zip(ctx.broker.blocking(create)).collect()
    } else {
        HashMap::new()
    };
    let known = |name: &str| registry.topic(name).or(coordinators.as_ref().filter(|topic| **topic.name() == *name));
    let answer = |name: TopicName| match (known(&name), created.remove(name.as_str())) {
        (Some(topic), _) => found(topic),
        // Clients have come to count on it: rust-rdkafka tests that a first message can time out meanwhile.
        (None, Some(Ok(_))) => failed(name, ResponseError::UnknownTopicOrPartition),
        (None, Some(Err(error))) => failed(name, errors::create_topic(&error).error),
        (None, None) if names::check(&name).is_err() => failed(name, ResponseError::InvalidTopicException),
        (None, None) => failed(name, ResponseError::UnknownTopicOrPartition),
    };
    names.into_iter().map(answer).collect()
}

/// Tells of topics that exist.
fn finder(ctx: &Context<'_>, registry: &Registry) -> impl Fn(&Arc<Topic>) -> MetadataResponseTopic + use<> {
    let (version, takes_writes) = (ctx.api_version, ctx.broker.topics.takes_writes());
    let brokers = Brokers::of(ctx, &registry.image);
    move |topic| found(&brokers, topic, takes_writes, version)
}

fn found(brokers: &Brokers, topic: &Arc<Topic>, takes_writes: bool, version: i16) -> MetadataResponseTopic {
    let error = |error: Option<ResponseError>| match error {
        None => 0,
        // A client that old does not know the error.
        Some(ResponseError::ListenerNotFound) if version < LISTENER_NOT_FOUND_SINCE => {
            ResponseError::LeaderNotAvailable.code()
        }
        Some(error) => error.code(),
    };
    let partition = |(index, image)| {
        let view = topology::view(brokers, topic, index, image, takes_writes);
        MetadataResponsePartition::default()
            .with_error_code(error(view.error))
            .with_partition_index(index as i32)
            .with_leader_id(view.leader)
            .with_leader_epoch(view.leader_epoch)
            .with_replica_nodes(view.replicas)
            .with_isr_nodes(view.isr)
            .with_offline_replicas(view.offline)
    };
    MetadataResponseTopic::default()
        .with_name(Some(topology::topic_name(topic.name())))
        .with_topic_id(topic.id())
        .with_is_internal(names::is_internal(topic.name()))
        .with_partitions(topic.image.partitions.iter().enumerate().map(partition).collect())
}

fn failed(name: TopicName, error: ResponseError) -> MetadataResponseTopic {
    let internal = names::is_internal(&name);
    MetadataResponseTopic::default().with_error_code(error.code()).with_name(Some(name)).with_is_internal(internal)
}

fn unknown_id(id: Uuid) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(ResponseError::UnknownTopicId.code())
        .with_name(None)
        .with_topic_id(id)
}
