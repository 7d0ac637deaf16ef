//! The file that takes the place of some segments, as it grows. Its name ends in `.cleaned` until it is whole.
//!
//! Nothing is written before the first change: a segment of which everything stays costs its reading only.

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

use jackdaw_protocol::records::Header;

use crate::disk::{DataFile, Disk};
use crate::error::StorageError;
use crate::index::{OffsetIndex, Place, TimeIndex, encode_txns};
use crate::log::AbortedTxn;
use crate::segment::Segment;

/// Written to the disk at the latest after so many bytes: the sync at the end is short, and producers' syncs do not wait
/// behind a mountain of dirty pages.
const SYNC_EVERY: u64 = 32 << 20;

/// Why a batch was not taken.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The segment would be larger than Kafka's 31-bit positions allow.
    TooLarge,
    Storage(StorageError),
}

impl From<StorageError> for WriteError {
    fn from(error: StorageError) -> WriteError {
        WriteError::Storage(error)
    }
}

/// A segment being written.
pub(crate) struct Output {
    disk: Arc<Disk>,
    /// Names the files: the first of the segments that are replaced.
    first: Arc<Segment>,
    /// `None` before the first change.
    file: Option<DataFile>,
    /// Bytes in the file and in the buffer; before the first change, how far the source has been found unchanged.
    size: u64,
    /// Bytes that wait to be written.
    pub(crate) buffer: Vec<u8>,
    buffer_max: usize,
    synced: u64,
    /// The pages are not expected to be read soon.
    is_cold: bool,
    index: OffsetIndex,
    times: TimeIndex,
    since_index: u64,
    interval: u64,
}

/// What was written, whole and on the disk.
pub(crate) struct Written {
    pub(crate) size: u32,
    pub(crate) has_txns: bool,
}

/// The path of a file of `segment` while it is being written.
pub(crate) fn cleaned_path(segment: &Segment, suffix: &str) -> PathBuf {
    segment.path(&format!("{suffix}.cleaned"))
}

impl Output {
    /// A segment that will take the place of `first` and maybe others.
    pub(crate) fn new(
        disk: &Arc<Disk>,
        first: &Arc<Segment>,
        interval: u32,
        buffer: Vec<u8>,
        buffer_max: usize,
    ) -> Output {
        Output {
            disk: Arc::clone(disk),
            first: Arc::clone(first),
            file: None,
            size: 0,
            buffer,
            buffer_max,
            synced: 0,
            is_cold: false,
            index: OffsetIndex::default(),
            times: TimeIndex::default(),
            since_index: 0,
            interval: u64::from(interval),
        }
    }

    /// Whether anything has changed.
    pub(crate) fn is_started(&self) -> bool {
        self.file.is_some()
    }

    /// The source is not in memory: what is written shall not push out what is.
    pub(crate) fn set_cold(&mut self, is_cold: bool) {
        self.is_cold = is_cold;
    }

    /// The first change: creates the file, and copies what has been found unchanged of `source`.
    pub(crate) fn start(&mut self, source: &DataFile) -> Result<(), StorageError> {
        if self.is_started() {
            return Ok(());
        }
        let file = self.disk.open_data(&cleaned_path(&self.first, "log"), true)?;
        let mut position = 0;
        while position < self.size {
            let wanted = (self.size - position).min(self.buffer_max.max(4096) as u64) as usize;
            self.buffer.resize(wanted, 0);
            if source.read_at(&mut self.buffer, position)? < wanted {
                return Err(StorageError::io("read", source.path(), std::io::ErrorKind::UnexpectedEof.into()));
            }
            file.write_all_at(&self.disk, &mut [IoSlice::new(&self.buffer)], position)?;
            position += wanted as u64;
        }
        self.buffer.clear();
        self.file = Some(file);
        Ok(())
    }

    /// A batch of the source that stays as it is.
    pub(crate) fn keep(&mut self, batch: &[u8], header: &Header<'_>) -> Result<(), WriteError> {
        if self.is_started() {
            self.buffer.extend_from_slice(batch);
        }
        self.took(header)
    }

    /// Takes account of a batch whose bytes are at the end of the buffer, or of the unchanged source.
    pub(crate) fn took(&mut self, header: &Header<'_>) -> Result<(), WriteError> {
        let len = header.size_in_bytes() as u64;
        let position = u32::try_from(self.size).map_err(|_| WriteError::TooLarge)?;
        if self.size + len > i32::MAX as u64 {
            return Err(WriteError::TooLarge);
        }
        let relative_offset =
            u32::try_from(header.last_offset() - self.first.base()).map_err(|_| WriteError::TooLarge)?;
        self.times.observe(header.max_timestamp(), relative_offset);
        if self.since_index > self.interval {
            self.index.push(Place { relative_offset, position });
            self.times.mark();
            self.since_index = 0;
        }
        self.since_index += len;
        self.size += len;
        if self.buffer.len() >= self.buffer_max { Ok(self.write()?) } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), StorageError> {
        let Some(file) = &self.file else { return Ok(()) };
        let position = self.size - self.buffer.len() as u64;
        file.write_all_at(&self.disk, &mut [IoSlice::new(&self.buffer)], position)?;
        self.buffer.clear();
        if self.size - self.synced >= SYNC_EVERY { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        let Some(file) = &self.file else { return Ok(()) };
        file.sync(&self.disk)?;
        if self.is_cold {
            file.forget_pages(self.synced, self.size - self.synced);
        }
        self.synced = self.size;
        Ok(())
    }

    /// Brings everything to the disk; `None` if there was no change, and the source stays.
    pub(crate) fn finish(
        mut self,
        txns: &[AbortedTxn],
        last_source: &DataFile,
    ) -> Result<(Option<Written>, Vec<u8>), StorageError> {
        self.write()?;
        let Some(file) = &self.file else { return Ok((None, self.buffer)) };
        file.take_time_of(last_source);
        self.sync()?;
        self.times.mark();
        let write = |suffix: &str, bytes: &[u8]| {
            let path = cleaned_path(&self.first, suffix);
            self.disk.write_file(&path, bytes)?;
            self.disk.sync_path(&path)
        };
        write("index", &self.index.encode())?;
        write("timeindex", &self.times.encode())?;
        if !txns.is_empty() {
            write("txnindex", &encode_txns(txns))?;
        }
        Ok((Some(Written { size: self.size as u32, has_txns: !txns.is_empty() }), self.buffer))
    }
}
