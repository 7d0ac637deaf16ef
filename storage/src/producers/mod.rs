//! Pure: what a log knows of its producers (sequence windows, open transactions), and what follows from it: whether a
//! batch is new, repeated, out of order or fenced, and the first offset that is not stable yet.

mod snapshot;

use std::collections::{BTreeMap, HashMap};

use jackdaw_protocol::records::Header;

use crate::compaction::filter::LastBatch;
use crate::error::AppendError;
use crate::log::{AbortedTxn, Origin, ProducerState};

pub(crate) use snapshot::{decode_snapshot, encode_snapshot, encode_snapshot_for_kafka};

/// How many batches of a producer are remembered: the most an idempotent client has in flight.
const BATCHES_MAX: usize = 5;

/// One remembered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchMeta {
    pub(crate) last_sequence: i32,
    pub(crate) last_offset: i64,
    pub(crate) offset_delta: i32,
    pub(crate) timestamp: i64,
}

impl BatchMeta {
    fn first_sequence(&self) -> i32 {
        let first = i64::from(self.last_sequence) - i64::from(self.offset_delta);
        // Sequences wrap from 2^31-1 to 0.
        (if first >= 0 { first } else { first + (1 << 31) }) as i32
    }

    pub(crate) fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// What is known of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    pub(crate) coordinator_epoch: i32,
    pub(crate) last_timestamp: i64,
    pub(crate) txn_first_offset: Option<i64>,
    /// Oldest first.
    batches: [Option<BatchMeta>; BATCHES_MAX],
}

impl Producer {
    fn new() -> Producer {
        Producer {
            epoch: -1,
            coordinator_epoch: -1,
            last_timestamp: -1,
            txn_first_offset: None,
            batches: [None; BATCHES_MAX],
        }
    }

    pub(crate) fn last_batch(&self) -> Option<&BatchMeta> {
        self.batches.iter().rev().flatten().next()
    }

    /// Those remembered, oldest first.
    pub(crate) fn batches(&self) -> impl Iterator<Item = &BatchMeta> {
        self.batches.iter().flatten()
    }

    /// Those before the last, oldest first.
    fn earlier_batches(&self) -> impl Iterator<Item = &BatchMeta> {
        let known = self.batches.iter().flatten().count();
        self.batches.iter().flatten().take(known.saturating_sub(1))
    }

    pub(crate) fn last_sequence(&self) -> i32 {
        self.last_batch().map_or(-1, |b| b.last_sequence)
    }

    fn enter_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches = [None; BATCHES_MAX];
        }
    }

    fn push(&mut self, batch: BatchMeta) {
        match self.batches.iter_mut().find(|b| b.is_none()) {
            Some(free) => *free = Some(batch),
            None => {
                self.batches.rotate_left(1);
                self.batches[BATCHES_MAX - 1] = Some(batch);
            }
        }
    }
}

/// What a transaction marker in the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) abort: bool,
    pub(crate) coordinator_epoch: i32,
}

/// Whether a batch may be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is new.
    New,
    /// It is in the log already, as this batch.
    Duplicate(BatchMeta),
}

/// A producer as it was before a batch was applied.
#[derive(Debug)]
pub(crate) struct Before {
    producer_id: i64,
    state: Option<Producer>,
}

/// All producers of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Producers {
    by_id: HashMap<i64, Producer>,
    /// Open transactions: first offset -> producer id.
    ongoing: BTreeMap<i64, i64>,
    /// Ended transactions whose marker is not below the high watermark yet: first offset -> marker's offset.
    unreplicated: BTreeMap<i64, i64>,
}

/// The sequence number of the last record of a batch.
fn last_sequence(header: &Header<'_>) -> i32 {
    let (base, delta) = (header.base_sequence(), header.last_offset_delta());
    if base < 0 {
        return base;
    }
    base.checked_add(delta).unwrap_or_else(|| delta - (i32::MAX - base) - 1)
}

impl Producers {
    /// Checks a batch of a producer against what is known of it. Changes nothing.
    pub(crate) fn admit(
        &self,
        header: &Header<'_>,
        marker: Option<Marker>,
        origin: Origin,
    ) -> Result<Admission, AppendError> {
        let (producer_id, epoch) = (header.producer_id(), header.producer_epoch());
        let Some(known) = self.by_id.get(&producer_id) else { return Ok(Admission::New) };
        let is_data = !header.is_control();
        if is_data && origin == Origin::Client && known.epoch == epoch {
            let (first, last) = (header.base_sequence(), last_sequence(header));
            let same = |b: &&BatchMeta| b.last_sequence == last && b.first_sequence() == first;
            if let Some(batch) = known.batches.iter().flatten().find(same) {
                return Ok(Admission::Duplicate(*batch));
            }
        }
        if epoch < known.epoch {
            return Err(AppendError::InvalidProducerEpoch { producer_id, epoch, current: known.epoch });
        }
        if is_data && origin == Origin::Client {
            check_sequence(known, header)?;
        }
        if is_data && known.txn_first_offset.is_some() && !header.is_transactional() {
            return Err(AppendError::InvalidTxnState { producer_id });
        }
        if let Some(marker) = marker
            && marker.coordinator_epoch < known.coordinator_epoch
        {
            return Err(AppendError::CoordinatorFenced {
                epoch: marker.coordinator_epoch,
                current: known.coordinator_epoch,
            });
        }
        Ok(Admission::New)
    }

    /// Takes in an appended batch, at append and at recovery alike; the aborted transaction that it closes, if any.
    /// `max_timestamp` is the batch's as stored.
    pub(crate) fn apply(
        &mut self,
        header: &Header<'_>,
        base_offset: i64,
        max_timestamp: i64,
        marker: Option<Marker>,
    ) -> Option<AbortedTxn> {
        let producer_id = header.producer_id();
        let offset_delta = header.last_offset_delta();
        let last_offset = base_offset + i64::from(offset_delta);
        if header.is_control() {
            return self.end_transaction(producer_id, header.producer_epoch(), last_offset, max_timestamp, marker?);
        }
        let producer = self.by_id.entry(producer_id).or_insert_with(Producer::new);
        producer.enter_epoch(header.producer_epoch());
        producer.last_timestamp = max_timestamp;
        producer.push(BatchMeta {
            last_sequence: last_sequence(header),
            last_offset,
            offset_delta,
            timestamp: max_timestamp,
        });
        if header.is_transactional() && producer.txn_first_offset.is_none() {
            producer.txn_first_offset = Some(base_offset);
            self.ongoing.insert(base_offset, producer_id);
        }
        None
    }

    /// What [`Producers::restore`] needs to take back the next batch of this producer.
    pub(crate) fn remember(&self, producer_id: i64) -> Before {
        Before { producer_id, state: self.by_id.get(&producer_id).cloned() }
    }

    /// Takes back the last batch applied for this producer. Several are taken back in the opposite order.
    pub(crate) fn restore(&mut self, before: Before) {
        let Before { producer_id, state } = before;
        let first_then = state.as_ref().and_then(|p| p.txn_first_offset);
        let first_now = self.by_id.get(&producer_id).and_then(|p| p.txn_first_offset);
        if first_then != first_now {
            if let Some(first) = first_now {
                self.ongoing.remove(&first);
            }
            if let Some(first) = first_then {
                self.unreplicated.remove(&first);
                self.ongoing.insert(first, producer_id);
            }
        }
        match state {
            Some(state) => self.by_id.insert(producer_id, state),
            None => self.by_id.remove(&producer_id),
        };
    }

    fn end_transaction(
        &mut self,
        producer_id: i64,
        epoch: i16,
        marker_offset: i64,
        timestamp: i64,
        marker: Marker,
    ) -> Option<AbortedTxn> {
        let producer = self.by_id.entry(producer_id).or_insert_with(Producer::new);
        producer.enter_epoch(epoch);
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.last_timestamp = timestamp;
        let first_offset = producer.txn_first_offset.take()?;
        self.ongoing.remove(&first_offset);
        self.unreplicated.insert(first_offset, marker_offset);
        let last_stable_offset = self.ongoing.keys().next().copied().unwrap_or(marker_offset + 1);
        marker.abort.then_some(AbortedTxn { producer_id, first_offset, last_offset: marker_offset, last_stable_offset })
    }

    /// First offset of the oldest transaction that is open, or whose end is not replicated.
    pub(crate) fn first_unstable_offset(&self) -> Option<i64> {
        let ongoing = self.ongoing.keys().next().copied();
        let unreplicated = self.unreplicated.keys().next().copied();
        ongoing.into_iter().chain(unreplicated).min()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn has_unreplicated(&self) -> bool {
        !self.unreplicated.is_empty()
    }

    /// Ended transactions whose marker lies below the high watermark are stable.
    pub(crate) fn on_high_watermark(&mut self, high_watermark: i64) {
        self.unreplicated.retain(|_, marker_offset| *marker_offset >= high_watermark);
    }

    /// Forgets producers that have been idle for `expiration_ms`; open transactions keep theirs.
    pub(crate) fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.by_id
            .retain(|_, p| p.txn_first_offset.is_some() || now_ms.saturating_sub(p.last_timestamp) < expiration_ms);
    }

    /// Each producer with its id, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.by_id.iter().map(|(&id, producer)| (id, producer))
    }

    /// What a compaction must keep of a producer.
    pub(crate) fn last_batch_of(&self, producer_id: i64) -> Option<LastBatch> {
        let producer = self.by_id.get(&producer_id)?;
        Some(LastBatch { last_offset: producer.last_batch().map(|batch| batch.last_offset), epoch: producer.epoch })
    }

    pub(crate) fn states(&self) -> Vec<ProducerState> {
        let mut states: Vec<_> = self
            .by_id
            .iter()
            .map(|(&producer_id, p)| ProducerState {
                producer_id,
                epoch: p.epoch,
                last_sequence: p.last_sequence(),
                last_timestamp: p.last_timestamp,
                coordinator_epoch: p.coordinator_epoch,
                txn_start_offset: p.txn_first_offset,
            })
            .collect();
        states.sort_unstable_by_key(|s| s.producer_id);
        states
    }
}

/// Sequences follow one another within an epoch, and start at 0 in a new one.
fn check_sequence(known: &Producer, header: &Header<'_>) -> Result<(), AppendError> {
    let (epoch, sequence) = (header.producer_epoch(), header.base_sequence());
    let last_sequence = known.last_sequence();
    let follows = if known.epoch == -1 {
        true
    } else if epoch != known.epoch {
        sequence == 0
    } else {
        i64::from(sequence) == i64::from(last_sequence) + 1 || (last_sequence == i32::MAX && sequence == 0)
    };
    if follows {
        return Ok(());
    }
    Err(AppendError::OutOfOrderSequence { producer_id: header.producer_id(), epoch, sequence, last_sequence })
}

#[cfg(test)]
mod tests;
