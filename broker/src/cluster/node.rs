//! How this node becomes part of a cluster: the id of the cluster that it is of, its part in the quorum, and what it has to
//! know before it serves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use jackdaw_quorum::{Call, CallError, DirectoryId, Options, Target, Transport, Voters};
use parking_lot::Mutex;

use super::fit::{self, Misfit, Who};
use crate::api::quorum::{KEY, MESSAGE, WHO};
use crate::broker::Broker;
use crate::config::Config;
use crate::config::quorum::host_and_port;
use crate::net::{self, Bound, Peer, PeerConfig, PeerError};
use crate::topics::MetadataQuorum;
use crate::topics::quorum::{Threads, VoterOptions};
use crate::topics::store::StoreError;

/// What one node has to say who it is.
const ASK: Duration = Duration::from_millis(1000);
/// The same where no answer is an answer too.
const LOOK: Duration = Duration::from_millis(300);
/// The pause before all are asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// After so many rounds the log says again what is waited for.
const ROUNDS_A_REPORT: u32 = 50;
/// How long a voter may hold back its answer to an observer that knows everything.
const LONG_POLL: Duration = Duration::from_millis(500);
/// Bytes of commands in one answer to an observer.
const PULL_BYTES: u64 = 4 << 20;

/// This node's answer to who it is.
pub(crate) fn who(broker: &Broker) -> Bytes {
    let version = broker.topics.quorum().catalog().image().version;
    let (active, cluster) = (broker.cluster.is_active_controller(), Some(broker.cluster_id().to_owned()));
    let (listed, voters) = (listed(&broker.config()), broker.cluster.voters());
    Who { node: broker.node_id(), cluster, active, version, start: 0, listed, voters }.encode()
}

fn listed(config: &Config) -> BTreeSet<i32> {
    config.controller_quorum_voters.iter().map(|voter| voter.id).collect()
}

async fn ask(address: &str, from: i32, within: Duration) -> Result<Who, String> {
    let (host, port) = host_and_port(address).ok_or_else(|| format!("{address} is no host:port"))?;
    let config =
        PeerConfig { connect_timeout: within, request_timeout: within, ..PeerConfig::new(format!("node-{from}")) };
    let answer = Peer::new(host, port, config).call_raw(KEY, WHO, Bytes::new(), within).await;
    let answer = answer.map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer).map_err(|error| format!("{address} says what is not understood: {error}"))
}

/// All controllers but this node that the configuration names.
fn others(config: &Config) -> BTreeSet<String> {
    let voters = config.controller_quorum_voters.iter().filter(|voter| voter.id != config.node_id);
    let named = voters.map(|voter| voter.address.clone());
    named.chain(config.controller_quorum_bootstrap_servers.iter().cloned()).collect()
}

/// Whether the configuration names another node.
pub(crate) fn is_alone(config: &Config) -> bool {
    config.process_roles.controller && others(config).is_empty()
}

/// Finds out which cluster a node that starts is of: the one that its directories name, `known`; of a fresh node, that of the
/// first of the others which is settled. None where this node is to make a new one: it is the voter of the lowest id, and all
/// others say that they are new too.
///
/// # Errors
/// What the others answer does not go with this node.
pub(crate) async fn settle(
    config: &Config,
    known: Option<String>,
    listeners: &[Bound],
) -> Result<Option<String>, Misfit> {
    let start = rand::random::<u64>().max(1);
    let own = Who { node: config.node_id, cluster: known, start, listed: listed(config), ..Who::default() };
    let told = own.encode();
    let early: Arc<dyn Fn() -> Bytes + Send + Sync> = Arc::new(move || told.clone());
    let serving = join_all(listeners.iter().map(|bound| net::serve_early(bound, (KEY, WHO), early.clone())));
    let settled = async {
        check_own_address(config, &own).await?;
        match &own.cluster {
            // Who does not answer at once is not there, or has nothing to say against it.
            Some(cluster) => ask_others(config, &own, LOOK).await.map(|_| Some(cluster.clone())),
            None => ask_for_cluster(config, &own).await,
        }
    };
    tokio::select! {
        settled = settled => settled,
        _ = serving, if !listeners.is_empty() => Ok(own.cluster.clone()),
    }
}

/// Whether it is this process that answers where the voter of this id is said to be.
async fn check_own_address(config: &Config, own: &Who) -> Result<(), Misfit> {
    let Some(listed) = config.controller_quorum_voters.iter().find(|voter| voter.id == own.node) else { return Ok(()) };
    match ask(&listed.address, own.node, LOOK).await {
        Ok(there) => check_answer(config, own, (Some(own.node), &listed.address), &there),
        Err(_) => Ok(()),
    }
}

fn check_answer(config: &Config, own: &Who, at: (Option<i32>, &str), there: &Who) -> Result<(), Misfit> {
    fit::check(own, config.log_dirs.first().map(|dir| &**dir).unwrap_or("".as_ref()), at, there)
}

/// The answers of all other controllers that the configuration names. Where the quorum knows one of this node's id, that one
/// is asked too.
async fn ask_others(config: &Config, own: &Who, within: Duration) -> Result<Vec<Result<Who, String>>, Misfit> {
    let others = others(config);
    let answers = join_all(others.iter().map(|address| ask(address, own.node, within))).await;
    let named = |address: &String| config.controller_quorum_voters.iter().find(|voter| voter.address == *address);
    for (address, there) in others.iter().zip(&answers) {
        let Ok(there) = there else { continue };
        check_answer(config, own, (named(address).map(|voter| voter.id), address), there)?;
        if let Some(address) = there.voters.get(&own.node).filter(|_| own.listed.is_empty())
            && config.process_roles.controller
            && let Ok(same) = ask(address, own.node, LOOK).await
            && same.node == own.node
        {
            check_answer(config, own, (None, address), &same)?;
        }
    }
    Ok(answers)
}

async fn ask_for_cluster(config: &Config, own: &Who) -> Result<Option<String>, Misfit> {
    let lowest = own.listed.first();
    for round in 0u32.. {
        let answers = ask_others(config, own, ASK).await?;
        let settled = answers.iter().flatten().find_map(|who| who.cluster.clone());
        if settled.is_some() {
            return Ok(settled);
        }
        let silent: Vec<String> = answers.iter().filter_map(|answer| answer.clone().err()).collect();
        if silent.is_empty() && lowest == Some(&config.node_id) {
            tracing::info!("all voters are new: a new cluster is made");
            return Ok(None);
        }
        if round % ROUNDS_A_REPORT == ROUNDS_A_REPORT / 5 {
            let waits_for = match silent.is_empty() {
                true => "the voter with the lowest id, which makes the cluster".to_owned(),
                false => silent.join("; "),
            };
            tracing::info!(waits_for, "the data directory is new, and no controller has named the cluster yet");
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(None)
}

/// Begins this node's part in the quorum, with its files in `folder`, to which `directory_id` is given if it is new.
pub(crate) fn join(
    config: &Config,
    threads: Threads,
    folder: &std::path::Path,
    directory_id: Option<DirectoryId>,
    cluster_id: &str,
) -> Result<MetadataQuorum, StoreError> {
    if !config.process_roles.controller {
        return Ok(MetadataQuorum::observer(threads, cluster_id));
    }
    let id = node_id(config.node_id);
    let named: BTreeMap<u64, String> =
        config.controller_quorum_voters.iter().map(|voter| (node_id(voter.id), voter.address.clone())).collect();
    let told = config.controller_listeners.first().and_then(|listener| {
        let host = listener.advertised_host.as_ref()?;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        Some(format!("{host}:{}", listener.advertised_port.unwrap_or(listener.port)))
    });
    let address = named.get(&id).cloned().or(told).unwrap_or_default();
    let voters = match (named.is_empty(), config.controller_quorum_bootstrap_servers.is_empty()) {
        (false, _) => Voters::Founding(named),
        (true, true) => Voters::Founding([(id, address.clone())].into()),
        (true, false) => Voters::AsStored,
    };
    let election = Duration::from_millis(config.controller_quorum_election_timeout_ms);
    let number = |key| config.get(key).and_then(|value| value.parse::<u64>().ok());
    let snapshot_bytes = number("metadata.log.max.record.bytes.between.snapshots");
    let snapshot_interval = number("metadata.log.max.snapshot.interval.ms");
    let quorum = Options {
        snapshot_bytes: snapshot_bytes.unwrap_or(20 << 20),
        snapshot_interval: snapshot_interval.filter(|ms| *ms > 0).map(Duration::from_millis),
        address,
        directory_id,
        election_timeout: election,
        heartbeat: election / 5,
        ..Options::new(id, folder, cluster_id, voters)
    };
    let transport = Arc::new(Wire { node: config.node_id, peers: Mutex::default() });
    MetadataQuorum::voter(threads, VoterOptions { quorum, transport })
}

fn node_id(id: i32) -> u64 {
    u64::try_from(id).unwrap_or_default()
}

/// The way to the other nodes of the quorum.
struct Wire {
    node: i32,
    peers: Mutex<HashMap<String, Arc<Peer>>>,
}

impl Wire {
    fn peer(&self, address: &str) -> Option<Arc<Peer>> {
        let (host, port) = host_and_port(address)?;
        let mut peers = self.peers.lock();
        let new = || Arc::new(Peer::new(host, port, PeerConfig::new(format!("controller-{}", self.node))));
        Some(peers.entry(address.to_owned()).or_insert_with(new).clone())
    }
}

impl Transport for Wire {
    fn call(&self, target: Target, request: Bytes, deadline: Duration) -> Call<'_> {
        Box::pin(async move {
            let unreachable = || CallError::Unreachable(format!("node {} has no address", target.id));
            let peer = self.peer(&target.address).ok_or_else(unreachable)?;
            peer.call_raw(KEY, MESSAGE, request, deadline).await.map_err(|error| match error {
                PeerError::Refused { .. } | PeerError::Unreachable { .. } => CallError::Unreachable(error.to_string()),
                error => CallError::NoAnswer(error.to_string()),
            })
        })
    }
}

/// Follows the quorum from a broker that is no voter: asks one voter after the other, and stays with one that answers.
pub(crate) async fn observe(broker: Arc<Broker>) {
    let Some(observer) = broker.topics.quorum().as_observer().cloned() else { return };
    let wire = Wire { node: broker.node_id(), peers: Mutex::default() };
    for turn in 0usize.. {
        let servers = broker.cluster.bootstrap_servers();
        let Some(address) = servers.get(turn % servers.len().max(1)) else { return };
        loop {
            let target = Target { id: 0, address: address.clone() };
            let answer = wire.call(target, observer.request(PULL_BYTES, LONG_POLL), LONG_POLL + ASK).await;
            let taken = answer.map_err(|error| error.to_string());
            let taken = taken.and_then(|answer| observer.take(&answer).map_err(|error| error.to_string()));
            if let Err(error) = taken {
                tracing::debug!(address, error, "a controller does not tell of the metadata");
                break;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// On a voter, keeps a connection to the leader of the quorum: when it ends, and nobody is there any more, another leader is
/// sought at once, and not after the election timeout.
pub(crate) async fn watch_leader(broker: Arc<Broker>) {
    let Some(quorum) = broker.topics.quorum().as_voter().cloned() else { return };
    let wire = Wire { node: broker.node_id(), peers: Mutex::default() };
    let mut leadership = quorum.leadership();
    loop {
        let known = *leadership.borrow_and_update();
        let leader = known.leader.filter(|leader| *leader != node_id(broker.node_id()));
        let address = leader.and_then(|leader| broker.cluster.voters().remove(&i32::try_from(leader).ok()?));
        let peer = address.and_then(|address| wire.peer(&address));
        let watch = async {
            let (Some(leader), Some(peer)) = (leader, peer) else { return std::future::pending().await };
            loop {
                match peer.connect(ASK).await {
                    Ok(()) => drop(peer.closed().await),
                    Err(error) if error.is_refused() => {
                        tracing::info!(leader, "the controller that led is gone: another is elected");
                        quorum.leader_connection_lost(leader);
                        tokio::time::sleep(ASK).await;
                    }
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        };
        let changed = tokio::select! {
            changed = leadership.changed() => changed,
            () = watch => return,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Waits until this node knows what the active controller knew when it was asked.
pub(crate) async fn catch_up(broker: &Arc<Broker>) {
    let knows = |version: u64| broker.topics.quorum().catalog().image().version >= version;
    let mut target = None;
    for round in 0u32.. {
        if target.is_none() {
            target = match broker.cluster.active_controller() {
                _ if broker.cluster.is_active_controller() => return,
                Some(controller) => match controller.address {
                    Some(address) => ask(&address, broker.node_id(), ASK).await.ok().filter(|who| who.active),
                    None => None,
                },
                None => None,
            }
            .map(|who| who.version);
        }
        if target.is_some_and(knows) {
            return;
        }
        if round % ROUNDS_A_REPORT == ROUNDS_A_REPORT / 5 {
            match target {
                None if broker.cluster.quorum().is_stranger() => tracing::info!(
                    "this controller waits to be added to the quorum: jackdaw cluster add-voter, asked of one that is in it"
                ),
                None => tracing::info!("waits for a majority of the controllers to elect one that decides"),
                Some(version) => tracing::info!(version, "waits for the metadata"),
            }
        }
        tokio::time::sleep(PAUSE / 4).await;
    }
}
