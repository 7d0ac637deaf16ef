//! Which partitions should move so that every broker carries the same, or one of them nothing. Pure.
//!
//! Bytes first: only what a broker has too much of leaves it, for where it is missing, in pieces as large as fit; so no more
//! moves than even load asks for. Then counts, with the smallest partitions there are. Leadership comes last and costs no
//! byte. No move makes the replicas of a partition share a rack that did not before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Loads that differ by less than this share of their mean are even.
const TOLERANCE: f64 = 0.05;

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) id: i32,
    pub(crate) rack: Option<String>,
    /// Whether it may be given anything; else its replicas stay where they are.
    pub(crate) open: bool,
}

/// A partition with its replicas, the preferred leader first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) topic: Arc<str>,
    pub(crate) index: i32,
    pub(crate) replicas: Vec<i32>,
    pub(crate) bytes: u64,
}

/// What a broker carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) replicas: usize,
    /// Partitions that it leads when all is well.
    pub(crate) leaders: usize,
    pub(crate) bytes: u64,
}

/// Other replicas for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Move {
    #[serde(serialize_with = "as_text")]
    pub(crate) topic: Arc<str>,
    #[serde(rename = "partition")]
    pub(crate) index: i32,
    pub(crate) from: Vec<i32>,
    pub(crate) to: Vec<i32>,
    /// What is copied for it.
    pub(crate) bytes: u64,
}

fn as_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// What each broker carries.
pub(crate) fn loads(parts: &[Part]) -> BTreeMap<i32, Load> {
    let mut loads: BTreeMap<i32, Load> = BTreeMap::new();
    for part in parts {
        for (at, replica) in part.replicas.iter().enumerate() {
            let load = loads.entry(*replica).or_default();
            load.replicas += 1;
            load.leaders += usize::from(at == 0);
            load.bytes += part.bytes;
        }
    }
    loads
}

/// The partitions after the moves.
pub(crate) fn after(parts: &[Part], moves: &[Move]) -> Vec<Part> {
    let moved: BTreeMap<(&str, i32), &Move> = moves.iter().map(|m| ((&*m.topic, m.index), m)).collect();
    let place = |part: &Part| {
        let replicas = moved.get(&(&*part.topic, part.index)).map_or(&part.replicas, |m| &m.to);
        Part { replicas: replicas.clone(), ..part.clone() }
    };
    parts.iter().map(place).collect()
}

/// Moves that make the load even.
pub(crate) fn even(nodes: &[Node], parts: &[Part]) -> Vec<Move> {
    let mut board = Board::new(nodes, parts);
    board.even_bytes();
    board.even_counts();
    board.even_leaders();
    board.moves(parts)
}

/// Moves that leave nothing on the broker, and the partitions for which there is no other place.
pub(crate) fn drain(nodes: &[Node], parts: &[Part], leaving: i32) -> (Vec<Move>, Vec<(Arc<str>, i32)>) {
    let closed = |node: &Node| Node { open: node.open && node.id != leaving, ..node.clone() };
    let nodes: Vec<Node> = nodes.iter().map(closed).collect();
    let mut board = Board::new(&nodes, parts);
    let Some(from) = nodes.iter().position(|node| node.id == leaving) else { return (Vec::new(), Vec::new()) };
    let mut stuck = Vec::new();
    // The large ones first: the small ones fill what is left uneven.
    for (_, part) in board.held[from].clone().into_iter().rev() {
        match board.best_place(part, from) {
            Some(to) => board.shift(part, from, to),
            None => stuck.push((parts[part].topic.clone(), parts[part].index)),
        }
    }
    (board.moves(parts), stuck)
}

/// Moves that give each partition of the topic so many replicas; none if there are not so many brokers.
pub(crate) fn resize(nodes: &[Node], parts: &[Part], topic: &str, factor: usize) -> Option<Vec<Move>> {
    let mut board = Board::new(nodes, parts);
    for part in (0..parts.len()).filter(|part| &*parts[*part].topic == topic) {
        while board.replicas[part].len() > factor.max(1) {
            board.drop_one(part);
        }
        while board.replicas[part].len() < factor {
            let free = board.open_nodes().into_iter().filter(|to| !board.replicas[part].contains(to));
            let has_rack =
                |node: usize| board.replicas[part].iter().any(|other| board.rack[*other] == board.rack[node]);
            let to = free.min_by_key(|&to| (has_rack(to), board.bytes[to], board.held[to].len(), board.ids[to]))?;
            board.replicas[part].push(to);
            board.held[to].insert((board.size[part], part));
            board.bytes[to] += board.size[part];
        }
    }
    Some(board.moves(parts))
}

/// How far the partitions of one broker were looked through for another: what was passed over is there already.
type Seen = BTreeMap<(usize, usize), (u64, usize)>;

/// Who holds what, while the plan is made. Brokers and partitions go by their places in the lists.
struct Board {
    open: Vec<bool>,
    rack: Vec<usize>,
    ids: Vec<i32>,
    /// Replicas of each partition.
    replicas: Vec<Vec<usize>>,
    size: Vec<u64>,
    /// Partitions on each broker, by size.
    held: Vec<BTreeSet<(u64, usize)>>,
    bytes: Vec<u64>,
}

impl Board {
    fn new(nodes: &[Node], parts: &[Part]) -> Board {
        let mut ids: Vec<i32> = nodes.iter().map(|node| node.id).collect();
        let mut open: Vec<bool> = nodes.iter().map(|node| node.open).collect();
        let mut racks: Vec<Option<&str>> = nodes.iter().map(|node| node.rack.as_deref()).collect();
        // Brokers that are not known any more: what they hold stays as it is.
        for unknown in parts.iter().flat_map(|part| &part.replicas) {
            if !ids.contains(unknown) {
                ids.push(*unknown);
                open.push(false);
                racks.push(None);
            }
        }
        let mut names = racks.clone();
        names.sort_unstable();
        names.dedup();
        let rack = racks.iter().map(|rack| names.binary_search(rack).unwrap_or(0)).collect();
        let place: BTreeMap<i32, usize> = ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        let mut board = Board {
            rack,
            replicas: parts.iter().map(|part| part.replicas.iter().map(|id| place[id]).collect()).collect(),
            size: parts.iter().map(|part| part.bytes).collect(),
            held: vec![BTreeSet::new(); ids.len()],
            bytes: vec![0; ids.len()],
            open,
            ids,
        };
        for part in 0..parts.len() {
            for &node in &board.replicas[part] {
                board.held[node].insert((board.size[part], part));
                board.bytes[node] += board.size[part];
            }
        }
        board
    }

    fn open_nodes(&self) -> Vec<usize> {
        (0..self.ids.len()).filter(|node| self.open[*node]).collect()
    }

    /// Whether the replica may go there: the partition is not there yet, and lies in as many racks as before.
    fn fits(&self, part: usize, from: usize, to: usize) -> bool {
        let replicas = &self.replicas[part];
        if replicas.contains(&to) {
            return false;
        }
        let racks = |nodes: &mut dyn Iterator<Item = usize>| nodes.map(|n| self.rack[n]).collect::<BTreeSet<_>>().len();
        let now = racks(&mut replicas.iter().copied());
        let then = racks(&mut replicas.iter().copied().filter(|node| *node != from).chain([to]));
        then >= now
    }

    fn shift(&mut self, part: usize, from: usize, to: usize) {
        let size = self.size[part];
        for replica in self.replicas[part].iter_mut().filter(|replica| **replica == from) {
            *replica = to;
        }
        self.held[from].remove(&(size, part));
        self.held[to].insert((size, part));
        self.bytes[from] -= size;
        self.bytes[to] += size;
    }

    /// Where a replica that must leave goes: the emptiest broker that keeps it in as many racks, else the emptiest.
    fn best_place(&self, part: usize, from: usize) -> Option<usize> {
        let free = self.open_nodes().into_iter().filter(|to| !self.replicas[part].contains(to));
        free.min_by_key(|&to| (!self.fits(part, from, to), self.bytes[to], self.held[to].len(), self.ids[to]))
    }

    /// Takes away the follower that is missed least: one whose rack has another, of those the one with the fullest broker.
    fn drop_one(&mut self, part: usize) {
        let replicas = &self.replicas[part];
        let shares = |node: usize| replicas.iter().filter(|other| self.rack[**other] == self.rack[node]).count() > 1;
        let least = (1..replicas.len()).max_by_key(|&at| {
            let node = replicas[at];
            (!self.open[node], shares(node), self.bytes[node], self.held[node].len(), at)
        });
        let Some(at) = least else { return };
        let node = self.replicas[part].remove(at);
        self.held[node].remove(&(self.size[part], part));
        self.bytes[node] -= self.size[part];
    }

    fn even_bytes(&mut self) {
        let mut nodes = self.open_nodes();
        if nodes.len() < 2 {
            return;
        }
        let mean = nodes.iter().map(|node| self.bytes[*node]).sum::<u64>() / nodes.len() as u64;
        let tolerance = slack(mean);
        let mut seen = Seen::new();
        // Brokers of which nothing can leave any more are taken out.
        while let Some(&from) = nodes.iter().max_by_key(|node| self.bytes[**node]) {
            if self.bytes[from] <= mean + tolerance {
                // None has too much; what is missing somewhere is with those that have a little more.
                let Some(&least) = nodes.iter().min_by_key(|node| self.bytes[**node]) else { break };
                if self.bytes[least] + tolerance >= mean || self.bytes[from] <= mean {
                    break;
                }
            }
            match self.largest_that_fits(from, mean, &mut seen) {
                Some((part, to)) => self.shift(part, from, to),
                None => nodes.retain(|node| *node != from),
            }
        }
    }

    /// The largest piece that the one has too much of and another too little.
    fn largest_that_fits(&self, from: usize, mean: u64, seen: &mut Seen) -> Option<(usize, usize)> {
        let surplus = self.bytes[from].saturating_sub(mean);
        let mut targets: Vec<usize> = self.open_nodes().into_iter().filter(|to| self.bytes[*to] < mean).collect();
        targets.sort_by_key(|to| (self.bytes[*to], self.held[*to].len()));
        targets.into_iter().find_map(|to| {
            let room = (surplus.min(mean - self.bytes[to]), usize::MAX);
            // What was refused before is there already; the room only shrinks.
            let below = seen.get(&(from, to)).copied().unwrap_or(room).min(room);
            if below < (1, 0) {
                return None;
            }
            let mut pieces = self.held[from].range((1, 0)..=below).rev();
            let found = pieces.find(|(_, part)| self.fits(*part, from, to));
            seen.insert((from, to), found.copied().unwrap_or_default());
            found.map(|(_, part)| (*part, to))
        })
    }

    fn even_counts(&mut self) {
        let mut nodes = self.open_nodes();
        let mean = nodes.iter().map(|node| self.bytes[*node]).sum::<u64>() / (nodes.len().max(1) as u64);
        let most = mean + slack(mean);
        let mut seen = Seen::new();
        while let Some(&from) = nodes.iter().max_by_key(|node| self.held[**node].len()) {
            let mut targets = self.open_nodes();
            targets.retain(|to| self.held[*to].len() + 1 < self.held[from].len());
            targets.sort_by_key(|to| self.held[*to].len());
            let found = targets.into_iter().find_map(|to| {
                let above = seen.get(&(from, to)).copied().unwrap_or_default();
                let room = |piece: &&(u64, usize)| piece.0 == 0 || self.bytes[to] + piece.0 <= most;
                let mut smallest = self.held[from].range(above..).take_while(room);
                let found = smallest.find(|(_, part)| self.fits(*part, from, to));
                seen.insert((from, to), found.copied().unwrap_or((u64::MAX, usize::MAX)));
                found.map(|(_, part)| (*part, to))
            });
            match found {
                Some((part, to)) => self.shift(part, from, to),
                None => nodes.retain(|node| *node != from),
            }
        }
    }

    /// Swaps leaders with followers along chains, from who leads too much to who leads too little.
    fn even_leaders(&mut self) {
        let mut led: BTreeMap<(usize, usize), BTreeSet<usize>> = BTreeMap::new();
        let mut leads = vec![0usize; self.ids.len()];
        for (part, replicas) in self.replicas.iter().enumerate() {
            let Some((first, others)) = replicas.split_first() else { continue };
            leads[*first] += 1;
            for other in others {
                led.entry((*first, *other)).or_default().insert(part);
            }
        }
        let mut nodes = self.open_nodes();
        while let Some(&from) = nodes.iter().max_by_key(|node| leads[**node]) {
            let Some(chain) = self.chain(&led, &leads, from) else {
                nodes.retain(|node| *node != from);
                continue;
            };
            for pair in chain.windows(2) {
                let Some(part) = led.get(&(pair[0], pair[1])).and_then(|parts| parts.first().copied()) else { break };
                for other in self.replicas[part].iter().skip(1) {
                    led.entry((pair[0], *other)).or_default().remove(&part);
                }
                let at = self.replicas[part].iter().position(|node| *node == pair[1]).unwrap_or(0);
                self.replicas[part][..=at].rotate_right(1);
                for other in self.replicas[part].iter().skip(1) {
                    led.entry((pair[1], *other)).or_default().insert(part);
                }
                leads[pair[0]] -= 1;
                leads[pair[1]] += 1;
            }
        }
    }

    /// The shortest chain of brokers, each leading a partition that the next one follows, to one that leads less by two.
    fn chain(
        &self,
        led: &BTreeMap<(usize, usize), BTreeSet<usize>>,
        leads: &[usize],
        from: usize,
    ) -> Option<Vec<usize>> {
        let mut before: Vec<Option<usize>> = vec![None; self.ids.len()];
        let mut queue = VecDeque::from([from]);
        while let Some(node) = queue.pop_front() {
            if leads[node] + 1 < leads[from] {
                let mut chain = vec![node];
                while let Some(previous) = chain.last().and_then(|last| before[*last]) {
                    chain.push(previous);
                }
                chain.reverse();
                return Some(chain);
            }
            for ((_, next), parts) in led.range((node, 0)..=(node, usize::MAX)) {
                if !parts.is_empty() && self.open[*next] && *next != from && before[*next].is_none() {
                    before[*next] = Some(node);
                    queue.push_back(*next);
                }
            }
        }
        None
    }

    fn moves(&self, parts: &[Part]) -> Vec<Move> {
        let moved = |(part, replicas): (&Part, &Vec<usize>)| {
            let to: Vec<i32> = replicas.iter().map(|node| self.ids[*node]).collect();
            let new = to.iter().filter(|id| !part.replicas.contains(id)).count() as u64;
            (to != part.replicas).then(|| Move {
                topic: part.topic.clone(),
                index: part.index,
                from: part.replicas.clone(),
                to,
                bytes: new * part.bytes,
            })
        };
        parts.iter().zip(&self.replicas).filter_map(moved).collect()
    }
}

fn slack(mean: u64) -> u64 {
    (mean as f64 * TOLERANCE) as u64
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
