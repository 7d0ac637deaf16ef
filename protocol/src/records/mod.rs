//! Record batches (magic 2).
//!
//! The broker treats a batch as opaque bytes behind a 61-byte header: [`Batch`] is the proof that header, length and
//! checksum are right. Records are looked into ([`records()`]) only where semantics demand it.

mod batch;
mod builder;
mod compression;
mod control;
mod decode;
mod record;
mod remains;
mod repack;
mod spans;
mod varint;

pub use batch::{
    Batch, BatchError, Batches, HEADER_LEN, Header, LENGTH_END, PATCHED_LEN, patched_head, stamp_log_append_time,
    stamp_producer, verify_produced, verify_stored,
};
pub use builder::BatchBuilder;
pub use compression::{Codec, CompressionError};
pub use control::{ControlError, ControlRecord, ControlType, EndTransactionMarker};
pub use decode::{DecodeError, Decoded, DecodedIter, records};
pub use record::{Record, RecordError, RecordHeader, RecordHeaders, RecordIter};
pub use remains::{Remains, filler};
pub use repack::repack;
pub use spans::{RecordSpan, RecordSpans, write_with_timestamp};

#[cfg(test)]
mod tests;
