//! What this broker is to a partition: its leader or a follower, and until when.
//!
//! A role belongs to a leader epoch. Whoever appends, on its own behalf or on that of a leader, does so in an epoch, and the
//! log refuses epochs that have ended: so a change of role needs no lock that appends would have to take.

use std::sync::Arc;

use jackdaw_protocol::records::Batch;
use jackdaw_storage::{AppendError, StorageError};
use parking_lot::Mutex;

use super::{NotDurable, Partition};
use crate::replication::follower;
use crate::replication::leader::{Answer, FetchRefused, Follower, Leader, Proposal, Surroundings};
use crate::replication::{Followed, View};
use crate::topics::image::PartitionImage;

/// Why a request is not for this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    /// Another broker leads, or none (-1).
    #[error("broker {leader} leads in epoch {epoch}")]
    NotLeader {
        /// By what this broker knows.
        leader: i32,
        /// The leader epoch.
        epoch: i32,
    },
    /// The one who asks knows an older epoch.
    #[error("leader epoch {known} has ended: the partition is in epoch {epoch}")]
    FencedEpoch {
        /// That of the request.
        known: i32,
        /// That of now.
        epoch: i32,
    },
    /// The one who asks knows a newer epoch.
    #[error("leader epoch {known} is not known here yet: this broker knows of {epoch}")]
    UnknownEpoch {
        /// That of the request.
        known: i32,
        /// That of now.
        epoch: i32,
    },
    /// It leads, and does not know yet what is committed (KIP-207).
    #[error("the leader of epoch {epoch} does not know the high watermark yet")]
    OffsetNotAvailable {
        /// The leader epoch.
        epoch: i32,
    },
}

/// What a broker does for a partition in one epoch.
pub(super) struct Standing {
    pub(super) epoch: i32,
    pub(super) leader: i32,
    /// This broker has led in all epochs from this one on.
    pub(super) leading_since: i32,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    /// It leads, and there is no other replica: what is in its log is committed.
    Alone,
    /// It leads others.
    Leading(Box<Leading>),
    /// It follows, or waits for a leader.
    Following,
}

pub(super) struct Leading {
    pub(super) view: Followed,
    pub(super) state: Mutex<Leader>,
    pub(super) replicas: usize,
}

impl Standing {
    /// As the only replica in epoch 0: what a partition begins as.
    pub(super) fn alone() -> Standing {
        Standing { epoch: 0, leader: -1, leading_since: 0, kind: Kind::Alone }
    }

    pub(super) fn leads(&self) -> bool {
        !matches!(self.kind, Kind::Following)
    }

    pub(super) fn not_leader(&self) -> NotServed {
        NotServed::NotLeader { leader: self.leader, epoch: self.epoch }
    }

    pub(super) fn leading(&self) -> Option<&Leading> {
        match &self.kind {
            Kind::Leading(leading) => Some(leading),
            Kind::Alone | Kind::Following => None,
        }
    }
}

/// What a replica is to do after a change of the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Nothing: others fetch from it.
    Lead,
    /// Fetch from this broker, in this epoch.
    Follow {
        /// The leader.
        leader: i32,
        /// The leader epoch.
        epoch: i32,
    },
    /// There is no leader.
    Wait,
}

impl Partition {
    /// Takes the role that the metadata give this broker. To be called after each change of the partition, in order; an
    /// older state than one seen before changes nothing. It may wait for a truncation of the log that is under way.
    pub fn update_role(self: &Arc<Self>, view: &Arc<View>, image: &PartitionImage) -> Duty {
        let changing = self.changing_role.lock();
        let before = self.standing.load_full();
        if image.leader_epoch < before.epoch {
            return self.duty_of(&before);
        }
        let node = view.node();
        let leader = match view.is_in_former_life() {
            true if image.leader == node => PartitionImage::NO_LEADER,
            _ => image.leader,
        };
        let is_same = image.leader_epoch == before.epoch && leader == before.leader;
        let kind = if leader != node {
            Kind::Following
        } else if *image.replicas == [node] {
            Kind::Alone
        } else if is_same && let Some(leading) = before.leading() {
            let mut state = leading.state.lock();
            state.set_node_epoch(view.node_epoch());
            let learned = state.learned(image.partition_epoch, &image.replicas, &image.isr, view.now());
            drop(state);
            if image.replicas.len() == leading.replicas {
                drop(changing);
                if learned {
                    self.sync_what_nobody_asks_for();
                    self.look_at_replicas();
                }
                return Duty::Lead;
            }
            let state = leading.state.lock().clone();
            self.leading(view, image, state)
        } else {
            let node = (node, view.node_epoch());
            let epoch = (image.leader_epoch, self.log().log_end_offset());
            let (replicas, isr) = (&image.replicas, &image.isr);
            let state = Leader::new(node, epoch, image.partition_epoch, replicas, isr, view.now());
            self.leading(view, image, state)
        };
        if is_same && matches!((&kind, &before.kind), (Kind::Following, Kind::Following) | (Kind::Alone, Kind::Alone)) {
            return self.duty_of(&before);
        }
        let is_continued = before.leads() && before.leader == node;
        let leading_since = if is_continued { before.leading_since } else { image.leader_epoch };
        let standing = Standing { epoch: image.leader_epoch, leader, leading_since, kind };
        let duty = self.duty_of(&standing);
        // First nobody begins anything in the old role; then those in it end.
        self.standing.store(Arc::new(standing));
        self.log().fence(image.leader_epoch);
        self.entered(&before, duty);
        if duty != Duty::Lead || !before.leads() {
            view.on_duty(self, duty);
        }
        drop(changing);
        self.wake_fetches();
        self.sync_what_nobody_asks_for();
        self.look_at_replicas();
        duty
    }

    fn leading(&self, view: &Arc<View>, image: &PartitionImage, state: Leader) -> Kind {
        let (view, state) = (Followed::new(view.clone()), Mutex::new(state));
        Kind::Leading(Box::new(Leading { view, state, replicas: image.replicas.len() }))
    }

    fn entered(&self, before: &Standing, duty: Duty) {
        if duty == Duty::Lead {
            let log = self.log();
            if matches!(self.standing.load().kind, Kind::Alone) {
                log.set_high_watermark(log.log_end_offset());
            }
            return;
        }
        if before.leads() {
            self.synced(Err(NotDurable::NotLeader));
        }
        self.log().forget_empty_epochs();
    }

    fn duty_of(&self, standing: &Standing) -> Duty {
        match (&standing.kind, standing.leader) {
            (Kind::Following, PartitionImage::NO_LEADER) => Duty::Wait,
            (Kind::Following, leader) => Duty::Follow { leader, epoch: standing.epoch },
            (Kind::Alone | Kind::Leading(_), _) => Duty::Lead,
        }
    }

    /// Whether this broker leads, and the one who asks knows the same epoch; -1 for one that tells none.
    pub fn check_leader(&self, known_epoch: i32) -> Result<(), NotServed> {
        let standing = self.standing.load();
        check_epoch(known_epoch, standing.epoch)?;
        if standing.leads() { Ok(()) } else { Err(standing.not_leader()) }
    }

    /// Whether a consumer may read here: from the leader or from a follower (KIP-392), of the epoch that it knows.
    pub fn check_replica(&self, known_epoch: i32) -> Result<(), NotServed> {
        let standing = self.standing.load();
        check_epoch(known_epoch, standing.epoch)?;
        if standing.leader == PartitionImage::NO_LEADER && !standing.leads() {
            return Err(standing.not_leader());
        }
        Ok(())
    }

    /// Whether the high watermark is that of this leadership: until it has come to where the epoch began, what was
    /// committed before may lie above it (KIP-207).
    pub fn check_high_watermark(&self) -> Result<(), NotServed> {
        let standing = self.standing.load();
        match standing.leading() {
            Some(leading) if self.log().high_watermark() < leading.state.lock().epoch_start() => {
                Err(NotServed::OffsetNotAvailable { epoch: standing.epoch })
            }
            _ => Ok(()),
        }
    }

    /// Whether acks=all can be promised now: `min.insync.replicas` are in sync.
    pub fn has_min_isr(&self) -> bool {
        let standing = self.standing.load();
        standing.leading().is_none_or(|leading| leading.state.lock().has_min_isr(self.min_isr(leading)))
    }

    /// How many replicas must be in sync, and how many are.
    pub fn in_sync(&self) -> (usize, usize) {
        let standing = self.standing.load();
        standing.leading().map_or((1, 1), |leading| (self.min_isr(leading), leading.state.lock().isr().len()))
    }

    /// Whether this broker leads.
    pub fn is_leader(&self) -> bool {
        self.standing.load().leads()
    }

    /// Whether this broker leads, and has had a sign of it lately: the controller lets it go on, or followers in sync ask it
    /// for records. Others may have been made leader while it was frozen or cut off; what it would tell from its memory then,
    /// without asking any replica, may be overtaken.
    pub fn surely_leads(&self) -> bool {
        let standing = self.standing.load();
        let Some(leading) = standing.leading() else { return standing.leads() };
        let view = &leading.view;
        view.is_heard() || leading.state.lock().is_followed_since(view.now().saturating_sub(view.asked_within()))
    }

    /// The leader by what this broker knows, and its epoch.
    pub fn leader_and_epoch(&self) -> (i32, i32) {
        let standing = self.standing.load();
        (standing.leader, standing.epoch)
    }

    /// Whether other brokers have replicas that this one leads.
    pub fn leads_others(&self) -> bool {
        self.standing.load().leading().is_some()
    }

    /// Looks at the leader's state, if this broker leads others.
    pub fn with_leader<T>(&self, look: impl FnOnce(&Leader) -> T) -> Option<T> {
        let standing = self.standing.load();
        standing.leading().map(|leading| look(&leading.state.lock()))
    }

    /// The replica in `rack` that a consumer should rather read from: in sync, one that `serves` what it asks for, and of
    /// several the one that has most. None where that is the leader, or nothing is to be chosen.
    pub fn near(&self, rack: &str, serves: impl Fn(&Follower) -> bool) -> Option<i32> {
        let standing = self.standing.load();
        let leading = standing.leading().filter(|leading| leading.view.selects_by_rack())?;
        let brokers = leading.view.brokers();
        let is_there = |id: i32| brokers.get(&id).is_some_and(|broker| broker.rack.as_deref() == Some(rack));
        if is_there(leading.view.node()) {
            return None;
        }
        let state = leading.state.lock();
        let in_sync = state.followers().iter().filter(|follower| {
            let broker = brokers.get(&follower.id);
            // One that was fenced, or started anew, is not there, or not what it was (KAFKA-15390).
            let is_active = broker.is_some_and(|broker| broker.is_active && broker.epoch == follower.broker_epoch);
            is_active && state.isr().contains(&follower.id) && is_there(follower.id) && serves(follower)
        });
        in_sync.max_by_key(|follower| (follower.end, follower.caught_up_at())).map(|follower| follower.id)
    }

    pub(super) fn min_isr(&self, leading: &Leading) -> usize {
        let wanted = self.with_config(|config| usize::try_from(config.min_insync_replicas).unwrap_or(1));
        wanted.min(leading.replicas)
    }

    fn around<T>(&self, leading: &Leading, look: impl FnOnce(&Surroundings<'_>) -> T) -> T {
        let log = self.log();
        let brokers = leading.view.brokers();
        look(&Surroundings {
            now: leading.view.now(),
            end: log.log_end_offset(),
            high_watermark: log.high_watermark(),
            lag_max: leading.view.lag_max(),
            min_isr: self.min_isr(leading),
            active: &|id| brokers.get(&id).filter(|broker| broker.is_active).map(|broker| broker.epoch),
        })
    }

    /// A replica that knows this leader epoch asks for records from `offset` on: it has what is below on its disk. With the
    /// fetch session that it goes on in.
    ///
    /// # Errors
    /// It is no replica, or not of the newest epoch of its broker; or this broker does not lead.
    pub fn replica_fetched(
        self: &Arc<Self>,
        epoch: i32,
        (replica, broker_epoch, session): (i32, i64, Option<i32>),
        offset: i64,
        log_start: i64,
    ) -> Result<(), ReplicaRefused> {
        let standing = self.standing.load();
        check_epoch(epoch.max(0), standing.epoch)?;
        let Some(leading) = standing.leading() else {
            return match standing.kind {
                Kind::Following => Err(ReplicaRefused::NotServed(standing.not_leader())),
                _ => Err(ReplicaRefused::Fetch(FetchRefused::NotAReplica(replica))),
            };
        };
        let end = self.log().log_end_offset();
        let mut state = leading.state.lock();
        state.fetched(replica, broker_epoch, offset, log_start, end, leading.view.now())?;
        state.went_on(replica, session);
        drop(state);
        self.follower_gets(offset);
        self.look_at_replicas();
        Ok(())
    }

    /// Follows from what is known of the replicas: moves the high watermark, ends waits, and asks the controller where
    /// somebody has caught up or fallen behind.
    pub fn look_at_replicas(self: &Arc<Self>) {
        let standing = self.standing.load();
        let Some(leading) = standing.leading() else { return };
        let proposal = self.around(leading, |around| {
            let committed = leading.state.lock().high_watermark(around);
            if let Some(offset) = committed {
                // Those who wait are told, and that looks at the state: it must not be held.
                self.raise_high_watermark(offset);
            }
            let now = Surroundings { high_watermark: self.log().high_watermark(), ..*around };
            leading.state.lock().propose(&now)
        });
        if let Some(proposal) = proposal {
            leading.view.ask(self, proposal);
        }
    }

    /// The controller's answer to a proposal.
    pub fn isr_answered(self: &Arc<Self>, proposal: &Proposal, answer: Answer) {
        let standing = self.standing.load();
        let Some(leading) = standing.leading().filter(|_| standing.epoch == proposal.leader_epoch) else { return };
        if leading.state.lock().answered(proposal.number, answer) {
            self.sync_what_nobody_asks_for();
            self.look_at_replicas();
        }
    }

    /// Whether a proposal still waits for its answer.
    pub fn is_proposed(&self, proposal: &Proposal) -> bool {
        let standing = self.standing.load();
        standing.epoch == proposal.leader_epoch
            && standing.leading().is_some_and(|leading| leading.state.lock().proposed() == Some(proposal))
    }

    /// Readers see what is below; acks=all that waited for it is answered.
    fn raise_high_watermark(&self, offset: i64) {
        let log = self.log();
        let before = log.high_watermark();
        if log.set_high_watermark(offset) > before {
            self.fetchers.advanced();
            self.acknowledge();
        }
    }

    /// Appends what the leader of `epoch` has sent; returns the log end.
    pub fn append_as_follower(&self, epoch: i32, batches: &[Batch], now_ms: i64) -> Result<i64, AppendError> {
        let home = self.home.load();
        let end = home.log.append_as_follower(epoch, batches, now_ms)?;
        if home.log.needs_tending() {
            super::tend(&home.log);
        }
        Ok(end)
    }

    /// Takes over what the leader of `epoch` says of the high watermark and the log start, for a log that holds what came
    /// with it.
    pub fn follow(&self, epoch: i32, high_watermark: i64, log_start: i64) -> Result<(), StorageError> {
        let _stays = self.changing_role.lock();
        if !self.follows_in(epoch) {
            return Ok(());
        }
        let log = self.log();
        let before = log.high_watermark();
        if log.set_high_watermark(follower::high_watermark(high_watermark, log.log_end_offset())) > before {
            self.fetchers.advanced();
        }
        if log_start > log.log_start_offset() && log.follow_log_start(log_start)? >= log_start {
            self.wake_fetches();
        }
        Ok(())
    }

    /// Cuts the log where it parts from that of the leader of `epoch`; whether this broker still follows it.
    pub fn truncate(&self, epoch: i32, offset: i64) -> Result<bool, StorageError> {
        // The role stays what it is while the log is cut: what this broker leads is never cut.
        let _stays = self.changing_role.lock();
        let follows = self.follows_in(epoch);
        if follows {
            self.log().truncate_to(offset)?;
            self.wake_fetches();
        }
        Ok(follows)
    }

    /// Drops everything: the log of the leader of `epoch` starts at `offset`, beyond the end of this one.
    pub fn restart_at(&self, epoch: i32, offset: i64) -> Result<bool, StorageError> {
        let _stays = self.changing_role.lock();
        let follows = self.follows_in(epoch);
        if follows {
            self.log().restart_at(offset, offset)?;
            self.wake_fetches();
        }
        Ok(follows)
    }

    fn follows_in(&self, epoch: i32) -> bool {
        let standing = self.standing.load();
        standing.epoch == epoch && !standing.leads()
    }
}

/// Why a replica's fetch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaRefused {
    /// This broker does not lead.
    #[error(transparent)]
    NotServed(#[from] NotServed),
    /// It is not taken for a replica.
    #[error(transparent)]
    Fetch(#[from] FetchRefused),
}

/// KIP-320: one who knows an older or newer epoch must refresh its metadata first.
fn check_epoch(known: i32, epoch: i32) -> Result<(), NotServed> {
    match known {
        known if known < 0 || known == epoch => Ok(()),
        known if known < epoch => Err(NotServed::FencedEpoch { known, epoch }),
        known => Err(NotServed::UnknownEpoch { known, epoch }),
    }
}

/// Where a fetcher's log parts from this one (KIP-595).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The largest epoch here that is not above the fetcher's last.
    pub epoch: i32,
    /// Where it ended.
    pub end_offset: i64,
}

impl Partition {
    /// Whether the log of a fetcher whose last record, just below `offset`, is of `last_epoch` has parted from this one.
    pub fn divergence(&self, last_epoch: i32, offset: i64) -> Option<Divergence> {
        if last_epoch < 0 {
            return None;
        }
        let (epoch, end_offset) = self.epoch_end_offset(last_epoch)?;
        (epoch < last_epoch || end_offset < offset).then_some(Divergence { epoch, end_offset })
    }
}

impl follower::EndOfLog for jackdaw_storage::Log {
    fn start(&self) -> i64 {
        self.log_start_offset()
    }

    fn end(&self) -> i64 {
        self.log_end_offset()
    }

    fn epoch_end(&self, epoch: i32) -> Option<(i32, i64)> {
        self.epoch_end_offset(epoch)
    }
}

#[cfg(test)]
#[path = "role_tests.rs"]
mod tests;
