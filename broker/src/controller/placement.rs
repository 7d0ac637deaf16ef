//! On which brokers new partitions live. Pure.
//!
//! As in Kafka, the replicas of a partition are spread over the racks first, then over the brokers; the first replica, which
//! leads, is never fenced, and the others are only where nobody else can take them. Where Kafka starts at random and
//! shuffles, we count: what this call has given to each broker decides, and `start` where the turn begins.

use crate::topics::image::Image;

/// A registered broker, as placement sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broker<'a> {
    pub id: i32,
    pub rack: Option<&'a str>,
    pub state: State,
}

/// What a broker may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Any replica.
    Active,
    /// Replicas that nobody else can take, since it is not heard.
    Fenced,
    /// Nothing but what is assigned by hand: it is about to stop.
    Stopping,
}

/// Why replicas cannot be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    #[error("All brokers are currently fenced.")]
    AllFenced,
    #[error(
        "The target replication factor of {wanted} cannot be reached because only {brokers} broker(s) are registered."
    )]
    TooFewBrokers { wanted: usize, brokers: usize },
}

/// The registered brokers.
pub fn brokers(image: &Image) -> Vec<Broker<'_>> {
    let broker = |(id, broker): (&i32, &'_ crate::topics::image::BrokerImage)| {
        let state = match (broker.in_controlled_shutdown, broker.fenced) {
            (true, _) => State::Stopping,
            (false, true) => State::Fenced,
            (false, false) => State::Active,
        };
        (*id, state)
    };
    let rack = |id: i32| image.brokers.get(&id).and_then(|broker| broker.registration.rack.as_deref());
    image.brokers.iter().map(broker).map(|(id, state)| Broker { id, rack: rack(id), state }).collect()
}

/// Replicas for `count` partitions, the leader of each first. `start` partitions are there already: the turn goes on
/// behind them.
pub fn place(
    brokers: &[Broker<'_>],
    start: usize,
    count: usize,
    factor: usize,
) -> Result<Vec<Vec<i32>>, PlacementError> {
    let mut seats = seats(brokers);
    if !seats.iter().any(|seat| seat.active) {
        return Err(if seats.is_empty() && brokers.is_empty() {
            PlacementError::TooFewBrokers { wanted: factor, brokers: 0 }
        } else {
            PlacementError::AllFenced
        });
    }
    if factor > seats.len() {
        return Err(PlacementError::TooFewBrokers { wanted: factor, brokers: seats.len() });
    }
    let racks = seats.iter().map(|seat| seat.rack).max().map_or(0, |last| last + 1);
    Ok((start..start + count).map(|turn| place_one(&mut seats, racks, turn, factor)).collect())
}

/// A broker while replicas are given out.
struct Seat {
    id: i32,
    rack: usize,
    active: bool,
    leaders: usize,
    replicas: usize,
}

/// In an order in which neighbors are of different racks, so that taking turns spreads over racks by itself.
fn seats(brokers: &[Broker<'_>]) -> Vec<Seat> {
    let mut racks: Vec<Option<&str>> = brokers.iter().map(|broker| broker.rack).collect();
    racks.sort_unstable();
    racks.dedup();
    let mut by_rack: Vec<Vec<&Broker<'_>>> = vec![Vec::new(); racks.len()];
    for broker in brokers.iter().filter(|broker| broker.state != State::Stopping) {
        if let Ok(rack) = racks.binary_search(&broker.rack) {
            by_rack[rack].push(broker);
        }
    }
    by_rack.iter_mut().for_each(|rack| rack.sort_unstable_by_key(|broker| broker.id));
    let longest = by_rack.iter().map(Vec::len).max().unwrap_or(0);
    let rounds = (0..longest).flat_map(|round| {
        by_rack.iter().enumerate().filter_map(move |(rack, brokers)| Some((rack, *brokers.get(round)?)))
    });
    let seat = |(rack, broker): (usize, &Broker<'_>)| Seat {
        id: broker.id,
        rack,
        active: broker.state == State::Active,
        leaders: 0,
        replicas: 0,
    };
    rounds.map(seat).collect()
}

fn place_one(seats: &mut [Seat], racks: usize, turn: usize, factor: usize) -> Vec<i32> {
    let count = seats.len();
    // How far behind the one whose turn it is. The turn of followers slips once a round, so that the partitions which
    // one broker leads do not all have their followers on the same others.
    let behind = |at: usize, first: usize| (at + count - first % count) % count;
    let mut chosen: Vec<usize> = Vec::with_capacity(factor);
    let mut used = vec![0usize; racks];
    for replica in 0..factor {
        let open = (0..count).filter(|at| !chosen.contains(at));
        let next = match replica {
            0 => open.filter(|&at| seats[at].active).min_by_key(|&at| (seats[at].leaders, behind(at, turn))),
            _ => open.min_by_key(|&at| {
                let seat = &seats[at];
                let first = chosen[0] + 1 + turn / count;
                (used[seat.rack], !seat.active, seat.replicas, behind(at, first))
            }),
        };
        let Some(at) = next else { break };
        used[seats[at].rack] += 1;
        seats[at].replicas += 1;
        seats[at].leaders += usize::from(replica == 0);
        chosen.push(at);
    }
    chosen.into_iter().map(|at| seats[at].id).collect()
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
