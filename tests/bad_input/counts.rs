//! Every API at every version, with bodies that claim more than they hold: the process stays up and its memory small.

use bytes::{Buf, BytesMut};
use jackdaw_test_support::messages::*;
use jackdaw_test_support::{Broker, wire};
use kafka_protocol::protocol::{Message, Request};

use crate::serves;

/// Bodies that make a trusting decoder reserve memory: the largest counts at every place of an otherwise plausible body.
fn bombs<R: Request + Default>(version: i16) -> Vec<BytesMut> {
    let header_version = R::header_version(version);
    let mut plain = BytesMut::new();
    // Not every default has an encoding at every version; a few zeros then stand for it.
    if R::default().encode(&mut plain, version).is_err() {
        plain = BytesMut::from(&[0u8; 24][..]);
    }
    let huge_fixed = i32::MAX.to_be_bytes().to_vec();
    let huge_varint = vec![0xff, 0xff, 0xff, 0xff, 0x07];
    let long_string = i16::MAX.to_be_bytes().to_vec();
    let mut frames = Vec::new();
    for at in 0..=plain.len().min(40) {
        for bomb in [&huge_fixed, &huge_varint, &long_string] {
            for skipped in [0, bomb.len()] {
                let mut frame = wire::header(R::KEY, version, 1, header_version);
                frame.extend_from_slice(&plain[..at]);
                frame.extend_from_slice(bomb);
                let mut rest = &plain[at..];
                rest.advance(skipped.min(rest.len()));
                frame.extend_from_slice(rest);
                frames.push(frame);
            }
        }
    }
    frames
}

/// What the kernel lets the process have while bombs are tried: far less than a claimed count would take.
fn send_bombs<R: Request + Default>(broker: &Broker, advertised: &[(i16, i16, i16)]) -> usize {
    let Some(&(_, min, max)) = advertised.iter().find(|(key, ..)| *key == R::KEY) else {
        return 0;
    };
    let mut sent = 0;
    for version in min.max(<R as Message>::VERSIONS.min)..=max {
        for frame in bombs::<R>(version) {
            let mut client = broker.client();
            client.send_frame(&frame);
            client.finish_sending();
            client.drain();
            sent += 1;
        }
    }
    sent
}

#[test]
fn inflated_counts_in_every_api_at_every_version_cost_one_connection_each() {
    let mut broker = Broker::start();
    let apis = broker.client().call(0, &ApiVersionsRequest::default()).api_keys;
    let apis: Vec<_> = apis.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
    let mut covered = 0;
    macro_rules! send {
        ($($request:ident),* $(,)?) => { $(
            let sent = send_bombs::<$request>(&broker, &apis);
            assert!(broker.is_running(), "{} took it down:\n{}", stringify!($request), broker.said());
            covered += usize::from(sent > 0);
        )* };
    }
    send!(ProduceRequest, FetchRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest);
    send!(FindCoordinatorRequest, JoinGroupRequest, HeartbeatRequest, LeaveGroupRequest, SyncGroupRequest);
    send!(DescribeGroupsRequest, ListGroupsRequest, ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest);
    send!(DeleteRecordsRequest, InitProducerIdRequest, OffsetForLeaderEpochRequest, DescribeConfigsRequest);
    send!(AlterConfigsRequest, DescribeLogDirsRequest, CreatePartitionsRequest, DeleteGroupsRequest);
    send!(IncrementalAlterConfigsRequest, ListPartitionReassignmentsRequest, OffsetDeleteRequest);
    send!(DescribeClusterRequest, DescribeProducersRequest, DescribeTopicPartitionsRequest, AlterReplicaLogDirsRequest);
    send!(ElectLeadersRequest, AlterPartitionReassignmentsRequest, DescribeQuorumRequest);
    send!(AddRaftVoterRequest, RemoveRaftVoterRequest, UnregisterBrokerRequest, ListConfigResourcesRequest);
    assert_eq!(covered, apis.len(), "an API that this test does not send to");
    serves(&mut broker);
    let peak = peak_kib(&broker);
    assert!(peak < 300 << 10, "the broker grew to {peak} KiB");
}

fn peak_kib(broker: &Broker) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
