//! Pure: which transactions were aborted, and which markers nobody needs any more, as a walk from the log's start sees it.
//!
//! A marker is needed as long as a batch of its transaction is in the log, and for the delete retention after that.

use std::collections::{HashMap, HashSet};

use jackdaw_protocol::records::Header;

use crate::log::AbortedTxn;

/// What a control batch says to a cleaner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    Abort,
    Commit,
    /// Not of a transaction: to be kept.
    Other,
    /// Its record was dropped before.
    Empty,
}

/// The walk's state.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    /// Not come to yet; the one with the lowest first offset last.
    ahead: Vec<AbortedTxn>,
    /// By producer, and whether a batch of it was met.
    aborted: HashMap<i64, (AbortedTxn, bool)>,
    committed: HashSet<i64>,
    kept: Vec<AbortedTxn>,
}

impl Transactions {
    /// A walk over a range that these aborted transactions reach into.
    pub(crate) fn new(mut aborted: Vec<AbortedTxn>) -> Transactions {
        aborted.sort_unstable_by_key(|txn| std::cmp::Reverse(txn.first_offset));
        Transactions { ahead: aborted, ..Transactions::default() }
    }

    fn advance(&mut self, offset: i64) {
        while let Some(txn) = self.ahead.pop_if(|txn| txn.first_offset <= offset) {
            self.aborted.entry(txn.producer_id).or_insert((txn, false));
        }
    }

    /// Takes in a batch of records; whether it was aborted.
    pub(crate) fn data(&mut self, header: &Header<'_>) -> bool {
        self.advance(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id()) {
            Some((_, met)) => {
                *met = true;
                true
            }
            None => {
                self.committed.insert(header.producer_id());
                false
            }
        }
    }

    /// Takes in a control batch; whether its marker is of no use any more, but for readers who are on their way to it.
    pub(crate) fn control(&mut self, header: &Header<'_>, control: Control) -> bool {
        self.advance(header.last_offset());
        match control {
            Control::Abort => match self.aborted.remove(&header.producer_id()) {
                Some((txn, true)) => {
                    self.kept.push(txn);
                    false
                }
                _ => true,
            },
            Control::Commit => !self.committed.remove(&header.producer_id()),
            Control::Other => false,
            Control::Empty => true,
        }
    }

    /// The aborted transactions whose markers were met since the last call, and still have batches: what the transaction
    /// index of the new segment holds.
    pub(crate) fn take_kept(&mut self) -> Vec<AbortedTxn> {
        std::mem::take(&mut self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jackdaw_protocol::records::{Batch, BatchBuilder, Codec, EndTransactionMarker};

    const PRODUCER: i64 = 7;

    fn data(offset: i64, transactional: bool) -> Batch {
        let mut builder = BatchBuilder::new(Codec::None).producer(PRODUCER, 0, 0).transactional(transactional);
        builder = builder.base_offset(offset);
        builder.push(0, Some(b"k"), Some(b"v"), &[]);
        Batch::check(builder.build()).unwrap()
    }

    fn marker(offset: i64) -> Batch {
        let marker =
            EndTransactionMarker { committed: true, producer_id: PRODUCER, producer_epoch: 0, coordinator_epoch: 0 };
        let bytes = [&offset.to_be_bytes()[..], &marker.to_batch(0)[8..]].concat();
        Batch::from_log(bytes.into()).unwrap()
    }

    fn aborted(first: i64, last: i64) -> AbortedTxn {
        AbortedTxn { producer_id: PRODUCER, first_offset: first, last_offset: last, last_stable_offset: last + 1 }
    }

    #[test]
    fn a_marker_goes_once_no_batch_of_its_transaction_is_left() {
        let mut walk = Transactions::new(vec![aborted(30, 40), aborted(10, 20)]);
        assert!(!walk.data(&data(5, true).header()), "an earlier, committed one");
        assert!(!walk.control(&marker(6).header(), Control::Commit));
        assert!(walk.data(&data(10, true).header()));
        assert!(!walk.data(&data(11, false).header()));
        assert!(!walk.control(&marker(20).header(), Control::Abort), "a batch of it was met");
        assert_eq!(walk.take_kept(), [aborted(10, 20)]);
        assert!(walk.control(&marker(40).header(), Control::Abort), "no batch of the second is left");
        assert!(walk.take_kept().is_empty());
        assert!(walk.control(&marker(50).header(), Control::Commit));
        assert!(!walk.control(&marker(51).header(), Control::Other));
        assert!(walk.control(&marker(52).header(), Control::Empty));
    }
}
