//! Pure: which leader epoch began at which offset (KIP-101), as `leader-epoch-checkpoint` keeps it.

/// Entries with rising epochs and non-falling start offsets. Each epoch ends where the next one begins; the last ends
/// at the log end offset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Epochs(Vec<Epoch>);

/// One leader epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) epoch: i32,
    pub(crate) start_offset: i64,
}

impl Epochs {
    /// Entries as found in a file; what contradicts its successors is dropped.
    pub(crate) fn from_entries(entries: impl IntoIterator<Item = Epoch>) -> Epochs {
        let mut epochs = Epochs::default();
        for entry in entries {
            epochs.assign(entry.epoch, entry.start_offset);
        }
        epochs
    }

    pub(crate) fn entries(&self) -> &[Epoch] {
        &self.0
    }

    pub(crate) fn latest(&self) -> Option<i32> {
        Some(self.0.last()?.epoch)
    }

    /// Notes that `epoch` begins at `start_offset`, if it is a new one; whether anything changed. An older entry at or
    /// above that offset never got a record of its own that survived: it goes (KAFKA-10706).
    pub(crate) fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        if epoch < 0 || start_offset < 0 || self.latest().is_some_and(|latest| epoch <= latest) {
            return false;
        }
        self.truncate_end(start_offset);
        self.0.push(Epoch { epoch, start_offset });
        true
    }

    /// Drops what begins at or above the new end of the log; whether anything changed.
    pub(crate) fn truncate_end(&mut self, end_offset: i64) -> bool {
        let before = self.0.len();
        self.0.retain(|e| e.start_offset < end_offset);
        self.0.len() != before
    }

    /// Drops what ended at or below the new start of the log, and lets the epoch of the first record begin there;
    /// whether anything changed.
    pub(crate) fn truncate_start(&mut self, start_offset: i64) -> bool {
        let keep = self.0.partition_point(|e| e.start_offset <= start_offset).saturating_sub(1);
        self.0.drain(..keep);
        match self.0.first_mut() {
            Some(first) if first.start_offset < start_offset => {
                first.start_offset = start_offset;
                true
            }
            _ => keep > 0,
        }
    }

    /// The epoch of the record at `offset`.
    pub(crate) fn at(&self, offset: i64) -> Option<i32> {
        let after = self.0.partition_point(|e| e.start_offset <= offset);
        Some(self.0.get(after.checked_sub(1)?)?.epoch)
    }

    /// The largest epoch that is not above `requested`, and where it ends: what OffsetForLeaderEpoch answers
    /// (KIP-279). An epoch older than all known ends where the first known begins. `None` for one that is too new.
    pub(crate) fn end_offset(&self, requested: i32, log_end_offset: i64) -> Option<(i32, i64)> {
        if requested < 0 {
            return None;
        }
        if self.latest() == Some(requested) {
            return Some((requested, log_end_offset));
        }
        let above = self.0.partition_point(|e| e.epoch <= requested);
        let higher = self.0.get(above)?;
        let floor = above.checked_sub(1).map_or(requested, |i| self.0[i].epoch);
        Some((floor, higher.start_offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> Epochs {
        Epochs::from_entries(entries.iter().map(|&(epoch, start_offset)| Epoch { epoch, start_offset }))
    }

    #[test]
    fn an_election_without_appends_leaves_no_entry_behind() {
        let mut e = epochs(&[(1, 0), (2, 10), (3, 10)]);
        assert_eq!(e, epochs(&[(1, 0), (3, 10)]));
        assert!(!e.assign(3, 20));
        assert!(!e.assign(2, 20));
    }

    #[test]
    fn end_offsets_follow_kip_279() {
        let e = epochs(&[(2, 5), (4, 20), (7, 30)]);
        assert_eq!(e.end_offset(7, 44), Some((7, 44)));
        assert_eq!(e.end_offset(5, 44), Some((4, 30)));
        assert_eq!(e.end_offset(2, 44), Some((2, 20)));
        assert_eq!(e.end_offset(0, 44), Some((0, 5)));
        assert_eq!(e.end_offset(8, 44), None);
        assert_eq!(e.end_offset(-1, 44), None);
        assert_eq!(Epochs::default().end_offset(0, 0), None);
    }

    #[test]
    fn both_ends_can_be_cut() {
        let mut e = epochs(&[(1, 0), (2, 10), (3, 20)]);
        assert!(e.truncate_start(15));
        assert_eq!(e, epochs(&[(2, 15), (3, 20)]));
        assert!(!e.truncate_start(15));
        assert!(e.truncate_end(20));
        assert_eq!(e.entries().len(), 1);
        assert_eq!((e.at(14), e.at(15), e.at(99)), (None, Some(2), Some(2)));
    }
}
