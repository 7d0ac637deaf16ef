//! How many different keys a log has: the sketches of its segments, made in the background and merged when asked for.
//!
//! Nothing here is on the way of an append. A segment that was sealed is queued in its directory; whoever has time
//! takes the log from there ([`crate::LogDir::take_unsketched`]) and lets it make what is missing.

use bytes::Bytes;
use jackdaw_protocol::records::{Batch, records};

use super::{Log, as_storage};
use crate::error::StorageError;
use crate::segment::{End, Segment};
use crate::sketch::KeySketch;
use crate::walk::{Walker, Want};

/// Suffix of the file beside a segment.
pub(crate) const KEYS: &str = "keys";
/// Most bytes that one compressed batch may unfold to; the keys of a larger one are not counted.
const DECODED_MAX: usize = 128 << 20;

/// How many different keys a log has, as far as it has been looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyEstimate {
    /// Different keys, with a standard error of 0.6 %.
    pub keys: u64,
    /// Records looked at, without control records.
    pub records: u64,
    /// Of them, those with a key.
    pub keyed: u64,
    /// Bytes of the segments looked at.
    pub seen_bytes: u64,
    /// Bytes of all segments.
    pub size_bytes: u64,
    /// Bytes of segments that had to be read for it.
    pub read_bytes: u64,
}

impl Log {
    /// The estimate for the whole log: what the sketches beside its sealed segments say, and of the segments that have
    /// none (the active one always) as many as fit into `read_max` bytes, read now, the newest first. What is still
    /// missing is queued, so that a later question sees it.
    ///
    /// Reads files: not to be called where nothing may wait.
    pub fn distinct_keys(&self, read_max: u64) -> Result<KeyEstimate, StorageError> {
        let segments = self.segments.load_full();
        let mut all = KeySketch::default();
        let (mut seen_bytes, mut size_bytes, mut left, mut is_missing) = (0, 0, read_max, false);
        for (at, segment) in segments.iter().enumerate().rev() {
            let end = segment.end();
            size_bytes += u64::from(end.size);
            let is_sealed = at + 1 < segments.len();
            let sketch = match if is_sealed { segment.read_sketch()? } else { None } {
                Some(sketch) => sketch,
                None if u64::from(end.size) <= left => {
                    left -= u64::from(end.size);
                    match sketch_of(segment, end, &mut |_| true)? {
                        Some(sketch) => sketch,
                        None => continue,
                    }
                }
                None => {
                    is_missing |= is_sealed;
                    continue;
                }
            };
            seen_bytes += u64::from(end.size);
            all.merge(&sketch);
        }
        if is_missing {
            self.queue_for_sketches();
        }
        Ok(KeyEstimate {
            keys: all.keys(),
            records: all.records(),
            keyed: all.keyed(),
            seen_bytes,
            size_bytes,
            read_bytes: read_max - left,
        })
    }

    /// Makes the sketches that sealed segments lack. `pace` is told of bytes before they are worked on, may wait, and
    /// ends the work by `false`.
    ///
    /// A segment that is removed or replaced meanwhile is passed over; a full disk is an error and takes nothing
    /// offline: the files can be made again at any time.
    pub fn make_sketches(&self, pace: &mut dyn FnMut(usize) -> bool) -> Result<(), StorageError> {
        let segments = self.segments.load_full();
        for segment in segments.iter().take(segments.len() - 1) {
            if segment.is_gone() || segment.has_sketch() {
                continue;
            }
            match sketch_of(segment, segment.end(), pace) {
                Ok(Some(sketch)) => segment.write_sketch(&sketch)?,
                Ok(None) => return Ok(()),
                Err(_) if segment.is_gone() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Lets the directory know that a segment waits for its sketch.
    pub(super) fn queue_for_sketches(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.queue_for_sketches(self);
        }
    }
}

/// The keys of a segment's records; `None` if `pace` says to end.
fn sketch_of(
    segment: &Segment,
    end: End,
    pace: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<KeySketch>, StorageError> {
    let mut sketch = KeySketch::default();
    let file = segment.open_read()?;
    let mut walker = Walker::new(&file, 0, u64::from(end.size), segment.base());
    loop {
        let step = walker.next(|header| if header.is_control() { Want::Header } else { Want::Whole });
        let Some(step) = step.map_err(|error| as_storage(segment, error))? else { return Ok(Some(sketch)) };
        if !pace(step.bytes.len()) {
            return Ok(None);
        }
        if step.header.is_control() {
            continue;
        }
        let Ok(batch) = Batch::from_log(Bytes::copy_from_slice(step.bytes)) else { continue };
        match records(&batch, DECODED_MAX) {
            Ok(decoded) => decoded.iter().flatten().for_each(|record| sketch.add(record.key)),
            Err(error) => tracing::debug!(base = segment.base(), %error, "a batch's keys are not counted"),
        }
    }
}

impl Segment {
    /// The sketch beside this segment, if it is there and tells of this very segment.
    pub(crate) fn read_sketch(&self) -> Result<Option<KeySketch>, StorageError> {
        let bytes = self.disk().read_file(&self.path(KEYS))?;
        let sketch = bytes.and_then(|bytes| KeySketch::decode(&bytes, self.base(), self.end()));
        self.set_sketched(sketch.is_some());
        Ok(sketch)
    }

    /// Whether the sketch is there; looks for it once.
    fn has_sketch(&self) -> bool {
        self.is_sketched() || self.read_sketch().is_ok_and(|sketch| sketch.is_some())
    }

    /// Puts the sketch of all records of this sealed segment beside it.
    pub(crate) fn write_sketch(&self, sketch: &KeySketch) -> Result<(), StorageError> {
        let path = self.path(KEYS);
        self.disk().write_expendable(&path, &sketch.encode(self.base(), self.end()))?;
        self.set_sketched(true);
        if self.is_gone() {
            // Removed or replaced meanwhile: the names are not this segment's any more.
            self.disk().remove_file(&path)?;
        }
        Ok(())
    }
}
