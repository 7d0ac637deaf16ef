//! What is asked of the cluster while things break: topics, and who writes and reads them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::history::Recorder;
use super::rdkafka::Helper;
use super::{RunError, consumer, member, producer, rdkafka};

/// A partition under test.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) topic: String,
    pub(super) partition: i32,
}

/// The name of a partition in histories.
pub(super) fn key_name(topic: &str, partition: i32) -> String {
    format!("{topic}-{partition}")
}

/// What all clients share.
pub(super) struct Load {
    pub(super) bootstrap: Vec<String>,
    pub(super) keys: Vec<Key>,
    pub(super) seed: u64,
    pub(super) acks: i16,
    /// Between two sends of a producer, on average.
    pub(super) pause: Duration,
    pub(super) producers: u32,
    pub(super) consumers: u32,
    /// Of our own group.
    pub(super) members: u32,
}

/// Clients at work.
pub(super) struct Workload {
    tasks: JoinSet<()>,
    helpers: Vec<Helper>,
    stop: Arc<AtomicBool>,
    pub(super) next_process: u32,
}

impl Workload {
    /// Starts them all; with librdkafka too, where a helper is given.
    pub(super) fn start(
        load: &Arc<Load>,
        recorder: &Arc<Recorder>,
        python: Option<&std::path::Path>,
    ) -> Result<Workload, RunError> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut workload = Workload { tasks: JoinSet::new(), helpers: Vec::new(), stop, next_process: 0 };
        for _ in 0..load.producers {
            let number = workload.number();
            let (load, recorder) = (Arc::clone(load), Arc::clone(recorder));
            workload.tasks.spawn(producer::run(number, load, recorder, Arc::clone(&workload.stop)));
        }
        for nth in 0..load.consumers {
            // Each reads half of the keys, so that every key has several readers.
            let keys = load.keys.iter().enumerate().filter(|(at, _)| (at / (1 + nth as usize)).is_multiple_of(2));
            let keys = keys.map(|(_, key)| key.clone()).collect();
            let number = workload.number();
            let (load, recorder) = (Arc::clone(load), Arc::clone(recorder));
            workload.tasks.spawn(consumer::run(number, keys, load, recorder, Arc::clone(&workload.stop)));
        }
        for _ in 0..load.members {
            let number = workload.number();
            let (load, recorder) = (Arc::clone(load), Arc::clone(recorder));
            workload.tasks.spawn(member::run(number, load, recorder, Arc::clone(&workload.stop)));
        }
        if let Some(python) = python {
            for role in rdkafka::ROLES {
                let number = workload.number();
                workload.helpers.push(Helper::start(python, *role, number, load, recorder, &workload.stop)?);
            }
        }
        Ok(workload)
    }

    /// The number of a process that nobody else is.
    pub(super) fn number(&mut self) -> u32 {
        self.next_process += 1;
        self.next_process - 1
    }

    /// Lets every client end its operation; those that do not are given up after `patience`.
    pub(super) async fn stop(&mut self, patience: Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, all).await.is_err() {
            self.tasks.shutdown().await;
        }
        for helper in self.helpers.drain(..) {
            helper.join();
        }
    }
}
