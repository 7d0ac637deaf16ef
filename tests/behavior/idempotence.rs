//! Idempotent producers: a batch sent twice is kept once, a gap or an old epoch is refused, and a restart forgets nothing.

use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::messages::describe_producers_request::TopicRequest;
use jackdaw_test_support::messages::{DescribeProducersRequest, InitProducerIdRequest, TransactionalId};
use jackdaw_test_support::requests::{self, produce_bytes, producer_id, text, topic};
use jackdaw_test_support::{Broker, Client};

use crate::{client, unique, with_topic};

const OUT_OF_ORDER: i16 = 45;
const INVALID_EPOCH: i16 = 47;
const UNKNOWN_PRODUCER: i16 = 59;

/// Error code and base offset of producing a batch of `count` records with this sequence.
fn send(client: &mut Client, name: &str, producer: (i64, i16), sequence: i32, count: i32) -> (i16, i64) {
    let values = (sequence..sequence + count).map(|i| i.to_string());
    let batch = Batch::of(values).producer(producer.0, producer.1, sequence);
    let answer = produce_bytes(client, name, 0, batch.bytes());
    (answer.error_code, answer.base_offset)
}

fn texts(client: &mut Client, name: &str) -> Vec<String> {
    requests::read_all(client, name, 0).iter().map(|record| record.text().to_owned()).collect()
}

#[test]
fn every_producer_gets_an_id_of_its_own() {
    let mut client = client();
    let mut ids: Vec<i64> = (0..100).map(|_| producer_id(&mut client).0).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 100);
}

#[test]
fn every_version_gives_an_id() {
    let mut client = client();
    for version in 0..=5 {
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(1000);
        let response = client.call(version, &request);
        assert_eq!((response.error_code, response.producer_epoch), (0, 0), "version {version}");
        assert!(response.producer_id.0 >= 0);
    }
}

#[test]
fn a_batch_sent_again_is_acknowledged_with_its_first_offset_and_kept_once() {
    let (mut client, name) = with_topic("again");
    let me = producer_id(&mut client);
    for i in 0..5 {
        assert_eq!(send(&mut client, &name, me, i * 2, 2), (0, i64::from(i) * 2));
    }
    for i in 0..5 {
        assert_eq!(send(&mut client, &name, me, i * 2, 2), (0, i64::from(i) * 2), "one of the last five");
    }
    assert_eq!(texts(&mut client, &name), (0..10).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_gap_or_a_batch_from_long_ago_is_out_of_order() {
    let (mut client, name) = with_topic("gap");
    let me = producer_id(&mut client);
    for i in 0..7 {
        assert_eq!(send(&mut client, &name, me, i, 1).0, 0);
    }
    assert_eq!(send(&mut client, &name, me, 9, 1).0, OUT_OF_ORDER);
    assert_ne!(send(&mut client, &name, me, 0, 1).0, 0, "older than the last five batches");
    assert_eq!(send(&mut client, &name, me, 7, 1), (0, 7), "what is refused changes nothing");
}

#[test]
fn a_higher_epoch_starts_over_and_fences_the_lower_one() {
    let (mut client, name) = with_topic("epoch");
    let (id, epoch) = producer_id(&mut client);
    assert_eq!(send(&mut client, &name, (id, epoch), 0, 3).0, 0);
    assert_eq!(send(&mut client, &name, (id, epoch + 1), 3, 1).0, OUT_OF_ORDER, "a new epoch begins at sequence 0");
    assert_eq!(send(&mut client, &name, (id, epoch + 1), 0, 1), (0, 3));
    assert_eq!(send(&mut client, &name, (id, epoch), 3, 1).0, INVALID_EPOCH);
}

#[test]
fn a_producer_bumps_its_own_epoch_when_it_asks_again() {
    let mut client = client();
    let (id, epoch) = producer_id(&mut client);
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id(id.into())
        .with_producer_epoch(epoch);
    let response = client.call(4, &request.with_transaction_timeout_ms(1000));
    assert_eq!(response.error_code, 0);
    let bumped = (response.producer_id.0, response.producer_epoch);
    assert!(bumped == (id, epoch + 1) || bumped.0 != id, "{bumped:?}");
}

#[test]
fn sequences_wrap_around_after_the_largest() {
    let (mut client, name) = with_topic("wrap");
    let (id, epoch) = producer_id(&mut client);
    let mut at = |sequence: i32, count: usize| {
        let batch = Batch::of(vec!["x"; count]).producer(id, epoch, sequence);
        produce_bytes(&mut client, &name, 0, batch.bytes()).error_code
    };
    assert!([0, OUT_OF_ORDER, UNKNOWN_PRODUCER].contains(&at(i32::MAX - 1, 1)));
    if at(i32::MAX, 1) == 0 {
        assert_eq!(at(0, 1), 0, "the sequence after 2147483647 is 0");
    }
}

#[test]
fn producers_do_not_disturb_each_other() {
    let (mut client, name) = with_topic("two");
    let (one, two) = (producer_id(&mut client), producer_id(&mut client));
    for i in 0..10 {
        assert_eq!(send(&mut client, &name, one, i, 1).0, 0);
        assert_eq!(send(&mut client, &name, two, i, 1).0, 0);
        assert_eq!(send(&mut client, &name, one, i, 1).0, 0);
    }
    assert_eq!(texts(&mut client, &name).len(), 20);
}

#[test]
fn producers_are_described() {
    let (mut client, name) = with_topic("described");
    let (id, epoch) = producer_id(&mut client);
    send(&mut client, &name, (id, epoch), 0, 5);
    let wanted = TopicRequest::default().with_name(topic(&name)).with_partition_indexes(vec![0, 7]);
    let response = client.call(0, &DescribeProducersRequest::default().with_topics(vec![wanted]));
    let partitions = &response.topics[0].partitions;
    assert_eq!(partitions[0].active_producers.len(), 1);
    let found = &partitions[0].active_producers[0];
    assert_eq!((found.producer_id.0, found.producer_epoch, found.last_sequence), (id, i32::from(epoch), 4));
    assert_eq!(found.current_txn_start_offset, -1);
    assert_eq!(partitions[1].error_code, 3);
}

#[test]
fn duplicates_are_known_after_a_clean_stop_and_after_a_kill() {
    let mut broker = Broker::start();
    let name = unique("restart");
    let mut client = broker.client();
    requests::create_topic(&mut client, &name, 1);
    let me = producer_id(&mut client);
    for i in 0..3 {
        send(&mut client, &name, me, i, 1);
    }
    broker.kill();
    broker.start_again();
    let mut client = broker.client();
    assert_eq!(send(&mut client, &name, me, 2, 1), (0, 2), "known after a kill");
    assert_eq!(send(&mut client, &name, me, 3, 1), (0, 3));
    broker.stop();
    broker.start_again();
    let mut client = broker.client();
    for i in 0..4 {
        assert_eq!(
            send(&mut client, &name, me, i, 1),
            (0, i64::from(i)),
            "all that were in flight, after a clean stop"
        );
    }
    assert_eq!(send(&mut client, &name, me, 5, 1).0, OUT_OF_ORDER);
    assert_eq!(texts(&mut client, &name), ["0", "1", "2", "3"]);
    assert_ne!(producer_id(&mut client).0, me.0, "ids are not given twice");
}

#[test]
fn a_transactional_id_is_answered_honestly_until_there_are_transactions() {
    let mut client = client();
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text("transfers"))))
        .with_transaction_timeout_ms(1000);
    assert_ne!(client.call(4, &request).error_code, 0);
}
