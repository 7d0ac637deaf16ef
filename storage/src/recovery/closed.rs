//! A log as the last broker left it, taken from what that wrote when it closed the directory.

use std::path::Path;
use std::sync::{Arc, Weak};

use uuid::Uuid;

use crate::checkpoint::decode_epochs;
use crate::closed::ClosedLog;
use crate::config::LogConfig;
use crate::dir::Shared;
use crate::disk::Disk;
use crate::epochs::Epochs;
use crate::index::{OffsetIndex, TimeIndex};
use crate::log::{Log, LogParts, Writer};
use crate::producers::{Producers, decode_snapshot};
use crate::segment::{End, Segment};

/// What the logs of one topic share.
pub(crate) struct Shares<'a> {
    pub(crate) disk: &'a Arc<Disk>,
    pub(crate) shared: Weak<Shared>,
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: Uuid,
    pub(crate) config: Arc<LogConfig>,
}

/// The log; `None` if what is said of it does not fit together, and its own files must be asked.
pub(crate) fn from_closed(shares: &Shares<'_>, path: Arc<Path>, closed: &ClosedLog<'_>) -> Option<Log> {
    let index = OffsetIndex::decode(closed.index, closed.end.size);
    let times = TimeIndex::decode(closed.times)?;
    let epochs = if closed.epochs.is_empty() { Epochs::default() } else { decode_epochs(closed.epochs).ok()? };
    let producers =
        if closed.producers.is_empty() { Producers::default() } else { decode_snapshot(closed.producers).ok()? };
    let segment_path = || (Arc::clone(shares.disk), Arc::clone(&path));
    let mut segments = Vec::with_capacity(closed.sealed.len() + 1);
    let next_bases = closed.sealed.iter().skip(1).map(|s| s.base).chain([closed.base]);
    for (sealed, next_base) in closed.sealed.iter().zip(next_bases) {
        let (disk, dir) = segment_path();
        let end = End { offset: next_base, size: sealed.size };
        segments.push(Arc::new(Segment::sealed(disk, dir, sealed.base, end, sealed.has_txns)));
    }
    let (disk, dir) = segment_path();
    let capacity = shares.config.segment_bytes;
    let active = Arc::new(Segment::active(disk, dir, closed.base, capacity, closed.end, (index, times, Vec::new())));
    segments.push(Arc::clone(&active));
    let mut writer = Writer::new(producers, epochs, active, u64::from(closed.since_index));
    writer.closed_at = Some(closed.end.offset);
    Some(Log::new(LogParts {
        topic: Arc::clone(&shares.topic),
        partition: closed.partition,
        topic_id: shares.topic_id,
        path,
        disk: Arc::clone(shares.disk),
        shared: shares.shared.clone(),
        config: Arc::clone(&shares.config),
        segments,
        start: closed.start,
        high_watermark: closed.high_watermark,
        flushed: closed.end.offset,
        writer,
        damage: None,
    }))
}
