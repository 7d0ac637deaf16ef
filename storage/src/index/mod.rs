//! Sparse indexes of a segment, in Kafka's formats. All are rebuildable from the data.

mod offset;
mod time;
mod txn;

pub(crate) use offset::{OffsetIndex, Place, entries_of, floor_by_offset_in, floor_by_position_in};
pub(crate) use time::{TimeEntry, TimeIndex};
pub(crate) use txn::{decode_txns, encode_txns};
