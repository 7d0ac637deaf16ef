//! `jackdaw group`: list consumer groups, and show how far each has come.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use jackdaw_protocol::messages::describe_groups_response::DescribedGroup;
use jackdaw_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use jackdaw_protocol::messages::{DescribeGroupsRequest, ListGroupsRequest, OffsetFetchRequest, ResponseError};
use serde::Serialize;

use crate::client::{Client, ClientError, LATEST, READ_UNCOMMITTED, group_id};
use crate::consume::assignor;
use crate::output::{self, CliError, ConnectArgs, OutputArgs, Tally};

/// What DescribeGroups below version 6 answers for a group that does not exist.
const DEAD: &str = "Dead";
const CONSUMER: &str = "consumer";

/// List consumer groups, show members, offsets and lag
#[derive(Debug, Args)]
pub(crate) struct GroupArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    /// List the groups of all brokers
    List,
    /// Show a group's members, and offset and lag of each partition
    Describe {
        #[arg(required = true, value_name = "GROUP")]
        names: Vec<String>,
    },
}

/// Runs a `group` command.
pub(crate) async fn run(args: GroupArgs) -> Result<(), CliError> {
    let client = args.connect.client().await?;
    match args.command {
        GroupCommand::List => list(&client, args.output).await,
        GroupCommand::Describe { names } => describe(&client, &names, args.output).await,
    }
}

#[derive(Serialize)]
struct ListedGroup {
    group: String,
    protocol_type: String,
    state: String,
    #[serde(rename = "type")]
    kind: String,
    coordinator: i32,
}

async fn list(client: &Client, output: OutputArgs) -> Result<(), CliError> {
    let mut listed = BTreeMap::new();
    // A broker lists the groups that it coordinates.
    let mut tally = Tally::default();
    for node in client.nodes().await? {
        let answer = match client.broker(node).await {
            Ok(connection) => connection.send(&ListGroupsRequest::default()).await,
            Err(error) => Err(error),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                tally.failed(&format!("the groups of broker {node} are missing here: {error}"));
                continue;
            }
        };
        ClientError::check(format!("groups of broker {node}"), answer.error_code, None)?;
        for group in answer.groups {
            let name = group.group_id.to_string();
            let listed_group = ListedGroup {
                group: name.clone(),
                protocol_type: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
                kind: group.group_type.to_string(),
                coordinator: node,
            };
            listed.insert(name, listed_group);
        }
    }
    let listed: Vec<ListedGroup> = listed.into_values().collect();
    if output.is_json() {
        output::json(&listed)?;
        return tally.finish();
    }
    let row = |group: &ListedGroup| {
        vec![
            group.group.clone(),
            group.state.clone(),
            group.kind.clone(),
            group.protocol_type.clone(),
            group.coordinator.to_string(),
        ]
    };
    output::table(
        &["GROUP", "STATE", "TYPE", "PROTOCOL-TYPE", "COORDINATOR"],
        &listed.iter().map(row).collect::<Vec<_>>(),
    )?;
    tally.finish()
}

#[derive(Debug, Serialize)]
struct Described {
    group: String,
    state: String,
    protocol_type: String,
    /// Name of the assignor, of a consumer group.
    protocol: String,
    members: Vec<DescribedMember>,
    offsets: Vec<DescribedOffset>,
}

#[derive(Debug, Serialize)]
struct DescribedMember {
    member: String,
    instance: Option<String>,
    client: String,
    host: String,
    partitions: BTreeMap<String, Vec<i32>>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct DescribedOffset {
    topic: String,
    partition: i32,
    /// Next offset to read, if one was committed.
    current_offset: Option<i64>,
    log_end_offset: Option<i64>,
    lag: Option<i64>,
    member: Option<String>,
}

async fn describe(client: &Client, names: &[String], output: OutputArgs) -> Result<(), CliError> {
    let mut described = Vec::new();
    let mut tally = Tally::default();
    for name in names {
        match describe_one(client, name).await {
            Ok(group) => described.push(group),
            Err(error) => tally.failed(&error),
        }
    }
    if output.is_json() {
        output::json(&described)?;
    } else {
        for (index, group) in described.iter().enumerate() {
            if index > 0 {
                output::line("")?;
            }
            print(group)?;
        }
    }
    tally.finish()
}

async fn describe_one(client: &Client, name: &str) -> Result<Described, ClientError> {
    let coordinator = client.coordinator(name).await?;
    let request = DescribeGroupsRequest::default().with_groups(vec![group_id(name)]);
    let answer = coordinator.send(&request).await?;
    let what = format!("group {name}");
    let missing = || ClientError::kafka(&what, ResponseError::GroupIdNotFound.code(), None);
    let group = answer.groups.into_iter().next().ok_or_else(missing)?;
    let gone = group.error_code == ResponseError::GroupIdNotFound.code();
    if !gone {
        ClientError::check(&what, group.error_code, group.error_message.as_deref())?;
    }
    let members = members(&group);
    let committed = committed(client, name).await?;
    // A group that was never more than a name to commit under is dead as well, but has offsets.
    if (gone || group.group_state.as_str() == DEAD) && committed.is_empty() {
        return Err(missing());
    }
    let ends = ends(client, &committed, &members).await;
    Ok(Described {
        group: name.to_owned(),
        state: group.group_state.to_string(),
        protocol_type: group.protocol_type.to_string(),
        protocol: group.protocol_data.to_string(),
        offsets: offsets(&committed, &ends, &members),
        members,
    })
}

fn members(group: &DescribedGroup) -> Vec<DescribedMember> {
    let is_consumer = group.protocol_type.as_str() == CONSUMER;
    let member = |member: &jackdaw_protocol::messages::describe_groups_response::DescribedGroupMember| {
        // Other protocols put other bytes here (Kafka Connect does).
        let partitions =
            if is_consumer { assignor::assigned_partitions(&member.member_assignment) } else { Ok(BTreeMap::new()) };
        DescribedMember {
            member: member.member_id.to_string(),
            instance: member.group_instance_id.as_ref().map(|instance| instance.to_string()),
            client: member.client_id.to_string(),
            host: member.client_host.trim_start_matches('/').to_owned(),
            partitions: partitions.unwrap_or_default(),
        }
    };
    group.members.iter().map(member).collect()
}

type Offsets = BTreeMap<(String, i32), i64>;

async fn committed(client: &Client, name: &str) -> Result<Offsets, ClientError> {
    let group = OffsetFetchRequestGroup::default().with_group_id(group_id(name)).with_member_id(None).with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![group]);
    let answer = client.coordinator(name).await?.send(&request).await?;
    let mut committed = Offsets::new();
    for group in &answer.groups {
        let unknown = group.error_code == ResponseError::GroupIdNotFound.code();
        if !unknown {
            ClientError::check(format!("offsets of group {name}"), group.error_code, None)?;
        }
        for topic in &group.topics {
            for partition in topic.partitions.iter().filter(|partition| partition.committed_offset >= 0) {
                committed.insert((topic.name.to_string(), partition.partition_index), partition.committed_offset);
            }
        }
    }
    Ok(committed)
}

/// Where the partitions end that the group has to do with.
async fn ends(client: &Client, committed: &Offsets, members: &[DescribedMember]) -> Offsets {
    let mut wanted: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for (topic, partition) in committed.keys() {
        wanted.entry(topic).or_default().insert(*partition);
    }
    for (topic, partitions) in members.iter().flat_map(|member| &member.partitions) {
        wanted.entry(topic).or_default().extend(partitions);
    }
    let mut ends = Offsets::new();
    for (topic, partitions) in wanted {
        let latest: Vec<(i32, i64)> = partitions.into_iter().map(|partition| (partition, LATEST)).collect();
        // A topic that was deleted since has no end, and is shown without one.
        let found = client.list_offsets(topic, &latest, READ_UNCOMMITTED).await.unwrap_or_default();
        ends.extend(found.into_iter().map(|(partition, end)| ((topic.to_owned(), partition), end)));
    }
    ends
}

/// One entry for each partition that has an offset or a member.
fn offsets(committed: &Offsets, ends: &Offsets, members: &[DescribedMember]) -> Vec<DescribedOffset> {
    let mut owners: BTreeMap<(String, i32), &str> = BTreeMap::new();
    for member in members {
        for (topic, partitions) in &member.partitions {
            for &partition in partitions {
                owners.insert((topic.clone(), partition), &member.member);
            }
        }
    }
    let all: BTreeSet<&(String, i32)> = committed.keys().chain(owners.keys()).collect();
    let entry = |key: &(String, i32)| {
        let (current_offset, log_end_offset) = (committed.get(key).copied(), ends.get(key).copied());
        DescribedOffset {
            topic: key.0.clone(),
            partition: key.1,
            current_offset,
            log_end_offset,
            lag: current_offset.zip(log_end_offset).map(|(current, end)| (end - current).max(0)),
            member: owners.get(key).map(|owner| (*owner).to_owned()),
        }
    };
    all.into_iter().map(entry).collect()
}

fn print(group: &Described) -> Result<(), CliError> {
    output::line(&format!("group     {}", group.group))?;
    output::line(&format!("state     {}", group.state))?;
    if !group.protocol.is_empty() {
        output::line(&format!("protocol  {}", group.protocol))?;
    }
    let lag: i64 = group.offsets.iter().filter_map(|offset| offset.lag).sum();
    output::line(&format!("members   {}", group.members.len()))?;
    output::line(&format!("lag       {lag}"))?;
    let number = |value: Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
    let of_member = |id: &Option<String>| {
        let found = id.as_ref().and_then(|id| group.members.iter().find(|member| &member.member == id));
        found.map_or([String::new(), String::new(), String::new()], |member| {
            [member.member.clone(), member.host.clone(), member.client.clone()]
        })
    };
    let row = |offset: &DescribedOffset| {
        let mut row = vec![
            offset.topic.clone(),
            offset.partition.to_string(),
            number(offset.current_offset),
            number(offset.log_end_offset),
            number(offset.lag),
        ];
        row.extend(of_member(&offset.member));
        row
    };
    let mut rows: Vec<Vec<String>> = group.offsets.iter().map(row).collect();
    for member in group.members.iter().filter(|member| member.partitions.is_empty()) {
        let mut row = vec![String::new(); 5];
        row.extend(of_member(&Some(member.member.clone())));
        rows.push(row);
    }
    output::table(
        &["TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "MEMBER", "HOST", "CLIENT-ID"],
        &rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_known_where_both_ends_are() {
        let key = |partition| ("t".to_owned(), partition);
        let committed = Offsets::from([(key(0), 5), (key(1), 9)]);
        let ends = Offsets::from([(key(0), 12), (key(2), 3)]);
        let member = DescribedMember {
            member: "m".to_owned(),
            instance: None,
            client: String::new(),
            host: String::new(),
            partitions: BTreeMap::from([("t".to_owned(), vec![0, 2])]),
        };
        let described = offsets(&committed, &ends, &[member]);
        let lags: Vec<_> =
            described.iter().map(|offset| (offset.partition, offset.lag, offset.member.is_some())).collect();
        assert_eq!(lags, [(0, Some(7), true), (1, None, false), (2, None, true)]);
    }
}
