//! The estimate of distinct keys: sketches beside segments, made in the background, merged for the partition.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "the test looks at the files")]

mod support;

use jackdaw_protocol::records::{Batch, BatchBuilder, Codec, EndTransactionMarker};
use jackdaw_storage::{Append, Log, LogDir, Origin};
use support::*;

/// A batch of records with the keys given.
fn keyed(codec: Codec, keys: impl IntoIterator<Item = u32>) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    for key in keys {
        builder.push(NOW, Some(format!("key-{key}").as_bytes()), Some(b"value"), &[]);
    }
    Batch::check(builder.build()).unwrap()
}

fn make_all(dir: &LogDir) -> usize {
    let mut logs = 0;
    while let Some(log) = dir.take_unsketched() {
        log.make_sketches(&mut |_| true).unwrap();
        logs += 1;
    }
    logs
}

/// Appends 40 batches of all codecs over 300 keys, some of them without a key: many segments.
fn fill(log: &Log) {
    for round in 0..40u32 {
        let codec = Codec::ALL[round as usize % 5];
        append(log, &keyed(codec, (0..30).map(|i| (round * 30 + i) % 300))).unwrap();
        append(log, &batch(&["no key"])).unwrap();
    }
    assert!(log.segment_count() > 5);
}

#[test]
fn the_sketches_of_all_segments_make_the_estimate_of_the_log() {
    let temp = fast_temp();
    let dir = open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    fill(&log);
    let unread = log.distinct_keys(0).unwrap();
    assert_eq!((unread.seen_bytes, unread.keys), (0, 0), "nothing was made on the way of the appends");
    assert_eq!(make_all(&dir), 1);
    assert_eq!(make_all(&dir), 0, "done once");
    let sealed = log.distinct_keys(0).unwrap();
    assert!(sealed.seen_bytes > 0 && sealed.seen_bytes < sealed.size_bytes, "the active segment is missing");
    let whole = log.distinct_keys(1 << 20).unwrap();
    assert_eq!((whole.seen_bytes, whole.records, whole.keyed), (whole.size_bytes, 1240, 1200));
    assert!((295..=305).contains(&whole.keys), "{} of 300 keys", whole.keys);
}

#[test]
fn without_sketches_the_newest_segments_are_read_as_far_as_allowed() {
    let temp = fast_temp();
    let dir = open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    fill(&log);
    let some = log.distinct_keys(2000).unwrap();
    assert!(some.seen_bytes > 0 && some.seen_bytes <= 2000, "{}", some.seen_bytes);
    let all = log.distinct_keys(u64::MAX).unwrap();
    assert_eq!((all.seen_bytes, all.records), (all.size_bytes, 1240));
}

#[test]
fn a_question_queues_what_a_restart_left_without_sketches() {
    let temp = fast_temp();
    let dir = open(temp.path(), &tiny());
    fill(&create(&dir, &tiny()));
    dir.close().unwrap();
    drop(dir);
    let dir = open(temp.path(), &tiny());
    assert!(dir.take_unsketched().is_none(), "a start makes none");
    let log = only_log(&dir);
    log.distinct_keys(0).unwrap();
    assert_eq!(make_all(&dir), 1);
    assert!(log.distinct_keys(0).unwrap().seen_bytes > 0);
}

#[test]
fn sketches_are_read_again_after_a_restart_and_damaged_ones_made_again() {
    let temp = fast_temp();
    let dir = open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    fill(&log);
    make_all(&dir);
    let before = log.distinct_keys(0).unwrap();
    dir.close().unwrap();
    drop((dir, log));
    let files = files_with(&partition_path(temp.path()), "keys");
    std::fs::write(&files[0], b"damaged").unwrap();
    std::fs::remove_file(&files[1]).unwrap();
    let dir = open(temp.path(), &tiny());
    let log = only_log(&dir);
    assert!(log.distinct_keys(0).unwrap().seen_bytes < before.seen_bytes);
    make_all(&dir);
    assert_eq!(log.distinct_keys(0).unwrap(), before);
}

#[test]
fn a_sketch_goes_with_its_segment_and_an_orphan_goes_at_the_next_start() {
    let temp = fast_temp();
    let dir = open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    fill(&log);
    make_all(&dir);
    let path = partition_path(temp.path());
    let bases = |extension| -> Vec<String> {
        let names = files_with(&path, extension).into_iter();
        names.map(|name| name.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    log.set_high_watermark(i64::MAX);
    log.delete_records_before(600).unwrap();
    let sealed = bases("log").len() - 1;
    assert_eq!(bases("keys"), bases("log")[..sealed]);
    log.truncate_to(900).unwrap();
    let logs = bases("log");
    assert_eq!(bases("keys"), logs[..logs.len() - 1], "what was cut has none");
    dir.close().unwrap();
    drop((dir, log));
    std::fs::write(path.join("00000000000000009999.keys"), b"whose?").unwrap();
    drop(open(temp.path(), &tiny()));
    assert_eq!(bases("keys"), logs[..logs.len() - 1]);
}

#[test]
fn the_work_ends_when_its_pace_says_so_and_goes_on_later() {
    let temp = fast_temp();
    let dir = open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    fill(&log);
    let mut left = 3000usize;
    log.make_sketches(&mut |bytes| {
        left = left.saturating_sub(bytes);
        left > 0
    })
    .unwrap();
    let some = log.distinct_keys(0).unwrap();
    assert!(some.seen_bytes > 0 && some.seen_bytes < 3000, "{}", some.seen_bytes);
    log.make_sketches(&mut |_| true).unwrap();
    assert!(log.distinct_keys(0).unwrap().seen_bytes > some.seen_bytes);
}

#[test]
fn transaction_markers_are_no_records() {
    let temp = fast_temp();
    let dir = open(temp.path(), &tiny());
    let log = create(&dir, &tiny());
    let mut builder = BatchBuilder::new(Codec::None).producer(9, 0, 0).transactional(true);
    builder.push(NOW, Some(b"k"), Some(b"v"), &[]);
    append(&log, &Batch::check(builder.build()).unwrap()).unwrap();
    let marker = EndTransactionMarker { committed: true, producer_id: 9, producer_epoch: 0, coordinator_epoch: 0 };
    let marker = Batch::check(marker.to_batch(NOW)).unwrap();
    let mut out = Vec::new();
    log.append(&[Append { batch: &marker, leader_epoch: 0, origin: Origin::Coordinator }], NOW, &mut out);
    out.pop().unwrap().unwrap();
    let estimate = log.distinct_keys(u64::MAX).unwrap();
    assert_eq!((estimate.records, estimate.keyed, estimate.keys), (1, 1, 1));
}

#[test]
fn a_disk_that_refuses_a_sketch_stays_online_and_keeps_no_half_of_it() {
    let temp = fast_temp();
    let full = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let hook = full.clone();
    let dir = open_with(temp.path(), &tiny(), |options| {
        options.faults = Some(std::sync::Arc::new(move |_, path: &std::path::Path| {
            let refuse =
                path.extension().is_some_and(|e| e == "keys") && hook.load(std::sync::atomic::Ordering::SeqCst);
            if refuse { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }));
    });
    let log = create(&dir, &tiny());
    fill(&log);
    assert!(log.make_sketches(&mut |_| true).is_err());
    assert!(dir.is_online() && files_with(&partition_path(temp.path()), "keys").is_empty());
    append(&log, &batch(&["still taken"])).unwrap();
    full.store(false, std::sync::atomic::Ordering::SeqCst);
    log.make_sketches(&mut |_| true).unwrap();
    assert!(log.distinct_keys(0).unwrap().seen_bytes > 0);
}
