//! One log on the page cache: appends one by one and in runs, reads through the map.
//!
//! The directory is `$BENCH_DIR` (default: the system's temporary directory): give one on the disk in question.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up must stop")]

use std::cell::Cell;
use std::sync::Arc;

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};
use jackdaw_protocol::records::{Batch, BatchBuilder, Codec};
use jackdaw_storage::{Append, Log, LogConfig, LogDir, LogDirOptions, Origin};
use tempfile::TempDir;
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const SIZES: [usize; 3] = [100, 16 << 10, 800_000];
const NOW_MS: i64 = 1_700_000_000_000;

fn main() {
    divan::main();
}

fn batch(bytes: usize) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    let value = vec![b'x'; bytes.min(1024)];
    while builder.is_empty() || builder.size() + value.len() < bytes {
        builder.push(NOW_MS, None, Some(&value), &[]);
    }
    Batch::check(builder.build()).unwrap()
}

struct Bench {
    log: Arc<Log>,
    directory: LogDir,
    _files: TempDir,
}

fn open() -> Bench {
    let files = match std::env::var_os("BENCH_DIR") {
        Some(parent) => tempfile::tempdir_in(parent).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let directory = LogDir::open(files.path(), LogDirOptions::new(1), &|_| LogConfig::default(), &|_| ()).unwrap();
    // Small segments: what a long run writes is deleted with its log only.
    let config = LogConfig { segment_bytes: 256 << 20, ..LogConfig::default() };
    let log = directory.create("orders", Uuid::from_u128(1), 0, config).unwrap();
    Bench { log, directory, _files: files }
}

#[divan::bench(args = SIZES, sample_count = 50)]
fn append_one(bencher: Bencher, size: usize) {
    let bench = open();
    let batch = batch(size);
    let mut results = Vec::new();
    bencher.counter(BytesCount::new(batch.bytes().len())).bench_local(|| {
        results.clear();
        let append = [Append { batch: &batch, leader_epoch: 0, origin: Origin::Client }];
        bench.log.append(black_box(&append), NOW_MS, &mut results);
        assert!(results[0].is_ok());
    });
    bench.directory.delete(&bench.log).unwrap();
}

#[divan::bench(args = [4, 16, 64], sample_count = 50)]
fn append_run_of_small_batches(bencher: Bencher, count: usize) {
    let bench = open();
    let batch = batch(100);
    let appends: Vec<_> =
        (0..count).map(|_| Append { batch: &batch, leader_epoch: 0, origin: Origin::Client }).collect();
    let mut results = Vec::new();
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        results.clear();
        bench.log.append(black_box(&appends), NOW_MS, &mut results);
        assert!(results.iter().all(Result::is_ok));
    });
    bench.directory.delete(&bench.log).unwrap();
}

#[divan::bench(args = [64 << 10, 1 << 20])]
fn read(bencher: Bencher, size: usize) {
    let bench = open();
    let batch = batch(16 << 10);
    let mut results = Vec::new();
    for _ in 0..2_048 {
        bench.log.append(&[Append { batch: &batch, leader_epoch: 0, origin: Origin::Client }], NOW_MS, &mut results);
    }
    let end = bench.log.log_end_offset();
    let step = i64::from(batch.header().record_count()) * 7;
    let offset = Cell::new(0);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        let slice = bench.log.read(black_box(offset.get()), size, true, end).unwrap();
        offset.set((offset.get() + step) % (end / 2));
        assert!(slice.bytes.len() > size / 2);
        slice
    });
}
