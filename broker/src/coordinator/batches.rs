//! Records of the machine as batches of `__consumer_offsets`.

use jackdaw_protocol::records::{Batch, BatchBuilder, BatchError, Codec};

use crate::group::records::Record;

/// What a record costs in a batch beside its key and value.
const RECORD_OVERHEAD: usize = 40;
/// What a batch of one record costs beside its key and value.
pub(super) const BATCH_OVERHEAD: usize = 128;

/// Packs records, in order, into as few batches as `max_batch_bytes` allows. A record that is too large for any batch gets
/// one of its own, and the log refuses it.
pub(super) fn pack(
    records: &[Record],
    now_ms: i64,
    codec: Codec,
    max_batch_bytes: usize,
) -> Result<Vec<Batch>, BatchError> {
    let mut batches = Vec::with_capacity(1);
    let mut builder = BatchBuilder::new(codec);
    for record in records {
        let (key, value) = (record.key(), record.value());
        let size = RECORD_OVERHEAD + key.len() + value.as_ref().map_or(0, Vec::len);
        if !builder.is_empty() && builder.size() + size > max_batch_bytes {
            batches.push(Batch::check(std::mem::replace(&mut builder, BatchBuilder::new(codec)).build())?);
        }
        builder.push(now_ms, Some(&key), value.as_deref(), &[]);
    }
    if !builder.is_empty() {
        batches.push(Batch::check(builder.build())?);
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use super::*;

    fn tombstone(partition: i32) -> Record {
        Record::Offset { group: "g".into(), topic: "t".into(), partition, value: None }
    }

    #[test]
    fn records_share_a_batch_and_keep_their_order() {
        let records: Vec<_> = (0..10).map(tombstone).collect();
        let batches = pack(&records, 7, Codec::None, 1 << 20).unwrap();
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].header().record_count(), 10);
        assert_eq!(batches[0].header().max_timestamp(), 7);
    }

    #[test]
    fn more_records_than_fit_are_split_and_no_batch_is_too_large() {
        let records: Vec<_> = (0..1000).map(tombstone).collect();
        let batches = pack(&records, 7, Codec::None, 1024).unwrap();
        assert!(batches.iter().all(|batch| batch.bytes().len() <= 1024));
        assert_eq!(batches.iter().map(|batch| batch.header().record_count()).sum::<i32>(), 1000);
    }
}
