//! Decoders and encoders of every message, by API key.

use bytes::{Bytes, BytesMut};
use jackdaw_protocol::guard::{self, GuardError, shape::Message as Shape};
use jackdaw_protocol::messages::*;

/// One message: its shape, its guard, and its codec.
pub(crate) struct Subject {
    pub name: String,
    pub api_key: i16,
    pub shape: &'static Shape,
    /// The versions of the codec.
    pub versions: VersionRange,
    pub check: fn(i16, i16, &[u8]) -> Result<(), GuardError>,
    pub decode: fn(&Bytes, i16) -> Result<(), String>,
    pub recode: fn(&Bytes, i16) -> Result<Bytes, String>,
}

impl Subject {
    pub(crate) fn check(&self, version: i16, body: &[u8]) -> Result<(), GuardError> {
        (self.check)(self.api_key, version, body)
    }
}

fn decode_whole<M: Message + Decodable>(body: &Bytes, version: i16) -> Result<M, String> {
    let mut rest = body.clone();
    let message = M::decode(&mut rest, version).map_err(|error| error.to_string())?;
    if rest.is_empty() { Ok(message) } else { Err(format!("{} bytes left over", rest.len())) }
}

fn decode<M: Message + Decodable>(body: &Bytes, version: i16) -> Result<(), String> {
    decode_whole::<M>(body, version).map(drop)
}

/// As [`decode`], but bytes may be left over.
fn decode_front<M: Message + Decodable>(body: &Bytes, version: i16) -> Result<(), String> {
    M::decode(&mut body.clone(), version).map(drop).map_err(|error| error.to_string())
}

/// Decodes, encodes, and decodes that again; the values must be equal and the size as announced.
fn recode<M: Message + Decodable + Encodable + PartialEq>(body: &Bytes, version: i16) -> Result<Bytes, String> {
    let message = decode_whole::<M>(body, version)?;
    let mut encoded = BytesMut::new();
    message.encode(&mut encoded, version).map_err(|error| error.to_string())?;
    let size = message.compute_size(version).map_err(|error| error.to_string())?;
    let encoded = encoded.freeze();
    if size != encoded.len() {
        return Err(format!("announced {size} bytes, encoded {}", encoded.len()));
    }
    if decode_whole::<M>(&encoded, version)? != message {
        return Err("the encoding decodes to another value".to_owned());
    }
    Ok(encoded)
}

fn both<R>() -> [Subject; 2]
where
    R: Request + PartialEq,
    R::Response: PartialEq,
{
    let api = guard::apis().find(|api| api.key == R::KEY).unwrap_or_else(|| panic!("no shape for key {}", R::KEY));
    let request = Subject {
        name: format!("{} request", api.name),
        api_key: R::KEY,
        shape: &api.request,
        versions: R::VERSIONS,
        check: guard::check_request,
        decode: decode_front::<R>,
        recode: recode::<R>,
    };
    let response = Subject {
        name: format!("{} response", api.name),
        api_key: R::KEY,
        shape: &api.response,
        versions: <R::Response as Message>::VERSIONS,
        check: guard::check_response,
        decode: decode::<R::Response>,
        recode: recode::<R::Response>,
    };
    [request, response]
}

macro_rules! subjects {
    ($($request:ident,)*) => {
        /// Every message that the codec knows: requests, responses, and what consumers hand each other.
        pub(crate) fn all() -> Vec<Subject> {
            let mut all = Vec::new();
            $(all.extend(both::<$request>());)*
            all.push(Subject {
                name: "ConsumerProtocolSubscription".to_owned(),
                api_key: -1,
                shape: guard::consumer_subscription(),
                versions: ConsumerProtocolSubscription::VERSIONS,
                check: |_, version, body| guard::check_consumer_subscription(version, body).map(drop),
                decode: decode_front::<ConsumerProtocolSubscription>,
                recode: recode::<ConsumerProtocolSubscription>,
            });
            all.push(Subject {
                name: "ConsumerProtocolAssignment".to_owned(),
                api_key: -1,
                shape: guard::consumer_assignment(),
                versions: ConsumerProtocolAssignment::VERSIONS,
                check: |_, version, body| guard::check_consumer_assignment(version, body).map(drop),
                decode: decode_front::<ConsumerProtocolAssignment>,
                recode: recode::<ConsumerProtocolAssignment>,
            });
            all
        }
    };
}

subjects! {
    ProduceRequest,
    FetchRequest,
    ListOffsetsRequest,
    MetadataRequest,
    OffsetCommitRequest,
    OffsetFetchRequest,
    FindCoordinatorRequest,
    JoinGroupRequest,
    HeartbeatRequest,
    LeaveGroupRequest,
    SyncGroupRequest,
    DescribeGroupsRequest,
    ListGroupsRequest,
    SaslHandshakeRequest,
    ApiVersionsRequest,
    CreateTopicsRequest,
    DeleteTopicsRequest,
    DeleteRecordsRequest,
    InitProducerIdRequest,
    OffsetForLeaderEpochRequest,
    AddPartitionsToTxnRequest,
    AddOffsetsToTxnRequest,
    EndTxnRequest,
    WriteTxnMarkersRequest,
    TxnOffsetCommitRequest,
    DescribeAclsRequest,
    CreateAclsRequest,
    DeleteAclsRequest,
    DescribeConfigsRequest,
    AlterConfigsRequest,
    AlterReplicaLogDirsRequest,
    DescribeLogDirsRequest,
    SaslAuthenticateRequest,
    CreatePartitionsRequest,
    CreateDelegationTokenRequest,
    RenewDelegationTokenRequest,
    ExpireDelegationTokenRequest,
    DescribeDelegationTokenRequest,
    DeleteGroupsRequest,
    ElectLeadersRequest,
    IncrementalAlterConfigsRequest,
    AlterPartitionReassignmentsRequest,
    ListPartitionReassignmentsRequest,
    OffsetDeleteRequest,
    DescribeClientQuotasRequest,
    AlterClientQuotasRequest,
    DescribeUserScramCredentialsRequest,
    AlterUserScramCredentialsRequest,
    VoteRequest,
    BeginQuorumEpochRequest,
    EndQuorumEpochRequest,
    DescribeQuorumRequest,
    AlterPartitionRequest,
    UpdateFeaturesRequest,
    EnvelopeRequest,
    FetchSnapshotRequest,
    DescribeClusterRequest,
    DescribeProducersRequest,
    BrokerRegistrationRequest,
    BrokerHeartbeatRequest,
    UnregisterBrokerRequest,
    DescribeTransactionsRequest,
    ListTransactionsRequest,
    AllocateProducerIdsRequest,
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupDescribeRequest,
    ControllerRegistrationRequest,
    GetTelemetrySubscriptionsRequest,
    PushTelemetryRequest,
    AssignReplicasToDirsRequest,
    ListConfigResourcesRequest,
    DescribeTopicPartitionsRequest,
    ShareGroupHeartbeatRequest,
    ShareGroupDescribeRequest,
    ShareFetchRequest,
    ShareAcknowledgeRequest,
    AddRaftVoterRequest,
    RemoveRaftVoterRequest,
    UpdateRaftVoterRequest,
    InitializeShareGroupStateRequest,
    ReadShareGroupStateRequest,
    WriteShareGroupStateRequest,
    DeleteShareGroupStateRequest,
    ReadShareGroupStateSummaryRequest,
    DescribeShareGroupOffsetsRequest,
    AlterShareGroupOffsetsRequest,
    DeleteShareGroupOffsetsRequest,
}
