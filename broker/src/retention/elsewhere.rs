//! What groups have committed that other brokers coordinate: asked of these, as any client would ask.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jackdaw_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use jackdaw_protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use jackdaw_protocol::messages::{GroupId, ListGroupsRequest, OffsetFetchRequest};

use crate::broker::Broker;
use crate::coordinator::{CommittedOffset, CommittedOffsets};
use crate::net::{Peer, PeerError};

/// Tells the states of groups.
const LIST_GROUPS: i16 = 4;
/// Takes many groups at once.
const OFFSET_FETCH: i16 = 8;
/// Groups in one request.
const GROUPS_AT_ONCE: usize = 100;
/// How long one request may take. A round has time, and must not wait for ever for a broker that is stuck.
const WITHIN: Duration = Duration::from_secs(5);
/// A group of no members, in Kafka's words.
const EMPTY: &str = "Empty";

/// What the groups of all other brokers that serve have committed in these topics, as far as those brokers answer.
pub(super) async fn committed(broker: &Broker, topics: &HashSet<Arc<str>>) -> CommittedOffsets {
    let image = broker.topics.image();
    let others = image.brokers.iter().filter(|(id, known)| **id != broker.node_id() && !known.fenced);
    let peers: Vec<(i32, Arc<Peer>)> =
        others.filter_map(|(id, _)| Some((*id, broker.channel.broker(&image, *id)?))).collect();
    let asked = peers.iter().map(|(id, peer)| async move {
        ask(peer, topics).await.unwrap_or_else(|error| {
            tracing::debug!(broker = id, %error, "retention does not know what the groups of a broker have read");
            CommittedOffsets::new()
        })
    });
    let mut found = CommittedOffsets::new();
    for committed in join_all(asked).await {
        super::add(&mut found, committed);
    }
    found
}

async fn ask(peer: &Peer, topics: &HashSet<Arc<str>>) -> Result<CommittedOffsets, PeerError> {
    let listed = peer.call(&ListGroupsRequest::default(), LIST_GROUPS, WITHIN).await?;
    let mut found = CommittedOffsets::new();
    for groups in listed.groups.chunks(GROUPS_AT_ONCE) {
        let group = |id: &GroupId| OffsetFetchRequestGroup::default().with_group_id(id.clone()).with_topics(None);
        let request =
            OffsetFetchRequest::default().with_groups(groups.iter().map(|listed| group(&listed.group_id)).collect());
        let answer = peer.call(&request, OFFSET_FETCH, WITHIN).await?;
        for fetched in answer.groups.iter().filter(|fetched| fetched.error_code == 0) {
            let listed = groups.iter().find(|listed| listed.group_id == fetched.group_id);
            note(&mut found, fetched, listed.is_some_and(|listed| listed.group_state.as_str() != EMPTY), topics);
        }
    }
    Ok(found)
}

fn note(found: &mut CommittedOffsets, fetched: &OffsetFetchResponseGroup, is_active: bool, topics: &HashSet<Arc<str>>) {
    let group: Arc<str> = fetched.group_id.as_str().into();
    for topic in &fetched.topics {
        let Some(name) = topics.get(topic.name.as_str()) else { continue };
        for partition in topic.partitions.iter().filter(|it| it.error_code == 0 && it.committed_offset >= 0) {
            let committed = CommittedOffset { group: group.clone(), offset: partition.committed_offset, is_active };
            found.entry((name.clone(), partition.partition_index)).or_default().push(committed);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use jackdaw_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    use jackdaw_protocol::messages::{FindCoordinatorRequest, OffsetCommitRequest, StrBytes};

    use super::*;
    use crate::api::testing::{TestBroker, topic};
    use crate::controller::testing::{far_epoch, registered, registration};
    use crate::topics::record::{Endpoint, Registration};

    /// Another broker as this one knows it.
    fn register(test: &TestBroker, broker: i32, port: i32) {
        let endpoint = Endpoint {
            name: test.broker().config().inter_broker_listener_name.clone(),
            host: "127.0.0.1".to_owned(),
            port: u16::try_from(port).unwrap(),
            security_protocol: 0,
        };
        let own = Registration { listeners: vec![endpoint], ..registration(broker, far_epoch(broker)) };
        let records = registered(broker, own).into();
        test.broker().topics.change(|_| (records, ())).unwrap();
    }

    async fn commit(test: &TestBroker, group: &str, name: &str, offset: i64) {
        let group = StrBytes::from_string(group.to_owned());
        test.ask(1, FindCoordinatorRequest::default().with_key(group.clone())).await;
        let partition = OffsetCommitRequestPartition::default().with_partition_index(2).with_committed_offset(offset);
        let committed = OffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(group.into())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![committed]);
        assert_eq!(test.ask(7, request).await.topics[0].partitions[0].error_code, 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn retention_knows_what_groups_have_read_that_another_broker_coordinates() {
        let (leader, coordinator) = (TestBroker::start(&[]).await, TestBroker::start(&[]).await);
        coordinator.create("orders", 3, &[]);
        coordinator.create("other", 3, &[]);
        commit(&coordinator, "billing", "orders", 7).await;
        commit(&coordinator, "billing", "other", 8).await;
        commit(&coordinator, "audit", "orders", 3).await;
        register(&leader, 11, coordinator.port());
        // One that does not answer keeps nobody from asking the others.
        register(&leader, 12, 1);
        let topics: HashSet<Arc<str>> = ["orders".into()].into();
        let found = committed(leader.broker(), &topics).await;
        assert_eq!(found.len(), 1);
        let mut offsets: Vec<_> =
            found[&("orders".into(), 2)].iter().map(|it| (it.group.to_string(), it.offset, it.is_active)).collect();
        offsets.sort();
        assert_eq!(offsets, [("audit".to_owned(), 3, false), ("billing".to_owned(), 7, false)]);
        // What this broker knows by itself is newer.
        let own = CommittedOffset { group: "billing".into(), offset: 9, is_active: true };
        let mut known = CommittedOffsets::from([(("orders".into(), 2), vec![own.clone()])]);
        super::super::add(&mut known, found);
        let known = &known[&("orders".into(), 2)];
        assert_eq!((known.len(), known.contains(&own)), (2, true));
    }
}
