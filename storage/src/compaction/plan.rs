//! Pure: what of a log is dirty, where cleaning must stop, and which segments become one. As Kafka decides it.

use super::Dirty;

/// What the plan wants to know of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) base: i64,
    pub(crate) size: u32,
    /// Bytes of the offset index and of the time index.
    pub(crate) index_sizes: (u32, u32),
}

/// Where a log stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) log_start: i64,
    pub(crate) log_end: i64,
    pub(crate) last_stable: i64,
    /// Below it the last cleaning ended; `None` if there was none.
    pub(crate) cleaned: Option<i64>,
}

impl Bounds {
    /// The first dirty offset, and whether what was remembered of it made no sense.
    pub(crate) fn first_dirty(&self) -> (i64, bool) {
        match self.cleaned {
            None => (self.log_start, false),
            Some(cleaned) if (self.log_start..=self.log_end).contains(&cleaned) => (cleaned, false),
            Some(_) => (self.log_start, true),
        }
    }
}

/// What is dirty in a log of these sealed segments, before an active one that begins at `active_base`.
///
/// `lagging`: base of the first dirty segment with a record younger than `min.compaction.lag.ms`.
pub(crate) fn dirty(sealed: &[Facts], active_base: i64, bounds: &Bounds, lagging: Option<i64>) -> Dirty {
    let (first_dirty, was_reset) = bounds.first_dirty();
    let limit = bounds.last_stable.min(active_base).min(lagging.unwrap_or(i64::MAX)).max(first_dirty);
    // Cleaning ends where a segment begins: the one that holds the limit is left alone.
    let uncleanable = if limit >= active_base { sealed.len() } else { holder_of(sealed, limit) };
    let first_uncleanable = sealed.get(uncleanable).map_or(active_base, |s| s.base);
    let dirty_from = if first_dirty >= first_uncleanable { uncleanable } else { holder_of(sealed, first_dirty) };
    let bytes = |segments: &[Facts]| segments.iter().map(|s| u64::from(s.size)).sum();
    Dirty {
        first_dirty_offset: first_dirty,
        first_uncleanable_offset: first_uncleanable,
        // A segment that is dirty in part counts on both sides.
        clean_bytes: bytes(&sealed[..sealed.partition_point(|s| s.base < first_dirty)]),
        cleanable_bytes: bytes(&sealed[dirty_from..uncleanable]),
        overdue_ms: 0,
        was_reset,
    }
}

/// Index of the segment that holds `offset`; the first one if it lies before all.
pub(crate) fn holder_of(sealed: &[Facts], offset: i64) -> usize {
    sealed.partition_point(|s| s.base <= offset).saturating_sub(1)
}

/// Which segments become one: neighbours that together are not larger than a segment may be, in data, in index, and in
/// span of offsets. `next_base` is where the segment after the last one begins.
pub(crate) fn groups(
    segments: &[Facts],
    next_base: i64,
    segment_bytes: u32,
    segment_index_bytes: u32,
) -> Vec<std::ops::Range<usize>> {
    let mut groups: Vec<std::ops::Range<usize>> = Vec::new();
    let (mut size, mut index_size, mut time_size) = (0u64, 0u64, 0u64);
    for (i, segment) in segments.iter().enumerate() {
        let end = segments.get(i + 1).map_or(next_base, |s| s.base);
        let (index, time) = (u64::from(segment.index_sizes.0), u64::from(segment.index_sizes.1));
        let fits = |first: usize| {
            size + u64::from(segment.size) <= u64::from(segment_bytes)
                && index_size + index <= u64::from(segment_index_bytes)
                && time_size + time <= u64::from(segment_index_bytes)
                && (segment.size == 0 || end - 1 - segments[first].base <= i64::from(i32::MAX))
        };
        match groups.last_mut() {
            Some(group) if fits(group.start) => {
                group.end = i + 1;
                size += u64::from(segment.size);
                index_size += index;
                time_size += time;
            }
            _ => {
                groups.push(i..i + 1);
                (size, index_size, time_size) = (u64::from(segment.size), index, time);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(segments: &[(i64, u32)]) -> Vec<Facts> {
        segments.iter().map(|&(base, size)| Facts { base, size, index_sizes: (size / 10, size / 10) }).collect()
    }

    fn bounds(cleaned: Option<i64>, last_stable: i64) -> Bounds {
        Bounds { log_start: 0, log_end: 400, last_stable, cleaned }
    }

    #[test]
    fn cleaning_stops_before_the_segment_that_holds_the_last_stable_offset() {
        let sealed = facts(&[(0, 100), (100, 200), (200, 400)]);
        let all = dirty(&sealed, 300, &bounds(None, 400), None);
        assert_eq!((all.first_dirty_offset, all.first_uncleanable_offset), (0, 300));
        assert_eq!((all.clean_bytes, all.cleanable_bytes), (0, 700));
        let unstable = dirty(&sealed, 300, &bounds(None, 250), None);
        assert_eq!((unstable.first_uncleanable_offset, unstable.cleanable_bytes), (200, 300));
        let at_the_edge = dirty(&sealed, 300, &bounds(None, 200), None);
        assert_eq!(at_the_edge.first_uncleanable_offset, 200);
        let young = dirty(&sealed, 300, &bounds(None, 400), Some(100));
        assert_eq!((young.first_uncleanable_offset, young.cleanable_bytes), (100, 100));
        let none = dirty(&sealed, 300, &bounds(None, 0), None);
        assert_eq!((none.first_uncleanable_offset, none.cleanable_bytes), (0, 0));
    }

    #[test]
    fn the_ratio_is_that_of_cleanable_to_all_but_uncleanable_bytes() {
        let sealed = facts(&[(0, 100), (100, 300), (200, 400)]);
        let dirty = |cleaned, stable| super::dirty(&sealed, 300, &bounds(Some(cleaned), stable), None);
        assert_eq!(dirty(100, 400).ratio(), 0.875);
        assert_eq!(dirty(200, 400).ratio(), 0.5);
        assert!(!dirty(200, 400).is_due(0.5));
        assert!(dirty(200, 400).is_due(0.4));
        assert_eq!(dirty(300, 400).cleanable_bytes, 0);
        // Half of a segment is clean: it counts as clean and as dirty.
        assert_eq!((dirty(150, 400).clean_bytes, dirty(150, 400).cleanable_bytes), (400, 700));
        // The last stable offset fell behind what is clean (it cannot, but a checkpoint can be wrong).
        assert_eq!(dirty(250, 150).cleanable_bytes, 0);
        assert_eq!(super::dirty(&[], 0, &bounds(None, 0), None).ratio(), 0.0);
    }

    #[test]
    fn a_checkpoint_outside_of_the_log_is_forgotten() {
        let at = |log_start, cleaned| {
            Bounds { log_start, log_end: 400, last_stable: 400, cleaned: Some(cleaned) }.first_dirty()
        };
        assert_eq!(at(50, 49), (50, true));
        assert_eq!(at(50, 401), (50, true));
        assert_eq!(at(50, 400), (400, false));
        assert_eq!(at(50, 50), (50, false));
    }

    #[test]
    fn overdue_records_are_compacted_whatever_the_ratio() {
        let sealed = facts(&[(0, 1000), (100, 1)]);
        let mut found = dirty(&sealed, 200, &bounds(Some(100), 400), None);
        assert!(!found.is_due(0.5));
        found.overdue_ms = 1;
        assert!(found.is_due(0.5));
        found.cleanable_bytes = 0;
        assert!(!found.is_due(0.5));
    }

    #[test]
    fn small_neighbours_become_one_segment_within_size_index_and_span() {
        let far = i64::from(i32::MAX);
        let group = |segments: &[(i64, u32)], next, bytes, index| groups(&facts(segments), next, bytes, index);
        assert_eq!(group(&[(0, 40), (10, 40), (20, 40), (30, 40)], 40, 100, 1000), [0..2, 2..4]);
        assert_eq!(group(&[(0, 400), (10, 40)], 40, 100, 1000), [0..1, 1..2]);
        assert_eq!(group(&[(0, 40), (10, 40), (20, 40)], 40, 1000, 9), [0..2, 2..3]);
        assert_eq!(group(&[(0, 40), (10, 40)], far + 1, 1000, 1000).as_slice(), std::slice::from_ref(&(0..2)));
        assert_eq!(group(&[(0, 40), (10, 40)], far + 2, 1000, 1000), [0..1, 1..2]);
        assert_eq!(group(&[(0, 40), (10, 0), (far + 9, 40)], far + 10, 1000, 1000), [0..2, 2..3]);
        assert!(group(&[], 0, 1, 1).is_empty());
    }
}
