//! Writes a log of many segments, codecs, epochs, idempotent and transactional batches into the directory given, so that
//! other programs (Apache Kafka's dump-log tool) can be asked what they think of it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers")]

use std::path::PathBuf;

use jackdaw_protocol::records::{Batch, BatchBuilder, Codec};
use jackdaw_storage::{Append, LogConfig, LogDir, LogDirOptions, Origin};
use uuid::Uuid;

fn main() {
    let path = PathBuf::from(std::env::args().nth(1).expect("a directory to write to"));
    let config = LogConfig { segment_bytes: 20_000, index_interval_bytes: 500, ..LogConfig::default() };
    let dir = LogDir::open(&path, LogDirOptions::new(1), &|_| config.clone(), &|_| {}).unwrap();
    let log = dir.create("dumped", Uuid::new_v4(), 0, config.clone()).unwrap();
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    let now_ms = 1_700_000_000_000;
    let mut out = Vec::new();
    for i in 0..600i32 {
        let is_transactional = i % 20 > 14;
        let mut builder = BatchBuilder::new(codecs[i as usize % 5])
            .producer(if is_transactional { 8 } else { 7 }, 0, 0)
            .transactional(is_transactional);
        if !is_transactional {
            builder = builder.producer(-1, -1, -1);
        }
        for j in 0..(i % 9 + 1) {
            let timestamp = now_ms + i64::from(i * 10 - j * 3 % 7);
            builder.push(timestamp, Some(b"key"), Some(format!("value {i} {j}").as_bytes()), &[("h", Some(b"v"))]);
        }
        let batch = Batch::check(builder.build()).unwrap();
        let origin = Origin::Coordinator; // sequences are not the point here
        log.append(&[Append { batch: &batch, leader_epoch: i / 100, origin }], now_ms, &mut out);
        if i % 20 == 19 {
            let mut marker = BatchBuilder::new(Codec::None).producer(8, 0, -1).transactional(true).control(true);
            let commit = u8::from(i % 40 == 19);
            marker.push(now_ms + i64::from(i * 10), Some(&[0, 0, 0, commit]), Some(&[0, 0, 0, 0, 0, 1]), &[]);
            let batch = Batch::check(marker.build()).unwrap();
            log.append(&[Append { batch: &batch, leader_epoch: i / 100, origin }], now_ms, &mut out);
        }
    }
    assert!(out.iter().all(Result::is_ok));
    println!("{} segments, {} bytes, end offset {}", log.segment_count(), log.size_bytes(), log.log_end_offset());
    dir.close().unwrap();
}
