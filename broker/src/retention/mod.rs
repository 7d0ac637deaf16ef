//! Retention: every `log.retention.check.interval.ms` the logs drop what is past their policy, and whoever loses records
//! by that is named.
//!
//! A log in which nothing is due or near (80 % of the way) is not looked at before its time, unless something happens to
//! it: `storage` keeps that agenda. Only where something is are the groups' committed offsets asked for: those named in `retention.hold.groups` keep segments, all others are told of in a warning and in
//! the metrics, before the records go and when they went.

mod elsewhere;
mod tells;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jackdaw_storage::{Dropped, Hold, Outlook, Reason};

use crate::broker::Broker;
use crate::config::TopicConfig;
use crate::coordinator::{CommittedOffset, CommittedOffsets};
use crate::limits;
use crate::metrics::AtRisk;
use crate::partition::Partition;
use tells::{Loss, Warned, losses};

/// Runs until its task is dropped.
pub(crate) async fn run(broker: Arc<Broker>) {
    let mut warned = Warned::default();
    let interval = Duration::from_millis(broker.config().log_retention_check_interval_ms);
    // The first round waits for groups to be loaded, and for clients to commit what they have read.
    tokio::time::sleep(interval.min(limits::FIRST_RETENTION_CHECK)).await;
    loop {
        let on_thread = broker.clone();
        let round = tokio::task::spawn_blocking(move || {
            Round::new(&on_thread, &mut warned).run();
            warned
        });
        // A panic in there has been reported by the panic hook; what was told is told again.
        warned = round.await.unwrap_or_default();
        tokio::time::sleep(interval).await;
    }
}

/// One round over all partitions.
struct Round<'a> {
    broker: &'a Broker,
    warned: &'a mut Warned,
    now_ms: i64,
    /// Lines that may still be written.
    lines_left: usize,
    silent: usize,
    at_risk: Vec<AtRisk>,
    held: Vec<(Arc<str>, i32, u64)>,
}

impl<'a> Round<'a> {
    fn new(broker: &'a Broker, warned: &'a mut Warned) -> Round<'a> {
        Round {
            now_ms: broker.clock.now_ms(),
            broker,
            warned,
            lines_left: limits::RETENTION_LINES,
            silent: 0,
            at_risk: Vec::new(),
            held: Vec::new(),
        }
    }

    fn run(mut self) {
        let found = self.look();
        if !found.is_empty() {
            let topics: HashSet<Arc<str>> = found.iter().map(|(partition, _)| partition.topic().clone()).collect();
            // Groups that are not loaded yet may hold something: the next round is soon enough.
            let Some(mut committed) = self.broker.groups.committed(&topics) else { return };
            // A group whose coordinator does not answer is held as one that has read nothing.
            let elsewhere = elsewhere::committed(self.broker, &topics);
            add(&mut committed, tokio::runtime::Handle::current().block_on(elsewhere));
            for (partition, outlook) in &found {
                let key = (partition.topic().clone(), partition.index());
                self.enforce(partition, *outlook, committed.get(&key).map_or(&[], Vec::as_slice));
            }
        }
        if self.silent > 0 {
            tracing::warn!(more = self.silent, "further losses to retention are in the metrics only");
        }
        self.warned.end_round();
        self.broker.metrics.retention_round(self.at_risk, self.held);
    }

    /// The partitions in which something is due or near. Does nothing for those in which nothing happened.
    fn look(&self) -> Vec<(Arc<Partition>, Outlook)> {
        let mut found = Vec::new();
        let registry = self.broker.topics.registry();
        let dirs = self.broker.flushers().iter().map(|flusher| flusher.dir());
        for (log, outlook) in dirs.filter(|dir| dir.is_online()).flat_map(|dir| dir.retention_candidates(self.now_ms)) {
            let hosted = registry.topic(log.topic()).and_then(|topic| topic.partition(log.partition()).ok());
            let Some(partition) = hosted.filter(|hosted| Arc::ptr_eq(&hosted.log(), &log)) else { continue };
            match outlook {
                Ok(outlook) => found.push((partition.clone(), outlook)),
                Err(error) => self.failed(partition, &error),
            }
        }
        found
    }

    fn failed(&self, partition: &Partition, error: &jackdaw_storage::StorageError) {
        let (topic, partition) = (partition.topic(), partition.index());
        tracing::warn!(%topic, partition, %error, "retention cannot be enforced");
    }

    fn enforce(&mut self, partition: &Arc<Partition>, outlook: Outlook, committed: &[CommittedOffset]) {
        let log = partition.log();
        let config = partition.topic_config();
        let start_before = log.log_start_offset();
        let hold = hold(&config, committed, start_before);
        match log.retain(self.now_ms, hold) {
            Ok(retained) => {
                self.dropped(partition, &retained.dropped, start_before, committed);
                if retained.held_bytes > 0 {
                    self.held.push((partition.topic().clone(), partition.index(), retained.held_bytes));
                }
            }
            // The directory told it once, when it went offline.
            Err(_) if log.is_deleted() || !self.is_online(partition) => return,
            Err(error) => self.failed(partition, &error),
        }
        for loss in losses(committed, log.log_start_offset(), outlook.near_until) {
            self.at_risk.push(AtRisk {
                group: loss.group.clone(),
                topic: partition.topic().clone(),
                partition: partition.index(),
                records: loss.records,
            });
            let is_held = config.retention_hold_groups.iter().any(|held| **held == *loss.group);
            if self.warned.is_news(partition.topic_id(), partition.index(), &loss) && self.may_speak() {
                warn_ahead(partition, &loss, outlook, self.now_ms, is_held);
            }
        }
    }

    fn is_online(&self, partition: &Partition) -> bool {
        let dirs = self.broker.topics.dirs().iter();
        let mut dir = dirs.filter(|flusher| partition.log().path().starts_with(flusher.dir().path()));
        dir.next().is_none_or(|flusher| flusher.dir().is_online())
    }

    fn dropped(
        &mut self,
        partition: &Partition,
        dropped: &[Dropped],
        start_before: i64,
        committed: &[CommittedOffset],
    ) {
        let (Some(first), Some(last)) = (dropped.first(), dropped.last()) else { return };
        for segment in dropped {
            self.broker.metrics.segment_deleted(segment.reason, segment.bytes);
        }
        tracing::info!(
            topic = %partition.topic(), partition = partition.index(), segments = dropped.len(),
            from = first.base_offset, until = last.end_offset,
            bytes = dropped.iter().map(|segment| u64::from(segment.bytes)).sum::<u64>(),
            reason = ?last.reason, "retention dropped segments"
        );
        // What lay below the log start had been given up by whoever moved it.
        let taken = dropped.iter().filter(|segment| segment.reason != Reason::LogStart);
        let Some(until) = taken.map(|segment| segment.end_offset).max() else { return };
        for loss in losses(committed, start_before, until) {
            self.broker.metrics.records_lost(&loss.group, partition.topic(), partition.index(), loss.records);
            if self.may_speak() {
                let Loss { group, is_active, from, until, records } = &loss;
                tracing::warn!(
                    %group, active = is_active, topic = %partition.topic(), partition = partition.index(), records, from,
                    until, "retention deleted records that the group had not consumed"
                );
            }
        }
    }

    /// Counts a line; `false` when there have been enough.
    fn may_speak(&mut self) -> bool {
        let may = self.lines_left > 0;
        if may {
            self.lines_left -= 1;
        } else {
            self.silent += 1;
        }
        may
    }
}

/// Adds what other brokers know of groups that this one does not know.
fn add(committed: &mut CommittedOffsets, elsewhere: CommittedOffsets) {
    for (place, others) in elsewhere {
        let known = committed.entry(place).or_default();
        for other in others {
            if !known.iter().any(|own| own.group == other.group) {
                known.push(other);
            }
        }
    }
}

fn warn_ahead(partition: &Partition, loss: &Loss, outlook: Outlook, now_ms: i64, is_held: bool) {
    let Loss { group, is_active, from, until, records } = loss;
    let in_seconds = outlook.goes_at_ms.map(|at_ms| at_ms.saturating_sub(now_ms).max(0) / 1000);
    let (topic, partition) = (partition.topic(), partition.index());
    if is_held {
        tracing::warn!(
            %group, active = is_active, %topic, partition, records, from, until,
            "the group has not consumed records that retention would delete soon; they are held for it within \
             retention.hold.max.ms and retention.hold.max.bytes"
        );
    } else {
        tracing::warn!(
            %group, active = is_active, %topic, partition, records, from, until, in_seconds,
            "retention will soon delete records that the group has not consumed; to keep them, raise retention.ms or \
             retention.bytes, or name the group in the topic's retention.hold.groups"
        );
    }
}

/// What the topic's groups hold of a partition that begins at `log_start`.
fn hold(config: &TopicConfig, committed: &[CommittedOffset], log_start: i64) -> Hold {
    let offset_of = |group: &String| committed.iter().find(|own| *own.group == **group).map(|own| own.offset);
    // A group that never committed has read nothing.
    let keep_from = config.retention_hold_groups.iter().map(|group| offset_of(group).unwrap_or(log_start)).min();
    match keep_from {
        None => Hold::NONE,
        Some(keep_from) => {
            Hold { keep_from, max_ms: config.retention_hold_max_ms, max_bytes: config.retention_hold_max_bytes }
        }
    }
}
