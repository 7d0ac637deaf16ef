//! The same records in another codec.

use super::batch::{ATTRIBUTES_AT, Batch, CODEC_MASK, CRC_AT, HEADER_LEN, LENGTH_END, MAX_TIMESTAMP_AT};
use super::compression::{Codec, CompressionError};
use super::decode::Decoded;
use crate::crc::crc32c;

/// The records of `decoded` in a batch of `codec`, whose largest timestamp is `max_timestamp`.
///
/// The records' bytes stay as they are, and so does the head but for the codec, the length, the largest timestamp and
/// the CRC: offsets, timestamps, headers and the producer's identity are those of the batch that came. `level` is in
/// the codec's own numbers, `None` for its default.
pub fn repack(
    decoded: &Decoded,
    codec: Codec,
    level: Option<i32>,
    max_timestamp: i64,
) -> Result<Batch, CompressionError> {
    let packed = match codec {
        Codec::None => None,
        codec => Some(codec.compress(decoded.body(), level)?),
    };
    let body = packed.as_deref().unwrap_or(decoded.body());
    let length = i32::try_from(HEADER_LEN - LENGTH_END + body.len())
        .map_err(|_| CompressionError::TooLarge { codec, cap: i32::MAX as usize })?;
    let header = decoded.batch().header();
    let mut out = Vec::with_capacity(HEADER_LEN + body.len());
    out.extend_from_slice(header.bytes());
    out.extend_from_slice(body);
    let attributes = (header.attributes() & !CODEC_MASK) | codec as i16;
    out[LENGTH_END - 4..LENGTH_END].copy_from_slice(&length.to_be_bytes());
    out[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    out[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&max_timestamp.to_be_bytes());
    let crc = crc32c(&out[ATTRIBUTES_AT..]);
    out[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
    Ok(Batch::proven(out.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::records::{BatchBuilder, records, verify_produced};

    fn original(codec: Codec) -> Batch {
        let mut builder = BatchBuilder::new(codec).producer(4, 3, 17).transactional(true).leader_epoch(6);
        let headers: &[(&str, Option<&[u8]>)] = &[("same", Some(b"1")), ("same", None), ("same", Some(&[0xff]))];
        for i in 0..200i64 {
            let value = format!("value {}", i % 7);
            builder.push(1000 + (i * 37) % 90, (i % 3 != 0).then_some(b"key"), Some(value.as_bytes()), headers);
        }
        builder.push(900, Some(b""), None, &[]);
        Batch::check(builder.build()).unwrap()
    }

    #[test]
    fn every_pair_of_codecs_keeps_the_records_and_the_head_byte_for_byte() {
        for from in Codec::ALL {
            for to in Codec::ALL {
                let batch = original(from);
                let decoded = records(&batch, 1 << 20).unwrap();
                let packed = repack(&decoded, to, None, batch.header().max_timestamp()).unwrap();
                verify_produced(packed.bytes()).unwrap();
                let again = records(&packed, 1 << 20).unwrap();
                assert_eq!(again.body(), decoded.body(), "{from} to {to}");
                let (before, after) = (batch.header(), packed.header());
                assert_eq!(after.codec().unwrap(), to);
                assert_eq!(after.attributes() & !CODEC_MASK, before.attributes() & !CODEC_MASK);
                assert_eq!(after.bytes()[..8], before.bytes()[..8]);
                assert_eq!(after.bytes()[LENGTH_END..CRC_AT], before.bytes()[LENGTH_END..CRC_AT]);
                assert_eq!(after.bytes()[ATTRIBUTES_AT + 2..], before.bytes()[ATTRIBUTES_AT + 2..]);
            }
        }
    }

    #[test]
    fn a_level_changes_the_size_and_not_the_records() {
        let mut builder = BatchBuilder::new(Codec::None);
        for i in 0..3000u32 {
            builder.push(7, None, Some(format!("{:x}", i.wrapping_mul(2_654_435_761) >> 20).as_bytes()), &[]);
        }
        let batch = Batch::check(builder.build()).unwrap();
        let decoded = records(&batch, 1 << 20).unwrap();
        for (codec, low, high) in
            [(Codec::Gzip, 1, 9), (Codec::Lz4, 1, 17), (Codec::Lz4, 9, 12), (Codec::Zstd, -50, 19)]
        {
            let [fast, small] = [low, high].map(|level| repack(&decoded, codec, Some(level), 7).unwrap());
            assert!(fast.size_in_bytes() > small.size_in_bytes(), "{codec}");
            assert_eq!(records(&small, 1 << 20).unwrap().body(), decoded.body());
        }
    }
}
