//! A log on a disk that loses what was not synced.

use jackdaw_broker::replication::follower::EndOfLog;

/// One record: the leader epoch it was appended in, and a number that no other record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) epoch: i32,
    pub(crate) value: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) entries: Vec<Entry>,
    /// So many of them are on the disk.
    pub(crate) synced: usize,
}

impl Log {
    /// Cuts at an offset; a cut is on the disk before anything is appended behind it.
    pub(crate) fn truncate(&mut self, offset: i64) {
        self.entries.truncate(usize::try_from(offset).unwrap_or(0));
        self.synced = self.synced.min(self.entries.len());
    }

    /// The epoch of the last record below `offset`, -1 if there is none.
    pub(crate) fn last_epoch_below(&self, offset: i64) -> i32 {
        let below = &self.entries[..usize::try_from(offset).unwrap_or(0).min(self.entries.len())];
        below.last().map_or(-1, |entry| entry.epoch)
    }
}

impl EndOfLog for Log {
    fn start(&self) -> i64 {
        0
    }

    fn end(&self) -> i64 {
        self.entries.len() as i64
    }

    fn epoch_end(&self, epoch: i32) -> Option<(i32, i64)> {
        let end = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let newest = self.entries.last().map_or(-1, |entry| entry.epoch);
        if epoch > newest {
            return None;
        }
        end.checked_sub(1).map_or(Some((epoch, 0)), |last| Some((self.entries[last].epoch, end as i64)))
    }
}
