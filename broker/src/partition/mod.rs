//! One partition: its log, who waits for its records, and who waits for its disk.
//!
//! On a quorum of one the high watermark follows the log end. acks=all waits for the disk all the same: an append asks the
//! [`Flusher`], which syncs every log that was asked for since its last sync, so that all appends of a cycle share one.

mod flusher;
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
use flusher::SyncState;
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
    log: Arc<Log>,
    leader_epoch: AtomicI32,
    config: ArcSwap<TopicConfig>,
    fetchers: FetchWaiters,
    /// Producers waiting for every byte below an offset to be on the disk.
    durable: Mutex<Vec<(i64, Durable)>>,
    sync: SyncState,
    flusher: Arc<Flusher>,
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
            log,
            leader_epoch: AtomicI32::new(0),
            config: ArcSwap::new(config),
            fetchers: FetchWaiters::default(),
            durable: Mutex::default(),
            sync: SyncState::default(),
            flusher,
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

    /// The log beneath.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
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
        let (current, end) = (self.leader_epoch(), self.log.log_end_offset());
        match self.log.latest_epoch() {
            Some(latest) if latest >= current => self.log.epoch_end_offset(requested),
            _ if requested < 0 || requested > current => None,
            _ if requested == current => Some((current, end)),
            Some(latest) if requested >= latest => Some((latest, end)),
            Some(_) => self.log.epoch_end_offset(requested),
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
        self.log.update_config(config.log());
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
        let leader_epoch = self.leader_epoch();
        let first = results.len();
        self.flusher.append(|| {
            if let [batch] = batches {
                self.log.append(&[Append { batch, leader_epoch, origin }], now_ms, results);
            } else {
                let appends: Vec<_> = batches.iter().map(|batch| Append { batch, leader_epoch, origin }).collect();
                self.log.append(&appends, now_ms, results);
            }
        });
        if self.log.needs_tending() {
            tend(&self.log);
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
            self.log.set_high_watermark(end);
            self.fetchers.appended(bytes);
        }
    }

    /// Returns once every byte below `offset` is on the disk, or at once where the topic says `write.caching=true`.
    ///
    /// Must be called on a partition whose records below `offset` are appended; the sync is asked for before it returns
    /// its future, so the caller may drop or await it later.
    pub fn durable(self: &Arc<Self>, offset: i64) -> impl Future<Output = Result<(), NotDurable>> + Send + use<> {
        let waiting = if self.log.flushed_offset() >= offset || self.with_config(|config| config.write_caching) {
            None
        } else {
            let (sender, receiver) = oneshot::channel();
            self.durable.lock().push((offset, sender));
            self.flusher.ask(self);
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
