//! One partition log on one disk, in Kafka's file layout; synchronous, without clock, network or async.
//!
//! The map follows in reading order.

#![warn(missing_docs)]

mod config;
mod dir;
mod error;
mod log;

pub use config::{FaultHook, LogConfig, LogDirOptions, TimestampType};
pub use dir::{LogDir, RecoveryProgress};
pub use error::{AppendError, DeleteRecordsError, OpenError, ReadError, StorageError};
pub use log::{AbortedTxn, Append, Appended, Log, Origin, ProducerState, Slice, TimestampOffset};

/// A file operation that changes or syncs something, as the fault hook of [`LogDirOptions`] is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A file or directory is created or opened for writing.
    Create,
    /// Bytes are written.
    Write,
    /// Blocks are reserved.
    Allocate,
    /// A file, a directory or the file system is synced.
    Sync,
    /// A file or directory is renamed.
    Rename,
    /// A file or directory is removed.
    Remove,
    /// A file is cut.
    Truncate,
}
