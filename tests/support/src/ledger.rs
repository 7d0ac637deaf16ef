//! A producer that remembers what was acknowledged, and compares it with what is there later.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kafka_protocol::messages::ProduceRequest;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::batch::{Batch, Record};
use crate::requests::{self, PRODUCE};
use crate::wire::Client;

const IN_FLIGHT: usize = 5;
/// KAFKA_STORAGE_ERROR: what a broker answers whose disk has failed.
const STORAGE_ERROR: i16 = 56;

/// Sets a flag when it goes out of scope, also by a failed assertion: threads of the same scope that run until it is set
/// would be waited for without end.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Consecutive numbers, sent as one batch.
#[derive(Clone, Copy)]
struct Numbers {
    first: u64,
    count: u64,
}

/// Produces numbered records with acks=all, several requests in flight. An idempotent one sends again what was not
/// acknowledged; another one leaves it, so a record without an answer may be there or not.
pub struct Ledger {
    topic: &'static str,
    partition: i32,
    /// Id and epoch of an idempotent one.
    id: Option<(i64, i16)>,
    next: u64,
    unanswered: VecDeque<Numbers>,
    /// Offset of each acknowledged number.
    acknowledged: BTreeMap<u64, i64>,
    random: StdRng,
}

impl Ledger {
    /// For one partition; with the id and epoch of an idempotent producer.
    pub fn new(topic: &'static str, partition: i32, id: Option<(i64, i16)>) -> Ledger {
        let random = StdRng::seed_from_u64(partition as u64);
        Ledger { topic, partition, id, next: 0, unanswered: VecDeque::new(), acknowledged: BTreeMap::new(), random }
    }

    /// Produces until the broker is gone, or answers that its disk is; counts what it acknowledged. Answers that arrive after
    /// `over` was set count as none.
    pub fn run(&mut self, address: SocketAddr, acks: &AtomicU64, over: &AtomicBool) {
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
            if answer.error_code == STORAGE_ERROR || over.load(Ordering::SeqCst) {
                self.unanswered.extend(again);
                return;
            }
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
        client.try_send(PRODUCE, &requests::produce_request(self.topic, self.partition, -1, batch.bytes()))
    }

    /// How many records were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Reads the partition and compares it with what was acknowledged: each record at its offset, in order, none twice.
    pub fn check(&self, client: &mut Client) {
        let records = requests::read_all(client, self.topic, self.partition);
        self.compare(&records);
    }

    fn compare(&self, records: &[Record]) {
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
