//! How a node of the quorum is started, and why it is not.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};
use thiserror::Error;

use crate::identity::DirectoryId;
use crate::journal::JournalError;

/// Who votes when the quorum is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Voters {
    /// These, and this node is one of them; a single one is the leader at once. Every one of them is started with the same list.
    Founding(BTreeMap<u64, String>),
    /// Whoever the quorum says: this node holds a place in it already, or waits to be added by its leader.
    AsStored,
}

/// How a node is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// `node.id`
    pub id: u64,
    /// Where the files are; made if it is not there.
    pub directory: PathBuf,
    /// The id that the directory gets if it is new, and none of its own has been chosen for it yet: it must be as new.
    pub directory_id: Option<DirectoryId>,
    /// Nodes of another cluster are refused.
    pub cluster_id: String,
    /// `controller.quorum.voters`, or nothing where that is not set.
    pub voters: Voters,
    /// Where the others reach this node, `host:port`; empty where nobody does.
    pub address: String,
    /// A leader that is not heard of for this long is given up, and no other is elected sooner unless it is known to be gone
    /// ([`Quorum::leader_connection_lost`](crate::Quorum::leader_connection_lost)). An election follows within half of it.
    pub election_timeout: Duration,
    /// How often a leader says that it is there; an election timeout has room for several.
    pub heartbeat: Duration,
    /// How long a proposal or membership change may take.
    pub request_timeout: Duration,
    /// A snapshot is made after this many entries.
    pub snapshot_entries: u64,
    /// Or after entries of this many bytes; those are all held in memory.
    pub snapshot_bytes: u64,
    /// Or so long after the first entry that no snapshot holds.
    pub snapshot_interval: Option<Duration>,
    /// Entries that are kept though a snapshot holds them, so that a member that was away for a moment needs no snapshot.
    pub kept_entries: u64,
}

impl Options {
    /// Kafka's defaults.
    pub fn new(id: u64, directory: impl Into<PathBuf>, cluster_id: &str, voters: Voters) -> Options {
        let address = match &voters {
            Voters::Founding(voters) => voters.get(&id).cloned().unwrap_or_default(),
            Voters::AsStored => String::new(),
        };
        Options {
            id,
            directory: directory.into(),
            directory_id: None,
            cluster_id: cluster_id.to_owned(),
            voters,
            address,
            election_timeout: Duration::from_millis(1_000),
            heartbeat: Duration::from_millis(200),
            request_timeout: Duration::from_secs(10),
            snapshot_entries: 10_000,
            snapshot_bytes: 20 << 20,
            snapshot_interval: Some(Duration::from_secs(3_600)),
            kept_entries: 2_000,
        }
    }

    pub(crate) fn config(&self) -> Result<Config, StartError> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let config = Config {
            cluster_name: self.cluster_id.clone(),
            // openraft keeps to a leader for the maximum; how long candidates wait for votes lies between the two.
            election_timeout_min: millis(self.election_timeout / 2),
            election_timeout_max: millis(self.election_timeout),
            heartbeat_interval: millis(self.heartbeat),
            install_snapshot_timeout: millis(self.request_timeout),
            max_payload_entries: 256,
            replication_lag_threshold: self.snapshot_entries + self.kept_entries,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            max_in_snapshot_log_to_keep: self.kept_entries,
            ..Config::default()
        };
        config.validate().map_err(|error| StartError::Timeouts { error: error.to_string() })
    }
}

/// Why a node of the quorum cannot be started. Nothing on the disk has been changed.
#[derive(Debug, Error)]
pub enum StartError {
    /// Its files cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The file system refused, or a snapshot is damaged.
    #[error("{path}: {error}")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The directory is another cluster's.
    #[error(
        "{path} belongs to cluster {stored}, and this node is configured for cluster {configured}: \
         point log.dirs at this cluster's directory, or empty that one"
    )]
    OtherCluster {
        /// Where it is stored.
        path: PathBuf,
        /// What is stored.
        stored: String,
        /// What was asked for.
        configured: String,
    },
    /// The directory is another node's.
    #[error(
        "{path} holds the vote of node {stored}, and this is node {configured}: one vote under two ids may elect two \
         leaders. Set node.id={stored}, or empty the directory"
    )]
    OtherNode {
        /// Where it is stored.
        path: PathBuf,
        /// What is stored.
        stored: u64,
        /// What was asked for.
        configured: u64,
    },
    /// The journal is gone, and with it this node's vote.
    #[error(
        "{path} is missing, and other files of the quorum are there: a voter that forgot its vote may elect two leaders. Put it          back, or remove this voter from the quorum, empty its directory, and add it again"
    )]
    NoJournal {
        /// Which file.
        path: PathBuf,
    },
    /// There is a journal, and nothing says whose.
    #[error(
        "{path} holds a journal of the quorum, and no quorum.json that says whose: put it back, or empty the directory of them"
    )]
    NoIdentity {
        /// Which directory.
        path: PathBuf,
    },
    /// The configured voters are neither those that the quorum was founded with nor those of now.
    #[error(
        "controller.quorum.voters names {configured}, and the quorum's voters are {stored}: set it to these, or unset it \
         and change the voters with jackdaw cluster add-voter and remove-voter"
    )]
    OtherVoters {
        /// The voters of now, as `id@address`.
        stored: String,
        /// What was asked for.
        configured: String,
    },
    /// This node is not among the founding voters.
    #[error(
        "controller.quorum.voters names {configured}, and not this node, {id}: a controller has to be one of the voters"
    )]
    NotAVoter {
        /// This node.
        id: u64,
        /// The configured voters, as `id@address`.
        configured: String,
    },
    /// Two founding voters share an address.
    #[error("controller.quorum.voters gives nodes {first} and {second} the same address, {address}")]
    SameAddress {
        /// One of them.
        first: u64,
        /// The other.
        second: u64,
        /// What both have.
        address: String,
    },
    /// Timeouts that cannot work together.
    #[error("controller.quorum.election.timeout.ms and the heartbeat do not go together: {error}")]
    Timeouts {
        /// What openraft says.
        error: String,
    },
    /// openraft ended before it began.
    #[error("the metadata quorum cannot be started: {error}")]
    Raft {
        /// Why.
        error: String,
    },
}
