//! Records as compaction sees them: where each begins and ends, its key, and whether it has a value. The rest of a record
//! is not looked at, and is copied as it is.

use super::record::RecordError;
use super::varint::{len_i32, len_i64, read_i32, read_i64, write_i32, write_i64};

/// One record in the decompressed body of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordSpan<'a> {
    /// Where it begins in the body.
    pub start: usize,
    /// Where the next one begins.
    pub end: usize,
    /// Offset less the batch's base offset.
    pub offset_delta: i32,
    /// Timestamp less the batch's base timestamp, in ms.
    pub timestamp_delta: i64,
    /// Key, if not null.
    pub key: Option<&'a [u8]>,
    /// Where the key begins in the body.
    pub key_start: usize,
    /// Whether the value is not null.
    pub has_value: bool,
}

/// The records of a decompressed body, in their order. Ends after its first error.
#[derive(Debug, Clone)]
pub struct RecordSpans<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> RecordSpans<'a> {
    /// Walks over `body`.
    #[must_use]
    pub fn new(body: &'a [u8]) -> RecordSpans<'a> {
        RecordSpans { body, at: 0 }
    }

    #[inline]
    fn read(&self) -> Result<RecordSpan<'a>, RecordError> {
        let mut rest = &self.body[self.at..];
        let mut fields = sized(&mut rest)?.ok_or(RecordError::BadLength(-1))?;
        let end = self.body.len() - rest.len();
        fields = fields.get(1..).ok_or(RecordError::Overrun { claimed: 1, left: 0 })?; // attributes
        let timestamp_delta = read_i64(&mut fields).ok_or(RecordError::BadVarint)?;
        let offset_delta = read_i32(&mut fields).ok_or(RecordError::BadVarint)?;
        let key = sized(&mut fields)?;
        let key_start = end - fields.len() - key.map_or(0, <[u8]>::len);
        let has_value = sized(&mut fields)?.is_some();
        Ok(RecordSpan { start: self.at, end, offset_delta, timestamp_delta, key, key_start, has_value })
    }
}

impl<'a> Iterator for RecordSpans<'a> {
    type Item = Result<RecordSpan<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.body.len() {
            return None;
        }
        let span = self.read();
        self.at = span.as_ref().map_or(self.body.len(), |span| span.end);
        Some(span)
    }
}

/// Writes the record that `record` holds whole, with its length, under another timestamp delta.
pub fn write_with_timestamp(record: &[u8], timestamp_delta: i64, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let mut fields = record;
    read_i32(&mut fields).ok_or(RecordError::BadVarint)?;
    let (&attributes, mut rest) = fields.split_first().ok_or(RecordError::Overrun { claimed: 1, left: 0 })?;
    read_i64(&mut rest).ok_or(RecordError::BadVarint)?;
    let length = 1 + len_i64(timestamp_delta) + rest.len();
    let claimed = i32::try_from(length).map_err(|_| RecordError::Overrun { claimed: i32::MAX, left: length })?;
    out.reserve(len_i32(claimed) + length);
    write_i32(out, claimed);
    out.push(attributes);
    write_i64(out, timestamp_delta);
    out.extend_from_slice(rest);
    Ok(())
}

/// Takes a varint length and so many bytes; `None` for null.
#[inline]
fn sized<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, RecordError> {
    let claimed = read_i32(rest).ok_or(RecordError::BadVarint)?;
    if claimed == -1 {
        return Ok(None);
    }
    let size = usize::try_from(claimed).map_err(|_| RecordError::BadLength(claimed))?;
    let (taken, left) = rest.split_at_checked(size).ok_or(RecordError::Overrun { claimed, left: rest.len() })?;
    *rest = left;
    Ok(Some(taken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Batch, BatchBuilder, Codec, HEADER_LEN, Record, records};
    use proptest::prelude::*;

    /// Timestamp, key, value.
    type Row = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

    fn body(rows: &[Row]) -> (Batch, Vec<u8>) {
        let mut builder = BatchBuilder::new(Codec::None);
        for (timestamp, key, value) in rows {
            builder.push(*timestamp, key.as_deref(), value.as_deref(), &[("h", Some(b"x")), ("n", None)]);
        }
        let batch = Batch::check(builder.build()).unwrap();
        let body = batch.bytes()[HEADER_LEN..].to_vec();
        (batch, body)
    }

    proptest! {
        #[test]
        fn spans_agree_with_the_decoder_and_survive_another_timestamp(
            rows in prop::collection::vec((0i64..1 << 40, any::<Option<Vec<u8>>>(), any::<Option<Vec<u8>>>()), 1..20),
            shift in any::<i32>(),
        ) {
            let (batch, body) = body(&rows);
            let decoded = records(&batch, 1 << 20).unwrap();
            let whole: Vec<Record<'_>> = decoded.iter().map(Result::unwrap).collect();
            let spans: Vec<_> = RecordSpans::new(&body).map(Result::unwrap).collect();
            prop_assert_eq!(spans.len(), whole.len());
            let mut shifted = Vec::new();
            for (span, record) in spans.iter().zip(&whole) {
                prop_assert_eq!(span.key, record.key);
                let key = span.key.unwrap_or_default();
                prop_assert_eq!(&body[span.key_start..][..key.len()], key);
                prop_assert_eq!(span.has_value, record.value.is_some());
                prop_assert_eq!((span.offset_delta, span.timestamp_delta), (record.offset_delta, record.timestamp_delta));
                let delta = span.timestamp_delta + i64::from(shift);
                write_with_timestamp(&body[span.start..span.end], delta, &mut shifted).unwrap();
            }
            prop_assert_eq!(spans.last().unwrap().end, body.len());
            let back: Vec<_> = RecordSpans::new(&shifted).map(Result::unwrap).collect();
            for (old, new) in spans.iter().zip(&back) {
                prop_assert_eq!(new.timestamp_delta, old.timestamp_delta + i64::from(shift));
                prop_assert_eq!((new.key, new.offset_delta), (old.key, old.offset_delta));
            }
        }

        #[test]
        fn bytes_of_any_kind_end_in_an_error_not_in_a_panic(bytes: Vec<u8>) {
            for span in RecordSpans::new(&bytes).flatten() {
                prop_assert!(span.start < span.end && span.end <= bytes.len());
            }
            let _ = write_with_timestamp(&bytes, 7, &mut Vec::new());
        }
    }
}
