//! Files of entries: the three indexes, snapshots, and the small text files.

use std::path::Path;

use jackdaw_storage::inspect::{
    self, INDEX_ENTRY_LEN, ReadAt, TIME_ENTRY_LEN, TXN_ENTRY_LEN, id_to_text, index_entry, time_entry, txn_entry,
};
use serde_json::json;

use super::printer::{DumpError, Printer};
use crate::log::files::{self, FileError, OnDisk, time};

type Printed = Result<(), DumpError>;

/// Entries read at once.
const ENTRIES: usize = 4096;

/// Gives each entry of `N` bytes with its position to `take`, which says whether to go on; names what is left over.
pub(in crate::log) fn each_entry<const N: usize, E: From<FileError>>(
    path: &Path,
    mut take: impl FnMut(u64, &[u8; N]) -> Result<bool, E>,
) -> Result<Option<(u64, String)>, E> {
    let file = OnDisk::open(path)?;
    let mut buffer = vec![0; ENTRIES * N];
    let mut position = 0;
    while position < file.len {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = file.read_at(&mut buffer[filled..], position + filled as u64);
            match read.map_err(FileError::new("read", path))? {
                0 => break,
                read => filled += read,
            }
        }
        let (entries, rest) = buffer[..filled].as_chunks::<N>();
        for entry in entries {
            if !take(position, entry)? {
                return Ok(None);
            }
            position += N as u64;
        }
        if !rest.is_empty() {
            return Ok(Some((position, format!("{} bytes are no whole entry of {N}", rest.len()))));
        }
        if filled == 0 {
            break;
        }
    }
    Ok(None)
}

/// The end of an index that was made as large as it may become, and not cut since.
fn preallocated(position: u64, path: &Path, printer: &mut Printer) -> Printed {
    let zeros = OnDisk::open(path)?.len.saturating_sub(position);
    let text = format!("zeros from byte {position} on ({zeros} bytes): reserved, not cut by a clean stop");
    printer.note(&text, json!({"reserved_from": position, "reserved_bytes": zeros}))
}

pub(super) fn offset_index(path: &Path, base: i64, printer: &mut Printer) -> Printed {
    let mut last: Option<inspect::IndexEntry> = None;
    let mut zeros_at = None;
    printer.heading(&format!("{:>20}  {:>12}", "OFFSET", "POSITION"))?;
    let torn = each_entry::<INDEX_ENTRY_LEN, DumpError>(path, |at, bytes| {
        let entry = index_entry(bytes);
        if at > 0 && bytes.iter().all(|&b| b == 0) {
            zeros_at = Some(at);
            return Ok(false);
        }
        let offset = base.saturating_add(i64::from(entry.relative_offset));
        let fields = json!({"offset": offset, "position": entry.position});
        printer.entry("offset_index_entry", fields, || format!("{offset:>20}  {:>12}", entry.position))?;
        if last.is_some_and(|l| l.relative_offset >= entry.relative_offset || l.position >= entry.position) {
            printer.damage(Some(at), None, "this entry does not rise above the one before")?;
        }
        last = Some(entry);
        Ok(true)
    })?;
    zeros_at.map_or(Ok(()), |at| preallocated(at, path, printer))?;
    torn.map_or(Ok(()), |(at, reason)| printer.damage(Some(at), None, &reason))
}

pub(super) fn time_index(path: &Path, base: i64, printer: &mut Printer) -> Printed {
    let mut last: Option<inspect::TimeIndexEntry> = None;
    let mut zeros_at = None;
    printer.heading(&format!("{:<24}  {:>20}", "TIMESTAMP", "OFFSET"))?;
    let torn = each_entry::<TIME_ENTRY_LEN, DumpError>(path, |at, bytes| {
        let entry = time_entry(bytes);
        if at > 0 && bytes.iter().all(|&b| b == 0) {
            zeros_at = Some(at);
            return Ok(false);
        }
        let offset = base.saturating_add(i64::from(entry.relative_offset));
        let fields = json!({"timestamp": entry.timestamp, "offset": offset});
        printer.entry("time_index_entry", fields, || format!("{:<24}  {offset:>20}", time(entry.timestamp)))?;
        // Kafka may write the last entry of a segment twice when it seals it.
        if last.is_some_and(|l| l.timestamp > entry.timestamp || l.relative_offset > entry.relative_offset) {
            printer.damage(Some(at), None, "this entry lies below the one before")?;
        }
        last = Some(entry);
        Ok(true)
    })?;
    zeros_at.map_or(Ok(()), |at| preallocated(at, path, printer))?;
    torn.map_or(Ok(()), |(at, reason)| printer.damage(Some(at), None, &reason))
}

pub(super) fn txn_index(path: &Path, printer: &mut Printer) -> Printed {
    printer.heading(&format!("{:>12}  {:>14}  {:>14}  {:>14}", "PRODUCER", "FIRST", "MARKER", "LAST STABLE"))?;
    let torn = each_entry::<TXN_ENTRY_LEN, DumpError>(path, |at, bytes| {
        let Some(txn) = txn_entry(bytes) else {
            printer.damage(Some(at), None, "an entry of an unknown version")?;
            return Ok(true);
        };
        let fields = json!({
            "producer_id": txn.producer_id, "first_offset": txn.first_offset,
            "last_offset": txn.last_offset, "last_stable_offset": txn.last_stable_offset,
        });
        printer.entry("aborted_transaction", fields, || {
            let (first, last, stable) = (txn.first_offset, txn.last_offset, txn.last_stable_offset);
            format!("{:>12}  {first:>14}  {last:>14}  {stable:>14}", txn.producer_id)
        })?;
        Ok(true)
    })?;
    torn.map_or(Ok(()), |(at, reason)| printer.damage(Some(at), None, &reason))
}

pub(super) fn whole(path: &Path) -> Result<Vec<u8>, FileError> {
    let gone = || FileError::new("read", path)(std::io::ErrorKind::NotFound.into());
    files::small(path)?.ok_or_else(gone)
}

pub(super) fn producers(path: &Path, offset: i64, printer: &mut Printer) -> Printed {
    let producers = match inspect::snapshot_producers(&whole(path)?) {
        Ok(producers) => producers,
        Err(reason) => return printer.damage(None, None, &reason),
    };
    let count = producers.len();
    let text = format!("{count} producers when the log ended at offset {offset}");
    printer.note(&text, json!({"producers": count, "offset": offset}))?;
    for producer in producers {
        let batches = producer.batches.iter().map(|batch| {
            json!({
                "last_sequence": batch.last_sequence, "last_offset": batch.last_offset,
                "offset_delta": batch.offset_delta, "timestamp": batch.timestamp,
            })
        });
        let batches: Vec<_> = batches.collect();
        let fields = json!({
            "producer_id": producer.producer_id, "epoch": producer.epoch,
            "coordinator_epoch": producer.coordinator_epoch, "last_timestamp": producer.last_timestamp,
            "transaction_first_offset": producer.txn_first_offset, "batches": batches,
        });
        printer.entry("producer", fields, || {
            let last = producer.batches.last();
            let txn = producer.txn_first_offset.map_or(String::new(), |first| format!(", transaction open from {first}"));
            format!(
                "producer {} epoch {}: last sequence {}, last offset {}, {} batches kept, last wrote {}, coordinator epoch {}{txn}",
                producer.producer_id,
                producer.epoch,
                last.map_or(-1, |batch| batch.last_sequence),
                last.map_or(-1, |batch| batch.last_offset),
                producer.batches.len(),
                time(producer.last_timestamp),
                producer.coordinator_epoch,
            )
        })?;
    }
    Ok(())
}

pub(super) fn epochs(path: &Path, printer: &mut Printer) -> Printed {
    let starts = match inspect::epoch_starts(&whole(path)?) {
        Ok(starts) => starts,
        Err(reason) => return printer.damage(None, None, &reason),
    };
    for (i, start) in starts.iter().enumerate() {
        let fields = json!({"epoch": start.epoch, "start_offset": start.start_offset});
        printer
            .entry("leader_epoch", fields, || format!("epoch {} from offset {}", start.epoch, start.start_offset))?;
        let falls =
            |before: &inspect::EpochStart| before.epoch >= start.epoch || before.start_offset > start.start_offset;
        if i.checked_sub(1).and_then(|i| starts.get(i)).is_some_and(falls) {
            printer.damage(None, None, &format!("epoch {} does not follow the one before", start.epoch))?;
        }
    }
    Ok(())
}

pub(super) fn offsets(path: &Path, printer: &mut Printer) -> Printed {
    let bytes = whole(path)?;
    if bytes.is_empty() {
        return printer.note("nothing yet", json!({}));
    }
    let entries = match inspect::checkpoint_entries(&bytes) {
        Ok(entries) => entries,
        Err(reason) => return printer.damage(None, None, &reason),
    };
    for (topic, partition, offset) in entries {
        let fields = json!({"topic": topic, "partition": partition, "offset": offset});
        printer.entry("checkpoint", fields, || format!("{topic}-{partition}  {offset}"))?;
    }
    Ok(())
}

pub(super) fn partition_metadata(path: &Path, printer: &mut Printer) -> Printed {
    match inspect::topic_id_of(&whole(path)?) {
        Ok(id) => {
            let text = format!("topic id {} ({id})", id_to_text(id));
            printer.note(&text, json!({"topic_id": id_to_text(id), "topic_uuid": id.to_string()}))
        }
        Err(reason) => printer.damage(None, None, &reason),
    }
}

pub(super) fn meta_properties(path: &Path, printer: &mut Printer) -> Printed {
    match inspect::directory_meta(&whole(path)?) {
        Ok(meta) => {
            let directory = if meta.directory_id.is_nil() { "none".to_owned() } else { id_to_text(meta.directory_id) };
            let text = format!("node {} of cluster {}, directory id {directory}", meta.node_id, meta.cluster_id);
            let fields = json!({
                "cluster_id": meta.cluster_id, "node_id": meta.node_id, "directory_id": id_to_text(meta.directory_id),
            });
            printer.note(&text, fields)
        }
        Err(reason) => printer.damage(None, None, &reason),
    }
}

pub(super) fn quorum_state(path: &Path, printer: &mut Printer) -> Printed {
    match serde_json::from_slice::<serde_json::Value>(&whole(path)?) {
        Ok(state) => {
            let text = state.to_string();
            printer.note(&text, json!({"quorum_state": state}))
        }
        Err(error) => printer.damage(None, None, &error.to_string()),
    }
}
