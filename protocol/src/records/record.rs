//! Records inside of a batch, after decompression.
//!
//! ```text
//! length: varint | attributes: i8 | timestamp delta: varlong | offset delta: varint
//! | key length: varint, key | value length: varint, value | header count: varint, headers
//! header: key length: varint, key | value length: varint, value
//! ```
//!
//! A length of -1 stands for null; header keys are never null.

use thiserror::Error;

use super::varint::{read_i32, read_i64};

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordError {
    /// A varint that has no end.
    #[error("a varint in a record has no end")]
    BadVarint,
    /// A length below -1, or -1 where null is not allowed.
    #[error("a length of {0} in a record")]
    BadLength(i32),
    /// A length that reaches beyond its record or its batch.
    #[error("a length of {claimed} in a record, where {left} bytes are left")]
    Overrun {
        /// The length claimed.
        claimed: i32,
        /// Bytes there.
        left: usize,
    },
    /// A header count that is negative or more than the bytes can hold.
    #[error("{claimed} headers in a record, where {left} bytes are left")]
    BadHeaderCount {
        /// The count claimed.
        claimed: i32,
        /// Bytes there.
        left: usize,
    },
    /// Bytes in a record after its last field.
    #[error("{0} bytes too many in a record")]
    TrailingBytes(usize),
}

/// One record, borrowed from its batch.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Offset less the batch's base offset.
    pub offset_delta: i32,
    /// Timestamp less the batch's base timestamp, in ms.
    pub timestamp_delta: i64,
    /// Key, if not null.
    pub key: Option<&'a [u8]>,
    /// Value; null is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    header_count: i32,
    headers: &'a [u8],
}

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// Key: UTF-8 by convention, but clients in the wild send other bytes.
    pub key: &'a [u8],
    /// Value, if not null.
    pub value: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    /// The headers in order; keys may repeat.
    #[must_use]
    pub fn headers(&self) -> RecordHeaders<'a> {
        RecordHeaders { left: self.header_count, rest: self.headers }
    }

    /// Takes one record off the front of `body`.
    pub(super) fn read(body: &mut &'a [u8]) -> Result<Record<'a>, RecordError> {
        let mut rest = take_sized(body)?.ok_or(RecordError::BadLength(-1))?;
        take(&mut rest, 1)?; // attributes: none are defined
        let timestamp_delta = read_i64(&mut rest).ok_or(RecordError::BadVarint)?;
        let offset_delta = read_i32(&mut rest).ok_or(RecordError::BadVarint)?;
        let key = take_sized(&mut rest)?;
        let value = take_sized(&mut rest)?;
        let header_count = read_i32(&mut rest).ok_or(RecordError::BadVarint)?;
        // Each header takes at least two bytes; walking them here makes `headers` unable to fail.
        if header_count < 0 || header_count as usize > rest.len() / 2 {
            return Err(RecordError::BadHeaderCount { claimed: header_count, left: rest.len() });
        }
        let headers = rest;
        for _ in 0..header_count {
            read_header(&mut rest)?;
        }
        if !rest.is_empty() {
            return Err(RecordError::TrailingBytes(rest.len()));
        }
        Ok(Record { offset_delta, timestamp_delta, key, value, header_count, headers })
    }
}

/// Iterator of [`Record::headers`].
#[derive(Debug, Clone)]
pub struct RecordHeaders<'a> {
    left: i32,
    rest: &'a [u8],
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = RecordHeader<'a>;

    fn next(&mut self) -> Option<RecordHeader<'a>> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        read_header(&mut self.rest).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.left.max(0) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for RecordHeaders<'_> {}

/// Records one after another in decompressed bytes. Ends after its first error.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    rest: &'a [u8],
}

impl<'a> RecordIter<'a> {
    /// Iterates over the decompressed records of one batch.
    #[must_use]
    pub fn new(body: &'a [u8]) -> RecordIter<'a> {
        RecordIter { rest: body }
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = Record::read(&mut self.rest);
        if record.is_err() {
            self.rest = &[];
        }
        Some(record)
    }
}

fn read_header<'a>(rest: &mut &'a [u8]) -> Result<RecordHeader<'a>, RecordError> {
    let key = take_sized(rest)?.ok_or(RecordError::BadLength(-1))?;
    let value = take_sized(rest)?;
    Ok(RecordHeader { key, value })
}

/// Takes a varint length and so many bytes; `None` for null.
#[inline]
fn take_sized<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, RecordError> {
    match read_i32(rest).ok_or(RecordError::BadVarint)? {
        -1 => Ok(None),
        length => take(rest, length).map(Some),
    }
}

#[inline]
fn take<'a>(rest: &mut &'a [u8], length: i32) -> Result<&'a [u8], RecordError> {
    let size = usize::try_from(length).map_err(|_| RecordError::BadLength(length))?;
    let (taken, left) =
        rest.split_at_checked(size).ok_or(RecordError::Overrun { claimed: length, left: rest.len() })?;
    *rest = left;
    Ok(taken)
}
