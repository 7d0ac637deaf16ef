//! Control records: markers that the broker writes between records, and consumers skip.
//!
//! Key: version i16, type i16. The value of a transaction's end: version i16, coordinator epoch i32.

use bytes::Bytes;
use thiserror::Error;

use super::builder::BatchBuilder;
use super::compression::Codec;
use super::record::Record;

const VERSION: i16 = 0;

/// What a control record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum ControlType {
    /// The transaction was aborted.
    Abort = 0,
    /// The transaction was committed.
    Commit = 1,
    /// A quorum has a new leader (KIP-595).
    LeaderChange = 2,
    /// First record of a metadata snapshot (KIP-630).
    SnapshotHeader = 3,
    /// Last record of a metadata snapshot.
    SnapshotFooter = 4,
    /// Version of the quorum's protocol (KIP-853).
    KraftVersion = 5,
    /// Voters of the quorum.
    KraftVoters = 6,
}

/// Why a control record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ControlError {
    /// No key, or fewer bytes than a version and a type.
    #[error("the key of a control record has {0} bytes, at least 4 are needed")]
    ShortKey(usize),
    /// Fewer bytes than a version and an epoch.
    #[error("the value of a control record has {0} bytes, at least 6 are needed")]
    ShortValue(usize),
    /// A negative version.
    #[error("version {0} of a control record")]
    BadVersion(i16),
}

/// A control record's key, and its value not yet read. An unknown type is not an error: readers skip it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlRecord<'a> {
    /// Type number as stored.
    pub type_id: i16,
    /// What it is, if known.
    pub kind: Option<ControlType>,
    /// The value's bytes.
    pub value: &'a [u8],
}

impl ControlType {
    fn from_id(id: i16) -> Option<ControlType> {
        Some(match id {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            2 => ControlType::LeaderChange,
            3 => ControlType::SnapshotHeader,
            4 => ControlType::SnapshotFooter,
            5 => ControlType::KraftVersion,
            6 => ControlType::KraftVoters,
            _ => return None,
        })
    }
}

impl<'a> ControlRecord<'a> {
    /// Reads a record of a control batch. Later versions only add fields (KIP-98).
    pub fn parse(record: &Record<'a>) -> Result<ControlRecord<'a>, ControlError> {
        let key = record.key.unwrap_or_default();
        let [v0, v1, t0, t1] = *key.first_chunk::<4>().ok_or(ControlError::ShortKey(key.len()))?;
        let version = i16::from_be_bytes([v0, v1]);
        if version < 0 {
            return Err(ControlError::BadVersion(version));
        }
        let type_id = i16::from_be_bytes([t0, t1]);
        Ok(ControlRecord { type_id, kind: ControlType::from_id(type_id), value: record.value.unwrap_or_default() })
    }

    /// The coordinator's epoch in the value of an end of a transaction.
    pub fn coordinator_epoch(&self) -> Result<i32, ControlError> {
        let [v0, v1, e0, e1, e2, e3] =
            *self.value.first_chunk::<6>().ok_or(ControlError::ShortValue(self.value.len()))?;
        let version = i16::from_be_bytes([v0, v1]);
        if version < 0 {
            return Err(ControlError::BadVersion(version));
        }
        Ok(i32::from_be_bytes([e0, e1, e2, e3]))
    }
}

/// The marker that ends a transaction in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTransactionMarker {
    /// Commit or abort.
    pub committed: bool,
    /// Whose transaction.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Epoch of the transaction coordinator, which fences markers of an older one.
    pub coordinator_epoch: i32,
}

impl EndTransactionMarker {
    /// The control batch of the marker: one record, one offset.
    #[must_use]
    pub fn to_batch(&self, timestamp_ms: i64) -> Bytes {
        let kind = if self.committed { ControlType::Commit } else { ControlType::Abort };
        let mut key = [0; 4];
        key[..2].copy_from_slice(&VERSION.to_be_bytes());
        key[2..].copy_from_slice(&(kind as i16).to_be_bytes());
        let mut value = [0; 6];
        value[..2].copy_from_slice(&VERSION.to_be_bytes());
        value[2..].copy_from_slice(&self.coordinator_epoch.to_be_bytes());
        let mut batch = BatchBuilder::new(Codec::None)
            .producer(self.producer_id, self.producer_epoch, -1)
            .transactional(true)
            .control(true);
        batch.push(timestamp_ms, Some(&key), Some(&value), &[]);
        batch.build()
    }
}
