//! Index files against the batches of their segment, both read once from front to back.

use std::path::{Path, PathBuf};

use jackdaw_protocol::records::Header;
use jackdaw_storage::AbortedTxn;
use jackdaw_storage::inspect::{
    INDEX_ENTRY_LEN, IndexEntry, ReadAt, TIME_ENTRY_LEN, TXN_ENTRY_LEN, TimeIndexEntry, index_entry, segment_file_name,
    time_entry, txn_entry,
};

use super::report::{Kind, PartitionReport};
use crate::log::files::{FileError, OnDisk};

/// The entries of one file in order; their number is what is remembered of them.
struct Entries<const N: usize> {
    path: PathBuf,
    file: Option<OnDisk>,
    buffer: Vec<u8>,
    /// Of the buffer.
    at: usize,
    /// In the file.
    position: u64,
}

impl<const N: usize> Entries<N> {
    fn open(path: PathBuf, report: &mut PartitionReport) -> Entries<N> {
        let file = match OnDisk::open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                report.found(Kind::Unread, &path, None, error.to_string());
                None
            }
        };
        if let Some(left) = file.as_ref().map(|file| file.len % N as u64).filter(|&left| left > 0) {
            report.damage(&path, None, format!("its last {left} bytes are no whole entry of {N}"));
        }
        Entries { path, file, buffer: Vec::new(), at: 0, position: 0 }
    }

    fn is_there(&self) -> bool {
        self.file.is_some()
    }

    /// The next entry with its position. Zeros behind the first entry are space that was reserved.
    fn next(&mut self) -> Result<Option<(u64, [u8; N])>, FileError> {
        let Some(file) = &self.file else { return Ok(None) };
        if self.at + N > self.buffer.len() {
            self.buffer.resize(N * 4096, 0);
            let mut filled = 0;
            while filled < self.buffer.len() {
                let read = file.read_at(&mut self.buffer[filled..], self.position + filled as u64);
                match read.map_err(FileError::new("read", &self.path))? {
                    0 => break,
                    read => filled += read,
                }
            }
            self.buffer.truncate(filled);
            self.at = 0;
        }
        let Some(entry) = self.buffer.get(self.at..).and_then(|rest| rest.first_chunk::<N>()) else { return Ok(None) };
        let (position, entry) = (self.position, *entry);
        if position > 0 && entry == [0; N] {
            return Ok(None);
        }
        self.at += N;
        self.position += N as u64;
        Ok(Some((position, entry)))
    }
}

/// The three indexes of a segment, held against its batches as they come.
pub(super) struct Indexes {
    base: i64,
    offsets: Entries<INDEX_ENTRY_LEN>,
    times: Entries<TIME_ENTRY_LEN>,
    txns: Entries<TXN_ENTRY_LEN>,
    next_offset: Option<(u64, IndexEntry)>,
    next_time: Option<(u64, TimeIndexEntry)>,
    next_txn: Option<(u64, AbortedTxn)>,
    /// Of the batches so far; -1 before the first.
    last_offset: i64,
    largest: i64,
    last_time: Option<i64>,
    /// One wrong entry is told; those behind it are wrong for the same reason.
    offsets_wrong: bool,
    times_wrong: bool,
}

impl Indexes {
    pub(super) fn open(dir: &Path, base: i64, report: &mut PartitionReport) -> Result<Indexes, FileError> {
        let path = |suffix: &str| dir.join(segment_file_name(base, suffix));
        let mut indexes = Indexes {
            base,
            offsets: Entries::open(path("index"), report),
            times: Entries::open(path("timeindex"), report),
            txns: Entries::open(path("txnindex"), report),
            next_offset: None,
            next_time: None,
            next_txn: None,
            last_offset: base - 1,
            largest: -1,
            last_time: None,
            offsets_wrong: false,
            times_wrong: false,
        };
        indexes.advance_offset()?;
        indexes.advance_time()?;
        indexes.advance_txn(report)?;
        Ok(indexes)
    }

    fn advance_offset(&mut self) -> Result<(), FileError> {
        self.next_offset = self.offsets.next()?.map(|(at, bytes)| (at, index_entry(&bytes)));
        Ok(())
    }

    fn advance_time(&mut self) -> Result<(), FileError> {
        self.next_time = self.times.next()?.map(|(at, bytes)| (at, time_entry(&bytes)));
        Ok(())
    }

    fn advance_txn(&mut self, report: &mut PartitionReport) -> Result<(), FileError> {
        self.next_txn = None;
        while let Some((at, bytes)) = self.txns.next()? {
            if let Some(txn) = txn_entry(&bytes) {
                self.next_txn = Some((at, txn));
                return Ok(());
            }
            report.damage(&self.txns.path, Some(at), "an entry of an unknown version");
        }
        Ok(())
    }

    /// Holds the entries that concern this batch against it.
    pub(super) fn batch(
        &mut self,
        position: u64,
        header: &Header<'_>,
        report: &mut PartitionReport,
    ) -> Result<(), FileError> {
        self.check_offsets(position, report)?;
        self.check_times(header, report)?;
        self.check_txns(header, report)?;
        self.last_offset = header.last_offset();
        self.largest = self.largest.max(header.max_timestamp());
        Ok(())
    }

    fn check_offsets(&mut self, position: u64, report: &mut PartitionReport) -> Result<(), FileError> {
        while let Some((at, entry)) = self.next_offset.filter(|(_, entry)| u64::from(entry.position) <= position) {
            let offset = self.base.saturating_add(i64::from(entry.relative_offset));
            if u64::from(entry.position) < position {
                self.wrong_offset(at, format!("points to byte {}, where no batch begins", entry.position), report);
            } else if offset <= self.last_offset {
                let text = format!("says that offset {offset} begins at byte {position}, and it lies before");
                self.wrong_offset(at, text, report);
            }
            self.advance_offset()?;
        }
        Ok(())
    }

    fn wrong_offset(&mut self, at: u64, what: String, report: &mut PartitionReport) {
        if !std::mem::replace(&mut self.offsets_wrong, true) {
            report.damage(&self.offsets.path, Some(at), what);
        }
    }

    /// An entry says: the batch of this offset brought the largest timestamp up to there.
    fn check_times(&mut self, header: &Header<'_>, report: &mut PartitionReport) -> Result<(), FileError> {
        let last = header.last_offset();
        while let Some((at, entry)) = self.next_time {
            let offset = self.base.saturating_add(i64::from(entry.relative_offset));
            if offset > last {
                break;
            }
            let so_far = self.largest.max(header.max_timestamp());
            if entry.timestamp != so_far {
                let text = format!(
                    "says that {} is the largest timestamp up to offset {offset}, and that is {so_far}",
                    entry.timestamp
                );
                self.wrong_time(at, text, report);
            }
            self.last_time = Some(entry.timestamp);
            self.advance_time()?;
        }
        Ok(())
    }

    fn wrong_time(&mut self, at: u64, what: String, report: &mut PartitionReport) {
        if !std::mem::replace(&mut self.times_wrong, true) {
            report.damage(&self.times.path, Some(at), what);
        }
    }

    /// An aborted transaction ends with its marker.
    fn check_txns(&mut self, header: &Header<'_>, report: &mut PartitionReport) -> Result<(), FileError> {
        while let Some((at, txn)) = self.next_txn.filter(|(_, txn)| txn.last_offset <= header.last_offset()) {
            let is_marker = header.is_control() && header.producer_id() == txn.producer_id;
            if !is_marker || txn.last_offset < header.base_offset() || txn.first_offset > txn.last_offset {
                let text = format!("no marker of producer {} at offset {}", txn.producer_id, txn.last_offset);
                report.damage(&self.txns.path, Some(at), text);
            }
            self.advance_txn(report)?;
        }
        Ok(())
    }

    /// What is left when the segment has ended. Of the active one, the last entry of the time index may be missing.
    pub(super) fn finish(
        &mut self,
        size: u64,
        is_sealed: bool,
        is_settled: bool,
        report: &mut PartitionReport,
    ) -> Result<(), FileError> {
        // An index of a segment that is written to may be ahead of what was seen of it.
        if is_sealed || is_settled {
            if let Some((at, entry)) = self.next_offset {
                let text = format!("points to byte {}, the segment has {size}", entry.position);
                self.wrong_offset(at, text, report);
            }
            if let Some((at, entry)) = self.next_time.filter(|(at, entry)| *at > 0 || entry.timestamp > 0) {
                let offset = self.base.saturating_add(i64::from(entry.relative_offset));
                self.wrong_time(at, format!("points to offset {offset}, the last is {}", self.last_offset), report);
            }
            if let Some((at, txn)) = self.next_txn {
                report.damage(
                    &self.txns.path,
                    Some(at),
                    format!("points to offset {}, behind the end", txn.last_offset),
                );
            }
        }
        if size > 0 && is_sealed {
            for (path, is_there) in
                [(&self.offsets.path, self.offsets.is_there()), (&self.times.path, self.times.is_there())]
            {
                if !is_there {
                    report.note(path, "is missing; the next start makes it anew");
                }
            }
            let largest = self.largest;
            if self.times.is_there() && largest >= 0 && self.last_time.is_none_or(|last| last < largest) {
                let text = format!("does not have the largest timestamp of the segment, {largest}");
                self.wrong_time(self.times.position, text, report);
            }
        }
        Ok(())
    }
}
