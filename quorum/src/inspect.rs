//! The files of a quorum as they lie on a disk, for people: they are only read, and reading goes on behind what is damaged.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{EntryPayload, Membership};
use serde::Deserialize;

use crate::frame;
use crate::identity::DirectoryId;
use crate::machine::{self, At};
use crate::store::{self, Peer};

/// What is at a place of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its first byte.
    pub at: usize,
    /// The byte after it.
    pub end: usize,
    /// What it is.
    pub what: What,
}

/// What a place holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A record, written with the sync of this number.
    Record {
        /// Grows by one with each sync.
        sync: u64,
        /// The record.
        record: Record,
    },
    /// A frame that is whole, and says nothing that is understood.
    Unknown {
        /// Why not.
        reason: String,
    },
    /// Bytes that a crash left of a write that nobody was told about: the next start cuts them.
    Torn,
    /// Bytes that had been synced, and are no frame any more.
    Damaged,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The node votes for a leader of this term, or has heard of it.
    Vote {
        /// The term.
        term: u64,
        /// Who is voted for.
        node: u64,
        /// A majority has elected it.
        elected: bool,
    },
    /// An entry of the log.
    Entry {
        /// Its place there.
        at: At,
        /// What it is.
        entry: Entry,
    },
    /// Entries from this index on are gone.
    Truncate {
        /// The index.
        from: u64,
    },
    /// Entries up to this one are gone: a snapshot holds them.
    Purge {
        /// The last that is gone.
        upto: At,
    },
    /// So far a majority has the log.
    Committed {
        /// The last entry that it has.
        upto: Option<At>,
    },
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A new leader's first.
    Blank,
    /// The application's.
    Command(String),
    /// Who belongs to the quorum from here on.
    Members(Members),
}

/// Who belongs to a quorum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Those who vote; two sets while one gives way to the other, and a majority of each is needed.
    pub voters: Vec<BTreeSet<u64>>,
    /// All members with their addresses, and the ids of their directories where they are known.
    pub nodes: BTreeMap<u64, (String, Option<DirectoryId>)>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that it stands for.
    pub at: At,
    /// Who belonged to the quorum then.
    pub members: Members,
    /// The application's state.
    pub state: Vec<u8>,
}

/// Whose directory it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's id.
    pub cluster: String,
    /// `node.id`
    pub node: u64,
    /// The directory's own id.
    pub directory: DirectoryId,
    /// The voters that the node was first configured with, where it was.
    pub founders: BTreeMap<u64, String>,
}

/// What a file in a quorum's directory is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// The log, votes and the rest: see [`journal`].
    Journal,
    /// See [`snapshot`].
    Snapshot,
    /// See [`identity`].
    Identity,
}

impl FileKind {
    /// The kind by a file's name, without its directory.
    #[must_use]
    pub fn of(name: &str) -> Option<FileKind> {
        match name {
            store::JOURNAL => Some(FileKind::Journal),
            machine::SNAPSHOT => Some(FileKind::Snapshot),
            crate::identity::IDENTITY => Some(FileKind::Identity),
            _ => None,
        }
    }
}

/// All places of a journal, in their order and without a gap.
#[must_use]
pub fn journal(bytes: &[u8]) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let (mut at, mut last) = (0, None);
    while at < bytes.len() {
        if let Some(frame) = frame::decode(&bytes[at..]) {
            let end = at + frame.length();
            // What follows a hole says whether something is missing: a crash tears the last write only.
            if let Some(hole) = places.last_mut().filter(|place| place.what == What::Torn)
                && frame.sync > last.unwrap_or(0) + 1
            {
                hole.what = What::Damaged;
            }
            last = Some(frame.sync);
            places.push(Place { at, end, what: what(frame) });
            at = end;
            continue;
        }
        let next = (at + 1..bytes.len()).find(|&next| frame::decode(&bytes[next..]).is_some());
        let end = next.unwrap_or(bytes.len());
        places.push(Place { at, end, what: What::Torn });
        at = end;
    }
    places
}

fn what(frame: frame::Frame<'_>) -> What {
    match serde_json::from_slice::<store::Record>(frame.payload) {
        Ok(record) => What::Record { sync: frame.sync, record: of(record) },
        Err(error) => What::Unknown { reason: error.to_string() },
    }
}

fn of(record: store::Record) -> Record {
    match record {
        store::Record::Vote(vote) => {
            Record::Vote { term: vote.leader_id.term, node: vote.leader_id.node_id, elected: vote.committed }
        }
        store::Record::Entry(entry) => Record::Entry {
            at: At::of(&entry.log_id),
            entry: match entry.payload {
                EntryPayload::Blank => Entry::Blank,
                EntryPayload::Normal(command) => Entry::Command(command.0),
                EntryPayload::Membership(membership) => Entry::Members(members(&membership)),
            },
        },
        store::Record::Truncate(from) => Record::Truncate { from },
        store::Record::Purge(upto) => Record::Purge { upto: At::of(&upto) },
        store::Record::Committed(upto) => Record::Committed { upto: upto.as_ref().map(At::of) },
    }
}

fn members(membership: &Membership<u64, Peer>) -> Members {
    Members {
        voters: membership.get_joint_config().clone(),
        nodes: membership.nodes().map(|(id, peer)| (*id, (peer.address.clone(), peer.directory))).collect(),
    }
}

/// What a snapshot's file holds.
///
/// # Errors
/// What is wrong with it.
pub fn snapshot(bytes: &[u8]) -> Result<Snapshot, String> {
    let (meta, state) = machine::decode(bytes)?;
    let at = meta.last_log_id.as_ref().map(At::of).unwrap_or_default();
    Ok(Snapshot { at, members: members(meta.last_membership.membership()), state })
}

/// What the file of a directory's identity says.
///
/// # Errors
/// What is wrong with it.
pub fn identity(bytes: &[u8]) -> Result<Identity, String> {
    #[derive(Deserialize)]
    struct Stored {
        cluster: String,
        node: u64,
        directory: DirectoryId,
        founders: Option<BTreeMap<u64, String>>,
    }
    let stored: Stored = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let Stored { cluster, node, directory, founders } = stored;
    Ok(Identity { cluster, node, directory, founders: founders.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn file(frames: &[(u64, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frames.iter().for_each(|(sync, text)| frame::encode(*sync, text.as_bytes(), &mut bytes));
        bytes
    }

    const TRUNCATES: [(u64, &str); 4] =
        [(1, r#"{"truncate":1}"#), (2, r#"{"truncate":2}"#), (3, r#"{"truncate":3}"#), (4, r#"{"truncate":4}"#)];

    fn shown(bytes: &[u8]) -> Vec<String> {
        let text = |place: Place| match place.what {
            What::Record { record: Record::Truncate { from }, .. } => from.to_string(),
            What::Record { record, .. } => format!("{record:?}"),
            What::Unknown { .. } => "unknown".to_owned(),
            What::Torn => "torn".to_owned(),
            What::Damaged => "damaged".to_owned(),
        };
        journal(bytes).into_iter().map(text).collect()
    }

    #[test]
    fn places_follow_one_another_whatever_is_broken() {
        let sound = file(&TRUNCATES);
        assert_eq!(shown(&sound), ["1", "2", "3", "4"]);
        for at in 0..sound.len() {
            let mut broken = sound.clone();
            broken[at] ^= 0x40;
            let places = journal(&broken);
            assert_eq!((places[0].at, places.last().unwrap().end), (0, sound.len()));
            assert!(places.windows(2).all(|pair| pair[0].end == pair[1].at), "bit in byte {at}");
        }
    }

    #[test]
    fn what_was_synced_is_damaged_and_the_end_is_torn() {
        let sound = file(&TRUNCATES);
        let length = sound.len() / 4;
        let mut broken = sound.clone();
        broken[length + 25] ^= 1;
        assert_eq!(shown(&broken), ["1", "damaged", "3", "4"]);
        assert_eq!(shown(&sound[..3 * length + 7]), ["1", "2", "3", "torn"]);
        assert_eq!(shown(&file(&[(1, "{}")])), ["unknown"]);
        assert!(journal(&[]).is_empty());
    }

    #[test]
    fn files_that_are_none_are_refused() {
        assert!(snapshot(b"").is_err() && snapshot(&file(&TRUNCATES)).is_err());
        assert!(identity(b"{}").is_err());
    }
}
