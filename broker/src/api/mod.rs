//! The one table of APIs served: ApiVersions, the version check and the dispatch all read it.
//!
//! A new API is one file with `impl Handler for FooRequest`, its `mod` line and its row.

mod context;
pub mod errors;
pub mod forward;
pub mod here;

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use jackdaw_protocol::guard;
use jackdaw_protocol::messages::{
    AddRaftVoterRequest, AllocateProducerIdsRequest, AlterConfigsRequest, AlterPartitionReassignmentsRequest,
    AlterPartitionRequest, AlterReplicaLogDirsRequest, ApiVersionsRequest, BrokerHeartbeatRequest,
    BrokerRegistrationRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest,
    DescribeProducersRequest, DescribeQuorumRequest, DescribeTopicPartitionsRequest, ElectLeadersRequest, Encodable,
    EnvelopeRequest, FetchRequest, FindCoordinatorRequest, HeaderVersion, HeartbeatRequest,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
    ListConfigResourcesRequest, ListGroupsRequest, ListOffsetsRequest, ListPartitionReassignmentsRequest,
    MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest,
    ProduceRequest, RemoveRaftVoterRequest, Request, SyncGroupRequest, UnregisterBrokerRequest,
};

pub(crate) use broker_heartbeat::{CORDONED_TAG, END_TAG, VERSION_TAG, write_partitions};
pub(crate) use broker_registration::TAG as OWN_TAG;
pub use context::{ConnectionInfo, Context, Serving};
pub use describe_cluster::CONTROLLERS as CONTROLLER_ENDPOINTS;
pub use forward::Forwarded;

use crate::net::Outgoing;

mod add_raft_voter;
#[cfg(test)]
mod admin_tests;
mod allocate_producer_ids;
mod alter_configs;
mod alter_partition;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
pub mod api_versions;
mod broker_heartbeat;
mod broker_registration;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod envelope;
#[cfg(test)]
mod failover_tests;
mod fetch;
mod fetch_replica;
#[cfg(test)]
mod fetch_replica_tests;
mod find_coordinator;
mod group_words;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leader_hints;
#[cfg(test)]
mod leader_hints_tests;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
pub mod produce;
pub(crate) mod quorum;
#[cfg(test)]
mod reassignment_tests;
mod remove_raft_voter;
mod sync_group;
#[cfg(test)]
pub(crate) mod testing;
mod topology;
mod unregister_broker;

/// What a handler answers.
///
/// A handler changes state before it returns, and leaves only the waiting to `Later`: so requests of one connection take
/// effect in order, and one that waits does not hold up the work of those behind it.
pub enum Reply<R> {
    /// The answer.
    Now(R),
    /// The answer, once the future is done.
    Later(Pin<Box<dyn Future<Output = R> + Send>>),
    /// No answer at all (Produce with acks=0).
    Silent,
    /// Close the connection, for this reason.
    Close(String),
}

impl<R> Reply<R> {
    /// An answer that waits.
    pub fn later(future: impl Future<Output = R> + Send + 'static) -> Reply<R> {
        Reply::Later(Box::pin(future))
    }
}

/// An API: its versions and what it does.
pub trait Handler: Request<Response: Send> + Send + 'static {
    /// Lowest version served.
    const MIN: i16 = <Self as jackdaw_protocol::messages::Message>::VERSIONS.min;
    /// Highest version served.
    const MAX: i16 = <Self as jackdaw_protocol::messages::Message>::VERSIONS.max;
    /// Lowest version named in ApiVersions.
    const ADVERTISED_MIN: i16 = Self::MIN;

    /// Does the work of one request of version `ctx.api_version`.
    fn handle(self, ctx: &Context<'_>) -> Reply<Self::Response>;

    /// Writes an answer behind what `out` holds. Only Fetch, which must not copy records, has an encoding of its own.
    fn encode(response: Self::Response, correlation_id: i32, version: i16, out: &mut Outgoing) -> Result<(), String> {
        let flexible = <Self::Response as HeaderVersion>::header_version(version) >= 1;
        out.frame(correlation_id, flexible, |tail| response.encode(tail, version))
            .map_err(|error| format!("the answer does not fit version {version}: {error}"))
    }
}

/// What became of a request.
pub enum Served {
    /// Its answer is in `Outgoing`.
    Answered,
    /// Its answer comes.
    Later(Pin<Box<dyn Future<Output = Outgoing> + Send>>),
    /// It has no answer.
    Silent,
    /// The connection must be closed.
    Close(String),
}

/// One row of the table.
pub struct Row {
    /// API key.
    pub key: i16,
    /// Name, for logs and metrics.
    pub name: &'static str,
    /// Lowest version served.
    pub min: i16,
    /// Highest version served.
    pub max: i16,
    /// Lowest version named in ApiVersions.
    pub advertised_min: i16,
    /// Where it is served.
    pub scope: Scope,
    /// Whether only the active controller decides, and other brokers pass it on.
    pub is_forwarded: bool,
    request_header_version: fn(i16) -> i16,
    work: Work,
}

/// On which listeners an API is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those for clients and brokers.
    Clients,
    /// The controller's.
    Controller,
    /// All.
    Everywhere,
}

impl Scope {
    /// Whether a listener that serves so takes requests of this scope.
    pub fn is_served(self, serving: Serving) -> bool {
        match self {
            Scope::Clients => serving == Serving::Clients,
            Scope::Controller => serving == Serving::Controller,
            Scope::Everywhere => true,
        }
    }
}

/// Guards, decodes and handles one request body.
pub type Serve = fn(&Context<'_>, i32, Bytes, &mut Outgoing) -> Served;

/// How requests of an API are worked on.
enum Work {
    /// One by one.
    Each(Serve),
    /// Those that arrived together, together: see [`produce::ProduceRun`].
    InRuns,
}

const fn row<H: Handler>(name: &'static str) -> Row {
    Row {
        key: H::KEY,
        name,
        min: H::MIN,
        max: H::MAX,
        advertised_min: H::ADVERTISED_MIN,
        scope: Scope::Clients,
        is_forwarded: false,
        request_header_version: H::header_version,
        work: Work::Each(serve::<H>),
    }
}

/// The row of an API that only the controller decides: any broker takes its requests and passes them on.
const fn forwarded_row<H: Forwarded>(name: &'static str) -> Row {
    let work = Work::Each(forward::serve_or_forward::<H>);
    Row { scope: Scope::Everywhere, is_forwarded: true, work, ..row::<H>(name) }
}

const PRODUCE: Row = Row {
    key: produce::KEY,
    name: "Produce",
    min: produce::VERSIONS.min,
    max: produce::VERSIONS.max,
    advertised_min: produce::ADVERTISED_MIN,
    scope: Scope::Clients,
    is_forwarded: false,
    request_header_version: <ProduceRequest as HeaderVersion>::header_version,
    work: Work::InRuns,
};

const QUORUM: Row = Row {
    key: quorum::KEY,
    name: "Quorum",
    min: quorum::MESSAGE,
    max: quorum::WHO,
    advertised_min: quorum::MESSAGE,
    scope: Scope::Controller,
    is_forwarded: false,
    request_header_version: |_| 1,
    work: Work::Each(quorum::serve),
};

/// Every API served, by key.
pub static TABLE: &[Row] = &[
    PRODUCE,
    row::<FetchRequest>("Fetch"),
    row::<ListOffsetsRequest>("ListOffsets"),
    row::<MetadataRequest>("Metadata"),
    row::<OffsetCommitRequest>("OffsetCommit"),
    row::<OffsetFetchRequest>("OffsetFetch"),
    row::<FindCoordinatorRequest>("FindCoordinator"),
    row::<JoinGroupRequest>("JoinGroup"),
    row::<HeartbeatRequest>("Heartbeat"),
    row::<LeaveGroupRequest>("LeaveGroup"),
    row::<SyncGroupRequest>("SyncGroup"),
    row::<DescribeGroupsRequest>("DescribeGroups"),
    row::<ListGroupsRequest>("ListGroups"),
    row::<ApiVersionsRequest>("ApiVersions").served_on(Scope::Everywhere),
    forwarded_row::<CreateTopicsRequest>("CreateTopics"),
    forwarded_row::<DeleteTopicsRequest>("DeleteTopics"),
    row::<DeleteRecordsRequest>("DeleteRecords"),
    row::<InitProducerIdRequest>("InitProducerId"),
    row::<OffsetForLeaderEpochRequest>("OffsetForLeaderEpoch"),
    row::<DescribeConfigsRequest>("DescribeConfigs"),
    forwarded_row::<AlterConfigsRequest>("AlterConfigs"),
    row::<AlterReplicaLogDirsRequest>("AlterReplicaLogDirs"),
    row::<DescribeLogDirsRequest>("DescribeLogDirs"),
    forwarded_row::<CreatePartitionsRequest>("CreatePartitions"),
    row::<DeleteGroupsRequest>("DeleteGroups"),
    forwarded_row::<ElectLeadersRequest>("ElectLeaders"),
    forwarded_row::<IncrementalAlterConfigsRequest>("IncrementalAlterConfigs"),
    forwarded_row::<AlterPartitionReassignmentsRequest>("AlterPartitionReassignments"),
    forwarded_row::<ListPartitionReassignmentsRequest>("ListPartitionReassignments"),
    row::<OffsetDeleteRequest>("OffsetDelete"),
    forwarded_row::<DescribeQuorumRequest>("DescribeQuorum"),
    row::<AlterPartitionRequest>("AlterPartition").served_on(Scope::Controller),
    row::<EnvelopeRequest>("Envelope").served_on(Scope::Controller),
    row::<DescribeClusterRequest>("DescribeCluster").served_on(Scope::Everywhere),
    row::<DescribeProducersRequest>("DescribeProducers"),
    row::<BrokerRegistrationRequest>("BrokerRegistration").served_on(Scope::Controller),
    row::<BrokerHeartbeatRequest>("BrokerHeartbeat").served_on(Scope::Controller),
    forwarded_row::<UnregisterBrokerRequest>("UnregisterBroker"),
    row::<AllocateProducerIdsRequest>("AllocateProducerIds").served_on(Scope::Controller),
    row::<ListConfigResourcesRequest>("ListConfigResources"),
    row::<DescribeTopicPartitionsRequest>("DescribeTopicPartitions"),
    forwarded_row::<AddRaftVoterRequest>("AddRaftVoter"),
    forwarded_row::<RemoveRaftVoterRequest>("RemoveRaftVoter"),
    QUORUM,
];

/// The row of an API key.
pub fn find(key: i16) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.key == key)
}

/// Whether the request header of this API version has tagged fields; `None` for an API that is not served.
pub fn is_flexible(key: i16, version: i16) -> Option<bool> {
    find(key).map(|row| (row.request_header_version)(version.min(row.max)) >= 2)
}

impl Row {
    const fn served_on(self, scope: Scope) -> Row {
        Row { scope, ..self }
    }

    /// What guards, decodes and handles one request body; none for requests that are collected in a
    /// [`produce::ProduceRun`].
    pub fn each(&self) -> Option<Serve> {
        match self.work {
            Work::Each(serve) => Some(serve),
            Work::InRuns => None,
        }
    }
}

/// Guards and decodes a request body of a version in the served range.
pub fn decode<R: Request>(version: i16, mut body: Bytes) -> Result<R, String> {
    guard::check_request(R::KEY, version, &body).map_err(|error| error.to_string())?;
    R::decode(&mut body, version).map_err(|error| error.to_string())
}

fn serve<H: Handler>(ctx: &Context<'_>, correlation_id: i32, body: Bytes, out: &mut Outgoing) -> Served {
    let version = ctx.api_version;
    let request = match decode::<H>(version, body) {
        Ok(request) => request,
        Err(reason) => return Served::Close(reason),
    };
    match request.handle(ctx) {
        Reply::Now(response) => match <H as Handler>::encode(response, correlation_id, version, out) {
            Ok(()) => Served::Answered,
            Err(reason) => Served::Close(reason),
        },
        Reply::Later(future) => Served::Later(Box::pin(async move {
            let mut out = Outgoing::default();
            match <H as Handler>::encode(future.await, correlation_id, version, &mut out) {
                Ok(()) => out,
                Err(reason) => Outgoing::broken(reason),
            }
        })),
        Reply::Silent => Served::Silent,
        Reply::Close(reason) => Served::Close(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_has_one_row_in_ascending_order() {
        assert!(TABLE.windows(2).all(|pair| pair[0].key < pair[1].key));
    }

    #[test]
    fn no_row_promises_more_than_the_message_codec_decodes() {
        for row in TABLE {
            assert!(row.min <= row.max, "{}", row.name);
        }
    }
}
