//! `jackdaw topic reassign` and `jackdaw topic elect`.

use clap::{ArgGroup, Args};

use super::moves::{self, Wish};
use super::plan::{self, Move, Part};
use super::{MovingArgs, carry_out, show, state};
use crate::client::Client;
use crate::output::{self, CliError, OutputArgs, Tally};

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["replicas", "replication_factor", "cancel"])))]
pub(crate) struct ReassignArgs {
    #[arg(value_name = "TOPIC")]
    name: String,
    /// Only these partitions; may be repeated
    #[arg(short, long = "partition", value_name = "N")]
    partitions: Vec<i32>,
    /// The brokers that shall hold each partition, the preferred leader first
    #[arg(long, value_name = "NODE,NODE", value_delimiter = ',')]
    replicas: Vec<i32>,
    /// Copies of each partition, on brokers that are chosen by their load
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    replication_factor: Option<u16>,
    /// Give up what is under way
    #[arg(long)]
    cancel: bool,
    #[command(flatten)]
    moving: MovingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ElectArgs {
    /// Topics; all of them, if none is named
    #[arg(value_name = "TOPIC")]
    names: Vec<String>,
    /// Only these partitions; may be repeated
    #[arg(short, long = "partition", value_name = "N", requires = "names")]
    partitions: Vec<i32>,
    /// Elect any replica that is there where there is no leader: records that it does not hold are lost
    #[arg(long)]
    unclean: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn reassign(client: &Client, args: &ReassignArgs, output: OutputArgs) -> Result<(), CliError> {
    let layout = state::layout(client).await?;
    let known = layout.topics.get(&args.name);
    let Some(topic) = known else {
        return Err(CliError::Failed(format!(
            "topic {}: it does not exist; `jackdaw topic list` shows those that do",
            args.name
        )));
    };
    if let Some(missing) = args.partitions.iter().find(|index| !topic.partitions.contains_key(index)) {
        return Err(CliError::Failed(format!("topic {} has no partition {missing}", args.name)));
    }
    let wanted = |index: i32| args.partitions.is_empty() || args.partitions.contains(&index);
    if args.cancel {
        return cancel(client, args, &wanted).await;
    }
    let moves = match args.replication_factor {
        Some(factor) => {
            let moves = plan::resize(&layout.nodes, &layout.parts, &args.name, usize::from(factor));
            let mut moves = moves.ok_or_else(|| {
                let open = layout.nodes.iter().filter(|node| node.open).count();
                CliError::Failed(format!("{factor} copies need as many brokers, and {open} are there"))
            })?;
            moves.retain(|m| wanted(m.index));
            moves
        }
        None => {
            let own = layout.parts.iter().filter(|part| *part.topic == *args.name && wanted(part.index));
            own.filter_map(|part| to_replicas(part, &args.replicas)).collect()
        }
    };
    if moves.is_empty() {
        return output::line("nothing is different: nothing moves");
    }
    show(&layout, &moves, &args.moving, output)?;
    carry_out(client, &layout, &moves, &args.moving).await
}

fn to_replicas(part: &Part, replicas: &[i32]) -> Option<Move> {
    let new = replicas.iter().filter(|id| !part.replicas.contains(id)).count() as u64;
    (part.replicas != replicas).then(|| Move {
        topic: part.topic.clone(),
        index: part.index,
        from: part.replicas.clone(),
        to: replicas.to_vec(),
        bytes: new * part.bytes,
    })
}

async fn cancel(client: &Client, args: &ReassignArgs, wanted: &dyn Fn(i32) -> bool) -> Result<(), CliError> {
    let ongoing = state::reassignments(client).await?;
    let own = ongoing.topics.iter().filter(|topic| topic.name.as_str() == args.name);
    let wishes: Vec<Wish> = own
        .flat_map(|topic| &topic.partitions)
        .filter(|partition| wanted(partition.partition_index))
        .map(|partition| (args.name.clone(), partition.partition_index, None))
        .collect();
    if wishes.is_empty() {
        return output::line(&format!("nothing of topic {} is moving", args.name));
    }
    if args.moving.dry_run {
        return output::line(&format!("would give up {} moves", wishes.len()));
    }
    if !args.moving.yes && !output::confirmed(&format!("Give up {} moves? [y/N] ", wishes.len()))? {
        return Err(CliError::Failed("nothing was changed".to_owned()));
    }
    let mut tally = Tally::default();
    let given_up = moves::reassign(client, &wishes, &mut tally).await?;
    output::line(&format!("gave up {} moves", given_up.len()))?;
    tally.finish()
}

pub(crate) async fn elect(client: &Client, args: &ElectArgs) -> Result<(), CliError> {
    let topics = client.topics().await?;
    if let Some(missing) = args.names.iter().find(|name| !topics.contains_key(*name)) {
        return Err(CliError::Failed(format!(
            "topic {missing}: it does not exist; `jackdaw topic list` shows those that do"
        )));
    }
    let named = topics.values().filter(|topic| args.names.is_empty() || args.names.contains(&topic.name));
    let due: Vec<(String, i32)> = named
        .flat_map(|topic| topic.partitions.iter().map(move |(index, partition)| (topic, *index, partition)))
        .filter(|(_, index, _)| args.partitions.is_empty() || args.partitions.contains(index))
        .filter(|(_, _, partition)| match args.unclean {
            true => partition.leader < 0,
            false => partition.replicas.first() != Some(&partition.leader),
        })
        .map(|(topic, index, _)| (topic.name.clone(), index))
        .collect();
    if due.is_empty() {
        let why = if args.unclean { "every partition has a leader" } else { "every preferred leader leads" };
        return output::line(&format!("{why}: there is nothing to elect"));
    }
    if args.dry_run {
        return output::line(&format!("would elect leaders of {} partitions", due.len()));
    }
    let question =
        format!("Elect leaders of {} partitions that may lack records? What they lack is lost [y/N] ", due.len());
    if args.unclean && !args.yes && !output::confirmed(&question)? {
        return Err(CliError::Failed("nothing was changed".to_owned()));
    }
    let mut tally = Tally::default();
    let kind = if args.unclean { UNCLEAN } else { PREFERRED };
    let changed = moves::elect(client, kind, Some(&due), &mut tally).await?;
    output::line(&format!("elected leaders of {changed} of {} partitions", due.len()))?;
    tally.finish()
}
