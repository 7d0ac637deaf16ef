//! What groups have consumed: asked by group, and by topic, for retention.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Groups, Outcome};
use crate::group::shard::FetchedOffset;
use crate::group::{GroupError, GroupId};

/// How far one group has come in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The group.
    pub group: Arc<str>,
    /// The next offset that it will read.
    pub offset: i64,
    /// Whether it has members now.
    pub is_active: bool,
}

/// Committed offsets with the topic and partition they are of.
pub type FetchedOffsets = Vec<(Arc<str>, i32, FetchedOffset)>;

/// By topic and partition.
pub type CommittedOffsets = HashMap<(Arc<str>, i32), Vec<CommittedOffset>>;

impl Groups {
    /// OffsetFetch of some partitions, answered in their order.
    pub fn fetch(
        &self,
        group: &GroupId,
        partitions: &[(Arc<str>, i32)],
        require_stable: bool,
    ) -> Outcome<Result<Vec<FetchedOffset>, GroupError>> {
        if let Err(error) = self.surely_coordinates(group) {
            return Outcome::Now(Err(error));
        }
        self.step(group, |shard, _| {
            let one = |(topic, partition): &(Arc<str>, i32)| shard.fetch(group, topic, *partition, require_stable);
            Ok(partitions.iter().map(one).collect())
        })
    }

    /// OffsetFetch of everything that the group committed.
    pub fn fetch_all(&self, group: &GroupId, require_stable: bool) -> Outcome<Result<FetchedOffsets, GroupError>> {
        if let Err(error) = self.surely_coordinates(group) {
            return Outcome::Now(Err(error));
        }
        self.step(group, |shard, _| Ok(shard.fetch_all(group, require_stable)))
    }

    /// What all groups have committed in these topics; `None` while some group is not loaded yet. Groups whose
    /// partition cannot be read are missing. Goes through all groups: not for a request.
    pub fn committed(&self, topics: &HashSet<Arc<str>>) -> Option<CommittedOffsets> {
        let mut found = CommittedOffsets::new();
        let is_whole = self.each_shard(|shard| {
            for (group, is_active, offsets) in shard.offsets() {
                for (topic, partitions) in offsets.by_topic().filter(|(topic, _)| topics.contains(*topic)) {
                    for (partition, value) in partitions {
                        let committed = CommittedOffset { group: group.clone(), offset: value.offset, is_active };
                        found.entry((topic.clone(), partition)).or_default().push(committed);
                    }
                }
            }
        });
        is_whole.then_some(found)
    }
}
