//! Several nodes, their disks, their network, and what befalls them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jackdaw_quorum::{Observer, Options, ProposeError, Quorum, StartError, Voters};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::disk::Platter;
use crate::network::{Net, Weather, Wire};
use crate::oracle::{Ledger, Oracle, Shared, command};

pub const CLUSTER: &str = "simulated";

pub struct World {
    pub seed: u64,
    pub rng: StdRng,
    pub net: Arc<Mutex<Net>>,
    pub oracle: Shared,
    pub platters: BTreeMap<u64, Platter>,
    /// Who was in the founding list; others join.
    pub founders: BTreeSet<u64>,
    lives: BTreeMap<u64, Arc<AtomicBool>>,
    next_word: u64,
    pub trace: Vec<String>,
}

pub fn address(id: u64) -> String {
    format!("node{id}:9093")
}

pub fn founding(ids: &BTreeSet<u64>) -> Voters {
    Voters::Founding(ids.iter().map(|id| (*id, address(*id))).collect())
}

impl World {
    /// Nodes that found a quorum together.
    pub async fn of(count: u64, seed: u64) -> World {
        let founders: BTreeSet<u64> = (1..=count).collect();
        let mut world = World {
            seed,
            rng: StdRng::seed_from_u64(seed),
            net: Net::new(seed ^ 0x5eed),
            oracle: Arc::new(Mutex::new(Oracle::default())),
            platters: BTreeMap::new(),
            founders: founders.clone(),
            lives: BTreeMap::new(),
            next_word: 0,
            trace: Vec::new(),
        };
        for id in founders {
            world.start(id).await;
        }
        world
    }

    pub fn note(&mut self, what: String) {
        self.trace.push(what);
    }

    pub fn options(&self, id: u64) -> Options {
        let voters = if self.founders.contains(&id) { founding(&self.founders) } else { Voters::AsStored };
        let mut options = Options::new(id, "unused", CLUSTER, voters);
        options.address = address(id);
        options.request_timeout = Duration::from_secs(3);
        options.snapshot_entries = 40;
        options.kept_entries = 10;
        options
    }

    pub async fn try_start(&mut self, options: Options) -> Result<(), StartError> {
        let id = options.id;
        let alive = Arc::new(AtomicBool::new(true));
        let platter = self.platters.entry(id).or_default().clone();
        let disk = platter.mount(&alive, self.rng.random());
        let wire = Wire { from: id, alive: Arc::clone(&alive), net: Arc::clone(&self.net) };
        let quorum = Quorum::start_on(disk, options, Ledger::new(&self.oracle), Arc::new(wire)).await?;
        self.lives.insert(id, alive);
        self.net.lock().nodes.insert(id, quorum);
        Ok(())
    }

    pub async fn start(&mut self, id: u64) {
        if !self.up().contains(&id) {
            let options = self.options(id);
            self.try_start(options).await.unwrap_or_else(|error| panic!("seed {}: node {id}: {error}", self.seed));
        }
    }

    /// The power is cut.
    pub fn crash(&mut self, id: u64) {
        let Some(quorum) = self.net.lock().nodes.remove(&id) else { return };
        self.lives[&id].store(false, Ordering::SeqCst);
        self.platters[&id].crash(&mut self.rng);
        self.oracle.lock().reborn(id, false);
        tokio::spawn(async move { quorum.shutdown().await });
    }

    /// And the disk is exchanged for an empty one.
    pub fn wipe(&mut self, id: u64) {
        self.crash(id);
        // Even what dies slowly writes nothing any more.
        self.platters.insert(id, Platter::default());
        self.oracle.lock().reborn(id, true);
    }

    pub fn up(&self) -> Vec<u64> {
        self.net.lock().nodes.keys().copied().collect()
    }

    pub fn node(&self, id: u64) -> Quorum<Ledger> {
        self.net.lock().nodes[&id].clone()
    }

    /// The nodes that say they lead and are ready.
    pub fn ready(&self) -> Option<Quorum<Ledger>> {
        let nodes: Vec<_> = self.net.lock().nodes.values().cloned().collect();
        let ready = nodes.into_iter().filter(|node| node.leadership().borrow().ready);
        ready.max_by_key(|node| node.leadership().borrow().term)
    }

    pub async fn leader(&self) -> (u64, Quorum<Ledger>) {
        for _ in 0..3_000 {
            if let Some(ready) = self.ready() {
                let id = ready.leadership().borrow().leader.unwrap();
                return (id, ready);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("seed {}: nobody leads after 30 s; {:#?}", self.seed, self.trace)
    }

    /// Looks at every node.
    pub fn observe(&self) {
        let nodes: Vec<_> = self.net.lock().nodes.iter().map(|(id, node)| (*id, node.clone())).collect();
        let mut oracle = self.oracle.lock();
        for (id, node) in nodes {
            oracle.leads(id, *node.leadership().borrow());
            oracle.mark(id, *node.applied().borrow());
        }
    }

    pub async fn pass(&self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(Duration::from_millis(20));
            tokio::time::sleep(step).await;
            self.observe();
            left -= step;
        }
    }

    /// A word that nobody has said.
    pub fn word(&mut self) -> String {
        self.next_word += 1;
        format!("word{:06}.", self.next_word)
    }

    /// Proposes one, if there is a leader; a word is acknowledged when its command was carried out.
    pub async fn say(&mut self) {
        let word = self.word();
        let Some(leader) = self.ready() else { return };
        let voters: Vec<u64> =
            leader.members().into_iter().filter(|(_, member)| member.voter).map(|(id, _)| id).collect();
        say(leader, word, voters, self.platters.clone(), Arc::clone(&self.oracle)).await;
    }

    /// The same, while other things happen.
    pub fn say_meanwhile(&mut self) {
        let word = self.word();
        let Some(leader) = self.ready() else { return };
        tokio::spawn(say(leader, word, Vec::new(), BTreeMap::new(), Arc::clone(&self.oracle)));
    }

    /// A broker without a vote asks any node that is up, until the world ends.
    pub fn observe_from_outside(&mut self) -> Observer<Ledger> {
        let observer = Observer::new(CLUSTER, Ledger::new(&self.oracle));
        let (asking, net) = (observer.clone(), Arc::downgrade(&self.net));
        let mut rng = StdRng::seed_from_u64(self.seed);
        tokio::spawn(async move {
            while let Some(net) = net.upgrade() {
                let nodes: Vec<_> = net.lock().nodes.values().cloned().collect();
                drop(net);
                tokio::time::sleep(Duration::from_millis(rng.random_range(1..50))).await;
                let Some(node) = nodes.choose(&mut rng) else { continue };
                let request = asking.request(rng.random_range(1..2_000), Duration::from_millis(300));
                let answer = node.handle(request).await;
                if rng.random_bool(0.9) {
                    // A refusal is of a node that is just dying, a gap of one that is behind.
                    let _ = asking.take(&answer);
                }
            }
        });
        observer
    }

    pub async fn heal(&mut self) {
        {
            let mut net = self.net.lock();
            net.cut.clear();
            net.weather = Weather { delay_ms: 2, ..Weather::default() };
        }
        for platter in self.platters.values() {
            platter.slowness.store(1, Ordering::SeqCst);
        }
        let all: Vec<u64> = self.platters.keys().copied().collect();
        for id in all {
            self.start(id).await;
        }
    }

    /// After a heal: everybody agrees, nothing that was acknowledged is lost, and there is progress.
    pub async fn verify(&mut self, members: &[u64]) {
        let before = self.oracle.lock().acked.len();
        for _ in 0..200 {
            self.leader().await;
            self.say().await;
            if self.oracle.lock().acked.len() > before {
                break;
            }
            self.pass(Duration::from_millis(100)).await;
        }
        let acked = self.oracle.lock().acked.clone();
        assert!(acked.len() > before, "seed {}: no progress after the heal; {:#?}", self.seed, self.trace);
        let (_, leader) = self.leader().await;
        let last = leader.applied().borrow().index;
        for id in members {
            let mut applied = self.node(*id).applied();
            let caught_up = tokio::time::timeout(Duration::from_secs(30), applied.wait_for(|at| at.index >= last));
            let caught_up = caught_up.await.is_ok_and(|result| result.is_ok());
            assert!(caught_up, "seed {}: node {id} stays behind; {:#?}", self.seed, self.trace);
        }
        self.observe();
        let words = leader.read(Ledger::words);
        for id in members {
            let own = self.node(*id).read(Ledger::words);
            let shared = own.len().min(words.len());
            assert_eq!(own[..shared], words[..shared], "seed {}: node {id} differs", self.seed);
        }
        for word in &acked {
            let times = words.iter().filter(|known| *known == word).count();
            assert_eq!(times, 1, "seed {}: {word} was acknowledged; {:#?}", self.seed, self.trace);
        }
        let places: Vec<usize> =
            acked.iter().map(|word| words.iter().position(|known| known == word).unwrap()).collect();
        let distinct: BTreeSet<usize> = places.iter().copied().collect();
        assert_eq!(distinct.len(), places.len());
    }
}

/// MajorityReachedHighWatermark: what is acknowledged is on the disks of a majority.
async fn say(leader: Quorum<Ledger>, word: String, voters: Vec<u64>, platters: BTreeMap<u64, Platter>, oracle: Shared) {
    let base = leader.read(Ledger::len);
    match leader.propose(command(base, &word)).await {
        Ok(reply) if reply.0 == base.to_string() => {
            let holding = voters.iter().filter(|id| platters[id].holds(&word)).count();
            assert!(voters.is_empty() || holding * 2 > voters.len(), "{word} is on {holding} disks of {voters:?}");
            oracle.lock().acked.push(word);
        }
        Ok(_) => (),
        Err(ProposeError::TooLarge { .. }) => panic!("{word} is not large"),
        Err(_) => (),
    }
}
