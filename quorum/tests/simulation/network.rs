//! A network that loses, delays, repeats and overtakes, and can be cut one way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jackdaw_quorum::{Call, CallError, Quorum, Target, Transport};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::oracle::Ledger;

/// What the network does to messages.
#[derive(Clone, Copy, Default, Debug)]
pub struct Weather {
    pub loss: f64,
    pub repeat: f64,
    pub delay_ms: u64,
}

pub struct Net {
    rng: StdRng,
    pub weather: Weather,
    /// Ways that are cut.
    pub cut: BTreeSet<(u64, u64)>,
    pub nodes: BTreeMap<u64, Quorum<Ledger>>,
    pub calls: u64,
}

/// What happens to one message.
struct Fate {
    lost: bool,
    repeated: bool,
    delay: Duration,
}

impl Net {
    pub fn new(seed: u64) -> Arc<Mutex<Net>> {
        let (weather, cut) = (Weather { delay_ms: 2, ..Weather::default() }, BTreeSet::new());
        Arc::new(Mutex::new(Net { rng: StdRng::seed_from_u64(seed), weather, cut, nodes: BTreeMap::new(), calls: 0 }))
    }

    fn fate(&mut self, from: u64, to: u64) -> Fate {
        self.calls += 1;
        let Weather { loss, repeat, delay_ms } = self.weather;
        let lost = self.cut.contains(&(from, to)) || self.rng.random_bool(loss);
        let repeated = self.rng.random_bool(repeat);
        let delay = Duration::from_micros(self.rng.random_range(50..=delay_ms.max(1) * 1_000));
        Fate { lost, repeated, delay }
    }
}

/// One node's way to the others, for one of its lives.
pub struct Wire {
    pub from: u64,
    pub alive: Arc<AtomicBool>,
    pub net: Arc<Mutex<Net>>,
}

fn lost() -> CallError {
    CallError::NoAnswer("lost".to_owned())
}

async fn deliver(net: Arc<Mutex<Net>>, to: u64, request: Bytes, delay: Duration) -> Result<Bytes, CallError> {
    tokio::time::sleep(delay).await;
    let node = net.lock().nodes.get(&to).cloned();
    match node {
        Some(node) => Ok(node.handle(request).await),
        None => Err(CallError::Unreachable(format!("node {to} is off"))),
    }
}

impl Transport for Wire {
    fn call(&self, target: Target, request: Bytes, deadline: Duration) -> Call<'_> {
        let (net, from, to, alive) = (Arc::clone(&self.net), self.from, target.id, Arc::clone(&self.alive));
        Box::pin(async move {
            if !alive.load(Ordering::SeqCst) {
                return Err(CallError::Unreachable("this machine is off".to_owned()));
            }
            let way = net.lock().fate(from, to);
            if way.lost {
                tokio::time::sleep(deadline).await;
                return Err(lost());
            }
            if way.repeated {
                let late = net.lock().fate(from, to).delay * 20;
                tokio::spawn(deliver(Arc::clone(&net), to, request.clone(), late));
            }
            // The answering node goes on when the asking one has given up.
            let delivered = tokio::spawn(deliver(Arc::clone(&net), to, request, way.delay));
            let answer = tokio::time::timeout(deadline, delivered).await.map_err(|_| lost())?.map_err(|_| lost())??;
            let back = net.lock().fate(to, from);
            tokio::time::sleep(back.delay).await;
            if back.lost { Err(lost()) } else { Ok(answer) }
        })
    }
}
