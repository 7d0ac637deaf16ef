//! Whose files these are, and who the others are.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::io;
use std::path::Path;
use std::sync::Arc;

use openraft::{Membership, StoredMembership};
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::disk::Disk;
use crate::machine::At;
use crate::options::{Options, StartError, Voters};
use crate::store::{JOURNAL, Peer};
use crate::wire::Refusal;

/// The file's name.
pub(crate) const IDENTITY: &str = "quorum.json";

/// The id that a directory got when it was made. A node with another one is another node, or has forgotten its vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectoryId(pub Uuid);

impl Display for DirectoryId {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl Serialize for DirectoryId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DirectoryId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DirectoryId, D::Error> {
        let text = String::deserialize(deserializer)?;
        Uuid::try_parse(&text).map(DirectoryId).map_err(serde::de::Error::custom)
    }
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    cluster: String,
    node: u64,
    directory: DirectoryId,
    /// The voters that this node was first configured with, where it was.
    founders: Option<BTreeMap<u64, String>>,
    /// The directories that members were first heard with. The quorum's log overrules them.
    #[serde(default)]
    heard: BTreeMap<u64, DirectoryId>,
}

/// The identity of this node, and of those it heard.
pub(crate) struct Identities {
    disk: Arc<dyn Disk>,
    known: Mutex<Identity>,
}

impl Identities {
    /// Reads the file, if there is one, and checks that it is this node's.
    pub(crate) fn load(disk: &Arc<dyn Disk>, options: &Options) -> Result<Option<Identities>, StartError> {
        let path = Path::new(&disk.name()).join(IDENTITY);
        let io = |error| StartError::Io { path: path.clone(), error };
        let Some(bytes) = disk.load(IDENTITY).map_err(io)? else {
            return Ok(None);
        };
        let known: Identity = serde_json::from_slice(&bytes).map_err(|error| io(io::Error::other(error)))?;
        if known.cluster != options.cluster_id {
            let (stored, configured) = (known.cluster, options.cluster_id.clone());
            return Err(StartError::OtherCluster { path, stored, configured });
        }
        if known.node != options.id {
            return Err(StartError::OtherNode { path, stored: known.node, configured: options.id });
        }
        if disk.load(JOURNAL).map_err(io)?.is_none() {
            return Err(StartError::NoJournal { path: Path::new(&disk.name()).join(JOURNAL) });
        }
        Ok(Some(Identities { disk: Arc::clone(disk), known: Mutex::new(known) }))
    }

    /// For files that were just made.
    pub(crate) fn make(disk: &Arc<dyn Disk>, options: &Options) -> Result<Identities, StartError> {
        let founders = match &options.voters {
            Voters::Founding(voters) => Some(voters.clone()),
            Voters::AsStored => None,
        };
        let directory = options.directory_id.unwrap_or_else(|| DirectoryId(Uuid::new_v4()));
        let (cluster, node) = (options.cluster_id.clone(), options.id);
        let known = Identity { cluster, node, directory, founders, heard: BTreeMap::new() };
        let path = Path::new(&disk.name()).join(IDENTITY);
        save(disk, &known).map_err(|error| StartError::Io { path, error })?;
        Ok(Identities { disk: Arc::clone(disk), known: Mutex::new(known) })
    }

    pub(crate) fn own(&self) -> (u64, DirectoryId) {
        let known = self.known.lock();
        (known.node, known.directory)
    }

    pub(crate) fn founders(&self) -> Option<BTreeMap<u64, String>> {
        self.known.lock().founders.clone()
    }

    /// What is known of these members and is not in the log yet: their directories, and where the configuration says they are.
    pub(crate) fn unlogged(
        &self,
        membership: &Membership<u64, Peer>,
        address: impl Fn(u64, &Peer) -> String,
    ) -> BTreeMap<u64, Peer> {
        let known = self.known.lock();
        let heard = |id: &u64| if *id == known.node { Some(known.directory) } else { known.heard.get(id).copied() };
        let now = |(id, peer): (&u64, &Peer)| {
            let now = Peer { address: address(*id, peer), directory: peer.directory.or_else(|| heard(id)) };
            (now != *peer).then_some((*id, now))
        };
        membership.nodes().filter_map(now).collect()
    }

    /// Whether a node that speaks as a member is that member. The first directory that one is heard with is its own, unless the
    /// log names another.
    pub(crate) fn believe(&self, logged: Option<DirectoryId>, (id, other): (u64, DirectoryId)) -> Result<(), Refusal> {
        let mut known = self.known.lock();
        match logged.or_else(|| known.heard.get(&id).copied()) {
            Some(directory) if directory == other => Ok(()),
            Some(known) => Err(Refusal::OtherDirectory { id, known, other }),
            None if id == known.node => Err(Refusal::OtherDirectory { id, known: known.directory, other }),
            None => {
                known.heard.insert(id, other);
                // A member is heard of for the first time once.
                let saved = save(&self.disk, &known);
                if saved.is_err() {
                    known.heard.remove(&id);
                }
                saved.map_err(|error| Refusal::Ended(format!("{IDENTITY}: {error}")))
            }
        }
    }
}

/// Where the members are named, if this one is there with this directory.
pub(crate) fn named_at(stored: &StoredMembership<u64, Peer>, (id, directory): (u64, DirectoryId)) -> Option<At> {
    let peer = stored.membership().get_node(&id)?;
    stored.log_id().as_ref().map(At::of).filter(|_| peer.directory == Some(directory))
}

fn save(disk: &Arc<dyn Disk>, identity: &Identity) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(identity)?;
    bytes.push(b'\n');
    disk.replace(IDENTITY, &bytes)
}

/// Checks the configured voters among themselves.
pub(crate) fn check_options(options: &Options) -> Result<(), StartError> {
    let Voters::Founding(voters) = &options.voters else {
        return Ok(());
    };
    if !voters.contains_key(&options.id) {
        return Err(StartError::NotAVoter { id: options.id, configured: listed(voters) });
    }
    let mut by_address: BTreeMap<&String, u64> = BTreeMap::new();
    for (id, address) in voters {
        if let Some(first) = by_address.insert(address, *id) {
            return Err(StartError::SameAddress { first, second: *id, address: address.clone() });
        }
    }
    Ok(())
}

/// Checks the configured voters against those of the quorum. Addresses may differ: the configured ones are used.
pub(crate) fn check_voters(
    options: &Options,
    founders: Option<&BTreeMap<u64, String>>,
    membership: &Membership<u64, Peer>,
) -> Result<(), StartError> {
    let Voters::Founding(configured) = &options.voters else {
        return Ok(());
    };
    let voters: BTreeMap<u64, String> = membership
        .voter_ids()
        .filter_map(|id| membership.get_node(&id).map(|peer| (id, peer.address.clone())))
        .collect();
    let same = |others: &BTreeMap<u64, String>| others.keys().eq(configured.keys());
    // A list that was right when the quorum was made need not be touched when the quorum changes.
    let agreed = founders.is_some_and(same) || same(&voters) || (voters.is_empty() && founders.is_none());
    let stored = if voters.is_empty() { founders.cloned().unwrap_or_default() } else { voters };
    let refused = || StartError::OtherVoters { stored: listed(&stored), configured: listed(configured) };
    if agreed { Ok(()) } else { Err(refused()) }
}

fn listed(voters: &BTreeMap<u64, String>) -> String {
    let voters: Vec<String> = voters.iter().map(|(id, address)| format!("{id}@{address}")).collect();
    voters.join(",")
}
