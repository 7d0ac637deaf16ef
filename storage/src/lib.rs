//! One partition log on one disk, in Kafka's file layout; synchronous, without clock, network or async.
//!
//! # The map, in reading order
//!
//! - `config`, `error`: policy of a log and limits of a directory; one error enum per operation.
//! - `dir`: [`LogDir`], a directory of logs: lock, identity, loading, group flush, checkpoints, clean shutdown.
//! - `log`: [`Log`], the only door to a partition: append, read, lookup by time, flush, cuts at both ends.
//! - `segment`: one data file with its indexes and its map. `index`: the three sparse indexes.
//! - `sketch`: pure. How many different keys a segment has; kept beside it, merged by `log/keys`.
//! - `producers`, `epochs`, `checkpoint`, `closed`: pure. Sequence windows and transactions; leader epochs; the small
//!   files; what a clean start reads instead of all of them.
//! - `recovery`: an untrusted directory becomes a log; the only place that repairs. `walk`: batches by `pread`.
//! - [`inspect`]: files read for people and tools, ours and Kafka's; changes nothing, and opens nothing.
//! - `disk`: the only door to the file system, with the fail-stop latch, the budgets, and what a full disk
//!   means. Beneath it the narrow trait [`FileSystem`], in whose place tests put disks that fail.
//! - `retention`: pure; segments and policy in, segments to drop out. `compaction`: a pure plan, and the rewrite; `swap`
//!   and `log/replace` put its segments in place. `trash`: what waits to be unlinked.
//!
//! # Invariants that every file keeps
//!
//! - A batch that was appended is never changed. Only its base offset and leader epoch (and, with LogAppendTime, the
//!   max timestamp, its type and the CRC) differ from what the producer sent.
//! - Nothing is stored into a map; bytes below a segment's published end never change; a file that may be mapped is
//!   never cut. Truncation makes a new file.
//! - The first failed write or sync takes the directory offline, and nothing is retried. Reads go on.
//! - Want of space is no such failure: what met it is undone, appends are refused until a probe finds room.
//! - No sync happens while the append lock is held.
//! - The recovery point moves only after data, indexes, snapshots and epochs were synced.
//! - Everything but `.log` files can be rebuilt from them.
//! - Reading through a map can end in SIGBUS if the disk cannot read a sector. Recovery and lookups use `pread`.
//!
//! Absent by intent: time (`now_ms` comes in), threads (but for loading), network, and any knowledge of requests.

#![warn(missing_docs)]

mod checkpoint;
mod closed;
mod compaction;
mod config;
mod dir;
#[expect(clippy::disallowed_methods, reason = "this module is the one door to the file system")]
mod disk;
mod epochs;
mod error;
mod index;
pub mod inspect;
mod log;
mod producers;
mod recovery;
mod retention;
mod segment;
mod sketch;
mod swap;
mod trash;
mod walk;

pub use compaction::{CleanerMemory, CompactError, Compacted, CompactionHooks, Dirty, Pace};
pub use config::{LogConfig, LogDirOptions, TimestampType};
pub use dir::{
    DAMAGE_REPORT, DamagedRange, FutureLog, LoadedLog, LogDir, RecoveryProgress, UNFINISHED_IMPORT, cluster_id_of,
    same_directory,
};
pub use disk::{FileSystem, OpenMode, Operation};
pub use error::{AppendError, DeleteRecordsError, OpenError, ReadError, StorageError};
pub use log::{
    AbortedTxn, Append, Appended, Dropped, KeyEstimate, Log, Origin, Outlook, ProducerState, Retained, Slice,
    TimestampOffset,
};
pub use retention::{Hold, Reason};
