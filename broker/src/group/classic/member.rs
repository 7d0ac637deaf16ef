//! One member of a classic group.

use std::sync::Arc;

use bytes::Bytes;

use super::DescribedMember;
use crate::group::records::MemberValue;
use crate::group::{MemberId, Token};

#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: MemberId,
    /// `group.instance.id`: set for static members.
    pub(super) instance_id: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    /// What it can do, its favourite first.
    pub(super) protocols: Vec<(Arc<str>, Bytes)>,
    pub(super) assignment: Bytes,
    /// It has not completed a join yet, so it may not know its id and cannot send heartbeats.
    pub(super) is_new: bool,
    pub(super) awaiting_join: Option<Token>,
    pub(super) awaiting_sync: Option<Token>,
}

impl Member {
    pub(super) fn session_ms(&self) -> u64 {
        self.session_timeout_ms.max(0) as u64
    }

    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|(name, _)| **name == *protocol).map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    }

    /// A parked request shows that a member is there; a new one may have gone without anybody noticing.
    pub(super) fn excused_from_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    pub(super) fn describe(&self, protocol: Option<&str>) -> DescribedMember {
        DescribedMember {
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            metadata: protocol.map(|protocol| self.metadata(protocol)).unwrap_or_default(),
            assignment: if protocol.is_some() { self.assignment.clone() } else { Bytes::new() },
        }
    }

    pub(super) fn from_value(value: MemberValue, protocol: Arc<str>) -> Member {
        let rebalance_timeout_ms = match value.rebalance_timeout_ms {
            -1 => value.session_timeout_ms,
            timeout => timeout,
        };
        Member {
            id: value.member_id,
            instance_id: value.instance_id,
            client_id: value.client_id,
            client_host: value.client_host,
            rebalance_timeout_ms,
            session_timeout_ms: value.session_timeout_ms,
            protocols: vec![(protocol, value.subscription)],
            assignment: value.assignment,
            is_new: false,
            awaiting_join: None,
            awaiting_sync: None,
        }
    }

    pub(super) fn to_value(&self, protocol: &str) -> MemberValue {
        MemberValue {
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            subscription: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }
}
