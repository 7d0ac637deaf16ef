//! The whole broker on such a file system.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::volume::{FileSystem, Volume};
use jackdaw_test_support::{Client, Ledger, Options, requests};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const TOPIC: &str = "power";

fn acknowledged_records_survive(kind: FileSystem, cuts: usize) {
    let mut volume = Volume::new(kind, 512);
    let mut broker = Options::new().data_dir(&volume.path().join("data")).start();
    let mut client = broker.client();
    requests::create_topic_with(&mut client, TOPIC, 2, &[("segment.bytes", "1048576")]);
    let mut producers = [Ledger::new(TOPIC, 0, Some(requests::producer_id(&mut client))), Ledger::new(TOPIC, 1, None)];
    drop(client);
    let mut random = StdRng::seed_from_u64(7);
    for _ in 0..cuts {
        let (acks, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let address = broker.address();
        std::thread::scope(|scope| {
            for producer in &mut producers {
                let (acks, over) = (&acks, &over);
                scope.spawn(move || producer.run(address, acks, over));
            }
            let (wanted, deadline) = (random.random_range(1..200), Instant::now() + Duration::from_secs(20));
            while acks.load(Ordering::Relaxed) < wanted && Instant::now() < deadline {
                std::thread::sleep(Duration::from_micros(200));
            }
            // Linux may report a sync as done that the cut has just aborted: a power cut reports nothing afterwards.
            over.store(true, Ordering::SeqCst);
            // Producers end when the broker says that its disk has failed: it stays up to say so.
            volume.cut_power();
        });
        assert!(broker.is_running(), "the broker ended when its disk failed:\n{}", broker.said());
        broker.kill();
        volume.mount_again();
        broker.start_again();
        let mut client = broker.client();
        producers.iter().for_each(|producer| producer.check(&mut client));
    }
    let acknowledged: usize = producers.iter().map(Ledger::acknowledged).sum();
    assert!(acknowledged > 100 * cuts, "only {acknowledged} records were acknowledged: this proves little");
    broker.kill();
}

#[test]
fn what_a_broker_acknowledged_survives_power_cuts_on_ext4() {
    acknowledged_records_survive(FileSystem::Ext4, 10);
}

#[test]
fn what_a_broker_acknowledged_survives_power_cuts_on_xfs() {
    acknowledged_records_survive(FileSystem::Xfs, 10);
}

#[test]
fn a_disk_that_turns_read_only_refuses_producers_and_serves_readers() {
    let volume = Volume::new(FileSystem::Ext4, 64);
    let mut broker = Options::new().data_dir(&volume.path().join("data")).start();
    let mut client = broker.client();
    requests::create_topic(&mut client, TOPIC, 1);
    let sent = Batch::of(["before"]);
    let answer = requests::produce_bytes(&mut client, TOPIC, 0, sent.bytes());
    assert_eq!(answer.error_code, 0);
    volume.turn_read_only();
    let answer = requests::produce_bytes(&mut client, TOPIC, 0, Batch::of(["after"]).bytes());
    assert_eq!(answer.error_code, 56, "{answer:?}");
    broker.wait_for_log("log directory goes offline");
    let found = requests::read_all(&mut client, TOPIC, 0);
    assert!(found.first().is_some_and(|record| record.text() == "before"), "{found:?}");
    // A commit of offsets needs the same disk; other requests do not, and nobody is disconnected.
    assert_eq!(requests::produce_bytes(&mut client, TOPIC, 0, Batch::of(["again"]).bytes()).error_code, 56);
    assert!(broker.is_running());
    drop(client);
    broker.kill();
    volume.mount_again();
    broker.start_again();
    let found = requests::read_all(&mut broker.client(), TOPIC, 0);
    assert_eq!(found.iter().map(|record| record.text().to_owned()).collect::<Vec<_>>(), ["before"]);
    broker.kill();
}

/// Fills the disk by producing, makes room, and goes on: with no operator, and nothing acknowledged lost.
fn a_full_disk_refuses_producers_until_there_is_room(kind: FileSystem, mib: u64) {
    let volume = Volume::new(kind, mib);
    let ballast = volume.path().join("ballast");
    std::fs::write(&ballast, vec![7; 24 << 20]).unwrap();
    let mut broker = Options::new().data_dir(&volume.path().join("data")).start();
    let mut client = broker.client();
    requests::create_topic_with(&mut client, TOPIC, 1, &[("segment.bytes", "8388608")]);
    let value = |number: usize| format!("{number} {}", "x".repeat(100_000));
    let mut acknowledged = Vec::new();
    let mut number = 0;
    // Another number each time: a refused record must not be there later.
    let mut produce = |client: &mut Client, acknowledged: &mut Vec<usize>| {
        let batch = Batch::of([value(number)]);
        let answer = requests::produce_bytes(client, TOPIC, 0, batch.bytes());
        if answer.error_code == 0 {
            acknowledged.push(number);
        }
        number += 1;
        answer.error_code
    };
    let found = |client: &mut Client| -> Vec<usize> {
        let records = requests::read_all(client, TOPIC, 0);
        records.iter().map(|record| record.text().split(' ').next().unwrap().parse().unwrap()).collect()
    };
    while produce(&mut client, &mut acknowledged) == 0 {
        assert!(acknowledged.len() < 10_000, "the disk is never full");
    }
    for _ in 0..5 {
        assert_eq!(produce(&mut client, &mut acknowledged), 56);
    }
    assert!(broker.is_running());
    assert_eq!(found(&mut client), acknowledged, "what was acknowledged is served from a full disk, and nothing else");
    std::fs::remove_file(&ballast).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while produce(&mut client, &mut acknowledged) != 0 {
        assert!(Instant::now() < deadline, "room was made, and nobody noticed:\n{}", broker.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..20 {
        assert_eq!(produce(&mut client, &mut acknowledged), 0);
    }
    assert_eq!(found(&mut client), acknowledged);
    drop(client);
    broker.kill();
    broker.start_again();
    assert_eq!(found(&mut broker.client()), acknowledged, "after a kill");
    assert!(broker.stop().success());
}

#[test]
fn a_full_ext4_refuses_producers_until_there_is_room() {
    a_full_disk_refuses_producers_until_there_is_room(FileSystem::Ext4, 128);
}

#[test]
fn a_full_xfs_refuses_producers_until_there_is_room() {
    a_full_disk_refuses_producers_until_there_is_room(FileSystem::Xfs, 320);
}
