//! What is particular about a Fetch of another broker, and about one that may be served by a replica near the consumer.

use std::sync::Arc;

use jackdaw_protocol::messages::{FetchRequest, ResponseError};

use super::{Context, errors};
use crate::fetch::session::{self, Params};
use crate::partition::{Divergence, Partition, ReplicaRefused};
use crate::replication::leader::FetchRefused;

const REPLICA_STATE_SINCE: i16 = 15;

/// Another broker that fetches: its id and broker epoch, and the session that it goes on in.
pub(super) type Replica = Result<(i32, i64, Option<i32>), ResponseError>;

/// The replica that fetches; none for a consumer.
///
/// Whoever may name a replica id may say how far that replica has come, and with it what is committed (CVE-2018-1288). So
/// that is taken on the listener between brokers only, and only with the epoch that the broker is registered with.
pub(super) fn of(request: &FetchRequest, version: i16, ctx: &Context<'_>) -> Option<Replica> {
    let (id, epoch) = if version >= REPLICA_STATE_SINCE {
        (request.replica_state.replica_id.0, request.replica_state.replica_epoch)
    } else {
        (request.replica_id.0, -1)
    };
    if id < 0 {
        return None;
    }
    let is_between_brokers = *ctx.connection.listener == *ctx.broker.config().inter_broker_listener_name;
    if !is_between_brokers {
        return Some(Err(ResponseError::ClusterAuthorizationFailed));
    }
    let brokers = ctx.broker.topics.view().brokers();
    match brokers.get(&id) {
        Some(known) if known.epoch == epoch => {
            let session = (request.session_epoch > session::INITIAL_EPOCH).then_some(request.session_id);
            Some(Ok((id, epoch, session)))
        }
        _ => Some(Err(ResponseError::StaleBrokerEpoch)),
    }
}

/// Takes note of how far a replica has come, where its log agrees with this one.
pub(super) fn note(replica: Replica, partition: &Arc<Partition>, params: &Params) -> Result<(), ResponseError> {
    let replica = replica?;
    partition.check_leader(params.current_leader_epoch).map_err(|error| errors::not_served(&error))?;
    if params.last_fetched_epoch > partition.leader_epoch() {
        // No leader of this partition has written that.
        return Err(ResponseError::UnknownLeaderEpoch);
    }
    let log = partition.log();
    let has_offset = (log.log_start_offset()..=log.log_end_offset()).contains(&params.fetch_offset);
    if !has_offset || divergence(partition, params).is_some() {
        return Ok(()); // it will be told, and nothing of what it has counts
    }
    let (offset, log_start) = (params.fetch_offset, params.log_start_offset);
    partition.replica_fetched(params.current_leader_epoch, replica, offset, log_start).map_err(|error| match error {
        ReplicaRefused::NotServed(error) => errors::not_served(&error),
        ReplicaRefused::Fetch(FetchRefused::NotAReplica(_)) => ResponseError::NotLeaderOrFollower,
        ReplicaRefused::Fetch(FetchRefused::StaleBroker { .. }) => ResponseError::StaleBrokerEpoch,
    })
}

/// Where a replica's log parts from this one. One that is empty and begins beyond the end of this log is told that end.
pub(super) fn divergence(partition: &Partition, params: &Params) -> Option<Divergence> {
    let end_offset = partition.log().log_end_offset();
    if params.last_fetched_epoch < 0 && params.fetch_offset > end_offset {
        return Some(Divergence { epoch: partition.leader_epoch(), end_offset });
    }
    partition.divergence(params.last_fetched_epoch, params.fetch_offset)
}

/// The replica that a consumer in `rack` should rather read from (KIP-392), if it is not this one.
pub(super) fn preferred(partition: &Partition, params: &Params, rack: &str) -> Option<i32> {
    let offset = params.fetch_offset;
    partition.near(rack, |follower| follower.log_start <= offset && follower.end.is_some_and(|end| end >= offset))
}
