//! Transactions: aborted records go at once, markers when nobody on the way to them can need them any more.

use std::collections::HashSet;

use jackdaw_protocol::records::EndTransactionMarker;
use jackdaw_storage::{Append, Origin};

use super::*;

fn append_as(log: &Log, batch: &Batch, origin: Origin) -> i64 {
    let mut out = Vec::new();
    log.append(&[Append { batch, leader_epoch: 0, origin }], NOW, &mut out);
    out.pop().unwrap().unwrap().base_offset
}

fn marker(producer_id: i64, committed: bool) -> Batch {
    let marker = EndTransactionMarker { committed, producer_id, producer_epoch: 0, coordinator_epoch: 0 };
    Batch::check(marker.to_batch(NOW)).unwrap()
}

pub(crate) fn begin(log: &Log, producer_id: i64, rows: &[(&str, &str)]) -> i64 {
    let mut builder = BatchBuilder::new(Codec::None).producer(producer_id, 0, 0).transactional(true);
    for (key, value) in rows {
        builder.push(NOW, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    }
    append_as(log, &Batch::check(builder.build()).unwrap(), Origin::Coordinator)
}

pub(crate) fn end(log: &Log, producer_id: i64, committed: bool) -> i64 {
    append_as(log, &marker(producer_id, committed), Origin::Coordinator)
}

/// A whole transaction; the offset of its marker.
pub(crate) fn transaction(log: &Log, producer_id: i64, rows: &[(&str, &str)], committed: bool) -> i64 {
    begin(log, producer_id, rows);
    end(log, producer_id, committed)
}

/// What a reader of committed records sees, as clients filter it: by the aborted transactions and their markers.
pub(crate) fn committed_rows(log: &Log) -> Vec<Row> {
    let (start, stable) = (log.log_start_offset(), log.last_stable_offset());
    let mut aborted = log.aborted_transactions(start, stable).unwrap();
    aborted.sort_by_key(|txn| txn.first_offset);
    let mut ahead = aborted.into_iter().peekable();
    let mut open: HashSet<i64> = HashSet::new();
    let mut seen = Vec::new();
    for batch in read_batches(log, 1 << 20, stable) {
        let header = batch.header();
        while let Some(txn) = ahead.next_if(|txn| txn.first_offset <= header.last_offset()) {
            open.insert(txn.producer_id);
        }
        if header.is_control() {
            let is_abort = records(&batch, 100).unwrap().iter().next().is_some_and(|r| r.unwrap().key.unwrap()[3] == 0);
            if is_abort {
                open.remove(&header.producer_id());
            }
        } else if !(header.is_transactional() && open.contains(&header.producer_id())) {
            seen.extend(rows_of(&batch));
        }
    }
    seen.retain(|row| row.1.as_deref() != Some("filler"));
    seen
}

fn control_offsets(log: &Log) -> Vec<i64> {
    batches(log).iter().filter(|b| b.header().is_control()).map(|b| b.header().base_offset()).collect()
}

#[test]
fn aborted_records_go_at_once_and_markers_after_the_delete_retention() {
    let temp = fast_temp();
    let config = LogConfig { delete_retention_ms: 1000, ..compacted() };
    let dir = open(temp.path(), &config);
    let log = create(&dir, &config);
    put(&log, "a", "1");
    let abort = transaction(&log, 7, &[("a", "aborted"), ("b", "aborted")], false);
    let commit = transaction(&log, 8, &[("b", "2")], true);
    put(&log, "b", "3");
    // Later batches of both, so that nothing is kept for the producers' sake.
    let later = [transaction(&log, 7, &[("c", "1")], true), transaction(&log, 8, &[("d", "1")], true)];
    seal(&log);
    let seen = [(0, "a", "1"), (6, "b", "3"), (7, "c", "1"), (9, "d", "1")];
    for now in [NOW, NOW + 10] {
        compact_again(&log, now);
        assert_eq!(short(&log), expected(&seen), "only the last committed ones stay");
        assert_eq!(control_offsets(&log), [abort, commit, later[0], later[1]]);
    }
    // The first round met records of the aborted transaction, the second met none: its horizon begins there.
    let horizon = |offset| {
        let batch = batches(&log).into_iter().find(|b| b.header().base_offset() == offset).unwrap();
        batch.header().has_delete_horizon().then(|| batch.header().base_timestamp())
    };
    assert_eq!(horizon(abort), Some(NOW + 1010));
    assert_eq!(horizon(commit), Some(NOW + 1010));
    assert_eq!((horizon(later[0]), horizon(later[1])), (None, None));
    assert!(log.aborted_transactions(0, 100).unwrap().is_empty());
    compact_again(&log, NOW + 1009);
    assert_eq!(control_offsets(&log).len(), 4);
    compact_again(&log, NOW + 1010);
    assert_eq!(control_offsets(&log), later);
    assert_eq!(short(&log), expected(&seen));
}

#[test]
fn an_open_transaction_is_not_cleaned_and_one_across_segments_is_judged_as_a_whole() {
    let temp = fast_temp();
    let dir = open(temp.path(), &compacted());
    let log = create(&dir, &compacted());
    put(&log, "a", "1");
    begin(&log, 7, &[("a", "aborted")]);
    seal(&log);
    let found = log.compaction_candidate(NOW).unwrap().unwrap();
    assert_eq!((found.first_uncleanable_offset, found.cleanable_bytes), (0, 0), "it is open");
    // Its marker lies in the active segment, beyond what is cleaned.
    seal(&log);
    end(&log, 7, false);
    log.set_high_watermark(i64::MAX);
    compact_once(&log, NOW).unwrap();
    assert_eq!(short(&log), expected(&[(0, "a", "1")]));
    let kept = batches(&log).into_iter().find(|b| b.header().producer_id() == 7).unwrap();
    assert_eq!((kept.header().base_offset(), kept.header().record_count()), (1, 0), "the producer's last batch");
    assert_eq!(log.aborted_transactions(0, 100).unwrap().len(), 1);
}

#[test]
fn an_aborted_transaction_beyond_what_the_map_covers_stays_aborted() {
    let temp = fast_temp();
    let config = LogConfig { segment_bytes: 60_000, ..compacted() };
    let dir = open(temp.path(), &config);
    let log = create(&dir, &config);
    for i in 0..400 {
        put(&log, &format!("k{i}"), "1");
    }
    transaction(&log, 7, &[("k0", "aborted")], false);
    put(&log, "k1", "2");
    for _ in 0..300 {
        put(&log, "filler", &"x".repeat(300));
    }
    log.set_high_watermark(i64::MAX);
    let before = committed_rows(&log);
    let dirty = log.compaction_candidate(NOW).unwrap().unwrap();
    let mut small = CleanerMemory::new(12_000, 0.9, 4096);
    let done = log.compact(&dirty, &mut small, &mut Free, NOW).unwrap();
    assert!(done.clean_until < 400, "the map was full before the transaction");
    assert_eq!(committed_rows(&log), before);
    dir.close().unwrap();
}
