//! Requests and answers between nodes of the quorum, as bytes.
//!
//! ```text
//! offset  size  what
//!      0     1  version of this format: 1
//!      1     4  length of the head, little-endian
//!      5     n  head: JSON
//!    5+n        body: bytes of a snapshot, or nothing
//! ```

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::{SnapshotMeta, Vote};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::identity::DirectoryId;
use crate::leadership::Leadership;
use crate::machine::At;
use crate::store::{Command, Peer, TypeConfig};

const VERSION: u8 = 1;
const HEAD: usize = 5;

/// The largest request or answer that is read.
pub const MESSAGE_MAX: usize = 64 << 20;

/// Who asks whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) cluster: String,
    /// The asking voter; none for an observer.
    pub(crate) from: Option<(u64, DirectoryId)>,
    /// None where it is not known who is there.
    pub(crate) to: Option<u64>,
    /// Where the asking voter's log names the members, if it names this one with its directory. Whose log is older may still
    /// name it with one that it had before.
    #[serde(default)]
    pub(crate) named: Option<At>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) route: Route,
    pub(crate) ask: Ask,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ask {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<u64>),
    /// A piece of a snapshot; the bytes are the body.
    Install {
        vote: Vote<u64>,
        meta: SnapshotMeta<u64, Peer>,
        offset: u64,
        total: u64,
    },
    /// Who is there?
    Hello,
    /// What was committed behind this?
    Pull(Pull),
}

/// What an observer asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pull {
    pub(crate) after: At,
    pub(crate) max_bytes: u64,
    pub(crate) wait_ms: u64,
    /// The snapshot it has a part of, and how many bytes of it.
    pub(crate) partial: Option<(Piece, u64)>,
    /// The leader and term that it knows: it is told at once when there are others.
    pub(crate) known: (Option<u64>, u64),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Response {
    pub(crate) from: (u64, DirectoryId),
    pub(crate) answer: Answer,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    Install {
        vote: Vote<u64>,
        /// Bytes that are there; the next piece begins here.
        have: u64,
    },
    Hello(Hello),
    Pulled(Pulled),
    Refused(Refusal),
}

/// Who a node says it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Its `node.id`.
    pub(crate) id: u64,
    /// The id of its directory.
    pub(crate) directory: DirectoryId,
    /// Its voters, as far as it knows.
    pub(crate) voters: Vec<u64>,
}

/// What an observer gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pulled {
    pub(crate) leader: Option<u64>,
    pub(crate) term: u64,
    pub(crate) voters: BTreeMap<u64, String>,
    pub(crate) news: News,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum News {
    /// Commands, and how far they bring the observer (there are entries without a command).
    Commands { commands: Vec<(At, Command)>, upto: At },
    /// A piece of a snapshot; the bytes are the body.
    Snapshot { of: Piece, offset: u64 },
}

/// Which snapshot. Two voters' may differ in their bytes, though not in what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) at: At,
    pub(crate) total: u64,
    pub(crate) crc: u32,
}

impl Pulled {
    pub(crate) fn leadership(&self) -> Leadership {
        Leadership { leader: self.leader, term: self.term, ready: false }
    }
}

/// Why a node does not answer another.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refusal {
    /// The asking node is of another cluster.
    #[error("this is cluster {own}, and not {other}: an address or a directory is the wrong one")]
    OtherCluster {
        /// The answering node's.
        own: String,
        /// The asking node's.
        other: String,
    },
    /// The question was for another node.
    #[error("this is node {own}, and not {asked}: the address of node {asked} in controller.quorum.voters is wrong")]
    OtherNode {
        /// The answering node.
        own: u64,
        /// Who was asked.
        asked: u64,
    },
    /// Two nodes have one id, or one has lost its directory.
    #[error(
        "node {id} was known with directory {known}, and speaks with directory {other}: two nodes have this id, or it lost its \
         directory. A voter that forgot its vote may elect two leaders: give one of them another node.id, or \
         remove this voter from the quorum and add it again"
    )]
    OtherDirectory {
        /// Whose id it is.
        id: u64,
        /// The directory it is known with.
        known: DirectoryId,
        /// The one it came with.
        other: DirectoryId,
    },
    /// The bytes say nothing we know.
    #[error("the request cannot be understood: {0}")]
    NotUnderstood(String),
    /// What the asking node knows is not what was committed.
    #[error(
        "entry {index} of term {term} was never committed here: one of the two has lost its files, or is of another cluster"
    )]
    Diverged {
        /// What it says it has.
        index: u64,
        /// Of which term.
        term: u64,
    },
    /// This node's part in the quorum has ended.
    #[error("this node takes no part in the metadata quorum any more: {0}")]
    Ended(String),
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// Longer than anything that is sent.
    #[error("{bytes} bytes are more than {MESSAGE_MAX}")]
    TooLarge {
        /// The length.
        bytes: usize,
    },
    /// Not as the format says.
    #[error("{0}")]
    Malformed(String),
}

/// Of a snapshot.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(crc).expect("a CRC of 32 bits")
}

pub(crate) fn encode(head: &impl Serialize, body: &[u8]) -> Bytes {
    let head = serde_json::to_vec(head).expect("messages have text keys only");
    let length = u32::try_from(head.len()).expect("commands and batches of them are bounded far below");
    let mut bytes = BytesMut::with_capacity(HEAD + head.len() + body.len());
    bytes.put_u8(VERSION);
    bytes.put_u32_le(length);
    bytes.put_slice(&head);
    bytes.put_slice(body);
    bytes.freeze()
}

/// The head and the body.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &Bytes) -> Result<(T, Bytes), WireError> {
    if bytes.len() > MESSAGE_MAX {
        return Err(WireError::TooLarge { bytes: bytes.len() });
    }
    let malformed = |why: &str| WireError::Malformed(why.to_owned());
    let (version, rest) = bytes.split_first().ok_or_else(|| malformed("no bytes"))?;
    if *version != VERSION {
        return Err(WireError::Malformed(format!("version {version}, and {VERSION} is known")));
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| malformed("no length"))?;
    let length = u32::from_le_bytes(*length) as usize;
    let head = rest.get(..length).ok_or_else(|| malformed("the head is cut off"))?;
    let head = serde_json::from_slice(head).map_err(|error| WireError::Malformed(error.to_string()))?;
    Ok((head, bytes.slice(HEAD + length..)))
}
