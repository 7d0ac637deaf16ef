//! What the harness asks the cluster, and has it do: who leads, who is in sync, elections, moves, voters.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jackdaw_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use jackdaw_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use jackdaw_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use jackdaw_protocol::messages::elect_leaders_request::TopicPartitions;
use jackdaw_protocol::messages::{
    AddRaftVoterRequest, AlterPartitionReassignmentsRequest, BrokerId, CreateTopicsRequest, DescribeQuorumRequest,
    ElectLeadersRequest, RemoveRaftVoterRequest, StrBytes, add_raft_voter_request,
};
use uuid::Uuid;

use super::client::{ChaosClient, attempt};
use crate::client::{ClientError, LATEST, READ_COMMITTED, Topic, text, topic_name};

const PAUSE: Duration = Duration::from_millis(100);
const METADATA: &str = "__cluster_metadata";

/// Asks whoever answers, again and again until its patience ends.
pub(super) struct Admin {
    client: ChaosClient,
    /// One for each node, which asks no other.
    each: Vec<ChaosClient>,
}

/// What one node knows.
pub(super) struct View {
    /// Node ids of the brokers that are not fenced.
    pub(super) brokers: Vec<i32>,
    pub(super) topics: BTreeMap<String, Topic>,
}

/// A voter of the metadata quorum.
#[derive(Debug, Clone)]
pub(super) struct Voter {
    pub(super) id: i32,
    pub(super) directory: Uuid,
}

impl Admin {
    pub(super) fn new(bootstrap: &[String]) -> Admin {
        let each = bootstrap.iter().map(|address| ChaosClient::new(std::slice::from_ref(address), 0)).collect();
        Admin { client: ChaosClient::new(bootstrap, 0), each }
    }

    /// What each node knows of the others and of all topics, in the order of their ids; the first error, if one does not say.
    pub(super) async fn views(&mut self) -> Result<Vec<View>, ClientError> {
        let mut views = Vec::new();
        for client in &mut self.each {
            let asked = async {
                let client = client.get().await?;
                Ok(View { brokers: client.nodes().await?, topics: client.topics().await? })
            };
            match attempt(asked).await {
                Ok(view) => views.push(view),
                Err(error) => {
                    client.forget();
                    return Err(error);
                }
            }
        }
        Ok(views)
    }

    /// Whether every leader of a topic answers as one.
    pub(super) async fn all_lead(&mut self, topic: &Topic) -> Result<(), ClientError> {
        let wanted: Vec<(i32, i64)> = topic.partitions.keys().map(|index| (*index, LATEST)).collect();
        let asked = async { self.client.get().await?.list_offsets(&topic.name, &wanted, READ_COMMITTED).await };
        let found = attempt(asked).await;
        if found.is_err() {
            self.client.forget();
        }
        found.map(drop)
    }

    /// Tries until it succeeds or time is up.
    async fn insist<T>(
        &mut self,
        patience: Duration,
        mut once: impl AsyncFnMut(&mut ChaosClient) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let deadline = Instant::now() + patience;
        loop {
            match attempt(once(&mut self.client)).await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    self.client.forget();
                    if Instant::now() > deadline {
                        return Err(error);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Makes a topic; that it is there already is fine.
    pub(super) async fn create(
        &mut self,
        name: &str,
        partitions: i32,
        replicas: i16,
        configs: &[(String, String)],
        patience: Duration,
    ) -> Result<(), ClientError> {
        let configs = configs
            .iter()
            .map(|(key, value)| CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value))));
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(3_000);
        self.insist(patience, async |client| {
            let answer = client.get().await?.controller().await?.send(&request).await?;
            let made =
                answer.topics.first().map_or((-1, None), |topic| (topic.error_code, topic.error_message.clone()));
            if made.0 == 36 { Ok(()) } else { ClientError::check(format!("topic {name}"), made.0, made.1.as_deref()) }
        })
        .await
    }

    /// All topics, as whoever answers sees them.
    pub(super) async fn topics(&mut self) -> Result<BTreeMap<String, Topic>, ClientError> {
        let found = attempt(async { self.client.get().await?.topics().await }).await;
        if found.is_err() {
            self.client.forget();
        }
        found
    }

    /// Leader of the metadata quorum, and its voters.
    pub(super) async fn quorum(&mut self, patience: Duration) -> Result<(i32, Vec<Voter>), ClientError> {
        let topic =
            TopicData::default().with_topic_name(topic_name(METADATA)).with_partitions(vec![PartitionData::default()]);
        let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
        self.insist(patience, async |client| {
            let answer = client.get().await?.any().await?.send(&request).await?;
            ClientError::check("the quorum", answer.error_code, None)?;
            let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
            let partition = partition.ok_or_else(|| ClientError::NoLeader { what: METADATA.to_owned() })?;
            ClientError::check("the quorum", partition.error_code, None)?;
            let voters = partition.current_voters.iter();
            let voters = voters.map(|voter| Voter { id: voter.replica_id.0, directory: voter.replica_directory_id });
            Ok((partition.leader_id.0, voters.collect()))
        })
        .await
    }

    /// The broker that coordinates a group.
    pub(super) async fn coordinator(&mut self, group: &str, patience: Duration) -> Result<i32, ClientError> {
        use jackdaw_protocol::messages::FindCoordinatorRequest;
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
        self.insist(patience, async |client| {
            let answer = client.get().await?.any().await?.send(&request).await?;
            let found = answer.coordinators.first();
            let found = found.ok_or_else(|| ClientError::NoLeader { what: format!("group {group}") })?;
            ClientError::check("coordinator", found.error_code, None)?;
            Ok(found.node_id.0)
        })
        .await
    }

    /// Ends of the partitions of a topic for consumers.
    pub(super) async fn ends(&mut self, topic: &Topic, patience: Duration) -> Result<BTreeMap<i32, i64>, ClientError> {
        let wanted: Vec<(i32, i64)> = topic.partitions.keys().map(|index| (*index, LATEST)).collect();
        self.insist(patience, async |client| {
            client.get().await?.list_offsets(&topic.name, &wanted, READ_COMMITTED).await
        })
        .await
    }

    /// Gives leadership back to the first replicas.
    pub(super) async fn elect_preferred(&mut self) -> Result<(), ClientError> {
        let request = ElectLeadersRequest::default()
            .with_election_type(0)
            .with_topic_partitions(None::<Vec<TopicPartitions>>)
            .with_timeout_ms(2_000);
        let asked = async {
            let answer = self.client.get().await?.controller().await?.send(&request).await?;
            ClientError::check("election", answer.error_code, None)
        };
        let done = attempt(asked).await;
        if done.is_err() {
            self.client.forget();
        }
        done
    }

    /// Moves partitions of a topic to these replicas.
    pub(super) async fn reassign(&mut self, name: &str, to: &BTreeMap<i32, Vec<i32>>) -> Result<(), ClientError> {
        let partitions = to.iter().map(|(index, replicas)| {
            let replicas = replicas.iter().map(|id| BrokerId(*id)).collect();
            ReassignablePartition::default().with_partition_index(*index).with_replicas(Some(replicas))
        });
        let topic = ReassignableTopic::default().with_name(topic_name(name)).with_partitions(partitions.collect());
        let request = AlterPartitionReassignmentsRequest::default().with_timeout_ms(3_000).with_topics(vec![topic]);
        let asked = async {
            let answer = self.client.get().await?.controller().await?.send(&request).await?;
            ClientError::check("reassignment", answer.error_code, answer.error_message.as_deref())?;
            let mut partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
            partitions.try_for_each(|partition| ClientError::check("reassignment", partition.error_code, None))
        };
        let done = attempt(asked).await;
        if done.is_err() {
            self.client.forget();
        }
        done
    }

    pub(super) async fn remove_voter(&mut self, voter: &Voter) -> Result<(), ClientError> {
        let request = RemoveRaftVoterRequest::default()
            .with_cluster_id(None)
            .with_voter_id(voter.id)
            .with_voter_directory_id(voter.directory);
        self.insist(Duration::ZERO, async |client| {
            let answer = client.get().await?.any().await?.send(&request).await?;
            ClientError::check("remove voter", answer.error_code, answer.error_message.as_deref())
        })
        .await
    }

    /// Adds a node with whatever directory it has.
    pub(super) async fn add_voter(&mut self, id: i32, address: &str) -> Result<(), ClientError> {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
        let listener = add_raft_voter_request::Listener::default()
            .with_name(StrBytes::from_static_str("CONTROLLER"))
            .with_host(text(host))
            .with_port(port.parse().unwrap_or(0));
        let request = AddRaftVoterRequest::default()
            .with_cluster_id(None)
            .with_timeout_ms(3_000)
            .with_voter_id(id)
            .with_voter_directory_id(Uuid::nil())
            .with_listeners(vec![listener]);
        self.insist(Duration::ZERO, async |client| {
            let answer = client.get().await?.any().await?.send(&request).await?;
            ClientError::check("add voter", answer.error_code, answer.error_message.as_deref())
        })
        .await
    }
}
