//! Our own producers: idempotent, one batch at a time each, tried again until its time is up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jackdaw_checker::entry::{EntryType, Function, Micro};
use jackdaw_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use jackdaw_protocol::messages::{InitProducerIdRequest, ProduceRequest, ResponseError};
use jackdaw_protocol::records::{BatchBuilder, Codec};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::client::{ATTEMPT, ChaosClient, attempt};
use super::history::{Recorder, Sample};
use super::workload::{Key, Load};
use crate::client::{ClientError, is_retriable, topic_name};

/// How long a batch is tried: longer than any fault lasts, so that most sends have an end that is known.
const DELIVERY: Duration = Duration::from_secs(45);
const BACKOFF: Duration = Duration::from_millis(50);
const RECORDS_MAX: i64 = 4;
const PADDING: usize = 60;

struct Identity {
    id: i64,
    epoch: i16,
    next: i32,
}

/// What came of a batch.
enum Sent {
    At(Option<i64>),
    Never(String),
    Unknown(String),
}

/// Sends until told to stop.
pub(super) async fn run(number: u32, load: Arc<Load>, recorder: Arc<Recorder>, stop: Arc<AtomicBool>) {
    let process = recorder.process(number, None);
    let mut random = StdRng::seed_from_u64(load.seed ^ u64::from(number) << 32);
    let mut client = ChaosClient::new(&load.bootstrap, u64::from(number));
    let mut identity: Option<Identity> = None;
    // A key of its own: one that stands still holds up no other.
    let at = number as usize % load.keys.len();
    let key = &load.keys[at];
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(load.pause.mul_f64(random.random_range(0.5..1.5))).await;
        if load.acks == -1 && identity.is_none() {
            identity = new_identity(&mut client).await;
            if identity.is_none() {
                continue;
            }
        }
        let count = random.random_range(1..=RECORDS_MAX);
        let first = recorder.values(count);
        let sends = |offset: Option<i64>| {
            let sends = (0..count).map(|i| Micro::Send {
                key: key.name.clone(),
                offset: offset.map(|base| base + i),
                value: first + i,
            });
            sends.collect::<Vec<_>>()
        };
        let began = process.invoke(Function::Send, sends(None));
        let bytes = batch(identity.as_mut(), first, count);
        let sent = send(&mut client, key, &load, &bytes).await;
        let acknowledged = matches!(sent, Sent::At(_));
        let ended = match sent {
            Sent::At(offset) => process.ok(Function::Send, sends(offset)),
            Sent::Never(why) => process.failed(EntryType::Fail, Function::Send, &why),
            Sent::Unknown(why) => {
                let ended = process.failed(EntryType::Info, Function::Send, &why);
                process.crash();
                client.forget();
                ended
            }
        };
        if !acknowledged {
            identity = None;
        }
        recorder.sample(Sample { key: u32::try_from(at).unwrap_or(0), began, ended, acknowledged });
    }
}

/// Takes the next sequence numbers, if the batch has an identity.
fn batch(identity: Option<&mut Identity>, first: i64, count: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    if let Some(identity) = identity {
        builder = builder.producer(identity.id, identity.epoch, identity.next);
        identity.next = identity.next.wrapping_add(i32::try_from(count).unwrap_or(1)) & i32::MAX;
    }
    let now = jiff::Timestamp::now().as_millisecond();
    for value in first..first + count {
        let text = format!("{value} {}", "·".repeat(PADDING / 2));
        builder.push(now, None, Some(text.as_bytes()), &[]);
    }
    builder.build()
}

async fn new_identity(client: &mut ChaosClient) -> Option<Identity> {
    let asked = async {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let answer = client.get().await?.any().await?.send(&request).await?;
        ClientError::check("producer id", answer.error_code, None)?;
        Ok(Identity { id: answer.producer_id.0, epoch: answer.producer_epoch, next: 0 })
    };
    match attempt(asked).await {
        Ok(identity) => Some(identity),
        Err(_) => {
            client.forget();
            None
        }
    }
}

/// Whether an error can only have been found before anything was appended. NOT_LEADER_OR_FOLLOWER is none: leadership may be
/// lost while the batch waits for the replicas.
fn is_before_append(code: i16) -> bool {
    let known = [
        ResponseError::NotEnoughReplicas,
        ResponseError::UnknownTopicOrPartition,
        ResponseError::LeaderNotAvailable,
        ResponseError::UnknownTopicId,
    ];
    known.iter().any(|error| error.code() == code)
}

/// With acks=all, the same batch again and again, which the broker knows by its sequence; otherwise once only.
async fn send(client: &mut ChaosClient, key: &Key, load: &Load, bytes: &Bytes) -> Sent {
    let deadline = Instant::now() + DELIVERY;
    // Whether a broker may have it, although we were not told.
    let mut doubtful = false;
    loop {
        let why = match attempt(send_once(client, key, load, bytes)).await {
            Ok((0, offset)) => return Sent::At(Some(offset).filter(|offset| *offset >= 0)),
            Ok((code, _)) if code == ResponseError::DuplicateSequenceNumber.code() => return Sent::At(None),
            Ok((code, _)) if is_retriable(code) => {
                doubtful |= !is_before_append(code);
                if let Ok(client) = client.get().await {
                    client.forget_leader(&key.topic).await;
                }
                crate::client::code_name(code)
            }
            Ok((code, _)) => {
                let why = crate::client::code_name(code);
                return if doubtful { Sent::Unknown(why) } else { Sent::Never(why) };
            }
            Err(error) => {
                doubtful |= !matches!(error, ClientError::Connect { .. } | ClientError::NoLeader { .. });
                client.forget();
                error.to_string()
            }
        };
        let may_retry = load.acks == -1;
        if !may_retry || Instant::now() > deadline {
            return if doubtful { Sent::Unknown(why) } else { Sent::Never(why) };
        }
        tokio::time::sleep(BACKOFF).await;
    }
}

async fn send_once(client: &mut ChaosClient, key: &Key, load: &Load, bytes: &Bytes) -> Result<(i16, i64), ClientError> {
    let client = client.get().await?;
    let leader = client.leader(&key.topic, key.partition).await?;
    let connection = client.broker(leader).await?;
    let data = PartitionProduceData::default().with_index(key.partition).with_records(Some(bytes.clone()));
    let topic = TopicProduceData::default().with_name(topic_name(&key.topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(load.acks)
        .with_timeout_ms(ATTEMPT.as_millis() as i32)
        .with_topic_data(vec![topic]);
    let answer = connection.start(&request, [bytes.clone()]).await?.wait(ATTEMPT).await?;
    let partition = answer.responses.iter().flat_map(|topic| &topic.partition_responses).next();
    Ok(partition.map_or((-1, -1), |partition| (partition.error_code, partition.base_offset)))
}
