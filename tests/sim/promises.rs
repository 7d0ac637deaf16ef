//! What must hold after every event, whoever made it. Each look costs only what has changed since the last.

use std::collections::BTreeMap;

use crate::disk::{Entry, Log};

/// What has been promised so far, and to whom.
#[derive(Default)]
pub(crate) struct Promises {
    /// Who leads a partition in an epoch: node and incarnation.
    leaders: BTreeMap<(usize, i32), (i32, u128)>,
    /// A record's value and the epoch of the one before it, by partition, epoch and offset.
    history: BTreeMap<(usize, i32, usize), (u64, i32)>,
    /// What consumers could read.
    read: BTreeMap<(usize, usize), u64>,
    /// What producers were told, by partition and offset.
    pub(crate) acknowledged: BTreeMap<(usize, usize), u64>,
}

impl Promises {
    /// A node takes office.
    pub(crate) fn leads(&mut self, partition: usize, epoch: i32, node: i32, incarnation: u128) -> Result<(), String> {
        let first = *self.leaders.entry((partition, epoch)).or_insert((node, incarnation));
        if first == (node, incarnation) {
            return Ok(());
        }
        Err(format!("partition {partition} has two leaders in epoch {epoch}: {first:?} and {:?}", (node, incarnation)))
    }

    /// The last `count` records of a log were appended just now. Where two logs have a record of one epoch at one offset,
    /// they are equal up to there.
    pub(crate) fn appended(&mut self, partition: usize, node: i32, log: &Log, count: usize) -> Result<(), String> {
        for offset in log.entries.len() - count..log.entries.len() {
            let Entry { epoch, value } = log.entries[offset];
            let before = offset.checked_sub(1).map_or(-1, |before| log.entries[before].epoch);
            if before > epoch {
                return Err(format!("partition {partition} on {node}: epochs go back at offset {offset}"));
            }
            let known = *self.history.entry((partition, epoch, offset)).or_insert((value, before));
            if known != (value, before) {
                return Err(format!(
                    "partition {partition}, offset {offset}, epoch {epoch}: {known:?} elsewhere, {:?} on {node}",
                    (value, before)
                ));
            }
        }
        Ok(())
    }

    /// Consumers may read a node's log up to its high watermark, which was `from` before.
    pub(crate) fn exposed(&mut self, partition: usize, node: i32, log: &Log, from: i64, to: i64) -> Result<(), String> {
        for offset in from.max(0) as usize..to.max(0) as usize {
            let Some(Entry { value, .. }) = log.entries.get(offset).copied() else {
                return Err(format!("partition {partition} on {node}: high watermark {to} is beyond the log"));
            };
            let known = *self.read.entry((partition, offset)).or_insert(value);
            if known != value {
                return Err(format!("partition {partition}, offset {offset}: {known} was read, now {value} on {node}"));
            }
        }
        Ok(())
    }

    /// A producer is told that its record is safe.
    pub(crate) fn acknowledge(&mut self, partition: usize, offset: usize, value: u64) -> Result<(), String> {
        match self.acknowledged.insert((partition, offset), value) {
            Some(other) if other != value => {
                Err(format!("partition {partition}, offset {offset}: {other} was acknowledged, and now {value}"))
            }
            _ => Ok(()),
        }
    }

    /// A replica that may lead has all that was acknowledged: on its disk, should it be without power.
    pub(crate) fn is_held(&self, partition: usize, node: i32, log: &Log) -> Result<(), String> {
        for ((_, offset), value) in self.acknowledged.range((partition, 0)..(partition + 1, 0)) {
            let held = log.entries[..log.synced].get(*offset);
            if held.is_none_or(|entry| entry.value != *value) {
                return Err(format!(
                    "partition {partition}: {value} was acknowledged at offset {offset}; broker {node}, which may lead, has {held:?}"
                ));
            }
        }
        Ok(())
    }
}
