//! What this machine allows, and the cluster that is made of it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use super::fault::{Kind, Need, Schedule};
use super::links::Links;
use super::node::{Node, Plan, Target};
use super::proxy::{self, Pids};
use super::volume::{self, Volume};
use super::{RunArgs, RunError, net};
use crate::output;

/// The disks of all nodes lie in memory: what they may take beside their size.
const SPARE_MIB: u64 = 64;

/// What can be had here.
pub(super) struct Means {
    pub(super) namespaces: bool,
    pub(super) volumes: bool,
    pub(super) faketime: Option<PathBuf>,
    dynamic_quorum: bool,
    /// What cannot, and why.
    lacking: Vec<(Need, String)>,
}

impl Means {
    pub(super) fn find(args: &RunArgs) -> Means {
        let mut lacking = Vec::new();
        let asked = "--loopback was given".to_owned();
        let network = if args.loopback {
            Err(asked.clone())
        } else if net::is_inside() {
            Ok(())
        } else {
            net::are_allowed()
        };
        // Disks are mounted in the mount namespace of the run, or not at all.
        let volumes = network.clone().and_then(|()| volume::are_allowed());
        // Java hangs under it now and then, before it says a word.
        let faketime = faketime().filter(|_| args.kafka.is_none());
        for (need, missing) in [(Need::Packets, network.clone()), (Need::Volumes, volumes.clone())] {
            if let Err(why) = missing {
                lacking.push((need, why));
            }
        }
        if faketime.is_none() {
            lacking.push((Need::Clock, "libfaketime is not installed, or Java runs, which hangs under it".to_owned()));
        }
        let dynamic_quorum = args.kafka.is_none();
        if !dynamic_quorum {
            lacking.push((Need::DynamicQuorum, "Kafka's voters are static with controller.quorum.voters".to_owned()));
        }
        Means { namespaces: network.is_ok(), volumes: volumes.is_ok(), faketime, dynamic_quorum, lacking }
    }

    fn has(&self, need: Need) -> bool {
        match need {
            Need::Nothing => true,
            Need::Packets => self.namespaces,
            Need::Volumes => self.volumes,
            Need::Clock => self.faketime.is_some(),
            Need::DynamicQuorum => self.dynamic_quorum,
        }
    }

    /// The kinds of a run, and a sentence for each that was wanted and cannot be.
    pub(super) fn kinds(&self, args: &RunArgs) -> (Vec<Kind>, Vec<String>) {
        let wanted = if args.faults.is_empty() { Kind::all() } else { &args.faults };
        let wanted = wanted.iter().copied().filter(|kind| !args.without.contains(kind));
        let (possible, not): (Vec<Kind>, Vec<Kind>) = wanted.partition(|kind| self.has(kind.need()));
        let sentence = |kind: Kind| {
            let why = self.lacking.iter().find(|(need, _)| *need == kind.need()).map(|(_, why)| why.as_str());
            format!("left out: {}, because {}", kind.name(), why.unwrap_or("this machine lacks what it needs"))
        };
        (possible, not.into_iter().map(sentence).collect())
    }
}

fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let files = folders.chain([PathBuf::from("/usr/lib"), PathBuf::from("/usr/local/lib")]);
    files.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}

/// The seed of this run.
pub(super) fn seed(args: &RunArgs) -> u64 {
    args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()))
}

/// What would be done, as far as it is not left to what the cluster does.
pub(super) fn print_schedule(args: &RunArgs, means: &Means) -> Result<(), RunError> {
    let (kinds, left_out) = means.kinds(args);
    let seed = seed(args);
    let say = |text: &str| output::line(text).map_err(|error| RunError::Broken(error.to_string()));
    say(&format!("seed {seed}, {} kinds of fault, each once in a round:", kinds.len()))?;
    let mut at = 0;
    for fault in Schedule::new(seed, &kinds, args.nodes) {
        if at > args.duration * 1000 {
            break;
        }
        let name = fault.kind.name();
        say(&format!("after {:>6.1} s  {name:<20} node {}, {} ms", at as f64 / 1000.0, fault.node, fault.lasts_ms))?;
        at += fault.lasts_ms + fault.rest_ms;
    }
    left_out.iter().try_for_each(|line| say(line))
}

/// Everything but the first start: a network, disks, nodes.
pub(super) struct Made {
    pub(super) plan: Plan,
    pub(super) nodes: Vec<Node>,
    pub(super) links: Links,
}

/// Makes what the nodes run on, in `out`.
pub(super) fn make(args: &RunArgs, means: &Means, out: &Path, seed: u64, clocks: bool) -> Result<Made, RunError> {
    let target = match (&args.kafka, &args.broker) {
        (Some(script), _) => Target::Kafka(absolute(script)?),
        (None, Some(program)) => Target::Jackdaw(absolute(program)?),
        (None, None) => {
            let own = std::env::current_exe().map_err(|error| RunError::system("this program", error))?;
            Target::Jackdaw(own)
        }
    };
    let plan = Plan {
        target,
        nodes: args.nodes,
        settings: args.settings.clone(),
        out: out.to_owned(),
        faketime: means.faketime.clone().filter(|_| clocks),
        first_port: if means.namespaces { 0 } else { free_ports()? },
        pids: Pids::default(),
    };
    let links = Links::new(args.nodes);
    let namespaces = if means.namespaces {
        net::build(args.nodes, seed, &links)?.into_iter().map(Some).collect()
    } else {
        start_proxies(&plan, &links)?;
        (0..args.nodes).map(|_| None).collect::<Vec<_>>()
    };
    let disks = out.join("disks");
    if means.volumes {
        volume::mount_images(&disks, args.nodes as u64 * (args.disk + SPARE_MIB))?;
    }
    let mut nodes = Vec::new();
    for (id, namespace) in (1..).zip(namespaces) {
        let volume = means.volumes.then(|| Volume::new(&disks, &format!("node-{id}"), args.disk)).transpose()?;
        nodes.push(Node::new(&plan, id, namespace, volume));
    }
    Ok(Made { plan, nodes, links })
}

fn start_proxies(plan: &Plan, links: &Links) -> Result<(), RunError> {
    for node in 1..=plan.nodes {
        for (public, private) in plan.proxied(node) {
            let failed = |error| RunError::system(&format!("127.0.0.1:{public}"), error);
            proxy::start(public, private, node, links, &plan.pids).map_err(failed)?;
        }
    }
    Ok(())
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf, RunError> {
    std::fs::canonicalize(path).map_err(|error| RunError::system(&path.display().to_string(), error))
}

/// The first of 200 ports below those that the system gives away, of which the ones that are needed are free.
fn free_ports() -> Result<u16, RunError> {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let firsts = (0..50).map(|turn| 10_000 + turn * 200);
    let found = firsts
        .into_iter()
        .find(|first| (1..=5).all(|id| [0, 20, 100, 120].iter().all(|more| is_free(first + more + id))));
    found.ok_or_else(|| RunError::Broken("no free ports between 10000 and 20000 on 127.0.0.1".to_owned()))
}
