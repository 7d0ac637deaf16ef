//! A member of a classic consumer group: joins, beats, commits, leaves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jackdaw_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use jackdaw_protocol::messages::leave_group_request::MemberIdentity;
use jackdaw_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use jackdaw_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use jackdaw_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use jackdaw_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest,
    ResponseError, StrBytes, SyncGroupRequest,
};
use tokio::time::Instant;

use super::assignor;
use crate::client::{ANSWER_TIMEOUT, Client, ClientError, Connection, group_id, text, topic_name};

const SESSION_TIMEOUT: Duration = Duration::from_secs(45);
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
const RETRY_BACKOFF: Duration = Duration::from_millis(200);
/// How long joining may fail in a row.
const JOIN_PATIENCE: Duration = Duration::from_secs(120);
const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "range";

/// Our membership in a group.
pub(super) struct Member {
    client: Arc<Client>,
    group: String,
    topic: String,
    member_id: StrBytes,
    generation: i32,
    coordinator: Option<Arc<Connection>>,
}

/// What a heartbeat or commit shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// All is well.
    Member,
    /// The group is rebalancing, or forgot us: join again.
    JoinAgain,
}

impl Member {
    pub(super) fn new(client: &Arc<Client>, group: &str, topic: &str) -> Member {
        Member {
            client: Arc::clone(client),
            group: group.to_owned(),
            topic: topic.to_owned(),
            member_id: StrBytes::default(),
            generation: -1,
            coordinator: None,
        }
    }

    /// Joins the group, or joins it again; returns the partitions that are ours.
    pub(super) async fn join(&mut self) -> Result<Vec<i32>, ClientError> {
        let deadline = Instant::now() + JOIN_PATIENCE;
        loop {
            let error = match self.try_join().await {
                Ok(partitions) => return Ok(partitions),
                Err(error) => error,
            };
            match error.code() {
                // The id comes with the error (KIP-394); `try_join` keeps it.
                Some(ResponseError::MemberIdRequired) => continue,
                Some(ResponseError::UnknownMemberId) => self.member_id = StrBytes::default(),
                Some(ResponseError::RebalanceInProgress | ResponseError::IllegalGeneration) => {}
                _ if error.is_retriable() => self.coordinator = None,
                _ => return Err(error),
            }
            if Instant::now() > deadline {
                return Err(error);
            }
            tokio::time::sleep(RETRY_BACKOFF).await;
        }
    }

    async fn try_join(&mut self) -> Result<Vec<i32>, ClientError> {
        let metadata = assignor::subscription(&[&self.topic]).map_err(encode_error)?;
        let protocol = JoinGroupRequestProtocol::default().with_name(text(PROTOCOL)).with_metadata(metadata);
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_session_timeout_ms(SESSION_TIMEOUT.as_millis() as i32)
            .with_rebalance_timeout_ms(REBALANCE_TIMEOUT.as_millis() as i32)
            .with_member_id(self.member_id.clone())
            .with_protocol_type(text(PROTOCOL_TYPE))
            .with_protocols(vec![protocol]);
        let coordinator = self.coordinator().await?;
        let answer = coordinator.send_within(&request, REBALANCE_TIMEOUT + ANSWER_TIMEOUT).await?;
        if !answer.member_id.is_empty() {
            self.member_id = answer.member_id.clone();
        }
        ClientError::check(self.what(), answer.error_code, None)?;
        self.generation = answer.generation_id;
        let assignments = if answer.leader == answer.member_id { self.assign(&answer).await? } else { BTreeMap::new() };
        self.sync(&coordinator, assignments).await
    }

    /// As the leader: who gets what.
    async fn assign(&self, answer: &JoinGroupResponse) -> Result<BTreeMap<String, Bytes>, ClientError> {
        let mut members = BTreeMap::new();
        for member in &answer.members {
            // A member whose wishes cannot be read gets nothing, and the others are not held up.
            let topics = assignor::subscribed_topics(&member.metadata).unwrap_or_default();
            members.insert(member.member_id.to_string(), topics);
        }
        let topics = self.client.topics().await?;
        let counts = topics.iter().map(|(name, topic)| (name.clone(), topic.partitions.len() as i32)).collect();
        let mut encoded = BTreeMap::new();
        for (member, assignment) in assignor::range(&members, &counts) {
            encoded.insert(member, assignor::assignment_bytes(&assignment).map_err(encode_error)?);
        }
        Ok(encoded)
    }

    async fn sync(
        &self,
        coordinator: &Connection,
        assignments: BTreeMap<String, Bytes>,
    ) -> Result<Vec<i32>, ClientError> {
        let one = |(member, bytes): (String, Bytes)| {
            SyncGroupRequestAssignment::default().with_member_id(StrBytes::from_string(member)).with_assignment(bytes)
        };
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone())
            .with_protocol_type(Some(text(PROTOCOL_TYPE)))
            .with_protocol_name(Some(text(PROTOCOL)))
            .with_assignments(assignments.into_iter().map(one).collect());
        let answer = coordinator.send_within(&request, REBALANCE_TIMEOUT + ANSWER_TIMEOUT).await?;
        ClientError::check(self.what(), answer.error_code, None)?;
        let mut assigned = assignor::assigned_partitions(&answer.assignment).map_err(|reason| {
            ClientError::Garbled { address: coordinator.address().to_owned(), api: "SyncGroup", reason }
        })?;
        Ok(assigned.remove(&self.topic).unwrap_or_default())
    }

    /// Says that we are alive.
    pub(super) async fn heartbeat(&mut self) -> Result<Standing, ClientError> {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone());
        let answered = match self.coordinator().await {
            Ok(coordinator) => coordinator.send(&request).await.map(|answer| answer.error_code),
            Err(error) => Err(error),
        };
        let checked = answered.and_then(|code| ClientError::check(self.what(), code, None));
        self.standing(checked)
    }

    /// Stores where we stand: the next offset of each partition.
    pub(super) async fn commit(&mut self, positions: &BTreeMap<i32, i64>) -> Result<Standing, ClientError> {
        if positions.is_empty() {
            return Ok(Standing::Member);
        }
        let partition = |(&index, &offset): (&i32, &i64)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_committed_metadata(Some(StrBytes::default()))
        };
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name(&self.topic))
            .with_partitions(positions.iter().map(partition).collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(self.member_id.clone())
            .with_topics(vec![topic]);
        let answered = match self.coordinator().await {
            Ok(coordinator) => coordinator.send(&request).await,
            Err(error) => Err(error),
        };
        let checked = answered.and_then(|answer| {
            let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.try_for_each(|partition| {
                ClientError::check(format!("commit of {}", self.what()), partition.error_code, None)
            })
        });
        self.standing(checked)
    }

    /// The committed offset of each partition that has one.
    pub(super) async fn committed(&mut self, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, ClientError> {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(topic_name(&self.topic))
            .with_partition_indexes(partitions.to_vec());
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(&self.group))
            .with_member_id(None)
            .with_topics(Some(vec![topic]));
        let request = OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(true);
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let result = async {
                let answer = self.coordinator().await?.send(&request).await?;
                let mut committed = BTreeMap::new();
                for group in &answer.groups {
                    ClientError::check(format!("offsets of {}", self.what()), group.error_code, None)?;
                    for partition in group.topics.iter().flat_map(|topic| &topic.partitions) {
                        ClientError::check(format!("offsets of {}", self.what()), partition.error_code, None)?;
                        if partition.committed_offset >= 0 {
                            committed.insert(partition.partition_index, partition.committed_offset);
                        }
                    }
                }
                Ok(committed)
            };
            match result.await {
                Err(error) if ClientError::is_retriable(&error) && Instant::now() < deadline => {
                    self.coordinator = None;
                    tokio::time::sleep(RETRY_BACKOFF).await;
                }
                result => return result,
            }
        }
    }

    /// Leaves, so that the others need not wait for our session to end.
    pub(super) async fn leave(&mut self) -> Result<(), ClientError> {
        if self.member_id.is_empty() {
            return Ok(());
        }
        let coordinator = self.coordinator().await?;
        let request = LeaveGroupRequest::default().with_group_id(group_id(&self.group));
        let request = if coordinator.version::<LeaveGroupRequest>()? >= 3 {
            request.with_members(vec![MemberIdentity::default().with_member_id(self.member_id.clone())])
        } else {
            request.with_member_id(self.member_id.clone())
        };
        let answer = coordinator.send(&request).await?;
        self.member_id = StrBytes::default();
        ClientError::check(self.what(), answer.error_code, None)
    }

    fn standing(&mut self, checked: Result<(), ClientError>) -> Result<Standing, ClientError> {
        let Err(error) = checked else { return Ok(Standing::Member) };
        match error.code() {
            Some(ResponseError::RebalanceInProgress | ResponseError::IllegalGeneration) => Ok(Standing::JoinAgain),
            Some(ResponseError::UnknownMemberId | ResponseError::FencedInstanceId) => {
                self.member_id = StrBytes::default();
                Ok(Standing::JoinAgain)
            }
            _ if error.is_retriable() => {
                // The coordinator moved or is away; the session lasts a while.
                self.coordinator = None;
                Ok(Standing::Member)
            }
            _ => Err(error),
        }
    }

    async fn coordinator(&mut self) -> Result<Arc<Connection>, ClientError> {
        if let Some(open) = self.coordinator.as_ref().filter(|connection| connection.is_open()) {
            return Ok(Arc::clone(open));
        }
        let found = self.client.coordinator(&self.group).await?;
        self.coordinator = Some(Arc::clone(&found));
        Ok(found)
    }

    fn what(&self) -> String {
        format!("group {}", self.group)
    }
}

fn encode_error(reason: String) -> ClientError {
    ClientError::Encode { api: "JoinGroup", reason }
}
