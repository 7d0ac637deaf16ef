//! Cycles of dependencies between operations: G0 and G1c.
//!
//! Nodes are the operations that must have committed. Edges:
//! - *ww*: who wrote a version of a key → who wrote the next one, in the order of offsets;
//! - *wr*: who wrote the highest value that an operation read of a key → that operation (if it took effect);
//! - *process*: an operation that took effect → the next of its process;
//! - *realtime*: an operation that took effect → those invoked after it had ended.
//!
//! A cycle of ww alone is *G0*, one with wr *G1c*; `-process` and `-realtime` say which order it needs besides. Transactions
//! do not isolate writes, so G0 is allowed, and a G1c that needs ww (*G1c-ww*). A G1c of wr, process and realtime edges alone
//! is an error: a consumer of committed records cannot have read from its own future.
//!
//! Each search looks at one set of edges and names one shortest cycle for each strongly connected component. Realtime edges
//! go over a chain with a link for each end of an operation, so that there are two for each operation and not one for each
//! pair. The components come from Kosaraju's algorithm as `petgraph` has it: its Tarjan recurses, and a history has millions of
//! nodes in a row.

use std::collections::{HashMap, HashSet, VecDeque};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{Graph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::entry::Function;
use crate::history::{History, Key, Op, OpId};
use crate::report::{Findings, Kind};
use crate::versions::{Fact, Versions};

/// Nodes of a component from which a shortest cycle is looked for. In a larger one the cycle shown may not be the shortest.
const STARTS_MAX: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    WriteWrite(Key),
    WriteRead(Key),
    Process,
    /// Onto the chain of time, along it, or off it.
    Realtime,
}

/// Operations are the nodes 0 to n - 1; behind them, the chain of time.
type Dependencies = Graph<(), Edge>;

/// Which orders a search takes in besides what was read.
#[derive(Debug, Clone, Copy)]
struct Search {
    writes: bool,
    reads: bool,
    process: bool,
    realtime: bool,
    kind: Kind,
}

/// In this order: what a narrower search has found, a wider one does not tell again.
const SEARCHES: &[Search] = &[
    Search { writes: true, reads: false, process: false, realtime: false, kind: Kind::G0 },
    Search { writes: true, reads: false, process: true, realtime: false, kind: Kind::G0Process },
    Search { writes: true, reads: false, process: true, realtime: true, kind: Kind::G0Realtime },
    Search { writes: false, reads: true, process: false, realtime: false, kind: Kind::G1c },
    Search { writes: false, reads: true, process: true, realtime: false, kind: Kind::G1cProcess },
    Search { writes: false, reads: true, process: true, realtime: true, kind: Kind::G1cRealtime },
    Search { writes: true, reads: true, process: false, realtime: false, kind: Kind::G1cWrites },
];

pub(crate) fn check(history: &History, versions: &Versions, findings: &mut Findings<'_>) {
    let (mut of_writes, mut of_reads): (HashSet<NodeIndex>, HashSet<NodeIndex>) = Default::default();
    for search in SEARCHES {
        let graph = dependencies(history, versions, search);
        let told = if search.reads { &mut of_reads } else { &mut of_writes };
        for component in kosaraju_scc(&graph).into_iter().filter(|component| component.len() > 1) {
            if component.iter().any(|node| told.contains(node)) {
                continue;
            }
            let Some(cycle) = shortest_cycle(&graph, &component, search, history.ops.len()) else { continue };
            // Two kinds of order over the same operations are one anomaly; the chain of time belongs to nobody.
            let operations = component.iter().filter(|node| node.index() < history.ops.len());
            told.extend(operations);
            findings.add(search.kind, None, || describe(history, &cycle));
        }
    }
}

fn dependencies(history: &History, versions: &Versions, search: &Search) -> Dependencies {
    let count = history.ops.len();
    let mut graph = Dependencies::with_capacity(count, count);
    (0..count).for_each(|_| {
        graph.add_node(());
    });
    if search.writes {
        write_write(versions, &mut graph);
    }
    if search.reads {
        write_read(history, versions, &mut graph);
    }
    if search.process {
        process(history, &mut graph);
    }
    if search.realtime {
        realtime(history, &mut graph);
    }
    graph
}

fn node(op: OpId) -> NodeIndex {
    NodeIndex::from(op.0)
}

/// Where an offset holds several values, or a value stands at several, nobody can tell the order: no edge goes there.
fn write_write(versions: &Versions, graph: &mut Dependencies) {
    for (key, of_key) in versions.keys() {
        let mut last: Option<OpId> = None;
        for slots in of_key.slots.chunk_by(|a, b| a.index == b.index) {
            let fact = of_key.fact(slots[0].value).filter(|fact| slots.len() == 1 && !fact.is_duplicate());
            let now = fact.and_then(Fact::writer).filter(|&op| versions.must_have_committed(op));
            if let (Some(before), Some(now)) = (last, now)
                && before != now
            {
                graph.add_edge(node(before), node(now), Edge::WriteWrite(key));
            }
            last = now;
        }
    }
}

fn write_read(history: &History, versions: &Versions, graph: &mut Dependencies) {
    // Outside of a transaction an operation that sends and then polls does two things, at two times.
    let is_one = |op: &Op| op.function == Function::Txn || op.sends.is_empty();
    for (id, op) in history.ok_ops().filter(|(_, op)| is_one(op)) {
        let mut reads: Vec<_> = history.reads_of(op).to_vec();
        reads.sort_unstable_by_key(|read| (read.key, read.offset));
        for of_key in reads.chunk_by(|a, b| a.key == b.key) {
            let highest = of_key[of_key.len() - 1];
            let writer = versions.key(highest.key).fact(highest.value).and_then(Fact::writer);
            if let Some(writer) = writer.filter(|&writer| writer != id && versions.must_have_committed(writer)) {
                graph.add_edge(node(writer), node(id), Edge::WriteRead(highest.key));
            }
        }
    }
}

fn process(history: &History, graph: &mut Dependencies) {
    let mut last: HashMap<u32, OpId> = HashMap::new();
    for (id, op) in history.ok_ops() {
        if let Some(before) = last.insert(op.process, id) {
            graph.add_edge(node(before), node(id), Edge::Process);
        }
    }
}

/// A chain with a link for each end of an operation that took effect: who ended leads to its link, a link to the next one,
/// and the last link before an invocation to who was invoked.
fn realtime(history: &History, graph: &mut Dependencies) {
    let ended = |(id, op): (OpId, &Op)| op.completed.map(|completed| (completed.time, id));
    let mut ends: Vec<(i64, OpId)> = history.ok_ops().filter_map(ended).collect();
    ends.sort_unstable();
    let mut ends = ends.into_iter().peekable();
    let mut link: Option<NodeIndex> = None;
    for (id, op) in history.ops() {
        while let Some((_, done)) = ends.next_if(|(time, _)| *time < op.invoked.time) {
            let next = graph.add_node(());
            if let Some(link) = link {
                graph.add_edge(link, next, Edge::Realtime);
            }
            graph.add_edge(node(done), next, Edge::Realtime);
            link = Some(next);
        }
        if let Some(link) = link {
            graph.add_edge(link, node(id), Edge::Realtime);
        }
    }
}

/// The steps of a cycle: from an operation, by an edge, to the next one; the last leads to the first.
type Cycle = Vec<(OpId, Edge)>;

/// The shortest cycle through any of the first operations of a component. The chain of time counts as one step.
fn shortest_cycle(graph: &Dependencies, component: &[NodeIndex], search: &Search, operations: usize) -> Option<Cycle> {
    // Where both are searched, a cycle of writes alone has been told: one with a read in it is looked for.
    let first = |edge: &Edge| !(search.writes && search.reads) || matches!(edge, Edge::WriteRead(_));
    let members: HashSet<NodeIndex> = component.iter().copied().collect();
    let mut starts: Vec<NodeIndex> = component.iter().copied().filter(|node| node.index() < operations).collect();
    starts.sort_unstable();
    let cycles = starts.into_iter().take(STARTS_MAX);
    let cycles = cycles.filter_map(|start| cycle_from(graph, &members, (start, first), operations));
    cycles.min_by_key(Vec::len)
}

/// Breadth first from `start` back to it, over a `first` edge to begin with; a step along the chain of time is free.
fn cycle_from(
    graph: &Dependencies,
    members: &HashSet<NodeIndex>,
    (start, first): (NodeIndex, impl Fn(&Edge) -> bool),
    operations: usize,
) -> Option<Cycle> {
    let mut came: HashMap<NodeIndex, (NodeIndex, Edge)> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for edge in graph.edges(at).filter(|edge| members.contains(&edge.target())) {
            if at == start && !first(edge.weight()) {
                continue;
            }
            let next = edge.target();
            if next == start {
                return Some(walk_back(&came, start, (at, *edge.weight()), operations));
            }
            if came.contains_key(&next) {
                continue;
            }
            came.insert(next, (at, *edge.weight()));
            if next.index() >= operations { queue.push_front(next) } else { queue.push_back(next) }
        }
    }
    None
}

fn walk_back(
    came: &HashMap<NodeIndex, (NodeIndex, Edge)>,
    start: NodeIndex,
    last: (NodeIndex, Edge),
    operations: usize,
) -> Cycle {
    let mut steps = vec![last];
    while let Some(&(before, edge)) = came.get(&steps[steps.len() - 1].0).filter(|_| steps[steps.len() - 1].0 != start)
    {
        steps.push((before, edge));
    }
    steps.reverse();
    let operation = |(node, edge): (NodeIndex, Edge)| {
        let id = u32::try_from(node.index()).ok().filter(|_| node.index() < operations)?;
        Some((OpId(id), edge))
    };
    steps.into_iter().filter_map(operation).collect()
}

fn describe(history: &History, cycle: &Cycle) -> (String, Vec<OpId>) {
    let line = |op: OpId| history.op(op).invoked.line;
    let mut what = format!("a cycle of {} operations: line {}", cycle.len(), line(cycle[0].0));
    for (at, (_, edge)) in cycle.iter().enumerate() {
        let (next, _) = cycle[(at + 1) % cycle.len()];
        let how = match edge {
            Edge::WriteWrite(key) => format!("wrote {} before", history.key(*key)),
            Edge::WriteRead(key) => format!("wrote what of {} was read by", history.key(*key)),
            Edge::Process => "was followed in its process by".to_owned(),
            Edge::Realtime => "ended before the beginning of".to_owned(),
        };
        what.push_str(&format!(" {how} line {}{}", line(next), if at + 1 < cycle.len() { "," } else { "" }));
    }
    (what, cycle.iter().map(|(op, _)| *op).collect())
}
