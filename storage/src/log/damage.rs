//! What cannot be read of a quarantined log, and why.

use crate::error::StorageError;

/// Offsets that cannot be read.
#[derive(Debug, Clone)]
pub(crate) struct Hole {
    pub(crate) from: i64,
    /// The next offset that can; `i64::MAX` where there is none.
    pub(crate) to: i64,
    pub(crate) error: StorageError,
}

/// The holes of a log: at least one, by offset.
#[derive(Debug, Default)]
pub(crate) struct Damage(Vec<Hole>);

impl Damage {
    /// Adds a hole behind those that are known.
    pub(crate) fn add(&mut self, hole: Hole) {
        self.0.push(hole);
    }

    pub(crate) fn holes(&self) -> &[Hole] {
        &self.0
    }

    /// The first damage.
    pub(crate) fn error(&self) -> &StorageError {
        &self.0[0].error
    }

    /// Why `offset` cannot be read, or the first offset above it that cannot.
    pub(crate) fn at(&self, offset: i64) -> Result<i64, StorageError> {
        match self.0.iter().find(|hole| offset < hole.to) {
            Some(hole) if offset >= hole.from => Err(hole.error.clone()),
            Some(hole) => Ok(hole.from),
            None => Ok(i64::MAX),
        }
    }

    /// What can be read, for people.
    pub(crate) fn readable(&self, start: i64, end: i64) -> String {
        let froms = std::iter::once(start).chain(self.0.iter().map(|hole| hole.to));
        let tos = self.0.iter().map(|hole| hole.from.min(end)).chain([end]);
        let ranges = froms.zip(tos).filter(|(from, to)| from < to).map(|(from, to)| format!("{from} to {}", to - 1));
        let ranges: Vec<_> = ranges.collect();
        if ranges.is_empty() { "nothing".to_owned() } else { ranges.join(", ") }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn offsets_in_a_hole_are_refused_and_others_are_read_up_to_the_next_hole() {
        let error = StorageError::BadName { name: String::new() };
        let mut damage = Damage::default();
        damage.add(Hole { from: 10, to: 20, error: error.clone() });
        damage.add(Hole { from: 40, to: i64::MAX, error });
        assert_eq!(damage.at(9).unwrap(), 10);
        assert!(damage.at(10).is_err() && damage.at(19).is_err());
        assert_eq!(damage.at(20).unwrap(), 40);
        assert!(damage.at(40).is_err() && damage.at(1 << 40).is_err());
        assert_eq!(damage.readable(3, 40), "3 to 9, 20 to 39");
        assert_eq!(damage.readable(10, 15), "nothing");
    }
}
