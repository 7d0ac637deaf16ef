//! Sends the batches of one partition in order, a few at a time, and again where that may help.
//!
//! With acks=all the batches carry a producer id and sequence numbers, so that sending again neither doubles nor
//! reorders records (KIP-98). A batch that is lost for good leaves a gap in the sequence: what follows then goes on
//! under a new producer id.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jackdaw_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use jackdaw_protocol::messages::{
    InitProducerIdRequest, ProduceRequest, ProduceResponse, ResponseError, produce_response::PartitionProduceResponse,
};
use jackdaw_protocol::records::{Batch, BatchBuilder, stamp_producer};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use crate::client::{ANSWER_TIMEOUT, Client, ClientError, is_retriable, topic_name};
use crate::output;

/// What brokers remember of a producer, hence how many batches may be under way (KIP-98).
const IN_FLIGHT: usize = 5;
const RETRY_BACKOFF: Duration = Duration::from_millis(100);

/// What all partitions share.
pub(super) struct Shared {
    pub(super) client: Arc<Client>,
    pub(super) topic: String,
    pub(super) acks: i16,
    /// How long a batch is tried.
    pub(super) timeout: Duration,
    pub(super) written: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// Records on their way, with the lines they come from.
pub(super) struct Sealed {
    pub(super) builder: BatchBuilder,
    pub(super) lines: Vec<u64>,
    /// Gives its bytes back to the budget when the batch is done.
    pub(super) budget: OwnedSemaphorePermit,
}

type Answering = Pin<Box<dyn Future<Output = Result<ProduceResponse, ClientError>> + Send + Sync>>;

struct InFlight {
    bytes: Bytes,
    lines: Vec<u64>,
    since: Instant,
    answer: Answering,
    _budget: OwnedSemaphorePermit,
}

#[derive(Debug, Clone, Copy)]
struct Identity {
    id: i64,
    epoch: i16,
    next_sequence: i32,
}

/// The sender of one partition.
pub(super) struct PartitionSender {
    shared: Arc<Shared>,
    partition: i32,
    identity: Option<Identity>,
    in_flight: VecDeque<InFlight>,
    /// Why nothing more is tried.
    given_up: Option<String>,
}

impl PartitionSender {
    pub(super) fn new(shared: Arc<Shared>, partition: i32) -> PartitionSender {
        PartitionSender { shared, partition, identity: None, in_flight: VecDeque::new(), given_up: None }
    }

    /// Sends all that comes, until the channel is closed and everything is answered.
    pub(super) async fn run(mut self, mut batches: mpsc::Receiver<Sealed>) {
        let mut more = true;
        while more || !self.in_flight.is_empty() {
            tokio::select! {
                sealed = batches.recv(), if more && self.in_flight.len() < IN_FLIGHT => match sealed {
                    Some(sealed) => self.accept(sealed).await,
                    None => more = false,
                },
                answer = first_answer(&mut self.in_flight), if !self.in_flight.is_empty() => self.settle(answer).await,
            }
        }
    }

    async fn accept(&mut self, sealed: Sealed) {
        if let Some(reason) = &self.given_up {
            return self.lose(&sealed.lines, reason);
        }
        let mut builder = sealed.builder;
        if self.shared.acks == -1 {
            match self.identity(builder.count() as i32).await {
                Ok(Identity { id, epoch, next_sequence }) => builder = builder.producer(id, epoch, next_sequence),
                Err(error) => return self.give_up(&sealed.lines, &error),
            }
        }
        let bytes = builder.build();
        let answer = self.transmit(bytes.clone()).await;
        let since = Instant::now();
        self.in_flight.push_back(InFlight { bytes, lines: sealed.lines, since, answer, _budget: sealed.budget });
    }

    /// Takes the next `count` sequence numbers; they wrap around at 2^31.
    async fn identity(&mut self, count: i32) -> Result<Identity, ClientError> {
        let current = match self.identity {
            Some(identity) => identity,
            None => self.new_identity().await?,
        };
        let next_sequence = current.next_sequence.wrapping_add(count) & i32::MAX;
        self.identity = Some(Identity { next_sequence, ..current });
        Ok(current)
    }

    async fn new_identity(&self) -> Result<Identity, ClientError> {
        let deadline = Instant::now() + self.shared.timeout;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        loop {
            let asked = async {
                let answer = self.shared.client.any().await?.send(&request).await?;
                ClientError::check("producer id", answer.error_code, None)?;
                Ok(Identity { id: answer.producer_id.0, epoch: answer.producer_epoch, next_sequence: 0 })
            };
            match asked.await {
                Err(error) if ClientError::is_retriable(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(RETRY_BACKOFF).await;
                }
                result => return result,
            }
        }
    }

    /// Writes a batch to the leader; what goes wrong is found in the answer.
    async fn transmit(&self, bytes: Bytes) -> Answering {
        match self.try_transmit(bytes).await {
            Ok(answer) => answer,
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    async fn try_transmit(&self, bytes: Bytes) -> Result<Answering, ClientError> {
        let shared = &self.shared;
        let leader = shared.client.leader(&shared.topic, self.partition).await?;
        let connection = shared.client.broker(leader).await?;
        let data = PartitionProduceData::default().with_index(self.partition).with_records(Some(bytes.clone()));
        let topic = TopicProduceData::default().with_name(topic_name(&shared.topic)).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(None)
            .with_acks(shared.acks)
            .with_timeout_ms(shared.timeout.as_millis() as i32)
            .with_topic_data(vec![topic]);
        if shared.acks == 0 {
            connection.send_unanswered(&request, [bytes]).await?;
            return Ok(Box::pin(async { Ok(ProduceResponse::default()) }));
        }
        let answer = connection.start(&request, [bytes]).await?;
        let patience = shared.timeout + ANSWER_TIMEOUT;
        Ok(Box::pin(answer.wait(patience)))
    }

    /// Takes the answer to the oldest batch.
    async fn settle(&mut self, answer: Result<ProduceResponse, ClientError>) {
        let Some(oldest) = self.in_flight.front() else { return };
        let expired = oldest.since.elapsed() > self.shared.timeout;
        let verdict = match answer {
            Ok(response) => verdict(&response, expired),
            Err(error) if error.is_retriable() && !expired => Verdict::Again,
            Err(error) => Verdict::Unreachable(error),
        };
        match verdict {
            Verdict::Written => {
                let done = self.in_flight.pop_front().map_or(0, |batch| batch.lines.len());
                self.shared.written.fetch_add(done as u64, Ordering::Relaxed);
            }
            Verdict::Again => {
                tokio::time::sleep(RETRY_BACKOFF).await;
                self.shared.client.forget_leader(&self.shared.topic).await;
                self.send_again().await;
            }
            Verdict::Refused(answer) => {
                if let Some(batch) = self.in_flight.pop_front() {
                    self.report(&batch.lines, &answer);
                }
                self.start_over().await;
            }
            Verdict::Unreachable(error) => {
                let lines: Vec<u64> = self.in_flight.drain(..).flat_map(|batch| batch.lines).collect();
                self.give_up(&lines, &error);
            }
        }
    }

    /// Sends everything under way once more, in order. Answers to the earlier attempts are not waited for.
    async fn send_again(&mut self) {
        for index in 0..self.in_flight.len() {
            let answer = self.transmit(self.in_flight[index].bytes.clone()).await;
            self.in_flight[index].answer = answer;
        }
    }

    /// Goes on after a lost batch: the sequence has a gap, which brokers refuse, so a new one begins.
    async fn start_over(&mut self) {
        if self.identity.take().is_none() || self.in_flight.is_empty() {
            return;
        }
        for index in 0..self.in_flight.len() {
            let count = self.in_flight[index].lines.len() as i32;
            match self.identity(count).await {
                Ok(identity) => restamp(&mut self.in_flight[index].bytes, identity),
                Err(error) => {
                    let lines: Vec<u64> = self.in_flight.drain(..).flat_map(|batch| batch.lines).collect();
                    return self.give_up(&lines, &error);
                }
            }
        }
        self.send_again().await;
    }

    /// Tells which records of a refused batch are to blame, where the broker says so (KIP-467).
    fn report(&self, lines: &[u64], answer: &PartitionProduceResponse) {
        let what = format!("{}[{}]", self.shared.topic, self.partition);
        let error = ClientError::kafka(what, answer.error_code, answer.error_message.as_deref());
        for record in &answer.record_errors {
            let message = record.batch_index_error_message.as_deref().unwrap_or("invalid record");
            if let Some(line) = usize::try_from(record.batch_index).ok().and_then(|index| lines.get(index)) {
                output::complain(&format_args!("line {line}: {message}"));
            }
        }
        self.lose(lines, &error.to_string());
    }

    fn give_up(&mut self, lines: &[u64], error: &ClientError) {
        let reason = error.to_string();
        self.lose(lines, &reason);
        self.given_up = Some(reason);
    }

    fn lose(&self, lines: &[u64], reason: &str) {
        self.shared.failed.fetch_add(lines.len() as u64, Ordering::Relaxed);
        output::complain(&format_args!("{} not written: {reason}", line_ranges(lines)));
    }
}

async fn first_answer(in_flight: &mut VecDeque<InFlight>) -> Result<ProduceResponse, ClientError> {
    match in_flight.front_mut() {
        Some(batch) => (&mut batch.answer).await,
        None => std::future::pending().await,
    }
}

enum Verdict {
    Written,
    Again,
    Refused(PartitionProduceResponse),
    Unreachable(ClientError),
}

fn verdict(response: &ProduceResponse, expired: bool) -> Verdict {
    let Some(partition) = response.responses.iter().flat_map(|topic| &topic.partition_responses).next() else {
        // Only acks=0 has no answer.
        return Verdict::Written;
    };
    match partition.error_code {
        0 => Verdict::Written,
        // Written by an earlier attempt, so long ago that the broker forgot its offset.
        code if code == ResponseError::DuplicateSequenceNumber.code() => Verdict::Written,
        code if is_retriable(code) && !expired => Verdict::Again,
        _ => Verdict::Refused(partition.clone()),
    }
}

fn restamp(bytes: &mut Bytes, identity: Identity) {
    let Ok(batch) = Batch::check(bytes.clone()) else { return };
    let header = stamp_producer(&batch, identity.id, identity.epoch, identity.next_sequence);
    let mut stamped = BytesMut::with_capacity(bytes.len());
    stamped.extend_from_slice(&header);
    stamped.extend_from_slice(&batch.body());
    *bytes = stamped.freeze();
}

/// "line 4", "lines 4-9, 12".
fn line_ranges(lines: &[u64]) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for &line in lines {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == line => *last = line,
            _ => ranges.push((line, line)),
        }
    }
    let text = |&(first, last): &(u64, u64)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    let word = if lines.len() == 1 { "line" } else { "lines" };
    format!("{word} {}", ranges.iter().map(text).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_in_ranges() {
        assert_eq!(line_ranges(&[4]), "line 4");
        assert_eq!(line_ranges(&[1, 2, 3, 7, 9, 10]), "lines 1-3, 7, 9-10");
    }
}
