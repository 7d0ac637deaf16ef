//! What goes into a log and comes out of it.

use bytes::Bytes;
use jackdaw_protocol::records::Batch;

use crate::disk::Map;

/// Where a batch comes from, which says what is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A producer: sequence numbers and timestamps are checked, control batches are refused.
    Client,
    /// A coordinator of this broker, with group offsets or transaction markers: producer epochs are checked, sequence
    /// numbers are not.
    Coordinator,
    /// The partition's leader on another broker: offsets, epoch and timestamps are the batch's own. Only through
    /// [`Log::append_as_follower`](super::Log::append_as_follower).
    Leader,
}

/// One batch to append.
#[derive(Debug, Clone)]
pub struct Append<'a> {
    /// The batch as it came. Its base offset and leader epoch are replaced on the way to the disk; its bytes are not
    /// touched.
    pub batch: &'a Batch,
    /// Epoch of the leader that appends.
    pub leader_epoch: i32,
    /// Who sent it.
    pub origin: Origin,
}

/// What became of one appended batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// The time given to its records, in ms; -1 unless the topic's timestamps are LogAppendTime.
    pub log_append_time: i64,
    /// The log start offset at that moment.
    pub log_start_offset: i64,
    /// The batch had been appended before; the offsets are those it got then, and nothing was written.
    pub duplicate: bool,
}

/// A transaction that was aborted, as Fetch reports it to a reader of committed records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTxn {
    /// Its producer.
    pub producer_id: i64,
    /// Offset of its first record.
    pub first_offset: i64,
    /// Offset of its abort marker.
    pub last_offset: i64,
    /// The last stable offset once it had ended.
    pub last_stable_offset: i64,
}

/// A record found by its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, in ms.
    pub timestamp: i64,
    /// The leader epoch of its batch; -1 if the batch has none.
    pub leader_epoch: i32,
}

/// What a log knows of a producer, as DescribeProducers reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerState {
    /// Its id.
    pub producer_id: i64,
    /// Its newest epoch.
    pub epoch: i16,
    /// Sequence number of its last record; -1 if none is known.
    pub last_sequence: i32,
    /// Max timestamp of its last batch.
    pub last_timestamp: i64,
    /// Epoch of the coordinator that wrote its last marker; -1 if none did.
    pub coordinator_epoch: i32,
    /// First offset of its open transaction.
    pub txn_start_offset: Option<i64>,
}

/// Whole batches of one segment, not copied: the bytes are the segment's memory map, and keep it alive.
#[derive(Clone, Default)]
pub struct Slice {
    /// The batches, one after the other. Empty where there was nothing to give within the bounds.
    pub bytes: Bytes,
    /// Base offset of the first batch, which may lie below the offset asked for; that offset itself if it is empty.
    pub first_offset: i64,
    pub(crate) source: Option<(Map, usize)>,
}

impl Slice {
    /// Reads the pages in, blocking, so that sending the bytes will not wait for the disk. Failure is no harm.
    pub fn populate(&self) {
        if let Some((map, position)) = &self.source {
            map.populate(*position, self.bytes.len());
        }
    }
}

impl std::fmt::Debug for Slice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slice").field("first_offset", &self.first_offset).field("len", &self.bytes.len()).finish()
    }
}
