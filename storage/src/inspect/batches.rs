//! A segment's batches one after the other, sound or not, and past what is damaged to the next that is whole.

use std::io;

use bytes::Bytes;
use jackdaw_protocol::crc::Crc32c;
use jackdaw_protocol::records::{Batch, BatchError, HEADER_LEN, Header, verify_stored};

use super::ReadAt;
use super::legacy::{self, LegacyMessage};

/// Read at once.
const CHUNK: usize = 256 * 1024;
/// A larger batch is checked piece by piece, and its records are not looked into.
const WHOLE_MAX: usize = 128 << 20;
/// What the CRC of a batch covers begins here.
const CRC_FROM: u64 = 21;
const MAGIC_AT: usize = 16;

/// What was found at a place of a segment.
#[derive(Debug)]
pub enum Item {
    /// A batch of the present format (magic 2).
    Batch(BatchAt),
    /// A message of format 0 or 1.
    Legacy(LegacyMessage),
    /// Bytes that are neither.
    Damage(Damage),
}

/// A batch, and where it is.
#[derive(Debug)]
pub struct BatchAt {
    /// Where it begins in the file.
    pub position: u64,
    /// Whether it is what was written.
    pub check: Check,
    head: [u8; HEADER_LEN],
}

impl BatchAt {
    /// Its header, which says nothing reliable where [`BatchAt::check`] is [`Check::Bad`].
    #[must_use]
    pub fn header(&self) -> Header<'_> {
        Header::parse(&self.head).expect("it was parsed when it was found")
    }
}

/// What the check of a batch came to.
#[derive(Debug)]
pub enum Check {
    /// All of it is right.
    Whole(Batch),
    /// All of it is right, and it is too large to be held.
    TooLargeToHold,
    /// It is not.
    Bad(BatchError),
}

/// Bytes that cannot be read as batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where they begin.
    pub position: u64,
    /// Where reading goes on; the end of the file, if nowhere before.
    pub end: u64,
    /// What is wrong at the beginning.
    pub reason: String,
}

/// Reads a segment from its start to its end. What it holds in memory is one batch, and one read's bytes.
pub struct SegmentReader<R> {
    file: R,
    len: u64,
    base: i64,
    position: u64,
    next_offset: i64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl<R: ReadAt> SegmentReader<R> {
    /// A reader of the first `len` bytes of `file`, in which no offset is below `base`.
    pub fn new(file: R, len: u64, base: i64) -> SegmentReader<R> {
        SegmentReader { file, len, base, position: 0, next_offset: base, buffer: Vec::new(), buffer_at: 0 }
    }

    /// The bytes that are read in all.
    #[expect(clippy::len_without_is_empty, reason = "an empty file is nothing special here")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Where the next item begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The offset after the last batch.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// What is next; `None` at the end. An error is the disk's, not the data's.
    #[expect(clippy::should_implement_trait, reason = "an iterator of results would be asked again after an error")]
    pub fn next(&mut self) -> io::Result<Option<Item>> {
        if self.position >= self.len {
            return Ok(None);
        }
        let position = self.position;
        match self.structure_at(position)? {
            Ok(Shape::Batch(head)) => self.batch(position, head),
            Ok(Shape::Legacy(size)) => self.legacy(position, size),
            Err(reason) => self.damage(position, reason),
        }
        .map(Some)
    }

    fn batch(&mut self, position: u64, head: [u8; HEADER_LEN]) -> io::Result<Item> {
        let header = Header::parse(&head).map_err(io::Error::other)?;
        let (size, last) = (header.size_in_bytes(), header.last_offset());
        let end = position + size as u64;
        let check = self.check(position, size)?;
        if let Check::Bad(error) = &check
            && end != self.len
            && self.structure_at(end)?.is_err()
        {
            // Its length may be what is wrong: the next batch can begin anywhere.
            return self.damage(position, error.to_string());
        }
        self.position = end;
        self.next_offset = self.next_offset.max(last.saturating_add(1));
        Ok(Item::Batch(BatchAt { position, check, head }))
    }

    fn legacy(&mut self, position: u64, size: u64) -> io::Result<Item> {
        let bytes = self.bytes(position, size as usize)?;
        match legacy::read(bytes, position).filter(|message| message.is_sound) {
            Some(message) => {
                self.position = position + size;
                self.next_offset = message.offset.saturating_add(1);
                Ok(Item::Legacy(message))
            }
            None => self.damage(position, "a message of format 0 or 1 whose checksum or lengths are wrong".to_owned()),
        }
    }

    fn damage(&mut self, position: u64, reason: String) -> io::Result<Item> {
        let end = self.find_batch(position + 1)?;
        self.position = end;
        Ok(Item::Damage(Damage { position, end, reason }))
    }

    /// Whether something that may stand at `position` begins there.
    fn structure_at(&mut self, position: u64) -> io::Result<Result<Shape, String>> {
        let (base, next, left) = (self.base, self.next_offset, self.len.saturating_sub(position));
        let bytes = self.bytes(position, HEADER_LEN.min(left as usize))?;
        if bytes.iter().all(|&b| b == 0) {
            return Ok(Err("zeros where a batch should begin".to_owned()));
        }
        let header = match Header::parse(bytes) {
            Ok(header) => header,
            Err(error) => {
                let old = legacy::size_of(bytes).filter(|&size| size <= left && size <= WHOLE_MAX as u64);
                return Ok(old.map(Shape::Legacy).ok_or(error.to_string()));
            }
        };
        let (size, first, last) = (header.size_in_bytes() as u64, header.base_offset(), header.last_offset());
        if size > left {
            return Ok(Err(format!("a batch of {size} bytes has {left} bytes left to the end")));
        }
        if first < next || last < first {
            return Ok(Err(format!("offsets {first}..={last} do not follow {}", next.saturating_sub(1))));
        }
        if last.saturating_sub(base) > i64::from(i32::MAX) {
            return Ok(Err(format!("offset {last} is too far from the segment's base {base}")));
        }
        Ok(Ok(Shape::Batch(*header.bytes())))
    }

    fn check(&mut self, position: u64, size: usize) -> io::Result<Check> {
        if size <= WHOLE_MAX {
            let bytes = self.bytes(position, size)?;
            return Ok(match Batch::from_log(Bytes::copy_from_slice(bytes)) {
                Ok(batch) => Check::Whole(batch),
                Err(error) => Check::Bad(error),
            });
        }
        let head = self.bytes(position, HEADER_LEN)?;
        let stored = Header::parse(head).map_err(io::Error::other)?.crc();
        let mut crc = Crc32c::default();
        let (mut at, end) = (position + CRC_FROM, position + size as u64);
        while at < end {
            let piece = self.bytes(at, CHUNK.min((end - at) as usize))?;
            crc.update(piece);
            at += piece.len() as u64;
        }
        let computed = crc.finish();
        Ok(if stored == computed { Check::TooLargeToHold } else { Check::Bad(BatchError::BadCrc { stored, computed }) })
    }

    /// The first place from `from` on where a whole batch begins that may follow; the end of the file if there is none.
    fn find_batch(&mut self, from: u64) -> io::Result<u64> {
        let mut at = from;
        while at + HEADER_LEN as u64 <= self.len {
            let len = CHUNK.min((self.len - at) as usize);
            let window = self.bytes(at, len)?.to_vec();
            for i in 0..=window.len() - HEADER_LEN {
                if window[i + MAGIC_AT] == 2 && self.is_whole_batch(at + i as u64)? {
                    return Ok(at + i as u64);
                }
            }
            at += (window.len() - HEADER_LEN + 1) as u64;
        }
        Ok(self.len)
    }

    fn is_whole_batch(&mut self, position: u64) -> io::Result<bool> {
        let Ok(Shape::Batch(head)) = self.structure_at(position)? else { return Ok(false) };
        let size = Header::parse(&head).map_or(0, |header| header.size_in_bytes());
        Ok(size <= WHOLE_MAX && verify_stored(self.bytes(position, size)?).is_ok())
    }

    /// `len` bytes at `position`, which lie in the file.
    fn bytes(&mut self, position: u64, len: usize) -> io::Result<&[u8]> {
        let have = self.buffer_at..self.buffer_at + self.buffer.len() as u64;
        if position < have.start || position + len as u64 > have.end {
            let wanted = len.max(CHUNK).min(self.len.saturating_sub(position) as usize);
            self.buffer.clear();
            self.buffer.resize(wanted, 0);
            self.buffer_at = position;
            let mut filled = 0;
            while filled < wanted {
                match self.file.read_at(&mut self.buffer[filled..], position + filled as u64)? {
                    0 => break,
                    read => filled += read,
                }
            }
            self.buffer.truncate(filled);
            if filled < len {
                let reason = format!("it ended at byte {} while it was read", position + filled as u64);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
            }
        }
        let at = (position - self.buffer_at) as usize;
        Ok(&self.buffer[at..at + len])
    }
}

enum Shape {
    Batch([u8; HEADER_LEN]),
    /// Of so many bytes.
    Legacy(u64),
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a failed test")]
mod tests {
    use jackdaw_protocol::records::{BatchBuilder, Codec, patched_head};

    use super::*;

    fn batch(offset: i64, value: &[u8]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(1000, None, Some(value), &[]);
        let mut bytes = builder.build().to_vec();
        let head = patched_head(&Header::parse(&bytes).unwrap(), offset, 0);
        bytes[..head.len()].copy_from_slice(&head);
        bytes
    }

    /// Each item as a letter and its position.
    fn items(bytes: &[u8]) -> Vec<(char, u64)> {
        let mut reader = SegmentReader::new(bytes, bytes.len() as u64, 0);
        let mut found = Vec::new();
        while let Some(item) = reader.next().unwrap() {
            found.push(match item {
                Item::Batch(batch) if matches!(batch.check, Check::Whole(_)) => ('b', batch.position),
                Item::Batch(batch) => ('x', batch.position),
                Item::Legacy(message) => ('o', message.position),
                Item::Damage(damage) => ('d', damage.position),
            });
        }
        found
    }

    #[test]
    fn reading_goes_on_behind_a_batch_whose_checksum_is_wrong() {
        let mut file = [batch(0, b"one"), batch(1, b"two"), batch(5, b"three")].concat();
        let len = batch(0, b"one").len() as u64;
        assert_eq!(items(&file), [('b', 0), ('b', len), ('b', 2 * len)]);
        file[len as usize + 70] ^= 1;
        assert_eq!(items(&file), [('b', 0), ('x', len), ('b', 2 * len)]);
    }

    #[test]
    fn reading_goes_on_behind_a_batch_whose_length_is_wrong() {
        let len = batch(0, b"one").len();
        for length in [1u8, 60, 77, 200] {
            let mut file = [batch(0, b"one"), batch(1, b"two"), batch(2, b"six")].concat();
            file[len + 11] = length;
            assert_eq!(items(&file), [('b', 0), ('d', len as u64), ('b', 2 * len as u64)], "{length}");
        }
    }

    #[test]
    fn a_torn_end_is_damage_up_to_the_end_of_the_file() {
        let whole = [batch(0, b"one"), batch(1, b"two")].concat();
        let len = batch(0, b"one").len();
        for cut in len + 1..whole.len() {
            assert_eq!(items(&whole[..cut]), [('b', 0), ('d', len as u64)], "{cut}");
        }
        let preallocated = [&whole[..], &[0; 300_000]].concat();
        assert_eq!(items(&preallocated), [('b', 0), ('b', len as u64), ('d', 2 * len as u64)]);
    }

    #[test]
    fn offsets_that_fall_are_damage() {
        let file = [batch(4, b"one"), batch(3, b"two"), batch(9, b"three")].concat();
        let found: Vec<char> = items(&file).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(found, ['b', 'd', 'b']);
    }

    #[test]
    fn old_messages_stand_beside_batches() {
        let old = legacy::tests::message(0, 1, b"old");
        let file = [old.clone(), legacy::tests::message(1, 0, b"old"), batch(2, b"new")].concat();
        let found: Vec<char> = items(&file).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(found, ['o', 'o', 'b']);
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_stand_still() {
        let whole = [batch(0, b"one"), legacy::tests::message(1, 1, b"old"), batch(2, b"two")].concat();
        for at in 0..whole.len() {
            for value in [0, 1, 2, 0x7f, 0xff] {
                let mut file = whole.clone();
                file[at] = value;
                let found = items(&file);
                assert!(found.windows(2).all(|pair| pair[0].1 < pair[1].1), "byte {at} = {value}: {found:?}");
            }
        }
    }
}
