//! Fetch, 4 to 18.
//!
//! Version notes: 5 adds the log start offset, 7 sessions (KIP-227), 9 leader epochs (KIP-320), 10 zstd, 11 the rack
//! (KIP-392), 12 is flexible and finds divergence, 13 names topics by id, 15 moves the replica id to a tagged field,
//! 16 names new leaders (KIP-951), 17 directory ids, 18 the follower's high watermark.
//!
//! The loop is: read; enough? answer. Else register with every partition, read once more (so that no append falls
//! between), and wait for the missing bytes or the deadline. Records are slices of the segments' maps and are never
//! copied here. The first partition with records always gives one whole batch, however small the limits (KIP-74).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jackdaw_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use jackdaw_protocol::messages::{
    BrokerId, Encodable, FetchRequest, FetchResponse, HeaderVersion, ProducerId, ResponseError, StrBytes, TopicName,
};
use jackdaw_protocol::splice::Parts;
use jackdaw_storage::{ReadError, Slice};
use uuid::Uuid;

use super::errors;
use super::leader_hints::LeaderHints;
use super::{ConnectionInfo, Context, Handler, Reply, fetch_replica};
use crate::broker::Broker;
use crate::fetch::session::{self, Outcome, Params, SessionError, TopicKey, Wanted};
use crate::limits;
use crate::net::Outgoing;
use crate::partition::{Divergence, FetchWaiter, Partition, Reader, Watch};

const SESSIONS_SINCE: i16 = 7;
const TOPIC_ID_SINCE: i16 = 13;
const RACK_SINCE: i16 = 11;
/// Below it a disk error is told as "not the leader", which those clients retry.
const STORAGE_ERROR_SINCE: i16 = 6;
const LEADER_HINTS_SINCE: i16 = 16;
const READ_COMMITTED: i8 = 1;

impl Handler for FetchRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<FetchResponse> {
        let fetch = match Fetch::begin(self, ctx) {
            Ok(fetch) => fetch,
            Err(error) => return Reply::Now(session_error(error)),
        };
        if fetch.wait.is_zero() && !fetch.any_cold() {
            let read = fetch.read();
            return Reply::Now(fetch.answer(read));
        }
        if !fetch.any_cold() {
            let read = fetch.read();
            if read.is_enough(&fetch) {
                return Reply::Now(fetch.answer(read));
            }
        }
        Reply::later(fetch.wait_and_answer())
    }

    /// As the default, but the records become parts of their own.
    fn encode(response: FetchResponse, correlation_id: i32, version: i16, out: &mut Outgoing) -> Result<(), String> {
        let records = response.responses.iter().flat_map(|topic| &topic.partitions);
        let mut parts = Parts::with_records(records.filter_map(|partition| partition.records.clone()));
        response.encode(&mut parts, version).map_err(|error| format!("cannot encode Fetch {version}: {error}"))?;
        let (parts, len) = parts.into_parts();
        out.frame_of_parts(correlation_id, FetchResponse::header_version(version) >= 1, parts, len);
        Ok(())
    }
}

fn session_error(error: SessionError) -> FetchResponse {
    let (code, session_id) = match error {
        SessionError::NotFound => (ResponseError::FetchSessionIdNotFound, 0),
        SessionError::InvalidEpoch { session_id } => (ResponseError::InvalidFetchSessionEpoch, session_id),
        SessionError::TopicIdMismatch => (ResponseError::FetchSessionTopicIdError, 0),
    };
    FetchResponse::default().with_error_code(code.code()).with_session_id(session_id)
}

/// One Fetch in work.
struct Fetch {
    broker: Arc<Broker>,
    connection: Arc<ConnectionInfo>,
    version: i16,
    session: session::Fetch,
    /// The partition of each wanted entry, or the error instead.
    targets: Vec<Result<Arc<Partition>, ResponseError>>,
    min_bytes: usize,
    max_bytes: usize,
    wait: Duration,
    read_committed: bool,
    reader: Reader,
    /// The broker that fetches, if it is one.
    replica: Option<i32>,
    /// Where a consumer is that would read from a replica near it.
    rack: Option<StrBytes>,
}

/// What one pass over the partitions gave.
struct Read {
    partitions: Vec<PartitionData>,
    bytes: usize,
    failed: bool,
}

/// What ends a wait.
enum Ended {
    Records,
    Pause,
    Deadline,
}

impl Read {
    fn is_enough(&self, fetch: &Fetch) -> bool {
        self.failed || self.bytes >= fetch.min_bytes || fetch.wait.is_zero() || fetch.targets.is_empty()
    }
}

impl Fetch {
    fn begin(request: FetchRequest, ctx: &Context<'_>) -> Result<Fetch, SessionError> {
        let version = ctx.api_version;
        let limit = ctx.broker.config().fetch_max_bytes;
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0);
        let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(limit);
        let read_committed = request.isolation_level == READ_COMMITTED;
        let replica = fetch_replica::of(&request, version, ctx);
        let rack = Some(request.rack_id.clone()).filter(|rack| !rack.is_empty() && version >= RACK_SINCE);
        let is_replica = matches!(replica, Some(Ok(_)));
        let now_ms = ctx.broker.clock.now_ms();
        let session = ctx.broker.fetch_sessions.begin(session_request(request, version, is_replica), now_ms)?;
        let mut targets: Vec<_> = session.wanted().iter().map(|wanted| find(ctx.broker, wanted)).collect();
        if let Some(replica) = replica {
            for (wanted, target) in session.wanted().iter().zip(&mut targets) {
                let noted = target.as_ref().map(|partition| fetch_replica::note(replica, partition, &wanted.params));
                if let Ok(Err(error)) = noted {
                    *target = Err(error);
                }
            }
        }
        Ok(Fetch {
            broker: ctx.broker.clone(),
            connection: ctx.connection.clone(),
            version,
            session,
            targets,
            min_bytes,
            max_bytes,
            wait,
            read_committed: read_committed && !is_replica,
            reader: if is_replica { Reader::Replica } else { Reader::Consumer },
            replica: replica.and_then(|replica| Some(replica.ok()?.0)),
            rack,
        })
    }

    fn bound(&self, partition: &Partition) -> i64 {
        let log = partition.log();
        match self.reader {
            Reader::Replica => log.log_end_offset(),
            Reader::Consumer if self.read_committed => log.last_stable_offset(),
            Reader::Consumer => log.high_watermark(),
        }
    }

    /// Whether the first bytes to send would have to come from the disk.
    fn any_cold(&self) -> bool {
        let mut wanted = self.session.wanted().iter().zip(&self.targets);
        wanted.any(|(wanted, target)| {
            target.as_ref().is_ok_and(|partition| {
                let limit = usize::try_from(wanted.params.max_bytes).unwrap_or(0).min(self.max_bytes);
                partition.log().probably_cold(wanted.params.fetch_offset, limit)
            })
        })
    }

    fn read(&self) -> Read {
        let mut read = Read { partitions: Vec::with_capacity(self.targets.len()), bytes: 0, failed: false };
        for (wanted, target) in self.session.wanted().iter().zip(&self.targets) {
            let left = self.max_bytes.saturating_sub(read.bytes);
            let data = match target {
                Ok(partition) => self.read_partition(partition, wanted, left, read.bytes == 0),
                Err(error) => failed(wanted.partition, *error),
            };
            read.failed |=
                data.error_code != 0 || data.diverging_epoch.epoch >= 0 || data.preferred_read_replica.0 >= 0;
            read.bytes += data.records.as_ref().map_or(0, Bytes::len);
            read.partitions.push(data);
        }
        read
    }

    fn read_partition(&self, partition: &Arc<Partition>, wanted: &Wanted, left: usize, first: bool) -> PartitionData {
        let params = &wanted.params;
        if let Err(error) = self.check(partition, params) {
            return failed(wanted.partition, error);
        }
        let log = partition.log();
        if log.is_deleted() {
            return failed(wanted.partition, ResponseError::UnknownTopicOrPartition);
        }
        // Read once: records, last stable offset and aborted transactions must fit together (KAFKA-9807).
        let high_watermark = log.high_watermark();
        let last_stable = log.last_stable_offset().min(high_watermark);
        let bound = match self.reader {
            Reader::Replica => log.log_end_offset(),
            Reader::Consumer if self.read_committed => last_stable,
            Reader::Consumer => high_watermark,
        };
        let mut data = PartitionData::default()
            .with_partition_index(wanted.partition)
            .with_high_watermark(high_watermark)
            .with_last_stable_offset(last_stable)
            .with_log_start_offset(log.log_start_offset())
            .with_aborted_transactions(None)
            .with_preferred_read_replica(BrokerId(-1))
            .with_records(Some(Bytes::new()));
        if let Some(Divergence { epoch, end_offset }) = self.divergence(partition, params) {
            return data.with_diverging_epoch(EpochEndOffset::default().with_epoch(epoch).with_end_offset(end_offset));
        }
        if let Some(near) = self.rack.as_ref().and_then(|rack| fetch_replica::preferred(partition, params, rack)) {
            return data.with_preferred_read_replica(BrokerId(near));
        }
        if self.reader == Reader::Replica && self.is_held(partition) {
            return data;
        }
        let limit = usize::try_from(params.max_bytes).unwrap_or(0).min(left);
        let slice = match log.read(params.fetch_offset, limit, first, bound) {
            Ok(slice) => slice,
            Err(ReadError::OutOfRange { start, .. }) if self.reader == Reader::Replica => {
                // So that it need not ask where to go on.
                return failed(wanted.partition, ResponseError::OffsetOutOfRange).with_log_start_offset(start);
            }
            Err(ReadError::OutOfRange { offset, end, .. }) if offset > end && !partition.is_leader() => {
                // A consumer that has read elsewhere is ahead of what this follower has (KIP-392).
                return failed(wanted.partition, ResponseError::OffsetNotAvailable);
            }
            Err(error) => return failed(wanted.partition, self.code(errors::read(&error).error)),
        };
        if self.read_committed {
            match self.aborted(partition, &slice, params.fetch_offset, bound) {
                Ok(aborted) => data.aborted_transactions = Some(aborted),
                Err(error) => return failed(wanted.partition, self.code(error)),
            }
        }
        if self.reader == Reader::Replica && !slice.bytes.is_empty() {
            partition.follower_gets(bound);
            if self.is_throttled(partition) {
                self.broker.topics.view().sent.spend(slice.bytes.len());
            }
        }
        data.with_records(Some(slice.bytes))
    }

    /// Whether a replica that is not in sync gets nothing now: what it is sent is bounded.
    fn is_held(&self, partition: &Partition) -> bool {
        if !self.is_throttled(partition) {
            return false;
        }
        let rate = self.broker.config().get("leader.replication.throttled.rate").and_then(|rate| rate.parse().ok());
        let now = self.broker.clock.monotonic();
        !self.broker.topics.view().sent.is_open(rate.unwrap_or(f64::MAX), now)
    }

    fn is_throttled(&self, partition: &Partition) -> bool {
        let Some(replica) = self.replica else { return false };
        let index = partition.index();
        partition
            .with_config(|config| config.leader_replication_throttled_replicas.contains(index, self.broker.node_id()))
            && partition.with_leader(|leader| !leader.isr().contains(&replica)) == Some(true)
    }

    fn check(&self, partition: &Partition, params: &Params) -> Result<(), ResponseError> {
        // Consumers that know of racks know that replicas may be read.
        let checked = if self.reader == Reader::Replica || self.version < RACK_SINCE {
            partition.check_leader(params.current_leader_epoch)
        } else {
            partition.check_replica(params.current_leader_epoch)
        };
        checked.map_err(|error| errors::not_served(&error))
    }

    fn divergence(&self, partition: &Partition, params: &Params) -> Option<Divergence> {
        match self.reader {
            Reader::Consumer => partition.divergence(params.last_fetched_epoch, params.fetch_offset),
            Reader::Replica => fetch_replica::divergence(partition, params),
        }
    }

    fn aborted(
        &self,
        partition: &Partition,
        slice: &Slice,
        from: i64,
        bound: i64,
    ) -> Result<Vec<AbortedTransaction>, ResponseError> {
        if slice.bytes.is_empty() {
            return Ok(Vec::new());
        }
        let aborted =
            partition.log().aborted_transactions(from, bound).map_err(|error| errors::storage(&error).error)?;
        Ok(aborted
            .iter()
            .map(|txn| {
                AbortedTransaction::default()
                    .with_producer_id(ProducerId(txn.producer_id))
                    .with_first_offset(txn.first_offset)
            })
            .collect())
    }

    fn code(&self, error: ResponseError) -> ResponseError {
        match error {
            ResponseError::KafkaStorageError if self.version < STORAGE_ERROR_SINCE => {
                ResponseError::NotLeaderOrFollower
            }
            error => error,
        }
    }

    /// Waits until enough was appended, a follower has something else to learn, or the time is over.
    async fn wait_and_answer(self) -> FetchResponse {
        self.warm_up().await;
        let deadline = tokio::time::sleep(self.wait);
        tokio::pin!(deadline);
        let mut pause = limits::HIGH_WATERMARK_PAUSE;
        loop {
            let waiter = FetchWaiter::new(self.min_bytes);
            let watches: Vec<Watch> =
                self.targets.iter().flatten().map(|partition| partition.watch(&waiter, self.reader)).collect();
            // Registered first, then read: an append in between is seen by one or the other.
            let read = self.read();
            if read.is_enough(&self) {
                return self.answer(read);
            }
            waiter.feed(read.bytes);
            drop(read);
            let ended = tokio::select! {
                () = waiter.satisfied() => Ended::Records,
                () = tokio::time::sleep(pause), if self.is_behind() => Ended::Pause,
                () = &mut deadline => Ended::Deadline,
            };
            drop(watches);
            match ended {
                Ended::Records => {}
                Ended::Deadline => {
                    let read = self.read();
                    return self.answer(read);
                }
                Ended::Pause => {
                    let read = self.read();
                    if self.has_news(&read) {
                        return self.answer(read);
                    }
                    pause *= 2;
                }
            }
        }
    }

    /// Whether the high watermark that a follower was told has not come to the end of some log: it has moved, or will as
    /// soon as the other followers have asked. While records flow they bring it along; where none follow, the follower
    /// shall not learn of it only when its wait is over.
    fn is_behind(&self) -> bool {
        self.reader == Reader::Replica
            && self.targets.iter().enumerate().any(|(at, target)| {
                let end = target.as_ref().map(|partition| partition.log().log_end_offset());
                self.session.told(at).zip(end.ok()).is_some_and(|(told, end)| told < end)
            })
    }

    fn has_news(&self, read: &Read) -> bool {
        let mut partitions = read.partitions.iter().enumerate();
        partitions.any(|(at, data)| self.session.told(at).is_some_and(|told| told < data.high_watermark))
    }

    /// Faults records that are not in memory in on a blocking thread, so that no worker waits for the disk.
    async fn warm_up(&self) {
        if !self.any_cold() {
            return;
        }
        let wanted = self.session.wanted().iter().zip(&self.targets);
        let places = wanted.filter_map(|(wanted, partition)| {
            let partition = partition.as_ref().ok()?;
            let limit = usize::try_from(wanted.params.max_bytes).unwrap_or(0);
            Some((partition.clone(), wanted.params.fetch_offset, limit, self.bound(partition)))
        });
        let (places, mut left) = (places.collect::<Vec<_>>(), self.max_bytes);
        // Finding the records reads an index and the heads of batches: these are as cold as the records.
        let read_in = move || {
            let mut is_first = true;
            for (partition, offset, limit, bound) in places {
                if let Ok(slice) = partition.log().read(offset, limit.min(left), is_first, bound) {
                    left = left.saturating_sub(slice.bytes.len());
                    is_first = false;
                    slice.populate();
                }
            }
        };
        self.broker.cold_reads(read_in).await;
    }

    fn answer(self, read: Read) -> FetchResponse {
        let outcomes: Vec<Outcome> = read.partitions.iter().map(outcome).collect();
        // The session takes the list of wanted partitions with it.
        let keys: Vec<TopicKey> = self.session.wanted().iter().map(|wanted| wanted.topic.clone()).collect();
        let finished = match self.broker.fetch_sessions.finish(self.session, &outcomes, self.broker.clock.now_ms()) {
            Ok(finished) => finished,
            Err(error) => return session_error(error),
        };
        let mut response = FetchResponse::default();
        if self.version >= SESSIONS_SINCE {
            response.session_id = finished.session_id;
        }
        let all = keys.into_iter().zip(read.partitions);
        match finished.send {
            session::Send::All => all.for_each(|(topic, data)| push(&mut response, topic, data)),
            session::Send::Only(indexes) => {
                let mut indexes = indexes.into_iter().peekable();
                for (at, (topic, data)) in all.enumerate() {
                    if indexes.next_if_eq(&at).is_some() {
                        push(&mut response, topic, data);
                    }
                }
            }
        }
        if self.version >= LEADER_HINTS_SINCE {
            name_leaders(&mut response, &self.broker, &self.connection);
        }
        response
    }
}

/// Says who leads what was refused because another broker does, or because the one who asks knows an older epoch.
fn name_leaders(response: &mut FetchResponse, broker: &Broker, connection: &ConnectionInfo) {
    let asks_elsewhere = |data: &PartitionData| {
        data.error_code == ResponseError::NotLeaderOrFollower.code()
            || data.error_code == ResponseError::FencedLeaderEpoch.code()
    };
    if !response.responses.iter().flat_map(|topic| &topic.partitions).any(asks_elsewhere) {
        return;
    }
    let mut hints = LeaderHints::new(broker, connection);
    for topic in &mut response.responses {
        for data in topic.partitions.iter_mut().filter(|data| asks_elsewhere(data)) {
            if let Some((leader, epoch)) = hints.leader(&topic.topic, topic.topic_id, data.partition_index) {
                let current = LeaderIdAndEpoch::default().with_leader_id(BrokerId(leader));
                data.current_leader = current.with_leader_epoch(epoch);
            }
        }
    }
    response.node_endpoints = hints.endpoints();
}

fn push(response: &mut FetchResponse, topic: TopicKey, data: PartitionData) {
    let (name, id) = match topic {
        TopicKey::Name(name) => (TopicName(StrBytes::from_string(name.to_string())), Uuid::nil()),
        TopicKey::Id(id) => (TopicName::default(), id),
    };
    match response.responses.last_mut() {
        Some(last) if last.topic == name && last.topic_id == id => last.partitions.push(data),
        _ => response
            .responses
            .push(FetchableTopicResponse::default().with_topic(name).with_topic_id(id).with_partitions(vec![data])),
    }
}

fn outcome(data: &PartitionData) -> Outcome {
    Outcome {
        has_records: data.records.as_ref().is_some_and(|records| !records.is_empty()),
        high_watermark: data.high_watermark,
        log_start_offset: data.log_start_offset,
        has_error: data.error_code != 0,
        has_redirect: data.preferred_read_replica.0 >= 0 || data.diverging_epoch.epoch >= 0,
    }
}

/// An error answers with empty records, never null, and without offsets.
fn failed(partition: i32, error: ResponseError) -> PartitionData {
    PartitionData::default()
        .with_partition_index(partition)
        .with_error_code(error.code())
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1)
        .with_aborted_transactions(None)
        .with_preferred_read_replica(BrokerId(-1))
        .with_current_leader(LeaderIdAndEpoch::default())
        .with_records(Some(Bytes::new()))
}

fn find(broker: &Broker, wanted: &Wanted) -> Result<Arc<Partition>, ResponseError> {
    match &wanted.topic {
        TopicKey::Name(name) => broker.topics.find(name, wanted.partition).map_err(errors::find),
        TopicKey::Id(id) => {
            let topic = broker.topics.topic_by_id(*id).ok_or(ResponseError::UnknownTopicId)?;
            topic.partition(wanted.partition).cloned().map_err(errors::find)
        }
    }
}

fn session_request(request: FetchRequest, version: i16, privileged: bool) -> session::Request {
    let by_topic_id = version >= TOPIC_ID_SINCE;
    let key =
        |name: &TopicName, id: Uuid| if by_topic_id { TopicKey::Id(id) } else { TopicKey::Name(name.as_str().into()) };
    let mut partitions = Vec::new();
    for topic in &request.topics {
        let topic_key = key(&topic.topic, topic.topic_id);
        partitions.extend(topic.partitions.iter().map(|partition| Wanted {
            topic: topic_key.clone(),
            partition: partition.partition,
            params: Params {
                fetch_offset: partition.fetch_offset,
                log_start_offset: partition.log_start_offset,
                max_bytes: partition.partition_max_bytes,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
            },
        }));
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let topic_key = key(&topic.topic, topic.topic_id);
        forgotten.extend(topic.partitions.iter().map(|&partition| (topic_key.clone(), partition)));
    }
    let (session_id, session_epoch) = if version >= SESSIONS_SINCE {
        (request.session_id, request.session_epoch)
    } else {
        (session::NO_SESSION, session::FINAL_EPOCH)
    };
    session::Request { session_id, session_epoch, by_topic_id, privileged, partitions, forgotten }
}
