//! Compacts one partition of a log directory once, and prints what that took: for comparisons with Apache Kafka's cleaner
//! on the same data. The directory is changed: give it a copy.
//!
//! `compact_log DIR TOPIC PARTITION [DEDUPE_BUFFER_BYTES]`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::path::Path;
use std::time::Instant;

use jackdaw_storage::{CleanerMemory, CompactionHooks, LogConfig, LogDir, LogDirOptions, Pace};

struct Unbounded;

impl CompactionHooks for Unbounded {
    fn throttle(&mut self, _: u64) -> Pace {
        Pace::Go
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, topic, partition, rest @ ..] = &arguments[..] else {
        panic!("usage: compact_log DIR TOPIC PARTITION [DEDUPE_BUFFER_BYTES]")
    };
    let path = Path::new(path);
    let buffer = rest.first().map_or(128 << 20, |bytes| bytes.parse().unwrap());
    let properties = std::fs::read_to_string(path.join("meta.properties")).unwrap_or_default();
    let node_id = properties.lines().find_map(|line| line.strip_prefix("node.id=")).map_or(1, |id| id.parse().unwrap());
    let config = LogConfig { compact: true, delete: false, ..LogConfig::default() };
    let dir = LogDir::open(path, LogDirOptions::new(node_id), &|_| config.clone(), &|_| {}).unwrap();
    let partition: i32 = partition.parse().unwrap();
    let log = dir.logs().into_iter().find(|log| log.topic() == topic && log.partition() == partition).unwrap();
    log.set_high_watermark(i64::MAX);
    log.flush().unwrap();
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let mut memory = CleanerMemory::new(buffer, 0.9, 512 << 10);
    while let Some(dirty) = log.compaction_candidate(now_ms).unwrap().filter(|dirty| dirty.cleanable_bytes > 0) {
        let begun = Instant::now();
        let done = log.compact(&dirty, &mut memory, &mut Unbounded, now_ms).unwrap();
        let seconds = begun.elapsed().as_secs_f64();
        log.set_cleaned_offset(done.clean_until).unwrap();
        println!(
            "offsets {}..{}: {} bytes in, {} out, {} records in, {} out, {} keys, {} -> {} segments, {seconds:.3} s, \
             {:.0} MB/s",
            dirty.first_dirty_offset,
            done.clean_until,
            done.bytes_in,
            done.bytes_out,
            done.records_in,
            done.records_out,
            done.keys,
            done.segments_in,
            done.segments_out,
            done.bytes_in as f64 / seconds / 1e6,
        );
    }
    dir.close().unwrap();
}
