//! The index that a clean stop leaves, and the logs that a start takes from it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::Shared;
use super::start::in_parallel;
use crate::checkpoint::CLEAN_SHUTDOWN;
use crate::closed::{CLOSED_INDEX, ClosedLog, ClosedTopic, ClosedWriter, Stamp, decode_closed};
use crate::config::LogConfig;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::log::Log;
use crate::recovery::{Shares, from_closed};
use crate::segment::file_name;

/// Stamps of one log's directory and active data file.
type Stamps = Option<(Stamp, Stamp)>;
/// How many logs a thread takes at once.
const CHUNK: usize = 256;

/// Writes the index. It goes with the mark that is there now: to be called last.
pub(super) fn write_closed_index(shared: &Shared, logs: &[Arc<Log>], threads: usize) -> Result<(), StorageError> {
    let disk = &shared.disk;
    let Some(mark) = disk.stamp(&disk.root().join(CLEAN_SHUTDOWN)) else { return Ok(()) };
    let stamps = in_parallel(threads, logs.len(), CHUNK, |range| {
        logs[range].iter().map(|log| stamps_of(disk, log.path(), &log.active_path())).collect::<Vec<Stamps>>()
    });
    let mut index = ClosedWriter::new(mark);
    for (log, stamps) in logs.iter().zip(stamps.into_iter().flatten()) {
        if let Some((dir, data)) = stamps {
            log.put_closed(dir, data, &mut index);
        }
    }
    disk.replace_file(&disk.root().join(CLOSED_INDEX), &index.finish())
}

fn stamps_of(disk: &Disk, dir: &Path, data: &Path) -> Stamps {
    Some((disk.stamp(dir)?, disk.stamp(data)?))
}

/// Reads the index and takes it out of the directory: it is good for one start. Bytes that turn out to be of another
/// stop, or damaged, are nothing.
pub(super) fn take_closed_index(disk: &Disk, clean: bool) -> Result<Option<(Stamp, Vec<u8>)>, StorageError> {
    let path = disk.root().join(CLOSED_INDEX);
    let mark = disk.stamp(&disk.root().join(CLEAN_SHUTDOWN)).filter(|_| clean);
    let bytes = disk.read_file(&path)?;
    if bytes.is_some() {
        disk.remove_file(&path)?;
    }
    Ok(mark.zip(bytes))
}

/// Partitions by topic, and whether they are all that the index names.
#[derive(Default)]
pub(super) struct Believed {
    by_topic: HashMap<String, HashSet<i32>>,
    complete: bool,
}

impl Believed {
    pub(super) fn contains(&self, topic: &str, partition: i32) -> bool {
        self.by_topic.get(topic).is_some_and(|partitions| partitions.contains(&partition))
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }
}

/// Takes in the logs that are as the index says.
pub(super) fn load_closed(
    shared: &Arc<Shared>,
    index: Option<(Stamp, Vec<u8>)>,
    threads: usize,
    config_for: &(dyn Fn(&str) -> LogConfig + Sync),
) -> Believed {
    let Some((mark, bytes)) = index else { return Believed::default() };
    let Some((_, topics)) = decode_closed(&bytes).filter(|(of, _)| *of == mark) else {
        tracing::info!(dir = %shared.disk.root().display(), "the index of the last stop is no use: every log is opened");
        return Believed::default();
    };
    let mut believed = Believed { by_topic: HashMap::new(), complete: true };
    for topic in &topics {
        let loaded = load_topic(shared, topic, threads, config_for);
        believed.complete &= loaded.len() == topic.logs.len();
        believed.by_topic.entry(topic.name.to_owned()).or_default().extend(loaded);
    }
    believed
}

fn load_topic(
    shared: &Arc<Shared>,
    topic: &ClosedTopic<'_>,
    threads: usize,
    config_for: &(dyn Fn(&str) -> LogConfig + Sync),
) -> HashSet<i32> {
    let shares = Shares {
        disk: &shared.disk,
        shared: Arc::downgrade(shared),
        topic: Arc::from(topic.name),
        topic_id: topic.id,
        config: Arc::new(config_for(topic.name)),
    };
    let chunks = in_parallel(threads, topic.logs.len(), CHUNK, |range| {
        topic.logs[range].iter().filter_map(|closed| load_one(&shares, closed)).collect::<Vec<_>>()
    });
    let mut logs = shared.logs.lock();
    let mut loaded = HashSet::with_capacity(topic.logs.len());
    for log in chunks.into_iter().flatten() {
        loaded.insert(log.partition());
        if log.segment_count() > 1 {
            shared.queue_for_compaction(&log);
        }
        logs.insert((Arc::clone(&shares.topic), log.partition()), Arc::new(log));
    }
    loaded
}

fn load_one(shares: &Shares<'_>, closed: &ClosedLog<'_>) -> Option<Log> {
    let root = shares.disk.root();
    let path: Arc<Path> = Arc::from(root.join(format!("{}-{}", shares.topic, closed.partition)));
    let data = path.join(file_name(closed.base, "log"));
    let log = stamps_of(shares.disk, &path, &data)
        .filter(|stamps| *stamps == (closed.dir, closed.data))
        .and_then(|_| from_closed(shares, Arc::clone(&path), closed));
    if log.is_none() {
        tracing::debug!(path = %path.display(), "not as the last stop left it: opened file by file");
    }
    log
}
