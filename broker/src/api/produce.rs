//! Produce, 3 to 13 (0 to 2 are named in ApiVersions but not served, as Kafka 4 does: old librdkafka looks for them to
//! learn which codecs it may use, KAFKA-18659).
//!
//! Version notes: 5 adds the log start offset, 7 allows zstd, 8 explains errors (KIP-467), 9 is flexible, 10 names the
//! new leader (KIP-951), 13 names topics by id (KIP-516).
//!
//! Requests that one connection sent together are one [`ProduceRun`]: each partition is appended to once per run, with
//! one write, however many requests there are. Batches stay as received; nothing is decoded but their header, unless
//! the topic is compacted and keys must be looked at.

use std::sync::Arc;

use bytes::Bytes;
use jackdaw_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use jackdaw_protocol::messages::{
    Encodable, HeaderVersion, Message, ProduceRequest, ProduceResponse, Request, ResponseError, StrBytes, VersionRange,
};
use jackdaw_protocol::records::{self, Batch, Codec};
use jackdaw_storage::{AppendError, Appended, Origin};

use super::errors::{self, Failure};
use super::{Context, decode as decode_request};
use crate::broker::Broker;
use crate::limits;
use crate::net::{Answers, Outgoing};
use crate::partition::Partition;

/// API key.
pub const KEY: i16 = ProduceRequest::KEY;
/// Versions served.
pub const VERSIONS: VersionRange = ProduceRequest::VERSIONS;
/// Lowest version named in ApiVersions.
pub const ADVERTISED_MIN: i16 = 0;

const ZSTD_SINCE: i16 = 7;
const TOPIC_ID_SINCE: i16 = 13;
/// A compacted topic's batch may unpack to at most so many times `max.message.bytes` before its keys are looked at.
const UNPACKED_FACTOR: usize = 16;
/// Clients with this id may write internal topics, as in Kafka.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// One request of a run, with the answer as far as it is known.
struct Pending {
    correlation_id: i32,
    version: i16,
    acks: i16,
    response: ProduceResponse,
}

/// One batch of a run on its way to its partition, and where its result belongs.
struct Item {
    partition: Arc<Partition>,
    request: usize,
    topic: usize,
    index: usize,
}

/// Produce requests of one connection that are appended together.
#[derive(Default)]
pub struct ProduceRun {
    requests: Vec<Pending>,
    items: Vec<Item>,
    batches: Vec<Batch>,
    results: Vec<Result<Appended, AppendError>>,
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
        let request: ProduceRequest = decode_request(ctx.api_version, body)?;
        let refused = match request.acks {
            -1..=1 if request.transactional_id.is_none() => None,
            -1..=1 => Some(Failure::with(
                ResponseError::InvalidTxnState,
                "transactions are not served yet: produce without transactional.id",
            )),
            acks => Some(Failure::with(ResponseError::InvalidRequiredAcks, format!("acks={acks} is not -1, 0 or 1"))),
        };
        let number = self.requests.len();
        let mut topics = Vec::with_capacity(request.topic_data.len());
        for topic in request.topic_data {
            let mut partitions = Vec::with_capacity(topic.partition_data.len());
            for data in topic.partition_data {
                let mut answer = PartitionProduceResponse::default().with_index(data.index).with_base_offset(-1);
                let admitted = match &refused {
                    Some(failure) => Err(failure.clone()),
                    None => find(ctx, &topic.name, topic.topic_id, data.index)
                        .and_then(|partition| Ok((admit(ctx, &partition, data.records)?, partition))),
                };
                match admitted {
                    Ok((batch, partition)) => {
                        self.bytes += batch.bytes().len();
                        self.batches.push(batch);
                        let index = partitions.len();
                        self.items.push(Item { partition, request: number, topic: topics.len(), index });
                    }
                    Err(failure) => fail(&mut answer, failure),
                }
                partitions.push(answer);
            }
            topics.push(
                TopicProduceResponse::default()
                    .with_name(topic.name)
                    .with_topic_id(topic.topic_id)
                    .with_partition_responses(partitions),
            );
        }
        let response = ProduceResponse::default().with_responses(topics);
        self.requests.push(Pending { correlation_id, version: ctx.api_version, acks: request.acks, response });
        Ok(())
    }

    /// Appends everything and queues the answers in the order of the requests. An error is the reason to close.
    pub fn finish(&mut self, broker: &Arc<Broker>, answers: &mut Answers) -> Result<(), String> {
        self.append(broker.clock.now_ms());
        // Results are in the order of the items, and so of the requests.
        let mut items = self.items.drain(..).zip(self.results.drain(..)).peekable();
        for (number, mut pending) in self.requests.drain(..).enumerate() {
            let mut syncs = Vec::new();
            while let Some((item, result)) = items.next_if(|(item, _)| item.request == number) {
                let answer = &mut pending.response.responses[item.topic].partition_responses[item.index];
                match result {
                    Ok(appended) => {
                        answer.base_offset = appended.base_offset;
                        answer.log_append_time_ms = appended.log_append_time;
                        answer.log_start_offset = appended.log_start_offset;
                        if pending.acks == -1 {
                            syncs.push((item.topic, item.index, item.partition.durable(appended.last_offset + 1)));
                        }
                    }
                    Err(error) => fail(answer, errors::append(&error)),
                }
            }
            match pending.acks {
                0 => close_on_error(&pending.response)?,
                -1 if !syncs.is_empty() => answers.later(Box::pin(async move {
                    for (topic, index, sync) in syncs {
                        if let Err(error) = sync.await {
                            let answer = &mut pending.response.responses[topic].partition_responses[index];
                            answer.base_offset = -1;
                            fail(answer, errors::not_durable(&error));
                        }
                    }
                    let mut out = Outgoing::default();
                    match write(pending, &mut out) {
                        Ok(()) => out,
                        Err(reason) => Outgoing::broken(reason),
                    }
                })),
                _ => write(pending, answers.place())?,
            }
        }
        self.bytes = 0;
        Ok(())
    }

    /// Appends each partition's batches with one call; `results` gets one result per item, in the items' order.
    fn append(&mut self, now_ms: i64) {
        if let [item] = &self.items[..] {
            item.partition.append(&self.batches, Origin::Client, now_ms, &mut self.results);
        } else {
            self.append_by_partition(now_ms);
        }
        self.batches.clear();
    }

    fn append_by_partition(&mut self, now_ms: i64) {
        if self.items.windows(2).all(|pair| Arc::ptr_eq(&pair[0].partition, &pair[1].partition)) {
            if let Some(item) = self.items.first() {
                item.partition.append(&self.batches, Origin::Client, now_ms, &mut self.results);
            }
            return;
        }
        let mut order: Vec<usize> = (0..self.items.len()).collect();
        // Stable: requests of one connection to one partition take effect in order.
        order.sort_by_key(|&at| Arc::as_ptr(&self.items[at].partition));
        let mut sorted: Vec<Option<Result<Appended, AppendError>>> = Vec::new();
        sorted.resize_with(self.items.len(), || None);
        for group in order.chunk_by(|&a, &b| Arc::ptr_eq(&self.items[a].partition, &self.items[b].partition)) {
            let batches: Vec<Batch> = group.iter().map(|&at| self.batches[at].clone()).collect();
            let mut results = Vec::with_capacity(group.len());
            self.items[group[0]].partition.append(&batches, Origin::Client, now_ms, &mut results);
            for (&at, result) in group.iter().zip(results) {
                sorted[at] = Some(result);
            }
        }
        self.results.extend(sorted.into_iter().flatten());
        debug_assert_eq!(self.results.len(), self.items.len());
    }
}

fn find(ctx: &Context<'_>, name: &str, id: uuid::Uuid, index: i32) -> Result<Arc<Partition>, Failure> {
    if ctx.api_version >= TOPIC_ID_SINCE {
        return ctx.broker.topics.partition_by_id(id, index).ok_or_else(|| {
            if ctx.broker.topics.topic_by_id(id).is_some() {
                Failure::from(ResponseError::UnknownTopicOrPartition)
            } else {
                Failure::from(ResponseError::UnknownTopicId)
            }
        });
    }
    ctx.broker.topics.partition(name, index).ok_or(Failure::from(ResponseError::UnknownTopicOrPartition))
}

/// Checks one partition's records as Kafka does for clients: one batch of the current format, as a producer writes it.
fn admit(ctx: &Context<'_>, partition: &Partition, records: Option<Bytes>) -> Result<Batch, Failure> {
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
        if config.compact { require_keys(&batch, config.max_message_bytes) } else { Ok(()) }
    })?;
    Ok(batch)
}

fn is_internal(topic: &str) -> bool {
    matches!(topic, "__consumer_offsets" | "__transaction_state" | "__cluster_metadata")
}

/// A compacted topic keeps the last record of each key, so each record needs one.
fn require_keys(batch: &Batch, max_message_bytes: usize) -> Result<(), Failure> {
    let decoded = records::records(batch, max_message_bytes.saturating_mul(UNPACKED_FACTOR))
        .map_err(|error| Failure::with(ResponseError::CorruptMessage, error.to_string()))?;
    for record in decoded.iter() {
        let record = record.map_err(|error| Failure::with(ResponseError::InvalidRecord, error.to_string()))?;
        if record.key.is_none() {
            return Err(Failure::with(
                ResponseError::InvalidRecord,
                "a compacted topic cannot accept a record without a key",
            ));
        }
    }
    Ok(())
}

fn fail(answer: &mut PartitionProduceResponse, failure: Failure) {
    answer.error_code = failure.error.code();
    answer.error_message = failure.message.map(|message| StrBytes::from_string(message.into_owned()));
}

/// acks=0 has no answer in which to tell an error: Kafka closes the connection, so that the producer notices.
fn close_on_error(response: &ProduceResponse) -> Result<(), String> {
    let mut answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    match answers.find(|answer| answer.error_code != 0) {
        None => Ok(()),
        Some(answer) => Err(format!(
            "a batch sent with acks=0 was refused with error {} {}",
            answer.error_code,
            answer.error_message.as_deref().unwrap_or_default()
        )),
    }
}

fn write(pending: Pending, out: &mut Outgoing) -> Result<(), String> {
    let flexible = ProduceResponse::header_version(pending.version) >= 1;
    out.frame(pending.correlation_id, flexible, |tail| pending.response.encode(tail, pending.version))
        .map_err(|error| error.to_string())
}
