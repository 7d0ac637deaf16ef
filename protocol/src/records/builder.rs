//! Builds batches, for our own records and our own client.

use bytes::Bytes;

use super::batch::{ATTRIBUTES_AT, CONTROL, CRC_AT, HEADER_LEN, LENGTH_END, MAGIC, TRANSACTIONAL};
use super::compression::Codec;
use super::varint::{len_i32, len_i64, write_i32, write_i64};
use crate::crc::crc32c;

/// Collects records and makes one batch of them.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    codec: Codec,
    level: Option<i32>,
    attributes: i16,
    base_offset: i64,
    leader_epoch: i32,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
    body: Vec<u8>,
}

impl BatchBuilder {
    /// A builder of a batch from a producer that is not idempotent, at offset 0.
    #[must_use]
    pub fn new(codec: Codec) -> BatchBuilder {
        BatchBuilder {
            codec,
            level: None,
            attributes: 0,
            base_offset: 0,
            leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            base_timestamp: -1,
            max_timestamp: -1,
            count: 0,
            body: Vec::new(),
        }
    }

    /// Identity and sequence number of an idempotent producer.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> BatchBuilder {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, base_sequence);
        self
    }

    /// Offset of the first record; a broker overwrites it.
    #[must_use]
    pub fn base_offset(mut self, offset: i64) -> BatchBuilder {
        self.base_offset = offset;
        self
    }

    /// Leader epoch; a broker overwrites it.
    #[must_use]
    pub fn leader_epoch(mut self, epoch: i32) -> BatchBuilder {
        self.leader_epoch = epoch;
        self
    }

    /// Effort of the codec, in its own numbers.
    #[must_use]
    pub fn level(mut self, level: i32) -> BatchBuilder {
        self.level = Some(level);
        self
    }

    /// Whether the batch is part of a transaction.
    #[must_use]
    pub fn transactional(mut self, on: bool) -> BatchBuilder {
        self.set(TRANSACTIONAL, on);
        self
    }

    /// Whether the records are control records.
    #[must_use]
    pub fn control(mut self, on: bool) -> BatchBuilder {
        self.set(CONTROL, on);
        self
    }

    fn set(&mut self, bit: i16, on: bool) {
        self.attributes = if on { self.attributes | bit } else { self.attributes & !bit };
    }

    /// Adds a record; offsets count from 0 in the order of calls.
    pub fn push(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        if self.count == 0 {
            (self.base_timestamp, self.max_timestamp) = (timestamp_ms, timestamp_ms);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        let timestamp_delta = timestamp_ms.wrapping_sub(self.base_timestamp);
        let headers_len: usize =
            headers.iter().map(|(key, value)| sized_len(Some(key.as_bytes())) + sized_len(*value)).sum();
        let length = 1
            + len_i64(timestamp_delta)
            + len_i32(self.count)
            + sized_len(key)
            + sized_len(value)
            + len_i32(headers.len() as i32)
            + headers_len;
        self.body.reserve(length + 5);
        write_i32(&mut self.body, length as i32);
        self.body.push(0);
        write_i64(&mut self.body, timestamp_delta);
        write_i32(&mut self.body, self.count);
        write_sized(&mut self.body, key);
        write_sized(&mut self.body, value);
        write_i32(&mut self.body, headers.len() as i32);
        for (key, value) in headers {
            write_sized(&mut self.body, Some(key.as_bytes()));
            write_sized(&mut self.body, *value);
        }
        self.count += 1;
    }

    /// Records so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Whether no record was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch so far, before compression.
    #[must_use]
    pub fn size(&self) -> usize {
        HEADER_LEN + self.body.len()
    }

    /// The batch. Records that the codec refuses (it is out of memory, say) go uncompressed.
    #[must_use]
    pub fn build(self) -> Bytes {
        let (codec, packed) = match self.codec {
            Codec::None => (Codec::None, None),
            codec => match codec.compress(&self.body, self.level) {
                Ok(packed) => (codec, Some(packed)),
                Err(_) => (Codec::None, None),
            },
        };
        let body = packed.as_deref().unwrap_or(&self.body);
        let mut out = Vec::with_capacity(HEADER_LEN + body.len());
        out.extend_from_slice(&self.base_offset.to_be_bytes());
        out.extend_from_slice(&((HEADER_LEN - LENGTH_END + body.len()) as i32).to_be_bytes());
        out.extend_from_slice(&self.leader_epoch.to_be_bytes());
        out.extend_from_slice(&MAGIC.to_be_bytes());
        out.extend_from_slice(&[0; ATTRIBUTES_AT - CRC_AT]);
        out.extend_from_slice(&(self.attributes | codec as i16).to_be_bytes());
        out.extend_from_slice(&(self.count - 1).to_be_bytes());
        out.extend_from_slice(&self.base_timestamp.to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.to_be_bytes());
        out.extend_from_slice(&self.producer_id.to_be_bytes());
        out.extend_from_slice(&self.producer_epoch.to_be_bytes());
        out.extend_from_slice(&self.base_sequence.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(body);
        let crc = crc32c(&out[ATTRIBUTES_AT..]);
        out[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
        out.into()
    }
}

fn sized_len(field: Option<&[u8]>) -> usize {
    field.map_or(len_i32(-1), |bytes| len_i32(bytes.len() as i32) + bytes.len())
}

fn write_sized(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => write_i32(out, -1),
        Some(bytes) => {
            write_i32(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}
