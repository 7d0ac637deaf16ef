//! BrokerHeartbeat, 0 and 1: a broker says that it is there, and how far it knows the metadata. Controller listener only.
//!
//! Version notes: 1 adds the log directories that failed. Which partitions are on them, Kafka's controller knows by
//! itself; here they are in a tagged field of our own, 20 bytes each. Two more say how far a broker that does not vote has
//! come in the log of the metadata, and whether all its log directories are cordoned, which Kafka's brokers tell by id.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use jackdaw_protocol::messages::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use uuid::Uuid;

use super::broker_registration::TAG;
use super::{Context, Handler, Reply, errors};
use crate::cluster::members;
use crate::controller::registration::Beat;

/// Tag of the offset after the last entry of the metadata's log that the broker has, 8 bytes.
pub(crate) const END_TAG: i32 = TAG + 1;
/// Tag of whether all log directories are cordoned, 1 byte.
pub(crate) const CORDONED_TAG: i32 = TAG + 2;
/// Tag of the version of the metadata that the controller has, in its answer, 8 bytes.
pub(crate) const VERSION_TAG: i32 = TAG + 3;
/// Bytes of a partition: its topic's id and its index.
const PARTITION_BYTES: usize = 20;

impl Handler for BrokerHeartbeatRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<BrokerHeartbeatResponse> {
        let said = Beat {
            broker: self.broker_id.0,
            epoch: self.broker_epoch,
            applied: self.current_metadata_offset,
            want_fence: self.want_fence,
            want_shut_down: self.want_shut_down,
            cordoned: self.unknown_tagged_fields.get(&CORDONED_TAG).map(|bytes| **bytes == [1]),
            offline: self.unknown_tagged_fields.get(&TAG).map_or_else(Vec::new, read_partitions),
        };
        let connection = (ctx.connection.id != 0).then_some(ctx.connection.id);
        let response = BrokerHeartbeatResponse::default();
        let failure = match ctx.broker.blocking(|| members::beat(ctx.broker, &said, connection)) {
            Ok(Ok(verdict)) => {
                let end = self.unknown_tagged_fields.get(&END_TAG).and_then(|bytes| bytes.first_chunk().copied());
                if let Some(end) = end.map(i64::from_be_bytes) {
                    members::follows(ctx.broker, said.broker, end);
                }
                let version = ctx.broker.topics.quorum().version();
                let response = response.with_unknown_tagged_field(VERSION_TAG, version.to_be_bytes().to_vec().into());
                let answer = response.with_is_caught_up(verdict.caught_up).with_is_fenced(verdict.fenced);
                return Reply::Now(answer.with_should_shut_down(verdict.should_shut_down));
            }
            Ok(Err(stale)) => errors::broker_epoch(stale),
            Err(error) => errors::change(&error),
        };
        Reply::Now(response.with_error_code(failure.error.code()))
    }
}

fn read_partitions(bytes: &Bytes) -> Vec<(Uuid, i32)> {
    let partition = |mut entry: &[u8]| (Uuid::from_u128(entry.get_u128()), entry.get_i32());
    bytes.chunks_exact(PARTITION_BYTES).map(partition).collect()
}

/// The form in which a heartbeat names partitions.
pub(crate) fn write_partitions(partitions: &[(Uuid, i32)]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(partitions.len() * PARTITION_BYTES);
    for (id, index) in partitions {
        bytes.put_u128(id.as_u128());
        bytes.put_i32(*index);
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_survive_the_way_to_the_controller_and_what_is_cut_short_is_nothing() {
        let partitions = vec![(Uuid::from_u128(7), 0), (Uuid::from_u128(u128::MAX), i32::MAX)];
        let bytes = write_partitions(&partitions);
        assert_eq!(read_partitions(&bytes), partitions);
        assert_eq!(read_partitions(&bytes.slice(..39)), partitions[..1]);
    }
}
