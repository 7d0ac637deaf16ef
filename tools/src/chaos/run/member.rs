//! Our own group: members that join, go on where the group had committed, commit in their generation, leave or vanish.
//!
//! What a member begins with was read from the coordinator and is in the history, as is every commit: the checker finds an
//! offset that went back, and a record that the group went past without reading it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jackdaw_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use jackdaw_protocol::messages::leave_group_request::MemberIdentity;
use jackdaw_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use jackdaw_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ResponseError, StrBytes, SyncGroupRequest,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::client::{ATTEMPT, attempt, late};
use super::consumer::{self, COMMIT_EVERY, Consumer};
use super::history::{Process, Recorder};
use super::workload::{Key, Load};
use crate::client::{ClientError, group_id, text};
use crate::consume::assignor;

pub(super) const GROUP: &str = "members";
const SESSION_TIMEOUT_MS: i32 = 10_000;
const REBALANCE_TIMEOUT_MS: i32 = 10_000;
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Joining waits for all other members; whoever does not come is left out after the rebalance timeout.
const JOIN: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);
/// Seconds until a member makes room for another.
const LIFE: std::ops::Range<u64> = 15..40;
const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "range";

/// One member and its place in the group.
struct Member {
    consumer: Consumer,
    load: Arc<Load>,
    id: StrBytes,
}

/// Reads as a member until told to stop.
pub(super) async fn run(number: u32, load: Arc<Load>, recorder: Arc<Recorder>, stop: Arc<AtomicBool>) {
    let process = recorder.process(number, Some(GROUP));
    let mut random = StdRng::seed_from_u64(load.seed ^ u64::from(number) << 16);
    let consumer = Consumer::new(&load.bootstrap, u64::from(number), Vec::new());
    let mut member = Member { consumer, load, id: StrBytes::default() };
    let mut dies = Instant::now() + Duration::from_secs(random.random_range(LIFE));
    while !stop.load(Ordering::Relaxed) {
        match tokio::time::timeout(JOIN, member.join()).await.unwrap_or_else(|_| Err(late(JOIN))) {
            Ok(()) if member.begin(&process).await => member.work(&process, dies, &stop).await,
            Ok(()) => tokio::time::sleep(PAUSE).await,
            Err(error) => {
                member.failed(&error).await;
            }
        }
        if Instant::now() > dies {
            // Half of them say goodbye; the group finds out by itself about the others.
            if random.random_bool(0.5) {
                member.leave().await;
            }
            member.id = StrBytes::default();
            dies = Instant::now() + Duration::from_secs(random.random_range(LIFE));
        }
    }
    member.leave().await;
}

impl Member {
    /// Joins, or joins again, and takes over the keys that are ours now.
    async fn join(&mut self) -> Result<(), ClientError> {
        let topics: Vec<&str> = self.load.keys.first().iter().map(|key| key.topic.as_str()).collect();
        let metadata = assignor::subscription(&topics).map_err(encode)?;
        let protocol = JoinGroupRequestProtocol::default().with_name(text(PROTOCOL)).with_metadata(metadata);
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(GROUP))
            .with_session_timeout_ms(SESSION_TIMEOUT_MS)
            .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
            .with_member_id(self.id.clone())
            .with_protocol_type(text(PROTOCOL_TYPE))
            .with_protocols(vec![protocol]);
        let coordinator = attempt(async { self.consumer.client.get().await?.coordinator(GROUP).await }).await?;
        let answer = coordinator.send_within(&request, JOIN).await?;
        if !answer.member_id.is_empty() {
            // It comes with the refusal of those who have none (KIP-394).
            self.id = answer.member_id.clone();
        }
        ClientError::check("join", answer.error_code, None)?;
        let assignments = if answer.leader == answer.member_id { self.assign(&answer)? } else { BTreeMap::new() };
        let generation = answer.generation_id;
        let one = |(member, bytes): (String, Bytes)| {
            SyncGroupRequestAssignment::default().with_member_id(StrBytes::from_string(member)).with_assignment(bytes)
        };
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(GROUP))
            .with_generation_id(generation)
            .with_member_id(self.id.clone())
            .with_protocol_type(Some(text(PROTOCOL_TYPE)))
            .with_protocol_name(Some(text(PROTOCOL)))
            .with_assignments(assignments.into_iter().map(one).collect());
        let answer = coordinator.send_within(&request, JOIN).await?;
        ClientError::check("sync", answer.error_code, None)?;
        let given = assignor::assigned_partitions(&answer.assignment).map_err(encode)?;
        let is_ours = |key: &&Key| given.get(&key.topic).is_some_and(|partitions| partitions.contains(&key.partition));
        let keys = self.load.keys.iter().filter(is_ours).cloned().collect();
        self.consumer.take(keys, self.id.clone(), generation);
        Ok(())
    }

    /// As the leader: who gets what.
    fn assign(&self, answer: &JoinGroupResponse) -> Result<BTreeMap<String, Bytes>, ClientError> {
        let mut members = BTreeMap::new();
        for member in &answer.members {
            let topics = assignor::subscribed_topics(&member.metadata).map_err(encode)?;
            members.insert(member.member_id.to_string(), topics);
        }
        let mut counts: BTreeMap<String, i32> = BTreeMap::new();
        for key in &self.load.keys {
            *counts.entry(key.topic.clone()).or_default() += 1;
        }
        let assigned = assignor::range(&members, &counts).into_iter();
        assigned.map(|(member, keys)| Ok((member, assignor::assignment_bytes(&keys).map_err(encode)?))).collect()
    }

    /// Goes where the group had committed; false if nobody says where that is.
    async fn begin(&mut self, process: &Process<'_>) -> bool {
        process.crash();
        process.assign(&self.consumer.names(), false);
        self.consumer.keys_are_none() || consumer::resume(process, GROUP, &mut self.consumer).await
    }

    /// Reads and commits until it has to join again, or its time is up.
    async fn work(&mut self, process: &Process<'_>, dies: Instant, stop: &AtomicBool) {
        let (mut committed, mut beaten) = (Instant::now(), Instant::now());
        while !stop.load(Ordering::Relaxed) && Instant::now() < dies {
            if self.consumer.keys_are_none() || consumer::poll(process, &mut self.consumer).await.is_some() {
                tokio::time::sleep(PAUSE).await;
            }
            let mut done = Ok(());
            if committed.elapsed() > COMMIT_EVERY && !self.consumer.keys_are_none() {
                done = consumer::commit(process, GROUP, &mut self.consumer).await;
                committed = Instant::now();
            }
            if done.is_ok() && beaten.elapsed() > HEARTBEAT {
                done = attempt(self.heartbeat()).await;
                beaten = Instant::now();
                let rebalances = Some(ResponseError::RebalanceInProgress);
                if done.as_ref().err().and_then(ClientError::code) == rebalances && !self.consumer.keys_are_none() {
                    // What was read so far need not be read again.
                    let _ = consumer::commit(process, GROUP, &mut self.consumer).await;
                }
            }
            if let Err(error) = done
                && self.failed(&error).await
            {
                return;
            }
        }
    }

    async fn heartbeat(&mut self) -> Result<(), ClientError> {
        let (id, generation) = self.consumer.membership();
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(GROUP))
            .with_generation_id(generation)
            .with_member_id(id);
        let answer = self.consumer.client.get().await?.coordinator(GROUP).await?.send(&request).await?;
        ClientError::check("heartbeat", answer.error_code, None)
    }

    /// Learns from an error; whether the place in the group is lost, or there was none.
    async fn failed(&mut self, error: &ClientError) -> bool {
        match error.code() {
            Some(ResponseError::MemberIdRequired) => return true,
            Some(ResponseError::RebalanceInProgress | ResponseError::IllegalGeneration) => return true,
            Some(ResponseError::UnknownMemberId) => {
                self.id = StrBytes::default();
                return true;
            }
            _ => self.consumer.client.forget(),
        }
        tokio::time::sleep(PAUSE).await;
        false
    }

    async fn leave(&mut self) {
        if self.id.is_empty() {
            return;
        }
        let request = LeaveGroupRequest::default()
            .with_group_id(group_id(GROUP))
            .with_members(vec![MemberIdentity::default().with_member_id(self.id.clone())]);
        let left = tokio::time::timeout(ATTEMPT, async {
            self.consumer.client.get().await?.coordinator(GROUP).await?.send(&request).await
        });
        // If nobody hears it, the session ends it.
        let _ = left.await;
    }
}

fn encode(reason: String) -> ClientError {
    ClientError::Encode { api: "JoinGroup", reason }
}
