//! Partitions of `__consumer_offsets` that are taken over, read, and read again after their disk was full.

use std::sync::Arc;

use uuid::Uuid;

use super::{Cell, Cells, Groups, Status};
use crate::coordinator::load;
use crate::group::GroupError;
use crate::partition::Partition;

impl Groups {
    /// Takes over the partitions of `__consumer_offsets`, in order of their index, `None` for those that are offline,
    /// without waiting: until [`load`](Groups::load) has read a partition, its groups are answered with
    /// `LoadInProgress`. Does nothing if these are the partitions it has.
    pub fn open(&self, topic_id: Uuid, partitions: &[Option<Arc<Partition>>]) {
        if partitions.is_empty() || self.topic_id() == Some(topic_id) {
            return;
        }
        let cell = |partition: &Option<Arc<Partition>>| Some(Arc::new(Cell::new(partition.clone()?)));
        let cells = Cells { topic_id, by_partition: partitions.iter().map(cell).collect() };
        if let Some(before) = self.cells.swap(Some(Arc::new(cells))) {
            before.by_partition.iter().flatten().for_each(|cell| cell.stop());
        }
        // A partition without records needs no reading; after this, a new cluster's first group does not wait.
        for cell in self.all() {
            if cell.partition.log().log_end_offset() == cell.partition.log().log_start_offset() {
                cell.load(self);
            }
        }
    }

    /// Reads the partitions that [`open`](Groups::open) found records in. Waits for the disk; groups of a partition are
    /// served as soon as it is read.
    pub fn load(&self) {
        for cell in self.all() {
            cell.load(self);
        }
    }

    /// Whether this broker can coordinate the group now.
    pub fn coordinates(&self, group: &str) -> Result<(), GroupError> {
        let serves = self.cell(group).is_ok_and(|cell| {
            let is_there = matches!(cell.inner.lock().status, Status::Ready | Status::Loading);
            is_there && cell.partition.flusher().dir().is_online()
        });
        if serves {
            return Ok(());
        }
        let message = "the partition of __consumer_offsets that holds the group cannot be written";
        Err(GroupError::NotAvailable(message.to_owned()))
    }

    /// Reads the partition that holds the group anew if it could not be written and can be again. Waits for the disk.
    pub fn resume(&self, group: &str) {
        let Ok(cell) = self.cell(group) else { return };
        let flusher = cell.partition.flusher();
        if !flusher.dir().is_online() || flusher.dir().is_full() {
            return;
        }
        {
            let mut inner = cell.inner.lock();
            if inner.status != Status::Failed {
                return;
            }
            inner.status = Status::Loading;
        }
        cell.load(self);
    }
}

impl Cell {
    /// Reads the partition without holding the lock: nothing else touches a shard that is loading.
    fn load(self: &Arc<Cell>, groups: &Groups) {
        if self.inner.lock().status != Status::Loading {
            return;
        }
        let loaded = load::load(&self.partition.log());
        let mut inner = self.inner.lock();
        if inner.status != Status::Loading {
            return;
        }
        match loaded {
            Ok(shard) => {
                inner.shard = shard;
                inner.status = Status::Ready;
                let _ = groups.take_step(self, &mut inner, "", |shard, step| shard.resume(step));
                groups.publish_due(self, &inner);
            }
            Err(error) => {
                inner.status = Status::Broken;
                let partition = self.partition.index();
                tracing::error!(partition, %error, "a partition of __consumer_offsets cannot be read; its groups are not served");
            }
        }
    }
}
