//! Record batches made and read byte by byte, so that the codec under test has an independent referee.
//! Batches of magic 2 only, made uncompressed and read in any codec.

use std::io::Read;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Where the fields of a batch lie.
pub mod at {
    pub const BASE_OFFSET: usize = 0;
    pub const LENGTH: usize = 8;
    pub const LEADER_EPOCH: usize = 12;
    pub const MAGIC: usize = 16;
    pub const CRC: usize = 17;
    pub const ATTRIBUTES: usize = 21;
    pub const LAST_OFFSET_DELTA: usize = 23;
    pub const BASE_TIMESTAMP: usize = 27;
    pub const MAX_TIMESTAMP: usize = 35;
    pub const PRODUCER_ID: usize = 43;
    pub const PRODUCER_EPOCH: usize = 51;
    pub const BASE_SEQUENCE: usize = 53;
    pub const COUNT: usize = 57;
    pub const RECORDS: usize = 61;
}

/// A batch to be made.
#[derive(Clone)]
pub struct Batch {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub timestamp: i64,
    values: Vec<(Option<Bytes>, Bytes)>,
}

impl Batch {
    pub fn of<V: AsRef<[u8]>>(values: impl IntoIterator<Item = V>) -> Batch {
        let values = values.into_iter().map(|value| (None, Bytes::copy_from_slice(value.as_ref()))).collect();
        Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp: now_ms(), values }
    }

    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Batch {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, base_sequence);
        self
    }

    /// Of every record in it.
    #[must_use]
    pub fn timestamp(mut self, timestamp: i64) -> Batch {
        self.timestamp = timestamp;
        self
    }

    #[must_use]
    pub fn key(mut self, key: &str) -> Batch {
        self.values.iter_mut().for_each(|(k, _)| *k = Some(Bytes::copy_from_slice(key.as_bytes())));
        self
    }

    pub fn bytes(&self) -> Bytes {
        let mut records = BytesMut::new();
        for (i, (key, value)) in self.values.iter().enumerate() {
            let mut record = BytesMut::new();
            record.put_i8(0);
            put_varint(&mut record, 0);
            put_varint(&mut record, i64::try_from(i).unwrap());
            match key {
                None => put_varint(&mut record, -1),
                Some(key) => put_bytes(&mut record, key),
            }
            put_bytes(&mut record, value);
            put_varint(&mut record, 0);
            put_bytes(&mut records, &record);
        }
        let count = i32::try_from(self.values.len()).unwrap();
        let mut batch = BytesMut::new();
        batch.put_i64(0);
        batch.put_i32(i32::try_from(at::RECORDS - at::LEADER_EPOCH + records.len()).unwrap());
        batch.put_i32(-1);
        batch.put_i8(2);
        batch.put_u32(0);
        batch.put_i16(0);
        batch.put_i32(count - 1);
        batch.put_i64(self.timestamp);
        batch.put_i64(self.timestamp);
        batch.put_i64(self.producer_id);
        batch.put_i16(self.producer_epoch);
        batch.put_i32(self.base_sequence);
        batch.put_i32(count);
        batch.put_slice(&records);
        seal(&mut batch);
        batch.freeze()
    }
}

/// Makes the checksum right again after a change.
pub fn seal(batch: &mut [u8]) {
    let crc = crc32c(&batch[at::ATTRIBUTES..]);
    batch[at::CRC..at::ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
}

pub fn crc32c(bytes: &[u8]) -> u32 {
    u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes)).unwrap()
}

/// A record that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
}

impl Record {
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().unwrap_or_default()).unwrap()
    }
}

/// All records of consecutive batches, each of which must be whole and right.
pub fn read(mut batches: Bytes) -> Vec<Record> {
    let mut records = Vec::new();
    while !batches.is_empty() {
        let length = usize::try_from((&batches[at::LENGTH..]).get_i32()).unwrap();
        let batch = batches.split_to(at::LEADER_EPOCH + length);
        assert_eq!(batch[at::MAGIC], 2);
        assert_eq!(
            (&batch[at::CRC..]).get_u32(),
            crc32c(&batch[at::ATTRIBUTES..]),
            "the checksum of a batch that came back"
        );
        let base_offset = (&batch[at::BASE_OFFSET..]).get_i64();
        let base_timestamp = (&batch[at::BASE_TIMESTAMP..]).get_i64();
        let count = (&batch[at::COUNT..]).get_i32();
        let mut rest = unpack(codec(&batch), &batch[at::RECORDS..]);
        for _ in 0..count {
            let length = usize::try_from(varint(&mut rest)).unwrap();
            let mut record = rest.split_to(length);
            record.get_i8();
            let timestamp = base_timestamp + varint(&mut record);
            let offset = base_offset + varint(&mut record);
            let (key, value) = (optional(&mut record), optional(&mut record));
            records.push(Record { offset, timestamp, key, value });
        }
        assert!(rest.is_empty(), "bytes behind the last record of a batch");
    }
    records
}

/// The number of a batch's codec.
pub fn codec(batch: &[u8]) -> i16 {
    (&batch[at::ATTRIBUTES..]).get_i16() & 7
}

fn unpack(codec: i16, packed: &[u8]) -> Bytes {
    let mut out = Vec::new();
    match codec {
        0 => out.extend_from_slice(packed),
        1 => {
            flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut out).unwrap();
        }
        2 => {
            let mut rest =
                packed.strip_prefix(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01").expect("the head of xerial's framing");
            while !rest.is_empty() {
                let (block, after) = rest[4..].split_at(rest.get_u32() as usize);
                out.extend(snap::raw::Decoder::new().decompress_vec(block).unwrap());
                rest = after;
            }
        }
        3 => {
            lz4_flex::frame::FrameDecoder::new(packed).read_to_end(&mut out).unwrap();
        }
        4 => out = zstd::decode_all(packed).unwrap(),
        other => panic!("codec {other}"),
    }
    out.into()
}

/// The values of all records as text.
pub fn texts(batches: Bytes) -> Vec<String> {
    read(batches).iter().map(|record| record.text().to_owned()).collect()
}

pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn put_varint(into: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        into.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    into.put_u8(rest as u8);
}

fn put_bytes(into: &mut BytesMut, bytes: &[u8]) {
    put_varint(into, i64::try_from(bytes.len()).unwrap());
    into.put_slice(bytes);
}

fn varint(from: &mut Bytes) -> i64 {
    let mut value = 0u64;
    for shift in (0..).step_by(7) {
        let byte = from.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn optional(from: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(varint(from)).ok()?;
    Some(from.split_to(length))
}
