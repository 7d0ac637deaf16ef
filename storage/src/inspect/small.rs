//! The small files: producer snapshots, checkpoints, epochs, topic ids, identity.

use uuid::Uuid;

use crate::checkpoint::{
    Meta, decode_epoch_lines, decode_meta, decode_offset_lines, decode_partition_metadata, decode_uuid,
    encode_epoch_lines, encode_meta, encode_offsets, encode_partition_metadata, encode_uuid,
};
use crate::producers::{Producers, decode_snapshot, encode_snapshot_for_kafka};

/// One batch that a snapshot remembers of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Sequence number of its last record.
    pub last_sequence: i32,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Offset of its last record less that of its first.
    pub offset_delta: i32,
    /// Its largest timestamp, in ms.
    pub timestamp: i64,
}

/// What a snapshot knows of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotProducer {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Epoch of the transaction coordinator that ended its last transaction; -1 for none.
    pub coordinator_epoch: i32,
    /// When it last wrote, in ms.
    pub last_timestamp: i64,
    /// First offset of its open transaction.
    pub txn_first_offset: Option<i64>,
    /// Its last batches, oldest first. Kafka keeps one.
    pub batches: Vec<ProducerBatch>,
}

/// The producers of a `.snapshot` file, by id; an error says why the file is no use.
pub fn snapshot_producers(bytes: &[u8]) -> Result<Vec<SnapshotProducer>, String> {
    decode_snapshot(bytes).map(|producers| listed(&producers)).map_err(|error| error.to_string())
}

fn listed(producers: &Producers) -> Vec<SnapshotProducer> {
    let mut all: Vec<SnapshotProducer> = producers
        .iter()
        .map(|(producer_id, producer)| SnapshotProducer {
            producer_id,
            epoch: producer.epoch,
            coordinator_epoch: producer.coordinator_epoch,
            last_timestamp: producer.last_timestamp,
            txn_first_offset: producer.txn_first_offset,
            batches: producer
                .batches()
                .map(|batch| ProducerBatch {
                    last_sequence: batch.last_sequence,
                    last_offset: batch.last_offset,
                    offset_delta: batch.offset_delta,
                    timestamp: batch.timestamp,
                })
                .collect(),
        })
        .collect();
    all.sort_unstable_by_key(|producer| producer.producer_id);
    all
}

/// The same snapshot as Kafka writes it: without what we keep behind its entries.
pub fn snapshot_for_kafka(bytes: &[u8]) -> Result<Vec<u8>, String> {
    decode_snapshot(bytes).map(|producers| encode_snapshot_for_kafka(&producers)).map_err(|error| error.to_string())
}

/// Topic, partition and offset of each line of an offset checkpoint, in the file's order.
pub fn checkpoint_entries(bytes: &[u8]) -> Result<Vec<(String, i32, i64)>, String> {
    decode_offset_lines(bytes)
}

/// The file of an offset checkpoint.
pub fn encode_checkpoint<'a>(entries: impl IntoIterator<Item = (&'a str, i32, i64)>) -> Vec<u8> {
    encode_offsets(entries)
}

/// An entry of a `leader-epoch-checkpoint`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: i32,
    /// Its first offset.
    pub start_offset: i64,
}

/// The lines of a `leader-epoch-checkpoint`, in the file's order, whether or not they rise.
pub fn epoch_starts(bytes: &[u8]) -> Result<Vec<EpochStart>, String> {
    let lines = decode_epoch_lines(bytes)?;
    Ok(lines.into_iter().map(|line| EpochStart { epoch: line.epoch, start_offset: line.start_offset }).collect())
}

/// The file of leader epochs.
pub fn encode_epoch_starts(starts: &[EpochStart]) -> Vec<u8> {
    encode_epoch_lines(starts.iter().map(|start| (start.epoch, start.start_offset)))
}

/// The topic id of a `partition.metadata`.
pub fn topic_id_of(bytes: &[u8]) -> Result<Uuid, String> {
    decode_partition_metadata(bytes)
}

/// The file `partition.metadata` of a topic's id.
#[must_use]
pub fn encode_topic_id_file(id: Uuid) -> Vec<u8> {
    encode_partition_metadata(id)
}

/// What `meta.properties` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryMeta {
    /// Id of the cluster.
    pub cluster_id: String,
    /// Id of the node.
    pub node_id: i32,
    /// Id of the directory; nil for one from before directories had ids.
    pub directory_id: Uuid,
}

/// Reads a `meta.properties`.
pub fn directory_meta(bytes: &[u8]) -> Result<DirectoryMeta, String> {
    let Meta { cluster_id, node_id, directory_id } = decode_meta(bytes, Uuid::nil())?;
    Ok(DirectoryMeta { cluster_id, node_id, directory_id })
}

/// The file `meta.properties`.
#[must_use]
pub fn encode_directory_meta(meta: &DirectoryMeta) -> Vec<u8> {
    let DirectoryMeta { cluster_id, node_id, directory_id } = meta.clone();
    encode_meta(&Meta { cluster_id, node_id, directory_id })
}

/// An id as Kafka prints it: 22 characters of base64url.
#[must_use]
pub fn id_to_text(id: Uuid) -> String {
    encode_uuid(id)
}

/// An id from Kafka's text; `None` if it is not one.
#[must_use]
pub fn id_from_text(text: &str) -> Option<Uuid> {
    decode_uuid(text)
}
