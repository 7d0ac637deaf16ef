//! `clean-shutdown-index`: what a start needs to know of every partition that was closed in order, so that it reads one
//! file instead of opening each partition's. Pure: bytes in, values out; `dir` decides whether they are believed.
//!
//! ```text
//! magic u32 | version u16 | crc u32 (CRC-32C of all that follows) | stamp of the clean-shutdown mark | topics u32
//! topic: name (u16 length), id 16 bytes, partitions u32
//! partition: number i32, stamps of its directory and of its active data file, start i64, high watermark i64,
//!            sealed segments u16 (each: base i64, size u32, has transactions u8), base i64, size u32, end i64,
//!            bytes since the last index entry u32, four blobs (u16 length): offset index, time index, epochs, producers
//! stamp: inode u64, time of the last change i64 (ns), length u64
//! ```
//!
//! It can be deleted at any time: the next start is slower, and comes to the same. Partitions that have much to tell
//! are left out of it, and loaded from their own files.

use uuid::Uuid;

use crate::segment::End;

/// The file's name.
pub(crate) const CLOSED_INDEX: &str = "clean-shutdown-index";
/// The longest blob of one partition: an index of that size is better read from its own file.
pub(crate) const BLOB_MAX: usize = 2048;
/// The most sealed segments of a partition that is in the file.
pub(crate) const SEALED_MAX: usize = 1024;

const MAGIC: u32 = 0x4a44_4349;
const VERSION: u16 = 1;
const CRC_AT: usize = 6;
const BODY_AT: usize = 10;

/// What tells a file or directory that nobody touched from one that somebody did. The time of the last change cannot be
/// set by hand, so that a file restored from a copy never has the stamp of the one it replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    pub(crate) inode: u64,
    pub(crate) changed_ns: i64,
    pub(crate) len: u64,
}

/// A sealed segment as it was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClosedSegment {
    pub(crate) base: i64,
    pub(crate) size: u32,
    pub(crate) has_txns: bool,
}

/// A log as it was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClosedLog<'a> {
    pub(crate) partition: i32,
    pub(crate) dir: Stamp,
    pub(crate) data: Stamp,
    pub(crate) start: i64,
    pub(crate) high_watermark: i64,
    pub(crate) sealed: Vec<ClosedSegment>,
    /// Base of the active segment, and where it ends.
    pub(crate) base: i64,
    pub(crate) end: End,
    pub(crate) since_index: u32,
    /// As the files of these names have them.
    pub(crate) index: &'a [u8],
    pub(crate) times: &'a [u8],
    pub(crate) epochs: &'a [u8],
    pub(crate) producers: &'a [u8],
}

/// The logs of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClosedTopic<'a> {
    pub(crate) name: &'a str,
    pub(crate) id: Uuid,
    pub(crate) logs: Vec<ClosedLog<'a>>,
}

/// The file as it is put together.
pub(crate) struct ClosedWriter {
    bytes: Vec<u8>,
    topics_at: usize,
    topics: u32,
    /// Where the count of the last topic's partitions stands, with its name and id.
    last: Option<(usize, u32, String, Uuid)>,
}

impl ClosedWriter {
    pub(crate) fn new(mark: Stamp) -> ClosedWriter {
        let mut bytes = Vec::with_capacity(1 << 16);
        bytes.extend_from_slice(&MAGIC.to_be_bytes());
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        put_stamp(&mut bytes, mark);
        let topics_at = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        ClosedWriter { bytes, topics_at, topics: 0, last: None }
    }

    /// Adds a log; those of a topic come one after the other.
    pub(crate) fn push(&mut self, topic: &str, id: Uuid, log: &ClosedLog<'_>) {
        if self.last.as_ref().is_none_or(|(_, _, name, of)| name != topic || *of != id) {
            self.end_topic();
            put_blob(&mut self.bytes, topic.as_bytes());
            self.bytes.extend_from_slice(id.as_bytes());
            self.last = Some((self.bytes.len(), 0, topic.to_owned(), id));
            self.bytes.extend_from_slice(&[0; 4]);
            self.topics += 1;
        }
        if let Some((_, count, ..)) = &mut self.last {
            *count += 1;
        }
        put_log(&mut self.bytes, log);
    }

    fn end_topic(&mut self) {
        if let Some((at, count, ..)) = self.last.take() {
            self.bytes[at..at + 4].copy_from_slice(&count.to_be_bytes());
        }
    }

    /// The file's bytes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.end_topic();
        self.bytes[self.topics_at..self.topics_at + 4].copy_from_slice(&self.topics.to_be_bytes());
        let crc = jackdaw_protocol::crc::crc32c(&self.bytes[BODY_AT..]);
        self.bytes[CRC_AT..BODY_AT].copy_from_slice(&crc.to_be_bytes());
        self.bytes
    }
}

fn put_stamp(bytes: &mut Vec<u8>, stamp: Stamp) {
    bytes.extend_from_slice(&stamp.inode.to_be_bytes());
    bytes.extend_from_slice(&stamp.changed_ns.to_be_bytes());
    bytes.extend_from_slice(&stamp.len.to_be_bytes());
}

fn put_blob(bytes: &mut Vec<u8>, blob: &[u8]) {
    bytes.extend_from_slice(&(blob.len() as u16).to_be_bytes()); // names and blobs are bounded far below
    bytes.extend_from_slice(blob);
}

fn put_log(bytes: &mut Vec<u8>, log: &ClosedLog<'_>) {
    bytes.extend_from_slice(&log.partition.to_be_bytes());
    put_stamp(bytes, log.dir);
    put_stamp(bytes, log.data);
    bytes.extend_from_slice(&log.start.to_be_bytes());
    bytes.extend_from_slice(&log.high_watermark.to_be_bytes());
    bytes.extend_from_slice(&(log.sealed.len() as u16).to_be_bytes());
    for segment in &log.sealed {
        bytes.extend_from_slice(&segment.base.to_be_bytes());
        bytes.extend_from_slice(&segment.size.to_be_bytes());
        bytes.push(u8::from(segment.has_txns));
    }
    bytes.extend_from_slice(&log.base.to_be_bytes());
    bytes.extend_from_slice(&log.end.size.to_be_bytes());
    bytes.extend_from_slice(&log.end.offset.to_be_bytes());
    bytes.extend_from_slice(&log.since_index.to_be_bytes());
    for blob in [log.index, log.times, log.epochs, log.producers] {
        put_blob(bytes, blob);
    }
}

/// Reads the file: the stamp of the mark it belongs to, and the topics. `None` for anything that is not wholly right.
pub(crate) fn decode_closed(bytes: &[u8]) -> Option<(Stamp, Vec<ClosedTopic<'_>>)> {
    let mut fields = Fields(bytes);
    let (magic, version) = (u32::from_be_bytes(fields.take()?), u16::from_be_bytes(fields.take()?));
    let crc = u32::from_be_bytes(fields.take()?);
    if magic != MAGIC || version != VERSION || crc != jackdaw_protocol::crc::crc32c(fields.0) {
        return None;
    }
    let mark = fields.stamp()?;
    let count = u32::from_be_bytes(fields.take()?);
    let mut topics = Vec::new();
    for _ in 0..count {
        let name = std::str::from_utf8(fields.blob()?).ok()?;
        let id = Uuid::from_bytes(fields.take()?);
        let partitions = u32::from_be_bytes(fields.take()?);
        let logs = (0..partitions).map(|_| fields.log()).collect::<Option<_>>()?;
        topics.push(ClosedTopic { name, id, logs });
    }
    fields.0.is_empty().then_some((mark, topics))
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn offset(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take()?)).filter(|&offset| offset >= 0)
    }

    fn stamp(&mut self) -> Option<Stamp> {
        Some(Stamp {
            inode: u64::from_be_bytes(self.take()?),
            changed_ns: i64::from_be_bytes(self.take()?),
            len: u64::from_be_bytes(self.take()?),
        })
    }

    fn blob(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(u16::from_be_bytes(self.take()?));
        let (blob, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(blob)
    }

    fn log(&mut self) -> Option<ClosedLog<'a>> {
        let partition = i32::from_be_bytes(self.take()?);
        let (dir, data) = (self.stamp()?, self.stamp()?);
        let (start, high_watermark) = (self.offset()?, self.offset()?);
        let count = u16::from_be_bytes(self.take()?);
        let mut sealed: Vec<ClosedSegment> = Vec::new();
        for _ in 0..count {
            let (base, size) = (self.offset()?, u32::from_be_bytes(self.take()?));
            let [has_txns] = self.take()?;
            sealed.push(ClosedSegment { base, size, has_txns: has_txns != 0 });
        }
        let base = self.offset()?;
        let rises = sealed.iter().map(|s| s.base).chain([base]).is_sorted_by(|a, b| a < b);
        let size = u32::from_be_bytes(self.take()?);
        let end = End { size, offset: self.offset().filter(|&end| rises && base <= end)? };
        let since_index = u32::from_be_bytes(self.take()?);
        let (index, times, epochs, producers) = (self.blob()?, self.blob()?, self.blob()?, self.blob()?);
        let (start, high_watermark) = (start.min(end.offset), high_watermark.min(end.offset));
        Some(ClosedLog {
            partition,
            dir,
            data,
            start,
            high_watermark,
            sealed,
            base,
            end,
            since_index,
            index,
            times,
            epochs,
            producers,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a failed test")]
mod tests {
    use super::*;

    fn log(partition: i32) -> ClosedLog<'static> {
        ClosedLog {
            partition,
            dir: Stamp { inode: 7, changed_ns: -3, len: 4096 },
            data: Stamp { inode: 8, changed_ns: i64::MAX, len: 77 },
            start: 3,
            high_watermark: 30,
            sealed: vec![
                ClosedSegment { base: 0, size: 1000, has_txns: false },
                ClosedSegment { base: 9, size: 12, has_txns: true },
            ],
            base: 20,
            end: End { offset: 30, size: 77 },
            since_index: 5,
            index: &[1, 2],
            times: &[],
            epochs: b"0\n0\n",
            producers: &[9; BLOB_MAX],
        }
    }

    fn file() -> Vec<u8> {
        let mut writer = ClosedWriter::new(Stamp { inode: 1, changed_ns: 2, len: 3 });
        writer.push("a", Uuid::from_u128(1), &log(0));
        writer.push("a", Uuid::from_u128(1), &log(1));
        writer.push("b", Uuid::from_u128(2), &log(0));
        writer.finish()
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = file();
        let (mark, topics) = decode_closed(&bytes).unwrap();
        assert_eq!(mark, Stamp { inode: 1, changed_ns: 2, len: 3 });
        assert_eq!(topics.len(), 2);
        assert_eq!((topics[0].name, topics[0].id), ("a", Uuid::from_u128(1)));
        assert_eq!(topics[0].logs, [log(0), log(1)]);
        assert_eq!(topics[1].logs, [log(0)]);
    }

    #[test]
    fn no_other_bytes_are_believed() {
        let bytes = file();
        for len in 0..bytes.len() {
            assert!(decode_closed(&bytes[..len]).is_none(), "{len}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(decode_closed(&flipped).is_none(), "{at}");
        }
    }

    #[test]
    fn counts_that_the_bytes_do_not_hold_reserve_nothing() {
        let mut bytes = file();
        for count in [u32::MAX, 3] {
            let at = BODY_AT + 24;
            bytes[at..at + 4].copy_from_slice(&count.to_be_bytes());
            let crc = jackdaw_protocol::crc::crc32c(&bytes[BODY_AT..]);
            bytes[CRC_AT..BODY_AT].copy_from_slice(&crc.to_be_bytes());
            assert!(decode_closed(&bytes).is_none());
        }
    }
}
