//! Partitions of `__consumer_offsets` that are taken over, given up, read, and read again after their disk was full.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use uuid::Uuid;

use super::{Cell, Cells, Groups, Status};
use crate::coordinator::load;
use crate::group::GroupError;
use crate::partition::Partition;
use crate::topics::image::PartitionImage;
use crate::topics::names::CONSUMER_OFFSETS;
use crate::topics::{Registry, Topic};

impl Groups {
    /// Follows the metadata: takes over the partitions of `__consumer_offsets` that this broker leads now, and gives up
    /// those that others lead, whose parked requests are sent to look for the coordinator again. Offsets that groups
    /// committed in topics that are gone are forgotten. To be called after each publication; it does not wait: until a
    /// partition is read, which happens elsewhere, its groups are answered with `LoadInProgress`.
    pub fn follow(&self, registry: &Registry, node: i32) {
        let mut before = self.following.lock();
        if registry.image.version < before.version {
            return;
        }
        let gone = before.topics().filter(|topic| registry.image.topic(&topic.name).is_none());
        let gone: Vec<_> = gone.map(|topic| topic.name.clone()).collect();
        *before = registry.image.clone();
        match registry.topic(CONSUMER_OFFSETS) {
            Some(topic) => self.lead(topic.id(), &led(topic, node)),
            None => self.lead_nothing(),
        }
        drop(before);
        gone.iter().for_each(|topic| self.topic_deleted(topic));
    }

    /// The partitions that this broker leads from now on, by their index.
    fn lead(&self, topic_id: Uuid, led: &[Option<Led>]) {
        let before = self.cells.load_full();
        let known = before.as_ref().filter(|cells| cells.topic_id == topic_id);
        let commit_timeout = self.with_config(|config| Duration::from_millis(config.offsets_commit_timeout_ms));
        let cell = |(index, led): (usize, &Option<Led>)| {
            let led = led.as_ref()?;
            let known = known.and_then(|cells| cells.by_partition.get(index)?.as_ref());
            match known.filter(|cell| cell.goes_on(led)) {
                Some(cell) => Some(cell.clone()),
                None => Some(Arc::new(Cell::new(led.partition.clone(), led.epoch, commit_timeout))),
            }
        };
        let by_partition: Vec<_> = led.iter().enumerate().map(cell).collect();
        let kept = |cell: &Arc<Cell>| by_partition.iter().flatten().any(|kept| Arc::ptr_eq(kept, cell));
        let ended: Vec<_> =
            before.iter().flat_map(|cells| cells.by_partition.iter().flatten()).filter(|cell| !kept(cell)).collect();
        self.cells.store(Some(Arc::new(Cells { topic_id, by_partition: by_partition.clone() })));
        ended.iter().for_each(|cell| cell.stop());
        for cell in by_partition.iter().flatten() {
            // A partition without records needs no reading: after this, a new cluster's first group does not wait.
            if cell.partition.log().log_end_offset() == cell.partition.log().log_start_offset() {
                cell.load(self);
            } else if cell.inner.lock().status == Status::Loading {
                self.to_load.notify_one();
            }
        }
    }

    fn lead_nothing(&self) {
        // Its id stays, so that only who looks for a coordinator has the topic made anew.
        let Some(before) = self.cells.load_full() else { return };
        self.cells.store(Some(Arc::new(Cells { topic_id: before.topic_id, by_partition: Vec::new() })));
        before.by_partition.iter().flatten().for_each(|cell| cell.stop());
    }

    /// Reads the partitions that [`follow`](Groups::follow) found records in. Waits for the disk; groups of a partition are
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

/// A partition of `__consumer_offsets` that this broker leads.
struct Led {
    partition: Arc<Partition>,
    /// The leader epoch.
    epoch: i32,
}

fn led(topic: &Topic, node: i32) -> Vec<Option<Led>> {
    let led = |(index, image): (usize, &PartitionImage)| {
        let partition = topic.partition(i32::try_from(index).ok()?).ok().filter(|_| image.leader == node)?;
        Some(Led { partition: partition.clone(), epoch: image.leader_epoch })
    };
    topic.image.partitions.iter().enumerate().map(led).collect()
}

impl Cell {
    /// Whether what is in memory is still what the log says: nobody else led in between, since an epoch has one leader and
    /// at most one more has begun.
    fn goes_on(&self, led: &Led) -> bool {
        let before = self.led_in.swap(led.epoch, Ordering::AcqRel);
        Arc::ptr_eq(&self.partition, &led.partition)
            && (before..=before.saturating_add(1)).contains(&led.epoch)
            && self.inner.lock().status != Status::Stopped
    }

    /// Reads the partition without holding the lock: nothing else touches a shard that is loading.
    fn load(self: &Arc<Cell>, groups: &Groups) {
        if self.inner.lock().status != Status::Loading || self.is_loading.swap(true, Ordering::AcqRel) {
            return;
        }
        let loaded = load::load(&self.partition.log());
        self.is_loading.store(false, Ordering::Release);
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
