//! The changes that metadata can go through: one record is one change, and replaying them is the only way state comes
//! to be. On disk a record is a JSON object with its `type` and a version `v`; unknown fields are skipped, so that a
//! later release may add some, and an unknown type or a higher version is refused, because skipping a change would
//! lose it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The version that this release writes, and the highest it reads.
const VERSION: u16 = 0;

/// One change of the metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// A topic with all its partitions: `assignments[p]` are the replicas of partition `p`, the leader first.
    TopicCreated {
        name: String,
        #[serde(with = "uuid_text")]
        id: Uuid,
        assignments: Vec<Vec<i32>>,
        configs: BTreeMap<String, String>,
    },
    /// Partitions after the existing ones.
    PartitionsAdded {
        #[serde(with = "uuid_text")]
        id: Uuid,
        assignments: Vec<Vec<i32>>,
    },
    /// What a partition is from now on: its replicas, who is in sync, who leads it. Epochs are in it.
    PartitionChanged {
        #[serde(with = "uuid_text")]
        id: Uuid,
        partition: i32,
        state: PartitionState,
    },
    /// The leader epoch of each partition is at least this: their logs hold records of that epoch already, which were
    /// written elsewhere.
    LeaderEpochsRaised {
        #[serde(with = "uuid_text")]
        id: Uuid,
        epochs: Vec<i32>,
    },
    TopicRemoved {
        #[serde(with = "uuid_text")]
        id: Uuid,
    },
    /// The topic's overrides from now on, all of them.
    TopicConfigsChanged {
        #[serde(with = "uuid_text")]
        id: Uuid,
        configs: BTreeMap<String, String>,
    },
    /// The dynamic configs of one broker from now on, or, without `broker`, of all brokers.
    BrokerConfigsChanged { broker: Option<i32>, configs: BTreeMap<String, String> },
    /// The dynamic configs of a group from now on.
    GroupConfigsChanged { group: String, configs: BTreeMap<String, String> },
    /// Producer ids below `next` are given out (or in some broker's hands).
    ProducerIdsAllocated { broker: i32, next: i64 },
    /// A finalized feature.
    FeatureLevelChanged { name: String, level: i16 },
    /// A broker came up: it leads its partitions in a new epoch. Not written any more, but in every metadata log that a
    /// node alone takes over ([`Store`](super::store::Store)).
    BrokerStarted { broker: i32 },
    /// A broker came, or came back. It is fenced, and leads nothing, until [`Record::BrokerUnfenced`].
    BrokerRegistered {
        broker: i32,
        registration: Registration,
        /// What it held only in memory may be lost: it did not stop cleanly.
        unclean: bool,
        /// Whose rules of election hold where topics do not say.
        defaults: ElectionDefaults,
    },
    /// The broker is not heard any more: it leaves every ISR, and others lead what it led.
    BrokerFenced { broker: i32, epoch: i64, defaults: ElectionDefaults },
    /// The broker is heard, and knows the metadata: it may lead.
    BrokerUnfenced { broker: i32, epoch: i64, defaults: ElectionDefaults },
    /// The broker asks to stop: it leaves every ISR that has others, and others lead what they can.
    BrokerInControlledShutdown { broker: i32, epoch: i64, defaults: ElectionDefaults },
    /// All log directories of the broker are cordoned from now on, or not all any more (KIP-1066).
    BrokerCordoned { broker: i32, epoch: i64, cordoned: bool },
    /// The broker is none of the cluster any more.
    BrokerUnregistered { broker: i32 },
    /// The log directories of a broker from now on, by their ids, with the path that each had: what is not in any of
    /// those that are there may be in one that is not.
    LogDirsChanged { broker: i32, dirs: BTreeMap<String, String> },
}

/// A partition as a record tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionState {
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub leader: i32,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adding: Vec<i32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removing: Vec<i32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elr: Vec<i32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_known_elr: Vec<i32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovering: bool,
}

/// What a broker says of itself when it registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Grows with each registration; the requests of an earlier life of the broker are told by it.
    pub epoch: i64,
    /// New for each start of the process.
    #[serde(with = "uuid_text")]
    pub incarnation: Uuid,
    pub rack: Option<String>,
    pub listeners: Vec<Endpoint>,
    /// The ids of its log directories, as text.
    pub dirs: Vec<String>,
    /// The settings that the size rule compares.
    pub message_max_bytes: u64,
    /// None where it follows the others.
    pub replica_fetch_max_bytes: Option<u64>,
    /// Its `log.write.caching`: what topics that do not say otherwise have there only in memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub write_caching: bool,
}

/// Where a broker can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub name: String,
    pub host: String,
    pub port: u16,
    /// Kafka's number of the security protocol (0 is PLAINTEXT).
    pub security_protocol: i16,
}

/// What holds for partitions whose topic says nothing; in the record, since each node may be configured otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElectionDefaults {
    /// `min.insync.replicas`
    pub min_insync_replicas: i32,
    /// `unclean.leader.election.enable`
    pub unclean: bool,
}

#[derive(Serialize)]
struct Versioned<'a> {
    #[serde(flatten)]
    record: &'a Record,
    v: u16,
}

#[derive(Deserialize)]
struct Head {
    r#type: String,
    v: u16,
}

/// A stored record that this release cannot take.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("metadata record is not understood: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error(
        "metadata record '{kind}' has version {version}, this release reads up to {VERSION}: \
         start the release that wrote it, or a later one"
    )]
    TooNew { kind: String, version: u16 },
}

impl Record {
    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(&Versioned { record: self, v: VERSION }).expect("records are maps of strings and numbers")
    }

    /// Reads what [`encode`](Record::encode) wrote.
    pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
        let head: Head = serde_json::from_slice(bytes)?;
        if head.v > VERSION {
            return Err(DecodeError::TooNew { kind: head.r#type, version: head.v });
        }
        Ok(serde_json::from_slice(bytes)?)
    }
}

pub(super) mod uuid_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use uuid::Uuid;

    pub(in crate::topics) fn serialize<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(in crate::topics) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    const DEFAULTS: ElectionDefaults = ElectionDefaults { min_insync_replicas: 2, unclean: true };

    fn registration() -> Registration {
        Registration {
            epoch: 7,
            incarnation: Uuid::from_u128(9),
            rack: Some("r".into()),
            listeners: vec![Endpoint { name: "L".into(), host: "h".into(), port: 1, security_protocol: 0 }],
            dirs: vec!["d".into()],
            message_max_bytes: 5,
            replica_fetch_max_bytes: Some(6),
            write_caching: true,
        }
    }

    #[test]
    fn records_survive_the_way_to_disk_and_back() {
        let configs = BTreeMap::from([("retention.ms".to_owned(), "1".to_owned())]);
        let id = Uuid::from_u128(7);
        for record in [
            Record::TopicCreated {
                name: "t".into(),
                id,
                assignments: vec![vec![1], vec![2, 1]],
                configs: configs.clone(),
            },
            Record::PartitionsAdded { id, assignments: vec![vec![1]] },
            Record::LeaderEpochsRaised { id, epochs: vec![3, 0] },
            Record::TopicRemoved { id },
            Record::TopicConfigsChanged { id, configs: configs.clone() },
            Record::BrokerConfigsChanged { broker: None, configs: configs.clone() },
            Record::BrokerConfigsChanged { broker: Some(1), configs: configs.clone() },
            Record::GroupConfigsChanged { group: "g".into(), configs },
            Record::ProducerIdsAllocated { broker: 1, next: i64::MAX },
            Record::FeatureLevelChanged { name: "metadata.version".into(), level: 27 },
            Record::BrokerStarted { broker: 1 },
            Record::PartitionChanged {
                id,
                partition: 2,
                state: PartitionState { replicas: vec![1, 2], isr: vec![2], leader: 2, ..PartitionState::default() },
            },
            Record::BrokerRegistered { broker: 1, registration: registration(), unclean: true, defaults: DEFAULTS },
            Record::BrokerFenced { broker: 1, epoch: 7, defaults: DEFAULTS },
            Record::BrokerUnfenced { broker: 1, epoch: 7, defaults: DEFAULTS },
            Record::BrokerInControlledShutdown { broker: 1, epoch: 7, defaults: DEFAULTS },
            Record::BrokerCordoned { broker: 1, epoch: 7, cordoned: true },
            Record::BrokerUnregistered { broker: 1 },
            Record::LogDirsChanged { broker: 1, dirs: BTreeMap::from([("id".to_owned(), "/data".to_owned())]) },
        ] {
            assert_eq!(Record::decode(&record.encode()).unwrap(), record);
        }
    }

    #[test]
    fn the_stored_form_is_stable() {
        let record = Record::TopicCreated {
            name: "t".into(),
            id: Uuid::from_u128(1),
            assignments: vec![vec![1], vec![1]],
            configs: BTreeMap::new(),
        };
        let stored = r#"{"type":"topic_created","name":"t","id":"00000000-0000-0000-0000-000000000001","assignments":[[1],[1]],"configs":{},"v":0}"#;
        assert_eq!(String::from_utf8(record.encode()).unwrap(), stored);
        let later = stored.replace("\"v\"", "\"added_later\":true,\"v\"");
        assert_eq!(Record::decode(later.as_bytes()).unwrap(), record);
    }

    #[test]
    fn a_record_of_a_later_release_is_refused_with_what_to_do() {
        let error = Record::decode(br#"{"type":"topic_created","v":1,"shape":"new"}"#).unwrap_err().to_string();
        assert!(error.contains("'topic_created' has version 1, this release reads up to 0: start the release"));
        assert!(Record::decode(br#"{"type":"acl_created","v":0}"#).is_err());
        assert!(Record::decode(b"\xff").is_err());
    }
}
