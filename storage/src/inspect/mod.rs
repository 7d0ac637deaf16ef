//! Reading the files of a data directory for people and tools: what is there, and whether it is whole. Apache Kafka's
//! files have the same form, and are read as well.
//!
//! Nothing here opens, locks, repairs or changes anything: the caller gives bytes, or a [`ReadAt`] for files too large to
//! hold. Where the broker's own recovery believes or rebuilds, this tells.
//!
//! - `name`: what a file is, by its name. - `batches`: a segment, batch by batch, past damage. - `legacy`: message
//!   formats 0 and 1. - `entries`: the three indexes. - `small`: snapshots, checkpoints, and the other small files.

mod batches;
mod entries;
mod legacy;
mod name;
mod small;

use std::io;

pub use batches::{BatchAt, Check, Damage, Item, SegmentReader};
pub use entries::{
    INDEX_ENTRY_LEN, IndexEntry, TIME_ENTRY_LEN, TXN_ENTRY_LEN, TimeIndexEntry, index_entry, time_entry, txn_entry,
};
pub use legacy::LegacyMessage;
pub use name::{FileKind, partition_dir, segment_file_name};
pub use small::{
    DirectoryMeta, EpochStart, ProducerBatch, SnapshotProducer, checkpoint_entries, directory_meta, encode_checkpoint,
    encode_directory_meta, encode_epoch_starts, encode_topic_id_file, epoch_starts, id_from_text, id_to_text,
    snapshot_for_kafka, snapshot_producers, topic_id_of,
};

/// A file that can be read at any place; never moved, locked or changed by it.
pub trait ReadAt {
    /// Reads up to `buffer.len()` bytes from `position`; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
}

impl ReadAt for &[u8] {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let rest = usize::try_from(position).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}
