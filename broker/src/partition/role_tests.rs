#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
use std::time::Duration;

use jackdaw_protocol::records::{BatchBuilder, Codec};
use jackdaw_storage::{Appended, LogConfig, LogDir, LogDirOptions, Origin};
use uuid::Uuid;

use super::*;
use crate::clock::Clock;
use crate::config::{Config, TopicConfig};
use crate::partition::Flusher;
use crate::replication::{BrokerView, Brokers};

/// Broker 1, with a replica of `t-0`. Brokers 1 to 3 are active, in the epochs 10, 20 and 30.
struct Here {
    _temp: tempfile::TempDir,
    flusher: Arc<Flusher>,
    partition: Arc<Partition>,
    view: Arc<View>,
}

impl Drop for Here {
    fn drop(&mut self) {
        self.flusher.stop();
    }
}

fn here(min_insync_replicas: i32) -> Here {
    let temp = tempfile::tempdir().unwrap();
    let options = LogDirOptions::new(1);
    let dir = Arc::new(LogDir::open(temp.path(), options, &|_| LogConfig::default(), &|_| {}).unwrap());
    let clock = Arc::new(Clock::new());
    let log = dir.create("t", Uuid::from_u128(7), 0, LogConfig::default()).unwrap();
    let flusher = Flusher::start(dir, clock.clone()).unwrap();
    let mut config: TopicConfig = Config::default().topic_defaults;
    config.min_insync_replicas = min_insync_replicas;
    let partition = Partition::new("t".into(), Uuid::from_u128(7), 0, log, Arc::new(config), flusher.clone());
    let view = View::new(&Config { node_id: 1, ..Config::default() }, clock);
    let broker = |id: i32| (id, BrokerView { epoch: i64::from(id) * 10, is_active: true, rack: None });
    view.set_brokers((1..=3).map(broker).collect::<Brokers>());
    Here { _temp: temp, flusher, partition, view }
}

fn image(leader: i32, leader_epoch: i32, isr: &[i32]) -> PartitionImage {
    let new = PartitionImage::new([1, 2, 3].into());
    PartitionImage { leader, leader_epoch, partition_epoch: leader_epoch, isr: isr.into(), ..new }
}

impl Here {
    fn is(&self, leader: i32, epoch: i32) -> Duty {
        self.partition.update_role(&self.view, &image(leader, epoch, &[1, 2, 3]))
    }

    fn append(&self, value: &str) -> (Result<Appended, AppendError>, i32) {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(1, None, Some(value.as_bytes()), &[]);
        let batch = Batch::check(builder.build()).unwrap();
        let mut results = Vec::new();
        let epoch = self.partition.append(&[batch], Origin::Client, 1, &mut results);
        (results.remove(0), epoch)
    }

    fn fetch(&self, replica: i32, epoch: i32, offset: i64) {
        self.fetch_in(None, replica, epoch, offset);
    }

    fn fetch_in(&self, session: Option<i32>, replica: i32, epoch: i32, offset: i64) {
        self.partition.replica_fetched(epoch, (replica, i64::from(replica) * 10, session), offset, 0).unwrap();
    }
}

/// Never longer than a test may take.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it hangs")
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_all_is_answered_once_every_replica_in_sync_has_the_record_on_its_disk() {
    let here = here(2);
    assert_eq!(here.is(1, 3), Duty::Lead);
    let (appended, epoch) = here.append("a");
    assert_eq!((appended.unwrap().last_offset, epoch), (0, 3));
    let durable = here.partition.durable(1, epoch);
    tokio::pin!(durable);
    here.fetch(2, 3, 1);
    let early = tokio::time::timeout(Duration::from_millis(50), &mut durable).await;
    assert!(early.is_err(), "broker 3 is in sync and has not asked");
    assert_eq!(here.partition.log().high_watermark(), 0);
    here.fetch(3, 3, 1);
    soon(durable).await.unwrap();
    assert_eq!(here.partition.log().high_watermark(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_syncs_for_acks_all_when_a_follower_is_sent_the_records() {
    // What was asked for is synced when the threads have ended.
    let synced = |here: &Here| {
        here.flusher.stop();
        here.partition.log().flushed_offset()
    };
    let waiting = |min_insync_replicas| {
        let here = here(min_insync_replicas);
        here.is(1, 3);
        let (_, epoch) = here.append("a");
        let durable = here.partition.durable(1, epoch);
        (here, durable)
    };
    let (here, _durable) = waiting(2);
    assert_eq!(synced(&here), 0, "nobody was sent it");
    let (here, _durable) = waiting(2);
    here.partition.follower_gets(1);
    assert_eq!(synced(&here), 1);
    let (here, _durable) = waiting(2);
    here.fetch(2, 3, 1);
    assert_eq!(synced(&here), 1, "it has it already");
    // Sent before anybody waited, or while nobody did.
    let here = self::here(2);
    here.is(1, 3);
    let (_, epoch) = here.append("a");
    here.partition.follower_gets(1);
    let _durable = here.partition.durable(1, epoch);
    assert_eq!(synced(&here), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_left_alone_in_sync_waits_for_no_follower_to_ask() {
    let here = here(1);
    here.is(1, 3);
    let (_, epoch) = here.append("a");
    let durable = here.partition.durable(1, epoch);
    let left = PartitionImage { partition_epoch: 4, ..image(1, 3, &[1]) };
    here.partition.update_role(&here.view, &left);
    soon(durable).await.unwrap();
    let (_, epoch) = here.append("b");
    soon(here.partition.durable(2, epoch)).await.unwrap();
    // The only replica of all.
    here.partition.update_role(&here.view, &PartitionImage { partition_epoch: 5, ..image(1, 3, &[1, 2]) });
    here.append("c").0.unwrap();
    let durable = here.partition.durable(3, epoch);
    let only = PartitionImage { leader_epoch: 4, partition_epoch: 6, ..PartitionImage::new([1].into()) };
    here.partition.update_role(&here.view, &only);
    soon(durable).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_when_another_broker_leads() {
    let here = here(2);
    here.is(1, 3);
    let (_, epoch) = here.append("a");
    let waiting = here.partition.durable(1, epoch);
    assert_eq!(here.is(2, 4), Duty::Follow { leader: 2, epoch: 4 });
    assert!(matches!(soon(waiting).await, Err(NotDurable::NotLeader)));
    assert!(matches!(here.append("late").0, Err(AppendError::Fenced { .. })));
    // It leads again, and what was appended in epoch 3 may be something else by now.
    here.is(1, 5);
    assert!(matches!(soon(here.partition.durable(1, epoch)).await, Err(NotDurable::NotLeader)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_does_not_say_what_is_latest_before_its_high_watermark_has_come_to_its_epoch() {
    // KIP-207.
    let here = here(2);
    here.is(1, 3);
    here.append("a").0.unwrap();
    here.is(2, 4);
    here.is(1, 5);
    assert!(matches!(here.partition.check_high_watermark(), Err(NotServed::OffsetNotAvailable { epoch: 5 })));
    here.fetch(2, 5, 1);
    here.fetch(3, 5, 1);
    assert_eq!(here.partition.check_high_watermark(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_started_again_does_not_lead_in_the_epochs_of_its_former_life() {
    // It may have lost what followers of that epoch have on their disks: with other records in the same epoch the logs part
    // unnoticed. Found by power cuts of all nodes.
    let here = here(1);
    here.view.set_former_life(true);
    assert_eq!(here.is(1, 3), Duty::Wait);
    assert!(matches!(here.append("of another history").0, Err(AppendError::Fenced { .. })));
    assert_eq!(here.partition.check_leader(3), Err(NotServed::NotLeader { leader: -1, epoch: 3 }));
    // Registered: whoever leads from now on does so in a later epoch.
    here.view.set_former_life(false);
    assert_eq!(here.is(-1, 3), Duty::Wait);
    assert_eq!(here.is(1, 4), Duty::Lead);
    here.append("a").0.unwrap();
    // As the only replica, too.
    let alone = PartitionImage { leader_epoch: 5, ..PartitionImage::new([1].into()) };
    here.view.set_former_life(true);
    assert_eq!(here.partition.update_role(&here.view, &alone), Duty::Wait);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whom_neither_controller_nor_followers_have_given_a_sign_lately_is_not_sure_to_lead() {
    // Frozen for longer than its session, say: then others lead, and it does not know.
    let here = here(1);
    here.is(1, 3);
    assert!(!here.partition.surely_leads());
    for session in [None, Some(7), Some(8), None] {
        here.fetch_in(session, 2, 3, 0);
        assert!(!here.partition.surely_leads(), "this may have been sent before the freeze");
    }
    here.fetch_in(Some(9), 2, 3, 0);
    here.fetch_in(Some(9), 2, 3, 0);
    assert!(here.partition.surely_leads(), "a follower in sync has its answer, and asks again");
    let left = PartitionImage { partition_epoch: 4, ..image(1, 3, &[1, 3]) };
    here.partition.update_role(&here.view, &left);
    assert!(!here.partition.surely_leads(), "one that is not in sync says nothing");
    here.view.heard(here.view.now());
    assert!(here.partition.surely_leads(), "the controller lets it go on");
    here.is(2, 4);
    assert!(!here.partition.surely_leads());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_alone_in_sync_is_sure_to_lead() {
    let here = here(1);
    here.partition.update_role(&here.view, &image(1, 3, &[1]));
    assert!(here.partition.surely_leads(), "nobody else can be elected");
    here.partition.update_role(&here.view, &PartitionImage { leader_epoch: 4, ..PartitionImage::new([1].into()) });
    assert!(here.partition.surely_leads());
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_replicas_in_sync_are_told_before_anything_is_appended() {
    let here = here(2);
    here.partition.update_role(&here.view, &image(1, 3, &[1]));
    assert!(!here.partition.has_min_isr());
    assert_eq!(here.partition.in_sync(), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn epochs_older_and_newer_than_the_partitions_are_told_apart() {
    let here = here(1);
    here.is(2, 4);
    let partition = &here.partition;
    assert_eq!(partition.check_leader(3), Err(NotServed::FencedEpoch { known: 3, epoch: 4 }));
    assert_eq!(partition.check_leader(5), Err(NotServed::UnknownEpoch { known: 5, epoch: 4 }));
    assert_eq!(partition.check_leader(4), Err(NotServed::NotLeader { leader: 2, epoch: 4 }));
    assert_eq!((partition.check_replica(4), partition.check_replica(-1)), (Ok(()), Ok(())));
    here.is(1, 3);
    assert!(!partition.is_leader(), "an older state changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_broker_leads_is_never_cut_for_a_leader_of_before() {
    // KAFKA-10706's cousin: a fetcher that is late truncates a partition that is not its any more.
    let here = here(1);
    here.is(1, 3);
    here.append("a").0.unwrap();
    assert!(!here.partition.truncate(2, 0).unwrap());
    here.is(2, 4);
    here.is(1, 5);
    assert!(!here.partition.truncate(4, 0).unwrap());
    assert_eq!(here.partition.log().log_end_offset(), 1);
}
