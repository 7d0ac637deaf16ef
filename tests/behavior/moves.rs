//! Partitions moved to another log directory while they are used, and through crashes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::broker::PATIENCE;
use jackdaw_test_support::log_dirs::{move_to, place, places};
use jackdaw_test_support::{Broker, Client, Ledger, Over, requests};

use crate::configs;
use crate::log_dirs::Dirs;

const RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";

/// Waits until a move has ended.
fn wait_for_move(client: &mut Client, name: &str, to: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let places = places(client, name, 0);
        if places.len() == 1 && places.get(to).is_some_and(|found| !found.is_future) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} never came to {to}: {places:?}");
    }
}

fn other(dir: &str) -> &'static str {
    if dir == "a" { "b" } else { "a" }
}

fn set_rate(broker: &Broker, bytes_per_second: u64) {
    let set = configs::set_broker(&mut broker.client(), "", RATE, &bytes_per_second.to_string());
    assert_eq!(set.0, 0, "{}", set.1);
}

/// About three MiB.
fn fill(client: &mut Client, name: &str) {
    let value = "v".repeat(30_000);
    for _ in 0..100 {
        requests::produce(client, name, 0, &Batch::of([&value]));
    }
}

#[test]
fn a_partition_moves_while_it_is_produced_to_and_read() {
    let dirs = Dirs::new();
    let mut broker = dirs.start(&["a", "b"]);
    let mut client = broker.client();
    requests::create_topic_with(&mut client, "moved", 1, &[("segment.bytes", "1048576")]);
    requests::create_topic(&mut client, "filler", 1);
    let id = requests::producer_id(&mut client);
    let mut ledger = Ledger::new("moved", 0, Some(id));
    let (acks, over, address) = (AtomicU64::new(0), AtomicBool::new(false), broker.address());
    std::thread::scope(|scope| {
        let _over = Over(&over);
        let producer = scope.spawn(|| ledger.run(address, &acks, &over));
        let reader = scope.spawn(|| read_in_order(address, &over));
        for _ in 0..6 {
            let from = place(&mut client, "moved", 0);
            let before = acks.load(Ordering::Relaxed);
            assert_eq!(move_to(&mut client, "moved", 0, &dirs.path(other(&from))), 0);
            wait_for_move(&mut client, "moved", other(&from));
            let deadline = Instant::now() + PATIENCE;
            while acks.load(Ordering::Relaxed) < before + 20 {
                assert!(!producer.is_finished() && Instant::now() < deadline, "the producer must go on");
            }
        }
        over.store(true, Ordering::SeqCst);
        producer.join().unwrap();
        assert!(reader.join().unwrap() > 0);
    });
    ledger.check(&mut client);
    let deadline = Instant::now() + PATIENCE;
    while dirs.copies("moved-0").iter().any(|copy| copy.ends_with("moved-0") && !copy.starts_with(dirs.path("a"))) {
        assert!(Instant::now() < deadline, "what was left behind is still there: {:?}", dirs.copies("moved-0"));
    }
    broker.kill();
    broker.start_again();
    let mut client = broker.client();
    assert_eq!(place(&mut client, "moved", 0), "a");
    ledger.check(&mut client);
}

/// Reads until it is over; every record must follow the one before, and no answer may be an error. Returns how many.
fn read_in_order(address: std::net::SocketAddr, over: &AtomicBool) -> i64 {
    let (mut client, mut next) = (Client::connect(address), 0);
    while !over.load(Ordering::SeqCst) {
        for record in requests::fetch(&mut client, "moved", 0, next) {
            if record.offset >= next {
                assert_eq!(record.offset, next);
                next += 1;
            }
        }
    }
    next
}

#[test]
fn a_move_is_shown_while_it_runs_and_can_be_taken_back() {
    let dirs = Dirs::new();
    let broker = dirs.start(&["a", "b"]);
    let mut client = broker.client();
    requests::create_topic(&mut client, "t", 1);
    fill(&mut client, "t");
    set_rate(&broker, 200_000);
    assert_eq!(move_to(&mut client, "t", 0, &dirs.path("b")), 0);
    let running = places(&mut client, "t", 0);
    assert!(!running["a"].is_future && running["b"].is_future && running["b"].lag > 0, "{running:?}");
    assert!(dirs.copies("t-0").iter().any(|copy| copy.to_str().unwrap().ends_with("-future")));
    assert_eq!(move_to(&mut client, "t", 0, &dirs.path("b")), 0, "asked again, it goes on");
    assert_eq!(places(&mut client, "t", 0).len(), 2);
    assert_eq!(move_to(&mut client, "t", 0, &dirs.path("a")), 0, "back to where it is");
    assert_eq!(place(&mut client, "t", 0), "a");
    assert_eq!(dirs.copies("t-0"), [dirs.path("a").join("t-0")]);
    assert_eq!(requests::read_all(&mut client, "t", 0).len(), 100);
}

#[test]
fn the_rate_of_a_move_is_bounded() {
    let dirs = Dirs::new();
    let broker = dirs.start(&["a", "b"]);
    let mut client = broker.client();
    requests::create_topic(&mut client, "t", 1);
    fill(&mut client, "t");
    set_rate(&broker, 1_000_000);
    let started = Instant::now();
    assert_eq!(move_to(&mut client, "t", 0, &dirs.path("b")), 0);
    wait_for_move(&mut client, "t", "b");
    // Three MiB, of which the last is not waited for.
    assert!(started.elapsed() > Duration::from_millis(1_500), "{:?}", started.elapsed());
}

#[test]
fn a_move_that_a_kill_interrupts_goes_on_after_the_restart() {
    let dirs = Dirs::new();
    let mut broker = dirs.start(&["a", "b"]);
    let mut client = broker.client();
    requests::create_topic(&mut client, "t", 1);
    fill(&mut client, "t");
    set_rate(&broker, 200_000);
    assert_eq!(move_to(&mut client, "t", 0, &dirs.path("b")), 0);
    assert!(places(&mut client, "t", 0)["b"].is_future);
    broker.kill();
    broker.start_again();
    let mut client = broker.client();
    assert!(places(&mut client, "t", 0)["b"].is_future, "it begins anew by itself");
    set_rate(&broker, 1 << 40);
    wait_for_move(&mut client, "t", "b");
    assert_eq!(requests::read_all(&mut client, "t", 0).len(), 100);
}

#[test]
fn a_kill_at_any_moment_of_a_move_leaves_exactly_one_good_copy() {
    let dirs = Dirs::new();
    let mut broker = dirs.start(&["a", "b"]);
    let mut client = broker.client();
    requests::create_topic(&mut client, "moved", 1);
    let id = requests::producer_id(&mut client);
    let mut ledger = Ledger::new("moved", 0, Some(id));
    for round in 0..12u64 {
        let (acks, over, address) = (AtomicU64::new(0), AtomicBool::new(false), broker.address());
        std::thread::scope(|scope| {
            let _over = Over(&over);
            let producer = scope.spawn(|| ledger.run(address, &acks, &over));
            while acks.load(Ordering::Relaxed) < 5 {
                assert!(!producer.is_finished(), "the producer must go on");
                std::thread::yield_now();
            }
            let mut client = broker.client();
            let from = place(&mut client, "moved", 0);
            assert_eq!(move_to(&mut client, "moved", 0, &dirs.path(other(&from))), 0);
            // Takes over within some milliseconds: before, at, and after that.
            std::thread::sleep(Duration::from_micros(round * round * 250));
            broker.kill();
            producer.join().unwrap();
        });
        broker.start_again();
        let mut client = broker.client();
        let deadline = Instant::now() + PATIENCE;
        while places(&mut client, "moved", 0).len() > 1 {
            assert!(Instant::now() < deadline, "the move that was interrupted never ends");
        }
        ledger.check(&mut client);
        let kept = dirs.path(&place(&mut client, "moved", 0)).join("moved-0");
        assert!(kept.exists());
    }
}
