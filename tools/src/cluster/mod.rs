//! `jackdaw cluster`: who belongs to the cluster, who votes, and what should move.

pub(crate) mod moves;
pub(crate) mod plan;
mod quorum;
pub(crate) mod state;
mod status;
pub(crate) mod topic;

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use jackdaw_protocol::messages::{BrokerId, UnregisterBrokerRequest};

use crate::client::{Client, ClientError};
use crate::output::{self, CliError, ConnectArgs, OutputArgs, Tally};
use plan::{Load, Move};
use state::Layout;

/// Show the cluster; change its voters; spread its load
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Show the quorum, the brokers, and what is not as it should be
    Status,
    /// Let a node vote in the metadata quorum
    AddVoter(quorum::AddVoterArgs),
    /// Take a voter out of the metadata quorum
    RemoveVoter(quorum::RemoveVoterArgs),
    /// Move replicas so that every broker carries the same
    Rebalance(RebalanceArgs),
    /// Forget a broker that will not come back
    Unregister(UnregisterArgs),
}

#[derive(Debug, Args)]
struct RebalanceArgs {
    #[command(flatten)]
    moving: MovingArgs,
    /// Give up all moves that are under way
    #[arg(long, conflicts_with = "at_once")]
    cancel: bool,
}

/// How moves are carried out.
#[derive(Debug, Args)]
pub(crate) struct MovingArgs {
    /// Only show what would move
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Partitions that move at the same time
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) at_once: u16,
}

#[derive(Debug, Args)]
struct UnregisterArgs {
    /// node.id of the broker
    #[arg(value_name = "NODE")]
    id: i32,
    /// Although it still has replicas: they are lost to their partitions
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Runs a `cluster` command.
pub(crate) async fn run(args: ClusterArgs) -> Result<(), CliError> {
    let client = args.connect.client().await?;
    match args.command {
        ClusterCommand::Status => status::show(&client, args.output).await,
        ClusterCommand::AddVoter(args) => quorum::add_voter(&client, &args).await,
        ClusterCommand::RemoveVoter(args) => quorum::remove_voter(&client, &args).await,
        ClusterCommand::Rebalance(rebalance) if rebalance.cancel => cancel(&client, &rebalance.moving).await,
        ClusterCommand::Rebalance(rebalance) => self::rebalance(&client, &rebalance.moving, args.output).await,
        ClusterCommand::Unregister(args) => unregister(&client, &args).await,
    }
}

pub(super) fn id_list(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

async fn rebalance(client: &Client, args: &MovingArgs, output: OutputArgs) -> Result<(), CliError> {
    let layout = state::layout(client).await?;
    let moves = plan::even(&layout.nodes, &layout.parts);
    if moves.is_empty() {
        return output::line("load is even: nothing moves");
    }
    show(&layout, &moves, args, output)?;
    carry_out(client, &layout, &moves, args).await
}

/// Shows a plan.
pub(crate) fn show(layout: &Layout, moves: &[Move], args: &MovingArgs, output: OutputArgs) -> Result<(), CliError> {
    if output.is_json() {
        return output::json(&moves);
    }
    let (before, after) = (plan::loads(&layout.parts), plan::loads(&plan::after(&layout.parts, moves)));
    let of = |loads: &BTreeMap<i32, Load>, id: i32| loads.get(&id).copied().unwrap_or_default();
    let change = |before: String, after: String| if before == after { after } else { format!("{before} → {after}") };
    let row = |node: &plan::Node| {
        let (old, new) = (of(&before, node.id), of(&after, node.id));
        vec![
            node.id.to_string(),
            node.rack.clone().unwrap_or_default(),
            change(old.replicas.to_string(), new.replicas.to_string()),
            change(old.leaders.to_string(), new.leaders.to_string()),
            change(HumanBytes(old.bytes).to_string(), HumanBytes(new.bytes).to_string()),
        ]
    };
    let rows: Vec<Vec<String>> = layout.nodes.iter().map(row).collect();
    if args.dry_run {
        let row = |m: &Move| {
            let bytes = HumanBytes(m.bytes).to_string();
            vec![m.topic.to_string(), m.index.to_string(), id_list(&m.from), id_list(&m.to), bytes]
        };
        let rows: Vec<Vec<String>> = moves.iter().map(row).collect();
        output::table(&["TOPIC", "PARTITION", "FROM", "TO", "COPIED"], &rows)?;
        output::line("")?;
    }
    output::table(&["BROKER", "RACK", "REPLICAS", "LEADERS", "SIZE"], &rows)?;
    let bytes: u64 = moves.iter().map(|m| m.bytes).sum();
    let verb = if args.dry_run { "would move" } else { "to move" };
    output::line(&format!("{verb}: {} partitions, {} to copy", moves.len(), HumanBytes(bytes)))
}

/// Asks, carries the moves out, and waits for them.
pub(crate) async fn carry_out(
    client: &Client,
    layout: &Layout,
    moves: &[Move],
    args: &MovingArgs,
) -> Result<(), CliError> {
    if args.dry_run {
        return Ok(());
    }
    let under = layout.topics.values().flat_map(|topic| topic.partitions.values());
    let under = under.filter(|partition| partition.in_sync.len() < partition.replicas.len()).count();
    let note = if under > 0 { format!(" ({under} partitions are under-replicated now)") } else { String::new() };
    if !args.yes && !output::confirmed(&format!("Move them?{note} [y/N] "))? {
        return Err(CliError::Failed("nothing was moved".to_owned()));
    }
    moves::carry_out(client, moves, usize::from(args.at_once)).await
}

async fn cancel(client: &Client, args: &MovingArgs) -> Result<(), CliError> {
    let ongoing = state::reassignments(client).await?;
    let wishes: Vec<moves::Wish> = ongoing
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|p| (topic.name.to_string(), p.partition_index, None)))
        .collect();
    if wishes.is_empty() {
        return output::line("nothing is moving");
    }
    if args.dry_run {
        return output::line(&format!("would give up {} moves", wishes.len()));
    }
    if !args.yes && !output::confirmed(&format!("Give up {} moves? [y/N] ", wishes.len()))? {
        return Err(CliError::Failed("nothing was changed".to_owned()));
    }
    let mut tally = Tally::default();
    let given_up = moves::reassign(client, &wishes, &mut tally).await?;
    output::line(&format!("gave up {} moves", given_up.len()))?;
    tally.finish()
}

async fn unregister(client: &Client, args: &UnregisterArgs) -> Result<(), CliError> {
    let topics = client.topics().await?;
    let held = topics.values().flat_map(|topic| topic.partitions.values());
    let held = held.filter(|partition| partition.replicas.contains(&args.id)).count();
    if held > 0 && !args.force {
        return Err(CliError::Failed(format!(
            "broker {} has replicas of {held} partitions: `jackdaw broker drain {}` moves them to others, --force gives \
             them up",
            args.id, args.id
        )));
    }
    if args.dry_run {
        return output::line(&format!("would forget broker {}, which has {held} replicas", args.id));
    }
    if !args.yes && !output::confirmed(&format!("Forget broker {}? [y/N] ", args.id))? {
        return Err(CliError::Failed("nothing was changed".to_owned()));
    }
    let request = UnregisterBrokerRequest::default().with_broker_id(BrokerId(args.id));
    let answer = client.any().await?.send(&request).await?;
    ClientError::check(format!("broker {}", args.id), answer.error_code, answer.error_message.as_deref())?;
    output::line(&format!("forgot broker {}", args.id))
}
