//! The groups of one `__consumer_offsets` partition: the door to the machine.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use uuid::Uuid;

use super::classic::{ClassicGroup, Committer, DescribedMember, Join, Leaving, StateName, Sync};
use super::offsets::{Offsets, OpenTransactions, PendingOffset};
use super::records::{OffsetValue, Record};
use super::{Answer, GroupError, GroupId, JoinRefused, Step, TimerKey, TimerKind, limits};

/// The groups of one partition, in memory.
///
/// Verbs change the shard at once and write into [`Step::effects`] what has to be stored, answered and timed. Loading is
/// [`apply`](Shard::apply) for each record and then [`resume`](Shard::resume).
#[derive(Debug, Default)]
pub struct Shard {
    groups: BTreeMap<GroupId, Group>,
    transactions: OpenTransactions,
    /// Counts applied records.
    sequence: u64,
    /// See [`Shard::depends_on`]; for groups that are not there any more.
    removed_written_to: i64,
}

#[derive(Debug)]
struct Group {
    classic: ClassicGroup,
    offsets: Offsets,
    /// The end offset of its last record.
    written_to: i64,
}

/// An OffsetCommit request.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The group.
    pub group: GroupId,
    /// Who commits.
    pub committer: Committer,
    /// A retention time of the client's own, in milliseconds.
    pub retention_ms: Option<i64>,
    /// What.
    pub offsets: Vec<CommitOffset>,
}

/// One offset to commit.
#[derive(Clone, Debug)]
pub struct CommitOffset {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The topic's id now; nil if unknown.
    pub topic_id: Uuid,
    /// The partition.
    pub partition: i32,
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch of the last record read, or -1.
    pub leader_epoch: i32,
    /// What the client stores beside it.
    pub metadata: Arc<str>,
}

/// A partition's answer in OffsetFetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchedOffset {
    /// It was committed.
    Committed(OffsetValue),
    /// It never was.
    Missing,
    /// A transaction that has not ended holds it, and the client wants only stable ones.
    Unstable,
}

/// A group in ListGroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// The group.
    pub group: GroupId,
    /// `consumer`, `connect`...; empty for groups that only store offsets.
    pub protocol_type: Arc<str>,
    /// Its state.
    pub state: StateName,
}

/// A group in DescribeGroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// Its state.
    pub state: StateName,
    /// Its protocol type.
    pub protocol_type: Arc<str>,
    /// Its protocol, while it is stable.
    pub protocol: Arc<str>,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

impl Shard {
    /// A shard of a log that ends at this offset.
    pub fn written_up_to(end_offset: i64) -> Shard {
        Shard { removed_written_to: end_offset, ..Shard::default() }
    }

    /// JoinGroup. The answer comes in the effects of this step or of a later one.
    pub fn join(&mut self, group: &GroupId, join: Join, step: &mut Step) {
        if let Err(error) = self.check_join(group, &join, step) {
            let member_id = join.member_id;
            return step.effects.replies.push((join.token, Answer::Join(Err(JoinRefused { error, member_id }))));
        }
        self.group_or_new(group, step.now_ms).classic.join(join, step);
        self.drop_if_trace(group);
    }

    fn check_join(&self, group: &GroupId, join: &Join, step: &Step) -> Result<(), GroupError> {
        let config = step.config;
        if group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        let allowed = config.min_session_timeout_ms..=config.max_session_timeout_ms;
        if !allowed.contains(&join.session_timeout_ms) {
            let (min, max) = (*allowed.start(), *allowed.end());
            return Err(GroupError::InvalidSessionTimeout { got: join.session_timeout_ms, min, max });
        }
        let names = join.protocols.iter().map(|(name, _)| name);
        let names =
            names.chain([group, &join.member_id, &join.protocol_type, &join.client_id]).chain(&join.instance_id);
        if let Some(long) = names.map(|name| name.len()).find(|len| *len > limits::MAX_NAME) {
            let message = format!("a name of {long} bytes is longer than the {} bytes it may have", limits::MAX_NAME);
            return Err(GroupError::InvalidRequest(message));
        }
        if self.groups.contains_key(group) {
            return Ok(());
        }
        if !join.member_id.is_empty() {
            return Err(GroupError::UnknownMemberId);
        }
        self.check_room()
    }

    fn check_room(&self) -> Result<(), GroupError> {
        if self.groups.len() < limits::MAX_GROUPS_PER_SHARD {
            return Ok(());
        }
        let limit = limits::MAX_GROUPS_PER_SHARD;
        Err(GroupError::NotAvailable(format!("its partition of __consumer_offsets holds {limit} groups already")))
    }

    /// SyncGroup. The answer comes in the effects of this step or of a later one.
    pub fn sync(&mut self, group: &str, sync: Sync, step: &mut Step) {
        match self.groups.get_mut(group) {
            Some(group) => group.classic.sync(sync, step),
            None => step.effects.replies.push((sync.token, Answer::Sync(Err(GroupError::UnknownMemberId)))),
        }
    }

    /// Heartbeat.
    pub fn heartbeat(
        &mut self,
        group: &str,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        step: &mut Step,
    ) -> Result<(), GroupError> {
        let group = self.groups.get_mut(group).ok_or(GroupError::UnknownMemberId)?;
        group.classic.heartbeat(member_id, instance_id, generation, step)
    }

    /// LeaveGroup: a verdict for each member.
    pub fn leave(&mut self, group: &GroupId, leaving: &[Leaving], step: &mut Step) -> Vec<Result<(), GroupError>> {
        let Some(present) = self.groups.get_mut(group) else {
            return vec![Err(GroupError::UnknownMemberId); leaving.len()];
        };
        let verdicts = present.classic.leave(leaving, step);
        self.drop_if_trace(group);
        verdicts
    }

    /// A timer fired.
    pub fn timer_fired(&mut self, key: &TimerKey, step: &mut Step) {
        let Some(group) = self.groups.get_mut(&key.group) else { return };
        match &key.kind {
            TimerKind::Session(member_id) => group.classic.session_timeout(member_id, step),
            TimerKind::Join => group.classic.join_timeout(step),
            TimerKind::Sync => group.classic.sync_timeout(step),
        }
        self.drop_if_trace(&key.group);
    }

    /// OffsetCommit: a verdict for each offset. `GroupIdNotFound` if a generation is claimed of a group that is unknown.
    pub fn commit(&mut self, commit: Commit, step: &mut Step) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        match self.groups.get_mut(&commit.group) {
            Some(group) => group.classic.admit_commit(&commit.committer, step)?,
            None if commit.committer.generation >= 0 => return Err(GroupError::GroupIdNotFound),
            None if commit.group.len() > limits::MAX_NAME => return Err(GroupError::InvalidGroupId),
            None => self.check_room()?,
        }
        let expires = commit.retention_ms.map(|retention_ms| step.now_ms.saturating_add(retention_ms));
        let mut verdicts = Vec::with_capacity(commit.offsets.len());
        for offset in commit.offsets {
            verdicts.push(self.commit_one(&commit.group, offset, expires, step));
        }
        Ok(verdicts)
    }

    fn commit_one(
        &mut self,
        group: &GroupId,
        commit: CommitOffset,
        expire_timestamp_ms: Option<i64>,
        step: &mut Step,
    ) -> Result<(), GroupError> {
        let limit = step.config.offset_metadata_max_bytes;
        // Kafka counts UTF-16 units, so that is what clients can rely on.
        if commit.metadata.len() > limit && commit.metadata.encode_utf16().count() > limit {
            return Err(GroupError::OffsetMetadataTooLarge);
        }
        let size = 64 + group.len() + commit.topic.len() + commit.metadata.len();
        if size > step.config.max_record_bytes {
            return Err(GroupError::RecordTooLarge { size, limit: step.config.max_record_bytes });
        }
        let value = OffsetValue {
            offset: commit.offset,
            leader_epoch: commit.leader_epoch,
            metadata: commit.metadata,
            commit_timestamp_ms: step.now_ms,
            expire_timestamp_ms,
            topic_id: commit.topic_id,
        };
        let (topic, partition) = (commit.topic, commit.partition);
        self.write(Record::Offset { group: group.clone(), topic, partition, value: Some(value) }, step);
        Ok(())
    }

    /// OffsetFetch of one partition.
    pub fn fetch(&self, group: &str, topic: &str, partition: i32, require_stable: bool) -> FetchedOffset {
        if require_stable && self.transactions.hold(group, topic, partition) {
            return FetchedOffset::Unstable;
        }
        match self.groups.get(group).and_then(|group| group.offsets.get(topic, partition)) {
            Some(value) => FetchedOffset::Committed(value.clone()),
            None => FetchedOffset::Missing,
        }
    }

    /// OffsetFetch of everything that the group committed.
    pub fn fetch_all(&self, group: &str, require_stable: bool) -> Vec<(Arc<str>, i32, FetchedOffset)> {
        let Some(present) = self.groups.get(group) else { return Vec::new() };
        let answer = |topic: &str, partition| self.fetch(group, topic, partition, require_stable);
        let offsets = present.offsets.iter();
        offsets.map(|(topic, partition, _)| (topic.clone(), partition, answer(topic, partition))).collect()
    }

    /// OffsetDelete: a verdict for each partition.
    pub fn delete_offsets(
        &mut self,
        group: &GroupId,
        partitions: &[(Arc<str>, i32)],
        step: &mut Step,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let present = self.groups.get(group).ok_or(GroupError::GroupIdNotFound)?;
        if !present.classic.is_empty() && !present.classic.uses_consumer_protocol() {
            return Err(GroupError::NonEmptyGroup);
        }
        let in_use = |topic: &str| present.classic.is_subscribed_to(topic);
        let verdicts: Vec<_> = partitions
            .iter()
            .map(|(topic, _)| if in_use(topic) { Err(GroupError::GroupSubscribedToTopic) } else { Ok(()) })
            .collect();
        for ((topic, partition), verdict) in partitions.iter().zip(&verdicts) {
            if verdict.is_ok() && self.has_offset(group, topic, *partition) {
                self.write_tombstone(group, topic.clone(), *partition, step);
            }
        }
        Ok(verdicts)
    }

    fn has_offset(&self, group: &str, topic: &str, partition: i32) -> bool {
        let committed = self.groups.get(group).is_some_and(|group| group.offsets.get(topic, partition).is_some());
        committed || self.transactions.hold(group, topic, partition)
    }

    /// DeleteGroups.
    pub fn delete_group(&mut self, group: &GroupId, step: &mut Step) -> Result<(), GroupError> {
        let present = self.groups.get_mut(group).ok_or(GroupError::GroupIdNotFound)?;
        if !present.classic.is_empty() {
            return Err(GroupError::NonEmptyGroup);
        }
        present.classic.drop_pending(step);
        let offsets: Vec<_> = present.offsets.iter().map(|(topic, partition, _)| (topic.clone(), partition)).collect();
        for (topic, partition) in offsets {
            self.write_tombstone(group, topic, partition, step);
        }
        self.write(Record::Group { group: group.clone(), value: None }, step);
        Ok(())
    }

    /// The topic is gone, and with it every offset in it.
    pub fn topic_deleted(&mut self, topic: &Arc<str>, step: &mut Step) {
        let mut gone = Vec::new();
        for (id, group) in &self.groups {
            let committed = group.offsets.of_topic(topic).map(|(partition, _)| partition);
            let pending = self.transactions.of_topic(id, topic).map(|held| held.partition);
            gone.extend(committed.chain(pending).map(|partition| (id.clone(), partition)));
        }
        gone.sort();
        gone.dedup();
        for (group, partition) in gone {
            self.write_tombstone(&group, topic.clone(), partition, step);
        }
    }

    /// Removes expired offsets, and empty groups that have none left. Looks at no more than `most` groups, beginning
    /// behind `after`; answers where to go on, or `None` at the end: the caller holds a lock meanwhile.
    pub fn expire(&mut self, after: Option<GroupId>, most: usize, step: &mut Step) -> Option<GroupId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let looked_at: Vec<GroupId> =
            self.groups.range((from, Bound::Unbounded)).take(most).map(|(id, _)| id.clone()).collect();
        for id in &looked_at {
            self.expire_group(id, step);
        }
        if looked_at.len() == most { looked_at.last().cloned() } else { None }
    }

    fn expire_group(&mut self, id: &GroupId, step: &mut Step) {
        let Some(group) = self.groups.get(id) else { return };
        for (topic, partition) in group.offsets.expired(&group.classic, step.now_ms, step.config.offsets_retention_ms) {
            if !self.transactions.hold(id, &topic, partition) {
                self.write_tombstone(id, topic, partition, step);
            }
        }
        let Some(group) = self.groups.get(id) else { return };
        if group.offsets.is_empty() && group.classic.is_abandoned() && !self.transactions.hold_any(id) {
            self.write(Record::Group { group: id.clone(), value: None }, step);
        }
    }

    /// Every group with whether it has members, and what it committed.
    pub fn offsets(&self) -> impl Iterator<Item = (&GroupId, bool, &Offsets)> {
        self.groups.iter().map(|(id, group)| (id, !group.classic.is_empty(), &group.offsets))
    }

    /// ListGroups.
    pub fn list(&self) -> impl Iterator<Item = ListedGroup> {
        self.groups.iter().map(|(id, group)| ListedGroup {
            group: id.clone(),
            protocol_type: group.classic.protocol_type().cloned().unwrap_or_default(),
            state: group.classic.state(),
        })
    }

    /// DescribeGroups; `None` for a group that is not there.
    pub fn describe(&self, group: &str) -> Option<DescribedGroup> {
        let classic = &self.groups.get(group)?.classic;
        Some(DescribedGroup {
            state: classic.state(),
            protocol_type: classic.protocol_type().cloned().unwrap_or_default(),
            protocol: classic.described_protocol().into(),
            members: classic.describe_members(),
        })
    }

    /// Applies one record of the log.
    pub fn apply(&mut self, record: Record) {
        self.sequence += 1;
        match record {
            Record::Group { group, value: Some(value) } => {
                let classic = ClassicGroup::from_value(group.clone(), value);
                self.group_or_new(&group, -1).classic = classic;
            }
            Record::Group { group, value: None } => self.forget_membership(group),
            Record::Offset { group, topic, partition, value: Some(value) } => {
                let sequence = self.sequence;
                self.group_or_new(&group, -1).offsets.put(topic, partition, value, sequence);
            }
            Record::Offset { group, topic, partition, value: None } => {
                self.transactions.forget(&group, &topic, partition);
                if let Some(present) = self.groups.get_mut(&group) {
                    present.offsets.remove(&topic, partition);
                }
            }
        }
    }

    /// Whoever deletes a group deletes its offsets first. Where some are left, Kafka turned the group into one of a newer
    /// protocol, whose members this broker does not know; its offsets still count.
    fn forget_membership(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        if group.offsets.is_empty() {
            self.removed_written_to = self.removed_written_to.max(group.written_to);
            self.groups.remove(&id);
        } else {
            group.classic = ClassicGroup::new(id, None);
        }
    }

    /// Applies a record that a transaction wrote; it counts when the transaction commits.
    pub fn apply_transactional(&mut self, producer_id: i64, record: Record) {
        match record {
            Record::Offset { group, topic, partition, value: Some(value) } => {
                self.sequence += 1;
                let sequence = self.sequence;
                self.transactions.put(producer_id, PendingOffset { group, topic, partition, value, sequence });
            }
            other => self.apply(other),
        }
    }

    /// Applies the end of a transaction.
    pub fn end_transaction(&mut self, producer_id: i64, committed: bool) {
        for offset in self.transactions.end(producer_id) {
            if committed {
                let group = self.group_or_new(&offset.group, -1);
                group.offsets.put(offset.topic, offset.partition, offset.value, offset.sequence);
            }
        }
    }

    /// Everything is loaded: the members' timers start.
    pub fn resume(&mut self, step: &mut Step) {
        for group in self.groups.values_mut() {
            group.classic.resume(step);
        }
    }

    /// The records of the last step that belong to `group` end at this offset.
    pub fn written(&mut self, group: &str, end_offset: i64) {
        match self.groups.get_mut(group) {
            Some(group) => group.written_to = end_offset,
            None => self.removed_written_to = end_offset,
        }
    }

    /// What is said about the group now must not be said before everything below this offset is durable: otherwise a
    /// reader could see a commit that a power cut takes back.
    pub fn depends_on(&self, group: &str) -> i64 {
        self.groups.get(group).map_or(self.removed_written_to, |group| group.written_to)
    }

    fn write(&mut self, record: Record, step: &mut Step) {
        self.apply(record.clone());
        step.effects.records.push(record);
    }

    fn write_tombstone(&mut self, group: &GroupId, topic: Arc<str>, partition: i32, step: &mut Step) {
        self.write(Record::Offset { group: group.clone(), topic, partition, value: None }, step);
    }

    fn group_or_new(&mut self, id: &GroupId, now_ms: i64) -> &mut Group {
        let since = (now_ms >= 0).then_some(now_ms);
        let written_to = self.removed_written_to;
        self.groups.entry(id.clone()).or_insert_with(|| Group {
            classic: ClassicGroup::new(id.clone(), since),
            offsets: Offsets::default(),
            written_to,
        })
    }

    /// A group that was only ever asked for must not stay for good: any name can be asked for.
    fn drop_if_trace(&mut self, id: &GroupId) {
        let is_trace = |group: &Group| group.classic.is_trace() && group.offsets.is_empty();
        if self.groups.get(id).is_some_and(is_trace) {
            self.groups.remove(id);
        }
    }
}

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
