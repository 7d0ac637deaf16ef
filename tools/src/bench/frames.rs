//! Requests encoded once and replayed: what changes from one to the next lies at known places.

use bytes::{Bytes, BytesMut};
use jackdaw_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use jackdaw_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use jackdaw_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use jackdaw_protocol::messages::{
    BrokerId, Encodable, FetchRequest, HeaderVersion, ProduceRequest, ProduceResponse, ResponseHeader, StrBytes,
    TopicName,
};

use super::BenchError;
use super::wire::{Topic, encode};

/// Where the correlation id stands in a request on the wire: after its length, API key and version.
const CORRELATION_AT: usize = 8;
/// Above this, a frame's records are shared with the socket write instead of copied into a joint buffer.
const SHARE_ABOVE: usize = 16 << 10;

/// Bytes on their way to one socket: small frames joined in one buffer, large ones as slices.
#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) joined: Vec<u8>,
    pub(super) sent: usize,
    pub(super) parts: std::collections::VecDeque<Bytes>,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.joined.is_empty() && self.parts.is_empty()
    }
}

/// One encoded request: what stands before the records, the records, and what follows them.
#[derive(Clone)]
pub(super) struct Template {
    head: Vec<u8>,
    records: Bytes,
    tail: Bytes,
}

impl Template {
    /// A Produce request of one batch to one partition.
    pub(super) fn produce(
        topic: &Topic,
        partition: i32,
        batch: &Bytes,
        acks: i16,
        version: i16,
    ) -> Result<Self, BenchError> {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch.clone()));
        let to = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_string(topic.name.clone())))
            .with_topic_id(topic.id)
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![to]);
        let frame = encode(&request, version, 0)?.freeze();
        let at = frame.windows(batch.len()).position(|window| window == &batch[..]);
        let at = at.ok_or_else(|| malformed("own request", "it lacks its batch"))?;
        Ok(Self { head: frame[..at].to_vec(), records: batch.clone(), tail: frame.slice(at + batch.len()..) })
    }

    /// A Fetch request for one partition, outside any session.
    pub(super) fn fetch(
        topic: &Topic,
        partition: i32,
        max_bytes: i32,
        max_wait_ms: i32,
        version: i16,
    ) -> Result<FetchTemplate, BenchError> {
        let encode_at = |offset: i64| {
            let part = FetchPartition::default()
                .with_partition(partition)
                .with_fetch_offset(offset)
                .with_partition_max_bytes(max_bytes);
            let from = FetchTopic::default()
                .with_topic(TopicName(StrBytes::from_string(topic.name.clone())))
                .with_topic_id(topic.id)
                .with_partitions(vec![part]);
            let request = FetchRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_max_wait_ms(max_wait_ms)
                .with_min_bytes(1)
                .with_max_bytes(max_bytes)
                .with_session_epoch(-1)
                .with_topics(vec![from]);
            encode(&request, version, 0)
        };
        let (zeros, ones) = (encode_at(0)?, encode_at(-1)?);
        let offset_at = first_difference(&zeros, &ones, "own Fetch request")?;
        Ok(FetchTemplate { frame: zeros.to_vec(), offset_at })
    }

    /// Appends this request, with that correlation id, to what goes out.
    pub(super) fn put(&self, correlation_id: i32, out: &mut Outgoing) {
        let id = correlation_id.to_be_bytes();
        if self.records.len() > SHARE_ABOVE {
            let mut head = BytesMut::from(&self.head[..]);
            head[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&id);
            out.parts.push_back(head.freeze());
            out.parts.push_back(self.records.clone());
            if !self.tail.is_empty() {
                out.parts.push_back(self.tail.clone());
            }
            return;
        }
        let start = out.joined.len();
        out.joined.extend_from_slice(&self.head);
        out.joined[start + CORRELATION_AT..start + CORRELATION_AT + 4].copy_from_slice(&id);
        out.joined.extend_from_slice(&self.records);
        out.joined.extend_from_slice(&self.tail);
    }
}

/// An encoded Fetch request whose offset is filled in at each use.
#[derive(Clone)]
pub(super) struct FetchTemplate {
    frame: Vec<u8>,
    offset_at: usize,
}

impl FetchTemplate {
    pub(super) fn put(&self, correlation_id: i32, offset: i64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[start..];
        frame[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation_id.to_be_bytes());
        frame[self.offset_at..self.offset_at + 8].copy_from_slice(&offset.to_be_bytes());
    }
}

/// Where the error code stands in the answer to a Produce of one partition, counted from the correlation id.
pub(super) fn produce_error_at(topic: &Topic, version: i16) -> Result<usize, BenchError> {
    let encode_with = |code: i16| {
        let part = PartitionProduceResponse::default().with_error_code(code);
        let to = TopicProduceResponse::default()
            .with_name(TopicName(StrBytes::from_string(topic.name.clone())))
            .with_topic_id(topic.id)
            .with_partition_responses(vec![part]);
        let response = ProduceResponse::default().with_responses(vec![to]);
        let mut out = BytesMut::new();
        ResponseHeader::default()
            .encode(&mut out, ProduceResponse::header_version(version))
            .and_then(|()| response.encode(&mut out, version))
            .map_err(|error| malformed("own Produce answer", &error.to_string()))?;
        Ok::<_, BenchError>(out)
    };
    first_difference(&encode_with(0)?, &encode_with(-1)?, "own Produce answer")
}

fn first_difference(one: &[u8], other: &[u8], what: &'static str) -> Result<usize, BenchError> {
    one.iter().zip(other).position(|(a, b)| a != b).ok_or_else(|| malformed(what, "a field is missing from it"))
}

fn malformed(what: &'static str, why: &str) -> BenchError {
    BenchError::Malformed { what, why: why.to_owned() }
}

/// What matters in the answer to a Fetch of one partition.
pub(super) struct Fetched<'a> {
    pub(super) error_code: i16,
    pub(super) high_watermark: i64,
    pub(super) records: &'a [u8],
}

/// Reads the answer to a Fetch of one topic and one partition, from its correlation id on.
pub(super) fn fetched(answer: &[u8], version: i16) -> Result<Fetched<'_>, BenchError> {
    let mut cursor = Cursor(answer);
    fetched_fields(&mut cursor, version).ok_or_else(|| malformed("Fetch answer", "it is cut short"))
}

fn fetched_fields<'a>(cursor: &mut Cursor<'a>, version: i16) -> Option<Fetched<'a>> {
    let flexible = version >= 12;
    cursor.skip(4)?;
    if flexible {
        cursor.tags()?;
    }
    cursor.skip(4)?;
    if version >= 7 {
        let error_code = cursor.i16()?;
        cursor.skip(4)?;
        if error_code != 0 {
            return Some(Fetched { error_code, high_watermark: -1, records: &[] });
        }
    }
    if cursor.count(flexible)? == 0 {
        return Some(Fetched { error_code: 0, high_watermark: -1, records: &[] });
    }
    match version {
        13.. => cursor.skip(16)?,
        _ => {
            let name = cursor.string_length(flexible)?;
            cursor.skip(name)?;
        }
    }
    cursor.count(flexible)?;
    cursor.skip(4)?;
    let error_code = cursor.i16()?;
    let high_watermark = cursor.i64()?;
    cursor.skip(if version >= 5 { 16 } else { 8 })?;
    for _ in 0..cursor.count(flexible)? {
        cursor.skip(16)?;
        if flexible {
            cursor.tags()?;
        }
    }
    if version >= 11 {
        cursor.skip(4)?;
    }
    let length = cursor.count(flexible)?;
    Some(Fetched { error_code, high_watermark, records: cursor.take(length)? })
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(|_| ())
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn i64(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn varint(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = usize::from(*self.take(1)?.first()?);
            value |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// Length of an array or of bytes; null counts as empty.
    fn count(&mut self, flexible: bool) -> Option<usize> {
        if flexible {
            return Some(self.varint()?.saturating_sub(1));
        }
        Some(usize::try_from(self.i32()?).unwrap_or(0))
    }

    fn string_length(&mut self, flexible: bool) -> Option<usize> {
        if flexible {
            return Some(self.varint()?.saturating_sub(1));
        }
        Some(usize::try_from(self.i16()?).unwrap_or(0))
    }

    fn tags(&mut self) -> Option<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.skip(length)?;
        }
        Some(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use jackdaw_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use jackdaw_protocol::messages::{Decodable, FetchResponse, RequestHeader};
    use uuid::Uuid;

    use super::*;

    fn topic() -> Topic {
        Topic { name: "orders".to_owned(), id: Uuid::from_u128(7), partitions: 1 }
    }

    #[test]
    fn fetch_answers_of_every_version_are_understood() {
        for version in 4..=18 {
            let part = PartitionData::default()
                .with_high_watermark(9)
                .with_aborted_transactions(Some(vec![]))
                .with_records(Some(Bytes::from_static(b"records")));
            let from = FetchableTopicResponse::default()
                .with_topic(if version < 13 {
                    TopicName(StrBytes::from_static_str("orders"))
                } else {
                    TopicName::default()
                })
                .with_topic_id(if version < 13 { Uuid::nil() } else { Uuid::from_u128(7) })
                .with_partitions(vec![part]);
            let mut out = BytesMut::new();
            ResponseHeader::default().encode(&mut out, FetchResponse::header_version(version)).unwrap();
            FetchResponse::default().with_responses(vec![from]).encode(&mut out, version).unwrap();
            let answer = fetched(&out, version).unwrap();
            assert_eq!(
                (answer.error_code, answer.high_watermark, answer.records),
                (0, 9, &b"records"[..]),
                "{version}"
            );
            assert!(fetched(&out[..30], version).is_err());
        }
    }

    #[test]
    fn a_replayed_produce_request_decodes_with_its_own_correlation_id() {
        for (version, size) in (3..=13).flat_map(|version| [(version, 70), (version, 40_000)]) {
            let batch = Bytes::from(vec![b'x'; size]);
            let template = Template::produce(&topic(), 3, &batch, 1, version).unwrap();
            let mut out = Outgoing::default();
            template.put(77, &mut out);
            let mut frame: BytesMut = out.joined[..].into();
            out.parts.iter().for_each(|part| frame.extend_from_slice(part));
            let mut frame = frame.freeze().slice(4..);
            let header = RequestHeader::decode(&mut frame, ProduceRequest::header_version(version)).unwrap();
            let request = ProduceRequest::decode(&mut frame, version).unwrap();
            assert_eq!((header.correlation_id, frame.len()), (77, 0));
            let part = &request.topic_data[0].partition_data[0];
            assert_eq!((part.index, part.records.as_ref().unwrap().len()), (3, size));
        }
    }

    #[test]
    fn the_offset_of_a_fetch_request_is_patched_in_place() {
        for version in 4..=18 {
            let template = Template::fetch(&topic(), 1, 1 << 20, 500, version).unwrap();
            let mut out = Vec::new();
            template.put(5, 123_456_789_012, &mut out);
            let mut frame = Bytes::from(out).slice(4..);
            let header = RequestHeader::decode(&mut frame, FetchRequest::header_version(version)).unwrap();
            let request = FetchRequest::decode(&mut frame, version).unwrap();
            assert_eq!(header.correlation_id, 5);
            assert_eq!(request.topics[0].partitions[0].fetch_offset, 123_456_789_012);
        }
    }
}
