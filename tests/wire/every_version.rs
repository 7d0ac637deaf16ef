//! Every API that is advertised answers at every version that it is advertised with.

use jackdaw_test_support::messages::*;
use jackdaw_test_support::requests::text;
use kafka_protocol::protocol::{Message, Request, VersionRange};

use crate::client;

/// Asks at each advertised version; the answer must decode without a byte left over.
fn ask<R: Request>(advertised: &[(i16, i16, i16)], asked: &mut Vec<i16>, at: impl Fn(i16) -> R) {
    let Some(&(key, min, max)) = advertised.iter().find(|(key, ..)| *key == R::KEY) else {
        return;
    };
    let known: VersionRange = <R as Message>::VERSIONS;
    let mut client = client();
    for version in min.max(known.min)..=max {
        assert!(version <= known.max, "API {key} is advertised up to version {max}, its codec ends at {}", known.max);
        client.call::<R>(version, &at(version));
    }
    asked.push(key);
}

#[test]
fn every_advertised_version_of_every_api_is_answered() {
    let apis = client().call(0, &ApiVersionsRequest::default()).api_keys;
    let apis: Vec<_> = apis.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
    let mut asked = Vec::new();
    macro_rules! ask {
        ($($request:ident),* $(,)?) => { $(ask(&apis, &mut asked, |_| $request::default());)* };
    }
    // Asking for nothing is answered too.
    ask!(
        ListOffsetsRequest,
        MetadataRequest,
        OffsetCommitRequest,
        HeartbeatRequest,
        LeaveGroupRequest,
        SyncGroupRequest
    );
    ask!(DescribeGroupsRequest, ListGroupsRequest, CreateTopicsRequest, DeleteTopicsRequest, DeleteRecordsRequest);
    ask!(OffsetForLeaderEpochRequest, DescribeConfigsRequest, AlterConfigsRequest, DescribeLogDirsRequest);
    ask!(
        CreatePartitionsRequest,
        DeleteGroupsRequest,
        IncrementalAlterConfigsRequest,
        ListPartitionReassignmentsRequest,
        ElectLeadersRequest,
        AlterPartitionReassignmentsRequest,
        DescribeQuorumRequest,
        AddRaftVoterRequest,
        RemoveRaftVoterRequest,
        UnregisterBrokerRequest,
        ListConfigResourcesRequest
    );
    ask!(
        OffsetDeleteRequest,
        DescribeClusterRequest,
        DescribeProducersRequest,
        FetchRequest,
        AlterReplicaLogDirsRequest
    );
    ask(&apis, &mut asked, |_| ProduceRequest::default().with_acks(-1).with_timeout_ms(1000));
    ask(&apis, &mut asked, |_| InitProducerIdRequest::default().with_transaction_timeout_ms(1000));
    ask(&apis, &mut asked, |_| JoinGroupRequest::default().with_session_timeout_ms(10_000));
    ask(&apis, &mut asked, |_| OffsetFetchRequest::default());
    ask(&apis, &mut asked, |version| match version {
        4.. => FindCoordinatorRequest::default().with_coordinator_keys(vec![text("every-version")]),
        _ => FindCoordinatorRequest::default().with_key(text("every-version")),
    });
    ask(&apis, &mut asked, |version| match version {
        3.. => ApiVersionsRequest::default()
            .with_client_software_name(text("test"))
            .with_client_software_version(text("1")),
        _ => ApiVersionsRequest::default(),
    });
    ask(&apis, &mut asked, |_| DescribeTopicPartitionsRequest::default().with_response_partition_limit(10));
    asked.sort_unstable();
    let advertised: Vec<i16> = apis.iter().map(|(key, ..)| *key).collect();
    if std::env::var_os("ON_KAFKA").is_none() {
        assert_eq!(asked, advertised, "an API that this test does not ask");
    }
}
