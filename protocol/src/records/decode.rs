//! From a checked batch to its records.

use bytes::Bytes;
use thiserror::Error;

use super::batch::{Batch, BatchError};
use super::compression::{Codec, CompressionError};
use super::record::{Record, RecordError, RecordIter};

/// Why a valid batch does not hold valid records.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The header is wrong.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The records do not decompress.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// A record is malformed.
    #[error("record {index} of the batch: {error}")]
    Record {
        /// Its place in the batch.
        index: usize,
        /// What is wrong.
        error: RecordError,
    },
    /// More or fewer records than the header says.
    #[error("the batch claims {claimed} records and holds {found}{}", if *.found > *.claimed { " or more" } else { "" })]
    Count {
        /// Count in the header.
        claimed: usize,
        /// Count found.
        found: usize,
    },
}

/// The decompressed records of one batch.
#[derive(Debug, Clone)]
pub struct Decoded {
    batch: Batch,
    body: Bytes,
}

/// Decompresses the records of `batch` to at most `cap` bytes. Uncompressed ones are not copied, and have no cap.
pub fn records(batch: &Batch, cap: usize) -> Result<Decoded, DecodeError> {
    let body = match batch.header().codec()? {
        Codec::None => batch.body(),
        codec => codec.decompress(&batch.bytes()[super::HEADER_LEN..], cap)?.into(),
    };
    Ok(Decoded { batch: batch.clone(), body })
}

impl Decoded {
    /// The records in order.
    #[must_use]
    pub fn iter(&self) -> DecodedIter<'_> {
        let claimed = usize::try_from(self.batch.header().record_count()).unwrap_or(0);
        DecodedIter { inner: RecordIter::new(&self.body), claimed, found: 0, failed: false }
    }

    /// The batch they come from.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The decompressed bytes.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The offset of one of its records.
    #[must_use]
    pub fn offset(&self, record: &Record<'_>) -> i64 {
        self.batch.header().base_offset().wrapping_add(i64::from(record.offset_delta))
    }

    /// The timestamp of one of its records: the batch's if that is of type log-append time.
    #[must_use]
    pub fn timestamp(&self, record: &Record<'_>) -> i64 {
        let header = self.batch.header();
        if header.is_log_append_time() {
            header.max_timestamp()
        } else {
            header.base_timestamp().wrapping_add(record.timestamp_delta)
        }
    }
}

impl<'a> IntoIterator for &'a Decoded {
    type Item = Result<Record<'a>, DecodeError>;
    type IntoIter = DecodedIter<'a>;

    fn into_iter(self) -> DecodedIter<'a> {
        self.iter()
    }
}

/// Iterator of [`Decoded::iter`]. Ends after its first error.
#[derive(Debug, Clone)]
pub struct DecodedIter<'a> {
    inner: RecordIter<'a>,
    claimed: usize,
    found: usize,
    failed: bool,
}

impl<'a> Iterator for DecodedIter<'a> {
    type Item = Result<Record<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = match self.inner.next() {
            Some(Ok(record)) if self.found < self.claimed => Ok(record),
            Some(Err(error)) => Err(DecodeError::Record { index: self.found, error }),
            Some(Ok(_)) => Err(DecodeError::Count { claimed: self.claimed, found: self.found + 1 }),
            None if self.found < self.claimed => Err(DecodeError::Count { claimed: self.claimed, found: self.found }),
            None => return None,
        };
        self.found += 1;
        self.failed = item.is_err();
        Some(item)
    }
}
