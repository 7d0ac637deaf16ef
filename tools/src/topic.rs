//! `jackdaw topic`: create, list, describe, alter and delete topics.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use jackdaw_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, IncrementalAlterConfigsRequest, ResponseError,
    create_partitions_request::CreatePartitionsTopic,
    create_topics_request::{CreatableTopic, CreatableTopicConfig},
    delete_topics_request::DeleteTopicState,
    incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
};
use serde::Serialize;

use crate::client::{
    Client, ClientError, EARLIEST, LATEST, READ_UNCOMMITTED, RESOURCE_TOPIC, Topic, code_name, text, topic_name,
};
use crate::cluster;
use crate::log_facts::{self, LogDescription};
use crate::output::{self, CliError, ConnectArgs, OutputArgs, Tally};

const TIMEOUT_MS: i32 = 30_000;
/// Kafka's number for a value set on the topic itself.
const SOURCE_TOPIC: i8 = 1;
const OP_SET: i8 = 0;
const OP_DELETE: i8 = 1;

/// Create, list, describe, alter and delete topics
#[derive(Debug, Args)]
pub(crate) struct TopicArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: TopicCommand,
}

#[derive(Debug, Subcommand)]
enum TopicCommand {
    /// Create topics
    Create(CreateArgs),
    /// List topics
    List {
        /// Show Kafka's internal topics, too
        #[arg(long)]
        internal: bool,
    },
    /// Show a topic's partitions, offsets, and settings that are not the default
    Describe {
        #[arg(required = true, value_name = "TOPIC")]
        names: Vec<String>,
    },
    /// Add partitions, change settings
    Alter(AlterArgs),
    /// Move the partitions of a topic to other brokers; change how many copies there are
    Reassign(cluster::topic::ReassignArgs),
    /// Let the preferred leaders lead again
    Elect(cluster::topic::ElectArgs),
    /// Delete topics and all their records
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    /// Number of partitions; the broker's num.partitions by default
    #[arg(short, long)]
    partitions: Option<i32>,
    /// Copies of each partition; the broker's default.replication.factor by default
    #[arg(short, long)]
    replication_factor: Option<i16>,
    /// A setting of the topic; may be repeated
    #[arg(short, long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
    configs: Vec<(String, String)>,
    /// Succeed if the topic exists already
    #[arg(long)]
    if_not_exists: bool,
    /// Only check whether it could be created
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct AlterArgs {
    #[arg(value_name = "TOPIC")]
    name: String,
    /// Number of partitions to grow to
    #[arg(short, long)]
    partitions: Option<i32>,
    /// Set a setting; may be repeated
    #[arg(short, long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
    configs: Vec<(String, String)>,
    /// Put a setting back to its default; may be repeated
    #[arg(short, long = "delete-config", value_name = "KEY")]
    delete_configs: Vec<String>,
    /// Only check whether it could be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct DeleteArgs {
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    /// Succeed if a topic does not exist
    #[arg(long)]
    if_exists: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Runs a `topic` command.
pub(crate) async fn run(args: TopicArgs) -> Result<(), CliError> {
    let client = args.connect.client().await?;
    match args.command {
        TopicCommand::Create(create) => self::create(&client, &create).await,
        TopicCommand::List { internal } => list(&client, internal, args.output).await,
        TopicCommand::Describe { names } => describe(&client, &names, args.output).await,
        TopicCommand::Alter(alter) => self::alter(&client, &alter).await,
        TopicCommand::Reassign(reassign) => cluster::topic::reassign(&client, &reassign, args.output).await,
        TopicCommand::Elect(elect) => cluster::topic::elect(&client, &elect).await,
        TopicCommand::Delete(delete) => self::delete(&client, &delete).await,
    }
}

async fn create(client: &Client, args: &CreateArgs) -> Result<(), CliError> {
    let configs: Vec<CreatableTopicConfig> = args
        .configs
        .iter()
        .map(|(key, value)| CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value))))
        .collect();
    let topic = |name: &String| {
        CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(args.partitions.unwrap_or(-1))
            .with_replication_factor(args.replication_factor.unwrap_or(-1))
            .with_configs(configs.clone())
    };
    let request = CreateTopicsRequest::default()
        .with_topics(args.names.iter().map(topic).collect())
        .with_timeout_ms(TIMEOUT_MS)
        .with_validate_only(args.dry_run);
    let answer = client.controller().await?.send(&request).await?;
    let mut tally = Tally::default();
    for topic in &answer.topics {
        let name = topic.name.to_string();
        let exists = topic.error_code == ResponseError::TopicAlreadyExists.code();
        if exists && args.if_not_exists {
            output::line(&format!("topic {name} exists already"))?;
        } else if exists {
            // The broker's message says no more than the code; ours says what to do.
            tally.failed(&ClientError::kafka(format!("topic {name}"), topic.error_code, None));
        } else if topic.error_code != 0 {
            let message = topic.error_message.as_deref();
            tally.failed(&ClientError::kafka(format!("topic {name}"), topic.error_code, message));
        } else {
            let verb = if args.dry_run { "would create" } else { "created" };
            output::line(&format!("{verb} topic {name}{}", size_note(topic.num_partitions, topic.replication_factor)))?;
        }
    }
    tally.finish()
}

/// Says how many partitions a new topic got, where the broker tells.
fn size_note(partitions: i32, replication_factor: i16) -> String {
    if partitions < 1 {
        return String::new();
    }
    let plural = if partitions == 1 { "" } else { "s" };
    format!(": {partitions} partition{plural}, replication factor {replication_factor}")
}

#[derive(Serialize)]
struct ListedTopic<'a> {
    name: &'a str,
    id: String,
    partitions: usize,
    replication_factor: usize,
    internal: bool,
}

async fn list(client: &Client, internal: bool, output: OutputArgs) -> Result<(), CliError> {
    let topics = client.topics().await?;
    let listed: Vec<ListedTopic<'_>> = topics
        .values()
        .filter(|topic| internal || !topic.internal)
        .map(|topic| ListedTopic {
            name: &topic.name,
            id: topic_id_text(topic.id),
            partitions: topic.partitions.len(),
            replication_factor: topic.partitions.values().map(|partition| partition.replicas.len()).max().unwrap_or(0),
            internal: topic.internal,
        })
        .collect();
    if output.is_json() {
        return output::json(&listed);
    }
    let rows: Vec<Vec<String>> = listed
        .iter()
        .map(|topic| vec![topic.name.to_owned(), topic.partitions.to_string(), topic.replication_factor.to_string()])
        .collect();
    output::table(&["NAME", "PARTITIONS", "REPLICAS"], &rows)
}

#[derive(Serialize)]
struct DescribedTopic {
    name: String,
    id: String,
    internal: bool,
    configs: BTreeMap<String, Option<String>>,
    partitions: Vec<DescribedPartition>,
}

#[derive(Serialize)]
struct DescribedPartition {
    partition: i32,
    leader: i32,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    start_offset: Option<i64>,
    end_offset: Option<i64>,
    #[serde(flatten)]
    log: LogDescription,
    error: Option<String>,
}

async fn describe(client: &Client, names: &[String], output: OutputArgs) -> Result<(), CliError> {
    let mut described = Vec::new();
    let mut tally = Tally::default();
    for name in names {
        match describe_one(client, name).await {
            Ok(topic) => described.push(topic),
            Err(error) => tally.failed(&error),
        }
    }
    if output.is_json() {
        output::json(&described)?;
    } else {
        for (index, topic) in described.iter().enumerate() {
            if index > 0 {
                output::line("")?;
            }
            print_described(topic)?;
        }
    }
    tally.finish()
}

async fn describe_one(client: &Client, name: &str) -> Result<DescribedTopic, ClientError> {
    let topic = client.topic(name).await?;
    let configs = changed_configs(client, name).await?;
    let (starts, ends) = offsets(client, &topic).await;
    let mut logs = log_facts::describe(client, &topic).await;
    let partition = |(&index, found): (&i32, &crate::client::Partition)| DescribedPartition {
        partition: index,
        leader: found.leader,
        replicas: found.replicas.clone(),
        in_sync: found.in_sync.clone(),
        start_offset: starts.get(&index).copied(),
        end_offset: ends.get(&index).copied(),
        log: logs.remove(&index).unwrap_or_default(),
        error: (found.error_code != 0).then(|| code_name(found.error_code)),
    };
    let partitions = topic.partitions.iter().map(partition).collect();
    Ok(DescribedTopic { name: topic.name, id: topic_id_text(topic.id), internal: topic.internal, configs, partitions })
}

/// First and next offset of each partition that has a leader.
async fn offsets(client: &Client, topic: &Topic) -> (BTreeMap<i32, i64>, BTreeMap<i32, i64>) {
    let led = || topic.partitions.iter().filter(|(_, partition)| partition.leader >= 0).map(|(&index, _)| index);
    let at = |timestamp: i64| led().map(|index| (index, timestamp)).collect::<Vec<_>>();
    // A partition that is just moving is described without offsets.
    let starts = client.list_offsets(&topic.name, &at(EARLIEST), READ_UNCOMMITTED).await.unwrap_or_default();
    let ends = client.list_offsets(&topic.name, &at(LATEST), READ_UNCOMMITTED).await.unwrap_or_default();
    (starts, ends)
}

async fn changed_configs(client: &Client, name: &str) -> Result<BTreeMap<String, Option<String>>, ClientError> {
    let configs = client.topic_configs(name, None).await?;
    let changed = configs.into_iter().filter(|config| config.config_source == SOURCE_TOPIC);
    Ok(changed.map(|config| (config.name.to_string(), config.value.map(|value| value.to_string()))).collect())
}

fn print_described(topic: &DescribedTopic) -> Result<(), CliError> {
    output::line(&format!("topic    {}", topic.name))?;
    output::line(&format!("id       {}", topic.id))?;
    let configs: Vec<String> =
        topic.configs.iter().map(|(key, value)| format!("{key}={}", value.as_deref().unwrap_or("null"))).collect();
    output::line(&format!(
        "configs  {}",
        if configs.is_empty() { "all default".to_owned() } else { configs.join(" ") }
    ))?;
    if let Some(verdict) = LogDescription::sum(topic.partitions.iter().map(|partition| &partition.log)).verdict() {
        output::line(&format!("compaction  {verdict}"))?;
    }
    for partition in &topic.partitions {
        if let Some(offset) = partition.log.damaged_from {
            let index = partition.partition;
            output::line(&format!(
                "damaged  partition {index} from offset {offset} on: see damage-report.txt in the data directory of its leader"
            ))?;
        }
    }
    let number = |offset: Option<i64>| offset.map(|offset| offset.to_string()).unwrap_or_default();
    let rows: Vec<Vec<String>> = topic
        .partitions
        .iter()
        .map(|partition| {
            vec![
                partition.partition.to_string(),
                if partition.leader < 0 { "none".to_owned() } else { partition.leader.to_string() },
                id_list(&partition.replicas),
                id_list(&partition.in_sync),
                number(partition.start_offset),
                number(partition.end_offset),
                number(partition.log.size),
                partition.log.cleanable_ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                keys(&partition.log),
            ]
        })
        .collect();
    output::table(
        &["PARTITION", "LEADER", "REPLICAS", "IN-SYNC", "START-OFFSET", "END-OFFSET", "SIZE", "CLEANABLE", "KEYS"],
        &rows,
    )
}

/// The estimate of distinct keys, and of how much of the log it knows where that is not all.
fn keys(log: &LogDescription) -> String {
    match (log.distinct_keys, log.seen_share) {
        (Some(keys), Some(share)) if share < 0.995 => format!("{keys} in {:.0} %", share * 100.0),
        (Some(keys), _) => keys.to_string(),
        _ => String::new(),
    }
}

fn id_list(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

/// Kafka shows ids as unpadded base64url of their 16 bytes.
fn topic_id_text(id: uuid::Uuid) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(id.as_bytes())
}

async fn alter(client: &Client, args: &AlterArgs) -> Result<(), CliError> {
    if args.partitions.is_none() && args.configs.is_empty() && args.delete_configs.is_empty() {
        return Err(CliError::Usage(
            "nothing to alter: give --partitions, --config KEY=VALUE or --delete-config KEY".to_owned(),
        ));
    }
    let name = &args.name;
    let would = if args.dry_run { "would set" } else { "set" };
    if !args.configs.is_empty() || !args.delete_configs.is_empty() {
        alter_configs(client, args).await?;
        for (key, value) in &args.configs {
            output::line(&format!("{would} {key}={value} on topic {name}"))?;
        }
        for key in &args.delete_configs {
            output::line(&format!("{would} {key} back to its default on topic {name}"))?;
        }
    }
    if let Some(count) = args.partitions {
        let topic =
            CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(count).with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(TIMEOUT_MS)
            .with_validate_only(args.dry_run);
        let answer = client.controller().await?.send(&request).await?;
        for result in &answer.results {
            ClientError::check(format!("topic {name}"), result.error_code, result.error_message.as_deref())?;
        }
        output::line(&format!("{would} topic {name} to {count} partitions"))?;
    }
    Ok(())
}

async fn alter_configs(client: &Client, args: &AlterArgs) -> Result<(), ClientError> {
    let set = args.configs.iter().map(|(key, value)| {
        AlterableConfig::default().with_name(text(key)).with_config_operation(OP_SET).with_value(Some(text(value)))
    });
    let delete = args
        .delete_configs
        .iter()
        .map(|key| AlterableConfig::default().with_name(text(key)).with_config_operation(OP_DELETE).with_value(None));
    let resource = AlterConfigsResource::default()
        .with_resource_type(RESOURCE_TOPIC)
        .with_resource_name(text(&args.name))
        .with_configs(set.chain(delete).collect());
    let request =
        IncrementalAlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(args.dry_run);
    let answer = client.controller().await?.send(&request).await?;
    for result in &answer.responses {
        ClientError::check(format!("topic {}", args.name), result.error_code, result.error_message.as_deref())?;
    }
    Ok(())
}

async fn delete(client: &Client, args: &DeleteArgs) -> Result<(), CliError> {
    let mut tally = Tally::default();
    let known = client.topics().await?;
    let mut names: Vec<&String> = Vec::new();
    for name in &args.names {
        if known.contains_key(name) {
            names.push(name);
        } else if args.if_exists {
            output::line(&format!("topic {name} does not exist"))?;
        } else {
            let code = ResponseError::UnknownTopicOrPartition.code();
            tally.failed(&ClientError::kafka(format!("topic {name}"), code, None));
        }
    }
    if args.dry_run {
        for name in names {
            let count = known.get(name).map_or(0, |topic| topic.partitions.len());
            output::line(&format!("would delete topic {name} and the records of its partitions ({count})"))?;
        }
        return tally.finish();
    }
    if names.is_empty() {
        return tally.finish();
    }
    let list = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    if !args.yes && !output::confirmed(&format!("Delete {list} with all records? [y/N] "))? {
        return Err(CliError::Failed("nothing was deleted".to_owned()));
    }
    delete_named(client, &names, &mut tally).await?;
    tally.finish()
}

async fn delete_named(client: &Client, names: &[&String], tally: &mut Tally) -> Result<(), CliError> {
    let controller = client.controller().await?;
    let request = DeleteTopicsRequest::default().with_timeout_ms(TIMEOUT_MS);
    let request = if controller.version::<DeleteTopicsRequest>()? >= 6 {
        let state = |name: &&String| DeleteTopicState::default().with_name(Some(topic_name(name)));
        request.with_topics(names.iter().map(state).collect())
    } else {
        request.with_topic_names(names.iter().map(|name| topic_name(name)).collect())
    };
    let answer = controller.send(&request).await?;
    for result in &answer.responses {
        let name = result.name.as_ref().map(|name| name.to_string()).unwrap_or_default();
        match ClientError::check(format!("topic {name}"), result.error_code, result.error_message.as_deref()) {
            Ok(()) => output::line(&format!("deleted topic {name}"))?,
            Err(error) => tally.failed(&error),
        }
    }
    Ok(())
}
