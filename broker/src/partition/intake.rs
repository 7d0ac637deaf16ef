//! What a topic's settings ask of the records inside of a produced batch, and the codec that they ask for.
//!
//! With the settings that nearly all topics have, nothing: the batch is stored as it came, and nobody looks into it. It is
//! unpacked, once, where `compression.type` names another codec than its own, where the topic is compacted (each record
//! needs a key), or where `message.timestamp.before.max.ms` bounds each record's timestamp.

use jackdaw_protocol::records::{Batch, Codec, CompressionError, DecodeError, Decoded, records, repack};
use jackdaw_storage::TimestampType;
use parking_lot::Mutex;

use crate::config::{CompressionType, TopicConfig};
use crate::limits;

/// Why the records of a batch are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// The records do not unpack, or are no records.
    #[error("{0}")]
    Malformed(DecodeError),
    /// They unpack to more than is allowed.
    #[error(
        "the records decompress to more than {max} bytes: send smaller batches{}",
        if *uncompressed { ", or raise max.message.bytes, which also bounds what is stored uncompressed" } else { "" }
    )]
    Unpacked {
        /// The bound.
        max: usize,
        /// It is that of the batch as it would be stored.
        uncompressed: bool,
    },
    /// In the topic's codec the batch is larger than a batch may be.
    #[error(
        "the batch has {size} bytes after its compression with {codec} (compression.type), max.message.bytes is {max}"
    )]
    Repacked {
        /// Its size then.
        size: usize,
        /// The topic's codec.
        codec: Codec,
        /// `max.message.bytes`.
        max: usize,
    },
    /// The codec failed.
    #[error(transparent)]
    Codec(CompressionError),
    /// Some records are refused, and the batch with them. The faults are the first of `count`, in order.
    #[error("{count} records of the batch are refused; the first: {}", faults.first().map_or("", |fault| fault.reason.as_str()))]
    Records {
        /// The first of them.
        faults: Vec<RecordFault>,
        /// How many there are.
        count: usize,
        /// A timestamp is among what is wrong.
        timestamps: bool,
    },
}

/// A record that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFault {
    /// Its place in the batch.
    pub index: usize,
    /// Why.
    pub reason: String,
}

/// Large batches are unpacked one at a time, so that many of them at once cannot take all memory.
static LARGE: Mutex<()> = Mutex::new(());

/// Whether [`take_in`] has to look into the batch: then it takes time, and memory for the unpacked records.
pub fn needs_look(batch: &Batch, config: &TopicConfig) -> bool {
    config.compact || bounds_each_timestamp(config) || target(batch, config).is_some()
}

/// The batch as the topic stores it, its records checked as far as the settings ask for it.
pub fn take_in(batch: Batch, config: &TopicConfig, now_ms: i64) -> Result<Batch, IntakeError> {
    let target = target(&batch, config);
    let uncompressed = target.is_some_and(|(codec, _)| codec == Codec::None);
    let max = if uncompressed {
        config.max_message_bytes
    } else {
        limits::UNPACKED_BATCH_BYTES.max(config.max_message_bytes)
    };
    let small = limits::UNPACKED_AT_ONCE_BYTES.min(max);
    let too_large = |cap| DecodeError::Compression(CompressionError::TooLarge { codec: own_codec(&batch), cap });
    match records(&batch, small) {
        Ok(decoded) => finish(&decoded, config, target, now_ms),
        Err(error) if error == too_large(small) && max > small => {
            let _one = LARGE.lock();
            match records(&batch, max) {
                Ok(decoded) => finish(&decoded, config, target, now_ms),
                Err(error) if error == too_large(max) => Err(IntakeError::Unpacked { max, uncompressed }),
                Err(error) => Err(IntakeError::Malformed(error)),
            }
        }
        Err(error) if error == too_large(small) => Err(IntakeError::Unpacked { max, uncompressed }),
        Err(error) => Err(IntakeError::Malformed(error)),
    }
}

fn own_codec(batch: &Batch) -> Codec {
    batch.header().codec().unwrap_or(Codec::None)
}

/// The codec that the topic asks for with its level, where it is not the batch's own.
fn target(batch: &Batch, config: &TopicConfig) -> Option<(Codec, Option<i32>)> {
    let (codec, level) = match config.compression_type {
        CompressionType::Producer => return None,
        CompressionType::Uncompressed => (Codec::None, None),
        // -1 is zlib's own default.
        CompressionType::Gzip => (Codec::Gzip, Some(config.compression_gzip_level).filter(|&level| level >= 0)),
        CompressionType::Snappy => (Codec::Snappy, None),
        CompressionType::Lz4 => (Codec::Lz4, Some(config.compression_lz4_level)),
        CompressionType::Zstd => (Codec::Zstd, Some(config.compression_zstd_level)),
    };
    (codec != own_codec(batch)).then_some((codec, level))
}

/// Without the lower bound, the largest timestamp, which is in the head, says enough.
fn bounds_each_timestamp(config: &TopicConfig) -> bool {
    config.message_timestamp_type == TimestampType::CreateTime && config.message_timestamp_before_max_ms != i64::MAX
}

fn finish(
    decoded: &Decoded,
    config: &TopicConfig,
    target: Option<(Codec, Option<i32>)>,
    now_ms: i64,
) -> Result<Batch, IntakeError> {
    let max_timestamp = check_records(decoded, config, now_ms)?;
    let batch = decoded.batch();
    let Some((codec, level)) = target else { return Ok(batch.clone()) };
    let packed = repack(decoded, codec, level, max_timestamp).map_err(IntakeError::Codec)?;
    let (size, max) = (packed.size_in_bytes(), config.max_message_bytes);
    if size > max { Err(IntakeError::Repacked { size, codec, max }) } else { Ok(packed) }
}

/// Checks every record; answers the largest timestamp.
fn check_records(decoded: &Decoded, config: &TopicConfig, now_ms: i64) -> Result<i64, IntakeError> {
    let create_time = config.message_timestamp_type == TimestampType::CreateTime;
    let earliest = now_ms.saturating_sub(config.message_timestamp_before_max_ms);
    let latest = now_ms.saturating_add(config.message_timestamp_after_max_ms);
    let (mut faults, mut count, mut timestamps, mut max_timestamp) = (Vec::new(), 0, false, -1);
    for (index, record) in decoded.iter().enumerate() {
        let record = record.map_err(IntakeError::Malformed)?;
        let timestamp = decoded.timestamp(&record);
        max_timestamp = max_timestamp.max(timestamp);
        let reason = if usize::try_from(record.offset_delta) != Ok(index) {
            format!("record {index} has offset delta {}: they must count from 0", record.offset_delta)
        } else if config.compact && record.key.is_none() {
            format!("record {index} has no key, and a compacted topic cannot keep a record without one")
        } else if create_time && timestamp != -1 && !(earliest..=latest).contains(&timestamp) {
            timestamps = true;
            format!("record {index} has timestamp {timestamp}, which is outside {earliest}..={latest}")
        } else {
            continue;
        };
        count += 1;
        if faults.len() < limits::RECORD_FAULTS {
            faults.push(RecordFault { index, reason });
        }
    }
    if count > 0 { Err(IntakeError::Records { faults, count, timestamps }) } else { Ok(max_timestamp) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::collections::BTreeMap;

    use jackdaw_protocol::records::BatchBuilder;

    use super::*;
    use crate::config::Config;

    const NOW: i64 = 1_700_000_000_000;

    fn config(settings: &[(&str, &str)]) -> TopicConfig {
        let own: BTreeMap<_, _> = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        TopicConfig::resolve(&own, &Config::default())
    }

    /// Timestamp, key and value of a record.
    type Given<'a> = (i64, Option<&'a [u8]>, &'a [u8]);

    fn batch(codec: Codec, records: &[Given<'_>]) -> Batch {
        let mut builder = BatchBuilder::new(codec);
        records.iter().for_each(|(time, key, value)| builder.push(*time, *key, Some(value), &[]));
        Batch::check(builder.build()).unwrap()
    }

    fn plain(codec: Codec) -> Batch {
        batch(codec, &[(NOW, None, b"first"), (NOW + 5, None, b"second"), (NOW + 1, None, b"third")])
    }

    #[test]
    fn a_topic_of_the_default_settings_looks_into_no_batch() {
        for codec in Codec::ALL {
            assert!(!needs_look(&plain(codec), &config(&[])), "{codec}");
        }
    }

    #[test]
    fn a_batch_of_the_topics_own_codec_is_not_packed_again() {
        for (codec, name) in Codec::ALL.into_iter().zip(["uncompressed", "gzip", "snappy", "lz4", "zstd"]) {
            let config = config(&[("compression.type", name)]);
            assert!(!needs_look(&plain(codec), &config));
            assert_eq!(take_in(plain(codec), &config, NOW).unwrap(), plain(codec));
            for other in Codec::ALL.into_iter().filter(|other| *other != codec) {
                assert!(needs_look(&plain(other), &config));
                let stored = take_in(plain(other), &config, NOW).unwrap();
                assert_eq!(stored.header().codec(), Ok(codec));
                assert_eq!(
                    records(&stored, 1000).unwrap().body(),
                    records(&plain(other), 1000).unwrap().body(),
                    "{other} to {codec}"
                );
            }
        }
    }

    #[test]
    fn what_grows_beyond_max_message_bytes_is_refused_and_a_bomb_is_not_unpacked() {
        let zeros = vec![0; 3000];
        let packed = batch(Codec::Zstd, &[(NOW, None, &zeros)]);
        let small = config(&[("compression.type", "uncompressed"), ("max.message.bytes", "2000")]);
        let refused = take_in(packed.clone(), &small, NOW);
        assert!(matches!(refused, Err(IntakeError::Unpacked { max: 2000, uncompressed: true })), "{refused:?}");
        let exact = config(&[("compression.type", "uncompressed"), ("max.message.bytes", "3020")]);
        let refused = take_in(packed, &exact, NOW);
        assert!(matches!(refused, Err(IntakeError::Repacked { max: 3020, codec: Codec::None, .. })), "{refused:?}");
        let bomb = vec![0; limits::UNPACKED_BATCH_BYTES + 1];
        let bomb = batch(Codec::Zstd, &[(NOW, Some(b"k"), &bomb)]);
        for settings in [("compression.type", "gzip"), ("cleanup.policy", "compact")] {
            let refused = take_in(bomb.clone(), &config(&[settings]), NOW);
            assert!(matches!(refused, Err(IntakeError::Unpacked { uncompressed: false, .. })), "{settings:?}");
        }
    }

    #[test]
    fn a_batch_that_unpacks_to_much_and_not_too_much_is_taken() {
        let large = vec![7; limits::UNPACKED_AT_ONCE_BYTES + 1];
        let large = batch(Codec::Zstd, &[(NOW, None, &large)]);
        let stored = take_in(large, &config(&[("compression.type", "lz4")]), NOW).unwrap();
        assert_eq!(stored.header().codec(), Ok(Codec::Lz4));
    }

    #[test]
    fn every_record_of_a_compacted_topic_needs_a_key_and_each_without_is_named() {
        let mixed = batch(Codec::Gzip, &[(NOW, Some(b"k"), b"0"), (NOW, None, b"1"), (NOW, None, b"2")]);
        let Err(IntakeError::Records { faults, count, timestamps }) =
            take_in(mixed, &config(&[("cleanup.policy", "compact")]), NOW)
        else {
            panic!("taken")
        };
        assert_eq!((count, timestamps), (2, false));
        assert_eq!(faults.iter().map(|fault| fault.index).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_record_in_the_middle_that_is_too_old_is_found_where_the_head_shows_nothing() {
        let bounded = config(&[("message.timestamp.before.max.ms", "1000")]);
        let old = batch(Codec::None, &[(NOW, None, b"0"), (NOW - 1001, None, b"1"), (NOW, None, b"2")]);
        let refused = take_in(old.clone(), &bounded, NOW);
        assert!(
            matches!(&refused, Err(IntakeError::Records { faults, timestamps: true, .. }) if faults[0].index == 1),
            "{refused:?}"
        );
        let edge = batch(Codec::None, &[(NOW, None, b"0"), (NOW - 1000, None, b"1"), (-1, None, b"no time")]);
        assert!(take_in(edge, &bounded, NOW).is_ok());
        let stamped =
            config(&[("message.timestamp.before.max.ms", "1000"), ("message.timestamp.type", "LogAppendTime")]);
        assert!(!needs_look(&old, &stamped));
        let repacked = config(&[("message.timestamp.after.max.ms", "10"), ("compression.type", "gzip")]);
        let young = batch(Codec::None, &[(NOW, None, b"0"), (NOW + 11, None, b"1")]);
        assert!(matches!(take_in(young, &repacked, NOW), Err(IntakeError::Records { timestamps: true, .. })));
    }

    #[test]
    fn records_that_are_none_and_codecs_that_lie_are_refused() {
        let gzip = config(&[("compression.type", "gzip")]);
        for codec in Codec::ALL.into_iter().filter(|codec| *codec != Codec::Gzip) {
            let mut bytes = plain(codec).bytes().to_vec();
            let last = bytes.len() - 1;
            bytes.truncate(last - 11);
            let length = (bytes.len() - 12) as i32;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            let crc = jackdaw_protocol::crc::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            let refused = take_in(Batch::check(bytes.into()).unwrap(), &gzip, NOW);
            assert!(matches!(refused, Err(IntakeError::Malformed(_))), "{codec}: {refused:?}");
        }
    }

    #[test]
    fn a_head_that_names_a_wrong_largest_timestamp_is_put_right() {
        let mut bytes = plain(Codec::None).bytes().to_vec();
        bytes[35..43].copy_from_slice(&(NOW + 99).to_be_bytes());
        let crc = jackdaw_protocol::crc::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let stored =
            take_in(Batch::check(bytes.into()).unwrap(), &config(&[("compression.type", "snappy")]), NOW).unwrap();
        assert_eq!(stored.header().max_timestamp(), NOW + 5);
    }
}
