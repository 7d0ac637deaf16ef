//! Carries moves out, so many partitions at a time, and shows how far they are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use jackdaw_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use jackdaw_protocol::messages::elect_leaders_request::TopicPartitions;
use jackdaw_protocol::messages::{AlterPartitionReassignmentsRequest, BrokerId, ElectLeadersRequest, ResponseError};

use super::plan::Move;
use super::state;
use crate::client::{Client, ClientError, topic_name};
use crate::output::{self, CliError, Tally};

const TIMEOUT_MS: i32 = 30_000;
const LOOK_EVERY: Duration = Duration::from_millis(500);
const PREFERRED: i8 = 0;

/// A partition and the replicas it shall have; none to give up what is under way.
pub(crate) type Wish = (String, i32, Option<Vec<i32>>);

/// Asks the controller for other replicas; what it refuses is told and counted. Gives the partitions it took.
pub(crate) async fn reassign(
    client: &Client,
    wishes: &[Wish],
    tally: &mut Tally,
) -> Result<Vec<(String, i32)>, ClientError> {
    let mut by_topic: BTreeMap<&str, Vec<ReassignablePartition>> = BTreeMap::new();
    for (topic, index, replicas) in wishes {
        let replicas = replicas.as_ref().map(|ids| ids.iter().copied().map(BrokerId).collect());
        let partition = ReassignablePartition::default().with_partition_index(*index).with_replicas(replicas);
        by_topic.entry(topic).or_default().push(partition);
    }
    let topic =
        |(name, all): (&str, Vec<_>)| ReassignableTopic::default().with_name(topic_name(name)).with_partitions(all);
    let request = AlterPartitionReassignmentsRequest::default()
        .with_timeout_ms(TIMEOUT_MS)
        .with_topics(by_topic.into_iter().map(topic).collect());
    let answer = client.controller().await?.send(&request).await?;
    ClientError::check("reassignment", answer.error_code, answer.error_message.as_deref())?;
    let mut taken = Vec::new();
    for topic in &answer.responses {
        for partition in &topic.partitions {
            let what = format!("{}[{}]", topic.name.as_str(), partition.partition_index);
            match ClientError::check(what, partition.error_code, partition.error_message.as_deref()) {
                Ok(()) => taken.push((topic.name.to_string(), partition.partition_index)),
                Err(error) => tally.failed(&error),
            }
        }
    }
    Ok(taken)
}

/// Elects the preferred leaders of these partitions, or of all. Gives how many changed; one that has its leader already is
/// no failure.
pub(crate) async fn elect(
    client: &Client,
    kind: i8,
    partitions: Option<&[(String, i32)]>,
    tally: &mut Tally,
) -> Result<usize, ClientError> {
    let topics = partitions.map(|partitions| {
        let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, index) in partitions {
            by_topic.entry(topic).or_default().push(*index);
        }
        let topic = |(name, all): (&str, Vec<i32>)| {
            TopicPartitions::default().with_topic(topic_name(name)).with_partitions(all)
        };
        by_topic.into_iter().map(topic).collect()
    });
    let request = ElectLeadersRequest::default()
        .with_election_type(kind)
        .with_topic_partitions(topics)
        .with_timeout_ms(TIMEOUT_MS);
    let answer = client.controller().await?.send(&request).await?;
    let results =
        || answer.replica_election_results.iter().flat_map(|t| t.partition_result.iter().map(move |p| (t, p)));
    if results().next().is_none() {
        ClientError::check("election", answer.error_code, None)?;
    }
    let mut changed = 0;
    for (topic, partition) in results() {
        if partition.error_code == ResponseError::ElectionNotNeeded.code() {
            continue;
        }
        let what = format!("{}[{}]", topic.topic.as_str(), partition.partition_id);
        match ClientError::check(what, partition.error_code, partition.error_message.as_deref()) {
            Ok(()) => changed += 1,
            Err(error) => tally.failed(&error),
        }
    }
    Ok(changed)
}

/// Carries the moves out, at most `at_once` partitions at a time, until the last has arrived; then the preferred leaders of
/// these partitions lead.
pub(crate) async fn carry_out(client: &Client, moves: &[Move], at_once: usize) -> Result<(), CliError> {
    let mut tally = Tally::default();
    let total: u64 = moves.iter().map(|m| m.bytes).sum();
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg}") {
        bar.set_style(style);
    }
    let mut waiting: VecDeque<&Move> = moves.iter().collect();
    let mut moving: BTreeMap<(String, i32), &Move> = BTreeMap::new();
    let (mut arrived, mut arrived_bytes) = (Vec::new(), 0);
    while !waiting.is_empty() || !moving.is_empty() {
        let next: Vec<&Move> = waiting.drain(..waiting.len().min(at_once.saturating_sub(moving.len()))).collect();
        if !next.is_empty() {
            let wishes: Vec<Wish> = next.iter().map(|m| (m.topic.to_string(), m.index, Some(m.to.clone()))).collect();
            let taken: BTreeSet<(String, i32)> = reassign(client, &wishes, &mut tally).await?.into_iter().collect();
            let key = |m: &Move| (m.topic.to_string(), m.index);
            moving.extend(next.into_iter().map(|m| (key(m), m)).filter(|(key, _)| taken.contains(key)));
        }
        let ongoing = state::reassignments(client).await?;
        let still: BTreeSet<(String, i32)> = ongoing
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|p| (topic.name.to_string(), p.partition_index)))
            .collect();
        moving.retain(|key, m| {
            let left = still.contains(key);
            if !left {
                arrived_bytes += m.bytes;
                arrived.push(key.clone());
            }
            left
        });
        bar.set_message(format!("{} of {} partitions", arrived.len(), moves.len()));
        bar.set_position(arrived_bytes + underway(client, &moving, &bar).await);
        if !moving.is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    bar.finish_and_clear();
    // One that cannot lead yet will when leaders are balanced next: the move has succeeded all the same.
    let mut later = Tally::default();
    let led = if arrived.is_empty() { 0 } else { elect(client, PREFERRED, Some(&arrived), &mut later).await? };
    output::line(&format!(
        "moved {} of {} partitions ({}); {led} changed their leader",
        arrived.len(),
        moves.len(),
        HumanBytes(arrived_bytes)
    ))?;
    tally.finish()
}

/// What has been copied of the partitions that are moving. It is only shown: what a broker does not tell is not counted.
async fn underway(client: &Client, moving: &BTreeMap<(String, i32), &Move>, bar: &ProgressBar) -> u64 {
    if bar.is_hidden() || moving.is_empty() {
        return 0;
    }
    let Ok(members) = state::members(client).await else { return 0 };
    let Ok(sizes) = state::sizes(client, &members).await else { return 0 };
    let copied = |((topic, index), m): (&(String, i32), &&Move)| {
        let new = m.to.iter().filter(|id| !m.from.contains(id));
        let bytes: u64 = new.filter_map(|id| sizes.get(&(*id, topic.clone(), *index))).sum();
        bytes.min(m.bytes)
    };
    moving.iter().map(copied).sum()
}
