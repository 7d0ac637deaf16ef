//! Round trips, referees and hostile input for everything in `records`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use bytes::{Bytes, BytesMut};
use kafka_protocol::records::RecordBatchDecoder;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

const CAP: usize = 1 << 24;

type Field = Option<Vec<u8>>;

#[derive(Debug, Clone)]
struct Plain {
    timestamp: i64,
    key: Field,
    value: Field,
    headers: Vec<(String, Field)>,
}

fn field() -> impl Strategy<Value = Field> {
    option::of(vec(any::<u8>(), 0..80))
}

fn plain() -> impl Strategy<Value = Plain> {
    (0..1i64 << 48, field(), field(), vec(("[a-c]{0,2}", field()), 0..4))
        .prop_map(|(timestamp, key, value, headers)| Plain { timestamp, key, value, headers })
}

fn any_codec() -> impl Strategy<Value = Codec> {
    (0u8..5).prop_map(|id| Codec::from_id(id).unwrap())
}

fn build(codec: Codec, records: &[Plain]) -> Bytes {
    let mut builder = BatchBuilder::new(codec).producer(7, 3, 40).base_offset(1000).leader_epoch(5);
    for record in records {
        let headers: Vec<(&str, Option<&[u8]>)> =
            record.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        builder.push(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
    }
    builder.build()
}

fn read_back(bytes: Bytes) -> Vec<Plain> {
    let batch = Batch::check(bytes).unwrap();
    let decoded = records(&batch, CAP).unwrap();
    let read = |record: Record<'_>| Plain {
        timestamp: decoded.timestamp(&record),
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: record
            .headers()
            .map(|header| (String::from_utf8(header.key.to_vec()).unwrap(), header.value.map(<[u8]>::to_vec)))
            .collect(),
    };
    decoded.iter().map(|record| read(record.unwrap())).collect()
}

/// Ten records that compress well, as one batch.
fn sample(codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for index in 0..10i64 {
        builder.push(1_700_000_000_000 + index, Some(b"key"), Some(&[b'v'; 100]), &[("h", Some(b"1")), ("h", None)]);
    }
    builder.build()
}

/// `bytes` with the CRC made right again after a change.
fn with_right_crc(mut bytes: Vec<u8>) -> Bytes {
    let crc = crate::crc::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

proptest! {
    #[test]
    fn records_come_back_as_they_were_built(codec in any_codec(), records in vec(plain(), 1..20)) {
        let back = read_back(build(codec, &records));
        prop_assert_eq!(format!("{records:?}"), format!("{back:?}"));
    }

    #[test]
    fn the_codec_crate_reads_our_batches(records in vec(plain(), 1..20)) {
        let mut bytes = build(Codec::None, &records);
        let set = RecordBatchDecoder::decode(&mut bytes).unwrap();
        prop_assert!(bytes.is_empty());
        prop_assert_eq!(set.records.len(), records.len());
        for (index, (theirs, ours)) in set.records.iter().zip(&records).enumerate() {
            prop_assert_eq!(theirs.offset, 1000 + index as i64);
            prop_assert_eq!(theirs.sequence, 40 + index as i32);
            prop_assert_eq!((theirs.producer_id, theirs.producer_epoch, theirs.partition_leader_epoch), (7, 3, 5));
            prop_assert_eq!(theirs.timestamp, ours.timestamp);
            prop_assert_eq!(theirs.key.as_deref(), ours.key.as_deref());
            prop_assert_eq!(theirs.value.as_deref(), ours.value.as_deref());
            // It merges headers of one name, the last value wins.
            for (name, value) in &theirs.headers {
                let last = ours.headers.iter().rfind(|(key, _)| key.as_str() == name.as_str()).unwrap();
                prop_assert_eq!(value.as_deref(), last.1.as_deref());
            }
        }
    }

    #[test]
    fn mutated_batches_are_refused_or_read_but_never_panic(
        codec in any_codec(),
        records in vec(plain(), 1..6),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        fix_crc: bool,
    ) {
        let mut bytes = build(codec, &records).to_vec();
        for (index, value) in flips {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let bytes = if fix_crc { with_right_crc(bytes) } else { bytes.into() };
        for batch in Batch::split_all(bytes).flatten() {
            if let Ok(decoded) = super::records(&batch, 1 << 20) {
                for record in decoded.iter().flatten() {
                    let _ = (decoded.offset(&record), decoded.timestamp(&record), record.headers().count());
                    let _ = ControlRecord::parse(&record).map(|control| control.coordinator_epoch());
                }
            }
        }
    }

    #[test]
    fn truncated_batches_are_refused(codec in any_codec(), records in vec(plain(), 1..6), cut: prop::sample::Index) {
        let bytes = build(codec, &records);
        let kept = cut.index(bytes.len());
        prop_assert!(Batch::check(bytes.slice(..kept)).is_err());
        prop_assert!(Batch::from_log(bytes.slice(..kept)).is_err());
    }

    #[test]
    fn any_bytes_decompress_or_are_refused_within_the_cap(codec in any_codec(), data in vec(any::<u8>(), 0..300)) {
        if let Ok(out) = codec.decompress(&data, 1000) {
            prop_assert!(out.len() <= 1000);
        }
    }

    #[test]
    fn every_codec_gives_back_what_it_took(codec in any_codec(), seed in vec(any::<u8>(), 0..60), times in 0usize..4000) {
        let data = seed.repeat(times);
        let packed = codec.compress(&data, None).unwrap();
        prop_assert_eq!(codec.decompress(&packed, data.len()).unwrap(), data);
    }

    #[test]
    fn any_bytes_as_records_never_panic(data in vec(any::<u8>(), 0..200)) {
        for record in RecordIter::new(&data).flatten() {
            prop_assert_eq!(record.headers().len(), record.headers().count());
        }
    }
}

#[test]
fn a_header_has_its_fields_where_kafka_has_them() {
    let bytes = sample(Codec::None);
    let header = Header::parse(&bytes).unwrap();
    assert_eq!((header.base_offset(), header.last_offset(), header.record_count()), (0, 9, 10));
    assert_eq!(header.size_in_bytes(), bytes.len());
    assert_eq!((header.base_timestamp(), header.max_timestamp()), (1_700_000_000_000, 1_700_000_000_009));
    assert_eq!((header.producer_id(), header.producer_epoch(), header.base_sequence()), (-1, -1, -1));
    assert_eq!((header.magic(), header.leader_epoch(), header.codec()), (2, -1, Ok(Codec::None)));
    assert!(!header.is_transactional() && !header.is_control() && !header.is_log_append_time());
}

#[test]
fn duplicate_headers_and_null_fields_are_kept() {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(1, None, None, &[("same", Some(b"1")), ("same", None), ("same", Some(b""))]);
    let batch = Batch::check(builder.build()).unwrap();
    let decoded = records(&batch, CAP).unwrap();
    let record = decoded.iter().next().unwrap().unwrap();
    assert_eq!((record.key, record.value), (None, None));
    let values: Vec<_> = record.headers().map(|header| (header.key, header.value)).collect();
    assert_eq!(values, [(&b"same"[..], Some(&b"1"[..])), (b"same", None), (b"same", Some(b""))]);
}

#[test]
fn each_defect_of_a_batch_has_its_own_error() {
    let good = sample(Codec::None).to_vec();
    let patched = |at: usize, with: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        with_right_crc(bytes)
    };
    let check = |bytes: Bytes| Batch::check(bytes).unwrap_err();
    assert_eq!(check(Bytes::new()), BatchError::TooShort(0));
    assert_eq!(check(patched(16, &[1])), BatchError::BadMagic(1));
    assert_eq!(check(Bytes::from(vec![0; 20])), BatchError::BadMagic(0));
    assert!(matches!(check(patched(8, &(-1i32).to_be_bytes())), BatchError::BadLength { claimed: 11, .. }));
    assert!(matches!(check(patched(8, &i32::MAX.to_be_bytes())), BatchError::BadLength { .. }));
    assert!(matches!(check(patched(22, &[7])), BatchError::UnknownCodec(7)));
    assert!(matches!(check(patched(57, &0i32.to_be_bytes())), BatchError::BadCount { records: 0, .. }));
    assert!(matches!(check(patched(57, &i32::MIN.to_be_bytes())), BatchError::BadCount { .. }));
    assert!(matches!(check(patched(23, &10i32.to_be_bytes())), BatchError::BadCount { last_offset_delta: 10, .. }));
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(matches!(check(flipped.into()), BatchError::BadCrc { .. }));
    let mut longer = good.clone();
    longer.push(0);
    assert!(matches!(check(longer.into()), BatchError::BadLength { .. }));
}

#[test]
fn a_log_may_hold_batches_that_compaction_thinned_out() {
    let mut bytes = sample(Codec::None).to_vec();
    bytes[57..61].copy_from_slice(&0i32.to_be_bytes());
    bytes.truncate(HEADER_LEN);
    bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
    let bytes = with_right_crc(bytes);
    assert!(Batch::check(bytes.clone()).is_err());
    let batch = Batch::from_log(bytes).unwrap();
    assert_eq!((batch.header().last_offset(), batch.header().record_count()), (9, 0));
    assert_eq!(records(&batch, CAP).unwrap().iter().count(), 0);
}

#[test]
fn a_wrong_record_count_is_found_when_the_records_are_read() {
    for (claimed, found) in [(9i32, 10usize), (11, 10)] {
        let mut bytes = sample(Codec::None).to_vec();
        bytes[57..61].copy_from_slice(&claimed.to_be_bytes());
        bytes[23..27].copy_from_slice(&(claimed - 1).to_be_bytes());
        let batch = Batch::check(with_right_crc(bytes)).unwrap();
        let decoded = records(&batch, CAP).unwrap();
        let last = decoded.iter().last().unwrap();
        assert_eq!(last.unwrap_err(), DecodeError::Count { claimed: claimed as usize, found });
        assert_eq!(decoded.iter().filter(Result::is_ok).count(), found.min(claimed as usize));
    }
}

#[test]
fn offset_and_epoch_are_patched_outside_of_the_crc() {
    let batch = Batch::check(sample(Codec::Lz4)).unwrap();
    let head = patched_head(&batch.header(), 123_456_789_012, 17);
    let mut bytes = BytesMut::from(&head[..]);
    bytes.extend_from_slice(&batch.bytes()[PATCHED_LEN..]);
    let stamped = Batch::check(bytes.freeze()).unwrap();
    assert_eq!((stamped.header().base_offset(), stamped.header().leader_epoch()), (123_456_789_012, 17));
    assert_eq!(stamped.header().last_offset(), 123_456_789_021);
}

#[test]
fn log_append_time_replaces_the_time_of_every_record() {
    let batch = Batch::check(sample(Codec::None)).unwrap();
    let mut bytes = stamp_log_append_time(&batch, 42).to_vec();
    bytes.extend_from_slice(&batch.body());
    let stamped = Batch::check(bytes.clone().into()).unwrap();
    assert!(stamped.header().is_log_append_time());
    assert_eq!(stamped.header().base_timestamp(), batch.header().base_timestamp());
    let decoded = records(&stamped, CAP).unwrap();
    assert!(decoded.iter().all(|record| decoded.timestamp(&record.unwrap()) == 42));
    let theirs = RecordBatchDecoder::decode(&mut Bytes::from(bytes)).unwrap();
    assert_eq!(theirs.records[0].timestamp_type, kafka_protocol::records::TimestampType::LogAppend);
}

#[test]
fn a_batch_can_change_its_producer() {
    let batch = Batch::check(sample(Codec::Gzip)).unwrap();
    let mut bytes = stamp_producer(&batch, 1 << 40, 7, 1000).to_vec();
    bytes.extend_from_slice(&batch.body());
    let stamped = Batch::check(bytes.into()).unwrap();
    let header = stamped.header();
    assert_eq!((header.producer_id(), header.producer_epoch(), header.base_sequence()), (1 << 40, 7, 1000));
    assert_eq!((header.record_count(), stamped.body()), (10, batch.body()));
}

#[test]
fn consecutive_batches_are_split_and_a_torn_tail_is_left() {
    let one = sample(Codec::Zstd);
    let mut bytes = one.to_vec();
    bytes.extend_from_slice(&sample(Codec::None));
    bytes.extend_from_slice(&one[..40]);
    let mut batches = Batch::split_all(bytes.into());
    assert_eq!(batches.next().unwrap().unwrap().bytes(), &one);
    assert_eq!(batches.next().unwrap().unwrap().header().codec(), Ok(Codec::None));
    assert!(batches.next().is_none());
    assert_eq!(batches.remaining(), 40);
}

#[test]
fn a_control_batch_says_who_ended_what() {
    for committed in [true, false] {
        let marker = EndTransactionMarker { committed, producer_id: 9, producer_epoch: 2, coordinator_epoch: 77 };
        let batch = Batch::check(marker.to_batch(1000)).unwrap();
        let header = batch.header();
        assert!(header.is_control() && header.is_transactional());
        assert_eq!((header.producer_id(), header.producer_epoch(), header.base_sequence()), (9, 2, -1));
        let decoded = records(&batch, CAP).unwrap();
        let record = decoded.iter().next().unwrap().unwrap();
        assert_eq!(record.key, Some(&[0, 0, 0, u8::from(committed)][..]));
        let control = ControlRecord::parse(&record).unwrap();
        assert_eq!(control.kind, Some(if committed { ControlType::Commit } else { ControlType::Abort }));
        assert_eq!(control.coordinator_epoch(), Ok(77));
    }
}

#[test]
fn a_small_zstd_or_gzip_bomb_stops_at_the_cap() {
    let zeros = vec![0; 1 << 20];
    for (codec, smaller_than) in [(Codec::Zstd, 1 << 12), (Codec::Gzip, 1 << 12), (Codec::Lz4, 1 << 14)] {
        let packed = codec.compress(&zeros, None).unwrap();
        assert!(packed.len() < smaller_than, "{codec}: {}", packed.len());
        assert_eq!(codec.decompress(&packed, 10_000), Err(CompressionError::TooLarge { codec, cap: 10_000 }));
        assert_eq!(codec.decompress(&packed, zeros.len() - 1).ok(), None);
        assert_eq!(codec.decompress(&packed, zeros.len()).unwrap().len(), zeros.len());
    }
}

#[test]
fn a_zstd_bomb_of_a_gibibyte_stops_at_the_cap() {
    let mut packed = Vec::new();
    let mut encoder = zstd::stream::write::Encoder::new(&mut packed, 1).unwrap();
    for _ in 0..1024 {
        std::io::Write::write_all(&mut encoder, &[0; 1 << 20]).unwrap();
    }
    encoder.finish().unwrap();
    assert!(packed.len() < 128 << 10, "{}", packed.len());
    let cap = 1 << 20;
    assert_eq!(Codec::Zstd.decompress(&packed, cap), Err(CompressionError::TooLarge { codec: Codec::Zstd, cap }));
}

#[test]
fn a_length_that_snappy_claims_is_not_believed() {
    // A varint of 2^32 - 1, and nothing after it.
    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(
        Codec::Snappy.decompress(&claim, 1 << 20),
        Err(CompressionError::TooLarge { codec: Codec::Snappy, cap: 1 << 20 })
    );
    // Under the cap, but more than so few bytes can hold.
    assert!(matches!(Codec::Snappy.decompress(&claim, usize::MAX), Err(CompressionError::Corrupt { .. })));
}

#[test]
fn snappy_is_written_in_xerial_framing_and_read_in_both() {
    let data = b"some text, some text, some text".repeat(3000);
    let framed = Codec::Snappy.compress(&data, None).unwrap();
    assert_eq!(&framed[..8], b"\x82SNAPPY\0");
    assert_eq!(Codec::Snappy.decompress(&framed, CAP).unwrap(), data);
    let raw = snap::raw::Encoder::new().compress_vec(&data).unwrap();
    assert_eq!(Codec::Snappy.decompress(&raw, CAP).unwrap(), data);
    assert!(Codec::Snappy.decompress(&framed[..framed.len() - 1], CAP).is_err());
    assert!(Codec::Snappy.decompress(&framed[..12], CAP).is_err());
}

#[test]
fn lz4_frames_say_that_their_blocks_are_independent() {
    let frame = Codec::Lz4.compress(&[7; 100_000], None).unwrap();
    assert_eq!(&frame[..4], &0x184D_2204u32.to_le_bytes());
    let flags = frame[4];
    assert_eq!(flags >> 6, 1, "frame version");
    assert_eq!(flags & 0b10_0000, 0b10_0000, "independent blocks");
    assert_eq!(flags & 0b1, 0, "no dictionary");
    assert_eq!(frame[5] >> 4, 4, "blocks of 64 KiB");
}

#[test]
fn gzip_members_one_after_another_are_one_text() {
    let mut packed = Codec::Gzip.compress(b"one ", None).unwrap();
    packed.extend(Codec::Gzip.compress(b"two", Some(9)).unwrap());
    assert_eq!(Codec::Gzip.decompress(&packed, 100).unwrap(), b"one two");
}

#[test]
fn codecs_have_the_names_of_kafka() {
    for codec in Codec::ALL {
        assert_eq!(Codec::from_name(codec.name()), Some(codec));
    }
    assert_eq!(Codec::from_name("brotli"), None);
    assert_eq!(Codec::from_id(5), None);
}
