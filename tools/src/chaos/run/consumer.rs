//! Our own consumers: each reads its keys by assignment, commits under a group of its own, and now and then begins anew there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jackdaw_checker::entry::{EntryType, Function, Micro};
use jackdaw_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use jackdaw_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use jackdaw_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use jackdaw_protocol::messages::{FetchRequest, OffsetCommitRequest, OffsetFetchRequest, ResponseError, StrBytes};
use jackdaw_protocol::records::{Batch, records};

use super::client::{ChaosClient, attempt};
use super::history::{Process, Recorder};
use super::workload::{Key, Load};
use crate::client::{ClientError, READ_COMMITTED, group_id, topic_name};

pub(super) const COMMIT_EVERY: Duration = Duration::from_secs(2);
/// A consumer lives so long before it is torn down, and another goes on at its committed offsets.
const LIFE: Duration = Duration::from_secs(15);
const BACKOFF: Duration = Duration::from_millis(100);
const MAX_WAIT_MS: i32 = 300;
const PARTITION_MAX_BYTES: i32 = 1 << 20;
/// Of one batch, decompressed.
const BATCH_MAX: usize = 16 << 20;

type Read = BTreeMap<String, Vec<(i64, i64)>>;

/// One consumer: where it stands in each of its keys.
pub(super) struct Consumer {
    pub(super) client: ChaosClient,
    keys: Vec<Key>,
    /// The next offset of each key, in their order.
    pub(super) positions: Vec<i64>,
    /// In whose name it commits: a member of the group and its generation, or nobody's.
    membership: (StrBytes, i32),
}

impl Consumer {
    pub(super) fn new(bootstrap: &[String], seed: u64, keys: Vec<Key>) -> Consumer {
        let positions = vec![0; keys.len()];
        Consumer { client: ChaosClient::new(bootstrap, seed), keys, positions, membership: (StrBytes::default(), -1) }
    }

    /// Other keys from now on, given to a member of a group.
    pub(super) fn take(&mut self, keys: Vec<Key>, member: StrBytes, generation: i32) {
        self.positions = vec![0; keys.len()];
        (self.keys, self.membership) = (keys, (member, generation));
    }

    pub(super) fn membership(&self) -> (StrBytes, i32) {
        self.membership.clone()
    }

    pub(super) fn keys_are_none(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.name.clone()).collect()
    }

    /// One fetch from every leader; moves on by what came. Some keys may fail while others bring records: the error of
    /// one is the second result.
    pub(super) async fn poll(&mut self) -> (Read, Option<String>) {
        let mut read = Read::new();
        let mut error = None;
        let mut by_leader: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for at in 0..self.keys.len() {
            match attempt(self.leader(at)).await {
                Ok(leader) => by_leader.entry(leader).or_default().push(at),
                Err(why) => {
                    self.client.forget();
                    error = Some(why.to_string());
                }
            }
        }
        for (leader, keys) in by_leader {
            if let Err(why) = attempt(self.fetch(leader, &keys, &mut read)).await {
                if !matches!(why, ClientError::Kafka { .. }) {
                    self.client.forget();
                }
                error = Some(why.to_string());
            }
        }
        (read, error)
    }

    async fn leader(&mut self, at: usize) -> Result<i32, ClientError> {
        let key = &self.keys[at];
        self.client.get().await?.leader(&key.topic, key.partition).await
    }

    async fn fetch(&mut self, leader: i32, keys: &[usize], read: &mut Read) -> Result<(), ClientError> {
        let mut topics: BTreeMap<&str, Vec<FetchPartition>> = BTreeMap::new();
        for &at in keys {
            let partition = FetchPartition::default()
                .with_partition(self.keys[at].partition)
                .with_fetch_offset(self.positions[at])
                .with_partition_max_bytes(PARTITION_MAX_BYTES);
            topics.entry(&self.keys[at].topic).or_default().push(partition);
        }
        let topics = topics
            .into_iter()
            .map(|(name, list)| FetchTopic::default().with_topic(topic_name(name)).with_partitions(list));
        let request = FetchRequest::default()
            .with_max_wait_ms(MAX_WAIT_MS)
            .with_min_bytes(1)
            .with_max_bytes(8 << 20)
            .with_isolation_level(READ_COMMITTED)
            .with_session_epoch(-1)
            .with_topics(topics.collect());
        let client = self.client.get().await?;
        let answer = client.broker(leader).await?.send(&request).await?;
        ClientError::check("fetch", answer.error_code, None)?;
        let mut failed = None;
        for topic in answer.responses {
            for data in topic.partitions {
                let is_it = |key: &&usize| {
                    self.keys[**key].partition == data.partition_index && *self.keys[**key].topic == **topic.topic
                };
                let Some(&at) = keys.iter().find(is_it) else { continue };
                let what = self.keys[at].name.clone();
                if let Err(error) = ClientError::check(&what, data.error_code, None) {
                    client.forget_leader(&self.keys[at].topic).await;
                    failed = Some(error);
                    continue;
                }
                let (found, next) = values(&what, self.positions[at], data.records.unwrap_or_default())?;
                self.positions[at] = next;
                if !found.is_empty() {
                    read.entry(what).or_default().extend(found);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn commit(&mut self, group: &str) -> Result<(), ClientError> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for (key, position) in self.keys.iter().zip(&self.positions) {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(key.partition)
                .with_committed_offset(*position)
                .with_committed_metadata(Some(StrBytes::default()));
            topics.entry(&key.topic).or_default().push(partition);
        }
        let topics = topics
            .into_iter()
            .map(|(name, list)| OffsetCommitRequestTopic::default().with_name(topic_name(name)).with_partitions(list));
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(group))
            .with_generation_id_or_member_epoch(self.membership.1)
            .with_member_id(self.membership.0.clone())
            .with_topics(topics.collect());
        let answer = self.client.get().await?.coordinator(group).await?.send(&request).await?;
        let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.try_for_each(|partition| ClientError::check("commit", partition.error_code, None))
    }

    async fn committed(&mut self, group: &str) -> Result<BTreeMap<String, Option<i64>>, ClientError> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for key in &self.keys {
            topics.entry(&key.topic).or_default().push(key.partition);
        }
        let topics = topics.into_iter().map(|(name, list)| {
            OffsetFetchRequestTopics::default().with_name(topic_name(name)).with_partition_indexes(list)
        });
        let asked = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(group))
            .with_member_id(None)
            .with_topics(Some(topics.collect()));
        let request = OffsetFetchRequest::default().with_groups(vec![asked]).with_require_stable(true);
        let answer = self.client.get().await?.coordinator(group).await?.send(&request).await?;
        let mut found = BTreeMap::new();
        for group in &answer.groups {
            ClientError::check("committed offsets", group.error_code, None)?;
            for topic in &group.topics {
                for partition in &topic.partitions {
                    ClientError::check("committed offsets", partition.error_code, None)?;
                    let name = super::workload::key_name(&topic.name, partition.partition_index);
                    found.insert(name, Some(partition.committed_offset).filter(|offset| *offset >= 0));
                }
            }
        }
        Ok(found)
    }
}

/// Reads until told to stop.
pub(super) async fn run(number: u32, keys: Vec<Key>, load: Arc<Load>, recorder: Arc<Recorder>, stop: Arc<AtomicBool>) {
    let group = format!("assigned-{number}");
    let process = recorder.process(number, Some(&group));
    let mut consumer = Consumer::new(&load.bootstrap, u64::from(number), keys);
    process.assign(&consumer.names(), true);
    let (mut born, mut last_commit, mut out_of_range) = (Instant::now(), Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        let error = poll(&process, &mut consumer).await;
        match &error {
            Some(why) if why.contains("OFFSET_OUT_OF_RANGE") => out_of_range += 1,
            Some(_) => {}
            None => out_of_range = 0,
        }
        if error.is_some() {
            tokio::time::sleep(BACKOFF).await;
        }
        if last_commit.elapsed() > COMMIT_EVERY {
            if commit(&process, &group, &mut consumer).await.is_err() {
                consumer.client.forget();
            }
            last_commit = Instant::now();
        }
        // What was committed, as the one who comes after would be told; out of range for long, only the beginning is left.
        if born.elapsed() > LIFE || out_of_range > 50 {
            consumer.client.forget();
            let from_start = out_of_range > 50;
            if begin_again(&process, &group, &mut consumer, from_start).await {
                (born, out_of_range) = (Instant::now(), 0);
            }
        }
    }
}

/// A poll that is written down; its error, if some key failed.
pub(super) async fn poll(process: &Process<'_>, consumer: &mut Consumer) -> Option<String> {
    let before = consumer.positions.clone();
    process.invoke(Function::Poll, vec![Micro::Poll(Read::new())]);
    let (read, error) = consumer.poll().await;
    match &error {
        Some(why) if read.is_empty() => {
            consumer.positions = before;
            process.failed(EntryType::Fail, Function::Poll, why);
        }
        _ => {
            process.ok(Function::Poll, vec![Micro::Poll(read)]);
        }
    }
    error
}

/// A commit of all positions that is written down.
pub(super) async fn commit(process: &Process<'_>, group: &str, consumer: &mut Consumer) -> Result<(), ClientError> {
    let offsets = consumer.names().into_iter().zip(consumer.positions.iter().copied()).collect();
    process.invoke(Function::Poll, vec![Micro::Commit(offsets)]);
    let done = attempt(consumer.commit(group)).await;
    match &done {
        Ok(()) => {
            process.ok(Function::Poll, Vec::new());
        }
        Err(error) => {
            let refused =
                [ResponseError::IllegalGeneration, ResponseError::UnknownMemberId, ResponseError::RebalanceInProgress];
            // Who is no member, or of another generation, is refused before anything is written.
            let never = error.code().is_some_and(|code| refused.contains(&code));
            let kind = if never { EntryType::Fail } else { EntryType::Info };
            process.failed(kind, Function::Poll, &error.to_string());
        }
    }
    done
}

/// Reads where the group had committed, writes that down, and goes there; false if nobody said it.
pub(super) async fn resume(process: &Process<'_>, group: &str, consumer: &mut Consumer) -> bool {
    let Some(found) = observe_committed(process, group, consumer).await else { return false };
    let names = consumer.names();
    for (name, position) in names.iter().zip(&mut consumer.positions) {
        *position = found.get(name).copied().flatten().unwrap_or(0);
    }
    true
}

async fn observe_committed(
    process: &Process<'_>,
    group: &str,
    consumer: &mut Consumer,
) -> Option<BTreeMap<String, Option<i64>>> {
    let asked = vec![Micro::Committed(consumer.names().into_iter().map(|name| (name, None)).collect())];
    process.invoke(Function::Observe, asked);
    match attempt(consumer.committed(group)).await {
        Ok(found) => {
            process.ok(Function::Observe, vec![Micro::Committed(found.clone())]);
            Some(found)
        }
        Err(error) => {
            consumer.client.forget();
            process.failed(EntryType::Fail, Function::Observe, &error.to_string());
            None
        }
    }
}

async fn begin_again(process: &Process<'_>, group: &str, consumer: &mut Consumer, from_start: bool) -> bool {
    let Some(found) = observe_committed(process, group, consumer).await else { return false };
    process.crash();
    let names = consumer.names();
    for (name, position) in names.iter().zip(&mut consumer.positions) {
        *position = found.get(name).copied().flatten().filter(|_| !from_start).unwrap_or(0);
    }
    process.assign(&names, from_start);
    true
}

/// Offset and number of each record from `from` on, and the offset after them.
fn values(what: &str, from: i64, bytes: bytes::Bytes) -> Result<(Vec<(i64, i64)>, i64), ClientError> {
    let garbled = |reason: String| ClientError::Garbled { address: what.to_owned(), api: "Fetch", reason };
    let (mut found, mut next) = (Vec::new(), from);
    for batch in Batch::split_all(bytes) {
        let batch = batch.map_err(|error| garbled(error.to_string()))?;
        next = next.max(batch.header().last_offset().saturating_add(1));
        if batch.header().is_control() {
            continue;
        }
        let decoded = records(&batch, BATCH_MAX).map_err(|error| garbled(error.to_string()))?;
        for record in decoded.iter() {
            let record = record.map_err(|error| garbled(error.to_string()))?;
            let offset = decoded.offset(&record);
            if offset >= from {
                found.push((offset, number(&record.value).ok_or_else(|| garbled("a record that nobody sent".into()))?));
            }
        }
    }
    Ok((found, next))
}

/// The number at the beginning of a value.
fn number(value: &Option<&[u8]>) -> Option<i64> {
    let text = value.as_ref()?.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads every key from its beginning to `ends`, as the final phase does; what is left out after `patience` is returned.
pub(super) async fn read_all(
    process: &Process<'_>,
    consumer: &mut Consumer,
    ends: &[i64],
    patience: Duration,
) -> Vec<String> {
    process.assign(&consumer.names(), true);
    let deadline = Instant::now() + patience;
    let out_of_range = ResponseError::OffsetOutOfRange.code();
    loop {
        let left: Vec<String> = (consumer.names().into_iter().zip(&consumer.positions).zip(ends))
            .filter(|((_, at), end)| at < end)
            .map(|((name, at), end)| format!("{name}: read to {at} of {end}"))
            .collect();
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        if let Some(why) = poll(process, consumer).await {
            if why.contains(&crate::client::code_name(out_of_range)) {
                return left.into_iter().map(|key| format!("{key} ({why})")).collect();
            }
            tokio::time::sleep(BACKOFF).await;
        }
    }
}
