#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use bytes::Bytes;

use super::*;
use crate::group::{Effects, GroupConfig, Token};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

struct World {
    shard: Shard,
    config: GroupConfig,
    now_ms: i64,
    tokens: u64,
}

impl World {
    fn new() -> World {
        let config = GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() };
        World { shard: Shard::default(), config, now_ms: 1_000_000, tokens: 0 }
    }

    fn step<T>(&mut self, verb: impl FnOnce(&mut Shard, &mut Step) -> T) -> (T, Effects) {
        let mut effects = Effects::default();
        let mut step = Step { now_ms: self.now_ms, config: &self.config, effects: &mut effects };
        let result = verb(&mut self.shard, &mut step);
        (result, effects)
    }

    /// A simple consumer commits.
    fn commit(&mut self, group: &str, topic: &str, partition: i32, offset: i64) -> Effects {
        let (verdicts, effects) = self.step(|shard, step| shard.commit(commit(group, topic, partition, offset), step));
        assert_eq!(verdicts, Ok(vec![Ok(())]));
        effects
    }

    fn offset(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        match self.shard.fetch(group, topic, partition, false) {
            FetchedOffset::Committed(value) => Some(value.offset),
            FetchedOffset::Missing => None,
            FetchedOffset::Unstable => panic!("stability was not asked for"),
        }
    }

    fn join(&mut self, group: &str, join: Join) -> Answer {
        self.tokens += 1;
        let token = Token(self.tokens);
        let group = GroupId::from(group);
        let ((), mut effects) = self.step(|shard, step| {
            shard.join(&group, Join { token, fresh: Uuid::from_u128(token.0.into()), ..join }, step)
        });
        effects.take_reply(token).unwrap()
    }

    /// A consumer of `topic` joins, alone, and gets its assignment: its id.
    fn consumer(&mut self, group: &str, topic: &str) -> Arc<str> {
        let Answer::Join(Ok(joined)) = self.join(group, consumer(topic)) else { panic!() };
        let sync = Sync {
            token: Token(u64::MAX),
            member_id: joined.member_id.clone(),
            instance_id: None,
            generation: joined.generation,
            protocol_type: None,
            protocol: None,
            assignments: [(joined.member_id.clone(), Bytes::from_static(b"share"))].into(),
        };
        self.step(|shard, step| shard.sync(group, sync, step));
        joined.member_id
    }

    fn leave(&mut self, group: &str, member_id: &Arc<str>) {
        let leaving = [Leaving { member_id: member_id.clone(), instance_id: None }];
        let (verdicts, _) = self.step(|shard, step| shard.leave(&group.into(), &leaving, step));
        assert_eq!(verdicts, [Ok(())]);
    }

    fn expire(&mut self) -> Vec<Record> {
        let (next, effects) = self.step(|shard, step| shard.expire(None, 1000, step));
        assert_eq!(next, None);
        effects.records
    }

    fn states(&self) -> Vec<(String, StateName)> {
        self.shard.list().map(|listed| (listed.group.to_string(), listed.state)).collect()
    }
}

fn commit(group: &str, topic: &str, partition: i32, offset: i64) -> Commit {
    Commit {
        group: group.into(),
        committer: Committer { generation: -1, ..Committer::default() },
        retention_ms: None,
        offsets: vec![CommitOffset {
            topic: topic.into(),
            topic_id: Uuid::nil(),
            partition,
            offset,
            leader_epoch: 5,
            metadata: "m".into(),
        }],
    }
}

fn consumer(topic: &str) -> Join {
    let mut metadata = vec![0, 0, 0, 0, 0, 1, 0, topic.len() as u8];
    metadata.extend(topic.as_bytes());
    Join {
        token: Token(0),
        member_id: "".into(),
        instance_id: None,
        client_id: "app".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), metadata.into())],
        fresh: Uuid::nil(),
        requires_known_id: false,
        can_skip_assignment: false,
    }
}

fn tombstone(group: &str, topic: &str, partition: i32) -> Record {
    Record::Offset { group: group.into(), topic: topic.into(), partition, value: None }
}

fn end_of(group: &str) -> Record {
    Record::Group { group: group.into(), value: None }
}

#[test]
fn a_committed_offset_is_a_record_and_can_be_fetched() {
    let mut world = World::new();
    let effects = world.commit("g", "t", 3, 42);
    let value = OffsetValue {
        offset: 42,
        leader_epoch: 5,
        metadata: "m".into(),
        commit_timestamp_ms: world.now_ms,
        expire_timestamp_ms: None,
        topic_id: Uuid::nil(),
    };
    let (group, topic) = ("g".into(), "t".into());
    assert_eq!(effects.records, [Record::Offset { group, topic, partition: 3, value: Some(value.clone()) }]);
    assert_eq!(world.shard.fetch("g", "t", 3, true), FetchedOffset::Committed(value.clone()));
    assert_eq!(world.shard.fetch("g", "t", 4, true), FetchedOffset::Missing);
    assert_eq!(world.shard.fetch("nobody", "t", 3, true), FetchedOffset::Missing);
    assert_eq!(world.shard.fetch_all("g", true), [("t".into(), 3, FetchedOffset::Committed(value))]);
    assert_eq!(world.shard.fetch_all("nobody", true), []);
}

#[test]
fn commits_of_simple_consumers_make_an_empty_group_without_a_protocol_type() {
    let mut world = World::new();
    world.commit("g", "t", 0, 1);
    assert_eq!(world.states(), [("g".to_owned(), StateName::Empty)]);
    assert_eq!(&*world.shard.describe("g").unwrap().protocol_type, "");
}

#[test]
fn a_generation_claimed_of_an_unknown_group_is_refused_and_makes_no_group() {
    let mut world = World::new();
    let commit = Commit { committer: Committer { generation: 3, ..Committer::default() }, ..commit("g", "t", 0, 1) };
    let (verdict, effects) = world.step(|shard, step| shard.commit(commit, step));
    assert_eq!(verdict, Err(GroupError::GroupIdNotFound));
    assert_eq!((effects, world.states()), (Effects::default(), vec![]));
}

#[test]
fn metadata_may_have_as_many_utf_16_units_as_configured() {
    let mut world = World::new();
    let with = |metadata: String| {
        let mut commit = commit("g", "t", 0, 1);
        commit.offsets[0].metadata = metadata.into();
        commit
    };
    let mut verdict = |metadata| world.step(|shard, step| shard.commit(with(metadata), step)).0.unwrap().remove(0);
    assert_eq!(verdict("m".repeat(4096)), Ok(()));
    assert_eq!(verdict("ä".repeat(4096)), Ok(()));
    assert_eq!(verdict("m".repeat(4097)), Err(GroupError::OffsetMetadataTooLarge));
}

#[test]
fn an_offset_that_no_batch_can_hold_is_refused() {
    let mut world = World::new();
    world.config.max_record_bytes = 66;
    let (verdicts, _) = world.step(|shard, step| shard.commit(commit("g", "topic", 0, 1), step));
    assert!(matches!(verdicts.unwrap()[..], [Err(GroupError::RecordTooLarge { limit: 66, .. })]));
}

#[test]
fn offsets_of_an_empty_group_expire_after_the_retention_counted_from_when_it_became_empty() {
    let mut world = World::new();
    world.commit("g", "t", 0, 1);
    let member = world.consumer("g", "t");
    world.now_ms += 100 * DAY_MS;
    assert_eq!(world.expire(), [], "a group at work keeps its offsets");
    world.leave("g", &member);
    world.now_ms += 7 * DAY_MS - 1;
    assert_eq!(world.expire(), []);
    world.now_ms += 1;
    assert_eq!(world.expire(), [tombstone("g", "t", 0), end_of("g")], "the group has nothing left and goes too");
    assert_eq!(world.states(), []);
}

#[test]
fn offsets_of_simple_consumers_expire_after_the_retention_counted_from_the_commit() {
    let mut world = World::new();
    world.commit("g", "t", 0, 1);
    world.now_ms += 5 * DAY_MS;
    world.commit("g", "t", 1, 1);
    world.now_ms += 2 * DAY_MS;
    assert_eq!(world.expire(), [tombstone("g", "t", 0)]);
    assert_eq!(world.offset("g", "t", 1), Some(1));
}

#[test]
fn a_stable_group_loses_the_offsets_of_topics_it_does_not_read_any_more() {
    let mut world = World::new();
    world.commit("g", "old", 0, 1);
    world.commit("g", "read", 0, 1);
    world.consumer("g", "read");
    world.now_ms += 7 * DAY_MS;
    assert_eq!(world.expire(), [tombstone("g", "old", 0)]);
}

#[test]
fn a_retention_time_of_the_clients_own_counts_instead() {
    let mut world = World::new();
    let commit = Commit { retention_ms: Some(1000), ..commit("g", "t", 0, 1) };
    world.step(|shard, step| shard.commit(commit, step)).0.unwrap();
    world.now_ms += 999;
    assert_eq!(world.expire(), []);
    world.now_ms += 1;
    assert_eq!(world.expire(), [tombstone("g", "t", 0), end_of("g")]);
}

#[test]
fn an_empty_group_without_offsets_goes_with_the_next_look() {
    let mut world = World::new();
    let member = world.consumer("g", "t");
    world.leave("g", &member);
    assert_eq!(world.expire(), [end_of("g")]);
}

#[test]
fn expiry_looks_at_a_few_groups_at_a_time_and_misses_none() {
    let mut world = World::new();
    for group in 0..10 {
        world.commit(&format!("g{group}"), "t", 0, 1);
    }
    world.now_ms += 7 * DAY_MS;
    let (mut after, mut rounds) = (None, 0);
    loop {
        let (next, _) = world.step(|shard, step| shard.expire(after.clone(), 3, step));
        rounds += 1;
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((rounds, world.states()), (4, vec![]));
}

#[test]
fn only_groups_without_members_are_deleted_and_their_offsets_with_them() {
    let mut world = World::new();
    world.commit("g", "t", 0, 1);
    let member = world.consumer("g", "t");
    let delete = |world: &mut World, group: &str| world.step(|shard, step| shard.delete_group(&group.into(), step));
    assert_eq!(delete(&mut world, "g").0, Err(GroupError::NonEmptyGroup));
    world.leave("g", &member);
    let (verdict, effects) = delete(&mut world, "g");
    assert_eq!((verdict, effects.records), (Ok(()), vec![tombstone("g", "t", 0), end_of("g")]));
    assert_eq!(delete(&mut world, "g").0, Err(GroupError::GroupIdNotFound));
}

#[test]
fn offsets_of_topics_that_members_read_cannot_be_deleted() {
    let mut world = World::new();
    world.commit("g", "read", 0, 1);
    world.commit("g", "old", 0, 1);
    world.consumer("g", "read");
    let partitions = [("read".into(), 0), ("old".into(), 0), ("old".into(), 9)];
    let (verdicts, effects) = world.step(|shard, step| shard.delete_offsets(&"g".into(), &partitions, step));
    assert_eq!(verdicts, Ok(vec![Err(GroupError::GroupSubscribedToTopic), Ok(()), Ok(())]));
    assert_eq!(effects.records, [tombstone("g", "old", 0)]);
    assert_eq!((world.offset("g", "read", 0), world.offset("g", "old", 0)), (Some(1), None));
}

#[test]
fn offsets_of_a_group_at_work_that_is_no_consumer_group_cannot_be_deleted() {
    let mut world = World::new();
    world.join("g", Join { protocol_type: "connect".into(), ..consumer("t") });
    let (verdicts, _) = world.step(|shard, step| shard.delete_offsets(&"g".into(), &[("t".into(), 0)], step));
    assert_eq!(verdicts, Err(GroupError::NonEmptyGroup));
    let (verdicts, _) = world.step(|shard, step| shard.delete_offsets(&"nobody".into(), &[], step));
    assert_eq!(verdicts, Err(GroupError::GroupIdNotFound));
}

#[test]
fn a_deleted_topic_takes_the_offsets_of_all_groups_with_it() {
    let mut world = World::new();
    world.commit("g", "t", 0, 1);
    world.commit("h", "t", 1, 1);
    world.commit("h", "u", 1, 1);
    let ((), effects) = world.step(|shard, step| shard.topic_deleted(&"t".into(), step));
    assert_eq!(effects.records, [tombstone("g", "t", 0), tombstone("h", "t", 1)]);
    assert_eq!((world.offset("h", "t", 1), world.offset("h", "u", 1)), (None, Some(1)));
}

#[test]
fn names_that_were_only_asked_for_leave_nothing_behind() {
    let mut world = World::new();
    world.join("g", Join { protocols: vec![], ..consumer("t") });
    world.join("g", Join { member_id: "nobody".into(), ..consumer("t") });
    world.step(|shard, step| shard.heartbeat("g", "m", None, 1, step)).0.unwrap_err();
    world.step(|shard, step| shard.leave(&"g".into(), &[], step));
    assert_eq!(world.states(), []);
    world.join("g", Join { requires_known_id: true, ..consumer("t") });
    assert_eq!(world.states().len(), 1);
    let kind = TimerKind::Session("app-00000000-0000-0000-0000-000000000003".into());
    let key = TimerKey { group: "g".into(), kind };
    world.step(|shard, step| shard.timer_fired(&key, step));
    assert_eq!(world.states(), []);
}

#[test]
fn joins_with_impossible_wishes_are_refused_before_a_group_is_made() {
    let mut world = World::new();
    let refused = |answer: Answer| match answer {
        Answer::Join(Err(refused)) => refused.error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(world.join("", consumer("t"))), GroupError::InvalidGroupId);
    for got in [5_999, 1_800_001] {
        let answer = world.join("g", Join { session_timeout_ms: got, ..consumer("t") });
        assert_eq!(refused(answer), GroupError::InvalidSessionTimeout { got, min: 6000, max: 1_800_000 });
    }
    let long: Arc<str> = "x".repeat(40_000).as_str().into();
    let wishes = [
        (long.clone(), consumer("t")),
        ("g".into(), Join { protocol_type: long.clone(), ..consumer("t") }),
        ("g".into(), Join { instance_id: Some(long.clone()), ..consumer("t") }),
        ("g".into(), Join { protocols: vec![(long, Bytes::new())], ..consumer("t") }),
    ];
    for (group, join) in wishes {
        assert!(matches!(refused(world.join(&group, join)), GroupError::InvalidRequest(_)));
    }
    assert_eq!(world.states(), []);
}

#[test]
fn members_cannot_make_the_broker_remember_more_than_a_bound() {
    let mut world = World::new();
    let metadata = Bytes::from(vec![0; 16 << 20]);
    let join = Join { protocols: vec![("range".into(), metadata)], requires_known_id: true, ..consumer("t") };
    world.join("g", Join { protocols: consumer("t").protocols, ..consumer("t") });
    let mut ids = 0;
    loop {
        let Answer::Join(Err(refused)) = world.join("g", join.clone()) else { panic!() };
        if refused.error == GroupError::GroupMaxSizeReached {
            break;
        }
        let with_id = Join { member_id: refused.member_id, ..join.clone() };
        world.tokens += 1;
        let token = Token(world.tokens);
        world.step(|shard, step| shard.join(&"g".into(), Join { token, ..with_id }, step));
        ids += 1;
        assert!(ids < 10, "the bound is 64 MiB");
    }
    assert!(ids >= 3);
}

#[test]
fn all_state_comes_back_from_the_records() {
    let mut world = World::new();
    let mut records = Vec::new();
    for (group, topic) in [("g", "t"), ("g", "u"), ("h", "t")] {
        records.extend(world.commit(group, topic, 0, 7).records);
    }
    world.consumer("g", "t");
    records.push(world.shard.groups["g"].classic.to_record());
    let (_, effects) = world.step(|shard, step| shard.delete_offsets(&"g".into(), &[("u".into(), 0)], step));
    records.extend(effects.records);

    let mut loaded = World::new();
    records.into_iter().for_each(|record| loaded.shard.apply(record));
    let ((), effects) = loaded.step(|shard, step| shard.resume(step));
    assert!(matches!(&effects.timers[..], [timer] if timer.after_ms == Some(10_000)), "the member's session runs");
    assert_eq!(loaded.states(), world.states());
    assert_eq!(loaded.shard.describe("g"), world.shard.describe("g"));
    assert_eq!(loaded.shard.fetch_all("g", true), world.shard.fetch_all("g", true));
    assert_eq!(loaded.shard.fetch_all("h", true), world.shard.fetch_all("h", true));
}

#[test]
fn a_group_that_became_one_of_a_newer_protocol_keeps_its_offsets() {
    let mut world = World::new();
    world.commit("g", "t", 0, 7);
    world.shard.apply(end_of("g"));
    assert_eq!(world.offset("g", "t", 0), Some(7));
}

fn pending(offset: i64) -> Record {
    let value = OffsetValue {
        offset,
        leader_epoch: -1,
        metadata: "".into(),
        commit_timestamp_ms: 0,
        expire_timestamp_ms: None,
        topic_id: Uuid::nil(),
    };
    Record::Offset { group: "g".into(), topic: "t".into(), partition: 0, value: Some(value) }
}

#[test]
fn offsets_of_a_transaction_count_when_it_commits_and_never_if_it_aborts() {
    let mut world = World::new();
    world.shard.apply_transactional(1, pending(10));
    world.shard.apply_transactional(2, pending(20));
    assert_eq!(world.offset("g", "t", 0), None);
    assert_eq!(world.shard.fetch("g", "t", 0, true), FetchedOffset::Unstable);
    world.shard.end_transaction(2, false);
    world.shard.end_transaction(1, true);
    assert_eq!(world.offset("g", "t", 0), Some(10));
    assert!(matches!(world.shard.fetch("g", "t", 0, true), FetchedOffset::Committed(_)));
}

#[test]
fn a_transaction_that_ends_late_does_not_take_back_a_later_commit() {
    let mut world = World::new();
    world.shard.apply_transactional(1, pending(10));
    world.commit("g", "t", 0, 30);
    world.shard.end_transaction(1, true);
    assert_eq!(world.offset("g", "t", 0), Some(30));
}

#[test]
fn an_offset_that_an_open_transaction_holds_does_not_expire_and_can_be_deleted() {
    let mut world = World::new();
    world.commit("g", "t", 0, 1);
    world.shard.apply_transactional(1, pending(10));
    world.now_ms += 100 * DAY_MS;
    assert_eq!(world.expire(), []);
    let (verdicts, effects) = world.step(|shard, step| shard.delete_offsets(&"g".into(), &[("t".into(), 0)], step));
    assert_eq!((verdicts, effects.records.len()), (Ok(vec![Ok(())]), 1));
    world.shard.end_transaction(1, true);
    assert_eq!(world.offset("g", "t", 0), None);
}

#[test]
fn what_a_group_says_depends_on_its_own_last_record() {
    let mut world = World::new();
    world.shard = Shard::written_up_to(100);
    assert_eq!(world.shard.depends_on("g"), 100, "also on what made it unknown");
    world.commit("g", "t", 0, 1);
    world.shard.written("g", 101);
    world.commit("h", "t", 0, 1);
    world.shard.written("h", 102);
    assert_eq!((world.shard.depends_on("g"), world.shard.depends_on("h")), (101, 102));
    world.step(|shard, step| shard.delete_group(&"g".into(), step)).0.unwrap();
    world.shard.written("g", 104);
    assert_eq!(world.shard.depends_on("g"), 104);
}
