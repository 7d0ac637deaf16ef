//! One partition: its log, who waits for its records, and who waits for its disk.
//!
//! On a quorum of one the high watermark follows the log end. acks=all waits for the disk all the same: an append asks the
//! [`Flusher`], which syncs every log that was asked for since its last sync, so that all appends of a cycle share one.

mod flusher;
mod home;
pub mod intake;
mod waiters;

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use arc_swap::ArcSwap;
use jackdaw_protocol::records::Batch;
use jackdaw_storage::{Append, AppendError, Appended, Log, Origin, StorageError};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

pub use flusher::Flusher;
use home::Home;
pub use home::LogRef;
use waiters::FetchWaiters;
pub use waiters::{FetchWaiter, Watch};

use crate::config::TopicConfig;

/// Why a wait for the disk ended without it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotDurable {
    /// The sync failed; the log directory is offline.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The broker stops.
    #[error("the broker is stopping")]
    Stopping,
}

type Durable = oneshot::Sender<Result<(), NotDurable>>;

/// A partition that this broker leads.
pub struct Partition {
    topic: Arc<str>,
    topic_id: Uuid,
    index: i32,
    /// Where the log is: it may be moved to another log directory while it is used.
    home: ArcSwap<Home>,
    leader_epoch: AtomicI32,
    config: ArcSwap<TopicConfig>,
    fetchers: FetchWaiters,
    /// Producers waiting for every byte below an offset to be on the disk.
    durable: Mutex<Vec<(i64, Durable)>>,
}

/// Lets a thread of its own do what the next appends would otherwise wait for: a few times for each segment.
fn tend(log: &Arc<Log>) {
    let log = log.clone();
    let work = move || {
        if let Err(error) = log.tend() {
            let (topic, partition) = (log.topic(), log.partition());
            tracing::debug!(topic, partition, %error, "left to the next roll and the next flush");
        }
    };
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(work)),
        Err(_) => work(),
    }
}

impl Partition {
    /// A partition over its log; what the log holds is committed (quorum of one).
    pub fn new(
        topic: Arc<str>,
        topic_id: Uuid,
        index: i32,
        log: Arc<Log>,
        config: Arc<TopicConfig>,
        flusher: Arc<Flusher>,
    ) -> Arc<Partition> {
        log.set_high_watermark(log.log_end_offset());
        Arc::new(Partition {
            topic,
            topic_id,
            index,
            home: ArcSwap::from_pointee(Home::new(log, flusher)),
            leader_epoch: AtomicI32::new(0),
            config: ArcSwap::new(config),
            fetchers: FetchWaiters::default(),
            durable: Mutex::default(),
        })
    }

    /// Topic name.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Topic id.
    pub fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// Index within the topic.
    pub fn index(&self) -> i32 {
        self.index
    }

    /// The log beneath, as of now.
    pub fn log(&self) -> LogRef {
        LogRef::new(self.home.load())
    }

    /// The sync threads of the directory that the log is in.
    pub fn flusher(&self) -> Arc<Flusher> {
        self.home.load().flusher.clone()
    }

    /// Goes on with a copy of the log in another directory. To be called while nothing can be appended to the old one,
    /// of which the new one holds all.
    pub fn move_to(self: &Arc<Self>, log: Arc<Log>, flusher: Arc<Flusher>) {
        log.set_high_watermark(log.log_end_offset());
        self.home.store(Arc::new(Home::new(log, flusher)));
    }

    /// Epoch of the leadership that appends now.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Relaxed)
    }

    /// Appends from here on are of this epoch.
    pub fn set_leader_epoch(&self, epoch: i32) {
        self.leader_epoch.store(epoch, Ordering::Relaxed);
    }

    /// The largest epoch of leadership not above `requested`, and the offset where it ended (KIP-101). The epoch of now
    /// counts even before anything is appended in it: it began at the log end.
    pub fn epoch_end_offset(&self, requested: i32) -> Option<(i32, i64)> {
        let log = self.log();
        let (current, end) = (self.leader_epoch(), log.log_end_offset());
        match log.latest_epoch() {
            Some(latest) if latest >= current => log.epoch_end_offset(requested),
            _ if requested < 0 || requested > current => None,
            _ if requested == current => Some((current, end)),
            Some(latest) if requested >= latest => Some((latest, end)),
            Some(_) => log.epoch_end_offset(requested),
            None => Some((requested, end)),
        }
    }

    /// The topic's configuration in effect.
    pub fn topic_config(&self) -> Arc<TopicConfig> {
        self.config.load_full()
    }

    /// A cheap look at the topic's configuration.
    pub fn with_config<T>(&self, look: impl FnOnce(&TopicConfig) -> T) -> T {
        look(&self.config.load())
    }

    /// Puts a changed topic configuration into effect.
    pub fn set_config(&self, config: Arc<TopicConfig>) {
        self.log().update_config(config.shared_log());
        self.config.store(config);
    }

    /// Appends batches in order, advances the high watermark and wakes waiting fetches; one result per batch goes to
    /// `results`.
    pub fn append(
        &self,
        batches: &[Batch],
        origin: Origin,
        now_ms: i64,
        results: &mut Vec<Result<Appended, AppendError>>,
    ) {
        let first = results.len();
        let mut home = self.home.load();
        self.append_to(&home, batches, origin, now_ms, results);
        while matches!(results.get(first), Some(Err(AppendError::Storage(StorageError::Moved { .. })))) {
            // Moved between the look at where it is and the append: nothing of it was appended.
            let now = self.home.load();
            if Arc::ptr_eq(&now, &home) {
                break;
            }
            home = now;
            results.truncate(first);
            self.append_to(&home, batches, origin, now_ms, results);
        }
        let appended = results[first..].iter().zip(batches).filter_map(|(result, batch)| match result {
            Ok(appended) if !appended.duplicate => Some((appended.last_offset, batch.bytes().len())),
            _ => None,
        });
        let (mut end, mut bytes) = (-1, 0);
        for (last_offset, len) in appended {
            end = last_offset + 1;
            bytes += len;
        }
        if end >= 0 {
            home.log.set_high_watermark(end);
            self.fetchers.appended(bytes);
        }
    }

    fn append_to(
        &self,
        home: &Home,
        batches: &[Batch],
        origin: Origin,
        now_ms: i64,
        results: &mut Vec<Result<Appended, AppendError>>,
    ) {
        let leader_epoch = self.leader_epoch();
        home.flusher.append(|| {
            if let [batch] = batches {
                home.log.append(&[Append { batch, leader_epoch, origin }], now_ms, results);
            } else {
                let appends: Vec<_> = batches.iter().map(|batch| Append { batch, leader_epoch, origin }).collect();
                home.log.append(&appends, now_ms, results);
            }
        });
        if home.log.needs_tending() {
            tend(&home.log);
        }
    }

    /// Returns once every byte below `offset` is on the disk, or at once where the topic says `write.caching=true`.
    ///
    /// Must be called on a partition whose records below `offset` are appended; the sync is asked for before it returns
    /// its future, so the caller may drop or await it later.
    pub fn durable(self: &Arc<Self>, offset: i64) -> impl Future<Output = Result<(), NotDurable>> + Send + use<> {
        let waiting = if self.log().flushed_offset() >= offset || self.with_config(|config| config.write_caching) {
            None
        } else {
            let (sender, receiver) = oneshot::channel();
            self.durable.lock().push((offset, sender));
            self.ask_for_sync();
            Some(receiver)
        };
        async move {
            match waiting {
                None => Ok(()),
                Some(receiver) => receiver.await.unwrap_or(Err(NotDurable::Stopping)),
            }
        }
    }

    /// Registers a waiting fetch; it is told of appends until the [`Watch`] is dropped.
    pub fn watch(self: &Arc<Self>, waiter: &Arc<FetchWaiter>) -> Watch {
        Watch::new(self.clone(), waiter.clone())
    }

    /// Wakes every waiting fetch whatever it waits for: the partition is deleted or its log start moved.
    pub fn wake_fetches(&self) {
        self.fetchers.wake_all();
    }

    /// Lets those who wait for the disk go on waiting in the directory that the log was moved to.
    pub fn resume_syncs(self: &Arc<Self>) {
        if !self.durable.lock().is_empty() {
            self.ask_for_sync();
        }
    }

    fn ask_for_sync(self: &Arc<Self>) {
        let home = self.home.load_full();
        home.flusher.ask(self, &home);
    }

    /// Ends the waits that a sync up to `result` satisfies, or all on an error.
    fn synced(&self, result: Result<i64, NotDurable>) {
        let mut waiting = self.durable.lock();
        match result {
            Ok(flushed) => {
                let mut at = 0;
                while at < waiting.len() {
                    if waiting[at].0 <= flushed {
                        let (_, sender) = waiting.swap_remove(at);
                        // The connection may be gone; then nobody waits.
                        let _ = sender.send(Ok(()));
                    } else {
                        at += 1;
                    }
                }
            }
            Err(error) => {
                for (_, sender) in waiting.drain(..) {
                    let _ = sender.send(Err(error.clone()));
                }
            }
        }
    }
}
