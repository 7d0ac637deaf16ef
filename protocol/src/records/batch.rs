//! The checked view of a batch, and the few fields a broker patches.
//!
//! ```text
//! at  size  field
//!  0   8    base offset            outside of the CRC: stamped by the leader
//!  8   4    batch length           bytes after this field
//! 12   4    partition leader epoch outside of the CRC: stamped by the leader
//! 16   1    magic                  2
//! 17   4    CRC-32C                of everything from 21 on
//! 21   2    attributes             0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon
//! 23   4    last offset delta
//! 27   8    base timestamp
//! 35   8    max timestamp
//! 43   8    producer id
//! 51   2    producer epoch
//! 53   4    base sequence
//! 57   4    record count
//! 61        records, compressed as one block
//! ```

use bytes::Bytes;
use thiserror::Error;

use super::compression::Codec;
use crate::crc::{crc32c, crc32c_of_parts};

/// Bytes of a batch before its records.
pub const HEADER_LEN: usize = 61;
/// Where the length field ends: a batch is this long plus its length field's value.
pub const LENGTH_END: usize = 12;
/// Length of what [`patched_head`] gives: base offset, batch length, leader epoch.
pub const PATCHED_LEN: usize = 16;

pub(super) const MAGIC: i8 = 2;
pub(super) const MAGIC_AT: usize = 16;
pub(super) const CRC_AT: usize = 17;
pub(super) const ATTRIBUTES_AT: usize = 21;
pub(super) const LAST_OFFSET_DELTA_AT: usize = 23;
pub(super) const BASE_TIMESTAMP_AT: usize = 27;
pub(super) const MAX_TIMESTAMP_AT: usize = 35;
pub(super) const PRODUCER_ID_AT: usize = 43;
pub(super) const PRODUCER_EPOCH_AT: usize = 51;
pub(super) const BASE_SEQUENCE_AT: usize = 53;
pub(super) const RECORD_COUNT_AT: usize = 57;
/// The smallest length field: a header without records.
const MIN_BATCH_LENGTH: i32 = (HEADER_LEN - LENGTH_END) as i32;

pub(super) const CODEC_MASK: i16 = 0b111;
pub(super) const LOG_APPEND_TIME: i16 = 1 << 3;
pub(super) const TRANSACTIONAL: i16 = 1 << 4;
pub(super) const CONTROL: i16 = 1 << 5;
pub(super) const DELETE_HORIZON: i16 = 1 << 6;

/// Why bytes are not a valid batch.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    /// Fewer bytes than a header.
    #[error("{0} bytes are too few for a record batch")]
    TooShort(usize),
    /// Another message format than v2.
    #[error("message format v{0} is not supported, only v2")]
    BadMagic(i8),
    /// The length field disagrees with the bytes.
    #[error("the batch claims a length of {claimed} bytes, and {have} are there")]
    BadLength {
        /// Size by the length field, its own 12 bytes of overhead included; negative if the field is.
        claimed: i64,
        /// Bytes at hand.
        have: usize,
    },
    /// The checksum does not match.
    #[error("the batch's CRC is {stored:08x}, computed {computed:08x}")]
    BadCrc {
        /// CRC in the header.
        stored: u32,
        /// CRC of the bytes.
        computed: u32,
    },
    /// Count and offsets disagree.
    #[error("the batch claims {records} records over a last offset delta of {last_offset_delta}")]
    BadCount {
        /// Record count in the header.
        records: i32,
        /// Last offset delta in the header.
        last_offset_delta: i32,
    },
    /// A codec number without meaning.
    #[error("unknown compression codec {0}")]
    UnknownCodec(u8),
}

/// Typed access to the header of a batch. No promise that the rest is there or right: see [`Batch`].
#[derive(Clone, Copy)]
pub struct Header<'a>(&'a [u8; HEADER_LEN]);

impl<'a> Header<'a> {
    /// Reads the header at the front of `bytes`, which may end before the batch does or go on after it.
    ///
    /// Checks magic and that the length field is no less than a header; neither checksum nor counts.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Header<'a>, BatchError> {
        // Old message sets may be shorter than 61 bytes, and deserve to be named.
        if let Some(&magic) = bytes.get(MAGIC_AT)
            && magic as i8 != MAGIC
        {
            return Err(BatchError::BadMagic(magic as i8));
        }
        let header = Header(bytes.first_chunk().ok_or(BatchError::TooShort(bytes.len()))?);
        if header.batch_length() < MIN_BATCH_LENGTH {
            let claimed = i64::from(header.batch_length()) + LENGTH_END as i64;
            return Err(BatchError::BadLength { claimed, have: bytes.len() });
        }
        Ok(header)
    }

    #[inline(always)]
    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.0[at..at + N]);
        field
    }

    /// The header's 61 bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8; HEADER_LEN] {
        self.0
    }

    /// Offset of the first record.
    #[inline]
    #[must_use]
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(self.field(0))
    }

    /// Bytes after the length field.
    #[inline]
    #[must_use]
    pub fn batch_length(&self) -> i32 {
        i32::from_be_bytes(self.field(8))
    }

    /// Bytes of the whole batch.
    #[inline]
    #[must_use]
    pub fn size_in_bytes(&self) -> usize {
        // `parse` checked that the length is positive.
        self.batch_length().max(0) as usize + LENGTH_END
    }

    /// Epoch of the leader that appended the batch.
    #[inline]
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        i32::from_be_bytes(self.field(12))
    }

    /// Message format: 2.
    #[inline]
    #[must_use]
    pub fn magic(&self) -> i8 {
        i8::from_be_bytes(self.field(MAGIC_AT))
    }

    /// CRC-32C of everything from the attributes on.
    #[inline]
    #[must_use]
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.field(CRC_AT))
    }

    /// All attribute bits.
    #[inline]
    #[must_use]
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.field(ATTRIBUTES_AT))
    }

    /// Offset of the last record less [`Header::base_offset`]. Compaction keeps it, though it may drop that record.
    #[inline]
    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.field(LAST_OFFSET_DELTA_AT))
    }

    /// Offset of the last record.
    #[inline]
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset().wrapping_add(i64::from(self.last_offset_delta()))
    }

    /// What the records' timestamp deltas count from, in ms since 1970; the delete horizon if that bit is set.
    #[inline]
    #[must_use]
    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.field(BASE_TIMESTAMP_AT))
    }

    /// Largest timestamp of the batch; the time of append if [`Header::is_log_append_time`].
    #[inline]
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.field(MAX_TIMESTAMP_AT))
    }

    /// Producer id, -1 if the producer is not idempotent.
    #[inline]
    #[must_use]
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.field(PRODUCER_ID_AT))
    }

    /// Producer epoch, -1 if the producer is not idempotent.
    #[inline]
    #[must_use]
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(self.field(PRODUCER_EPOCH_AT))
    }

    /// Sequence number of the first record, -1 if there is none (no idempotence, or a control batch).
    #[inline]
    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.field(BASE_SEQUENCE_AT))
    }

    /// Number of records.
    #[inline]
    #[must_use]
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(self.field(RECORD_COUNT_AT))
    }

    /// How the records are compressed.
    #[inline]
    pub fn codec(&self) -> Result<Codec, BatchError> {
        let id = (self.attributes() & CODEC_MASK) as u8;
        Codec::from_id(id).ok_or(BatchError::UnknownCodec(id))
    }

    /// Whether the batch belongs to a transaction.
    #[inline]
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL != 0
    }

    /// Whether the batch holds control records, which consumers never see.
    #[inline]
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }

    /// Whether all records carry the time of append ([`Header::max_timestamp`]) in place of their own.
    #[inline]
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes() & LOG_APPEND_TIME != 0
    }

    /// Whether [`Header::base_timestamp`] is the time after which tombstones may go (KIP-534).
    #[inline]
    #[must_use]
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes() & DELETE_HORIZON != 0
    }
}

impl std::fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Header")
            .field("base_offset", &self.base_offset())
            .field("size_in_bytes", &self.size_in_bytes())
            .field("leader_epoch", &self.leader_epoch())
            .field("attributes", &format_args!("{:#b}", self.attributes()))
            .field("last_offset_delta", &self.last_offset_delta())
            .field("record_count", &self.record_count())
            .field("base_timestamp", &self.base_timestamp())
            .field("max_timestamp", &self.max_timestamp())
            .field("producer_id", &self.producer_id())
            .field("producer_epoch", &self.producer_epoch())
            .field("base_sequence", &self.base_sequence())
            .finish_non_exhaustive()
    }
}

/// Checks that `bytes` are exactly one whole batch as a producer may send it: at least one record, offsets without
/// gaps, known codec, CRC. One pass over the bytes, no allocation. The records themselves are not looked at.
#[inline]
pub fn verify_produced(bytes: &[u8]) -> Result<Header<'_>, BatchError> {
    let header = Header::parse(bytes)?;
    let (records, last_offset_delta) = (header.record_count(), header.last_offset_delta());
    if records < 1 || last_offset_delta != records - 1 {
        return Err(BatchError::BadCount { records, last_offset_delta });
    }
    verify_bytes(header, bytes)
}

/// Checks that `bytes` are exactly one whole batch as a log may hold it: like [`verify_produced`], but compaction may
/// have taken records out of it, even all of them.
#[inline]
pub fn verify_stored(bytes: &[u8]) -> Result<Header<'_>, BatchError> {
    let header = Header::parse(bytes)?;
    let (records, last_offset_delta) = (header.record_count(), header.last_offset_delta());
    if records < 0 || last_offset_delta < 0 || records - 1 > last_offset_delta {
        return Err(BatchError::BadCount { records, last_offset_delta });
    }
    verify_bytes(header, bytes)
}

#[inline]
fn verify_bytes<'a>(header: Header<'a>, bytes: &[u8]) -> Result<Header<'a>, BatchError> {
    if header.size_in_bytes() != bytes.len() {
        return Err(BatchError::BadLength { claimed: header.size_in_bytes() as i64, have: bytes.len() });
    }
    header.codec()?;
    let computed = crc32c(&bytes[ATTRIBUTES_AT..]);
    if computed != header.crc() {
        return Err(BatchError::BadCrc { stored: header.crc(), computed });
    }
    Ok(header)
}

/// Proof of one whole, valid batch. Made only by its checks; the bytes are never changed afterwards.
#[derive(Clone, PartialEq, Eq)]
pub struct Batch(Bytes);

impl Batch {
    /// Takes `bytes` if they pass [`verify_produced`].
    #[inline]
    pub fn check(bytes: Bytes) -> Result<Batch, BatchError> {
        verify_produced(&bytes)?;
        Ok(Batch(bytes))
    }

    /// Takes `bytes` if they pass [`verify_stored`].
    #[inline]
    pub fn from_log(bytes: Bytes) -> Result<Batch, BatchError> {
        verify_stored(&bytes)?;
        Ok(Batch(bytes))
    }

    /// Takes bytes that this crate has just made of a batch.
    pub(super) fn proven(bytes: Bytes) -> Batch {
        debug_assert!(verify_stored(&bytes).is_ok());
        Batch(bytes)
    }

    /// The consecutive batches in `bytes`, each checked by [`Batch::from_log`].
    #[must_use]
    pub fn split_all(bytes: Bytes) -> Batches {
        Batches { rest: bytes }
    }

    /// The header.
    #[inline]
    #[must_use]
    pub fn header(&self) -> Header<'_> {
        Header(self.0.first_chunk().expect("a checked batch is longer than its header"))
    }

    /// The whole batch.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The records, compressed if [`Header::codec`] says so.
    #[inline]
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.0.slice(HEADER_LEN..)
    }

    /// Length of the whole batch.
    #[inline]
    #[must_use]
    pub fn size_in_bytes(&self) -> usize {
        self.0.len()
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.header().fmt(f)
    }
}

/// Iterator of [`Batch::split_all`]. Ends after its first error.
///
/// A torn last batch (a broker may cut a response to old fetches at its limit) ends it silently;
/// [`Batches::remaining`] then tells how many bytes were left.
#[derive(Debug, Clone)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// Bytes not yet taken.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let size = match Header::parse(&self.rest) {
            Ok(header) => header.size_in_bytes(),
            Err(BatchError::TooShort(_)) => return None,
            Err(error) => {
                self.rest.clear();
                return Some(Err(error));
            }
        };
        if size > self.rest.len() {
            return None;
        }
        let batch = Batch::from_log(self.rest.split_to(size));
        if batch.is_err() {
            self.rest.clear();
        }
        Some(batch)
    }
}

/// The first [`PATCHED_LEN`] bytes of a batch with another base offset and leader epoch; the rest stays as it is, CRC
/// included.
#[inline]
#[must_use]
pub fn patched_head(header: &Header<'_>, base_offset: i64, leader_epoch: i32) -> [u8; PATCHED_LEN] {
    let mut head = [0; PATCHED_LEN];
    head[..8].copy_from_slice(&base_offset.to_be_bytes());
    head[8..12].copy_from_slice(&header.batch_length().to_be_bytes());
    head[12..].copy_from_slice(&leader_epoch.to_be_bytes());
    head
}

/// The header of `batch` turned to log-append time: the timestamp type's bit, the max timestamp, and a new CRC.
/// The records stay as they are; readers take `timestamp_ms` for all of them.
#[must_use]
pub fn stamp_log_append_time(batch: &Batch, timestamp_ms: i64) -> [u8; HEADER_LEN] {
    let mut header = *batch.header().bytes();
    let attributes = batch.header().attributes() | LOG_APPEND_TIME;
    header[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    header[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&timestamp_ms.to_be_bytes());
    with_crc(header, batch)
}

/// The header of `batch` under another producer id, epoch and base sequence, with a new CRC: for a producer that goes
/// on under a new identity after it lost a batch.
#[must_use]
pub fn stamp_producer(batch: &Batch, id: i64, epoch: i16, base_sequence: i32) -> [u8; HEADER_LEN] {
    let mut header = *batch.header().bytes();
    header[PRODUCER_ID_AT..PRODUCER_ID_AT + 8].copy_from_slice(&id.to_be_bytes());
    header[PRODUCER_EPOCH_AT..PRODUCER_EPOCH_AT + 2].copy_from_slice(&epoch.to_be_bytes());
    header[BASE_SEQUENCE_AT..BASE_SEQUENCE_AT + 4].copy_from_slice(&base_sequence.to_be_bytes());
    with_crc(header, batch)
}

fn with_crc(mut header: [u8; HEADER_LEN], batch: &Batch) -> [u8; HEADER_LEN] {
    let crc = crc32c_of_parts(&[&header[ATTRIBUTES_AT..], &batch.bytes()[HEADER_LEN..]]);
    header[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
    header
}
