//! The voters of the metadata quorum: how far they are, and how they come and go.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use jackdaw_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use jackdaw_protocol::messages::describe_quorum_response::ReplicaState;
use jackdaw_protocol::messages::{
    AddRaftVoterRequest, DescribeQuorumRequest, RemoveRaftVoterRequest, add_raft_voter_request,
};
use serde::Serialize;
use uuid::Uuid;

use crate::client::{Client, ClientError, text, topic_name};
use crate::output::{self, CliError};

const TIMEOUT_MS: i32 = 60_000;
const METADATA_TOPIC: &str = "__cluster_metadata";

#[derive(Debug, Args)]
pub(super) struct AddVoterArgs {
    /// node.id of the node that shall vote
    #[arg(value_name = "NODE")]
    id: i32,
    /// Its controller listener
    #[arg(value_name = "HOST:PORT", value_parser = host_and_port)]
    address: (String, u16),
    /// The name of that listener
    #[arg(long, default_value = "CONTROLLER")]
    listener: String,
    /// The directory id it must have, as `cluster status` shows it; any, if not given
    #[arg(long, value_parser = directory_id)]
    directory_id: Option<Uuid>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct RemoveVoterArgs {
    /// node.id of the voter
    #[arg(value_name = "NODE")]
    id: i32,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("{text:?} is not HOST:PORT"))?;
    let port = port.parse().map_err(|_| format!("{port:?} is not a port"))?;
    Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

fn directory_id(text: &str) -> Result<Uuid, String> {
    let decoded = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| Uuid::from_slice(&bytes).ok());
    decoded.or_else(|| Uuid::parse_str(text).ok()).ok_or_else(|| format!("{text:?} is not a directory id"))
}

/// A member of the quorum, or who follows it.
#[derive(Debug, Serialize)]
pub(super) struct QuorumMember {
    pub(super) node: i32,
    /// leader, follower or observer
    pub(super) role: &'static str,
    pub(super) directory_id: String,
    pub(super) log_end_offset: i64,
    pub(super) lag: i64,
    /// Since the leader heard it last, by the leader's own clock.
    pub(super) heard_ms_ago: Option<i64>,
    #[serde(skip)]
    directory: Uuid,
}

/// The quorum.
#[derive(Debug, Serialize)]
pub(super) struct Quorum {
    pub(super) leader: i32,
    pub(super) epoch: i32,
    pub(super) high_watermark: i64,
    pub(super) members: Vec<QuorumMember>,
}

pub(super) async fn describe(client: &Client) -> Result<Quorum, ClientError> {
    let topic = TopicData::default()
        .with_topic_name(topic_name(METADATA_TOPIC))
        .with_partitions(vec![PartitionData::default().with_partition_index(0)]);
    let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
    let answer = client.ask(&request).await?;
    ClientError::check("quorum", answer.error_code, answer.error_message.as_deref())?;
    let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
    let partition = partition.ok_or_else(|| ClientError::kafka("quorum", -1, Some("no answer about it")))?;
    ClientError::check("quorum", partition.error_code, partition.error_message.as_deref())?;
    let leader = partition.leader_id.0;
    let end = partition.current_voters.iter().find(|voter| voter.replica_id.0 == leader);
    let end = end.map_or(partition.high_watermark, |leader| leader.log_end_offset);
    // The leader hears itself whenever it is asked.
    let now = partition.current_voters.iter().find(|voter| voter.replica_id.0 == leader);
    let now = now.map(|leader| leader.last_fetch_timestamp).filter(|now| *now >= 0);
    let heard = |at: i64| now.filter(|_| at >= 0).map(|now| (now - at).max(0));
    let member = |replica: &ReplicaState, role: &'static str| QuorumMember {
        heard_ms_ago: heard(replica.last_fetch_timestamp),
        node: replica.replica_id.0,
        role: if replica.replica_id.0 == leader { "leader" } else { role },
        directory_id: URL_SAFE_NO_PAD.encode(replica.replica_directory_id.as_bytes()),
        log_end_offset: replica.log_end_offset,
        lag: if replica.log_end_offset < 0 { -1 } else { (end - replica.log_end_offset).max(0) },
        directory: replica.replica_directory_id,
    };
    let voters = partition.current_voters.iter().map(|replica| member(replica, "follower"));
    let observers = partition.observers.iter().map(|replica| member(replica, "observer"));
    let mut members: Vec<QuorumMember> = voters.chain(observers).collect();
    members.sort_by_key(|member| (member.role == "observer", member.node));
    Ok(Quorum { leader, epoch: partition.leader_epoch, high_watermark: partition.high_watermark, members })
}

pub(super) async fn add_voter(client: &Client, args: &AddVoterArgs) -> Result<(), CliError> {
    let (host, port) = &args.address;
    let quorum = describe(client).await?;
    if quorum.members.iter().any(|member| member.node == args.id && member.role != "observer") {
        return Err(CliError::Failed(format!("node {} votes already", args.id)));
    }
    if args.dry_run {
        return output::line(&format!("would add node {} at {host}:{port} to the voters", args.id));
    }
    let listener = add_raft_voter_request::Listener::default()
        .with_name(text(&args.listener))
        .with_host(text(host))
        .with_port(*port);
    let request = AddRaftVoterRequest::default()
        .with_cluster_id(None)
        .with_timeout_ms(TIMEOUT_MS)
        .with_voter_id(args.id)
        .with_voter_directory_id(args.directory_id.unwrap_or_default())
        .with_listeners(vec![listener]);
    let answer = client.any().await?.send(&request).await?;
    ClientError::check(format!("voter {}", args.id), answer.error_code, answer.error_message.as_deref())?;
    output::line(&format!("node {} votes now", args.id))
}

pub(super) async fn remove_voter(client: &Client, args: &RemoveVoterArgs) -> Result<(), CliError> {
    let quorum = describe(client).await?;
    let voters: Vec<&QuorumMember> = quorum.members.iter().filter(|member| member.role != "observer").collect();
    let Some(voter) = voters.iter().find(|member| member.node == args.id) else {
        let known = voters.iter().map(|voter| voter.node.to_string()).collect::<Vec<_>>().join(", ");
        return Err(CliError::Failed(format!("node {} is no voter; the voters are {known}", args.id)));
    };
    let left = voters.len() - 1;
    if args.dry_run {
        return output::line(&format!("would remove voter {}; {left} would be left", args.id));
    }
    let survive = left.saturating_sub(1) / 2;
    let question = format!("Remove voter {}? The {left} that are left can lose {survive} [y/N] ", args.id);
    if !args.yes && !output::confirmed(&question)? {
        return Err(CliError::Failed("nothing was changed".to_owned()));
    }
    let request = RemoveRaftVoterRequest::default()
        .with_cluster_id(None)
        .with_voter_id(args.id)
        .with_voter_directory_id(voter.directory);
    let answer = client.any().await?.send(&request).await?;
    ClientError::check(format!("voter {}", args.id), answer.error_code, answer.error_message.as_deref())?;
    output::line(&format!("node {} votes no more", args.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_ids_are_read_as_kafka_writes_them_and_as_uuids() {
        let id = Uuid::from_u128(7);
        assert_eq!(directory_id("AAAAAAAAAAAAAAAAAAAABw"), Ok(id));
        assert_eq!(directory_id(&id.to_string()), Ok(id));
        assert!(directory_id("7").is_err());
    }

    #[test]
    fn addresses_of_controllers_need_a_port() {
        assert_eq!(host_and_port("[::1]:9093"), Ok(("::1".to_owned(), 9093)));
        assert!(host_and_port("host").is_err() && host_and_port("host:x").is_err());
    }
}
