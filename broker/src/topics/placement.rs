//! Pure: which log directory a new partition goes to.

/// A log directory as far as placement looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Partitions that it has.
    pub(super) partitions: usize,
    /// It takes writes.
    pub(super) is_online: bool,
    /// Its disk has no room left, for now.
    pub(super) is_full: bool,
    /// `cordoned.log.dirs` names it (KIP-1066): it gets no new partition.
    pub(super) is_cordoned: bool,
}

/// The directory that was wished for, if it takes writes; else the one with the fewest partitions, of several the first.
/// Full ones are no choice while another is online. Cordoned ones come after those that are not: the creation of topics has been refused if there is no other, and what a topic has
/// already must be somewhere. `None` if no directory takes writes.
pub(super) fn choose(dirs: &[Candidate], wish: Option<usize>) -> Option<usize> {
    let online = || dirs.iter().enumerate().filter(|(_, dir)| dir.is_online);
    wish.filter(|&wish| dirs.get(wish).is_some_and(|dir| dir.is_online))
        .or_else(|| online().min_by_key(|(_, dir)| (dir.is_full, dir.is_cordoned, dir.partitions)).map(|(at, _)| at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn dir(partitions: usize) -> Candidate {
        Candidate { partitions, is_online: true, is_full: false, is_cordoned: false }
    }

    #[test]
    fn the_directory_with_the_fewest_partitions_is_chosen_and_of_several_the_first() {
        assert_eq!(choose(&[dir(3), dir(1), dir(2)], None), Some(1));
        assert_eq!(choose(&[dir(2), dir(2), dir(2)], None), Some(0));
        assert_eq!(choose(&[dir(2), dir(1), dir(1)], None), Some(1));
        assert_eq!(choose(&[], None), None);
    }

    #[test]
    fn a_directory_that_is_offline_is_never_chosen() {
        let offline = Candidate { is_online: false, ..dir(0) };
        assert_eq!(choose(&[offline, dir(7)], None), Some(1));
        assert_eq!(choose(&[offline, dir(7)], Some(0)), Some(1));
        assert_eq!(choose(&[offline], None), None);
    }

    #[test]
    fn a_directory_that_is_full_is_chosen_only_where_there_is_no_other() {
        let full = Candidate { is_full: true, ..dir(0) };
        assert_eq!(choose(&[full, dir(7)], None), Some(1));
        assert_eq!(choose(&[full, Candidate { is_cordoned: true, ..dir(7) }], None), Some(1));
        assert_eq!(choose(&[full], None), Some(0));
    }

    #[test]
    fn a_cordoned_directory_is_chosen_only_where_there_is_no_other() {
        let cordoned = Candidate { is_cordoned: true, ..dir(0) };
        assert_eq!(choose(&[cordoned, dir(7)], None), Some(1));
        assert_eq!(choose(&[cordoned], None), Some(0));
    }

    #[test]
    fn a_wish_goes_before_the_count() {
        assert_eq!(choose(&[dir(0), dir(7)], Some(1)), Some(1));
        assert_eq!(choose(&[dir(0), dir(7)], Some(2)), Some(0));
    }
}
