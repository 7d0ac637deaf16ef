//! Pure: what a leader knows of its followers, and what follows from it: the high watermark, and which replicas are in
//! sync.
//!
//! A fetch offset means: the follower has everything below it on its disk. So the high watermark, the least of the
//! fetch offsets of all in-sync replicas, is where their disks agree.
//!
//! A change of the in-sync replicas counts when the controller has committed it. Until then the leader believes in the
//! larger of the two sets where that is the safe side: for the high watermark, all of both (the "maximal ISR" of
//! KIP-497); for `min.insync.replicas`, the committed one.

use std::time::Duration;

/// What the rules need from outside.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Monotonic time.
    pub now: Duration,
    /// The leader's log end offset.
    pub end: i64,
    /// The high watermark now in force.
    pub high_watermark: i64,
    /// `replica.lag.time.max.ms`.
    pub lag_max: Duration,
    /// `min.insync.replicas`, or the number of replicas if that is less.
    pub min_isr: usize,
    /// The epoch of a broker that may be in sync: registered, not fenced, not shutting down.
    pub active: &'a dyn Fn(i32) -> Option<i64>,
}

/// One replica on another broker.
#[derive(Clone, Debug)]
pub struct Follower {
    /// Its broker.
    pub id: i32,
    /// The epoch of the broker that fetched last; -1 if it has not fetched from this leadership.
    pub broker_epoch: i64,
    /// It has everything below on its disk. None before its first fetch.
    pub end: Option<i64>,
    /// Where its log starts.
    pub log_start: i64,
    caught_up_at: Option<Duration>,
    fetched_at: Duration,
    /// When the fetch before that came.
    fetched_before: Duration,
    /// The fetch session of the last one, if that went on in one.
    session: Option<i32>,
    /// It was here then, and followed.
    followed_at: Duration,
    /// The leader's log end at the last fetch.
    leader_end_then: i64,
}

impl Follower {
    fn new(id: i32, caught_up_at: Option<Duration>) -> Follower {
        Follower {
            id,
            broker_epoch: -1,
            end: None,
            log_start: -1,
            caught_up_at,
            fetched_at: Duration::ZERO,
            fetched_before: Duration::ZERO,
            session: None,
            followed_at: Duration::ZERO,
            leader_end_then: i64::MAX,
        }
    }

    fn is_caught_up(&self, around: &Surroundings<'_>) -> bool {
        self.end == Some(around.end)
            || self.caught_up_at.is_some_and(|at| around.now.saturating_sub(at) <= around.lag_max)
    }

    /// When it last had everything.
    #[must_use]
    pub fn caught_up_at(&self) -> Option<Duration> {
        self.caught_up_at
    }

    /// Offset and broker epoch come of one fetch: so a broker that was started anew is not taken for the one that had
    /// caught up (KAFKA-15221).
    fn may_be_in_sync(&self, around: &Surroundings<'_>) -> bool {
        self.end.is_some() && (around.active)(self.id) == Some(self.broker_epoch)
    }
}

/// A change of the in-sync replicas that the controller is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Tells the answers of different proposals apart.
    pub number: u64,
    /// Epoch of this leadership.
    pub leader_epoch: i32,
    /// The partition epoch that it starts from.
    pub partition_epoch: i32,
    /// The new set, each with the epoch of the broker as this leader knows it; -1 where it does not.
    pub isr: Vec<(i32, i64)>,
    /// Those who join.
    pub added: Vec<i32>,
    /// Those who leave.
    pub removed: Vec<i32>,
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The partition as the controller has committed it.
    Committed {
        /// In-sync replicas.
        isr: Vec<i32>,
        /// The partition epoch.
        partition_epoch: i32,
    },
    /// Certainly not done: the old set stands, and another proposal may follow.
    Refused,
    /// Superseded, or perhaps done: the metadata will tell. Until then the larger set counts.
    Unknown,
}

/// Why a fetch of a replica is not taken into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchRefused {
    /// No such replica.
    #[error("broker {0} is no replica of the partition")]
    NotAReplica(i32),
    /// The broker was started anew since.
    #[error("broker epoch {epoch} of the fetch is older than {known}, from which a fetch came before")]
    StaleBroker {
        /// Of the fetch.
        epoch: i64,
        /// Seen before.
        known: i64,
    },
}

/// A leadership of one partition, from its election to the next.
#[derive(Clone, Debug)]
pub struct Leader {
    node: i32,
    node_epoch: i64,
    epoch: i32,
    /// Log end when the leadership began: a follower that has not come so far does not know what is committed.
    epoch_start: i64,
    partition_epoch: i32,
    followers: Vec<Follower>,
    isr: Vec<i32>,
    proposed: Option<Proposal>,
    proposals: u64,
}

impl Leader {
    /// A leadership that begins: who is in sync by the metadata is taken for caught up.
    #[must_use]
    pub fn new(
        (node, node_epoch): (i32, i64),
        (epoch, epoch_start): (i32, i64),
        partition_epoch: i32,
        replicas: &[i32],
        isr: &[i32],
        now: Duration,
    ) -> Leader {
        let others = replicas.iter().filter(|&&id| id != node);
        let followers = others.map(|&id| Follower::new(id, isr.contains(&id).then_some(now))).collect();
        Leader {
            node,
            node_epoch,
            epoch,
            epoch_start,
            partition_epoch,
            followers,
            isr: isr.to_vec(),
            proposed: None,
            proposals: 0,
        }
    }

    /// The leader epoch.
    #[must_use]
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// Log end when the leadership began.
    #[must_use]
    pub fn epoch_start(&self) -> i64 {
        self.epoch_start
    }

    /// The newest partition epoch known.
    #[must_use]
    pub fn partition_epoch(&self) -> i32 {
        self.partition_epoch
    }

    /// The committed in-sync replicas.
    #[must_use]
    pub fn isr(&self) -> &[i32] {
        &self.isr
    }

    /// The other replicas.
    #[must_use]
    pub fn followers(&self) -> &[Follower] {
        &self.followers
    }

    /// Whether a change waits for the controller.
    #[must_use]
    pub fn proposed(&self) -> Option<&Proposal> {
        self.proposed.as_ref()
    }

    /// Whether acks=all can be promised: enough replicas are in sync.
    #[must_use]
    pub fn has_min_isr(&self, min_isr: usize) -> bool {
        self.isr.len() >= min_isr
    }

    /// Whether nobody else is in sync who could lead instead, or one of them has followed this leader since then.
    #[must_use]
    pub fn is_followed_since(&self, then: Duration) -> bool {
        let mut others = self.followers.iter().filter(|follower| self.isr.contains(&follower.id)).peekable();
        others.peek().is_none()
            || others.any(|follower| follower.followed_at >= then && !follower.followed_at.is_zero())
    }

    /// A follower asks for records from `offset` on.
    ///
    /// # Errors
    /// It is no replica, or not of the broker's newest epoch: nothing has changed.
    pub fn fetched(
        &mut self,
        id: i32,
        broker_epoch: i64,
        offset: i64,
        log_start: i64,
        leader_end: i64,
        now: Duration,
    ) -> Result<(), FetchRefused> {
        let follower = self.followers.iter_mut().find(|follower| follower.id == id);
        let follower = follower.ok_or(FetchRefused::NotAReplica(id))?;
        if broker_epoch < follower.broker_epoch {
            return Err(FetchRefused::StaleBroker { epoch: broker_epoch, known: follower.broker_epoch });
        }
        if offset >= leader_end {
            follower.caught_up_at = Some(now);
        } else if offset >= follower.leader_end_then && follower.end.is_some() {
            // It has all that was there when it asked last.
            follower.caught_up_at = follower.caught_up_at.max(Some(follower.fetched_at));
        }
        follower.broker_epoch = broker_epoch;
        follower.end = Some(offset);
        follower.log_start = log_start;
        follower.fetched_before = std::mem::replace(&mut follower.fetched_at, now);
        follower.leader_end_then = leader_end;
        Ok(())
    }

    /// The fetch of this follower, just taken in, goes on in this session. Then it has had the answer to the one before, and
    /// followed when that came. The arrival itself says nothing of when it was sent: a frozen process finds requests of before.
    pub fn went_on(&mut self, id: i32, session: Option<i32>) {
        let Some(follower) = self.followers.iter_mut().find(|follower| follower.id == id) else { return };
        if session.is_some() && follower.session == session {
            follower.followed_at = follower.fetched_before;
        }
        follower.session = session;
    }

    /// The high watermark that the offsets known allow; none where it must stay what it is. Below
    /// `min.insync.replicas` it does not move at all (KIP-966): what is committed is on as many disks as were asked for,
    /// so that losing all but one loses nothing.
    #[must_use]
    pub fn high_watermark(&self, around: &Surroundings<'_>) -> Option<i64> {
        if !self.has_min_isr(around.min_isr) {
            return None;
        }
        let mut least = around.end;
        for follower in &self.followers {
            if self.counts(follower.id) {
                least = least.min(follower.end?);
            } else if follower.is_caught_up(around) && follower.may_be_in_sync(around) {
                // About to join: would the high watermark run ahead of it, it could not.
                least = least.min(follower.end?);
            }
        }
        Some(least)
    }

    /// Whether a replica is in sync, or will be if what is proposed is committed.
    fn counts(&self, id: i32) -> bool {
        self.isr.contains(&id) || self.proposed.as_ref().is_some_and(|proposed| proposed.added.contains(&id))
    }

    /// Who should join the in-sync replicas or leave them, if anybody, and if no such question is open. A replica joins
    /// once it has all that is committed and has come into this leadership's epoch.
    pub fn propose(&mut self, around: &Surroundings<'_>) -> Option<Proposal> {
        if self.proposed.is_some() {
            return None;
        }
        let committed = around.high_watermark.max(self.epoch_start);
        let out = |f: &&Follower| self.isr.contains(&f.id) && f.end != Some(around.end) && !f.is_caught_up(around);
        let back = |f: &&Follower| {
            !self.isr.contains(&f.id) && f.end.is_some_and(|end| end >= committed) && f.may_be_in_sync(around)
        };
        let added: Vec<i32> = self.followers.iter().filter(back).map(|f| f.id).collect();
        // One thing at a time: what joins is good news, and needs no clock.
        let removed: Vec<i32> =
            if added.is_empty() { self.followers.iter().filter(out).map(|f| f.id).collect() } else { Vec::new() };
        if added.is_empty() && removed.is_empty() {
            return None;
        }
        let stays = self.isr.iter().copied().filter(|id| !removed.contains(id));
        let isr = stays.chain(added.iter().copied()).map(|id| (id, self.broker_epoch(id))).collect();
        self.proposals += 1;
        let (leader_epoch, partition_epoch) = (self.epoch, self.partition_epoch);
        let proposal = Proposal { number: self.proposals, leader_epoch, partition_epoch, isr, added, removed };
        self.proposed = Some(proposal.clone());
        Some(proposal)
    }

    fn broker_epoch(&self, id: i32) -> i64 {
        if id == self.node {
            return self.node_epoch;
        }
        self.followers.iter().find(|f| f.id == id).map_or(-1, |f| f.broker_epoch)
    }

    /// The controller's answer to a proposal; whether anything changed.
    pub fn answered(&mut self, number: u64, answer: Answer) -> bool {
        if self.proposed.as_ref().is_none_or(|proposed| proposed.number != number) {
            return false; // the metadata was faster
        }
        match answer {
            Answer::Committed { isr, partition_epoch } if partition_epoch >= self.partition_epoch => {
                self.partition_epoch = partition_epoch;
                self.isr = isr;
                self.proposed = None;
                true
            }
            Answer::Refused => {
                self.proposed = None;
                true
            }
            // An older state than the one known: its news is on the way.
            Answer::Committed { .. } | Answer::Unknown => false,
        }
    }

    /// The metadata's word on the partition, in the same leadership; whether anything changed. An older one, which a
    /// direct answer has overtaken, is none.
    pub fn learned(&mut self, partition_epoch: i32, replicas: &[i32], isr: &[i32], now: Duration) -> bool {
        if partition_epoch <= self.partition_epoch {
            return false;
        }
        self.partition_epoch = partition_epoch;
        self.followers.retain(|follower| replicas.contains(&follower.id));
        for &id in replicas.iter().filter(|&&id| id != self.node) {
            if !self.followers.iter().any(|follower| follower.id == id) {
                self.followers.push(Follower::new(id, isr.contains(&id).then_some(now)));
            }
        }
        self.isr = isr.to_vec();
        self.proposed = None;
        true
    }

    /// This broker registered anew, and goes on leading.
    pub fn set_node_epoch(&mut self, epoch: i64) {
        self.node_epoch = epoch;
    }
}

#[cfg(test)]
#[path = "leader_tests.rs"]
mod tests;
