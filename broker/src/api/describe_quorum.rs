//! DescribeQuorum, 0 to 2 (KIP-595): who votes on the metadata, and how far each is.
//!
//! Version 1 adds when a voter was last heard, and when it last had everything; 2 the directory ids and the addresses
//! (KIP-853). Brokers that only follow the metadata tell how far they are with each heartbeat.

use std::time::Duration;

use jackdaw_protocol::messages::describe_quorum_request::TopicData as AskedTopic;
use jackdaw_protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use jackdaw_protocol::messages::{
    BrokerId, DescribeQuorumRequest, DescribeQuorumResponse, ResponseError, StrBytes, TopicName,
};
use jackdaw_quorum::{MemberStatus, Status};

use super::forward::Forwarded;
use super::{Context, Handler, Reply};
use crate::cluster::members::Observer;
use crate::topics::image::Image;
use crate::topics::names::CLUSTER_METADATA;

/// An offset or a time that is not known.
const UNKNOWN: i64 = -1;
/// Older versions have no place for directory ids and addresses.
const TELLS_DIRECTORIES: i16 = 2;

impl Handler for DescribeQuorumRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<DescribeQuorumResponse> {
        let asks_for_it = |topic: &AskedTopic| {
            topic.topic_name.as_str() == CLUSTER_METADATA
                && matches!(&topic.partitions[..], [partition] if partition.partition_index == 0)
        };
        let answer = DescribeQuorumResponse::default().with_error_message(None);
        if !matches!(&self.topics[..], [topic] if asks_for_it(topic)) {
            return Reply::Now(answer.with_topics(failed(&self.topics, ResponseError::UnknownTopicOrPartition)));
        }
        let quorum = ctx.broker.topics.quorum();
        let Some(mut status) = quorum.as_voter().map(jackdaw_quorum::Quorum::status) else {
            return Reply::Now(answer.with_topics(failed(&self.topics, ResponseError::NotLeaderOrFollower)));
        };
        if ctx.api_version < TELLS_DIRECTORIES {
            status.members.values_mut().for_each(|member| member.member.directory = None);
        }
        let observer = |id| ctx.broker.members.observer(id);
        let partition = partition(&status, &ctx.broker.topics.image(), &observer, ctx.broker.clock.now_ms());
        let topic = TopicData::default()
            .with_topic_name(TopicName(StrBytes::from_static_str(CLUSTER_METADATA)))
            .with_partitions(vec![partition]);
        let name = ctx.broker.config().controller_listener_names.first().cloned().unwrap_or_default();
        let nodes = if ctx.api_version >= TELLS_DIRECTORIES { nodes(&status, &name) } else { Vec::new() };
        Reply::Now(answer.with_topics(vec![topic]).with_nodes(nodes))
    }
}

impl Forwarded for DescribeQuorumRequest {
    fn refuse(self, _version: i16, error: ResponseError, message: &str) -> DescribeQuorumResponse {
        DescribeQuorumResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_string(message.to_owned())))
    }
}

fn partition(status: &Status, image: &Image, observer: &dyn Fn(i32) -> Option<Observer>, now_ms: i64) -> PartitionData {
    let id = |id: &u64| i32::try_from(*id).unwrap_or(-1);
    let leader = status.leader.as_ref().map_or(-1, id);
    let member = |(node, member): (&u64, &MemberStatus)| {
        let leads = status.leader == Some(*node);
        // Kafka counts offsets up to the next one, openraft indexes up to the last.
        let end = match member.matched {
            Some(matched) => i64::try_from(matched).unwrap_or(i64::MAX - 1) + 1,
            None if leads => high_watermark(status),
            None => UNKNOWN,
        };
        let ago = |since: Duration| now_ms - i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let heard = if leads { now_ms } else { member.since_contact.map_or(UNKNOWN, ago) };
        ReplicaState::default()
            .with_replica_id(BrokerId(id(node)))
            .with_replica_directory_id(member.member.directory.map(|directory| directory.0).unwrap_or_default())
            .with_log_end_offset(end)
            .with_last_fetch_timestamp(heard)
            .with_last_caught_up_timestamp(if end >= high_watermark(status) { heard } else { UNKNOWN })
    };
    let (voters, learners): (Vec<_>, Vec<_>) = status.members.iter().partition(|(_, member)| member.member.voter);
    let follows = image.brokers.keys().filter(|broker| !status.members.keys().any(|node| id(node) == **broker));
    let follower = |broker: &i32| {
        let known = observer(*broker);
        ReplicaState::default()
            .with_replica_id(BrokerId(*broker))
            .with_log_end_offset(known.map_or(UNKNOWN, |known| known.end))
            .with_last_fetch_timestamp(known.map_or(UNKNOWN, |known| known.heard_ms))
            .with_last_caught_up_timestamp(known.map_or(UNKNOWN, |known| known.caught_up_ms))
    };
    PartitionData::default()
        .with_partition_index(0)
        .with_error_message(None)
        .with_leader_id(BrokerId(leader))
        .with_leader_epoch(i32::try_from(status.term).unwrap_or(i32::MAX))
        .with_high_watermark(high_watermark(status))
        .with_current_voters(voters.into_iter().map(member).collect())
        .with_observers(learners.into_iter().map(member).chain(follows.map(follower)).collect())
}

fn high_watermark(status: &Status) -> i64 {
    i64::try_from(status.high_watermark).unwrap_or(i64::MAX - 1) + 1
}

fn nodes(status: &Status, listener: &str) -> Vec<Node> {
    let node = |(id, member): (&u64, &MemberStatus)| {
        let (host, port) = member.member.address.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let listener = Listener::default()
            .with_name(StrBytes::from_string(listener.to_owned()))
            .with_host(StrBytes::from_string(host.to_owned()))
            .with_port(port.parse().ok()?);
        Some(Node::default().with_node_id(BrokerId(i32::try_from(*id).ok()?)).with_listeners(vec![listener]))
    };
    status.members.iter().filter(|(_, member)| member.member.voter).filter_map(node).collect()
}

fn failed(asked: &[AskedTopic], error: ResponseError) -> Vec<TopicData> {
    let partition = |index: i32| {
        PartitionData::default()
            .with_partition_index(index)
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_string(error.to_string())))
    };
    let topic = |asked: &AskedTopic| {
        TopicData::default()
            .with_topic_name(asked.topic_name.clone())
            .with_partitions(asked.partitions.iter().map(|p| partition(p.partition_index)).collect())
    };
    asked.iter().map(topic).collect()
}
