//! One broker: its logs, its view of the metadata, and its roles. What carries the product's machines here is what
//! carries them there: append, sync, ask again.

use std::time::Duration;

use jackdaw_broker::replication::follower::{self, EndOfLog, Refusal, Verdict};
use jackdaw_broker::replication::leader::{Answer, Leader, Proposal, Surroundings};
use jackdaw_broker::topics::catalog::Catalog;
use jackdaw_broker::topics::image::{Image, PartitionImage};

use crate::disk::{Entry, Log};
use crate::promises::Promises;
use crate::world::{MIN_ISR, Mistake, PARTITIONS, TOPIC};

pub(crate) const LAG_MAX: Duration = Duration::from_millis(1500);
const AT_ONCE: usize = 8;

/// A follower's question.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) from: i32,
    pub(crate) broker_epoch: i64,
    pub(crate) partition: usize,
    pub(crate) leader_epoch: i32,
    pub(crate) offset: i64,
    pub(crate) last_epoch: i32,
    pub(crate) number: u64,
}

/// The leader's answer.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) partition: usize,
    pub(crate) leader_epoch: i32,
    pub(crate) number: u64,
    pub(crate) offset: i64,
    pub(crate) answer: follower::Answer,
    pub(crate) entries: Vec<Entry>,
}

pub(crate) enum Role {
    None,
    Leads { machine: Box<Leader>, waiting: Vec<(usize, u64)>, asked: Option<(Proposal, Duration)> },
    Follows { leader: i32, epoch: i32, asked: Option<(u64, Duration)>, idle: bool },
}

pub(crate) struct Node {
    pub(crate) id: i32,
    pub(crate) up: bool,
    /// Stopped, with all it believes, until then.
    pub(crate) frozen_until: Duration,
    pub(crate) incarnation: u128,
    pub(crate) catalog: Catalog,
    /// Records of the metadata that it knows; on its disk too.
    pub(crate) applied: usize,
    pub(crate) logs: Vec<Log>,
    pub(crate) high_watermarks: Vec<i64>,
    /// As the checkpoint file has them.
    pub(crate) checkpoints: Vec<i64>,
    pub(crate) roles: Vec<Role>,
    pub(crate) truncations: usize,
    numbers: u64,
}

pub(crate) fn partition_of(image: &Image, partition: usize) -> Option<&PartitionImage> {
    image.topic(TOPIC).and_then(|topic| topic.partitions.get(partition))
}

impl Node {
    pub(crate) fn new(id: i32) -> Node {
        Node {
            id,
            up: true,
            frozen_until: Duration::ZERO,
            incarnation: id as u128,
            catalog: Catalog::default(),
            applied: 0,
            logs: vec![Log::default(); PARTITIONS],
            high_watermarks: vec![0; PARTITIONS],
            checkpoints: vec![0; PARTITIONS],
            roles: (0..PARTITIONS).map(|_| Role::None).collect(),
            truncations: 0,
            numbers: 0,
        }
    }

    /// The epoch of this life of the broker, once the metadata tells it.
    pub(crate) fn epoch(&self) -> Option<i64> {
        let own = self.catalog.image().brokers.get(&self.id)?;
        (own.registration.incarnation.as_u128() == self.incarnation).then_some(own.registration.epoch)
    }

    /// The metadata say something new.
    pub(crate) fn take_roles(
        &mut self,
        mistake: Mistake,
        now: Duration,
        promises: &mut Promises,
    ) -> Result<(), String> {
        let known = self.catalog.image().brokers.get(&self.id).map(|own| own.registration.epoch);
        let epoch = if mistake == Mistake::LeadsUnregistered { known } else { self.epoch() };
        for partition in 0..PARTITIONS {
            let Some(image) = partition_of(self.catalog.image(), partition).cloned() else { continue };
            let end = self.logs[partition].end();
            match (&mut self.roles[partition], epoch) {
                (_, None) => self.roles[partition] = Role::None,
                (Role::Leads { machine, .. }, _)
                    if machine.epoch() == image.leader_epoch && image.leader == self.id =>
                {
                    machine.learned(image.partition_epoch, &image.replicas, &image.isr, now);
                }
                (Role::Follows { leader, epoch, .. }, _) if *epoch == image.leader_epoch && *leader == image.leader => {
                }
                (_, Some(own)) if image.leader == self.id => {
                    promises.leads(partition, image.leader_epoch, self.id, self.incarnation)?;
                    let office = (image.leader_epoch, end);
                    let (replicas, isr) = (&image.replicas[..], &image.isr[..]);
                    let machine = Leader::new((self.id, own), office, image.partition_epoch, replicas, isr, now);
                    self.roles[partition] = Role::Leads { machine: Box::new(machine), waiting: vec![], asked: None };
                }
                _ => {
                    if mistake == Mistake::TruncatesByHighWatermark && image.leader != PartitionImage::NO_LEADER {
                        self.cut(partition, self.high_watermarks[partition]);
                    }
                    let (leader, epoch) = (image.leader, image.leader_epoch);
                    self.roles[partition] = Role::Follows { leader, epoch, asked: None, idle: true };
                }
            }
        }
        Ok(())
    }

    fn cut(&mut self, partition: usize, offset: i64) {
        if offset < self.logs[partition].end() {
            self.truncations += 1;
            self.logs[partition].truncate(offset);
            self.high_watermarks[partition] = self.high_watermarks[partition].min(offset);
        }
    }

    fn around<'a>(&self, partition: usize, now: Duration, active: &'a dyn Fn(i32) -> Option<i64>) -> Surroundings<'a> {
        let (end, high_watermark) = (self.logs[partition].end(), self.high_watermarks[partition]);
        Surroundings { now, end, high_watermark, lag_max: LAG_MAX, min_isr: MIN_ISR, active }
    }

    /// What follows for producers and consumers from what the leader now knows.
    pub(crate) fn settle(&mut self, partition: usize, now: Duration, promises: &mut Promises) -> Result<(), String> {
        let image = self.catalog.image().clone();
        let active = |id: i32| image.brokers.get(&id).filter(|b| b.is_active()).map(|b| b.registration.epoch);
        let around = self.around(partition, now, &active);
        let Role::Leads { machine, waiting, .. } = &mut self.roles[partition] else { return Ok(()) };
        let (before, log) = (self.high_watermarks[partition], &self.logs[partition]);
        if let Some(next) = machine.high_watermark(&around).filter(|next| *next > before) {
            self.high_watermarks[partition] = next;
            promises.exposed(partition, self.id, log, before, next)?;
        }
        if !machine.has_min_isr(MIN_ISR) {
            return Ok(());
        }
        let safe = self.high_watermarks[partition].min(log.synced as i64);
        let done: Vec<_> = waiting.iter().copied().filter(|(offset, _)| (*offset as i64) < safe).collect();
        waiting.retain(|(offset, _)| (*offset as i64) >= safe);
        done.into_iter().try_for_each(|(offset, value)| promises.acknowledge(partition, offset, value))
    }

    /// A producer's record; whether it is taken.
    pub(crate) fn produce(&mut self, partition: usize, value: u64, promises: &mut Promises) -> Result<bool, String> {
        let Role::Leads { machine, waiting, .. } = &mut self.roles[partition] else { return Ok(false) };
        if !machine.has_min_isr(MIN_ISR) {
            return Ok(false);
        }
        let log = &mut self.logs[partition];
        waiting.push((log.entries.len(), value));
        log.entries.push(Entry { epoch: machine.epoch(), value });
        promises.appended(partition, self.id, log, 1)?;
        Ok(true)
    }

    /// A follower asks.
    pub(crate) fn asked(&mut self, ask: &Ask, now: Duration, mistake: Mistake) -> Option<Told> {
        let partition = ask.partition;
        let log = &self.logs[partition];
        let high_watermark = self.high_watermarks[partition];
        let tell = |error, diverging, entries| Told {
            partition,
            leader_epoch: ask.leader_epoch,
            number: ask.number,
            offset: ask.offset,
            answer: follower::Answer { error, diverging, high_watermark, log_start: 0 },
            entries,
        };
        let Role::Leads { machine, .. } = &mut self.roles[partition] else {
            return Some(tell(Some(Refusal::NotYet(6)), None, vec![]));
        };
        if mistake != Mistake::ChecksNoEpoch && ask.leader_epoch != machine.epoch() {
            let older = ask.leader_epoch < machine.epoch();
            return Some(tell(Some(if older { Refusal::FencedEpoch } else { Refusal::NotYet(75) }), None, vec![]));
        }
        if ask.last_epoch >= 0 && mistake != Mistake::ChecksNoEpoch {
            let end = if ask.last_epoch >= machine.epoch() { Some((machine.epoch(), log.end())) } else { None };
            let newest = log.last_epoch_below(i64::MAX);
            let end = end.or_else(|| log.epoch_end(ask.last_epoch)).unwrap_or((newest, log.end()));
            if end.0 != ask.last_epoch || end.1 < ask.offset {
                return Some(tell(None, Some(end), vec![]));
            }
        }
        if ask.offset > log.end() {
            return Some(tell(Some(Refusal::OutOfRange), None, vec![]));
        }
        machine.fetched(ask.from, ask.broker_epoch, ask.offset, 0, log.end(), now).ok()?;
        let from = ask.offset as usize;
        let entries = log.entries[from..].iter().copied().take(AT_ONCE).collect();
        Some(tell(None, None, entries))
    }

    /// What to ask of which leader, where nothing is asked and nothing waits for the disk.
    pub(crate) fn ask(&mut self, partition: usize, now: Duration) -> Option<(i32, Ask)> {
        let broker_epoch = self.epoch()?;
        let Role::Follows { leader, epoch, asked, idle } = &mut self.roles[partition] else { return None };
        let lost = asked.is_some_and(|(_, at)| now - at > Duration::from_millis(400));
        if *leader == PartitionImage::NO_LEADER || !(*idle || lost) {
            return None;
        }
        self.numbers += 1;
        *asked = Some((self.numbers, now));
        *idle = false;
        let (from, leader_epoch, number) = (self.id, *epoch, self.numbers);
        let offset = self.logs[partition].end();
        let last_epoch = self.logs[partition].last_epoch_below(offset);
        Some((*leader, Ask { from, broker_epoch, partition, leader_epoch, offset, last_epoch, number }))
    }

    /// The leader's answer; whether there is something to sync before the next question.
    pub(crate) fn told(&mut self, told: Told, promises: &mut Promises) -> Result<bool, String> {
        let partition = told.partition;
        let Role::Follows { epoch, asked, idle, .. } = &mut self.roles[partition] else { return Ok(false) };
        if *epoch != told.leader_epoch || asked.is_none_or(|(number, _)| number != told.number) {
            return Ok(false);
        }
        *asked = None;
        *idle = true;
        let log = &mut self.logs[partition];
        match follower::judge(&told.answer, log) {
            Verdict::Append if told.offset == log.end() => {
                log.entries.extend(&told.entries);
                promises.appended(partition, self.id, log, told.entries.len())?;
                let before = self.high_watermarks[partition];
                let next = follower::high_watermark(told.answer.high_watermark, log.end()).max(before);
                self.high_watermarks[partition] = next;
                promises.exposed(partition, self.id, log, before, next)?;
                *idle = told.entries.is_empty();
                Ok(!told.entries.is_empty())
            }
            Verdict::Truncate(offset) => {
                self.cut(partition, offset);
                Ok(false)
            }
            Verdict::Append | Verdict::RestartAt(_) | Verdict::BackOff | Verdict::AwaitMetadata => Ok(false),
        }
    }

    /// What the controller is to be asked, or asked again.
    pub(crate) fn proposal(&mut self, partition: usize, now: Duration, mistake: Mistake) -> Option<Proposal> {
        let image = self.catalog.image().clone();
        let active = |id: i32| image.brokers.get(&id).filter(|b| b.is_active()).map(|b| b.registration.epoch);
        let around = self.around(partition, now, &active);
        let Role::Leads { machine, asked, .. } = &mut self.roles[partition] else { return None };
        if let Some((_, at)) = asked.as_ref().filter(|(old, _)| machine.proposed() == Some(old)) {
            if now - *at < Duration::from_millis(500) {
                return None;
            }
        } else {
            *asked = machine.propose(&around).map(|proposal| (proposal, now));
        }
        let (proposal, at) = asked.as_mut()?;
        *at = now;
        let proposal = proposal.clone();
        if mistake == Mistake::ShrinksByItself && !proposal.removed.is_empty() {
            let isr = proposal.isr.iter().map(|(id, _)| *id).collect();
            machine.answered(proposal.number, Answer::Committed { isr, partition_epoch: machine.partition_epoch() });
        }
        Some(proposal)
    }

    /// The controller's answer.
    pub(crate) fn answered(&mut self, partition: usize, leader_epoch: i32, number: u64, answer: Answer) {
        if let Role::Leads { machine, .. } = &mut self.roles[partition]
            && machine.epoch() == leader_epoch
        {
            machine.answered(number, answer);
        }
    }
}
