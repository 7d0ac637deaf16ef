//! `jackdaw cluster status`: who is there and who is not, who decides, and which partitions lack something.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::quorum::{self, Quorum, QuorumMember};
use super::{id_list, state};
use crate::client::{Client, Partition};
use crate::output::{self, CliError, OutputArgs};

/// Partitions in trouble that are named; the others are counted.
const NAMED: usize = 10;

#[derive(Serialize)]
struct Status {
    cluster_id: String,
    controller: i32,
    quorum: Quorum,
    brokers: usize,
    fenced_brokers: Vec<i32>,
    nodes: Vec<Node>,
    topics: usize,
    partitions: usize,
    without_leader: usize,
    under_replicated: usize,
    not_led_by_preferred: usize,
    moving: usize,
    /// Those without a leader, and those that are under-replicated.
    troubled: Vec<Troubled>,
}

/// A node: a broker, a controller, or both.
#[derive(Serialize)]
struct Node {
    id: i32,
    address: Option<String>,
    rack: Option<String>,
    /// active or fenced, of a broker
    broker: Option<&'static str>,
    /// leader, follower or observer
    quorum: Option<&'static str>,
    lag: Option<i64>,
    heard_ms_ago: Option<i64>,
    leading: usize,
    replicas: usize,
    /// Of its replicas, those that are not in sync.
    out_of_sync: usize,
    directory_id: Option<String>,
}

#[derive(Serialize)]
struct Troubled {
    topic: String,
    partition: i32,
    /// -1 if there is none
    leader: i32,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
}

pub(super) async fn show(client: &Client, output: OutputArgs) -> Result<(), CliError> {
    let status = ask(client).await?;
    if output.is_json() {
        return output::json(&status);
    }
    print(&status)
}

async fn ask(client: &Client) -> Result<Status, CliError> {
    let members = state::members(client).await?;
    let topics = client.topics().await?;
    let moving = state::reassignments(client).await?;
    let quorum = quorum::describe(client).await?;
    let all = || {
        let of = |topic: &'_ crate::client::Topic| topic.name.clone();
        topics.values().flat_map(move |topic| topic.partitions.iter().map(move |(index, p)| (of(topic), *index, p)))
    };
    let partitions = || all().map(|(_, _, partition)| partition);
    let troubled = |(topic, partition, p): (String, i32, &Partition)| {
        let is = p.leader < 0 || p.in_sync.len() < p.replicas.len();
        let (replicas, in_sync) = (p.replicas.clone(), p.in_sync.clone());
        is.then_some(Troubled { topic, partition, leader: p.leader, replicas, in_sync })
    };
    let partitions_now: Vec<&Partition> = partitions().collect();
    Ok(Status {
        nodes: nodes(&members, &quorum, &partitions_now),
        quorum,
        cluster_id: members.cluster_id,
        controller: members.controller,
        brokers: members.brokers.len(),
        fenced_brokers: members.brokers.iter().filter(|broker| broker.fenced).map(|broker| broker.id).collect(),
        topics: topics.len(),
        partitions: partitions_now.len(),
        without_leader: partitions().filter(|partition| partition.leader < 0).count(),
        under_replicated: partitions().filter(|p| p.in_sync.len() < p.replicas.len()).count(),
        not_led_by_preferred: partitions().filter(|p| p.replicas.first() != Some(&p.leader)).count(),
        moving: moving.topics.iter().map(|topic| topic.partitions.len()).sum(),
        troubled: all().filter_map(troubled).collect(),
    })
}

fn nodes(members: &state::Members, quorum: &Quorum, partitions: &[&Partition]) -> Vec<Node> {
    let brokers: BTreeMap<i32, &state::Broker> = members.brokers.iter().map(|broker| (broker.id, broker)).collect();
    let voices: BTreeMap<i32, &QuorumMember> = quorum.members.iter().map(|member| (member.node, member)).collect();
    let ids: BTreeSet<i32> = brokers.keys().chain(voices.keys()).copied().collect();
    let node = |id: i32| {
        let (broker, member) = (brokers.get(&id), voices.get(&id));
        let held = || partitions.iter().filter(move |partition| partition.replicas.contains(&id));
        Node {
            id,
            address: broker.map(|broker| broker.address.clone()),
            rack: broker.and_then(|broker| broker.rack.clone()),
            broker: broker.map(|broker| if broker.fenced { "fenced" } else { "active" }),
            quorum: member.map(|member| member.role),
            lag: member.map(|member| member.lag).filter(|lag| *lag >= 0),
            heard_ms_ago: member.and_then(|member| member.heard_ms_ago),
            leading: partitions.iter().filter(|partition| partition.leader == id).count(),
            replicas: held().count(),
            out_of_sync: held().filter(|partition| !partition.in_sync.contains(&id)).count(),
            directory_id: member.map(|member| member.directory_id.clone()),
        }
    };
    ids.into_iter().map(node).collect()
}

fn print(status: &Status) -> Result<(), CliError> {
    let fenced = match status.fenced_brokers.len() {
        0 => String::new(),
        _ => format!(", fenced (not heard of): {}", id_list(&status.fenced_brokers)),
    };
    let voters = status.quorum.members.iter().filter(|member| member.role != "observer").count();
    output::line(&format!("cluster     {}", status.cluster_id))?;
    output::line(&format!(
        "controller  {}, in epoch {}; {voters} voters, of whom {} must be there",
        status.quorum.leader,
        status.quorum.epoch,
        voters / 2 + 1
    ))?;
    output::line(&format!("brokers     {}{fenced}", status.brokers))?;
    output::line(&format!("topics      {} with {} partitions", status.topics, status.partitions))?;
    output::line(&format!(
        "partitions  {} without leader, {} under-replicated, {} not led by their preferred leader, {} moving",
        status.without_leader, status.under_replicated, status.not_led_by_preferred, status.moving
    ))?;
    output::line("")?;
    let headings = [
        "NODE",
        "ADDRESS",
        "RACK",
        "BROKER",
        "QUORUM",
        "LAG",
        "HEARD",
        "LEADING",
        "REPLICAS",
        "OUT-OF-SYNC",
        "DIRECTORY-ID",
    ];
    output::table(&headings, &status.nodes.iter().map(row).collect::<Vec<_>>())?;
    if status.troubled.is_empty() {
        return Ok(());
    }
    output::line("")?;
    let row = |it: &Troubled| {
        let leader = if it.leader < 0 { "none".to_owned() } else { it.leader.to_string() };
        vec![it.topic.clone(), it.partition.to_string(), leader, id_list(&it.replicas), id_list(&it.in_sync)]
    };
    // What nobody leads comes first: nobody can use it.
    let (lost, rest): (Vec<&Troubled>, Vec<&Troubled>) = status.troubled.iter().partition(|it| it.leader < 0);
    let rows: Vec<Vec<String>> = lost.into_iter().chain(rest).take(NAMED).map(row).collect();
    output::table(&["IN-TROUBLE", "PARTITION", "LEADER", "REPLICAS", "IN-SYNC"], &rows)?;
    match status.troubled.len().saturating_sub(NAMED) {
        0 => Ok(()),
        more => output::line(&format!("and {more} more; --json names all")),
    }
}

fn row(node: &Node) -> Vec<String> {
    let number = |n: Option<i64>| n.map_or(String::new(), |n| n.to_string());
    let heard = match (node.heard_ms_ago, node.quorum) {
        (Some(ms), _) => format!("{}.{} s ago", ms / 1000, ms % 1000 / 100),
        // How far observers are is not told; a voter has not been heard by this leader.
        (None, None | Some("observer")) => String::new(),
        (None, Some(_)) => "never".to_owned(),
    };
    vec![
        node.id.to_string(),
        node.address.clone().unwrap_or_default(),
        node.rack.clone().unwrap_or_default(),
        node.broker.unwrap_or_default().to_owned(),
        node.quorum.unwrap_or_default().to_owned(),
        number(node.lag),
        heard,
        node.leading.to_string(),
        node.replicas.to_string(),
        node.out_of_sync.to_string(),
        node.directory_id.clone().unwrap_or_default(),
    ]
}
