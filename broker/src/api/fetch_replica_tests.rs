//! What followers learn from the leader's answers, and when.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use jackdaw_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use jackdaw_protocol::messages::fetch_response::PartitionData;
use jackdaw_protocol::messages::{BrokerId, FetchRequest, FetchResponse};
use uuid::Uuid;

use super::testing::TestBroker;
use crate::controller::testing::{far_epoch, registered, registration};
use crate::topics::image::Configs;
use crate::topics::record::Record;

const TOPIC: Uuid = Uuid::from_u128(7_000);
/// As long as nothing but the end of the wait ends it.
const LONG: i32 = 60_000;

/// A broker that leads a partition, of which brokers 11 and 12 have replicas.
async fn leader() -> TestBroker {
    let test = TestBroker::start(&[]).await;
    let register = |broker: i32| registered(broker, registration(broker, far_epoch(broker)));
    let created = Record::TopicCreated {
        name: "t".to_owned(),
        id: TOPIC,
        assignments: vec![vec![test.broker().node_id(), 11, 12]],
        configs: Configs::new(),
    };
    let records = (11..=12).flat_map(register).chain([created]).collect();
    test.broker().topics.change(|_| (records, ())).unwrap();
    test
}

/// A follower with a fetch session.
struct Follower<'a> {
    leader: &'a TestBroker,
    id: i32,
    session: i32,
    epoch: i32,
}

impl Follower<'_> {
    /// Asks from `offset` on, having what is below.
    async fn fetch(&mut self, offset: i64, wait_ms: i32) -> Option<PartitionData> {
        let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default()
            .with_topic_id(TOPIC)
            .with_partitions(vec![partition.with_current_leader_epoch(0).with_last_fetched_epoch(-1)]);
        let replica = ReplicaState::default().with_replica_id(BrokerId(self.id)).with_replica_epoch(far_epoch(self.id));
        let request = FetchRequest::default()
            .with_replica_state(replica)
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_session_id(self.session)
            .with_session_epoch(self.epoch)
            .with_topics(vec![topic]);
        let answer: FetchResponse =
            tokio::time::timeout(Duration::from_secs(20), self.leader.ask(17, request)).await.expect("it waits");
        assert_eq!(answer.error_code, 0);
        (self.session, self.epoch) = (answer.session_id, self.epoch + 1);
        let data = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
        assert_eq!(data.as_ref().map_or(0, |data| data.error_code), 0);
        data
    }
}

fn has_records(data: &PartitionData) -> bool {
    data.records.as_ref().is_some_and(|records| !records.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_follower_learns_the_high_watermark_long_before_its_wait_is_over() {
    let leader = leader().await;
    let [mut one, mut other] = [11, 12].map(|id| Follower { leader: &leader, id, session: 0, epoch: 0 });
    assert_eq!(one.fetch(0, 0).await.unwrap().high_watermark, 0);
    assert_eq!(other.fetch(0, 0).await.unwrap().high_watermark, 0);
    leader.append("t", &[1]);
    assert!(has_records(&one.fetch(0, LONG).await.unwrap()));
    assert!(has_records(&other.fetch(0, LONG).await.unwrap()));
    // The first one waits with all there is, until the other one has it too.
    let (told, other_told) = tokio::join!(one.fetch(1, LONG), other.fetch(1, LONG));
    for told in [told.unwrap(), other_told.unwrap()] {
        assert_eq!((told.high_watermark, has_records(&told)), (1, false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_knows_the_high_watermark_waits_as_long_as_it_said() {
    let leader = leader().await;
    let [mut one, mut other] = [11, 12].map(|id| Follower { leader: &leader, id, session: 0, epoch: 0 });
    one.fetch(0, 0).await;
    other.fetch(0, 0).await;
    let asked = leader.broker().clock.monotonic();
    assert_eq!(one.fetch(0, 300).await, None);
    assert!(leader.broker().clock.monotonic() - asked >= Duration::from_millis(300));
    // Nor is it told again and again that another one lags.
    leader.append("t", &[1]);
    assert!(has_records(&one.fetch(0, LONG).await.unwrap()));
    let asked = leader.broker().clock.monotonic();
    assert_eq!(one.fetch(1, 300).await, None);
    assert!(leader.broker().clock.monotonic() - asked >= Duration::from_millis(300));
}
