//! The log directories at start: which can be opened, which cannot, and whether they belong together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jackdaw_quorum::DirectoryId;
use jackdaw_storage::{LogDir, LogDirOptions, OpenError, cluster_id_of, same_directory};

use crate::broker::StartError;
use crate::clock::Clock;
use crate::config::Config;
use crate::housekeeping;
use crate::partition::Flusher;

/// A log directory that could not be opened. The others serve without it.
#[derive(Clone, Debug)]
pub struct FailedDir {
    /// As `log.dirs` names it.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// What became of `log.dirs`.
pub(crate) struct Opened {
    pub(crate) flushers: Vec<Arc<Flusher>>,
    pub(crate) failed: Vec<FailedDir>,
    pub(crate) cluster_id: String,
}

/// Opens all that can be opened. A fresh directory becomes one of the cluster that the others are of.
///
/// # Errors
/// A mistake rather than a failure: a directory named twice, in use by another broker, of another cluster or node. Or no
/// directory can be opened at all.
pub(crate) fn open(config: &Config, clock: &Arc<Clock>) -> Result<Opened, StartError> {
    if let Some((first, second)) = same_directory(&config.log_dirs) {
        return Err(StartError::SameDirectory { first, second });
    }
    let mut cluster_id = config.cluster_id.clone().or_else(|| known_cluster(&config.log_dirs));
    let (mut flushers, mut failed) = (Vec::with_capacity(config.log_dirs.len()), Vec::new());
    for path in &config.log_dirs {
        match open_one(path, cluster_id.clone(), config, clock) {
            Ok(dir) => {
                cluster_id.get_or_insert_with(|| dir.cluster_id().to_owned());
                flushers.push(Flusher::start(Arc::new(dir), clock.clone())?);
            }
            Err(error) if is_mistake(&error) => return Err(error.into()),
            Err(error) => failed.push((path, error)),
        }
    }
    if flushers.is_empty()
        && let Some((_, error)) = failed.pop()
    {
        return Err(error.into());
    }
    let report = |(path, error): (&PathBuf, OpenError)| {
        tracing::error!(dir = %path.display(), %error, "a log directory cannot be opened: its partitions are offline");
        FailedDir { path: path.clone(), reason: error.to_string() }
    };
    let failed = failed.into_iter().map(report).collect();
    Ok(Opened { flushers, failed, cluster_id: cluster_id.unwrap_or_default() })
}

fn open_one(path: &Path, cluster_id: Option<String>, config: &Config, clock: &Arc<Clock>) -> Result<LogDir, OpenError> {
    let mut options = LogDirOptions::new(config.node_id);
    options.cluster_id = cluster_id;
    options.recovery_threads = config.num_recovery_threads_per_data_dir;
    let defaults = config.topic_defaults.log();
    let report = housekeeping::RecoveryReport::new(clock);
    LogDir::open(path, options, &|_| defaults.clone(), &|progress| report.note(&progress))
}

/// Stops the syncs of log directories, and leaves them as a clean stop does.
pub(crate) fn close(flushers: &[Arc<Flusher>]) {
    for flusher in flushers {
        flusher.stop();
        if let Err(error) = flusher.dir().close() {
            tracing::error!(dir = %flusher.dir().path().display(), %error, "not closed cleanly; the next start recovers it");
        }
    }
}

/// Of the first directory that has one. One that cannot be read is told of when it is opened.
pub(crate) fn known_cluster(dirs: &[PathBuf]) -> Option<String> {
    dirs.iter().find_map(|dir| cluster_id_of(dir).ok().flatten())
}

/// The id of the directory that `folder` is in, if both are new: a quorum's folder that was lost must not be taken for the same.
pub(crate) fn fresh_id(dirs: &[Arc<LogDir>], folder: &Path) -> Option<DirectoryId> {
    let dir = dirs.iter().find(|dir| Some(dir.path()) == folder.parent())?;
    dir.is_fresh().then(|| DirectoryId(dir.directory_id()))
}

/// Serving without the directory would hide what is wrong with the configuration.
fn is_mistake(error: &OpenError) -> bool {
    matches!(error, OpenError::Locked { .. } | OpenError::OtherCluster { .. } | OpenError::OtherNode { .. })
}
