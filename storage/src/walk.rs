//! Walks the batches of a segment file with `pread`: for recovery, lookups by time, and finding the end. Trusts nothing
//! that it reads.

use jackdaw_protocol::records::{HEADER_LEN, Header, verify_stored};

use crate::disk::DataFile;
use crate::error::StorageError;

/// Read at once while batches are small or wanted whole; a quarter MiB is where `pread` costs nothing any more.
const CHUNK: usize = 256 * 1024;
/// Read at once while batches are so large that only their headers are wanted.
const SPARSE_CHUNK: usize = 4 * 1024;

/// Why a walk ended before the end of the file.
#[derive(Debug)]
pub(crate) enum WalkError {
    /// The bytes at `position` are no batch that may follow the one before.
    Bad { position: u64, reason: String },
    /// The disk failed.
    Storage(StorageError),
}

impl From<StorageError> for WalkError {
    fn from(error: StorageError) -> WalkError {
        WalkError::Storage(error)
    }
}

/// How much of a batch the caller wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// The header only; the rest is skipped unread.
    Header,
    /// All of it.
    Whole,
    /// All of it, with the CRC checked.
    Checked,
}

/// One batch: where it is, and as many of its bytes as were wanted.
pub(crate) struct Step<'a> {
    pub(crate) position: u64,
    pub(crate) bytes: &'a [u8],
    pub(crate) header: Header<'a>,
}

/// The walk. Offsets must rise; a batch must lie wholly below `end`.
pub(crate) struct Walker<'a> {
    file: &'a DataFile,
    end: u64,
    position: u64,
    next_offset: i64,
    buffer: Vec<u8>,
    buffer_at: u64,
    last_size: usize,
    /// The last batch was wanted whole: the next ones will be, too.
    last_whole: bool,
    /// Read at once, where every batch is wanted whole; 0 where some may be skipped.
    dense_chunk: usize,
    /// It ended at a batch whose offsets do not follow those before it.
    disorder: bool,
}

impl<'a> Walker<'a> {
    /// Starts at `position`, where a batch of an offset not below `next_offset` is expected.
    pub(crate) fn new(file: &'a DataFile, position: u64, end: u64, next_offset: i64) -> Walker<'a> {
        Walker {
            file,
            end,
            position,
            next_offset,
            buffer: Vec::new(),
            buffer_at: 0,
            last_size: 0,
            last_whole: false,
            dense_chunk: 0,
            disorder: false,
        }
    }

    /// As [`Walker::new`] for a walk that wants every batch whole: reads `chunk` bytes at once, into a buffer that comes
    /// from the walk before, and goes to the next ([`Walker::into_buffer`]).
    pub(crate) fn dense(
        file: &'a DataFile,
        position: u64,
        end: u64,
        next_offset: i64,
        chunk: usize,
        mut buffer: Vec<u8>,
    ) -> Walker<'a> {
        buffer.clear();
        Walker { buffer, dense_chunk: chunk.max(HEADER_LEN), ..Walker::new(file, position, end, next_offset) }
    }

    /// The buffer, for the next walk.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Offset after the last batch.
    pub(crate) fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Whether the walk ended at a batch whose offsets do not follow those before it: one of the two says what is not so,
    /// since no checksum covers a base offset.
    pub(crate) fn is_disorder(&self) -> bool {
        self.disorder
    }

    /// The next batch; `None` at the end.
    pub(crate) fn next(&mut self, want: impl Fn(&Header<'_>) -> Want) -> Result<Option<Step<'_>>, WalkError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let position = self.position;
        let bad = |reason: String| WalkError::Bad { position, reason };
        let left = self.end - position;
        if left < HEADER_LEN as u64 {
            return Err(bad(format!("{left} bytes are less than a batch header")));
        }
        self.fill(HEADER_LEN, false)?;
        let header = Header::parse(self.buffered(HEADER_LEN)).map_err(|e| bad(e.to_string()))?;
        let (size, first, last) = (header.size_in_bytes(), header.base_offset(), header.last_offset());
        if size as u64 > left {
            return Err(bad(format!("a batch of {size} bytes has {left} bytes left to the end")));
        }
        if first < self.next_offset || last < first {
            self.disorder = true;
            return Err(bad(format!("offsets {first}..={last} do not follow {}", self.next_offset - 1)));
        }
        let want = want(&header);
        let shown = if want == Want::Header { HEADER_LEN } else { size };
        self.fill(shown, want == Want::Header)?;
        if want == Want::Checked {
            verify_stored(self.buffered(size)).map_err(|e| bad(e.to_string()))?;
        }
        self.last_size = size;
        self.last_whole = want != Want::Header;
        self.next_offset = last + 1;
        let at = (position - self.buffer_at) as usize;
        self.position = position + size as u64;
        let bytes = &self.buffer[at..at + shown];
        let header = Header::parse(bytes).map_err(|e| bad(e.to_string()))?;
        Ok(Some(Step { position, bytes, header }))
    }

    fn buffered(&self, len: usize) -> &[u8] {
        let at = (self.position - self.buffer_at) as usize;
        &self.buffer[at..at + len]
    }

    /// Makes `len` bytes at the position available. They are below `end`: nothing is reserved that the file has not.
    fn fill(&mut self, len: usize, sparse: bool) -> Result<(), WalkError> {
        let have = self.buffer_at..self.buffer_at + self.buffer.len() as u64;
        if have.contains(&self.position) && self.position + len as u64 <= have.end {
            return Ok(());
        }
        let chunk = match self.dense_chunk {
            0 if sparse || (self.last_size > CHUNK / 4 && !self.last_whole) => SPARSE_CHUNK,
            0 => CHUNK,
            dense => dense,
        };
        let wanted = len.max(chunk).min((self.end - self.position) as usize);
        // What is there of it already stays.
        let kept = if have.contains(&self.position) { (have.end - self.position) as usize } else { 0 };
        let from = self.buffer.len() - kept;
        self.buffer.copy_within(from.., 0);
        self.buffer.resize(wanted, 0);
        self.buffer_at = self.position;
        let read = kept + self.file.read_at(&mut self.buffer[kept..], self.position + kept as u64)?;
        self.buffer.truncate(read);
        if read < len {
            let reason = format!("the file ends at byte {}", self.position + read as u64);
            return Err(WalkError::Bad { position: self.position, reason });
        }
        Ok(())
    }
}
