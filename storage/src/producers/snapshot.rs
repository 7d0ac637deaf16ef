//! Kafka's `.snapshot` files, version 1, with something behind them that Kafka does not look at.
//!
//! ```text
//! version i16 = 1 | crc u32 (CRC-32C of all that follows) | count i32 | entries | earlier batches, or nothing
//! entry: producer_id i64, epoch i16, last_sequence i32, last_offset i64, offset_delta i32, timestamp i64,
//!        coordinator_epoch i32, txn_first_offset i64 (-1: none)
//! earlier batches, for each entry in order: count u8, then of each, oldest first: last_sequence i32, last_offset i64,
//!        offset_delta i32, timestamp i64
//! ```
//!
//! Kafka's part holds the last batch of each producer only. A producer with five requests in flight when the broker
//! ends sends all of them again, and those before the last would be out of order, though they are in the log: hence
//! the second part. Kafka checks the CRC over the whole file and ignores what lies behind its entries; a file of its
//! own has no second part.

use jackdaw_protocol::crc::crc32c;

use super::{BatchMeta, Producer, Producers};

const VERSION: i16 = 1;
const CRC_AT: usize = 2;
const COUNT_AT: usize = CRC_AT + 4;
const ENTRIES_AT: usize = COUNT_AT + 4;
const ENTRY_LEN: usize = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8;

/// Why a snapshot file is no use; the state is rebuilt from the log then.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SnapshotError {
    #[error("snapshot of {0} bytes does not hold what it claims")]
    Length(usize),
    #[error("snapshot version {0} is unknown")]
    Version(i16),
    #[error("snapshot has CRC {stored:08x}, its bytes {computed:08x}")]
    Crc { stored: u32, computed: u32 },
}

/// The producers as a file's bytes.
pub(crate) fn encode_snapshot(producers: &Producers) -> Vec<u8> {
    encode(producers, true)
}

/// The producers as a file's bytes, without the second part.
pub(crate) fn encode_snapshot_for_kafka(producers: &Producers) -> Vec<u8> {
    encode(producers, false)
}

fn encode(producers: &Producers, with_earlier: bool) -> Vec<u8> {
    let mut ids: Vec<i64> = producers.by_id.keys().copied().collect();
    ids.sort_unstable();
    let mut bytes = Vec::with_capacity(ENTRIES_AT + ids.len() * ENTRY_LEN);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(ids.len() as i32).to_be_bytes());
    for id in &ids {
        let producer = &producers.by_id[id];
        let last = producer.last_batch();
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(&producer.epoch.to_be_bytes());
        bytes.extend_from_slice(&last.map_or(-1, |b| b.last_sequence).to_be_bytes());
        bytes.extend_from_slice(&last.map_or(-1, |b| b.last_offset).to_be_bytes());
        bytes.extend_from_slice(&last.map_or(0, |b| b.offset_delta).to_be_bytes());
        bytes.extend_from_slice(&producer.last_timestamp.to_be_bytes());
        bytes.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
        bytes.extend_from_slice(&producer.txn_first_offset.unwrap_or(-1).to_be_bytes());
    }
    if with_earlier && producers.by_id.values().any(|producer| producer.earlier_batches().next().is_some()) {
        ids.iter().for_each(|id| put_earlier(&mut bytes, &producers.by_id[id]));
    }
    let crc = crc32c(&bytes[COUNT_AT..]);
    bytes[CRC_AT..COUNT_AT].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn put_earlier(bytes: &mut Vec<u8>, producer: &Producer) {
    bytes.push(producer.earlier_batches().count() as u8); // at most 4
    for batch in producer.earlier_batches() {
        bytes.extend_from_slice(&batch.last_sequence.to_be_bytes());
        bytes.extend_from_slice(&batch.last_offset.to_be_bytes());
        bytes.extend_from_slice(&batch.offset_delta.to_be_bytes());
        bytes.extend_from_slice(&batch.timestamp.to_be_bytes());
    }
}

/// Reads a snapshot file; believes nothing that its CRC and length do not confirm.
pub(crate) fn decode_snapshot(bytes: &[u8]) -> Result<Producers, SnapshotError> {
    let bad_length = || SnapshotError::Length(bytes.len());
    let mut head = Fields(bytes);
    let version = i16::from_be_bytes(head.take().ok_or_else(bad_length)?);
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let stored = u32::from_be_bytes(head.take().ok_or_else(bad_length)?);
    let computed = crc32c(head.0);
    if stored != computed {
        return Err(SnapshotError::Crc { stored, computed });
    }
    let count = i32::from_be_bytes(head.take().ok_or_else(bad_length)?);
    let len = usize::try_from(count).ok().and_then(|n| n.checked_mul(ENTRY_LEN)).ok_or_else(bad_length)?;
    let (entries, earlier) = head.0.split_at_checked(len).ok_or_else(bad_length)?;
    let (mut entries, mut earlier) = (Fields(entries), (!earlier.is_empty()).then_some(Fields(earlier)));
    let mut producers = Producers::default();
    for _ in 0..count {
        let batches = earlier.as_mut().map_or(Some(Vec::new()), earlier_batches).ok_or_else(bad_length)?;
        let (id, producer) = entry(&mut entries, batches).ok_or_else(bad_length)?;
        if let Some(first) = producer.txn_first_offset {
            producers.ongoing.insert(first, id);
        }
        producers.by_id.insert(id, producer);
    }
    if earlier.is_some_and(|rest| !rest.0.is_empty()) {
        return Err(bad_length());
    }
    Ok(producers)
}

fn earlier_batches(fields: &mut Fields<'_>) -> Option<Vec<BatchMeta>> {
    let [count] = fields.take()?;
    (0..count)
        .map(|_| {
            Some(BatchMeta {
                last_sequence: i32::from_be_bytes(fields.take()?),
                last_offset: i64::from_be_bytes(fields.take()?),
                offset_delta: i32::from_be_bytes(fields.take()?),
                timestamp: i64::from_be_bytes(fields.take()?),
            })
        })
        .collect()
}

fn entry(fields: &mut Fields<'_>, earlier: Vec<BatchMeta>) -> Option<(i64, Producer)> {
    let mut producer = Producer::new();
    let id = i64::from_be_bytes(fields.take()?);
    producer.epoch = i16::from_be_bytes(fields.take()?);
    let last_sequence = i32::from_be_bytes(fields.take()?);
    let last_offset = i64::from_be_bytes(fields.take()?);
    let offset_delta = i32::from_be_bytes(fields.take()?);
    let timestamp = i64::from_be_bytes(fields.take()?);
    producer.last_timestamp = timestamp;
    producer.coordinator_epoch = i32::from_be_bytes(fields.take()?);
    producer.txn_first_offset = Some(i64::from_be_bytes(fields.take()?)).filter(|&offset| offset >= 0);
    earlier.into_iter().for_each(|batch| producer.push(batch));
    if last_offset >= 0 && offset_delta >= 0 {
        producer.push(BatchMeta { last_sequence, last_offset, offset_delta, timestamp });
    }
    Some((id, producer))
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }
}
