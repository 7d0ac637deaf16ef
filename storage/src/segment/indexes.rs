//! The indexes of a segment as its readers meet them: in memory while it is active, in files that nobody trusts afterwards.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jackdaw_protocol::records::{HEADER_LEN, Header};

use super::{Mapped, MappedIndex, Segment, clear};
use crate::disk::Map;
use crate::error::StorageError;
use crate::index::{OffsetIndex, Place, TimeIndex, floor_by_offset_in};
use crate::recovery::{check_indexes, fits, leads_to_batch, rebuild_indexes, scan_headers};

impl Segment {
    pub(super) fn map_index(&self) -> Result<MappedIndex, StorageError> {
        self.ensure_indexes()?;
        let path = self.path("index");
        let file = match self.disk.open_read(&path) {
            Ok(file) => file,
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(MappedIndex::Empty),
            Err(error) => return Err(error),
        };
        let len = file.len()? as usize;
        if len == 0 {
            return Ok(MappedIndex::Empty);
        }
        let map = Map::new(&file, len).map_err(|e| StorageError::io("map", &path, e))?;
        Ok(MappedIndex::File(map))
    }

    /// The map, and the last indexed place for which `floor` of the index says so.
    pub(super) fn lookup(
        &self,
        in_memory: impl Fn(&OffsetIndex) -> Place,
        in_file: impl Fn(&[u8]) -> Place,
    ) -> Result<(Arc<Mapped>, u32), StorageError> {
        let mut rebuilt = false;
        loop {
            let memory = self.index.load();
            let mapped = self.map()?;
            let size = self.end().size;
            let place = match (&*memory, &mapped.index) {
                (Some(index), _) => in_memory(index),
                (None, MappedIndex::File(map)) => in_file(map.as_ref()),
                (None, MappedIndex::Empty) => Place::default(),
                (None, MappedIndex::InMemory) => {
                    clear(&self.mapped); // sealed since it was mapped
                    continue;
                }
            };
            let is_right = place.position == 0
                || place.position < size && {
                    let found = &mapped.data[place.position as usize..size as usize];
                    leads_to_batch(self.base, place, found, found.len())
                };
            if is_right {
                return Ok((mapped, place.position));
            }
            if rebuilt {
                return Ok((mapped, 0)); // slow, and right
            }
            self.rebuild_index()?;
            rebuilt = true;
        }
    }

    /// Where the batch that holds `target`, relative to the base, begins by its own entry in an index in memory, above
    /// `position`.
    pub(super) fn place_behind(&self, mapped: &Mapped, position: u32, target: u32) -> Option<u32> {
        let index = self.index.load();
        let place = index.as_ref()?.ceiling_by_offset(target).filter(|place| place.position > position)?;
        let found = mapped.data.get(place.position as usize..self.end().size as usize)?;
        let holds_it = Header::parse(found).is_ok_and(|h| h.base_offset() <= self.base + i64::from(target));
        (holds_it && leads_to_batch(self.base, place, found, found.len())).then_some(place.position)
    }

    /// An entry of the offset index led nowhere.
    fn rebuild_index(&self) -> Result<(), StorageError> {
        let why = "an entry of the offset index leads to no batch";
        let mut times = self.times.lock();
        if self.index.load().is_none() {
            self.replace_indexes(&mut times, why)?;
            clear(&self.mapped);
            return Ok(());
        }
        tracing::warn!(path = %self.path("index").display(), why, "index rebuilt in memory");
        // What is appended meanwhile gets no entry, at most: the writer adds to the old one until the new one is there.
        let (file, size) = (self.open_read()?, self.end().size);
        let scan = scan_headers(self, &file, size, 4096)?;
        self.index.store(Some(Arc::new(scan.index)));
        Ok(())
    }

    /// New index files; where the disk is full, the indexes stay in memory. Under the lock of the time index, so that
    /// one thread does it.
    fn replace_indexes(&self, times: &mut Option<TimeIndex>, why: &str) -> Result<(), StorageError> {
        if let Some((index, new_times)) = rebuild_indexes(&self.disk, self, why)? {
            self.index.store(Some(Arc::new(index)));
            *times = Some(new_times);
        }
        Ok(())
    }

    /// Checks the index files of a segment that was sealed before this start, once.
    fn ensure_indexes(&self) -> Result<(), StorageError> {
        if self.indexes_checked.load(Ordering::Acquire) || !self.sealed.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut times = self.times.lock();
        if !self.indexes_checked.load(Ordering::Acquire) {
            if let Some(why) = check_indexes(&self.disk, self)? {
                self.replace_indexes(&mut times, &why)?;
            }
            self.indexes_checked.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Where a search for the first record of `timestamp` may begin, relative to the base: no record before it is as
    /// young. `None` where all are older.
    pub(crate) fn time_floor(&self, timestamp: i64) -> Result<Option<u32>, StorageError> {
        let look = |times: &mut TimeIndex| (times.largest(), times.floor_entry(timestamp));
        let (largest, entry) = self.with_times(look)?;
        if largest.is_none_or(|largest| largest.timestamp < timestamp) {
            return Ok(None);
        }
        match entry {
            None => Ok(Some(0)),
            Some(entry) if fits(self, entry)? => Ok(Some(entry.relative_offset)),
            Some(_) => {
                if self.sealed.load(Ordering::Acquire) {
                    let why = "an entry of the time index names a batch of another time";
                    self.replace_indexes(&mut self.times.lock(), why)?;
                }
                Ok(Some(0)) // from the start, this time
            }
        }
    }

    /// Position and header facts by offset index, for walks with `pread`: where to start for `offset`.
    pub(crate) fn walk_start(&self, offset: i64) -> Result<u32, StorageError> {
        self.ensure_indexes()?;
        self.unchecked_walk_start(offset)
    }

    /// The same, as the index says. An entry that leads nowhere is noticed here too, and not followed.
    pub(crate) fn unchecked_walk_start(&self, offset: i64) -> Result<u32, StorageError> {
        let target = (offset - self.base).max(0) as u32;
        let place = match &*self.index.load() {
            Some(index) => index.floor_by_offset(target),
            None => floor_by_offset_in(&self.disk.read_file(&self.path("index"))?.unwrap_or_default(), target),
        };
        let size = self.end().size;
        if place.position == 0 || place.position >= size {
            return Ok(0);
        }
        let mut head = [0; HEADER_LEN];
        let read = self.open_read()?.read_at(&mut head, u64::from(place.position))?;
        let left = (size - place.position) as usize;
        Ok(if leads_to_batch(self.base, place, &head[..read], left) { place.position } else { 0 })
    }

    /// Runs `f` on the time index, loaded from its file if need be.
    pub(crate) fn with_times<T>(&self, f: impl FnOnce(&mut TimeIndex) -> T) -> Result<T, StorageError> {
        self.ensure_indexes()?;
        let mut times = self.times.lock();
        if let Some(times) = &mut *times {
            return Ok(f(times));
        }
        let bytes = self.disk.read_file(&self.path("timeindex"))?.unwrap_or_default();
        let mut loaded = TimeIndex::decode(&bytes).unwrap_or_default();
        // Not kept: lookups by time are rare, and the entries of all sealed segments would add up.
        Ok(f(&mut loaded))
    }
}
