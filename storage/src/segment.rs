//! One segment: a data file and its indexes. Knows no other segment.
//!
//! A segment's end is one atomic word (relative end offset and size), stored after the bytes below it were written:
//! whoever loads it may read everything below, without a lock, through the map.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use jackdaw_protocol::records::{HEADER_LEN, Header};
use parking_lot::Mutex;

use crate::disk::{DataFile, Disk, Map, Slot};
use crate::error::StorageError;
use crate::index::{OffsetIndex, Place, TimeIndex, decode_txns, encode_txns, floor_by_offset_in, floor_by_position_in};
use crate::log::AbortedTxn;
use crate::recovery::scan_headers;
use crate::trash::{SEGMENT_FILES, What, deleted_path};

mod indexes;
mod order;

/// The map of a segment, and of its offset index once it is sealed.
pub(crate) struct Mapped {
    data: Bytes,
    map: Map,
    index: MappedIndex,
}

enum MappedIndex {
    /// Mapped while the index was in memory; to be mapped again now that it is not.
    InMemory,
    /// The segment is so small that its index has no entry.
    Empty,
    File(Map),
}

/// Where a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// Offset after the last record.
    pub(crate) offset: i64,
    /// Bytes of the file that hold whole batches.
    pub(crate) size: u32,
}

/// Whole batches found in a segment.
pub(crate) struct Found {
    pub(crate) bytes: Bytes,
    pub(crate) first_offset: i64,
    pub(crate) range: (u32, u32),
    pub(crate) map: Map,
}

/// One segment.
pub(crate) struct Segment {
    base: i64,
    dir: Arc<Path>,
    disk: Arc<Disk>,
    /// Length of the map made while the segment is active: appends never go beyond it.
    capacity: AtomicU32,
    /// `(end offset - base) << 32 | size`.
    end: AtomicU64,
    /// These two come with the first use: most partitions are idle.
    mapped: OnceLock<Arc<Slot<Mapped>>>,
    file: OnceLock<Arc<Slot<DataFile>>>,
    /// While the segment is active. Sealed segments have theirs in the file.
    index: ArcSwapOption<OffsetIndex>,
    /// Loaded when asked for, where the segment is sealed.
    times: Mutex<Option<TimeIndex>>,
    /// Loaded when asked for, where the segment was sealed before.
    txns: Mutex<Option<Vec<AbortedTxn>>>,
    sealed: AtomicBool,
    /// The index files were written, or looked at, since the start.
    indexes_checked: AtomicBool,
    age: Mutex<Age>,
    /// Its files were replaced or removed: nothing may be opened by their names any more.
    gone: AtomicBool,
    /// Number, from 1, of the [`WARM_WINDOW`] that was last found in memory: a reader that goes through the segment
    /// probes it once, not at every fetch.
    warm_window: AtomicU64,
    /// The sketch of its keys lies beside it.
    sketched: AtomicBool,
}

/// When the youngest record of a segment was written, looked up once.
#[derive(Default)]
struct Age {
    /// In ms, for a segment of this size.
    newest: Option<(u32, i64)>,
    /// It was told that it lies in the future.
    told: bool,
}

/// `00000000000000000042.log`, and its siblings.
pub(crate) fn file_name(base: i64, suffix: &str) -> String {
    format!("{base:020}.{suffix}")
}

fn clear<T>(place: &OnceLock<Arc<Slot<T>>>) {
    if let Some(slot) = place.get() {
        slot.clear();
    }
}

fn pack(base: i64, end: End) -> u64 {
    ((end.offset - base) as u64) << 32 | u64::from(end.size)
}

impl Segment {
    /// An active segment, indexes in memory.
    pub(crate) fn active(
        disk: Arc<Disk>,
        dir: Arc<Path>,
        base: i64,
        capacity: u32,
        end: End,
        (index, times, txns): (OffsetIndex, TimeIndex, Vec<AbortedTxn>),
    ) -> Segment {
        Segment {
            base,
            dir,
            disk,
            capacity: AtomicU32::new(capacity.max(end.size).max(1)),
            end: AtomicU64::new(pack(base, end)),
            mapped: OnceLock::new(),
            file: OnceLock::new(),
            index: ArcSwapOption::from_pointee(index),
            times: Mutex::new(Some(times)),
            txns: Mutex::new(Some(txns)),
            sealed: AtomicBool::new(false),
            indexes_checked: AtomicBool::new(false),
            age: Mutex::default(),
            gone: AtomicBool::new(false),
            warm_window: AtomicU64::new(0),
            sketched: AtomicBool::new(false),
        }
    }

    /// A sealed segment, whose indexes are files.
    pub(crate) fn sealed(disk: Arc<Disk>, dir: Arc<Path>, base: i64, end: End, has_txns: bool) -> Segment {
        let segment = Segment::active(disk, dir, base, end.size, end, Default::default());
        segment.index.store(None);
        *segment.times.lock() = None;
        if has_txns {
            *segment.txns.lock() = None;
        }
        segment.sealed.store(true, Ordering::Release);
        segment
    }

    /// The same segment once its directory has another name.
    pub(crate) fn in_directory(&self, dir: Arc<Path>) -> Result<Segment, StorageError> {
        let (disk, end) = (Arc::clone(&self.disk), self.end());
        if self.sealed.load(Ordering::Acquire) {
            return Ok(Segment::sealed(disk, dir, self.base, end, true));
        }
        let index = self.index.load().as_ref().map(|index| OffsetIndex::decode(&index.encode(), end.size));
        let times = self.with_times(|times| times.clone())?;
        let txns = self.with_txns(|txns| txns.clone())?;
        Ok(Segment::active(disk, dir, self.base, self.capacity(), end, (index.unwrap_or_default(), times, txns)))
    }

    pub(crate) fn base(&self) -> i64 {
        self.base
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.capacity.load(Ordering::Acquire)
    }

    /// Takes a changed `segment.bytes` while the segment is empty: nobody has mapped it yet.
    pub(crate) fn set_capacity(&self, capacity: u32) {
        if self.end().size == 0 {
            self.capacity.store(capacity.max(1), Ordering::Release);
        }
    }

    pub(crate) fn end(&self) -> End {
        let end = self.end.load(Ordering::Acquire);
        End { offset: self.base + (end >> 32) as i64, size: end as u32 }
    }

    /// Lets readers see what was written below `end`.
    pub(crate) fn publish(&self, end: End) {
        self.end.store(pack(self.base, end), Ordering::Release);
    }

    pub(crate) fn path(&self, suffix: &str) -> PathBuf {
        self.dir.join(file_name(self.base, suffix))
    }

    /// The data file, open for appends and syncs; opened by name if it is not.
    pub(crate) fn data_file(&self) -> Result<Arc<DataFile>, StorageError> {
        if let Some(file) = self.file.get().and_then(|slot| slot.get()) {
            return Ok(file);
        }
        let file = self.disk.open_data(&self.path("log"), false)?;
        if self.gone.load(Ordering::SeqCst) {
            return Err(self.gone_error());
        }
        Ok(self.disk.files.admit(self.file.get_or_init(Slot::empty), Arc::new(file)))
    }

    /// Takes in the data file just created.
    pub(crate) fn adopt_file(&self, file: DataFile) {
        self.disk.files.admit(self.file.get_or_init(Slot::empty), Arc::new(file));
    }

    /// Keeps the data file open until its bytes are synced, so that no write-back error can be missed.
    pub(crate) fn pin_file(&self, pinned: bool) {
        self.file.get_or_init(Slot::empty).pin(pinned);
    }

    pub(crate) fn close_file(&self) {
        clear(&self.file);
    }

    /// A descriptor of its own for reading with `pread`.
    pub(crate) fn open_read(&self) -> Result<DataFile, StorageError> {
        let file = self.disk.open_read(&self.path("log"))?;
        // Opened before the names changed hands if this is still false: the order that `retire` keeps.
        if self.gone.load(Ordering::SeqCst) {
            return Err(self.gone_error());
        }
        Ok(file)
    }

    /// Declares that the files of this segment's names are about to become another segment's, or nothing. Bytes
    /// already handed out stay readable: their map outlives the name.
    pub(crate) fn retire(&self) {
        self.gone.store(true, Ordering::SeqCst);
        clear(&self.file);
        clear(&self.mapped);
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(crate) fn is_sketched(&self) -> bool {
        self.sketched.load(Ordering::Relaxed)
    }

    pub(crate) fn set_sketched(&self, is_there: bool) {
        self.sketched.store(is_there, Ordering::Relaxed);
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    fn gone_error(&self) -> StorageError {
        StorageError::io("open", &self.path("log"), std::io::ErrorKind::NotFound.into())
    }

    fn map(&self) -> Result<Arc<Mapped>, StorageError> {
        if let Some(mapped) = self.mapped.get().and_then(|slot| slot.get()) {
            return Ok(mapped);
        }
        let sealed = self.sealed.load(Ordering::Acquire);
        let file = self.open_read()?;
        let len = if sealed { self.end().size } else { self.capacity() };
        let path = file.path();
        let map = Map::new(&file, len.max(1) as usize).map_err(|e| StorageError::io("map", path, e))?;
        let index = if !sealed { MappedIndex::InMemory } else { self.map_index()? };
        let mapped = Mapped { data: map.to_bytes(), map, index };
        Ok(self.disk.maps.admit(self.mapped.get_or_init(Slot::empty), Arc::new(mapped)))
    }

    /// Whole batches from the one that holds `offset` (or the first after it) on: at most `max_bytes`, all below
    /// `upper_bound`. With `at_least_one`, the first comes whole even if it is larger. `None` when the segment has no
    /// record at or after `offset`; empty when it has, and the bounds exclude it.
    pub(crate) fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
        upper_bound: i64,
    ) -> Result<Option<Found>, StorageError> {
        let end = self.end();
        if offset >= end.offset || end.size == 0 {
            return Ok(None);
        }
        let target = (offset - self.base).max(0) as u32;
        let (mapped, mut start) =
            self.lookup(|i| i.floor_by_offset(target), |bytes| floor_by_offset_in(bytes, target))?;
        let mut next = self.base;
        let first = loop {
            if start >= end.size {
                return Ok(None);
            }
            let header = self.header_at(&mapped, start, end).and_then(|header| {
                self.check_order(&header, start, next, end)?;
                Ok(header)
            });
            let header = match header {
                Ok(header) => header,
                Err(error) => {
                    // Behind damage, the batch that holds the offset may be the first that is sound again.
                    start = self.place_behind(&mapped, start, target).ok_or(error)?;
                    continue;
                }
            };
            if header.last_offset() >= offset {
                break header;
            }
            next = header.last_offset() + 1;
            start += header.size_in_bytes() as u32;
        };
        let (first_offset, first_size) = (first.base_offset(), first.size_in_bytes());
        if first_offset != next {
            self.check_successor(&mapped, start + first_size as u32, first.last_offset(), end)?;
        }
        if first.last_offset() >= upper_bound || (first_size > max_bytes && !at_least_one) {
            return Ok(Some(Found {
                bytes: Bytes::new(),
                first_offset: offset,
                range: (0, 0),
                map: mapped.map.clone(),
            }));
        }
        let limit = u64::from(start) + max_bytes.max(first_size) as u64;
        let stop = if upper_bound >= end.offset && limit >= u64::from(end.size) {
            end.size
        } else {
            self.stop_of_range(&mapped, start, limit.min(u64::from(end.size)) as u32, upper_bound, end)?
        };
        let bytes = mapped.data.slice(start as usize..stop as usize);
        self.disk.resident.note(&mapped.map, bytes.len());
        Ok(Some(Found { bytes, first_offset, range: (start, stop), map: mapped.map.clone() }))
    }

    /// End of the last whole batch that ends at or below `limit` and lies below `upper_bound`.
    fn stop_of_range(
        &self,
        mapped: &Mapped,
        start: u32,
        limit: u32,
        upper_bound: i64,
        end: End,
    ) -> Result<u32, StorageError> {
        let (_, mut stop) = self.lookup(|i| i.floor_by_position(limit), |bytes| floor_by_position_in(bytes, limit))?;
        if upper_bound < end.offset {
            let last = (upper_bound - 1 - self.base).max(0) as u32;
            let (_, below) = self.lookup(|i| i.floor_by_offset(last), |bytes| floor_by_offset_in(bytes, last))?;
            stop = stop.min(below);
        }
        stop = stop.max(start);
        while stop < limit {
            // Damage ends the range: a read that begins there tells of it. The first batch has been looked at.
            let Ok(header) = self.header_at(mapped, stop, end) else { break };
            let next = u64::from(stop) + header.size_in_bytes() as u64;
            if next > u64::from(limit) || header.last_offset() >= upper_bound {
                break;
            }
            stop = next as u32;
        }
        Ok(stop)
    }

    fn header_at<'a>(&self, mapped: &'a Mapped, position: u32, end: End) -> Result<Header<'a>, StorageError> {
        let bytes = &mapped.data[position as usize..end.size as usize];
        let header = Header::parse(bytes).map_err(|e| self.corrupt(u64::from(position), &e.to_string()))?;
        if header.size_in_bytes() > bytes.len() {
            return Err(self.corrupt(u64::from(position), "a batch reaches beyond the end of the segment"));
        }
        Ok(header)
    }

    pub(crate) fn corrupt(&self, position: u64, reason: &str) -> StorageError {
        StorageError::Corrupt { path: Arc::from(self.path("log")), position, reason: Arc::from(reason) }
    }

    /// Whether the pages where `offset` is, and `max_bytes` further on, are probably not in memory.
    pub(crate) fn is_cold(&self, offset: i64, max_bytes: usize) -> bool {
        let end = self.end();
        let target = (offset - self.base).max(0) as u32;
        let memory = self.index.load();
        // A sealed segment's index is not asked: it may be cold itself. Offsets are taken as evenly spread.
        let start = match &*memory {
            Some(index) => u64::from(index.floor_by_offset(target).position),
            None => u64::from(end.size) * u64::from(target) / ((end.offset - self.base).max(1) as u64),
        };
        if memory.is_some() && u64::from(end.size) - start.min(u64::from(end.size)) <= HOT_TAIL {
            return false;
        }
        let window = start / WARM_WINDOW + 1;
        if self.warm_window.load(Ordering::Relaxed) == window {
            return false;
        }
        let Ok(file) = self.open_read() else { return false };
        let size = u64::from(end.size).saturating_sub(1);
        let last = (start + max_bytes as u64).min(size);
        if [start, start + (last.saturating_sub(start)) / 2, last].iter().any(|&p| !file.is_cached(p)) {
            return true;
        }
        if file.is_cached((window * WARM_WINDOW).min(size)) {
            self.warm_window.store(window, Ordering::Relaxed);
        }
        false
    }

    /// Notes one appended batch in the indexes; the caller decides whether it is time for an entry.
    pub(crate) fn note(&self, times: &mut TimeIndex, place: Place, max_timestamp: i64, add_entry: bool) {
        times.observe(max_timestamp, place.relative_offset);
        if add_entry {
            if let Some(index) = &*self.index.load() {
                index.push(place);
            }
            times.mark();
        }
    }

    pub(crate) fn index_bytes(&self) -> usize {
        self.index.load().as_ref().map_or(0, |index| index.len() * 8)
    }

    /// Runs `f` on the aborted transactions whose marker is in this segment.
    pub(crate) fn with_txns<T>(&self, f: impl FnOnce(&mut Vec<AbortedTxn>) -> T) -> Result<T, StorageError> {
        let mut txns = self.txns.lock();
        if txns.is_none() {
            let bytes = self.disk.read_file(&self.path("txnindex"))?.unwrap_or_default();
            if self.is_gone() {
                return Err(self.gone_error()); // not to be taken for one without aborted transactions
            }
            *txns = Some(decode_txns(&bytes).unwrap_or_default());
        }
        Ok(f(txns.get_or_insert_default()))
    }

    /// Whether a transaction may have been aborted in it.
    pub(crate) fn has_txns(&self) -> bool {
        self.txns.lock().as_ref().is_none_or(|txns| !txns.is_empty())
    }

    /// The index files of an active segment in which no transaction was aborted.
    pub(crate) fn encoded_indexes(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let index = self.index.load();
        let times = self.times.lock();
        if self.has_txns() {
            return None;
        }
        Some((index.as_ref()?.encode(), times.as_ref()?.encode()))
    }

    /// Writes the index files and gives back the blocks reserved beyond the end. Not synced yet.
    pub(crate) fn write_indexes(&self) -> Result<(), StorageError> {
        self.write_index_files()?;
        self.data_file()?.set_len(&self.disk, u64::from(self.end().size))
    }

    pub(crate) fn write_index_files(&self) -> Result<(), StorageError> {
        if let Some(index) = &*self.index.load() {
            self.disk.write_file(&self.path("index"), &index.encode())?;
            let times = self.with_times(|times| {
                times.mark();
                times.encode()
            })?;
            self.disk.write_file(&self.path("timeindex"), &times)?;
            let txns = self.with_txns(|txns| encode_txns(txns))?;
            if txns.is_empty() {
                // One that an earlier life of this segment left would tell of transactions that are no more.
                self.disk.remove_file(&self.path("txnindex"))?;
            } else {
                self.disk.write_file(&self.path("txnindex"), &txns)?;
            }
        }
        Ok(())
    }

    /// Whether its index files are written: until then, it is not to be replaced by another segment of its names.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// No more appends: indexes go to their files and leave memory.
    pub(crate) fn seal(&self) -> Result<(), StorageError> {
        self.write_indexes()?;
        self.mark_sealed();
        Ok(())
    }

    /// The second half of [`Segment::seal`], once the index files are written.
    pub(crate) fn mark_sealed(&self) {
        self.indexes_checked.store(true, Ordering::Release);
        self.sealed.store(true, Ordering::Release);
        clear(&self.mapped); // the next one is as long as the file, and has the index
        self.index.store(None);
        let largest = self.times.lock().take().and_then(|times| times.largest());
        if let Some(largest) = largest {
            self.age.lock().newest = Some((self.end().size, largest.timestamp));
        }
    }

    /// Syncs the index files.
    pub(crate) fn sync_indexes(&self) -> Result<(), StorageError> {
        self.disk.sync_path(&self.path("index"))?;
        self.disk.sync_path(&self.path("timeindex"))?;
        self.disk.sync_path(&self.path("txnindex"))
    }

    /// Removes its files because another segment takes their place: the data first, without which a start does not look
    /// at the others. They wait as those of [`Segment::remove`].
    pub(crate) fn remove_replaced(&self, keep_snapshot: bool, delay_ms: i64) -> Result<(), StorageError> {
        self.retire();
        for suffix in SEGMENT_FILES.into_iter().filter(|suffix| *suffix != "snapshot" || !keep_snapshot) {
            let path = self.path(suffix);
            let waiting = self.disk.set_deleted(&path, &deleted_path(&self.dir, self.base, suffix));
            // A full disk may have no room for another name. It has to go in any case.
            waiting.or_else(|_| self.disk.remove_file(&path))?;
        }
        self.disk.remove_file(&self.path("keys"))?;
        self.disk.trash.add(What::Segment { dir: Arc::clone(&self.dir), base: self.base }, delay_ms);
        Ok(())
    }

    /// Bytes of one of its files; 0 if it is not there.
    pub(crate) fn file_len(&self, suffix: &str) -> u64 {
        self.disk.open_read(&self.path(suffix)).and_then(|file| file.len()).unwrap_or(0)
    }

    /// Removes all its files: they get names that no start reads, and go after `delay_ms` with [`crate::LogDir::purge`].
    pub(crate) fn remove(&self, delay_ms: i64) -> Result<(), StorageError> {
        self.retire();
        // The data first: without it, the others are nothing to a start.
        for suffix in SEGMENT_FILES {
            self.disk.set_deleted(&self.path(suffix), &deleted_path(&self.dir, self.base, suffix))?;
        }
        // What can be made again need not wait.
        self.disk.remove_file(&self.path("keys"))?;
        self.disk.trash.add(What::Segment { dir: Arc::clone(&self.dir), base: self.base }, delay_ms);
        Ok(())
    }

    /// When its youngest record was written, in ms: by its timestamp, or where none has one, by the time of the last
    /// write to the file. The disk is asked once, if at all.
    pub(crate) fn newest_ms(&self) -> Result<i64, StorageError> {
        if let Some(times) = &*self.times.lock()
            && let Some(largest) = times.largest()
        {
            return Ok(largest.timestamp);
        }
        let size = self.end().size;
        if let Some((of_size, newest)) = self.age.lock().newest
            && of_size == size
        {
            return Ok(newest);
        }
        let newest = match self.stored_largest()? {
            Some(timestamp) => timestamp,
            None => self.disk.modified_ms(&self.path("log"))?,
        };
        self.age.lock().newest = Some((size, newest));
        Ok(newest)
    }

    /// The last entry of a sealed segment's time index; `None` where no record has a timestamp.
    fn stored_largest(&self) -> Result<Option<i64>, StorageError> {
        if !self.sealed.load(Ordering::Acquire) {
            return Ok(None); // its index is in memory, and empty
        }
        let mut head = [0; HEADER_LEN];
        self.open_read()?.read_at(&mut head, 0)?;
        let first = Header::parse(&head).map_or(-1, |header| header.max_timestamp());
        let stored = match self.disk.open_read(&self.path("timeindex")) {
            Ok(file) => TimeIndex::last_in(&file)?,
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => None,
            Err(error) => return Err(error),
        };
        if stored.is_some_and(|stored| stored >= first) || (stored.is_none() && first < 0) {
            return Ok(stored);
        }
        // The index cannot be this file's: records must not go by what it says.
        let scan = scan_headers(self, &self.open_read()?, self.end().size, u64::MAX)?;
        Ok(scan.times.largest().map(|largest| largest.timestamp))
    }

    /// Whether nobody has been told yet that it holds timestamps of the future.
    pub(crate) fn tell_future_once(&self) -> bool {
        !std::mem::replace(&mut self.age.lock().told, true)
    }
}

/// What was appended last is in the page cache: no need to ask the kernel.
const HOT_TAIL: u64 = 64 << 20;

/// Bytes that one probe of the page cache speaks for.
const WARM_WINDOW: u64 = 4 << 20;
