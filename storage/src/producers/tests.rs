#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use jackdaw_protocol::records::{Batch, BatchBuilder, Codec};

use super::*;

fn batch(id: i64, epoch: i16, sequence: i32, count: i64, transactional: bool) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None).producer(id, epoch, sequence).transactional(transactional);
    for i in 0..count {
        builder.push(1_000 + i, None, Some(b"v"), &[]);
    }
    Batch::check(builder.build()).unwrap()
}

fn marker_batch(id: i64, epoch: i16) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None).producer(id, epoch, -1).transactional(true).control(true);
    builder.push(2_000, Some(&[0, 0, 0, 0]), Some(&[0, 0, 0, 0, 0, 0]), &[]);
    Batch::check(builder.build()).unwrap()
}

fn append(p: &mut Producers, b: &Batch, at: i64) -> Result<Admission, AppendError> {
    let admission = p.admit(&b.header(), None, Origin::Client)?;
    if admission == Admission::New {
        p.apply(&b.header(), at, b.header().max_timestamp(), None);
    }
    Ok(admission)
}

#[test]
fn the_last_five_batches_are_known_again_and_older_ones_are_out_of_order() {
    let mut p = Producers::default();
    for i in 0..7 {
        assert_eq!(append(&mut p, &batch(9, 0, i * 3, 3, false), i64::from(i) * 3).unwrap(), Admission::New);
    }
    for i in 2..7 {
        let Admission::Duplicate(found) = append(&mut p, &batch(9, 0, i * 3, 3, false), 99).unwrap() else { panic!() };
        assert_eq!((found.first_offset(), found.last_offset), (i64::from(i) * 3, i64::from(i) * 3 + 2));
    }
    let too_old = append(&mut p, &batch(9, 0, 3, 3, false), 99);
    assert!(matches!(too_old, Err(AppendError::OutOfOrderSequence { sequence: 3, last_sequence: 20, .. })));
    let other_length = append(&mut p, &batch(9, 0, 18, 2, false), 99);
    assert!(matches!(other_length, Err(AppendError::OutOfOrderSequence { .. })));
    let gap = append(&mut p, &batch(9, 0, 22, 1, false), 99);
    assert!(matches!(gap, Err(AppendError::OutOfOrderSequence { sequence: 22, last_sequence: 20, .. })));
}

#[test]
fn sequences_wrap_to_zero() {
    let mut p = Producers::default();
    append(&mut p, &batch(1, 0, i32::MAX - 1, 1, false), 0).unwrap();
    append(&mut p, &batch(1, 0, i32::MAX, 3, false), 1).unwrap(); // MAX, 0, 1
    assert_eq!(p.states()[0].last_sequence, 1);
    let again = append(&mut p, &batch(1, 0, i32::MAX, 3, false), 9).unwrap();
    assert!(matches!(again, Admission::Duplicate(b) if b.first_offset() == 1));
    append(&mut p, &batch(1, 0, 2, 1, false), 4).unwrap();

    let mut q = Producers::default();
    append(&mut q, &batch(1, 0, i32::MAX, 1, false), 0).unwrap();
    append(&mut q, &batch(1, 0, 0, 1, false), 1).unwrap();
}

#[test]
fn an_older_epoch_is_fenced_and_a_newer_one_starts_at_zero() {
    let mut p = Producers::default();
    append(&mut p, &batch(1, 3, 17, 1, false), 0).unwrap(); // unknown producer: any sequence
    let old = append(&mut p, &batch(1, 2, 18, 1, false), 1);
    assert!(matches!(old, Err(AppendError::InvalidProducerEpoch { epoch: 2, current: 3, .. })));
    let not_zero = append(&mut p, &batch(1, 4, 18, 1, false), 1);
    assert!(matches!(not_zero, Err(AppendError::OutOfOrderSequence { .. })));
    append(&mut p, &batch(1, 4, 0, 1, false), 1).unwrap();
}

#[test]
fn open_transactions_hold_the_stable_offset_until_their_marker_is_replicated() {
    let mut p = Producers::default();
    append(&mut p, &batch(1, 0, 0, 2, true), 10).unwrap();
    append(&mut p, &batch(2, 0, 0, 2, true), 12).unwrap();
    assert_eq!(p.first_unstable_offset(), Some(10));
    let plain = append(&mut p, &batch(1, 0, 2, 1, false), 14);
    assert!(matches!(plain, Err(AppendError::InvalidTxnState { producer_id: 1 })));

    let end = marker_batch(1, 0);
    let abort = Marker { abort: true, coordinator_epoch: 5 };
    assert_eq!(p.admit(&end.header(), Some(abort), Origin::Coordinator).unwrap(), Admission::New);
    let aborted = p.apply(&end.header(), 14, 2_000, Some(abort)).unwrap();
    assert_eq!(aborted, AbortedTxn { producer_id: 1, first_offset: 10, last_offset: 14, last_stable_offset: 12 });
    assert_eq!(p.first_unstable_offset(), Some(10));
    p.on_high_watermark(14);
    assert_eq!(p.first_unstable_offset(), Some(10));
    p.on_high_watermark(15);
    assert_eq!(p.first_unstable_offset(), Some(12));

    let zombie = Marker { abort: false, coordinator_epoch: 4 };
    let fenced = p.admit(&end.header(), Some(zombie), Origin::Coordinator);
    assert!(matches!(fenced, Err(AppendError::CoordinatorFenced { epoch: 4, current: 5 })));
}

#[test]
fn idle_producers_are_forgotten_but_not_inside_a_transaction() {
    let mut p = Producers::default();
    append(&mut p, &batch(1, 0, 0, 1, false), 0).unwrap();
    append(&mut p, &batch(2, 0, 0, 1, true), 1).unwrap();
    p.expire(1_099, 100);
    assert_eq!(p.states().len(), 2);
    p.expire(1_100, 100);
    assert_eq!(p.states().iter().map(|s| s.producer_id).collect::<Vec<_>>(), [2]);
}

#[test]
fn snapshots_survive_the_round_trip_and_any_flipped_bit_is_noticed() {
    let mut p = Producers::default();
    append(&mut p, &batch(1, 0, 0, 4, false), 0).unwrap();
    append(&mut p, &batch(2, 7, 0, 2, true), 4).unwrap();
    let as_kafka_writes_it = encode_snapshot(&p);
    assert_eq!(as_kafka_writes_it.len(), 10 + 2 * 46);
    assert_eq!(decode_snapshot(&as_kafka_writes_it).unwrap(), p);
    for i in 0..7 {
        append(&mut p, &batch(1, 0, 4 + i, 1, false), 6 + i64::from(i)).unwrap();
    }
    let bytes = encode_snapshot(&p);
    let again = decode_snapshot(&bytes).unwrap();
    assert_eq!(again, p);
    let oldest_known = batch(1, 0, 6, 1, false);
    let admission = again.admit(&oldest_known.header(), None, Origin::Client).unwrap();
    assert!(matches!(admission, Admission::Duplicate(_)), "the last five are known, not only the last");
    for i in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[i / 8] ^= 1 << (i % 8);
        assert!(decode_snapshot(&bad).is_err(), "bit {i}");
    }
    for len in 0..bytes.len() {
        assert!(decode_snapshot(&bytes[..len]).is_err(), "length {len}");
    }
}
