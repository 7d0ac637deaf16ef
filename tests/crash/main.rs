//! The first promise: an acknowledged record is never lost, reordered or doubled, however often the process is killed.
//!
//! Three clients with several requests in flight produce with acks=all while the broker is killed fifty times. Two of them are
//! idempotent and send again what was not acknowledged; the third does not, so a record without an answer may be there or not.
//! Afterwards each log must hold every acknowledged record at the offset it was acknowledged with, in order, none twice.
#![allow(clippy::unwrap_used, reason = "a test that meets a surprise should stop right there")]
#![allow(clippy::disallowed_methods, reason = "a test measures how long things take and looks at the files")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jackdaw_test_support::{Broker, Ledger, Over, PATIENCE, requests};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const KILLS: usize = 50;
const TOPIC: &str = "crash";

#[test]
fn fifty_kills_lose_reorder_and_double_nothing_that_was_acknowledged() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    requests::create_topic_with(&mut client, TOPIC, 3, &[("segment.bytes", "1048576")]);
    let mut producers = [
        Ledger::new(TOPIC, 0, Some(requests::producer_id(&mut client))),
        Ledger::new(TOPIC, 1, Some(requests::producer_id(&mut client))),
        Ledger::new(TOPIC, 2, None),
    ];
    let mut random = StdRng::seed_from_u64(50);
    for round in 0..KILLS {
        let (acks, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let address = broker.address();
        // Now and then at once, while producers still send again what they could not know of.
        let acks_before_the_kill = if round % 7 == 3 { 0 } else { random.random_range(1..150) };
        std::thread::scope(|scope| {
            let _over = Over(&over);
            for producer in &mut producers {
                let (acks, over) = (&acks, &over);
                scope.spawn(move || producer.run(address, acks, over));
            }
            let deadline = Instant::now() + PATIENCE;
            while acks.load(Ordering::Relaxed) < acks_before_the_kill {
                assert!(Instant::now() < deadline, "the producers do not go on");
                std::thread::sleep(Duration::from_micros(200));
            }
            broker.kill();
        });
        broker.start_again();
        if round % 10 == 9 {
            let mut client = broker.client();
            for producer in &producers {
                producer.check(&mut client);
            }
        }
    }
    let acknowledged: usize = producers.iter().map(Ledger::acknowledged).sum();
    assert!(acknowledged > 5_000, "only {acknowledged} records were acknowledged: this proves little");
    assert!(broker.stop().success());
}
