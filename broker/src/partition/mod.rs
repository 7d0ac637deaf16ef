//! One partition: its log, who waits for its records, and who waits for its disk.
//!
//! Where this broker has the only replica, the high watermark follows the log end; else it follows the replicas (`role`).
//! acks=all waits for the disk in any case: an append asks the [`Flusher`], which syncs every log that was asked for since
//! its last sync, so that all appends of a cycle share one.

mod flusher;
mod home;
pub mod intake;
mod role;
mod waiters;
mod waits;

use std::sync::Arc;

use arc_swap::ArcSwap;
use jackdaw_protocol::records::Batch;
use jackdaw_storage::{Append, AppendError, Appended, Log, Origin, StorageError};
use parking_lot::Mutex;
use uuid::Uuid;

pub use flusher::Flusher;
use home::Home;
pub use home::LogRef;
use role::Standing;
pub use role::{Divergence, Duty, NotServed, ReplicaRefused};
use waiters::FetchWaiters;
pub use waiters::{FetchWaiter, Reader, Watch};
use waits::Waits;

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
    /// Not within the time that the client waits.
    #[error("the replicas in sync did not have it in time")]
    TimedOut,
    /// Another broker leads now: what was appended may be in its log or not.
    #[error("this broker does not lead the partition any more")]
    NotLeader,
    /// It is on the disk of each replica that is in sync, and those are too few by now.
    #[error("{in_sync} replicas are in sync, min.insync.replicas is {wanted}")]
    TooFewReplicas {
        /// How many are in sync.
        in_sync: usize,
        /// How many must be.
        wanted: usize,
    },
}

/// A partition that this broker has a replica of.
pub struct Partition {
    topic: Arc<str>,
    topic_id: Uuid,
    index: i32,
    /// Where the log is: it may be moved to another log directory while it is used.
    home: ArcSwap<Home>,
    standing: ArcSwap<Standing>,
    /// Held while the role changes, and by whoever needs it to stay.
    changing_role: Mutex<()>,
    config: ArcSwap<TopicConfig>,
    /// Consumers, who wait for the high watermark.
    fetchers: FetchWaiters,
    /// Other brokers, who wait for the log end.
    replica_fetchers: FetchWaiters,
    /// Producers waiting for every byte below an offset to be acknowledged.
    waits: Mutex<Waits>,
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
    /// A partition over its log, as the only replica: what the log holds is committed.
    pub fn new(
        topic: Arc<str>,
        topic_id: Uuid,
        index: i32,
        log: Arc<Log>,
        config: Arc<TopicConfig>,
        flusher: Arc<Flusher>,
    ) -> Arc<Partition> {
        Arc::new(Partition {
            topic,
            topic_id,
            index,
            home: ArcSwap::from_pointee(Home::new(log, flusher)),
            standing: ArcSwap::from_pointee(Standing::alone()),
            changing_role: Mutex::new(()),
            config: ArcSwap::new(config),
            fetchers: FetchWaiters::default(),
            replica_fetchers: FetchWaiters::default(),
            waits: Mutex::default(),
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
        self.home.store(Arc::new(Home::new(log, flusher)));
    }

    /// Epoch of the leadership of now, be it this broker's or another's.
    pub fn leader_epoch(&self) -> i32 {
        self.standing.load().epoch
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

    /// Appends batches in order, advances the high watermark where no other replica counts, and wakes waiting fetches; one
    /// result per batch goes to `results`. Returns the leader epoch that they were appended in, for [`Partition::durable`].
    pub fn append(
        self: &Arc<Self>,
        batches: &[Batch],
        origin: Origin,
        now_ms: i64,
        results: &mut Vec<Result<Appended, AppendError>>,
    ) -> i32 {
        let first = results.len();
        let (mut home, mut standing) = (self.home.load(), self.standing.load());
        loop {
            if !standing.leads() {
                let refused = AppendError::Fenced { epoch: standing.epoch, current: standing.epoch };
                results.resize(first + batches.len(), Err(refused));
                return standing.epoch;
            }
            self.append_to(&home, standing.epoch, batches, origin, now_ms, results);
            // Moved, or of another epoch, between the look at it and the append: nothing of it was appended.
            let has_changed = matches!(
                results.get(first),
                Some(Err(AppendError::Storage(StorageError::Moved { .. }) | AppendError::Fenced { .. }))
            );
            if !has_changed {
                break;
            }
            let (home_now, standing_now) = (self.home.load(), self.standing.load());
            if Arc::ptr_eq(&home_now, &home) && Arc::ptr_eq(&standing_now, &standing) {
                break;
            }
            (home, standing) = (home_now, standing_now);
            results.truncate(first);
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
            if standing.leading().is_some() {
                self.replica_fetchers.appended(bytes);
                self.look_at_replicas();
            } else {
                home.log.set_high_watermark(end);
                self.fetchers.appended(bytes);
            }
        }
        standing.epoch
    }

    fn append_to(
        &self,
        home: &Home,
        leader_epoch: i32,
        batches: &[Batch],
        origin: Origin,
        now_ms: i64,
        results: &mut Vec<Result<Appended, AppendError>>,
    ) {
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

    /// Registers a waiting fetch; it is told of what this reader may read until the [`Watch`] is dropped.
    pub fn watch(self: &Arc<Self>, waiter: &Arc<FetchWaiter>, reader: Reader) -> Watch {
        Watch::new(self.clone(), waiter.clone(), reader)
    }

    /// Wakes every waiting fetch whatever it waits for: the partition is deleted or its log start moved.
    pub fn wake_fetches(&self) {
        self.fetchers.wake_all();
        self.replica_fetchers.wake_all();
    }

    fn fetchers_of(&self, reader: Reader) -> &FetchWaiters {
        match reader {
            Reader::Consumer => &self.fetchers,
            Reader::Replica => &self.replica_fetchers,
        }
    }
}
