//! What groups have consumed, asked by topic: for retention.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Groups;

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

/// By topic and partition.
pub type CommittedOffsets = HashMap<(Arc<str>, i32), Vec<CommittedOffset>>;

impl Groups {
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
