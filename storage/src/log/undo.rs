//! What an append changes in memory before its write, kept until the write is through: one that fails (a full disk, a
//! file that cannot be opened) leaves the log exactly as it was.

use std::sync::atomic::Ordering;

use super::{Log, Writer};
use crate::epochs::Epochs;
use crate::error::StorageError;
use crate::producers::Before;

/// The state before the batches that are staged now.
#[derive(Default)]
pub(crate) struct Undo {
    /// Of each staged batch's producer, oldest first.
    producers: Vec<Before>,
    /// The epochs and whether they were in their file, where a staged batch brought a new one.
    epochs: Option<(Epochs, bool)>,
}

impl Undo {
    /// Forgets: what was staged is written, or nothing is staged.
    pub(super) fn clear(&mut self) {
        self.producers.clear();
        self.epochs = None;
    }

    pub(super) fn keep_producer(&mut self, before: Before) {
        self.producers.push(before);
    }

    /// Keeps the first state only: it is what all staged batches started from.
    pub(super) fn keep_epochs(&mut self, epochs: &Epochs, is_dirty: bool) {
        self.epochs.get_or_insert_with(|| (epochs.clone(), is_dirty));
    }
}

impl Log {
    /// Takes back what is staged: the file ends where the published bytes end (nobody reads beyond, so no map shows
    /// what is cut), and the writer is as it was. What cannot be taken back takes the directory offline.
    pub(super) fn undo_staged(&self, writer: &mut Writer) {
        let end = writer.active.end();
        writer.end = end;
        writer.reserved = u64::from(end.size);
        if end.size == 0 {
            writer.first_timestamp = None;
            writer.first_append_ms = None;
        }
        let undo = std::mem::take(&mut writer.scratch.undo);
        for before in undo.producers.into_iter().rev() {
            writer.producers.restore(before);
        }
        if let Some((epochs, is_dirty)) = undo.epochs {
            writer.epochs = epochs;
            writer.epochs_dirty = is_dirty;
        }
        writer.scratch.clear();
        if self.disk.check_online().is_err() {
            return; // nothing is written any more; the next start cuts the tail
        }
        if let Err(error) = self.cut_to_published(writer) {
            self.disk.take_offline(&error);
        }
        debug_assert_eq!(writer.end.offset, self.end.load(Ordering::Relaxed), "the end was never published");
    }

    fn cut_to_published(&self, writer: &Writer) -> Result<(), StorageError> {
        let file = writer.active.data_file()?;
        file.set_len(&self.disk, u64::from(writer.end.size))
    }
}
