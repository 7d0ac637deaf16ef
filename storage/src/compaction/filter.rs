//! One batch in, what stays of it out. Pure, but for the buffers that it keeps from batch to batch, so that no record
//! costs an allocation.
//!
//! Of each key, the record with the offset in the map stays, and all beyond what the map covers. A tombstone stays until
//! the delete horizon of its batch, which the first cleaning that meets it sets (KIP-534). Base offset, last offset,
//! producer and sequence of a batch never change.

use bytes::Bytes;
use jackdaw_protocol::records::{Batch, Codec, HEADER_LEN, Header, RecordSpans, Remains, write_with_timestamp};

use super::map::{KeyHash, KeyMap};
use super::transactions::{Control, Transactions};
use crate::log::transaction_marker;

/// Most bytes that one compressed batch may unfold to.
const DECODED_MAX: usize = 128 << 20;

/// What holds for the whole round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) now_ms: i64,
    pub(crate) delete_retention_ms: i64,
    /// The map knows all keys of the dirty part up to here, this offset included.
    pub(crate) map_covers: i64,
    /// Where cleaning stops. The last batch before it stays, if only its header: the log's offsets shall not end before.
    pub(crate) first_uncleanable_offset: i64,
}

/// What the log knows of a producer: offset of its last batch of records, if it has one, and epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastBatch {
    pub(crate) last_offset: Option<i64>,
    pub(crate) epoch: i16,
}

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes.
    Drop,
    /// It stays as it is, byte for byte.
    Keep,
    /// It is replaced by what was written to the output.
    Replaced,
}

/// A record that was looked at.
#[derive(Debug, Clone, Copy)]
struct Seen {
    start: u32,
    end: u32,
    key: (u32, u32),
    offset_delta: i32,
    timestamp_delta: i64,
    has_key: bool,
    has_value: bool,
    kept: bool,
}

/// What the judge asks, and tells, about a batch.
pub(crate) struct Court<'a> {
    pub(crate) rules: Rules,
    pub(crate) map: &'a KeyMap,
    /// What the log knows of a producer.
    pub(crate) last_batch: &'a dyn Fn(i64) -> Option<LastBatch>,
    /// Told the key of each record that stays.
    pub(crate) on_key: &'a mut dyn FnMut(Option<&[u8]>),
}

/// The filter's buffers, and what it counted.
#[derive(Default)]
pub(crate) struct Filter {
    unpacked: Vec<u8>,
    body: Vec<u8>,
    seen: Vec<Seen>,
    hashes: Vec<KeyHash>,
    found: Vec<i64>,
    pub(crate) records_in: u64,
    pub(crate) records_out: u64,
    /// Records without a key, which a compacted topic should not have: dropped, as Kafka drops them.
    pub(crate) records_without_key: u64,
}

impl Filter {
    /// Counts from 0 again.
    pub(crate) fn reset(&mut self) {
        (self.records_in, self.records_out, self.records_without_key) = (0, 0, 0);
    }

    /// Lets go of memory that only an uncommonly large batch needed.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        self.unpacked.clear();
        self.unpacked.shrink_to(bytes);
        self.body.clear();
        self.body.shrink_to(bytes);
        self.seen.clear();
        self.seen.shrink_to(bytes / size_of::<Seen>());
        self.hashes.clear();
        self.hashes.shrink_to(bytes / size_of::<KeyHash>());
        self.found.clear();
        self.found.shrink_to(bytes / size_of::<i64>());
    }

    /// Judges one batch whose checksum was verified; what replaces it is appended to `out`. An error says what is wrong
    /// with the batch.
    pub(crate) fn judge(
        &mut self,
        bytes: &[u8],
        court: &mut Court<'_>,
        transactions: &mut Transactions,
        out: &mut Vec<u8>,
    ) -> Result<Verdict, String> {
        let header = Header::parse(bytes).map_err(|e| e.to_string())?;
        let rules = court.rules;
        let horizon = header.has_delete_horizon().then(|| header.base_timestamp());
        let is_past_horizon = horizon.is_some_and(|horizon| horizon <= rules.now_ms);
        let records = u64::try_from(header.record_count()).unwrap_or(0);
        self.records_in += records;
        let is_at_end = header.last_offset() + 1 == rules.first_uncleanable_offset;
        let keep_header = is_at_end || is_last_of_producer(&header, court.last_batch);
        if header.is_control() {
            let useless = transactions.control(&header, control_of(bytes, &header)?);
            if records == 0 || (useless && is_past_horizon) {
                return Ok(without_records(&header, keep_header, out));
            }
            self.records_out += records;
            if !useless || horizon.is_some() {
                return Ok(Verdict::Keep);
            }
            self.look(bytes, &header, None)?;
            self.seen.iter_mut().for_each(|seen| seen.kept = true);
            return self.replace(bytes, &header, Some(new_horizon(&rules)), out);
        }
        if transactions.data(&header) || records == 0 {
            return Ok(without_records(&header, keep_header, out));
        }
        self.look(bytes, &header, Some(court.map))?;
        let (kept, has_tombstone) = self.choose(&header, court, is_past_horizon);
        if kept == 0 {
            return Ok(without_records(&header, keep_header, out));
        }
        self.records_out += kept;
        let body = body_of(bytes, &header, &self.unpacked);
        for seen in self.seen.iter().filter(|seen| seen.kept) {
            (court.on_key)(seen.has_key.then(|| &body[seen.key.0 as usize..seen.key.1 as usize]));
        }
        let sets_horizon = has_tombstone && horizon.is_none();
        if kept == records && !sets_horizon {
            return Ok(Verdict::Keep);
        }
        self.replace(bytes, &header, if sets_horizon { Some(new_horizon(&rules)) } else { horizon }, out)
    }

    /// The keys and offsets of the batch's records from offset `from` on, into `keys`. An error says what is wrong with
    /// the batch.
    pub(crate) fn keys(
        &mut self,
        bytes: &[u8],
        from: i64,
        map: &KeyMap,
        keys: &mut Vec<(KeyHash, i64)>,
    ) -> Result<(), String> {
        let header = Header::parse(bytes).map_err(|e| e.to_string())?;
        keys.clear();
        unpack(bytes, &header, &mut self.unpacked)?;
        for span in RecordSpans::new(body_of(bytes, &header, &self.unpacked)) {
            let span = span.map_err(|e| e.to_string())?;
            let offset = header.base_offset() + i64::from(span.offset_delta);
            if let Some(key) = span.key
                && offset >= from
            {
                keys.push((map.hash(key), offset));
            }
        }
        Ok(())
    }

    /// Finds the records of a batch, and the hashes of their keys if there is a map to look them up in.
    fn look(&mut self, bytes: &[u8], header: &Header<'_>, map: Option<&KeyMap>) -> Result<(), String> {
        self.seen.clear();
        self.hashes.clear();
        unpack(bytes, header, &mut self.unpacked)?;
        let mut previous = -1;
        for span in RecordSpans::new(body_of(bytes, header, &self.unpacked)) {
            let span = span.map_err(|e| e.to_string())?;
            if span.offset_delta <= previous || span.offset_delta > header.last_offset_delta() {
                return Err(format!("a record with offset delta {} follows {previous}", span.offset_delta));
            }
            previous = span.offset_delta;
            let key = span.key.unwrap_or_default();
            if let Some(map) = map {
                self.hashes.push(map.hash(key));
            }
            self.seen.push(Seen {
                start: span.start as u32,
                end: span.end as u32,
                key: (span.key_start as u32, (span.key_start + key.len()) as u32),
                offset_delta: span.offset_delta,
                timestamp_delta: span.timestamp_delta,
                has_key: span.key.is_some(),
                has_value: span.has_value,
                kept: false,
            });
        }
        match usize::try_from(header.record_count()) {
            Ok(count) if count == self.seen.len() => Ok(()),
            _ => Err(format!("it claims {} records and holds {}", header.record_count(), self.seen.len())),
        }
    }

    /// Decides about each record; how many stay, and whether a tombstone is among them.
    fn choose(&mut self, header: &Header<'_>, court: &Court<'_>, is_past_horizon: bool) -> (u64, bool) {
        court.map.get_all(&self.hashes, &mut self.found);
        let (mut kept, mut has_tombstone) = (0, false);
        for (seen, &last) in self.seen.iter_mut().zip(&self.found) {
            let offset = header.base_offset() + i64::from(seen.offset_delta);
            seen.kept = if offset > court.rules.map_covers {
                true
            } else if seen.has_key {
                offset >= last && (seen.has_value || !is_past_horizon)
            } else {
                self.records_without_key += 1;
                false
            };
            kept += u64::from(seen.kept);
            has_tombstone |= seen.kept && !seen.has_value;
        }
        (kept, has_tombstone)
    }

    /// Writes the batch with the records that stay. Timestamps count from the horizon, or from the first that stays.
    fn replace(
        &mut self,
        bytes: &[u8],
        header: &Header<'_>,
        horizon: Option<i64>,
        out: &mut Vec<u8>,
    ) -> Result<Verdict, String> {
        let codec = header.codec().map_err(|e| e.to_string())?;
        let body = body_of(bytes, header, &self.unpacked);
        let timestamp = |seen: &Seen| {
            if header.is_log_append_time() {
                header.max_timestamp()
            } else {
                header.base_timestamp().wrapping_add(seen.timestamp_delta)
            }
        };
        let mut kept = self.seen.iter().filter(|seen| seen.kept).peekable();
        let base_timestamp = horizon.or(kept.peek().map(|seen| timestamp(seen))).unwrap_or(-1);
        let max_timestamp = kept.clone().map(timestamp).max().unwrap_or(-1);
        let count = kept.clone().count() as i32;
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_LEN]);
        let target = if codec == Codec::None { &mut *out } else { &mut self.body };
        if codec != Codec::None {
            target.clear();
        }
        if base_timestamp == header.base_timestamp() && !header.is_log_append_time() {
            for run in self.seen.chunk_by(|a, b| a.kept == b.kept).filter(|run| run[0].kept) {
                target.extend_from_slice(&body[run[0].start as usize..run[run.len() - 1].end as usize]);
            }
        } else {
            for seen in kept {
                let record = &body[seen.start as usize..seen.end as usize];
                let delta = timestamp(seen).wrapping_sub(base_timestamp);
                write_with_timestamp(record, delta, target).map_err(|e| e.to_string())?;
            }
        }
        if codec != Codec::None {
            codec.compress_into(&self.body, None, out).map_err(|e| e.to_string())?;
        }
        let has_delete_horizon = horizon.is_some();
        let remains = Remains { codec, base_timestamp, max_timestamp, has_delete_horizon, count };
        let head = header.of_remains(&remains, &out[start + HEADER_LEN..]).ok_or("it would be too long")?;
        out[start..start + HEADER_LEN].copy_from_slice(&head);
        Ok(Verdict::Replaced)
    }
}

fn new_horizon(rules: &Rules) -> i64 {
    rules.now_ms.saturating_add(rules.delete_retention_ms)
}

/// The batch holds a producer's last sequence number, or, if only its marker is known, its epoch.
fn is_last_of_producer(header: &Header<'_>, last_batch: &dyn Fn(i64) -> Option<LastBatch>) -> bool {
    if header.producer_id() < 0 {
        return false;
    }
    last_batch(header.producer_id()).is_some_and(|last| match last.last_offset {
        Some(offset) => header.last_offset() == offset,
        None => header.is_control() && header.producer_epoch() == last.epoch,
    })
}

fn without_records(header: &Header<'_>, keep_header: bool, out: &mut Vec<u8>) -> Verdict {
    if !keep_header {
        return Verdict::Drop;
    }
    if header.size_in_bytes() == HEADER_LEN {
        return Verdict::Keep;
    }
    out.extend_from_slice(&header.emptied());
    Verdict::Replaced
}

/// What a control batch says; [`Control::Other`] of a batch of records.
pub(crate) fn control_of(bytes: &[u8], header: &Header<'_>) -> Result<Control, String> {
    if header.record_count() == 0 {
        return Ok(Control::Empty);
    }
    let batch = Batch::from_log(Bytes::copy_from_slice(bytes)).map_err(|e| e.to_string())?;
    Ok(match transaction_marker(&batch) {
        Some(marker) if marker.abort => Control::Abort,
        Some(_) => Control::Commit,
        None => Control::Other,
    })
}

/// Decompresses the records, where they are compressed, into `unpacked`.
fn unpack(bytes: &[u8], header: &Header<'_>, unpacked: &mut Vec<u8>) -> Result<(), String> {
    match header.codec().map_err(|e| e.to_string())? {
        Codec::None => Ok(()),
        codec => {
            unpacked.clear();
            codec.decompress_into(&bytes[HEADER_LEN..], DECODED_MAX, unpacked).map_err(|e| e.to_string())
        }
    }
}

fn body_of<'a>(bytes: &'a [u8], header: &Header<'_>, unpacked: &'a [u8]) -> &'a [u8] {
    if header.codec() == Ok(Codec::None) { &bytes[HEADER_LEN..] } else { unpacked }
}
