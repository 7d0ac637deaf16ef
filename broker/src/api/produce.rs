//! Produce, 3 to 13 (0 to 2 are named in ApiVersions but not served, as Kafka 4 does: old librdkafka looks for them to
//! learn which codecs it may use, KAFKA-18659).
//!
//! Version notes: 5 adds the log start offset, 7 allows zstd, 8 explains errors (KIP-467), 9 is flexible, 10 names the
//! new leader (KIP-951), 13 names topics by id (KIP-516).
//!
//! Requests that one connection sent together are one [`ProduceRun`]: each partition is appended to once per run, with
//! one write, however many requests there are. Batches stay as received; nothing is decoded but their header, unless
//! the topic's settings ask for more: see [`intake`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jackdaw_protocol::messages::{
    HeaderVersion, Message, ProduceRequest, ProduceResponse, Request as _, ResponseError, StrBytes, VersionRange,
};
use jackdaw_protocol::produce::{self, Data, Leaders, Outcome, Request, Topic, write_answer};
use jackdaw_protocol::records::{Batch, Codec};
use jackdaw_storage::{AppendError, Appended, Origin};

use super::errors::{self, Failure};
use super::leader_hints::LeaderHints;
use super::{ConnectionInfo, Context, decode as decode_request};
use crate::broker::Broker;
use crate::config::TopicConfig;
use crate::limits;
use crate::net::{Answers, Outgoing};
use crate::partition::{NotDurable, Partition, intake};

/// API key.
pub const KEY: i16 = ProduceRequest::KEY;
/// Versions served.
pub const VERSIONS: VersionRange = ProduceRequest::VERSIONS;
/// Lowest version named in ApiVersions.
pub const ADVERTISED_MIN: i16 = 0;

/// acks=all
const ALL: i16 = -1;
const ZSTD_SINCE: i16 = 7;
const TOPIC_ID_SINCE: i16 = 13;
/// An idle connection keeps lists for about so many partitions' records.
const KEPT_OUTCOMES: usize = 32;
/// Clients with this id may write internal topics, as in Kafka.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// One request of a run.
struct Pending {
    correlation_id: i32,
    version: i16,
    acks: i16,
    timeout_ms: i32,
    /// How many of the run's topics and outcomes are its.
    topics: usize,
    outcomes: usize,
}

/// One batch of a run on its way to its partition, and where its result belongs.
struct Item {
    partition: Arc<Partition>,
    outcome: usize,
}

/// Produce requests of one connection that are appended together.
#[derive(Default)]
pub struct ProduceRun {
    /// The request being added; kept for its memory.
    request: Request,
    requests: Vec<Pending>,
    /// Of all requests, one after the other.
    topics: Vec<Topic>,
    outcomes: Vec<Outcome>,
    items: Vec<Item>,
    batches: Vec<Batch>,
    results: Vec<Result<Appended, AppendError>>,
    /// Of each item: its last offset, or -1 if it was refused.
    last_offsets: Vec<i64>,
    /// Of each item: the leader epoch that it was appended in.
    epochs: Vec<i32>,
    bytes: usize,
}

impl ProduceRun {
    /// Requests in the run.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Whether the run must be finished before another request is added.
    pub fn is_full(&self) -> bool {
        self.requests.len() >= limits::PRODUCE_RUN_REQUESTS || self.bytes >= limits::PRODUCE_RUN_BYTES
    }

    /// Guards, decodes and checks one request; what is wrong with a partition's records is noted in its answer. An error
    /// is the reason to close the connection.
    pub fn add(&mut self, ctx: &Context<'_>, correlation_id: i32, body: Bytes) -> Result<(), String> {
        if !self.request.read(ctx.api_version, &body) {
            decode(ctx.api_version, body, &mut self.request)?;
        }
        let (acks, timeout_ms) = (self.request.acks, self.request.timeout_ms);
        let refused = match acks {
            -1..=1 if self.request.transactional_id.is_none() => None,
            -1..=1 => Some(Failure::with(
                ResponseError::InvalidTxnState,
                "transactions are not served yet: produce without transactional.id",
            )),
            acks => Some(Failure::with(ResponseError::InvalidRequiredAcks, format!("acks={acks} is not -1, 0 or 1"))),
        };
        let outcomes = self.request.data.len();
        let mut data = self.request.data.drain(..);
        for topic in &self.request.topics {
            for data in data.by_ref().take(topic.partitions) {
                let mut outcome = Outcome {
                    index: data.index,
                    error_code: 0,
                    base_offset: -1,
                    log_append_time_ms: -1,
                    log_start_offset: -1,
                    error_message: None,
                    record_errors: Vec::new(),
                };
                let admitted = match &refused {
                    Some(failure) => Err(failure.clone()),
                    None => find(ctx, &topic.name, topic.id, data.index)
                        .and_then(|partition| Ok((admit(ctx, &partition, data.records, acks)?, partition))),
                };
                match admitted {
                    Ok((batch, partition)) => {
                        self.bytes += batch.bytes().len();
                        self.batches.push(batch);
                        self.items.push(Item { partition, outcome: self.outcomes.len() });
                    }
                    Err(failure) => fail(&mut outcome, failure),
                }
                self.outcomes.push(outcome);
            }
        }
        drop(data);
        let topics = self.request.topics.len();
        self.topics.append(&mut self.request.topics);
        self.requests.push(Pending { correlation_id, version: ctx.api_version, acks, timeout_ms, topics, outcomes });
        Ok(())
    }

    /// Appends everything and queues the answers in the order of the requests. An error is the reason to close.
    pub fn finish(
        &mut self,
        broker: &Arc<Broker>,
        connection: &Arc<ConnectionInfo>,
        answers: &mut Answers,
    ) -> Result<(), String> {
        self.append(broker.clock.now_ms());
        // Results are in the order of the items, and so of the requests and their outcomes.
        for (item, result) in self.items.iter().zip(self.results.drain(..)) {
            let outcome = &mut self.outcomes[item.outcome];
            match result {
                Ok(appended) => {
                    outcome.base_offset = appended.base_offset;
                    outcome.log_append_time_ms = appended.log_append_time;
                    outcome.log_start_offset = appended.log_start_offset;
                    self.last_offsets.push(appended.last_offset);
                }
                Err(error) => {
                    fail(outcome, errors::append(&error));
                    self.last_offsets.push(-1);
                }
            }
        }
        let answered = self.answer(&Asker { broker, connection }, answers);
        if self.outcomes.capacity() > KEPT_OUTCOMES {
            *self = ProduceRun::default();
            return answered;
        }
        self.items.clear();
        self.topics.clear();
        self.outcomes.clear();
        self.requests.clear();
        self.last_offsets.clear();
        self.epochs.clear();
        self.bytes = 0;
        answered
    }

    fn answer(&self, asker: &Asker<'_>, answers: &mut Answers) -> Result<(), String> {
        let (mut topics, mut outcomes) = (&self.topics[..], &self.outcomes[..]);
        let appended = self.last_offsets.iter().zip(&self.epochs);
        let (mut items, mut first) = (self.items.iter().zip(appended).peekable(), 0);
        for pending in &self.requests {
            let (own_topics, other_topics) = topics.split_at(pending.topics);
            let (own_outcomes, other_outcomes) = outcomes.split_at(pending.outcomes);
            (topics, outcomes) = (other_topics, other_outcomes);
            let (mut syncs, mut waits_for_others) = (Vec::new(), false);
            while let Some((item, (last_offset, epoch))) =
                items.next_if(|(item, _)| item.outcome < first + pending.outcomes)
            {
                if pending.acks == ALL && *last_offset >= 0 {
                    waits_for_others |= item.partition.leads_others();
                    syncs.push((item.outcome - first, item.partition.durable(last_offset + 1, *epoch)));
                }
            }
            first += pending.outcomes;
            let (correlation_id, version) = (pending.correlation_id, pending.version);
            match pending.acks {
                0 => close_on_error(own_outcomes)?,
                -1 if !syncs.is_empty() => {
                    let (own_topics, mut own_outcomes) = (own_topics.to_vec(), own_outcomes.to_vec());
                    let timeout = Duration::from_millis(u64::try_from(pending.timeout_ms).unwrap_or(0));
                    // Only for replicas may a client wait in vain.
                    let deadline = waits_for_others.then(|| Box::pin(tokio::time::sleep(timeout)));
                    let (broker, connection) = (asker.broker.clone(), asker.connection.clone());
                    answers.later(Box::pin(async move {
                        let mut deadline = deadline;
                        for (at, sync) in syncs {
                            let durable = match &mut deadline {
                                None => sync.await,
                                Some(deadline) => tokio::select! {
                                    biased;
                                    durable = sync => durable,
                                    () = deadline.as_mut() => Err(NotDurable::TimedOut),
                                },
                            };
                            if let Err(error) = durable {
                                own_outcomes[at].base_offset = -1;
                                fail(&mut own_outcomes[at], errors::not_durable(&error));
                            }
                        }
                        let mut out = Outgoing::default();
                        let asker = Asker { broker: &broker, connection: &connection };
                        match asker.write(correlation_id, version, &own_topics, &own_outcomes, &mut out) {
                            Ok(()) => out,
                            Err(reason) => Outgoing::broken(reason),
                        }
                    }));
                }
                _ => asker.write(correlation_id, version, own_topics, own_outcomes, answers.place())?,
            }
        }
        Ok(())
    }

    /// Appends each partition's batches with one call; `results` gets one result per item, in the items' order.
    fn append(&mut self, now_ms: i64) {
        if let [item] = &self.items[..] {
            let epoch = item.partition.append(&self.batches, Origin::Client, now_ms, &mut self.results);
            self.epochs.push(epoch);
        } else {
            self.append_by_partition(now_ms);
        }
        self.batches.clear();
    }

    fn append_by_partition(&mut self, now_ms: i64) {
        if self.items.windows(2).all(|pair| Arc::ptr_eq(&pair[0].partition, &pair[1].partition)) {
            if let Some(item) = self.items.first() {
                let epoch = item.partition.append(&self.batches, Origin::Client, now_ms, &mut self.results);
                self.epochs.resize(self.items.len(), epoch);
            }
            return;
        }
        let mut order: Vec<usize> = (0..self.items.len()).collect();
        // Stable: requests of one connection to one partition take effect in order.
        order.sort_by_key(|&at| Arc::as_ptr(&self.items[at].partition));
        let mut sorted: Vec<Option<Result<Appended, AppendError>>> = Vec::new();
        sorted.resize_with(self.items.len(), || None);
        self.epochs.resize(self.items.len(), -1);
        for group in order.chunk_by(|&a, &b| Arc::ptr_eq(&self.items[a].partition, &self.items[b].partition)) {
            let batches: Vec<Batch> = group.iter().map(|&at| self.batches[at].clone()).collect();
            let mut results = Vec::with_capacity(group.len());
            let epoch = self.items[group[0]].partition.append(&batches, Origin::Client, now_ms, &mut results);
            for (&at, result) in group.iter().zip(results) {
                sorted[at] = Some(result);
                self.epochs[at] = epoch;
            }
        }
        self.results.extend(sorted.into_iter().flatten());
        debug_assert_eq!(self.results.len(), self.items.len());
    }
}

fn find(ctx: &Context<'_>, name: &str, id: uuid::Uuid, index: i32) -> Result<Arc<Partition>, Failure> {
    let topics = &ctx.broker.topics;
    if ctx.api_version >= TOPIC_ID_SINCE {
        let topic = topics.topic_by_id(id).ok_or(Failure::from(ResponseError::UnknownTopicId))?;
        return topic.partition(index).cloned().map_err(|error| errors::find(error).into());
    }
    topics.find(name, index).map_err(|error| errors::find(error).into())
}

/// Checks one partition's records as Kafka does for clients: one batch of the current format, as a producer writes it.
fn admit(ctx: &Context<'_>, partition: &Partition, records: Option<Bytes>, acks: i16) -> Result<Batch, Failure> {
    partition.check_leader(-1).map_err(|error| Failure::from(errors::not_served(&error)))?;
    if acks == ALL && !partition.has_min_isr() {
        let (wanted, in_sync) = partition.in_sync();
        let reason = format!("{in_sync} replicas are in sync, min.insync.replicas is {wanted}: nothing was appended");
        return Err(Failure::with(ResponseError::NotEnoughReplicas, reason));
    }
    let invalid = |reason: &str| Failure::with(ResponseError::InvalidRecord, reason.to_owned());
    if partition.topic().starts_with("__") && is_internal(partition.topic()) && ctx.client_id() != ADMIN_CLIENT_ID {
        return Err(Failure::from(ResponseError::InvalidTopicException));
    }
    let records = records.filter(|records| !records.is_empty()).ok_or_else(|| invalid("there is no record batch"))?;
    let size = records.len();
    let batch = Batch::check(records).map_err(|error| errors::batch(&error))?;
    let header = batch.header();
    if header.base_offset() != 0 {
        return Err(invalid("the base offset of a produced batch must be 0"));
    }
    if header.is_control() {
        return Err(invalid("clients may not write control records"));
    }
    if header.is_log_append_time() {
        let reason = "the batch claims LogAppendTime, which only the broker may set";
        return Err(Failure::with(ResponseError::InvalidTimestamp, reason));
    }
    if header.is_transactional() {
        return Err(Failure::with(ResponseError::InvalidTxnState, "transactions are not served yet"));
    }
    if ctx.api_version < ZSTD_SINCE && header.codec().is_ok_and(|codec| codec == Codec::Zstd) {
        return Err(Failure::with(ResponseError::UnsupportedCompressionType, "zstd needs Produce version 7"));
    }
    partition.with_config(|config| {
        if size > config.max_message_bytes {
            return Err(Failure::with(
                ResponseError::MessageTooLarge,
                format!("the batch has {size} bytes, max.message.bytes is {}", config.max_message_bytes),
            ));
        }
        Ok(())
    })?;
    if partition.with_config(|config| !intake::needs_look(&batch, config)) {
        return Ok(batch);
    }
    take_in(ctx, batch, &partition.topic_config())
}

fn is_internal(topic: &str) -> bool {
    matches!(topic, "__consumer_offsets" | "__transaction_state" | "__cluster_metadata")
}

/// Looks into the batch where the topic asks for it, and packs it as the topic does.
fn take_in(ctx: &Context<'_>, batch: Batch, config: &TopicConfig) -> Result<Batch, Failure> {
    let now_ms = ctx.broker.clock.now_ms();
    let size = batch.size_in_bytes();
    let work = move || intake::take_in(batch, config, now_ms);
    let taken = if size >= limits::HEAVY_BATCH_BYTES { ctx.broker.blocking(work) } else { work() };
    taken.map_err(|error| errors::intake(&error))
}

fn fail(outcome: &mut Outcome, failure: Failure) {
    outcome.error_code = failure.error.code();
    let faults = failure.records.into_iter();
    outcome.record_errors = faults.map(|(index, reason)| (index, StrBytes::from_string(reason))).collect();
    outcome.error_message = failure.message.map(|message| StrBytes::from_string(message.into_owned()));
}

/// acks=0 has no answer in which to tell an error: Kafka closes the connection, so that the producer notices.
fn close_on_error(outcomes: &[Outcome]) -> Result<(), String> {
    match outcomes.iter().find(|outcome| outcome.error_code != 0) {
        None => Ok(()),
        Some(outcome) => Err(format!(
            "a batch sent with acks=0 was refused with error {} {}",
            outcome.error_code,
            outcome.error_message.as_deref().unwrap_or_default()
        )),
    }
}

/// Who is answered.
struct Asker<'a> {
    broker: &'a Arc<Broker>,
    connection: &'a Arc<ConnectionInfo>,
}

impl Asker<'_> {
    fn write(
        &self,
        correlation_id: i32,
        version: i16,
        topics: &[Topic],
        outcomes: &[Outcome],
        out: &mut Outgoing,
    ) -> Result<(), String> {
        let flexible = ProduceResponse::header_version(version) >= 1;
        let leaders = self.leaders(version, topics, outcomes);
        out.frame(correlation_id, flexible, |tail| {
            write_answer(version, topics, outcomes, &leaders, tail);
            Ok(())
        })
    }

    /// Who leads what was refused because another broker does.
    fn leaders(&self, version: i16, topics: &[Topic], outcomes: &[Outcome]) -> Leaders {
        let asks_elsewhere = |outcome: &Outcome| outcome.error_code == ResponseError::NotLeaderOrFollower.code();
        if version < produce::LEADER_HINTS_SINCE || !outcomes.iter().any(asks_elsewhere) {
            return Leaders::default();
        }
        let mut hints = LeaderHints::new(self.broker, self.connection);
        let mut of = Vec::new();
        let topics = topics.iter().flat_map(|topic| std::iter::repeat_n(topic, topic.partitions));
        for (place, (topic, outcome)) in topics.zip(outcomes).enumerate().filter(|(_, (_, it))| asks_elsewhere(it)) {
            let leader = hints.leader(&topic.name, topic.id, outcome.index);
            of.extend(leader.map(|(leader, epoch)| (place, leader, epoch)));
        }
        Leaders { of, nodes: hints.nodes() }
    }
}

/// Decodes a request that has not the ordinary shape.
fn decode(version: i16, body: Bytes, into: &mut Request) -> Result<(), String> {
    let decoded: ProduceRequest = decode_request(version, body)?;
    into.clear();
    into.transactional_id = decoded.transactional_id.map(|id| id.0);
    into.acks = decoded.acks;
    into.timeout_ms = decoded.timeout_ms;
    for topic in decoded.topic_data {
        let partitions = topic.partition_data.len();
        into.topics.push(Topic { name: topic.name.0, id: topic.topic_id, partitions });
        let data = topic.partition_data.into_iter();
        into.data.extend(data.map(|data| Data { index: data.index, records: data.records }));
    }
    Ok(())
}
