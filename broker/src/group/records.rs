//! The records of `__consumer_offsets`, in Kafka's own format, so that Kafka's tools read ours and we read Kafka's.
//!
//! A key starts with a 16-bit version that says what the record is:
//!
//! ```text
//! 0, 1  OffsetCommitKey    group: string, topic: string, partition: int32
//! 2     GroupMetadataKey   group: string
//! 3..   groups of newer protocols, which are not served: skipped
//! ```
//!
//! Values carry their own version. Written are the versions that Kafka 4.3 writes: key 1 with value 4 (value 1 where the
//! client asked for a retention time of its own), key 2 with value 3. Read are value versions 0 to 4 of both. A null
//! value is a tombstone.
//!
//! Every length is checked against the bytes that remain before anything is reserved: these bytes come from a disk that
//! others may have written to.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::GroupId;

const OFFSET_KEY_VERSION: i16 = 1;
const GROUP_KEY_VERSION: i16 = 2;
const OFFSET_VALUE_VERSION: i16 = 4;
/// The only version that carries an expiry time.
const OFFSET_VALUE_VERSION_WITH_EXPIRY: i16 = 1;
const GROUP_VALUE_VERSION: i16 = 3;
/// From this version on, values use compact lengths and tagged fields.
const FIRST_FLEXIBLE_VALUE_VERSION: i16 = 4;
const TOPIC_ID_TAG: u32 = 0;

/// One change of a group's persistent state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The membership of a group, or its end.
    Group {
        /// The group.
        group: GroupId,
        /// `None`: the group is gone.
        value: Option<GroupValue>,
    },
    /// A committed offset, or its removal.
    Offset {
        /// The group.
        group: GroupId,
        /// The topic's name.
        topic: Arc<str>,
        /// The partition's index.
        partition: i32,
        /// `None`: there is no committed offset any more.
        value: Option<OffsetValue>,
    },
}

/// A generation of a group that has its assignment, or an empty group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupValue {
    /// `consumer`, `connect`...; empty for a group that only stores offsets.
    pub protocol_type: Arc<str>,
    /// The generation.
    pub generation: i32,
    /// The protocol chosen.
    pub protocol: Option<Arc<str>>,
    /// The leader's member id.
    pub leader: Option<Arc<str>>,
    /// When the group entered its state, milliseconds since the epoch; `None` before version 2.
    pub state_since_ms: Option<i64>,
    /// The members with what they were assigned.
    pub members: Vec<MemberValue>,
}

/// A member as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberValue {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its `group.instance.id`.
    pub instance_id: Option<Arc<str>>,
    /// Its `client.id`.
    pub client_id: Arc<str>,
    /// Its address, `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// How long a rebalance waits for it, in milliseconds; -1 before version 1.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent, in milliseconds.
    pub session_timeout_ms: i32,
    /// Its metadata for the chosen protocol.
    pub subscription: Bytes,
    /// What it was assigned.
    pub assignment: Bytes,
}

/// A committed offset as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetValue {
    /// The next offset the group will read.
    pub offset: i64,
    /// The leader epoch of the last record read; -1 if unknown.
    pub leader_epoch: i32,
    /// What the client stores beside it.
    pub metadata: Arc<str>,
    /// When it was committed, milliseconds since the epoch.
    pub commit_timestamp_ms: i64,
    /// When it expires, if the client asked for a retention time of its own (OffsetCommit versions 2 to 4).
    pub expire_timestamp_ms: Option<i64>,
    /// The id of the topic at that time; nil if unknown.
    pub topic_id: Uuid,
}

/// Why stored bytes are no record of `__consumer_offsets`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end inside a field, or a length is larger than what remains.
    #[error("ends inside {field}")]
    Truncated {
        /// The field.
        field: &'static str,
    },
    /// A string is not UTF-8.
    #[error("{field} is not UTF-8")]
    NotUtf8 {
        /// The field.
        field: &'static str,
    },
    /// A field that must be there is null.
    #[error("{field} is null")]
    Null {
        /// The field.
        field: &'static str,
    },
    /// A version that this broker does not know.
    #[error("{what} version {version} is unknown")]
    UnknownVersion {
        /// Which value.
        what: &'static str,
        /// Its version.
        version: i16,
    },
}

impl Record {
    /// The group that the record belongs to.
    pub fn group(&self) -> &GroupId {
        match self {
            Record::Group { group, .. } | Record::Offset { group, .. } => group,
        }
    }

    /// The record's key.
    pub fn key(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Record::Group { group, .. } => {
                out.i16(GROUP_KEY_VERSION);
                out.string(group);
            }
            Record::Offset { group, topic, partition, .. } => {
                out.i16(OFFSET_KEY_VERSION);
                out.string(group);
                out.string(topic);
                out.i32(*partition);
            }
        }
        out.0
    }

    /// The record's value; `None` is a tombstone.
    pub fn value(&self) -> Option<Vec<u8>> {
        match self {
            Record::Group { value, .. } => value.as_ref().map(GroupValue::encode),
            Record::Offset { value, .. } => value.as_ref().map(OffsetValue::encode),
        }
    }

    /// Reads a record. `Ok(None)` for a key of a kind that this broker does not serve.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Record>, RecordError> {
        let mut input = Reader { rest: key, flexible: false };
        let version = input.i16("key version")?;
        match version {
            0 | OFFSET_KEY_VERSION => Ok(Some(Record::Offset {
                group: input.string("group")?,
                topic: input.string("topic")?,
                partition: input.i32("partition")?,
                value: value.map(OffsetValue::decode).transpose()?,
            })),
            GROUP_KEY_VERSION => Ok(Some(Record::Group {
                group: input.string("group")?,
                value: value.map(GroupValue::decode).transpose()?,
            })),
            _ => Ok(None),
        }
    }
}

impl GroupValue {
    /// How many bytes [`encode`](Self::encode) makes.
    pub fn encoded_len(&self) -> usize {
        let nullable = |text: &Option<Arc<str>>| 2 + text.as_ref().map_or(0, |text| text.len());
        let head = 2 + 2 + self.protocol_type.len() + 4 + nullable(&self.protocol) + nullable(&self.leader) + 8 + 4;
        let member = |member: &MemberValue| {
            2 + member.member_id.len()
                + nullable(&member.instance_id)
                + 2
                + member.client_id.len()
                + 2
                + member.client_host.len()
                + 4
                + 4
                + 4
                + member.subscription.len()
                + 4
                + member.assignment.len()
        };
        head + self.members.iter().map(member).sum::<usize>()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(self.encoded_len()));
        out.i16(GROUP_VALUE_VERSION);
        out.string(&self.protocol_type);
        out.i32(self.generation);
        out.nullable_string(self.protocol.as_deref());
        out.nullable_string(self.leader.as_deref());
        out.i64(self.state_since_ms.unwrap_or(-1));
        out.i32(self.members.len() as i32);
        for member in &self.members {
            out.string(&member.member_id);
            out.nullable_string(member.instance_id.as_deref());
            out.string(&member.client_id);
            out.string(&member.client_host);
            out.i32(member.rebalance_timeout_ms);
            out.i32(member.session_timeout_ms);
            out.bytes(&member.subscription);
            out.bytes(&member.assignment);
        }
        out.0
    }

    fn decode(value: &[u8]) -> Result<GroupValue, RecordError> {
        let mut input = Reader { rest: value, flexible: false };
        let version = input.i16("group value version")?;
        if !(0..=4).contains(&version) {
            return Err(RecordError::UnknownVersion { what: "GroupMetadataValue", version });
        }
        input.flexible = version >= FIRST_FLEXIBLE_VALUE_VERSION;
        let protocol_type = input.string("protocol type")?;
        let generation = input.i32("generation")?;
        let protocol = input.nullable_string("protocol")?;
        let leader = input.nullable_string("leader")?;
        let since = if version >= 2 { input.i64("state timestamp")? } else { -1 };
        let count = input.count("members")?;
        let mut members = Vec::with_capacity(count);
        for _ in 0..count {
            members.push(MemberValue::decode(&mut input, version)?);
        }
        input.skip_tags()?;
        let state_since_ms = (since >= 0).then_some(since);
        Ok(GroupValue { protocol_type, generation, protocol, leader, state_since_ms, members })
    }
}

impl MemberValue {
    /// No encoded member is shorter: the lengths of its fields and its timeouts.
    const MIN_LEN: usize = 12;

    fn decode(input: &mut Reader, version: i16) -> Result<MemberValue, RecordError> {
        let member_id = input.string("member id")?;
        let instance_id = if version >= 3 { input.nullable_string("instance id")? } else { None };
        let client_id = input.string("client id")?;
        let client_host = input.string("client host")?;
        let rebalance_timeout_ms = if version >= 1 { input.i32("rebalance timeout")? } else { -1 };
        let session_timeout_ms = input.i32("session timeout")?;
        let subscription = input.bytes("subscription")?;
        let assignment = input.bytes("assignment")?;
        input.skip_tags()?;
        Ok(MemberValue {
            member_id,
            instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms,
            session_timeout_ms,
            subscription,
            assignment,
        })
    }
}

impl OffsetValue {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        if let Some(expires) = self.expire_timestamp_ms {
            out.i16(OFFSET_VALUE_VERSION_WITH_EXPIRY);
            out.i64(self.offset);
            out.string(&self.metadata);
            out.i64(self.commit_timestamp_ms);
            out.i64(expires);
            return out.0;
        }
        out.i16(OFFSET_VALUE_VERSION);
        out.i64(self.offset);
        out.i32(self.leader_epoch);
        out.compact_string(&self.metadata);
        out.i64(self.commit_timestamp_ms);
        if self.topic_id.is_nil() {
            out.varint(0);
        } else {
            out.varint(1);
            out.varint(TOPIC_ID_TAG);
            out.varint(16);
            out.0.extend_from_slice(self.topic_id.as_bytes());
        }
        out.0
    }

    fn decode(value: &[u8]) -> Result<OffsetValue, RecordError> {
        let mut input = Reader { rest: value, flexible: false };
        let version = input.i16("offset value version")?;
        if !(0..=4).contains(&version) {
            return Err(RecordError::UnknownVersion { what: "OffsetCommitValue", version });
        }
        input.flexible = version >= FIRST_FLEXIBLE_VALUE_VERSION;
        let offset = input.i64("offset")?;
        let leader_epoch = if version >= 3 { input.i32("leader epoch")? } else { -1 };
        let metadata = input.string("metadata")?;
        let commit_timestamp_ms = input.i64("commit timestamp")?;
        let expires = if version == 1 { input.i64("expire timestamp")? } else { -1 };
        let topic_id = input.topic_id_tag()?;
        let expire_timestamp_ms = (expires >= 0).then_some(expires);
        Ok(OffsetValue { offset, leader_epoch, metadata, commit_timestamp_ms, expire_timestamp_ms, topic_id })
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn i16(&mut self, value: i16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// Strings here came in through fields with 16-bit lengths, or are member ids built below that length.
    fn string(&mut self, text: &str) {
        self.i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        self.0.extend_from_slice(&text.as_bytes()[..text.len().min(i16::MAX as usize)]);
    }

    fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.i16(-1),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.i32(bytes.len() as i32);
        self.0.extend_from_slice(bytes);
    }

    fn compact_string(&mut self, text: &str) {
        self.varint(text.len() as u32 + 1);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// Reads fields off the front of `rest`; nothing is reserved for a length that `rest` cannot hold.
struct Reader<'a> {
    rest: &'a [u8],
    flexible: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(RecordError::Truncated { field })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], RecordError> {
        self.take(N, field)?.try_into().map_err(|_| RecordError::Truncated { field })
    }

    fn i16(&mut self, field: &'static str) -> Result<i16, RecordError> {
        Ok(i16::from_be_bytes(self.array(field)?))
    }

    fn i32(&mut self, field: &'static str) -> Result<i32, RecordError> {
        Ok(i32::from_be_bytes(self.array(field)?))
    }

    fn i64(&mut self, field: &'static str) -> Result<i64, RecordError> {
        Ok(i64::from_be_bytes(self.array(field)?))
    }

    fn varint(&mut self, field: &'static str) -> Result<u32, RecordError> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array(field)?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::Truncated { field })
    }

    /// A length as the classic form (`classic` gives -1 for null) or the compact form (0 for null) has it.
    fn len(
        &mut self,
        classic: fn(&mut Self, &'static str) -> Result<i32, RecordError>,
        field: &'static str,
    ) -> Result<Option<usize>, RecordError> {
        if self.flexible {
            return Ok(self.varint(field)?.checked_sub(1).map(|len| len as usize));
        }
        match classic(self, field)? {
            -1 => Ok(None),
            len => usize::try_from(len).map(Some).map_err(|_| RecordError::Truncated { field }),
        }
    }

    fn nullable_string(&mut self, field: &'static str) -> Result<Option<Arc<str>>, RecordError> {
        let Some(len) = self.len(|input, field| input.i16(field).map(i32::from), field)? else { return Ok(None) };
        let text = std::str::from_utf8(self.take(len, field)?).map_err(|_| RecordError::NotUtf8 { field })?;
        Ok(Some(Arc::from(text)))
    }

    fn string(&mut self, field: &'static str) -> Result<Arc<str>, RecordError> {
        self.nullable_string(field)?.ok_or(RecordError::Null { field })
    }

    fn bytes(&mut self, field: &'static str) -> Result<Bytes, RecordError> {
        let len = self.len(Self::i32, field)?.ok_or(RecordError::Null { field })?;
        Ok(Bytes::copy_from_slice(self.take(len, field)?))
    }

    fn count(&mut self, field: &'static str) -> Result<usize, RecordError> {
        let count = self.len(Self::i32, field)?.ok_or(RecordError::Null { field })?;
        if count > self.rest.len() / MemberValue::MIN_LEN {
            return Err(RecordError::Truncated { field });
        }
        Ok(count)
    }

    fn skip_tags(&mut self) -> Result<(), RecordError> {
        self.topic_id_tag().map(drop)
    }

    /// Skips all tagged fields but the topic id of an offset value.
    fn topic_id_tag(&mut self) -> Result<Uuid, RecordError> {
        const FIELD: &str = "tagged fields";
        let mut topic_id = Uuid::nil();
        if !self.flexible {
            return Ok(topic_id);
        }
        for _ in 0..self.varint(FIELD)? {
            let tag = self.varint(FIELD)?;
            let len = self.varint(FIELD)? as usize;
            let bytes = self.take(len, FIELD)?;
            if tag == TOPIC_ID_TAG
                && let Ok(id) = <[u8; 16]>::try_from(bytes)
            {
                topic_id = Uuid::from_bytes(id);
            }
        }
        Ok(topic_id)
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
