//! Where a partition's log is: the log, and the sync threads of its directory. Replaced as one when the log is moved.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::Guard;
use jackdaw_storage::Log;

use super::Flusher;
use super::flusher::SyncState;

pub(super) struct Home {
    pub(super) log: Arc<Log>,
    pub(super) flusher: Arc<Flusher>,
    pub(super) sync: SyncState,
}

impl Home {
    pub(super) fn new(log: Arc<Log>, flusher: Arc<Flusher>) -> Home {
        Home { log, flusher, sync: SyncState::default() }
    }
}

/// A partition's log at one moment. One that was moved away meanwhile can still be read, and takes nothing more.
pub struct LogRef(Guard<Arc<Home>>);

impl LogRef {
    pub(super) fn new(home: Guard<Arc<Home>>) -> LogRef {
        LogRef(home)
    }
}

impl Deref for LogRef {
    type Target = Arc<Log>;

    fn deref(&self) -> &Arc<Log> {
        &self.0.log
    }
}
