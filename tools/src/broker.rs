//! `jackdaw broker`: what each broker carries, and how one is emptied.

use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use serde::Serialize;

use crate::client::Client;
use crate::cluster::{self, MovingArgs, plan, state};
use crate::output::{self, CliError, ConnectArgs, OutputArgs};

/// Show brokers; empty one
#[derive(Debug, Args)]
pub(crate) struct BrokerArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: BrokerCommand,
}

#[derive(Debug, Subcommand)]
enum BrokerCommand {
    /// List brokers and what they carry
    List,
    /// Move everything that a broker holds to the others
    Drain {
        /// node.id of the broker
        #[arg(value_name = "NODE")]
        id: i32,
        #[command(flatten)]
        moving: MovingArgs,
    },
}

/// Runs a `broker` command.
pub(crate) async fn run(args: BrokerArgs) -> Result<(), CliError> {
    let client = args.connect.client().await?;
    match args.command {
        BrokerCommand::List => list(&client, args.output).await,
        BrokerCommand::Drain { id, moving } => drain(&client, id, &moving, args.output).await,
    }
}

#[derive(Serialize)]
struct ListedBroker {
    id: i32,
    address: String,
    rack: Option<String>,
    fenced: bool,
    replicas: usize,
    /// Partitions that it leads now.
    leading: usize,
    /// Partitions that it leads when all is well.
    preferred: usize,
    bytes: u64,
}

async fn list(client: &Client, output: OutputArgs) -> Result<(), CliError> {
    let layout = state::layout(client).await?;
    let loads = plan::loads(&layout.parts);
    let partitions = || layout.topics.values().flat_map(|topic| topic.partitions.values());
    let broker = |broker: &state::Broker| {
        let load = loads.get(&broker.id).copied().unwrap_or_default();
        ListedBroker {
            id: broker.id,
            address: broker.address.clone(),
            rack: broker.rack.clone(),
            fenced: broker.fenced,
            replicas: load.replicas,
            leading: partitions().filter(|partition| partition.leader == broker.id).count(),
            preferred: load.leaders,
            bytes: load.bytes,
        }
    };
    let listed: Vec<ListedBroker> = layout.members.brokers.iter().map(broker).collect();
    if output.is_json() {
        return output::json(&listed);
    }
    let row = |broker: &ListedBroker| {
        vec![
            broker.id.to_string(),
            broker.address.clone(),
            broker.rack.clone().unwrap_or_default(),
            if broker.fenced { "fenced" } else { "active" }.to_owned(),
            broker.replicas.to_string(),
            broker.leading.to_string(),
            broker.preferred.to_string(),
            HumanBytes(broker.bytes).to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = listed.iter().map(row).collect();
    output::table(&["BROKER", "ADDRESS", "RACK", "STATE", "REPLICAS", "LEADING", "PREFERRED", "SIZE"], &rows)
}

async fn drain(client: &Client, id: i32, args: &MovingArgs, output: OutputArgs) -> Result<(), CliError> {
    let layout = state::layout(client).await?;
    if !layout.nodes.iter().any(|node| node.id == id) {
        let known = layout.nodes.iter().map(|node| node.id.to_string()).collect::<Vec<_>>().join(", ");
        return Err(CliError::Failed(format!("there is no broker {id}; there are {known}")));
    }
    let (moves, stuck) = plan::drain(&layout.nodes, &layout.parts, id);
    if !stuck.is_empty() {
        let some: Vec<String> = stuck.iter().take(5).map(|(topic, index)| format!("{topic}[{index}]")).collect();
        return Err(CliError::Failed(format!(
            "{} partitions have a replica on every other broker already, so that of broker {id} has nowhere to go ({}{}): \
             add a broker, or lower their replication factor with `jackdaw topic reassign`",
            stuck.len(),
            some.join(", "),
            if stuck.len() > some.len() { ", …" } else { "" }
        )));
    }
    if moves.is_empty() {
        return output::line(&format!("broker {id} holds nothing"));
    }
    cluster::show(&layout, &moves, args, output)?;
    cluster::carry_out(client, &layout, &moves, args).await
}
