//! The first promise: an acknowledged record is never lost, reordered or doubled, however often the process is killed.
//!
//! Three clients with several requests in flight produce with acks=all while the broker is killed fifty times. Two of them are
//! idempotent and send again what was not acknowledged; the third does not, so a record without an answer may be there or not.
//! Afterwards each log must hold every acknowledged record at the offset it was acknowledged with, in order, none twice.
#![allow(clippy::unwrap_used, reason = "a test that meets a surprise should stop right there")]
#![allow(clippy::disallowed_methods, reason = "a test measures how long things take and looks at the files")]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jackdaw_test_support::batch::{Batch, Record};
use jackdaw_test_support::messages::ProduceRequest;
use jackdaw_test_support::requests::{self, PRODUCE};
use jackdaw_test_support::{Broker, Client};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const KILLS: usize = 50;
const TOPIC: &str = "crash";
const IN_FLIGHT: usize = 5;

/// Consecutive numbers, sent as one batch.
#[derive(Clone, Copy)]
struct Numbers {
    first: u64,
    count: u64,
}

struct Producer {
    partition: i32,
    /// Id and epoch of an idempotent one.
    id: Option<(i64, i16)>,
    next: u64,
    unanswered: VecDeque<Numbers>,
    /// Offset of each acknowledged number.
    acknowledged: BTreeMap<u64, i64>,
    random: StdRng,
}

impl Producer {
    fn new(partition: i32, id: Option<(i64, i16)>) -> Producer {
        let random = StdRng::seed_from_u64(partition as u64);
        Producer { partition, id, next: 0, unanswered: VecDeque::new(), acknowledged: BTreeMap::new(), random }
    }

    /// Produces until the broker is gone.
    fn run(&mut self, address: SocketAddr, acks: &AtomicU64) {
        let Some(mut client) = Client::try_connect(address) else { return };
        let mut again = match self.id {
            Some(_) => std::mem::take(&mut self.unanswered),
            None => VecDeque::new(),
        };
        self.unanswered.clear();
        let mut ids = VecDeque::new();
        loop {
            while self.unanswered.len() < IN_FLIGHT {
                let numbers = again.pop_front().unwrap_or_else(|| self.fresh());
                self.unanswered.push_back(numbers);
                let Some(id) = self.send(&mut client, numbers) else {
                    self.unanswered.extend(again);
                    return;
                };
                ids.push_back(id);
            }
            let id = ids.pop_front().unwrap();
            let Some(response) = client.try_recv::<ProduceRequest>(PRODUCE, id) else {
                self.unanswered.extend(again);
                return;
            };
            let answer = &response.responses[0].partition_responses[0];
            assert_eq!(answer.error_code, 0, "partition {}: {:?}", self.partition, answer.error_message);
            let numbers = self.unanswered.pop_front().unwrap();
            for i in 0..numbers.count {
                self.acknowledged.insert(numbers.first + i, answer.base_offset + i as i64);
            }
            acks.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn fresh(&mut self) -> Numbers {
        let numbers = Numbers { first: self.next, count: self.random.random_range(1..10) };
        self.next += numbers.count;
        numbers
    }

    fn send(&self, client: &mut Client, numbers: Numbers) -> Option<i32> {
        let padding = "x".repeat(300);
        let mut batch = Batch::of((0..numbers.count).map(|i| format!("{} {padding}", numbers.first + i)));
        if let Some((id, epoch)) = self.id {
            batch = batch.producer(id, epoch, i32::try_from(numbers.first).unwrap());
        }
        client.try_send(PRODUCE, &requests::produce_request(TOPIC, self.partition, -1, batch.bytes()))
    }

    /// Compares what is there with what was acknowledged.
    fn check(&self, records: &[Record]) {
        let partition = self.partition;
        let number = |record: &Record| record.text().split(' ').next().unwrap().parse::<u64>().unwrap();
        let mut found = BTreeMap::new();
        for pair in records.windows(2) {
            assert_eq!(pair[0].offset + 1, pair[1].offset, "partition {partition} has a gap");
            assert!(
                number(&pair[0]) < number(&pair[1]),
                "partition {partition}: out of order, or twice, at {:?}",
                pair[1]
            );
        }
        for record in records {
            found.insert(number(record), record.offset);
        }
        for (number, offset) in &self.acknowledged {
            assert_eq!(found.get(number), Some(offset), "partition {partition}: acknowledged record {number}");
        }
        if self.id.is_some() {
            // Every number was sent again until it was acknowledged, in order: no hole can be left below the last.
            assert_eq!(
                found.len() as u64,
                found.last_key_value().map_or(0, |(last, _)| last + 1),
                "partition {partition}"
            );
        }
    }
}

#[test]
fn fifty_kills_lose_reorder_and_double_nothing_that_was_acknowledged() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic_with(&mut client, TOPIC, 3, &[("segment.bytes", "1048576")]);
    let mut producers = [
        Producer::new(0, Some(requests::producer_id(&mut client))),
        Producer::new(1, Some(requests::producer_id(&mut client))),
        Producer::new(2, None),
    ];
    let mut random = StdRng::seed_from_u64(50);
    for round in 0..KILLS {
        let acks = AtomicU64::new(0);
        let address = broker.address();
        // Now and then at once, while producers still send again what they could not know of.
        let acks_before_the_kill = if round % 7 == 3 { 0 } else { random.random_range(1..150) };
        std::thread::scope(|scope| {
            for producer in &mut producers {
                let acks = &acks;
                scope.spawn(move || producer.run(address, acks));
            }
            while acks.load(Ordering::Relaxed) < acks_before_the_kill {
                std::thread::sleep(Duration::from_micros(200));
            }
            broker.kill();
        });
        broker.start_again();
        if round % 10 == 9 {
            let mut client = broker.client();
            for producer in &producers {
                producer.check(&requests::read_all(&mut client, TOPIC, producer.partition));
            }
        }
    }
    let acknowledged: usize = producers.iter().map(|producer| producer.acknowledged.len()).sum();
    assert!(acknowledged > 5_000, "only {acknowledged} records were acknowledged: this proves little");
    assert!(broker.stop().success());
}
