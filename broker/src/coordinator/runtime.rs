//! The only place where the machine meets the log and the clock.
//!
//! One [`Cell`] per partition of `__consumer_offsets`: the pure shard, its timers and its parked requests behind one short
//! lock, which is never held across a wait. A verb runs the machine, appends the records it asks for, releases the
//! answers it makes and sets its timers, all under that lock: so the log has the records in the order in which they took
//! effect. Every answer, also one that only reads and also an error, then waits until the records that it is based on are
//! durable.
//!
//! If an append or a sync fails, memory is ahead of the log for good: the shard stops, answers everybody who waits with
//! `NotCoordinator`, and stays away until the log is read again: once it takes writes and somebody asks for one of the
//! groups, or at a restart.

mod opening;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use jackdaw_protocol::records::Codec;
use jackdaw_storage::Origin;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::placement::partition_for;
use super::timers::Timers;
use super::{Outcome, batches};
use crate::clock::Clock;
use crate::config::Config;
use crate::group::classic::{Join, Leaving, Sync as SyncRequest};
use crate::group::records::Record;
use crate::group::shard::{Commit, DescribedGroup, ListedGroup};
use crate::group::{
    Answer, Effects, GroupConfig, GroupError, GroupId, JoinRefused, Joined, Shard, Step, Synced, Token, limits,
};
use crate::partition::{NotDurable, Partition};
use crate::topics::image::Image;

/// Groups whose expiry is looked at under one hold of the shard's lock.
const EXPIRE_AT_ONCE: usize = 256;
/// Nothing is due: look again when woken.
const NEVER: u64 = u64::MAX;

/// One verdict for each thing asked for, in the order asked.
pub type Verdicts = Vec<Result<(), GroupError>>;

/// All groups that this broker coordinates.
pub struct Groups {
    config: Arc<ArcSwap<Config>>,
    clock: Arc<Clock>,
    /// Unset until `__consumer_offsets` exists. A partition that is offline has no cell.
    cells: ArcSwapOption<Cells>,
    next_token: AtomicU64,
    /// Wakes the timer task when something is due earlier than it knows.
    earlier: Arc<Notify>,
    /// There are partitions to be read.
    to_load: Notify,
    /// Held while partitions come and go, so that a later state is never followed by an earlier one.
    following: Mutex<Arc<Image>>,
}

struct Cells {
    topic_id: Uuid,
    by_partition: Vec<Option<Arc<Cell>>>,
}

struct Cell {
    partition: Arc<Partition>,
    inner: Mutex<Inner>,
    /// The next deadline, on the monotonic clock in milliseconds; [`NEVER`] if there is none.
    due_ms: AtomicU64,
    /// That of the last append.
    leader_epoch: AtomicI32,
    /// The last one that the metadata named.
    led_in: AtomicI32,
    /// Somebody is reading it.
    is_loading: AtomicBool,
    commit_timeout: Duration,
}

struct Inner {
    status: Status,
    shard: Shard,
    timers: Timers,
    parked: HashMap<Token, oneshot::Sender<Released>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Loading,
    Ready,
    /// It could not be read.
    Broken,
    /// It could not be written: a full disk, or one that failed.
    Failed,
    /// The topic was deleted, or the broker stops.
    Stopped,
}

/// An answer of the machine and what must be durable before it is given.
struct Released {
    answer: Answer,
    until: i64,
}

impl Groups {
    /// No partition yet: [`open`](Groups::open) brings them.
    pub fn new(config: Arc<ArcSwap<Config>>, clock: Arc<Clock>) -> Groups {
        Groups {
            config,
            clock,
            cells: ArcSwapOption::empty(),
            next_token: AtomicU64::new(1),
            earlier: Arc::new(Notify::new()),
            to_load: Notify::new(),
            following: Mutex::default(),
        }
    }

    /// The id of the topic whose partitions are open; `None` if it must be made first.
    pub fn topic_id(&self) -> Option<Uuid> {
        self.cells.load().as_ref().map(|cells| cells.topic_id)
    }

    /// A fresh name for a request that may be parked.
    pub fn token(&self) -> Token {
        Token(self.next_token.fetch_add(1, Ordering::Relaxed))
    }

    /// JoinGroup.
    pub fn join(&self, group: &GroupId, join: Join) -> Outcome<Result<Joined, JoinRefused>> {
        let token = join.token;
        self.parkable(
            group,
            token,
            |shard, step| shard.join(group, join, step),
            |answer| match answer {
                Answer::Join(answer) => answer,
                Answer::Sync(_) => Err(GroupError::NotCoordinator.into()),
            },
        )
    }

    /// SyncGroup.
    pub fn sync(&self, group: &GroupId, sync: SyncRequest) -> Outcome<Result<Synced, GroupError>> {
        let token = sync.token;
        self.parkable(
            group,
            token,
            |shard, step| shard.sync(group, sync, step),
            |answer| match answer {
                Answer::Sync(answer) => answer,
                Answer::Join(_) => Err(GroupError::NotCoordinator),
            },
        )
    }

    /// Heartbeat.
    pub fn heartbeat(
        &self,
        group: &GroupId,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Outcome<Result<(), GroupError>> {
        let outcome = self.step(group, |shard, step| shard.heartbeat(group, member_id, instance_id, generation, step));
        // The member is as well as it was before the restart; it hears of a rebalance in good time.
        outcome.map(|result| if result == Err(GroupError::LoadInProgress) { Ok(()) } else { result })
    }

    /// LeaveGroup.
    pub fn leave(&self, group: &GroupId, leaving: &[Leaving]) -> Outcome<Result<Verdicts, GroupError>> {
        self.step(group, |shard, step| Ok(shard.leave(group, leaving, step)))
    }

    /// OffsetCommit.
    pub fn commit(&self, commit: Commit) -> Outcome<Result<Verdicts, GroupError>> {
        let group = commit.group.clone();
        if let Err(error) = self.takes_writes(&group) {
            return Outcome::Now(Err(error));
        }
        self.step(&group, |shard, step| shard.commit(commit, step))
    }

    /// OffsetDelete.
    pub fn delete_offsets(
        &self,
        group: &GroupId,
        partitions: &[(Arc<str>, i32)],
    ) -> Outcome<Result<Verdicts, GroupError>> {
        self.step(group, |shard, step| shard.delete_offsets(group, partitions, step))
    }

    /// DeleteGroups, one of them.
    pub fn delete_group(&self, group: &GroupId) -> Outcome<Result<(), GroupError>> {
        self.step(group, |shard, step| shard.delete_group(group, step))
    }

    /// DescribeGroups, one of them; `None` if there is no such group.
    pub fn describe(&self, group: &GroupId) -> Outcome<Result<Option<DescribedGroup>, GroupError>> {
        if self.topic_id().is_none() {
            return Outcome::Now(Ok(None));
        }
        self.step(group, |shard, _| Ok(shard.describe(group)))
    }

    /// ListGroups. An error if a partition is not loaded yet: the list would not be whole.
    pub fn list(&self) -> Result<Vec<ListedGroup>, GroupError> {
        let mut listed = Vec::new();
        for cell in self.all() {
            let inner = cell.inner.lock();
            match inner.status {
                Status::Loading => return Err(GroupError::LoadInProgress),
                Status::Ready => listed.extend(inner.shard.list()),
                Status::Broken | Status::Failed | Status::Stopped => {}
            }
        }
        Ok(listed)
    }

    /// Shows `look` every shard that is served, one after the other; `false` if one is not loaded yet.
    pub(super) fn each_shard(&self, mut look: impl FnMut(&Shard)) -> bool {
        self.all().iter().all(|cell| {
            let inner = cell.inner.lock();
            if inner.status == Status::Ready {
                look(&inner.shard);
            }
            inner.status != Status::Loading
        })
    }

    /// Forgets the offsets that any group committed in a topic that is deleted now.
    pub fn topic_deleted(&self, topic: &str) {
        let topic: Arc<str> = topic.into();
        for cell in self.all() {
            self.housekeeping(&cell, |shard, step| shard.topic_deleted(&topic, step));
        }
    }

    /// Stops: whoever is parked is sent to look for the coordinator again.
    pub fn stop(&self) {
        self.all().iter().for_each(|cell| cell.stop());
    }

    /// The timer task: fires the timers of all groups and expires offsets, until it is dropped.
    pub async fn run_timers(self: Arc<Self>) {
        let mut expire_at_ms = self.now_ms() + self.config.load().offsets_retention_check_interval_ms;
        loop {
            let woken = self.earlier.notified();
            let now_ms = self.now_ms();
            for cell in self.all() {
                if cell.due_ms.load(Ordering::Acquire) <= now_ms {
                    self.fire(&cell, now_ms);
                }
            }
            if expire_at_ms <= now_ms {
                self.expire_offsets().await;
                expire_at_ms = now_ms + self.config.load().offsets_retention_check_interval_ms;
            }
            let due_ms = self.all().iter().map(|cell| cell.due_ms.load(Ordering::Acquire)).min().unwrap_or(NEVER);
            let wait_ms = due_ms.min(expire_at_ms).saturating_sub(self.now_ms());
            tokio::select! {
                () = woken => {}
                () = self.to_load.notified() => {
                    let groups = self.clone();
                    // It ends by itself; what it read is told by the cells.
                    drop(tokio::task::spawn_blocking(move || groups.load()));
                }
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
            }
        }
    }

    /// Removes expired offsets and groups that have nothing left.
    pub async fn expire_offsets(&self) {
        for cell in self.all() {
            let mut after = None;
            loop {
                let mut next = None;
                self.housekeeping(&cell, |shard, step| next = shard.expire(after.take(), EXPIRE_AT_ONCE, step));
                if next.is_none() {
                    break;
                }
                after = next;
                // The lock was given back; let requests of this shard go before the next portion.
                tokio::task::yield_now().await;
            }
        }
    }

    fn fire(&self, cell: &Arc<Cell>, now_ms: u64) {
        let mut inner = cell.inner.lock();
        while inner.status == Status::Ready
            && let Some(key) = inner.timers.pop_due(now_ms)
        {
            let _ = self.take_step(cell, &mut inner, &key.group, |shard, step| shard.timer_fired(&key, step));
        }
        self.publish_due(cell, &inner);
    }

    fn housekeeping(&self, cell: &Arc<Cell>, verb: impl FnOnce(&mut Shard, &mut Step)) {
        let mut inner = cell.inner.lock();
        if inner.status == Status::Ready {
            let _ = self.take_step(cell, &mut inner, "", verb);
            self.publish_due(cell, &inner);
        }
    }

    /// A verb whose answer is known at once.
    pub(super) fn step<T: Send + 'static>(
        &self,
        group: &str,
        verb: impl FnOnce(&mut Shard, &mut Step) -> Result<T, GroupError>,
    ) -> Outcome<Result<T, GroupError>> {
        let cell = match self.cell(group) {
            Ok(cell) => cell,
            Err(error) => return Outcome::Now(Err(error)),
        };
        let (result, until) = {
            let mut inner = match cell.ready() {
                Ok(inner) => inner,
                Err(error) => return Outcome::Now(Err(error)),
            };
            let result = match self.take_step(&cell, &mut inner, group, verb) {
                Ok((result, _)) => result,
                Err(error) => return Outcome::Now(Err(error)),
            };
            self.publish_due(&cell, &inner);
            (result, inner.shard.depends_on(group))
        };
        cell.when_durable(until, result)
    }

    /// A verb whose answer may come in a later step.
    fn parkable<T: Send + 'static, E: From<GroupError> + Send + 'static>(
        &self,
        group: &str,
        token: Token,
        verb: impl FnOnce(&mut Shard, &mut Step),
        unpack: impl Fn(Answer) -> Result<T, E> + Send + 'static,
    ) -> Outcome<Result<T, E>> {
        let cell = match self.cell(group) {
            Ok(cell) => cell,
            Err(error) => return Outcome::Now(Err(error.into())),
        };
        if let Err(error) = self.takes_writes(group) {
            return Outcome::Now(Err(error.into()));
        }
        let mut inner = match cell.ready() {
            Ok(inner) => inner,
            Err(error) => return Outcome::Now(Err(error.into())),
        };
        let (sender, receiver) = oneshot::channel();
        inner.parked.insert(token, sender);
        let _ = self.take_step(&cell, &mut inner, group, verb);
        self.publish_due(&cell, &inner);
        drop(inner);
        let mut receiver = receiver;
        match receiver.try_recv() {
            Ok(Released { answer, until }) => cell.when_durable(until, unpack(answer)),
            Err(oneshot::error::TryRecvError::Closed) => Outcome::Now(Err(GroupError::NotCoordinator.into())),
            Err(oneshot::error::TryRecvError::Empty) => Outcome::Later(Box::pin(async move {
                match receiver.await {
                    Ok(Released { answer, until }) => cell.when_durable(until, unpack(answer)).wait().await,
                    Err(_) => Err(GroupError::NotCoordinator.into()),
                }
            })),
        }
    }

    /// Runs the machine and does what it asks for. `group` is whose records, if any, are written.
    fn take_step<T>(
        &self,
        cell: &Cell,
        inner: &mut Inner,
        group: &str,
        verb: impl FnOnce(&mut Shard, &mut Step) -> T,
    ) -> Result<(T, i64), GroupError> {
        let config = self.group_config(&cell.partition);
        let mut effects = Effects::default();
        let mut step = Step { now_ms: self.clock.now_ms(), config: &config, effects: &mut effects };
        let result = verb(&mut inner.shard, &mut step);
        if !effects.records.is_empty() {
            self.append(cell, inner, &effects.records)?;
        }
        let until = inner.shard.depends_on(group);
        for (token, answer) in effects.replies {
            if let Some(parked) = inner.parked.remove(&token) {
                // Nobody listens if the connection is gone.
                let _ = parked.send(Released { answer, until });
            }
        }
        let now_ms = self.now_ms();
        for change in effects.timers {
            match change.after_ms {
                Some(after_ms) => inner.timers.set(change.key, now_ms.saturating_add(after_ms)),
                None => inner.timers.cancel(&change.key),
            }
        }
        Ok((result, until))
    }

    fn append(&self, cell: &Cell, inner: &mut Inner, records: &[Record]) -> Result<(), GroupError> {
        let now_ms = self.clock.now_ms();
        let codec = u8::try_from(self.config.load().offsets_topic_compression_codec).ok().and_then(Codec::from_id);
        let max_bytes = cell.partition.topic_config().max_message_bytes;
        let batches = match batches::pack(records, now_ms, codec.unwrap_or(Codec::None), max_bytes) {
            Ok(batches) => batches,
            Err(error) => return Err(cell.fail(inner, &error)),
        };
        let mut results = Vec::with_capacity(batches.len());
        let epoch = cell.partition.append(&batches, Origin::Coordinator, now_ms, &mut results);
        cell.leader_epoch.store(epoch, Ordering::Release);
        let mut end = 0;
        for result in results {
            match result {
                Ok(appended) => end = appended.last_offset + 1,
                Err(error) => return Err(cell.fail(inner, &error)),
            }
        }
        for record in records {
            inner.shard.written(record.group(), end);
        }
        Ok(())
    }

    fn publish_due(&self, cell: &Cell, inner: &Inner) {
        let due_ms = inner.timers.next_ms().unwrap_or(NEVER);
        if due_ms < cell.due_ms.swap(due_ms, Ordering::AcqRel) {
            self.earlier.notify_one();
        }
    }

    /// A look at the configuration in effect.
    pub(super) fn with_config<T>(&self, look: impl FnOnce(&Config) -> T) -> T {
        look(&self.config.load())
    }

    fn group_config(&self, partition: &Partition) -> GroupConfig {
        let config = self.config.load();
        GroupConfig {
            initial_rebalance_delay_ms: config.group_initial_rebalance_delay_ms.max(0) as u64,
            min_session_timeout_ms: config.group_min_session_timeout_ms,
            max_session_timeout_ms: config.group_max_session_timeout_ms,
            max_size: config.group_max_size.min(limits::MAX_MEMBERS),
            offset_metadata_max_bytes: config.offset_metadata_max_bytes,
            offsets_retention_ms: i64::from(config.offsets_retention_minutes) * 60_000,
            max_record_bytes: partition.topic_config().max_message_bytes.saturating_sub(batches::BATCH_OVERHEAD),
        }
    }

    /// Whether the partition that holds the group has the replicas that a write needs.
    fn takes_writes(&self, group: &str) -> Result<(), GroupError> {
        let cell = self.cell(group)?;
        if cell.partition.has_min_isr() {
            return Ok(());
        }
        let (wanted, in_sync) = cell.partition.in_sync();
        Err(GroupError::NotAvailable(format!(
            "{in_sync} replicas of its partition of __consumer_offsets are in sync, min.insync.replicas is {wanted}"
        )))
    }

    /// Whether the group is coordinated here, as far as this broker can know ([`Partition::surely_leads`]).
    pub(super) fn surely_coordinates(&self, group: &str) -> Result<(), GroupError> {
        if self.cell(group)?.partition.surely_leads() { Ok(()) } else { Err(GroupError::NotCoordinator) }
    }

    fn cell(&self, group: &str) -> Result<Arc<Cell>, GroupError> {
        let cells = self.cells.load();
        let cells = &cells.as_ref().ok_or(GroupError::NotCoordinator)?.by_partition;
        cells.get(partition_for(group, cells.len())).cloned().flatten().ok_or(GroupError::NotCoordinator)
    }

    fn all(&self) -> Vec<Arc<Cell>> {
        self.cells
            .load()
            .as_ref()
            .map(|cells| cells.by_partition.iter().flatten().cloned().collect())
            .unwrap_or_default()
    }

    fn now_ms(&self) -> u64 {
        self.clock.monotonic().as_millis() as u64
    }
}

impl Cell {
    fn new(partition: Arc<Partition>, led_in: i32, commit_timeout: Duration) -> Cell {
        let inner = Inner {
            status: Status::Loading,
            shard: Shard::default(),
            timers: Timers::default(),
            parked: HashMap::new(),
        };
        let leader_epoch = AtomicI32::new(partition.leader_epoch());
        Cell {
            partition,
            inner: Mutex::new(inner),
            due_ms: AtomicU64::new(NEVER),
            leader_epoch,
            led_in: AtomicI32::new(led_in),
            is_loading: AtomicBool::new(false),
            commit_timeout,
        }
    }

    fn ready(&self) -> Result<MutexGuard<'_, Inner>, GroupError> {
        let inner = self.inner.lock();
        match inner.status {
            Status::Ready => Ok(inner),
            Status::Loading => Err(GroupError::LoadInProgress),
            Status::Broken | Status::Failed | Status::Stopped => Err(GroupError::NotCoordinator),
        }
    }

    fn fail(&self, inner: &mut Inner, error: &dyn std::fmt::Display) -> GroupError {
        let partition = self.partition.index();
        if self.partition.is_leader() {
            tracing::error!(partition, %error, "__consumer_offsets cannot be written; the groups of this partition stop");
        } else {
            tracing::info!(partition, "another broker leads this partition of __consumer_offsets; its groups go there");
        }
        let stopped = inner.status == Status::Stopped;
        inner.stop();
        if !stopped {
            inner.status = Status::Failed;
        }
        GroupError::NotCoordinator
    }

    fn stop(&self) {
        self.inner.lock().stop();
    }

    /// Gives the answer once everything below `until` is durable.
    fn when_durable<T: Send + 'static, E: From<GroupError> + Send + 'static>(
        self: &Arc<Cell>,
        until: i64,
        answer: Result<T, E>,
    ) -> Outcome<Result<T, E>> {
        let epoch = self.leader_epoch.load(Ordering::Acquire);
        if self.partition.is_acknowledged(until, epoch) {
            return Outcome::Now(answer);
        }
        let durable = self.partition.durable(until, epoch);
        let cell = self.clone();
        Outcome::Later(Box::pin(async move {
            // What is appended stays appended: only the answer is that nobody knows yet.
            let unknown = |why: String| Err(GroupError::NotAvailable(why).into());
            match tokio::time::timeout(cell.commit_timeout, durable).await {
                Ok(Ok(())) => answer,
                Err(_) => unknown("the replicas of __consumer_offsets did not acknowledge in time".to_owned()),
                Ok(Err(error @ NotDurable::TooFewReplicas { .. })) => unknown(error.to_string()),
                Ok(Err(error)) => {
                    let mut inner = cell.inner.lock();
                    Err(cell.fail(&mut inner, &error).into())
                }
            }
        }))
    }
}

impl Inner {
    /// Dropping the senders tells those who wait.
    fn stop(&mut self) {
        self.status = Status::Stopped;
        self.parked.clear();
        self.timers = Timers::default();
        self.shard = Shard::default();
    }
}
