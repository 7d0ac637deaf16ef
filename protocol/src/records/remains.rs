//! Headers of batches that compaction has taken records from.

use super::batch::{
    ATTRIBUTES_AT, BASE_SEQUENCE_AT, BASE_TIMESTAMP_AT, CODEC_MASK, CRC_AT, DELETE_HORIZON, HEADER_LEN, Header,
    LAST_OFFSET_DELTA_AT, LENGTH_END, MAGIC, MAGIC_AT, MAX_TIMESTAMP_AT, PRODUCER_EPOCH_AT, PRODUCER_ID_AT,
    RECORD_COUNT_AT,
};
use super::compression::Codec;
use crate::crc::crc32c_of_parts;

/// What is left of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remains {
    /// How the new body is compressed.
    pub codec: Codec,
    /// What the timestamp deltas of the new body count from; the delete horizon if `has_delete_horizon`.
    pub base_timestamp: i64,
    /// Largest timestamp of the records left.
    pub max_timestamp: i64,
    /// Whether the base timestamp is a delete horizon (KIP-534).
    pub has_delete_horizon: bool,
    /// How many records are left.
    pub count: i32,
}

impl Header<'_> {
    /// The header over `body`, which holds what is left of this batch. Base offset, last offset, leader epoch, producer
    /// and sequence stay, so that a producer's last sequence number is still known.
    ///
    /// `None` if the body is longer than a batch can be.
    #[must_use]
    pub fn of_remains(&self, remains: &Remains, body: &[u8]) -> Option<[u8; HEADER_LEN]> {
        let mut header = *self.bytes();
        let length = i32::try_from(HEADER_LEN - LENGTH_END + body.len()).ok()?;
        header[8..LENGTH_END].copy_from_slice(&length.to_be_bytes());
        let mut attributes = self.attributes() & !(CODEC_MASK | DELETE_HORIZON) | remains.codec as i16;
        if remains.has_delete_horizon {
            attributes |= DELETE_HORIZON;
        }
        put(&mut header, ATTRIBUTES_AT, attributes.to_be_bytes());
        put(&mut header, BASE_TIMESTAMP_AT, remains.base_timestamp.to_be_bytes());
        put(&mut header, MAX_TIMESTAMP_AT, remains.max_timestamp.to_be_bytes());
        put(&mut header, RECORD_COUNT_AT, remains.count.to_be_bytes());
        Some(seal(header, body))
    }

    /// The batch without its records: kept where its offsets or its sequence number must not be lost. The max timestamp
    /// stays.
    #[must_use]
    pub fn emptied(&self) -> [u8; HEADER_LEN] {
        let remains = Remains {
            codec: Codec::None,
            base_timestamp: -1,
            max_timestamp: self.max_timestamp(),
            has_delete_horizon: false,
            count: 0,
        };
        let header = self.of_remains(&remains, &[]);
        header.unwrap_or(*self.bytes()) // an empty body is never too long
    }
}

/// A batch without records over the offsets `first..=last`, of no producer and no time: what stands in a file for
/// offsets that it holds nothing of. At most 2^31 offsets.
#[must_use]
pub fn filler(first: i64, last: i64, leader_epoch: i32) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let delta = last.saturating_sub(first).clamp(0, i64::from(i32::MAX)) as i32;
    put(&mut header, 0, first.to_be_bytes());
    put(&mut header, 8, ((HEADER_LEN - LENGTH_END) as i32).to_be_bytes());
    put(&mut header, LENGTH_END, leader_epoch.to_be_bytes());
    put(&mut header, MAGIC_AT, MAGIC.to_be_bytes());
    put(&mut header, LAST_OFFSET_DELTA_AT, delta.to_be_bytes());
    for at in [BASE_TIMESTAMP_AT, MAX_TIMESTAMP_AT, PRODUCER_ID_AT] {
        put(&mut header, at, (-1i64).to_be_bytes());
    }
    put(&mut header, PRODUCER_EPOCH_AT, (-1i16).to_be_bytes());
    put(&mut header, BASE_SEQUENCE_AT, (-1i32).to_be_bytes());
    seal(header, &[])
}

fn put<const N: usize>(header: &mut [u8; HEADER_LEN], at: usize, bytes: [u8; N]) {
    header[at..at + N].copy_from_slice(&bytes);
}

fn seal(mut header: [u8; HEADER_LEN], body: &[u8]) -> [u8; HEADER_LEN] {
    let crc = crc32c_of_parts(&[&header[ATTRIBUTES_AT..], body]);
    put(&mut header, CRC_AT, crc.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Batch, BatchBuilder, verify_stored};

    #[test]
    fn a_batch_without_records_keeps_its_offsets_its_producer_and_its_time() {
        let mut builder = BatchBuilder::new(Codec::Lz4).producer(7, 3, 40).transactional(true).base_offset(100);
        for i in 0..5 {
            builder.push(1000 + i, Some(b"k"), Some(b"v"), &[]);
        }
        let batch = Batch::check(builder.leader_epoch(9).build()).unwrap();
        let empty = batch.header().emptied();
        let header = verify_stored(&empty).unwrap();
        assert_eq!((header.base_offset(), header.last_offset(), header.leader_epoch()), (100, 104, 9));
        assert_eq!((header.producer_id(), header.producer_epoch(), header.base_sequence()), (7, 3, 40));
        assert_eq!((header.record_count(), header.max_timestamp(), header.base_timestamp()), (0, 1004, -1));
        assert!(header.is_transactional() && !header.has_delete_horizon());
        assert_eq!(header.codec(), Ok(Codec::None));
    }

    #[test]
    fn a_filler_is_a_valid_batch_of_no_producer() {
        let filler = filler(50, 149, 4);
        let header = verify_stored(&filler).unwrap();
        assert_eq!((header.base_offset(), header.last_offset(), header.leader_epoch()), (50, 149, 4));
        assert_eq!((header.record_count(), header.producer_id(), header.base_sequence()), (0, -1, -1));
        assert_eq!((header.max_timestamp(), header.attributes()), (-1, 0));
    }
}
