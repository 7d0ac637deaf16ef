//! A small async client of Kafka's protocol: bootstrap, versions, leaders, coordinators, clear errors.

mod connection;
mod error;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jackdaw_protocol::messages::describe_configs_request::DescribeConfigsResource;
use jackdaw_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use jackdaw_protocol::messages::{
    DescribeConfigsRequest, FindCoordinatorRequest, GroupId, ListOffsetsRequest, MetadataRequest, MetadataResponse,
    Request, ResponseError, StrBytes, TopicName, list_offsets_request, metadata_request, metadata_response,
};
use tokio::sync::Mutex;
use tokio::time::Instant;

pub(crate) use connection::{ANSWER_TIMEOUT, Connection};
pub(crate) use error::{ClientError, code_name, is_retriable};

const CLIENT_ID: &str = "jackdaw";
const RETRY_BACKOFF: Duration = Duration::from_millis(100);
/// How long something that passes (an election, a coordinator loading) may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a broker may take to create a topic on demand.
const CREATION: Duration = Duration::from_secs(5);

/// Where a list-offsets lookup begins: timestamps with a meaning of their own.
pub(crate) const LATEST: i64 = -1;
pub(crate) const EARLIEST: i64 = -2;

/// Kafka's number for topics as config resources.
pub(crate) const RESOURCE_TOPIC: i8 = 2;

/// What a consumer may see of transactions.
pub(crate) const READ_UNCOMMITTED: i8 = 0;
pub(crate) const READ_COMMITTED: i8 = 1;

/// A client of one cluster.
pub(crate) struct Client {
    bootstrap: Vec<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    any: Option<Arc<Connection>>,
    addresses: HashMap<i32, String>,
    controller: i32,
    by_node: HashMap<i32, Arc<Connection>>,
    topics: HashMap<String, Arc<Topic>>,
}

/// A topic as metadata show it.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: uuid::Uuid,
    pub(crate) internal: bool,
    /// By index.
    pub(crate) partitions: BTreeMap<i32, Partition>,
}

/// A partition as metadata show it.
#[derive(Debug, Clone)]
pub(crate) struct Partition {
    /// Node id, -1 for none.
    pub(crate) leader: i32,
    pub(crate) replicas: Vec<i32>,
    pub(crate) in_sync: Vec<i32>,
    pub(crate) error_code: i16,
}

/// Name of a topic in a request.
pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Name of a group in a request.
pub(crate) fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

/// A string in a request.
pub(crate) fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

impl Client {
    /// Connects to the first of `bootstrap` that answers.
    pub(crate) async fn connect(bootstrap: &[String]) -> Result<Client, ClientError> {
        let client = Client { bootstrap: bootstrap.to_vec(), state: Mutex::default() };
        client.any().await?;
        Ok(client)
    }

    /// A connection to any broker.
    pub(crate) async fn any(&self) -> Result<Arc<Connection>, ClientError> {
        let mut state = self.state.lock().await;
        if let Some(open) = state.any.as_ref().or(state.by_node.values().next()).filter(|any| any.is_open()) {
            return Ok(Arc::clone(open));
        }
        let mut first_error = None;
        let known: Vec<String> = self.bootstrap.iter().chain(state.addresses.values()).cloned().collect();
        for address in &known {
            match Connection::open(address, CLIENT_ID).await {
                Ok(connection) => {
                    let connection = Arc::new(connection);
                    state.any = Some(Arc::clone(&connection));
                    return Ok(connection);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| ClientError::Connect {
            address: "nowhere".to_owned(),
            reason: "no bootstrap server is given".to_owned(),
            hint: "; set one with --bootstrap-server".to_owned(),
        }))
    }

    /// The answer of any broker to something that may be asked twice: when one goes away meanwhile, another one is asked.
    pub(crate) async fn ask<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        let mut left = 3;
        loop {
            // If nobody can be reached, that is the answer.
            let connection = self.any().await?;
            left -= 1;
            match connection.send(request).await {
                Err(ClientError::Closed { .. }) if left > 0 => {}
                answer => return answer,
            }
        }
    }

    /// A connection to the broker with node id `node`.
    pub(crate) async fn broker(&self, node: i32) -> Result<Arc<Connection>, ClientError> {
        if !self.state.lock().await.addresses.contains_key(&node) {
            self.metadata(Some(&[]), false).await?;
        }
        let mut state = self.state.lock().await;
        if let Some(open) = state.by_node.get(&node).filter(|connection| connection.is_open()) {
            return Ok(Arc::clone(open));
        }
        let Some(address) = state.addresses.get(&node).cloned() else {
            return Err(ClientError::NoLeader { what: format!("broker {node}") });
        };
        let connection = match state.any.take_if(|any| any.is_open() && any.address() == address) {
            // The bootstrap connection already leads there.
            Some(any) => any,
            None => Arc::new(Connection::open(&address, CLIENT_ID).await.map_err(|error| explain(error, node))?),
        };
        state.any.get_or_insert_with(|| Arc::clone(&connection));
        state.by_node.insert(node, Arc::clone(&connection));
        Ok(connection)
    }

    /// The broker to which changes of the cluster are sent: the controller, or one that passes them on to it.
    pub(crate) async fn controller(&self) -> Result<Arc<Connection>, ClientError> {
        self.metadata(Some(&[]), false).await?;
        let controller = self.state.lock().await.controller;
        if controller < 0 {
            return self.any().await;
        }
        match self.broker(controller).await {
            // It may have died just now, and who is asked may not have heard of it.
            Err(ClientError::Connect { .. }) => self.any().await,
            answer => answer,
        }
    }

    /// The node ids of all brokers.
    pub(crate) async fn nodes(&self) -> Result<Vec<i32>, ClientError> {
        let answer = self.metadata(Some(&[]), false).await?;
        Ok(answer.brokers.iter().map(|broker| broker.node_id.0).collect())
    }

    async fn metadata(&self, topics: Option<&[&str]>, create: bool) -> Result<MetadataResponse, ClientError> {
        let named = |name: &&str| metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(topics.map(|names| names.iter().map(named).collect()))
            .with_allow_auto_topic_creation(create);
        let answer = self.ask(&request).await?;
        let mut state = self.state.lock().await;
        state.controller = answer.controller_id.0;
        for broker in &answer.brokers {
            let address = format!("{}:{}", host_in_address(&broker.host), broker.port);
            let before = state.addresses.insert(broker.node_id.0, address.clone());
            if before.is_some_and(|before| before != address) {
                state.by_node.remove(&broker.node_id.0);
            }
        }
        Ok(answer)
    }

    /// All topics, by name.
    pub(crate) async fn topics(&self) -> Result<BTreeMap<String, Topic>, ClientError> {
        let answer = self.metadata(None, false).await?;
        let topics = answer.topics.iter().filter(|topic| topic.error_code == 0).map(topic_of);
        Ok(topics.map(|topic| (topic.name.clone(), topic)).collect())
    }

    /// One topic.
    pub(crate) async fn topic(&self, name: &str) -> Result<Topic, ClientError> {
        let answer = self.metadata(Some(&[name]), false).await?;
        let topic = answer.topics.first().ok_or_else(|| ClientError::kafka(format!("topic {name}"), 3, None))?;
        ClientError::check(format!("topic {name}"), topic.error_code, None)?;
        Ok(topic_of(topic))
    }

    /// One topic once all its partitions have leaders; created where the broker does so on demand and `create` is set.
    pub(crate) async fn ready_topic(&self, name: &str, create: bool) -> Result<Topic, ClientError> {
        let started = Instant::now();
        loop {
            let answer = self.metadata(Some(&[name]), create).await?;
            let topic = answer.topics.first();
            let unknown = ResponseError::UnknownTopicOrPartition.code();
            let code = topic.map_or(unknown, |topic| topic.error_code);
            let found = topic.filter(|_| code == 0).map(topic_of);
            let waited = started.elapsed();
            match found {
                Some(topic) if topic.partitions.values().all(|partition| partition.leader >= 0) => return Ok(topic),
                Some(_) if waited > PATIENCE => {
                    return Err(ClientError::NoLeader { what: format!("a partition of topic {name}") });
                }
                // "Unknown" is what a broker says while it creates the topic, and when it never will.
                None if code == unknown && (!create || waited > CREATION) => return Err(missing(name)),
                None if !is_retriable(code) || waited > PATIENCE => {
                    return Err(ClientError::kafka(format!("topic {name}"), code, None));
                }
                Some(_) | None => tokio::time::sleep(RETRY_BACKOFF).await,
            }
        }
    }

    /// The leader of a partition, from memory where it is known.
    pub(crate) async fn leader(&self, name: &str, partition: i32) -> Result<i32, ClientError> {
        let known = self.state.lock().await.topics.get(name).cloned();
        let topic = match known {
            Some(topic) => topic,
            None => {
                let topic = Arc::new(self.topic(name).await?);
                self.state.lock().await.topics.insert(name.to_owned(), Arc::clone(&topic));
                topic
            }
        };
        let leader = topic.leader(partition);
        if leader.is_err() {
            self.forget_leader(name).await;
        }
        leader
    }

    /// Leaders have moved: [`Client::leader`] asks again.
    pub(crate) async fn forget_leader(&self, name: &str) {
        self.state.lock().await.topics.remove(name);
    }

    /// The settings of a topic, all or those with `keys`.
    pub(crate) async fn topic_configs(
        &self,
        name: &str,
        keys: Option<&[&str]>,
    ) -> Result<Vec<DescribeConfigsResourceResult>, ClientError> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(RESOURCE_TOPIC)
            .with_resource_name(text(name))
            .with_configuration_keys(keys.map(|keys| keys.iter().map(|key| text(key)).collect()));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.ask(&request).await?;
        let mut configs = Vec::new();
        for result in answer.results {
            ClientError::check(format!("configs of topic {name}"), result.error_code, result.error_message.as_deref())?;
            configs.extend(result.configs);
        }
        Ok(configs)
    }

    /// The coordinator of a group.
    pub(crate) async fn coordinator(&self, group: &str) -> Result<Arc<Connection>, ClientError> {
        let deadline = Instant::now() + PATIENCE;
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
        loop {
            let answer = self.ask(&request).await?;
            let what = format!("coordinator of group {group}");
            let found = answer.coordinators.first().ok_or_else(|| ClientError::kafka(&what, 15, None))?;
            let error = match found.error_code {
                0 => match self.broker(found.node_id.0).await {
                    Ok(coordinator) => return Ok(coordinator),
                    // Another one takes over when it is noticed that this one is gone.
                    Err(error) => error,
                },
                code => ClientError::kafka(what, code, found.error_message.as_deref()),
            };
            if !error.is_retriable() || Instant::now() > deadline {
                return Err(error);
            }
            tokio::time::sleep(RETRY_BACKOFF).await;
        }
    }

    /// The offset of the first record at or after a time, for each `(partition, time)`; -1 where there is none.
    pub(crate) async fn list_offsets(
        &self,
        topic: &str,
        wanted: &[(i32, i64)],
        isolation: i8,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let deadline = Instant::now() + PATIENCE;
        let mut found = BTreeMap::new();
        loop {
            let left: Vec<(i32, i64)> =
                wanted.iter().filter(|(index, _)| !found.contains_key(index)).copied().collect();
            if left.is_empty() {
                return Ok(found);
            }
            match self.list_offsets_once(topic, &left, isolation, &mut found).await {
                Err(error) if !error.is_retriable() || Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(RETRY_BACKOFF).await,
                Ok(()) => {}
            }
        }
    }

    async fn list_offsets_once(
        &self,
        name: &str,
        wanted: &[(i32, i64)],
        isolation: i8,
        found: &mut BTreeMap<i32, i64>,
    ) -> Result<(), ClientError> {
        let topic = self.topic(name).await?;
        let mut by_leader: BTreeMap<i32, Vec<list_offsets_request::ListOffsetsPartition>> = BTreeMap::new();
        for &(index, timestamp) in wanted {
            let leader = topic.leader(index)?;
            let partition = list_offsets_request::ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_timestamp(timestamp);
            by_leader.entry(leader).or_default().push(partition);
        }
        for (leader, partitions) in by_leader {
            let asked = list_offsets_request::ListOffsetsTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions);
            let request = ListOffsetsRequest::default()
                .with_replica_id((-1).into())
                .with_isolation_level(isolation)
                .with_topics(vec![asked]);
            let answer = self.broker(leader).await?.send(&request).await?;
            for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                let what = format!("offsets of {name}[{}]", partition.partition_index);
                ClientError::check(what, partition.error_code, None)?;
                found.insert(partition.partition_index, partition.offset);
            }
        }
        Ok(())
    }
}

impl Topic {
    /// The leader of a partition.
    pub(crate) fn leader(&self, index: i32) -> Result<i32, ClientError> {
        let partition = self.partitions.get(&index).ok_or_else(|| ClientError::Kafka {
            what: format!("{}[{index}]", self.name),
            code: ResponseError::UnknownTopicOrPartition.code(),
            message: Some(format!("the topic has partitions 0 to {}", self.partitions.len().saturating_sub(1))),
        })?;
        if partition.leader < 0 {
            return Err(ClientError::NoLeader { what: format!("{}[{index}]", self.name) });
        }
        Ok(partition.leader)
    }
}

fn topic_of(topic: &metadata_response::MetadataResponseTopic) -> Topic {
    let nodes = |ids: &[jackdaw_protocol::messages::BrokerId]| ids.iter().map(|id| id.0).collect();
    let partition = |partition: &metadata_response::MetadataResponsePartition| Partition {
        leader: partition.leader_id.0,
        replicas: nodes(&partition.replica_nodes),
        in_sync: nodes(&partition.isr_nodes),
        error_code: partition.error_code,
    };
    Topic {
        name: topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default(),
        id: topic.topic_id,
        internal: topic.is_internal,
        partitions: topic.partitions.iter().map(|found| (found.partition_index, partition(found))).collect(),
    }
}

fn missing(name: &str) -> ClientError {
    ClientError::Kafka {
        what: format!("topic {name}"),
        code: ResponseError::UnknownTopicOrPartition.code(),
        message: Some(format!("it does not exist; create it with `jackdaw topic create {name}`")),
    }
}

/// The address came from the cluster, not from the user: say so.
fn explain(error: ClientError, node: i32) -> ClientError {
    match error {
        ClientError::Connect { address, reason, .. } => ClientError::Connect {
            hint: format!("; this is the address that broker {node} advertises (advertised.listeners)"),
            address,
            reason,
        },
        other => other,
    }
}

/// IPv6 addresses stand in brackets before a port.
fn host_in_address(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}
