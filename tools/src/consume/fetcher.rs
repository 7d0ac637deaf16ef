//! Fetches partitions from their leaders, follows leaders that move, and hands on checked batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jackdaw_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use jackdaw_protocol::messages::fetch_response::PartitionData;
use jackdaw_protocol::messages::{FetchRequest, ResponseError};
use jackdaw_protocol::records::Batch;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::client::{Client, ClientError, EARLIEST, READ_COMMITTED, topic_name};
use crate::output;

const MAX_WAIT_MS: i32 = 500;
/// Enough to keep a connection busy, little enough to hold a few of them in memory.
const MAX_BYTES: i32 = 8 << 20;
const PARTITION_MAX_BYTES: i32 = 1 << 20;
/// Answers read ahead of the printer.
const READ_AHEAD: usize = 2;
const RETRY_BACKOFF: Duration = Duration::from_millis(200);
/// How often in a row the leaders may fail, before the error is told and reading ends.
const MAX_FAILURES: u32 = 100;

/// What came of one partition.
pub(super) struct Fetched {
    pub(super) partition: i32,
    pub(super) broker: i32,
    pub(super) batches: Vec<Batch>,
    /// Where the records that were asked for begin; the first batch may begin before.
    pub(super) from: i64,
    /// The offset after these records.
    pub(super) next: i64,
    /// Transactions that were aborted: first offset and producer id.
    pub(super) aborted: Vec<(i64, i64)>,
}

type Results = mpsc::Sender<Result<Fetched, ClientError>>;

/// What the tasks of one fetcher share.
#[derive(Clone)]
struct Scope {
    client: Arc<Client>,
    topic: Arc<str>,
    isolation: i8,
    results: Results,
}

/// Fetches in the background until dropped.
pub(super) struct Fetcher {
    pub(super) results: mpsc::Receiver<Result<Fetched, ClientError>>,
    task: JoinHandle<()>,
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fetcher {
    /// Starts at the given offset of each partition.
    pub(super) fn start(client: &Arc<Client>, topic: &str, isolation: i8, positions: BTreeMap<i32, i64>) -> Fetcher {
        let (sender, results) = mpsc::channel(READ_AHEAD);
        let scope = Scope { client: Arc::clone(client), topic: topic.into(), isolation, results: sender };
        Fetcher { results, task: tokio::spawn(drive(scope, positions)) }
    }
}

/// Keeps one task for each leader; partitions whose leader fails are given to their next one.
async fn drive(scope: Scope, positions: BTreeMap<i32, i64>) {
    let mut waiting = positions;
    let mut tasks: JoinSet<Stopped> = JoinSet::new();
    let mut failures = 0;
    loop {
        match by_leader(&scope, &waiting).await {
            Ok(groups) => {
                waiting.clear();
                for (leader, positions) in groups {
                    tasks.spawn(fetch_from(scope.clone(), leader, positions));
                }
                if let Some(Ok(stopped)) = tasks.join_next().await {
                    failures = if stopped.progressed { 1 } else { failures + 1 };
                    waiting = stopped.positions;
                    if !stopped.error.is_retriable() || failures > MAX_FAILURES {
                        let _ = scope.results.send(Err(stopped.error)).await;
                        return;
                    }
                }
            }
            Err(error) => {
                failures += 1;
                if !error.is_retriable() || failures > MAX_FAILURES {
                    let _ = scope.results.send(Err(error)).await;
                    return;
                }
            }
        }
        if scope.results.is_closed() {
            return;
        }
        scope.client.forget_leader(&scope.topic).await;
        tokio::time::sleep(RETRY_BACKOFF).await;
    }
}

async fn by_leader(
    scope: &Scope,
    positions: &BTreeMap<i32, i64>,
) -> Result<BTreeMap<i32, BTreeMap<i32, i64>>, ClientError> {
    let mut groups: BTreeMap<i32, BTreeMap<i32, i64>> = BTreeMap::new();
    for (&partition, &offset) in positions {
        let leader = scope.client.leader(&scope.topic, partition).await?;
        groups.entry(leader).or_default().insert(partition, offset);
    }
    Ok(groups)
}

/// Why a task ended, and where its partitions stand.
struct Stopped {
    positions: BTreeMap<i32, i64>,
    error: ClientError,
    progressed: bool,
}

async fn fetch_from(scope: Scope, leader: i32, mut positions: BTreeMap<i32, i64>) -> Stopped {
    let mut progressed = false;
    let error = loop {
        match fetch_once(&scope, leader, &mut positions).await {
            Ok(()) => progressed = true,
            Err(error) => break error,
        }
    };
    Stopped { positions, error, progressed }
}

async fn fetch_once(scope: &Scope, leader: i32, positions: &mut BTreeMap<i32, i64>) -> Result<(), ClientError> {
    let wanted = positions.iter().map(|(&partition, &offset)| {
        FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(PARTITION_MAX_BYTES)
    });
    let topic = FetchTopic::default().with_topic(topic_name(&scope.topic)).with_partitions(wanted.collect());
    let request = FetchRequest::default()
        .with_max_wait_ms(MAX_WAIT_MS)
        .with_min_bytes(1)
        .with_max_bytes(MAX_BYTES)
        .with_isolation_level(scope.isolation)
        .with_topics(vec![topic]);
    let answer = scope.client.broker(leader).await?.send(&request).await?;
    ClientError::check(format!("fetch from broker {leader}"), answer.error_code, None)?;
    for data in answer.responses.into_iter().flat_map(|topic| topic.partitions) {
        let partition = data.partition_index;
        let Some(&from) = positions.get(&partition) else { continue };
        if data.error_code == ResponseError::OffsetOutOfRange.code() {
            let first = earliest(scope, partition).await?;
            output::complain(&format_args!(
                "{}[{partition}]: offset {from} is gone, going on at the first there is, {first}",
                scope.topic
            ));
            positions.insert(partition, first);
            continue;
        }
        ClientError::check(format!("{}[{partition}]", scope.topic), data.error_code, None)?;
        let fetched = checked(scope, leader, from, data)?;
        let next = fetched.next;
        if scope.results.send(Ok(fetched)).await.is_err() {
            // Nobody reads any more; the task is about to be aborted.
            return std::future::pending().await;
        }
        positions.insert(partition, next);
    }
    Ok(())
}

async fn earliest(scope: &Scope, partition: i32) -> Result<i64, ClientError> {
    let found = scope.client.list_offsets(&scope.topic, &[(partition, EARLIEST)], scope.isolation).await?;
    Ok(found.get(&partition).copied().unwrap_or(0))
}

fn checked(scope: &Scope, broker: i32, from: i64, data: PartitionData) -> Result<Fetched, ClientError> {
    let partition = data.partition_index;
    let mut next = from;
    let mut batches = Vec::new();
    for batch in Batch::split_all(data.records.unwrap_or_default()) {
        let batch = batch.map_err(|error| ClientError::Garbled {
            address: format!("broker {broker}"),
            api: "Fetch",
            reason: format!("{}[{partition}] after offset {next}: {error}", scope.topic),
        })?;
        next = next.max(batch.header().last_offset().saturating_add(1));
        batches.push(batch);
    }
    let aborted = data.aborted_transactions.filter(|_| scope.isolation == READ_COMMITTED).unwrap_or_default();
    let aborted = aborted.iter().map(|aborted| (aborted.first_offset, aborted.producer_id.0)).collect();
    Ok(Fetched { partition, broker, batches, from, next, aborted })
}
