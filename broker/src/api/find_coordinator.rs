//! FindCoordinator, 0 to 6: who coordinates a group.
//!
//! Version 0 knows only groups. Version 4 asks for many keys at once and leaves the old fields empty. Versions 5 and 6
//! only add error codes and the share key type. Transactions and share groups are not served yet, and their keys are
//! answered with `UNSUPPORTED_VERSION`, so that their clients say so instead of trying again for ever.

use jackdaw_protocol::messages::find_coordinator_response::Coordinator;
use jackdaw_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse, ResponseError, StrBytes};

use super::errors::{self, Failure};
use super::group_words::ensure_topic;
use super::topology::{Brokers, Node};
use super::{Context, Handler, Reply};
use crate::coordinator::partition_for;
use crate::group::GroupError;
use crate::topics::image::PartitionImage;
use crate::topics::names::CONSUMER_OFFSETS;

const MANY_KEYS_SINCE: i16 = 4;
const ERROR_MESSAGE_SINCE: i16 = 1;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

impl Handler for FindCoordinatorRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<FindCoordinatorResponse> {
        let find = |key: &StrBytes| find(ctx, self.key_type, key);
        let mut response = FindCoordinatorResponse::default();
        if ctx.api_version >= MANY_KEYS_SINCE {
            response.coordinators = self.coordinator_keys.iter().map(find).collect();
            return Reply::Now(response);
        }
        let found = find(&self.key);
        response.error_code = found.error_code;
        response.node_id = found.node_id;
        response.host = found.host;
        response.port = found.port;
        if ctx.api_version >= ERROR_MESSAGE_SINCE {
            response.error_message = found.error_message;
        }
        Reply::Now(response)
    }
}

fn find(ctx: &Context<'_>, key_type: i8, key: &StrBytes) -> Coordinator {
    let mut coordinator = Coordinator::default().with_key(key.clone());
    match coordinates(ctx, key_type, key) {
        Ok(node) => {
            coordinator.node_id = node.id.into();
            coordinator.host = node.host;
            coordinator.port = node.port;
        }
        Err(failure) => {
            coordinator.error_code = failure.error.code();
            coordinator.error_message = failure.message.map(|message| StrBytes::from_string(message.into_owned()));
            coordinator.node_id = (-1).into();
            coordinator.port = -1;
        }
    }
    coordinator
}

fn coordinates(ctx: &Context<'_>, key_type: i8, key: &str) -> Result<Node, Failure> {
    match key_type {
        GROUP => {}
        TRANSACTION => {
            // As in InitProducerId: librdkafka would retry any other error until its timeout.
            return Err(Failure::with(
                ResponseError::TransactionalIdAuthorizationFailed,
                "transactions are not served by this version",
            ));
        }
        SHARE => {
            return Err(Failure::with(
                ResponseError::UnsupportedVersion,
                "share groups are not served by this version",
            ));
        }
        other => {
            let message =
                format!("coordinator key type {other} is unknown; 0 is a group, 1 a transaction, 2 a share group");
            return Err(Failure::with(ResponseError::InvalidRequest, message));
        }
    }
    let topics = &ctx.broker.topics;
    if topics.topic(CONSUMER_OFFSETS).is_none() {
        ensure_topic(ctx).map_err(|error| errors::group(&error))?;
    }
    let registry = topics.registry();
    let unavailable = |why: String| errors::group(&GroupError::NotAvailable(why));
    let topic = registry.topic(CONSUMER_OFFSETS).ok_or_else(|| unavailable(format!("{CONSUMER_OFFSETS} is gone")))?;
    let index = partition_for(key, topic.image.partitions.len());
    let leader = topic.image.partitions.get(index).map_or(PartitionImage::NO_LEADER, |partition| partition.leader);
    let brokers = Brokers::of(ctx, &registry.image);
    if leader != brokers.this().id {
        let led = |_| unavailable(format!("partition {index} of {CONSUMER_OFFSETS} has no leader that can be reached"));
        return brokers.node(leader).map_err(led);
    }
    let groups = &ctx.broker.groups;
    let ready = groups.coordinates(key).or_else(|_| {
        // The topic was deleted; or the disk was full, and has room again.
        ctx.broker.blocking(|| groups.resume(key));
        ensure_topic(ctx)?;
        groups.coordinates(key)
    });
    ready.map_err(|error| errors::group(&error))?;
    Ok(brokers.this().clone())
}
