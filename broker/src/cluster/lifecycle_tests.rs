//! The life of a broker, on a whole broker that is its own controller.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;
use crate::api::testing::TestBroker;
use crate::cluster::members;
use crate::controller::registration::{Application, BrokerEpochError};
use crate::topics::record::Endpoint;

/// As another node would register, whose listener is at that port.
fn other(broker: &TestBroker, id: i32, port: u16) -> Application {
    Application {
        broker: id,
        cluster_id: broker.broker().cluster_id().to_owned(),
        incarnation: Uuid::new_v4(),
        rack: None,
        listeners: vec![Endpoint { name: "PLAINTEXT".into(), host: "127.0.0.1".into(), port, security_protocol: 0 }],
        dirs: vec![Uuid::new_v4()],
        previous_epoch: -1,
        extras: Extras { message_max_bytes: 1000, ..Extras::default() },
    }
}

fn own(broker: &TestBroker) -> crate::topics::image::BrokerImage {
    broker.broker().topics.image().brokers[&broker.broker().node_id()].clone()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_alone_is_registered_and_leads_before_it_serves() {
    let broker = TestBroker::start(&[("broker.rack", "r1")]).await;
    let registered = own(&broker);
    assert!(registered.is_active());
    assert_eq!(registered.registration.epoch, broker.broker().lifecycle.epoch());
    assert_eq!(registered.registration.rack.as_deref(), Some("r1"));
    assert_eq!(i32::from(registered.registration.listeners[0].port), broker.port());
    let dir = broker.broker().flushers()[0].dir().directory_id().to_string();
    assert_eq!(registered.registration.dirs, [dir]);
    assert_eq!(registered.registration.message_max_bytes, 1_048_588);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_leaves_the_epoch_that_proves_it() {
    let broker = TestBroker::start(&[]).await;
    let first = broker.broker().lifecycle.epoch();
    let broker = broker.restart(&[]).await;
    assert_eq!(previous_epoch(broker.broker()), first);
    assert!(broker.broker().lifecycle.epoch() > first);
    let crashed = |data: &std::path::Path| {
        let mark = data.join(".kafka_cleanshutdown");
        assert!(std::process::Command::new("rm").arg(mark).status().unwrap().success());
    };
    let broker = broker.restart_after(&[], crashed).await;
    assert_eq!(previous_epoch(broker.broker()), -1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_process_is_gone_is_fenced_when_its_connection_closes() {
    let broker = TestBroker::start(&[]).await;
    let here = broker.broker();
    // Bound once and let go: nothing listens there.
    let free = crate::net::bind("L", "127.0.0.1", 0).await.unwrap().address.port();
    let wish = other(&broker, 7, free);
    let epoch = here.blocking(|| members::register(here, &wish, Some(70))).unwrap().unwrap();
    let said = crate::controller::registration::Beat { broker: 7, epoch, applied: epoch, ..Default::default() };
    let verdict = here.blocking(|| members::beat(here, &said, Some(70))).unwrap().unwrap();
    assert!(!verdict.fenced && here.topics.image().is_active(7));
    here.members.connection_closed(here.clock.monotonic(), 70);
    until("the broker to be fenced", || !here.topics.image().is_active(7)).await;
    assert!(here.topics.image().brokers.contains_key(&7), "it may come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_only_lost_its_connection_stays_and_one_that_is_silent_does_not() {
    let broker =
        TestBroker::start(&[("broker.session.timeout.ms", "1500"), ("broker.heartbeat.interval.ms", "100")]).await;
    let here = broker.broker();
    let listening = u16::try_from(broker.port()).unwrap();
    let wish = other(&broker, 7, listening);
    let epoch = here.blocking(|| members::register(here, &wish, Some(70))).unwrap().unwrap();
    let said = crate::controller::registration::Beat { broker: 7, epoch, applied: epoch, ..Default::default() };
    here.blocking(|| members::beat(here, &said, Some(70))).unwrap().unwrap();
    let began = here.clock.monotonic();
    here.members.connection_closed(began, 70);
    until("the session to end", || !here.topics.image().is_active(7)).await;
    assert!(here.clock.monotonic() - began > Duration::from_millis(1000), "its listener takes connections");
    assert!(own(&broker).is_active(), "this node hears itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cordoned_broker_gets_no_new_partition_whoever_is_the_controller() {
    let broker = TestBroker::start(&[]).await;
    let here = broker.broker();
    let wish = other(&broker, 7, u16::try_from(broker.port()).unwrap());
    let epoch = here.blocking(|| members::register(here, &wish, Some(70))).unwrap().unwrap();
    let said = crate::controller::registration::Beat { broker: 7, epoch, applied: epoch, ..Default::default() };
    here.blocking(|| members::beat(here, &said, Some(70))).unwrap().unwrap();
    let holders = |topic: &str| {
        broker.create(topic, 6, &[]);
        let image = here.topics.image();
        let partitions = image.topic(topic).unwrap().partitions.clone();
        partitions.iter().flat_map(|partition| partition.replicas.to_vec()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(holders("before"), [1, 7].into());
    let said = crate::controller::registration::Beat { cordoned: Some(true), ..said };
    here.blocking(|| members::beat(here, &said, Some(70))).unwrap().unwrap();
    assert_eq!(holders("after"), [1].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_unregistered_by_mistake_registers_again() {
    let broker = TestBroker::start(&[]).await;
    let here = broker.broker();
    let before = here.lifecycle.epoch();
    here.blocking(|| members::unregister(here, 1)).unwrap().unwrap();
    here.lifecycle.hurry();
    until("it to be back", || here.topics.image().is_active(1)).await;
    assert!(here.lifecycle.epoch() > before || own(&broker).registration.epoch > before);
    let unknown = here.blocking(|| members::unregister(here, 9)).unwrap();
    assert_eq!(unknown, Err(BrokerEpochError::NotRegistered { broker: 9 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refusal_of_a_registration_reaches_the_broker_in_words() {
    let broker = TestBroker::start(&[]).await;
    let mut request = registration(broker.broker());
    request.broker_id = BrokerId(2);
    request.incarnation_id = Uuid::new_v4();
    request.log_dirs = vec![Uuid::new_v4()];
    let extras = |fetch| Extras { message_max_bytes: 1000, replica_fetch_max_bytes: Some(fetch), ..Extras::default() };
    let small = serde_json::to_vec(&extras(1000)).unwrap();
    let request = request.with_unknown_tagged_field(OWN_TAG, small.into());
    let answer = broker.ask(4, request.clone()).await;
    assert_eq!((answer.error_code, answer.broker_epoch), (ResponseError::InvalidConfig.code(), -1));
    assert!(is_final(answer.error_code));
    let words = reason(answer.error_code, answer.unknown_tagged_fields.get(&OWN_TAG));
    assert!(words.contains("replica.fetch.max.bytes=1000 of broker 2"), "{words}");
    assert!(words.contains("message.max.bytes=1048588 of broker 1"), "{words}");
    let elsewhere = broker.ask(4, request.with_cluster_id(text("elsewhere"))).await;
    assert_eq!(elsewhere.error_code, ResponseError::InconsistentClusterId.code());
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_of_strangers_and_of_earlier_lives_are_refused() {
    let broker = TestBroker::start(&[]).await;
    let epoch = broker.broker().lifecycle.epoch();
    let said = |id, epoch| BrokerHeartbeatRequest::default().with_broker_id(BrokerId(id)).with_broker_epoch(epoch);
    let answer = broker.ask(1, said(9, epoch)).await;
    assert_eq!(answer.error_code, ResponseError::BrokerIdNotRegistered.code());
    let answer = broker.ask(1, said(1, epoch - 1)).await;
    assert_eq!(answer.error_code, ResponseError::StaleBrokerEpoch.code());
    assert_eq!(broker.ask(1, said(1, epoch)).await.error_code, 0);
}
